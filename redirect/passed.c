/* SPDX-License-Identifier: Apache-2.0
 *
 * Adds an address to an interface, over rtnetlink. Never removes one: who else needs it is not
 * known.
 */
#include "redirect/passed.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>

enum { MESSAGE_SIZE = 1024 };

static const struct in6_addr PASSED6 = {.s6_addr = {[15] = 6}};

/** As `ip address add ::6/128 dev lo nodad` has it. */
static struct nlmsghdr *compose(char *buffer)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct ifaddrmsg *address;

	message->nlmsg_type = RTM_NEWADDR;
	message->nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK;
	message->nlmsg_seq = 1;
	address = mnl_nlmsg_put_extra_header(message, sizeof *address);
	address->ifa_family = AF_INET6;
	address->ifa_prefixlen = 128;
	address->ifa_flags = IFA_F_NODAD | IFA_F_PERMANENT;
	address->ifa_index = if_nametoindex("lo");
	mnl_attr_put(message, IFA_LOCAL, sizeof PASSED6, &PASSED6);
	mnl_attr_put(message, IFA_ADDRESS, sizeof PASSED6, &PASSED6);
	return message;
}

/** @return 0; -errno: as the kernel says */
static int send_and_wait(struct mnl_socket *nl)
{
	_Alignas(8) char buffer[MESSAGE_SIZE];
	const struct nlmsghdr *message = compose(buffer);
	ssize_t len;

	if (mnl_socket_sendto(nl, message, message->nlmsg_len) < 0) {
		return -errno;
	}
	len = mnl_socket_recvfrom(nl, buffer, sizeof buffer);
	if (len < 0 ||
		mnl_cb_run(buffer, (size_t)len, 1, mnl_socket_get_portid(nl), NULL, NULL) < 0) {
		return -errno;
	}
	return 0;
}

int passed_add_address(void)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	int err;

	if (!nl) {
		return -errno;
	}
	err = mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) ? -errno : send_and_wait(nl);
	mnl_socket_close(nl);
	return err == -EEXIST ? 0 : err;
}
