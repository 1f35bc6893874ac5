/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of admin.c and client.c with what they use: a real socket in a directory of the test, the
 * admin interface on a thread of its own, and peers that are polite, slow or hostile. Worker and
 * mesh are stand-ins, table and caches are real. What workers with threads say: test_pages.c.
 */
#include "dns/admin/admin.h"

#include "conf/clock.h"
#include "dns/admin/httpd.h"
#include "dns/admin/state.h"
#include "dns/resolve/cache.h"
#include "dns/wire/record.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

enum { RESPONSE_SIZE = 65536, WAIT_MS = 15000 };

struct worker {
	struct stats stats;
	struct endpoint listening;
	struct cache *cache;
	struct routes *routes;
};

struct mesh {
	struct mesh_status status;
};

const struct stats *worker_stats(const struct worker *worker)
{
	return &worker->stats;
}

uint64_t worker_udp_overflows(const struct worker *worker)
{
	(void)worker;
	return 3;
}

const struct endpoint *worker_listening(const struct worker *worker, unsigned *count)
{
	*count = 1;
	return &worker->listening;
}

void worker_call(struct worker *worker, worker_task *task, void *ctx)
{
	static const struct mesh_zones zones;
	static const struct cookie_secret secret;
	struct worker_inside inside = {.authority = {.cache = worker->cache,
					       .routes = worker->routes,
					       .zones = &zones,
					       .hop.secret = &secret,
					       .now_ms = clock_ms()}};
	task(ctx, &inside);
}

const struct mesh_status *mesh_status(const struct mesh *mesh)
{
	return &mesh->status;
}

const char *mesh_source_name(enum mesh_source source)
{
	return source == MESH_SAVED ? "saved" : "socket";
}

/** A daemon, as far as the admin interface sees it, and the thread that serves it. */
struct daemon {
	struct conf conf;
	struct worker worker[2];
	struct worker *workers[2];
	struct mesh mesh;
	struct state state;
	struct event_base *base;
	struct admin *admin;
	int stop[2]; /* a pipe: closed at [1], the thread ends */
	pthread_t thread;
	bool runs;
};

static char dir[] = "/tmp/kuma-dns-admin-XXXXXX";

static void dir_path(char *path, size_t size, const char *name)
{
	snprintf(path, size, "%s/%s", dir, name);
}

static void add(struct table_builder *builder, const char *name, const char *const *addresses)
{
	struct dname dname;
	struct address address[8];
	size_t count = 0;
	for (; addresses[count]; count++) {
		bool ipv6 = strchr(addresses[count], ':');
		address[count].len = ipv6 ? 16 : 4;
		assert_int_equal(inet_pton(ipv6 ? AF_INET6 : AF_INET, addresses[count],
					 address[count].octets),
			1);
	}
	assert_int_equal(dname_from_text(&dname, name, strlen(name)), 0);
	assert_int_equal(table_builder_add(builder, &dname, address, count), 0);
}

static struct table *small_table(void)
{
	struct table_builder *b = table_builder_new(1, 1 << 20);
	assert_non_null(b);
	add(b, "zoo.svc.mesh.local", (const char *[]){"241.0.0.9", NULL});
	add(b, "redis.svc.mesh.local",
		(const char *[]){"::ffff:f100:1", "241.0.0.1", "241.0.0.2", NULL});
	add(b, "empty.svc.mesh.local", (const char *[]){NULL});
	add(b, "*.wild.mesh", (const char *[]){"241.0.0.7", NULL});
	add(b, "a\\.b\\000\\034\\255.mesh", (const char *[]){"241.0.0.8", NULL});
	table_builder_skip(b);
	assert_int_equal(table_builder_label(b, "mesh", "de\"fault"), 0);
	struct table *table = table_builder_finish(b, 30);
	assert_non_null(table);
	table_set_generation(table, 5);
	return table;
}

static struct table *large_table(unsigned count)
{
	struct table_builder *b = table_builder_new(1, (size_t)1 << 30);
	assert_non_null(b);
	for (unsigned i = 0; i < count; i++) {
		char name[64];
		snprintf(name, sizeof(name), "service-%06u.svc.mesh.local", i);
		add(b, name, (const char *[]){"241.0.0.1", "fd00::1", NULL});
	}
	struct table *table = table_builder_finish(b, 30);
	assert_non_null(table);
	return table;
}

static void worker_init(struct worker *worker)
{
	static const struct cache_settings settings = {
		.ttl_max = 3600, .negative_ttl_max = 30, .nxdomain_covers = true};
	worker->cache = cache_new(&settings);
	worker->routes = routes_new();
	assert_non_null(worker->cache);
	assert_non_null(worker->routes);
}

/* Of all that may be remembered, a failure takes the least to be there. */
static void remember(struct worker *worker, const char *text, uint16_t qtype)
{
	struct dname name;
	int64_t now = clock_ms();
	assert_int_equal(dname_from_text(&name, text, strlen(text)), 0);
	struct cache_key key = {.name = dname_span(&name), .qtype = qtype, .qclass = CLASS_IN};
	cache_put_failure(worker->cache, &key, RCODE_SERVFAIL, EDE_NETWORK_ERROR, now,
		now + CACHE_FAILURE_MAX_MS);
}

static struct daemon *daemon_new(struct table *table, const char *socket_name)
{
	struct daemon *d = calloc(1, sizeof(*d));
	assert_non_null(d);
	if (socket_name) {
		dir_path(d->conf.admin_socket, sizeof(d->conf.admin_socket), socket_name);
		d->conf.admin_socket_given = true;
	}
	d->conf.workers = 2;
	d->conf.cache_size = 128 << 10;
	worker_init(&d->worker[0]);
	worker_init(&d->worker[1]);
	d->workers[0] = &d->worker[0];
	d->workers[1] = &d->worker[1];
	assert_int_equal(endpoint_parse(&d->worker[0].listening, "127.0.0.1:15053", 0), 0);
	d->mesh.status = (struct mesh_status){.source = MESH_SOCKET,
		.loaded_ms = clock_ms() - 7000,
		.confirmed_ms = clock_ms() - 2000,
		.fetches = 10,
		.unchanged = 6};
	d->state = (struct state){.conf = &d->conf,
		.routes = d->worker[0].routes,
		.workers = d->workers,
		.mesh = &d->mesh,
		.table = table,
		.listening = true,
		.redirect = REDIRECT_ACTIVE,
		.redirect_text = "all of port 53",
		.started_ms = clock_ms() - 60000,
		.table_ready_ms = clock_ms() - 59400};
	d->base = event_base_new();
	assert_non_null(d->base);
	return d;
}

