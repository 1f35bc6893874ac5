/* SPDX-License-Identifier: Apache-2.0 */
#include "conf/giveway.h"

#include "conf/clock.h"

#include <sched.h>

enum { LEAST_NS = 50000, MOST_NS = 10000000 };

void give_way(void)
{
	static _Thread_local int64_t due_ns;
	int64_t before = clock_ns();
	if (before < due_ns) {
		return;
	}
	sched_yield();
	int64_t after = clock_ns();
	int64_t away = after - before;
	due_ns = after + (away < LEAST_NS ? LEAST_NS : away > MOST_NS ? MOST_NS : away);
}
