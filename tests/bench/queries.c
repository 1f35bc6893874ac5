/* SPDX-License-Identifier: Apache-2.0
 *
 * Queries are sorted by length and cut into runs, and the runs are shuffled: every name is asked
 * once before any is asked again, in no order that a cache could guess, and each run is one piece
 * of memory that a single system call can send.
 */
#include "tests/bench/queries.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER = 12 };

struct line {
	uint32_t key; /* random: the order among names of the same length */
	uint16_t len; /* of the message */
	uint8_t address[4];
	char name[256];
};

/* xorshift: any order will do, as long as it is the same in each run. */
static uint32_t next_random(void)
{
	static uint32_t state = 0x9e3779b9;

	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state;
}

static bool read_line(struct line *line, char *text, bool unique)
{
	char *rest = NULL;
	char *name = strtok_r(text, " \n", &rest);
	char *address = strtok_r(NULL, " \n", &rest);

	if (name == NULL || address == NULL || inet_pton(AF_INET, address, line->address) != 1 ||
		strlen(name) > 253 || (unique && strcspn(name, ".") < QUERIES_UNIQUE)) {
		return false;
	}
	memcpy(line->name, name, strlen(name) + 1);
	line->key = next_random();
	line->len = (uint16_t)(HEADER + strlen(name) + 2 + 4);
	return true;
}

static struct line *read_lines(const char *path, bool unique, uint32_t *count)
{
	FILE *file = fopen(path, "re");
	struct line *lines = NULL;
	char text[512];
	uint32_t room = 0;

	*count = 0;
	while (file != NULL && fgets(text, sizeof(text), file) != NULL) {
		if (*count == room) {
			room = room * 2 + 1024;
			void *grown = realloc(lines, room * sizeof(*lines));

			if (grown == NULL) {
				break;
			}
			lines = grown;
		}
		if (!read_line(&lines[*count], text, unique)) {
			fprintf(stderr, "load: line %u of the names cannot be used\n", *count + 1);
			*count = 0;
			break;
		}
		++*count;
	}
	if (file != NULL) {
		fclose(file);
	}
	return lines;
}

static int compare_lines(const void *a, const void *b)
{
	const struct line *x = a;
	const struct line *y = b;

	if (x->len != y->len) {
		return x->len < y->len ? -1 : 1;
	}
	return (x->key > y->key) - (x->key < y->key);
}

/* Write one A query of class IN, with RD, as a stub resolver asks it. */
static void compose(uint8_t *message, const struct line *line)
{
	static const uint8_t header[HEADER] = {0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0};
	static const uint8_t question[5] = {0, 0, 1, 0, 1};
	uint8_t *at = message + HEADER;

	memcpy(message, header, HEADER);
	for (const char *label = line->name; *label != '\0';) {
		size_t len = strcspn(label, ".");

		*at++ = (uint8_t)len;
		memcpy(at, label, len);
		at += len;
		label += len + (label[len] == '.');
	}
	memcpy(at, question, sizeof(question));
}

static void cut_runs(struct queries *q, uint32_t most)
{
	for (uint32_t i = 0; i < q->count; i++) {
		struct query_run *last = q->run_count > 0 ? &q->runs[q->run_count - 1] : NULL;

		if (last != NULL && last->count < most &&
			q->items[i].len == q->items[last->first].len) {
			last->count++;
		} else {
			q->runs[q->run_count++] = (struct query_run){.first = i, .count = 1};
		}
	}
	for (uint32_t i = q->run_count; i > 1; i--) {
		uint32_t j = next_random() % i;
		struct query_run other = q->runs[j];

		q->runs[j] = q->runs[i - 1];
		q->runs[i - 1] = other;
	}
}

bool queries_read(struct queries *q, const char *path, bool framed, bool unique,
	const uint8_t *fixed, uint32_t run)
{
	uint32_t count = 0;
	struct line *lines = read_lines(path, unique, &count);

	*q = (struct queries){.count = count, .frame = framed ? 2 : 0, .unique = unique};
	q->octets = malloc((size_t)count * (QUERIES_MESSAGE_MAX + q->frame) + 1);
	q->items = calloc(count + 1, sizeof(*q->items));
	q->runs = calloc(count + 1, sizeof(*q->runs));
	if (count == 0 || q->octets == NULL || q->items == NULL || q->runs == NULL) {
		fprintf(stderr, "load: no names\n");
		free(lines);
		return false;
	}
	qsort(lines, count, sizeof(*lines), compare_lines);
	uint8_t *at = q->octets;

	for (uint32_t i = 0; i < count; i++) {
		if (framed) {
			*at++ = (uint8_t)(lines[i].len >> 8);
			*at++ = (uint8_t)lines[i].len;
		}
		compose(at, &lines[i]);
		q->items[i].offset = (uint32_t)(at - q->octets);
		q->items[i].len = lines[i].len;
		memcpy(q->items[i].address, fixed != NULL ? fixed : lines[i].address, 4);
		at += lines[i].len;
	}
	free(lines);
	cut_runs(q, run);
	return true;
}

