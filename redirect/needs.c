/* SPDX-License-Identifier: Apache-2.0
 *
 * One table: a need, who has it, how to find out, what to do where it is not met. Changes nothing.
 */
#include "redirect/needs.h"

#include "conf/privileges.h"
#include "redirect/redirect.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/capability.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>

/* Questions: each answers 0, or a negative errno */

static int has_net_admin(void)
{
	return privileges_have(CAP_NET_ADMIN) ? 0 : -EPERM;
}

static int has_sys_admin(void)
{
	return privileges_have(CAP_SYS_ADMIN) ? 0 : -EPERM;
}

static int has_netfilter(void)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);

	if (!nl) {
		return -errno;
	}
	mnl_socket_close(nl);
	return 0;
}

/** @return what the kernel says to the question which generation its rules are */
static int ask_generation(void)
{
	_Alignas(8) char buffer[4096];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	struct nfgenmsg *header;
	ssize_t len = -1;

	if (!nl) {
		return -errno;
	}
	request->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN;
	request->nlmsg_flags = NLM_F_REQUEST;
	header = mnl_nlmsg_put_extra_header(request, sizeof *header);
	header->nfgen_family = AF_UNSPEC;
	header->version = NFNETLINK_V0;
	if (mnl_socket_sendto(nl, request, request->nlmsg_len) >= 0) {
		len = mnl_socket_recvfrom(nl, buffer, sizeof buffer);
	}
	const int err =
		len < 0 || mnl_cb_run(buffer, (size_t)len, 0, 0, NULL, NULL) < 0 ? -errno : 0;
	mnl_socket_close(nl);
	return err;
}

/** We can be root of a user namespace, and the network be that of another. */
static int owns_network(void)
{
	return ask_generation() == -EPERM ? -EPERM : 0;
}

static int has_nftables(void)
{
	return ask_generation();
}

/* Needs, in the order in which they are asked for: each builds on those before */

static const struct need {
	unsigned ways; /* enum needs_way, or'ed */
	int err;       /* that tells the caller which kind it is */
	int (*check)(void);
	const char *text; /* what is missing, by its name, and what to do */
} needs[] = {
	{NEEDS_NETNS, -EPERM, has_sys_admin,
		"CAP_SYS_ADMIN is missing, to enter another network namespace: run as root or "
		"grant it"},
	{NEEDS_NFTABLES, -EPERM, has_net_admin,
		"CAP_NET_ADMIN is missing: run as root or grant it (Kubernetes: "
		"securityContext.capabilities.add, systemd: AmbientCapabilities)"},
	{NEEDS_NFTABLES, -EOPNOTSUPP, has_netfilter,
		"the kernel lacks netfilter over netlink (CONFIG_NETFILTER_NETLINK): load the "
		"module nfnetlink"},
	{NEEDS_NFTABLES, -EPERM, owns_network,
		"CAP_NET_ADMIN is missing in the user namespace that this network namespace "
		"belongs to: run as root there, or in a network namespace of your own"},
	{NEEDS_NFTABLES, -EOPNOTSUPP, has_nftables,
		"the kernel lacks nf_tables (CONFIG_NF_TABLES): load the module nf_tables"},
};

int needs_check(unsigned ways, struct redirect_error *error)
{
	for (size_t i = 0; i < sizeof needs / sizeof needs[0]; i++) {
		if ((needs[i].ways & ways) != 0 && needs[i].check() != 0) {
			(void)snprintf(error->text, sizeof error->text, "%s", needs[i].text);
			return needs[i].err;
		}
	}
	return 0;
}