static void on_stop(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	event_base_loopbreak(arg);
}

static void *run(void *arg)
{
	struct daemon *d = arg;
	struct event *stop = event_new(d->base, d->stop[0], EV_READ, on_stop, d->base);
	event_add(stop, NULL);
	event_base_dispatch(d->base);
	event_free(stop);
	admin_close(d->admin);
	return NULL;
}

static struct daemon *daemon_start(struct daemon *d)
{
	assert_int_equal(admin_open(&d->admin, d->base, &d->state), 0);
	assert_int_equal(pipe(d->stop), 0);
	assert_int_equal(pthread_create(&d->thread, NULL, run, d), 0);
	d->runs = true;
	return d;
}

static void daemon_free(struct daemon *d)
{
	if (d->runs) {
		close(d->stop[1]);
		pthread_join(d->thread, NULL);
		close(d->stop[0]);
	}
	event_base_free(d->base);
	table_unref(d->state.table);
	for (unsigned i = 0; i < 2; i++) {
		cache_free(d->worker[i].cache);
		routes_unref(d->worker[i].routes);
	}
	free(d);
}

static int connect_path(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static int connect_daemon(const struct daemon *d)
{
	int fd = connect_path(d->conf.admin_socket);
	assert_true(fd >= 0);
	return fd;
}

/* Read up to the end or `size`, and fail where nothing comes. @return octets */
static size_t read_all(int fd, char *octets, size_t size)
{
	size_t len = 0;
	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		assert_int_equal(poll(&p, 1, WAIT_MS), 1);
		ssize_t n = read(fd, octets + len, size - len);
		if (n <= 0) {
			return len;
		}
		len += (size_t)n;
	}
}

struct seen {
	char text[RESPONSE_SIZE];
	unsigned status;
	const char *body;
};

static void exchange(struct seen *r, int fd, const char *request, size_t len)
{
	assert_int_equal(send(fd, request, len, MSG_NOSIGNAL), len);
	size_t got = read_all(fd, r->text, sizeof(r->text) - 1);
	close(fd);
	r->text[got] = '\0';
	r->status = 0;
	r->body = "";
	if (got > 12 && strncmp(r->text, "HTTP/1.1 ", 9) == 0) {
		r->status = (unsigned)strtoul(r->text + 9, NULL, 10);
		const char *blank = strstr(r->text, "\r\n\r\n");
		assert_non_null(blank);
		r->body = blank + 4;
	}
}

static void ask(struct seen *r, int fd, const char *request)
{
	exchange(r, fd, request, strlen(request));
}

static void get(struct seen *r, int fd, const char *target)
{
	char request[1024];
	snprintf(request, sizeof(request), "GET %s HTTP/1.0\r\n\r\n", target);
	ask(r, fd, request);
}

static struct seen r; /* of the test that runs */

struct output {
	int status;
	char out[RESPONSE_SIZE];
	char err[1024];
};

static int redirect_to_file(int fd, int *saved)
{
	char path[] = "/tmp/kuma-dns-admin-out-XXXXXX";
	int file = mkstemp(path);
	assert_true(file >= 0);
	unlink(path);
	*saved = dup(fd);
	assert_int_equal(dup2(file, fd), fd);
	return file;
}

static void read_file(int file, char *text, size_t size)
{
	ssize_t len = pread(file, text, size - 1, 0);
	assert_true(len >= 0);
	text[len] = '\0';
	close(file);
}

static struct output ask_with(const char *path, const struct admin_question *question)
{
	struct output o;
	int saved[2];
	fflush(stdout);
	fflush(stderr);
	int out = redirect_to_file(STDOUT_FILENO, &saved[0]);
	int err = redirect_to_file(STDERR_FILENO, &saved[1]);
	o.status = admin_client(path, question);
	fflush(stdout);
	fflush(stderr);
	dup2(saved[0], STDOUT_FILENO);
	dup2(saved[1], STDERR_FILENO);
	close(saved[0]);
	close(saved[1]);
	read_file(out, o.out, sizeof(o.out));
	read_file(err, o.err, sizeof(o.err));
	return o;
}

static struct output client(const char *path, const char *page, const char *name)
{
	return ask_with(path, &(struct admin_question){.page = page, .name = name});
}

static int set_up(void **state)
{
	*state = daemon_start(daemon_new(small_table(), "admin.sock"));
	return 0;
}

static int tear_down(void **state)
{
	daemon_free(*state);
	return 0;
}

/* Turn the daemon of the test into another one. */
static struct daemon *restart(void **state, struct daemon *d)
{
	daemon_free(*state);
	*state = daemon_start(d);
	return d;
}

static const char small_listing[] = "zoo.svc.mesh.local. 30 IN A 241.0.0.9\n"
				    "redis.svc.mesh.local. 30 IN A 241.0.0.1\n"
				    "redis.svc.mesh.local. 30 IN A 241.0.0.2\n"
				    "redis.svc.mesh.local. 30 IN AAAA ::ffff:241.0.0.1\n"
				    "; empty.svc.mesh.local. has no address\n"
				    "*.wild.mesh. 30 IN A 241.0.0.7\n"
				    "a\\.b\\000\\\"\\255.mesh. 30 IN A 241.0.0.8\n";

static void the_socket_is_for_its_owner_alone(void **state)
{
	struct daemon *d = *state;
	char command[256];
	char mode[16] = "";
	snprintf(command, sizeof(command), "stat -c '%%a %%F' %s", d->conf.admin_socket);
	FILE *p = popen(command, "r");
	assert_non_null(p);
	assert_non_null(fgets(mode, sizeof(mode), p));
	pclose(p);
	assert_string_equal(mode, "600 socket\n");
	snprintf(command, sizeof(command), "ls -A %s | wc -l", dir);
	p = popen(command, "r");
	assert_non_null(p);
	assert_non_null(fgets(mode, sizeof(mode), p));
	pclose(p);
	assert_string_equal(mode, "1\n");
}

static void table_lists_records_in_the_order_of_the_document(void **state)
{
	get(&r, connect_daemon(*state), "/table");
	assert_int_equal(r.status, 200);
	assert_string_equal(r.body, small_listing);
}

