/* SPDX-License-Identifier: Apache-2.0
 *
 * Which list of servers is taken.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "conf/conf.h"
#include "dns/resolve/servers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void assert_server(const struct servers *servers, unsigned i, const char *expected)
{
	char text[ENDPOINT_TEXT_SIZE];
	assert_true(i < servers->count);
	assert_string_equal(endpoint_format(&servers->item[i], text), expected);
}

static void the_file_names_the_servers(void **state)
{
	(void)state;
	static struct conf conf;
	struct servers s;
	(void)snprintf(
		conf.resolv_conf, sizeof(conf.resolv_conf), "%s", "/tmp/test_servers.XXXXXX");
	int fd = mkstemp(conf.resolv_conf);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "nameserver 192.0.2.9\nsearch a.example\n", 38), 38);
	close(fd);
	int error = servers_load(&s, &conf);
	(void)unlink(conf.resolv_conf);
	assert_int_equal(error, 0);
	assert_int_equal(s.count, 1);
	assert_server(&s, 0, "192.0.2.9:53");
}

static void a_missing_file_is_an_error(void **state)
{
	(void)state;
	static struct conf conf;
	struct servers s;
	(void)snprintf(
		conf.resolv_conf, sizeof(conf.resolv_conf), "%s", "/nonexistent/resolv.conf");
	assert_int_equal(servers_load(&s, &conf), -ENOENT);
	assert_int_equal(s.count, 0);
	(void)snprintf(conf.resolv_conf, sizeof(conf.resolv_conf), "%s", "/tmp");
	assert_int_equal(servers_load(&s, &conf), -EISDIR);
}

static void configured_servers_come_instead_of_the_file(void **state)
{
	(void)state;
	static struct conf conf;
	struct servers s;
	(void)snprintf(
		conf.resolv_conf, sizeof(conf.resolv_conf), "%s", "/nonexistent/resolv.conf");
	conf.servers.count = 2;
	assert_int_equal(endpoint_parse(&conf.servers.item[0], "192.0.2.1:5353", 0), 0);
	conf.servers.item[1] = conf.servers.item[0];
	assert_int_equal(servers_load(&s, &conf), 0);
	assert_int_equal(s.count, 1);
	assert_server(&s, 0, "192.0.2.1:5353");
}

static void equal_is_the_same_in_the_same_order(void **state)
{
	(void)state;
	struct endpoint e[2];
	struct servers a = {.count = 0};
	struct servers b = {.count = 0};
	assert_int_equal(endpoint_parse(&e[0], "192.0.2.1:53", 0), 0);
	assert_int_equal(endpoint_parse(&e[1], "[2001:db8::1]:53", 0), 0);
	assert_true(servers_equal(&a, &b));
	servers_add(&a, &e[0]);
	servers_add(&a, &e[1]);
	servers_add(&b, &e[1]);
	assert_false(servers_equal(&a, &b));
	servers_add(&b, &e[0]);
	assert_false(servers_equal(&a, &b));
	b = a;
	assert_true(servers_equal(&a, &b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_file_names_the_servers),
		cmocka_unit_test(a_missing_file_is_an_error),
		cmocka_unit_test(configured_servers_come_instead_of_the_file),
		cmocka_unit_test(equal_is_the_same_in_the_same_order),
	};
	return cmocka_run_group_tests_name("servers", tests, NULL, NULL);
}
