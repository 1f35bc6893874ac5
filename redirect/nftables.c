/* SPDX-License-Identifier: Apache-2.0
 *
 * Redirection by nftables: installs the rules and removes them, that is, sends what nft.c composes.
 * Owns the netlink socket whose life is the life of a daemon's table; the tables of `install` and
 * of a daemon that fails closed belong to nobody.
 */
#include "redirect/nftables.h"

#include "conf/log.h"
#include "redirect/batch.h"
#include "redirect/conntrack.h"
#include "redirect/netlink.h"
#include "redirect/nft.h"
#include "redirect/passed.h"
#include "redirect/redirect.h"
#include "redirect/ruleset.h"
#include "redirect/unchanged.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char TABLE_NAME[] = "kuma_dns";
static const char CLOSED_NAME[] = "kuma_dns_closed"; /* of a daemon that fails closed */
static const char LASTING_NAME[] = "kuma_dns_installed";

enum { TABLES_MAX = 8, TABLE_NAME_SIZE = 32 };

struct nftables {
	struct mnl_socket *nl; /* may own the table: when it closes, the kernel removes it */
	char table[TABLE_NAME_SIZE];
	struct rules rules;
	struct ruleset set; /* of `rules` */
	bool alone;         /* no flows of another daemon are to be spared */
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

static int out_of_memory(struct redirect_error *error)
{
	snprintf(error->text, sizeof error->text, "out of memory");
	return -ENOMEM;
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

static int remove_named(struct batch *b, const char *table, struct redirect_error *error)
{
	const int err = nft_compose_remove(b, table);

	return err ? nft_explain(b, b->count, err, error) : send_once(b, error);
}

/** A table of another daemon: flows may be its own. */
static bool has_successor(void)
{
	return netlink_find_table(TABLE_NAME, strlen(TABLE_NAME));
}

/** In the place of a table of that name, where there is one. */
static int send_ruleset(const struct mnl_socket *nl, const struct ruleset *set, const char *table,
	struct batch *b, struct redirect_error *error)
{
	bool replace = netlink_find_table(table, strlen(table) + 1);
	int err;

	for (;;) {
		err = nft_compose_install(b, set, table, replace);
		err = err ? nft_explain(b, b->count, err, error) : netlink_send(nl, b, error);
		if (err != -EEXIST || replace) {
			return err;
		}
		replace = true; /* somebody has made it meanwhile */
	}
}

/** In the place of what an earlier one left, whose port may be another: flows to it are forgotten.
 */
static int install_closed(struct nftables *n, struct batch *b, struct redirect_error *error)
{
	snprintf(n->table, sizeof n->table, "%s", CLOSED_NAME);
	n->alone = true;
	return send_ruleset(n->nl, &n->set, n->table, b, error);
}

static bool remove_closed(struct batch *b)
{
	struct redirect_error error;
	const bool there = netlink_find_table(CLOSED_NAME, sizeof CLOSED_NAME);

	if (there && remove_named(b, CLOSED_NAME, &error) != 0) {
		log_warning("the table inet %s remains: %s", CLOSED_NAME, error.text);
	}
	return there;
}

void nftables_remove_closed(void)
{
	struct batch *b = malloc(sizeof *b);

	if (b) {
		(void)remove_closed(b);
	}
	free(b);
}

/** Take the first name that no living process owns. */
static int install_owned(struct nftables *n, struct batch *b, struct redirect_error *error)
{
	int err = -EBUSY;

	for (unsigned number = 1; number <= TABLES_MAX && err == -EBUSY; number++) {
		name_table(n, number);
		n->alone = number == 1;
		err = send_ruleset(n->nl, &n->set, n->table, b, error);
	}
	if (err == 0) {
		remove_closed(b);
	}
	return err;
}

/** Forget flows, as far as the kernel lets us: to be at hand sooner, not a condition. */
static void forget_to(
	const struct rules *rules, bool redirected, const struct endpoint *server, unsigned servers)
{
	const struct conntrack_flows flows = {
		.zone = rules->zones ? RULESET_ZONE : 0,
		.port = rules->port,
		.other_port = rules->other_port,
		.which = redirected ? CONNTRACK_REDIRECTED : CONNTRACK_OTHERS,
		.server = server,
		.server_count = servers,
	};
	unsigned count = 0;
	const int err = conntrack_delete(&flows, &count);

	if (err) {
		log_debug("conntrack: flows to port 53 stay as they are: %s", strerror(-err));
	} else if (count > 0) {
		log_debug("conntrack: %u flows to port 53 forgotten", count);
	}
}

static void forget(const struct rules *rules, bool redirected)
{
	forget_to(rules, redirected, NULL, 0);
}

/** Without the rules it would be of no use; without it, the rules serve all but IPv6 from others.
 */
static void prepare_envoy(const struct rules *rules)
{
	const int err = rules->inbound.enabled && rules->tcp6 ? passed_add_address() : 0;

	if (err) {
		log_debug("the address ::6, for Envoy: %s", strerror(-err));
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
	ruleset_compile(&n->set, &n->rules, rules->fail_closed ? RULESET_CLOSED : RULESET_OWNED);
	err = netlink_open(&n->nl, error);
	if (err) {
		goto fail;
	}
	err = rules->fail_closed ? install_closed(n, b, error) : install_owned(n, b, error);
	if (err) {
		goto fail;
	}
	if (n->alone || !rules->zones) {
		forget(rules, false);
	}
	prepare_envoy(rules);
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

	if (!nftables || nftables->rules.fail_closed) {
		return;
	}
	struct batch *b = nftables->nl ? malloc(sizeof *b) : NULL;
	if (!b || nft_compose_withdraw(b, &nftables->set, nftables->table) != 0 ||
		netlink_send(nftables->nl, b, &error) != 0) {
		remove_table(nftables);
	}
	free(b);
}

/** Whether nobody listens at our port any more: a successor may have another one. */
static bool is_free(uint16_t port)
{
	const struct sockaddr_in at = {.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	const bool free_now = fd >= 0 && bind(fd, (const struct sockaddr *)&at, sizeof at) == 0;

	if (fd >= 0) {
		close(fd);
	}
	return free_now;
}

void nftables_close(struct nftables *nftables)
{
	if (!nftables) {
		return;
	}
	remove_table(nftables);
	if (nftables->rules.fail_closed) {
		log_info("the table inet %s stays: queries fail until the next start; kuma-dns "
			 "uninstall removes it",
			nftables->table);
	} else if (!has_successor() || is_free(nftables->rules.port)) {
		forget(&nftables->rules, true);
	}
	free(nftables);
}

/* Servers that change */

/** @param[out] only  what `one` has and `other` has not. @return their count */
static unsigned difference(
	const struct rules *one, const struct rules *other, struct endpoint only[RULES_SERVERS_MAX])
{
	unsigned count = 0;

	for (unsigned i = 0; i < one->server_count; i++) {
		bool found = false;
		for (unsigned j = 0; j < other->server_count; j++) {
			found = found || endpoint_equal(&one->server[i], &other->server[j]);
		}
		if (!found) {
			only[count++] = one->server[i];
		}
	}
	return count;
}

/** With zones a flow that is redirected is another one than the same that is not. */
static void forget_changed(const struct rules *before, const struct rules *now)
{
	struct endpoint only[RULES_SERVERS_MAX];
	unsigned count;

	if (now->zones) {
		return;
	}
	count = difference(now, before, only);
	if (count > 0) {
		forget_to(now, false, only, count);
	}
	count = difference(before, now, only);
	if (count > 0) {
		forget_to(now, true, only, count);
	}
}

int nftables_set_servers(
	struct nftables *nftables, const struct rules *rules, struct redirect_error *error)
{
	const bool *has_servers = nftables->set.has_servers;
	struct batch *b = malloc(sizeof *b);
	int err;

	if (!b) {
		return out_of_memory(error);
	}
	if (!has_servers[0] && !has_servers[1]) {
		free(b);
		return 0;
	}
	err = nft_compose_servers(b, rules, has_servers, nftables->table);
	err = err ? nft_explain(b, b->count, err, error) : netlink_send(nftables->nl, b, error);
	free(b);
	if (err == 0) {
		forget_changed(&nftables->rules, rules);
		memcpy(nftables->rules.server, rules->server, sizeof rules->server);
		nftables->rules.server_count = rules->server_count;
	}
	return err;
}

/* Rules that last */

bool nftables_is_installed(void)
{
	return netlink_find_table(LASTING_NAME, sizeof LASTING_NAME) ||
	       netlink_find_table(CLOSED_NAME, sizeof CLOSED_NAME);
}

static int compile_lasting(struct ruleset *set, const struct rules *rules, struct batch *b,
	struct redirect_error *error)
{
	int err;

	ruleset_compile(set, rules, RULESET_LASTING);
	err = nft_take_digest(b, set, LASTING_NAME);
	return err ? nft_explain(b, b->count, err, error) : 0;
}

/** What is there already, as it is to be, stays. */
static int make_lasting(
	const struct ruleset *set, struct batch *b, bool *changed, struct redirect_error *error)
{
	struct mnl_socket *nl;
	int err;

	*changed = !unchanged_is(set, LASTING_NAME);
	if (!*changed) {
		return 0;
	}
	err = netlink_open(&nl, error);
	if (err == 0) {
		err = send_ruleset(nl, set, LASTING_NAME, b, error);
		mnl_socket_close(nl);
	}
	return err;
}

int nftables_install(const struct rules *rules, bool *changed, struct redirect_error *error)
{
	struct ruleset *set = malloc(sizeof *set);
	struct batch *b = malloc(sizeof *b);
	int err = set && b ? compile_lasting(set, rules, b, error) : out_of_memory(error);

	if (err == 0) {
		err = make_lasting(set, b, changed, error);
	}
	if (err == 0) {
		/* It comes first, and its port may be another. */
		*changed = remove_closed(b) || *changed;
		prepare_envoy(rules);
	}
	if (err == 0 && (rules->ipv4 || rules->ipv6)) {
		forget(rules, false);
	}
	free(b);
	free(set);
	return err;
}

/** Whether it has sets, and of which family, depends on how it was installed: one by one. */
int nftables_set_installed_servers(
	const struct rules *before, const struct rules *now, struct redirect_error *error)
{
	static const bool families[2][2] = {{true, false}, {false, true}};
	struct batch *b;
	bool any = false;
	/* A batch that fails because it is not there costs the kernel some 15 ms. */
	int err = netlink_look_for_table(LASTING_NAME, sizeof LASTING_NAME);

	if (err == -ENOENT) {
		return err;
	}
	b = malloc(sizeof *b);
	if (!b) {
		return out_of_memory(error);
	}
	err = 0; /* what else went wrong is said by the batch */
	for (unsigned i = 0; i < 2 && (err == 0 || err == -ENOENT); i++) {
		err = nft_compose_servers(b, now, families[i], LASTING_NAME);
		err = err ? nft_explain(b, b->count, err, error) : send_once(b, error);
		any = any || err == 0;
	}
	free(b);
	if (err == -ENOENT && any) {
		err = 0;
	}
	if (err == 0) {
		forget_changed(before, now);
	}
	return err;
}

int nftables_uninstall(const struct rules *rules, struct redirect_error *error)
{
	struct batch *b = malloc(sizeof *b);
	int err;

	if (!b) {
		return out_of_memory(error);
	}
	err = remove_named(b, LASTING_NAME, error);
	if (err == 0) {
		err = remove_named(b, CLOSED_NAME, error);
	}
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
	if (rules->inbound.enabled && rules->tcp6) {
		fputs("# and: ip address add ::6/128 dev lo nodad\n", out);
	}
	free(set);
	return 0;
}

void nftables_print_removal(FILE *out)
{
	fprintf(out, "table inet %s\ndelete table inet %s\n", LASTING_NAME, LASTING_NAME);
	fprintf(out, "table inet %s\ndelete table inet %s\n", CLOSED_NAME, CLOSED_NAME);
}
