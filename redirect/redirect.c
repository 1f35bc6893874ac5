/* SPDX-License-Identifier: Apache-2.0
 *
 * Redirection as the rest of the program sees it, whoever does it: nftables.c.
 */
#include "redirect/redirect.h"

#include "redirect/conntrack.h"
#include "redirect/nftables.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct redirect {
	struct nftables *nftables;
};

int redirect_open(
	struct redirect **redirect, const struct rules *rules, struct redirect_error *error)
{
	struct redirect *r = calloc(1, sizeof *r);
	int err;

	if (!r) {
		snprintf(error->text, sizeof error->text, "out of memory");
		return -ENOMEM;
	}
	err = nftables_open(&r->nftables, rules, error);
	if (err) {
		free(r);
		return err;
	}
	*redirect = r;
	return 0;
}

int redirect_set_servers(
	struct redirect *redirect, const struct rules *rules, struct redirect_error *error)
{
	return nftables_set_servers(redirect->nftables, rules, error);
}

const char *redirect_table(const struct redirect *redirect)
{
	return nftables_table(redirect->nftables);
}

void redirect_withdraw(struct redirect *redirect)
{
	if (redirect) {
		nftables_withdraw(redirect->nftables);
	}
}

int redirect_original(const struct redirect *redirect, const struct endpoint *peer,
	const struct endpoint *local, int protocol, struct endpoint *server)
{
	(void)redirect; /* nftables: what connection tracking knows */
	return conntrack_original(peer, local, protocol, server);
}

void redirect_close(struct redirect *redirect)
{
	if (redirect) {
		nftables_close(redirect->nftables);
		free(redirect);
	}
}

bool redirect_is_installed(void)
{
	return nftables_is_installed();
}

int redirect_install(const struct rules *rules, struct redirect_error *error)
{
	return nftables_install(rules, error);
}

int redirect_set_installed_servers(
	const struct rules *before, const struct rules *now, struct redirect_error *error)
{
	return nftables_set_installed_servers(before, now, error);
}

int redirect_uninstall(const struct rules *rules, struct redirect_error *error)
{
	return nftables_uninstall(rules, error);
}

int redirect_print(const struct rules *rules, FILE *out)
{
	return nftables_print(rules, out);
}

void redirect_print_removal(FILE *out)
{
	nftables_print_removal(out);
}

int redirect_enter(const char *path, struct redirect_error *error)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	const int err = fd < 0 || setns(fd, CLONE_NEWNET) != 0 ? -errno : 0;

	if (err) {
		snprintf(error->text, sizeof error->text,
			"netns: found %.160s, expected a network namespace: %s", path,
			strerror(-err));
	}
	if (fd >= 0) {
		close(fd);
	}
	return err;
}
