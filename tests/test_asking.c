/* SPDX-License-Identifier: Apache-2.0
 *
 * Which server is asked, when and how, seen from the servers: hedges, silence, order, forms of a
 * query, options of the routes, zones, loops. Through forward, in virtual time.
 */
#include "tests/forwarding.h"

#include "dns/resolve/pool.h"

#include <sys/resource.h>

enum { WAIT_MS = 800, LIMIT_MS = 4000, FIRST_MS = HEALTH_HEDGE_FIRST_MS };

static int set_up(void **state)
{
	int error = setup(state);
	w.conf.forward_timeout_ms = LIMIT_MS;
	w.conf.forward_try_ms = WAIT_MS;
	return error;
}

/* Each time another question, so that none is joined. */
static void ask_anew(void)
{
	static uint16_t type = 1000;
	type = type < 60000 ? (uint16_t)(type + 1) : 1000;
	ask("www.example", type, type, 7);
}

/* Ask, wait for the answer, and say how long it took. */
static int64_t asked_ms(void)
{
	int64_t begun = now_ms();
	unsigned count = w.count;
	ask_anew();
	await_replies(count + 1);
	return w.reply[w.count - 1].at_ms - begun;
}

static unsigned last_answered_by(void)
{
	return answered_by(w.count - 1);
}

static void delay(struct scripted *s, uint32_t ms)
{
	s->udp = ACT_DELAYED;
	s->tcp = ACT_DELAYED;
	s->delay_ms = ms;
}

static void silence(struct scripted *s)
{
	s->udp = ACT_SILENT;
	s->tcp = ACT_SILENT;
}

/* How long after a question the second server is asked, too, where the first says nothing. */
static int64_t hedge_ms(void)
{
	enum act was = w.server[0].udp;
	unsigned count = w.server[1].count;
	unsigned replies = w.count;
	int64_t begun = now_ms();
	silence(&w.server[0]);
	ask_anew();
	await_seen(&w.server[1], count + 1);
	int64_t took = now_ms() - begun;
	await_replies(replies + 1);
	w.server[0].udp = was;
	return took;
}

/* When. */

static void a_hedge_comes_after_what_nineteen_in_twenty_take(void **state)
{
	(void)state;
	start(2);
	delay(&w.server[0], 12);
	for (unsigned i = 0; i < 100; i++) {
		(void)asked_ms();
	}
	struct server_report report = report_of(0);
	assert_in_range(report.p95_us, 11000, 16000);
	assert_in_range(report.smoothed_us, 11000, 13000);
	assert_in_range(w.server[1].count, 0, 5);
	assert_in_range(hedge_ms(), report.p95_us / 1000, report.p95_us / 1000 + 1);
}

static void a_hedge_waits_for_5_ms_at_least(void **state)
{
	(void)state;
	start(2);
	delay(&w.server[0], 1);
	for (unsigned i = 0; i < 50; i++) {
		(void)asked_ms();
	}
	assert_in_range(hedge_ms(), HEALTH_HEDGE_MIN_MS, HEALTH_HEDGE_MIN_MS + 1);
}

static void a_hedge_waits_for_80_ms_at_most(void **state)
{
	(void)state;
	start(2);
	delay(&w.server[0], 300);
	delay(&w.server[1], 300);
	(void)asked_ms();
	assert_in_range(report_of(0).p95_us, 500000, 700000);
	assert_in_range(hedge_ms(), HEALTH_HEDGE_MAX_MS, HEALTH_HEDGE_MAX_MS + 1);
}

/* A question each 10 ms, of which each takes 300 ms. @return queries to the second server */
static unsigned load(unsigned questions)
{
	unsigned before = w.server[1].count;
	for (unsigned i = 0; i < questions; i++) {
		ask_anew();
		vt_pass(10);
	}
	return w.server[1].count - before;
}

/* Servers that are slow, but live, do not get twice the load. */
static void hedges_are_one_in_ten_at_most(void **state)
{
	(void)state;
	start(2);
	delay(&w.server[0], 300);
	delay(&w.server[1], 300);
	(void)load(400); /* spends what is there at first */
	uint64_t hedges = report_of(1).hedges;
	unsigned extra = load(600);
	assert_in_range(extra, 10, 61);
	assert_int_equal(report_of(1).hedges, hedges + extra);
	vt_pass(1000);
	for (unsigned i = 0; i < w.count; i++) {
		assert_int_equal(rcode_of(i), RCODE_NOERROR);
	}
	assert_int_equal(w.count, 1000);
}