uint32_t queries_take(struct queries *q, uint32_t most, uint32_t *first)
{
	const struct query_run *run = &q->runs[q->at_run];
	uint32_t left = run->count - q->at_item;
	uint32_t count = left < most ? left : most;

	*first = run->first + q->at_item;
	q->at_item += count;
	if (q->at_item == run->count) {
		q->at_item = 0;
		q->at_run = (q->at_run + 1) % q->run_count;
	}
	return count;
}

static void write_number(uint8_t *to, uint32_t number)
{
	for (int i = QUERIES_UNIQUE - 1; i >= 0; i--) {
		to[i] = (uint8_t) "0123456789abcdef"[number & 15];
		number >>= 4;
	}
}

void queries_stamp(struct queries *q, uint32_t item, uint16_t id, uint32_t number)
{
	uint8_t *message = q->octets + q->items[item].offset;

	message[0] = (uint8_t)(id >> 8);
	message[1] = (uint8_t)id;
	if (q->unique) {
		write_number(message + HEADER + 1, number);
	}
}

/* Whether the question came back as it was asked, to the letter. */
static bool same_question(const struct queries *q, const struct query_item *item, uint32_t number,
	const uint8_t *message)
{
	const uint8_t *asked = q->octets + item->offset + HEADER;
	const uint8_t *got = message + HEADER;
	size_t len = item->len - (size_t)HEADER;

	if (q->unique) {
		uint8_t expected[QUERIES_UNIQUE];

		write_number(expected, number);
		if (got[0] != asked[0] || memcmp(got + 1, expected, sizeof(expected)) != 0) {
			return false;
		}
		asked += 1 + QUERIES_UNIQUE;
		got += 1 + QUERIES_UNIQUE;
		len -= 1 + QUERIES_UNIQUE;
	}
	return memcmp(asked, got, len) == 0;
}

/* Check the record behind the question: its owner is a pointer or the name spelled out. */
static enum mistake check_record(const struct query_item *item, const uint8_t *message, size_t len)
{
	static const uint8_t type_and_class[4] = {0, 1, 0, 1};
	size_t at = item->len;

	while (at < len && message[at] != 0 && message[at] < 64) {
		at += message[at] + 1U;
	}
	if (at >= len) {
		return MISTAKE_SHORT;
	}
	at += message[at] == 0 ? 1 : 2;
	if (len < at + 14) {
		return MISTAKE_SHORT;
	}
	if (message[at - 1] != 0 && (message[at - 2] != 0xc0 || message[at - 1] != HEADER)) {
		return MISTAKE_RECORD;
	}
	if (memcmp(message + at, type_and_class, 4) != 0 || message[at + 8] != 0 ||
		message[at + 9] != 4) {
		return MISTAKE_RECORD;
	}
	return memcmp(message + at + 10, item->address, 4) == 0 ? MISTAKE_NONE : MISTAKE_ADDRESS;
}

enum mistake queries_check(const struct queries *q, uint32_t item_number, uint32_t number,
	const uint8_t *message, size_t len)
{
	const struct query_item *item = &q->items[item_number];

	if (len < HEADER) {
		return MISTAKE_SHORT;
	}
	if ((message[3] & 15) != 0) {
		return MISTAKE_RCODE;
	}
	/* QR set, opcode QUERY, TC clear; one question, one answer. */
	if ((message[2] & 0xfa) != 0x80 || message[4] != 0 || message[5] != 1 || message[6] != 0 ||
		message[7] != 1) {
		return MISTAKE_HEADER;
	}
	if (len < item->len) {
		return MISTAKE_SHORT;
	}
	if (!same_question(q, item, number, message)) {
		return MISTAKE_QUESTION;
	}
	return check_record(item, message, len);
}

const char *mistake_name(enum mistake mistake)
{
	static const char *const names[MISTAKE_COUNT] = {
		"none", "short", "header", "rcode", "question", "record", "address", "unasked"};

	return names[mistake];
}
