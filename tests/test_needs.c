/* SPDX-License-Identifier: Apache-2.0
 *
 * Each need, missing alone. The kernel's answers are played; what it really says is for the tests
 * end to end.
 */
#include "redirect/needs.h"

#include "redirect/redirect.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/capability.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static unsigned missing; /* a capability, or none */
static int open_errno;   /* of the netlink socket; 0: it opens */
static int answer_errno; /* of nf_tables */

bool __wrap_privileges_have(unsigned capability);
struct mnl_socket *__wrap_mnl_socket_open2(int bus, int flags);
int __wrap_mnl_socket_close(struct mnl_socket *nl);
ssize_t __wrap_mnl_socket_sendto(const struct mnl_socket *nl, const void *request, size_t len);
ssize_t __wrap_mnl_socket_recvfrom(const struct mnl_socket *nl, void *buffer, size_t size);

bool __wrap_privileges_have(unsigned capability)
{
	return capability != missing;
}

static int opened;

struct mnl_socket *__wrap_mnl_socket_open2(int bus, int flags)
{
	static long socket;

	(void)bus;
	(void)flags;
	errno = open_errno;
	opened += open_errno == 0;
	return open_errno ? NULL : (void *)&socket;
}

int __wrap_mnl_socket_close(struct mnl_socket *nl)
{
	(void)nl;
	opened--;
	errno = ENOTCONN; /* whoever looks at errno now is too late */
	return 0;
}

ssize_t __wrap_mnl_socket_sendto(const struct mnl_socket *nl, const void *request, size_t len)
{
	(void)nl;
	(void)request;
	return (ssize_t)len;
}

ssize_t __wrap_mnl_socket_recvfrom(const struct mnl_socket *nl, void *buffer, size_t size)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct nlmsgerr *error = mnl_nlmsg_put_extra_header(message, sizeof *error);

	(void)nl;
	(void)size;
	message->nlmsg_type = NLMSG_ERROR;
	error->error = -answer_errno;
	return (ssize_t)message->nlmsg_len;
}

static void a_need_that_is_not_met_is_named(void **state)
{
	static const struct {
		unsigned ways;
		unsigned missing;
		int open_errno;
		int answer_errno;
		int expected;
		const char *text[3];
	} cases[] = {
		{NEEDS_NFTABLES, 99, 0, 0, 0, {"", "", ""}},
		{NEEDS_NFTABLES, CAP_SYS_ADMIN, 0, 0, 0, {"", "", ""}},
		{NEEDS_NETNS, CAP_NET_ADMIN, EPROTONOSUPPORT, EINVAL, 0, {"", "", ""}},
		{NEEDS_NFTABLES, CAP_NET_ADMIN, 0, 0, -EPERM,
			{"CAP_NET_ADMIN is missing", "run as root", "AmbientCapabilities"}},
		{NEEDS_NFTABLES, CAP_NET_ADMIN, EPROTONOSUPPORT, 0, -EPERM,
			{"CAP_NET_ADMIN", "", ""}},
		{NEEDS_NFTABLES, 99, EPROTONOSUPPORT, 0, -EOPNOTSUPP,
			{"the kernel lacks", "CONFIG_NETFILTER_NETLINK", "nfnetlink"}},
		{NEEDS_NFTABLES, 99, 0, EINVAL, -EOPNOTSUPP,
			{"the kernel lacks", "CONFIG_NF_TABLES", "module nf_tables"}},
		{NEEDS_NFTABLES, 99, 0, EPERM, -EPERM,
			{"CAP_NET_ADMIN is missing in the user namespace", "run as root", ""}},
		{NEEDS_NETNS, CAP_SYS_ADMIN, 0, 0, -EPERM,
			{"CAP_SYS_ADMIN is missing", "network namespace", "run as root"}},
		{NEEDS_NETNS | NEEDS_NFTABLES, CAP_NET_ADMIN, 0, 0, -EPERM,
			{"CAP_NET_ADMIN", "", ""}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct redirect_error error = {.text = ""};
		missing = cases[i].missing;
		open_errno = cases[i].open_errno;
		answer_errno = cases[i].answer_errno;
		assert_int_equal(needs_check(cases[i].ways, &error), cases[i].expected);
		assert_int_equal(error.text[0] == '\0', cases[i].expected == 0);
		for (size_t j = 0; j < 3; j++) {
			if (!strstr(error.text, cases[i].text[j])) {
				fail_msg("%s is not in: %s", cases[i].text[j], error.text);
			}
		}
		assert_true(strlen(error.text) < sizeof error.text - 1);
		assert_int_equal(opened, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_need_that_is_not_met_is_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
