/* SPDX-License-Identifier: Apache-2.0 */
#include "dns/mesh/table.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SEED = 7 };

static struct dname name_of(const char *text)
{
	struct dname name;
	assert_int_equal(dname_from_text(&name, text, strlen(text)), 0);
	return name;
}

static struct address v4(uint8_t last)
{
	return (struct address){.len = 4, .octets = {241, 0, 0, last}};
}

static struct address v6(uint8_t last)
{
	struct address address = {.len = 16, .octets = {0xfd}};
	address.octets[15] = last;
	return address;
}

static void add(struct table_builder *builder, const char *name, const struct address *addresses,
	size_t count)
{
	struct dname owner = name_of(name);
	assert_int_equal(table_builder_add(builder, &owner, addresses, count), 0);
}

/* A table of the names up to NULL; the first has 241.0.0.1, the second 241.0.0.2, and so on. */
static struct table *table_with(const char *const *names)
{
	struct table_builder *builder = table_builder_new(SEED, SIZE_MAX);
	assert_non_null(builder);
	for (uint8_t i = 0; names[i]; i++) {
		struct address address = v4((uint8_t)(i + 1));
		add(builder, names[i], &address, 1);
	}
	struct table *table = table_builder_finish(builder, 30);
	assert_non_null(table);
	return table;
}

static enum table_found lookup(
	const struct table *table, const char *text, struct table_addresses *found)
{
	struct dname name = name_of(text);
	return table_lookup(table, &name, found);
}

/* The last octet of the one address of a name; 0 if it has no record. */
static unsigned answer(const struct table *table, const char *text)
{
	struct table_addresses found;
	if (lookup(table, text, &found) != TABLE_NAME) {
		return 0;
	}
	assert_int_equal(found.a_count, 1);
	return found.a[3];
}

static enum table_found kind(const struct table *table, const char *text)
{
	struct table_addresses found;
	return lookup(table, text, &found);
}

static bool leads_to(const struct table *table, struct address address, const char *text)
{
	struct dname name = name_of(text);
	uint32_t cursor = 0;
	struct span found;
	while ((found = table_reverse(table, &address, &cursor)).len > 0) {
		if (found.len == name.len && memcmp(found.data, name.octets, name.len) == 0) {
			return true;
		}
	}
	return false;
}

static unsigned reverse_count(const struct table *table, struct address address)
{
	uint32_t cursor = 0;
	unsigned count = 0;
	while (table_reverse(table, &address, &cursor).len > 0) {
		count++;
	}
	return count;
}

static void an_empty_table_has_nothing(void **state)
{
	(void)state;
	struct table *table = table_with((const char *const[]){NULL});
	assert_int_equal(kind(table, "redis.mesh"), TABLE_ABSENT);
	assert_int_equal(kind(table, "."), TABLE_ABSENT);
	struct table_cursor cursor = {0};
	struct table_addresses addresses;
	assert_int_equal(table_next(table, &cursor, &addresses).len, 0);
	assert_int_equal(reverse_count(table, v4(1)), 0);
	assert_int_equal(table_count(table), 0);
	table_unref(table);
}

static void a_name_is_found_and_its_neighbours_are_not(void **state)
{
	(void)state;
	struct table *table =
		table_with((const char *const[]){"redis.svc.mesh", "web.svc.mesh", NULL});
	assert_int_equal(answer(table, "redis.svc.mesh"), 1);
	assert_int_equal(answer(table, "REDIS.svc.Mesh"), 1);
	assert_int_equal(answer(table, "web.svc.mesh"), 2);
	assert_int_equal(kind(table, "x.redis.svc.mesh"), TABLE_ABSENT);
	assert_int_equal(kind(table, "redis.svc"), TABLE_ABSENT);
	assert_int_equal(kind(table, "edis.svc.mesh"), TABLE_ABSENT);
	assert_int_equal(table_count(table), 2);
	assert_int_equal(table_ttl(table), 30);
	table_unref(table);
}

static void ancestors_are_empty_non_terminals(void **state)
{
	(void)state;
	struct table *table = table_with((const char *const[]){"redis.svc.mesh", NULL});
	assert_int_equal(kind(table, "svc.mesh"), TABLE_EMPTY);
	assert_int_equal(kind(table, "mesh"), TABLE_EMPTY);
	assert_int_equal(kind(table, "."), TABLE_EMPTY);
	assert_int_equal(kind(table, "svc"), TABLE_ABSENT);
	table_unref(table);
}

