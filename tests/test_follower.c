/* SPDX-License-Identifier: Apache-2.0
 *
 * Whatever becomes of a file is told, and nothing else is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "conf/follower.h"
#include "tests/directory.h"

#include <errno.h>
#include <limits.h>
#include <sys/inotify.h>

enum { SETTLE_MS = 100 };

static struct follower *follower;
static unsigned changes;
static unsigned looks;
static unsigned refused; /* so many times, inotify is not available */

int __real_inotify_init1(int flags);
int __wrap_inotify_init1(int flags);
int __wrap_inotify_init1(int flags)
{
	if (refused > 0) {
		refused--;
		errno = EMFILE;
		return -1;
	}
	return __real_inotify_init1(flags);
}

static void look(void *ctx, bool changed)
{
	assert_ptr_equal(ctx, &looks);
	changes += changed;
	looks++;
	event_base_loopbreak(base);
}

static void open_path(const char *path, uint32_t poll_ms)
{
	struct follower_options options = {
		.path = path, .settle_ms = SETTLE_MS, .poll_ms = poll_ms};
	changes = looks = 0;
	assert_int_equal(follower_open(&follower, base, &options, look, &looks), 0);
	assert_int_equal(looks, 0); /* not inside the call */
	assert_true(goes_beyond(&changes, 0));
}

static int set_up(void **state)
{
	(void)state;
	return directory_open();
}

static int tear_down(void **state)
{
	(void)state;
	follower_close(follower);
	follower = NULL;
	refused = 0;
	return directory_close();
}

/* Run `before`, follow `path`, run `change`. */
struct scenario {
	const char *name;
	const char *before;
	const char *change;
	const char *path;
};

static void play(const struct scenario *s)
{
	assert_int_equal(directory_open(), 0);
	shell(s->before);
	open_path(at(s->path ? s->path : "file"), HOUR_MS);
	shell(s->change);
}

static void clear(void)
{
	follower_close(follower);
	follower = NULL;
	assert_int_equal(directory_close(), 0);
}

static void every_change_is_told(void **state)
{
	(void)state;
	static const struct scenario scenarios[] = {
		{"written in place", "echo one >file", "echo two >file", NULL},
		{"appended to", "echo one >file", "echo two >>file", NULL},
		{"emptied", "echo one >file", ": >file", NULL},
		{"replaced", "echo one >file", "echo two >new; mv new file", NULL},
		{"deleted", "echo one >file", "rm file", NULL},
		{"moved away", "echo one >file", "mv file other", NULL},
		{"created", "true", "echo one >file", NULL},
		{"linked to", "echo one >other", "ln other file", NULL},
		{"made readable", "echo one >file; chmod 0 file", "chmod 644 file", NULL},
		{"written through another name", "mkdir d; echo one >file; ln file d/other",
			"echo two >d/other", NULL},
		{"a link to another", "echo one >a; echo two >b; ln -s a file",
			"ln -s b new; mv -T new file", NULL},
		{"its link made again", "echo one >a; echo two >b; ln -s a file",
			"rm file; ln -s b file", NULL},
		{"its target written", "mkdir d; echo one >d/a; ln -s d/a file", "echo two >d/a",
			NULL},
		{"its target replaced", "mkdir d; echo one >d/a; ln -s d/a file",
			"echo two >d/b; mv d/b d/a", NULL},
		{"its target's directory replaced",
			"mkdir d e; echo one >d/a; echo two >e/a; ln -s d/a file",
			"mv d old; mv e d", NULL},
		{"a directory far above replaced",
			"mkdir -p a/b/c new/b/c; echo one >a/b/c/x; echo two >new/b/c/x; "
			"ln -s a/b/c/x file",
			"mv a old; mv new a", NULL},
		{"a link in the middle of a chain",
			"mkdir a b c; echo one >b/x; echo two >c/x; ln -s ../b/x a/y; "
			"ln -s a/y file",
			"ln -s ../c/x a/z; mv -T a/z a/y", NULL},
		{"a link in the middle of a path",
			"mkdir a b; echo one >a/x; echo two >b/x; ln -s a d",
			"ln -s b new; mv -T new d", "d/x"},
		{"an absolute link", "mkdir d; echo one >d/a; ln -s $PWD/d/a file",
			"echo two >d/b; mv d/b d/a", NULL},
		{"a ConfigMap",
			"mkdir ..1; echo one >..1/file; ln -s ..1 ..data; ln -s ..data/file file",
			"mkdir ..2; echo two >..2/file; ln -s ..2 ..tmp; mv -T ..tmp ..data; "
			"rm -r ..1",
			NULL},
		{"the end of a dangling link", "ln -s a/b file", "mkdir a; echo one >a/b", NULL},
		{"a directory that comes later", "true", "mkdir -p a/b; echo one >a/b/c", "a/b/c"},
		{"a loop that ends", "ln -s a file; ln -s file a", "rm a; echo one >a", NULL},
		{"a link to itself that ends", "ln -s file file", "rm file; echo one >file", NULL},
		{"a way around", "mkdir -p a/b; echo one >file", "echo two >file",
			"./a//b/../.././file"},
		{"a directory in its place", "mkdir file", "rmdir file", NULL},
		{"a directory, itself", "mkdir a", "chmod 700 a", "a/."},
	};
	for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
		play(&scenarios[i]);
		if (!goes_beyond(&changes, 1)) {
			fail_msg("not told: %s", scenarios[i].name);
		}
		clear();
	}
}

