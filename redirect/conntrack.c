/* SPDX-License-Identifier: Apache-2.0
 *
 * Lists flows through ctnetlink and deletes some of them: by tuple, zone and id, so that a flow
 * that takes the place of another one meanwhile is not deleted in its stead.
 */
#include "redirect/conntrack.h"

#include "conf/endpoint.h"
#include "redirect/ruleset.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>

enum { DNS_PORT = 53, LIST_SIZE = 16384, MESSAGE_SIZE = 4096, ATTRIBUTES_MAX = 32 };

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

static bool is_address(const struct nlattr *attr, const void *address, size_t len)
{
	return attr && mnl_attr_get_payload_len(attr) == len &&
	       memcmp(mnl_attr_get_payload(attr), address, len) == 0;
}

static bool is_to_server(const struct conntrack_flows *flows, const struct attributes *original)
{
	const struct attributes ip = parse(original->type[CTA_TUPLE_IP]);

	for (unsigned i = 0; i < flows->server_count; i++) {
		const struct endpoint *e = &flows->server[i];

		if (e->sa.sa_family == AF_INET
				? is_address(ip.type[CTA_IP_V4_DST], &e->in.sin_addr, 4)
				: is_address(ip.type[CTA_IP_V6_DST], &e->in6.sin6_addr, 16)) {
			return true;
		}
	}
	return !flows->server;
}

static bool is_wanted(const struct conntrack_flows *flows, const struct attributes *flow)
{
	const struct attributes original = parse(flow->type[CTA_TUPLE_ORIG]);
	const struct attributes reply = parse(flow->type[CTA_TUPLE_REPLY]);
	const struct attributes asked = parse(original.type[CTA_TUPLE_PROTO]);
	const struct attributes answered = parse(reply.type[CTA_TUPLE_PROTO]);
	const uint16_t from = get_u16(answered.type[CTA_PROTO_SRC_PORT]);
	const bool redirected = from == flows->port || (from != 0 && from == flows->other_port);

	return is_transport(asked.type[CTA_PROTO_NUM]) &&
	       get_u16(asked.type[CTA_PROTO_DST_PORT]) == DNS_PORT &&
	       get_u16(flow->type[CTA_ZONE]) == flows->zone &&
	       redirected == (flows->which == CONNTRACK_REDIRECTED) &&
	       is_to_server(flows, &original);
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

static int see_entries(const struct nlmsghdr *message, void *data)
{
	uint32_t *entries = data;
	struct attributes stats = {{NULL}};
	const struct nlattr *attr;

	(void)mnl_attr_parse(message, sizeof(struct nfgenmsg), keep, &stats);
	attr = stats.type[CTA_STATS_GLOBAL_ENTRIES];
	if (attr && mnl_attr_validate(attr, MNL_TYPE_U32) == 0) {
		*entries = ntohl(mnl_attr_get_u32(attr));
	}
	return MNL_CB_STOP;
}

/** In a network namespace that is new, there is nothing to look for in a table of all. */
static bool is_empty(const struct pass *pass)
{
	_Alignas(8) char buffer[LIST_SIZE];
	const struct nlmsghdr *request = put_header(buffer, IPCTNL_MSG_CT_GET_STATS, 0, AF_UNSPEC);
	uint32_t entries = 1;
	ssize_t len;

	if (send_message(pass->list, request) != 0) {
		return false;
	}
	len = mnl_socket_recvfrom(pass->list, buffer, sizeof buffer);
	if (len > 0) {
		(void)mnl_cb_run(buffer, (size_t)len, 0, mnl_socket_get_portid(pass->list),
			see_entries, &entries);
	}
	return entries == 0;
}

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
	err = !pass.delete ? -errno : is_empty(&pass) ? 0 : run(&pass);
	if (pass.delete) {
		mnl_socket_close(pass.delete);
	}
	if (pass.list) {
		mnl_socket_close(pass.list);
	}
	*count = pass.count;
	return err;
}

/* One flow */

static void put_address(struct nlmsghdr *message, bool source, const struct endpoint *e)
{
	if (e->sa.sa_family == AF_INET) {
		mnl_attr_put(message, source ? CTA_IP_V4_SRC : CTA_IP_V4_DST, sizeof e->in.sin_addr,
			&e->in.sin_addr);
	} else {
		mnl_attr_put(message, source ? CTA_IP_V6_SRC : CTA_IP_V6_DST,
			sizeof e->in6.sin6_addr, &e->in6.sin6_addr);
	}
}

