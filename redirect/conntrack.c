/* SPDX-License-Identifier: Apache-2.0
 *
 * Lists flows through ctnetlink and deletes some of them: by tuple, zone and id, so that a flow
 * that takes the place of another one meanwhile is not deleted in its stead.
 */
#include "redirect/conntrack.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>

enum { DNS_PORT = 53, LIST_SIZE = 16384, MESSAGE_SIZE = 1024, ATTRIBUTES_MAX = 32 };

/** One pass: a socket lists, another one deletes. */
struct pass {
	const struct conntrack_flows *flows;
	struct mnl_socket *list;
	struct mnl_socket *delete;
	unsigned count; /* deleted */
	uint32_t seq;   /* of the last deletion */
};

struct attributes {
	const struct nlattr *type[ATTRIBUTES_MAX];
};

/* Reading */

static int keep(const struct nlattr *attr, void *data)
{
	struct attributes *all = data;
	const uint16_t type = mnl_attr_get_type(attr);

	if (type < ATTRIBUTES_MAX) {
		all->type[type] = attr;
	}
	return MNL_CB_OK;
}

static struct attributes parse(const struct nlattr *nested)
{
	struct attributes all = {{NULL}};

	if (nested) {
		(void)mnl_attr_parse_nested(nested, keep, &all);
	}
	return all;
}

static uint16_t get_u16(const struct nlattr *attr)
{
	return attr && mnl_attr_validate(attr, MNL_TYPE_U16) == 0 ? ntohs(mnl_attr_get_u16(attr))
								  : 0;
}

static bool is_transport(const struct nlattr *number)
{
	uint8_t protocol;

	if (!number || mnl_attr_validate(number, MNL_TYPE_U8) != 0) {
		return false;
	}
	protocol = mnl_attr_get_u8(number);
	return protocol == IPPROTO_UDP || protocol == IPPROTO_TCP;
}

static bool is_wanted(const struct conntrack_flows *flows, const struct attributes *flow)
{
	const struct attributes original = parse(flow->type[CTA_TUPLE_ORIG]);
	const struct attributes reply = parse(flow->type[CTA_TUPLE_REPLY]);
	const struct attributes asked = parse(original.type[CTA_TUPLE_PROTO]);
	const struct attributes answered = parse(reply.type[CTA_TUPLE_PROTO]);
	const bool redirected = get_u16(answered.type[CTA_PROTO_SRC_PORT]) == flows->port;

	return is_transport(asked.type[CTA_PROTO_NUM]) &&
	       get_u16(asked.type[CTA_PROTO_DST_PORT]) == DNS_PORT &&
	       get_u16(flow->type[CTA_ZONE]) == flows->zone &&
	       redirected == (flows->which == CONNTRACK_REDIRECTED);
}

/* Writing */

static struct nlmsghdr *put_header(char *buffer, uint16_t type, uint16_t flags, uint8_t family)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct nfgenmsg *header;

	message->nlmsg_type = (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type);
	message->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	header = mnl_nlmsg_put_extra_header(message, sizeof *header);
	header->nfgen_family = family;
	header->version = NFNETLINK_V0;
	return message;
}

/** Copy an attribute as the kernel wrote it. */
static bool put_copy(struct nlmsghdr *message, const struct nlattr *attr)
{
	return !attr || mnl_attr_put_check(message, MESSAGE_SIZE, attr->nla_type,
				mnl_attr_get_payload_len(attr), mnl_attr_get_payload(attr));
}

static int send_message(const struct mnl_socket *nl, const struct nlmsghdr *message)
{
	return mnl_socket_sendto(nl, message, message->nlmsg_len) < 0 ? -errno : 0;
}

static int delete_flow(struct pass *pass, const struct attributes *flow, uint8_t family)
{
	_Alignas(8) char buffer[MESSAGE_SIZE];
	struct nlmsghdr *message = put_header(buffer, IPCTNL_MSG_CT_DELETE, NLM_F_ACK, family);
	ssize_t len;
	int err;

	message->nlmsg_seq = ++pass->seq;
	if (!put_copy(message, flow->type[CTA_TUPLE_ORIG]) ||
		!put_copy(message, flow->type[CTA_ZONE]) ||
		!put_copy(message, flow->type[CTA_ID])) {
		return -EMSGSIZE;
	}
	err = send_message(pass->delete, message);
	if (err) {
		return err;
	}
	len = mnl_socket_recvfrom(pass->delete, buffer, sizeof buffer);
	if (len < 0 || mnl_cb_run(buffer, (size_t)len, pass->seq,
			       mnl_socket_get_portid(pass->delete), NULL, NULL) < 0) {
		return errno == ENOENT ? 0 : -errno; /* it may end by itself meanwhile */
	}
	pass->count++;
	return 0;
}

/* The pass */

static int see_flow(const struct nlmsghdr *message, void *data)
{
	struct pass *pass = data;
	const struct nfgenmsg *header = mnl_nlmsg_get_payload(message);
	struct attributes flow = {{NULL}};
	int err = 0;

	if (mnl_nlmsg_get_payload_len(message) < sizeof *header) {
		return MNL_CB_OK;
	}
	(void)mnl_attr_parse(message, sizeof *header, keep, &flow);
	if (is_wanted(pass->flows, &flow)) {
		err = delete_flow(pass, &flow, header->nfgen_family);
	}
	errno = -err;
	return err ? MNL_CB_ERROR : MNL_CB_OK;
}

static int run(struct pass *pass)
{
	_Alignas(8) char buffer[LIST_SIZE];
	struct nlmsghdr *request = put_header(buffer, IPCTNL_MSG_CT_GET, NLM_F_DUMP, AF_UNSPEC);
	const unsigned portid = mnl_socket_get_portid(pass->list);
	int status = send_message(pass->list, request);

	if (status) {
		return status;
	}
	do {
		const ssize_t len = mnl_socket_recvfrom(pass->list, buffer, sizeof buffer);
		if (len < 0) {
			return -errno;
		}
		status = mnl_cb_run(buffer, (size_t)len, 0, portid, see_flow, pass);
	} while (status > 0);
	return status < 0 ? -errno : 0;
}

static struct mnl_socket *open_socket(void)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	int saved;

	if (!nl || mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) == 0) {
		return nl;
	}
	saved = errno;
	mnl_socket_close(nl);
	errno = saved;
	return NULL;
}

int conntrack_delete(const struct conntrack_flows *flows, unsigned *count)
{
	struct pass pass = {.flows = flows};
	int err;

	pass.list = open_socket();
	pass.delete = pass.list ? open_socket() : NULL;
	err = pass.delete ? run(&pass) : -errno;
	if (pass.delete) {
		mnl_socket_close(pass.delete);
	}
	if (pass.list) {
		mnl_socket_close(pass.list);
	}
	*count = pass.count;
	return err;
}