static void nothing_else_is_told(void **state)
{
	(void)state;
	static const struct scenario scenarios[] = {
		{"neighbours", "echo one >file; echo one >other",
			"echo two >other; echo >new; mv new newer; rm newer; mkdir d", NULL},
		{"reading", "mkdir d; echo one >d/a; ln -s d/a file",
			"cat file d/* >/dev/null; ls d >/dev/null", NULL},
		{"neighbours of the target", "mkdir d; echo one >d/a; ln -s d/a file",
			"echo two >d/b; rm d/b", NULL},
		{"a name like the target's elsewhere", "mkdir d e; echo one >d/a; ln -s d/a file",
			"echo two >a; echo two >e/a", NULL},
	};
	for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
		play(&scenarios[i]);
		wait_for(SETTLE_MS * 4);
		if (looks != 1) {
			fail_msg("told: %s", scenarios[i].name);
		}
		clear();
	}
}

/* What the path led to once. */
static void what_was_left_behind_is_not_told(void **state)
{
	(void)state;
	shell("mkdir d e; echo one >d/a; echo two >e/a; ln -s d/a file");
	open_path(at("file"), HOUR_MS);
	shell("ln -s e/a new; mv -T new file");
	assert_true(goes_beyond(&changes, 1));
	shell("echo three >d/a; rm d/a; rmdir d");
	wait_for(SETTLE_MS * 4);
	assert_int_equal(looks, 2);
	shell("echo four >e/a");
	assert_true(goes_beyond(&changes, 2));
}

static void a_relative_path_begins_where_we_are(void **state)
{
	(void)state;
	char former[PATH_MAX];
	assert_non_null(getcwd(former, sizeof former));
	assert_int_equal(chdir(directory), 0);
	shell("mkdir d; echo one >d/a; ln -s d/a file");
	open_path("file", HOUR_MS);
	shell("echo two >d/b; mv d/b d/a");
	bool told = goes_beyond(&changes, 1);
	assert_int_equal(chdir(former), 0);
	assert_true(told);
}

/* The times between are only ours to keep where the machine lets us: begin again where it does not.
 */
