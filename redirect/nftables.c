/* SPDX-License-Identifier: Apache-2.0
 *
 * Redirection by nftables: installs the rules and removes them, that is, sends what nft.c composes.
 * Owns the netlink socket whose life is the life of a daemon's table; the table of `install`
 * belongs to nobody.
 */
#include "redirect/nftables.h"

#include "conf/log.h"
#include "redirect/batch.h"
#include "redirect/conntrack.h"
#include "redirect/netlink.h"
#include "redirect/nft.h"
#include "redirect/redirect.h"
#include "redirect/ruleset.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char TABLE_NAME[] = "kuma_dns";
static const char LASTING_NAME[] = "kuma_dns_installed";

enum { TABLES_MAX = 8, TABLE_NAME_SIZE = 32 };

struct nftables {
	struct mnl_socket *nl; /* owns the table: when it closes, the kernel removes it */
	char table[TABLE_NAME_SIZE];
	struct rules rules;
	struct ruleset set; /* of `rules` */
	bool alone;         /* no other daemon's table was there when ours was installed */
};

/* Installing */

static void name_table(struct nftables *n, unsigned number)
{
	if (number == 1) {
		snprintf(n->table, sizeof n->table, "%s", TABLE_NAME);
	} else {
		snprintf(n->table, sizeof n->table, "%s_%u", TABLE_NAME, number);
	}
}

/** Take the first name that no living process owns. */
static int install(struct nftables *n, struct batch *b, struct redirect_error *error)
{
	int err = -EBUSY;

	for (unsigned number = 1; number <= TABLES_MAX && err == -EBUSY; number++) {
		name_table(n, number);
		n->alone = number == 1;
		err = nft_compose_install(b, &n->set, n->table);
		if (err == 0) {
			err = netlink_send(n->nl, b, error);
		}
	}
	return err;
}

/** Forget flows, as far as the kernel lets us: to be at hand sooner, not a condition. */
static void forget(const struct rules *rules, bool redirected)
{
	const struct conntrack_flows flows = {
		.zone = rules->zones ? RULESET_ZONE : 0,
		.port = rules->port,
		.other_port = rules->other_port,
		.which = redirected ? CONNTRACK_REDIRECTED : CONNTRACK_OTHERS,
	};
	unsigned count = 0;
	const int err = conntrack_delete(&flows, &count);

	if (err) {
		log_debug("conntrack: flows to port 53 stay as they are: %s", strerror(-err));
	} else if (count > 0) {
		log_debug("conntrack: %u flows to port 53 forgotten", count);
	}
}

int nftables_open(
	struct nftables **nftables, const struct rules *rules, struct redirect_error *error)
{
	struct nftables *n = calloc(1, sizeof *n);
	struct batch *b = malloc(sizeof *b);
	int err = -ENOMEM;

	error->text[0] = '\0';
	if (!n || !b) {
		snprintf(error->text, sizeof error->text, "out of memory");
		goto fail;
	}
	n->rules = *rules;
	ruleset_compile(&n->set, &n->rules, RULESET_OWNED);
	err = netlink_open(&n->nl, error);
	if (err) {
		goto fail;
	}
	err = install(n, b, error);
	if (err) {
		goto fail;
	}
	if (n->alone || !rules->zones) {
		forget(rules, false);
	}
	free(b);
	*nftables = n;
	return 0;
fail:
	if (n && n->nl) {
		mnl_socket_close(n->nl);
	}
	free(b);
	free(n);
	return err;
}

const char *nftables_table(const struct nftables *nftables)
{
	return nftables->table;
}

/* Removing */

static void remove_table(struct nftables *n)
{
	if (n->nl) {
		mnl_socket_close(n->nl);
	}
	n->nl = NULL;
}

void nftables_withdraw(struct nftables *nftables)
{
	struct redirect_error error;

	if (!nftables) {
		return;
	}
	struct batch *b = nftables->nl ? malloc(sizeof *b) : NULL;
	if (!b || nft_compose_withdraw(b, &nftables->set, nftables->table) != 0 ||
		netlink_send(nftables->nl, b, &error) != 0) {
		remove_table(nftables);
	}
	free(b);
}

/** A table of another daemon: flows may be its own. */
static bool has_successor(void)
{
	return netlink_find_table(TABLE_NAME, strlen(TABLE_NAME));
}

void nftables_close(struct nftables *nftables)
{
	if (!nftables) {
		return;
	}
	remove_table(nftables);
	if (!has_successor()) {
		forget(&nftables->rules, true);
	}
	free(nftables);
}

/* Rules that last */

bool nftables_is_installed(void)
{
	return netlink_find_table(LASTING_NAME, sizeof LASTING_NAME);
}

/** Send a batch on a socket of its own. */
static int send_once(const struct batch *b, struct redirect_error *error)
{
	struct mnl_socket *nl;
	int err = netlink_open(&nl, error);

	if (err) {
		return err;
	}
	err = netlink_send(nl, b, error);
	mnl_socket_close(nl);
	return err;
}

static int out_of_memory(struct redirect_error *error)
{
	snprintf(error->text, sizeof error->text, "out of memory");
	return -ENOMEM;
}

int nftables_install(const struct rules *rules, struct redirect_error *error)
{
	struct ruleset *set = malloc(sizeof *set);
	struct batch *b = malloc(sizeof *b);
	int err;

	if (set && b) {
		ruleset_compile(set, rules, RULESET_LASTING);
		err = nft_compose_install(b, set, LASTING_NAME);
		err = err ? nft_explain(b, b->count, err, error) : send_once(b, error);
	} else {
		err = out_of_memory(error);
	}
	if (err == 0 && (rules->ipv4 || rules->ipv6)) {
		forget(rules, false);
	}
	free(b);
	free(set);
	return err;
}

int nftables_uninstall(const struct rules *rules, struct redirect_error *error)
{
	struct batch *b = malloc(sizeof *b);
	int err;

	if (!b) {
		return out_of_memory(error);
	}
	err = nft_compose_remove(b, LASTING_NAME);
	err = err ? nft_explain(b, b->count, err, error) : send_once(b, error);
	if (err == 0 && !has_successor()) {
		forget(rules, true);
	}
	free(b);
	return err;
}

int nftables_print(const struct rules *rules, FILE *out)
{
	struct ruleset *set = malloc(sizeof *set);

	if (!set) {
		return -ENOMEM;
	}
	ruleset_compile(set, rules, RULESET_LASTING);
	ruleset_print(set, LASTING_NAME, out);
	free(set);
	return 0;
}

void nftables_print_removal(FILE *out)
{
	fprintf(out, "table inet %s\ndelete table inet %s\n", LASTING_NAME, LASTING_NAME);
}
