/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of pages.c, cachepage.c, status.c and gather.c: what they say of workers that run, with a
 * name server of the test behind them. The mesh is a stand-in.
 */
#include "dns/admin/pages.h"

#include "conf/clock.h"
#include "dns/wire/record.h"

#include <errno.h>
#include <event2/buffer.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

enum { WORKERS = 3, MESSAGE_MAX = 512, TEXT_SIZE = 65536 };

const struct mesh_status *mesh_status(const struct mesh *mesh)
{
	(void)mesh;
	return NULL;
}

const char *mesh_source_name(enum mesh_source source)
{
	(void)source;
	return "none";
}

/* A name server that answers each query with 192.0.2.1 and a TTL of 60 s. */
struct upstream {
	struct endpoint at;
	int fd;
	pthread_t thread;
};

static size_t question_end(const uint8_t *message)
{
	size_t at = HEADER_LEN;
	while (message[at] != 0) {
		at += message[at] + 1U;
	}
	return at + 5;
}

static void *answer_all(void *arg)
{
	static const uint8_t record[] = {
		0xc0, 0x0c, 0, TYPE_A, 0, CLASS_IN, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1};
	const struct upstream *u = arg;
	uint8_t message[MESSAGE_MAX + sizeof(record)];
	struct endpoint from = {.len = 0};
	for (;;) {
		from.len = sizeof(from.in6);
		ssize_t n = recvfrom(u->fd, message, MESSAGE_MAX, 0, &from.sa, &from.len);
		if (n <= HEADER_LEN) {
			return NULL; /* the test says that it is over */
		}
		size_t len = question_end(message);
		octets_put_u16(message + 2, FLAG_QR | FLAG_RD | FLAG_RA);
		octets_put_u16(message + 6, 1); /* one answer, and no OPT */
		octets_put_u16(message + 10, 0);
		memcpy(message + len, record, sizeof(record));
		(void)sendto(u->fd, message, len + sizeof(record), 0, &from.sa, from.len);
	}
}

static void upstream_open(struct upstream *u)
{
	assert_int_equal(endpoint_parse(&u->at, "127.0.0.1", 1), 0);
	u->at.in.sin_port = 0;
	u->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_true(u->fd >= 0);
	assert_int_equal(bind(u->fd, &u->at.sa, u->at.len), 0);
	assert_int_equal(getsockname(u->fd, &u->at.sa, &u->at.len), 0);
	assert_int_equal(pthread_create(&u->thread, NULL, answer_all, u), 0);
}

static void upstream_close(struct upstream *u)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(sendto(fd, "end", 3, 0, &u->at.sa, u->at.len), 3);
	close(fd);
	pthread_join(u->thread, NULL);
	close(u->fd);
}

struct fixture {
	struct upstream upstream;
	struct conf conf;
	struct routes *routes;
	struct mesh_zones zones;
	struct cookie_secret secret;
	struct worker *workers[WORKERS];
	struct endpoint at[WORKERS]; /* each listens at a port of its own */
	struct state state;
	unsigned status; /* of the page that was asked for last */
	char body[TEXT_SIZE];
};

static struct dname name_of(const char *text)
{
	struct dname name;
	assert_int_equal(dname_from_text(&name, text, strlen(text)), 0);
	return name;
}

/* `redis.mesh` and `*.wild.mesh`, and a name that shadows a public one. */
static struct table *new_table(void)
{
	static const char *const names[] = {"redis.mesh", "*.wild.mesh", "www.shadowed.example"};
	struct table_builder *builder = table_builder_new(1, 1 << 20);
	struct address address = {.len = 4, .octets = {241, 0, 0, 1}};
	assert_non_null(builder);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct dname name = name_of(names[i]);
		assert_int_equal(table_builder_add(builder, &name, &address, 1), 0);
	}
	struct table *table = table_builder_finish(builder, 30);
	assert_non_null(table);
	table_set_generation(table, 5);
	return table;
}

static void add_zone(struct fixture *f, const char *text, enum route_answer answer)
{
	struct dname zone = name_of(text);
	struct route *route = routes_add(f->routes, &zone);
	assert_non_null(route);
	route->configured = true;
	route->answer = answer;
	if (answer == ROUTE_FORWARD) {
		assert_int_equal(routes_add_server(f->routes, route, &f->upstream.at, false, 1), 0);
	}
}