static void silence_needs_no_credit(void **state)
{
	(void)state;
	start(2);
	delay(&w.server[0], 300);
	delay(&w.server[1], 300);
	(void)load(400);
	vt_pass(1000);
	unsigned before = w.count;
	unsigned hedges = w.server[1].count;
	silence(&w.server[0]);
	w.server[1].udp = ACT_ANSWER;
	for (unsigned i = 0; i < 100; i++) {
		ask_anew();
	}
	int64_t begun = now_ms();
	await_replies(before + 100);
	assert_in_range(now_ms() - begun, 0, HEALTH_HEDGE_MAX_MS + 1);
	assert_int_equal(w.server[1].count, hedges + 100);
}

static void the_only_server_is_asked_again_when_it_is_silent(void **state)
{
	(void)state;
	start(1);
	silence(&w.server[0]);
	int64_t begun = now_ms();
	ask_anew();
	await_seen(&w.server[0], 2);
	/* Four times what an answer is waited for; never heard: 50 ms. */
	assert_in_range(now_ms() - begun, 4 * FIRST_MS, 4 * FIRST_MS + 1);
	await_replies(1);
	assert_int_equal(ede_of(0), EDE_NO_REACHABLE_AUTHORITY);
	assert_in_range(now_ms() - begun, LIMIT_MS, LIMIT_MS + 1);

	w.server[0].udp = ACT_ANSWER;
	w.server[0].tcp = ACT_ANSWER;
	delay(&w.server[0], 1);
	for (unsigned i = 0; i < 20; i++) {
		(void)asked_ms();
	}
	silence(&w.server[0]);
	unsigned count = w.server[0].count;
	begun = now_ms();
	ask_anew();
	await_seen(&w.server[0], count + 2);
	assert_in_range(now_ms() - begun, 100, 101);
}

/* Silence. */

static void a_silent_server_comes_last_after_three_misses(void **state)
{
	(void)state;
	start(2);
	silence(&w.server[0]);
	for (unsigned i = 0; i < 3; i++) {
		assert_false(report_of(0).silent);
		assert_in_range(asked_ms(), FIRST_MS, FIRST_MS + 1);
	}
	assert_true(report_of(0).silent);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(asked_ms(), 0);
	}
	assert_int_equal(w.server[0].count, 3);
	/* It is asked where nobody else answers. */
	silence(&w.server[1]);
	ask_anew();
	await_seen(&w.server[0], 4);
}

static void a_late_answer_brings_a_silent_server_back(void **state)
{
	(void)state;
	start(2);
	w.server[0].udp = ACT_HOLD;
	for (unsigned i = 0; i < 3; i++) {
		(void)asked_ms();
	}
	assert_true(report_of(0).silent);
	scripted_say(&w.server[0], &w.server[0].seen[1], ACT_ANSWER);
	vt_settle();
	assert_false(report_of(0).silent);
	w.server[0].udp = ACT_ANSWER;
	assert_int_equal(asked_ms(), 0);
	assert_int_equal(last_answered_by(), 1);
}

static void probes_of_a_silent_server_count_as_timeouts(void **state)
{
	(void)state;
	start(2);
	silence(&w.server[0]);
	for (unsigned i = 0; i < 10; i++) {
		(void)asked_ms();
		vt_pass(1000);
	}
	assert_in_range(failures(0, UPSTREAM_TIMEOUT), 8, 10);
	assert_int_equal(failures(1, UPSTREAM_TIMEOUT), 0);
	assert_int_equal(report_of(0).udp_queries, w.server[0].count);
}

/* c-ares#650: conntrack may have tied the port to a server that is gone. */
static void a_port_that_a_hedge_overtook_is_abandoned(void **state)
{
	(void)state;
	start(2);
	w.server[0].udp = ACT_HOLD;
	(void)asked_ms();
	uint16_t lost = w.server[0].seen[0].port;
	/* It is heard nevertheless. */
	scripted_say(&w.server[0], &w.server[0].seen[0], ACT_ANSWER);
	w.server[0].udp = ACT_ANSWER;
	for (unsigned i = 1; i < 400; i++) {
		(void)asked_ms();
		assert_int_equal(last_answered_by(), 1);
		assert_int_not_equal(w.server[0].seen[i].port, lost);
	}
	assert_int_equal(stat(STAT_UPSTREAM_MISMATCHED), 0);
}

