/* SPDX-License-Identifier: Apache-2.0
 *
 * Configuration → rules: families, servers, the exempt user, and the line that describes them.
 */
#include "conf/conf.h"
#include "redirect/redirect.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct conf configuration(void)
{
	struct conf conf;

	memset(&conf, 0, sizeof conf);
	conf.redirect_enabled = true;
	conf.port = 15053;
	conf.mark = 0x6b64;
	conf.dns_tcp = true;
	return conf;
}

static struct endpoint server(const char *text)
{
	struct endpoint e;

	assert_int_equal(endpoint_parse(&e, text, 53), 0);
	return e;
}

static void configuration_becomes_rules(void **state)
{
	struct conf conf = configuration();
	struct redirect_error error;
	struct rules rules;

	(void)state;
	assert_int_equal(rules_compile(&rules, &conf, NULL, 0, &error), 0);
	assert_true(rules.ipv4);
	assert_true(rules.ipv6);
	assert_true(rules.zones);
	assert_false(rules.udp_only);
	assert_false(rules.capture_all);
	assert_int_equal(rules.port, 15053);
	assert_int_equal(rules.mark, 0x6b64);
	assert_int_equal(rules.server_count, 0);

	conf.ip_family_mode = CONF_IPV4;
	conf.skip_zone_split = true;
	conf.dns_tcp = false;
	conf.fail_closed = true;
	conf.capture_all = true;
	assert_int_equal(rules_compile(&rules, &conf, NULL, 0, &error), 0);
	assert_true(rules.ipv4);
	assert_false(rules.ipv6);
	assert_false(rules.zones);
	assert_true(rules.udp_only);
	assert_true(rules.fail_closed);
	assert_true(rules.capture_all);
}

static void kumas_keys_become_rules(void **state)
{
	struct conf conf = configuration();
	struct redirect_error error;
	struct rules rules;
	char text[256];

	(void)state;
	conf.redirect_enabled = false;
	conf.capture_all = true;
	conf.inbound.enabled = conf.outbound.enabled = true;
	conf.inbound.port = 15006;
	conf.outbound.port = 15001;
	conf.drop_invalid = conf.log_packets = true;
	snprintf(conf.kuma_dp_user, sizeof conf.kuma_dp_user, "5678");
	assert_int_equal(vnets_add(&conf.vnets, "br+:10.0.0.0/8"), 0);
	assert_int_equal(rules_compile(&rules, &conf, NULL, 0, &error), 0);
	assert_true(!rules.ipv4 && !rules.ipv6 && rules.tcp6);
	assert_true(rules.inbound.enabled && rules.outbound.enabled);
	assert_true(rules.drop_invalid && rules.log && rules.comments);
	assert_int_equal(rules.vnets.count, 1);
	assert_string_equal(redirect_describe(&rules, text, sizeof text),
		"inbound TCP to port 15006; outbound TCP to port 15001, except of UID 5678");
	conf.ip_family_mode = CONF_IPV4;
	conf.no_comments = true;
	assert_int_equal(rules_compile(&rules, &conf, NULL, 0, &error), 0);
	assert_true(!rules.tcp6 && !rules.comments);
}

/** Envoy's own connections would come back to it. */
static void tcp_is_not_redirected_without_a_user(void **state)
{
	struct conf conf = configuration();
	struct redirect_error error;
	struct rules rules;

	(void)state;
	conf.outbound.enabled = true;
	if (!getpwuid(5678) && !getpwnam("kuma-dp")) {
		assert_int_equal(rules_compile(&rules, &conf, NULL, 0, &error), -ENOENT);
		assert_non_null(strstr(error.text, "kumaDPUser: found nothing"));
	}
	snprintf(conf.kuma_dp_user, sizeof conf.kuma_dp_user, "5678");
	assert_int_equal(rules_compile(&rules, &conf, NULL, 0, &error), 0);
}