static void it_is_told_once_it_is_quiet(void **state)
{
	(void)state;
	shell("echo one >file");
	open_path(at("file"), HOUR_MS);
	for (int tries = 0; tries < 20; tries++) {
		unsigned before = changes;
		int64_t start = clock_ms();
		for (int i = 0; i < 20; i++) {
			put("file", "two");
			event_base_loop(base, EVLOOP_NONBLOCK);
		}
		if (clock_ms() - start < SETTLE_MS / 2) {
			assert_int_equal(changes, before);
			assert_true(goes_beyond(&changes, before));
			wait_for(SETTLE_MS * 3);
			assert_int_equal(changes, before + 1);
			return;
		}
		wait_for(SETTLE_MS * 3);
	}
	print_message("the machine is too busy\n");
	skip();
}

static void write_more(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	(void)ctx;
	put("file", "more");
}

static void what_is_never_quiet_is_told_all_the_same(void **state)
{
	(void)state;
	shell("echo one >file");
	open_path(at("file"), HOUR_MS);
	struct event *writing = event_new(base, -1, EV_PERSIST, write_more, NULL);
	struct timeval often = {.tv_usec = SETTLE_MS * 1000 / 5};
	assert_non_null(writing);
	event_add(writing, &often);
	bool told = goes_beyond(&changes, 1) && goes_beyond(&changes, 2);
	event_free(writing);
	assert_true(told);
}

static void without_inotify_looking_finds_it(void **state)
{
	(void)state;
	refused = UINT_MAX;
	shell("echo one >file");
	open_path(at("file"), 50);
	assert_true(goes_beyond(&looks, looks + 1));
	assert_int_equal(changes, 1);
	shell("echo three >file");
	assert_true(goes_beyond(&changes, 1));
	shell("rm file");
	assert_true(goes_beyond(&changes, 2));
}

static void inotify_is_tried_again(void **state)
{
	(void)state;
	refused = 2;
	shell("echo one >file");
	open_path(at("file"), 50);
	while (refused > 0) {
		assert_true(goes_beyond(&looks, looks));
	}
	assert_true(goes_beyond(&looks, looks));
	follower_close(follower);
	open_path(at("file"), HOUR_MS);
	shell("echo two >file");
	assert_true(goes_beyond(&changes, 1));
}

/* Watches of all inotify descriptors that we have. */
static unsigned watch_count(void)
{
	char line[256];
	unsigned count = 0;
	for (int fd = 0; fd < 64; fd++) {
		char path[64];
		snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
		FILE *file = fopen(path, "r");
		while (file && fgets(line, sizeof line, file)) {
			count += strncmp(line, "inotify wd", 10) == 0;
		}
		if (file) {
			fclose(file);
		}
	}
	return count;
}

static void watches_do_not_add_up(void **state)
{
	(void)state;
	shell("mkdir ..0; echo >..0/file; ln -s ..0 ..data; ln -s ..data/file file");
	open_path(at("file"), HOUR_MS);
	unsigned before = watch_count();
	assert_in_range(before, 4, 8);
	for (int i = 1; i <= 5; i++) {
		char line[256];
		snprintf(line, sizeof line,
			"mkdir ..%d; echo >..%d/file; ln -s ..%d ..tmp; mv -T ..tmp ..data", i, i,
			i);
		shell(line);
		assert_true(goes_beyond(&changes, (unsigned)i));
		assert_int_equal(watch_count(), before);
	}
}

static void paths_have_a_limit(void **state)
{
	(void)state;
	static char path[PATH_MAX + 1];
	struct follower_options options = {.path = path, .poll_ms = HOUR_MS};
	memset(path, 'x', PATH_MAX);
	assert_int_equal(follower_open(&follower, base, &options, look, &looks), -ENAMETOOLONG);
	path[PATH_MAX - 1] = '\0'; /* one name, longer than names may be */
	open_path(path, HOUR_MS);
}

#define following(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_change_is_told),
		cmocka_unit_test(nothing_else_is_told),
		following(what_was_left_behind_is_not_told),
		following(a_relative_path_begins_where_we_are),
		following(it_is_told_once_it_is_quiet),
		following(what_is_never_quiet_is_told_all_the_same),
		following(without_inotify_looking_finds_it),
		following(inotify_is_tried_again),
		following(watches_do_not_add_up),
		following(paths_have_a_limit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
