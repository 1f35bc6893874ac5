/* SPDX-License-Identifier: Apache-2.0
 *
 * Transactions against scripted name servers on the loopback: what requestors get, when, and what
 * the servers see of it. Each trap of c-ares that is known has its test here or in test_upstream.c.
 */
/* Before ldns, which else makes bool a char. */
#include <stdbool.h>

#include "tests/message.h"
#include "tests/scripted_server.h"

#include "conf/conf.h"
#include "dns/admin/stats.h"
#include "dns/resolve/forward.h"
#include "dns/wire/response.h"

#include <sys/resource.h>
#include <time.h>

enum {
	SERVERS = 3,
	REPLIES_MAX = 2048,
	TRY_MS = 80,
	TIMEOUT_MS = 400,
	AGES_MS = 5000, /* a try that no test waits for: what comes before came at once */
	PATIENCE_MS = 10000
};

struct reply {
	struct requestor to;
	int64_t at_ms;
	size_t len;
	uint8_t *octets;
};

struct world {
	struct event_base *base;
	struct event *heartbeat; /* so that a turn of the loop always ends */
	struct conf conf;
	struct stats stats;
	struct servers servers;
	struct scripted server[SERVERS];
	struct forward *forward;
	unsigned count;
	struct reply reply[REPLIES_MAX];
	unsigned follow_ups; /* queries that the next replies bring */
};

static struct world w;

/* Moved by tests that would have to wait for minutes. */
static time_t clock_ahead;

int __real_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts);

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	int error = __real_clock_gettime(id, ts);
	ts->tv_sec += clock_ahead;
	return error;
}

static int64_t now_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static uint64_t stat(enum counter which)
{
	return atomic_load(&w.stats.value[which]);
}

static uint64_t failures(unsigned server, enum upstream_failure why)
{
	return atomic_load(&w.stats.server[server].failures[why]);
}

static struct requestor requestor_of(uint16_t port)
{
	struct requestor r = {.slot = 1};
	r.peer.in.sin_family = AF_INET;
	r.peer.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	r.peer.in.sin_port = htons(port);
	r.peer.len = sizeof(r.peer.in);
	return r;
}

static void ask_octets(struct span octets, const struct requestor *from, size_t limit)
{
	struct query q;
	assert_int_equal(query_parse(&q, octets), 0);
	assert_int_equal(q.rcode, RCODE_NOERROR);
	forward_query(w.forward, &q, from, limit);
}

/* A query with OPT from the requestor at `port`. */
static void ask(const char *name, uint16_t type, uint16_t id, uint16_t port)
{
	struct message m;
	struct requestor from = requestor_of(port);
	message_query(&m, name, type);
	message_opt(&m, (struct opt){.size = 4096});
	octets_put_u16(m.octets, id);
	ask_octets(message_span(&m), &from, 4096);
}

static void on_reply(void *ctx, const struct requestor *to, struct span message)
{
	assert_ptr_equal(ctx, &w);
	assert_true(w.count < REPLIES_MAX);
	struct reply *r = &w.reply[w.count++];
	r->to = *to;
	r->at_ms = now_ms();
	r->len = message.len;
	r->octets = malloc(message.len);
	assert_non_null(r->octets);
	memcpy(r->octets, message.data, message.len);
	if (w.follow_ups > 0) {
		w.follow_ups--;
		ask("follow-up.example", TYPE_A, (uint16_t)(100 + w.follow_ups), 999);
		assert_memory_equal(r->octets, message.data, message.len);
	}
}

static void nothing(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
}

static int setup(void **state)
{
	(void)state;
	memset(&w, 0, sizeof(w));
	clock_ahead = 0;
	w.base = event_base_new();
	w.heartbeat = event_new(w.base, -1, EV_PERSIST, nothing, NULL);
	const struct timeval beat = {.tv_usec = 10000};
	event_add(w.heartbeat, &beat);
	w.conf.forward_timeout_ms = TIMEOUT_MS;
	w.conf.forward_try_ms = TRY_MS;
	w.conf.transactions_max = 512;
	return 0;
}

static void start_at(unsigned servers, const char *address)
{
	for (unsigned i = 0; i < servers; i++) {
		scripted_open(&w.server[i], w.base, address, (uint8_t)(i + 1));
		w.servers.item[i] = w.server[i].at;
	}
	w.servers.count = servers;
	assert_int_equal(
		forward_open(&w.forward, w.base, &w.conf, &w.servers, &w.stats, on_reply, &w), 0);
}

static void start(unsigned servers)
{
	start_at(servers, "127.0.0.1");
}

/* With a try so long that whatever happens, happens without it. */
static void start_slow(unsigned servers)
{
	w.conf.forward_try_ms = AGES_MS;
	w.conf.forward_timeout_ms = 2 * AGES_MS;
	start(servers);
}

static int teardown(void **state)
{
	(void)state;
	forward_close(w.forward);
	for (unsigned i = 0; i < SERVERS; i++) {
		scripted_close(&w.server[i]);
	}
	for (unsigned i = 0; i < w.count; i++) {
		free(w.reply[i].octets);
	}
	event_free(w.heartbeat);
	event_base_free(w.base);
	return 0;
}

static void turn(void)
{
	event_base_loop(w.base, EVLOOP_ONCE);
}

static void await_replies(unsigned count)
{
	int64_t patience = now_ms() + PATIENCE_MS;
	while (w.count < count && now_ms() < patience) {
		turn();
	}
	assert_int_equal(w.count, count);
}

static void await_seen(const struct scripted *s, unsigned count)
{
	int64_t patience = now_ms() + PATIENCE_MS;
	while (s->count < count && now_ms() < patience) {
		turn();
	}
	assert_true(s->count >= count);
}

static void run_for(int64_t ms)
{
	int64_t until = now_ms() + ms;
	while (now_ms() < until) {
		turn();
	}
}

static uint16_t rcode_of(unsigned reply)
{
	return octets_u16(w.reply[reply].octets + 2) & FLAG_RCODE;
}

static bool is_cut(unsigned reply)
{
	return octets_u16(w.reply[reply].octets + 2) & FLAG_TC;
}

/* The one address in the answer, by its last octet; 0 where there is none. */
static unsigned answered_by(unsigned reply)
{
	ldns_pkt *packet = packet_of((struct span){w.reply[reply].octets, w.reply[reply].len});
	unsigned by = 0;
	if (ldns_pkt_ancount(packet) > 0) {
		const ldns_rr *rr = ldns_rr_list_rr(ldns_pkt_answer(packet), 0);
		assert_int_equal(ldns_rdf_size(ldns_rr_a_address(rr)), 4);
		by = ldns_rdf_data(ldns_rr_a_address(rr))[3];
	}
	ldns_pkt_free(packet);
	return by;
}

