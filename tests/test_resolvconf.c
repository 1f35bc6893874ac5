/* SPDX-License-Identifier: Apache-2.0
 *
 * resolv.conf as C libraries read it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dns/resolve/resolvconf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void parse(struct resolv_conf *rc, const char *text)
{
	resolv_conf_parse(rc, (struct span){.data = (const uint8_t *)text, .len = strlen(text)});
}

static void assert_server(const struct servers *servers, unsigned i, const char *expected)
{
	char text[ENDPOINT_TEXT_SIZE];
	assert_true(i < servers->count);
	assert_string_equal(endpoint_format(&servers->item[i], text), expected);
}

/* The search domains, with blanks between. */
static void assert_search(const struct resolv_conf *rc, const char *expected)
{
	char all[RESOLV_SEARCH_MAX * DNAME_TEXT_SIZE] = "";
	for (unsigned i = 0; i < rc->search_count; i++) {
		char text[DNAME_TEXT_SIZE];
		dname_to_text(dname_span(&rc->search[i]), text);
		size_t len = strlen(all);
		(void)snprintf(all + len, sizeof(all) - len, "%s%s", i > 0 ? " " : "", text);
	}
	assert_string_equal(all, expected);
}

static void servers_keep_the_order_of_the_file(void **state)
{
	(void)state;
	struct resolv_conf rc;
	parse(&rc, "search a.example\nnameserver 192.0.2.1\nnameserver\t 2001:db8::53 \n"
		   "options ndots:5\nnameserver 192.0.2.2");
	assert_int_equal(rc.servers.count, 3);
	assert_server(&rc.servers, 0, "192.0.2.1:53");
	assert_server(&rc.servers, 1, "[2001:db8::53]:53");
	assert_server(&rc.servers, 2, "192.0.2.2:53");
}

static void an_address_counts_once(void **state)
{
	(void)state;
	struct resolv_conf rc;
	parse(&rc,
		"nameserver 192.0.2.1\nnameserver 192.0.2.1\nnameserver ::1\nnameserver 0:0::1\n");
	assert_int_equal(rc.servers.count, 2);
}

static void more_than_sixteen_are_left_out(void **state)
{
	(void)state;
	char text[20 * 32] = "";
	for (int i = 0; i < 20; i++) {
		size_t len = strlen(text);
		(void)snprintf(text + len, sizeof(text) - len, "nameserver 192.0.2.%d\n", i + 1);
	}
	struct resolv_conf rc;
	parse(&rc, text);
	assert_int_equal(rc.servers.count, SERVERS_LIST_MAX);
	assert_server(&rc.servers, 15, "192.0.2.16:53");
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
		struct resolv_conf rc;
		parse(&rc, lines[i]);
		assert_int_equal(rc.servers.count, 0);
	}
}

static void comments_and_line_ends_do_not_belong_to_the_address(void **state)
{
	(void)state;
	struct resolv_conf rc;
	parse(&rc, "nameserver 192.0.2.1 # one\r\nnameserver 192.0.2.2#two\nnameserver "
		   "192.0.2.3;x\r\nnameserver fe80::1%lo\n");
	assert_int_equal(rc.servers.count, 4);
	assert_server(&rc.servers, 0, "192.0.2.1:53");
	assert_server(&rc.servers, 1, "192.0.2.2:53");
	assert_server(&rc.servers, 2, "192.0.2.3:53");
	assert_int_equal(rc.servers.item[3].in6.sin6_scope_id, 1);
}

static void octets_that_are_no_text_do_no_harm(void **state)
{
	(void)state;
	static const uint8_t octets[] = "nameserver 192.0.2.1\0\nnameserver \xff\xfe\n"
					"nameserver 192.0.2.7\nnameserver 192.0.2.";
	struct resolv_conf rc;
	resolv_conf_parse(&rc, (struct span){.data = octets, .len = sizeof(octets) - 1});
	assert_int_equal(rc.servers.count, 1);
	assert_server(&rc.servers, 0, "192.0.2.7:53");
}

struct search_vector {
	const char *text;
	const char *expected;
};

