/* SPDX-License-Identifier: Apache-2.0
 *
 * Transactions against scripted name servers on the loopback: what requestors get, when, and what
 * the servers see of it. Each trap of c-ares that is known has its test here or in test_upstream.c.
 */
#include "tests/forwarding.h"

#include "dns/serve/answer.h"

#include <sys/resource.h>

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
	assert_int_equal(report_of(0).udp_queries, 1);
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
	vt_settle();
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
	assert_int_equal(report_of(0).tcp_queries, 3);
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
	start(2);
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
	start(1);
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
	start(1);
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
	/* Probes find out; as long as it stumbles over them, it is asked without. */
	for (unsigned i = 1; i <= 4; i++) {
		w.server[0].udp = i < 3 ? ACT_FORMERR_ON_OPT : ACT_ANSWER;
		run_for(100000);
		ask("www.example", TYPE_A, 1, 7);
		await_replies(i + 1);
		run_for(20000);
		assert_int_equal(scripted_has_opt(&w.server[0].seen[i + 1]), i > 3);
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
	start(2);
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
	start(3);
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
	start(2);
	scripted_close_udp(&w.server[0]);
	for (unsigned i = 0; i < 5; i++) {
		int64_t begun = now_ms();
		ask("www.example", TYPE_A, (uint16_t)i, 7);
		await_replies(i + 1);
		assert_int_equal(answered_by(i), 2);
		assert_int_equal(now_ms(), begun);
	}
	/* Nobody is there: after that it comes last. */
	assert_int_equal(failures(0, UPSTREAM_UNREACHABLE), HEALTH_MISSES);
	assert_int_equal(failures(0, UPSTREAM_TIMEOUT), 0);
}

