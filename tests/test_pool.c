/* SPDX-License-Identifier: Apache-2.0
 *
 * Slots of servers over changes of routes.
 */
#include "dns/resolve/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const int64_t MS = 1000000; /* in ns */
static const int64_t S = 1000000000;
static const int64_t KEEP = 6000000000;

/* Numbers as if random (splitmix64), the same in every run. */
static uint64_t draw(uint64_t *seed)
{
	uint64_t z = *seed += 0x9e3779b97f4a7c15;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/** A pool, its routes, and of which slots it told. */
struct fixture {
	struct pool pool;
	struct routes *routes;
	unsigned told_count;
	unsigned told[POOL_MAX * 2];
};

static struct fixture f;

static void on_changed(void *ctx, unsigned slot)
{
	struct fixture *at = ctx;
	assert_true(at->told_count < POOL_MAX * 2);
	assert_int_not_equal(at->pool.server[slot].state, SLOT_FREE);
	at->told[at->told_count++] = slot;
}

static int begin(void **state)
{
	(void)state;
	memset(&f, 0, sizeof(f));
	return 0;
}

static int end(void **state)
{
	(void)state;
	routes_unref(f.routes);
	return 0;
}

static struct endpoint nth(unsigned n)
{
	struct endpoint e;
	char text[ENDPOINT_TEXT_SIZE];
	(void)snprintf(text, sizeof(text), "10.0.%u.%u", n / 200, 1 + n % 200);
	assert_int_equal(endpoint_parse(&e, text, 53), 0);
	return e;
}

/* Routes that ask these servers, 16 in each zone; the token of the n-th server is n + 1. */
static struct routes *routes_of(const unsigned servers[], unsigned count)
{
	struct routes *routes = routes_new();
	struct route *route = &routes->route[0];
	for (unsigned i = 0; i < count; i++) {
		struct endpoint e = nth(servers[i]);
		if (i > 0 && i % SERVERS_LIST_MAX == 0) {
			struct dname zone;
			char text[32];
			(void)snprintf(text, sizeof(text), "zone-%u.example", i);
			assert_int_equal(dname_from_text(&zone, text, strlen(text)), 0);
			route = routes_add(routes, &zone);
			assert_non_null(route);
		}
		assert_int_equal(routes_add_server(routes, route, &e, false, servers[i] + 1), 0);
	}
	return routes;
}

static void set_routes(struct routes *routes, int64_t now_ns)
{
	f.told_count = 0;
	pool_set_routes(&f.pool, routes, KEEP, now_ns, on_changed, &f);
	routes_unref(f.routes);
	f.routes = routes;
	assert_ptr_equal(f.pool.routes, routes);
}

#define SET(now_ns, ...)                                                                           \
	set_routes(routes_of((const unsigned[]){__VA_ARGS__},                                      \
			   sizeof((const unsigned[]){__VA_ARGS__}) / sizeof(unsigned)),            \
		now_ns)

/* `count` servers from the n-th on. */
static void set_range(unsigned n, unsigned count, int64_t now_ns)
{
	unsigned servers[ROUTES_SERVERS_MAX];
	for (unsigned i = 0; i < count; i++) {
		servers[i] = n + i;
	}
	set_routes(routes_of(servers, count), now_ns);
}

/* Which slots were told of, in this order. */
#define assert_told(...)                                                                           \
	assert_told_these((const unsigned[]){__VA_ARGS__},                                         \
		sizeof((const unsigned[]){__VA_ARGS__}) / sizeof(unsigned))

static void assert_told_these(const unsigned slots[], unsigned count)
{
	assert_int_equal(f.told_count, count);
	assert_memory_equal(f.told, slots, count * sizeof(slots[0]));
}

static void assert_slot(unsigned slot, enum slot_state state, unsigned server)
{
	const struct pool_server *s = &f.pool.server[slot];
	struct endpoint e = nth(server);
	assert_int_equal(s->state, state);
	assert_true(endpoint_equal(&s->at, &e));
}

/* Slots. */

static void servers_get_slots(void **state)
{
	(void)state;
	SET(S, 5, 3, 9);
	assert_told(0, 1, 2);
	assert_slot(0, SLOT_USED, 5);
	assert_slot(1, SLOT_USED, 3);
	assert_slot(2, SLOT_USED, 9);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(f.pool.slot_of[i], i);
		assert_int_equal(f.pool.server[i].index, i);
	}
	assert_int_equal(f.pool.server[3].state, SLOT_FREE);
}

static void the_same_servers_change_nothing(void **state)
{
	(void)state;
	SET(1 * S, 5, 3, 9);
	SET(2 * S, 5, 3, 9);
	assert_int_equal(f.told_count, 0);
	SET(1000 * S, 5, 3, 9);
	assert_int_equal(f.told_count, 0);
	assert_int_equal(f.pool.slot_of[2], 2);
}