/* The extended error of a reply with nothing but a question and OPT; -1 where there is none. */
static int ede_of(unsigned reply)
{
	struct reader r = reader_over((struct span){w.reply[reply].octets, w.reply[reply].len});
	(void)reader_span(
		&r, HEADER_LEN + scripted_question_len(w.reply[reply].octets, w.reply[reply].len));
	(void)reader_span(&r, 9);
	if (reader_u16(&r) < 6 || reader_u16(&r) != 15) {
		return -1;
	}
	(void)reader_u16(&r);
	return reader_u16(&r);
}

/* Answers. */

static void an_answer_has_the_id_and_the_spelling_of_the_requestor(void **state)
{
	(void)state;
	start(1);
	ask("WwW.eXample", TYPE_A, 0xbeef, 7);
	await_replies(1);
	assert_int_equal(octets_u16(w.reply[0].octets), 0xbeef);
	assert_memory_equal(w.reply[0].octets + HEADER_LEN, "\3WwW\7eXample\0\0\1\0\1", 17);
	assert_int_equal(answered_by(0), 1);
	assert_int_equal(ntohs(w.reply[0].to.peer.in.sin_port), 7);
	assert_int_equal(w.server[0].count, 1);
	assert_int_equal(forward_waiting(w.forward), 0);
	assert_int_equal(stat(STAT_TRANSACTIONS), 1);
	assert_int_equal(stat(STAT_TRANSACTIONS_NOW), 0);
	assert_int_equal(stat(STAT_UPSTREAM_A), 1);
	assert_int_equal(stat(STAT_NOERROR), 1);
	assert_int_equal(atomic_load(&w.stats.request.count), 1);
	assert_int_equal(atomic_load(&w.stats.upstream.count), 1);
	assert_int_equal(atomic_load(&w.stats.server[0].udp_queries), 1);
}

static void a_query_has_our_opt_and_no_options(void **state)
{
	(void)state;
	start(1);
	struct message m;
	struct requestor from = requestor_of(7);
	message_query(&m, "www.example", TYPE_A);
	message_opt(&m, (struct opt){.size = 4096,
				.rdata = "\0\x0a\0\x08"
					 "cookies!",
				.rdata_len = 12});
	ask_octets(message_span(&m), &from, 4096);
	await_replies(1);
	const struct seen *q = &w.server[0].seen[0];
	assert_int_equal(q->len, HEADER_LEN + 17 + OPT_LEN);
	assert_memory_equal(q->octets + q->len - OPT_LEN, "\0\0\x29\x04\xd0\0\0\0\0\0\0", OPT_LEN);
}

static void names_of_any_octets_are_forwarded(void **state)
{
	(void)state;
	start(1);
	struct message m;
	struct requestor from = requestor_of(7);
	message_begin(&m, FLAG_RD);
	writer_octets(&m.w, "\7a.\\\0\xff\"(\1*\0\0\x41\0\1", 15);
	octets_put_u16(m.octets + 4, 1);
	ask_octets(message_span(&m), &from, 4096);
	await_replies(1);
	assert_memory_equal(w.reply[0].octets + HEADER_LEN, m.octets + HEADER_LEN, 15);
	assert_int_equal(rcode_of(0), RCODE_NOERROR);
	assert_int_equal(stat(STAT_UPSTREAM_OTHER), 1);
}

static void an_ipv6_server_is_asked(void **state)
{
	(void)state;
	int fd = socket(AF_INET6, SOCK_DGRAM, 0);
	struct endpoint e;
	assert_int_equal(endpoint_parse(&e, "::1", 1), 0);
	e.in6.sin6_port = 0;
	bool works = fd >= 0 && bind(fd, &e.sa, e.len) == 0;
	if (fd >= 0) {
		close(fd);
	}
	if (!works) {
		print_message("no IPv6 here\n");
		skip();
	}
	w.server[0].udp = ACT_TRUNCATED;
	start_at(1, "::1");
	w.server[0].udp = ACT_TRUNCATED;
	ask("www.example", TYPE_A, 1, 7);
	await_replies(1);
	assert_int_equal(answered_by(0), 1);
	assert_int_equal(w.server[0].tcp_count, 1);
}

static void nxdomain_is_an_answer(void **state)
{
	(void)state;
	start(2);
	w.server[0].udp = ACT_NXDOMAIN;
	ask("www.example", TYPE_A, 1, 7);
	await_replies(1);
	assert_int_equal(rcode_of(0), RCODE_NXDOMAIN);
	assert_int_equal(w.server[1].count, 0);
	assert_int_equal(stat(STAT_NXDOMAIN), 1);
}

/* c-ares 1.18 cuts what is longer than 512 octets, or than its EDNS size, and clears TC. */
static void a_long_datagram_is_not_cut(void **state)
{
	(void)state;
	start(1);
	w.server[0].udp = ACT_BIG;
	struct message m;
	struct requestor from = requestor_of(7);
	message_query(&m, "www.example", TYPE_A);
	from.tcp = true;
	ask_octets(message_span(&m), &from, 65535);
	await_replies(1);
	assert_int_equal(w.reply[0].len, HEADER_LEN + 17 + 312 * 16);
	assert_int_equal(octets_u16(w.reply[0].octets + 6), 312);
	assert_false(is_cut(0));
	assert_int_equal(w.server[0].tcp_count, 0);
}

/* What is not the answer (RFC 5452). */

static void forged_datagrams_are_dropped(void **state)
{
	(void)state;
	static const enum act acts[] = {
		ACT_WRONG_ID_FIRST, ACT_WRONG_QUESTION_FIRST, ACT_NO_RESPONSE_FIRST};
	start(1);
	for (unsigned i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
		w.server[0].udp = acts[i];
		ask("www.example", TYPE_A, (uint16_t)i, 7);
		await_replies(i + 1);
		assert_int_equal(answered_by(i), 1);
		assert_int_equal(stat(STAT_UPSTREAM_MISMATCHED), i + 1);
	}
	assert_int_equal(w.server[0].count, 3);
}

static void an_answer_from_another_port_is_not_taken(void **state)
{
	(void)state;
	start(1);
	w.server[0].udp = ACT_WRONG_PORT_FIRST;
	ask("www.example", TYPE_A, 1, 7);
	await_replies(1);
	assert_int_equal(answered_by(0), 1);
	assert_int_equal(w.server[0].count, 1);
}

static void an_answer_to_another_of_our_ports_is_not_taken(void **state)
{
	(void)state;
	start(1);
	w.server[0].udp = ACT_HOLD;
	/* Two ports of 64 differ soon. */
	unsigned n = 1;
	ask("www.example", TYPE_A, 0, 7);
	await_seen(&w.server[0], 1);
	struct seen *first = &w.server[0].seen[0];
	const struct seen *other = first;
	while (other->port == first->port) {
		ask("other.example", (uint16_t)(TYPE_SVCB + n), (uint16_t)n, 7);
		await_seen(&w.server[0], ++n);
		other = &w.server[0].seen[n - 1];
	}
	struct seen crossed = *first;
	crossed.from = other->from;
	scripted_say(&w.server[0], &crossed, ACT_ANSWER);
	int64_t patience = now_ms() + PATIENCE_MS;
	while (stat(STAT_UPSTREAM_MISMATCHED) == 0 && now_ms() < patience) {
		turn();
	}
	assert_int_equal(stat(STAT_UPSTREAM_MISMATCHED), 1);
	assert_int_equal(w.count, 0);
	scripted_say(&w.server[0], first, ACT_ANSWER);
	await_replies(1);
	assert_int_equal(answered_by(0), 1);
}