static void an_empty_non_terminal_can_get_a_record(void **state)
{
	(void)state;
	struct table *table = table_with((const char *const[]){"a.b.mesh", "b.mesh", "mesh", NULL});
	assert_int_equal(answer(table, "a.b.mesh"), 1);
	assert_int_equal(answer(table, "b.mesh"), 2);
	assert_int_equal(answer(table, "mesh"), 3);
	assert_int_equal(table_count(table), 3);
	table_unref(table);
}

/* The zone of RFC 4592 §2.2.1, its types as names with a record each. */
static void wildcards_follow_rfc_4592(void **state)
{
	(void)state;
	struct table *table = table_with((const char *const[]){"*.example", "sub.*.example",
		"host1.example", "_ssh._tcp.host1.example", "_ssh._tcp.host2.example",
		"subdel.example", NULL});
	assert_int_equal(answer(table, "host3.example"), 1);
	assert_int_equal(answer(table, "foo.bar.example"), 1);
	/* the name exists */
	assert_int_equal(answer(table, "host1.example"), 3);
	/* sub.*.example exists, as it stands */
	assert_int_equal(answer(table, "sub.*.example"), 2);
	/* _telnet._tcp.host1.example: the closest encloser is _tcp.host1.example */
	assert_int_equal(kind(table, "_telnet._tcp.host1.example"), TABLE_ABSENT);
	/* host.subdel.example: the closest encloser is subdel.example */
	assert_int_equal(kind(table, "host.subdel.example"), TABLE_ABSENT);
	/* ghost.*.example: the closest encloser is *.example */
	assert_int_equal(kind(table, "ghost.*.example"), TABLE_ABSENT);
	/* an empty non-terminal blocks as well */
	assert_int_equal(kind(table, "host2.example"), TABLE_EMPTY);
	assert_int_equal(kind(table, "x.host2.example"), TABLE_ABSENT);
	table_unref(table);
}

static void a_wildcard_exists_as_a_name(void **state)
{
	(void)state;
	struct table *table = table_with((const char *const[]){"*.web.mesh", "web.mesh", NULL});
	assert_int_equal(answer(table, "*.web.mesh"), 1);
	assert_int_equal(answer(table, "a.b.web.mesh"), 1);
	assert_int_equal(answer(table, "web.mesh"), 2);
	assert_int_equal(kind(table, "mesh"), TABLE_EMPTY);
	assert_int_equal(kind(table, "other.mesh"), TABLE_ABSENT);
	table_unref(table);
}

static void a_wildcard_that_is_empty_answers_empty(void **state)
{
	(void)state;
	struct table *table = table_with((const char *const[]){"a.*.mesh", NULL});
	assert_int_equal(kind(table, "x.mesh"), TABLE_EMPTY); /* RFC 4592 §4.9: NODATA */
	table_unref(table);
}

static void a_wildcard_at_the_root_covers_what_does_not_exist(void **state)
{
	(void)state;
	struct table *table = table_with((const char *const[]){"*", "a.mesh", NULL});
	assert_int_equal(answer(table, "example.com"), 1);
	assert_int_equal(kind(table, "b.mesh"), TABLE_ABSENT);
	assert_int_equal(kind(table, "."), TABLE_EMPTY);
	table_unref(table);
}

static void the_longest_names_fit(void **state)
{
	(void)state;
	char deep[254] = ""; /* 127 labels, 255 octets on the wire */
	for (size_t i = 0; i < 253; i++) {
		deep[i] = i % 2 == 0 ? 'a' : '.';
	}
	struct table *table = table_with((const char *const[]){deep, "*.b", NULL});
	assert_int_equal(answer(table, deep), 1);
	assert_int_equal(kind(table, deep + 2), TABLE_EMPTY);
	deep[252] = 'b';
	assert_int_equal(answer(table, deep), 2);
	deep[252] = 'c';
	assert_int_equal(kind(table, deep), TABLE_ABSENT);
	table_unref(table);
}

static void a_name_may_be_the_root(void **state)
{
	(void)state;
	struct table *table = table_with((const char *const[]){".", NULL});
	assert_int_equal(answer(table, "."), 1);
	table_unref(table);
}

static void both_families_keep_their_order_and_lose_duplicates(void **state)
{
	(void)state;
	struct table_builder *builder = table_builder_new(SEED, SIZE_MAX);
	struct address all[] = {v6(9), v4(2), v4(1), v6(3), v4(2), v6(9)};
	add(builder, "a.mesh", all, 6);
	struct table *table = table_builder_finish(builder, 0);
	struct table_addresses found;
	assert_int_equal(lookup(table, "a.mesh", &found), TABLE_NAME);
	assert_int_equal(found.a_count, 2);
	assert_int_equal(found.aaaa_count, 2);
	assert_int_equal(found.a[3], 2);
	assert_int_equal(found.a[7], 1);
	assert_int_equal(found.aaaa[15], 9);
	assert_int_equal(found.aaaa[31], 3);
	table_unref(table);
}

