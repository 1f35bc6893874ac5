/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dns/mesh/file.h"
#include "tests/directory.h"
#include "tests/ways.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>

enum { LIMIT = 1000 };

static struct file *watched;
static bool refused; /* inotify is not available */

int __real_inotify_init1(int flags);
int __wrap_inotify_init1(int flags);
int __wrap_inotify_init1(int flags)
{
	errno = EMFILE;
	return refused ? -1 : __real_inotify_init1(flags);
}

/* What was reported last, and how often. */
static struct {
	unsigned documents;
	unsigned unchanged;
	unsigned unreachable;
	unsigned rejected;
	char text[LIMIT + 1];
	char problem[512];
	int answer; /* for the next documents */
} seen;

static int report(void *ctx, enum source_event event, struct span document, const char *problem)
{
	assert_ptr_equal(ctx, &seen);
	switch (event) {
	case SOURCE_DOCUMENT:
		seen.documents++;
		memcpy(seen.text, document.data, document.len);
		seen.text[document.len] = '\0';
		break;
	case SOURCE_UNCHANGED:
		seen.unchanged++;
		break;
	case SOURCE_UNREACHABLE:
		seen.unreachable++;
		break;
	case SOURCE_REJECTED:
		seen.rejected++;
		break;
	}
	snprintf(seen.problem, sizeof seen.problem, "%s", problem ? problem : "");
	event_base_loopbreak(base);
	return seen.answer;
}

static int set_up(void **state)
{
	(void)state;
	memset(&seen, 0, sizeof seen);
	return directory_open();
}

static int tear_down(void **state)
{
	(void)state;
	file_close(watched);
	watched = NULL;
	refused = false;
	return directory_close();
}

static void open_with(const char *name, uint32_t interval_ms)
{
	struct file_options options = {
		.path = at(name), .interval_ms = interval_ms, .size_max = LIMIT};
	assert_int_equal(file_open(&watched, base, &options, report, &seen), 0);
}

/* Run the loop until `*counter` is beyond `before`. */
static void await(const unsigned *counter, unsigned before)
{
	if (!goes_beyond(counter, before)) {
		fail_msg("nothing came; the last was '%s' %s", seen.text, seen.problem);
	}
}

static void await_text(const char *text)
{
	do {
		await(&seen.documents, seen.documents);
	} while (strcmp(seen.text, text) != 0);
}

static void the_file_is_read_at_once(void **state)
{
	(void)state;
	put("table.json", "one");
	open_with("table.json", HOUR_MS);
	assert_int_equal(seen.documents, 0); /* not inside the call */
	await_text("one");
	assert_int_equal(seen.documents, 1);
}

static void a_rename_over_it_is_seen(void **state)
{
	(void)state;
	put("table.json", "one");
	open_with("table.json", HOUR_MS);
	await_text("one");
	for (int i = 0; i < 3; i++) {
		put("new", i % 2 ? "three" : "two");
		assert_int_equal(rename(at("new"), at("table.json")), 0);
		await_text(i % 2 ? "three" : "two");
	}
}

static void a_write_in_place_is_seen_even_of_the_same_size(void **state)
{
	(void)state;
	put("table.json", "one");
	open_with("table.json", HOUR_MS);
	await_text("one");
	put("table.json", "two");
	await_text("two");
}

static void a_file_deleted_and_made_again_is_seen(void **state)
{
	(void)state;
	put("table.json", "one");
	open_with("table.json", HOUR_MS);
	await_text("one");
	unlink(at("table.json"));
	await(&seen.unreachable, 0);
	assert_non_null(strstr(seen.problem, "No such file"));
	put("table.json", "two");
	await_text("two");
}

static void a_file_that_comes_later_is_seen_with_its_directory(void **state)
{
	(void)state;
	open_with("later/table.json", 50);
	await(&seen.unreachable, 1); /* counted at every look */
	shell("mkdir later && echo -n one > later/table.json");
	await_text("one");
}

static void a_swapped_configmap_is_seen(void **state)
{
	(void)state;
	shell("mkdir ..1 && echo -n one > ..1/table.json && ln -s ..1 ..data && "
	      "ln -s ..data/table.json table.json");
	open_with("table.json", HOUR_MS);
	await_text("one");
	shell("mkdir ..2 && echo -n two > ..2/table.json && ln -s ..2 ..tmp && "
	      "mv -T ..tmp ..data && rm -r ..1");
	await_text("two");
	shell("mkdir ..3 && echo -n six > ..3/table.json && ln -s ..3 ..tmp && "
	      "mv -T ..tmp ..data && rm -r ..2");
	await_text("six");
}

static void what_happens_behind_a_symbolic_link_is_seen(void **state)
{
	(void)state;
	shell("mkdir real && echo -n one > real/content && ln -s real/content table.json");
	open_with("table.json", HOUR_MS);
	await_text("one");
	put("real/content", "two");
	await_text("two");
	shell("echo -n six > real/new && mv real/new real/content");
	await_text("six");
}