/* Order. */

static void a_server_that_is_much_slower_comes_behind(void **state)
{
	(void)state;
	w.conf.loop_probe = true; /* which measures, too */
	start(2);
	delay(&w.server[0], 200);
	delay(&w.server[1], 2);
	(void)asked_ms();
	vt_pass(1000);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(asked_ms(), 2);
		assert_int_equal(last_answered_by(), 2);
	}
	uint8_t order[SERVERS_LIST_MAX];
	assert_int_equal(forward_order(w.forward, &w.routes->route[0], order), 2);
	assert_int_equal(order[0], 1);
	assert_int_equal(order[1], 0);
}

static void a_server_that_is_little_slower_keeps_its_place(void **state)
{
	(void)state;
	w.conf.loop_probe = true;
	start(2);
	delay(&w.server[0], 12);
	delay(&w.server[1], 2);
	for (unsigned i = 0; i < 10; i++) {
		(void)asked_ms();
		vt_pass(200);
		assert_int_equal(last_answered_by(), 1);
	}
}

static void rotation_spreads_questions_over_the_servers(void **state)
{
	(void)state;
	w.rotate = true;
	start(3);
	for (unsigned i = 0; i < 30; i++) {
		(void)asked_ms();
	}
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(w.server[i].count, 10);
	}
}

/* resolv.conf(5), attempts */
static void each_server_is_asked_as_often_as_the_routes_say(void **state)
{
	(void)state;
	w.attempts = 2;
	start(2);
	silence(&w.server[0]);
	silence(&w.server[1]);
	int64_t took = asked_ms();
	assert_int_equal(rcode_of(0), RCODE_SERVFAIL);
	assert_int_equal(ede_of(0), EDE_NO_REACHABLE_AUTHORITY);
	assert_int_equal(w.server[0].count, 2);
	assert_int_equal(w.server[1].count, 2);
	assert_in_range(took, WAIT_MS, LIMIT_MS - 1);
}

/* resolv.conf(5), timeout: nobody is given up before. */
static void one_attempt_waits_for_as_long_as_the_routes_say(void **state)
{
	(void)state;
	w.attempts = 1;
	w.conf.forward_try_ms = 1500;
	start(1);
	delay(&w.server[0], 1400);
	assert_int_equal(asked_ms(), 1400);
	assert_int_equal(last_answered_by(), 1);
	assert_int_equal(w.server[0].count, 1);
	silence(&w.server[0]);
	assert_in_range(asked_ms(), 1500, 1501);
	assert_int_equal(w.server[0].count, 2);
}

static void a_hedge_is_counted_for_who_gets_it(void **state)
{
	(void)state;
	start(3);
	silence(&w.server[0]);
	scripted_close_udp(&w.server[1]);
	/* Through one port each, so that the refusal is known when it is used again. */
	(void)asked_ms();
	assert_int_equal(last_answered_by(), 3);
	assert_int_equal(report_of(0).hedges, 0);
	assert_int_equal(report_of(1).hedges, 1);
	assert_int_equal(w.server[2].count, 1);
}

/* Forms. */

static void a_server_that_drops_opt_is_asked_without(void **state)
{
	(void)state;
	start(1);
	w.server[0].udp = ACT_DROP_OPT;
	w.server[0].tcp = ACT_SILENT;
	assert_in_range(asked_ms(), 4 * FIRST_MS, 4 * FIRST_MS + 1);
	assert_int_equal(w.server[0].count, 2);
	assert_true(scripted_has_opt(&w.server[0].seen[0]));
	assert_false(scripted_has_opt(&w.server[0].seen[1]));
	assert_true(report_of(0).no_opt);
	/* That is remembered … */
	assert_int_equal(asked_ms(), 0);
	assert_false(scripted_has_opt(&w.server[0].seen[2]));
	/* … for a while. */
	w.server[0].udp = ACT_ANSWER;
	vt_pass((int64_t)HEALTH_MEMORY_S * 1000);
	assert_false(report_of(0).no_opt);
	(void)asked_ms();
	assert_true(scripted_has_opt(&w.server[0].seen[3]));
}

static void a_server_that_took_opt_once_is_not_asked_without(void **state)
{
	(void)state;
	start(1);
	(void)asked_ms();
	w.server[0].udp = ACT_HOLD;
	ask_anew();
	await_seen(&w.server[0], 3);
	assert_true(scripted_has_opt(&w.server[0].seen[2]));
	scripted_say(&w.server[0], &w.server[0].seen[2], ACT_ANSWER);
	await_replies(2);
	assert_false(report_of(0).no_opt);
}

