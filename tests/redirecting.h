/* SPDX-License-Identifier: Apache-2.0
 *
 * A host for rules at work: each test has a network namespace of its own with `lo`, and most have
 * a second one behind a veth pair, where a name server is. Servers answer with one letter: D is our
 * daemon, S the name server, L a resolver of this host.
 */
#pragma once

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

static inline void run(const char *command)
{
	const int status = system(command);

	if (status != 0) {
		fail_msg("%s: status %d", command, status);
	}
}

/** @return what the command prints, in a buffer that the next call overwrites */
static inline const char *output_of(const char *command)
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

static inline void write_file(const char *path, const char *text)
{
	FILE *out = fopen(path, "w");

	if (out) {
		fputs(text, out);
		fclose(out);
	}
}

/* Processes */

/** A child that ends with us. */
static inline pid_t start(void)
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

static inline void stop_by(pid_t pid, int signal)
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

static inline void stop(pid_t pid)
{
	stop_by(pid, SIGKILL);
}

static inline void await(int fd, char expected)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char c = 0;

	assert_int_equal(poll(&p, 1, 10000), 1);
	assert_int_equal(read(fd, &c, 1), 1);
	assert_int_equal(c, expected);
}

static inline void tell(int fd, char c)
{
	if (write(fd, &c, 1) != 1) {
		_exit(1);
	}
}

/* Servers */

static const char *const LOOPBACK[] = {"127.0.0.1", "::1", NULL};

static inline int bound(const char *address, uint16_t port, int type)
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

static inline void answer_one(const struct pollfd *p, bool stream, char letter)
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
static inline void serve(const char *const *addresses, uint16_t port, char letter, int ready)
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

static inline pid_t start_server_as(
	uid_t uid, const char *const *addresses, uint16_t port, char letter)
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

static inline pid_t start_server(const char *const *addresses, uint16_t port, char letter)
{
	return start_server_as(0, addresses, port, letter);
}

static inline pid_t start_daemon(void)
{
	return start_server(LOOPBACK, PORT, 'D');
}

/** The name server, in a namespace behind a veth pair. */
static inline void start_name_server(void)
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
static inline void start_name_server_beside_others(void)
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

static inline struct endpoint endpoint_of(const struct question *q)
{
	struct endpoint e;

	assert_int_equal(endpoint_parse(&e, q->address, q->port ? q->port : 53), 0);
	return e;
}

static inline int application(const struct question *q)
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
static inline char receive(int fd, const struct endpoint *asked)
{
	struct endpoint from = {.len = sizeof from.in6};
	char letter = 0;

	if (recvfrom(fd, &letter, 1, 0, &from.sa, &from.len) != 1) {
		return errno == ECONNREFUSED ? 'r' : '-';
	}
	return !asked || endpoint_equal(&from, asked) ? letter : '!';
}

/** Ask on a socket that may have asked before. */
static inline char ask_on(int fd, const struct question *q)
{
	const struct endpoint e = endpoint_of(q);

	if (sendto(fd, "?", 1, 0, &e.sa, e.len) != 1) {
		return errno == ECONNREFUSED ? 'r' : '-';
	}
	return receive(fd, &e);
}

/** @return who answered; `r` refused, `-` nobody, `!` an answer from an address not asked */
static inline char ask(struct question q)
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
static inline char ask_connected(const char *address, uint16_t port)
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

static inline struct rules rules_for(const char *server4, const char *server6)
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

static inline struct rules all_rules(void)
{
	struct rules rules = rules_for(NULL, NULL);

	rules.capture_all = true;
	return rules;
}

static inline struct redirect *opened(const struct rules *rules)
{
	struct redirect *redirect = NULL;
	struct redirect_error error;

	if (redirect_open(&redirect, rules, &error) != 0) {
		fail_msg("redirect_open: %s", error.text);
	}
	return redirect;
}

static inline void own_rules(const struct rules *rules, int ready)
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
static inline pid_t start_owner(const struct rules *rules)
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
static inline void map_two_users(pid_t pid, int entered)
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

static inline void map_one_user(unsigned uid, unsigned gid)
{
	char map[32];

	write_file("/proc/self/setgroups", "deny");
	snprintf(map, sizeof map, "0 %u 1", uid);
	write_file("/proc/self/uid_map", map);
	snprintf(map, sizeof map, "0 %u 1", gid);
	write_file("/proc/self/gid_map", map);
}

static inline int enter_user_namespace(void **state)
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

static inline int enter_network_namespace(void **state)
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

static inline int stop_processes(void **state)
{
	(void)state;
	while (process_count > 0) {
		stop(processes[0]);
	}
	return 0;
}

/* Tests */

struct scene {
	void (*test)(void);
	bool servers; /* whether the name server and the daemon are there */
};

static inline void play(void **state)
{
	const struct scene *scene = *state;

	if (refused) {
		print_message("no user namespaces here: %s\n", refused);
		skip();
	}
	if (scene->servers) {
		start_name_server();
		start_daemon();
	}
	scene->test();
}

static inline struct CMUnitTest played(const char *name, struct scene *scene)
{
	return (struct CMUnitTest){name, play, enter_network_namespace, stop_processes, scene};
}

/** A test in a network namespace of its own; and one with a name server and a daemon there. */
#define in_namespace(test) played(#test, &(struct scene){test, false})
#define with_servers(test) played(#test, &(struct scene){test, true})