static void table_answers_for_one_name(void **state)
{
	static const struct {
		const char *query;
		unsigned status;
		const char *body;
	} cases[] = {
		{"name=zoo.svc.mesh.local", 200, "zoo.svc.mesh.local. 30 IN A 241.0.0.9\n"},
		{"name=ZOO.svc.mesh.LOCAL.", 200, "zoo.svc.mesh.local. 30 IN A 241.0.0.9\n"},
		{"name=%7aoo%2Esvc.mesh.local", 200, "zoo.svc.mesh.local. 30 IN A 241.0.0.9\n"},
		{"name=any.wild.mesh", 200, "any.wild.mesh. 30 IN A 241.0.0.7\n"},
		{"name=empty.svc.mesh.local", 200, "; empty.svc.mesh.local. has no address\n"},
		{"name=a%5C.b%5C000%22%FF.mesh", 200,
			"a\\.b\\000\\\"\\255.mesh. 30 IN A 241.0.0.8\n"},
		{"name=svc.mesh.local", 404, "svc.mesh.local has no record; names below it have\n"},
		{"name=nobody.example", 404, "nobody.example is not in the table\n"},
		{"name=zoo.svc.mesh.local%00", 404, NULL},
		{"name=%1b%5b2J", 404, "\\027[2j is not in the table\n"},
		{"name=%0d%0aSet-Cookie:x", 404, NULL},
		{"name=%zz", 400,
			"found ?name=%zz, expected name=VALUE, each at most once, with %XX for "
			"what is no letter or digit\n"},
		{"name=", 400, "not a domain name: \n"},
		{"name=a..b%0a%1b", 400, "not a domain name: a..b??\n"},
		{"name=a..b", 400, NULL},
		{"name=%5c", 400, NULL},
		{"name=a&name=b", 400, NULL},
		{"nome=a", 400, NULL},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char target[256];
		snprintf(target, sizeof(target), "/table?%s", cases[i].query);
		get(&r, connect_daemon(*state), target);
		print_message("%s: %s", cases[i].query, r.body);
		assert_int_equal(r.status, cases[i].status);
		if (cases[i].body) {
			assert_string_equal(r.body, cases[i].body);
		}
		for (const char *c = r.body; *c; c++) {
			assert_true((*c >= 0x20 && *c < 0x7f) || *c == '\n');
		}
	}
}

static void ready_says_200_and_nothing_else_where_all_is_well(void **state)
{
	get(&r, connect_daemon(*state), "/ready");
	assert_int_equal(r.status, 200);
	assert_string_equal(r.body, "ready\n");
}

static void metrics_have_their_content_type_and_all_workers_counts(void **state)
{
	struct daemon *d = *state;
	stats_add(&d->worker[0].stats, STAT_NOERROR, 2);
	stats_add(&d->worker[1].stats, STAT_NOERROR, 3);
	get(&r, connect_daemon(d), "/metrics");
	assert_int_equal(r.status, 200);
	assert_non_null(
		strstr(r.text, "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
	static const char *const lines[] = {
		"\nkuma_dp_dns_response_codes_total{rcode=\"noerror\",mesh=\"de\\\"fault\"} 5\n",
		"\nkuma_dns_udp_overflows_total{mesh=\"de\\\"fault\"} 6\n",
		"\nkuma_dp_dns_entries_total{mesh=\"de\\\"fault\"} 5\n",
		"\nkuma_dns_table_generation{mesh=\"de\\\"fault\"} 5\n",
		"\nkuma_dns_table_skipped_records{mesh=\"de\\\"fault\"} 1\n",
		"\nkuma_dns_table_old{mesh=\"de\\\"fault\"} 0\n",
		"\nkuma_dns_table_age_seconds{mesh=\"de\\\"fault\"} 2.",
		"\nkuma_dns_table_fetches_total{result=\"new\",mesh=\"de\\\"fault\"} 4\n",
		"\nkuma_dns_table_fetches_total{result=\"unchanged\",mesh=\"de\\\"fault\"} 6\n",
		"\nkuma_dns_redirect_active{mesh=\"de\\\"fault\"} 1\n",
		"\nkuma_dns_ready{mesh=\"de\\\"fault\"} 1\n",
		"\nkuma_dns_info{version=\"" KUMA_DNS_VERSION "\",mesh=\"de\\\"fault\"} 1\n",
		"\nkuma_dp_dns_config_ready_wait_seconds_bucket{le=\"1\",mesh=\"de\\\"fault\"} 1\n",
		"\nprocess_resident_memory_bytes{mesh=\"de\\\"fault\"} ",
	};
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		if (!strstr(r.text, lines[i])) {
			fail_msg("no line %s in %s", lines[i], r.text);
		}
	}
	assert_null(strstr(r.text, "memory_bytes{mesh=\"de\\\"fault\"} 0\n"));
}

static void status_tells_the_important(void **state)
{
	struct daemon *d = *state;
	snprintf(d->mesh.status.problem, sizeof(d->mesh.status.problem), "bad \x1b[31mdocument");
	get(&r, connect_daemon(d), "/status");
	assert_int_equal(r.status, 200);
	static const char *const parts[] = {"kuma-dns " KUMA_DNS_VERSION ", up 60 s\n",
		"ready:", "127.0.0.1:15053", "active: all of port 53\n",
		"5 names, TTL 30 s, 1 records skipped",
		"socket, loaded 7 s ago, confirmed 2 s ago\n", "last problem: bad ?[31mdocument\n",
		"upstream:     no servers\n", "cache:        128 KiB, 0 entries in 0 KiB; 0 hits",
		"KiB resident\n"};
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (!strstr(r.body, parts[i])) {
			fail_msg("no %s in %s", parts[i], r.body);
		}
	}
}

static void other_paths_are_not_found(void **state)
{
	static const char *const targets[] = {"/", "/metrics/", "/Ready", "/tables", "/../metrics",
		"//metrics", "/%6detrics", "/metrics;x"};
	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
		get(&r, connect_daemon(*state), targets[i]);
		assert_int_equal(r.status, 404);
	}
}

static void requests_are_judged_by_rfc_9112(void **state)
{
	static const struct {
		const char *request;
		unsigned status;
	} cases[] = {
		{"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n", 200},
		{"GET /ready HTTP/1.0\n\n", 200},
		{"GET http://localhost/ready HTTP/1.1\r\n\r\n", 200},
		{"GET /ready?x=y HTTP/1.1\r\n\r\n", 200},
		{"POST /ready HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405},
		{"DELETE /table HTTP/1.1\r\n\r\n", 405},
		{"get /ready HTTP/1.1\r\n\r\n", 405},
		{"GET /ready HTTP/2.0\r\n\r\n", 505},
		{"GET /ready HTTP/1.10\r\n\r\n", 505},
		{"GET /ready\r\n\r\n", 400},
		{"GET  /ready HTTP/1.1\r\n\r\n", 400},
		{"GET ready HTTP/1.1\r\n\r\n", 400},
		{"GET http://localhost HTTP/1.1\r\n\r\n", 400},
		{"GET /re\x01"
		 "ady HTTP/1.1\r\n\r\n",
			400},
		{"\r\n\r\n", 400},
		{"\n\n", 400},
		{"\x16\x03\x01\x02\n\n", 400},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ask(&r, connect_daemon(*state), cases[i].request);
		if (r.status != cases[i].status) {
			fail_msg("%u instead of %u: %s", r.status, cases[i].status,
				cases[i].request);
		}
		assert_int_equal(
			strstr(r.text, "\r\nAllow: GET, HEAD\r\n") != NULL, r.status == 405);
		assert_non_null(strstr(r.text, "\r\nConnection: close\r\n"));
	}
}

static void head_brings_the_head_alone(void **state)
{
	static const char *const targets[] = {"/nothing", "/cache?name=nobody", "/ready",
		"/metrics", "/table", "/status", "/cache", "/explain?name=a"};
	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
		char request[64];
		snprintf(request, sizeof(request), "HEAD %s HTTP/1.1\r\n\r\n", targets[i]);
		ask(&r, connect_daemon(*state), request);
		assert_int_equal(r.status, i < 2 ? 404 : 200);
		assert_string_equal(r.body, "");
	}
}

