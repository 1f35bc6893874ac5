/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dns/resolve/attempts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool no_memory;
static const uint16_t *drawn; /* what is drawn next; NULL: what the kernel gives */

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
uint16_t __real_entropy_u16(struct entropy *e);
uint16_t __wrap_entropy_u16(struct entropy *e);

void *__wrap_calloc(size_t count, size_t size)
{
	return no_memory ? NULL : __real_calloc(count, size);
}

uint16_t __wrap_entropy_u16(struct entropy *e)
{
	return drawn ? *drawn++ : __real_entropy_u16(e);
}

static struct attempts attempts;
static struct entropy entropy;

static void begin(size_t count)
{
	memset(&attempts, 0, sizeof(attempts));
	drawn = NULL;
	assert_int_equal(attempts_init(&attempts, count, &entropy), 0);
}

static struct attempt *take(uint16_t id)
{
	struct attempt *a = attempts_take(&attempts);
	assert_non_null(a);
	assert_int_equal(a->id, id);
	assert_ptr_equal(attempts_find(&attempts, id), a);
	return a;
}

static void an_id_in_use_is_not_drawn_again(void **state)
{
	static const uint16_t ids[] = {7, 7, 7, 9, 9, 7, 8};
	(void)state;
	begin(8);
	drawn = ids;
	(void)take(7);
	(void)take(9);
	(void)take(8);
	assert_ptr_equal(drawn, ids + 7);
	attempts_free(&attempts);
}

/* 5 and 5 + 4096 * n share a place in the index. */
static void ids_that_share_a_place_are_told_apart(void **state)
{
	enum { STEP = ATTEMPTS_ID_BUCKETS };
	static const uint16_t ids[] = {5, 5 + STEP, 5 + 2 * STEP, 5 + 3 * STEP, 5 + STEP};
	(void)state;
	begin(4);
	drawn = ids;
	struct attempt *a[4];
	for (unsigned i = 0; i < 4; i++) {
		a[i] = take(ids[i]);
	}
	assert_null(attempts_take(&attempts));
	attempts_give(&attempts, a[1]); /* neither the first nor the last of its place */
	for (unsigned i = 0; i < 4; i++) {
		assert_ptr_equal(attempts_find(&attempts, ids[i]), i == 1 ? NULL : a[i]);
	}
	assert_null(attempts_find(&attempts, 5 + 4 * STEP));
	assert_ptr_equal(take(ids[1]), a[1]);
	attempts_free(&attempts);
}

static void what_is_given_back_is_taken_clean(void **state)
{
	(void)state;
	begin(1);
	struct attempt *a = attempts_take(&attempts);
	assert_non_null(a);
	memset(&a->sent_ns, 0xa5, sizeof(a->sent_ns));
	a->owner = a;
	a->in_ares = true;
	attempts_give(&attempts, a);
	assert_ptr_equal(attempts_take(&attempts), a);
	assert_null(a->owner);
	assert_int_equal(a->sent_ns, 0);
	assert_false(a->in_ares);
	assert_true(
		link_empty(&a->sibling) && link_empty(&a->port_link) && link_empty(&a->ended_link));
	attempts_free(&attempts);
}

/* Half of all IDs: more are never outstanding, whatever is asked for. */
static void there_are_never_more_than_half_of_all_ids(void **state)
{
	static bool seen[65536];
	unsigned count = 0;
	(void)state;
	begin(SIZE_MAX);
	memset(seen, 0, sizeof(seen));
	for (struct attempt *a = attempts_take(&attempts); a; a = attempts_take(&attempts)) {
		assert_false(seen[a->id]);
		seen[a->id] = true;
		count++;
	}
	assert_int_equal(count, 32768);
	attempts_free(&attempts);
}

static void without_memory_there_is_no_pool(void **state)
{
	(void)state;
	memset(&attempts, 0, sizeof(attempts));
	no_memory = true;
	assert_int_equal(attempts_init(&attempts, 4, &entropy), -ENOMEM);
	no_memory = false;
	attempts_free(&attempts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_id_in_use_is_not_drawn_again),
		cmocka_unit_test(ids_that_share_a_place_are_told_apart),
		cmocka_unit_test(what_is_given_back_is_taken_clean),
		cmocka_unit_test(there_are_never_more_than_half_of_all_ids),
		cmocka_unit_test(without_memory_there_is_no_pool),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
