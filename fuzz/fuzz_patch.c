/* SPDX-License-Identifier: Apache-2.0
 *
 * A document changes, and each time the table that is made of the one before is the one that would
 * be made of nothing. The input is a list of edits of three octets each: what, where, and to what.
 */
#include "tests/same_table.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RECORDS_MAX = 192, FEWEST = 64, GENERATIONS_MAX = 16, EDIT = 3, STYLES = 8 };

static const size_t LIMIT = 1 << 22;

enum edit { ADDRESS, NAME, STYLE, INSERT, REMOVE, REMOVE_SOME, SWAP, READ, EDITS };

struct record {
	uint8_t name;
	uint8_t address;
	uint8_t style;
	uint8_t raw[2]; /* octets that go into the document as they are */
};

struct document {
	size_t count;
	struct record records[RECORDS_MAX];
	uint8_t ttl;
	size_t len;
	char text[RECORDS_MAX * 128 + 128];
};

static void require(bool condition)
{
	if (!condition) {
		abort();
	}
}

/* The root, and names of one to four labels out of `*`, `a`, `b`, `c`. */
static void name_write(char text[16], unsigned number)
{
	size_t len = 0;
	unsigned width = 1;
	for (; number >= width; width *= 4) {
		number -= width;
	}
	for (; width > 1; width /= 4, number /= 4) {
		text[len++] = "*abc"[number % 4];
		text[len++] = '.';
	}
	text[len > 0 ? len - 1 : len++] = '.';
	text[len] = '\0';
}

static void record_write(struct document *document, const struct record *record)
{
	char name[16];
	char *to = document->text + document->len;
	size_t room = sizeof document->text - document->len;
	unsigned address = record->address;
	int len = 0;
	name_write(name, record->name);
	switch (record->style % STYLES) {
	case 0:
	case 1:
		len = snprintf(
			to, room, "{\"name\":\"%s\",\"ips\":[\"241.0.0.%u\"]}", name, address);
		break;
	case 2:
		len = snprintf(to, room,
			"{\"name\": \"%s\", \"ips\": [\"::%u\", \"::1\", \"1.0.0.1\"]}", name,
			address % 4);
		break;
	case 3:
		len = snprintf(to, room, "{\"k\":{},\"ips\":[\"241.0.0.%u\"],\"name\":\"%s\"}",
			address, name);
		break;
	case 4:
		len = snprintf(to, room, "{\"ips\":[],\"name\":\"%s\",\"k\":\"\\u007d}\",\"l\":%u}",
			name, address);
		break;
	case 5:
		len = snprintf(to, room, "{\"name\":\"%s\",\"ips\":[\"241.0.0.%u\"]}", name,
			address + 240U); /* half of these can be read, or nearly so */
		break;
	case 6:
		len = snprintf(to, room, "{\"name\":\"%s\",\"ips\":[\"241.0.0.%u\",\"x\"]}", name,
			address);
		break;
	default:
		len = snprintf(to, room, "{\"name\":\"%s\",\"ips\":[\"%u.0.0.1\"],\"k\":\"%c%c\"}",
			name, address, record->raw[0], record->raw[1]);
		break;
	}
	document->len += (size_t)len;
}

static void document_write(struct document *document)
{
	document->len = (size_t)snprintf(document->text, sizeof document->text, "{\"records\":[");
	for (size_t i = 0; i < document->count; i++) {
		document->text[document->len] = ',';
		document->len += i > 0;
		record_write(document, &document->records[i]);
	}
	document->len += (size_t)snprintf(document->text + document->len,
		sizeof document->text - document->len,
		"],\"ttl\":%u,\"extraLabels\":{\"l\":\"%u\"}}", document->ttl, document->ttl % 4U);
}

static void edit(struct document *document, const uint8_t *octets)
{
	struct record *records = document->records;
	size_t count = document->count;
	size_t at = octets[1] * count / 256;
	size_t other = octets[2] * count / 256;
	size_t removed = octets[0] % EDITS == REMOVE ? 1 : octets[2];
	removed = removed < count - at ? removed : count - at;
	struct record former = records[at];
	switch ((enum edit)(octets[0] % EDITS)) {
	case ADDRESS:
		records[at].address = octets[2];
		break;
	case NAME:
		records[at].name = octets[2];
		break;
	case STYLE:
		records[at].style = octets[2];
		memcpy(records[at].raw, octets, sizeof records[at].raw);
		break;
	case INSERT:
		if (count < RECORDS_MAX) {
			memmove(&records[at + 1], &records[at], (count - at) * sizeof *records);
			records[at] = (struct record){.name = octets[2], .address = octets[1]};
			document->count++;
		}
		break;
	case REMOVE:
	case REMOVE_SOME:
		memmove(&records[at], &records[at + removed],
			(count - at - removed) * sizeof *records);
		document->count -= removed;
		break;
	case SWAP:
		records[at] = records[other];
		records[other] = former;
		break;
	default:
		document->ttl = octets[2];
		break;
	}
}

/* The next table; the same one where the document is refused. */
static struct table *table_after(struct table *former, struct document *document)
{
	enum { SEED = 7 };
	struct document_report report, other_report;
	struct table *table, *whole;
	document_write(document);
	/* An exact allocation, so that a sanitizer sees a read one octet beyond the text. */
	uint8_t *exact = malloc(document->len);
	require(exact != NULL);
	memcpy(exact, document->text, document->len);
	struct span text = {exact, document->len};
	int rc = document_read(&table, text, former, SEED, LIMIT, &report);
	require(document_read(&whole, text, NULL, SEED, LIMIT, &other_report) == rc);
	require(same_report(&report, &other_report));
	free(exact);
	if (rc < 0) {
		return former;
	}
	const char *what = table_differs(whole, table);
	if (what) {
		fprintf(stderr, "another %s: %s\n", what, document->text);
		abort();
	}
	table_unref(whole);
	table_unref(former);
	return table;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct document document;
	document = (struct document){.count = FEWEST};
	size_t at = 0;
	/* The first octet says which names there are to begin with, and how many. */
	unsigned step = size > 0 ? data[at++] : 1;
	document.count += step % 64;
	for (size_t i = 0; i < document.count; i++) {
		document.records[i].name = (uint8_t)(i * (step | 1));
		document.records[i].address = (uint8_t)(i % 16);
	}
	struct table *table = table_after(NULL, &document);
	size_t generations = 0;
	for (; size - at >= EDIT && generations < GENERATIONS_MAX; at += EDIT) {
		edit(&document, data + at);
		if (data[at] % EDITS == READ) {
			table = table_after(table, &document);
			generations++;
		}
	}
	table_unref(table_after(table, &document));
	return 0;
}
