/* SPDX-License-Identifier: Apache-2.0
 *
 * The table's document: JSON to table. Decodes one record at a time, so that the memory it takes
 * does not grow with the number of records. No I/O, no clock.
 */
#pragma once

#include "dns/mesh/table.h"

/** What the document was like; for the log and for operators. */
struct document_report {
	char error[256];          /* a sentence where it was refused, else empty */
	uint32_t skipped_records; /* no name that can be encoded, or no address that can be read */
	uint32_t skipped_addresses; /* unreadable ones, those of skipped records included */
	uint32_t skipped_labels; /* extraLabels that Prometheus would refuse, or too many of them */
	char skipped_text[256];  /* the first few of all these, by name and with the reason */
};

/**
 * Make a table of a document as Kuma's control plane writes it.
 *
 * @param[out] table   one reference, generation 0; set where 0 is returned
 * @param      text    hostile
 * @param      former  NULL, or a table that was made of a document before; borrowed. Where the two
 * have much in common, the new table costs little more than reading over the text
 * @param      seed    random; keys the table's hash, where it is not that of `former`
 * @param      limit   octets the table may hold, and that decoding one record may take
 * @param[out] report  overwritten
 * @return 0; -EBADMSG if it is no JSON or not of this schema; -E2BIG beyond the limit; -ENOMEM; in
 * each case with `report->error` set
 * Not to be run on two threads at once: jansson's allocator is the whole process's.
 */
int document_read(struct table **table, struct span text, const struct table *former, uint64_t seed,
	size_t limit, struct document_report *report) __attribute__((warn_unused_result));
