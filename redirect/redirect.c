/* SPDX-License-Identifier: Apache-2.0
 *
 * Redirection as the rest of the program sees it, whoever does it: DNS of this host is done by
 * ebpf.c or nftables.c, all else by nftables.c.
 */
#include "redirect/redirect.h"

#include "conf/log.h"
#include "redirect/conntrack.h"
#include "redirect/ebpf.h"
#include "redirect/nftables.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct redirect {
	struct nftables *nftables; /* NULL: nothing is left for it */
	struct ebpf *ebpf;         /* NULL: nftables does DNS as well */
	bool pinned;               /* `ebpf` is somebody else's, who may have rules as well */
	char means[256];
};

static bool has_dns(const struct rules *rules)
{
	return rules->ipv4 || rules->ipv6;
}

/** Whether there is something that eBPF at the sockets does not do. */
static bool needs_nftables(const struct rules *rules)
{
	return rules->inbound.enabled || rules->outbound.enabled || rules->vnets.count > 0 ||
	       rules->drop_invalid;
}

static struct rules but_sockets(const struct rules *rules)
{
	struct rules rest = *rules;

	rest.at_sockets = true;
	return rest;
}

static bool wants_ebpf(const struct rules *rules)
{
	return rules->mode != CONF_NFTABLES && has_dns(rules);
}

/* In what follows `means` says who does it, and why. */

enum { MEANS_SIZE = sizeof((struct redirect *)0)->means };

static void fall_back(const struct redirect_error *error, char *means)
{
	log_info("redirect.mode auto: nftables, since %s", error->text);
	snprintf(means, MEANS_SIZE, "nftables, since %.230s", error->text);
}

/** What eBPF cannot do, so that mode auto does not take it. @return 0; -EOPNOTSUPP, `error` set */
static int check_possible(const struct rules *rules, struct redirect_error *error)
{
	if (!rules->fail_closed) {
		return 0;
	}
	snprintf(error->text, sizeof error->text,
		"redirect.failClosed is true, and programs end "
		"with the daemon");
	return -EOPNOTSUPP;
}

static int open_ebpf(struct redirect *r, const struct rules *rules, struct redirect_error *error)
{
	const struct rules rest = but_sockets(rules);
	int err = check_possible(rules, error);

	if (err == 0) {
		err = ebpf_open(&r->ebpf, rules, error);
	}
	if (err) {
		return err;
	}
	snprintf(r->means, sizeof r->means, "eBPF at %.240s", ebpf_cgroup(r->ebpf));
	err = needs_nftables(rules) ? nftables_open(&r->nftables, &rest, error) : 0;
	if (err) {
		ebpf_close(r->ebpf);
		r->ebpf = NULL;
		return err;
	}
	nftables_remove_closed();
	return 0;
}

static int open_either(struct redirect *r, const struct rules *rules, struct redirect_error *error)
{
	int err;

	snprintf(r->means, sizeof r->means, "nftables");
	if (wants_ebpf(rules)) {
		err = open_ebpf(r, rules, error);
		if (err == 0 || rules->mode != CONF_AUTO) {
			return err;
		}
		fall_back(error, r->means);
	}
	return nftables_open(&r->nftables, rules, error);
}

int redirect_open(
	struct redirect **redirect, const struct rules *rules, struct redirect_error *error)
{
	struct redirect *r = calloc(1, sizeof *r);
	int err;

	if (!r) {
		snprintf(error->text, sizeof error->text, "out of memory");
		return -ENOMEM;
	}
	err = open_either(r, rules, error);
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
	if (redirect->ebpf) {
		ebpf_set_servers(redirect->ebpf, rules);
		return 0; /* nftables has no sets of servers then */
	}
	return nftables_set_servers(redirect->nftables, rules, error);
}

const char *redirect_table(const struct redirect *redirect)
{
	return redirect->nftables ? nftables_table(redirect->nftables) : "";
}

const char *redirect_means(const struct redirect *redirect)
{
	return redirect->means;
}

bool redirect_covers_us(const struct redirect *redirect)
{
	return !redirect->ebpf || ebpf_covers_us(redirect->ebpf);
}

void redirect_withdraw(struct redirect *redirect)
{
	if (redirect) {
		ebpf_withdraw(redirect->ebpf);
		nftables_withdraw(redirect->nftables);
	}
}

