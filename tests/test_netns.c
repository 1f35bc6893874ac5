/* SPDX-License-Identifier: Apache-2.0 */
#include "redirect/netns.h"

#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_MS = 10000 };

/** A process in a network namespace of its own, which says what that is known by. */
struct other {
	pid_t pid;
	uint64_t cookie;
	char name[NETNS_NAME_SIZE];
};

static void live(int out)
{
	struct other self = {.pid = getpid()};

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && unshare(CLONE_NEWNET) == 0 &&
		netns_find(&self.cookie) == 0 && netns_name(self.name) == 0 &&
		write(out, &self, sizeof self) == (ssize_t)sizeof self) {
		(void)pause();
	}
	_exit(1);
}

/** @return false where it cannot be had here */
static bool start(struct other *other)
{
	int ends[2];
	ssize_t got;

	assert_int_equal(pipe(ends), 0);
	const pid_t pid = fork();
	if (pid == 0) {
		live(ends[1]);
	}
	close(ends[1]);
	got = read(ends[0], other, sizeof *other);
	close(ends[0]);
	if (got != (ssize_t)sizeof *other) {
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		print_message("no other network namespace for us, or no name for it\n");
	}
	return got == (ssize_t)sizeof *other;
}

static void stop(const struct other *other)
{
	assert_int_equal(kill(other->pid, SIGKILL), 0);
	assert_int_equal(waitpid(other->pid, NULL, 0), other->pid);
}

static bool goes(const char *name)
{
	for (unsigned ms = 0; ms < PATIENCE_MS; ms += 10) {
		if (netns_is_gone(name)) {
			return true;
		}
		usleep(10000);
	}
	return false;
}

static void a_namespace_is_gone_with_its_last_process(void **state)
{
	struct other other;
	char own[NETNS_NAME_SIZE];
	uint64_t cookie;

	(void)state;
	if (!start(&other)) {
		skip();
	}
	assert_int_equal(netns_find(&cookie), 0);
	assert_int_equal(netns_name(own), 0);
	assert_true(cookie != other.cookie);
	assert_string_not_equal(own, other.name);
	assert_false(netns_is_gone(own));
	assert_false(netns_is_gone(other.name));
	stop(&other);
	assert_true(goes(other.name));
	assert_false(netns_is_gone(own));
}

static void what_is_no_name_is_not_gone(void **state)
{
	static const char *const names[] = {
		"", "0", "00", "nonsense", "10000000f1000000", "ff000000f100000000", "/proc"};
	char longer[2 * NETNS_NAME_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		assert_false(netns_is_gone(names[i]));
	}
	memset(longer, '0', sizeof longer);
	longer[sizeof longer - 1] = '\0';
	assert_false(netns_is_gone(longer));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_namespace_is_gone_with_its_last_process),
		cmocka_unit_test(what_is_no_name_is_not_gone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