static void records_of_one_name_are_united(void **state)
{
	(void)state;
	struct table_builder *builder = table_builder_new(SEED, SIZE_MAX);
	struct address first[] = {v4(1), v4(2)};
	struct address other[] = {v4(7)};
	struct address second[] = {v4(2), v6(5), v4(3)};
	add(builder, "a.mesh", first, 2);
	add(builder, "b.mesh", other, 1);
	add(builder, "a.mesh", second, 3);
	add(builder, "b.mesh", NULL, 0);
	table_builder_skip(builder);
	assert_int_equal(table_builder_label(builder, "mesh", "default"), 0);
	struct table *table = table_builder_finish(builder, 30);
	struct table_addresses found;
	assert_int_equal(lookup(table, "a.mesh", &found), TABLE_NAME);
	assert_int_equal(found.a_count, 3);
	assert_int_equal(found.a[3], 1);
	assert_int_equal(found.a[7], 2);
	assert_int_equal(found.a[11], 3);
	assert_int_equal(found.aaaa_count, 1);
	assert_int_equal(answer(table, "b.mesh"), 7);
	assert_int_equal(table_count(table), 2);
	assert_int_equal(table_skipped(table), 1);
	assert_true(leads_to(table, v6(5), "a.mesh"));
	size_t labels;
	assert_string_equal(table_labels(table, &labels)[0].value, "default");
	assert_int_equal(labels, 1);
	table_unref(table);
}

static void more_addresses_than_a_message_carries_are_left_out(void **state)
{
	(void)state;
	enum { MANY = 100000 };
	struct address *all = calloc(MANY, sizeof *all);
	for (size_t i = 0; i < MANY; i++) {
		all[i] = (struct address){.len = 4};
		octets_put_u32(all[i].octets, (uint32_t)(i / 2));
	}
	struct table_builder *builder = table_builder_new(SEED, SIZE_MAX);
	add(builder, "a.mesh", all, MANY);
	add(builder, "a.mesh", all, MANY);
	struct table *table = table_builder_finish(builder, 30);
	struct table_addresses found;
	assert_int_equal(lookup(table, "a.mesh", &found), TABLE_NAME);
	assert_int_equal(found.a_count, 4096);
	for (uint32_t i = 0; i < found.a_count; i++) {
		assert_int_equal(octets_u32(found.a + (size_t)4 * i), i); /* each once */
	}
	table_unref(table);
	free(all);
}

static void a_name_without_addresses_exists(void **state)
{
	(void)state;
	struct table_builder *builder = table_builder_new(SEED, SIZE_MAX);
	add(builder, "a.mesh", NULL, 0);
	struct table *table = table_builder_finish(builder, 30);
	struct table_addresses found;
	assert_int_equal(lookup(table, "a.mesh", &found), TABLE_NAME);
	assert_int_equal(found.a_count + found.aaaa_count, 0);
	table_unref(table);
}

static void an_address_leads_back_to_all_its_names_but_wildcards(void **state)
{
	(void)state;
	struct table_builder *builder = table_builder_new(SEED, SIZE_MAX);
	struct address one = v4(1);
	struct address both[] = {v4(1), v4(2), v6(1)};
	add(builder, "a.mesh", &one, 1);
	add(builder, "*.mesh", &one, 1);
	add(builder, "b.mesh", both, 3);
	struct table *table = table_builder_finish(builder, 30);
	assert_true(leads_to(table, v4(1), "a.mesh"));
	assert_true(leads_to(table, v4(1), "b.mesh"));
	assert_int_equal(reverse_count(table, v4(1)), 2);
	assert_int_equal(reverse_count(table, v4(2)), 1);
	assert_int_equal(reverse_count(table, v6(1)), 1);
	assert_int_equal(reverse_count(table, v6(2)), 0);
	table_unref(table);
}

/* Every pair falls into one of few buckets, so that names meet themselves there. */
static void an_address_gives_each_name_once(void **state)
{
	(void)state;
	struct table_builder *builder = table_builder_new(SEED, SIZE_MAX);
	struct address all[200];
	for (unsigned i = 0; i < 200; i++) {
		all[i] = v4((uint8_t)i);
	}
	add(builder, "a.mesh", all, 200);
	add(builder, "b.mesh", all, 200);
	struct table *table = table_builder_finish(builder, 30);
	for (unsigned i = 0; i < 200; i++) {
		assert_int_equal(reverse_count(table, all[i]), 2);
	}
	table_unref(table);
}