static unsigned entries(const struct daemon *d, unsigned worker)
{
	return (unsigned)cache_figures(d->worker[worker].cache).entries;
}

static void nothing_is_forgotten_by_looking(void **state)
{
	static const char *const methods[] = {"GET", "HEAD", "PUT", "post"};
	struct daemon *d = *state;
	remember(&d->worker[0], "www.example.org", TYPE_A);
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		char request[64];
		snprintf(request, sizeof(request), "%s /cache/flush HTTP/1.1\r\n\r\n", methods[i]);
		ask(&r, connect_daemon(d), request);
		assert_int_equal(r.status, 405);
		assert_non_null(strstr(r.text, "\r\nAllow: POST\r\n"));
		assert_int_equal(entries(d, 0), 1);
	}
	ask(&r, connect_daemon(d), "POST /cache/flush HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
	assert_int_equal(r.status, 200);
	assert_null(strstr(r.text, "Allow"));
	assert_string_equal(r.body, "1 entry forgotten\n");
	assert_int_equal(entries(d, 0), 0);
}

static void all_workers_forget_a_name_and_what_is_below(void **state)
{
	struct daemon *d = *state;
	for (unsigned i = 0; i < 2; i++) {
		remember(&d->worker[i], "example.org", TYPE_A);
		remember(&d->worker[i], "www.example.org", TYPE_A);
		remember(&d->worker[i], "www.example.org", TYPE_AAAA);
		remember(&d->worker[i], "anexample.org", TYPE_A);
	}
	ask(&r, connect_daemon(d), "POST /cache/flush?name=WWW.example.org HTTP/1.1\r\n\r\n");
	assert_int_equal(r.status, 200);
	assert_string_equal(r.body, "www.example.org. and below it: 4 entries forgotten\n");
	ask(&r, connect_daemon(d), "POST /cache/flush?name=example.org. HTTP/1.1\r\n\r\n");
	assert_string_equal(r.body, "example.org. and below it: 2 entries forgotten\n");
	ask(&r, connect_daemon(d), "POST /cache/flush?name=nobody HTTP/1.1\r\n\r\n");
	assert_string_equal(r.body, "nobody. and below it: 0 entries forgotten\n");
	assert_int_equal(entries(d, 0) + entries(d, 1), 2);
	ask(&r, connect_daemon(d), "POST /cache/flush?name=. HTTP/1.1\r\n\r\n");
	assert_string_equal(r.body, ". and below it: 2 entries forgotten\n");
}

static void what_is_not_understood_forgets_nothing(void **state)
{
	static const char *const queries[] = {"name=", "name=a..b", "nam=a", "name=a&name=b",
		"name", "name=%", "name=%4", "name=%4g", "name=a&", "&", "=", "name=a&type=A",
		"all", "name=a?name=b", "NAME=a", "name=a;name=b"};
	struct daemon *d = *state;
	remember(&d->worker[0], "a", TYPE_A);
	for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
		char request[128];
		snprintf(request, sizeof(request), "POST /cache/flush?%s HTTP/1.1\r\n\r\n",
			queries[i]);
		ask(&r, connect_daemon(d), request);
		if (r.status == 200) {
			assert_null(strstr(r.body, "1 entry")); /* `a?name=b` is a name */
		} else {
			assert_int_equal(r.status, 400);
		}
		assert_int_equal(entries(d, 0), 1);
	}
}

static void hostile_queries_are_answered_with_400(void **state)
{
	static const char *const pages[] = {"/cache", "/explain", "/table"};
	static char request[HTTPD_HEAD_MAX];
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		/* Escapes without end: longer than any name. */
		size_t len = (size_t)snprintf(request, sizeof(request), "GET %s?name=", pages[i]);
		while (len + 32 < sizeof(request)) {
			len += (size_t)snprintf(request + len, sizeof(request) - len, "%%5c%%30");
		}
		snprintf(request + len, sizeof(request) - len, " HTTP/1.0\r\n\r\n");
		ask(&r, connect_daemon(*state), request);
		assert_int_equal(r.status, 400);
		for (const char *c = r.body; *c; c++) {
			assert_true((*c >= 0x20 && *c < 0x7f) || *c == '\n');
		}
		char target[64];
		snprintf(target, sizeof(target), "%s?%%6eame=a", pages[i]);
		get(&r, connect_daemon(*state), target); /* keys are not decoded */
		assert_int_equal(r.status, 400);
	}
}

