/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dns/serve/listening.h"

#include <string.h>

static struct endpoint endpoint_of(const char *text)
{
	struct endpoint e;
	assert_int_equal(endpoint_parse(&e, text, 0), 0);
	return e;
}

static void the_default_is_loopback_of_both_families(void **state)
{
	(void)state;
	struct conf conf = {.port = 15053};
	struct endpoint_list list;
	char text[ENDPOINT_TEXT_SIZE];
	listening_list(&list, &conf);
	assert_int_equal(list.count, 2);
	assert_string_equal(endpoint_format(&list.item[0], text), "127.0.0.1:15053");
	assert_string_equal(endpoint_format(&list.item[1], text), "[::1]:15053");
	conf.ip_family_mode = CONF_IPV4;
	listening_list(&list, &conf);
	assert_int_equal(list.count, 1);
}

static void what_is_configured_replaces_the_default(void **state)
{
	(void)state;
	struct conf conf = {.port = 15053};
	struct endpoint_list list;
	conf.listen.count = 1;
	conf.listen.item[0] = endpoint_of("192.0.2.1:53");
	listening_list(&list, &conf);
	assert_int_equal(list.count, 1);
	assert_true(endpoint_equal(&list.item[0], &conf.listen.item[0]));
}

static void ebpf_sends_to_all_of_loopback(void **state)
{
	(void)state;
	struct conf conf = {.port = 5};
	struct endpoint_list list;
	char text[ENDPOINT_TEXT_SIZE];
	listening_aliases(&list, &conf, 15053);
	assert_int_equal(list.count, 0);
	conf.redirect_mode = CONF_AUTO;
	listening_aliases(&list, &conf, 15053);
	assert_int_equal(list.count, 2);
	assert_string_equal(endpoint_format(&list.item[0], text), "0.0.0.0:15053");
	assert_string_equal(endpoint_format(&list.item[1], text), "[::]:15053");
	conf.redirect_mode = CONF_EBPF;
	conf.ip_family_mode = CONF_IPV4;
	listening_aliases(&list, &conf, 15053);
	assert_int_equal(list.count, 1);
}

static void what_arrives_is_told(void **state)
{
	(void)state;
	static const struct {
		const char *listening;
		const char *to;
		bool takes;
	} cases[] = {
		{"127.0.0.1:53", "127.0.0.1:53", true},
		{"127.0.0.1:53", "127.0.0.1:54", false},
		{"127.0.0.1:53", "127.0.0.53:53", false},
		{"0.0.0.0:53", "127.0.0.53:53", true},
		{"0.0.0.0:53", "127.0.0.53:5353", false},
		{"0.0.0.0:53", "192.0.2.1:53", false},
		{"0.0.0.0:53", "[::1]:53", false},
		{"[::]:53", "[::1]:53", true},
		{"[::]:53", "127.0.0.1:53", false},
		{"[::1]:53", "[::1]:53", true},
		{"[::1]:53", "[2001:db8::1]:53", false},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct endpoint at[2] = {
			endpoint_of("198.51.100.1:1"), endpoint_of(cases[i].listening)};
		struct endpoint to = endpoint_of(cases[i].to);
		assert_int_equal(listening_takes(at, 2, &to), cases[i].takes);
		assert_false(listening_takes(at, 0, &to));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_default_is_loopback_of_both_families),
		cmocka_unit_test(what_is_configured_replaces_the_default),
		cmocka_unit_test(ebpf_sends_to_all_of_loopback),
		cmocka_unit_test(what_arrives_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
