/* SPDX-License-Identifier: Apache-2.0 */
#include "redirect/sockets.h"

#include "redirect/redirect.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct sockets_state state;

static int reset(void **unused)
{
	(void)unused;
	memset(&state, 0, sizeof state);
	return 0;
}

static struct endpoint endpoint_of(const char *text)
{
	struct endpoint e;

	assert_int_equal(endpoint_parse(&e, text, 53), 0);
	return e;
}

/** Make these the listed servers; NULL ends them. */
static void list(const char *const *servers)
{
	struct rules rules = {.server_count = 0};

	for (; *servers; servers++) {
		rules.server[rules.server_count++] = endpoint_of(*servers);
	}
	sockets_list(&state, &rules);
}

static const struct sockets_servers *listed(void)
{
	return &state.list[state.current & 1];
}

/** The server that was asked at this address of ours, or NULL. */
static const char *original(const char *local)
{
	static char text[ENDPOINT_TEXT_SIZE];
	const struct endpoint at = endpoint_of(local);
	struct endpoint server;
	const int err = sockets_original(&state, &at, &server);

	if (err) {
		assert_int_equal(err, -ENOENT);
		return NULL;
	}
	return endpoint_format(&server, text);
}

static void every_server_has_an_alias(void **unused)
{
	(void)unused;
	list((const char *[]){"192.0.2.1", "2001:db8::1", "192.0.2.2", NULL});
	assert_int_equal(listed()->count, 3);
	assert_string_equal(original("127.107.0.1"), "192.0.2.1:53");
	assert_string_equal(original("fd6b:756d:6164:6e73::2"), "[2001:db8::1]:53");
	assert_string_equal(original("127.107.0.3"), "192.0.2.2:53");
	/* what the port is does not matter, and an IPv6 socket may say IPv4 */
	assert_string_equal(original("127.107.0.3:15053"), "192.0.2.2:53");
	assert_string_equal(original("::ffff:127.107.0.3"), "192.0.2.2:53");
}

static void other_addresses_are_no_aliases(void **unused)
{
	static const char *const cases[] = {"127.0.0.1", "127.107.0.0", "127.107.0.4",
		"127.106.0.1", "127.108.0.1", "127.107.5.0", "127.107.255.255", "10.107.0.1", "::1",
		"fd6b:756d:6164:6e73::", "fd6b:756d:6164:6e73::4", "fd6b:756d:6164:6e73::1:1",
		"fd6b:756d:6164:6e73:1::1", "fd6b:756d:6164:6e74::1", "fd6c:756d:6164:6e73::1",
		"fd6b:756d:6164:6e73::ffff:ffff"};

	(void)unused;
	list((const char *[]){"192.0.2.1", "2001:db8::1", "192.0.2.2", NULL});
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		if (original(cases[i])) {
			fail_msg("%s is %s", cases[i], original(cases[i]));
		}
	}
}

static void a_server_that_stays_keeps_its_alias(void **unused)
{
	(void)unused;
	list((const char *[]){"192.0.2.1", "192.0.2.2", NULL});
	list((const char *[]){"192.0.2.3", "192.0.2.2", NULL});
	assert_int_equal(listed()->count, 2);
	assert_int_equal(listed()->alias[0], 3);
	assert_int_equal(listed()->alias[1], 2);
	/* answers of the one that has gone may still come */
	assert_string_equal(original("127.107.0.1"), "192.0.2.1:53");
	assert_string_equal(original("127.107.0.2"), "192.0.2.2:53");
}

static void aliases_are_given_out_again_but_for_those_in_use(void **unused)
{
	char changing[] = "192.0.2.100";

	(void)unused;
	for (unsigned i = 0; i < 3 * SOCKETS_LISTED; i++) {
		changing[9] = (char)('0' + i / 10 % 10);
		changing[10] = (char)('0' + i % 10);
		list((const char *[]){"192.0.2.1", changing, NULL});
		assert_int_equal(listed()->alias[0], 1);
		assert_in_range(listed()->alias[1], 2, SOCKETS_LISTED - 1);
		assert_string_equal(original("127.107.0.1"), "192.0.2.1:53");
	}
}

static void what_a_reader_uses_is_not_written_to(void **unused)
{
	(void)unused;
	list((const char *[]){"192.0.2.1", NULL});
	const struct sockets_servers *before = listed();
	const struct sockets_servers copy = *before;
	list((const char *[]){"192.0.2.2", "192.0.2.3", NULL});
	assert_ptr_not_equal(listed(), before);
	assert_memory_equal(before, &copy, sizeof copy);
}

