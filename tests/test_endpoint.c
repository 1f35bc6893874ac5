/* SPDX-License-Identifier: Apache-2.0
 *
 * Addresses with ports: which texts are read, as what, and how they are written.
 */
#include "conf/endpoint.h"

#include <errno.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const struct {
	const char *text;
	uint16_t default_port;
	const char *formatted;
} good[] = {
	{"192.0.2.1", 53, "192.0.2.1:53"},
	{"192.0.2.1:1", 53, "192.0.2.1:1"},
	{"192.0.2.1:65535", 0, "192.0.2.1:65535"},
	{"0.0.0.0:53", 0, "0.0.0.0:53"},
	{"2001:db8::1", 53, "[2001:db8::1]:53"},
	{"2001:DB8:0:0::1", 53, "[2001:db8::1]:53"},
	{"::", 53, "[::]:53"},
	{"2001:db8::1:53", 7, "[2001:db8::1:53]:7"},
	{"[2001:db8::1]", 53, "[2001:db8::1]:53"},
	{"[2001:db8::1]:5353", 0, "[2001:db8::1]:5353"},
	{"::ffff:192.0.2.1", 53, "[::ffff:192.0.2.1]:53"},
	{"fe80::1%lo", 53, "[fe80::1%lo]:53"},
	{"[fe80::1%lo]:5353", 53, "[fe80::1%lo]:5353"},
	{"fe80::1%4294967295", 53, "[fe80::1%4294967295]:53"},
	{"1111:2222:3333:4444:5555:6666:7777:8888%4294967295", 65535,
		"[1111:2222:3333:4444:5555:6666:7777:8888%4294967295]:65535"},
};

static void addresses_are_read_and_written(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(good); i++) {
		struct endpoint e;
		char text[ENDPOINT_TEXT_SIZE];

		if (endpoint_parse(&e, good[i].text, good[i].default_port) != 0) {
			fail_msg("%s is refused", good[i].text);
		}
		assert_string_equal(endpoint_format(&e, text), good[i].formatted);
	}
}

static void what_is_written_reads_back_into_the_same(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(good); i++) {
		struct endpoint e;
		struct endpoint again;

		assert_int_equal(endpoint_parse(&e, good[i].text, good[i].default_port), 0);
		assert_int_equal(endpoint_parse(&again, good[i].formatted, 0), 0);
		assert_true(endpoint_equal(&e, &again));
		assert_memory_equal(&e, &again, sizeof e);
	}
}

static void anything_else_is_refused(void **state)
{
	static const char *const bad[] = {"", ":", ":53", "localhost", "192.0.2", "192.0.2.1.",
		"192.0.2.256", "192.0.2.01", " 192.0.2.1", "192.0.2.1 ",
		"192.0.2.1:", "192.0.2.1:0", "192.0.2.1:65536", "192.0.2.1:053", "192.0.2.1:+53",
		"192.0.2.1:53x", "192.0.2.1: 53", "192.0.2.1:99999999999999999999",
		"[192.0.2.1]:53", "[]:53", "[", "]", "[::1", "[::1]53", "[::1]:", "[::1]:0",
		"::1]:53", ":::", "2001:db8::1::", "2001:db8::g", "fe80::1%",
		"fe80::1%no-such-interface", "fe80::1%0", "%lo", "192.0.2.1%lo", "fe80::1%lo%lo",
		"fe80::1%4294967296", "[fe80::1]%lo:53"};

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct endpoint e = {.len = 99};

		if (endpoint_parse(&e, bad[i], 53) != -EINVAL) {
			fail_msg("\"%s\" is accepted", bad[i]);
		}
		assert_int_equal(e.len, 99); /* untouched */
	}
}

static void a_port_is_needed_where_there_is_no_default(void **state)
{
	struct endpoint e;

	(void)state;
	assert_int_equal(endpoint_parse(&e, "192.0.2.1", 0), -EINVAL);
	assert_int_equal(endpoint_parse(&e, "::1", 0), -EINVAL);
	assert_int_equal(endpoint_parse(&e, "[::1]", 0), -EINVAL);
}

static void long_texts_are_refused(void **state)
{
	struct endpoint e;
	char text[5000];

	(void)state;
	memset(text, '1', sizeof text);
	text[sizeof text - 1] = '\0';
	assert_int_equal(endpoint_parse(&e, text, 53), -EINVAL);
	memset(text, ':', sizeof text - 1);
	assert_int_equal(endpoint_parse(&e, text, 53), -EINVAL);
	memcpy(text, "fe80::1%", 8);
	assert_int_equal(endpoint_parse(&e, text, 53), -EINVAL);
}

static void the_socket_address_is_what_the_kernel_takes(void **state)
{
	struct endpoint e;

	(void)state;
	assert_int_equal(endpoint_parse(&e, "192.0.2.1:5353", 53), 0);
	assert_int_equal(e.len, sizeof(struct sockaddr_in));
	assert_int_equal(e.sa.sa_family, AF_INET);
	assert_int_equal(e.in.sin_port, htons(5353));
	assert_int_equal(e.in.sin_addr.s_addr, htonl(0xc0000201));
	assert_int_equal(endpoint_port(&e), 5353);

	assert_int_equal(endpoint_parse(&e, "fe80::1%lo", 53), 0);
	assert_int_equal(e.len, sizeof(struct sockaddr_in6));
	assert_int_equal(e.sa.sa_family, AF_INET6);
	assert_int_equal(e.in6.sin6_scope_id, if_nametoindex("lo"));
	assert_int_equal(endpoint_port(&e), 53);
}

static void equal_means_family_address_port_and_scope(void **state)
{
	static const char *const different[] = {"192.0.2.1:53", "192.0.2.1:54", "192.0.2.2:53",
		"[::ffff:192.0.2.1]:53", "[fe80::1]:53", "[fe80::1]:54", "[fe80::2]:53",
		"[fe80::1%7]:53", "[fe80::1%8]:53"};
	struct endpoint none = {.len = 0};

	(void)state;
	for (size_t i = 0; i < COUNT(different); i++) {
		for (size_t k = 0; k < COUNT(different); k++) {
			struct endpoint a;
			struct endpoint b;

			assert_int_equal(endpoint_parse(&a, different[i], 0), 0);
			assert_int_equal(endpoint_parse(&b, different[k], 0), 0);
			assert_int_equal(endpoint_equal(&a, &b), i == k);
			assert_false(endpoint_equal(&a, &none));
		}
	}
	assert_true(endpoint_equal(&none, &none));
}

static void no_endpoint_is_written_as_none(void **state)
{
	struct endpoint none = {.len = 0};
	char text[ENDPOINT_TEXT_SIZE];

	(void)state;
	assert_string_equal(endpoint_format(&none, text), "none");
	assert_int_equal(endpoint_port(&none), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_are_read_and_written),
		cmocka_unit_test(what_is_written_reads_back_into_the_same),
		cmocka_unit_test(anything_else_is_refused),
		cmocka_unit_test(a_port_is_needed_where_there_is_no_default),
		cmocka_unit_test(long_texts_are_refused),
		cmocka_unit_test(the_socket_address_is_what_the_kernel_takes),
		cmocka_unit_test(equal_means_family_address_port_and_scope),
		cmocka_unit_test(no_endpoint_is_written_as_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