static void a_link_in_the_middle_is_seen(void **state)
{
	(void)state;
	shell("mkdir a b c && echo -n one > b/content && echo -n two > c/content && "
	      "ln -s ../b/content a/link && ln -s a/link table.json");
	open_with("table.json", HOUR_MS);
	await_text("one");
	shell("ln -s ../c/content a/new && mv -T a/new a/link");
	await_text("two");
}

static void looking_finds_what_inotify_did_not_tell(void **state)
{
	(void)state;
	refused = true;
	put("table.json", "one");
	open_with("table.json", 50);
	await_text("one");
	await(&seen.unchanged, 1);
	put("table.json", "three");
	await_text("three");
	assert_int_equal(seen.documents, 2);
}

static void looking_confirms_what_is_good(void **state)
{
	(void)state;
	put("table.json", "one");
	open_with("table.json", 50);
	await(&seen.documents, 0);
	await(&seen.unchanged, 2);
	assert_int_equal(seen.documents, 1);
}

static void a_half_written_file_is_read_again(void **state)
{
	(void)state;
	seen.answer = -EBADMSG;
	put("table.json", "{");
	open_with("table.json", HOUR_MS);
	await_text("{");
	seen.answer = 0;
	FILE *file = fopen(at("table.json"), "a");
	assert_non_null(file);
	fputs("}", file);
	fclose(file);
	await_text("{}");
}

static void writes_in_quick_succession_are_read_once(void **state)
{
	(void)state;
	put("table.json", "one");
	open_with("table.json", HOUR_MS);
	await_text("one");
	int fd = open(at("table.json"), O_WRONLY | O_APPEND);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(write(fd, "x", 1), 1);
		event_base_loop(base, EVLOOP_NONBLOCK);
	}
	close(fd);
	await(&seen.documents, 1);
	assert_string_equal(seen.text, "onexxxxxxxxxxxxxxxxxxxx");
	assert_int_equal(seen.documents, 2);
}

static void neighbours_in_the_directory_do_not_matter(void **state)
{
	(void)state;
	put("table.json", "one");
	open_with("table.json", 100);
	await_text("one");
	for (int i = 0; i < 5; i++) {
		put("neighbour", "x");
		await(&seen.unchanged, seen.unchanged);
	}
	assert_int_equal(seen.documents, 1);
}

static void the_size_is_limited(void **state)
{
	(void)state;
	char text[LIMIT + 2];
	memset(text, 'x', sizeof text);
	text[LIMIT + 1] = '\0';
	put("table.json", text);
	open_with("table.json", HOUR_MS);
	await(&seen.rejected, 0);
	assert_non_null(strstr(seen.problem, "larger than allowed"));
	put("table.json", text + 1);
	await_text(text + 1);
}

static void only_regular_files_are_read(void **state)
{
	(void)state;
	assert_int_equal(mkfifo(at("table.json"), 0600), 0);
	open_with("table.json", HOUR_MS);
	await(&seen.rejected, 0);
	assert_non_null(strstr(seen.problem, "not a regular file"));
	uint8_t *octets;
	size_t len;
	assert_int_equal(file_read(directory, true, LIMIT, &octets, &len), -EINVAL);
	/* It has no size until it is read. */
	assert_int_equal(file_read("/proc/self/status", true, LIMIT * 100, &octets, &len), 0);
	assert_true(len > 100);
	free(octets);
	assert_int_equal(file_read("/proc/self/status", true, 100, &octets, &len), -E2BIG);
}

static void reading_a_large_file_gives_way(void **state)
{
	enum { SIZE = 1 << 20 };
	static char text[SIZE + 1];
	uint8_t *octets;
	size_t len;
	(void)state;
	for (size_t i = 0; i < SIZE; i++) {
		text[i] = (char)('a' + i * 7 % 26);
	}
	put("large", text);
	ways = 0;
	assert_int_equal(file_read(at("large"), true, SIZE, &octets, &len), 0);
	assert_int_equal(len, SIZE);
	assert_memory_equal(octets, text, SIZE);
	assert_in_range(ways, SIZE / 65536, SIZE / 4096);
	free(octets);
}

#define watching(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		watching(the_file_is_read_at_once),
		watching(a_rename_over_it_is_seen),
		watching(a_write_in_place_is_seen_even_of_the_same_size),
		watching(a_file_deleted_and_made_again_is_seen),
		watching(a_file_that_comes_later_is_seen_with_its_directory),
		watching(a_swapped_configmap_is_seen),
		watching(what_happens_behind_a_symbolic_link_is_seen),
		watching(a_link_in_the_middle_is_seen),
		watching(looking_finds_what_inotify_did_not_tell),
		watching(looking_confirms_what_is_good),
		watching(a_half_written_file_is_read_again),
		watching(writes_in_quick_succession_are_read_once),
		watching(neighbours_in_the_directory_do_not_matter),
		watching(the_size_is_limited),
		watching(only_regular_files_are_read),
		watching(reading_a_large_file_gives_way),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
