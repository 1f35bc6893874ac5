/* SPDX-License-Identifier: Apache-2.0 */
#include "dns/mesh/saved.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/ways.h"

enum { LIMIT = 1000 };

static const struct span DOCUMENT = {(const uint8_t *)"{\"records\":[]}", 14};
static char directory[64];
static char path[96];
static char new_path[96];

static int directory_make(void **state)
{
	(void)state;
	snprintf(directory, sizeof directory, "/tmp/kuma-dns-saved-XXXXXX");
	if (!mkdtemp(directory)) {
		return -1;
	}
	snprintf(path, sizeof path, "%s/table.saved", directory);
	snprintf(new_path, sizeof new_path, "%s/table.saved.new", directory);
	return 0;
}

static int directory_remove(void **state)
{
	(void)state;
	unlink(path);
	unlink(new_path);
	return rmdir(directory);
}

static size_t file_get(uint8_t *octets, size_t size)
{
	FILE *file = fopen(path, "rb");
	assert_non_null(file);
	size_t len = fread(octets, 1, size, file);
	fclose(file);
	return len;
}

static void file_put(const void *octets, size_t len)
{
	FILE *file = fopen(path, "wb");
	assert_non_null(file);
	assert_int_equal(fwrite(octets, 1, len, file), len);
	fclose(file);
}

static void a_directory_is_made_where_it_is_missing(void **state)
{
	struct stat st;
	const uid_t other = geteuid() == 0 ? 5678 : geteuid();

	(void)state;
	assert_int_equal(saved_check_directory(path), -ENOENT);
	assert_int_equal(saved_make_directory(path, other, other), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 0700);
	assert_int_equal(st.st_uid, other);
	assert_int_equal(saved_check_directory(path), 0);
	/* One that is another's, or the user's, is left as it is. */
	assert_int_equal(chmod(path, 0750), 0);
	assert_int_equal(saved_make_directory(path, geteuid() == 0 ? 77 : geteuid(), 1), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 0750);
	assert_int_equal(st.st_uid, other);
	assert_int_equal(rmdir(path), 0);
	/* Its parents are not made. */
	char deep[128];
	snprintf(deep, sizeof deep, "%s/state", path);
	assert_int_equal(saved_make_directory(deep, other, other), -ENOENT);
}

static uid_t owner_of(const char *name)
{
	struct stat st;
	assert_int_equal(lstat(name, &st), 0);
	return st.st_uid;
}

/** Give `directory` to a user. @return whether it is that user's now */
static bool is_given(void)
{
	assert_int_equal(saved_make_directory(directory, 5678, 5678), 0);
	const bool given = owner_of(directory) == 5678;
	assert_int_equal(chown(directory, 0, 0), 0);
	return given;
}

static void what_root_made_for_us_alone_is_given_to_the_user(void **state)
{
	(void)state;
	if (geteuid() != 0) {
		skip();
	}
	assert_true(is_given());
	assert_int_equal(saved_write(directory, DOCUMENT), 0);
	assert_true(is_given());
	assert_int_equal(owner_of(path), 5678);
	assert_int_equal(chmod(directory, 0770), 0);
	assert_false(is_given());
	assert_int_equal(chmod(directory, 01707), 0);
	assert_false(is_given());
	assert_int_equal(chmod(directory, 0755), 0);
	assert_int_equal(mkfifo(new_path, 0600), 0); /* no file: its name is ours, it is not */
	assert_true(is_given());
	assert_int_equal(owner_of(new_path), 0);
}

