/* SPDX-License-Identifier: Apache-2.0
 *
 * What is remembered of servers, and in which order they are asked because of it.
 */
#include "dns/resolve/health.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const int64_t MS = 1000000; /* in ns */
static const int64_t S = 1000000000;

/* Numbers as if random (splitmix64), the same in every run. */
static uint64_t draw(uint64_t *seed)
{
	uint64_t z = *seed += 0x9e3779b97f4a7c15;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* 0.0 .. 1.0 */
static double draw_share(uint64_t *seed)
{
	return (double)(draw(seed) >> 11) / (double)(1ULL << 53);
}

static void assert_between(double value, double least, double most, const char *what)
{
	if (value < least || value > most) {
		fail_msg("%s: %f, not %f to %f", what, value, least, most);
	}
}

/* Response times. */

/* RFC 6298 §2.2 */
static void the_first_response_time_counts_whole(void **state)
{
	(void)state;
	struct health h = {0};
	health_answered(&h, 8 * MS, S);
	assert_between(h.smoothed_us, 8000, 8001, "first");
	assert_int_equal(h.answered_ns, S);
}

/* RFC 6298 §2.3: SRTT <- (1 - alpha) * SRTT + alpha * R', alpha = 1/8 */
static void a_later_response_time_counts_one_eighth(void **state)
{
	(void)state;
	static const int64_t ms[] = {8, 16, 8, 1, 1000, 3, 3, 3, 3, 3, 250, 0, 80};
	struct health h = {0};
	double smoothed = 0;
	for (size_t i = 0; i < COUNT(ms); i++) {
		double us = (double)ms[i] * 1000 + 1;
		smoothed = i == 0 ? us : smoothed * 7 / 8 + us / 8;
		health_answered(&h, ms[i] * MS + 1, S);
		/* Each division may drop seven eighths. */
		assert_between(h.smoothed_us, smoothed - 8, smoothed + 8, "smoothed");
	}
}

static void the_smoothed_time_comes_to_rest_at_a_constant_one(void **state)
{
	(void)state;
	static const int64_t us[] = {1, 7, 50, 1000, 20000, 3000000};
	for (size_t from = 0; from < COUNT(us); from++) {
		for (size_t to = 0; to < COUNT(us); to++) {
			struct health h = {0};
			health_answered(&h, us[from] * 1000, S);
			for (int i = 0; i < 160; i++) {
				health_answered(&h, us[to] * 1000, S);
			}
			assert_between(h.smoothed_us, (double)us[to] * 0.99 - 8,
				(double)us[to] * 1.01 + 8, "rest");
			assert_int_not_equal(h.smoothed_us, 0); /* that is: unknown */
		}
	}
}

static void an_answer_without_a_time_changes_no_time(void **state)
{
	(void)state;
	struct health h = {0};
	health_answered(&h, 0, 1 * S);
	assert_int_equal(h.smoothed_us, 0);
	assert_int_equal(h.p95_us, 0);
	assert_int_equal(h.answered_ns, 1 * S);

	health_answered(&h, 10 * MS, 2 * S);
	const struct health before = h;
	health_missed(&h);
	health_answered(&h, 0, 3 * S);
	health_answered(&h, -5 * MS, 3 * S);
	assert_int_equal(h.smoothed_us, before.smoothed_us);
	assert_int_equal(h.p95_us, before.p95_us);
	assert_int_equal(h.misses, 0);
	assert_int_equal(h.answered_ns, 3 * S);
}

static void huge_times_count_as_a_minute(void **state)
{
	(void)state;
	static const int64_t ns[] = {INT64_MAX, 1, INT64_MAX, INT64_MAX - 1, 60 * S, INT64_MAX};
	struct health h = {0};
	for (int i = 0; i < 1000; i++) {
		health_answered(&h, ns[(size_t)i % COUNT(ns)], INT64_MAX);
		assert_true(h.smoothed_us > 0 && h.smoothed_us <= 60000000);
		assert_true(h.p95_us > 0 && h.p95_us <= 120000000);
		assert_int_equal(health_hedge_ns(&h), HEALTH_HEDGE_MAX_MS * MS);
	}
	for (int i = 0; i < 1000; i++) {
		health_answered(&h, INT64_MAX, INT64_MAX);
	}
	assert_between(h.smoothed_us, 59999000, 60000000, "smoothed");
}

/* The percentile. */

/* Response times in µs for a share of 0.0 to 1.0, rising with it. */
typedef double distribution(double share);

static double constant(double share)
{
	(void)share;
	return 10000;
}

static double uniform(double share)
{
	return 1000 + share * 20000;
}

static double long_tail(double share)
{
	return 1000 / (1.01 - share);
}

static double slow_3_in_100(double share)
{
	return share < 0.97 ? 1000 : 100000;
}

static double slow_10_in_100(double share)
{
	return share < 0.90 ? 1000 : 100000;
}

static double submillisecond(double share)
{
	return 100 + share * 400;
}

static const struct {
	const char *name;
	distribution *us;
	double p95;  /* where it should be, in µs */
	bool smooth; /* the share of those above means something */
} distributions[] = {
	{"constant", constant, 10000, false},
	{"uniform", uniform, 20000, true},
	{"long tail", long_tail, 16667, true},
	{"3 % slow", slow_3_in_100, 1000, false},
	{"10 % slow", slow_10_in_100, 100000, false},
	{"below a millisecond", submillisecond, 480, true},
};

static void feed(struct health *h, distribution *us, int count, uint64_t *seed)
{
	for (int i = 0; i < count; i++) {
		health_answered(h, (int64_t)(us(draw_share(seed)) * 1000), S);
	}
}

static void the_percentile_settles_where_one_in_twenty_is_slower(void **state)
{
	(void)state;
	enum { ANSWERS = 50000 };
	for (size_t i = 0; i < COUNT(distributions); i++) {
		for (uint64_t run = 1; run <= 4; run++) {
			struct health h = {0};
			uint64_t seed = run;
			double sum = 0;
			int above = 0;
			feed(&h, distributions[i].us, 2000, &seed);
			for (int k = 0; k < ANSWERS; k++) {
				double us = distributions[i].us(draw_share(&seed));
				above += us > h.p95_us;
				sum += h.p95_us;
				health_answered(&h, (int64_t)(us * 1000), S);
			}
			assert_between(sum / ANSWERS, distributions[i].p95 * 0.80,
				distributions[i].p95 * 1.25, distributions[i].name);
			if (distributions[i].smooth) {
				assert_between((double)above / ANSWERS, 0.045, 0.065,
					distributions[i].name);
			}
		}
	}
}

static void the_percentile_starts_at_twice_the_first_time(void **state)
{
	(void)state;
	struct health h = {0};
	health_answered(&h, 7 * MS, S);
	assert_between(h.p95_us, 14000, 14002, "first");
}

static void the_percentile_rises_fast_and_sinks_slowly(void **state)
{
	(void)state;
	struct health h = {0};
	uint64_t seed = 1;
	feed(&h, constant, 1000, &seed);
	int rising = 0;
	while (h.p95_us < 100000 && rising < 1000) {
		health_answered(&h, 100 * MS, S);
		rising++;
	}
	int sinking = 0;
	while (h.p95_us > 12000 && sinking < 10000) {
		health_answered(&h, 10 * MS, S);
		sinking++;
	}
	assert_between(rising, 5, 20, "tenfold up");
	assert_between(sinking, 200, 400, "tenfold down");
}

static void the_percentile_never_becomes_unknown_again(void **state)
{
	(void)state;
	struct health h = {0};
	for (int i = 0; i < 1000; i++) {
		health_answered(&h, 1, S);
		assert_int_not_equal(h.p95_us, 0);
		assert_int_not_equal(h.smoothed_us, 0);
	}
}

static void hedges_wait_for_the_percentile_within_limits(void **state)
{
	(void)state;
	static const struct {
		uint32_t p95_us;
		int64_t us;
	} vectors[] = {
		{0, HEALTH_HEDGE_FIRST_MS * 1000}, /* never answered */
		{1, HEALTH_HEDGE_MIN_MS * 1000},
		{4999, 5000},
		{5000, 5000},
		{5001, 5001},
		{20000, 20000},
		{79999, 79999},
		{80000, 80000},
		{80001, 80000},
		{UINT32_MAX, HEALTH_HEDGE_MAX_MS * 1000},
	};
	for (size_t i = 0; i < COUNT(vectors); i++) {
		struct health h = {.p95_us = vectors[i].p95_us};
		assert_int_equal(health_hedge_ns(&h), vectors[i].us * 1000);
	}
}

/* Silence. */

static void three_misses_in_a_row_make_a_server_silent(void **state)
{
	(void)state;
	struct health h = {0};
	assert_false(health_is_silent(&h));
	health_missed(&h);
	health_missed(&h);
	assert_false(health_is_silent(&h));
	health_missed(&h);
	assert_true(health_is_silent(&h));
}

static void an_answer_in_between_ends_the_row(void **state)
{
	(void)state;
	struct health h = {0};
	for (int i = 0; i < 10; i++) {
		health_missed(&h);
		health_missed(&h);
		assert_false(health_is_silent(&h));
		health_answered(&h, 0, S);
	}
}

static void one_answer_ends_a_long_silence(void **state)
{
	(void)state;
	struct health h = {0};
	for (int i = 0; i < 100000; i++) {
		health_missed(&h);
	}
	assert_true(health_is_silent(&h));
	assert_int_equal(h.misses, HEALTH_MISSES);
	health_answered(&h, 0, S);
	assert_false(health_is_silent(&h));
	assert_int_equal(h.misses, 0);
}

/* Forms of queries. */

/* RFC 6891 §6.2.2 */
static void opt_is_left_out_for_five_minutes(void **state)
{
	(void)state;
	const int64_t memory = HEALTH_MEMORY_S * S;
	struct health h = {0};
	assert_true(health_wants_opt(&h, 1));
	health_refuses_opt(&h, 7 * S);
	assert_false(health_wants_opt(&h, 7 * S));
	assert_false(health_wants_opt(&h, 7 * S + memory - 1));
	assert_true(health_wants_opt(&h, 7 * S + memory));
	assert_true(health_wants_udp(&h, 7 * S));

	health_refuses_opt(&h, 8 * S);
	assert_false(health_wants_opt(&h, 8 * S + memory - 1));
	assert_true(health_wants_opt(&h, 8 * S + memory));
}

static void udp_is_left_out_for_five_minutes(void **state)
{
	(void)state;
	const int64_t memory = HEALTH_MEMORY_S * S;
	struct health h = {0};
	assert_true(health_wants_udp(&h, 1));
	health_refuses_udp(&h, 7 * S);
	assert_false(health_wants_udp(&h, 7 * S));
	assert_false(health_wants_udp(&h, 7 * S + memory - 1));
	assert_true(health_wants_udp(&h, 7 * S + memory));
	assert_true(health_wants_opt(&h, 7 * S));
}

static void answers_and_misses_leave_the_form_alone(void **state)
{
	(void)state;
	struct health h = {0};
	health_refuses_opt(&h, S);
	health_refuses_udp(&h, S);
	health_missed(&h);
	health_answered(&h, MS, 2 * S);
	assert_false(health_wants_opt(&h, 2 * S));
	assert_false(health_wants_udp(&h, 2 * S));
}

/* The order. */

enum { SILENT = HEALTH_MISSES };

/** Servers in the order of the configuration, and in which they are asked. */
struct ordering {
	const char *what;
	unsigned count;
	unsigned first;
	uint32_t us[5];
	unsigned misses[5];
	uint8_t order[5];
};

static const struct ordering orderings[] = {
	{"equals as configured", 3, 0, {9000, 9000, 9000}, {0}, {0, 1, 2}},
	{"a bit slower is as fast", 3, 0, {39000, 30000, 5000}, {0}, {0, 1, 2}},
	{"just not slow", 2, 0, {4 * 5000 + 20000, 5000}, {0}, {0, 1}},
	{"just slow", 2, 0, {4 * 5000 + 20001, 5000}, {0}, {1, 0}},
	{"four times as slow, but in no time", 2, 0, {19000, 100}, {0}, {0, 1}},
	{"slow ones as configured", 4, 0, {900000, 500000, 1000, 700000}, {0}, {2, 0, 1, 3}},
	{"nobody known", 3, 0, {0}, {0}, {0, 1, 2}},
	{"unknown counts as fast", 3, 0, {900000, 0, 1000}, {0}, {1, 2, 0}},
	{"alone, and slow", 1, 0, {UINT32_MAX}, {0}, {0}},
	{"all equally slow", 2, 0, {UINT32_MAX, UINT32_MAX}, {0}, {0, 1}},
	{"two misses are none", 2, 0, {1000, 1000}, {SILENT - 1}, {0, 1}},
	{"silent last", 3, 0, {1000, 900000, 1000}, {SILENT}, {2, 1, 0}},
	{"silent ones as configured", 3, 0, {3000, 1000, 2000}, {SILENT, SILENT, SILENT},
		{0, 1, 2}},
	{"silent behind slow", 5, 0, {1000, 900000, 2000, 800000, 1000}, {SILENT, 0, 0, 0, SILENT},
		{2, 1, 3, 0, 4}},
	{"who is silent is not the fastest", 3, 0, {1000, 90000, 80000}, {SILENT}, {1, 2, 0}},
	{"all known are silent", 3, 0, {1000, 2000, 0}, {SILENT, SILENT}, {2, 0, 1}},
	{"nobody", 0, 0, {0}, {0}, {0}},
	{"nobody, rotated", 0, 3, {0}, {0}, {0}},
	{"rotated by one", 3, 1, {0}, {0}, {1, 2, 0}},
	{"rotated by all", 3, 3, {0}, {0}, {0, 1, 2}},
	{"rotated far", 3, UINT_MAX, {0}, {0}, {0, 1, 2}},
	{"only the fast are rotated", 5, 1, {900000, 1000, 1000, 1000, 1000}, {0, 0, SILENT},
		{3, 4, 1, 0, 2}},
	{"one fast is not rotated", 4, 1, {900000, 1000, 800000, 1000}, {0, 0, 0, SILENT},
		{1, 0, 2, 3}},
	{"silent ones are not rotated", 3, 1, {0}, {SILENT, SILENT, SILENT}, {0, 1, 2}},
};

static void the_order_is_that_of_the_configuration_but_for_slow_and_silent(void **state)
{
	(void)state;
	for (size_t v = 0; v < COUNT(orderings); v++) {
		const struct ordering *o = &orderings[v];
		struct health h[5] = {{0}};
		const struct health *of[5];
		uint8_t order[6];
		memset(order, 0xee, sizeof order);
		for (unsigned i = 0; i < 5; i++) {
			h[i].smoothed_us = o->us[i];
			h[i].misses = o->misses[i];
			of[i] = &h[i];
		}
		health_order(of, o->count, o->first, order);
		for (unsigned i = 0; i < o->count; i++) {
			if (order[i] != o->order[i]) {
				fail_msg("%s: place %u has %u, not %u", o->what, i, order[i],
					o->order[i]);
			}
		}
		assert_int_equal(order[o->count], 0xee);
	}
}

static void one_answer_brings_back_the_old_order(void **state)
{
	(void)state;
	struct health h[2] = {{0}};
	const struct health *const of[2] = {&h[0], &h[1]};
	uint8_t order[2];
	health_answered(&h[0], 2 * MS, S);
	health_answered(&h[1], MS, S);
	for (int i = 0; i < 50; i++) {
		health_missed(&h[0]);
	}
	health_order(of, 2, 0, order);
	assert_int_equal(order[0], 1);
	health_answered(&h[0], 0, 2 * S);
	health_order(of, 2, 0, order);
	assert_int_equal(order[0], 0);
}

static void a_server_that_was_slow_comes_back_within_a_few_answers(void **state)
{
	(void)state;
	struct health h[2] = {{0}};
	const struct health *const of[2] = {&h[0], &h[1]};
	uint8_t order[2];
	health_answered(&h[0], 400 * MS, S);
	health_answered(&h[1], 2 * MS, S);
	health_order(of, 2, 0, order);
	assert_int_equal(order[0], 1);
	int answers = 0;
	do {
		health_answered(&h[0], 2 * MS, S);
		health_order(of, 2, 0, order);
		answers++;
	} while (order[0] != 0 && answers < 1000);
	assert_between(answers, 2, 25, "answers");
}

/* 0: fast, 1: slow, 2: silent; said once more, otherwise. */
static int rank_of(const struct health h[], unsigned count, unsigned which)
{
	if (h[which].misses >= 3) {
		return 2;
	}
	for (unsigned i = 0; i < count; i++) {
		if (h[i].misses < 3 && h[i].smoothed_us != 0 &&
			(double)h[which].smoothed_us > 4.0 * h[i].smoothed_us + 20000) {
			return 1;
		}
	}
	return 0;
}

static void assert_ordered(
	const struct health h[], unsigned count, unsigned first, const uint8_t order[])
{
	unsigned fast = 0;
	uint32_t seen = 0;
	for (unsigned i = 0; i < count; i++) {
		fast += rank_of(h, count, i) == 0;
		seen |= 1U << order[i];
	}
	assert_int_equal(seen, (1U << count) - 1); /* each of them once */
	for (unsigned i = 1; i < count; i++) {
		int before = rank_of(h, count, order[i - 1]);
		int rank = rank_of(h, count, order[i]);
		assert_true(before <= rank);
		bool wraps = rank == 0 && i == fast - first % fast;
		assert_true(before < rank || (order[i - 1] < order[i]) != wraps);
	}
}

static void any_servers_come_in_order(void **state)
{
	(void)state;
	static const uint32_t us[] = {0, 1, 1000, 5000, 21000, 24000, 40000, 60000, UINT32_MAX};
	uint64_t seed = 1;
	for (int round = 0; round < 20000; round++) {
		struct health h[SERVERS_LIST_MAX] = {{0}};
		const struct health *of[SERVERS_LIST_MAX];
		uint8_t order[SERVERS_LIST_MAX];
		unsigned count = 1 + (unsigned)(draw(&seed) % SERVERS_LIST_MAX);
		unsigned first = round % 2 ? 0 : (unsigned)draw(&seed);
		for (unsigned i = 0; i < count; i++) {
			h[i].smoothed_us = us[draw(&seed) % COUNT(us)];
			h[i].misses = (unsigned)(draw(&seed) % 5);
			of[i] = &h[i];
		}
		health_order(of, count, first, order);
		assert_ordered(h, count, first, order);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_response_time_counts_whole),
		cmocka_unit_test(a_later_response_time_counts_one_eighth),
		cmocka_unit_test(the_smoothed_time_comes_to_rest_at_a_constant_one),
		cmocka_unit_test(an_answer_without_a_time_changes_no_time),
		cmocka_unit_test(huge_times_count_as_a_minute),
		cmocka_unit_test(the_percentile_settles_where_one_in_twenty_is_slower),
		cmocka_unit_test(the_percentile_starts_at_twice_the_first_time),
		cmocka_unit_test(the_percentile_rises_fast_and_sinks_slowly),
		cmocka_unit_test(the_percentile_never_becomes_unknown_again),
		cmocka_unit_test(hedges_wait_for_the_percentile_within_limits),
		cmocka_unit_test(three_misses_in_a_row_make_a_server_silent),
		cmocka_unit_test(an_answer_in_between_ends_the_row),
		cmocka_unit_test(one_answer_ends_a_long_silence),
		cmocka_unit_test(opt_is_left_out_for_five_minutes),
		cmocka_unit_test(udp_is_left_out_for_five_minutes),
		cmocka_unit_test(answers_and_misses_leave_the_form_alone),
		cmocka_unit_test(the_order_is_that_of_the_configuration_but_for_slow_and_silent),
		cmocka_unit_test(one_answer_brings_back_the_old_order),
		cmocka_unit_test(a_server_that_was_slow_comes_back_within_a_few_answers),
		cmocka_unit_test(any_servers_come_in_order),
	};
	return cmocka_run_group_tests_name("health", tests, NULL, NULL);
}
