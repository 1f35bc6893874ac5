/* SPDX-License-Identifier: Apache-2.0
 *
 * The one answer that costs nothing to find: whatever is asked, 192.0.2.1, for an hour. What the
 * limit of a server sends, and what the upstream of a forwarder says.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { FIXED_HEADER = 12, FIXED_RECORD = 16, FIXED_GROWTH = FIXED_RECORD };

static const uint8_t fixed_address[4] = {192, 0, 2, 1};

/**
 * Where the question ends.
 *
 * @return octets from the start of the message; 0 if the question is cut off or compressed
 */
static inline size_t fixed_question_end(const uint8_t *message, size_t len)
{
	size_t at = FIXED_HEADER;

	while (at < len && message[at] != 0) {
		if (message[at] > 63) {
			return 0;
		}
		at += message[at] + 1U;
	}
	return at + 5 <= len ? at + 5 : 0;
}

/**
 * Turn a query into its response, in place: header, the question as it was asked, one A record.
 *
 * @param message  `len` octets, with room for FIXED_GROWTH more
 * @return octets of the response; 0 where none is owed
 */
static inline size_t fixed_answer(uint8_t *message, size_t len)
{
	static const uint8_t counts[8] = {0, 1, 0, 1, 0, 0, 0, 0};
	static const uint8_t record[FIXED_RECORD] = {
		0xc0, 12, 0, 1, 0, 1, 0, 0, 0x0e, 0x10, 0, 4, 192, 0, 2, 1};

	if (len < FIXED_HEADER || (message[2] & 0x80) != 0) {
		return 0;
	}
	/* Without an OPT record the question is all there is: the limit need not read the name. */
	size_t end = message[11] == 0 ? len : fixed_question_end(message, len);

	if (end == 0) {
		return 0;
	}
	message[2] = (uint8_t)(0x80 | (message[2] & 0x79));
	message[3] = 0x80;
	memcpy(message + 4, counts, sizeof(counts));
	memcpy(message + end, record, sizeof(record));
	return end + sizeof(record);
}