static void another_order_leaves_slots_and_what_is_known(void **state)
{
	(void)state;
	SET(1 * S, 5, 3, 9);
	health_answered(&f.pool.server[0].health, 5 * MS, S);
	f.pool.server[2].counts.udp_queries = 99;
	SET(2 * S, 9, 5, 3);
	assert_int_equal(f.told_count, 0);
	assert_int_equal(f.pool.slot_of[0], 2);
	assert_int_equal(f.pool.slot_of[1], 0);
	assert_int_equal(f.pool.slot_of[2], 1);
	assert_int_equal(f.pool.server[2].index, 0);
	assert_int_equal(f.pool.server[0].index, 1);
	assert_int_equal(f.pool.server[1].index, 2);
	assert_slot(0, SLOT_USED, 5);
	assert_int_equal(f.pool.server[0].health.smoothed_us, 5001);
	assert_int_equal(f.pool.server[2].counts.udp_queries, 99);
}

static void who_goes_and_who_comes_is_told(void **state)
{
	(void)state;
	SET(1 * S, 5, 3, 9);
	SET(2 * S, 7, 5, 9, 8);
	assert_told(1, 3, 4); /* 3 goes, 7 and 8 come */
	assert_slot(1, SLOT_RETIRED, 3);
	assert_slot(3, SLOT_USED, 7);
	assert_slot(4, SLOT_USED, 8);
	assert_int_equal(f.pool.server[1].retired_ns, 2 * S);
	set_routes(routes_of(NULL, 0), 3 * S);
	assert_told(0, 2, 3, 4);
	set_routes(routes_of(NULL, 0), 4 * S);
	assert_int_equal(f.told_count, 0);
	assert_int_equal(f.pool.server[1].retired_ns, 2 * S); /* not prolonged */
}

static void who_returns_in_time_has_its_slot_and_what_is_known(void **state)
{
	(void)state;
	SET(1 * S, 5, 3);
	health_answered(&f.pool.server[1].health, 5 * MS, S);
	health_missed(&f.pool.server[1].health);
	SET(2 * S, 5);
	assert_told(1);
	SET(2 * S + KEEP, 3, 5);
	assert_told(1);
	assert_slot(1, SLOT_USED, 3);
	assert_int_equal(f.pool.slot_of[0], 1);
	assert_int_equal(f.pool.server[1].index, 0);
	assert_int_equal(f.pool.server[1].health.smoothed_us, 5001);
	assert_int_equal(f.pool.server[1].health.misses, 1);
}

static void who_returns_too_late_begins_anew(void **state)
{
	(void)state;
	SET(1 * S, 5, 3);
	health_answered(&f.pool.server[1].health, 5 * MS, S);
	f.pool.server[1].counts.hedges = 7;
	f.pool.server[1].loop_told = true;
	f.pool.server[1].probed_ns = S;
	SET(2 * S, 5);
	SET(2 * S + KEEP + 1, 5, 3);
	assert_told(1);
	assert_slot(1, SLOT_USED, 3);
	assert_int_equal(f.pool.server[1].health.smoothed_us, 0);
	assert_int_equal(f.pool.server[1].counts.hedges, 0);
	assert_int_equal(f.pool.server[1].probed_ns, 0);
	assert_int_equal(f.pool.server[1].retired_ns, 0);
	assert_false(f.pool.server[1].loop_told);
}

static void a_slot_is_not_given_away_before_its_time(void **state)
{
	(void)state;
	SET(1 * S, 5, 3);
	SET(2 * S, 5);
	SET(2 * S + KEEP, 5, 8); /* what was asked just before may be answered now */
	assert_told(2);
	assert_slot(1, SLOT_RETIRED, 3);
	SET(2 * S + KEEP + 1, 5, 8, 9);
	assert_told(1);
	assert_slot(1, SLOT_USED, 9);
	assert_slot(2, SLOT_USED, 8);
}

static void a_slot_whose_probe_is_out_is_not_given_away(void **state)
{
	(void)state;
	static char attempt; /* stands for one, and is not looked into */
	SET(1 * S, 5, 3);
	f.pool.server[1].probing = (struct attempt *)(void *)&attempt;
	SET(2 * S, 5);
	SET(1000 * S, 5, 8);
	assert_told(2);
	assert_slot(1, SLOT_RETIRED, 3);
	f.pool.server[1].probing = NULL;
	SET(1001 * S, 5, 8, 9);
	assert_told(1);
	assert_slot(1, SLOT_USED, 9);
}

