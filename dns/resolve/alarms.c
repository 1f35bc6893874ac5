/* SPDX-License-Identifier: Apache-2.0
 *
 * The heap. Each alarm knows its place, so that taking one back costs no search.
 */
#include "dns/resolve/alarms.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

int alarms_init(struct alarms *alarms, size_t size)
{
	alarms->heap = calloc(size + 1, sizeof(*alarms->heap));
	alarms->size = size;
	alarms->count = 0;
	return alarms->heap ? 0 : -ENOMEM;
}

void alarms_free(struct alarms *alarms)
{
	free(alarms->heap);
	alarms->heap = NULL;
}

static void put(struct alarms *alarms, size_t place, struct alarm *alarm)
{
	alarms->heap[place] = alarm;
	alarm->place = place;
}

/* Let it rise from an empty place to where nothing later is above it. */
static void rise(struct alarms *alarms, size_t place, struct alarm *alarm)
{
	while (place > 1 && alarms->heap[place / 2]->at_ns > alarm->at_ns) {
		put(alarms, place, alarms->heap[place / 2]);
		place /= 2;
	}
	put(alarms, place, alarm);
}

/* Let it sink from an empty place to where nothing earlier is below it. */
static void sink(struct alarms *alarms, size_t place, struct alarm *alarm)
{
	for (size_t child = place * 2; child <= alarms->count; child = place * 2) {
		if (child < alarms->count &&
			alarms->heap[child + 1]->at_ns < alarms->heap[child]->at_ns) {
			child++;
		}
		if (alarms->heap[child]->at_ns >= alarm->at_ns) {
			break;
		}
		put(alarms, place, alarms->heap[child]);
		place = child;
	}
	put(alarms, place, alarm);
}

static void move(struct alarms *alarms, size_t place, struct alarm *alarm)
{
	if (place > 1 && alarms->heap[place / 2]->at_ns > alarm->at_ns) {
		rise(alarms, place, alarm);
	} else {
		sink(alarms, place, alarm);
	}
}

void alarm_set(struct alarms *alarms, struct alarm *alarm, int64_t at_ns)
{
	if (alarm->place != 0 && alarm->at_ns == at_ns) {
		return;
	}
	alarm->at_ns = at_ns;
	if (alarm->place == 0) {
		assert(alarms->count < alarms->size);
		rise(alarms, ++alarms->count, alarm);
	} else {
		move(alarms, alarm->place, alarm);
	}
}

void alarm_clear(struct alarms *alarms, struct alarm *alarm)
{
	size_t place = alarm->place;
	if (place == 0) {
		return;
	}
	alarm->place = 0;
	struct alarm *last = alarms->heap[alarms->count--];
	if (last != alarm) {
		move(alarms, place, last);
	}
}
