/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dns/resolve/entropy.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/types.h>

/* The seam: a kernel that gives out 1, 2, 3, … */
static struct {
	uint8_t next;
	size_t at_most;   /* octets a call; 0: as many as are asked for */
	unsigned signals; /* calls that a signal ends first */
	int error;        /* of the call after these; 0: none */
	unsigned calls;
} kernel;

static jmp_buf aborted;

ssize_t __wrap_getrandom(void *to, size_t len, unsigned flags);
void __wrap_abort(void) __attribute__((noreturn));

ssize_t __wrap_getrandom(void *to, size_t len, unsigned flags)
{
	uint8_t *octets = to;
	assert_int_equal(flags, 0); /* waits until there is entropy */
	kernel.calls++;
	if (kernel.signals > 0 || kernel.error != 0) {
		errno = kernel.signals > 0 ? EINTR : kernel.error;
		kernel.signals -= kernel.signals > 0;
		return -1;
	}
	if (kernel.at_most > 0 && len > kernel.at_most) {
		len = kernel.at_most;
	}
	for (size_t i = 0; i < len; i++) {
		octets[i] = ++kernel.next;
	}
	return (ssize_t)len;
}

void __wrap_abort(void)
{
	longjmp(aborted, 1);
}

static int setup(void **state)
{
	static struct entropy e;
	memset(&e, 0, sizeof(e));
	memset(&kernel, 0, sizeof(kernel));
	*state = &e;
	return 0;
}

/* Each octet of a block is given out once, and then it is no longer there. */
static void assert_block(struct entropy *e)
{
	bool seen[256] = {false};
	for (unsigned i = 0; i < 128; i++) {
		uint16_t value = entropy_u16(e);
		assert_false(seen[value >> 8]);
		seen[value >> 8] = true;
		assert_false(seen[value & 0xff]);
		seen[value & 0xff] = true;
		assert_int_equal(e->left, 256 - 2 * (i + 1));
		for (size_t at = e->left; at < sizeof(e->octets); at++) {
			assert_int_equal(e->octets[at], 0);
		}
	}
}

static void blocks_are_fetched_when_they_are_needed(void **state)
{
	assert_block(*state);
	assert_int_equal(kernel.calls, 1);
	assert_block(*state);
	assert_int_equal(kernel.calls, 2);
}

static void what_comes_in_pieces_is_put_together(void **state)
{
	kernel.at_most = 100;
	kernel.signals = 2;
	assert_block(*state);
	assert_int_equal(kernel.calls, 2 + 3);
}

static void four_words_make_a_long_one(void **state)
{
	struct entropy copy;
	struct entropy *e = *state;
	(void)entropy_u16(e);
	copy = *e;
	uint64_t value = entropy_u64(e);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(value >> (48 - 16 * i) & 0xffff, entropy_u16(&copy));
	}
	assert_memory_equal(e, &copy, sizeof(copy));
}

static void without_a_kernel_that_knows_some_it_is_over(void **state)
{
	kernel.error = ENOSYS;
	if (setjmp(aborted) == 0) {
		(void)entropy_u16(*state);
		fail_msg("guessable");
	}
	assert_int_equal(kernel.calls, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(blocks_are_fetched_when_they_are_needed, setup),
		cmocka_unit_test_setup(what_comes_in_pieces_is_put_together, setup),
		cmocka_unit_test_setup(four_words_make_a_long_one, setup),
		cmocka_unit_test_setup(without_a_kernel_that_knows_some_it_is_over, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