static void a_server_without_udp_is_asked_over_tcp(void **state)
{
	(void)state;
	start(1);
	w.server[0].udp = ACT_SILENT;
	int64_t took = asked_ms();
	assert_in_range(took, 4 * FIRST_MS + WAIT_MS, 4 * FIRST_MS + WAIT_MS + 1);
	assert_int_equal(last_answered_by(), 1);
	assert_true(report_of(0).no_udp);
	unsigned count = w.server[0].count;
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(asked_ms(), 0);
		assert_true(w.server[0].seen[count + i].tcp);
	}
	assert_int_equal(w.server[0].accepted, 1);
	assert_int_equal(report_of(0).tcp_queries, 4);
	w.server[0].udp = ACT_ANSWER;
	vt_pass((int64_t)HEALTH_MEMORY_S * 1000);
	(void)asked_ms();
	assert_false(w.server[0].seen[w.server[0].count - 1].tcp);
	assert_false(report_of(0).no_udp);
}

/* Some servers answer whom asked last first (unbound does), as soon as they know. */
static void a_name_that_takes_long_says_nothing_about_the_form(void **state)
{
	(void)state;
	enum { FIRST_TRIES = 3, TRIES = 5 };
	for (unsigned tries = FIRST_TRIES; tries <= TRIES; tries++) {
		start(1);
		(void)asked_ms();
		w.server[0].udp = ACT_HOLD;
		w.server[0].tcp = ACT_HOLD;
		ask_anew();
		await_seen(&w.server[0], 1 + tries);
		for (unsigned i = tries; i > 0; i--) {
			scripted_say(&w.server[0], &w.server[0].seen[i], ACT_ANSWER);
			vt_pass(1);
		}
		await_replies(2);
		assert_false(report_of(0).no_udp);
		assert_false(report_of(0).no_opt);
		if (tries < TRIES) {
			teardown(NULL);
			set_up(NULL);
		}
	}
}

static void tc_without_tcp_leads_to_the_next_server(void **state)
{
	(void)state;
	start(2);
	w.server[0].udp = ACT_TRUNCATED;
	scripted_close_tcp(&w.server[0]);
	assert_int_equal(asked_ms(), 0);
	assert_int_equal(last_answered_by(), 2);
	/* Also where TCP is filtered: after some round trips, not after a try. */
	w.server[1].udp = ACT_ANSWER;
	struct scripted *other = &w.server[1];
	other->udp = ACT_TRUNCATED;
	other->tcp = ACT_SILENT;
	assert_in_range(asked_ms(), 100, LIMIT_MS);
}

/* RFC 7766 §5: a requestor over TCP can do nothing about TC. */
static void tc_without_tcp_anywhere_is_told_to_who_can_use_it(void **state)
{
	(void)state;
	start(2);
	for (unsigned i = 0; i < 2; i++) {
		w.server[i].udp = ACT_TRUNCATED;
		scripted_close_tcp(&w.server[i]);
	}
	struct message m;
	struct requestor udp = requestor_of(7);
	struct requestor tcp = requestor_of(8);
	tcp.tcp = true;
	message_query(&m, "www.example", TYPE_A);
	message_opt(&m, (struct opt){.size = 1232});
	ask_octets(message_span(&m), &udp, 1232);
	ask_octets(message_span(&m), &tcp, 65535);
	await_replies(2);
	assert_true(is_cut(0));
	assert_int_equal(rcode_of(0), RCODE_NOERROR);
	assert_false(is_cut(1));
	assert_int_equal(rcode_of(1), RCODE_SERVFAIL);
	assert_int_equal(ede_of(1), EDE_NETWORK_ERROR);
}

/* Routes. */

static void zones_have_servers_of_their_own(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		unsigned by;
	} table[] = {{"www.example", 1}, {"corp.example", 2}, {"a.b.corp.example", 2},
		{"eu.corp.example", 3}, {"x.eu.corp.example", 3}, {"notcorp.example", 1},
		{"example", 1}};
	struct routes *routes = new_routes();
	struct dname corp = name_of("corp.example");
	struct dname eu = name_of("eu.corp.example");
	for (unsigned i = 0; i < 3; i++) {
		scripted_open(&w.server[i], w.base, "127.0.0.1", (uint8_t)(i + 1));
	}
	add_server(routes, &routes->route[0], &w.server[0]);
	add_server(routes, routes_add(routes, &corp), &w.server[1]);
	add_server(routes, routes_add(routes, &eu), &w.server[2]);
	start_with(routes);
	for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		ask(table[i].name, TYPE_A, (uint16_t)i, 7);
		await_replies(i + 1);
		assert_int_equal(answered_by(i), table[i].by);
	}
}