static void open_worker(struct fixture *f, unsigned i)
{
	unsigned count;
	int r = -EADDRINUSE; /* a port that is free for UDP may be taken for TCP */
	f->conf.listen.item[0].in.sin_port = 0;
	for (unsigned tries = 0; r == -EADDRINUSE && tries < 16; tries++) {
		assert_int_equal(
			worker_open(&f->workers[i], &f->conf, f->routes, &f->zones, &f->secret), 0);
		r = worker_listen(f->workers[i]);
		if (r != 0) {
			worker_close(f->workers[i]);
		}
	}
	assert_int_equal(r, 0);
	f->at[i] = worker_listening(f->workers[i], &count)[0];
	worker_publish(f->workers[i], table_ref(f->state.table));
	assert_int_equal(worker_start(f->workers[i]), 0);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	upstream_open(&f->upstream);
	conf_init(&f->conf);
	f->conf.workers = WORKERS;
	f->conf.mark = 0;
	f->conf.loop_probe = false; /* nobody is asked but by the test */
	f->conf.cache_size = 256 << 10;
	f->conf.listen.count = 1;
	assert_int_equal(endpoint_parse(&f->conf.listen.item[0], "127.0.0.1", 1), 0);
	f->routes = routes_new();
	assert_non_null(f->routes);
	f->routes->try_ms = 800;
	assert_int_equal(
		routes_add_server(f->routes, &f->routes->route[0], &f->upstream.at, false, 1), 0);
	add_zone(f, "corp.example", ROUTE_FORWARD);
	add_zone(f, "ads.example", ROUTE_REFUSE);
	add_zone(f, "gone.example", ROUTE_NXDOMAIN);
	f->routes->search[f->routes->search_count++] = name_of("svc.cluster.local");
	f->zones.item[f->zones.count++] = name_of("mesh");
	f->state = (struct state){.conf = &f->conf,
		.routes = f->routes,
		.workers = f->workers,
		.table = new_table(),
		.listening = true,
		.started_ms = clock_ms()};
	for (unsigned i = 0; i < WORKERS; i++) {
		open_worker(f, i);
	}
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	for (unsigned i = 0; i < WORKERS; i++) {
		worker_stop(f->workers[i]);
		worker_close(f->workers[i]);
	}
	upstream_close(&f->upstream);
	routes_unref(f->routes);
	table_unref(f->state.table);
	free(f);
	return 0;
}

static int client(const struct endpoint *to)
{
	struct timeval patience = {.tv_sec = 20};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, &to->sa, to->len), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	return fd;
}

/* OPT with these options; nothing where `options` is NULL. */
static void put_opt(struct writer *w, uint32_t flags, const uint8_t *options, size_t len)
{
	if (!options) {
		return;
	}
	octets_put_u16(w->data + 10, 1);
	writer_octets(w, "\0\0\x29\x04\xd0", 5);
	writer_u32(w, flags);
	writer_u16(w, (uint16_t)len);
	writer_octets(w, options, len);
}

/* Ask and take the answer. @return its RCODE */
static unsigned ask_fd(int fd, uint16_t flags, const char *text, uint16_t qtype,
	const uint8_t *options, size_t len)
{
	uint8_t message[MESSAGE_MAX];
	struct writer w = {.data = message, .size = sizeof(message)};
	struct dname name;
	(void)!dname_from_text(&name, text, strlen(text));
	writer_u16(&w, 7);
	writer_u16(&w, flags);
	writer_octets(&w, "\0\1\0\0\0\0\0\0", 8);
	writer_octets(&w, name.octets, name.len);
	writer_u16(&w, qtype);
	writer_u16(&w, CLASS_IN);
	put_opt(&w, 0x8000, options, len);
	if (send(fd, message, w.len, 0) != (ssize_t)w.len ||
		recv(fd, message, sizeof(message), 0) < HEADER_LEN) {
		return UINT16_MAX;
	}
	return message[3] & FLAG_RCODE;
}

