/* SPDX-License-Identifier: Apache-2.0
 *
 * The programs in the kernel, in a network namespace and a cgroup of our own. What takes more than
 * one process is in tests/netns/test_ebpf.py.
 */
#include "redirect/ebpf.h"

#include "redirect/redirect.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { PORT = 15053, MARK = 0x6b64 };

static char refused[sizeof((struct redirect_error *)0)->text + 64]; /* why nothing can be tried */

static void skip_where_refused(void)
{
	if (refused[0]) {
		print_message("%s\n", refused);
		skip();
	}
}

static struct endpoint endpoint_of(const char *text)
{
	struct endpoint e;

	assert_int_equal(endpoint_parse(&e, text, 53), 0);
	return e;
}

static struct rules rules_for(const char *server, bool capture_all)
{
	return (struct rules){.ipv4 = true,
		.ipv6 = true,
		.capture_all = capture_all,
		.mark = MARK,
		.port = PORT,
		.mode = CONF_EBPF,
		.server_count = 1,
		.server = {endpoint_of(server)}};
}

static struct ebpf *open_for(const char *server, bool capture_all)
{
	const struct rules rules = rules_for(server, capture_all);
	struct redirect_error error;
	struct ebpf *e;

	if (ebpf_open(&e, &rules, &error) != 0) {
		fail_msg("%s", error.text);
	}
	return e;
}

/** Ask a server over UDP. @return where that went to, or "" where nowhere */
static struct endpoint target_of(const char *server)
{
	const struct endpoint to = endpoint_of(server);
	const int fd = socket(to.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	const int target = socket(to.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct endpoint at = endpoint_of(to.sa.sa_family == AF_INET ? "0.0.0.0" : "::");
	struct endpoint local = {.len = sizeof local.in6};
	int on = 1;
	char control[256];
	char octet;
	struct iovec room = {.iov_base = &octet, .iov_len = 1};
	struct msghdr header = {.msg_iov = &room,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof control};

	at.in.sin_port = htons(PORT); /* in the same place in either family */
	(void)setsockopt(target, IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
	(void)setsockopt(target, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on);
	assert_int_equal(bind(target, &at.sa, at.len), 0);
	(void)sendto(fd, "?", 1, 0, &to.sa, to.len); /* without redirection there is no route */
	if (recvmsg(target, &header, MSG_DONTWAIT) == 1) {
		const struct cmsghdr *c = CMSG_FIRSTHDR(&header);
		assert_non_null(c);
		if (to.sa.sa_family == AF_INET) {
			struct in_pktinfo info;
			memcpy(&info, CMSG_DATA(c), sizeof info);
			local.in = (struct sockaddr_in){
				.sin_family = AF_INET, .sin_addr = info.ipi_addr};
			local.len = sizeof local.in;
		} else {
			struct in6_pktinfo info;
			memcpy(&info, CMSG_DATA(c), sizeof info);
			local.in6 = (struct sockaddr_in6){
				.sin6_family = AF_INET6, .sin6_addr = info.ipi6_addr};
		}
	} else {
		local.len = 0;
	}
	close(fd);
	close(target);
	return local;
}

static bool is_redirected(const char *server)
{
	return target_of(server).len != 0;
}

static void assert_original(const struct ebpf *e, const char *server)
{
	const struct endpoint local = target_of(server);
	const struct endpoint expected = endpoint_of(server);
	struct endpoint found;

	assert_int_not_equal(local.len, 0);
	assert_int_equal(ebpf_original(e, &local, &found), 0);
	assert_true(endpoint_equal(&found, &expected));
}

static void the_server_that_was_asked_is_told(void **state)
{
	skip_where_refused();
	struct ebpf *e = open_for("192.0.2.1", true);
	const struct endpoint other = endpoint_of("127.0.0.1");
	struct endpoint found;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		assert_original(e, "192.0.2.1");
		assert_original(e, "198.51.100.7");
		assert_original(e, "2001:db8::9");
	}
	assert_int_equal(ebpf_original(e, &other, &found), -ENOENT);
	ebpf_close(e);
	assert_false(is_redirected("192.0.2.1"));
}

static void servers_change_in_place(void **state)
{
	skip_where_refused();
	struct ebpf *e = open_for("192.0.2.1", false);
	const struct rules rules = rules_for("2001:db8::2", false);

	(void)state;
	assert_true(is_redirected("192.0.2.1"));
	assert_false(is_redirected("2001:db8::2"));
	ebpf_set_servers(e, &rules);
	assert_false(is_redirected("192.0.2.1"));
	assert_original(e, "2001:db8::2");
	ebpf_close(e);
}

static void a_second_start_knows_what_the_first_gave_out(void **state)
{
	skip_where_refused();
	struct ebpf *first = open_for("192.0.2.1", true);
	struct ebpf *second = open_for("192.0.2.2", true);

	(void)state;
	assert_original(second, "192.0.2.1");
	assert_original(second, "198.51.100.9");
	assert_original(second, "2001:db8::9");
	assert_original(first, "192.0.2.2");
	ebpf_close(first);
	assert_original(second, "198.51.100.9");
	ebpf_close(second);
	assert_false(is_redirected("192.0.2.2"));
}

static void after_a_withdrawal_nothing_is_redirected(void **state)
{
	skip_where_refused();
	struct ebpf *e = open_for("192.0.2.1", true);
	const struct endpoint before = target_of("192.0.2.1");
	struct endpoint found;

	(void)state;
	ebpf_withdraw(e);
	assert_false(is_redirected("192.0.2.1"));
	assert_int_equal(ebpf_original(e, &before, &found), 0);
	ebpf_close(e);
}

static void give_up_all_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};

