/* SPDX-License-Identifier: Apache-2.0
 *
 * The supply of random numbers. It aborts where the kernel has none: guessable IDs and ports are
 * worse than no answers.
 */
#include "dns/resolve/entropy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static void refill(struct entropy *e)
{
	size_t have = 0;
	while (have < sizeof(e->octets)) {
		ssize_t n = getrandom(e->octets + have, sizeof(e->octets) - have, 0);
		if (n < 0 && errno != EINTR) {
			abort();
		}
		have += n > 0 ? (size_t)n : 0;
	}
	e->left = sizeof(e->octets);
}

uint16_t entropy_u16(struct entropy *e)
{
	uint16_t value;
	if (e->left < sizeof(value)) {
		refill(e);
	}
	e->left -= (unsigned)sizeof(value);
	memcpy(&value, e->octets + e->left, sizeof(value));
	/* What has been given out is not kept. */
	memset(e->octets + e->left, 0, sizeof(value));
	return value;
}

uint64_t entropy_u64(struct entropy *e)
{
	uint64_t value = 0;
	for (unsigned i = 0; i < 4; i++) {
		value = value << 16 | entropy_u16(e);
	}
	return value;
}
