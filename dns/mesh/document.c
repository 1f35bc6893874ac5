/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON to table. The outer object and its list of records are walked here; plain.c reads records as
 * they nearly always are, and jansson decodes whatever else there is, one value at a time: a tree
 * of a whole document of 64 MiB would take a gigabyte. jansson's memory is limited as well, because
 * a single hostile value can have the size of the document.
 */
#include "dns/mesh/document.h"

#include "conf/giveway.h"
#include "dns/mesh/plain.h"

#include <errno.h>
#include <jansson.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	TTL_DEFAULT = 30,
	TTL_MAX = 0x7fffffff,
	RECORDS_A_TURN = 16 /* some 5 µs of work */
};

enum member { RECORDS = 1, TTL = 2, LABELS = 4 };

struct decoder {
	struct span text;
	size_t at;
	struct table_builder *builder;
	struct document_report *report;
	unsigned seen; /* of enum member */
	uint32_t ttl;
	size_t record; /* number of the one that is read */
	struct address *addresses;
	size_t address_room;
	struct plain_record plain;
};

/* Octets that jansson may still take. document_read alone sets and reads it. */
static size_t json_left;
static int json_fault; /* why it got none */

static void *json_take(size_t size)
{
	void *memory = size <= json_left ? malloc(size) : NULL;
	if (!memory) {
		json_fault = size > json_left ? -E2BIG : -ENOMEM;
		return NULL;
	}
	size_t taken = malloc_usable_size(memory);
	json_left -= taken < json_left ? taken : json_left;
	return memory;
}

static void json_give(void *memory)
{
	if (memory) {
		json_left += malloc_usable_size(memory);
		free(memory);
	}
}

/* Write the sentence that refuses the document. */
__attribute__((format(printf, 2, 3))) static int refuse(
	struct decoder *decoder, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(decoder->report->error, sizeof decoder->report->error, format, arguments);
	va_end(arguments);
	return -EBADMSG;
}

static int fail(struct decoder *decoder, int rc)
{
	if (rc == -E2BIG) {
		refuse(decoder, "the table would take more memory than is allowed");
	} else if (rc == -ENOMEM) {
		refuse(decoder, "out of memory");
	}
	return rc;
}

/* Refuse with the place in the document, by line and column from 1. */
static int refuse_at(struct decoder *decoder, size_t at, const char *what)
{
	size_t line = 1;
	size_t line_start = 0;
	for (size_t i = 0; i < at; i++) {
		if (decoder->text.data[i] == '\n') {
			line++;
			line_start = i + 1;
		}
	}
	return refuse(
		decoder, "not JSON at line %zu, column %zu: %s", line, at - line_start + 1, what);
}

/* Remember the first few things that were left out. */
static void note(struct decoder *decoder, const char *what, const char *reason)
{
	char *text = decoder->report->skipped_text;
	size_t size = sizeof decoder->report->skipped_text;
	size_t len = strlen(text);
	if (size - len > 32) { /* less would not tell anything */
		snprintf(text + len, size - len, "%s%.80s (%s)", len > 0 ? ", " : "", what, reason);
	}
}

static const char *kind_of(const json_t *value)
{
	if (!value) {
		return "nothing";
	}
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "a list";
	case JSON_STRING:
		return "a text";
	case JSON_INTEGER:
		return "a whole number";
	case JSON_REAL:
		return "a fraction";
	case JSON_NULL:
		return "null";
	default:
		return "true or false";
	}
}

static bool is_space(uint8_t octet)
{
	return octet == ' ' || octet == '\t' || octet == '\r' || octet == '\n';
}

static void skip_space(struct decoder *decoder)
{
	const struct span text = decoder->text;
	while (decoder->at < text.len && is_space(text.data[decoder->at])) {
		decoder->at++;
	}
}

static bool take(struct decoder *decoder, char octet)
{
	skip_space(decoder);
	if (decoder->at < decoder->text.len && decoder->text.data[decoder->at] == octet) {
		decoder->at++;
		return true;
	}
	return false;
}