	if (syscall(SYS_capset, &header, none) != 0) {
		_exit(2);
	}
}

/** As the daemon does after its start. */
static void no_capability_is_needed_afterwards(void **state)
{
	skip_where_refused();
	struct ebpf *e = open_for("192.0.2.1", true);
	const pid_t child = fork();
	int status;

	(void)state;
	if (child == 0) {
		const struct rules rules = rules_for("192.0.2.2", true);
		give_up_all_capabilities();
		assert_original(e, "198.51.100.8");
		ebpf_set_servers(e, &rules);
		assert_original(e, "192.0.2.2");
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_original(e, "192.0.2.2");
	ebpf_close(e);
}

static void without_capabilities_the_error_names_them(void **state)
{
	skip_where_refused();
	const pid_t child = fork();
	int status;

	(void)state;
	if (child == 0) {
		const struct rules rules = rules_for("192.0.2.1", true);
		struct redirect_error error = {.text = ""};
		struct ebpf *e;
		give_up_all_capabilities();
		_exit(ebpf_open(&e, &rules, &error) == -EPERM &&
					strstr(error.text,
						"eBPF: redirection needs CAP_BPF and CAP_NET_ADMIN")
				? 0
				: 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/** A network namespace of our own, with loopback alone; the programs are limited to it. */
static int enter(void **state)
{
	const struct rules rules = rules_for("192.0.2.1", true);
	struct redirect_error error = {.text = ""};
	struct ebpf *e;

	(void)state;
	if (unshare(CLONE_NEWNET) != 0 || system("ip link set lo up") != 0) {
		snprintf(refused, sizeof refused, "no network namespace for us");
	} else if (ebpf_open(&e, &rules, &error) != 0) {
		snprintf(refused, sizeof refused, "no eBPF here: %s", error.text);
	} else {
		ebpf_close(e);
	}
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_server_that_was_asked_is_told),
		cmocka_unit_test(servers_change_in_place),
		cmocka_unit_test(a_second_start_knows_what_the_first_gave_out),
		cmocka_unit_test(after_a_withdrawal_nothing_is_redirected),
		cmocka_unit_test(no_capability_is_needed_afterwards),
		cmocka_unit_test(without_capabilities_the_error_names_them),
	};
	return cmocka_run_group_tests(tests, enter, NULL);
}
