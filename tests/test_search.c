/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/message.h"

#include "dns/resolve/search.h"

enum { NOW_MS = 5000 };

/** Routes with two search domains, of which one is above the other, and a zone of others. */
struct fixture {
	struct search search;
	struct routes *routes;
	struct search_question ask;
};

static int setup(void **state)
{
	static struct fixture f;
	struct dname corp = name_of("corp.test");
	memset(&f, 0xa5, sizeof(f));
	f.routes = routes_new();
	assert_non_null(f.routes);
	assert_non_null(routes_add(f.routes, &corp));
	f.routes->search_count = 3;
	f.routes->search[0] = name_of("default.svc.cluster.local");
	f.routes->search[1] = name_of("cluster.local");
	f.routes->search[2] = name_of("corp.test");
	search_init(&f.search);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	const struct fixture *f = *state;
	routes_unref(f->routes);
	return 0;
}

static bool next_at(struct fixture *f, const char *text, int64_t now_ms)
{
	struct dname name = name_of(text);
	return search_next(&f->search, f->routes, &name, now_ms, &f->ask);
}

static bool next(struct fixture *f, const char *text)
{
	return next_at(f, text, NOW_MS);
}

static void assert_asks(const struct fixture *f, const char *text, unsigned domain, bool of_domain)
{
	struct dname name = name_of(text);
	assert_int_equal(f->ask.name.len, name.len);
	assert_memory_equal(f->ask.name.octets, name.octets, name.len);
	assert_int_equal(f->ask.domain, domain);
	assert_int_equal(f->ask.of_domain, of_domain);
}

static void the_domain_itself_is_asked_for_first(void **state)
{
	struct fixture *f = *state;
	assert_true(next(f, "api.example.com.default.svc.cluster.local"));
	assert_asks(f, "default.svc.cluster.local", 0, true);
}

static void while_it_is_asked_for_nothing_else_is(void **state)
{
	struct fixture *f = *state;
	search_asked(&f->search, 0);
	assert_false(next(f, "api.example.com.default.svc.cluster.local"));
}

static void in_a_domain_that_exists_the_label_next_to_it_is_asked_for(void **state)
{
	struct fixture *f = *state;
	search_asked(&f->search, 0);
	search_answered(&f->search, 0, RCODE_NOERROR);
	assert_true(next(f, "api.example.com.default.svc.cluster.local"));
	assert_asks(f, "com.default.svc.cluster.local", 0, false);
	assert_true(next(f, "example.org.default.svc.cluster.local"));
	assert_asks(f, "org.default.svc.cluster.local", 0, false);
}

/* It denies what has names below it: it would deny too much. */
static void in_a_domain_that_is_denied_nothing_is_done(void **state)
{
	struct fixture *f = *state;
	search_asked(&f->search, 0);
	search_answered(&f->search, 0, RCODE_NXDOMAIN);
	assert_false(next(f, "api.example.com.default.svc.cluster.local"));
}

static void after_a_failure_the_domain_is_asked_for_again(void **state)
{
	static const uint16_t failures[] = {
		RCODE_SERVFAIL, RCODE_FORMERR, RCODE_NOTIMP, RCODE_REFUSED, RCODE_BADVERS};
	struct fixture *f = *state;
	for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
		search_asked(&f->search, 0);
		search_answered(&f->search, 0, failures[i]);
		assert_true(next(f, "api.example.com.default.svc.cluster.local"));
		assert_asks(f, "default.svc.cluster.local", 0, true);
	}
}

static void each_domain_is_known_by_itself(void **state)
{
	struct fixture *f = *state;
	search_answered(&f->search, 0, RCODE_NOERROR);
	search_answered(&f->search, 1, RCODE_NXDOMAIN);
	assert_true(next(f, "example.com.default.svc.cluster.local"));
	assert_asks(f, "com.default.svc.cluster.local", 0, false);
	assert_false(next(f, "example.com.cluster.local"));
	assert_true(next(f, "example.com.corp.test"));
	assert_asks(f, "corp.test", 2, true);
}

static void names_that_nothing_is_to_be_known_of(void **state)
{
	static const char *const names[] = {
		".",
		"www.example.com",
		"cluster.local",
		"redis.cluster.local",
		"default.svc.cluster.local",
		"redis.default.svc.cluster.local",
		"example.com.corp.testing",
	};
	struct fixture *f = *state;
	for (unsigned i = 0; i < f->routes->search_count; i++) {
		search_answered(&f->search, i, RCODE_NOERROR);
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (next(f, names[i])) {
			fail_msg("%s", names[i]);
		}
	}
}

static void after_a_lie_nothing_is_done_for_ten_minutes(void **state)
{
	static const char name[] = "example.com.default.svc.cluster.local";
	struct fixture *f = *state;
	search_answered(&f->search, 0, RCODE_NOERROR);
	search_distrust(&f->search, NOW_MS);
	assert_false(next(f, name));
	assert_false(next_at(f, name, NOW_MS + 600000 - 1));
	assert_true(next_at(f, name, NOW_MS + 600000));
	assert_asks(f, "com.default.svc.cluster.local", 0, false);
}

static void with_other_routes_nothing_is_known(void **state)
{
	struct fixture *f = *state;
	search_answered(&f->search, 0, RCODE_NXDOMAIN);
	search_distrust(&f->search, NOW_MS);
	search_init(&f->search);
	assert_true(next(f, "example.com.default.svc.cluster.local"));
	assert_asks(f, "default.svc.cluster.local", 0, true);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(the_domain_itself_is_asked_for_first),
		TEST(while_it_is_asked_for_nothing_else_is),
		TEST(in_a_domain_that_exists_the_label_next_to_it_is_asked_for),
		TEST(in_a_domain_that_is_denied_nothing_is_done),
		TEST(after_a_failure_the_domain_is_asked_for_again),
		TEST(each_domain_is_known_by_itself),
		TEST(names_that_nothing_is_to_be_known_of),
		TEST(after_a_lie_nothing_is_done_for_ten_minutes),
		TEST(with_other_routes_nothing_is_known),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