static void a_zone_without_servers_fails_at_once(void **state)
{
	(void)state;
	struct routes *routes = new_routes();
	struct dname corp = name_of("corp.example");
	scripted_open(&w.server[0], w.base, "127.0.0.1", 1);
	add_server(routes, &routes->route[0], &w.server[0]);
	assert_non_null(routes_add(routes, &corp));
	start_with(routes);
	ask("a.corp.example", TYPE_A, 1, 7);
	assert_int_equal(w.count, 1);
	assert_int_equal(ede_of(0), EDE_NETWORK_ERROR);
}

static struct routes *routes_to(const struct scripted *s)
{
	struct routes *routes = new_routes();
	add_server(routes, &routes->route[0], s);
	return routes;
}

static void a_question_in_flight_ends_on_the_server_it_was_asked(void **state)
{
	(void)state;
	start(1);
	scripted_open(&w.server[1], w.base, "127.0.0.1", 2);
	w.server[0].udp = ACT_HOLD;
	ask("www.example", TYPE_A, 1, 7);
	await_seen(&w.server[0], 1);
	set_routes(routes_to(&w.server[1]));
	/* Who asks now asks the new one, also the same. */
	ask("other.example", TYPE_A, 2, 7);
	ask("www.example", TYPE_A, 3, 8);
	await_replies(2);
	assert_int_equal(answered_by(0), 2);
	assert_int_equal(answered_by(1), 2);
	assert_int_equal(stat(STAT_TRANSACTIONS_JOINED), 0);
	scripted_say(&w.server[0], &w.server[0].seen[0], ACT_ANSWER);
	await_replies(3);
	assert_int_equal(octets_u16(w.reply[2].octets), 1);
	assert_int_equal(answered_by(2), 1);
	assert_int_equal(stat(STAT_TRANSACTIONS_NOW), 0);
}

static void a_question_in_flight_is_repeated_where_it_began(void **state)
{
	(void)state;
	start(1);
	scripted_open(&w.server[1], w.base, "127.0.0.1", 2);
	silence(&w.server[0]);
	ask("www.example", TYPE_A, 1, 7);
	set_routes(routes_to(&w.server[1]));
	await_replies(1);
	assert_int_equal(rcode_of(0), RCODE_SERVFAIL);
	assert_true(w.server[0].count >= 4);
	assert_int_equal(w.server[1].count, 0);
}

static void what_is_known_of_a_server_outlives_a_change(void **state)
{
	(void)state;
	start(2);
	silence(&w.server[0]);
	for (unsigned i = 0; i < 3; i++) {
		(void)asked_ms();
	}
	struct routes *routes = new_routes();
	add_server(routes, &routes->route[0], &w.server[1]);
	add_server(routes, &routes->route[0], &w.server[0]);
	set_routes(routes);
	assert_true(report_of(1).silent);
	assert_int_equal(report_of(1).udp_queries, 3);
	assert_int_equal(report_of(0).udp_queries, 3);
}

static void slots_are_given_to_others_only_after_all_has_ended(void **state)
{
	(void)state;
	enum { CHANGES = 400, ASK_EACH = 25 };
	start(1);
	w.server[0].udp = ACT_DELAYED;
	w.server[0].delay_ms = 3000;
	for (unsigned i = 0; i < CHANGES; i++) {
		struct routes *routes = new_routes();
		struct endpoint nobody;
		assert_int_equal(endpoint_parse(&nobody, "127.0.0.1", (uint16_t)(i + 1)), 0);
		if (i % ASK_EACH == 0) {
			set_routes(routes_to(&w.server[0]));
			ask_anew();
			vt_settle();
		}
		assert_int_equal(
			routes_add_server(routes, &routes->route[0], &nobody, false, 0x7000 + i),
			0);
		set_routes(routes);
		vt_pass(200);
	}
	await_replies(CHANGES / ASK_EACH);
	for (unsigned i = 0; i < w.count; i++) {
		assert_int_equal(rcode_of(i), RCODE_NOERROR);
	}
}