static int expect(struct decoder *decoder, char octet)
{
	if (take(decoder, octet)) {
		return 0;
	}
	char what[48];
	snprintf(what, sizeof what, "'%c' expected%s", octet,
		decoder->at == decoder->text.len ? ", found the end" : "");
	return refuse_at(decoder, decoder->at, what);
}

/* Decode the value at the cursor and move past it. */
static int value_read(struct decoder *decoder, json_t **value)
{
	json_error_t error;
	const char *text = (const char *)decoder->text.data + decoder->at;
	json_fault = 0;
	*value = json_loadb(text, decoder->text.len - decoder->at,
		JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK, &error);
	size_t used = error.position > 0 ? (size_t)error.position : 0;
	if (*value) {
		decoder->at += used;
		return 0;
	}
	if (json_fault < 0) {
		return fail(decoder, json_fault);
	}
	size_t left = decoder->text.len - decoder->at;
	return refuse_at(decoder, decoder->at + (used < left ? used : left), error.text);
}

static int addresses_reserve(struct decoder *decoder, size_t count)
{
	if (count <= decoder->address_room) {
		return 0;
	}
	struct address *addresses = realloc(decoder->addresses, count * sizeof *decoder->addresses);
	if (!addresses) {
		return fail(decoder, -ENOMEM);
	}
	decoder->addresses = addresses;
	decoder->address_room = count;
	return 0;
}

/* Read the readable addresses of a record. */
static int addresses_read(
	struct decoder *decoder, const char *owner, const json_t *ips, size_t *count)
{
	size_t given = json_array_size(ips);
	*count = 0;
	int rc = addresses_reserve(decoder, given);
	if (rc < 0) {
		return rc;
	}
	for (size_t i = 0; i < given; i++) {
		const json_t *ip = json_array_get(ips, i);
		if (!json_is_string(ip)) {
			return refuse(decoder, "records[%zu].ips[%zu]: expected a text, found %s",
				decoder->record, i, kind_of(ip));
		}
		struct span text = {(const uint8_t *)json_string_value(ip), json_string_length(ip)};
		if (plain_address(text, &decoder->addresses[*count])) {
			++*count;
			continue;
		}
		decoder->report->skipped_addresses++;
		char what[128];
		snprintf(what, sizeof what, "%.64s of %.50s", json_string_value(ip), owner);
		note(decoder, what, "not an address");
	}
	return 0;
}

static void record_skip(struct decoder *decoder, const char *owner, const char *reason)
{
	decoder->report->skipped_records++;
	table_builder_skip(decoder->builder);
	note(decoder, owner, reason);
}

static int record_add(struct decoder *decoder, const json_t *record)
{
	if (!json_is_object(record)) {
		return refuse(decoder, "records[%zu]: expected an object, found %s",
			decoder->record, kind_of(record));
	}
	const json_t *name = json_object_get(record, "name");
	if (!json_is_string(name)) {
		return refuse(decoder, "records[%zu].name: expected a text, found %s",
			decoder->record, kind_of(name));
	}
	const json_t *ips = json_object_get(record, "ips");
	if (!json_is_array(ips) && !json_is_null(ips)) { /* Go writes null for an empty slice */
		return refuse(decoder, "records[%zu].ips: expected a list of texts, found %s",
			decoder->record, kind_of(ips));
	}
	const char *text = json_string_value(name);
	size_t count;
	int rc = addresses_read(decoder, text, ips, &count);
	if (rc < 0) {
		return rc;
	}
	struct dname owner;
	if (dname_from_text(&owner, text, json_string_length(name)) < 0) {
		record_skip(decoder, text, "not a domain name");
		return 0;
	}
	if (count == 0 && json_array_size(ips) > 0) {
		record_skip(decoder, text, "no usable address");
		return 0;
	}
	return fail(
		decoder, table_builder_add(decoder->builder, &owner, decoder->addresses, count));
}

/* The text at the cursor up to the first brace that closes; empty where there is none. It is that
 * of a record, unless something in the record is in braces or has one. */