static void ask_with(const struct fixture *f, unsigned worker, uint16_t flags, const char *name,
	const uint8_t *options, size_t len)
{
	int fd = client(&f->at[worker]);
	assert_int_equal(ask_fd(fd, flags, name, TYPE_A, options, len), RCODE_NOERROR);
	close(fd);
}

static void ask(const struct fixture *f, unsigned worker, const char *name)
{
	ask_with(f, worker, FLAG_RD, name, NULL, 0);
}

static unsigned show(struct fixture *f, page_function *page, const char *query)
{
	struct evbuffer *body = evbuffer_new();
	assert_non_null(body);
	struct httpd_reply reply = {.body = body};
	struct page_ask ask = {
		.state = &f->state, .query = {(const uint8_t *)query, strlen(query)}};
	page(&reply, &ask);
	size_t len = evbuffer_get_length(body);
	assert_true(len < sizeof(f->body));
	evbuffer_remove(body, f->body, len);
	f->body[len] = '\0';
	evbuffer_free(body);
	f->status = reply.status;
	return reply.status;
}

static void assert_says(const struct fixture *f, const char *what)
{
	if (!strstr(f->body, what)) {
		fail_msg("no '%s' in\n%s", what, f->body);
	}
}

static void figures_are_those_of_all_workers(void **state)
{
	struct fixture *f = *state;
	for (unsigned i = 0; i < WORKERS; i++) {
		ask(f, i, "www.example.org");
		ask(f, i, "www.example.org");
	}
	ask(f, 1, "www.example.org");
	ask(f, 1, "ftp.example.org");
	assert_int_equal(show(f, page_cache, ""), 200);
	assert_says(f, "size:         786432 octets, of 3 workers\n");
	assert_says(f, "\nentries:      4\n");
	assert_says(f, "\nhits:         4\n");
	assert_says(f, "\nmisses:       4\n");
	assert_says(f, "\nhit rate:     50.0 %\n");
	assert_says(f, "\ninsertions:   4\n");
	assert_says(f, "\nevictions:    0\n");
	assert_int_equal(show(f, page_status, ""), 200);
	assert_says(f, "\ncache:        768 KiB, 4 entries in ");
	assert_says(f, " KiB; 4 hits, 4 misses, 0 stale, 0 evictions\n");
	assert_int_equal(show(f, page_metrics, ""), 200);
	assert_says(f, "\nkuma_dns_cache_hits_total 4\n");
	assert_says(f, "\nkuma_dns_cache_entries 4\n");
	assert_says(f, "\nkuma_dns_search_domains 1\n");
}

static void before_the_first_query_the_hit_rate_is_nought(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(show(f, page_cache, ""), 200);
	assert_says(f, "\nhit rate:     0.0 %\n");
}

static void entries_of_a_name_have_a_line_each(void **state)
{
	static const uint8_t subnet[] = {0, 8, 0, 7, 0, 1, 24, 0, 198, 51, 100};
	struct fixture *f = *state;
	ask(f, 0, "www.example.org");
	ask(f, 0, "www.example.org");
	ask(f, 0, "www.example.org");
	ask_with(f, 2, FLAG_RD | FLAG_CD, "www.example.org", subnet, sizeof(subnet));
	ask(f, 2, "below.www.example.org");
	assert_int_equal(show(f, page_cache, "name=WWW.Example.org."), 200);
	assert_memory_equal(f->body, "www.example.org. A NOERROR ", 27);
	assert_says(f, "/60 s, asked for 2 times, ");
	assert_says(f, " octets, worker 1\nwww.example.org. A NOERROR ");
	assert_says(f, "/60 s, asked for 0 times, ");
	assert_says(f, " octets, DO, CD, subnet 198.51.100.0/24 scope 0, worker 3\n");
	assert_null(strstr(f->body, "below"));
	assert_int_equal(show(f, page_cache, "name=example.org"), 404);
	assert_string_equal(f->body, "example.org. is not in the cache\n");
	assert_int_equal(show(f, page_cache, "name=."), 404);
	assert_string_equal(f->body, ". is not in the cache\n");
}

