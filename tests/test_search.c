/* SPDX-License-Identifier: Apache-2.0
 *
 * What is to be found out about search domains, and when nothing is.
 */
#include "tests/message.h"

#include "dns/resolve/search.h"

enum { NOW_MS = 1000 };

static struct routes *routes;
static struct search search;
static struct search_question ask;

static int setup(void **state)
{
	(void)state;
	routes = routes_new();
	assert_non_null(routes);
	routes->search[0] = name_of("default.svc.cluster.local");
	routes->search[1] = name_of("svc.cluster.local");
	routes->search_count = 2;
	search_init(&search);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	routes_unref(routes);
	return 0;
}

static bool next(const char *text)
{
	struct dname name = name_of(text);
	return search_next(&search, routes, &name, NOW_MS, &ask);
}

static void assert_asks(const char *text, const char *wanted, unsigned domain, bool of_domain)
{
	struct dname name = name_of(wanted);
	assert_true(next(text));
	assert_int_equal(ask.name.len, name.len);
	assert_memory_equal(ask.name.octets, name.octets, name.len);
	assert_int_equal(ask.domain, domain);
	assert_int_equal(ask.of_domain, of_domain);
}

static void the_domain_is_asked_for_first_and_once(void **state)
{
	(void)state;
	assert_asks(
		"a.example.com.default.svc.cluster.local", "default.svc.cluster.local", 0, true);
	search_asked(&search, 0);
	assert_false(next("a.example.com.default.svc.cluster.local"));
	/* The other one is another. */
	assert_asks("a.example.com.svc.cluster.local", "svc.cluster.local", 1, true);
}

static void in_a_domain_that_exists_the_label_next_to_it_is_asked_for(void **state)
{
	(void)state;
	search_answered(&search, 0, RCODE_NOERROR);
	assert_asks("a.example.com.default.svc.cluster.local", "com.default.svc.cluster.local", 0,
		false);
	assert_false(next("com.default.svc.cluster.local")); /* which is the name itself */
	assert_false(next("www.example.com"));
}

static void a_domain_that_is_denied_is_left_alone(void **state)
{
	(void)state;
	search_answered(&search, 1, RCODE_NXDOMAIN);
	assert_false(next("a.example.com.svc.cluster.local"));
	assert_true(next("a.example.com.default.svc.cluster.local"));
}

static void a_domain_of_which_nothing_came_is_asked_for_again(void **state)
{
	(void)state;
	static const uint16_t rcodes[] = {RCODE_SERVFAIL, RCODE_REFUSED, RCODE_FORMERR};
	for (size_t i = 0; i < sizeof(rcodes) / sizeof(rcodes[0]); i++) {
		search_asked(&search, 0);
		search_answered(&search, 0, rcodes[i]);
		assert_asks("a.b.default.svc.cluster.local", "default.svc.cluster.local", 0, true);
	}
}

static void after_a_lie_nothing_is_asked_for_a_while(void **state)
{
	(void)state;
	struct dname name = name_of("a.b.default.svc.cluster.local");
	search_answered(&search, 0, RCODE_NOERROR);
	search_distrust(&search, NOW_MS);
	assert_false(next("a.b.default.svc.cluster.local"));
	assert_false(search_next(&search, routes, &name, NOW_MS + SEARCH_DISTRUST_MS - 1, &ask));
	assert_true(search_next(&search, routes, &name, NOW_MS + SEARCH_DISTRUST_MS, &ask));
}

static void other_routes_begin_anew(void **state)
{
	(void)state;
	search_answered(&search, 0, RCODE_NXDOMAIN);
	search_distrust(&search, NOW_MS);
	search_init(&search);
	assert_asks("a.b.default.svc.cluster.local", "default.svc.cluster.local", 0, true);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_domain_is_asked_for_first_and_once),
		TEST(in_a_domain_that_exists_the_label_next_to_it_is_asked_for),
		TEST(a_domain_that_is_denied_is_left_alone),
		TEST(a_domain_of_which_nothing_came_is_asked_for_again),
		TEST(after_a_lie_nothing_is_asked_for_a_while),
		TEST(other_routes_begin_anew),
	};
	return cmocka_run_group_tests_name("search", tests, NULL, NULL);
}