static struct span text_ahead(const struct decoder *decoder)
{
	const uint8_t *begin = decoder->text.data + decoder->at;
	const uint8_t *brace = memchr(begin, '}', decoder->text.len - decoder->at);
	return (struct span){begin, brace ? (size_t)(brace - begin) + 1 : 0};
}

/* @return 1: read, and the cursor is behind it; 0: not plain, and nothing is done; -errno */
static int plain_record_add(struct decoder *decoder)
{
	struct reader r = reader_over(decoder->text);
	struct plain_record *plain = &decoder->plain;
	struct span text = text_ahead(decoder);
	int rc = table_builder_keep(decoder->builder, text);
	if (rc < 0) {
		return fail(decoder, rc);
	}
	if (rc > 0) {
		decoder->at += text.len;
		return 1;
	}
	r.at = decoder->at;
	if (!plain_record_read(&r, plain)) {
		return 0;
	}
	if (r.at - decoder->at == text.len) {
		table_builder_text(decoder->builder, text);
	}
	decoder->at = r.at;
	rc = table_builder_add(decoder->builder, &plain->owner, plain->address, plain->count);
	return rc < 0 ? fail(decoder, rc) : 1;
}

static int read_record(struct decoder *decoder)
{
	json_t *record;
	skip_space(decoder);
	int rc = plain_record_add(decoder);
	if (rc != 0) {
		return rc;
	}
	rc = value_read(decoder, &record);
	if (rc == 0) {
		rc = record_add(decoder, record);
		json_decref(record);
	}
	return rc;
}

static bool take_null(struct decoder *decoder)
{
	skip_space(decoder);
	bool null = decoder->text.len - decoder->at >= 4 &&
		    memcmp(decoder->text.data + decoder->at, "null", 4) == 0;
	decoder->at += null ? 4 : 0;
	return null;
}

static int records_read(struct decoder *decoder)
{
	if (take_null(decoder)) {
		return 0;
	}
	if (!take(decoder, '[')) {
		json_t *other;
		int rc = value_read(decoder, &other);
		if (rc == 0) {
			rc = refuse(decoder, "records: expected a list of objects, found %s",
				kind_of(other));
			json_decref(other);
		}
		return rc;
	}
	if (take(decoder, ']')) {
		return 0;
	}
	do {
		int rc = read_record(decoder);
		if (rc < 0) {
			return rc;
		}
		if (++decoder->record % RECORDS_A_TURN == 0) {
			give_way();
		}
	} while (take(decoder, ','));
	return expect(decoder, ']');
}

static int ttl_take(struct decoder *decoder, const json_t *value)
{
	if (!json_is_integer(value)) {
		return refuse(decoder, "ttl: expected whole seconds, found %s", kind_of(value));
	}
	json_int_t ttl = json_integer_value(value);
	if (ttl < 0) {
		return refuse(
			decoder, "ttl: expected 0 or more seconds, found %lld", (long long)ttl);
	}
	/* RFC 2181 §8: 31 bits. */
	decoder->ttl = ttl > TTL_MAX ? TTL_MAX : (uint32_t)ttl;
	return 0;
}

/* Prometheus: [a-zA-Z_][a-zA-Z0-9_]*; two underscores in front are its own. */
static bool is_label_name(const char *name)
{
	size_t len = strlen(name);
	bool digit = name[0] >= '0' && name[0] <= '9';
	return len > 0 && !digit && strncmp(name, "__", 2) != 0 &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") ==
		       len;
}

