/* SPDX-License-Identifier: Apache-2.0
 *
 * Lists sockets through sock_diag, once for each transport and family.
 */
#include "redirect/older.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

enum { DNS_PORT = 53, LIST_SIZE = 16384 };

struct older {
	uint32_t mark;
	unsigned count;
};

static int see_mark(const struct nlattr *attr, void *data)
{
	uint32_t *mark = data;

	if (mnl_attr_get_type(attr) == INET_DIAG_MARK &&
		mnl_attr_validate(attr, MNL_TYPE_U32) == 0) {
		*mark = mnl_attr_get_u32(attr);
	}
	return MNL_CB_OK;
}

static int see_socket(const struct nlmsghdr *message, void *data)
{
	struct older *older = data;
	const struct inet_diag_msg *socket = mnl_nlmsg_get_payload(message);
	uint32_t mark = 0;

	if (mnl_nlmsg_get_payload_len(message) < sizeof *socket) {
		return MNL_CB_OK;
	}
	(void)mnl_attr_parse(message, sizeof *socket, see_mark, &mark);
	if (socket->id.idiag_dport == htons(DNS_PORT) && (mark != older->mark || mark == 0)) {
		older->count++;
	}
	return MNL_CB_OK;
}

/** A UDP socket that is connected is "established", too. */
static int list(struct mnl_socket *nl, uint8_t family, uint8_t protocol, struct older *older)
{
	_Alignas(8) char buffer[LIST_SIZE];
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct inet_diag_req_v2 *request;
	int status;

	message->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	request = mnl_nlmsg_put_extra_header(message, sizeof *request);
	request->sdiag_family = family;
	request->sdiag_protocol = protocol;
	request->idiag_states = 1 << TCP_ESTABLISHED;
	if (mnl_socket_sendto(nl, message, message->nlmsg_len) < 0) {
		return -errno;
	}
	do {
		const ssize_t len = mnl_socket_recvfrom(nl, buffer, sizeof buffer);
		status = len < 0 ? -1
				 : mnl_cb_run(buffer, (size_t)len, 0, mnl_socket_get_portid(nl),
					   see_socket, older);
	} while (status > 0);
	return status < 0 ? -errno : 0;
}

int older_count(uint32_t mark, unsigned *count)
{
	static const struct {
		uint8_t family;
		uint8_t protocol;
	} lists[] = {
		{AF_INET, IPPROTO_UDP},
		{AF_INET6, IPPROTO_UDP},
		{AF_INET, IPPROTO_TCP},
		{AF_INET6, IPPROTO_TCP},
	};
	struct older older = {.mark = mark};
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);
	int err = nl && mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) == 0 ? 0 : -errno;

	for (unsigned i = 0; i < sizeof lists / sizeof *lists && err == 0; i++) {
		err = list(nl, lists[i].family, lists[i].protocol, &older);
	}
	if (nl) {
		mnl_socket_close(nl);
	}
	*count = older.count;
	return err;
}
