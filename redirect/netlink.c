/* SPDX-License-Identifier: Apache-2.0
 *
 * The socket that speaks to nf_tables: sends a batch and reads what came of it, looks for tables.
 */
#include "redirect/netlink.h"

#include "redirect/batch.h"
#include "redirect/nft.h"
#include "redirect/redirect.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <string.h>

enum { RESULTS_SIZE = 16384 };

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

int netlink_send(const struct mnl_socket *nl, const struct batch *b, struct redirect_error *error)
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

int netlink_open(struct mnl_socket **socket, struct redirect_error *error)
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

int netlink_dump(unsigned type, const char *table, const char *set, mnl_cb_t see, void *data)
{
	_Alignas(8) char buffer[RESULTS_SIZE];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct nfgenmsg *header;
	struct mnl_socket *nl;
	struct redirect_error error;
	int status;
	int err;

	request->nlmsg_type = (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type);
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	header = mnl_nlmsg_put_extra_header(request, sizeof *header);
	header->nfgen_family = BATCH_INET;
	header->version = NFNETLINK_V0;
	if (table) {
		mnl_attr_put_strz(request, NFTA_TABLE_NAME, table); /* 1 of every kind */
	}
	if (set) {
		mnl_attr_put_strz(request, NFTA_SET_ELEM_LIST_SET, set);
	}
	err = netlink_open(&nl, &error);
	if (err) {
		return err;
	}
	status = mnl_socket_sendto(nl, request, request->nlmsg_len) < 0 ? -1 : 1;
	while (status > 0) {
		const ssize_t len = mnl_socket_recvfrom(nl, buffer, sizeof buffer);
		status = len < 0 ? -1
				 : mnl_cb_run(buffer, (size_t)len, 0, mnl_socket_get_portid(nl),
					   see, data);
	}
	err = status < 0 ? -errno : 0;
	mnl_socket_close(nl);
	return err;
}

int netlink_look_for_table(const char *name, size_t name_len)
{
	struct search search = {.name = name, .len = name_len};
	const int err = netlink_dump(NFT_MSG_GETTABLE, NULL, NULL, see_table, &search);

	return search.found ? 0 : err ? err : -ENOENT;
}
