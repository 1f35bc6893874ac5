/* SPDX-License-Identifier: Apache-2.0
 *
 * A table that is made of a former one says what the one that is made of nothing would say; it is
 * made the short way; and the former one, which is still read, stays as it is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dns/mesh/patch.h"
#include "dns/mesh/plain.h"
#include "tests/same_table.h"
#include "tests/ways.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { SEED = 7, ROOM = 1 << 20 };

static const size_t LIMIT = 1 << 24;

/* How many records were read, and how many tables were made of a former one. */
static unsigned decoded;
static unsigned patched;

static unsigned wanted;  /* how often memory was asked for */
static unsigned refused; /* which of these is refused; 0: none */

bool __real_plain_record_read(struct reader *r, struct plain_record *record);
bool __wrap_plain_record_read(struct reader *r, struct plain_record *record);
struct table *__real_patch_apply(struct patch *patch, struct table *changes, size_t limit);
struct table *__wrap_patch_apply(struct patch *patch, struct table *changes, size_t limit);
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);

bool __wrap_plain_record_read(struct reader *r, struct plain_record *record)
{
	decoded++;
	return __real_plain_record_read(r, record);
}

struct table *__wrap_patch_apply(struct patch *patch, struct table *changes, size_t limit)
{
	struct table *table = __real_patch_apply(patch, changes, limit);
	patched += table != NULL;
	return table;
}

static bool is_refused(void)
{
	return ++wanted == refused;
}

/* New memory is not empty. */
static void *filled(uint8_t *memory, size_t begin)
{
	if (memory) {
		size_t size = malloc_usable_size(memory);
		memset(memory + begin, 0xa5, size > begin ? size - begin : 0);
	}
	return memory;
}

void *__wrap_malloc(size_t size)
{
	return is_refused() ? NULL : filled(__real_malloc(size), 0);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return is_refused() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	size_t held = malloc_usable_size(old);
	return is_refused() ? NULL : filled(__real_realloc(old, size), held);
}

/* A document, while it is written. */
struct text {
	size_t len;
	size_t records;
	char octets[ROOM];
};

__attribute__((format(printf, 2, 3))) static void put(struct text *text, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	int len = vsnprintf(text->octets + text->len, ROOM - text->len, format, arguments);
	va_end(arguments);
	assert_in_range(len, 0, ROOM - text->len - 1);
	text->len += (size_t)len;
}

static void begin(struct text *text)
{
	text->len = 0;
	text->records = 0;
	put(text, "{\"records\":[");
}

static void end(struct text *text)
{
	put(text, "],\"ttl\":60}");
}

/* Records, with commas between them. NULL: none. */
static void records(struct text *text, const char *some)
{
	if (some) {
		put(text, "%s%s", text->records++ > 0 ? "," : "", some);
	}
}

/* The records of n0.other, n1.other and so on, from one to before another. */
static void numbered(struct text *text, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		put(text, "%s{\"name\":\"n%u.other\",\"ips\":[\"241.1.%u.%u\"]}",
			text->records++ > 0 ? "," : "", i, i / 256, i % 256);
	}
}

static int table_read(struct table **table, const struct text *text, const struct table *former,
	size_t limit, struct document_report *report)
{
	return document_read(table, (struct span){(const uint8_t *)text->octets, text->len}, former,
		SEED, limit, report);
}

static struct table *made_of_nothing(const struct text *text)
{
	struct document_report report;
	struct table *table = NULL;
	int rc = table_read(&table, text, NULL, LIMIT, &report);
	if (rc < 0) {
		fail_msg("%s: %s", text->octets, report.error);
	}
	return table;
}

/* Read a document with and without a former table: the outcome has to be the same. NULL: it is
 * refused both times. */
static struct table *read_after(const struct table *former, const struct text *text)
{
	struct document_report report, other_report;
	struct table *whole = NULL;
	struct table *table = NULL;
	int rc = table_read(&whole, text, NULL, LIMIT, &other_report);
	decoded = 0;
	patched = 0;
	ways = 0;
	uint32_t end = former->shared->len;
	assert_int_equal(table_read(&table, text, former, LIMIT, &report), rc);
	assert_true(same_report(&report, &other_report));
	if (rc < 0) {
		return NULL;
	}
	const char *what = table_differs(whole, table);
	if (what) {
		fail_msg("another %s: %.4000s", what, text->octets);
	}
	/* Who compares a name with the former one's last entry reads so far behind its end. */
	for (uint32_t i = 0; table->shared == former->shared && i < table->run_count; i++) {
		assert_true(table->runs[i].end <= end || table->runs[i].begin >= end + DNAME_MAX);
	}
	table_unref(whole);
	return table;
}

/* Records at three places of a document; what is between them does not change. */
struct parts {
	const char *first;
	const char *middle;
	const char *last;
};

enum { NUMBERED = 256 };

static struct text text_before;
static struct text text_after;

static void parts_write(struct text *text, const struct parts *parts)
{
	begin(text);
	records(text, parts->first);
	numbered(text, 0, NUMBERED / 2);
	records(text, parts->middle);
	numbered(text, NUMBERED / 2, NUMBERED);
	records(text, parts->last);
	end(text);
}

static void is_as_made_of_nothing(const struct table *table, const struct text *text)
{
	unsigned counted = decoded;
	struct table *whole = made_of_nothing(text);
	assert_null(table_differs(whole, table));
	table_unref(whole);
	decoded = counted;
}

/* Each document is read with the table of the other one, and again so, the short way each time.
 * Returns the last table, of `after`. */
static struct table *there_and_back(struct parts before, struct parts after)
{
	parts_write(&text_before, &before);
	parts_write(&text_after, &after);
	struct table *table = made_of_nothing(&text_before);
	for (unsigned i = 0; i < 3; i++) {
		struct table *next = read_after(table, i % 2 == 0 ? &text_after : &text_before);
		assert_int_equal(patched, 1);
		is_as_made_of_nothing(table, i % 2 == 0 ? &text_before : &text_after);
		table_unref(table);
		table = next;
	}
	return table;
}

static void is_same_there_and_back(struct parts before, struct parts after)
{
	table_unref(there_and_back(before, after));
}

static enum table_found kind(const struct table *table, const char *text)
{
	struct dname name;
	struct table_addresses found;
	assert_int_equal(dname_from_text(&name, text, strlen(text)), 0);
	return table_lookup(table, &name, &found);
}

/* The same where a record moves: that may take a table made of nothing. */
static void is_same_whichever_way(struct parts before, struct parts after)
{
	parts_write(&text_before, &before);
	parts_write(&text_after, &after);
	struct table *table = made_of_nothing(&text_before);
	struct table *next = read_after(table, &text_after);
	table_unref(read_after(next, &text_before));
	table_unref(next);
	table_unref(table);
}

