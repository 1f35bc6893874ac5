/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/message.h"

#include "dns/resolve/transactions.h"

#include <errno.h>
#include <stdlib.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum { SIZE = 4, SEED = 4711 };

static unsigned refused; /* which allocation from now on there is no memory for; 0: none */

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

static bool is_refused(void)
{
	return refused > 0 && --refused == 0;
}

void *__wrap_malloc(size_t size)
{
	return is_refused() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return is_refused() ? NULL : __real_calloc(count, size);
}

static struct transactions all;

static int setup(void **state)
{
	(void)state;
	assert_int_equal(transactions_init(&all, SIZE, SEED), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	transactions_free(&all);
	return 0;
}

/** What is asked, by whom. */
struct asked {
	const char *name;
	uint16_t qtype;
	uint16_t qclass;
	uint16_t flags;
	bool edns_do;
	bool signed_;   /* with a record of its own */
	uint8_t subnet; /* of 192.0.x.0/24; 0: none */
};

static const struct asked usual = {"www.example", TYPE_A, CLASS_IN, FLAG_RD, false, false, 0};

static void query_of(struct query *q, struct message *m, const struct asked *asked)
{
	uint8_t option[] = {0, 8, 0, 7, 0, 1, 24, 0, 192, 0, asked->subnet};
	struct opt opt = {.size = 1232, .edns_do = asked->edns_do};
	message_begin(m, asked->flags);
	message_question(m, asked->name, asked->qtype);
	octets_put_u16(m->octets + m->w.len - 2, asked->qclass);
	if (asked->subnet != 0) {
		opt.rdata = (const char *)option;
		opt.rdata_len = sizeof(option);
	}
	message_opt(m, opt);
	if (asked->signed_) {
		message_record(m, 3, "key", 250, 0, "", 0);
	}
	assert_int_equal(query_parse(q, message_span(m)), 0);
	assert_int_equal(q->rcode, RCODE_NOERROR);
	assert_int_equal(q->is_signed, asked->signed_);
}

static struct transaction *find(const struct asked *asked)
{
	struct message m;
	struct query q;
	query_of(&q, &m, asked);
	return transactions_find(&all, &q);
}

static struct transaction *take(const struct asked *asked)
{
	struct message m;
	struct query q;
	query_of(&q, &m, asked);
	return transactions_take(&all, &q);
}

static void give(struct transaction *t)
{
	transactions_unindex(&all, t);
	transactions_give(&all, t);
}

static void what_asks_the_same_is_found(void **state)
{
	static const struct asked same[] = {
		{"www.example", TYPE_A, CLASS_IN, FLAG_RD, false, false, 0},
		{"WWW.Example", TYPE_A, CLASS_IN, FLAG_RD, false, false, 0},
		{"www.example", TYPE_A, CLASS_IN, FLAG_RD | FLAG_AD, false, false, 0},
	};
	(void)state;
	assert_null(find(&usual));
	struct transaction *t = take(&usual);
	assert_non_null(t);
	assert_int_equal(t->qtype, TYPE_A);
	assert_true(
		link_empty(&t->waiters) && link_empty(&t->attempts) && link_empty(&t->in_flight));
	for (size_t i = 0; i < COUNT(same); i++) {
		assert_ptr_equal(find(&same[i]), t);
	}
	give(t);
	assert_null(find(&usual));
}

/* RFC 4035 §3.2.2, RFC 7871 §7.3.2: what makes another question. */
static void what_asks_otherwise_is_not(void **state)
{
	static const struct asked others[] = {
		{"ww.example", TYPE_A, CLASS_IN, FLAG_RD, false, false, 0},
		{"wwx.example", TYPE_A, CLASS_IN, FLAG_RD, false, false, 0},
		{"www.example", TYPE_AAAA, CLASS_IN, FLAG_RD, false, false, 0},
		{"www.example", TYPE_A, CLASS_CH, FLAG_RD, false, false, 0},
		{"www.example", TYPE_A, CLASS_IN, 0, false, false, 0},
		{"www.example", TYPE_A, CLASS_IN, FLAG_RD | FLAG_CD, false, false, 0},
		{"www.example", TYPE_A, CLASS_IN, FLAG_RD, true, false, 0},
		{"www.example", TYPE_A, CLASS_IN, FLAG_RD, false, false, 2},
		{"www.example", TYPE_A, CLASS_IN, FLAG_RD, false, true, 0},
	};
	(void)state;
	struct transaction *t = take(&usual);
	for (size_t i = 0; i < COUNT(others); i++) {
		if (find(&others[i])) {
			fail_msg("%zu", i);
		}
		struct transaction *other = take(&others[i]);
		assert_non_null(other);
		assert_ptr_equal(find(&others[i]), others[i].signed_ ? NULL : other);
		assert_ptr_equal(find(&usual), t);
		give(other);
	}
	give(t);
}

/* Where all have the same hash, the question itself decides. */
static void what_collides_is_told_apart(void **state)
{
	static const struct asked asked[] = {
		{"www.example", TYPE_A, CLASS_IN, FLAG_RD, false, false, 0},
		{"www.exampel", TYPE_A, CLASS_IN, FLAG_RD, false, false, 0},
		{"www.example", TYPE_AAAA, CLASS_IN, FLAG_RD, false, false, 0},
		{"www.example", TYPE_A, CLASS_IN, FLAG_RD, false, false, 2},
		{"www.example", TYPE_A, CLASS_IN, 0, false, false, 0},
		{"www.example", TYPE_A, CLASS_IN, FLAG_RD | FLAG_CD, false, false, 0},
		{"www.example", TYPE_A, CLASS_IN, FLAG_RD, true, false, 0},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(asked); i++) {
		struct transaction *right = take(&asked[i]);
		for (size_t k = 0; k < COUNT(asked); k++) {
			struct transaction *wrong = k == i ? NULL : take(&asked[k]);
			if (wrong) {
				/* its place in the index, and its hash, for the wrong question */
				uint64_t hash = wrong->hash;
				transactions_unindex(&all, right);
				transactions_unindex(&all, wrong);
				right->hash = hash;
				right->next = NULL;
				right->indexed = true;
				all.index[hash & all.mask] = right;
				assert_null(find(&asked[k]));
				give(wrong);
			}
		}
		give(right);
	}
}

static void a_different_subnet_is_another_question(void **state)
{
	static const struct asked subnets[] = {
		{"www.example", TYPE_A, CLASS_IN, FLAG_RD, false, false, 2},
		{"www.example", TYPE_A, CLASS_IN, FLAG_RD, false, false, 3},
	};
	(void)state;
	struct transaction *one = take(&subnets[0]);
	assert_null(find(&subnets[1]));
	struct transaction *other = take(&subnets[1]);
	assert_ptr_equal(find(&subnets[0]), one);
	assert_ptr_equal(find(&subnets[1]), other);
	give(one);
	assert_null(find(&subnets[0]));
	give(other);
}

/* A signature is of one message: nobody joins, and it goes on as it came. */
static void a_signed_query_is_kept_whole_and_by_itself(void **state)
{
	struct asked asked = usual;
	struct message m;
	struct query q;
	(void)state;
	asked.signed_ = true;
	query_of(&q, &m, &asked);
	struct transaction *t = transactions_take(&all, &q);
	assert_non_null(t);
	assert_int_equal(t->verbatim_len, m.w.len);
	assert_memory_equal(t->verbatim, m.octets, m.w.len);
	assert_false(t->indexed);
	assert_null(find(&asked));
	assert_null(find(&usual));
	transactions_unindex(&all, t);
	transactions_give(&all, t);
}

static void without_memory_for_a_signed_query_there_is_none(void **state)
{
	struct asked asked = usual;
	(void)state;
	asked.signed_ = true;
	refused = 1;
	assert_null(take(&asked));
	assert_int_equal(refused, 0);
	assert_int_equal(all.count, 0);
	struct transaction *taken[SIZE];
	for (unsigned i = 0; i < SIZE; i++) {
		taken[i] = take(&asked);
		assert_non_null(taken[i]);
	}
	for (unsigned i = 0; i < SIZE; i++) {
		transactions_give(&all, taken[i]);
	}
}

static void the_pool_is_limited_and_is_used_again(void **state)
{
	static const char *const names[SIZE] = {"a.test", "b.test", "c.test", "d.test"};
	struct transaction *taken[SIZE];
	struct asked asked = usual;
	(void)state;
	for (unsigned i = 0; i < SIZE; i++) {
		asked.name = names[i];
		taken[i] = take(&asked);
		assert_non_null(taken[i]);
	}
	assert_int_equal(all.count, SIZE);
	assert_null(take(&usual));
	assert_null(find(&usual));
	taken[2]->turn = 7;
	taken[2]->fallback = malloc(1);
	give(taken[2]);
	assert_int_equal(all.count, SIZE - 1);
	assert_ptr_equal(take(&usual), taken[2]);
	assert_int_equal(taken[2]->turn, 0);
	assert_null(taken[2]->fallback);
	for (unsigned i = 0; i < SIZE; i++) {
		asked.name = names[i];
		assert_ptr_equal(find(&asked), i == 2 ? NULL : taken[i]);
	}
	for (unsigned i = 0; i < SIZE; i++) {
		give(taken[i]);
	}
	assert_int_equal(all.count, 0);
}

static void out_of_the_index_it_is_still_taken(void **state)
{
	(void)state;
	struct transaction *old = take(&usual);
	transactions_unindex(&all, old);
	transactions_unindex(&all, old); /* once more is no harm */
	assert_null(find(&usual));
	struct transaction *new = take(&usual);
	assert_ptr_not_equal(new, old);
	assert_ptr_equal(find(&usual), new);
	give(old);
	assert_ptr_equal(find(&usual), new);
	give(new);
}

static void without_memory_there_is_no_pool(void **state)
{
	struct transactions none;
	(void)state;
	for (unsigned i = 1; i <= 2; i++) {
		refused = i;
		assert_int_equal(transactions_init(&none, SIZE, SEED), -ENOMEM);
		assert_int_equal(refused, 0);
		transactions_free(&none);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_asks_the_same_is_found),
		TEST(what_asks_otherwise_is_not),
		TEST(what_collides_is_told_apart),
		TEST(a_different_subnet_is_another_question),
		TEST(a_signed_query_is_kept_whole_and_by_itself),
		TEST(without_memory_for_a_signed_query_there_is_none),
		TEST(the_pool_is_limited_and_is_used_again),
		TEST(out_of_the_index_it_is_still_taken),
		cmocka_unit_test(without_memory_there_is_no_pool),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
