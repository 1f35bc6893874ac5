/* SPDX-License-Identifier: Apache-2.0
 *
 * A query counts in the part in which it was sent; but if it was still waiting when the middle part
 * began, in that one.
 */
#include "tests/bench/tally.h"

#include <inttypes.h>
#include <stdio.h>

enum part_name tally_part(const struct span_of_time *span, uint64_t sent_ns, uint64_t end_ns)
{
	if (span->middle_to == 0 || end_ns < span->middle_from) {
		return PART_BEFORE;
	}
	return sent_ns < span->middle_to ? PART_DURING : PART_AFTER;
}

/* @return NULL: it was sent while all warmed up, and counts nowhere */
static struct part *part_for(
	struct tally *tally, const struct span_of_time *span, uint64_t sent_ns, uint64_t end_ns)
{
	if (span->started == 0 || sent_ns < span->started) {
		return NULL;
	}
	return &tally->parts[tally_part(span, sent_ns, end_ns)];
}

static void note_trouble(struct tally *tally, const struct span_of_time *span, uint64_t sent_ns)
{
	if (span->middle_to != 0 && sent_ns >= span->middle_to && sent_ns > tally->trouble_ns) {
		tally->trouble_ns = sent_ns;
	}
}

void tally_asked(
	struct tally *tally, const struct span_of_time *span, uint64_t sent_ns, uint32_t count)
{
	struct part *part = part_for(tally, span, sent_ns, sent_ns);

	if (part != NULL) {
		part->asked += count;
	}
}

void tally_unsent(
	struct tally *tally, const struct span_of_time *span, uint64_t due_ns, uint64_t count)
{
	struct part *part = part_for(tally, span, due_ns, due_ns);

	if (part != NULL) {
		part->unsent += count;
	}
}

void tally_answer(
	struct tally *tally, const struct span_of_time *span, uint64_t sent_ns, uint64_t now)
{
	struct part *part = part_for(tally, span, sent_ns, now);
	uint64_t took_ns = now > sent_ns ? now - sent_ns : 0;

	if (span->measuring) {
		latency_add(&tally->latency, took_ns);
	}
	if (part == NULL) {
		return;
	}
	part->answers++;
	part->slowest_ns = took_ns > part->slowest_ns ? took_ns : part->slowest_ns;
	if (span->middle_to != 0) {
		latency_add(&part->latency, took_ns);
	}
	if (took_ns > span->slow) {
		note_trouble(tally, span, sent_ns);
	}
}

void tally_failed(
	struct tally *tally, const struct span_of_time *span, uint64_t sent_ns, uint64_t now)
{
	struct part *part = part_for(tally, span, sent_ns, now);

	if (part != NULL) {
		part->failed++;
	}
	note_trouble(tally, span, sent_ns);
}

void tally_lost(
	struct tally *tally, const struct span_of_time *span, uint64_t sent_ns, uint64_t now)
{
	struct part *part = part_for(tally, span, sent_ns, now);

	if (part != NULL) {
		part->lost++;
	}
	tally->lost++;
	note_trouble(tally, span, sent_ns);
}

static void report_part(const char *name, const struct part *part)
{
	printf("\"%s\": {\"asked\": %" PRIu64 ", \"unsent\": %" PRIu64 ", \"answers\": %" PRIu64,
		name, part->asked, part->unsent, part->answers);
	printf(", \"failed\": %" PRIu64 ", \"lost\": %" PRIu64 ", \"slowest_ms\": %.3f",
		part->failed, part->lost, (double)part->slowest_ns / 1e6);
	printf(", \"p50_us\": %.1f, \"p99_us\": %.1f}", latency_percentile_us(&part->latency, 0.5),
		latency_percentile_us(&part->latency, 0.99));
}

static void report_parts(const struct tally *tally, const struct span_of_time *span)
{
	static const char *const names[PART_COUNT] = {"before", "during", "after"};
	double recovered_ms = 0;

	if (tally->trouble_ns != 0) {
		recovered_ms = (double)(tally->trouble_ns - span->middle_to) / 1e6;
	}
	printf(", \"recovered_ms\": %.3f, \"parts\": {", recovered_ms);
	for (size_t i = 0; i < PART_COUNT; i++) {
		printf("%s", i == 0 ? "" : ", ");
		report_part(names[i], &tally->parts[i]);
	}
	printf("}");
}

void tally_report(const struct tally *tally, const struct span_of_time *span, double seconds)
{
	const struct latency *latency = &tally->latency;

	printf("\"answers\": %" PRIu64 ", \"qps\": %.0f, \"lost\": %" PRIu64, latency->count,
		(double)latency->count / seconds, tally->lost);
	printf(", \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f",
		latency_percentile_us(latency, 0.5), latency_percentile_us(latency, 0.99),
		latency_percentile_us(latency, 0.999));
	if (span->middle_to != 0) {
		report_parts(tally, span);
	}
}