/** Others write the state as well. */
static void a_count_beyond_the_list_is_not_believed(void **unused)
{
	const char *const servers[] = {"192.0.2.1", NULL};

	(void)unused;
	state.list[0].count = UINT32_MAX;
	list(servers);
	assert_int_equal(listed()->count, 1);
	assert_string_equal(original("127.107.0.1"), "192.0.2.1:53");
}

static void rules_become_configuration(void **unused)
{
	const struct rules rules = {.ipv4 = true,
		.capture_all = true,
		.has_uid = true,
		.uid = 5678,
		.mark = 7,
		.port = 15053};
	struct sockets_config config;

	(void)unused;
	sockets_configure(&config, &rules);
	assert_int_equal(config.mark, 7);
	assert_int_equal(config.uid, 5678);
	assert_int_equal(config.port, htons(15053));
	assert_int_equal(config.other_port, config.port);
	assert_true(config.ipv4 && !config.ipv6 && config.capture_all && config.has_uid);
	assert_int_equal(config.networks_count, 0);
	assert_int_equal(config.users_count, 0);
}

static void other_servers_may_have_a_port_of_their_own(void **unused)
{
	const struct rules rules = {.port = 15053, .other_port = 15054};
	struct sockets_config config;

	(void)unused;
	sockets_configure(&config, &rules);
	assert_int_equal(config.other_port, htons(15054));
}

static void users_are_excluded_where_port_53_is(void **unused)
{
	struct rules rules = {.port = 15053};
	struct sockets_config config;

	(void)unused;
	assert_int_equal(exclusions_add(&rules.outbound.exclude_uids,
				 "1000-2000,tcp:1-52:3000,tcp:53:4000,udp:50-60:5000"),
		0);
	sockets_configure(&config, &rules);
	assert_int_equal(config.users_count, 3);
	assert_true(config.users[0].udp && config.users[0].tcp);
	assert_int_equal(config.users[0].first, 1000);
	assert_int_equal(config.users[0].last, 2000);
	assert_true(!config.users[1].udp && config.users[1].tcp);
	assert_int_equal(config.users[1].first, 4000);
	assert_true(config.users[2].udp && !config.users[2].tcp);
}

static void networks_are_masks(void **unused)
{
	static const struct {
		const char *text;
		uint32_t address[4];
		uint32_t mask[4];
	} cases[] = {
		{"10.1.0.0/16", {0, 0, 0xffff, 0x0a010000}, {~0u, ~0u, ~0u, 0xffff0000}},
		{"10.1.2.3/32", {0, 0, 0xffff, 0x0a010203}, {~0u, ~0u, ~0u, ~0u}},
		{"0.0.0.0/0", {0, 0, 0xffff, 0}, {~0u, ~0u, ~0u, 0}},
		{"10.64.0.0/11", {0, 0, 0xffff, 0x0a400000}, {~0u, ~0u, ~0u, 0xffe00000}},
		{"fd00::/9", {0xfd000000, 0, 0, 0}, {0xff800000, 0, 0, 0}},
		{"::/0", {0, 0, 0, 0}, {0, 0, 0, 0}},
	};

	(void)unused;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct rules rules = {.port = 15053};
		struct sockets_config config;
		assert_int_equal(networks_add(&rules.outbound.exclude_ips, cases[i].text), 0);
		sockets_configure(&config, &rules);
		assert_int_equal(config.networks_count, 1);
		for (unsigned w = 0; w < 4; w++) {
			assert_int_equal(
				ntohl(config.network[0].address.word[w]), cases[i].address[w]);
			assert_int_equal(ntohl(config.network[0].mask.word[w]), cases[i].mask[w]);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(every_server_has_an_alias, reset),
		cmocka_unit_test_setup(other_addresses_are_no_aliases, reset),
		cmocka_unit_test_setup(a_server_that_stays_keeps_its_alias, reset),
		cmocka_unit_test_setup(aliases_are_given_out_again_but_for_those_in_use, reset),
		cmocka_unit_test_setup(what_a_reader_uses_is_not_written_to, reset),
		cmocka_unit_test_setup(a_count_beyond_the_list_is_not_believed, reset),
		cmocka_unit_test_setup(rules_become_configuration, reset),
		cmocka_unit_test_setup(other_servers_may_have_a_port_of_their_own, reset),
		cmocka_unit_test_setup(users_are_excluded_where_port_53_is, reset),
		cmocka_unit_test_setup(networks_are_masks, reset),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
