/* SPDX-License-Identifier: Apache-2.0
 *
 * Installs the rules and removes them: sends what nft.c composes. Owns the netlink socket whose
 * life is the life of a daemon's table; the table of `install` belongs to nobody.
 */
#include "redirect/redirect.h"

#include "conf/log.h"
#include "redirect/batch.h"
#include "redirect/conntrack.h"
#include "redirect/nft.h"
#include "redirect/ruleset.h"

#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char TABLE_NAME[] = "kuma_dns";
static const char LASTING_NAME[] = "kuma_dns_installed";

enum { TABLES_MAX = 8, TABLE_NAME_SIZE = 32, RESULTS_SIZE = 16384 };

struct redirect {
	struct mnl_socket *nl; /* owns the table: when it closes, the kernel removes it */
	char table[TABLE_NAME_SIZE];
	struct rules rules;
	struct ruleset set; /* of `rules` */
	bool alone;         /* no other daemon's table was there when ours was installed */
};

/* Sending a batch */

/** What came back: the kernel checks every message, even after one has failed. */
struct results {
	unsigned acknowledged;
	int err;          /* of the first message that failed */
	unsigned err_seq; /* which one */
};

static int take_result(const struct nlmsghdr *message, struct results *results)
{
	const struct nlmsgerr *result = mnl_nlmsg_get_payload(message);

	if (message->nlmsg_type != NLMSG_ERROR ||
		mnl_nlmsg_get_payload_len(message) < sizeof *result) {
		return -EBADMSG;
	}
	if (result->error == 0) {
		results->acknowledged++;
	} else if (results->err == 0 || message->nlmsg_seq < results->err_seq) {
		results->err = result->error;
		results->err_seq = message->nlmsg_seq;
	}
	return 0;
}

/** The kernel works while we send: all results are there already. */
static int read_results(const struct mnl_socket *nl, struct results *results)
{
	_Alignas(8) char buffer[RESULTS_SIZE];

	for (;;) {
		const ssize_t got =
			recv(mnl_socket_get_fd(nl), buffer, sizeof buffer, MSG_DONTWAIT);
		int len = (int)got;

		if (got < 0 && (errno == EINTR || errno == ENOBUFS)) {
			continue; /* of hundreds of failures the first ones are there */
		}
		if (got < 0) {
			return errno == EAGAIN ? 0 : -errno;
		}
		for (const struct nlmsghdr *m = (const void *)buffer; mnl_nlmsg_ok(m, len);
			m = mnl_nlmsg_next(m, &len)) {
			const int err = take_result(m, results);
			if (err) {
				return err;
			}
		}
	}
}

/**
 * @param[out] error  set on failure
 * @return 0, or as nft_explain
 */
static int send_batch(
	const struct mnl_socket *nl, const struct batch *b, struct redirect_error *error)
{
	struct results results = {0};
	int err = 0;

	if (mnl_socket_sendto(nl, b->data, b->len) < 0) {
		err = -errno;
	} else {
		err = read_results(nl, &results);
	}
	if (results.err != 0) {
		return nft_explain(b, results.err_seq, results.err, error);
	}
	if (err == 0 && results.acknowledged != 1) {
		err = -EIO; /* neither done nor refused */
	}
	return err ? nft_explain(b, b->count - 1, err, error) : 0;
}

static int open_socket(struct mnl_socket **socket, struct redirect_error *error)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	int err = nl ? 0 : -errno;

	if (nl && mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) != 0) {
		err = -errno;
		mnl_socket_close(nl);
	}
	if (err) {
		snprintf(error->text, sizeof error->text,
			"cannot open a netfilter socket (CONFIG_NETFILTER_NETLINK): %s",
			strerror(-err));
		return err == -EPROTONOSUPPORT || err == -EAFNOSUPPORT ? -EOPNOTSUPP : err;
	}
	*socket = nl;
	return 0;
}

/* Installing */

static void name_table(struct redirect *r, unsigned number)
{
	if (number == 1) {
		snprintf(r->table, sizeof r->table, "%s", TABLE_NAME);
	} else {
		snprintf(r->table, sizeof r->table, "%s_%u", TABLE_NAME, number);
	}
}