static void a_second_answer_is_dropped(void **state)
{
	(void)state;
	start(1);
	w.server[0].udp = ACT_TWICE;
	ask("www.example", TYPE_A, 1, 7);
	await_replies(1);
	ask("www.example", TYPE_A, 2, 7);
	await_replies(2);
	run_for(30);
	assert_int_equal(w.count, 2);
	assert_int_equal(stat(STAT_UPSTREAM_MISMATCHED), 2);
}

static void ports_and_ids_are_hard_to_guess(void **state)
{
	(void)state;
	enum { QUERIES = 1500 };
	static uint16_t uses[65536];
	static uint16_t ids[65536];
	memset(uses, 0, sizeof(uses));
	memset(ids, 0, sizeof(ids));
	start(1);
	for (unsigned i = 0; i < QUERIES; i++) {
		ask("www.example", TYPE_A, 1, 7);
		await_replies(i + 1);
	}
	unsigned ports = 0;
	unsigned repeated = 0;
	unsigned in_a_row = 0;
	unsigned close_by = 0;
	for (unsigned i = 0; i < QUERIES; i++) {
		const struct seen *q = &w.server[0].seen[i];
		ports += uses[q->port]++ == 0;
		repeated += ids[q->id]++ != 0;
		in_a_row += i > 0 && q[0].port == q[-1].port;
		close_by += i > 0 && (uint16_t)(q[0].id - q[-1].id + 64) < 128;
		assert_true(uses[q->port] <= 256);
	}
	assert_true(ports >= 60);
	assert_true(repeated < 60);  /* 17 by the birthday paradox */
	assert_true(close_by < 30);  /* 3 by chance */
	assert_true(in_a_row < 100); /* 23 of a random choice of 64 */
}