#define R(name, ip) "{\"name\":\"" name "\",\"ips\":[\"" ip "\"]}"

static void what_did_not_change_is_taken_over(void **state)
{
	(void)state;
	struct parts parts = {R("a.mesh", "10.0.0.1"), R("b.mesh", "::1"), R("*.mesh", "10.0.0.3")};
	table_unref(there_and_back(parts, parts));
	assert_int_equal(decoded, 0);
}

static void addresses_change(void **state)
{
	(void)state;
	struct parts before = {
		R("a.mesh", "10.0.0.1"), R("b.mesh", "10.0.0.1"), R("c.mesh", "10.0.0.1")};
	is_same_there_and_back(
		before, (struct parts){R("a.mesh", "10.0.0.2"), before.middle, before.last});
	is_same_there_and_back(
		before, (struct parts){before.first, R("b.mesh", "10.0.0.2"), before.last});
	is_same_there_and_back(
		before, (struct parts){before.first, before.middle, R("c.mesh", "10.0.0.2")});
	is_same_there_and_back(
		before, (struct parts){R("a.mesh", "::1\",\"::2\",\"10.0.0.1"), R("b.mesh", "::1"),
				"{\"name\":\"c.mesh\",\"ips\":[]}"});
}

/* Both ways: a name that is added there is removed on the way back. */
static void names_come_and_go(void **state)
{
	(void)state;
	struct parts none = {0};
	const char *one = R("a.svc.mesh", "10.0.0.1");
	const char *three = R("a.svc.mesh", "10.0.0.1") "," R("b.svc.mesh", "241.1.0.7") "," R(
		"c.other", "::1");
	is_same_there_and_back(none, (struct parts){one, NULL, NULL});
	is_same_there_and_back(none, (struct parts){NULL, one, NULL});
	is_same_there_and_back(none, (struct parts){NULL, NULL, one});
	is_same_there_and_back(none, (struct parts){three, NULL, NULL});
	is_same_there_and_back(none, (struct parts){NULL, three, NULL});
	is_same_there_and_back(none, (struct parts){NULL, NULL, three});
}

static void names_are_replaced(void **state)
{
	(void)state;
	const char *one = R("a.svc.mesh", "10.0.0.1");
	const char *other = R("longer.b.svc.mesh", "10.0.0.1");
	is_same_there_and_back((struct parts){one, NULL, NULL}, (struct parts){other, NULL, NULL});
	is_same_there_and_back((struct parts){NULL, one, NULL}, (struct parts){NULL, other, NULL});
	is_same_there_and_back((struct parts){NULL, NULL, one}, (struct parts){NULL, NULL, other});
	is_same_there_and_back((struct parts){one, NULL, NULL}, (struct parts){NULL, NULL, other});
	is_same_there_and_back((struct parts){NULL, NULL, one}, (struct parts){other, NULL, NULL});
}

static void ancestors_go_with_the_last_name_below_them(void **state)
{
	(void)state;
	struct table *table = there_and_back(
		(struct parts){.middle = R("a.svc.mesh.local", "10.0.0.1")}, (struct parts){0});
	assert_int_equal(kind(table, "a.svc.mesh.local"), TABLE_ABSENT);
	assert_int_equal(kind(table, "svc.mesh.local"), TABLE_ABSENT);
	assert_int_equal(kind(table, "local"), TABLE_ABSENT);
	assert_int_equal(kind(table, "other"), TABLE_EMPTY);
	table_unref(table);
}

/* The first name below an ancestor is what its slot points into. */
static void ancestors_stay_as_long_as_there_is_a_name_below_them(void **state)
{
	(void)state;
	struct table *table = there_and_back((struct parts){R("a.svc.mesh.local", "10.0.0.1"),
						     R("b.svc.mesh.local", "10.0.0.2"), NULL},
		(struct parts){NULL, R("b.svc.mesh.local", "10.0.0.2"), NULL});
	assert_int_equal(kind(table, "a.svc.mesh.local"), TABLE_ABSENT);
	assert_int_equal(kind(table, "svc.mesh.local"), TABLE_EMPTY);
	assert_int_equal(kind(table, "mesh.local"), TABLE_EMPTY);
	assert_int_equal(kind(table, "local"), TABLE_EMPTY);
	table_unref(table);
	/* Of two ancestors as long as each other. */
	is_same_there_and_back((struct parts){R("a.aa", "10.0.0.1") "," R("a.bb", "10.0.0.2"),
				       R("b.aa", "10.0.0.3") "," R("b.bb", "10.0.0.4"), NULL},
		(struct parts){NULL, R("b.aa", "10.0.0.3") "," R("b.bb", "10.0.0.4"), NULL});
	/* The same where all that was first in the document is gone, the root's slot with it. */
	is_same_there_and_back((struct parts){R("a.x", "10.0.0.1"), NULL, NULL}, (struct parts){0});
}

/* A slot is lost while one of a name below it is not. */
static void ancestors_of_ancestors_that_stay_are_found_again(void **state)
{
	(void)state;
	static const char *const first[] = {
		R("x.mesh.local", "10.0.0.1"),
		R("x.local", "10.0.0.1") "," R("y.mesh.local", "10.0.0.1"),
		R("mesh.local", "10.0.0.1"),
		R("local", "10.0.0.1"),
		R("a.b.c.mesh.local", "10.0.0.1"),
	};
	for (size_t i = 0; i < sizeof first / sizeof first[0]; i++) {
		struct parts before = {first[i], R("a.svc.mesh.local", "10.0.0.2"),
			R("b.d.svc.mesh.local", "10.0.0.3")};
		struct parts after = before;
		after.first = NULL;
		struct table *table = there_and_back(before, after);
		assert_int_equal(kind(table, "svc.mesh.local"), TABLE_EMPTY);
		assert_int_equal(kind(table, "mesh.local"), TABLE_EMPTY);
		assert_int_equal(kind(table, "local"), TABLE_EMPTY);
		table_unref(table);
		/* Something else changes at the same time, below what stays. */
		after.last = R("b.d.svc.mesh.local", "10.0.0.4");
		is_same_there_and_back(before, after);
		after.last = R("c.e.svc.mesh.local", "10.0.0.4");
		is_same_there_and_back(before, after);
		after.middle = R("a.svc.mesh.local", "10.0.0.5");
		is_same_there_and_back(before, after);
	}
}