static void servers_beyond_all_slots_have_none(void **state)
{
	(void)state;
	uint8_t slots[SERVERS_LIST_MAX];
	set_range(0, 64, 1 * S);
	assert_int_equal(f.told_count, 64);
	set_range(100, 64, 2 * S);
	assert_int_equal(f.told_count, 128);
	set_range(162, 64, 3 * S); /* two of the second ones stay, and 62 do not find a slot */
	assert_int_equal(f.told_count, 62);
	for (unsigned i = 0; i < 64; i++) {
		assert_int_equal(f.pool.slot_of[i], i < 2 ? 126 + i : POOL_NONE);
	}
	assert_int_equal(pool_order(&f.pool, &f.routes->route[0], 0, 3 * S, slots), 2);
	assert_int_equal(slots[0], 126);
	assert_int_equal(slots[1], 127);
	assert_int_equal(pool_order(&f.pool, &f.routes->route[1], 0, 3 * S, slots), 0);
	assert_true(pool_is_short(&f.pool));

	set_range(162, 64, 2 * S + KEEP + 1); /* the first ones' time is over */
	assert_int_equal(f.told_count, 62);
	for (unsigned i = 0; i < 64; i++) {
		assert_int_equal(f.pool.slot_of[i], i < 2 ? 126 + i : i - 2);
	}
	assert_int_equal(pool_order(&f.pool, &f.routes->route[1], 0, 10 * S, slots), 16);
	assert_false(pool_is_short(&f.pool));
}

/* What must hold after any change. */
static void assert_sound(const struct pool *before, int64_t now_ns)
{
	bool told[POOL_MAX] = {false};
	for (unsigned i = 0; i < f.told_count; i++) {
		assert_false(told[f.told[i]]); /* once */
		told[f.told[i]] = true;
	}
	unsigned used = 0;
	for (unsigned slot = 0; slot < POOL_MAX; slot++) {
		const struct pool_server *was = &before->server[slot];
		const struct pool_server *is = &f.pool.server[slot];
		bool same = endpoint_equal(&was->at, &is->at);
		bool moved = (was->state == SLOT_USED) != (is->state == SLOT_USED);
		assert_int_equal(told[slot], moved);
		used += is->state == SLOT_USED;
		if (was->state == SLOT_USED ||
			(was->state == SLOT_RETIRED && now_ns - was->retired_ns <= KEEP)) {
			assert_true(same && is->state != SLOT_FREE);
			assert_memory_equal(&was->health, &is->health, sizeof(is->health));
		}
		if (is->state == SLOT_USED) {
			const struct route_server *s = &f.routes->server[is->index];
			assert_true(endpoint_equal(&s->at, &is->at));
			assert_int_equal(f.pool.slot_of[is->index], slot);
		}
	}
	unsigned placed = 0;
	for (unsigned i = 0; i < f.routes->server_count; i++) {
		placed += f.pool.slot_of[i] != POOL_NONE;
	}
	assert_int_equal(used, placed);
}

static void any_changes_leave_slots_to_their_servers(void **state)
{
	(void)state;
	static struct pool before;
	for (uint64_t run = 1; run <= 4; run++) {
		uint64_t seed = run;
		int64_t now_ns = S;
		for (int round = 0; round < 500; round++) {
			unsigned servers[ROUTES_SERVERS_MAX];
			unsigned count = (unsigned)(draw(&seed) % (ROUTES_SERVERS_MAX + 1));
			for (unsigned i = 0; i < count; i++) {
				servers[i] = (unsigned)(draw(&seed) % 200);
			}
			before = f.pool;
			now_ns += (int64_t)(draw(&seed) % (uint64_t)(2 * S));
			set_routes(routes_of(servers, count), now_ns);
			assert_sound(&before, now_ns);
			health_missed(&f.pool.server[draw(&seed) % POOL_MAX].health);
		}
		end(NULL);
		begin(NULL);
	}
}

/* The order. */

static void assert_order(unsigned rotation, int64_t now_ns, const char *expected)
{
	uint8_t slots[SERVERS_LIST_MAX];
	char text[SERVERS_LIST_MAX + 1] = "";
	unsigned count = pool_order(&f.pool, &f.routes->route[0], rotation, now_ns, slots);
	for (unsigned i = 0; i < count; i++) {
		text[i] = (char)('0' + slots[i]);
	}
	assert_string_equal(text, expected);
}

static void the_order_is_that_of_the_route(void **state)
{
	(void)state;
	SET(1 * S, 5, 3, 9);
	assert_order(0, S, "012");
	SET(2 * S, 9, 3, 5);
	assert_order(0, S, "210");
	SET(3 * S, 9, 1, 5);
	assert_order(0, S, "230");
	set_routes(routes_of(NULL, 0), 4 * S);
	assert_order(0, S, "");
	assert_order(1, S, "");
}