static void explain_says_what_was_found_and_what_expected(void **state)
{
	static const struct {
		const char *query;
		unsigned status;
		const char *body;
	} cases[] = {
		{"name=www.example.org", 200, "name: www.example.org, type A\n"},
		{"name=www.example.org&type=aaaa", 200, "name: www.example.org, type AAAA\n"},
		{"type=TYPE65&name=www.example.org", 200, "name: www.example.org, type HTTPS\n"},
		{"name=www.example.org&type=NO%1b", 400,
			"not a type: NO?; expected a mnemonic, such as AAAA, or a number, such as "
			"TYPE65\n"},
		{"name=www.example.org&type=", 400, "not a type: ; expected"},
		{"name=www.example.org&type=TYPE65536", 400, "not a type: TYPE65536; expected"},
		{"name=www.example.org&type=A%00", 400, "not a type: A; expected"},
		{"type=A", 400, "expected name=NAME\n"},
		{"", 400, "expected name=NAME\n"},
		{"name=a&type=A&type=A", 400,
			"found ?name=a&type=A&type=A, expected name=VALUE and"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char target[256];
		snprintf(target, sizeof(target), "/explain?%s", cases[i].query);
		get(&r, connect_daemon(*state), target);
		print_message("%s: %s", cases[i].query, r.body);
		assert_int_equal(r.status, cases[i].status);
		assert_memory_equal(r.body, cases[i].body, strlen(cases[i].body));
	}
}

static void without_a_cache_it_says_so(void **state)
{
	struct daemon *d = daemon_new(small_table(), "admin.sock");
	d->conf.cache_size = 0;
	for (unsigned i = 0; i < 2; i++) {
		cache_free(d->worker[i].cache);
		d->worker[i].cache = NULL;
	}
	restart(state, d);
	static const char *const requests[] = {"GET /cache HTTP/1.0\n\n",
		"GET /cache?name=a HTTP/1.0\n\n", "POST /cache/flush HTTP/1.0\n\n"};
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		ask(&r, connect_daemon(d), requests[i]);
		assert_int_equal(r.status, 404);
		assert_string_equal(r.body, "there is no cache: cache.size is 0\n");
	}
	get(&r, connect_daemon(d), "/status");
	assert_non_null(strstr(r.body, "\ncache:        none\n"));
	get(&r, connect_daemon(d), "/metrics");
	assert_null(strstr(r.body, "\nkuma_dns_cache_hits_total"));
	get(&r, connect_daemon(d), "/explain?name=www.example.org");
	assert_non_null(strstr(r.body, "cache: off\n"));
}

static void octets_that_come_one_by_one_make_a_request(void **state)
{
	static const char request[] = "GET /ready HTTP/1.0\r\n\r\n";
	int fd = connect_daemon(*state);
	for (size_t i = 0; i + 2 < sizeof(request); i++) {
		assert_int_equal(send(fd, request + i, 1, MSG_NOSIGNAL), 1);
	}
	ask(&r, fd, "\n");
	assert_string_equal(r.body, "ready\n");
}

static void a_peer_that_closed_its_side_is_answered(void **state)
{
	int fd = connect_daemon(*state);
	static const char request[] = "GET /table HTTP/1.0\r\n\r\n";
	assert_int_equal(send(fd, request, sizeof(request) - 1, 0), sizeof(request) - 1);
	shutdown(fd, SHUT_WR);
	size_t len = read_all(fd, r.text, sizeof(r.text) - 1);
	close(fd);
	r.text[len] = '\0';
	assert_non_null(strstr(r.text, small_listing));
}

static void a_head_over_8_kib_is_refused(void **state)
{
	static char request[HTTPD_HEAD_MAX + 100];
	memset(request, 'a', sizeof(request));
	memcpy(request, "GET /ready HTTP/1.1\r\nX: ", 24);
	exchange(&r, connect_daemon(*state), request, sizeof(request));
	assert_int_equal(r.status, 431);
}

static void a_large_body_is_thrown_away_and_answered(void **state)
{
	static char request[300000];
	memset(request, 'a', sizeof(request));
	memcpy(request, "POST /ready HTTP/1.1\r\n\r\n", 24);
	exchange(&r, connect_daemon(*state), request, sizeof(request));
	assert_int_equal(r.status, 405);
}

static void without_a_table_it_says_503(void **state)
{
	restart(state, daemon_new(NULL, "admin.sock"));
	get(&r, connect_daemon(*state), "/table");
	assert_int_equal(r.status, 503);
	assert_string_equal(r.body, "no table yet\n");
	get(&r, connect_daemon(*state), "/ready");
	assert_int_equal(r.status, 503);
	assert_string_equal(r.body, "not ready: no table yet\n");
	get(&r, connect_daemon(*state), "/metrics");
	assert_int_equal(r.status, 200);
	assert_non_null(strstr(r.body, "\nkuma_dns_ready 0\n"));
	assert_null(strstr(r.body, "\nkuma_dns_table_age_seconds"));
	get(&r, connect_daemon(*state), "/status");
	assert_int_equal(r.status, 200);
	assert_non_null(strstr(r.body, "none yet\n"));
}

static void a_daemon_that_has_only_begun_is_served_too(void **state)
{
	struct daemon *d = daemon_new(NULL, "admin.sock");
	d->state = (struct state){.conf = &d->conf, .started_ms = clock_ms()};
	restart(state, d);
	static const char *const targets[] = {"/metrics", "/status"};
	for (size_t i = 0; i < 2; i++) {
		get(&r, connect_daemon(d), targets[i]);
		assert_int_equal(r.status, 200);
	}
	get(&r, connect_daemon(d), "/explain?name=a");
	assert_int_equal(r.status, 503);
	d->conf.cache_size = 1 << 20;
	get(&r, connect_daemon(d), "/cache?name=a");
	assert_int_equal(r.status, 404);
	get(&r, connect_daemon(d), "/cache");
	assert_int_equal(r.status, 200);
	get(&r, connect_daemon(d), "/ready");
	assert_string_equal(r.body, "not ready: not listening yet\n");
}

static void a_saved_table_is_marked_everywhere(void **state)
{
	struct daemon *d = daemon_new(small_table(), "admin.sock");
	d->mesh.status.source = MESH_SAVED;
	restart(state, d);
	get(&r, connect_daemon(d), "/ready");
	assert_int_equal(r.status, 200);
	assert_string_equal(r.body, "ready (table old: loaded from disk 7 s ago, source silent)\n");
	get(&r, connect_daemon(d), "/metrics");
	assert_non_null(strstr(r.body, "\nkuma_dns_table_old{mesh=\"de\\\"fault\"} 1\n"));
	get(&r, connect_daemon(d), "/status");
	assert_non_null(strstr(r.body, "yes: table old"));
}

static long resident_kib(void)
{
	long pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%*d %ld", &pages), 1);
	fclose(f);
	return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* Until the peer's octets can be read. */
static void wait_readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
}

static void count_lines(int fd, size_t *lines, size_t *octets)
{
	static char buf[65536];
	*lines = 0;
	*octets = 0;
	for (;;) {
		wait_readable(fd);
		ssize_t n = read(fd, buf, sizeof(buf));
		if (n <= 0) {
			break;
		}
		*octets += (size_t)n;
		for (ssize_t i = 0; i < n; i++) {
			*lines += buf[i] == '\n';
		}
	}
	close(fd);
}

/* 200,000 names are 18 MB of text: forty readers that do not read would hold 700 MB of it. The
 * same readers show that one who stalls is cut off, and one who never ends his request. */
