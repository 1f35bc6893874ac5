/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/envoy.h"

#include "conf/conf.h"
#include "conf/log.h"
#include "dns/mesh/fetch.h"
#include "dns/mesh/mesh.h"
#include "dns/mesh/saved.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { PATIENCE_MS = 10000, SHORT_MS = 50 };

#define ONE "{\"records\":[{\"name\":\"a.mesh\",\"ips\":[\"241.0.0.1\"]}],\"ttl\":30}"
#define TWO "{\"records\":[{\"name\":\"a.mesh\",\"ips\":[\"241.0.0.2\"]}],\"ttl\":30}"
#define BAD "{\"records\":[{\"name\":"
#define ANSWER(etag, length, body)                                                                 \
	"HTTP/1.1 200 OK\r\netag: " etag "\r\ncontent-length: " length "\r\n\r\n" body
#define UNCHANGED "HTTP/1.1 304 Not Modified\r\n\r\n"
#define script(...)                                                                                \
	static const struct envoy_reply replies[] = {__VA_ARGS__};                                 \
	envoy_script(&envoy, replies, sizeof replies / sizeof *replies)

static char directory[64];
static char table_path[96];
static struct event_base *base;
static struct conf conf;
static struct mesh *mesh;
static struct envoy envoy;

static struct {
	unsigned published;
	struct table *table;
	enum mesh_source source;
	unsigned lines; /* of the log, warnings and above */
	char line[1024];
} seen;

