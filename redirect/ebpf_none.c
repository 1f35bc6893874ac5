/* SPDX-License-Identifier: Apache-2.0
 *
 * In place of ebpf.c where libbpf, bpftool or clang were missing when this was built.
 */
#include "redirect/ebpf.h"

#include "redirect/redirect.h"

#include <errno.h>

static int fail(struct redirect_error *error)
{
	snprintf(error->text, sizeof error->text,
		"redirect.mode: this kuma-dns was built without eBPF, which takes libbpf, bpftool "
		"and clang");
	return -EOPNOTSUPP;
}

int ebpf_open(struct ebpf **ebpf, const struct rules *rules, struct redirect_error *error)
{
	(void)ebpf, (void)rules;
	return fail(error);
}

const char *ebpf_cgroup(const struct ebpf *ebpf)
{
	(void)ebpf;
	return "";
}

bool ebpf_covers_us(const struct ebpf *ebpf)
{
	(void)ebpf;
	return false;
}

void ebpf_set_servers(struct ebpf *ebpf, const struct rules *rules)
{
	(void)ebpf, (void)rules;
}

int ebpf_original(const struct ebpf *ebpf, const struct endpoint *local, struct endpoint *out)
{
	(void)ebpf, (void)local, (void)out;
	return -ENOENT;
}

void ebpf_withdraw(struct ebpf *ebpf)
{
	(void)ebpf;
}

void ebpf_close(struct ebpf *ebpf)
{
	(void)ebpf;
}

int ebpf_open_pinned(struct ebpf **ebpf, struct redirect_error *error)
{
	(void)ebpf;
	(void)fail(error);
	return -ENOENT;
}

void ebpf_set_elsewhere(struct ebpf *ebpf, bool elsewhere)
{
	(void)ebpf, (void)elsewhere;
}

int ebpf_install(struct ebpf **ebpf, const struct rules *rules, struct redirect_error *error)
{
	(void)ebpf, (void)rules;
	return fail(error);
}

void ebpf_commit(struct ebpf *ebpf, const struct rules *rules)
{
	(void)ebpf, (void)rules;
}

void ebpf_roll_back(struct ebpf *ebpf)
{
	(void)ebpf;
}

int ebpf_uninstall(struct ebpf **ebpf, struct redirect_error *error)
{
	(void)error;
	*ebpf = NULL;
	return 0;
}

bool ebpf_is_installed(void)
{
	return false;
}

void ebpf_print(const struct rules *rules, FILE *out)
{
	(void)rules;
	fprintf(out, "# this kuma-dns was built without eBPF\n");
}

void ebpf_print_removal(FILE *out)
{
	(void)out;
}
