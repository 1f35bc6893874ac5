/* SPDX-License-Identifier: Apache-2.0
 *
 * What is fetched cannot be seen but from inside: what is asked of the table and the cache is
 * listened to.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dns/serve/ahead.h"
#include "dns/wire/query.h"

#include <stdlib.h>

enum { BATCH = 6, LEN_MAX = 128 };

struct message {
	uint8_t octets[LEN_MAX];
	size_t len;
};

static struct table *table;
static struct cache *cache;
static unsigned slots, entries; /* of the table, that were fetched */
static unsigned chains;         /* of the cache */
static struct cache_key keys[AHEAD_MAX];
static struct dname names[AHEAD_MAX];
static uint32_t hashes[AHEAD_MAX], fetched[AHEAD_MAX];
static unsigned fetches;

uint32_t __real_table_fetch_slot(const struct table *t, const struct dname *name);
uint32_t __wrap_table_fetch_slot(const struct table *t, const struct dname *name);
bool __real_table_fetch_entry(const struct table *t, uint32_t tag);
bool __wrap_table_fetch_entry(const struct table *t, uint32_t tag);
uint32_t __real_cache_fetch_chain(const struct cache *c, const struct cache_key *key);
uint32_t __wrap_cache_fetch_chain(const struct cache *c, const struct cache_key *key);
void __real_cache_fetch_entry(const struct cache *c, uint32_t hash);
void __wrap_cache_fetch_entry(const struct cache *c, uint32_t hash);

uint32_t __wrap_table_fetch_slot(const struct table *t, const struct dname *name)
{
	slots++;
	return __real_table_fetch_slot(t, name);
}

bool __wrap_table_fetch_entry(const struct table *t, uint32_t tag)
{
	bool there = __real_table_fetch_entry(t, tag);
	entries += there;
	return there;
}

uint32_t __wrap_cache_fetch_chain(const struct cache *c, const struct cache_key *key)
{
	memcpy(names[chains].octets, key->name.data, key->name.len);
	keys[chains] = *key;
	keys[chains].name.data = names[chains].octets;
	hashes[chains] = __real_cache_fetch_chain(c, key);
	return hashes[chains++];
}

void __wrap_cache_fetch_entry(const struct cache *c, uint32_t hash)
{
	fetched[fetches++] = hash;
	__real_cache_fetch_entry(c, hash);
}

static struct dname name_of(const char *text)
{
	struct dname name;
	assert_int_equal(dname_from_text(&name, text, strlen(text)), 0);
	return name;
}

static int setup(void **state)
{
	struct cache_settings settings = {.size = 64 << 10, .seed = 3, .ttl_max = 60};
	struct table_builder *builder = table_builder_new(7, SIZE_MAX);
	struct dname name = name_of("redis.mesh");
	struct address address = {.len = 4, .octets = {241}};
	(void)state;
	assert_int_equal(table_builder_add(builder, &name, &address, 1), 0);
	table = table_builder_finish(builder, 30);
	cache = cache_new(&settings);
	slots = entries = chains = fetches = 0;
	return table && cache ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	table_unref(table);
	cache_free(cache);
	return 0;
}

/* A query; `opt_flags` -1: without OPT. */
static struct message query(const char *text, uint16_t flags, uint16_t qtype, int opt_flags)
{
	struct message m;
	struct writer w = {.data = m.octets, .size = sizeof(m.octets)};
	struct dname name = name_of(text);
	writer_u16(&w, 7);
	writer_u16(&w, flags);
	writer_octets(&w, "\0\1\0\0\0\0\0", 7);
	writer_u8(&w, opt_flags >= 0);
	writer_octets(&w, name.octets, name.len);
	writer_u16(&w, qtype);
	writer_u16(&w, CLASS_IN);
	if (opt_flags >= 0) {
		writer_octets(&w, "\0\0\51\4\320\0\0", 7);
		writer_u16(&w, (uint16_t)opt_flags);
		writer_u16(&w, 0);
	}
	assert_false(w.fault);
	m.len = w.len;
	return m;
}

static struct ahead all;

static void look(const struct message *m, unsigned count, bool with_table, bool with_cache)
{
	struct span spans[AHEAD_MAX];
	for (unsigned i = 0; i < count; i++) {
		spans[i] = (struct span){m[i].octets, m[i].len};
	}
	ahead_read(&all, spans, count, with_table ? table : NULL, with_cache ? cache : NULL);
}

static struct ahead_item *take(const struct message *m)
{
	return ahead_take(&all, (struct span){m->octets, m->len});
}

