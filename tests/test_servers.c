/* SPDX-License-Identifier: Apache-2.0
 *
 * resolv.conf as C libraries read it, and which list of servers is taken.
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

static void parse(struct servers *servers, const char *text)
{
	servers_parse(servers, (struct span){.data = (const uint8_t *)text, .len = strlen(text)});
}

static void assert_server(const struct servers *servers, unsigned i, const char *expected)
{
	char text[ENDPOINT_TEXT_SIZE];
	assert_true(i < servers->count);
	assert_string_equal(endpoint_format(&servers->item[i], text), expected);
}

static void servers_keep_the_order_of_the_file(void **state)
{
	(void)state;
	struct servers s;
	parse(&s, "search a.example\nnameserver 192.0.2.1\nnameserver\t 2001:db8::53 \n"
		  "options ndots:5\nnameserver 192.0.2.2");
	assert_int_equal(s.count, 3);
	assert_server(&s, 0, "192.0.2.1:53");
	assert_server(&s, 1, "[2001:db8::53]:53");
	assert_server(&s, 2, "192.0.2.2:53");
}

static void an_address_counts_once(void **state)
{
	(void)state;
	struct servers s;
	parse(&s,
		"nameserver 192.0.2.1\nnameserver 192.0.2.1\nnameserver ::1\nnameserver 0:0::1\n");
	assert_int_equal(s.count, 2);
}

static void more_than_sixteen_are_left_out(void **state)
{
	(void)state;
	char text[20 * 32] = "";
	for (int i = 0; i < 20; i++) {
		size_t len = strlen(text);
		(void)snprintf(text + len, sizeof(text) - len, "nameserver 192.0.2.%d\n", i + 1);
	}
	struct servers s;
	parse(&s, text);
	assert_int_equal(s.count, SERVERS_LIST_MAX);
	assert_server(&s, 15, "192.0.2.16:53");
}

static void what_is_no_server_is_passed_over(void **state)
{
	(void)state;
	static const char *const lines[] = {"", "nameserver", "nameserver ",
		"nameservers 192.0.2.1", "nameserver192.0.2.1", "# nameserver 192.0.2.1",
		"; nameserver 192.0.2.1", "nameserver 192.0.2", "nameserver 192.0.2.1:53",
		"nameserver [::1]:53", "nameserver [::1]", "nameserver dns.example",
		"nameserver 192.0.2.1%lo", "nameserver 1.2.3.4.5",
		"nameserver fe80::1%no-such-interface",
		"nameserver 111111111111111111111111111111111111111111111111111111111111111111111",
		"nameserver #192.0.2.1", "NAMESERVER 192.0.2.1"};
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct servers s;
		parse(&s, lines[i]);
		assert_int_equal(s.count, 0);
	}
}

static void comments_and_line_ends_do_not_belong_to_the_address(void **state)
{
	(void)state;
	struct servers s;
	parse(&s, "nameserver 192.0.2.1 # one\r\nnameserver 192.0.2.2#two\nnameserver "
		  "192.0.2.3;x\r\nnameserver fe80::1%lo\n");
	assert_int_equal(s.count, 4);
	assert_server(&s, 0, "192.0.2.1:53");
	assert_server(&s, 1, "192.0.2.2:53");
	assert_server(&s, 2, "192.0.2.3:53");
	assert_int_equal(s.item[3].in6.sin6_scope_id, 1);
}

static void octets_that_are_no_text_do_no_harm(void **state)
{
	(void)state;
	static const uint8_t octets[] = "nameserver 192.0.2.1\0\nnameserver \xff\xfe\n"
					"nameserver 192.0.2.7\nnameserver 192.0.2.";
	struct servers s;
	servers_parse(&s, (struct span){.data = octets, .len = sizeof(octets) - 1});
	assert_int_equal(s.count, 1);
	assert_server(&s, 0, "192.0.2.7:53");
}

static void write_file(struct conf *conf, size_t padding, const char *text)
{
	(void)snprintf(
		conf->resolv_conf, sizeof(conf->resolv_conf), "%s", "/tmp/test_servers.XXXXXX");
	int fd = mkstemp(conf->resolv_conf);
	assert_true(fd >= 0);
	FILE *file = fdopen(fd, "w");
	assert_non_null(file);
	for (size_t i = 0; i < padding; i++) {
		(void)fputc('\n', file);
	}
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void the_file_is_read_to_its_end(void **state)
{
	(void)state;
	static struct conf conf;
	static const char line[] = "nameserver 192.0.2.9";
	struct servers s;
	write_file(&conf, 65536 - (sizeof(line) - 1), line);
	int error = servers_load(&s, &conf);
	(void)unlink(conf.resolv_conf);
	assert_int_equal(error, 0);
	assert_server(&s, 0, "192.0.2.9:53");

	write_file(&conf, 65536, line);
	error = servers_load(&s, &conf);
	(void)unlink(conf.resolv_conf);
	assert_int_equal(error, -EFBIG);
	assert_int_equal(s.count, 0);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(servers_keep_the_order_of_the_file),
		cmocka_unit_test(an_address_counts_once),
		cmocka_unit_test(more_than_sixteen_are_left_out),
		cmocka_unit_test(what_is_no_server_is_passed_over),
		cmocka_unit_test(comments_and_line_ends_do_not_belong_to_the_address),
		cmocka_unit_test(octets_that_are_no_text_do_no_harm),
		cmocka_unit_test(the_file_is_read_to_its_end),
		cmocka_unit_test(a_missing_file_is_an_error),
		cmocka_unit_test(configured_servers_come_instead_of_the_file),
	};
	return cmocka_run_group_tests_name("servers", tests, NULL, NULL);
}