static void readers_that_stall_hold_no_memory_and_are_cut_off(void **state)
{
	enum { READERS = 40, NAMES = 200000, HEAD_LINES = 5 };
	static const char request[] = "GET /table HTTP/1.0\r\n\r\n";
	struct daemon *d = restart(state, daemon_new(large_table(NAMES), "admin.sock"));
	int reader[READERS];
	size_t lines;
	size_t octets;
	int dripping = connect_daemon(d);
	int64_t begun_ms = clock_ms();
	long before = resident_kib();
	for (size_t i = 0; i < READERS; i++) {
		reader[i] = connect_daemon(d);
		assert_int_equal(
			send(reader[i], request, sizeof(request) - 1, 0), sizeof(request) - 1);
	}
	for (size_t i = 0; i < READERS; i++) {
		wait_readable(reader[i]);
	}
	int polite = connect_daemon(d);
	assert_int_equal(send(polite, request, sizeof(request) - 1, 0), sizeof(request) - 1);
	count_lines(polite, &lines, &octets);
	assert_int_equal(lines, 2 * NAMES + HEAD_LINES);
	assert_true(resident_kib() - before < 65536);
	/* The drip: an octet now and then does not prolong the life of a request. */
	struct pollfd p = {.fd = dripping, .events = POLLIN};
	while (poll(&p, 1, 200) == 0) {
		assert_true(send(dripping, "G", 1, MSG_NOSIGNAL) == 1 || errno == EPIPE);
		assert_true(clock_ms() - begun_ms < HTTPD_REQUEST_MS + 5000);
	}
	assert_true(clock_ms() - begun_ms >= HTTPD_REQUEST_MS - 100);
	close(dripping);
	struct pollfd gone = {.fd = reader[0], .events = 0}; /* POLLHUP, with octets unread */
	assert_int_equal(poll(&gone, 1, WAIT_MS), 1);
	for (size_t i = 0; i < READERS; i++) {
		close(reader[i]);
	}
}

static void a_reader_that_vanishes_gives_its_table_back(void **state)
{
	static const char request[] = "GET /table HTTP/1.1\r\n\r\n";
	struct daemon *d = restart(state, daemon_new(large_table(20000), "admin.sock"));
	int fd = connect_daemon(d);
	assert_int_equal(send(fd, request, sizeof(request) - 1, 0), sizeof(request) - 1);
	wait_readable(fd);
	close(fd);
	/* Another one is in the middle of its listing when the daemon ends: the leak check of the
	 * sanitizer tells whether both tables were given back. */
	fd = connect_daemon(d);
	assert_int_equal(send(fd, request, sizeof(request) - 1, 0), sizeof(request) - 1);
	wait_readable(fd);
	daemon_free(d);
	*state = daemon_start(daemon_new(NULL, "admin.sock"));
	close(fd);
}

static void connections_over_the_limit_wait_their_turn(void **state)
{
	struct daemon *d = *state;
	int idle[HTTPD_CONNECTIONS_MAX];
	for (size_t i = 0; i < HTTPD_CONNECTIONS_MAX; i++) {
		idle[i] = connect_daemon(d);
	}
	int fd = connect_daemon(d); /* into the kernel's queue */
	assert_int_equal(send(fd, "GET /ready HTTP/1.0\r\n\r\n", 23, 0), 23);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	assert_int_equal(poll(&p, 1, 300), 0);
	for (size_t i = 0; i < HTTPD_CONNECTIONS_MAX; i++) {
		close(idle[i]);
	}
	size_t len = read_all(fd, r.text, sizeof(r.text) - 1);
	close(fd);
	r.text[len] = '\0';
	assert_non_null(strstr(r.text, "\r\n\r\nready\n"));
}

static void a_stale_socket_file_is_replaced(void **state)
{
	char path[108];
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	(void)state;
	dir_path(path, sizeof(path), "stale.sock");
	memcpy(address.sun_path, path, sizeof(path));
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	assert_int_equal(connect_path(path), -1);
	struct daemon *d = daemon_start(daemon_new(NULL, "stale.sock"));
	get(&r, connect_daemon(d), "/ready");
	assert_int_equal(r.status, 503);
	daemon_free(d);
	assert_int_equal(access(path, F_OK), -1);
}

static void a_file_that_is_no_socket_is_left_alone(void **state)
{
	char path[108];
	(void)state;
	dir_path(path, sizeof(path), "file");
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fclose(f);
	struct daemon *d = daemon_new(NULL, "file");
	assert_int_equal(admin_open(&d->admin, d->base, &d->state), -EEXIST);
	daemon_free(d);
	assert_int_equal(unlink(path), 0);
}

static void a_second_daemon_takes_the_path_over_and_keeps_it(void **state)
{
	struct daemon *first = *state;
	struct daemon *second = daemon_start(daemon_new(NULL, "admin.sock"));
	get(&r, connect_daemon(second), "/ready");
	assert_int_equal(r.status, 503);
	daemon_free(first); /* must not take the second one's file with it */
	get(&r, connect_daemon(second), "/ready");
	assert_int_equal(r.status, 503);
	*state = second;
}

static void a_first_daemon_that_lives_longer_does_not_mind(void **state)
{
	struct daemon *first = *state;
	char path[108];
	int early = connect_daemon(first);
	daemon_free(daemon_start(daemon_new(NULL, "admin.sock")));
	dir_path(path, sizeof(path), "admin.sock");
	assert_int_equal(connect_path(path), -1);
	get(&r, early, "/ready");
	assert_int_equal(r.status, 200);
}

static void a_socket_that_cannot_be_made_is_an_error_only_where_asked_for(void **state)
{
	(void)state;
	struct daemon *d = daemon_new(NULL, "no/such/directory");
	assert_int_equal(admin_open(&d->admin, d->base, &d->state), -ENOENT);
	d->conf.admin_socket_given = false;
	assert_int_equal(admin_open(&d->admin, d->base, &d->state), 0);
	admin_close(d->admin);
	/* There is no room for the temporary name. */
	snprintf(d->conf.admin_socket, sizeof(d->conf.admin_socket), "%s%0*d/s", dir, 75, 0);
	for (char *c = d->conf.admin_socket + strlen(dir); *c == '0'; c++) {
		*c = '/';
	}
	d->conf.admin_socket_given = true;
	assert_int_equal(admin_open(&d->admin, d->base, &d->state), -ENAMETOOLONG);
	d->conf.admin_socket[0] = '\0';
	assert_int_equal(admin_open(&d->admin, d->base, &d->state), 0);
	admin_close(d->admin);
	admin_close(NULL);
	daemon_free(d);
}

/* A port that was free a moment ago; SO_REUSEPORT lets the daemon share it with the test. */
static int reserve_port(struct endpoint *e, const char *text)
{
	int on = 1;
	assert_int_equal(endpoint_parse(e, text, 1), 0);
	e->in.sin_port = 0;
	int fd = socket(e->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0 ||
		bind(fd, &e->sa, e->len) < 0) {
		close(fd);
		return -1;
	}
	assert_int_equal(getsockname(fd, &e->sa, &e->len), 0);
	return fd;
}