static void the_walk_keeps_the_order_of_the_document(void **state)
{
	(void)state;
	static const char *const names[] = {"z.mesh", "a.mesh", "*.m.mesh", "b.a.mesh", NULL};
	struct table *table = table_with(names);
	struct table_cursor cursor = {0};
	struct table_addresses addresses;
	for (unsigned i = 0; names[i]; i++) {
		struct dname name = name_of(names[i]);
		struct span found = table_next(table, &cursor, &addresses);
		assert_int_equal(found.len, name.len);
		assert_memory_equal(found.data, name.octets, name.len);
		assert_int_equal(addresses.a[3], i + 1);
	}
	assert_int_equal(table_next(table, &cursor, &addresses).len, 0);
	assert_int_equal(table_next(table, &cursor, &addresses).len, 0);
	table_unref(table);
}

static struct table *table_of_count(size_t count, size_t *name_octets)
{
	struct table_builder *builder = table_builder_new(SEED, SIZE_MAX);
	*name_octets = 0;
	for (size_t i = 0; i < count; i++) {
		char text[64];
		snprintf(text, sizeof text, "service-%zu.ns-%zu.svc.east.mesh.local", i, i % 100);
		struct dname name = name_of(text);
		struct address pair[2] = {{.len = 4, .octets = {241}}, {.len = 16}};
		octets_put_u16(pair[0].octets + 2, (uint16_t)i);
		memcpy(pair[1].octets + 10, "\xff\xff", 2);
		memcpy(pair[1].octets + 12, pair[0].octets, 4);
		assert_int_equal(table_builder_add(builder, &name, pair, 2), 0);
		*name_octets += name.len;
	}
	return table_builder_finish(builder, 30);
}

static void fifty_thousand_names_are_all_found_and_take_little_memory(void **state)
{
	(void)state;
	enum { COUNT = 50000 };
	size_t name_octets;
	struct table *table = table_of_count(COUNT, &name_octets);
	for (size_t i = 0; i < COUNT; i++) {
		char text[64];
		snprintf(text, sizeof text, "service-%zu.ns-%zu.svc.east.mesh.local", i, i % 100);
		struct table_addresses found;
		assert_int_equal(lookup(table, text, &found), TABLE_NAME);
		assert_int_equal(octets_u16(found.a + 2), i);
		assert_int_equal(octets_u16(found.aaaa + 14), i);
		text[0] = 'x';
		assert_int_equal(lookup(table, text, &found), TABLE_ABSENT);
	}
	assert_in_range((table_memory(table) - name_octets) / COUNT, 1, 120);
	table_unref(table);
}

static void the_limit_of_memory_is_kept(void **state)
{
	(void)state;
	enum { LIMIT = 100000 };
	struct table_builder *builder = table_builder_new(SEED, LIMIT);
	int rc = 0;
	size_t added = 0;
	for (; rc == 0 && added < LIMIT; added++) {
		char text[64];
		snprintf(text, sizeof text, "%zu.mesh", added);
		struct dname name = name_of(text);
		struct address address = v4(1);
		rc = table_builder_add(builder, &name, &address, 1);
	}
	assert_int_equal(rc, -E2BIG);
	assert_in_range(added, LIMIT / 200, LIMIT / 20);
	table_builder_free(builder);

	builder = table_builder_new(SEED, LIMIT);
	struct dname name = name_of("a.mesh");
	for (rc = 0, added = 0; rc == 0 && added < LIMIT; added++) {
		struct address address = v4((uint8_t)added);
		rc = table_builder_add(builder, &name, &address, 1);
	}
	assert_int_equal(rc, -E2BIG);
	table_builder_free(builder);
}

static void a_table_within_its_limit_holds_no_more(void **state)
{
	(void)state;
	size_t name_octets;
	struct table *table = table_of_count(1000, &name_octets);
	size_t memory = table_memory(table);
	table_unref(table);
	assert_in_range(memory, name_octets, name_octets + 1000 * 120);
}