/** Ask for the flow whose answers go from `local` to `peer`. */
static void put_reply_tuple(struct nlmsghdr *message, const struct endpoint *local,
	const struct endpoint *peer, int protocol)
{
	struct nlattr *tuple = mnl_attr_nest_start(message, CTA_TUPLE_REPLY);
	struct nlattr *part = mnl_attr_nest_start(message, CTA_TUPLE_IP);

	put_address(message, true, local);
	put_address(message, false, peer);
	mnl_attr_nest_end(message, part);
	part = mnl_attr_nest_start(message, CTA_TUPLE_PROTO);
	mnl_attr_put_u8(message, CTA_PROTO_NUM, (uint8_t)protocol);
	mnl_attr_put_u16(message, CTA_PROTO_SRC_PORT, htons(endpoint_port(local)));
	mnl_attr_put_u16(message, CTA_PROTO_DST_PORT, htons(endpoint_port(peer)));
	mnl_attr_nest_end(message, part);
	mnl_attr_nest_end(message, tuple);
}

/** Where the flow's queries went. @return whether all of it is there */
static bool read_original(const struct attributes *flow, sa_family_t family, struct endpoint *to)
{
	const struct attributes original = parse(flow->type[CTA_TUPLE_ORIG]);
	const struct attributes ip = parse(original.type[CTA_TUPLE_IP]);
	const struct attributes ports = parse(original.type[CTA_TUPLE_PROTO]);
	const uint16_t port = get_u16(ports.type[CTA_PROTO_DST_PORT]);
	const struct nlattr *address = ip.type[family == AF_INET ? CTA_IP_V4_DST : CTA_IP_V6_DST];

	memset(to, 0, sizeof *to);
	if (family == AF_INET && address &&
		mnl_attr_get_payload_len(address) == sizeof to->in.sin_addr) {
		to->in.sin_family = AF_INET;
		to->in.sin_port = htons(port);
		memcpy(&to->in.sin_addr, mnl_attr_get_payload(address), sizeof to->in.sin_addr);
		to->len = sizeof to->in;
	} else if (family == AF_INET6 && address &&
		   mnl_attr_get_payload_len(address) == sizeof to->in6.sin6_addr) {
		to->in6.sin6_family = AF_INET6;
		to->in6.sin6_port = htons(port);
		memcpy(&to->in6.sin6_addr, mnl_attr_get_payload(address), sizeof to->in6.sin6_addr);
		to->len = sizeof to->in6;
	}
	return to->len > 0 && port != 0;
}

struct lookup {
	sa_family_t family;
	struct endpoint *server;
	bool found;
};

static int see_original(const struct nlmsghdr *message, void *data)
{
	struct lookup *lookup = data;
	struct attributes flow = {{NULL}};

	(void)mnl_attr_parse(message, sizeof(struct nfgenmsg), keep, &flow);
	lookup->found = read_original(&flow, lookup->family, lookup->server);
	return MNL_CB_OK;
}

/** @return as conntrack_original; -ENOENT: there is no such flow in this zone */
static int look_up(const struct mnl_socket *nl, const struct endpoint *peer,
	const struct endpoint *local, int protocol, uint16_t zone, struct endpoint *server)
{
	_Alignas(8) char buffer[MESSAGE_SIZE];
	struct lookup lookup = {.family = peer->sa.sa_family, .server = server};
	struct nlmsghdr *request =
		put_header(buffer, IPCTNL_MSG_CT_GET, NLM_F_ACK, (uint8_t)lookup.family);
	int status = 1;
	int err;

	request->nlmsg_seq = 1U + zone;
	put_reply_tuple(request, local, peer, protocol);
	if (zone != 0) {
		mnl_attr_put_u16(request, CTA_ZONE, htons(zone));
	}
	err = send_message(nl, request);
	while (err == 0 && status > 0) {
		const ssize_t len = mnl_socket_recvfrom(nl, buffer, sizeof buffer);
		status = len < 0 ? -1
				 : mnl_cb_run(buffer, (size_t)len, 1U + zone,
					   mnl_socket_get_portid(nl), see_original, &lookup);
		err = status < 0 ? -errno : 0;
	}
	return err ? err : lookup.found ? 0 : -ENOENT;
}

int conntrack_original(const struct endpoint *peer, const struct endpoint *local, int protocol,
	struct endpoint *server)
{
	struct mnl_socket *nl;
	int err;

	if (peer->sa.sa_family != local->sa.sa_family) {
		return -ENOENT;
	}
	nl = open_socket();
	if (!nl) {
		return -errno;
	}
	err = look_up(nl, peer, local, protocol, RULESET_ZONE, server);
	if (err == -ENOENT) {
		err = look_up(nl, peer, local, protocol, 0, server);
	}
	mnl_socket_close(nl);
	return err == 0 && endpoint_equal(server, local) ? -ENOENT : err;
}