static void a_record_goes_while_names_below_it_stay(void **state)
{
	(void)state;
	static const char *const below = R("a.svc.mesh", "10.0.0.2") "," R("b.mesh", "10.0.0.3");
	const char *name = R("svc.mesh", "10.0.0.1");
	const struct parts rows[][2] = {
		{{name, below, NULL}, {NULL, below, NULL}},
		{{below, name, NULL}, {below, NULL, NULL}},
		{{NULL, below, name}, {NULL, below, NULL}},
		{{NULL, name, below}, {NULL, NULL, below}},
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct table *table = there_and_back(rows[i][0], rows[i][1]);
		assert_int_equal(kind(table, "svc.mesh"), TABLE_EMPTY);
		table_unref(table);
		table = there_and_back(rows[i][1], rows[i][0]);
		assert_int_equal(kind(table, "svc.mesh"), TABLE_NAME);
		table_unref(table);
	}
	/* With the record there goes the only name below it. */
	struct table *table =
		there_and_back((struct parts){name, R("a.svc.mesh", "10.0.0.2"), NULL},
			(struct parts){name, NULL, NULL});
	assert_int_equal(kind(table, "svc.mesh"), TABLE_NAME);
	assert_int_equal(kind(table, "a.svc.mesh"), TABLE_ABSENT);
	table_unref(table);
}

static void wildcards_come_and_go(void **state)
{
	(void)state;
	struct parts with = {.middle = R("*.mesh", "10.0.0.1")};
	struct table *table = there_and_back((struct parts){0}, with);
	assert_true(table->wildcards);
	assert_int_equal(kind(table, "any.mesh"), TABLE_NAME);
	table_unref(table);
	table = there_and_back(with, (struct parts){0});
	assert_int_equal(kind(table, "any.mesh"), TABLE_ABSENT);
	table_unref(table);
	/* One goes and another one stays; one becomes a name without a record. */
	is_same_there_and_back((struct parts){R("*.a", "10.0.0.1"), R("*.b", "10.0.0.1"), NULL},
		(struct parts){NULL, R("*.b", "10.0.0.1"), NULL});
	table = there_and_back((struct parts){R("*.a", "10.0.0.1"), R("x.*.a", "10.0.0.1"), NULL},
		(struct parts){NULL, R("x.*.a", "10.0.0.1"), NULL});
	assert_true(table->wildcards);
	table_unref(table);
	/* Addresses of a wildcard do not lead back. */
	is_same_there_and_back((struct parts){R("*.a", "10.0.0.1"), NULL, NULL},
		(struct parts){R("b.a", "10.0.0.1"), NULL, NULL});
	is_same_there_and_back((struct parts){.last = R("*.a", "10.0.0.1\",\"::1")},
		(struct parts){.last = R("*.a", "10.0.0.2")});
}

/* Names of one address, before, between and behind which others come, go, and get another one. */
static void names_of_an_address_keep_the_order_of_the_document(void **state)
{
	enum { SHARED = 400 };
	static const struct {
		unsigned from;
		const char *record; /* instead of the one, or none */
	} rows[] = {
		{0, R("s0.other", "10.0.0.1\",\"10.0.0.2")},
		{7, R("s7.other", "10.0.0.1\",\"10.0.0.2")},
		{SHARED - 1, R("s.other", "10.0.0.1")},
		{8, NULL},
		{0, NULL},
		{9, R("s9.other", "10.0.0.2")},
		{200, R("a.other", "10.0.0.1") "," R("b.other", "10.0.0.1")},
	};
	(void)state;
	struct table *table = NULL;
	for (size_t row = 0; row <= sizeof rows / sizeof rows[0]; row++) {
		begin(&text_after);
		for (unsigned i = 0; i < SHARED; i++) {
			char record[64];
			snprintf(record, sizeof record, R("s%u.other", "10.0.0.1"), i);
			bool changed = row > 0 && rows[row - 1].from == i;
			records(&text_after, changed ? rows[row - 1].record : record);
		}
		end(&text_after);
		/* Each on the one before, so that there are more and more runs. */
		struct table *next =
			table ? read_after(table, &text_after) : made_of_nothing(&text_after);
		assert_true(!table || patched == 1);
		table_unref(table);
		table = next;
	}
	table_unref(table);
}

static void the_root_and_names_next_to_it_are_names(void **state)
{
	(void)state;
	static const char *const names[] = {R(".", "10.0.0.1"), R("mesh", "10.0.0.1"),
		R("other", "10.0.0.1"), R("*", "10.0.0.1")};
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		is_same_there_and_back((struct parts){0}, (struct parts){names[i], NULL, NULL});
		is_same_there_and_back((struct parts){0}, (struct parts){NULL, names[i], NULL});
		is_same_there_and_back((struct parts){0}, (struct parts){NULL, NULL, names[i]});
	}
	is_same_there_and_back((struct parts){R(".", "10.0.0.1"), NULL, NULL},
		(struct parts){R(".", "10.0.0.2"), NULL, R("x", "10.0.0.2")});
}

/* A name that comes twice is united with itself; that takes a table made of nothing. */
static void names_given_twice_are_united(void **state)
{
	(void)state;
	const char *changed = R("n7.other", "10.0.0.1");
	static const struct parts rows[] = {
		/* One is taken over, the other one is new. */
		{R("n7.other", "10.0.0.1"), NULL, NULL},
		{NULL, NULL, R("n7.other", "10.0.0.1")},
		{NULL, NULL, R("n7.other", "241.1.0.7")},
		{NULL, NULL, R("N7.Other.", "::1")},
		{NULL, NULL, R("n7.other", "10.0.0.1") "," R("n7.other", "10.0.0.2")},
		/* Both are new. */
		{NULL, R("new.other", "10.0.0.1") "," R("new.other", "10.0.0.2"), NULL},
		{NULL, R("new.other", "10.0.0.1") "," R("new.other", "10.0.0.1"), NULL},
		{R("new.other", "10.0.0.1"), NULL, R("new.other", "::1")},
		/* Below, above. */
		{R("b.n7.other", "10.0.0.1"), NULL,
			R("b.n7.other", "10.0.0.1") "," R("other", "::1")},
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct parts none = {0};
		struct parts other = {R("a.other", "::1"), changed, NULL};
		parts_write(&text_before, &none);
		parts_write(&text_after, &rows[i]);
		struct table *table = made_of_nothing(&text_before);
		struct table *united = read_after(table, &text_after);
		assert_int_equal(patched, 0);
		assert_true(united->count > NUMBERED || i < 5);
		/* What was united was made of no text: it is never taken over. */
		struct table *again = read_after(united, &text_after);
		assert_int_equal(patched, 0);
		struct table *back = read_after(united, &text_before);
		assert_int_equal(patched, 0);
		parts_write(&text_after, &other);
		table_unref(read_after(united, &text_after));
		table_unref(table);
		table = read_after(back, &text_before);
		assert_int_equal(patched, 1);
		table_unref(back);
		table_unref(again);
		table_unref(united);
		table_unref(table);
	}
}

