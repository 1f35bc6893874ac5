/* SPDX-License-Identifier: Apache-2.0
 *
 * The rules at work, in network namespaces of their own: each test has a fresh one with `lo`, and
 * most have a second one behind a veth pair, where a name server is. Servers answer with one
 * letter: D is our daemon, S the name server, L a resolver of this host. nft and conntrack are the
 * independent readers.
 */
#include "redirect/redirect.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { PORT = 15053, KUMA_UID = 5678, MARK = 0x6b64, PROCESSES_MAX = 8, OUTPUT_SIZE = 65536 };

static const char *refused; /* why there are no namespaces here */
static bool two_users;      /* whether we can be UID 5678 besides 0 */
static pid_t processes[PROCESSES_MAX];
static unsigned process_count;

/* Commands */

static void run(const char *command)
{
	const int status = system(command);

	if (status != 0) {
		fail_msg("%s: status %d", command, status);
	}
}

/** @return what the command prints, in a buffer that the next call overwrites */
static const char *output_of(const char *command)
{
	static char text[OUTPUT_SIZE];
	FILE *in = popen(command, "r");
	size_t len;

	assert_non_null(in);
	len = fread(text, 1, sizeof text - 1, in);
	text[len] = '\0';
	pclose(in);
	return text;
}

static void write_file(const char *path, const char *text)
{
	FILE *out = fopen(path, "w");

	if (out) {
		fputs(text, out);
		fclose(out);
	}
}

/* Processes */

/** A child that ends with us. */
static pid_t start(void)
{
	const pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		return 0;
	}
	assert_true(process_count < PROCESSES_MAX);
	processes[process_count++] = pid;
	return pid;
}

static void stop_by(pid_t pid, int signal)
{
	for (unsigned i = 0; i < process_count; i++) {
		if (processes[i] == pid) {
			processes[i] = processes[--process_count];
			kill(pid, signal);
			waitpid(pid, NULL, 0);
			return;
		}
	}
}

static void stop(pid_t pid)
{
	stop_by(pid, SIGKILL);
}

static void await(int fd, char expected)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char c = 0;

	assert_int_equal(poll(&p, 1, 10000), 1);
	assert_int_equal(read(fd, &c, 1), 1);
	assert_int_equal(c, expected);
}

static void tell(int fd, char c)
{
	if (write(fd, &c, 1) != 1) {
		_exit(1);
	}
}

/* Servers */

static const char *const LOOPBACK[] = {"127.0.0.1", "::1", NULL};

static int bound(const char *address, uint16_t port, int type)
{
	struct endpoint e;
	const int fd_on = 1;
	int fd = -1;

	if (endpoint_parse(&e, address, port) == 0) {
		fd = socket(e.sa.sa_family, type | SOCK_CLOEXEC, 0);
	}
	if (fd >= 0) {
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &fd_on, sizeof fd_on);
	}
	if (fd < 0 || bind(fd, &e.sa, e.len) != 0 || (type == SOCK_STREAM && listen(fd, 16) != 0)) {
		perror(address);
		_exit(1);
	}
	return fd;
}

static void answer_one(const struct pollfd *p, bool stream, char letter)
{
	struct sockaddr_storage from;
	socklen_t len = sizeof from;
	char octets[64];

	if (stream) {
		const int fd = accept(p->fd, NULL, NULL);
		if (fd >= 0 && read(fd, octets, sizeof octets) > 0) {
			(void)!write(fd, &letter, 1);
		}
		close(fd);
		return;
	}
	if (recvfrom(p->fd, octets, sizeof octets, 0, (void *)&from, &len) > 0) {
		sendto(p->fd, &letter, 1, 0, (void *)&from, len);
	}
}

/** Answer each query with the letter, on UDP and TCP of each address. Never returns. */
static void serve(const char *const *addresses, uint16_t port, char letter, int ready)
{
	struct pollfd p[16];
	nfds_t count = 0;

	for (; *addresses; addresses++) {
		p[count++] = (struct pollfd){bound(*addresses, port, SOCK_DGRAM), POLLIN, 0};
		p[count++] = (struct pollfd){bound(*addresses, port, SOCK_STREAM), POLLIN, 0};
	}
	tell(ready, 'r');
	for (;;) {
		poll(p, count, -1);
		for (nfds_t i = 0; i < count; i++) {
			if (p[i].revents) {
				answer_one(&p[i], i % 2 == 1, letter);
			}
		}
	}
}

static pid_t start_server_as(uid_t uid, const char *const *addresses, uint16_t port, char letter)
{
	int ready[2];
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = start();
	if (pid == 0) {
		if (seteuid(uid) != 0) {
			_exit(1);
		}
		serve(addresses, port, letter, ready[1]);
	}
	await(ready[0], 'r');
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static pid_t start_server(const char *const *addresses, uint16_t port, char letter)
{
	return start_server_as(0, addresses, port, letter);
}

static pid_t start_daemon(void)
{
	return start_server(LOOPBACK, PORT, 'D');
}

/** The name server, in a namespace behind a veth pair. */
static void start_name_server(void)
{
	static const char *const addresses[] = {
		"10.0.0.2", "10.0.0.3", "fd00::2", "fe80::2%v1", NULL};
	int ready[2];
	int go[2];
	char command[256];
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(go), 0);
	pid = start();
	if (pid == 0) {
		char c;
		if (unshare(CLONE_NEWNET) != 0) {
			_exit(1);
		}
		tell(ready[1], 'n');
		if (read(go[0], &c, 1) != 1 ||
			system("ip link set lo up && ip link set v1 up &&"
			       "ip addr add 10.0.0.2/24 dev v1 && ip addr add 10.0.0.3/24 dev v1 &&"
			       "ip addr add fd00::2/64 dev v1 nodad &&"
			       "ip addr add fe80::2/64 dev v1 nodad") != 0) {
			_exit(1);
		}
		serve(addresses, 53, 'S', ready[1]);
	}
	await(ready[0], 'n');
	snprintf(command, sizeof command,
		"ip link add v0 type veth peer name v1 netns %d && ip link set v0 up &&"
		"ip addr add 10.0.0.1/24 dev v0 && ip addr add fd00::1/64 dev v0 nodad &&"
		"ip addr add fe80::1/64 dev v0 nodad",
		(int)pid);
	run(command);
	tell(go[1], 'g');
	await(ready[0], 'r');
	close(ready[0]);
	close(ready[1]);
	close(go[0]);
	close(go[1]);
}

/** As on a real host, others use conntrack and nat too: known flows stay in force without us. */
static void start_name_server_beside_others(void)
{
	start_name_server();
	run("nft 'table inet others { chain nat { type nat hook output priority -100; };"
	    " chain out { type filter hook output priority 0; ct state new accept; }; }'");
}

/* Applications */

/** How to ask; zeros are the usual. */
struct question {
	const char *address;
	int type; /* SOCK_STREAM, else SOCK_DGRAM */
	uint16_t port;
	uint16_t from;
	uint32_t mark;
};

static struct endpoint endpoint_of(const struct question *q)
{
	struct endpoint e;

	assert_int_equal(endpoint_parse(&e, q->address, q->port ? q->port : 53), 0);
	return e;
}

