/* SPDX-License-Identifier: Apache-2.0
 *
 * What is asked, and what the right answer is: queries built ahead of time from a list of names,
 * and the check of each response. Written without the daemon's reader, so that the two cannot err
 * alike.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QUERIES_MESSAGE_MAX = 12 + 255 + 4, QUERIES_RUN_MAX = 64, QUERIES_UNIQUE = 8 };

/** One query, as it lies in `queries.octets`. */
struct query_item {
	uint32_t offset; /* of the message, behind its frame's length where there is one */
	uint16_t len;
	uint8_t address[4]; /* that the answer has to hold */
};

/** Queries of the same length, one behind the other in memory: what one system call can send. */
struct query_run {
	uint32_t first;
	uint32_t count;
};

/** All queries, in an order that has nothing to do with that of the names. */
struct queries {
	uint8_t *octets;
	struct query_item *items;
	struct query_run *runs;
	uint32_t count;
	uint32_t run_count;
	uint32_t frame; /* octets before each message: 2 over TCP, else 0 */
	bool unique;    /* the first QUERIES_UNIQUE octets of each name are a number of its own */
	uint32_t at_run;
	uint32_t at_item; /* within that run */
};

enum mistake {
	MISTAKE_NONE,
	MISTAKE_SHORT,
	MISTAKE_HEADER, /* not a response to a QUERY, or truncated, or not one question and one
			   record */
	MISTAKE_RCODE,
	MISTAKE_QUESTION,
	MISTAKE_RECORD, /* not an A record of class IN */
	MISTAKE_ADDRESS,
	MISTAKE_UNASKED, /* no such query is waiting */
	MISTAKE_COUNT
};

/**
 * Read lines `NAME ADDRESS` and build an A query for each.
 *
 * @param framed  with the length before each message, as over TCP
 * @param unique  names are made unique when sent: each must begin with a label of at least
 *                QUERIES_UNIQUE octets
 * @param fixed   the address of every answer, 4 octets; NULL: that of the line
 * @param run     1..QUERIES_RUN_MAX queries sent at once
 * @return false, with a message on standard error
 */
bool queries_read(struct queries *queries, const char *path, bool framed, bool unique,
	const uint8_t *fixed, uint32_t run);

/**
 * The next queries, at most `most`, side by side in memory; after the last one the first again.
 *
 * @return how many, at least 1; `*first` is the number of the first
 */
uint32_t queries_take(struct queries *queries, uint32_t most, uint32_t *first);

/** Write the ID, and the number where names are unique, into a query that is about to be sent. */
void queries_stamp(struct queries *queries, uint32_t item, uint16_t id, uint32_t number);

/** Hold a response against the query; its ID has been matched already. */
enum mistake queries_check(const struct queries *queries, uint32_t item, uint32_t number,
	const uint8_t *message, size_t len);

const char *mistake_name(enum mistake mistake);