/* Texts that agree up to the first brace that closes are not always the same record. */
static void records_that_are_not_as_usual_are_read_each_time(void **state)
{
#define TWO(before, after) before "10.0.0.1" after, before "10.0.0.2" after
	static const char *const rows[][2] = {
		{TWO("{\"kind\":{\"a\":1},\"name\":\"x\",\"ips\":[\"", "\"]}")},
		{TWO("{\"note\":\"}\",\"name\":\"x\",\"ips\":[\"", "\"]}")},
		{TWO("{\"note\":\"\\u007d\",\"name\":\"x\",\"ips\":[\"", "\"]}")},
		{TWO("{\"note\":\"\\\"}\",\"name\":\"x\",\"ips\":[\"", "\"]}")},
		{TWO("{\"name\":\"x\",\"k\":[{},{}],\"ips\":[\"", "\"]}")},
		{TWO("{\"name\":\"\\u0078\",\"ips\":[\"", "\"]}")},
		{TWO("{\"name\":\"x}\",\"ips\":[\"", "\"]}")},
		{TWO("{\"name\":\"x\\u007d\",\"ips\":[\"", "\"]}")},
		{TWO("{\"name\":\"x\",\"ips\":[\"", "\"],\"k\":{}}")},
		{TWO("{\"name\":\"x\",\"ips\":[\"", "\"],\"k\":\"}\"}")},
		{TWO("{\"name\":\"x\",\"ips\":[\"", "\"],\"k\":{},\"l\":\"}{\"}")},
		{TWO("{\"name\":\"w\",\"ips\":[\"", "\"],\"name\":\"x\"}")},
		{TWO("{\"name\":\"x\",\"ips\":[\"", "\",\"bad}\"]}")},
		{TWO("{\"k\":1.5e3,\"name\":\"x\",\"ips\":[\"", "\"]}")},
		{TWO("{\"k\":\"\xc3\xa9}\",\"name\":\"x\",\"ips\":[\"", "\"]}")},
		{TWO("{\n\t\"name\" : \"x\" ,\r\n \"ips\" : [ \"", "\" ]\n}\n")},
		/* What is the same up to the first brace, and is not the same name. */
		{"{\"k\":{},\"name\":\"x\",\"ips\":[]}", "{\"k\":{},\"name\":\"y.x\",\"ips\":[]}"},
		{"{\"name\":\"x\",\"ips\":[],\"k\":{}}",
			"{\"name\":\"x\",\"ips\":[],\"k\":{},\"ips\":[\"::1\"]}"},
		{"{\"name\":\"x\",\"ips\":[],\"k\":{}}", "{\"name\":\"x\",\"ips\":[],\"k\":{ }}"},
	};
#undef TWO
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const char *one = rows[i][0];
		const char *other = rows[i][1];
		is_same_there_and_back(
			(struct parts){one, NULL, NULL}, (struct parts){other, NULL, NULL});
		is_same_there_and_back(
			(struct parts){NULL, one, NULL}, (struct parts){NULL, other, NULL});
		is_same_there_and_back(
			(struct parts){NULL, NULL, one}, (struct parts){NULL, NULL, other});
		is_same_there_and_back(
			(struct parts){one, NULL, NULL}, (struct parts){one, NULL, NULL});
		is_same_whichever_way(
			(struct parts){NULL, NULL, one}, (struct parts){one, NULL, NULL});
		is_same_there_and_back((struct parts){.middle = one}, (struct parts){0});
	}
}

static void what_is_skipped_is_reported_each_time(void **state)
{
	(void)state;
	const char *name = R("a..mesh", "10.0.0.1");
	const char *address = R("a.mesh", "10.0.0.256\",\"x}");
	const char *some = R("b.mesh", "10.0.0.256\",\"10.0.0.1");
	struct parts parts = {name, address, some};
	struct table *table = there_and_back(parts, parts);
	assert_int_equal(table_skipped(table), 2);
	table_unref(table);
	is_same_there_and_back(parts, (struct parts){0});
	is_same_whichever_way((struct parts){some, name, address}, parts);
	is_same_whichever_way((struct parts){address, some, R("a.mesh", "10.0.0.1")},
		(struct parts){R("a.mesh", "10.0.0.1"), some, address});
}

/* Tables of a document in which only the end changes. */
static struct table *next_with_end(struct table *table, const char *members)
{
	begin(&text_after);
	numbered(&text_after, 0, NUMBERED);
	put(&text_after, "]%s}", members);
	struct table *next = table ? read_after(table, &text_after) : made_of_nothing(&text_after);
	assert_true(!table || (patched == 1 && decoded == 0));
	table_unref(table);
	return next;
}

static void labels_and_the_ttl_are_those_of_the_document(void **state)
{
	(void)state;
	struct table *table = next_with_end(NULL, "");
	assert_int_equal(table_ttl(table), 30);
	table = next_with_end(table, ",\"ttl\":7");
	assert_int_equal(table_ttl(table), 7);
	table = next_with_end(table, ",\"ttl\":8,\"extraLabels\":{\"mesh\":\"a\",\"zone\":\"\"}");
	assert_int_equal(table->label_count, 2);
	table = next_with_end(table, ",\"extraLabels\":{\"mesh\":\"b\",\"1st\":\"x\"}");
	assert_int_equal(table->label_count, 1);
	table = next_with_end(table, ",\"more\":[{}],\"extraLabels\":{}");
	assert_int_equal(table->label_count, 0);
	table_unref(table);
}

/* What is read after the records may refuse the document, with the same sentence. */
static void bad_documents_are_refused_with_the_same_sentence(void **state)
{
	static const char *const ends[] = {"", "]", "]}x", "],}", ",]}", ",7]}", "],\"ttl\":-1}",
		"],\"records\":[]}", ",{\"name\":\"x\"}]}", ",{\"ips\":[]}]}", ",{\"name\":\"n",
		"],\"extraLabels\":7}", "{\"name\":\"x\",\"ips\":[]}]}", ",null]}"};
	(void)state;
	begin(&text_before);
	numbered(&text_before, 0, NUMBERED);
	end(&text_before);
	struct table *table = made_of_nothing(&text_before);
	for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
		begin(&text_after);
		numbered(&text_after, 0, NUMBERED);
		put(&text_after, "%s", ends[i]);
		assert_null(read_after(table, &text_after));
		assert_in_range(decoded, 0, 1);
	}
	table_unref(table);
}