static int application(const struct question *q)
{
	const struct endpoint e = endpoint_of(q);
	const struct timeval limit = {.tv_sec = 2};
	const int on = 1;
	const int fd = socket(e.sa.sa_family, q->type ? q->type : SOCK_DGRAM, 0);
	struct sockaddr_in from = {.sin_family = AF_INET, .sin_port = htons(q->from)};

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit), 0);
	if (q->mark) {
		assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_MARK, &q->mark, sizeof q->mark), 0);
	}
	if (q->from) {
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
		assert_int_equal(bind(fd, (void *)&from, sizeof from), 0);
	}
	return fd;
}

/** Receive one letter, on a socket that is not connected from the address that was asked. */
static char receive(int fd, const struct endpoint *asked)
{
	struct endpoint from = {.len = sizeof from.in6};
	char letter = 0;

	if (recvfrom(fd, &letter, 1, 0, &from.sa, &from.len) != 1) {
		return errno == ECONNREFUSED ? 'r' : '-';
	}
	return !asked || endpoint_equal(&from, asked) ? letter : '!';
}

/** Ask on a socket that may have asked before. */
static char ask_on(int fd, const struct question *q)
{
	const struct endpoint e = endpoint_of(q);

	if (sendto(fd, "?", 1, 0, &e.sa, e.len) != 1) {
		return errno == ECONNREFUSED ? 'r' : '-';
	}
	return receive(fd, &e);
}

/** @return who answered; `r` refused, `-` nobody, `!` an answer from an address not asked */
static char ask(struct question q)
{
	const struct endpoint e = endpoint_of(&q);
	const int fd = application(&q);
	char letter;

	if (q.type != SOCK_STREAM) {
		letter = ask_on(fd, &q);
	} else if (connect(fd, &e.sa, e.len) != 0) {
		letter = errno == ECONNREFUSED ? 'r' : '-';
	} else {
		letter = write(fd, "?", 1) == 1 ? receive(fd, NULL) : '-';
	}
	close(fd);
	return letter;
}

/** A refusal reaches only a connected socket. */
static char ask_connected(const char *address, uint16_t port)
{
	const struct question q = {.address = address, .port = port};
	const struct endpoint e = endpoint_of(&q);
	const int fd = application(&q);
	char letter;

	assert_int_equal(connect(fd, &e.sa, e.len), 0);
	assert_int_equal(send(fd, "?", 1, 0), 1);
	letter = receive(fd, NULL);
	close(fd);
	return letter;
}

#define assert_answered_by(letter, ...)                                                            \
	assert_int_equal(ask((struct question){__VA_ARGS__}), (letter))

/* Rules */

static struct rules rules_for(const char *server4, const char *server6)
{
	struct rules rules = {
		.ipv4 = true, .ipv6 = true, .zones = true, .mark = MARK, .port = PORT};

	if (server4) {
		assert_int_equal(
			endpoint_parse(&rules.server[rules.server_count++], server4, 53), 0);
	}
	if (server6) {
		assert_int_equal(
			endpoint_parse(&rules.server[rules.server_count++], server6, 53), 0);
	}
	return rules;
}

static struct rules all_rules(void)
{
	struct rules rules = rules_for(NULL, NULL);

	rules.capture_all = true;
	return rules;
}

static struct redirect *opened(const struct rules *rules)
{
	struct redirect *redirect = NULL;
	struct redirect_error error;

	if (redirect_open(&redirect, rules, &error) != 0) {
		fail_msg("redirect_open: %s", error.text);
	}
	return redirect;
}

static void own_rules(const struct rules *rules, int ready)
{
	struct redirect *redirect;
	struct redirect_error error;
	sigset_t signals;
	int signal;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	if (redirect_open(&redirect, rules, &error) == 0) {
		tell(ready, 'r');
		sigwait(&signals, &signal);
		redirect_withdraw(redirect);
		redirect_close(redirect);
	}
	_exit(0);
}

/** Another process that has the rules in force, until it is stopped: SIGTERM is the orderly way. */
static pid_t start_owner(const struct rules *rules)
{
	int ready[2];
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = start();
	if (pid == 0) {
		own_rules(rules, ready[1]);
	}
	await(ready[0], 'r');
	close(ready[0]);
	close(ready[1]);
	return pid;
}

/* Namespaces */

/** Only root outside may map a second user; it writes our map once we are inside. */
static void map_two_users(pid_t pid, int entered)
{
	char path[64];
	char c;

	if (read(entered, &c, 1) == 1) {
		snprintf(path, sizeof path, "/proc/%d/uid_map", (int)pid);
		write_file(path, "0 0 1\n5678 5678 1\n");
		snprintf(path, sizeof path, "/proc/%d/gid_map", (int)pid);
		write_file(path, "0 0 1\n");
	}
	_exit(0);
}

static void map_one_user(unsigned uid, unsigned gid)
{
	char map[32];

	write_file("/proc/self/setgroups", "deny");
	snprintf(map, sizeof map, "0 %u 1", uid);
	write_file("/proc/self/uid_map", map);
	snprintf(map, sizeof map, "0 %u 1", gid);
	write_file("/proc/self/gid_map", map);
}

static int enter_user_namespace(void **state)
{
	const unsigned uid = geteuid();
	const unsigned gid = getegid();
	const pid_t self = getpid();
	int entered[2];
	pid_t mapper;

	(void)state;
	assert_int_equal(pipe(entered), 0);
	mapper = fork();
	if (mapper == 0) {
		close(entered[1]);
		map_two_users(self, entered[0]);
	}
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
		refused = strerror(errno);
	} else if (uid == 0) {
		tell(entered[1], 'e');
	}
	close(entered[0]);
	close(entered[1]);
	waitpid(mapper, NULL, 0);
	two_users = !refused && setresuid(0, KUMA_UID, 0) == 0 && seteuid(0) == 0;
	if (!refused && !two_users) {
		map_one_user(uid, gid);
	}
	return 0;
}

static int enter_network_namespace(void **state)
{
	(void)state;
	if (!refused) {
		if (unshare(CLONE_NEWNET) != 0) {
			return -1;
		}
		run("ip link set lo up");
	}
	return 0;
}

static int stop_processes(void **state)
{
	(void)state;
	while (process_count > 0) {
		stop(processes[0]);
	}
	return 0;
}

static void need_namespaces(void)
{
	if (refused) {
		print_message("no user namespaces here: %s\n", refused);
		skip();
	}
}

/* The ruleset */

/** Our table as nft lists it, without what nft -f cannot say: its owner. */
static void list_table(char *text)
{
	snprintf(text, OUTPUT_SIZE, "%s",
		output_of("nft list table inet kuma_dns |"
			  "sed -e 's/ # progname.*//' -e '/flags owner/,+1d'"));
}

