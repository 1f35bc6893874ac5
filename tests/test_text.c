/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/message.h"

#include "dns/admin/text.h"

#include <event2/buffer.h>

static struct text text;

static int setup(void **state)
{
	(void)state;
	text = (struct text){.out = evbuffer_new()};
	assert_non_null(text.out);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	evbuffer_free(text.out);
	return 0;
}

static void assert_text(const char *expected)
{
	assert_int_equal(evbuffer_add(text.out, "", 1), 0);
	assert_string_equal((const char *)evbuffer_pullup(text.out, -1), expected);
}

static void text_is_appended(void **state)
{
	(void)state;
	text_add(&text, "%s %d\n", "one", 2);
	text_add(&text, "three");
	assert_text("one 2\nthree");
	assert_false(text.fault);
}

static void what_others_wrote_does_nothing_to_a_terminal(void **state)
{
	(void)state;
	text_add_foreign(&text, "a ~%s\x1b[1m\n\x7f\x80\xff");
	assert_text("a ~%s?[1m????");
	assert_false(text.fault);
}

static void names_end_with_a_dot(void **state)
{
	struct dname root = name_of(".");
	struct dname name = name_of("a\\.b.\\007.example");
	(void)state;
	text_add_name(&text, &root);
	text_add(&text, " ");
	text_add_name(&text, &name);
	assert_text(". a\\.b.\\007.example.");
}

/* A buffer that takes nothing fails as one without memory does. */
static void what_was_not_appended_is_a_fault_for_good(void **state)
{
	struct dname name = name_of("www.example");
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		text.fault = false;
		assert_int_equal(evbuffer_freeze(text.out, 0), 0);
		if (i == 0) {
			text_add(&text, "a");
		} else if (i == 1) {
			text_add_foreign(&text, "a");
		} else {
			text_add_name(&text, &name);
		}
		assert_true(text.fault);
		assert_int_equal(evbuffer_unfreeze(text.out, 0), 0);
		text_add(&text, "b");
		text_add_foreign(&text, "c");
		assert_true(text.fault);
	}
	assert_text("bcbcbc");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(text_is_appended),
		TEST(what_others_wrote_does_nothing_to_a_terminal),
		TEST(names_end_with_a_dot),
		TEST(what_was_not_appended_is_a_fault_for_good),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
