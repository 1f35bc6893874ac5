/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of stats.c.
 */
#include "dns/admin/stats.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void a_time_on_a_bound_counts_below_it(void **state)
{
	(void)state;
	struct histogram h = {0};
	histogram_add(&h, 5000000, 1);
	histogram_add(&h, 5000001, 1);
	assert_int_equal(h.bucket[0], 1);
	assert_int_equal(h.bucket[1], 1);
}

static void a_time_above_all_bounds_counts_in_count_alone(void **state)
{
	(void)state;
	struct histogram h = {0};
	histogram_add(&h, 10000000000, 1);
	histogram_add(&h, 10000000001, 1);
	assert_int_equal(h.bucket[HISTOGRAM_BUCKETS - 1], 1);
	assert_int_equal(h.count, 2);
	assert_int_equal(h.sum_ns, 20000000001);
}

static void each_bucket_is_reached(void **state)
{
	(void)state;
	static const uint64_t ms[HISTOGRAM_BUCKETS] = {
		5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000};
	struct histogram h = {0};
	for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		histogram_add(&h, ms[i] * 1000000, 1);
	}
	for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		assert_int_equal(h.bucket[i], 1);
	}
}

static void events_of_one_batch_are_all_counted(void **state)
{
	(void)state;
	struct histogram h = {0};
	histogram_add(&h, 1000, 64);
	assert_int_equal(h.bucket[0], 64);
	assert_int_equal(h.count, 64);
	assert_int_equal(h.sum_ns, 64000);
}

/* Every counter of a worker is a 64-bit word: all of them are told apart by their value. */
static void sum_takes_every_counter_once(void **state)
{
	(void)state;
	enum { WORDS = sizeof(struct stats) / sizeof(uint64_t) };
	struct stats from;
	struct stats into = {0};
	uint64_t expected[WORDS];
	for (uint64_t i = 0; i < WORDS; i++) {
		expected[i] = 1000 + i;
	}
	memcpy(&from, expected, sizeof(from));
	stats_sum(&into, &from);
	assert_memory_equal(&into, &from, sizeof(into));
	stats_sum(&into, &from);
	for (size_t i = 0; i < WORDS; i++) {
		expected[i] *= 2;
	}
	assert_memory_equal(&into, expected, sizeof(into));
}

static void gauges_of_two_workers_add_up(void **state)
{
	(void)state;
	struct stats one = {0};
	struct stats two = {0};
	struct stats sum = {0};
	stats_add(&one, STAT_TRANSACTIONS_NOW, 3);
	stats_lower(&one, STAT_TRANSACTIONS_NOW);
	stats_add(&two, STAT_TRANSACTIONS_NOW, 1);
	stats_lower(&two, STAT_TRANSACTIONS_NOW);
	stats_sum(&sum, &one);
	stats_sum(&sum, &two);
	assert_int_equal(sum.value[STAT_TRANSACTIONS_NOW], 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_time_on_a_bound_counts_below_it),
		cmocka_unit_test(a_time_above_all_bounds_counts_in_count_alone),
		cmocka_unit_test(each_bucket_is_reached),
		cmocka_unit_test(events_of_one_batch_are_all_counted),
		cmocka_unit_test(sum_takes_every_counter_once),
		cmocka_unit_test(gauges_of_two_workers_add_up),
	};
	return cmocka_run_group_tests_name("stats", tests, NULL, NULL);
}