static const char LISTED[] =
	"table inet kuma_dns {\n"
	" set ns4 { type ipv4_addr; elements = { 192.0.2.1 } }\n"
	" set ns6 { type ipv6_addr; elements = { 2001:db8::1 } }\n"
	" chain raw_out {\n"
	"  type filter hook output priority raw; policy accept;\n"
	"  meta mark 0x6b64 return\n"
	"  oifname lo meta l4proto { tcp, udp } th sport 15053 ct zone set 2\n"
	"  oifname lo meta l4proto { tcp, udp } th dport 15053 ct zone set 2\n"
	"  oifname lo icmp type destination-unreachable @th,240,16 15053 ct zone set 2\n"
	"  oifname lo icmpv6 type destination-unreachable @th,400,16 15053 ct zone set 2\n"
	"  meta skuid 5678 meta priority != 0:5 return\n"
	"  ip6 daddr fe80::/64 return\n"
	"  meta l4proto { tcp, udp } th dport 53 ip daddr @ns4 ct zone set 2\n"
	"  meta l4proto { tcp, udp } th dport 53 ip6 daddr @ns6 ct zone set 2\n"
	" }\n"
	" chain nat_out {\n"
	"  type nat hook output priority -102; policy accept;\n"
	"  meta mark 0x6b64 return\n"
	"  meta skuid 5678 meta priority != 0:5 return\n"
	"  ip6 daddr fe80::/64 return\n"
	"  meta l4proto { tcp, udp } th dport 53 ip daddr @ns4 redirect to :15053\n"
	"  meta l4proto { tcp, udp } th dport 53 ip6 daddr @ns6 redirect to :15053\n"
	" }\n"
	"}\n";

static const char ALL[] =
	"table inet kuma_dns {\n"
	" chain raw_out {\n"
	"  type filter hook output priority raw; policy accept;\n"
	"  meta mark 0x6b64 return\n"
	"  oifname lo meta l4proto { tcp, udp } th sport 15053 ct zone set 2\n"
	"  oifname lo meta l4proto { tcp, udp } th dport 15053 ct zone set 2\n"
	"  oifname lo icmp type destination-unreachable @th,240,16 15053 ct zone set 2\n"
	"  meta l4proto { tcp, udp } th dport 53 meta nfproto ipv4 ct zone set 2\n"
	" }\n"
	" chain nat_out {\n"
	"  type nat hook output priority -102; policy accept;\n"
	"  meta mark 0x6b64 return\n"
	"  meta l4proto { tcp, udp } th dport 53 meta nfproto ipv4 redirect to :15053\n"
	" }\n"
	"}\n";

static const char UNZONED[] =
	"table inet kuma_dns {\n"
	" set ns4 { type ipv4_addr; elements = { 192.0.2.1 } }\n"
	" set ns6 { type ipv6_addr; }\n"
	" chain nat_out {\n"
	"  type nat hook output priority -102; policy accept;\n"
	"  meta mark 0x6b64 return\n"
	"  ip6 daddr fe80::/64 return\n"
	"  meta l4proto { tcp, udp } th dport 53 ip daddr @ns4 redirect to :15053\n"
	"  meta l4proto { tcp, udp } th dport 53 ip6 daddr @ns6 redirect to :15053\n"
	" }\n"
	"}\n";

static void assert_installs(const struct rules *rules, const char *ruleset)
{
	static char expected[OUTPUT_SIZE];
	static char found[OUTPUT_SIZE];
	FILE *nft = popen("nft -f -", "w");
	struct redirect *redirect;

	assert_non_null(nft);
	fputs(ruleset, nft);
	assert_int_equal(pclose(nft), 0);
	list_table(expected);
	assert_non_null(strstr(expected, "redirect to :15053"));
	run("nft flush ruleset");
	redirect = opened(rules);
	list_table(found);
	assert_string_equal(found, expected);
	redirect_close(redirect);
}

static void the_ruleset_is_the_documented_one(void **state)
{
	struct rules rules;

	(void)state;
	need_namespaces();
	rules = rules_for("192.0.2.1", "2001:db8::1");
	rules.has_uid = true;
	rules.uid = 5678;
	assert_installs(&rules, LISTED);
	rules = all_rules();
	rules.ipv6 = false;
	assert_installs(&rules, ALL);
	rules = rules_for("192.0.2.1", NULL);
	rules.zones = false;
	assert_installs(&rules, UNZONED);
}

/** Rules with something in every list, and all options. */
static struct rules rich_rules(unsigned each)
{
	struct rules rules = rules_for("10.0.0.2", "fd00::2");
	char text[64];

	rules.has_uid = rules.tcp6 = rules.drop_invalid = rules.comments = rules.log = true;
	rules.uid = KUMA_UID;
	rules.inbound = (struct conf_traffic){.enabled = true, .port = 15006};
	rules.outbound = (struct conf_traffic){.enabled = true, .port = 15001};
	for (unsigned i = 1; i <= each; i++) {
		snprintf(text, sizeof text, "%u", i);
		assert_int_equal(ports_add(&rules.inbound.exclude, text), 0);
		assert_int_equal(ports_add(&rules.outbound.include, text), 0);
		snprintf(text, sizeof text, "%u-%u:%u-2000,tcp:*:%u", i, i + 1, i, i);
		assert_int_equal(exclusions_add(&rules.outbound.exclude_uids, text), 0);
		snprintf(text, sizeof text, "10.%u.0.0/%u", i, i + 8);
		assert_int_equal(networks_add(&rules.outbound.exclude_ips, text), 0);
		snprintf(text, sizeof text, "fd00:%x::/%u", i, i + 16);
		assert_int_equal(networks_add(&rules.inbound.exclude_ips, text), 0);
		snprintf(text, sizeof text, i % 2 ? "br%u+:10.0.0.0/8" : "br%u:fd00::/63", i);
		assert_int_equal(vnets_add(&rules.vnets, text), 0);
	}
	return rules;
}

/** What nft makes of our text is what we install: the table, listed, in `found`. */
static void assert_text_is_what_is_installed(const struct rules *rules)
{
	static const char list[] = "nft -s list table inet kuma_dns_installed";
	static char expected[OUTPUT_SIZE];
	struct redirect_error error;
	FILE *nft = popen("nft -f -", "w");

	assert_non_null(nft);
	assert_int_equal(redirect_print(rules, nft), 0);
	assert_int_equal(pclose(nft), 0);
	snprintf(expected, sizeof expected, "%s", output_of(list));
	assert_non_null(strstr(expected, "chain nat_out"));
	run("nft flush ruleset");
	assert_int_equal(redirect_install(rules, &error), 0);
	assert_string_equal(output_of(list), expected);
	assert_true(redirect_is_installed());
	assert_int_equal(redirect_uninstall(rules, &error), 0);
	assert_false(redirect_is_installed());
	assert_string_equal(output_of("nft list ruleset"), "");
}

static void the_text_is_what_is_installed(void **state)
{
	struct rules rules;

	(void)state;
	need_namespaces();
	for (unsigned each = 0; each <= 15; each += 5) {
		rules = rich_rules(each);
		assert_text_is_what_is_installed(&rules);
	}
	rules = all_rules();
	assert_text_is_what_is_installed(&rules);
}

/* Rules that last */

static void assert_installed(const struct rules *rules)
{
	struct redirect_error error;

	if (redirect_install(rules, &error) != 0) {
		fail_msg("redirect_install: %s", error.text);
	}
}

static void installed_rules_outlive_a_daemon_beside_them(void **state)
{
	static const char *const addresses[] = {"127.0.0.1", NULL};
	struct rules rules = all_rules();
	struct redirect *redirect;

	(void)state;
	need_namespaces();
	start_name_server();
	start_daemon();
	start_server(addresses, PORT + 1, 'E');
	assert_installed(&rules);
	assert_answered_by('D', .address = "10.0.0.2");
	rules.port = PORT + 1;
	redirect = opened(&rules);
	assert_answered_by('E', .address = "10.0.0.2");
	assert_answered_by('E', .address = "10.0.0.2", .type = SOCK_STREAM);
	assert_answered_by('S', .address = "10.0.0.2", .mark = MARK);
	rules.port = PORT;
	assert_installed(&rules); /* anew, behind the daemon's */
	assert_answered_by('E', .address = "10.0.0.2");
	redirect_close(redirect);
	assert_answered_by('D', .address = "10.0.0.2");
	assert_answered_by('S', .address = "10.0.0.2", .mark = MARK);
}