static void labels_are_copied_and_limited(void **state)
{
	(void)state;
	struct table_builder *builder = table_builder_new(SEED, SIZE_MAX);
	char name[] = "mesh";
	char value[] = "default";
	assert_int_equal(table_builder_label(builder, name, value), 0);
	memset(name, 'x', 4);
	memset(value, 'x', 7);
	for (int i = 1; i < 64; i++) {
		assert_int_equal(table_builder_label(builder, "a", ""), 0);
	}
	assert_int_equal(table_builder_label(builder, "a", ""), -E2BIG);
	struct table *table = table_builder_finish(builder, 30);
	size_t count;
	const struct table_label *labels = table_labels(table, &count);
	assert_int_equal(count, 64);
	assert_string_equal(labels[0].name, "mesh");
	assert_string_equal(labels[0].value, "default");
	table_unref(table);
}

/* Names that are there, that are not, and of a table without any. */
static void what_is_fetched_ahead_is_found_as_before(void **state)
{
	enum { NAMES = 500 };
	struct table_builder *builder = table_builder_new(SEED, SIZE_MAX);
	char text[32];
	(void)state;
	for (unsigned i = 0; i < NAMES; i += 2) {
		struct address address = v4((uint8_t)i);
		snprintf(text, sizeof(text), "name-%u.mesh", i);
		add(builder, text, &address, 1);
	}
	struct table *table = table_builder_finish(builder, 30);
	struct table *empty = table_builder_finish(table_builder_new(SEED, SIZE_MAX), 30);
	for (unsigned i = 0; i < NAMES; i++) {
		snprintf(text, sizeof(text), "name-%u.mesh", i);
		struct dname name = name_of(text);
		assert_true(
			table_fetch_entry(table, table_fetch_slot(table, &name)) == (i % 2 == 0));
		assert_false(table_fetch_entry(empty, table_fetch_slot(empty, &name)));
		assert_int_equal(kind(table, text), i % 2 == 0 ? TABLE_NAME : TABLE_ABSENT);
		assert_int_equal(kind(empty, text), TABLE_ABSENT);
	}
	table_unref(table);
	table_unref(empty);
}

static void generation_is_as_set(void **state)
{
	(void)state;
	struct table *table = table_with((const char *const[]){"a", NULL});
	assert_int_equal(table_generation(table), 0);
	table_set_generation(table, 5);
	assert_int_equal(table_generation(table), 5);
	table_unref(table);
	table_unref(NULL);
	table_builder_free(NULL);
}

static void *reader(void *shared)
{
	struct table *table = shared;
	for (int i = 0; i < 10000; i++) {
		struct table *mine = table_ref(table);
		struct table_addresses found;
		struct dname name = {.len = 3, .octets = {1, 'a', 0}};
		if (table_lookup(mine, &name, &found) != TABLE_NAME) {
			abort();
		}
		table_unref(mine);
	}
	table_unref(table);
	return NULL;
}

static void references_are_counted_across_threads(void **state)
{
	(void)state;
	struct table *table = table_with((const char *const[]){"a", NULL});
	pthread_t threads[4];
	for (int i = 0; i < 4; i++) {
		assert_int_equal(pthread_create(&threads[i], NULL, reader, table_ref(table)), 0);
	}
	table_unref(table); /* whichever thread is the last one frees */
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_table_has_nothing),
		cmocka_unit_test(a_name_is_found_and_its_neighbours_are_not),
		cmocka_unit_test(ancestors_are_empty_non_terminals),
		cmocka_unit_test(an_empty_non_terminal_can_get_a_record),
		cmocka_unit_test(wildcards_follow_rfc_4592),
		cmocka_unit_test(a_wildcard_exists_as_a_name),
		cmocka_unit_test(a_wildcard_that_is_empty_answers_empty),
		cmocka_unit_test(a_wildcard_at_the_root_covers_what_does_not_exist),
		cmocka_unit_test(the_longest_names_fit),
		cmocka_unit_test(a_name_may_be_the_root),
		cmocka_unit_test(both_families_keep_their_order_and_lose_duplicates),
		cmocka_unit_test(records_of_one_name_are_united),
		cmocka_unit_test(more_addresses_than_a_message_carries_are_left_out),
		cmocka_unit_test(a_name_without_addresses_exists),
		cmocka_unit_test(an_address_leads_back_to_all_its_names_but_wildcards),
		cmocka_unit_test(an_address_gives_each_name_once),
		cmocka_unit_test(the_walk_keeps_the_order_of_the_document),
		cmocka_unit_test(fifty_thousand_names_are_all_found_and_take_little_memory),
		cmocka_unit_test(the_limit_of_memory_is_kept),
		cmocka_unit_test(a_table_within_its_limit_holds_no_more),
		cmocka_unit_test(labels_are_copied_and_limited),
		cmocka_unit_test(what_is_fetched_ahead_is_found_as_before),
		cmocka_unit_test(generation_is_as_set),
		cmocka_unit_test(references_are_counted_across_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