/** Files that have another name elsewhere, links, directories that links lead to, and others'. */
static void what_may_be_anothers_is_not_given(void **state)
{
	char other[96];
	char link_path[96];
	char slashes[100];

	(void)state;
	if (geteuid() != 0) {
		skip();
	}
	snprintf(other, sizeof other, "%s.other", directory);
	snprintf(link_path, sizeof link_path, "%s.link", directory);
	file_put("x", 1);
	assert_int_equal(rename(path, other), 0);
	assert_int_equal(link(other, path), 0);
	assert_int_equal(symlink(other, new_path), 0);
	assert_true(is_given());
	assert_int_equal(owner_of(other), 0);
	assert_int_equal(owner_of(new_path), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(unlink(new_path), 0);
	assert_int_equal(symlink(directory, link_path), 0);
	assert_int_equal(saved_make_directory(link_path, 5678, 5678), 0);
	assert_int_equal(owner_of(directory), 0);
	snprintf(slashes, sizeof slashes, "%s//", link_path);
	assert_int_equal(saved_make_directory(slashes, 5678, 5678), 0);
	assert_int_equal(owner_of(directory), 0);
	assert_int_equal(saved_make_directory(other, 5678, 5678), 0); /* no directory */
	assert_int_equal(owner_of(other), 0);
	assert_int_equal(unlink(link_path), 0);
	snprintf(link_path, sizeof link_path, "%s/other", directory);
	assert_int_equal(rename(other, link_path), 0);
	assert_false(is_given());
	assert_int_equal(unlink(link_path), 0);
}

static void assert_saved(struct span document)
{
	struct saved saved;
	int rc = saved_read(&saved, directory, LIMIT);
	assert_int_equal(rc, 0);
	assert_int_equal(saved.document.len, document.len);
	assert_memory_equal(saved.document.data, document.data, document.len);
	saved_free(&saved);
}

static int read_rc(void)
{
	struct saved saved;
	int rc = saved_read(&saved, directory, LIMIT);
	assert_true((rc == 0) == (saved.problem[0] == '\0'));
	saved_free(&saved);
	return rc;
}

static void a_document_is_read_back_as_written(void **state)
{
	(void)state;
	assert_int_equal(read_rc(), -ENOENT);
	assert_int_equal(saved_write(directory, DOCUMENT), 0);
	assert_saved(DOCUMENT);
	struct span second = {(const uint8_t *)"another\0one", 11};
	assert_int_equal(saved_write(directory, second), 0);
	assert_saved(second);
	struct span empty = {(const uint8_t *)"", 0};
	assert_int_equal(saved_write(directory, empty), 0);
	assert_saved(empty);
}

static void nobody_else_may_read_it_and_no_new_file_is_left(void **state)
{
	(void)state;
	mode_t former = umask(0);
	assert_int_equal(saved_write(directory, DOCUMENT), 0);
	umask(former);
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(stat(new_path, &st), -1);
}

static void any_damage_is_seen(void **state)
{
	(void)state;
	uint8_t octets[256];
	assert_int_equal(saved_write(directory, DOCUMENT), 0);
	size_t len = file_get(octets, sizeof octets - 1);
	for (size_t i = 0; i < len; i++) {
		octets[i] ^= 0x10;
		file_put(octets, len);
		assert_int_equal(read_rc(), -EBADMSG);
		octets[i] ^= 0x10;
	}
	for (size_t cut = 0; cut < len; cut++) {
		file_put(octets, cut);
		assert_int_equal(read_rc(), -EBADMSG);
	}
	octets[len] = '}';
	file_put(octets, len + 1);
	assert_int_equal(read_rc(), -EBADMSG);
	file_put(octets, len);
	assert_int_equal(read_rc(), 0);
}

static void foreign_files_are_told_apart_from_damaged_ones(void **state)
{
	(void)state;
	struct saved saved;
	file_put("{\"records\":[]}", 14);
	assert_int_equal(saved_read(&saved, directory, LIMIT), -EBADMSG);
	assert_string_equal(saved.problem, "not a table of this version of kuma-dns");
	static const char next[] = "kuma-dns-table 2 x\n";
	file_put(next, sizeof next - 1);
	assert_int_equal(saved_read(&saved, directory, LIMIT), -EBADMSG);
	assert_string_equal(saved.problem, "not a table of this version of kuma-dns");
}

static void the_limit_is_for_the_document(void **state)
{
	(void)state;
	static uint8_t large[LIMIT + 1];
	assert_int_equal(saved_write(directory, (struct span){large, LIMIT}), 0);
	assert_saved((struct span){large, LIMIT});
	assert_int_equal(saved_write(directory, (struct span){large, LIMIT + 1}), 0);
	assert_int_equal(read_rc(), -E2BIG);
}

static void only_a_file_is_read(void **state)
{
	(void)state;
	assert_int_equal(symlink("/etc/passwd", path), 0);
	assert_int_equal(read_rc(), -ELOOP);
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(read_rc(), -EINVAL);
}

static void what_an_interrupted_write_left_is_no_obstacle(void **state)
{
	(void)state;
	assert_int_equal(symlink("/nowhere/at/all", new_path), 0);
	assert_int_equal(saved_write(directory, DOCUMENT), 0);
	assert_saved(DOCUMENT);
}

static void a_write_that_fails_keeps_the_old_one(void **state)
{
	(void)state;
	assert_int_equal(saved_write("/nonexistent/directory", DOCUMENT), -ENOENT);
	assert_int_equal(saved_write(directory, DOCUMENT), 0);
	assert_int_equal(mkdir(new_path, 0700), 0);
	assert_true(saved_write(directory, (struct span){(const uint8_t *)"x", 1}) < 0);
	assert_int_equal(rmdir(new_path), 0);
	assert_saved(DOCUMENT);
}

static void writing_a_large_one_gives_way(void **state)
{
	enum { SIZE = 1 << 20 };
	static uint8_t octets[SIZE];
	struct saved saved;
	(void)state;
	for (size_t i = 0; i < SIZE; i++) {
		octets[i] = (uint8_t)(i * 7 % 251);
	}
	ways = 0;
	assert_int_equal(saved_write(directory, (struct span){octets, SIZE}), 0);
	assert_in_range(ways, SIZE / 65536, SIZE / 4096);
	assert_int_equal(saved_read(&saved, directory, SIZE), 0);
	assert_int_equal(saved.document.len, SIZE);
	assert_memory_equal(saved.document.data, octets, SIZE);
	saved_free(&saved);
}

#define in_directory(test) cmocka_unit_test_setup_teardown(test, directory_make, directory_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_directory(a_directory_is_made_where_it_is_missing),
		in_directory(what_root_made_for_us_alone_is_given_to_the_user),
		in_directory(what_may_be_anothers_is_not_given),
		in_directory(a_document_is_read_back_as_written),
		in_directory(nobody_else_may_read_it_and_no_new_file_is_left),
		in_directory(any_damage_is_seen),
		in_directory(foreign_files_are_told_apart_from_damaged_ones),
		in_directory(the_limit_is_for_the_document),
		in_directory(only_a_file_is_read),
		in_directory(what_an_interrupted_write_left_is_no_obstacle),
		in_directory(a_write_that_fails_keeps_the_old_one),
		in_directory(writing_a_large_one_gives_way),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