static void what_is_excluded_is_not_captured(void **state)
{
	static const struct {
		const char *server;
		uint32_t transport;
		uint32_t uid;
		bool captured;
	} cases[] = {
		{"192.0.2.1", CONF_UDP, 0, true},
		{"2001:db8::1", CONF_TCP, 0, true},
		{"fe80::1", CONF_UDP, 0, false},
		{"10.159.255.255", CONF_UDP, 0, false},
		{"10.160.0.0", CONF_UDP, 0, true},
		{"10.127.255.255", CONF_UDP, 0, true},
		{"192.0.2.53", CONF_TCP, 0, false},
		{"192.0.2.54", CONF_TCP, 0, true},
		{"fd00::1", CONF_UDP, 0, false},
		{"fd00::2", CONF_UDP, 0, true},
		{"192.0.2.1", CONF_UDP, 7, false},
		{"192.0.2.1", CONF_TCP, 7, true},
		{"192.0.2.1", CONF_UDP, 8, true},
		{"192.0.2.1", CONF_TCP, 9, false},
		{"192.0.2.1", CONF_TCP, 10, true},
	};
	struct rules rules = {.ipv4 = true, .ipv6 = true, .capture_all = true};
	struct conf_traffic *outbound = &rules.outbound;

	(void)state;
	assert_int_equal(networks_add(&outbound->exclude_ips, "10.128.0.0/11"), 0);
	assert_int_equal(networks_add(&outbound->exclude_ips, "192.0.2.53"), 0);
	assert_int_equal(networks_add(&outbound->exclude_ips, "fd00::1"), 0);
	assert_int_equal(exclusions_add(&outbound->exclude_uids, "udp:50-60:7"), 0);
	assert_int_equal(exclusions_add(&outbound->exclude_uids, "80:8"), 0);
	assert_int_equal(exclusions_add(&outbound->exclude_uids, "9"), 0);
	for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const struct endpoint e = server(cases[i].server);
		assert_int_equal(rules_capture(&rules, &e, cases[i].transport, cases[i].uid),
			cases[i].captured);
	}
	const struct endpoint ipv6 = server("2001:db8::1");
	rules.udp_only = true;
	assert_true(rules_capture(&rules, &ipv6, CONF_UDP, 0));
	assert_false(rules_capture(&rules, &ipv6, CONF_TCP, 0));
	rules.ipv6 = false;
	assert_false(rules_capture(&rules, &ipv6, CONF_UDP, 0));
	assert_int_equal(networks_add(&outbound->exclude_ips, "0.0.0.0/0"), 0);
	const struct endpoint ipv4 = server("192.0.2.1");
	assert_false(rules_capture(&rules, &ipv4, CONF_UDP, 0));
}

static void a_server_is_captured_once_and_at_port_53(void **state)
{
	const struct conf conf = configuration();
	const struct endpoint servers[] = {server("192.0.2.1"), server("2001:db8::1"),
		server("192.0.2.1:5353"), server("[2001:db8::1]:54"), server("::ffff:192.0.2.2")};
	struct redirect_error error;
	struct rules rules;
	char text[ENDPOINT_TEXT_SIZE];

	(void)state;
	assert_int_equal(rules_compile(&rules, &conf, servers, 5, &error), 0);
	assert_int_equal(rules.server_count, 3);
	assert_string_equal(endpoint_format(&rules.server[0], text), "192.0.2.1:53");
	assert_string_equal(endpoint_format(&rules.server[1], text), "[2001:db8::1]:53");
	/* What is sent there is IPv4. */
	assert_string_equal(endpoint_format(&rules.server[2], text), "192.0.2.2:53");
}

static void servers_over_the_limit_are_left_out(void **state)
{
	const struct conf conf = configuration();
	struct endpoint servers[RULES_SERVERS_MAX + 4];
	struct redirect_error error;
	struct rules rules;
	char text[ENDPOINT_TEXT_SIZE];

	(void)state;
	for (unsigned i = 0; i < RULES_SERVERS_MAX + 4; i++) {
		snprintf(text, sizeof text, "192.0.2.%u", i + 1);
		servers[i] = server(text);
	}
	assert_int_equal(rules_compile(&rules, &conf, servers, RULES_SERVERS_MAX + 4, &error), 0);
	assert_int_equal(rules.server_count, RULES_SERVERS_MAX);
}

static void a_user_is_a_name_or_a_uid(void **state)
{
	static const struct {
		const char *user;
		uint32_t uid;
	} cases[] = {{"root", 0}, {"0", 0}, {"5678", 5678}, {"987654", 987654},
		{"4294967294", 4294967294U}};
	struct conf conf = configuration();
	struct redirect_error error;
	struct rules rules;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		snprintf(conf.kuma_dp_user, sizeof conf.kuma_dp_user, "%s", cases[i].user);
		assert_int_equal(rules_compile(&rules, &conf, NULL, 0, &error), 0);
		assert_true(rules.has_uid);
		assert_int_equal(rules.uid, cases[i].uid);
	}
}

static void an_unknown_user_is_an_error_that_names_it(void **state)
{
	static const char *const users[] = {
		"no-such-user", "4294967295", "99999999999999999999999", "12x", "-1", " 1"};
	struct conf conf = configuration();
	struct redirect_error error;
	struct rules rules;

	(void)state;
	for (size_t i = 0; i < sizeof users / sizeof *users; i++) {
		snprintf(conf.kuma_dp_user, sizeof conf.kuma_dp_user, "%s", users[i]);
		assert_int_equal(rules_compile(&rules, &conf, NULL, 0, &error), -ENOENT);
		assert_non_null(strstr(error.text, users[i]));
		assert_non_null(strstr(error.text, "kumaDPUser"));
	}
}