static int labels_take(struct decoder *decoder, json_t *labels)
{
	if (!json_is_object(labels) && !json_is_null(labels)) {
		return refuse(decoder, "extraLabels: expected an object of texts, found %s",
			kind_of(labels));
	}
	const char *name;
	json_t *value;
	json_object_foreach(labels, name, value)
	{
		if (!json_is_string(value)) {
			return refuse(decoder, "extraLabels.%.80s: expected a text, found %s", name,
				kind_of(value));
		}
		/* A label is no reason to serve an old table. */
		int rc = is_label_name(name) ? table_builder_label(decoder->builder, name,
						       json_string_value(value))
					     : -EINVAL;
		if (rc == -ENOMEM) {
			return fail(decoder, rc);
		}
		if (rc < 0) {
			decoder->report->skipped_labels++;
			note(decoder, name,
				rc == -EINVAL ? "not a label of a metric" : "too many labels");
		}
	}
	return 0;
}

/* Read the value of a member of the outer object. */
static int member_read(struct decoder *decoder, const char *name)
{
	enum member member = strcmp(name, "records") == 0       ? RECORDS
			     : strcmp(name, "ttl") == 0         ? TTL
			     : strcmp(name, "extraLabels") == 0 ? LABELS
								: 0;
	if ((decoder->seen & member) != 0) {
		return refuse(decoder, "%s: given twice", name);
	}
	decoder->seen |= member;
	if (member == RECORDS) {
		return records_read(decoder);
	}
	json_t *value;
	int rc = value_read(decoder, &value);
	if (rc == 0) {
		rc = member == TTL      ? ttl_take(decoder, value)
		     : member == LABELS ? labels_take(decoder, value)
					: 0;
		json_decref(value);
	}
	return rc;
}

static int named_member_read(struct decoder *decoder)
{
	json_t *name;
	int rc = value_read(decoder, &name);
	if (rc < 0) {
		return rc;
	}
	if (!json_is_string(name)) {
		rc = refuse_at(decoder, decoder->at, "a member's name expected");
	} else {
		rc = expect(decoder, ':');
	}
	if (rc == 0) {
		rc = member_read(decoder, json_string_value(name));
	}
	json_decref(name);
	return rc;
}

static int members_read(struct decoder *decoder)
{
	int rc = expect(decoder, '{');
	if (rc == 0 && !take(decoder, '}')) {
		do {
			rc = named_member_read(decoder);
		} while (rc == 0 && take(decoder, ','));
		if (rc == 0) {
			rc = expect(decoder, '}');
		}
	}
	if (rc < 0) {
		return rc;
	}
	skip_space(decoder);
	if (decoder->at != decoder->text.len) {
		return refuse_at(decoder, decoder->at, "the end expected");
	}
	if ((decoder->seen & RECORDS) == 0) {
		return refuse(decoder, "records: expected a list of objects, found nothing");
	}
	return 0;
}

static int document_decode(struct decoder *decoder)
{
	json_malloc_t former_malloc;
	json_free_t former_free;
	json_get_alloc_funcs(&former_malloc, &former_free);
	json_set_alloc_funcs(json_take, json_give);
	int rc = members_read(decoder);
	json_set_alloc_funcs(former_malloc, former_free);
	return rc;
}

/* @param former  NULL: made of nothing @return as document_read; -EAGAIN: not with `former` */
static int table_make(struct table **table, struct decoder *decoder, const struct table *former,
	uint64_t seed, size_t limit)
{
	decoder->builder =
		former ? table_builder_after(former, limit) : table_builder_new(seed, limit);
	if (!decoder->builder) {
		return fail(decoder, -ENOMEM);
	}
	json_left = limit;
	int rc = document_decode(decoder);
	free(decoder->addresses);
	if (rc < 0) {
		table_builder_free(decoder->builder);
		return rc;
	}
	*table = table_builder_finish(decoder->builder, decoder->ttl);
	return *table ? 0 : former ? -EAGAIN : fail(decoder, -ENOMEM);
}

int document_read(struct table **table, struct span text, const struct table *former, uint64_t seed,
	size_t limit, struct document_report *report)
{
	int rc = -EAGAIN;
	for (; rc == -EAGAIN; former = NULL) {
		*report = (struct document_report){0};
		struct decoder decoder = {.text = text, .report = report, .ttl = TTL_DEFAULT};
		rc = table_make(table, &decoder, former, seed, limit);
	}
	return rc;
}
