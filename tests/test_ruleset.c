/* SPDX-License-Identifier: Apache-2.0
 *
 * The ruleset of a set of rules, as text: which rules, in which chain, in which order. That the
 * kernel gets the same is seen in test_nftables.c.
 */
#include "redirect/redirect.h"
#include "redirect/ruleset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct rules rules;
static struct ruleset set;
static char *text;

static int set_up(void **state)
{
	(void)state;
	rules = (struct rules){.mark = 0x6b64,
		.port = 15053,
		.zones = true,
		.capture_all = true,
		.has_uid = true,
		.uid = 5678,
		.tcp6 = true,
		.inbound.port = 15006,
		.outbound.port = 15001};
	text = NULL;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	free(text);
	return 0;
}

/** What is between the braces of a chain, without its first line; "" where there is none. */
static const char *chain(const char *name)
{
	char begin[64];
	char *at;
	char *end;
	size_t size;
	FILE *out;

	free(text);
	out = open_memstream(&text, &size);
	ruleset_compile(&set, &rules, RULESET_LASTING);
	ruleset_print(&set, "t", out);
	fclose(out);
	snprintf(begin, sizeof begin, "\tchain %s {\n", name);
	at = strstr(text, begin);
	if (!at) {
		return "";
	}
	at += strlen(begin);
	end = strstr(at, "\t}\n");
	assert_non_null(end);
	*end = '\0';
	return strncmp(at, "\t\ttype ", 7) == 0 ? strchr(at, '\n') + 1 : at;
}

#define LINE(rule) "\t\t" rule "\n"
static const char OURS[] = LINE("meta mark 0x6b64 return");

static void nothing_asked_for_is_nothing_done(void **state)
{
	(void)state;
	assert_string_equal(
		chain("nat_out"), "\t\tmeta mark 0x6b64 return\n\t\tmeta skuid 5678 return\n");
	assert_string_equal(chain("raw_out"), "");
	assert_string_equal(chain("nat_in"), "");
	assert_string_equal(chain("outbound"), "");
	assert_string_equal(chain("invalid_in"), "");
}

static void outbound_is_decided_in_kumas_order(void **state)
{
	(void)state;
	rules.outbound.enabled = true;
	rules.inbound.enabled = true;
	assert_int_equal(ports_add(&rules.outbound.exclude, "80"), 0);
	assert_int_equal(ports_add(&rules.outbound.exclude, "443"), 0);
	assert_string_equal(chain("outbound"),
		LINE("meta l4proto tcp th dport { 80, 443 } return") LINE(
			"oifname \"lo\" ip saddr 127.0.0.6/32 return")
			LINE("oifname \"lo\" ip6 saddr ::6/128 return") LINE(
				"oifname \"lo\" ip daddr != 127.0.0.1/32 meta skuid 5678 meta "
				"l4proto tcp "
				"redirect to :15006") LINE("oifname \"lo\" ip6 daddr != ::1/128 "
							   "meta skuid 5678 meta l4proto tcp "
							   "redirect to :15006")
				LINE("oifname \"lo\" meta skuid != 5678 return")
					LINE("meta skuid 5678 return") LINE(
						"ip daddr 127.0.0.1/32 return")
						LINE("ip6 daddr ::1/128 return") LINE(
							"meta l4proto tcp redirect to :15001"));
	assert_string_equal(chain("nat_in"), LINE("meta l4proto tcp redirect to :15006"));
	rules.inbound.enabled = false;
	rules.tcp6 = false;
	assert_string_equal(chain("outbound"),
		LINE("meta l4proto tcp th dport { 80, 443 } return") LINE(
			"oifname \"lo\" ip saddr 127.0.0.6/32 return")
			LINE("oifname \"lo\" meta skuid != 5678 return") LINE(
				"meta skuid 5678 return") LINE("ip daddr 127.0.0.1/32 return")
				LINE("meta nfproto ipv4 meta l4proto tcp redirect to :15001"));
}

static void included_ports_leave_excluded_ones_without_effect(void **state)
{
	(void)state;
	rules.inbound.enabled = true;
	assert_int_equal(ports_add(&rules.inbound.exclude, "80"), 0);
	assert_string_equal(chain("nat_in"), LINE("meta l4proto tcp th dport 80 return")
						     LINE("meta l4proto tcp redirect to :15006"));
	assert_int_equal(ports_add(&rules.inbound.include, "8080"), 0);
	assert_string_equal(
		chain("nat_in"), LINE("meta l4proto tcp th dport 8080 redirect to :15006"));
	rules.outbound = rules.inbound;
	assert_null(strstr(chain("outbound"), "th dport 80 "));
	assert_non_null(strstr(chain("outbound"), "tcp th dport 8080 redirect to :15006\n"));
}

