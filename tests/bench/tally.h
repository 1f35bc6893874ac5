/* SPDX-License-Identifier: Apache-2.0
 *
 * What became of queries of one kind: latencies and losses, in all and in each part of a run.
 */
#pragma once

#include "tests/bench/measure.h"

#include <stdbool.h>
#include <stdint.h>

/** Before something happens, while it is felt, and after it is over. Without: all before. */
enum part_name { PART_BEFORE, PART_DURING, PART_AFTER, PART_COUNT };

/** When a run began to count, and when its middle part was: nanoseconds, 0: not, or not yet. */
struct span_of_time {
	uint64_t started;
	uint64_t middle_from;
	uint64_t middle_to;
	uint64_t slow;  /* nanoseconds: an answer that takes longer is trouble */
	bool measuring; /* started, and not yet over */
};

struct part {
	uint64_t asked;
	uint64_t unsent; /* due, but the load had no place or no time for it */
	uint64_t answers;
	uint64_t failed; /* the server said SERVFAIL: only where there is a middle part */
	uint64_t lost;   /* no answer, or later than the time-out */
	uint64_t slowest_ns;
	struct latency latency;
};

struct tally {
	struct latency latency; /* of answers that came while it was measured */
	uint64_t lost;          /* ever: warm-up and end included */
	uint64_t trouble_ns;    /* when that query was sent, of those of the last part, that was the
				   last one to fail, or to take long; 0: none */
	struct part parts[PART_COUNT];
};

/** Which part a query belongs to that was sent, and ended, at these times. */
enum part_name tally_part(const struct span_of_time *span, uint64_t sent_ns, uint64_t end_ns);

void tally_asked(
	struct tally *tally, const struct span_of_time *span, uint64_t sent_ns, uint32_t count);
void tally_unsent(
	struct tally *tally, const struct span_of_time *span, uint64_t due_ns, uint64_t count);
void tally_answer(
	struct tally *tally, const struct span_of_time *span, uint64_t sent_ns, uint64_t now);
void tally_failed(
	struct tally *tally, const struct span_of_time *span, uint64_t sent_ns, uint64_t now);
void tally_lost(
	struct tally *tally, const struct span_of_time *span, uint64_t sent_ns, uint64_t now);

/** Print `"answers": …` and so on, without braces; the parts too where there is a middle one. */
void tally_report(const struct tally *tally, const struct span_of_time *span, double seconds);
