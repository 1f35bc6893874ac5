/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of params.c.
 */
#include "dns/admin/params.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct param name = {.key = "name"};
static struct param params[] = {{.key = "name"}, {.key = "type"}};

/* The octets stand in an allocation of their own, so that a sanitizer sees a read beyond them. */
static bool read_as(const char *query, struct param *into, size_t count)
{
	size_t len = strlen(query);
	uint8_t *octets = malloc(len ? len : 1);
	assert_non_null(octets);
	memcpy(octets, query, len);
	bool understood = params_read((struct span){octets, len}, into, count);
	free(octets);
	return understood;
}

static void an_empty_query_gives_nothing(void **state)
{
	(void)state;
	assert_true(read_as("", params, 2));
	assert_false(params[0].given);
	assert_false(params[1].given);
	assert_true(params_read((struct span){0}, params, 2));
}

static void parameters_come_in_any_order(void **state)
{
	(void)state;
	assert_true(read_as("type=AAAA&name=redis.mesh", params, 2));
	assert_true(params[0].given && params[1].given);
	assert_string_equal(params[0].value, "redis.mesh");
	assert_string_equal(params[1].value, "AAAA");
	assert_true(read_as("type=", params, 2));
	assert_false(params[0].given);
	assert_string_equal(params[0].value, "");
	assert_true(params[1].given);
	assert_int_equal(params[1].len, 0);
}

static void octets_are_decoded(void **state)
{
	(void)state;
	assert_true(read_as("name=%41%5c%2e%5C+%3d=%26%00%fF", &name, 1));
	assert_int_equal(name.len, 10);
	assert_memory_equal(name.value, "A\\.\\+==&\0\xff", 11);
}

static void what_is_not_understood_is_refused(void **state)
{
	static const char *const queries[] = {"name", "nome=a", "=", "=a", "&", "name=a&",
		"&name=a", "name=a&name=a", "name=a&type=A", "name=%", "name=%4", "name=%4g",
		"name=%g4", "name=a%4&", "Name=a", "n%61me=a", " name=a", "name=a&&name=b"};
	(void)state;
	for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
		if (read_as(queries[i], &name, 1)) {
			fail_msg("%s was understood", queries[i]);
		}
	}
}

static void a_value_fits_or_is_refused(void **state)
{
	char query[16 + 3 * (PARAM_SIZE + 1)] = "name=";
	(void)state;
	for (size_t i = 0; i < PARAM_SIZE - 1; i++) {
		memcpy(query + 5 + 3 * i, "%41", 4);
	}
	assert_true(read_as(query, &name, 1));
	assert_int_equal(name.len, PARAM_SIZE - 1);
	assert_int_equal(name.value[PARAM_SIZE - 2], 'A');
	assert_int_equal(name.value[PARAM_SIZE - 1], '\0');
	memcpy(query + 5 + 3 * (PARAM_SIZE - 1), "%41", 4);
	assert_false(read_as(query, &name, 1));
}

static void the_longest_name_fits(void **state)
{
	struct dname longest = {.len = DNAME_MAX}, back;
	char text[DNAME_TEXT_SIZE + 1];
	char query[16 + sizeof(text)];
	(void)state;
	for (size_t at = 0; at < DNAME_MAX - 1; at += LABEL_MAX + 1) {
		size_t left = DNAME_MAX - 1 - at - 1;
		size_t len = left < LABEL_MAX ? left : LABEL_MAX;
		longest.octets[at] = (uint8_t)len;
		memset(longest.octets + at + 1, 0xff, len);
	}
	size_t len = dname_to_text(dname_span(&longest), text);
	memcpy(text + len, ".", 2);
	memcpy(query, "name=", 5);
	memcpy(query + 5, text, len + 2);
	assert_true(read_as(query, &name, 1));
	assert_int_equal(dname_from_text(&back, name.value, name.len), 0);
	assert_memory_equal(&back, &longest, sizeof(back));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_query_gives_nothing),
		cmocka_unit_test(parameters_come_in_any_order),
		cmocka_unit_test(octets_are_decoded),
		cmocka_unit_test(what_is_not_understood_is_refused),
		cmocka_unit_test(a_value_fits_or_is_refused),
		cmocka_unit_test(the_longest_name_fits),
	};
	return cmocka_run_group_tests_name("params", tests, NULL, NULL);
}