static void a_port_is_replaced_after_256_queries(void **state)
{
	(void)state;
	/* With one descriptor left all queries share a port, so it is used up soon. */
	start(1);
	ask("www.example", TYPE_A, 1, 7);
	await_replies(1);
	struct rlimit old;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	int next = dup(0);
	close(next);
	const struct rlimit none = {.rlim_cur = (rlim_t)next, .rlim_max = old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	for (unsigned i = 1; i < 600; i++) {
		ask("www.example", TYPE_A, 1, 7);
		await_replies(i + 1);
		assert_int_equal(rcode_of(i), RCODE_NOERROR);
	}
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	const struct seen *q = w.server[0].seen;
	assert_int_equal(q[0].port, q[255].port);
	assert_int_not_equal(q[255].port, q[256].port);
	assert_int_equal(q[256].port, q[511].port);
	assert_int_not_equal(q[511].port, q[512].port);
}

static void without_any_descriptor_the_answer_is_servfail(void **state)
{
	(void)state;
	start(2);
	struct rlimit old;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	const struct rlimit none = {.rlim_cur = 3, .rlim_max = old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	ask("www.example", TYPE_A, 1, 7);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(w.count, 1);
	assert_int_equal(rcode_of(0), RCODE_SERVFAIL);
	assert_int_equal(ede_of(0), EDE_NETWORK_ERROR);
	ask("www.example", TYPE_A, 1, 7);
	await_replies(2);
	assert_int_equal(answered_by(1), 1);
}

/* Truncation and TCP. */

static void a_truncated_answer_is_asked_for_over_tcp(void **state)
{
	(void)state;
	start(2);
	w.server[0].udp = ACT_TRUNCATED;
	for (unsigned i = 0; i < 3; i++) {
		ask("www.example", TYPE_A, (uint16_t)i, 7);
		await_replies(i + 1);
		assert_int_equal(answered_by(i), 1);
		assert_false(is_cut(i));
	}
	assert_int_equal(w.server[0].tcp_count, 3);
	assert_int_equal(w.server[0].accepted, 1); /* RFC 7766 §6.2.1: reused */
	assert_int_equal(w.server[1].count, 0);
	assert_int_equal(stat(STAT_UPSTREAM_TRUNCATED), 3);
	assert_int_equal(atomic_load(&w.stats.server[0].tcp_queries), 3);
}

static void sixty_four_kilobytes_come_over_tcp(void **state)
{
	(void)state;
	start(1);
	w.server[0].udp = ACT_TRUNCATED;
	w.server[0].tcp = ACT_BIG;
	struct message m;
	struct requestor from = requestor_of(7);
	message_query(&m, "www.example", TYPE_A);
	from.tcp = true;
	ask_octets(message_span(&m), &from, 65535);
	await_replies(1);
	assert_int_equal(w.reply[0].len, HEADER_LEN + 17 + 4090 * 16);
	assert_false(is_cut(0));
	/* To a requestor with less room as many whole records go as fit. */
	ask("www.example", TYPE_A, 2, 7);
	await_replies(2);
	assert_true(is_cut(1));
	assert_true(w.reply[1].len <= 4096 && w.reply[1].len > 4000);
}

static void tcp_that_fails_leads_to_the_next_server(void **state)
{
	(void)state;
	start_slow(2);
	w.server[0].udp = ACT_TRUNCATED;
	w.server[0].tcp = ACT_CLOSE;
	ask("www.example", TYPE_A, 1, 7);
	int64_t begun = now_ms();
	await_replies(1);
	assert_int_equal(answered_by(0), 2);
	assert_true(now_ms() - begun < AGES_MS);
	assert_true(failures(0, UPSTREAM_UNREACHABLE) > 0);

	scripted_close_tcp(&w.server[0]);
	ask("www.example", TYPE_A, 2, 7);
	await_replies(2);
	assert_int_equal(answered_by(1), 2);
}

/* musl and others use what there is in a truncated answer; where TCP is filtered it is all there
 * is. */
static void without_tcp_anywhere_the_truncated_answer_is_passed_on(void **state)
{
	(void)state;
	start_slow(1);
	w.server[0].udp = ACT_TRUNCATED;
	scripted_close_tcp(&w.server[0]);
	ask("www.example", TYPE_A, 1, 7);
	int64_t begun = now_ms();
	await_replies(1);
	assert_true(now_ms() - begun < AGES_MS);
	assert_true(is_cut(0));
	assert_int_equal(rcode_of(0), RCODE_NOERROR);
	assert_int_equal(stat(STAT_UPSTREAM_FAILURES), 0);
}

static void garbage_over_tcp_is_not_waited_for_in_vain(void **state)
{
	(void)state;
	start(2);
	w.server[0].udp = ACT_TRUNCATED;
	w.server[0].tcp = ACT_GARBAGE;
	ask("www.example", TYPE_A, 1, 7);
	await_replies(1);
	assert_int_equal(answered_by(0), 2);
	w.server[0].tcp = ACT_CUT;
	ask("www.example", TYPE_A, 2, 7);
	await_replies(2);
	assert_int_equal(answered_by(1), 2);
	assert_int_equal(failures(0, UPSTREAM_MALFORMED), 1);
	/* A connection on which an answer stayed out is not used again. */
	w.server[0].tcp = ACT_ANSWER;
	unsigned accepted = w.server[0].accepted;
	ask("www.example", TYPE_A, 3, 7);
	await_replies(3);
	assert_int_equal(answered_by(2), 1);
	assert_true(w.server[0].accepted >= accepted);
}

static void a_connection_that_the_server_closed_is_opened_again(void **state)
{
	(void)state;
	start(1);
	w.server[0].udp = ACT_TRUNCATED;
	for (unsigned i = 0; i < 5; i++) {
		ask("www.example", TYPE_A, (uint16_t)i, 7);
		await_replies(i + 1);
		assert_int_equal(answered_by(i), 1);
		scripted_hang_up_all(&w.server[0]);
		/* Twice the closing is seen before the next query, else it crosses it. */
		if (i % 2) {
			run_for(20);
		}
	}
	assert_int_equal(w.server[0].accepted, 5);
	assert_int_equal(w.server[0].tcp_count, 5);
}

static void a_query_that_meets_a_closing_connection_is_repeated(void **state)
{
	(void)state;
	start_slow(1);
	w.server[0].udp = ACT_TRUNCATED;
	w.server[0].tcp_answers = 1;
	for (unsigned i = 0; i < 4; i++) {
		ask("www.example", TYPE_A, (uint16_t)i, 7);
		await_replies(i + 1);
		assert_int_equal(answered_by(i), 1);
	}
	assert_int_equal(w.server[0].accepted, 4);
	assert_int_equal(w.server[0].tcp_count, 7);
}

static void queries_share_a_connection_and_answers_come_in_any_order(void **state)
{
	(void)state;
	enum { QUERIES = 8 };
	start(1);
	w.server[0].udp = ACT_TRUNCATED;
	w.server[0].tcp = ACT_HOLD;
	for (uint16_t i = 0; i < QUERIES; i++) {
		ask("www.example", (uint16_t)(300 + i), i, 7);
	}
	await_seen(&w.server[0], 2 * QUERIES);
	assert_int_equal(w.server[0].accepted, 1);
	for (unsigned i = w.server[0].count; i > 0; i--) {
		if (w.server[0].seen[i - 1].tcp) {
			scripted_say(&w.server[0], &w.server[0].seen[i - 1], ACT_SERVFAIL);
		}
	}
	await_replies(QUERIES);
	assert_true(octets_u16(w.reply[0].octets) > octets_u16(w.reply[QUERIES - 1].octets));
}

/* OPT. */

/* c-ares 1.18 takes the last 11 octets off the query and OPT off the whole channel. */
static void a_server_that_knows_no_opt_is_asked_again_without(void **state)
{
	(void)state;
	start(2);
	w.server[0].udp = ACT_FORMERR_ON_OPT;
	ask("www.example", TYPE_A, 1, 7);
	await_replies(1);
	assert_int_equal(answered_by(0), 1);
	assert_int_equal(w.server[0].count, 2);
	const struct seen *q = w.server[0].seen;
	assert_int_equal(q[0].len, HEADER_LEN + 17 + OPT_LEN);
	assert_int_equal(q[1].len, HEADER_LEN + 17);
	assert_int_equal(octets_u16(q[1].octets + 10), 0);
	assert_memory_equal(q[0].octets + 2, q[1].octets + 2, 8);
	assert_memory_equal(q[0].octets + HEADER_LEN, q[1].octets + HEADER_LEN, 17);
	/* The requestor has its OPT nevertheless. */
	assert_int_equal(octets_u16(w.reply[0].octets + 10), 1);

	/* It is remembered, for this server alone. */
	ask("other.example", TYPE_A, 2, 7);
	await_replies(2);
	assert_int_equal(w.server[0].count, 3);
	assert_int_equal(w.server[0].seen[2].len, HEADER_LEN + 19);
	w.server[0].udp = ACT_SERVFAIL;
	ask("www.example", TYPE_A, 3, 7);
	await_replies(3);
	assert_true(scripted_has_opt(&w.server[1].seen[0]));
}

static void a_server_gets_another_chance_with_opt(void **state)
{
	(void)state;
	start(1);
	w.server[0].udp = ACT_FORMERR_ON_OPT;
	ask("www.example", TYPE_A, 1, 7);
	await_replies(1);
	w.server[0].udp = ACT_ANSWER;
	for (unsigned i = 1; i <= 4; i++) {
		clock_ahead += 100;
		ask("www.example", TYPE_A, 1, 7);
		await_replies(i + 1);
		assert_int_equal(scripted_has_opt(&w.server[0].seen[i + 1]), i >= 3);
	}
}

static void formerr_to_one_query_takes_nothing_from_others(void **state)
{
	(void)state;
	start(1);
	w.server[0].udp = ACT_FORMERR;
	ask("www.example", TYPE_A, 1, 7);
	await_replies(1);
	assert_int_equal(rcode_of(0), RCODE_FORMERR);
	assert_int_equal(w.server[0].count, 2);
	w.server[0].udp = ACT_ANSWER;
	for (unsigned i = 1; i < 20; i++) {
		ask("www.example", TYPE_A, 2, 7);
		await_replies(i + 1);
		const struct seen *q = &w.server[0].seen[w.server[0].count - 1];
		assert_int_equal(q->len, HEADER_LEN + 17 + OPT_LEN);
		assert_memory_equal(
			q->octets + q->len - OPT_LEN, "\0\0\x29\x04\xd0\0\0\0\0\0\0", OPT_LEN);
	}
}

static void formerr_over_tcp_takes_nothing_from_the_query(void **state)
{
	(void)state;
	start(1);
	w.server[0].udp = ACT_TRUNCATED;
	w.server[0].tcp = ACT_FORMERR_ON_OPT;
	ask("www.example", TYPE_A, 1, 7);
	await_replies(1);
	assert_int_equal(answered_by(0), 1);
	const struct seen *q = &w.server[0].seen[2];
	assert_int_equal(w.server[0].count, 3);
	assert_true(q->tcp);
	assert_int_equal(q->len, HEADER_LEN + 17);
	assert_int_equal(w.server[0].accepted, 1);
}

/* Failing over. */

static void errors_of_a_server_lead_to_the_next_at_once(void **state)
{
	(void)state;
	static const struct {
		enum act act;
		enum upstream_failure why;
	} table[] = {
		{ACT_SERVFAIL, UPSTREAM_SERVFAIL},
		{ACT_SERVFAIL_BARE, UPSTREAM_SERVFAIL},
		{ACT_REFUSED, UPSTREAM_REFUSED},
		{ACT_NOTIMP, UPSTREAM_REFUSED},
		{ACT_CUT, UPSTREAM_MALFORMED},
	};
	start_slow(2);
	for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		uint64_t before = failures(0, table[i].why);
		int64_t begun = now_ms();
		w.server[0].udp = table[i].act;
		ask("www.example", TYPE_A, (uint16_t)i, 7);
		await_replies(i + 1);
		assert_int_equal(answered_by(i), 2);
		assert_true(now_ms() - begun < AGES_MS);
		assert_int_equal(failures(0, table[i].why), before + 1);
	}
	assert_int_equal(stat(STAT_UPSTREAM_FAILURES), 0);
}

static void garbage_is_dropped_and_the_next_server_asked(void **state)
{
	(void)state;
	start(2);
	w.server[0].udp = ACT_GARBAGE;
	ask("www.example", TYPE_A, 1, 7);
	await_replies(1);
	assert_int_equal(answered_by(0), 2);
	assert_int_equal(stat(STAT_UPSTREAM_MISMATCHED), 1);
}

static void the_servers_own_error_is_passed_on_when_all_fail(void **state)
{
	(void)state;
	start_slow(3);
	w.server[0].udp = ACT_REFUSED;
	w.server[1].udp = ACT_SERVFAIL;
	w.server[2].udp = ACT_NOTIMP;
	int64_t begun = now_ms();
	ask("www.example", TYPE_A, 1, 7);
	await_replies(1);
	assert_true(now_ms() - begun < AGES_MS);
	assert_int_equal(rcode_of(0), RCODE_SERVFAIL);
	assert_int_equal(ede_of(0), -1);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(w.server[i].count, 1);
	}
	w.server[1].udp = ACT_CUT;
	w.server[2].udp = ACT_REFUSED;
	ask("www.example", TYPE_A, 2, 7);
	await_replies(2);
	assert_int_equal(rcode_of(1), RCODE_REFUSED);
	assert_int_equal(stat(STAT_UPSTREAM_FAILURES), 0);
	assert_int_equal(stat(STAT_OTHER_RCODE), 1);
}