int redirect_original(const struct redirect *redirect, const struct endpoint *peer,
	const struct endpoint *local, int protocol, struct endpoint *server)
{
	const int err =
		redirect && redirect->ebpf ? ebpf_original(redirect->ebpf, local, server) : -ENOENT;

	/* Queries of virtual networks come by nftables. */
	if (err == 0 || (redirect && !redirect->nftables && !redirect->pinned)) {
		return err;
	}
	return conntrack_original(peer, local, protocol, server);
}

void redirect_close(struct redirect *redirect)
{
	if (redirect) {
		ebpf_close(redirect->ebpf);
		nftables_close(redirect->nftables);
		free(redirect);
	}
}

/* Rules that last */

bool redirect_is_installed(void)
{
	return nftables_is_installed() || ebpf_is_installed();
}

bool redirect_is_pinned(void)
{
	return ebpf_is_installed();
}

int redirect_open_pinned(struct redirect **redirect, struct redirect_error *error)
{
	struct redirect *r = calloc(1, sizeof *r);
	int err;

	if (!r) {
		snprintf(error->text, sizeof error->text, "out of memory");
		return -ENOMEM;
	}
	r->pinned = true;
	err = ebpf_open_pinned(&r->ebpf, error);
	if (err) {
		free(r);
		return err;
	}
	*redirect = r;
	return 0;
}

void redirect_set_elsewhere(struct redirect *redirect, bool elsewhere)
{
	ebpf_set_elsewhere(redirect->ebpf, elsewhere);
}

/** What nftables does is atomic, and comes last: what eBPF did is kept or undone with it. */
static int finish(struct ebpf *e, const struct rules *rules, int err)
{
	if (err) {
		ebpf_roll_back(e);
	} else {
		ebpf_commit(e, rules);
	}
	return err;
}

/** What an earlier call installed by other means goes when the new is in place. */
static int install_nftables(const struct rules *rules, bool *changed, struct redirect_error *error)
{
	const bool pinned = ebpf_is_installed();
	struct ebpf *e;
	int err = ebpf_uninstall(&e, error);

	if (err == 0) {
		err = finish(e, rules, nftables_install(rules, changed, error));
		*changed = *changed || pinned;
	}
	return err;
}

/** What eBPF leaves. */
static int install_rest(const struct rules *rules, struct redirect_error *error)
{
	const struct rules rest = but_sockets(rules);
	bool changed;

	if (needs_nftables(rules)) {
		return nftables_install(&rest, &changed, error);
	}
	return nftables_is_installed() ? nftables_uninstall(rules, error) : 0;
}

static int install_ebpf(const struct rules *rules, struct redirect_error *error)
{
	struct ebpf *e;
	const int err = ebpf_install(&e, rules, error);

	return err ? err : finish(e, rules, install_rest(rules, error));
}

int redirect_install(const struct rules *rules, bool *changed, struct redirect_error *error)
{
	char means[MEANS_SIZE];

	*changed = true; /* programs always are */
	if (wants_ebpf(rules)) {
		const int err = install_ebpf(rules, error);
		if (err == 0 || rules->mode != CONF_AUTO) {
			return err;
		}
		fall_back(error, means);
	}
	return install_nftables(rules, changed, error);
}

int redirect_set_installed_servers(
	const struct rules *before, const struct rules *now, struct redirect_error *error)
{
	return nftables_set_installed_servers(before, now, error);
}

int redirect_uninstall(const struct rules *rules, struct redirect_error *error)
{
	struct ebpf *e;
	const int err = ebpf_uninstall(&e, error);

	return err ? err : finish(e, rules, nftables_uninstall(rules, error));
}

int redirect_print(const struct rules *rules, FILE *out)
{
	const struct rules rest = but_sockets(rules);

	if (!wants_ebpf(rules)) {
		return nftables_print(rules, out);
	}
	ebpf_print(rules, out);
	if (rules->mode == CONF_AUTO) {
		fputs("# where that cannot be:\n", out);
		return nftables_print(rules, out);
	}
	return needs_nftables(rules) ? nftables_print(&rest, out) : 0;
}

void redirect_print_removal(FILE *out)
{
	ebpf_print_removal(out);
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