static void uninstalling_leaves_the_tables_of_others(void **state)
{
	const struct rules rules = all_rules();
	struct redirect_error error;
	struct redirect *redirect;

	(void)state;
	need_namespaces();
	redirect = opened(&rules);
	run("nft 'add table inet kuma_dns_installed_not; add table ip kuma_dns_installed;"
	    " add table inet others'");
	assert_false(redirect_is_installed());
	assert_installed(&rules);
	assert_true(redirect_is_installed());
	assert_int_equal(redirect_uninstall(&rules, &error), 0);
	assert_int_equal(redirect_uninstall(&rules, &error), 0);
	assert_string_equal(output_of("nft list tables | sort"),
		"table inet kuma_dns\ntable inet kuma_dns_installed_not\ntable inet others\n"
		"table ip kuma_dns_installed\n");
	redirect_close(redirect);
}

static void a_refused_install_leaves_what_was_there(void **state)
{
	struct rules rules = all_rules();
	struct redirect_error error;
	char before[OUTPUT_SIZE];

	(void)state;
	need_namespaces();
	assert_installed(&rules);
	snprintf(before, sizeof before, "%s", output_of("nft list ruleset"));
	rules.outbound.enabled = true;
	rules.outbound.port = 0; /* no comparison with it: the kernel takes it */
	assert_int_equal(vnets_add(&rules.vnets, "br+:10.0.0.0/8"), 0);
	rules.vnets.item[0].interface[0] = '+'; /* a comparison with nothing: it does not */
	assert_true(redirect_install(&rules, &error) < 0);
	assert_non_null(strstr(error.text, "refused rule message"));
	assert_string_equal(output_of("nft list ruleset"), before);
}

static void sixteen_servers_of_one_family_fit(void **state)
{
	struct rules rules;
	struct redirect *redirect;

	(void)state;
	need_namespaces();
	rules = rules_for(NULL, NULL);
	for (unsigned i = 0; i < RULES_SERVERS_MAX; i++) {
		struct endpoint *e = &rules.server[rules.server_count++];
		assert_int_equal(endpoint_parse(e, "2001:db8::1", 53), 0);
		e->in6.sin6_addr.s6_addr[14] = (uint8_t)(i / 2); /* each twice */
	}
	redirect = opened(&rules);
	assert_non_null(strstr(output_of("nft list set inet kuma_dns ns6"), "2001:db8::701"));
	redirect_close(redirect);
}

static void installing_is_quick(void **state)
{
	const struct rules rules = all_rules();
	struct timespec before;
	struct timespec after;
	struct redirect *redirect;
	double ms;

	(void)state;
	need_namespaces();
	redirect_close(opened(&rules)); /* loads modules */
	clock_gettime(CLOCK_MONOTONIC, &before);
	redirect = opened(&rules);
	clock_gettime(CLOCK_MONOTONIC, &after);
	ms = (double)(after.tv_sec - before.tv_sec) * 1e3 +
	     (double)(after.tv_nsec - before.tv_nsec) / 1e6;
	print_message("installed in %.2f ms\n", ms);
	assert_true(ms < 500); /* about 1 ms, and a pass over all flows */
	redirect_close(redirect);
}

/* Servers that change */

static void set_servers(struct redirect *redirect, const struct rules *rules)
{
	struct redirect_error error;

	if (redirect_set_servers(redirect, rules, &error) != 0) {
		fail_msg("redirect_set_servers: %s", error.text);
	}
}

/** The table with its handles, which a new one would not have, without its servers. */
static void list_handles(char *text)
{
	snprintf(text, OUTPUT_SIZE, "%s",
		output_of("nft -a list table inet kuma_dns | grep -v 'elements ='"));
}

static void servers_are_followed(bool zones)
{
	struct rules rules = rules_for("10.0.0.2", NULL);
	const struct question first = {.address = "10.0.0.2"};
	const struct question second = {.address = "10.0.0.3"};
	const struct question third = {.address = "fd00::2"};
	const int lasting[] = {application(&first), application(&second), application(&third)};
	static char before[OUTPUT_SIZE];
	static char after[OUTPUT_SIZE];
	struct redirect *redirect;

	rules.zones = zones;
	redirect = opened(&rules);
	list_handles(before);
	assert_int_equal(ask_on(lasting[0], &first), 'D');
	assert_int_equal(ask_on(lasting[1], &second), 'S');
	assert_int_equal(ask_on(lasting[2], &third), 'S');
	rules = rules_for("10.0.0.3", "fd00::2");
	rules.zones = zones;
	set_servers(redirect, &rules);
	assert_int_equal(ask_on(lasting[0], &first), 'S');
	assert_int_equal(ask_on(lasting[1], &second), 'D');
	assert_int_equal(ask_on(lasting[2], &third), 'D');
	assert_answered_by('D', .address = "fd00::2", .type = SOCK_STREAM);
	rules = rules_for("10.0.0.2", NULL);
	rules.zones = zones;
	set_servers(redirect, &rules);
	assert_int_equal(ask_on(lasting[0], &first), 'D');
	assert_int_equal(ask_on(lasting[1], &second), 'S');
	assert_int_equal(ask_on(lasting[2], &third), 'S');
	list_handles(after);
	assert_string_equal(after, before);
	redirect_close(redirect);
	for (unsigned i = 0; i < 3; i++) {
		close(lasting[i]);
	}
}

static void servers_change_without_another_table(void **state)
{
	(void)state;
	need_namespaces();
	start_name_server_beside_others();
	start_daemon();
	servers_are_followed(true);
	servers_are_followed(false);
}

/** Without zones a flow is forgotten only where its server changes: others may be in progress. */
static void flows_to_servers_that_stay_are_remembered(void **state)
{
	struct rules rules = rules_for("10.0.0.2", NULL);
	struct redirect *redirect;

	(void)state;
	need_namespaces();
	start_name_server_beside_others();
	start_daemon();
	rules.zones = false;
	redirect = opened(&rules);
	assert_answered_by('D', .address = "10.0.0.2");
	assert_answered_by('S', .address = "10.0.0.3", .mark = MARK);
	assert_answered_by('S', .address = "fd00::2", .mark = MARK);
	rules = rules_for("10.0.0.2", "fd00::2");
	rules.zones = false;
	set_servers(redirect, &rules);
	assert_non_null(strstr(output_of("conntrack -L 2>/dev/null"), "dst=10.0.0.2"));
	assert_non_null(strstr(output_of("conntrack -L 2>/dev/null"), "dst=10.0.0.3"));
	assert_null(strstr(output_of("conntrack -L -f ipv6 2>/dev/null"), "dst=fd00::2 "));
	redirect_close(redirect);
}