/** 5678 where it exists, else the user kuma-dp, else nobody. */
static void without_a_user_kumas_is_looked_for(void **state)
{
	const struct conf conf = configuration();
	const bool by_uid = getpwuid(5678) != NULL;
	const struct passwd *by_name = getpwnam("kuma-dp");
	struct redirect_error error;
	struct rules rules;

	(void)state;
	assert_int_equal(rules_compile(&rules, &conf, NULL, 0, &error), 0);
	assert_int_equal(rules.has_uid, by_uid || by_name);
	if (by_uid) {
		assert_int_equal(rules.uid, 5678);
	} else if (by_name) {
		assert_int_equal(rules.uid, by_name->pw_uid);
	}
}

static void servers_of_before_are_no_change(void **state)
{
	const struct endpoint two[] = {server("192.0.2.1"), server("[2001:db8::1]:5353")};
	const struct endpoint turned[] = {two[1], two[0], two[1]};
	const struct endpoint other[] = {two[0], server("192.0.2.2")};
	struct rules rules = {.ipv4 = true};

	(void)state;
	assert_true(rules_set_servers(&rules, two, 2));
	assert_false(rules_set_servers(&rules, two, 2));
	assert_false(rules_set_servers(&rules, turned, 3));
	assert_int_equal(rules.server_count, 2);
	assert_true(rules_set_servers(&rules, other, 2));
	assert_true(rules_set_servers(&rules, other, 1));
	assert_int_equal(rules.server_count, 1);
	assert_true(rules_set_servers(&rules, NULL, 0));
	assert_true(rules.ipv4);
}

static void rules_are_described_in_one_line(void **state)
{
	struct rules rules = {.ipv4 = true, .ipv6 = true, .capture_all = true, .port = 15053};
	char text[256];

	(void)state;
	assert_string_equal(redirect_describe(&rules, text, sizeof text),
		"all of port 53, IPv4 and IPv6, UDP and TCP, to port 15053");
	rules.ipv6 = false;
	rules.has_uid = true;
	rules.uid = 5678;
	assert_string_equal(redirect_describe(&rules, text, sizeof text),
		"all of port 53, IPv4, UDP and TCP, to port 15053, except of UID 5678");
	rules = (struct rules){.ipv4 = true, .ipv6 = true, .port = 53};
	rules.server[rules.server_count++] = server("192.0.2.1");
	rules.server[rules.server_count++] = server("2001:db8::1");
	assert_string_equal(redirect_describe(&rules, text, sizeof text),
		"192.0.2.1:53, [2001:db8::1]:53, UDP and TCP, to port 53");
	rules.udp_only = true;
	assert_string_equal(redirect_describe(&rules, text, sizeof text),
		"192.0.2.1:53, [2001:db8::1]:53, UDP, to port 53");
	rules.udp_only = false;
	rules.fail_closed = true;
	assert_string_equal(redirect_describe(&rules, text, sizeof text),
		"192.0.2.1:53, [2001:db8::1]:53, UDP and TCP, to port 53; stays when this ends");
	rules.fail_closed = false;
	assert_int_equal(inet_pton(AF_INET6, "fe80::1", &rules.server[1].in6.sin6_addr), 1);
	assert_string_equal(redirect_describe(&rules, text, sizeof text),
		"192.0.2.1:53, UDP and TCP, to port 53");
	rules.server[1] = server("2001:db8::1");
	rules.ipv6 = false;
	assert_string_equal(redirect_describe(&rules, text, sizeof text),
		"192.0.2.1:53, UDP and TCP, to port 53");
	rules.server_count = 0;
	assert_string_equal(
		redirect_describe(&rules, text, sizeof text), "nothing, UDP and TCP, to port 53");
}

static void a_description_is_cut_where_it_does_not_fit(void **state)
{
	const struct rules rules = {.ipv4 = true, .ipv6 = true, .capture_all = true, .port = 15053};
	char text[32];

	(void)state;
	memset(text, '#', sizeof text);
	redirect_describe(&rules, text, 15);
	assert_string_equal(text, "all of port 53");
	assert_int_equal(text[15], '#');
	redirect_describe(&rules, text, 1);
	assert_string_equal(text, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(configuration_becomes_rules),
		cmocka_unit_test(kumas_keys_become_rules),
		cmocka_unit_test(tcp_is_not_redirected_without_a_user),
		cmocka_unit_test(what_is_excluded_is_not_captured),
		cmocka_unit_test(a_server_is_captured_once_and_at_port_53),
		cmocka_unit_test(servers_over_the_limit_are_left_out),
		cmocka_unit_test(a_user_is_a_name_or_a_uid),
		cmocka_unit_test(an_unknown_user_is_an_error_that_names_it),
		cmocka_unit_test(without_a_user_kumas_is_looked_for),
		cmocka_unit_test(servers_of_before_are_no_change),
		cmocka_unit_test(rules_are_described_in_one_line),
		cmocka_unit_test(a_description_is_cut_where_it_does_not_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