static void an_icmp_error_fails_only_what_went_through_its_socket(void **state)
{
	(void)state;
	start(1);
	w.server[0].tcp = ACT_CLOSE; /* or it would be the way out */
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
	vt_await(&w.count, 1, PATIENCE_MS);
	vt_settle();
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
	start(2);
	scripted_close_udp(&w.server[0]);
	scripted_close_udp(&w.server[1]);
	w.server[0].tcp = ACT_CLOSE;
	w.server[1].tcp = ACT_CLOSE;
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

/* The next one is asked as soon as the answer is late, not after the time for a try. */
static void a_silent_server_costs_one_hedge(void **state)
{
	(void)state;
	start(2);
	w.server[0].udp = ACT_SILENT;
	int64_t begun = now_ms();
	ask("www.example", TYPE_A, 1, 7);
	await_replies(1);
	int64_t took = w.reply[0].at_ms - begun;
	assert_int_equal(answered_by(0), 2);
	assert_in_range(took, HEALTH_HEDGE_FIRST_MS, HEALTH_HEDGE_FIRST_MS + 1);
	assert_int_equal(w.server[0].count, 1);
	assert_int_equal(report_of(1).hedges, 1);
	assert_int_equal(report_of(0).hedges, 0);
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
	run_for(HEALTH_HEDGE_FIRST_MS + 1);
	assert_int_equal(failures(1, UPSTREAM_UNREACHABLE), 1);
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

/* Queries of requestors find that out only where all others fail: there are probes for it. */
static void probes_find_out_whether_a_silent_server_is_back(void **state)
{
	(void)state;
	start(2);
	w.server[0].udp = ACT_SILENT;
	for (unsigned i = 0; i < HEALTH_MISSES; i++) {
		ask("www.example", TYPE_A, 1, 7);
		await_replies(i + 1);
	}
	assert_true(report_of(0).silent);
	assert_int_equal(w.server[0].probes, 0);
	for (unsigned second = 1; second <= 5;
		second++) { /* one each second, while questions come */
		run_for(1000);
		assert_int_equal(w.server[0].probes, second);
		ask("www.example", TYPE_A, 2, 7);
		await_replies(HEALTH_MISSES + second);
		assert_int_equal(answered_by(HEALTH_MISSES + second - 1), 2);
	}
	assert_int_equal(w.server[0].count, HEALTH_MISSES);
	assert_int_equal(report_of(0).probes, 5);
	assert_int_equal(w.server[1].probes, 0);
	w.server[0].udp = ACT_ANSWER;
	run_for(1000);
	assert_false(report_of(0).silent);
	for (unsigned i = w.count; i < 12; i++) { /* the old order at once */
		ask("www.example", TYPE_A, 3, 7);
		await_replies(i + 1);
		assert_int_equal(answered_by(i), 1);
	}
	/* Nothing is asked any more: no probes, either. */
	w.server[0].udp = ACT_SILENT;
	run_for(40000);
	unsigned probes = w.server[0].probes + w.server[1].probes;
	run_for(600000);
	assert_int_equal(w.server[0].probes + w.server[1].probes, probes);
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
	assert_int_equal(stat(STAT_UPSTREAM_MISMATCHED), 0); /* it is known as late */
	assert_int_equal(stat(STAT_TRANSACTIONS_NOW), 0);
}

static void silence_of_all_ends_at_the_deadline(void **state)
{
	(void)state;
	start(2);
	for (unsigned i = 0; i < 2; i++) {
		w.server[i].udp = ACT_SILENT;
		w.server[i].tcp = ACT_SILENT;
	}
	int64_t begun = now_ms();
	ask("www.example", TYPE_A, 1, 7);
	await_replies(1);
	int64_t took = w.reply[0].at_ms - begun;
	assert_in_range(took, TIMEOUT_MS, TIMEOUT_MS + 1);
	assert_int_equal(rcode_of(0), RCODE_SERVFAIL);
	assert_int_equal(ede_of(0), EDE_NO_REACHABLE_AUTHORITY);
	/* In turn, each time from another port and with another ID. */
	assert_in_range(w.server[0].count, 2, 3);
	assert_in_range(w.server[1].count, 2, 3);
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
	w.server[0].tcp = ACT_REFUSED;
	w.server[1].udp = ACT_SILENT;
	w.server[1].tcp = ACT_SILENT;
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
	w.server[0].tcp = ACT_SILENT;
	ask("www.example", TYPE_A, 1, 7);
	await_replies(1);
	unsigned lost = w.server[0].count;
	for (unsigned i = 0; i < lost; i++) {
		silent[w.server[0].seen[i].port] = !w.server[0].seen[i].tcp;
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
	static const uint16_t flags[] = {FLAG_RD, 0, FLAG_RD | FLAG_CD};
	start(1);
	w.server[0].udp = ACT_HOLD;
	struct message m;
	for (uint16_t i = 0; i < 3; i++) {
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
	await_seen(&w.server[0], 6);
	assert_int_equal(stat(STAT_TRANSACTIONS_JOINED), 0);
	for (unsigned i = 0; i < 3; i++) {
		/* RFC 6840 §5.7: AD is always asked for */
		assert_int_equal(
			octets_u16(w.server[0].seen[i].octets + 2) & ~FLAG_QR, flags[i] | FLAG_AD);
	}
	const struct seen *with_do = &w.server[0].seen[3];
	assert_int_equal(with_do->octets[with_do->len - 4], 0x80);
	/* AD is asked for in any case, so who asks for it asks the same. */
	struct requestor last = requestor_of(23);
	message_begin(&m, FLAG_RD | FLAG_AD);
	message_question(&m, "www.example", TYPE_A);
	ask_octets(message_span(&m), &last, 512);
	assert_int_equal(stat(STAT_TRANSACTIONS_JOINED), 1);
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
	/* A transaction leaves one unanswered query behind, as long as the slow server is asked
	 * first.
	 */
	w.conf.transactions_max = 1;
	start(2);
	w.server[0].udp = ACT_DELAYED; /* later than it is waited for */
	w.server[0].delay_ms = HEALTH_HEDGE_MAX_MS + 20;
	for (unsigned i = 0; i < 100; i++) {
		run_for(200); /* it is heard, so it is not taken for silent */
		ask("www.example", TYPE_A, (uint16_t)i, 7);
		await_replies(i + 1);
		assert_int_equal(answered_by(i), 2);
	}
	assert_true(w.server[0].count > 50); /* far more than there is room for */
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
	ask("www.example", TYPE_A, 1, 7);
	await_replies(1);
	/* The socket of the pool, and the connection's two ends. */
	assert_int_equal(event_base_get_num_events(w.base, EVENT_BASE_COUNT_ADDED), before + 3);
	assert_non_null(vt_first());
	run_for(60000);
	assert_int_equal(event_base_get_num_events(w.base, EVENT_BASE_COUNT_ADDED), before);
	assert_null(vt_first());
}

/* The cache. */

/* As a worker does: from the cache, where it has an answer, else from the servers. */
static enum verdict serve_octets(struct span octets, uint16_t port)
{
	static const struct mesh_zones zones;
	static const struct cookie_secret secret;
	static uint8_t response[4096];
	struct writer out = {.data = response, .size = sizeof(response)};
	struct requestor from = requestor_of(port);
	struct answered answered;
	struct query q;
	struct authority authority = {
		.zones = &zones,
		.routes = w.routes,
		.cache = w.cache,
		.prefetch = true,
		.hop = {.secret = &secret, .peer = {.len = 4}},
		.now_ms = now_ms(),
	};
	enum verdict verdict = answer(&q, octets, &authority, 0, &out, &answered);
	if (verdict == VERDICT_FORWARD) {
		forward_query(w.forward, &q, &answered.options, &from, q.udp_size);
		return verdict;
	}
	on_reply(&w, &from, (struct span){response, out.len});
	if (verdict == VERDICT_REFRESH) {
		forward_refresh(w.forward, &q);
	}
	return verdict;
}

static enum verdict serve(const char *name, uint16_t type, uint16_t port)
{
	struct message m;
	message_query(&m, name, type);
	message_opt(&m, (struct opt){.size = 4096});
	octets_put_u16(m.octets, port);
	return serve_octets(message_span(&m), port);
}

/* Serve and wait for the reply. @return how long that took, in ms */
static int64_t served_ms(const char *name)
{
	unsigned count = w.count;
	int64_t begun = now_ms();
	(void)serve(name, TYPE_A, 7);
	await_replies(count + 1);
	return w.reply[count].at_ms - begun;
}

static unsigned last(void)
{
	return w.count - 1;
}

/* TTL of the first answer. */
static uint32_t ttl_of(unsigned reply)
{
	ldns_pkt *packet = packet_of((struct span){w.reply[reply].octets, w.reply[reply].len});
	assert_true(ldns_pkt_ancount(packet) > 0);
	uint32_t ttl = ldns_rr_ttl(ldns_rr_list_rr(ldns_pkt_answer(packet), 0));
	ldns_pkt_free(packet);
	return ttl;
}

/* The extended error of a reply with OPT as its last record; -1 where there is none. */
static int last_ede_of(unsigned reply)
{
	ldns_pkt *packet = packet_of((struct span){w.reply[reply].octets, w.reply[reply].len});
	ldns_rdf *options = ldns_pkt_edns_data(packet);
	int ede = -1;
	if (options && ldns_rdf_size(options) >= 6 && ldns_rdf_data(options)[1] == 15) {
		ede = octets_u16(ldns_rdf_data(options) + 4);
	}
	ldns_pkt_free(packet);
	return ede;
}

static int setup_cache(void **state)
{
	int error = setup(state);
	const struct cache_settings settings = {
		.size = CACHE_SIZE_MIN,
		.seed = 4711,
		.ttl_max = CACHE_TTL_MAX,
		.negative_ttl_max = CACHE_NEGATIVE_TTL_MAX,
		.stale_max = CACHE_STALE_MAX,
		.nxdomain_covers = true,
	};
	w.cache = cache_new(&settings);
	assert_non_null(w.cache);
	w.conf.forward_timeout_ms = 4000;
	w.conf.forward_try_ms = 800;
	w.conf.search_shortcut = true;
	w.conf.cache_nxdomain_covers = true;
	return error;
}

static void silence(void)
{
	w.server[0].udp = ACT_SILENT;
	w.server[0].tcp = ACT_SILENT;
}

static void a_second_question_is_answered_by_the_cache(void **state)
{
	(void)state;
	start(1);
	assert_int_equal(serve("www.example", TYPE_A, 7), VERDICT_FORWARD);
	await_replies(1);
	vt_pass(10000);
	assert_int_equal(serve("WWW.example", TYPE_A, 8), VERDICT_SEND);
	assert_int_equal(w.count, 2);
	assert_int_equal(answered_by(1), 1);
	assert_int_equal(ttl_of(1), 50);
	assert_memory_equal(w.reply[1].octets + HEADER_LEN, "\3WWW\7example", 13);
	assert_int_equal(w.server[0].count, 1);
	vt_pass(50000);
	assert_int_equal(serve("www.example", TYPE_A, 9), VERDICT_FORWARD);
	await_replies(3);
	assert_int_equal(ttl_of(2), 60);
}

/* RFC 8767 §5 */
static void who_waits_for_long_gets_the_old_answer(void **state)
{
	(void)state;
	start(1);
	(void)served_ms("www.example");
	vt_pass(61000);
	w.server[0].udp = ACT_HOLD;
	w.server[0].tcp = ACT_HOLD;
	w.server[0].number = 9;
	int64_t begun = now_ms();
	assert_int_equal(serve("www.example", TYPE_A, 7), VERDICT_FORWARD);
	assert_int_equal(serve("www.example", TYPE_A, 8), VERDICT_FORWARD);
	await_replies(3);
	assert_in_range(now_ms() - begun, ASKING_OVERDUE_MS, ASKING_OVERDUE_MS + 1);
	for (unsigned i = 1; i < 3; i++) {
		assert_int_equal(answered_by(i), 1);
		assert_int_equal(ttl_of(i), CACHE_STALE_TTL);
		assert_int_equal(last_ede_of(i), EDE_STALE_ANSWER);
	}
	assert_int_equal(forward_waiting(w.forward), 0);
	/* Who comes now waits no more, and it is still being asked. */
	assert_int_equal(serve("www.example", TYPE_A, 9), VERDICT_FORWARD);
	assert_int_equal(w.count, 4);
	assert_int_equal(last_ede_of(3), EDE_STALE_ANSWER);
	assert_int_equal(stat(STAT_TRANSACTIONS), 2);
	assert_int_equal(stat(STAT_TRANSACTIONS_NOW), 1);
	scripted_say(&w.server[0], &w.server[0].seen[1], ACT_ANSWER);
	vt_settle();
	assert_int_equal(w.count, 4);
	assert_int_equal(stat(STAT_TRANSACTIONS_NOW), 0);
	assert_int_equal(serve("www.example", TYPE_A, 10), VERDICT_SEND);
	assert_int_equal(answered_by(4), 9);
	assert_int_equal(cache_figures(w.cache).stale, 3);
}

static void without_an_old_answer_there_is_nothing_to_give_early(void **state)
{
	(void)state;
	start(1);
	silence();
	assert_in_range(served_ms("www.example"), 4000, 4001);
	assert_int_equal(rcode_of(0), RCODE_SERVFAIL);
}

static void after_a_failure_the_old_answer_is_given_for_five_seconds(void **state)
{
	(void)state;
	static const enum act failures_of_servers[] = {ACT_SERVFAIL, ACT_SILENT};
	start(1);
	for (unsigned i = 0; i < 2; i++) {
		w.server[0].udp = ACT_ANSWER;
		(void)served_ms("www.example");
		vt_pass(61000);
		w.server[0].udp = failures_of_servers[i];
		w.server[0].tcp = ACT_SILENT;
		(void)served_ms("www.example");
		assert_int_equal(last_ede_of(last()), EDE_STALE_ANSWER);
		vt_pass(failures_of_servers[i] == ACT_SILENT ? 2250 : 0);
		unsigned asked = w.server[0].count;
		vt_pass(4900);
		assert_int_equal(serve("www.example", TYPE_A, 8), VERDICT_SEND);
		assert_int_equal(last_ede_of(last()), EDE_STALE_ANSWER);
		assert_int_equal(w.server[0].count, asked);
		vt_pass(200);
		assert_int_equal(serve("www.example", TYPE_A, 9), VERDICT_FORWARD);
		assert_int_equal(w.server[0].count, asked);
		await_replies(last() + 2);
		vt_pass(10000);
	}
}

/* RFC 9520 */
static void a_failure_is_remembered_for_a_second(void **state)
{
	(void)state;
	start(1);
	w.server[0].udp = ACT_SERVFAIL;
	assert_int_equal(served_ms("www.example"), 0);
	assert_int_equal(rcode_of(0), RCODE_SERVFAIL);
	assert_int_equal(w.server[0].count, 1);
	assert_int_equal(cache_figures(w.cache).failed, 0);
	vt_pass(900);
	assert_int_equal(serve("www.example", TYPE_A, 8), VERDICT_SEND);
	assert_int_equal(rcode_of(1), RCODE_SERVFAIL);
	assert_int_equal(last_ede_of(1), EDE_CACHED_ERROR);
	assert_int_equal(w.server[0].count, 1);
	assert_int_equal(cache_figures(w.cache).failed, 1);
	vt_pass(200);
	w.server[0].udp = ACT_ANSWER;
	assert_int_equal(serve("www.example", TYPE_A, 9), VERDICT_FORWARD);
	await_replies(3);
	assert_int_equal(answered_by(2), 1);
}

/* Whatever the error that all servers had: it comes back as it was. */
static void each_error_is_remembered_as_it_was(void **state)
{
	static const struct {
		enum act act;
		unsigned rcode;
	} rows[] = {{ACT_REFUSED, RCODE_REFUSED}, {ACT_NOTIMP, RCODE_NOTIMP},
		{ACT_FORMERR, RCODE_FORMERR}, {ACT_SERVFAIL, RCODE_SERVFAIL}};
	(void)state;
	start(1);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		w.server[0].udp = rows[i].act;
		(void)served_ms("www.example");
		assert_int_equal(rcode_of(last()), rows[i].rcode);
		unsigned asked = w.server[0].count;
		assert_int_equal(serve("www.example", TYPE_A, 8), VERDICT_SEND);
		assert_int_equal(rcode_of(last()), rows[i].rcode);
		assert_int_equal(last_ede_of(last()), EDE_CACHED_ERROR);
		assert_int_equal(w.server[0].count, asked);
		vt_pass(1100);
	}
}

/* RFC 2181 §8, and the limits of the cache: who asks first is told no more than who asks next. */
static void the_first_answer_has_the_ttl_of_the_next(void **state)
{
	static const uint32_t rows[][2] = {
		{60, 60}, {CACHE_TTL_MAX + 1, CACHE_TTL_MAX}, {0x80000000U, 0}};
	static const char *const names[] = {"a.example", "b.example", "c.example"};
	(void)state;
	start(1);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		w.server[0].ttl = rows[i][0];
		(void)served_ms(names[i]);
		assert_int_equal(ttl_of(last()), rows[i][1]);
	}
	w.server[0].udp = ACT_DENIED;
	w.server[0].ttl = 3600;
	(void)served_ms("denied.example");
	ldns_pkt *p = packet_of((struct span){w.reply[last()].octets, w.reply[last()].len});
	assert_int_equal(
		ldns_rr_ttl(ldns_rr_list_rr(ldns_pkt_authority(p), 0)), CACHE_NEGATIVE_TTL_MAX);
	ldns_pkt_free(p);
}

static void refusal_and_truncation_are_no_reason_to_keep_the_old_answer_back(void **state)
{
	(void)state;
	start(1);
	(void)served_ms("www.example");
	vt_pass(61000);
	w.server[0].udp = ACT_REFUSED;
	(void)served_ms("www.example");
	assert_int_equal(last_ede_of(last()), EDE_STALE_ANSWER);
	vt_pass(CACHE_FAILURE_MAX_MS + 100);
	w.server[0].udp = ACT_TRUNCATED;
	scripted_close_tcp(&w.server[0]);
	(void)served_ms("www.example");
	assert_int_equal(last_ede_of(last()), EDE_STALE_ANSWER);
	assert_false(is_cut(last()));
}

static void a_hot_answer_is_refreshed_before_it_ends(void **state)
{
	(void)state;
	start(1);
	(void)served_ms("www.example");
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(serve("www.example", TYPE_A, 7), VERDICT_SEND);
	}
	vt_pass(58000);
	unsigned replies = w.count;
	assert_int_equal(serve("www.example", TYPE_A, 7), VERDICT_REFRESH);
	assert_int_equal(serve("www.example", TYPE_A, 7), VERDICT_SEND);
	vt_settle();
	assert_int_equal(w.server[0].count, 2);
	assert_int_equal(w.count, replies + 2);
	assert_int_equal(stat(STAT_CACHE_PREFETCHES), 1);
	vt_pass(10000);
	assert_int_equal(serve("www.example", TYPE_A, 7), VERDICT_SEND);
	assert_int_equal(ttl_of(last()), 50);
	assert_int_equal(stat(STAT_TRANSACTIONS_NOW), 0);
}

static void a_refresh_in_flight_is_joined_and_not_repeated(void **state)
{
	(void)state;
	start(1);
	w.server[0].udp = ACT_HOLD;
	struct message m;
	struct query q;
	message_query(&m, "www.example", TYPE_A);
	assert_int_equal(query_parse(&q, message_span(&m)), 0);
	forward_refresh(w.forward, &q);
	forward_refresh(w.forward, &q);
	assert_int_equal(serve("www.example", TYPE_A, 7), VERDICT_FORWARD);
	await_seen(&w.server[0], 1);
	scripted_say(&w.server[0], &w.server[0].seen[0], ACT_ANSWER);
	await_replies(1);
	assert_int_equal(w.server[0].count, 1);
	assert_int_equal(stat(STAT_CACHE_PREFETCHES), 1);
}

static void nothing_is_refreshed_without_recursion(void **state)
{
	(void)state;
	start(1);
	struct message m;
	struct query q;
	message_begin(&m, 0);
	message_question(&m, "www.example", TYPE_A);
	assert_int_equal(query_parse(&q, message_span(&m)), 0);
	forward_refresh(w.forward, &q);
	vt_settle();
	assert_int_equal(w.server[0].count, 0);
	assert_int_equal(stat(STAT_CACHE_PREFETCHES), 0);
}

/* RD=0 asks for what a server has, not for an answer. */
static void what_was_asked_without_recursion_is_not_remembered(void **state)
{
	(void)state;
	start(1);
	struct message m;
	message_begin(&m, 0);
	message_question(&m, "www.example", TYPE_A);
	assert_int_equal(serve_octets(message_span(&m), 7), VERDICT_FORWARD);
	await_replies(1);
	assert_int_equal(cache_figures(w.cache).insertions, 0);
	w.server[0].udp = ACT_SERVFAIL;
	assert_int_equal(serve_octets(message_span(&m), 7), VERDICT_FORWARD);
	await_replies(2);
	assert_int_equal(cache_figures(w.cache).insertions, 0);
}

static void what_is_signed_is_neither_remembered_nor_answered_from_memory(void **state)
{
	(void)state;
	start(1);
	struct message m;
	signed_query(&m, 77, 16);
	assert_int_equal(serve_octets(message_span(&m), 7), VERDICT_FORWARD);
	await_replies(1);
	assert_int_equal(cache_figures(w.cache).insertions, 0);
	(void)served_ms("www.example");
	assert_int_equal(cache_figures(w.cache).insertions, 1);
	assert_int_equal(serve_octets(message_span(&m), 7), VERDICT_FORWARD);
	await_replies(3);
	assert_int_equal(w.server[0].count, 3);
}

static struct routes *routes_to(const struct scripted *s)
{
	struct routes *routes = new_routes();
	add_server(routes, &routes->route[0], s);
	return routes;
}

static void other_servers_begin_with_an_empty_cache(void **state)
{
	(void)state;
	start(1);
	scripted_open(&w.server[1], w.base, "127.0.0.1", 2);
	(void)served_ms("www.example");
	w.server[0].udp = ACT_HOLD;
	(void)serve("late.example", TYPE_A, 7);
	await_seen(&w.server[0], 2);
	set_routes(routes_to(&w.server[1]));
	assert_int_equal(cache_figures(w.cache).entries, 0);
	assert_int_equal(serve("www.example", TYPE_A, 7), VERDICT_FORWARD);
	await_replies(2);
	assert_int_equal(answered_by(1), 2);
	/* What the old ones say is for who asked them, and for nobody later. */
	scripted_say(&w.server[0], &w.server[0].seen[1], ACT_ANSWER);
	await_replies(3);
	assert_int_equal(answered_by(2), 1);
	assert_int_equal(cache_figures(w.cache).entries, 1);
	assert_int_equal(serve("late.example", TYPE_A, 7), VERDICT_FORWARD);
}

/* `example` is denied by the root's servers; those of corp.example are not asked about it. */
static void start_with_corp(void)
{
	struct routes *routes = new_routes();
	struct dname corp = name_of("corp.example");
	for (unsigned i = 0; i < 2; i++) {
		scripted_open(&w.server[i], w.base, "127.0.0.1", (uint8_t)(i + 1));
	}
	add_server(routes, &routes->route[0], &w.server[0]);
	add_server(routes, routes_add(routes, &corp), &w.server[1]);
	routes->search[routes->search_count++] = corp;
	start_with(routes);
	w.server[0].udp = ACT_DENIED;
	(void)served_ms("example");
	assert_int_equal(rcode_of(0), RCODE_NXDOMAIN);
}

static void what_others_deny_above_a_zone_does_not_cover_it(void **state)
{
	(void)state;
	start_with_corp();
	w.server[1].udp = ACT_DELAYED;
	w.server[1].tcp = ACT_DELAYED;
	w.server[1].delay_ms = 3000;
	assert_int_equal(served_ms("www.corp.example"), 3000);
	assert_int_equal(answered_by(1), 2);
}

static void what_others_deny_above_a_zone_is_no_lie(void **state)
{
	(void)state;
	start_with_corp();
	(void)served_ms("a.b.corp.example");
	assert_int_equal(answered_by(1), 2);
	vt_settle();
	assert_int_equal(stat(STAT_SEARCH_PROBES), 1);
	(void)served_ms("a.c.corp.example");
	assert_int_equal(stat(STAT_SEARCH_PROBES), 2);
}

/* Search domains. */

static const char *const domains[] = {
	"default.svc.cluster.local", "svc.cluster.local", "cluster.local"};

static enum act cluster(const struct scripted *s, const struct seen *q)
{
	struct query query;
	assert_int_equal(query_parse(&query, (struct span){q->octets, q->len}), 0);
	struct dname exists = name_of("kubernetes.default.svc.cluster.local");
	struct dname local = name_of("local");
	struct dname lie = name_of("lie.default.svc.cluster.local");
	(void)s;
	for (unsigned i = 0; i < 3; i++) {
		struct dname domain = name_of(domains[i]);
		if (query.qname.len == domain.len && dname_is_under(&query.qname, &domain)) {
			return ACT_ANSWER;
		}
	}
	if (dname_is_under(&query.qname, &lie)) {
		return query.qname.len == lie.len ? ACT_DENIED : ACT_ANSWER;
	}
	if (dname_is_under(&query.qname, &exists) || !dname_is_under(&query.qname, &local)) {
		return ACT_ANSWER;
	}
	return ACT_DENIED;
}

static void start_cluster(void)
{
	struct routes *routes = new_routes();
	scripted_open(&w.server[0], w.base, "127.0.0.1", 1);
	w.server[0].choose = cluster;
	add_server(routes, &routes->route[0], &w.server[0]);
	for (unsigned i = 0; i < 3; i++) {
		routes->search[routes->search_count++] = name_of(domains[i]);
	}
	start_with(routes);
}

static const char *const suffixes[] = {
	".default.svc.cluster.local", ".svc.cluster.local", ".cluster.local", ""};

/* What a C library asks for with ndots:5: A and AAAA, until a name exists. */
static void look_up(const char *name)
{
	for (unsigned i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		char whole[256];
		(void)snprintf(whole, sizeof(whole), "%s%s", name, suffixes[i]);
		(void)serve(whole, TYPE_A, 7);
		unsigned a = w.count;
		await_replies(a + (forward_waiting(w.forward) > 0));
		bool found = rcode_of(last()) == RCODE_NOERROR;
		(void)serve(whole, TYPE_AAAA, 8);
		vt_settle();
		assert_int_equal(rcode_of(last()) == RCODE_NOERROR, found);
		if (found) {
			assert_string_equal(suffixes[i], "");
			return;
		}
	}
	fail();
}

static void the_label_next_to_a_search_domain_is_asked_for_once(void **state)
{
	(void)state;
	static const char *const names[] = {
		"api.example.com", "www.example.com", "db.other.com", "a.b.c.com"};
	start_cluster();
	look_up("the.first");
	/* Three times the name and the domain; twice the name itself. */
	assert_int_equal(stat(STAT_SEARCH_PROBES), 3);
	assert_int_equal(w.server[0].count, 3 * 2 + 2);
	look_up(names[0]);
	/* Three times the name and `com` next to the domain; twice the name itself. */
	assert_int_equal(stat(STAT_SEARCH_PROBES), 6);
	assert_int_equal(w.server[0].count, 2 * (3 * 2 + 2));
	for (unsigned i = 1; i < 4; i++) {
		unsigned before = w.server[0].count;
		look_up(names[i]);
		assert_int_equal(w.server[0].count, before + 2);
	}
	assert_int_equal(stat(STAT_SEARCH_PROBES), 6);
	assert_true(cache_figures(w.cache).covered >= 3 * 6);
	assert_int_equal(stat(STAT_TRANSACTIONS_NOW), 0);
}

static void a_name_that_exists_is_found_through_a_search_domain(void **state)
{
	(void)state;
	start_cluster();
	(void)served_ms("kubernetes.default.svc.cluster.local");
	assert_int_equal(answered_by(0), 1);
	/* One label before the domain: nothing is above it. */
	assert_int_equal(stat(STAT_SEARCH_PROBES), 0);
	(void)served_ms("x.kubernetes.default.svc.cluster.local");
	assert_int_equal(answered_by(1), 1);
}

/* RFC 8020 §4: servers that deny a name although there are names below it. */
static void a_server_that_denies_too_much_is_found_out(void **state)
{
	(void)state;
	start_cluster();
	(void)served_ms("the.first.default.svc.cluster.local"); /* then the domain is known */
	vt_settle();
	(void)served_ms("a.lie.default.svc.cluster.local");
	assert_int_equal(answered_by(1), 1);
	vt_settle();
	assert_int_equal(stat(STAT_SEARCH_PROBES), 2);
	/* All that is below exists, and nothing is denied. */
	(void)served_ms("b.lie.default.svc.cluster.local");
	assert_int_equal(answered_by(2), 1);
	unsigned probes = (unsigned)stat(STAT_SEARCH_PROBES);
	(void)served_ms("api.example.com.default.svc.cluster.local");
	assert_int_equal(stat(STAT_SEARCH_PROBES), probes);
	/* … for ten minutes */
	vt_pass(600000);
	(void)served_ms("api.example.com.default.svc.cluster.local");
	assert_int_equal(stat(STAT_SEARCH_PROBES), probes + 1);
}

/* The same, where the lie is heard first. */
static void a_lie_that_comes_first_is_found_out_too(void **state)
{
	(void)state;
	start_cluster();
	(void)served_ms("the.first.default.svc.cluster.local");
	vt_settle();
	w.server[0].choose = NULL;
	w.server[0].udp = ACT_HOLD;
	assert_int_equal(serve("a.lie.default.svc.cluster.local", TYPE_A, 7), VERDICT_FORWARD);
	await_seen(&w.server[0], 4);
	scripted_say(&w.server[0], &w.server[0].seen[3], ACT_DENIED);
	vt_settle();
	scripted_say(&w.server[0], &w.server[0].seen[2], ACT_ANSWER);
	await_replies(2);
	assert_int_equal(answered_by(1), 1);
	w.server[0].udp = ACT_ANSWER;
	assert_int_equal(serve("b.lie.default.svc.cluster.local", TYPE_A, 7), VERDICT_FORWARD);
	await_replies(3);
	assert_int_equal(answered_by(2), 1);
	assert_int_equal(stat(STAT_SEARCH_PROBES), 2);
}

/* A server that denies the search domain itself is not asked for what is next to it; and what we
 * asked for of our own accord denies nothing. */
static void a_search_domain_that_is_denied_is_left_alone(void **state)
{
	(void)state;
	start_cluster();
	w.server[0].choose = NULL;
	w.server[0].udp = ACT_DENIED;
	(void)served_ms("a.b.svc.cluster.local");
	vt_settle();
	assert_int_equal(stat(STAT_SEARCH_PROBES), 1);
	w.server[0].udp = ACT_ANSWER;
	(void)served_ms("c.b.svc.cluster.local");
	assert_int_equal(answered_by(1), 1);
	assert_int_equal(stat(STAT_SEARCH_PROBES), 1);
}

static void questions_of_our_own_leave_room_for_others(void **state)
{
	(void)state;
	w.conf.transactions_max = 8;
	start_cluster();
	w.server[0].choose = NULL;
	w.server[0].udp = ACT_HOLD;
	for (uint16_t i = 0; i < 8; i++) {
		char name[64];
		(void)snprintf(name, sizeof(name), "a.t%u.default.svc.cluster.local", i);
		(void)serve(name, TYPE_A, i);
	}
	assert_true(stat(STAT_SEARCH_PROBES) >= 1);
	assert_true(forward_waiting(w.forward) >= 5);
	assert_int_equal(stat(STAT_TRANSACTIONS_NOW), 8);
}

static void without_the_shortcut_no_label_is_asked_for(void **state)
{
	(void)state;
	w.conf.search_shortcut = false;
	start_cluster();
	(void)served_ms("api.example.com.default.svc.cluster.local");
	assert_int_equal(stat(STAT_SEARCH_PROBES), 0);
	assert_int_equal(w.server[0].count, 1);
}

#define with_cache(function) cmocka_unit_test_setup_teardown(function, setup_cache, teardown)
#define test(function)       cmocka_unit_test_setup_teardown(function, setup, teardown)

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
		test(a_silent_server_costs_one_hedge),
		test(a_query_whose_next_try_failed_holds_up_no_other),
		test(a_server_that_stays_silent_is_no_longer_asked_first),
		test(probes_find_out_whether_a_silent_server_is_back),
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
		with_cache(a_second_question_is_answered_by_the_cache),
		with_cache(who_waits_for_long_gets_the_old_answer),
		with_cache(without_an_old_answer_there_is_nothing_to_give_early),
		with_cache(after_a_failure_the_old_answer_is_given_for_five_seconds),
		with_cache(a_failure_is_remembered_for_a_second),
		with_cache(each_error_is_remembered_as_it_was),
		with_cache(the_first_answer_has_the_ttl_of_the_next),
		with_cache(refusal_and_truncation_are_no_reason_to_keep_the_old_answer_back),
		with_cache(a_hot_answer_is_refreshed_before_it_ends),
		with_cache(a_refresh_in_flight_is_joined_and_not_repeated),
		with_cache(nothing_is_refreshed_without_recursion),
		with_cache(what_was_asked_without_recursion_is_not_remembered),
		with_cache(what_is_signed_is_neither_remembered_nor_answered_from_memory),
		with_cache(other_servers_begin_with_an_empty_cache),
		with_cache(what_others_deny_above_a_zone_does_not_cover_it),
		with_cache(what_others_deny_above_a_zone_is_no_lie),
		with_cache(the_label_next_to_a_search_domain_is_asked_for_once),
		with_cache(a_name_that_exists_is_found_through_a_search_domain),
		with_cache(a_server_that_denies_too_much_is_found_out),
		with_cache(a_lie_that_comes_first_is_found_out_too),
		with_cache(a_search_domain_that_is_denied_is_left_alone),
		with_cache(questions_of_our_own_leave_room_for_others),
		with_cache(without_the_shortcut_no_label_is_asked_for),
	};
	return cmocka_run_group_tests_name("forward", tests, NULL, NULL);
}