static void no_set_of_servers_is_none_to_change(void **state)
{
	struct rules rules = all_rules();
	struct redirect *redirect;

	(void)state;
	need_namespaces();
	redirect = opened(&rules);
	assert_int_equal(endpoint_parse(&rules.server[rules.server_count++], "10.0.0.2", 53), 0);
	set_servers(redirect, &rules);
	redirect_close(redirect);
}

static void installed_rules_get_other_servers(void **state)
{
	const struct rules before = rules_for("10.0.0.2", NULL);
	const struct rules now = rules_for("10.0.0.3", "fd00::2");
	struct rules only4 = before;
	struct redirect_error error;

	(void)state;
	need_namespaces();
	start_name_server();
	start_daemon();
	assert_int_equal(redirect_set_installed_servers(&before, &now, &error), -ENOENT);
	assert_string_equal(output_of("nft list ruleset"), "");
	assert_installed(&before);
	assert_int_equal(redirect_set_installed_servers(&before, &now, &error), 0);
	assert_answered_by('S', .address = "10.0.0.2");
	assert_answered_by('D', .address = "10.0.0.3");
	assert_answered_by('D', .address = "fd00::2");
	only4.ipv6 = false;
	assert_installed(&only4);
	assert_int_equal(redirect_set_installed_servers(&before, &now, &error), 0);
	assert_answered_by('D', .address = "10.0.0.3");
	assert_answered_by('S', .address = "fd00::2");
	only4.capture_all = true;
	assert_installed(&only4);
	assert_int_equal(redirect_set_installed_servers(&before, &now, &error), -ENOENT);
}

/* Failing closed */

static struct rules closed_rules(void)
{
	struct rules rules = rules_for("10.0.0.2", NULL);

	rules.fail_closed = true;
	return rules;
}

static void rules_that_fail_closed_stay(int signal)
{
	const struct rules rules = closed_rules();
	const struct rules open = rules_for("10.0.0.2", NULL);
	struct redirect *redirect;
	pid_t daemon = start_daemon();

	stop_by(start_owner(&rules), signal);
	assert_answered_by('D', .address = "10.0.0.2");
	stop(daemon);
	assert_int_equal(ask_connected("10.0.0.2", 53), 'r');
	assert_answered_by('r', .address = "10.0.0.2", .type = SOCK_STREAM);
	daemon = start_daemon();
	redirect = opened(&rules);
	assert_answered_by('D', .address = "10.0.0.2");
	redirect_withdraw(redirect);
	assert_answered_by('D', .address = "10.0.0.2");
	redirect_close(redirect);
	assert_answered_by('D', .address = "10.0.0.2");
	assert_string_equal(output_of("nft list tables"), "table inet kuma_dns_closed\n");
	assert_true(redirect_is_installed());
	redirect = opened(&open); /* the next one fails open: it is the last word */
	assert_string_equal(output_of("nft list tables"), "table inet kuma_dns\n");
	redirect_close(redirect);
	assert_answered_by('S', .address = "10.0.0.2");
	stop(daemon);
}

static void rules_can_outlive_their_daemon(void **state)
{
	(void)state;
	need_namespaces();
	start_name_server();
	rules_that_fail_closed_stay(SIGTERM);
	rules_that_fail_closed_stay(SIGKILL);
}

static void a_lasting_socket_follows_to_another_port(void **state)
{
	struct rules rules = closed_rules();
	const struct question q = {.address = "10.0.0.2"};
	static const char *const addresses[] = {"127.0.0.1", NULL};
	struct redirect *redirect;
	int fd;

	(void)state;
	need_namespaces();
	start_name_server_beside_others();
	start_daemon();
	start_server(addresses, PORT + 1, 'E');
	redirect_close(opened(&rules));
	fd = application(&q);
	assert_int_equal(ask_on(fd, &q), 'D');
	rules.port = PORT + 1;
	redirect = opened(&rules);
	assert_int_equal(ask_on(fd, &q), 'E');
	redirect_close(redirect);
	close(fd);
}

static void rules_that_fail_closed_are_uninstalled(void **state)
{
	const struct rules rules = closed_rules();
	struct redirect_error error;

	(void)state;
	need_namespaces();
	start_name_server();
	start_daemon();
	redirect_close(opened(&rules));
	assert_answered_by('D', .address = "10.0.0.2");
	assert_int_equal(redirect_uninstall(&rules, &error), 0);
	assert_string_equal(output_of("nft list ruleset"), "");
	assert_answered_by('S', .address = "10.0.0.2");
}

static void rules_that_fail_closed_get_other_servers(void **state)
{
	struct rules rules = closed_rules();
	struct redirect *redirect;

	(void)state;
	need_namespaces();
	start_name_server();
	start_daemon();
	redirect = opened(&rules);
	assert_int_equal(endpoint_parse(&rules.server[0], "10.0.0.3", 53), 0);
	set_servers(redirect, &rules);
	redirect_close(redirect);
	assert_answered_by('S', .address = "10.0.0.2");
	assert_answered_by('D', .address = "10.0.0.3");
}

/* Ownership */

static void nobody_else_can_remove_the_table(void **state)
{
	const struct rules rules = all_rules();
	struct redirect *redirect;

	(void)state;
	need_namespaces();
	redirect = opened(&rules);
	assert_string_equal(redirect_table(redirect), "kuma_dns");
	assert_non_null(strstr(output_of("nft list ruleset"), "flags owner"));
	assert_int_not_equal(system("nft delete table inet kuma_dns 2>/dev/null"), 0);
	run("nft flush ruleset");
	assert_non_null(strstr(output_of("nft list ruleset"), "redirect to :15053"));
	redirect_close(redirect);
	assert_string_equal(output_of("nft list ruleset"), "");
}

static void a_killed_process_leaves_no_table(void **state)
{
	const struct rules rules = all_rules();
	pid_t owner;

	(void)state;
	need_namespaces();
	owner = start_owner(&rules);
	assert_non_null(strstr(output_of("nft list ruleset"), "flags owner"));
	stop(owner);
	assert_string_equal(output_of("nft list ruleset"), "");
}

static void a_table_that_nobody_owns_is_replaced(void **state)
{
	const struct rules rules = all_rules();
	struct redirect *redirect;

	(void)state;
	need_namespaces();
	run("nft 'add table inet kuma_dns; add chain inet kuma_dns old { type filter hook output "
	    "priority 0; policy drop; }'");
	redirect = opened(&rules);
	assert_string_equal(redirect_table(redirect), "kuma_dns");
	assert_null(strstr(output_of("nft list ruleset"), "chain old"));
	assert_non_null(strstr(output_of("nft list ruleset"), "flags owner"));
	redirect_close(redirect);
}

static void eight_daemons_have_tables_and_the_ninth_an_error(void **state)
{
	const struct rules rules = all_rules();
	struct redirect *redirect[8];
	struct redirect *ninth;
	struct redirect_error error;

	(void)state;
	need_namespaces();
	for (unsigned i = 0; i < 8; i++) {
		redirect[i] = opened(&rules);
	}
	assert_string_equal(redirect_table(redirect[1]), "kuma_dns_2");
	assert_string_equal(redirect_table(redirect[7]), "kuma_dns_8");
	assert_int_equal(redirect_open(&ninth, &rules, &error), -EBUSY);
	assert_non_null(strstr(error.text, "another process owns"));
	redirect_close(redirect[3]);
	redirect[3] = opened(&rules);
	assert_string_equal(redirect_table(redirect[3]), "kuma_dns_4");
	for (unsigned i = 0; i < 8; i++) {
		redirect_close(redirect[i]);
	}
}