static void dns_comes_before_other_tcp(void **state)
{
	(void)state;
	rules.outbound.enabled = true;
	rules.ipv4 = true;
	rules.ipv6 = true;
	assert_string_equal(chain("nat_out"),
		LINE("meta mark 0x6b64 return") LINE("meta skuid 5678 meta priority != 0:5 meta "
						     "l4proto tcp th dport 53 return")
			LINE("meta skuid 5678 meta priority != 0:5 meta l4proto tcp jump outbound")
				LINE("meta skuid 5678 meta priority != 0:5 return")
					LINE("ip6 daddr fe80::/64 return") LINE(
						"meta l4proto { tcp, udp } th dport 53 meta "
						"nfproto ipv4 redirect "
						"to :15053") LINE("meta l4proto { tcp, udp } th "
								  "dport 53 meta "
								  "nfproto ipv6 redirect to :15053")
						LINE("meta l4proto tcp th dport 53 return")
							LINE("meta l4proto tcp jump outbound"));
	rules.ipv4 = rules.ipv6 = rules.tcp6 = false;
	assert_string_equal(chain("nat_out"),
		LINE("meta mark 0x6b64 return")
			LINE("meta nfproto ipv4 meta skuid 5678 meta l4proto tcp jump outbound")
				LINE("meta skuid 5678 return")
					LINE("meta nfproto ipv4 meta l4proto tcp jump outbound"));
	assert_string_equal(chain("raw_out"), "");
}

/* Which server was asked is seen by the port, and need not be looked up. */
static void servers_that_are_not_listed_have_a_port_of_their_own(void **state)
{
	(void)state;
	rules.ipv4 = true;
	rules.has_uid = false;
	rules.other_port = 15054;
	assert_string_equal(chain("nat_out"),
		LINE("meta mark 0x6b64 return") LINE(
			"meta l4proto { tcp, udp } th dport 53 ip daddr @ns4 redirect to :15053")
			LINE("meta l4proto { tcp, udp } th dport 53 meta nfproto ipv4 "
			     "redirect to :15054"));
	assert_string_equal(chain("raw_out"),
		LINE("meta mark 0x6b64 return") LINE(
			"oifname \"lo\" meta l4proto { tcp, udp } th sport 15053 ct zone set 2")
			LINE("oifname \"lo\" meta l4proto { tcp, udp } th dport 15053 ct zone "
			     "set 2") LINE("oifname \"lo\" icmp type destination-unreachable "
					   "@th,240,16 15053 ct zone set 2")
				LINE("oifname \"lo\" meta l4proto { tcp, udp } th sport 15054 "
				     "ct zone set 2") LINE("oifname \"lo\" meta l4proto { "
							   "tcp, udp } th dport 15054 ct "
							   "zone set 2")
					LINE("oifname \"lo\" icmp type "
					     "destination-unreachable @th,240,16 15054 ct "
					     "zone set 2")
						LINE("meta l4proto { tcp, udp } th dport 53 "
						     "meta nfproto ipv4 ct zone set 2"));
	rules.capture_all = false;
	assert_null(strstr(chain("nat_out"), "15054"));
	assert_null(strstr(chain("raw_out"), "15054"));
}

static void dns_over_tcp_can_be_left_alone(void **state)
{
	(void)state;
	rules.ipv4 = true;
	rules.udp_only = true;
	assert_int_equal(vnets_add(&rules.vnets, "br0:10.0.0.0/8"), 0);
	assert_string_equal(chain("nat_out"),
		LINE("meta mark 0x6b64 return") LINE("meta skuid 5678 meta priority != 0:5 return")
			LINE("meta l4proto udp th dport 53 meta nfproto ipv4 "
			     "redirect to :15053"));
	assert_non_null(strstr(chain("raw_out"),
		LINE("meta l4proto udp th dport 53 meta nfproto ipv4 ct zone set 2")));
	assert_string_equal(chain("nat_in"), LINE("iifname \"br0\" meta l4proto udp th dport 53 "
						  "meta nfproto ipv4 redirect to :15053"));
	rules.outbound.enabled = true;
	assert_non_null(strstr(chain("nat_out"), LINE("meta l4proto tcp th dport 53 return")
							 LINE("meta l4proto tcp jump outbound")));
}

static void what_is_excluded_has_neither_zone_nor_redirection(void **state)
{
	static const char excluded[] =
		LINE("ip daddr 10.0.0.0/8 return") LINE("meta nfproto ipv6 return") LINE(
			"meta skuid 1000-2000 return") LINE("meta skuid 7 meta l4proto tcp return")
			LINE("meta skuid 8 meta l4proto { tcp, udp } th dport 53-80 return");

	(void)state;
	rules.ipv4 = true;
	assert_int_equal(networks_add(&rules.outbound.exclude_ips, "10.0.0.0/8"), 0);
	assert_int_equal(networks_add(&rules.outbound.exclude_ips, "::/0"), 0);
	assert_int_equal(
		exclusions_add(&rules.outbound.exclude_uids, "1000-2000,tcp:*:7,53-80:8"), 0);
	assert_non_null(strstr(chain("raw_out"), excluded));
	assert_non_null(
		strstr(chain("raw_out"), "return\n\t\tmeta l4proto { tcp, udp } th dport 53 "
					 "meta nfproto ipv4 ct zone set 2\n"));
	assert_memory_equal(chain("nat_out"), OURS, sizeof OURS - 1);
	assert_memory_equal(chain("nat_out") + sizeof OURS - 1, excluded, sizeof excluded - 1);
}