static void the_last_search_or_domain_wins(void **state)
{
	(void)state;
	static const struct search_vector vectors[] = {
		{"", ""},
		{"search a.example b.example\n", "a.example b.example"},
		{"search\ta.example\t \tb.example \r\n", "a.example b.example"},
		{"search a.example", "a.example"},
		{"search a.example\nsearch b.example c.example\n", "b.example c.example"},
		{"search a.example b.example\ndomain c.example\n", "c.example"},
		{"domain a.example\nsearch b.example\n", "b.example"},
		/* glibc: `domain` takes one name */
		{"domain a.example b.example\n", "a.example"},
		/* glibc: a line without a name changes nothing */
		{"search a.example\nsearch\nsearch \ndomain\t\n", "a.example"},
		/* … but one with the root alone, systemd-resolved's way, leaves none */
		{"search a.example\nsearch .\n", ""},
		{"search a.example\ndomain .\n", ""},
		{"search . a.example .\n", "a.example"},
		{"search A.Example. a.example aa.example\n", "a.example aa.example"},
		{"search default.svc.cluster.local svc.cluster.local cluster.local\n",
			"default.svc.cluster.local svc.cluster.local cluster.local"},
		/* no domain names */
		{"search .a a..b a.example \\ \\999 \n", "a.example"},
		{"search _a.example a_b.example 1 -\n", "_a.example a_b.example 1 -"},
		/* no keyword */
		{" search a.example\n", ""},
		{"Search a.example\n", ""},
		{"searches a.example\n", ""},
		{"search=a.example\n", ""},
		{"domainname a.example\n", ""},
		{"#search a.example\n;domain a.example\n", ""},
		/* glibc knows no comments behind names */
		{"search a.example # b.example\n", "a.example # b.example"},
		{"search a.example\nsortlist 192.0.2.0/24\nlookup file bind\nfamily inet4\n",
			"a.example"},
	};
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		struct resolv_conf rc;
		parse(&rc, vectors[i].text);
		assert_search(&rc, vectors[i].expected);
	}
}

static void long_names_are_no_search_domains(void **state)
{
	(void)state;
	char text[4096] = "search ";
	struct resolv_conf rc;
	memset(text + 7, 'x', 64); /* a label of one too many */
	memcpy(text + 7 + 64, " a.example ", 12);
	size_t len = strlen(text);
	for (int i = 0; i < 127; i++) { /* 255 octets */
		memcpy(text + len, "x.", 3);
		len += 2;
	}
	memcpy(text + len, " yy.", 5);
	len += 4;
	for (int i = 0; i < 126; i++) { /* 256 */
		memcpy(text + len, "x.", 3);
		len += 2;
	}
	parse(&rc, text);
	assert_int_equal(rc.search_count, 2);
	assert_int_equal(rc.search[0].len, 11);
	assert_int_equal(rc.search[1].len, 255);
}

static void search_domains_have_a_limit(void **state)
{
	(void)state;
	char text[1024] = "search";
	struct resolv_conf rc;
	for (int i = 0; i < 40; i++) {
		size_t len = strlen(text);
		(void)snprintf(text + len, sizeof(text) - len, " d%d.example", i);
	}
	parse(&rc, text);
	assert_int_equal(rc.search_count, RESOLV_SEARCH_MAX);
	assert_int_equal(memcmp(rc.search[31].octets, "\3d31", 4), 0);
}

struct options_vector {
	const char *text;
	unsigned ndots;
	uint32_t timeout_ms;
	unsigned attempts;
	bool rotate;
};

static void options_are_read_as_by_glibc(void **state)
{
	(void)state;
	static const struct options_vector vectors[] = {
		{"", 1, 0, 0, false},
		{"options\n", 1, 0, 0, false},
		{"options ndots:5 timeout:2 attempts:3 rotate\n", 5, 2000, 3, true},
		{"options ndots:5\noptions\ttimeout:2\noptions rotate\n", 5, 2000, 0, true},
		{"options ndots:5\noptions ndots:2 ndots:3\n", 3, 0, 0, false},
		{"options ndots:0 timeout:0 attempts:0\n", 0, 1000, 1, false},
		{"options ndots:15 timeout:30 attempts:5\n", 15, 30000, 5, false},
		{"options ndots:16 timeout:31 attempts:6\n", 15, 30000, 5, false},
		{"options ndots:4294967297 timeout:99999999999999999999 "
		 "attempts:18446744073709551617"
		 "\n",
			15, 30000, 5, false},
		{"options edns0 trust-ad single-request inet6 timeout:1\n", 1, 1000, 0, false},
		/* what follows the digits, or the word */
		{"options ndots:2x timeout:3s attempts:2,rotate\n", 2, 3000, 2, false},
		{"options rotated\n", 1, 0, 0, true},
		{"options no-rotate norotate\n", 1, 0, 0, false},
		/* no numbers */
		{"options ndots: timeout:x attempts:-1\n", 1, 0, 0, false},
		{"options ndots:+2 timeout: 2 attempts\n", 1, 0, 0, false},
		/* no keywords */
		{" options rotate\noption rotate\noptions:rotate\n#options rotate\n", 1, 0, 0,
			false},
		{"options Rotate NDOTS:3\n", 1, 0, 0, false},
		/* glibc knows no comments behind options */
		{"options # ndots:3 ;\r\n", 3, 0, 0, false},
	};
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		struct resolv_conf rc;
		parse(&rc, vectors[i].text);
		assert_int_equal(rc.ndots, vectors[i].ndots);
		assert_int_equal(rc.timeout_ms, vectors[i].timeout_ms);
		assert_int_equal(rc.attempts, vectors[i].attempts);
		assert_int_equal(rc.rotate, vectors[i].rotate);
	}
}

