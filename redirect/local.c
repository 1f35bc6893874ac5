/* SPDX-License-Identifier: Apache-2.0
 *
 * One route in the table `local`, through rtnetlink, as `ip -6 route add local PREFIX dev lo src
 * ::1` has it. The source keeps our own addresses out: queries come from ::1, as they do when they
 * are sent there.
 */
#include "redirect/local.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

enum { MESSAGE_SIZE = 1024 };

static struct nlmsghdr *put_route(char *buffer, uint16_t type, uint16_t flags,
	const struct in6_addr *prefix, unsigned bits, uint32_t metric)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct rtmsg *route;

	message->nlmsg_type = type;
	message->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
	message->nlmsg_seq = 1;
	route = mnl_nlmsg_put_extra_header(message, sizeof *route);
	route->rtm_family = AF_INET6;
	route->rtm_dst_len = (unsigned char)bits;
	route->rtm_table = RT_TABLE_LOCAL;
	route->rtm_protocol = RTPROT_STATIC;
	route->rtm_scope = RT_SCOPE_HOST;
	route->rtm_type = RTN_LOCAL;
	mnl_attr_put(message, RTA_DST, sizeof *prefix, prefix);
	mnl_attr_put(message, RTA_PREFSRC, sizeof in6addr_loopback, &in6addr_loopback);
	mnl_attr_put_u32(message, RTA_PRIORITY, metric);
	mnl_attr_put_u32(message, RTA_OIF, if_nametoindex("lo"));
	return message;
}

static int exchange(struct mnl_socket *nl, const struct nlmsghdr *message)
{
	_Alignas(8) char buffer[MESSAGE_SIZE];
	ssize_t len;

	if (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) != 0 ||
		mnl_socket_sendto(nl, message, message->nlmsg_len) < 0) {
		return -errno;
	}
	len = mnl_socket_recvfrom(nl, buffer, sizeof buffer);
	if (len < 0) {
		return -errno;
	}
	return mnl_cb_run(buffer, (size_t)len, 1, mnl_socket_get_portid(nl), NULL, NULL) < 0
		       ? -errno
		       : 0;
}

static int change(uint16_t type, uint16_t flags, const struct in6_addr *prefix, unsigned bits,
	uint32_t metric)
{
	_Alignas(8) char buffer[MESSAGE_SIZE];
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	int err;

	if (!nl) {
		return -errno;
	}
	err = exchange(nl, put_route(buffer, type, flags, prefix, bits, metric));
	mnl_socket_close(nl);
	return err;
}

int local_add(const struct in6_addr *prefix, unsigned bits, uint32_t metric)
{
	return change(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, prefix, bits, metric);
}

int local_remove(const struct in6_addr *prefix, unsigned bits, uint32_t metric)
{
	const int err = change(RTM_DELROUTE, 0, prefix, bits, metric);

	return err == -ESRCH ? 0 : err;
}