/** Of Kuma's user, too: where it stands in each chain. */
static void canaries_are_redirected_whoever_sends_them(void **state)
{
	(void)state;
	rules.ipv4 = true;
	rules.outbound.enabled = true;
	assert_non_null(strstr(chain("raw_out"), LINE("meta skuid 5678 meta priority != 0:5 "
						      "return")));
	assert_null(strstr(chain("raw_out"), "skuid 5678 return"));
	assert_non_null(strstr(chain("nat_out"), LINE("meta skuid 5678 meta priority != 0:5 "
						      "return")));
	assert_null(strstr(chain("nat_out"), "skuid 5678 return"));
	assert_null(strstr(chain("nat_out"), "skuid 5678 meta l4proto"));
	/* TCP to Envoy is not what they are about */
	assert_null(strstr(chain("outbound"), "priority"));
	rules.ipv4 = false;
	assert_null(strstr(chain("nat_out"), "priority !="));
}

static void excluded_sources_are_those_of_inbound(void **state)
{
	(void)state;
	rules.inbound.enabled = true;
	assert_int_equal(networks_add(&rules.inbound.exclude_ips, "10.1.2.3"), 0);
	assert_int_equal(networks_add(&rules.inbound.exclude_ips, "fd00::/9"), 0);
	assert_string_equal(chain("nat_in"),
		LINE("ip saddr 10.1.2.3/32 return") LINE("ip6 saddr fd00::/9 return")
			LINE("meta l4proto tcp redirect to :15006"));
	assert_null(strstr(chain("nat_out"), "10.1.2.3"));
}

static void virtual_networks_come_before_inbound(void **state)
{
	(void)state;
	rules.ipv4 = true;
	rules.inbound.enabled = true;
	rules.outbound.enabled = true;
	assert_int_equal(vnets_add(&rules.vnets, "docker0:172.17.0.0/16"), 0);
	assert_int_equal(vnets_add(&rules.vnets, "br+:fd00::/64"), 0);
	assert_int_equal(vnets_add(&rules.vnets, "all:0.0.0.0/0"), 0);
	assert_string_equal(chain("nat_in"),
		LINE("iifname \"docker0\" meta l4proto { tcp, udp } th dport 53 meta nfproto ipv4 "
		     "redirect to :15053") LINE("iifname \"docker0\" ip daddr != 172.17.0.0/16 "
						"meta l4proto tcp redirect to "
						":15001")
			LINE("iifname \"br*\" ip6 daddr != fd00::/64 meta l4proto tcp redirect to "
			     ":15001") LINE("iifname \"all\" meta l4proto { tcp, udp } th dport 53 "
					    "meta nfproto ipv4 "
					    "redirect to :15053")
				LINE("meta l4proto tcp redirect to :15006"));
	rules.outbound.enabled = rules.inbound.enabled = rules.ipv4 = false;
	assert_string_equal(chain("nat_in"), "");
}

static void invalid_packets_logging_and_comments_are_options(void **state)
{
	(void)state;
	rules.drop_invalid = rules.log = true;
	assert_string_equal(chain("invalid_in"), LINE("ct state invalid drop"));
	assert_string_equal(chain("nat_in"), "");
	rules.inbound.enabled = true;
	assert_string_equal(chain("nat_in"), LINE("log prefix \"kuma-dns in: \" level debug")
						     LINE("meta l4proto tcp redirect to :15006"));
	assert_string_equal(chain("nat_out"),
		LINE("log prefix \"kuma-dns out: \" level debug") LINE("meta mark 0x6b64 return")
			LINE("meta skuid 5678 return"));
	rules.comments = true;
	assert_string_equal(
		chain("invalid_in"), LINE("ct state invalid drop comment \"invalid packets\""));
}

/** A daemon's rules decide before those that last. */
static void a_daemons_nat_is_earlier(void **state)
{
	(void)state;
	ruleset_compile(&set, &rules, RULESET_OWNED);
	assert_int_equal(ruleset_hook(&set, CHAIN_NAT_OUT).priority, -102);
	ruleset_compile(&set, &rules, RULESET_LASTING);
	assert_int_equal(ruleset_hook(&set, CHAIN_NAT_OUT).priority, -101);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(nothing_asked_for_is_nothing_done),
		test(outbound_is_decided_in_kumas_order),
		test(included_ports_leave_excluded_ones_without_effect),
		test(dns_comes_before_other_tcp),
		test(servers_that_are_not_listed_have_a_port_of_their_own),
		test(dns_over_tcp_can_be_left_alone),
		test(what_is_excluded_has_neither_zone_nor_redirection),
		test(canaries_are_redirected_whoever_sends_them),
		test(excluded_sources_are_those_of_inbound),
		test(virtual_networks_come_before_inbound),
		test(invalid_packets_logging_and_comments_are_options),
		test(a_daemons_nat_is_earlier),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