void __wrap_log_line(struct log_site *site, enum log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

void __wrap_log_line(struct log_site *site, enum log_level level, const char *format, ...)
{
	(void)site;
	if (level > LOG_LEVEL_WARNING) {
		return;
	}
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(seen.line, sizeof seen.line, format, arguments);
	va_end(arguments);
	seen.lines++;
}

static void publish(void *ctx, struct table *table, enum mesh_source source)
{
	assert_ptr_equal(ctx, &seen);
	table_unref(seen.table);
	seen.table = table;
	seen.source = source;
	seen.published++;
}

static int set_up(void **state)
{
	(void)state;
	memset(&seen, 0, sizeof seen);
	memset(&envoy, 0, sizeof envoy);
	memset(&conf, 0, sizeof conf);
	conf.poll_interval_ms = SHORT_MS;
	conf.table_max_size = 1 << 20;
	snprintf(directory, sizeof directory, "/tmp/kuma-dns-mesh-XXXXXX");
	base = event_base_new();
	if (!base || !mkdtemp(directory)) {
		return -1;
	}
	snprintf(table_path, sizeof table_path, "%s/table.json", directory);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	mesh_close(mesh);
	mesh = NULL;
	table_unref(seen.table);
	envoy_close(&envoy);
	event_base_free(base);
	char line[128];
	snprintf(line, sizeof line, "rm -rf %s", directory);
	return system(line);
}

static void put(const char *text)
{
	FILE *file = fopen(table_path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void open_mesh(void)
{
	assert_int_equal(mesh_open(&mesh, base, &conf, publish, &seen), 0);
}

static void from_file(void)
{
	snprintf(conf.table_file, sizeof conf.table_file, "%s", table_path);
}

static void from_socket(void)
{
	snprintf(conf.work_dir, sizeof conf.work_dir, "%s", directory);
	char path[sizeof((struct sockaddr_un *)0)->sun_path];
	fetch_socket_path(directory, path);
	envoy_open(&envoy, base, path);
}

static void keep_state(void)
{
	snprintf(conf.state_dir, sizeof conf.state_dir, "%s", directory);
}

static void step(void)
{
	struct timeval moment = {.tv_usec = 5000};
	event_base_loopexit(base, &moment);
	event_base_dispatch(base);
}

#define await(condition)                                                                           \
	for (int64_t until = envoy_now_ms() + PATIENCE_MS; !(condition); step()) {                 \
		if (envoy_now_ms() > until) {                                                      \
			fail_msg("%s did not come; %s", #condition, mesh_status(mesh)->problem);   \
		}                                                                                  \
	}

/* The last octet of the address of a.mesh. */
static unsigned answer(void)
{
	struct dname name;
	struct table_addresses found;
	assert_int_equal(dname_from_text(&name, "a.mesh", 6), 0);
	assert_int_equal(table_lookup(seen.table, &name, &found), TABLE_NAME);
	return found.a[3];
}

static void assert_kept(const char *document)
{
	struct saved saved;
	assert_int_equal(saved_read(&saved, directory, 1000), 0);
	assert_int_equal(saved.document.len, strlen(document));
	assert_memory_equal(saved.document.data, document, saved.document.len);
	saved_free(&saved);
}

static void without_a_source_nothing_is_served_and_a_warning_says_so(void **state)
{
	(void)state;
	open_mesh();
	assert_int_equal(mesh_status(mesh)->source, MESH_NONE);
	assert_int_equal(seen.published, 0);
	assert_int_equal(seen.lines, 1);
	assert_non_null(strstr(seen.line, "no source"));
}

static void a_file_is_served_and_followed(void **state)
{
	(void)state;
	put(ONE);
	from_file();
	open_mesh();
	assert_int_equal(seen.published, 0);
	await(seen.published == 1);
	assert_int_equal(seen.source, MESH_FILE);
	assert_int_equal(answer(), 1);
	assert_int_equal(table_generation(seen.table), 1);
	put(TWO);
	await(seen.published == 2);
	assert_int_equal(answer(), 2);
	assert_int_equal(table_generation(seen.table), 2);
	const struct mesh_status *status = mesh_status(mesh);
	assert_int_equal(status->source, MESH_FILE);
	assert_true(status->loaded_ms > 0 && status->confirmed_ms >= status->loaded_ms);
	assert_string_equal(status->problem, "");
	assert_int_equal(seen.lines, 0);
}

static void the_same_content_is_no_new_table(void **state)
{
	(void)state;
	put(ONE);
	from_file();
	open_mesh();
	await(seen.published == 1);
	uint64_t unchanged = mesh_status(mesh)->unchanged;
	put(ONE);
	await(mesh_status(mesh)->unchanged > unchanged + 2);
	assert_int_equal(seen.published, 1);
	assert_true(mesh_status(mesh)->confirmed_ms > mesh_status(mesh)->loaded_ms);
}

static void a_file_wins_over_a_socket(void **state)
{
	(void)state;
	script({.text = ANSWER("x", "60", TWO)});
	put(ONE);
	from_file();
	from_socket();
	open_mesh();
	await(seen.published == 1 && mesh_status(mesh)->unchanged > 1);
	assert_int_equal(answer(), 1);
	assert_int_equal(envoy.requests, 0);
}

static void the_socket_is_served_and_followed(void **state)
{
	(void)state;
	assert_int_equal(strlen(ONE), 60);
	script({.text = ANSWER("x", "60", ONE)}, {.text = UNCHANGED},
		{.text = ANSWER("y", "60", TWO)}, {.text = UNCHANGED});
	from_socket();
	open_mesh();
	await(seen.published == 2);
	assert_int_equal(seen.source, MESH_SOCKET);
	assert_int_equal(answer(), 2);
	await(mesh_status(mesh)->unchanged >= 2);
	const struct mesh_status *status = mesh_status(mesh);
	assert_int_equal(status->fetches, 2 + status->unchanged);
	assert_int_equal(seen.lines, 0);
}

static void a_bad_document_changes_nothing_and_is_logged_once(void **state)
{
	(void)state;
	script({.text = ANSWER("x", "60", ONE)}, {.text = ANSWER("y", "20", BAD)});
	from_socket();
	open_mesh();
	await(mesh_status(mesh)->rejected >= 3);
	assert_int_equal(seen.published, 1);
	assert_int_equal(answer(), 1);
	assert_int_equal(seen.lines, 1);
	assert_non_null(strstr(seen.line, "not JSON at line 1, column"));
	assert_non_null(strstr(mesh_status(mesh)->problem, "not JSON"));
	assert_int_equal(mesh_status(mesh)->source, MESH_SOCKET);

	static const struct envoy_reply good = {.text = ANSWER("z", "60", ONE)};
	envoy_script(&envoy, &good, 1);
	await(mesh_status(mesh)->problem[0] == '\0');
	assert_int_equal(seen.published, 1); /* the same as is served */
}

static void another_bad_document_is_logged_again(void **state)
{
	(void)state;
	put(BAD);
	from_file();
	open_mesh();
	await(mesh_status(mesh)->rejected == 1);
	assert_int_equal(seen.lines, 1);
	put("{\"records\":7}");
	await(mesh_status(mesh)->rejected == 2);
	assert_int_equal(seen.lines, 2);
	assert_non_null(strstr(seen.line, "records: expected a list"));
	put(ONE);
	await(seen.published == 1);
	assert_string_equal(mesh_status(mesh)->problem, "");
}

static void an_absent_source_is_counted_and_logged_once(void **state)
{
	(void)state;
	snprintf(conf.work_dir, sizeof conf.work_dir, "%s", directory);
	open_mesh();
	await(mesh_status(mesh)->unreachable >= 3);
	assert_int_equal(seen.lines, 1);
	assert_non_null(strstr(seen.line, "No such file"));
	script({.text = ANSWER("x", "60", ONE)});
	from_socket();
	await(seen.published == 1);
	assert_string_equal(mesh_status(mesh)->problem, "");
}

static void the_last_table_is_kept_and_served_at_the_next_start(void **state)
{
	(void)state;
	put(ONE);
	from_file();
	keep_state();
	open_mesh();
	await(seen.published == 1);
	assert_kept(ONE);
	mesh_close(mesh);
	mesh = NULL;

	unlink(table_path);
	open_mesh();
	assert_int_equal(seen.published, 2); /* inside the call */
	assert_int_equal(seen.source, MESH_SAVED);
	assert_int_equal(answer(), 1);
	assert_int_equal(mesh_status(mesh)->source, MESH_SAVED);
	assert_int_equal(mesh_status(mesh)->confirmed_ms, 0);
	await(mesh_status(mesh)->unreachable > 0);
	assert_int_equal(mesh_status(mesh)->source, MESH_SAVED);

	put(ONE); /* the source says the same, and the table is no longer an old one */
	await(seen.published == 3);
	assert_int_equal(seen.source, MESH_FILE);
	assert_true(mesh_status(mesh)->confirmed_ms > 0);
	put(TWO);
	await(seen.published == 4);
	assert_kept(TWO);
}

static void the_same_table_is_not_written_again(void **state)
{
	(void)state;
	put(ONE);
	from_file();
	keep_state();
	open_mesh();
	await(seen.published == 1);
	mesh_close(mesh);
	mesh = NULL;
	char path[96];
	struct stat before;
	struct stat after;
	snprintf(path, sizeof path, "%s/table.saved", directory);
	assert_int_equal(stat(path, &before), 0);
	open_mesh();
	await(seen.published == 3 && seen.source == MESH_FILE);
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_int_equal(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
}

static void a_damaged_saved_table_is_reported_and_replaced(void **state)
{
	(void)state;
	keep_state();
	char path[96];
	snprintf(path, sizeof path, "%s/table.saved", directory);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fputs("kuma-dns-table 1 nonsense", file);
	fclose(file);
	put(ONE);
	from_file();
	open_mesh();
	assert_int_equal(seen.published, 0);
	assert_int_equal(seen.lines, 1);
	assert_non_null(strstr(seen.line, "table.saved is not used: cut short"));
	await(seen.published == 1);
	assert_kept(ONE);
}

static void a_state_directory_that_cannot_be_written_is_logged_once(void **state)
{
	(void)state;
	snprintf(conf.state_dir, sizeof conf.state_dir, "%s/absent", directory);
	put(ONE);
	from_file();
	open_mesh();
	await(seen.published == 1);
	put(TWO);
	await(seen.published == 2);
	assert_int_equal(seen.lines, 1);
	assert_non_null(strstr(seen.line, "cannot be kept"));
}

static void records_left_out_are_named_in_the_log(void **state)
{
	(void)state;
	put("{\"records\":[{\"name\":\"a..mesh\",\"ips\":[]},{\"name\":\"b.mesh\",\"ips\":[]}]}");
	from_file();
	open_mesh();
	await(seen.published == 1);
	assert_int_equal(table_skipped(seen.table), 1);
	assert_int_equal(seen.lines, 1);
	assert_non_null(strstr(seen.line, "a..mesh (not a domain name)"));
}

static void every_source_has_a_name(void **state)
{
	(void)state;
	assert_string_equal(mesh_source_name(MESH_NONE), "none");
	assert_string_equal(mesh_source_name(MESH_SAVED), "saved");
	assert_string_equal(mesh_source_name(MESH_FILE), "file");
	assert_string_equal(mesh_source_name(MESH_SOCKET), "socket");
}

#define in_directory(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	const struct CMUnitTest tests[] = {
		in_directory(without_a_source_nothing_is_served_and_a_warning_says_so),
		in_directory(a_file_is_served_and_followed),
		in_directory(the_same_content_is_no_new_table),
		in_directory(a_file_wins_over_a_socket),
		in_directory(the_socket_is_served_and_followed),
		in_directory(a_bad_document_changes_nothing_and_is_logged_once),
		in_directory(another_bad_document_is_logged_again),
		in_directory(an_absent_source_is_counted_and_logged_once),
		in_directory(the_last_table_is_kept_and_served_at_the_next_start),
		in_directory(the_same_table_is_not_written_again),
		in_directory(a_damaged_saved_table_is_reported_and_replaced),
		in_directory(a_state_directory_that_cannot_be_written_is_logged_once),
		in_directory(records_left_out_are_named_in_the_log),
		cmocka_unit_test(every_source_has_a_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