static void another_order_is_another_table(void **state)
{
	(void)state;
	const char *one = R("a.mesh", "10.0.0.1") "," R("b.mesh", "::1");
	const char *other = R("b.mesh", "::1") "," R("a.mesh", "10.0.0.1");
	is_same_there_and_back((struct parts){one, NULL, NULL}, (struct parts){other, NULL, NULL});
	is_same_there_and_back((struct parts){NULL, one, NULL}, (struct parts){NULL, other, NULL});
	is_same_there_and_back((struct parts){NULL, NULL, one}, (struct parts){NULL, NULL, other});
	is_same_whichever_way((struct parts){one, NULL, NULL}, (struct parts){NULL, NULL, one});
	is_same_whichever_way((struct parts){NULL, NULL, one}, (struct parts){other, NULL, NULL});
	/* The other way round, half by half. */
	begin(&text_before);
	numbered(&text_before, 0, NUMBERED);
	end(&text_before);
	begin(&text_after);
	for (unsigned i = NUMBERED; i-- > 0;) {
		numbered(&text_after, i, i + 1);
	}
	end(&text_after);
	struct table *table = made_of_nothing(&text_before);
	table_unref(read_after(table, &text_after));
	begin(&text_after);
	numbered(&text_after, NUMBERED / 2, NUMBERED);
	numbered(&text_after, 0, NUMBERED / 2);
	end(&text_after);
	table_unref(read_after(table, &text_after));
	assert_int_equal(patched, 0);
	table_unref(table);
}

static void there_may_be_nothing_before_or_after(void **state)
{
	(void)state;
	begin(&text_before);
	numbered(&text_before, 0, NUMBERED);
	end(&text_before);
	begin(&text_after);
	end(&text_after);
	struct table *table = made_of_nothing(&text_before);
	struct table *empty = read_after(table, &text_after);
	table_unref(read_after(empty, &text_after));
	table_unref(read_after(empty, &text_before));
	table_unref(empty);
	table_unref(table);
}

/* One name more or less each time: seldom there is no more room for it. */
static void all_sizes_are_patched(void **state)
{
	enum { FEWEST = 200, MOST = 280 };
	(void)state;
	begin(&text_before);
	numbered(&text_before, 0, FEWEST);
	end(&text_before);
	struct table *table = made_of_nothing(&text_before);
	unsigned of_nothing = 0;
	for (unsigned i = 0; i < 8 * (MOST - FEWEST); i++) {
		unsigned turn = i % (2 * (MOST - FEWEST));
		unsigned count = turn < MOST - FEWEST ? FEWEST + turn : 2 * MOST - FEWEST - turn;
		begin(&text_after);
		numbered(&text_after, 0, count);
		end(&text_after);
		struct table *next = read_after(table, &text_after);
		of_nothing += 1 - patched;
		table_unref(table);
		table = next;
	}
	table_unref(table);
	assert_in_range(of_nothing, 1, 8 * (MOST - FEWEST) / 10);
}

/* Addresses come and go, down to none. */
static void the_last_address_may_go(void **state)
{
	static const char *const last[] = {NULL, R("a", "10.0.0.1"), R("a", "::1\",\"::2"),
		R("a", "::1\",\"::2\",\"::3"), R("a", "::1\",\"::2\",\"::3\",\"::4")};
	struct table *table = NULL;
	(void)state;
	for (unsigned i = 0; i < 16; i++) {
		begin(&text_after);
		for (unsigned n = 0; n < NUMBERED; n++) {
			put(&text_after, "%s{\"name\":\"n%u.other\",\"ips\":[]}",
				text_after.records++ > 0 ? "," : "", n);
		}
		records(&text_after, last[i < 8 ? i / 2 : (16 - i) / 2]);
		end(&text_after);
		struct table *next =
			i > 0 ? read_after(table, &text_after) : made_of_nothing(&text_after);
		table_unref(table);
		table = next;
	}
	table_unref(table);
}

/* One of three names has another address each time, and the two others are not there. */
static void changing_write(struct text *text, unsigned number)
{
	char record[64];
	snprintf(record, sizeof record, "{\"name\":\"c%u\",\"ips\":[\"10.0.%u.%u\"]}", number % 3,
		number / 256 % 256, number % 256);
	parts_write(text, &(struct parts){.middle = record});
}

/* A table that changes again and again takes no more and no more memory. */
static void what_changes_always_does_not_grow(void **state)
{
	enum { TURNS = 1000 };
	(void)state;
	struct parts parts = {0};
	parts_write(&text_before, &parts);
	struct table *table = made_of_nothing(&text_before);
	size_t most = table_memory(table) * 5 / 4 + 8192;
	unsigned short_ways = 0;
	for (unsigned i = 0; i < TURNS; i++) {
		changing_write(&text_after, i);
		struct table *next = read_after(table, &text_after);
		short_ways += patched;
		table_unref(table);
		table = next;
		assert_true(table_memory(table) < most);
		assert_true(table->shared->len + DNAME_MAX <= table->shared->size);
	}
	table_unref(table);
	assert_in_range(short_ways, TURNS / 4 * 3, TURNS - 1);
}

/* One name less each time: what they took is not kept for ever. */
static void what_shrinks_gives_memory_back(void **state)
{
	(void)state;
	begin(&text_before);
	numbered(&text_before, 0, 4 * NUMBERED);
	end(&text_before);
	struct table *table = made_of_nothing(&text_before);
	unsigned short_ways = 0;
	for (unsigned count = 4 * NUMBERED; count > 0; count -= 4) {
		begin(&text_after);
		numbered(&text_after, 0, count);
		end(&text_after);
		struct table *next = read_after(table, &text_after);
		struct table *whole = made_of_nothing(&text_after);
		short_ways += patched;
		table_unref(table);
		table = next;
		assert_true(table->shared->len <= whole->shared->len * 4 / 3 + 1);
		table_unref(whole);
	}
	table_unref(table);
	assert_in_range(short_ways, NUMBERED / 2, NUMBERED);
}

static void gaps_of_all_lengths_are_left_out(void **state)
{
	enum { MANY = 2000 };
	(void)state;
	begin(&text_before);
	numbered(&text_before, 0, MANY);
	end(&text_before);
	struct table *table = made_of_nothing(&text_before);
	for (unsigned gap = 1; gap < MANY; gap += gap / 2 + 1) {
		for (unsigned kept = gap; kept < MANY; kept *= 3) {
			begin(&text_after);
			for (unsigned at = 0; at < MANY; at += kept + gap) {
				numbered(&text_after, at, at + kept < MANY ? at + kept : MANY);
			}
			end(&text_after);
			table_unref(read_after(table, &text_after));
		}
	}
	table_unref(table);
}

/* What costs: a record that is decoded, and a name that is looked up. */
static void few_changes_take_few_records_to_be_read(void **state)
{
	enum { COUNT = 1000, CHANGES = 10 };
	(void)state;
	begin(&text_before);
	numbered(&text_before, 0, COUNT);
	end(&text_before);
	struct table *table = made_of_nothing(&text_before);
	/* Addresses of ten, ten that are removed, ten others in their places, ten that are added.
	 */
	for (unsigned way = 0; way < 4; way++) {
		begin(&text_after);
		for (unsigned i = 0; i < CHANGES; i++) {
			unsigned at = i * COUNT / CHANGES;
			numbered(&text_after, at, at + 50);
			if (way != 1) {
				put(&text_after, ",{\"name\":\"%c%u.other\",\"ips\":[\"::1\"]}",
					way == 0 ? 'n' : 'x', at + 50);
			}
			numbered(&text_after, at + 50 + (way < 3), at + COUNT / CHANGES);
		}
		end(&text_after);
		struct table *next = read_after(table, &text_after);
		assert_int_equal(patched, 1);
		assert_int_equal(decoded, way == 1 ? 0 : CHANGES);
		table_unref(next);
	}
	table_unref(table);
}