static void the_order_looks_at_health(void **state)
{
	(void)state;
	SET(1 * S, 5, 3, 9, 7);
	for (unsigned i = 0; i < HEALTH_MISSES; i++) {
		health_missed(&f.pool.server[0].health);
	}
	health_answered(&f.pool.server[1].health, 500 * MS, S);
	health_answered(&f.pool.server[2].health, 5 * MS, S);
	assert_order(0, S, "2310");
	assert_order(1, S, "3210");
	health_answered(&f.pool.server[0].health, 0, S);
	assert_order(0, S, "0231");
}

static void the_order_leaves_out_loops_as_long_as_they_last(void **state)
{
	(void)state;
	SET(1 * S, 5, 3, 9);
	struct dname probe;
	routes_probe_name(f.routes, 1, 7, &probe);
	assert_true(routes_catch_probe(f.routes, &probe, 2000));
	assert_order(0, 2 * S, "02");
	assert_order(1, 2 * S, "20");
	assert_order(0, (2000 + ROUTES_LOOP_MS) * MS - 1, "02");
	assert_order(0, (2000 + ROUTES_LOOP_MS) * MS, "012");
	routes_probe_name(f.routes, 0, 7, &probe);
	assert_true(routes_catch_probe(f.routes, &probe, 3000));
	routes_probe_name(f.routes, 2, 7, &probe);
	assert_true(routes_catch_probe(f.routes, &probe, 3000));
	assert_order(0, 3 * S, "");
}

static void the_order_leaves_out_ourselves(void **state)
{
	(void)state;
	struct routes *routes = routes_new();
	for (unsigned i = 0; i < 3; i++) {
		struct endpoint e = nth(i);
		assert_int_equal(routes_add_server(routes, &routes->route[0], &e, i == 0, i), 0);
	}
	set_routes(routes, S);
	assert_told(0, 1, 2);
	assert_order(0, S, "12");
	assert_order(0, 100000 * S, "12");
}

static void zones_share_what_is_known_of_a_server(void **state)
{
	(void)state;
	struct routes *routes = routes_of((const unsigned[]){5, 3}, 2);
	struct dname zone;
	assert_int_equal(dname_from_text(&zone, "corp.example", 12), 0);
	struct route *corp = routes_add(routes, &zone);
	static const unsigned servers[] = {3, 8, 5};
	for (unsigned i = 0; i < 3; i++) {
		struct endpoint e = nth(servers[i]);
		assert_int_equal(routes_add_server(routes, corp, &e, false, 9), 0);
	}
	set_routes(routes, S);
	assert_told(0, 1, 2);
	for (unsigned i = 0; i < HEALTH_MISSES; i++) {
		health_missed(&f.pool.server[1].health);
	}
	assert_order(0, S, "01");
	uint8_t slots[SERVERS_LIST_MAX];
	assert_int_equal(pool_order(&f.pool, corp, 0, S, slots), 3);
	assert_int_equal(slots[0], 2);
	assert_int_equal(slots[1], 0);
	assert_int_equal(slots[2], 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(servers_get_slots, begin, end),
		cmocka_unit_test_setup_teardown(the_same_servers_change_nothing, begin, end),
		cmocka_unit_test_setup_teardown(
			another_order_leaves_slots_and_what_is_known, begin, end),
		cmocka_unit_test_setup_teardown(who_goes_and_who_comes_is_told, begin, end),
		cmocka_unit_test_setup_teardown(
			who_returns_in_time_has_its_slot_and_what_is_known, begin, end),
		cmocka_unit_test_setup_teardown(who_returns_too_late_begins_anew, begin, end),
		cmocka_unit_test_setup_teardown(
			a_slot_is_not_given_away_before_its_time, begin, end),
		cmocka_unit_test_setup_teardown(
			a_slot_whose_probe_is_out_is_not_given_away, begin, end),
		cmocka_unit_test_setup_teardown(servers_beyond_all_slots_have_none, begin, end),
		cmocka_unit_test_setup_teardown(
			any_changes_leave_slots_to_their_servers, begin, end),
		cmocka_unit_test_setup_teardown(the_order_is_that_of_the_route, begin, end),
		cmocka_unit_test_setup_teardown(the_order_looks_at_health, begin, end),
		cmocka_unit_test_setup_teardown(
			the_order_leaves_out_loops_as_long_as_they_last, begin, end),
		cmocka_unit_test_setup_teardown(the_order_leaves_out_ourselves, begin, end),
		cmocka_unit_test_setup_teardown(zones_share_what_is_known_of_a_server, begin, end),
	};
	return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
