/* SPDX-License-Identifier: Apache-2.0
 *
 * Alarms against a list that is searched from end to end.
 */
#include "dns/resolve/alarms.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum { ALARMS = 61 };

static bool no_memory;

/* Seam: memory that is not there. */
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

void *__wrap_calloc(size_t count, size_t size)
{
	return no_memory ? NULL : __real_calloc(count, size);
}

/* Numbers as if random (splitmix64), the same in every run. */
static uint64_t draw(uint64_t *seed)
{
	uint64_t z = *seed += 0x9e3779b97f4a7c15;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/** The heap, and what should be in it. */
struct fixture {
	struct alarms alarms;
	struct alarm alarm[ALARMS];
	bool set[ALARMS];
	int64_t at_ns[ALARMS];
};

static void begin(struct fixture *f, size_t size)
{
	*f = (struct fixture){0};
	assert_int_equal(alarms_init(&f->alarms, size), 0);
	assert_null(alarms_first(&f->alarms));
}

static void set(struct fixture *f, size_t which, int64_t at_ns)
{
	alarm_set(&f->alarms, &f->alarm[which], at_ns);
	f->set[which] = true;
	f->at_ns[which] = at_ns;
}

static void clear(struct fixture *f, size_t which)
{
	alarm_clear(&f->alarms, &f->alarm[which]);
	f->set[which] = false;
}

static void assert_as_expected(const struct fixture *f)
{
	size_t count = 0;
	int64_t earliest = INT64_MAX;
	for (size_t i = 0; i < ALARMS; i++) {
		const struct alarm *a = &f->alarm[i];
		assert_int_equal(a->place != 0, f->set[i]);
		if (f->set[i]) {
			count++;
			earliest = f->at_ns[i] < earliest ? f->at_ns[i] : earliest;
			assert_true(a->at_ns == f->at_ns[i]);
			assert_ptr_equal(f->alarms.heap[a->place], a);
		}
	}
	assert_int_equal(f->alarms.count, count);
	const struct alarm *first = alarms_first(&f->alarms);
	assert_int_equal(first != NULL, count > 0);
	if (first) {
		assert_true(first->at_ns == earliest);
		assert_true(f->set[first - f->alarm]);
	}
}

/* Take them all, the earliest first. */
static void drain(struct fixture *f)
{
	int64_t last = INT64_MIN;
	for (struct alarm *a = alarms_first(&f->alarms); a; a = alarms_first(&f->alarms)) {
		assert_true(a->at_ns >= last);
		last = a->at_ns;
		clear(f, (size_t)(a - f->alarm));
		assert_as_expected(f);
	}
	alarms_free(&f->alarms);
}

static void play(uint64_t seed, uint64_t times)
{
	struct fixture f;
	begin(&f, ALARMS);
	for (int i = 0; i < 10000; i++) {
		uint64_t what = draw(&seed) % 8;
		size_t which = draw(&seed) % ALARMS;
		int64_t by = (int64_t)(draw(&seed) % times);
		const struct alarm *first = alarms_first(&f.alarms);
		if (what < 3) {
			set(&f, which, by);
		} else if (what == 3 && f.set[which]) {
			set(&f, which, f.at_ns[which] + by);
		} else if (what == 4 && f.set[which]) {
			set(&f, which, f.at_ns[which] - by);
		} else if (what == 5 && first) {
			clear(&f, (size_t)(first - f.alarm));
		} else {
			clear(&f, which);
		}
		assert_as_expected(&f);
	}
	drain(&f);
}

static void any_sequence_leaves_the_earliest_first(void **state)
{
	(void)state;
	static const uint64_t times[] = {1, 2, 16, 1000, UINT32_MAX};
	for (uint64_t seed = 1; seed <= 4; seed++) {
		for (size_t i = 0; i < COUNT(times); i++) {
			play(seed, times[i]);
		}
	}
}

static void an_alarm_that_is_set_anew_moves(void **state)
{
	(void)state;
	static const int64_t anew[] = {INT64_MIN, 0, 9, 10, 11, 25, 30, 31, INT64_MAX};
	for (size_t which = 0; which < 7; which++) {
		for (size_t i = 0; i < COUNT(anew); i++) {
			struct fixture f;
			begin(&f, 7);
			for (size_t k = 0; k < 7; k++) {
				set(&f, k, 10 * (int64_t)(k + 1));
			}
			set(&f, which, anew[i]);
			assert_as_expected(&f);
			drain(&f);
		}
	}
}

/* Whoever stood last comes to a place below another parent: it may have to rise there. */
static void each_of_a_heap_can_be_cleared(void **state)
{
	(void)state;
	static const int64_t at[] = {1, 100, 2, 101, 102, 3, 4, 103, 104, 105, 106, 5};
	for (size_t which = 0; which < COUNT(at); which++) {
		struct fixture f;
		begin(&f, COUNT(at));
		for (size_t i = 0; i < COUNT(at); i++) {
			set(&f, i, at[i]);
		}
		clear(&f, which);
		assert_as_expected(&f);
		drain(&f);
	}
}

static void clearing_what_is_not_set_does_nothing(void **state)
{
	(void)state;
	struct fixture f;
	begin(&f, 2);
	clear(&f, 0);
	set(&f, 1, 5);
	clear(&f, 0);
	assert_as_expected(&f);
	clear(&f, 1);
	clear(&f, 1);
	assert_as_expected(&f);
	drain(&f);
}

static void equal_times_all_come(void **state)
{
	(void)state;
	struct fixture f;
	begin(&f, ALARMS);
	for (size_t i = 0; i < ALARMS; i++) {
		set(&f, i, 7);
	}
	set(&f, 30, 7);
	clear(&f, 0);
	clear(&f, ALARMS - 1);
	assert_as_expected(&f);
	drain(&f);
}

static void as_many_are_set_as_there_is_room_for(void **state)
{
	(void)state;
	struct fixture f;
	for (size_t size = 1; size <= 9; size++) {
		begin(&f, size);
		for (size_t i = 0; i < size; i++) {
			set(&f, i, -(int64_t)i);
		}
		for (size_t i = 0; i < size; i++) { /* no room is needed to move one */
			set(&f, i, (int64_t)i);
		}
		clear(&f, 0);
		set(&f, ALARMS - 1, 0); /* the room of one that was cleared */
		assert_as_expected(&f);
		drain(&f);
	}
	begin(&f, 0);
	drain(&f);
}

static void without_memory_there_are_none(void **state)
{
	(void)state;
	struct alarms alarms;
	no_memory = true;
	int error = alarms_init(&alarms, 10);
	no_memory = false;
	assert_int_equal(error, -ENOMEM);
	assert_null(alarms_first(&alarms));
	alarms_free(&alarms);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_sequence_leaves_the_earliest_first),
		cmocka_unit_test(an_alarm_that_is_set_anew_moves),
		cmocka_unit_test(each_of_a_heap_can_be_cleared),
		cmocka_unit_test(clearing_what_is_not_set_does_nothing),
		cmocka_unit_test(equal_times_all_come),
		cmocka_unit_test(as_many_are_set_as_there_is_room_for),
		cmocka_unit_test(without_memory_there_are_none),
	};
	return cmocka_run_group_tests_name("alarms", tests, NULL, NULL);
}