/* Slots are not enough for so many changes; the last servers have theirs as soon as any is free. */
static void servers_that_found_no_slot_are_asked_once_there_is_one(void **state)
{
	(void)state;
	start(1);
	for (unsigned i = 0; i < POOL_MAX; i++) {
		struct routes *routes = new_routes();
		struct endpoint nobody;
		assert_int_equal(endpoint_parse(&nobody, "127.0.0.1", (uint16_t)(i + 1)), 0);
		assert_int_equal(
			routes_add_server(routes, &routes->route[0], &nobody, false, 0x7000 + i),
			0);
		set_routes(routes);
	}
	scripted_open(&w.server[1], w.base, "127.0.0.1", 2);
	set_routes(routes_to(&w.server[1]));
	ask_anew();
	await_replies(1);
	assert_int_equal(rcode_of(0), RCODE_SERVFAIL);
	vt_pass(LIMIT_MS + 4000);
	(void)asked_ms();
	assert_int_equal(last_answered_by(), 2);
}

/* Loops. */

static void come_back(const struct scripted *s)
{
	struct query q;
	assert_int_equal(query_parse(&q, (struct span){s->probe.octets, s->probe.len}), 0);
	assert_int_equal(q.qtype, TYPE_A);
	assert_true(routes_catch_probe(w.routes, &q.qname, now_ms()));
}

static void each_server_is_probed_with_a_token_of_its_own(void **state)
{
	(void)state;
	w.conf.loop_probe = true;
	start(2);
	vt_pass(0);
	for (unsigned i = 0; i < 2; i++) {
		struct dname name;
		assert_int_equal(w.server[i].probes, 1); /* at once */
		routes_probe_name(w.routes, i, 0, &name);
		/* Up to the nonce: the token, and behind it the zone. */
		const uint8_t *asked = w.server[i].probe.octets + HEADER_LEN;
		assert_memory_equal(asked, name.octets, 1 + 16);
		assert_memory_equal(asked + 1 + 24, name.octets + 1 + 24, name.len - 1U - 24);
	}
	come_back(&w.server[1]);
	assert_false(report_of(0).loop);
	assert_true(report_of(1).loop);
}

static void a_server_that_leads_back_to_us_is_not_asked(void **state)
{
	(void)state;
	w.conf.loop_probe = true;
	start(2);
	vt_pass(0);
	come_back(&w.server[0]);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(asked_ms(), 0);
		assert_int_equal(last_answered_by(), 2);
	}
	assert_int_equal(w.server[0].count, 0);
	/* Not even where it is the only one that is left. */
	silence(&w.server[1]);
	(void)asked_ms();
	assert_int_equal(w.server[0].count, 0);
	come_back(&w.server[1]);
	assert_int_equal(asked_ms(), 0);
	assert_int_equal(ede_of(w.count - 1), EDE_NETWORK_ERROR);
}

static void a_loop_is_looked_after_until_it_is_gone(void **state)
{
	(void)state;
	w.conf.loop_probe = true;
	start(1);
	vt_pass(0);
	come_back(&w.server[0]);
	/* Also while nothing is asked; as long as it comes back, it stays. */
	for (unsigned i = 0; i < 10; i++) {
		unsigned probes = w.server[0].probes;
		vt_pass(60000);
		assert_in_range(w.server[0].probes - probes, 1, 8);
		come_back(&w.server[0]);
		assert_true(report_of(0).loop);
	}
	vt_pass(ROUTES_LOOP_MS + 2000);
	assert_false(report_of(0).loop);
	assert_int_equal(asked_ms(), 0);
	assert_int_equal(last_answered_by(), 1);
}

static void we_ask_not_ourselves(void **state)
{
	(void)state;
	w.conf.loop_probe = true;
	struct routes *routes = new_routes();
	for (unsigned i = 0; i < 2; i++) {
		scripted_open(&w.server[i], w.base, "127.0.0.1", (uint8_t)(i + 1));
		assert_int_equal(routes_add_server(routes, &routes->route[0], &w.server[i].at,
					 i == 0, 0x1000 + i),
			0);
	}
	start_with(routes);
	for (unsigned i = 0; i < 5; i++) {
		(void)asked_ms();
		assert_int_equal(last_answered_by(), 2);
		vt_pass(1000);
	}
	assert_int_equal(w.server[0].probes, 0);
	assert_true(report_of(0).ours);
}