static void where_all_is_new_little_is_lost(void **state)
{
	enum { COUNT = 1000 };
	static const char *const formats[] = {
		"{\"name\":\"m%u.other\",\"ips\":[\"241.1.0.1\"]}",
		"{\"name\":\"n%u.other\",\"ips\":[\"241.2.0.1\"]}",
		"{\"name\":\"n%u.other\",\"ips\":[]}",
	};
	(void)state;
	begin(&text_before);
	numbered(&text_before, 0, COUNT);
	end(&text_before);
	struct table *table = made_of_nothing(&text_before);
	for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
		begin(&text_after);
		for (unsigned n = 0; n < COUNT; n++) {
			char record[128];
			const char *place = strstr(formats[i], "%u");
			snprintf(record, sizeof record, "%.*s%u%s", (int)(place - formats[i]),
				formats[i], n, place + 2);
			records(&text_after, record);
		}
		end(&text_after);
		struct table *next = read_after(table, &text_after);
		assert_int_equal(patched, 0);
		assert_in_range(decoded, COUNT, COUNT + COUNT / 50);
		table_unref(next);
	}
	table_unref(table);
}

enum { LONG = 14000 };

static void long_write(struct text *text, const char *first)
{
	begin(text);
	records(text, first);
	numbered(text, 0, LONG);
	end(text);
}

/* Every few microseconds, whatever is done at the time. */
static void patching_gives_way_all_the_time(void **state)
{
	(void)state;
	long_write(&text_before, R("a.b", "10.0.0.1"));
	long_write(&text_after, R("a.b", "10.0.0.2"));
	struct table *table = made_of_nothing(&text_before);
	struct table *next = read_after(table, &text_after);
	assert_int_equal(patched, 1);
	unsigned of_reading = (LONG + 1) / 16;
	unsigned of_slots = (unsigned)(slots_octets(table) >> 15);
	unsigned of_buckets = (1U << table->bucket_bits) / 4096;
	unsigned all = of_reading + of_slots + of_buckets;
	assert_in_range(ways, all, all + 4);
	table_unref(next);
	/* A name is gone, so that all names are looked at for its ancestors. */
	long_write(&text_after, NULL);
	next = read_after(table, &text_after);
	assert_int_equal(patched, 1);
	assert_in_range(ways, all + LONG / 32, all + LONG / 32 + 8);
	table_unref(next);
	table_unref(table);
}

static void removing_gives_way_all_the_time(void **state)
{
	enum { GONE = LONG / 5 };
	(void)state;
	long_write(&text_before, NULL);
	struct table *table = made_of_nothing(&text_before);
	begin(&text_after);
	numbered(&text_after, GONE, LONG);
	end(&text_after);
	struct table *next = read_after(table, &text_after);
	assert_int_equal(patched, 1);
	unsigned of_reading = (LONG - GONE) / 16;
	unsigned of_slots = (unsigned)(slots_octets(table) >> 15);
	unsigned of_passing = GONE / 32;
	unsigned of_index = GONE / 32;
	unsigned of_way_back = GONE / 256 + 2 * ((LONG - GONE) / 256);
	unsigned all = of_reading + of_slots + of_passing + of_index + of_way_back;
	assert_in_range(ways, all, all + 6);
	table_unref(next);
	table_unref(table);
}

/* Read while one allocation after the other is refused. */
static void every_allocation_may_fail(const struct table *former, const struct text *text)
{
	struct document_report report;
	struct table *whole = made_of_nothing(text);
	unsigned made = 0;
	unsigned n = 0;
	bool all = false;
	uint32_t len = former->shared->len;
	for (n = 1; !all; n++) {
		struct table *table = NULL;
		wanted = 0;
		refused = n;
		int rc = table_read(&table, text, former, LIMIT, &report);
		refused = 0;
		all = wanted < n;
		if (rc == 0) {
			assert_null(table_differs(whole, table));
			made++;
		} else {
			assert_int_equal(rc, -ENOMEM);
			assert_string_equal(report.error, "out of memory");
		}
		/* What was begun takes no room of those that come later. */
		bool shared = rc == 0 && table->shared == former->shared;
		assert_true(shared || former->shared->len == len);
		len = former->shared->len;
		table_unref(table);
		assert_true(!all || rc == 0);
	}
	assert_true(made > 1); /* some memory can be gone without */
	assert_in_range(n, 20, 2000);
	table_unref(whole);
}

static void out_of_memory_nothing_is_lost(void **state)
{
	static const struct parts rows[][2] = {
		{{0}, {0}},
		/* Ancestors are restored, and a record is not as usual. */
		{{R("x.mesh", "10.0.0.1"), R("a.svc.mesh", "::1"), NULL},
			{NULL, R("a.svc.mesh", "::1"), "{\"name\":\"\xc3\xa9\",\"ips\":[]}"}},
		/* Buckets are made anew. */
		{{0}, {NULL, NULL,
			      R("x.mesh",
				      "1.0.0.1\",\"1.0.0.2\",\"1.0.0.3\",\"1.0.0.4\",\"1.0.0.5")}},
		/* It has to be made of nothing, from the middle on or in the end. */
		{{0}, {R("n3.other", "10.0.0.1"), NULL, NULL}},
		{{0}, {NULL, NULL, R("a", "10.0.0.1") "," R("a", "10.0.0.2")}},
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		parts_write(&text_before, &rows[i][0]);
		parts_write(&text_after, &rows[i][1]);
		struct table *former = made_of_nothing(&text_before);
		every_allocation_may_fail(former, &text_after);
		table_unref(former);
	}
	/* So many runs that there is to be more room for them. */
	begin(&text_before);
	numbered(&text_before, 0, NUMBERED);
	end(&text_before);
	begin(&text_after);
	numbered(&text_after, 0, NUMBERED / 2);
	for (unsigned i = NUMBERED / 2; i < NUMBERED; i += 8) {
		put(&text_after, ",{\"name\":\"n%u.other\",\"ips\":[\"::1\"]}", i);
		numbered(&text_after, i + 1, i + 8);
	}
	end(&text_after);
	struct table *former = made_of_nothing(&text_before);
	table_unref(read_after(former, &text_after));
	assert_int_equal(patched, 1);
	every_allocation_may_fail(former, &text_after);
	table_unref(former);
}

