/* SPDX-License-Identifier: Apache-2.0
 *
 * When long work gives way, and for how much of the time. The clock is ours, and so are the others.
 */
#include "conf/giveway.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

enum { US = 1000 };

static int64_t now_ns;
static int64_t others_ns; /* how long they keep the core each time */
static unsigned times;

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
	(void)clock;
	ts->tv_sec = now_ns / 1000000000;
	ts->tv_nsec = now_ns % 1000000000;
	return 0;
}

int __wrap_sched_yield(void);
int __wrap_sched_yield(void)
{
	times++;
	now_ns += others_ns;
	return 0;
}

/* Work for so long, a microsecond at a time. @return how often it gave way */
static unsigned work(int64_t us)
{
	unsigned before = times;
	for (int64_t i = 0; i < us; i++) {
		give_way();
		now_ns += US;
	}
	return times - before;
}

static int begin(void **state)
{
	(void)state;
	others_ns = 0;
	now_ns += 10000000000; /* all that was before is long ago */
	return 0;
}

static void work_gives_way_every_50_us(void **state)
{
	(void)state;
	assert_int_equal(work(1), 1);
	assert_int_equal(work(49), 0);
	assert_int_equal(work(950), 19);
}

static void others_who_need_little_have_it_as_often(void **state)
{
	(void)state;
	others_ns = 20 * US;
	assert_int_equal(work(1000), 20);
}

static void others_who_never_rest_have_half_of_the_core(void **state)
{
	(void)state;
	others_ns = 3000 * US;
	int64_t started = now_ns;
	work(30000);
	int64_t all = now_ns - started;
	assert_true(all <= 2 * 30000 * US);
	assert_int_equal(all, 30000 * US + 10 * others_ns);
}

/* A container may be stopped for that long, when it has used up its share of the time. */
static void a_long_pause_is_not_made_up_for(void **state)
{
	(void)state;
	others_ns = 80000 * US;
	assert_int_equal(work(1), 1);
	others_ns = 0;
	assert_int_equal(work(9999), 0);
	assert_int_equal(work(1), 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(work_gives_way_every_50_us, begin),
		cmocka_unit_test_setup(others_who_need_little_have_it_as_often, begin),
		cmocka_unit_test_setup(others_who_never_rest_have_half_of_the_core, begin),
		cmocka_unit_test_setup(a_long_pause_is_not_made_up_for, begin),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