static void one_worker_has_no_number(void **state)
{
	struct fixture *f = *state;
	struct conf alone = f->conf;
	alone.workers = 1;
	f->state.conf = &alone;
	ask(f, 0, "www.example.org");
	assert_int_equal(show(f, page_cache, "name=www.example.org"), 200);
	assert_null(strstr(f->body, "worker"));
	show(f, page_cache, "");
	assert_says(f, " octets, of 1 worker\n");
	f->state.conf = &f->conf;
}

static void every_worker_forgets(void **state)
{
	struct fixture *f = *state;
	for (unsigned i = 0; i < WORKERS; i++) {
		ask(f, i, "www.example.org");
		ask(f, i, "a.www.example.org");
		ask(f, i, "other.example.org");
	}
	assert_int_equal(show(f, page_cache_flush, "name=www.example.org"), 200);
	assert_string_equal(f->body, "www.example.org. and below it: 6 entries forgotten\n");
	assert_int_equal(show(f, page_cache, "name=a.www.example.org"), 404);
	assert_int_equal(show(f, page_cache, "name=other.example.org"), 200);
	assert_int_equal(show(f, page_cache_flush, ""), 200);
	assert_string_equal(f->body, "3 entries forgotten\n");
	assert_int_equal(show(f, page_cache, "name=other.example.org"), 404);
	ask(f, 0, "www.example.org");
	assert_int_equal(show(f, page_cache, "name=www.example.org"), 200);
}

/* What `explain` says of one name of each kind. */
static void each_kind_of_name_is_explained(void **state)
{
	static const struct {
		const char *query;
		const char *says[3];
	} cases[] = {
		{"name=Redis.MESH",
			{"name: redis.mesh, type A\n", "generation 5, 3 names", "A 241.0.0.1\n"}},
		{"name=redis.mesh&type=MX", {"type MX\n", "rule: a name of the mesh", "NODATA"}},
		{"name=any.wild.mesh",
			{"rule: by the wildcard of the mesh", "A 241.0.0.1\n", "1 record"}},
		{"name=nobody.mesh", {"mesh zone mesh, and not in the table", "NXDOMAIN", ""}},
		{"name=www.shadowed.example", {"shadows the public name", "A 241.0.0.1\n", ""}},
		{"name=www.ads.example",
			{"policy for the zone ads.example: refuse", "REFUSED", ""}},
		{"name=www.gone.example", {"zone gone.example: nxdomain", "NXDOMAIN", ""}},
		{"name=www.corp.example", {"forwarded, by upstreams, zone corp.example",
						  "server 1: 127.0.0.1:", "well, never answered"}},
		{"name=localhost", {"a special name", "answer: NOERROR", ""}},
		{"name=www.example.org",
			{"rule: forwarded\n", "cache: nothing\n", "server 1: 127.0.0.1:"}},
		{"name=api.example.com.svc.cluster.local",
			{"rule: forwarded\n", "search domain: com.svc.cluster.local", ""}},
	};
	struct fixture *f = *state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(show(f, page_explain, cases[i].query), 200);
		for (size_t k = 0; k < 3; k++) {
			assert_says(f, cases[i].says[k]);
		}
		assert_int_equal(f->body[strlen(f->body) - 1], '\n');
	}
	ask(f, 0, "www.example.org");
	show(f, page_explain, "name=www.example.org");
	assert_says(f, "cache: NOERROR, good for ");
	assert_null(strstr(f->body, "never answered"));
}

static void status_tells_of_servers_zones_and_search_domains(void **state)
{
	struct fixture *f = *state;
	char line[256], at[ENDPOINT_TEXT_SIZE];
	endpoint_format(&f->upstream.at, at);
	show(f, page_status, "");
	snprintf(line, sizeof(line), "\nupstream:     %s: up, no answer yet, 0 UDP, 0 TCP, ", at);
	assert_says(f, line);
	ask(f, 2, "www.example.org");
	show(f, page_status, "");
	snprintf(line, sizeof(line), "\nupstream:     %s: up, ", at);
	assert_says(f, line);
	assert_says(f, " ms (95 % within ");
	assert_says(f, " UDP, 0 TCP, 0 hedges, 0 probes; 0 timeout, 0 refused, 0 SERVFAIL, 0 "
		       "unreachable, 0 malformed\n");
	snprintf(line, sizeof(line), "\nzone:         corp.example: %s\n", at);
	assert_says(f, line);
	assert_says(f, "\nzone:         ads.example: refuse\n");
	assert_says(f, "\nzone:         gone.example: nxdomain\n");
	assert_says(f, "\nsearch:       svc.cluster.local; 0 probes\n");
	assert_null(strstr(f->body, "resolv.conf:"));
}