static void what_is_too_large_is_refused(void **state)
{
	(void)state;
	struct document_report report;
	struct parts parts = {NULL, NULL, R("a.mesh", "10.0.0.1")};
	begin(&text_before);
	numbered(&text_before, 0, NUMBERED);
	end(&text_before);
	parts_write(&text_after, &parts);
	struct table *former = made_of_nothing(&text_before);
	struct table *whole = made_of_nothing(&text_after);
	size_t memory = table_memory(whole);
	for (size_t limit = 0; limit < 2 * memory; limit += 100) {
		struct table *table = NULL;
		struct table *other = NULL;
		int rc = table_read(&table, &text_after, former, limit, &report);
		int other_rc = table_read(&other, &text_after, NULL, limit, &report);
		if (rc != 0) {
			assert_int_equal(rc, -E2BIG);
			assert_int_equal(other_rc, -E2BIG);
		} else {
			assert_true(table_memory(table) <= limit);
			assert_true(other_rc == -E2BIG || !table_differs(other, table));
		}
		table_unref(other);
		table_unref(table);
	}
	table_unref(whole);
	table_unref(former);
}

/* What is refused after a restart must not have been accepted before it. */
static void the_limit_is_the_same_with_and_without_a_former_table(void **state)
{
	(void)state;
	struct document_report report;
	begin(&text_before);
	numbered(&text_before, 0, 500);
	end(&text_before);
	begin(&text_after);
	numbered(&text_after, 0, 501);
	end(&text_after);
	struct table *former = made_of_nothing(&text_before);
	size_t differs = 0; /* octets */
	for (size_t limit = 0; limit < 1 << 16; limit += 64) {
		struct table *table = NULL;
		struct table *other = NULL;
		int rc = table_read(&table, &text_after, former, limit, &report);
		int other_rc = table_read(&other, &text_after, NULL, limit, &report);
		differs = rc != other_rc ? limit : differs;
		table_unref(other);
		table_unref(table);
	}
	table_unref(former);
	assert_int_equal(differs, 0);
}

/* Documents that change at random. Names are few, so that they meet above and below each other. */
enum { NAMES = 341, RECORDS_MAX = 300, STYLES = 10 };

struct model {
	uint64_t random;
	unsigned ttl;
	unsigned label;
	unsigned count;
	struct {
		uint16_t name;
		uint8_t address;
		uint8_t style;
	} records[RECORDS_MAX];
};

static unsigned any(struct model *model, unsigned below)
{
	model->random ^= model->random << 13;
	model->random ^= model->random >> 7;
	model->random ^= model->random << 17;
	return (unsigned)((model->random >> 16) % below);
}

/* The root, and names of one to four labels out of `*`, `a`, `b`, `c`. */
static const char *name_text(unsigned number)
{
	static char text[16];
	size_t len = 0;
	unsigned width = 1;
	while (number >= width) {
		number -= width;
		width *= 4;
	}
	for (; width > 1; width /= 4, number /= 4) {
		text[len++] = "*abc"[number % 4];
		text[len++] = '.';
	}
	text[len > 0 ? len - 1 : len++] = '.';
	text[len] = '\0';
	return text;
}

static void record_write(struct text *text, const struct model *model, unsigned i)
{
	static const char *const styles[STYLES] = {
		"{\"name\":\"%s\",\"ips\":[\"241.0.0.%u\"]}",
		"{\"name\":\"%s\",\"ips\":[\"241.0.0.%u\",\"::1\"]}",
		"{ \"name\": \"%s\", \"ips\": [\"::%u\", \"::%u\"] }",
		"{\"k\":{\"a\":1},\"name\":\"%s\",\"ips\":[\"241.0.0.%u\"]}",
		"{\"name\":\"%s\",\"ips\":[\"241.0.0.%u\"],\"note\":\"\\u007d}\"}",
		"{\"name\":\"%s\",\"ips\":[\"241.0.0.%u\",\"bad\"]}",
		"{\"name\":\"%s\",\"ips\":[\"bad\",\"%u\"]}",
		"{\"name\":\"%s\",\"ips\":[],\"k\":%u}",
		"{\"name\":\"%s\",\"ips\":null,\"k\":{\"k\":%u}}",
		"{\"name\":\"%s\",\"ips\":[\"241.0.0.1\",\"241.0.0.2\",\"241.0.%u.0\",\"::1\"]}",
	};
	char record[256];
	const char *style = styles[model->records[i].style];
	const char *name = strstr(style, "%s");
	size_t len = (size_t)snprintf(record, sizeof record, "%.*s%s", (int)(name - style), style,
		name_text(model->records[i].name));
	for (const char *c = name + 2; *c != '\0'; c++) {
		if (*c == '%') {
			len += (size_t)snprintf(
				record + len, sizeof record - len, "%u", model->records[i].address);
			c++;
		} else {
			record[len++] = *c;
		}
	}
	record[len] = '\0';
	records(text, record);
}

static void model_write(struct text *text, const struct model *model)
{
	begin(text);
	for (unsigned i = 0; i < model->count; i++) {
		record_write(text, model, i);
	}
	put(text, "],\"ttl\":%u", model->ttl);
	if (model->label > 0) {
		put(text, ",\"extraLabels\":{\"mesh\":\"%u\"}", model->label);
	}
	put(text, "}");
}

static bool model_has(const struct model *model, unsigned name)
{
	bool found = false;
	for (unsigned i = 0; i < model->count; i++) {
		found |= model->records[i].name == name;
	}
	return found;
}

/* A name that is not there, but for once in a while. */
static uint16_t name_pick(struct model *model)
{
	unsigned name = any(model, NAMES);
	bool twice = any(model, 64) == 0;
	while (!twice && model_has(model, name)) {
		name = (name + 1) % NAMES;
	}
	return (uint16_t)name;
}

static uint8_t style_pick(struct model *model)
{
	return (uint8_t)(any(model, 8) > 0 ? any(model, 2) : any(model, STYLES));
}

static void model_remove(struct model *model, unsigned at, unsigned count)
{
	count = at + count < model->count ? count : model->count - at;
	memmove(&model->records[at], &model->records[at + count],
		(model->count - at - count) * sizeof model->records[0]);
	model->count -= count;
}

static void model_insert(struct model *model, unsigned at)
{
	if (model->count < RECORDS_MAX) {
		uint16_t name = name_pick(model);
		memmove(&model->records[at + 1], &model->records[at],
			(model->count - at) * sizeof model->records[0]);
		model->count++;
		model->records[at].name = name;
		model->records[at].address = (uint8_t)any(model, 16);
		model->records[at].style = style_pick(model);
	}
}