/* A timer costs something each time that the loop waits. */
static void with_nobody_to_ask_no_timer_is_set(void **state)
{
	(void)state;
	w.conf.loop_probe = true;
	start_with(new_routes());
	vt_pass(0);
	assert_null(vt_first());
	ask("www.example", TYPE_A, 1, 7);
	vt_pass(2000);
	assert_null(vt_first());
}

/* Within the time that servers are looked after in after a question. */
static void a_server_that_comes_later_is_looked_after(void **state)
{
	(void)state;
	start_with(new_routes());
	ask("www.example", TYPE_A, 1, 7);
	vt_pass(5000);
	assert_null(vt_first());
	struct routes *routes = new_routes();
	scripted_open(&w.server[0], w.base, "127.0.0.1", 1);
	add_server(routes, &routes->route[0], &w.server[0]);
	set_routes(routes);
	vt_pass(2000);
	assert_int_equal(w.server[0].probes, 1);
}

/* Want. */

static void a_server_gets_a_port_where_others_have_them_all(void **state)
{
	(void)state;
	struct routes *routes = new_routes();
	struct dname corp = name_of("corp.example");
	for (unsigned i = 0; i < 2; i++) {
		scripted_open(&w.server[i], w.base, "127.0.0.1", (uint8_t)(i + 1));
	}
	add_server(routes, &routes->route[0], &w.server[0]);
	add_server(routes, routes_add(routes, &corp), &w.server[1]);
	start_with(routes);
	for (unsigned i = 0; i < 50; i++) {
		(void)asked_ms();
	}
	struct rlimit old;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	const struct rlimit none = {.rlim_cur = 3, .rlim_max = old.rlim_max};
	int spare = dup(0);
	close(spare);
	const struct rlimit full = {.rlim_cur = (rlim_t)spare, .rlim_max = old.rlim_max};
	(void)none;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &full), 0);
	ask("www.corp.example", TYPE_A, 1, 7);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	await_replies(51);
	assert_int_equal(last_answered_by(), 2);
}

#define test(function) cmocka_unit_test_setup_teardown(function, set_up, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_hedge_comes_after_what_nineteen_in_twenty_take),
		test(a_hedge_waits_for_5_ms_at_least),
		test(a_hedge_waits_for_80_ms_at_most),
		test(hedges_are_one_in_ten_at_most),
		test(silence_needs_no_credit),
		test(the_only_server_is_asked_again_when_it_is_silent),
		test(a_silent_server_comes_last_after_three_misses),
		test(a_late_answer_brings_a_silent_server_back),
		test(probes_of_a_silent_server_count_as_timeouts),
		test(a_port_that_a_hedge_overtook_is_abandoned),
		test(a_server_that_is_much_slower_comes_behind),
		test(a_server_that_is_little_slower_keeps_its_place),
		test(rotation_spreads_questions_over_the_servers),
		test(each_server_is_asked_as_often_as_the_routes_say),
		test(one_attempt_waits_for_as_long_as_the_routes_say),
		test(a_hedge_is_counted_for_who_gets_it),
		test(a_server_that_drops_opt_is_asked_without),
		test(a_server_that_took_opt_once_is_not_asked_without),
		test(a_server_without_udp_is_asked_over_tcp),
		test(a_name_that_takes_long_says_nothing_about_the_form),
		test(tc_without_tcp_leads_to_the_next_server),
		test(tc_without_tcp_anywhere_is_told_to_who_can_use_it),
		test(zones_have_servers_of_their_own),
		test(a_zone_without_servers_fails_at_once),
		test(a_question_in_flight_ends_on_the_server_it_was_asked),
		test(a_question_in_flight_is_repeated_where_it_began),
		test(what_is_known_of_a_server_outlives_a_change),
		test(slots_are_given_to_others_only_after_all_has_ended),
		test(servers_that_found_no_slot_are_asked_once_there_is_one),
		test(each_server_is_probed_with_a_token_of_its_own),
		test(with_nobody_to_ask_no_timer_is_set),
		test(a_server_that_comes_later_is_looked_after),
		test(a_server_that_leads_back_to_us_is_not_asked),
		test(a_loop_is_looked_after_until_it_is_gone),
		test(we_ask_not_ourselves),
		test(a_server_gets_a_port_where_others_have_them_all),
	};
	return cmocka_run_group_tests_name("asking", tests, NULL, NULL);
}