static void a_loop_is_named_everywhere(void **state)
{
	struct fixture *f = *state;
	char line[256], at[ENDPOINT_TEXT_SIZE];
	endpoint_format(&f->upstream.at, at);
	atomic_store(&f->routes->server[0].looped_ms, clock_ms());
	assert_int_equal(show(f, page_ready, ""), 503);
	snprintf(line, sizeof(line), "not ready: name server %s leads back to us\n", at);
	assert_string_equal(f->body, line);
	show(f, page_status, "");
	snprintf(line, sizeof(line), "\nupstream:     %s: leads back to us, ", at);
	assert_says(f, line);
	show(f, page_metrics, "");
	snprintf(line, sizeof(line), "\nkuma_dns_upstream_loop{server=\"%s\"} 1\n", at);
	assert_says(f, line);
	snprintf(line, sizeof(line), "\nkuma_dns_upstream_up{server=\"%s\"} 0\n", at);
	assert_says(f, line);
	show(f, page_explain, "name=www.example.org");
	snprintf(line, sizeof(line), "not asked: %s, which leads back to us\n", at);
	assert_says(f, line);
}

struct asking_client {
	const struct fixture *f;
	unsigned worker;
	atomic_bool end;
	unsigned asked;
	unsigned bad;
};

static void *ask_on(void *arg)
{
	struct asking_client *c = arg;
	int fd = client(&c->f->at[c->worker]);
	while (!atomic_load(&c->end)) {
		char name[64];
		snprintf(name, sizeof(name), "n%u.example.org", c->asked++ % 50);
		c->bad += ask_fd(fd, FLAG_RD, name, TYPE_A, NULL, 0) != RCODE_NOERROR;
	}
	close(fd);
	return NULL;
}

/* Pages ask the workers in the middle of their work: nobody is kept from being answered, and no
 * thread sees what another one writes (this runs under ThreadSanitizer, too). */
static void pages_come_while_queries_are_answered(void **state)
{
	enum { ROUNDS = 60 };
	struct fixture *f = *state;
	static struct asking_client clients[WORKERS];
	pthread_t threads[WORKERS];
	for (unsigned i = 0; i < WORKERS; i++) {
		clients[i] = (struct asking_client){.f = f, .worker = i};
		assert_int_equal(pthread_create(&threads[i], NULL, ask_on, &clients[i]), 0);
	}
	for (unsigned i = 0; i < ROUNDS; i++) {
		char query[64];
		snprintf(query, sizeof(query), "name=n%u.example.org", i % 50);
		assert_int_equal(show(f, page_status, ""), 200);
		assert_int_equal(show(f, page_metrics, ""), 200);
		assert_int_equal(show(f, page_cache, ""), 200);
		assert_in_range(show(f, page_cache, query), 200, 404);
		assert_int_equal(show(f, page_explain, query), 200);
		assert_int_equal(show(f, page_cache_flush, i % 8 ? query : ""), 200);
	}
	for (unsigned i = 0; i < WORKERS; i++) {
		atomic_store(&clients[i].end, true);
		pthread_join(threads[i], NULL);
		assert_int_equal(clients[i].bad, 0);
		assert_true(clients[i].asked > 0);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(figures_are_those_of_all_workers),
		TEST(before_the_first_query_the_hit_rate_is_nought),
		TEST(entries_of_a_name_have_a_line_each),
		TEST(one_worker_has_no_number),
		TEST(every_worker_forgets),
		TEST(each_kind_of_name_is_explained),
		TEST(status_tells_of_servers_zones_and_search_domains),
		TEST(a_loop_is_named_everywhere),
		TEST(pages_come_while_queries_are_answered),
	};
	return cmocka_run_group_tests_name("pages", tests, NULL, NULL);
}
