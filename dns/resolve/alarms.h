/* SPDX-License-Identifier: Apache-2.0
 *
 * Times at which something is to be done, the earliest first: a binary heap of fixed size. Those
 * that are set mostly come after those that are there, which costs one comparison. No clock.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/** Lives inside what it is for; all zero at first. */
struct alarm {
	int64_t at_ns;
	size_t place; /* in the heap, from 1; 0: not set */
};

struct alarms {
	struct alarm **heap; /* from 1 */
	size_t count;
	size_t size;
};

/** @param size  alarms that may be set at once. @return 0; -ENOMEM */
int alarms_init(struct alarms *alarms, size_t size) __attribute__((warn_unused_result));

/** Free the heap. */
void alarms_free(struct alarms *alarms);

/** Set an alarm, or set it anew. */
void alarm_set(struct alarms *alarms, struct alarm *alarm, int64_t at_ns);

/** Take back an alarm, if it is set. */
void alarm_clear(struct alarms *alarms, struct alarm *alarm);

/** The earliest; NULL where none is set. */
static inline struct alarm *alarms_first(const struct alarms *alarms)
{
	return alarms->count > 0 ? alarms->heap[1] : NULL;
}