/** Ask without pause, on new sockets and on one that lasts; report if an answer is not D. */
static void ask_until_told(int told, int report)
{
	const struct question q = {.address = "10.0.0.2"};
	const int lasting = application(&q);
	struct pollfd p = {.fd = told, .events = POLLIN};
	char verdict = 'k';

	tell(report, 'r');
	while (poll(&p, 1, 0) == 0) {
		if (ask(q) != 'D' || ask_on(lasting, &q) != 'D') {
			verdict = 'l';
		}
	}
	tell(report, verdict);
	_exit(0);
}

/** @param signal  what ends the first daemon */
static void replace_without_a_gap(int signal)
{
	const struct rules rules = rules_for("10.0.0.2", NULL);
	int told[2];
	int report[2];
	struct redirect *second;
	pid_t first;

	start_name_server();
	start_daemon();
	first = start_owner(&rules);
	assert_int_equal(pipe(told), 0);
	assert_int_equal(pipe(report), 0);
	if (start() == 0) {
		ask_until_told(told[0], report[1]);
	}
	await(report[0], 'r');
	second = opened(&rules);
	assert_string_equal(redirect_table(second), "kuma_dns_2");
	stop_by(first, signal);
	for (unsigned i = 0; i < 50; i++) {
		assert_answered_by('D', .address = "10.0.0.2");
	}
	assert_null(strstr(output_of("nft list ruleset"), "table inet kuma_dns {"));
	tell(told[1], '.');
	await(report[0], 'k');
	redirect_close(second);
	assert_answered_by('S', .address = "10.0.0.2");
	close(told[0]);
	close(told[1]);
	close(report[0]);
	close(report[1]);
}

static void a_second_start_replaces_a_first_that_stops_without_a_gap(void **state)
{
	(void)state;
	need_namespaces();
	replace_without_a_gap(SIGTERM);
}

static void a_second_start_replaces_a_first_that_is_killed_without_a_gap(void **state)
{
	(void)state;
	need_namespaces();
	replace_without_a_gap(SIGKILL);
}