static void a_line_with_a_nul_counts_for_nothing(void **state)
{
	(void)state;
	static const char text[] = "search a.example\nsearch b.example\0\n"
				   "options \0ndots:3\nnameserver 192.0.2.1\n\0";
	struct resolv_conf rc;
	resolv_conf_parse(
		&rc, (struct span){.data = (const uint8_t *)text, .len = sizeof(text) - 1});
	assert_search(&rc, "a.example");
	assert_int_equal(rc.ndots, 1);
	assert_int_equal(rc.servers.count, 1);
}

static void a_line_may_be_long(void **state)
{
	(void)state;
	enum { SIZE = 65536 };
	char *text = malloc(SIZE + 1);
	assert_non_null(text);
	struct resolv_conf rc;
	memset(text, 'x', SIZE);
	text[SIZE] = '\0';
	memcpy(text, "search ", 7);
	parse(&rc, text);
	assert_int_equal(rc.search_count, 0);
	memset(text + 7, ' ', SIZE - 7);
	memcpy(text + SIZE - 9, "a.example", 9);
	parse(&rc, text);
	assert_search(&rc, "a.example");
	free(text);
}

static void each_statement_makes_a_difference(void **state)
{
	(void)state;
	static const char *const texts[] = {"nameserver 192.0.2.1", "nameserver 192.0.2.2",
		"nameserver 192.0.2.1\nnameserver 192.0.2.2",
		"nameserver 192.0.2.2\nnameserver 192.0.2.1", "search a.example",
		"search b.example", "search a.example b.example", "search b.example a.example",
		"search aa.example", "options ndots:2", "options timeout:1", "options timeout:2",
		"options attempts:1", "options rotate", ""};
	struct resolv_conf a;
	struct resolv_conf b;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		for (size_t j = 0; j < sizeof(texts) / sizeof(texts[0]); j++) {
			parse(&a, texts[i]);
			parse(&b, texts[j]);
			assert_int_equal(resolv_conf_equal(&a, &b), i == j);
		}
	}
	parse(&a, "# a\nsearch A.example.\nnameserver ::1\n");
	parse(&b, "nameserver 0::0:1\noptions ndots:1\ndomain a.example");
	assert_true(resolv_conf_equal(&a, &b));
}

static int load(struct resolv_conf *rc, size_t padding, const char *text)
{
	char path[] = "/tmp/test_resolvconf.XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	FILE *file = fdopen(fd, "w");
	assert_non_null(file);
	for (size_t i = 0; i < padding; i++) {
		(void)fputc('\n', file);
	}
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	int error = resolv_conf_load(rc, path);
	(void)unlink(path);
	return error;
}

static void the_file_is_read_to_its_end(void **state)
{
	(void)state;
	static const char line[] = "nameserver 192.0.2.9";
	struct resolv_conf rc;
	assert_int_equal(load(&rc, 65536 - (sizeof(line) - 1), line), 0);
	assert_server(&rc.servers, 0, "192.0.2.9:53");
	assert_int_equal(load(&rc, 65536, line), -EFBIG);
	assert_int_equal(rc.servers.count, 0);
	assert_int_equal(rc.ndots, 1);
}

static void a_missing_file_is_an_error(void **state)
{
	(void)state;
	struct resolv_conf rc;
	assert_int_equal(resolv_conf_load(&rc, "/nonexistent/resolv.conf"), -ENOENT);
	assert_int_equal(rc.servers.count, 0);
	assert_int_equal(rc.ndots, 1);
	assert_int_equal(resolv_conf_load(&rc, "/tmp"), -EISDIR);
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
		cmocka_unit_test(the_last_search_or_domain_wins),
		cmocka_unit_test(long_names_are_no_search_domains),
		cmocka_unit_test(search_domains_have_a_limit),
		cmocka_unit_test(options_are_read_as_by_glibc),
		cmocka_unit_test(a_line_with_a_nul_counts_for_nothing),
		cmocka_unit_test(a_line_may_be_long),
		cmocka_unit_test(each_statement_makes_a_difference),
		cmocka_unit_test(the_file_is_read_to_its_end),
		cmocka_unit_test(a_missing_file_is_an_error),
	};
	return cmocka_run_group_tests_name("resolvconf", tests, NULL, NULL);
}
