/* SPDX-License-Identifier: Apache-2.0 */
#include "conf/tick.h"

#include "conf/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/descriptors.h"

#include <event2/event.h>

static struct event_base *base;
static struct tick *tick;
static unsigned times;
static uint32_t again_ms; /* it is started again when it is due; 0: it is not */

static void due(void *ctx)
{
	assert_ptr_equal(ctx, &times);
	assert_false(tick_is_running(tick));
	times++;
	if (again_ms > 0) {
		tick_start(tick, again_ms);
	}
}

static int open_it(void **state)
{
	(void)state;
	times = 0;
	again_ms = 0;
	base = event_base_new();
	return base ? tick_open(&tick, base, due, &times) : -1;
}

static int close_it(void **state)
{
	(void)state;
	tick_close(tick);
	event_base_free(base);
	return 0;
}

static void run_for(long ms)
{
	const struct timeval wait = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	assert_int_equal(event_base_loopexit(base, &wait), 0);
	assert_int_equal(event_base_dispatch(base), 0);
}

static void it_is_due_once_and_not_before(void **state)
{
	(void)state;
	assert_false(tick_is_running(tick));
	run_for(30);
	assert_int_equal(times, 0);
	int64_t begin = clock_ms();
	tick_start(tick, 50);
	assert_true(tick_is_running(tick));
	while (times == 0) {
		assert_int_equal(event_base_loop(base, EVLOOP_ONCE), 0);
	}
	assert_true(clock_ms() - begin >= 50);
	assert_false(tick_is_running(tick));
	run_for(120);
	assert_int_equal(times, 1);
}

static void nothing_of_the_loop_is_pending_meanwhile(void **state)
{
	(void)state;
	int before = event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED);
	tick_start(tick, 1000);
	assert_int_equal(event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED), before);
	run_for(10);
	assert_int_equal(times, 0);
	assert_true(tick_is_running(tick));
}

static void without_a_wait_it_is_due_at_once_but_not_within(void **state)
{
	(void)state;
	tick_start(tick, 0);
	assert_int_equal(times, 0);
	assert_int_equal(event_base_loop(base, EVLOOP_ONCE), 0);
	assert_int_equal(times, 1);
}

static void one_that_is_running_is_set_anew(void **state)
{
	(void)state;
	tick_start(tick, 60000);
	tick_start(tick, 1);
	assert_int_equal(event_base_loop(base, EVLOOP_ONCE), 0);
	assert_int_equal(times, 1);
}

static void set_anew(evutil_socket_t fd, short what, void *arg)
{
	struct tick *other = arg;
	(void)fd, (void)what;
	tick_start(other, 60000);
}

/* Two are due in the same turn of the loop; the first one sets the other anew. */
static void one_that_is_due_already_may_still_be_set_anew(void **state)
{
	struct event *first = event_new(base, -1, 0, set_anew, tick);
	const struct timespec moment = {.tv_nsec = 1000000};
	(void)state;
	assert_non_null(first);
	tick_start(tick, 0);
	nanosleep(&moment, NULL);
	event_active(first, EV_TIMEOUT, 0); /* before what the loop finds */
	assert_int_equal(event_base_loop(base, EVLOOP_NONBLOCK), 0);
	event_free(first);
	run_for(3);
	assert_int_equal(times, 0);
	assert_true(tick_is_running(tick));
}

static void it_may_start_itself(void **state)
{
	(void)state;
	again_ms = 1;
	tick_start(tick, 1);
	while (times < 10) {
		assert_int_equal(event_base_loop(base, EVLOOP_ONCE), 0);
	}
	assert_true(tick_is_running(tick));
}

static void nothing_is_left_of_it(void **state)
{
	struct tick *other;
	(void)state;
	unsigned descriptors = open_descriptors();
	assert_int_equal(tick_open(&other, base, due, NULL), 0);
	tick_start(other, 0);
	tick_close(other);
	tick_close(NULL);
	run_for(10);
	assert_int_equal(open_descriptors(), descriptors);
}

#define test(name) cmocka_unit_test_setup_teardown(name, open_it, close_it)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(it_is_due_once_and_not_before),
		test(nothing_of_the_loop_is_pending_meanwhile),
		test(without_a_wait_it_is_due_at_once_but_not_within),
		test(one_that_is_running_is_set_anew),
		test(one_that_is_due_already_may_still_be_set_anew),
		test(it_may_start_itself),
		test(nothing_is_left_of_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