static int connect_tcp(const struct endpoint *e)
{
	int fd = socket(e->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, &e->sa, e->len), 0);
	return fd;
}

static void tcp_shows_metrics_and_ready_and_nothing_else(void **state)
{
	static const char *const addresses[] = {"127.0.0.1", "::1"};
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct daemon *d = daemon_new(small_table(), "tcp.sock");
		int reserved = reserve_port(&d->conf.metrics_address, addresses[i]);
		if (reserved < 0) {
			print_message("skipped: no %s here\n", addresses[i]);
			daemon_free(d);
			continue;
		}
		daemon_start(d);
		const struct endpoint *e = &d->conf.metrics_address;
		get(&r, connect_tcp(e), "/metrics");
		assert_int_equal(r.status, 200);
		get(&r, connect_tcp(e), "/ready");
		assert_int_equal(r.status, 200);
		static const char *const local[] = {
			"/table", "/status", "/cache", "/cache?name=a", "/explain?name=a"};
		for (size_t k = 0; k < sizeof(local) / sizeof(local[0]); k++) {
			get(&r, connect_tcp(e), local[k]);
			assert_int_equal(r.status, 404);
			assert_string_equal(r.body, "here are /metrics /ready\n");
		}
		ask(&r, connect_tcp(e), "POST /cache/flush HTTP/1.0\r\n\r\n");
		assert_int_equal(r.status, 404);
		get(&r, connect_daemon(d), "/table");
		assert_int_equal(r.status, 200);
		static char large[300000] = "POST /ready HTTP/1.1\r\n\r\n";
		exchange(&r, connect_tcp(e), large, sizeof(large));
		assert_int_equal(r.status, 405);
		/* A second start binds while the first one serves. */
		struct daemon *second = daemon_new(small_table(), "tcp2.sock");
		second->conf.metrics_address = *e;
		daemon_free(daemon_start(second));
		daemon_free(d);
		close(reserved);
	}
}

static void a_tcp_address_that_is_taken_is_an_error_that_leaves_nothing(void **state)
{
	(void)state;
	struct daemon *d = daemon_new(NULL, "taken.sock");
	struct endpoint *e = &d->conf.metrics_address;
	assert_int_equal(endpoint_parse(e, "127.0.0.1:1", 0), 0);
	e->in.sin_port = 0;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, &e->sa, e->len), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, &e->sa, &e->len), 0);
	assert_int_equal(admin_open(&d->admin, d->base, &d->state), -EADDRINUSE);
	assert_int_equal(access(d->conf.admin_socket, F_OK), -1);
	close(fd);
	daemon_free(d);
}

static void the_client_prints_what_the_daemon_says(void **state)
{
	const struct daemon *d = *state;
	const char *path = d->conf.admin_socket;
	struct output o = client(path, "table", NULL);
	assert_int_equal(o.status, 0);
	assert_string_equal(o.out, small_listing);
	assert_string_equal(o.err, "");
	o = client(path, "table", "zoo.svc.mesh.local");
	assert_int_equal(o.status, 0);
	assert_string_equal(o.out, "zoo.svc.mesh.local. 30 IN A 241.0.0.9\n");
	o = client(path, "ready", NULL);
	assert_int_equal(o.status, 0);
	assert_string_equal(o.out, "ready\n");
	o = client(path, "status", NULL);
	assert_int_equal(o.status, 0);
	assert_memory_equal(o.out, "kuma-dns ", 9);
	o = client(path, "metrics", NULL);
	assert_int_equal(o.status, 0);
	assert_memory_equal(o.out, "# HELP ", 7);
}

static void the_client_says_no_with_status_1(void **state)
{
	const struct daemon *d = *state;
	const char *path = d->conf.admin_socket;
	struct output o = client(path, "table", "nobody&name=zoo.svc.mesh.local\r\n/?#%");
	assert_int_equal(o.status, 1);
	assert_string_equal(o.out, "");
	assert_string_equal(
		o.err, "nobody&name=zoo.svc.mesh.local\\013\\010/?#% is not in the table\n");
	restart(state, daemon_new(NULL, "admin.sock"));
	o = client(((struct daemon *)*state)->conf.admin_socket, "ready", NULL);
	assert_int_equal(o.status, 1);
	assert_string_equal(o.err, "not ready: no table yet\n");
}

static void the_client_asks_for_entries_and_has_them_forgotten(void **state)
{
	struct daemon *d = *state;
	const char *path = d->conf.admin_socket;
	remember(&d->worker[1], "www.example.org", TYPE_AAAA);
	remember(&d->worker[1], "flush", TYPE_A);
	struct output o = client(path, "cache", NULL);
	assert_int_equal(o.status, 0);
	assert_non_null(strstr(o.out, "\nentries:      2\n"));
	o = client(path, "cache", "WWW.example.org");
	assert_int_equal(o.status, 0);
	assert_memory_equal(o.out, "www.example.org. AAAA failure ", 30);
	assert_non_null(strstr(o.out, " octets, worker 2\n"));
	o = ask_with(path, &(struct admin_question){
				   .page = "cache/flush", .name = "example.org", .changes = true});
	assert_int_equal(o.status, 0);
	assert_string_equal(o.out, "example.org. and below it: 1 entry forgotten\n");
	o = client(path, "cache", "www.example.org");
	assert_int_equal(o.status, 1);
	assert_string_equal(o.err, "www.example.org. is not in the cache\n");
	o = client(path, "cache/flush", NULL); /* without POST */
	assert_int_equal(o.status, 1);
	o = ask_with(path, &(struct admin_question){.page = "cache/flush", .changes = true});
	assert_int_equal(o.status, 0);
	assert_string_equal(o.out, "1 entry forgotten\n");
}

static void the_client_has_names_explained(void **state)
{
	const struct daemon *d = *state;
	const char *path = d->conf.admin_socket;
	struct admin_question question = {.page = "explain", .name = "a\\&b.example", .type = "mx"};
	struct output o = ask_with(path, &question);
	assert_int_equal(o.status, 0);
	assert_memory_equal(o.out, "name: a&b.example, type MX\n", 27);
	question.type = "NO&TYPE";
	o = ask_with(path, &question);
	assert_int_equal(o.status, 2);
	assert_string_equal(o.out, "");
	assert_memory_equal(o.err, "not a type: NO&TYPE;", 20);
	question.name = "a..b";
	assert_int_equal(ask_with(path, &question).status, 2);
}

