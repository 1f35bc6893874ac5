/* SPDX-License-Identifier: Apache-2.0
 *
 * What becomes of resolv.conf on real systems, in real files: whatever happens to it is told once
 * it says something else, and only then.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "conf/log.h"
#include "dns/resolve/watch.h"
#include "tests/directory.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

enum { LONG_ENOUGH_MS = 400 /* for what does not happen */, NOBODY = 65534 };

static struct watch *watch;
static struct resolv_conf now; /* as it was told last */
static unsigned told;
static unsigned warnings;
static bool refused; /* inotify is not available */

void __wrap_log_line(struct log_site *site, enum log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void __wrap_log_line(struct log_site *site, enum log_level level, const char *format, ...)
{
	(void)site;
	(void)format;
	warnings += level <= LOG_LEVEL_WARNING;
}

int __real_inotify_init1(int flags);
int __wrap_inotify_init1(int flags);
int __wrap_inotify_init1(int flags)
{
	errno = ENOSYS;
	return refused ? -1 : __real_inotify_init1(flags);
}

static void changed(void *ctx, const struct resolv_conf *rc)
{
	assert_ptr_equal(ctx, &now);
	assert_true(rc->servers.count > 0);
	now = *rc;
	told++;
	event_base_loopbreak(base);
}

static int set_up(void **state)
{
	(void)state;
	told = warnings = 0;
	refused = false;
	return directory_open();
}

static int tear_down(void **state)
{
	(void)state;
	watch_close(watch);
	watch = NULL;
	return directory_close();
}

/* Follow `name` in the directory; it has been read before, as at start. */
static void follow(const char *name, uint32_t poll_ms)
{
	int rc = resolv_conf_load(&now, at(name));
	assert_true(rc == 0 || rc == -ENOENT);
	assert_int_equal(watch_open(&watch, base, at(name), poll_ms, &now, changed, &now), 0);
	event_base_loop(base, EVLOOP_NONBLOCK);
	assert_int_equal(told, 0);
}

/* The next that is told names this server. */
static void expect(const char *server)
{
	char text[ENDPOINT_TEXT_SIZE];
	if (!goes_beyond(&told, told)) {
		fail_msg("nothing told, expected %s; %s", server, watch_status(watch)->problem);
	}
	assert_string_equal(endpoint_format(&now.servers.item[0], text), server);
	assert_int_equal(watch_status(watch)->changes, told);
	assert_string_equal(watch_status(watch)->problem, "");
}

static void expect_nothing(void)
{
	unsigned before = told;
	wait_for(LONG_ENOUGH_MS);
	assert_int_equal(told, before);
}

/* Wait until there is a problem. */
static void expect_problem(const char *problem)
{
	int64_t until = clock_ms() + PATIENCE_MS;
	while (!strstr(watch_status(watch)->problem, problem)) {
		if (clock_ms() > until) {
			fail_msg("expected %s, is '%s'", problem, watch_status(watch)->problem);
		}
		run_for(20);
	}
}

static const char one[] = "nameserver 192.0.2.1\n";
static const char two[] = "nameserver 192.0.2.2\n";

static void a_write_in_place_is_told(void **state)
{
	(void)state;
	put("resolv.conf", one);
	follow("resolv.conf", HOUR_MS);
	put("resolv.conf", two);
	expect("192.0.2.2:53");
	put("resolv.conf", one);
	expect("192.0.2.1:53");
	assert_int_equal(warnings, 0);
}

static void a_rename_over_it_is_told_each_time(void **state)
{
	(void)state;
	put("resolv.conf", one);
	follow("resolv.conf", HOUR_MS);
	for (int i = 0; i < 3; i++) {
		put("new", i % 2 ? one : two);
		assert_int_equal(rename(at("new"), at("resolv.conf")), 0);
		expect(i % 2 ? "192.0.2.1:53" : "192.0.2.2:53");
	}
}

static void a_file_deleted_and_made_again_is_told(void **state)
{
	(void)state;
	put("resolv.conf", one);
	follow("resolv.conf", HOUR_MS);
	assert_int_equal(unlink(at("resolv.conf")), 0);
	expect_problem("No such file");
	put("resolv.conf", two);
	expect("192.0.2.2:53");
	assert_int_equal(warnings, 1);
}

static void a_symbolic_link_led_elsewhere_is_told(void **state)
{
	(void)state;
	put("one", one);
	put("two", two);
	shell("ln -s one resolv.conf");
	follow("resolv.conf", HOUR_MS);
	shell("ln -s two new; mv -T new resolv.conf");
	expect("192.0.2.2:53");
	shell("rm resolv.conf; ln -s $PWD/one resolv.conf");
	expect("192.0.2.1:53");
}

/* As with systemd-resolved and NetworkManager: a relative link into /run. */
static void what_happens_behind_a_symbolic_link_is_told(void **state)
{
	(void)state;
	shell("mkdir -p etc run/resolve; ln -s ../run/resolve/stub.conf etc/resolv.conf");
	put("run/resolve/stub.conf", one);
	follow("etc/resolv.conf", HOUR_MS);
	put("run/resolve/stub.conf", two);
	expect("192.0.2.2:53");
	shell("echo nameserver 192.0.2.3 >run/resolve/new; "
	      "mv run/resolve/new run/resolve/stub.conf");
	expect("192.0.2.3:53");
	shell("mkdir run/other; echo nameserver 192.0.2.4 >run/other/stub.conf; "
	      "mv run/resolve run/old; mv run/other run/resolve");
	expect("192.0.2.4:53");
	/* The service stops, and its directory goes; then it comes back. */
	shell("rm -r run/resolve");
	expect_problem("No such file");
	shell("mkdir run/resolve; echo nameserver 192.0.2.5 >run/resolve/stub.conf");
	expect("192.0.2.5:53");
}

static void a_swapped_configmap_is_told_each_time(void **state)
{
	(void)state;
	shell("mkdir ..2026_1; echo nameserver 192.0.2.1 >..2026_1/resolv.conf; "
	      "ln -s ..2026_1 ..data; ln -s ..data/resolv.conf resolv.conf");
	follow("resolv.conf", HOUR_MS);
	for (int i = 2; i < 5; i++) {
		char commands[256];
		char server[32];
		snprintf(commands, sizeof commands,
			"mkdir ..2026_%d; echo nameserver 192.0.2.%d >..2026_%d/resolv.conf; "
			"ln -s ..2026_%d ..data_tmp; mv -T ..data_tmp ..data; rm -r ..2026_%d",
			i, i, i, i, i - 1);
		snprintf(server, sizeof server, "192.0.2.%d:53", i);
		shell(commands);
		expect(server);
	}
	assert_int_equal(warnings, 0);
}

/* Docker's way: the file is mounted from the host and written there. */
static void a_write_through_another_name_is_told(void **state)
{
	(void)state;
	shell("mkdir host");
	put("host/file", one);
	shell("ln host/file resolv.conf");
	follow("resolv.conf", HOUR_MS);
	put("host/file", two);
	expect("192.0.2.2:53");
}

static void a_file_that_comes_later_is_told_with_its_directory(void **state)
{
	(void)state;
	follow("later/etc/resolv.conf", HOUR_MS);
	expect_problem("No such file");
	shell("mkdir -p later/etc; echo nameserver 192.0.2.1 >later/etc/resolv.conf");
	expect("192.0.2.1:53");
}

/* Between reading it at start and following it. */
static void what_changed_before_is_told(void **state)
{
	(void)state;
	put("resolv.conf", one);
	assert_int_equal(resolv_conf_load(&now, at("resolv.conf")), 0);
	put("resolv.conf", two);
	assert_int_equal(
		watch_open(&watch, base, at("resolv.conf"), HOUR_MS, &now, changed, &now), 0);
	assert_int_equal(told, 0); /* not inside the call */
	expect("192.0.2.2:53");
}

static void options_and_search_domains_count_too(void **state)
{
	(void)state;
	put("resolv.conf", one);
	follow("resolv.conf", HOUR_MS);
	shell("echo search a.example >>resolv.conf");
	expect("192.0.2.1:53");
	assert_int_equal(now.search_count, 1);
	shell("echo options ndots:5 timeout:1 >>resolv.conf");
	expect("192.0.2.1:53");
	assert_int_equal(now.ndots, 5);
	assert_int_equal(now.timeout_ms, 1000);
}

static void the_same_content_is_not_told(void **state)
{
	(void)state;
	put("resolv.conf", one);
	follow("resolv.conf", HOUR_MS);
	put("resolv.conf", one);
	expect_nothing();
	shell("cp resolv.conf new; mv new resolv.conf");
	expect_nothing();
	put("resolv.conf", "# written again\nnameserver  192.0.2.1 # the same\n");
	expect_nothing();
	shell("touch resolv.conf; chmod 600 resolv.conf; echo >neighbour");
	expect_nothing();
	put("resolv.conf", two);
	expect("192.0.2.2:53");
	assert_int_equal(watch_status(watch)->changes, 1);
}

static void the_last_good_one_stays(void **state)
{
	(void)state;
	put("resolv.conf", one);
	follow("resolv.conf", HOUR_MS);
	put("resolv.conf", "");
	expect_problem("names no server");
	put("resolv.conf", "search a.example\nnameserver nonsense\n");
	expect_nothing();
	assert_int_equal(warnings, 1); /* the same trouble */
	shell("rm resolv.conf; mkdir resolv.conf");
	expect_problem("Is a directory");
	assert_int_equal(warnings, 2);
	shell("rmdir resolv.conf; ln -s resolv.conf resolv.conf");
	expect_problem("symbolic links");
	shell("rm resolv.conf; head -c 70000 /dev/zero >resolv.conf");
	expect_problem("too large");
	assert_int_equal(warnings, 4);
	assert_int_equal(told, 0);
	/* What it said before all that is no news. */
	put("resolv.conf", one);
	expect_nothing();
	assert_string_equal(watch_status(watch)->problem, "");
	put("resolv.conf", two);
	expect("192.0.2.2:53");
}

static void an_unreadable_file_is_read_once_it_may_be(void **state)
{
	(void)state;
	put("resolv.conf", one);
	follow("resolv.conf", HOUR_MS);
	shell("chmod 755 .; echo nameserver 192.0.2.2 >new; chmod 0 new; mv new resolv.conf");
	uid_t user = geteuid();
	if (user == 0 && seteuid(NOBODY) != 0) {
		print_message("root reads everything, and may not be another\n");
		skip();
	}
	expect_problem("Permission denied");
	assert_int_equal(seteuid(user), 0);
	assert_int_equal(chmod(at("resolv.conf"), 0644), 0);
	expect("192.0.2.2:53");
}

/* The times between are only ours to keep where the machine lets us: begin again where it does not.
 */
static void half_written_is_not_told(void **state)
{
	(void)state;
	put("resolv.conf", one);
	follow("resolv.conf", HOUR_MS);
	for (int tries = 0; tries < 20; tries++) {
		unsigned before = told;
		unsigned warned = warnings;
		int fd = open(at("resolv.conf"), O_WRONLY | O_TRUNC);
		assert_true(fd >= 0);
		int64_t start = clock_ms();
		event_base_loop(base, EVLOOP_NONBLOCK); /* empty */
		assert_int_equal(write(fd, "nameserver 192.0.2.9\n", 21), 21);
		event_base_loop(base, EVLOOP_NONBLOCK); /* one server of two */
		bool in_time = clock_ms() - start < 50;
		const char *rest =
			tries % 2 ? "search a\nnameserver 192.0.2.8" : "nameserver 192.0.2.7";
		assert_true(write(fd, rest, strlen(rest)) > 0);
		close(fd);
		assert_true(goes_beyond(&told, before));
		wait_for(LONG_ENOUGH_MS);
		if (in_time) {
			assert_int_equal(told, before + 1);
			assert_int_equal(now.servers.count, 2);
			assert_int_equal(warnings, warned);
			return;
		}
	}
	print_message("the machine is too busy\n");
	skip();
}

static void a_burst_is_told_once(void **state)
{
	(void)state;
	put("resolv.conf", one);
	follow("resolv.conf", HOUR_MS);
	for (int i = 1; i <= 200; i++) {
		char text[64];
		snprintf(text, sizeof text, "nameserver 192.0.2.%d\n", i);
		put(i % 2 ? "resolv.conf" : "new", text);
		if (i % 2 == 0) {
			assert_int_equal(rename(at("new"), at("resolv.conf")), 0);
		}
	}
	expect("192.0.2.200:53");
	expect_nothing();
}

static void without_inotify_the_file_is_looked_at(void **state)
{
	(void)state;
	refused = true;
	put("resolv.conf", one);
	follow("resolv.conf", 50);
	assert_int_equal(warnings, 1);
	put("resolv.conf", two);
	expect("192.0.2.2:53");
	shell("rm resolv.conf; ln -s elsewhere resolv.conf");
	expect_problem("No such file");
	assert_int_equal(warnings, 2);
	put("elsewhere", one);
	expect("192.0.2.1:53");
	wait_for(LONG_ENOUGH_MS);
	assert_int_equal(warnings, 2);
}

/* inotify(7): it does not report what happens through mmap(2). */
static void looking_finds_what_is_written_through_memory(void **state)
{
	(void)state;
	put("resolv.conf", one);
	int fd = open(at("resolv.conf"), O_RDWR);
	char *text = mmap(NULL, sizeof one - 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(text, MAP_FAILED);
	follow("resolv.conf", 50);
	memcpy(text, two, sizeof two - 1);
	expect("192.0.2.2:53");
	munmap(text, sizeof one - 1);
	close(fd);
}

/* Another file mounted over it: no directory changes. The last test, for it leaves the namespace.
 */
static void looking_finds_a_mount(void **state)
{
	(void)state;
	put("resolv.conf", one);
	put("two", two);
	put("three", "nameserver 192.0.2.3\n");
	follow("resolv.conf", 50);
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) {
		print_message("no mounts without privileges: %s\n", strerror(errno));
		skip();
	}
	assert_int_equal(mount(at("two"), at("resolv.conf"), NULL, MS_BIND, NULL), 0);
	expect("192.0.2.2:53");
	assert_int_equal(mount(at("three"), at("resolv.conf"), NULL, MS_BIND, NULL), 0);
	expect("192.0.2.3:53");
	assert_int_equal(umount2(at("resolv.conf"), MNT_DETACH), 0);
	assert_int_equal(umount2(at("resolv.conf"), MNT_DETACH), 0);
	expect("192.0.2.1:53");
}

static void paths_have_a_limit(void **state)
{
	(void)state;
	static char path[PATH_MAX + 1];
	memset(path, 'x', PATH_MAX);
	assert_int_equal(
		watch_open(&watch, base, path, HOUR_MS, &now, changed, &now), -ENAMETOOLONG);
	watch_close(NULL);
}

#define watching(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		watching(a_write_in_place_is_told),
		watching(a_rename_over_it_is_told_each_time),
		watching(a_file_deleted_and_made_again_is_told),
		watching(a_symbolic_link_led_elsewhere_is_told),
		watching(what_happens_behind_a_symbolic_link_is_told),
		watching(a_swapped_configmap_is_told_each_time),
		watching(a_write_through_another_name_is_told),
		watching(a_file_that_comes_later_is_told_with_its_directory),
		watching(what_changed_before_is_told),
		watching(options_and_search_domains_count_too),
		watching(the_same_content_is_not_told),
		watching(the_last_good_one_stays),
		watching(an_unreadable_file_is_read_once_it_may_be),
		watching(half_written_is_not_told),
		watching(a_burst_is_told_once),
		watching(without_inotify_the_file_is_looked_at),
		watching(looking_finds_what_is_written_through_memory),
		watching(paths_have_a_limit),
		watching(looking_finds_a_mount),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