static void without_the_capability_the_error_says_so(void **state)
{
	const struct rules rules = all_rules();
	struct redirect *redirect;
	struct redirect_error error;
	int status;
	pid_t pid;

	(void)state;
	need_namespaces();
	pid = fork();
	if (pid == 0) {
		/* The network namespace stays with the user namespace that we leave. */
		_exit(unshare(CLONE_NEWUSER) == 0 &&
					redirect_open(&redirect, &rules, &error) == -EPERM &&
					strstr(error.text, "CAP_NET_ADMIN")
				? 0
				: 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_string_equal(output_of("nft list ruleset"), "");
}

/* Capture */

static void udp_and_tcp_of_both_families_are_captured(void **state)
{
	static const char *const asked[] = {"10.0.0.2", "fd00::2", "127.0.0.53", "127.0.0.11",
		"127.0.0.1", "::1", "10.0.0.1", "fd00::1", NULL};
	const struct rules rules = all_rules();
	struct redirect *redirect;

	(void)state;
	need_namespaces();
	start_name_server();
	start_daemon();
	assert_answered_by('S', .address = "10.0.0.2");
	assert_answered_by('S', .address = "fd00::2", .type = SOCK_STREAM);
	redirect = opened(&rules);
	for (const char *const *a = asked; *a; a++) {
		assert_answered_by('D', .address = *a);
		assert_answered_by('D', .address = *a, .type = SOCK_STREAM);
	}
	redirect_close(redirect);
	assert_answered_by('S', .address = "10.0.0.2");
	assert_answered_by('S', .address = "fd00::2", .type = SOCK_STREAM);
}

static void only_listed_servers_are_captured(void **state)
{
	struct rules rules;
	struct redirect *redirect;

	(void)state;
	need_namespaces();
	start_name_server();
	start_daemon();
	rules = rules_for("10.0.0.2", NULL);
	redirect = opened(&rules);
	assert_answered_by('D', .address = "10.0.0.2");
	assert_answered_by('D', .address = "10.0.0.2", .type = SOCK_STREAM);
	assert_answered_by('S', .address = "10.0.0.3");
	assert_answered_by('S', .address = "10.0.0.3", .type = SOCK_STREAM);
	assert_answered_by('S', .address = "fd00::2");
	redirect_close(redirect);
	rules = rules_for("127.0.0.53", "fd00::2");
	redirect = opened(&rules);
	assert_answered_by('S', .address = "10.0.0.2");
	assert_answered_by('D', .address = "127.0.0.53");
	assert_answered_by('D', .address = "fd00::2", .type = SOCK_STREAM);
	redirect_close(redirect);
}

/** An answer to a link-local address cannot be routed from loopback. */
static void a_link_local_server_is_left_alone(void **state)
{
	struct rules rules;
	struct redirect *redirect;

	(void)state;
	need_namespaces();
	start_name_server();
	start_daemon();
	rules = all_rules();
	redirect = opened(&rules);
	assert_answered_by('S', .address = "fe80::2%v0");
	assert_answered_by('S', .address = "fe80::2%v0", .type = SOCK_STREAM);
	redirect_close(redirect);
	rules = rules_for(NULL, "fe80::2%v0");
	redirect = opened(&rules);
	assert_answered_by('S', .address = "fe80::2%v0");
	redirect_close(redirect);
}

static void ipv6_is_left_alone_when_told_so(void **state)
{
	struct rules rules = all_rules();
	struct redirect *redirect;

	(void)state;
	need_namespaces();
	start_name_server();
	start_daemon();
	rules.ipv6 = false;
	redirect = opened(&rules);
	assert_answered_by('D', .address = "10.0.0.2");
	assert_answered_by('S', .address = "fd00::2");
	assert_answered_by('S', .address = "fd00::2", .type = SOCK_STREAM);
	redirect_close(redirect);
}

static void our_mark_is_exempt(void **state)
{
	static const char *const resolver[] = {"127.0.0.53", NULL};
	const struct rules rules = all_rules();
	struct redirect *redirect;

	(void)state;
	need_namespaces();
	start_name_server();
	start_daemon();
	start_server(resolver, 53, 'L');
	redirect = opened(&rules);
	assert_answered_by('S', .address = "10.0.0.2", .mark = MARK);
	assert_answered_by('S', .address = "10.0.0.2", .mark = MARK, .type = SOCK_STREAM);
	assert_answered_by('S', .address = "fd00::2", .mark = MARK);
	assert_answered_by('L', .address = "127.0.0.53", .mark = MARK);
	assert_answered_by('L', .address = "127.0.0.53", .mark = MARK, .type = SOCK_STREAM);
	assert_answered_by('D', .address = "10.0.0.2", .mark = MARK + 1);
	redirect_close(redirect);
}

static void the_uid_is_exempt_and_another_is_not(void **state)
{
	struct rules rules = all_rules();
	struct redirect *redirect;

	(void)state;
	need_namespaces();
	start_name_server();
	start_daemon();
	rules.has_uid = true;
	rules.uid = 0;
	redirect = opened(&rules);
	assert_answered_by('S', .address = "10.0.0.2");
	assert_answered_by('S', .address = "10.0.0.2", .type = SOCK_STREAM);
	redirect_close(redirect);
	rules.uid = KUMA_UID;
	redirect = opened(&rules);
	assert_answered_by('D', .address = "10.0.0.2");
	assert_answered_by('D', .address = "10.0.0.2", .type = SOCK_STREAM);
	redirect_close(redirect);
}

/** As beside kuma-dp: the daemon has the exempt UID, and its answers are in the zone still. */
static void the_daemon_may_have_the_exempt_uid(void **state)
{
	struct rules rules = all_rules();
	struct redirect *redirect;

	(void)state;
	need_namespaces();
	if (!two_users) {
		print_message("only root can map a second user\n");
		skip();
	}
	start_name_server();
	start_server_as(KUMA_UID, LOOPBACK, PORT, 'D');
	rules.has_uid = true;
	rules.uid = KUMA_UID;
	redirect = opened(&rules);
	assert_answered_by('D', .address = "10.0.0.2");
	assert_answered_by('D', .address = "fd00::2", .type = SOCK_STREAM);
	assert_int_equal(seteuid(KUMA_UID), 0);
	assert_answered_by('S', .address = "10.0.0.2");
	assert_answered_by('S', .address = "fd00::2", .type = SOCK_STREAM);
	assert_int_equal(seteuid(0), 0);
	redirect_close(redirect);
}

/* Conntrack */

/** An application and then we ask the same server from the same port. @return who answers us */
static char reuse_port(bool zones)
{
	struct rules rules = rules_for("10.0.0.2", NULL);
	struct redirect *redirect;
	char letter;

	rules.zones = zones;
	redirect = opened(&rules);
	assert_answered_by('D', .address = "10.0.0.2", .from = 40000);
	letter = ask((struct question){.address = "10.0.0.2", .from = 40000, .mark = MARK});
	redirect_close(redirect);
	return letter;
}

static void zones_keep_flows_with_the_same_ports_apart(void **state)
{
	(void)state;
	need_namespaces();
	start_name_server();
	start_daemon();
	assert_int_equal(reuse_port(false), 'D'); /* our own query came back to us */
	assert_int_equal(reuse_port(true), 'S');
}

/** The other way round: an application's query must not slip past us in the track of ours. */
static void an_application_can_reuse_a_port_of_ours(void **state)
{
	const struct rules rules = rules_for("10.0.0.2", NULL);
	struct redirect *redirect;

	(void)state;
	need_namespaces();
	start_name_server();
	start_daemon();
	redirect = opened(&rules);
	assert_answered_by('S', .address = "10.0.0.2", .from = 40000, .mark = MARK);
	assert_answered_by('D', .address = "10.0.0.2", .from = 40000);
	assert_answered_by('S', .address = "10.0.0.2", .from = 40000, .mark = MARK);
	redirect_close(redirect);
}

static void only_redirected_flows_are_in_the_zone(void **state)
{
	const struct rules rules = rules_for("10.0.0.2", NULL);
	struct redirect *redirect;
	const char *flows;

	(void)state;
	need_namespaces();
	start_name_server();
	start_daemon();
	redirect = opened(&rules);
	assert_answered_by('D', .address = "10.0.0.2", .from = 40001);
	assert_answered_by('S', .address = "10.0.0.2", .from = 40002, .mark = MARK);
	assert_answered_by('S', .address = "10.0.0.3", .from = 40003);
	flows = output_of("conntrack -L --zone 2 2>/dev/null");
	assert_non_null(strstr(flows, "src=10.0.0.1 dst=10.0.0.2 sport=40001 dport=53 "
				      "src=127.0.0.1 dst=10.0.0.1 sport=15053 dport=40001"));
	assert_null(strstr(flows, "UNREPLIED"));
	assert_null(strstr(flows, "sport=40002"));
	assert_null(strstr(flows, "sport=40003"));
	redirect_close(redirect);
	assert_null(strstr(output_of("conntrack -L 2>/dev/null"), "sport=15053"));
}

/** Kuma's dropInvalidPackets, and a firewall that lets in nothing but what was asked for. */
static void a_stateful_firewall_lets_everything_pass(void **state)
{
	static const char *const resolver[] = {"127.0.0.53", NULL};
	struct rules rules;
	struct redirect *redirect;

	(void)state;
	need_namespaces();
	start_name_server();
	start_daemon();
	start_server(resolver, 53, 'L');
	run("nft 'table inet wall {"
	    " chain in { type filter hook input priority 0; policy drop;"
	    "  ct state invalid drop; ct state established,related accept; iif lo accept;"
	    "  icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; };"
	    " chain out { type filter hook output priority 0; ct state invalid drop; }; }'");
	rules = rules_for("10.0.0.2", "::1");
	redirect = opened(&rules);
	assert_answered_by('D', .address = "10.0.0.2");
	assert_answered_by('D', .address = "::1", .type = SOCK_STREAM);
	assert_answered_by('S', .address = "10.0.0.2", .mark = MARK);
	assert_answered_by('S', .address = "10.0.0.3");
	assert_answered_by('S', .address = "fd00::2", .type = SOCK_STREAM);
	assert_answered_by('L', .address = "127.0.0.53", .type = SOCK_STREAM);
	/* our port itself, as a probe asks it */
	assert_answered_by('D', .address = "127.0.0.1", .port = PORT);
	assert_answered_by('D', .address = "127.0.0.1", .port = PORT, .type = SOCK_STREAM);
	assert_answered_by('D', .address = "::1", .port = PORT, .type = SOCK_STREAM);
	redirect_close(redirect);
	rules.has_uid = true;
	rules.uid = 0;
	redirect = opened(&rules);
	assert_answered_by('S', .address = "10.0.0.2");
	redirect_close(redirect);
}

static void a_daemon_that_does_not_listen_is_an_error_at_once(void **state)
{
	const struct rules rules = all_rules();
	struct redirect *redirect;

	(void)state;
	need_namespaces();
	start_name_server();
	run("nft 'table inet wall {"
	    " chain in { type filter hook input priority 0; ct state invalid drop; };"
	    " chain out { type filter hook output priority 0; ct state invalid drop; }; }'");
	redirect = opened(&rules);
	assert_int_equal(ask_connected("10.0.0.2", 53), 'r');
	assert_int_equal(ask_connected("fd00::2", 53), 'r');
	assert_int_equal(ask_connected("127.0.0.53", 53), 'r');
	assert_answered_by('r', .address = "10.0.0.2", .type = SOCK_STREAM);
	assert_answered_by('r', .address = "fd00::2", .type = SOCK_STREAM);
	/* errors that are not about our port stay out of the zone */
	assert_int_equal(ask_connected("127.0.0.1", 7), 'r');
	assert_int_equal(ask_connected("::1", 7), 'r');
	redirect_close(redirect);
}

/* A socket that lasts */

static void a_lasting_socket_is_captured_at_once(const char *address, bool zones)
{
	struct rules rules = all_rules();
	const struct question q = {.address = address};
	struct redirect *redirect;
	int fd;

	fd = application(&q);
	assert_int_equal(ask_on(fd, &q), 'S');
	assert_non_null(strstr(output_of("conntrack -L 2>/dev/null"), "dport=53"));
	rules.zones = zones;
	redirect = opened(&rules);
	assert_int_equal(ask_on(fd, &q), 'D');
	redirect_close(redirect);
	assert_int_equal(ask_on(fd, &q), 'S');
	assert_null(strstr(output_of("conntrack -L 2>/dev/null"), "sport=15053"));
	close(fd);
}

static void a_lasting_socket_follows_the_rules(void **state)
{
	(void)state;
	need_namespaces();
	start_name_server_beside_others();
	start_daemon();
	a_lasting_socket_is_captured_at_once("10.0.0.2", true);
	a_lasting_socket_is_captured_at_once("10.0.0.2", false);
	a_lasting_socket_is_captured_at_once("fd00::2", true);
	a_lasting_socket_is_captured_at_once("fd00::2", false);
}

static void a_lasting_socket_goes_direct_after_a_kill(void **state)
{
	const struct rules rules = rules_for("10.0.0.2", NULL);
	const struct question q = {.address = "10.0.0.2"};
	pid_t owner;
	pid_t daemon;
	int fd;

	(void)state;
	need_namespaces();
	start_name_server_beside_others();
	daemon = start_daemon();
	owner = start_owner(&rules);
	fd = application(&q);
	assert_int_equal(ask_on(fd, &q), 'D');
	stop(daemon);
	stop(owner);
	assert_int_equal(ask_on(fd, &q), 'S');
	assert_answered_by('S', .address = "10.0.0.2");
	close(fd);
}

/** After a kill, flows to the old port are still known; another start may have another port. */
static void a_new_port_is_used_at_once(void **state)
{
	static const char *const addresses[] = {"127.0.0.1", NULL};
	struct rules rules = rules_for("10.0.0.2", NULL);
	const struct question q = {.address = "10.0.0.2"};
	struct redirect *redirect;
	pid_t owner;
	int fd;

	(void)state;
	need_namespaces();
	start_name_server_beside_others();
	start_daemon();
	start_server(addresses, PORT + 1, 'E');
	owner = start_owner(&rules);
	fd = application(&q);
	assert_int_equal(ask_on(fd, &q), 'D');
	stop(owner);
	rules.port = PORT + 1;
	redirect = opened(&rules);
	assert_int_equal(ask_on(fd, &q), 'E');
	redirect_close(redirect);
	close(fd);
}

static void queries_in_progress_are_answered_after_withdrawal(void **state)
{
	const struct rules rules = rules_for("10.0.0.2", NULL);
	const struct question q = {.address = "10.0.0.2"};
	const struct endpoint server = endpoint_of(&q);
	struct endpoint client = {.len = sizeof client.in6};
	struct redirect *redirect;
	char c;
	int daemon;
	int fd;

	(void)state;
	need_namespaces();
	start_name_server();
	daemon = bound("127.0.0.1", PORT, SOCK_DGRAM);
	redirect = opened(&rules);
	fd = application(&q);
	assert_int_equal(sendto(fd, "?", 1, 0, &server.sa, server.len), 1);
	assert_int_equal(recvfrom(daemon, &c, 1, 0, &client.sa, &client.len), 1);
	redirect_withdraw(redirect);
	assert_answered_by('S', .address = "10.0.0.2");
	assert_int_equal(sendto(daemon, "D", 1, 0, &client.sa, client.len), 1);
	assert_int_equal(receive(fd, &server), 'D');
	assert_int_equal(ask_on(fd, &q), 'S');
	redirect_withdraw(redirect); /* twice does no harm */
	redirect_close(redirect);
	assert_string_equal(output_of("nft list ruleset"), "");
	close(fd);
	close(daemon);
}

static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	const struct __user_cap_data_struct none[2] = {{0}};

	return (int)syscall(SYS_capset, &header, none);
}

/** @param remove  what is done once capabilities are gone */
static void remove_without_capabilities(void (*remove)(struct redirect *redirect))
{
	const struct rules rules = all_rules();
	int ready[2];

	assert_int_equal(pipe(ready), 0);
	if (start() == 0) {
		struct redirect *redirect;
		struct redirect_error error;
		if (redirect_open(&redirect, &rules, &error) != 0 || drop_capabilities() != 0) {
			_exit(1);
		}
		remove(redirect);
		tell(ready[1], 'r');
		pause();
	}
	await(ready[0], 'r');
	assert_string_equal(output_of("nft list ruleset"), "");
	close(ready[0]);
	close(ready[1]);
}

static void rules_go_at_once_when_capabilities_are_gone(void **state)
{
	(void)state;
	need_namespaces();
	remove_without_capabilities(redirect_withdraw);
	remove_without_capabilities(redirect_close);
}

static void closing_nothing_is_allowed(void **state)
{
	(void)state;
	redirect_close(NULL);
}

#define in_namespace(test)                                                                         \
	cmocka_unit_test_setup_teardown(test, enter_network_namespace, stop_processes)

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_namespace(the_ruleset_is_the_documented_one),
		in_namespace(the_text_is_what_is_installed),
		in_namespace(installed_rules_outlive_a_daemon_beside_them),
		in_namespace(uninstalling_leaves_the_tables_of_others),
		in_namespace(a_refused_install_leaves_what_was_there),
		in_namespace(sixteen_servers_of_one_family_fit),
		in_namespace(installing_is_quick),
		in_namespace(servers_change_without_another_table),
		in_namespace(flows_to_servers_that_stay_are_remembered),
		in_namespace(no_set_of_servers_is_none_to_change),
		in_namespace(installed_rules_get_other_servers),
		in_namespace(rules_can_outlive_their_daemon),
		in_namespace(a_lasting_socket_follows_to_another_port),
		in_namespace(rules_that_fail_closed_are_uninstalled),
		in_namespace(rules_that_fail_closed_get_other_servers),
		in_namespace(nobody_else_can_remove_the_table),
		in_namespace(a_killed_process_leaves_no_table),
		in_namespace(a_table_that_nobody_owns_is_replaced),
		in_namespace(eight_daemons_have_tables_and_the_ninth_an_error),
		in_namespace(a_second_start_replaces_a_first_that_stops_without_a_gap),
		in_namespace(a_second_start_replaces_a_first_that_is_killed_without_a_gap),
		in_namespace(without_the_capability_the_error_says_so),
		in_namespace(udp_and_tcp_of_both_families_are_captured),
		in_namespace(only_listed_servers_are_captured),
		in_namespace(a_link_local_server_is_left_alone),
		in_namespace(ipv6_is_left_alone_when_told_so),
		in_namespace(our_mark_is_exempt),
		in_namespace(the_uid_is_exempt_and_another_is_not),
		in_namespace(the_daemon_may_have_the_exempt_uid),
		in_namespace(zones_keep_flows_with_the_same_ports_apart),
		in_namespace(an_application_can_reuse_a_port_of_ours),
		in_namespace(only_redirected_flows_are_in_the_zone),
		in_namespace(a_stateful_firewall_lets_everything_pass),
		in_namespace(a_daemon_that_does_not_listen_is_an_error_at_once),
		in_namespace(a_lasting_socket_follows_the_rules),
		in_namespace(a_lasting_socket_goes_direct_after_a_kill),
		in_namespace(a_new_port_is_used_at_once),
		in_namespace(queries_in_progress_are_answered_after_withdrawal),
		in_namespace(rules_go_at_once_when_capabilities_are_gone),
		in_namespace(closing_nothing_is_allowed),
	};

	return cmocka_run_group_tests(tests, enter_user_namespace, NULL);
}