static void a_refused_port_leads_to_the_next_server_at_once(void **state)
{
	(void)state;
	start_slow(2);
	scripted_close_udp(&w.server[0]);
	for (unsigned i = 0; i < 5; i++) {
		int64_t begun = now_ms();
		ask("www.example", TYPE_A, (uint16_t)i, 7);
		await_replies(i + 1);
		assert_int_equal(answered_by(i), 2);
		assert_true(now_ms() - begun < AGES_MS);
	}
	assert_int_equal(failures(0, UPSTREAM_UNREACHABLE), 5);
	assert_int_equal(failures(0, UPSTREAM_TIMEOUT), 0);
}

static void an_icmp_error_fails_only_what_went_through_its_socket(void **state)
{
	(void)state;
	start_slow(1);
	w.server[0].udp = ACT_HOLD;
	for (uint16_t i = 0; i < 40; i++) {
		ask("www.example", (uint16_t)(300 + i), i, 7);
	}
	await_seen(&w.server[0], 40);
	/* The server goes; the next query finds out, and no other but those on its socket. */
	int udp = w.server[0].udp_fd;
	event_del(w.server[0].udp_event);
	struct endpoint at = w.server[0].at;
	close(udp);
	ask("last.example", TYPE_A, 99, 7);
	int64_t patience = now_ms() + PATIENCE_MS;
	while (w.count == 0 && now_ms() < patience) {
		turn();
	}
	run_for(20);
	assert_true(w.count > 0);
	assert_true(w.count < 10);
	assert_true(forward_waiting(w.forward) > 30);
	/* Back on its port, it answers the others. */
	w.server[0].udp_fd = scripted_bind(&w.server[0], SOCK_DGRAM);
	assert_true(w.server[0].udp_fd >= 0);
	assert_true(endpoint_equal(&at, &w.server[0].at));
	unsigned failed = w.count;
	for (unsigned i = 0; i < 40; i++) {
		scripted_say(&w.server[0], &w.server[0].seen[i], ACT_ANSWER);
	}
	await_replies(41);
	for (unsigned i = 0; i < 41; i++) {
		assert_int_equal(rcode_of(i), i < failed ? RCODE_SERVFAIL : RCODE_NOERROR);
	}
}

static void servers_that_are_all_refused_are_a_network_error(void **state)
{
	(void)state;
	start_slow(2);
	scripted_close_udp(&w.server[0]);
	scripted_close_udp(&w.server[1]);
	int64_t begun = now_ms();
	ask("www.example", TYPE_AAAA, 1, 7);
	await_replies(1);
	assert_true(now_ms() - begun < AGES_MS);
	assert_int_equal(rcode_of(0), RCODE_SERVFAIL);
	assert_int_equal(ede_of(0), EDE_NETWORK_ERROR);
	assert_int_equal(stat(STAT_UPSTREAM_FAILURES), 1);
	assert_int_equal(stat(STAT_SERVFAIL), 1);
	assert_int_equal(stat(STAT_UPSTREAM_AAAA), 1);
}

static void no_server_at_all_is_a_network_error(void **state)
{
	(void)state;
	start(0);
	ask("www.example", TYPE_A, 1, 7);
	assert_int_equal(w.count, 1);
	assert_int_equal(rcode_of(0), RCODE_SERVFAIL);
	assert_int_equal(ede_of(0), EDE_NETWORK_ERROR);
}

static void a_silent_server_costs_one_try(void **state)
{
	(void)state;
	start(2);
	w.server[0].udp = ACT_SILENT;
	int64_t begun = now_ms();
	ask("www.example", TYPE_A, 1, 7);
	await_replies(1);
	int64_t took = w.reply[0].at_ms - begun;
	assert_int_equal(answered_by(0), 2);
	assert_in_range(took, TRY_MS, TIMEOUT_MS - 1);
	assert_int_equal(failures(0, UPSTREAM_TIMEOUT), 1);
}