static void messages_are_read_and_what_they_take_is_fetched(void **state)
{
	const struct message m[BATCH] = {
		query("one.example", FLAG_RD, TYPE_A, -1),
		query("Redis.MESH", FLAG_RD, TYPE_A, 0x8000),
		query("Two.Example", FLAG_RD | FLAG_CD, TYPE_AAAA, -1),
		query("three.example", FLAG_RD, TYPE_HTTPS, 0x8000),
		query("four.example", FLAG_RD | FLAG_CD, TYPE_A, 0),
		query("redis.mesh", FLAG_RD, TYPE_A, -1),
	};
	static const unsigned foreign[] = {0, 2, 3, 4};
	(void)state;
	look(m, BATCH, true, true);
	assert_int_equal(slots, BATCH);
	assert_int_equal(entries, 2);
	assert_int_equal(chains, 4);
	for (unsigned i = 0; i < chains; i++) {
		struct query q;
		const struct message *asked = &m[foreign[i]];
		assert_int_equal(query_parse(&q, (struct span){asked->octets, asked->len}), 0);
		struct cache_key key = cache_key_query(&q, q.edns.subnet);
		assert_int_equal(keys[i].name.len, key.name.len);
		assert_memory_equal(keys[i].name.data, key.name.data, key.name.len);
		assert_int_equal(keys[i].qtype, key.qtype);
		assert_int_equal(keys[i].edns_do, key.edns_do);
		assert_int_equal(keys[i].cd, key.cd);
	}
	assert_int_equal(fetches, 4);
	assert_memory_equal(fetched, hashes, 4 * sizeof(hashes[0]));
	for (unsigned i = 0; i < BATCH; i++) {
		struct table_addresses found;
		const struct ahead_item *item = take(&m[i]);
		assert_ptr_equal(item, &all.item[i]);
		assert_int_equal(item->result, 0);
		assert_true(item->has_tag);
		assert_int_equal(table_lookup_fetched(table, &item->query.qname, item->tag, &found),
			i == 1 || i == 5 ? TABLE_NAME : TABLE_ABSENT);
	}
}

/* Of few the slots alone are fetched: there is little to overlap. */
static void few_messages_are_read_as_well(void **state)
{
	const struct message one = query("one.example", FLAG_RD, TYPE_A, -1);
	(void)state;
	look(&one, 1, true, true);
	assert_int_equal(slots, 1);
	assert_int_equal(chains + fetches, 0);
	assert_ptr_equal(take(&one), &all.item[0]);
}

static void table_and_cache_may_be_missing(void **state)
{
	const struct message m[BATCH] = {
		query("one.example", FLAG_RD, TYPE_A, -1),
		query("redis.mesh", FLAG_RD, TYPE_A, -1),
		query("redis.mesh", FLAG_RD, TYPE_A, -1),
		query("two.example", FLAG_RD, TYPE_A, -1),
	};
	(void)state;
	look(m, 4, false, false);
	assert_int_equal(slots + chains + fetches, 0);
	assert_false(take(&m[0])->has_tag);
	look(m, 4, true, false);
	assert_int_equal(slots, 4);
	assert_int_equal(chains + fetches, 0);
	look(m, 4, false, true);
	assert_int_equal(slots, 4);
	assert_int_equal(chains, 4);
	assert_int_equal(fetches, 4);
}

/* What is left out is passed over, what was not read is read, and nothing is taken for another. */
static void any_messages_are_taken(void **state)
{
	const struct message m[BATCH] = {
		query("one.example", FLAG_RD, TYPE_A, -1),
		query("two.example", FLAG_RD, TYPE_A, -1),
		query("three.example", FLAG_RD, TYPE_A, -1),
	};
	const struct message other = query("other.example", FLAG_RD, TYPE_A, -1);
	struct dname wanted = name_of("other.example");
	(void)state;
	look(m, 3, true, true);
	assert_ptr_equal(take(&m[1]), &all.item[1]);
	assert_ptr_equal(take(&m[2]), &all.item[2]);
	const struct ahead_item *item = take(&other);
	assert_ptr_equal(item, &all.one);
	assert_int_equal(item->result, 0);
	assert_false(item->has_tag);
	assert_memory_equal(item->query.qname.octets, wanted.octets, wanted.len);
	look(m, 3, true, true);
	assert_ptr_equal(take(&other), &all.one); /* and nothing of the others is known any more */
	assert_ptr_equal(take(&m[0]), &all.one);
}

/* Messages cut at every octet, and names that lead nowhere. */
static void any_octets_are_read(void **state)
{
	struct message whole = query("one.example", FLAG_RD, TYPE_A, 0x8000);
	struct message m[BATCH];
	(void)state;
	for (size_t len = 0; len <= whole.len; len++) {
		struct span spans[4];
		uint8_t *exact = malloc(len + !len); /* so that a sanitizer sees its end */
		assert_non_null(exact);
		memcpy(exact, whole.octets, len);
		for (unsigned i = 0; i < 4; i++) {
			spans[i] = (struct span){exact, len};
		}
		ahead_read(&all, spans, 4, table, cache);
		const struct ahead_item *item = ahead_take(&all, spans[0]);
		assert_int_equal(item->result == 0, len >= HEADER_LEN);
		assert_true(len == whole.len || item->result != 0 || item->query.rcode != 0);
		chains = fetches = 0;
		free(exact);
	}
	for (unsigned i = 0; i < BATCH; i++) {
		m[i] = whole;
		m[i].octets[HEADER_LEN + i] = 0xc0; /* a pointer, to any place */
	}
	look(m, BATCH, true, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			messages_are_read_and_what_they_take_is_fetched, setup, teardown),
		cmocka_unit_test_setup_teardown(few_messages_are_read_as_well, setup, teardown),
		cmocka_unit_test_setup_teardown(table_and_cache_may_be_missing, setup, teardown),
		cmocka_unit_test_setup_teardown(any_messages_are_taken, setup, teardown),
		cmocka_unit_test_setup_teardown(any_octets_are_read, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