/** Take the first name that no living process owns. */
static int install(struct redirect *r, struct batch *b, struct redirect_error *error)
{
	int err = -EBUSY;

	for (unsigned number = 1; number <= TABLES_MAX && err == -EBUSY; number++) {
		name_table(r, number);
		r->alone = number == 1;
		err = nft_compose_install(b, &r->set, r->table);
		if (err == 0) {
			err = send_batch(r->nl, b, error);
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

int redirect_open(
	struct redirect **redirect, const struct rules *rules, struct redirect_error *error)
{
	struct redirect *r = calloc(1, sizeof *r);
	struct batch *b = malloc(sizeof *b);
	int err = -ENOMEM;

	error->text[0] = '\0';
	if (!r || !b) {
		snprintf(error->text, sizeof error->text, "out of memory");
		goto fail;
	}
	r->rules = *rules;
	ruleset_compile(&r->set, &r->rules, RULESET_OWNED);
	err = open_socket(&r->nl, error);
	if (err) {
		goto fail;
	}
	err = install(r, b, error);
	if (err) {
		goto fail;
	}
	if (r->alone || !rules->zones) {
		forget(rules, false);
	}
	free(b);
	*redirect = r;
	return 0;
fail:
	if (r && r->nl) {
		mnl_socket_close(r->nl);
	}
	free(b);
	free(r);
	return err;
}

const char *redirect_table(const struct redirect *redirect)
{
	return redirect->table;
}

/* Removing */

static void remove_table(struct redirect *r)
{
	if (r->nl) {
		mnl_socket_close(r->nl);
	}
	r->nl = NULL;
}

void redirect_withdraw(struct redirect *redirect)
{
	struct redirect_error error;

	if (!redirect) {
		return;
	}
	struct batch *b = redirect->nl ? malloc(sizeof *b) : NULL;
	if (!b || nft_compose_withdraw(b, &redirect->set, redirect->table) != 0 ||
		send_batch(redirect->nl, b, &error) != 0) {
		remove_table(redirect);
	}
	free(b);
}

/** Tables whose name begins so, or is it. */
struct search {
	const char *name;
	size_t len;
	bool found;
};

static int see_name(const struct nlattr *attr, void *data)
{
	struct search *search = data;

	if (mnl_attr_get_type(attr) == NFTA_TABLE_NAME &&
		mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0 &&
		strncmp(mnl_attr_get_str(attr), search->name, search->len) == 0) {
		search->found = true;
	}
	return MNL_CB_OK;
}

static int see_table(const struct nlmsghdr *message, void *data)
{
	return mnl_attr_parse(message, sizeof(struct nfgenmsg), see_name, data);
}

static bool find_table(const char *name, size_t name_len)
{
	struct search search = {.name = name, .len = name_len};
	_Alignas(8) char buffer[RESULTS_SIZE];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct nfgenmsg *header;
	struct mnl_socket *nl;
	struct redirect_error error;
	int status;

	request->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	header = mnl_nlmsg_put_extra_header(request, sizeof *header);
	header->nfgen_family = BATCH_INET;
	header->version = NFNETLINK_V0;
	if (open_socket(&nl, &error) != 0) {
		return false;
	}
	status = mnl_socket_sendto(nl, request, request->nlmsg_len) < 0 ? -1 : 1;
	while (status > 0) {
		const ssize_t len = mnl_socket_recvfrom(nl, buffer, sizeof buffer);
		status = len < 0 ? -1
				 : mnl_cb_run(buffer, (size_t)len, 0, mnl_socket_get_portid(nl),
					   see_table, &search);
	}
	mnl_socket_close(nl);
	return search.found;
}

/** A table of another daemon: flows may be its own. */
static bool has_successor(void)
{
	return find_table(TABLE_NAME, strlen(TABLE_NAME));
}

void redirect_close(struct redirect *redirect)
{
	if (!redirect) {
		return;
	}
	remove_table(redirect);
	if (!has_successor()) {
		forget(&redirect->rules, true);
	}
	free(redirect);
}

/* Rules that last */

bool redirect_is_installed(void)
{
	return find_table(LASTING_NAME, sizeof LASTING_NAME);
}

/** Send a batch on a socket of its own. */
static int send_once(const struct batch *b, struct redirect_error *error)
{
	struct mnl_socket *nl;
	int err = open_socket(&nl, error);

	if (err) {
		return err;
	}
	err = send_batch(nl, b, error);
	mnl_socket_close(nl);
	return err;
}

static int out_of_memory(struct redirect_error *error)
{
	snprintf(error->text, sizeof error->text, "out of memory");
	return -ENOMEM;
}

int redirect_install(const struct rules *rules, struct redirect_error *error)
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

int redirect_uninstall(const struct rules *rules, struct redirect_error *error)
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

int redirect_print(const struct rules *rules, FILE *out)
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

void redirect_print_removal(FILE *out)
{
	fprintf(out, "table inet %s\ndelete table inet %s\n", LASTING_NAME, LASTING_NAME);
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