static void a_query_whose_next_try_failed_holds_up_no_other(void **state)
{
	(void)state;
	w.conf.forward_timeout_ms = AGES_MS;
	start(2);
	w.server[0].udp = ACT_SILENT;
	ask("www.example", TYPE_A, 1, 7);
	await_seen(&w.server[0], 1);
	struct rlimit old;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	const struct rlimit none = {.rlim_cur = 3, .rlim_max = old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	int64_t patience = now_ms() + PATIENCE_MS;
	while (failures(1, UPSTREAM_UNREACHABLE) == 0 && now_ms() < patience) {
		turn();
	}
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(w.count, 0);
	int64_t begun = now_ms();
	ask("other.example", TYPE_A, 2, 7);
	await_replies(1);
	assert_true(now_ms() - begun < AGES_MS / 2);
	assert_int_equal(octets_u16(w.reply[0].octets), 2);
}

static void a_server_that_stays_silent_is_no_longer_asked_first(void **state)
{
	(void)state;
	start(2);
	w.server[0].udp = ACT_SILENT;
	for (unsigned i = 0; i < 3; i++) {
		ask("www.example", TYPE_A, (uint16_t)i, 7);
		await_replies(i + 1);
	}
	ask("www.example", TYPE_A, 3, 7);
	await_replies(4);
	assert_int_equal(answered_by(3), 2);
	assert_int_equal(w.server[0].count, 3);
	/* When the other one fails, it is asked and may be back. */
	w.server[0].udp = ACT_ANSWER;
	w.server[1].udp = ACT_SERVFAIL;
	ask("www.example", TYPE_A, 4, 7);
	await_replies(5);
	assert_int_equal(answered_by(4), 1);
	ask("www.example", TYPE_A, 5, 7);
	await_replies(6);
	assert_int_equal(w.server[1].count, 5);
}

static void one_query_finds_out_whether_a_silent_server_is_back(void **state)
{
	(void)state;
	start(2);
	w.server[0].udp = ACT_SILENT;
	for (unsigned i = 0; i < 3; i++) {
		ask("www.example", TYPE_A, 1, 7);
		await_replies(i + 1);
	}
	w.server[0].udp = ACT_HOLD;
	clock_ahead += 6;
	ask("probe.example", TYPE_A, 1, 7);
	ask("other.example", TYPE_A, 2, 7);
	await_replies(2 + 2);
	assert_int_equal(w.server[0].count, 4);
	clock_ahead += 6;
	w.server[0].udp = ACT_ANSWER;
	for (unsigned i = 4; i < 7; i++) {
		ask("www.example", TYPE_A, 3, 7);
		await_replies(i + 1);
		assert_int_equal(answered_by(i), 1);
	}
}

static void a_late_answer_still_counts(void **state)
{
	(void)state;
	start(2);
	w.server[0].udp = ACT_HOLD;
	w.server[1].udp = ACT_HOLD;
	ask("www.example", TYPE_A, 1, 7);
	await_seen(&w.server[1], 1);
	scripted_say(&w.server[0], &w.server[0].seen[0], ACT_ANSWER);
	await_replies(1);
	assert_int_equal(answered_by(0), 1);
	/* And the other one, later still, belongs to nothing. */
	scripted_say(&w.server[1], &w.server[1].seen[0], ACT_ANSWER);
	run_for(20);
	assert_int_equal(w.count, 1);
	assert_int_equal(stat(STAT_UPSTREAM_MISMATCHED), 1);
	assert_int_equal(stat(STAT_TRANSACTIONS_NOW), 0);
}

static void silence_of_all_ends_at_the_deadline(void **state)
{
	(void)state;
	start(2);
	w.server[0].udp = ACT_SILENT;
	w.server[1].udp = ACT_SILENT;
	int64_t begun = now_ms();
	ask("www.example", TYPE_A, 1, 7);
	await_replies(1);
	int64_t took = w.reply[0].at_ms - begun;
	assert_in_range(took, TIMEOUT_MS, TIMEOUT_MS + 1000);
	assert_int_equal(rcode_of(0), RCODE_SERVFAIL);
	assert_int_equal(ede_of(0), EDE_NO_REACHABLE_AUTHORITY);
	/* In turn, each time from another port and with another ID. */
	assert_in_range(w.server[0].count, 2, 3);
	assert_in_range(w.server[1].count, 1, 3);
	const struct seen *q = w.server[0].seen;
	assert_int_not_equal(q[0].port, q[1].port);
	assert_int_not_equal(q[0].id, q[1].id);
	assert_int_equal(stat(STAT_UPSTREAM_FAILURES), 1);
	assert_int_equal(stat(STAT_TRANSACTIONS_NOW), 0);
}

static void an_error_and_silence_end_with_the_error(void **state)
{
	(void)state;
	start(2);
	w.server[0].udp = ACT_REFUSED;
	w.server[1].udp = ACT_SILENT;
	ask("www.example", TYPE_A, 1, 7);
	await_replies(1);
	assert_int_equal(rcode_of(0), RCODE_REFUSED);
	assert_true(w.server[0].count <= 4);
}

/* conntrack may have tied the port to a server that is gone. */
static void a_port_without_an_answer_is_abandoned(void **state)
{
	(void)state;
	static bool silent[65536];
	memset(silent, 0, sizeof(silent));
	start(1);
	w.server[0].udp = ACT_SILENT;
	ask("www.example", TYPE_A, 1, 7);
	await_replies(1);
	unsigned lost = w.server[0].count;
	for (unsigned i = 0; i < lost; i++) {
		silent[w.server[0].seen[i].port] = true;
	}
	w.server[0].udp = ACT_ANSWER;
	for (unsigned i = 1; i < 400; i++) {
		ask("www.example", TYPE_A, 1, 7);
		await_replies(i + 1);
		assert_false(silent[w.server[0].seen[w.server[0].count - 1].port]);
	}
}

/* Joining. */

static void one_question_is_asked_once(void **state)
{
	(void)state;
	start(1);
	w.server[0].udp = ACT_HOLD;
	ask("www.example", TYPE_A, 1, 7);
	ask("WWW.example", TYPE_A, 2, 8);
	ask("www.EXAMPLE", TYPE_A, 1, 9);
	await_seen(&w.server[0], 1);
	assert_int_equal(forward_waiting(w.forward), 3);
	scripted_say(&w.server[0], &w.server[0].seen[0], ACT_ANSWER);
	await_replies(3);
	assert_int_equal(w.server[0].count, 1);
	static const char *const spelled[] = {"\3www\7example", "\3WWW\7example", "\3www\7EXAMPLE"};
	static const uint16_t ids[] = {1, 2, 1};
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(octets_u16(w.reply[i].octets), ids[i]);
		assert_memory_equal(w.reply[i].octets + HEADER_LEN, spelled[i], 13);
		assert_int_equal(ntohs(w.reply[i].to.peer.in.sin_port), 7 + i);
		assert_int_equal(answered_by(i), 1);
	}
	assert_int_equal(stat(STAT_TRANSACTIONS), 1);
	assert_int_equal(stat(STAT_TRANSACTIONS_JOINED), 2);
	assert_int_equal(stat(STAT_UPSTREAM_A), 3);
}

static void who_joins_gets_the_answer_that_fits(void **state)
{
	(void)state;
	start(1);
	w.server[0].udp = ACT_HOLD;
	struct message m;
	struct requestor from = requestor_of(8);
	ask("www.example", TYPE_A, 1, 7);
	message_query(&m, "www.example", TYPE_A);
	ask_octets(message_span(&m), &from, 512);
	await_seen(&w.server[0], 1);
	scripted_say(&w.server[0], &w.server[0].seen[0], ACT_BIG);
	await_replies(2);
	assert_int_equal(w.server[0].count, 1);
	assert_true(w.reply[0].len > 4000);
	assert_true(w.reply[1].len <= 512);
	assert_true(is_cut(1));
	assert_int_equal(octets_u16(w.reply[1].octets + 10), 0); /* no OPT: none was sent */
}