static void model_edit(struct model *model)
{
	unsigned at = model->count > 0 ? any(model, model->count) : 0;
	unsigned kind_of_edit = model->count > 0 ? any(model, 16) : 4;
	switch (kind_of_edit) {
	case 0:
	case 1:
	case 2:
		model->records[at].address ^= (uint8_t)(1 + any(model, 15));
		break;
	case 3:
		model->records[at].style = style_pick(model);
		break;
	case 4:
	case 5:
	case 6:
		model_insert(model, at);
		break;
	case 7:
		model_insert(model, model->count);
		break;
	case 8:
	case 9:
	case 10:
		model_remove(model, at, 1);
		break;
	case 11:
		model_remove(model, at, any(model, 40));
		break;
	case 12:
		model->records[at].name = name_pick(model);
		break;
	case 13:
		model_remove(model, at, 1);
		model_insert(model, model->count > 0 ? any(model, model->count) : 0);
		break;
	case 14:
		model->ttl = any(model, 100);
		break;
	default:
		model->label = any(model, 3);
		break;
	}
}

/* Of each name that is there twice, only one stays. */
static void model_unite(struct model *model)
{
	bool seen[NAMES] = {false};
	for (unsigned i = 0; i < model->count;) {
		bool twice = seen[model->records[i].name];
		seen[model->records[i].name] = true;
		if (twice) {
			model_remove(model, i, 1);
		} else {
			i++;
		}
	}
}

/* What a worker does: it looks names up in the table of the moment. */
static struct {
	pthread_mutex_t lock;
	struct table *table;
	_Atomic bool over;
	_Atomic unsigned rounds;
	_Atomic unsigned missed;
} worker = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *work(void *arg)
{
	(void)arg;
	while (!worker.over) {
		pthread_mutex_lock(&worker.lock);
		struct table *table = table_ref(worker.table);
		pthread_mutex_unlock(&worker.lock);
		for (unsigned i = 0; i < NUMBERED; i++) {
			char text[32];
			int len = snprintf(text, sizeof text, "n%u.other", i);
			struct dname name;
			struct table_addresses found;
			bool is_name = dname_from_text(&name, text, (size_t)len) == 0;
			is_name = is_name && table_lookup(table, &name, &found) == TABLE_NAME;
			worker.missed += !is_name || found.a_count != 1;
		}
		table_unref(table);
		worker.rounds++;
	}
	return NULL;
}

static void workers_read_on_while_a_table_is_patched(void **state)
{
	enum { TURNS = 300 };
	static struct parts parts;
	pthread_t thread;
	unsigned short_ways = 0;
	(void)state;
	parts_write(&text_before, &parts);
	struct table *table = made_of_nothing(&text_before);
	worker.table = table_ref(table);
	assert_int_equal(pthread_create(&thread, NULL, work, NULL), 0);
	for (unsigned i = 0; i < TURNS || worker.rounds < 2; i++) {
		changing_write(&text_after, i);
		struct table *next = read_after(table, &text_after);
		short_ways += patched;
		table_unref(table);
		table = next;
		pthread_mutex_lock(&worker.lock);
		struct table *former = worker.table;
		worker.table = table_ref(table);
		pthread_mutex_unlock(&worker.lock);
		table_unref(former);
	}
	worker.over = true;
	pthread_join(thread, NULL);
	table_unref(worker.table);
	table_unref(table);
	assert_int_equal(worker.missed, 0);
	assert_in_range(short_ways, TURNS / 4 * 3, UINT_MAX);
}

static void text_copy(struct text *to, const struct text *from)
{
	memcpy(to->octets, from->octets, from->len);
	to->len = from->len;
}

static void many_generations_are_each_as_made_of_nothing(void **state)
{
	enum { SERIES = 10, GENERATIONS = 250 };
	static struct model model;
	unsigned all = 0;
	(void)state;
	for (unsigned series = 0; series < SERIES; series++) {
		model = (struct model){.random = 0x9e3779b97f4a7c15 + series, .ttl = 30};
		struct table *table = NULL;
		for (unsigned i = 0; i < GENERATIONS; i++) {
			model_unite(&model);
			while (model.count < 70 + 20 * series) {
				model_insert(&model, model.count);
			}
			for (unsigned edits = any(&model, 4); edits > 0; edits--) {
				model_edit(&model);
			}
			if (any(&model, 100) == 0) {
				model_remove(&model, any(&model, model.count), model.count);
			}
			model_write(&text_after, &model);
			struct table *next = table ? read_after(table, &text_after)
						   : made_of_nothing(&text_after);
			all += table ? patched : 0;
			if (table) {
				is_as_made_of_nothing(table, &text_before);
			}
			text_copy(&text_before, &text_after);
			table_unref(table);
			table = next;
		}
		table_unref(table);
	}
	/* And many of them are patched. */
	assert_in_range(all, SERIES * GENERATIONS / 4, SERIES * GENERATIONS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_did_not_change_is_taken_over),
		cmocka_unit_test(addresses_change),
		cmocka_unit_test(names_come_and_go),
		cmocka_unit_test(names_are_replaced),
		cmocka_unit_test(ancestors_go_with_the_last_name_below_them),
		cmocka_unit_test(ancestors_stay_as_long_as_there_is_a_name_below_them),
		cmocka_unit_test(ancestors_of_ancestors_that_stay_are_found_again),
		cmocka_unit_test(a_record_goes_while_names_below_it_stay),
		cmocka_unit_test(wildcards_come_and_go),
		cmocka_unit_test(names_of_an_address_keep_the_order_of_the_document),
		cmocka_unit_test(the_root_and_names_next_to_it_are_names),
		cmocka_unit_test(names_given_twice_are_united),
		cmocka_unit_test(records_that_are_not_as_usual_are_read_each_time),
		cmocka_unit_test(what_is_skipped_is_reported_each_time),
		cmocka_unit_test(labels_and_the_ttl_are_those_of_the_document),
		cmocka_unit_test(bad_documents_are_refused_with_the_same_sentence),
		cmocka_unit_test(another_order_is_another_table),
		cmocka_unit_test(there_may_be_nothing_before_or_after),
		cmocka_unit_test(all_sizes_are_patched),
		cmocka_unit_test(the_last_address_may_go),
		cmocka_unit_test(what_changes_always_does_not_grow),
		cmocka_unit_test(what_shrinks_gives_memory_back),
		cmocka_unit_test(gaps_of_all_lengths_are_left_out),
		cmocka_unit_test(few_changes_take_few_records_to_be_read),
		cmocka_unit_test(where_all_is_new_little_is_lost),
		cmocka_unit_test(patching_gives_way_all_the_time),
		cmocka_unit_test(removing_gives_way_all_the_time),
		cmocka_unit_test(out_of_memory_nothing_is_lost),
		cmocka_unit_test(what_is_too_large_is_refused),
		cmocka_unit_test(the_limit_is_the_same_with_and_without_a_former_table),
		cmocka_unit_test(workers_read_on_while_a_table_is_patched),
		cmocka_unit_test(many_generations_are_each_as_made_of_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