static void the_client_puts_a_long_table_together(void **state)
{
	struct daemon *d = restart(state, daemon_new(large_table(20000), "admin.sock"));
	int saved;
	fflush(stdout);
	int out = redirect_to_file(STDOUT_FILENO, &saved);
	int status = admin_client(d->conf.admin_socket, &(struct admin_question){.page = "table"});
	dup2(saved, STDOUT_FILENO);
	close(saved);
	assert_int_equal(status, 0);
	FILE *f = fdopen(out, "r");
	assert_non_null(f);
	rewind(f);
	char line[256];
	unsigned lines = 0;
	for (; fgets(line, sizeof(line), f); lines++) {
		char expected[256];
		snprintf(expected, sizeof(expected), "service-%06u.svc.mesh.local. 30 IN %s\n",
			lines / 2, lines % 2 ? "AAAA fd00::1" : "A 241.0.0.1");
		assert_string_equal(line, expected);
	}
	assert_int_equal(lines, 40000);
	fclose(f);
}

static void the_client_without_a_daemon_says_so(void **state)
{
	char path[128];
	(void)state;
	dir_path(path, sizeof(path), "nobody.sock");
	struct output o = client(path, "status", NULL);
	assert_int_equal(o.status, 2);
	assert_non_null(strstr(o.err, "no daemon listens on"));
	assert_non_null(strstr(o.err, path));
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(client(path, "status", NULL).status, 2);
	assert_int_equal(client("", "status", NULL).status, 2);
}

struct liar {
	int fd;
	const char *says;
};

/* A daemon that says one thing to whoever asks. */
static void *lie(void *arg)
{
	const struct liar *liar = arg;
	char request[512];
	int fd = accept(liar->fd, NULL, NULL);
	if (fd >= 0 && read(fd, request, sizeof(request)) > 0) {
		send(fd, liar->says, strlen(liar->says), MSG_NOSIGNAL);
	}
	close(fd);
	return NULL;
}

static struct output ask_liar(const char *says)
{
	char path[108];
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct liar liar = {.fd = socket(AF_UNIX, SOCK_STREAM, 0), .says = says};
	pthread_t thread;
	dir_path(path, sizeof(path), "liar.sock");
	memcpy(address.sun_path, path, sizeof(path));
	assert_int_equal(bind(liar.fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(liar.fd, 1), 0);
	assert_int_equal(pthread_create(&thread, NULL, lie, &liar), 0);
	struct output o = client(path, "table", NULL);
	pthread_join(thread, NULL);
	close(liar.fd);
	unlink(path);
	return o;
}

static void the_client_takes_no_half_and_no_nonsense(void **state)
{
#define HEAD    "HTTP/1.1 200 OK\r\n"
#define CHUNKED HEAD "Transfer-Encoding: chunked\r\n\r\n"
	static const char *const lies[] = {
		"",
		"HTTP/1.1 200",
		"HTTP/1.1 200 OK\r\n",
		"SSH-2.0-OpenSSH\r\n\r\n",
		"HTTP/1.1 xyz OK\r\n\r\n",
		HEAD "\r\nabc",
		HEAD "Content-Length: 5\r\n\r\nabc",
		HEAD "Content-Length: 2\r\n\r\nabc",
		HEAD "Content-Length: 99999999999999999999999\r\n\r\nabc",
		HEAD "Content-Length: \r\n\r\nabc",
		CHUNKED,
		CHUNKED "3\r\nabc\r\n",
		CHUNKED "3\r\nabc",
		CHUNKED "ffffffffffffffff\r\nabc\r\n0\r\n\r\n",
		CHUNKED "-1\r\nabc\r\n0\r\n\r\n",
		CHUNKED "3",
		CHUNKED "0\r\n",
	};
	(void)state;
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		struct output o = ask_liar(lies[i]);
		if (o.status != 2 || o.out[0] != '\0' || o.err[0] == '\0') {
			fail_msg("status %d, '%s' for %s", o.status, o.out, lies[i]);
		}
	}
	struct output o = ask_liar(CHUNKED "3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n");
	assert_int_equal(o.status, 0);
	assert_string_equal(o.out, "abc0123456789");
}

static int make_dir(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN); /* as the daemon does */
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	(void)state;
	return rmdir(dir); /* fails where anything was left behind */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_socket_is_for_its_owner_alone),
		TEST(table_lists_records_in_the_order_of_the_document),
		TEST(table_answers_for_one_name),
		TEST(ready_says_200_and_nothing_else_where_all_is_well),
		TEST(metrics_have_their_content_type_and_all_workers_counts),
		TEST(status_tells_the_important),
		TEST(other_paths_are_not_found),
		TEST(requests_are_judged_by_rfc_9112),
		TEST(head_brings_the_head_alone),
		TEST(nothing_is_forgotten_by_looking),
		TEST(all_workers_forget_a_name_and_what_is_below),
		TEST(what_is_not_understood_forgets_nothing),
		TEST(hostile_queries_are_answered_with_400),
		TEST(explain_says_what_was_found_and_what_expected),
		TEST(without_a_cache_it_says_so),
		TEST(octets_that_come_one_by_one_make_a_request),
		TEST(a_peer_that_closed_its_side_is_answered),
		TEST(a_head_over_8_kib_is_refused),
		TEST(a_large_body_is_thrown_away_and_answered),
		TEST(without_a_table_it_says_503),
		TEST(a_daemon_that_has_only_begun_is_served_too),
		TEST(a_saved_table_is_marked_everywhere),
		TEST(readers_that_stall_hold_no_memory_and_are_cut_off),
		TEST(a_reader_that_vanishes_gives_its_table_back),
		TEST(connections_over_the_limit_wait_their_turn),
		TEST(a_stale_socket_file_is_replaced),
		TEST(a_file_that_is_no_socket_is_left_alone),
		TEST(a_second_daemon_takes_the_path_over_and_keeps_it),
		TEST(a_first_daemon_that_lives_longer_does_not_mind),
		TEST(a_socket_that_cannot_be_made_is_an_error_only_where_asked_for),
		TEST(tcp_shows_metrics_and_ready_and_nothing_else),
		TEST(a_tcp_address_that_is_taken_is_an_error_that_leaves_nothing),
		TEST(the_client_prints_what_the_daemon_says),
		TEST(the_client_says_no_with_status_1),
		TEST(the_client_asks_for_entries_and_has_them_forgotten),
		TEST(the_client_has_names_explained),
		TEST(the_client_puts_a_long_table_together),
		TEST(the_client_without_a_daemon_says_so),
		TEST(the_client_takes_no_half_and_no_nonsense),
	};
	return cmocka_run_group_tests_name("admin", tests, make_dir, remove_dir);
}