static void questions_that_differ_are_not_joined(void **state)
{
	(void)state;
	static const uint16_t flags[] = {FLAG_RD, 0, FLAG_RD | FLAG_AD, FLAG_RD | FLAG_CD};
	start(1);
	w.server[0].udp = ACT_HOLD;
	struct message m;
	for (uint16_t i = 0; i < 4; i++) {
		struct requestor from = requestor_of((uint16_t)(7 + i));
		message_begin(&m, flags[i]);
		message_question(&m, "www.example", TYPE_A);
		ask_octets(message_span(&m), &from, 512);
	}
	struct requestor from = requestor_of(20);
	message_query(&m, "www.example", TYPE_A);
	message_opt(&m, (struct opt){.size = 1232, .edns_do = true});
	ask_octets(message_span(&m), &from, 1232);
	ask("www.example", TYPE_AAAA, 1, 21);
	ask("ww.example", TYPE_A, 1, 22);
	await_seen(&w.server[0], 7);
	assert_int_equal(stat(STAT_TRANSACTIONS_JOINED), 0);
	for (unsigned i = 0; i < 4; i++) {
		/* RFC 6840 §5.7: AD is always asked for */
		assert_int_equal(
			octets_u16(w.server[0].seen[i].octets + 2) & ~FLAG_QR, flags[i] | FLAG_AD);
	}
	const struct seen *with_do = &w.server[0].seen[4];
	assert_int_equal(with_do->octets[with_do->len - 4], 0x80);
}

/* RFC 7871 §7.3.1 */
static void questions_for_different_subnets_are_not_joined(void **state)
{
	(void)state;
	static const char *const subnets[] = {
		"\0\10\0\7\0\1\30\0\300\0\2", "\0\10\0\7\0\1\30\0\300\0\3"};
	start(1);
	w.server[0].udp = ACT_HOLD;
	ask("www.example", TYPE_A, 1, 7);
	for (uint16_t i = 0; i < 3; i++) {
		struct message m;
		struct requestor from = requestor_of((uint16_t)(8 + i));
		message_query(&m, "www.example", TYPE_A);
		message_opt(
			&m, (struct opt){.size = 1232, .rdata = subnets[i % 2], .rdata_len = 11});
		ask_octets(message_span(&m), &from, 1232);
	}
	await_seen(&w.server[0], 3);
	assert_int_equal(stat(STAT_TRANSACTIONS_JOINED), 1);
	for (unsigned i = 1; i < 3; i++) {
		const struct seen *q = &w.server[0].seen[i];
		assert_memory_equal(q->octets + q->len - 11, subnets[i - 1], 11);
	}
}

static void a_retransmission_gets_no_second_answer(void **state)
{
	(void)state;
	start(1);
	w.server[0].udp = ACT_HOLD;
	ask("www.example", TYPE_A, 1, 7);
	ask("www.example", TYPE_A, 1, 7);
	ask("www.example", TYPE_AAAA, 1, 7); /* the same ID, but another question */
	await_seen(&w.server[0], 2);
	assert_int_equal(forward_waiting(w.forward), 2);
	for (unsigned i = 0; i < 2; i++) {
		scripted_say(&w.server[0], &w.server[0].seen[i], ACT_NXDOMAIN);
	}
	await_replies(2);
	run_for(20);
	assert_int_equal(w.count, 2);
	/* Once answered, it is a new query. */
	w.server[0].udp = ACT_ANSWER;
	ask("www.example", TYPE_A, 1, 7);
	await_replies(3);
}

static void many_requestors_of_one_question_are_all_answered(void **state)
{
	(void)state;
	start(1);
	w.server[0].udp = ACT_HOLD;
	for (uint16_t i = 0; i < 512; i++) {
		ask("www.example", TYPE_A, i, (uint16_t)(1000 + i % 16));
	}
	await_seen(&w.server[0], 1);
	scripted_say(&w.server[0], &w.server[0].seen[0], ACT_ANSWER);
	await_replies(512);
	assert_int_equal(forward_waiting(w.forward), 0);
}

/* Signed queries. */

static void signed_query(struct message *m, uint16_t id, uint16_t signature_len)
{
	static uint8_t rdata[1400];
	message_query(m, "www.example", TYPE_A);
	octets_put_u16(m->octets, id);
	message_record(m, 3, "key.example", 250, 0, rdata, signature_len);
}

static void a_signed_query_passes_octet_for_octet(void **state)
{
	(void)state;
	start(1);
	/* Over 512 octets c-ares would go to TCP by itself. */
	struct message m;
	struct requestor from = requestor_of(7);
	struct requestor other = requestor_of(8);
	signed_query(&m, 77, 700);
	w.server[0].udp = ACT_HOLD;
	ask_octets(message_span(&m), &from, 4096);
	ask_octets(message_span(&m), &other, 4096);
	ask("www.example", TYPE_A, 77, 9);
	await_seen(&w.server[0], 3);
	assert_int_equal(stat(STAT_TRANSACTIONS_JOINED), 0);
	for (unsigned i = 0; i < 2; i++) {
		struct seen *q = &w.server[0].seen[i];
		assert_false(q->tcp);
		assert_int_equal(q->len, m.w.len);
		assert_memory_equal(q->octets + 2, m.octets + 2, m.w.len - 2);
		scripted_say(&w.server[0], q, ACT_NXDOMAIN);
	}
	await_replies(2);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(octets_u16(w.reply[i].octets), 77);
		assert_int_equal(
			w.reply[i].len, HEADER_LEN + 17 + OPT_LEN); /* as the server sent it */
		assert_int_equal(rcode_of(i), RCODE_NXDOMAIN);
	}
}

static void a_signed_answer_that_does_not_fit_is_its_question_and_tc(void **state)
{
	(void)state;
	start(1);
	w.server[0].udp = ACT_BIG;
	struct message m;
	struct requestor from = requestor_of(7);
	signed_query(&m, 77, 16);
	ask_octets(message_span(&m), &from, 512);
	await_replies(1);
	assert_int_equal(w.reply[0].len, HEADER_LEN + 17);
	assert_true(is_cut(0));
	assert_memory_equal(w.reply[0].octets + 4, "\0\1\0\0\0\0\0\0", 8);
}

static void a_query_too_large_for_a_datagram_goes_over_tcp(void **state)
{
	(void)state;
	start(1);
	struct message m;
	struct requestor from = requestor_of(7);
	signed_query(&m, 77, 1300);
	ask_octets(message_span(&m), &from, 4096);
	await_replies(1);
	assert_int_equal(w.server[0].tcp_count, 1);
	assert_int_equal(w.server[0].count, 1);
	assert_int_equal(w.server[0].seen[0].len, m.w.len);
}

/* Limits and the end. */

