/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/message.h"

#include "dns/resolve/waiters.h"

#include <errno.h>
#include <stdlib.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum { SIZE = 3, SEED = 4711 };

static unsigned refused; /* which allocation from now on there is no memory for; 0: none */

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

void *__wrap_calloc(size_t count, size_t size)
{
	return refused > 0 && --refused == 0 ? NULL : __real_calloc(count, size);
}

static struct waiters all;

static int setup(void **state)
{
	(void)state;
	assert_int_equal(waiters_init(&all, SIZE, SEED), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	waiters_free(&all);
	return 0;
}

/** Who asks for what. */
struct asked {
	const char *address;
	uint16_t port;
	uint32_t slot;
	uint32_t generation;
	bool tcp;
	uint16_t id;
	const char *name;
};

static const struct asked usual = {"192.0.2.1", 1000, 1, 1, false, 7, "www.example"};
static const struct asked usual6 = {"2001:db8::1", 1000, 1, 1, false, 7, "www.example"};

static struct requestor requestor_of(const struct asked *asked)
{
	struct requestor from = {
		.slot = asked->slot, .generation = asked->generation, .tcp = asked->tcp};
	assert_int_equal(endpoint_parse(&from.peer, asked->address, asked->port), 0);
	return from;
}

static void query_of(struct query *q, struct message *m, const struct asked *asked)
{
	message_query(m, asked->name, TYPE_A);
	octets_put_u16(m->octets, asked->id);
	assert_int_equal(query_parse(q, message_span(m)), 0);
}

static bool has(const struct asked *asked)
{
	struct message m;
	struct query q;
	struct requestor from = requestor_of(asked);
	query_of(&q, &m, asked);
	return waiters_has(&all, &from, &q);
}

static struct waiter *take(const struct asked *asked)
{
	static const struct edns_options options = {.len = 4, .octets = {0, 11, 0, 0}};
	struct message m;
	struct query q;
	struct requestor from = requestor_of(asked);
	query_of(&q, &m, asked);
	return waiters_take(&all, &from, &q, &options, 1000, 123);
}

static void assert_only(const struct asked *asked, const struct asked *others, size_t count)
{
	assert_false(has(asked));
	struct waiter *w = take(asked);
	assert_non_null(w);
	assert_true(has(asked));
	for (size_t i = 0; i < count; i++) {
		if (has(&others[i])) {
			fail_msg("%zu", i);
		}
	}
	waiters_give(&all, w);
	assert_false(has(asked));
}

static void the_same_query_of_the_same_requestor_is_known(void **state)
{
	static const struct asked others[] = {
		{"192.0.2.2", 1000, 1, 1, false, 7, "www.example"},
		{"192.0.2.1", 1001, 1, 1, false, 7, "www.example"},
		{"192.0.2.1", 1000, 2, 1, false, 7, "www.example"},
		{"192.0.2.1", 1000, 1, 2, false, 7, "www.example"},
		{"192.0.2.1", 1000, 1, 1, true, 7, "www.example"},
		{"192.0.2.1", 1000, 1, 1, false, 8, "www.example"},
		{"192.0.2.1", 1000, 1, 1, false, 7, "ww.example"},
		{"192.0.2.1", 1000, 1, 1, false, 7, "wWw.example"}, /* it must come back so */
		{"2001:db8::1", 1000, 1, 1, false, 7, "www.example"},
	};
	static const struct asked others6[] = {
		{"2001:db8::2", 1000, 1, 1, false, 7, "www.example"},
		{"2001:db8::1", 1001, 1, 1, false, 7, "www.example"},
		{"192.0.2.1", 1000, 1, 1, false, 7, "www.example"},
	};
	(void)state;
	assert_only(&usual, others, COUNT(others));
	assert_only(&usual6, others6, COUNT(others6));
}

static void what_is_needed_for_the_answer_is_kept(void **state)
{
	(void)state;
	struct waiter *w = take(&usual);
	struct requestor from = requestor_of(&usual);
	assert_true(endpoint_equal(&w->from.peer, &from.peer));
	assert_int_equal(w->from.slot, 1);
	assert_int_equal(w->asker.id, 7);
	assert_int_equal(w->asker.limit, 1000);
	assert_int_equal(w->asker.options.len, 4);
	assert_int_equal(w->since_ns, 123);
	assert_true(link_empty(&w->link));
	waiters_give(&all, w);
}

/* Two that have the same place in the index: either can go first. */
static void the_pool_is_limited_and_is_used_again(void **state)
{
	(void)state;
	for (unsigned gone = 0; gone < SIZE; gone++) {
		struct waiter *w[SIZE];
		struct link list;
		link_init(&list);
		for (unsigned i = 0; i < SIZE; i++) {
			w[i] = take(&usual); /* nobody asks whether it is known */
			assert_non_null(w[i]);
			link_append(&list, &w[i]->link);
		}
		assert_int_equal(all.count, SIZE);
		assert_null(take(&usual6));
		waiters_give(&all, w[gone]);
		assert_int_equal(all.count, SIZE - 1);
		assert_true(has(&usual));
		assert_ptr_equal(take(&usual6), w[gone]);
		assert_true(has(&usual) && has(&usual6));
		for (unsigned i = 0; i < SIZE; i++) {
			waiters_give(&all, w[i]);
		}
		assert_true(link_empty(&list));
		assert_false(has(&usual) || has(&usual6));
		assert_int_equal(all.count, 0);
	}
}

static void without_memory_there_is_no_pool(void **state)
{
	struct waiters none;
	(void)state;
	for (unsigned i = 1; i <= 2; i++) {
		refused = i;
		assert_int_equal(waiters_init(&none, SIZE, SEED), -ENOMEM);
		assert_int_equal(refused, 0);
		waiters_free(&none);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(the_same_query_of_the_same_requestor_is_known),
		TEST(what_is_needed_for_the_answer_is_kept),
		TEST(the_pool_is_limited_and_is_used_again),
		cmocka_unit_test(without_memory_there_is_no_pool),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