static void over_the_limit_the_answer_is_servfail_at_once(void **state)
{
	(void)state;
	w.conf.transactions_max = 4;
	start(1);
	w.server[0].udp = ACT_HOLD;
	for (uint16_t i = 0; i < 6; i++) {
		ask("www.example", (uint16_t)(300 + i), i, 7);
	}
	assert_int_equal(w.count, 2);
	assert_int_equal(rcode_of(0), RCODE_SERVFAIL);
	assert_int_equal(octets_u16(w.reply[0].octets), 4);
	assert_int_equal(stat(STAT_TRANSACTIONS_REFUSED), 2);
	assert_int_equal(stat(STAT_TRANSACTIONS_NOW), 4);
	ask("www.example", 300, 50, 8); /* no room for another who waits, either */
	assert_int_equal(w.count, 3);
	await_seen(&w.server[0], 4);
	scripted_say(&w.server[0], &w.server[0].seen[0], ACT_ANSWER);
	await_replies(4);
	ask("www.example", 400, 1, 7);
	assert_int_equal(w.count, 4);
	assert_int_equal(forward_waiting(w.forward), 4);
}

static void attempts_that_nobody_waits_for_take_no_room(void **state)
{
	(void)state;
	/* Each transaction leaves one unanswered query behind. */
	w.conf.transactions_max = 1;
	w.conf.forward_try_ms = 2;
	start(2);
	w.server[0].udp = ACT_SILENT;
	w.server[0].tcp = ACT_SILENT;
	for (unsigned i = 0; i < 100; i++) {
		clock_ahead += 6; /* or the silent server would not be asked */
		ask("www.example", TYPE_A, (uint16_t)i, 7);
		await_replies(i + 1);
		assert_int_equal(answered_by(i), 2);
	}
	assert_int_equal(w.server[0].count, 100);
}

static void closing_answers_everyone(void **state)
{
	(void)state;
	start(2);
	w.server[0].udp = ACT_SILENT;
	w.server[1].udp = ACT_TRUNCATED;
	w.server[1].tcp = ACT_SILENT;
	for (uint16_t i = 0; i < 20; i++) {
		ask("www.example", (uint16_t)(300 + i / 2), i, 7);
	}
	await_seen(&w.server[1], 20); /* with queries in flight over UDP and TCP */
	w.follow_ups = 1;
	forward_close(w.forward);
	w.forward = NULL;
	assert_int_equal(w.count, 21);
	for (unsigned i = 0; i < w.count; i++) {
		assert_int_equal(rcode_of(i), RCODE_SERVFAIL);
		assert_int_equal(ede_of(i), EDE_NETWORK_ERROR);
	}
}

static void a_reply_may_bring_the_next_query(void **state)
{
	(void)state;
	start(1);
	w.server[0].udp = ACT_HOLD;
	ask("www.example", TYPE_A, 1, 7);
	ask("www.example", TYPE_A, 2, 8);
	await_seen(&w.server[0], 1);
	w.follow_ups = 2;
	w.server[0].udp = ACT_ANSWER;
	scripted_say(&w.server[0], &w.server[0].seen[0], ACT_ANSWER);
	await_replies(4);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(answered_by(i), 1);
	}
	/* Also where it is refused at once, inside the reply. */
	w.follow_ups = 1;
	scripted_close_udp(&w.server[0]);
	ask("www.example", TYPE_A, 3, 7);
	await_replies(6);
}

static void nothing_stays_armed_when_nothing_is_asked(void **state)
{
	(void)state;
	start(1);
	int before = event_base_get_num_events(w.base, EVENT_BASE_COUNT_ADDED);
	w.server[0].udp = ACT_TRUNCATED;
	w.server[0].close_after = true;
	ask("www.example", TYPE_A, 1, 7);
	await_replies(1);
	run_for(2 * TRY_MS);
	/* What is left: the socket of the pool, and the housekeeping that will close it. */
	assert_int_equal(event_base_get_num_events(w.base, EVENT_BASE_COUNT_ADDED), before + 2);
}

#define test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(an_answer_has_the_id_and_the_spelling_of_the_requestor),
		test(a_query_has_our_opt_and_no_options),
		test(names_of_any_octets_are_forwarded),
		test(an_ipv6_server_is_asked),
		test(nxdomain_is_an_answer),
		test(a_long_datagram_is_not_cut),
		test(forged_datagrams_are_dropped),
		test(an_answer_from_another_port_is_not_taken),
		test(an_answer_to_another_of_our_ports_is_not_taken),
		test(a_second_answer_is_dropped),
		test(ports_and_ids_are_hard_to_guess),
		test(a_port_is_replaced_after_256_queries),
		test(without_any_descriptor_the_answer_is_servfail),
		test(a_truncated_answer_is_asked_for_over_tcp),
		test(sixty_four_kilobytes_come_over_tcp),
		test(tcp_that_fails_leads_to_the_next_server),
		test(without_tcp_anywhere_the_truncated_answer_is_passed_on),
		test(garbage_over_tcp_is_not_waited_for_in_vain),
		test(a_connection_that_the_server_closed_is_opened_again),
		test(a_query_that_meets_a_closing_connection_is_repeated),
		test(queries_share_a_connection_and_answers_come_in_any_order),
		test(a_server_that_knows_no_opt_is_asked_again_without),
		test(a_server_gets_another_chance_with_opt),
		test(formerr_to_one_query_takes_nothing_from_others),
		test(formerr_over_tcp_takes_nothing_from_the_query),
		test(errors_of_a_server_lead_to_the_next_at_once),
		test(garbage_is_dropped_and_the_next_server_asked),
		test(the_servers_own_error_is_passed_on_when_all_fail),
		test(a_refused_port_leads_to_the_next_server_at_once),
		test(an_icmp_error_fails_only_what_went_through_its_socket),
		test(servers_that_are_all_refused_are_a_network_error),
		test(no_server_at_all_is_a_network_error),
		test(a_silent_server_costs_one_try),
		test(a_query_whose_next_try_failed_holds_up_no_other),
		test(a_server_that_stays_silent_is_no_longer_asked_first),
		test(one_query_finds_out_whether_a_silent_server_is_back),
		test(a_late_answer_still_counts),
		test(silence_of_all_ends_at_the_deadline),
		test(an_error_and_silence_end_with_the_error),
		test(a_port_without_an_answer_is_abandoned),
		test(one_question_is_asked_once),
		test(who_joins_gets_the_answer_that_fits),
		test(questions_that_differ_are_not_joined),
		test(questions_for_different_subnets_are_not_joined),
		test(a_retransmission_gets_no_second_answer),
		test(many_requestors_of_one_question_are_all_answered),
		test(a_signed_query_passes_octet_for_octet),
		test(a_signed_answer_that_does_not_fit_is_its_question_and_tc),
		test(a_query_too_large_for_a_datagram_goes_over_tcp),
		test(over_the_limit_the_answer_is_servfail_at_once),
		test(attempts_that_nobody_waits_for_take_no_room),
		test(closing_answers_everyone),
		test(a_reply_may_bring_the_next_query),
		test(nothing_stays_armed_when_nothing_is_asked),
	};
	return cmocka_run_group_tests_name("forward", tests, NULL, NULL);
}
