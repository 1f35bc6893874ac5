/* SPDX-License-Identifier: Apache-2.0
 *
 * The tables themselves: the ruleset as it is documented, rules that last, servers that change,
 * rules that outlive a daemon that fails closed. nft is the independent reader.
 */
#include "tests/redirecting.h"

/* The ruleset */

/** Our table as nft lists it, without what nft -f cannot say: its owner. */
static void list_table(char *text)
{
	snprintf(text, OUTPUT_SIZE, "%s",
		output_of("nft list table inet kuma_dns |"
			  "sed -e 's/ # progname.*//' -e '/flags owner/,+1d'"));
}

static const char LISTED[] =
	"table inet kuma_dns {\n"
	" set ns4 { type ipv4_addr; elements = { 192.0.2.1 } }\n"
	" set ns6 { type ipv6_addr; elements = { 2001:db8::1 } }\n"
	" chain raw_out {\n"
	"  type filter hook output priority raw; policy accept;\n"
	"  meta mark 0x6b64 return\n"
	"  oifname lo meta l4proto { tcp, udp } th sport 15053 ct zone set 2\n"
	"  oifname lo meta l4proto { tcp, udp } th dport 15053 ct zone set 2\n"
	"  oifname lo icmp type destination-unreachable @th,240,16 15053 ct zone set 2\n"
	"  oifname lo icmpv6 type destination-unreachable @th,400,16 15053 ct zone set 2\n"
	"  meta skuid 5678 meta priority != 0:5 return\n"
	"  ip6 daddr fe80::/64 return\n"
	"  meta l4proto { tcp, udp } th dport 53 ip daddr @ns4 ct zone set 2\n"
	"  meta l4proto { tcp, udp } th dport 53 ip6 daddr @ns6 ct zone set 2\n"
	" }\n"
	" chain nat_out {\n"
	"  type nat hook output priority -102; policy accept;\n"
	"  meta mark 0x6b64 return\n"
	"  meta skuid 5678 meta priority != 0:5 return\n"
	"  ip6 daddr fe80::/64 return\n"
	"  meta l4proto { tcp, udp } th dport 53 ip daddr @ns4 redirect to :15053\n"
	"  meta l4proto { tcp, udp } th dport 53 ip6 daddr @ns6 redirect to :15053\n"
	" }\n"
	"}\n";

static const char ALL[] =
	"table inet kuma_dns {\n"
	" chain raw_out {\n"
	"  type filter hook output priority raw; policy accept;\n"
	"  meta mark 0x6b64 return\n"
	"  oifname lo meta l4proto { tcp, udp } th sport 15053 ct zone set 2\n"
	"  oifname lo meta l4proto { tcp, udp } th dport 15053 ct zone set 2\n"
	"  oifname lo icmp type destination-unreachable @th,240,16 15053 ct zone set 2\n"
	"  meta l4proto { tcp, udp } th dport 53 meta nfproto ipv4 ct zone set 2\n"
	" }\n"
	" chain nat_out {\n"
	"  type nat hook output priority -102; policy accept;\n"
	"  meta mark 0x6b64 return\n"
	"  meta l4proto { tcp, udp } th dport 53 meta nfproto ipv4 redirect to :15053\n"
	" }\n"
	"}\n";

static const char UNZONED[] =
	"table inet kuma_dns {\n"
	" set ns4 { type ipv4_addr; elements = { 192.0.2.1 } }\n"
	" set ns6 { type ipv6_addr; }\n"
	" chain nat_out {\n"
	"  type nat hook output priority -102; policy accept;\n"
	"  meta mark 0x6b64 return\n"
	"  ip6 daddr fe80::/64 return\n"
	"  meta l4proto { tcp, udp } th dport 53 ip daddr @ns4 redirect to :15053\n"
	"  meta l4proto { tcp, udp } th dport 53 ip6 daddr @ns6 redirect to :15053\n"
	" }\n"
	"}\n";

static void assert_installs(const struct rules *rules, const char *ruleset)
{
	static char expected[OUTPUT_SIZE];
	static char found[OUTPUT_SIZE];
	FILE *nft = popen("nft -f -", "w");
	struct redirect *redirect;

	assert_non_null(nft);
	fputs(ruleset, nft);
	assert_int_equal(pclose(nft), 0);
	list_table(expected);
	assert_non_null(strstr(expected, "redirect to :15053"));
	run("nft flush ruleset");
	redirect = opened(rules);
	list_table(found);
	assert_string_equal(found, expected);
	redirect_close(redirect);
}

static void the_ruleset_is_the_documented_one(void)
{
	struct rules rules;

	rules = rules_for("192.0.2.1", "2001:db8::1");
	rules.has_uid = true;
	rules.uid = 5678;
	assert_installs(&rules, LISTED);
	rules = all_rules();
	rules.ipv6 = false;
	assert_installs(&rules, ALL);
	rules = rules_for("192.0.2.1", NULL);
	rules.zones = false;
	assert_installs(&rules, UNZONED);
}

/** Rules with something in every list, and all options. */
static struct rules rich_rules(unsigned each)
{
	struct rules rules = rules_for("10.0.0.2", "fd00::2");
	char text[64];

	rules.has_uid = rules.tcp6 = rules.drop_invalid = rules.comments = rules.log = true;
	rules.uid = KUMA_UID;
	rules.inbound = (struct conf_traffic){.enabled = true, .port = 15006};
	rules.outbound = (struct conf_traffic){.enabled = true, .port = 15001};
	for (unsigned i = 1; i <= each; i++) {
		snprintf(text, sizeof text, "%u", i);
		assert_int_equal(ports_add(&rules.inbound.exclude, text), 0);
		assert_int_equal(ports_add(&rules.outbound.include, text), 0);
		snprintf(text, sizeof text, "%u-%u:%u-2000,tcp:*:%u", i, i + 1, i, i);
		assert_int_equal(exclusions_add(&rules.outbound.exclude_uids, text), 0);
		snprintf(text, sizeof text, "10.%u.0.0/%u", i, i + 8);
		assert_int_equal(networks_add(&rules.outbound.exclude_ips, text), 0);
		snprintf(text, sizeof text, "fd00:%x::/%u", i, i + 16);
		assert_int_equal(networks_add(&rules.inbound.exclude_ips, text), 0);
		snprintf(text, sizeof text, i % 2 ? "br%u+:10.0.0.0/8" : "br%u:fd00::/63", i);
		assert_int_equal(vnets_add(&rules.vnets, text), 0);
	}
	return rules;
}

/** What nft makes of our text is what we install: the table, listed, in `found`. */
static void assert_text_is_what_is_installed(const struct rules *rules)
{
	static const char list[] = "nft -s list table inet kuma_dns_installed";
	static char expected[OUTPUT_SIZE];
	struct redirect_error error;
	bool changed;
	FILE *nft = popen("nft -f -", "w");

	assert_non_null(nft);
	assert_int_equal(redirect_print(rules, nft), 0);
	assert_int_equal(pclose(nft), 0);
	snprintf(expected, sizeof expected, "%s", output_of(list));
	assert_non_null(strstr(expected, "chain nat_out"));
	run("nft flush ruleset");
	assert_int_equal(redirect_install(rules, &changed, &error), 0);
	assert_true(changed);
	assert_int_equal(redirect_install(rules, &changed, &error), 0);
	assert_false(changed);
	assert_string_equal(output_of(list), expected);
	assert_true(redirect_is_installed());
	assert_int_equal(redirect_uninstall(rules, &error), 0);
	assert_false(redirect_is_installed());
	assert_string_equal(output_of("nft list ruleset"), "");
}

static void the_text_is_what_is_installed(void)
{
	struct rules rules;

	for (unsigned each = 0; each <= 15; each += 5) {
		rules = rich_rules(each);
		assert_text_is_what_is_installed(&rules);
	}
	rules = all_rules();
	assert_text_is_what_is_installed(&rules);
}

/* Rules that last */

static void assert_installed(const struct rules *rules)
{
	struct redirect_error error;
	bool changed;

	if (redirect_install(rules, &changed, &error) != 0) {
		fail_msg("redirect_install: %s", error.text);
	}
}

static void installed_rules_outlive_a_daemon_beside_them(void)
{
	static const char *const addresses[] = {"127.0.0.1", NULL};
	struct rules rules = all_rules();
	struct redirect *redirect;

	start_server(addresses, PORT + 1, 'E');
	assert_installed(&rules);
	assert_answered_by('D', .address = "10.0.0.2");
	rules.port = PORT + 1;
	redirect = opened(&rules);
	assert_answered_by('E', .address = "10.0.0.2");
	assert_answered_by('E', .address = "10.0.0.2", .type = SOCK_STREAM);
	assert_answered_by('S', .address = "10.0.0.2", .mark = MARK);
	rules.port = PORT;
	assert_installed(&rules); /* anew, behind the daemon's */
	assert_answered_by('E', .address = "10.0.0.2");
	redirect_close(redirect);
	assert_answered_by('D', .address = "10.0.0.2");
	assert_answered_by('S', .address = "10.0.0.2", .mark = MARK);
}

static void uninstalling_leaves_the_tables_of_others(void)
{
	const struct rules rules = all_rules();
	struct redirect_error error;
	struct redirect *redirect;

	redirect = opened(&rules);
	run("nft 'add table inet kuma_dns_installed_not; add table ip kuma_dns_installed;"
	    " add table inet others'");
	assert_false(redirect_is_installed());
	assert_installed(&rules);
	assert_true(redirect_is_installed());
	assert_int_equal(redirect_uninstall(&rules, &error), 0);
	assert_int_equal(redirect_uninstall(&rules, &error), 0);
	assert_string_equal(output_of("nft list tables | sort"),
		"table inet kuma_dns\ntable inet kuma_dns_installed_not\ntable inet others\n"
		"table ip kuma_dns_installed\n");
	redirect_close(redirect);
}

static void a_refused_install_leaves_what_was_there(void)
{
	struct rules rules = all_rules();
	struct redirect_error error;
	bool changed;
	char before[OUTPUT_SIZE];

	assert_installed(&rules);
	snprintf(before, sizeof before, "%s", output_of("nft list ruleset"));
	rules.outbound.enabled = true;
	rules.outbound.port = 0; /* no comparison with it: the kernel takes it */
	assert_int_equal(vnets_add(&rules.vnets, "br+:10.0.0.0/8"), 0);
	rules.vnets.item[0].interface[0] = '+'; /* a comparison with nothing: it does not */
	assert_true(redirect_install(&rules, &changed, &error) < 0);
	assert_non_null(strstr(error.text, "refused rule message"));
	assert_string_equal(output_of("nft list ruleset"), before);
}

static void sixteen_servers_of_one_family_fit(void)
{
	struct rules rules;
	struct redirect *redirect;

	rules = rules_for(NULL, NULL);
	for (unsigned i = 0; i < RULES_SERVERS_MAX; i++) {
		struct endpoint *e = &rules.server[rules.server_count++];
		assert_int_equal(endpoint_parse(e, "2001:db8::1", 53), 0);
		e->in6.sin6_addr.s6_addr[14] = (uint8_t)(i / 2); /* each twice */
	}
	redirect = opened(&rules);
	assert_non_null(strstr(output_of("nft list set inet kuma_dns ns6"), "2001:db8::701"));
	redirect_close(redirect);
}

static void installing_is_quick(void)
{
	const struct rules rules = all_rules();
	struct timespec before;
	struct timespec after;
	struct redirect *redirect;
	double ms;

	redirect_close(opened(&rules)); /* loads modules */
	clock_gettime(CLOCK_MONOTONIC, &before);
	redirect = opened(&rules);
	clock_gettime(CLOCK_MONOTONIC, &after);
	ms = (double)(after.tv_sec - before.tv_sec) * 1e3 +
	     (double)(after.tv_nsec - before.tv_nsec) / 1e6;
	print_message("installed in %.2f ms\n", ms);
	assert_true(ms < 500); /* about 1 ms, and a pass over all flows */
	redirect_close(redirect);
}

static void list_installed(char *text)
{
	snprintf(text, OUTPUT_SIZE, "%s", output_of("nft -a list table inet kuma_dns_installed"));
}

/** Handles are those of before: nothing was made anew, so the kernel does not wait. */
static void what_is_installed_already_stays(void)
{
	static char before[OUTPUT_SIZE];
	static char after[OUTPUT_SIZE];
	struct rules rules;

	for (unsigned each = 0; each <= 15; each += 15) {
		rules = rich_rules(each);
		assert_installed(&rules);
		list_installed(before);
		assert_installed(&rules);
		list_installed(after);
		assert_string_equal(after, before);
	}
	rules.comments = false;
	assert_installed(&rules);
	list_installed(before);
	assert_null(strstr(before, "comment"));
	assert_installed(&rules);
	list_installed(after);
	assert_string_equal(after, before);
}

/** What somebody did to it is undone, whatever it was. */
static void what_is_not_as_it_was_installed_is_installed_anew(void)
{
	static const char *const deeds[] = {
		"flush chain inet kuma_dns_installed nat_out",
		"add rule inet kuma_dns_installed nat_out accept",
		"insert rule inet kuma_dns_installed nat_out accept",
		"insert rule inet kuma_dns_installed raw_out accept comment \"one with a comment\"",
		"add chain inet kuma_dns_installed another",
		"add chain inet kuma_dns_installed raw_out { policy drop; }",
		"add element inet kuma_dns_installed ns4 { 10.0.0.9 }",
		"delete element inet kuma_dns_installed ns4 { 10.0.0.2 }",
		"flush set inet kuma_dns_installed ns6",
		"add table inet kuma_dns_installed { flags dormant; }",
		"delete table inet kuma_dns_installed",
	};
	static char before[OUTPUT_SIZE];
	const struct rules rules = rules_for("10.0.0.2", "fd00::2");
	char command[256];

	assert_installed(&rules);
	snprintf(before, sizeof before, "%s", output_of("nft list ruleset"));
	for (unsigned i = 0; i < sizeof deeds / sizeof *deeds; i++) {
		snprintf(command, sizeof command, "nft '%s'", deeds[i]);
		run(command);
		assert_string_not_equal(output_of("nft list ruleset"), before);
		assert_installed(&rules);
		assert_string_equal(output_of("nft list ruleset"), before);
	}
}

static void a_rule_that_is_gone_or_elsewhere_is_noticed(void)
{
	static char before[OUTPUT_SIZE];
	const struct rules rules = rich_rules(2);
	const struct {
		const char *which; /* rule of the chain, as sed says it */
		const char *again; /* where another one is put; NULL: nowhere */
	} moves[] = {{"1p", "add"}, {"$p", "insert"}, {"2p", NULL}};
	char command[512];

	assert_installed(&rules);
	snprintf(before, sizeof before, "%s", output_of("nft list ruleset"));
	for (unsigned i = 0; i < sizeof moves / sizeof *moves; i++) {
		snprintf(command, sizeof command,
			"line=$(nft -a list chain inet kuma_dns_installed nat_out | grep handle |"
			" sed 1,2d | sed -n '%s');"
			"nft delete rule inet kuma_dns_installed nat_out handle ${line##* }",
			moves[i].which);
		run(command);
		if (moves[i].again) {
			snprintf(command, sizeof command,
				"nft '%s rule inet kuma_dns_installed nat_out return'",
				moves[i].again);
			run(command);
		}
		assert_string_not_equal(output_of("nft list ruleset"), before);
		assert_installed(&rules);
		assert_string_equal(output_of("nft list ruleset"), before);
	}
}

/** A daemon may have changed them meanwhile: the rules are those of before, the servers are not. */
static void servers_that_changed_in_place_are_installed_again(void)
{
	static char before[OUTPUT_SIZE];
	static char changed[OUTPUT_SIZE];
	static char after[OUTPUT_SIZE];
	const struct rules first = rules_for("10.0.0.2", NULL);
	const struct rules second = rules_for("10.0.0.3", "fd00::2");
	struct redirect_error error;

	assert_installed(&first);
	snprintf(before, sizeof before, "%s", output_of("nft list ruleset"));
	assert_int_equal(redirect_set_installed_servers(&first, &second, &error), 0);
	list_installed(changed);
	assert_installed(&second); /* which they are */
	list_installed(after);
	assert_string_equal(after, changed);
	assert_installed(&first);
	assert_string_equal(output_of("nft list ruleset"), before);
}

/* Servers that change */

static void set_servers(struct redirect *redirect, const struct rules *rules)
{
	struct redirect_error error;

	if (redirect_set_servers(redirect, rules, &error) != 0) {
		fail_msg("redirect_set_servers: %s", error.text);
	}
}

/** The table with its handles, which a new one would not have, without its servers. */
static void list_handles(char *text)
{
	snprintf(text, OUTPUT_SIZE, "%s",
		output_of("nft -a list table inet kuma_dns | grep -v 'elements ='"));
}

static void servers_are_followed(bool zones)
{
	struct rules rules = rules_for("10.0.0.2", NULL);
	const struct question first = {.address = "10.0.0.2"};
	const struct question second = {.address = "10.0.0.3"};
	const struct question third = {.address = "fd00::2"};
	const int lasting[] = {application(&first), application(&second), application(&third)};
	static char before[OUTPUT_SIZE];
	static char after[OUTPUT_SIZE];
	struct redirect *redirect;

	rules.zones = zones;
	redirect = opened(&rules);
	list_handles(before);
	assert_int_equal(ask_on(lasting[0], &first), 'D');
	assert_int_equal(ask_on(lasting[1], &second), 'S');
	assert_int_equal(ask_on(lasting[2], &third), 'S');
	rules = rules_for("10.0.0.3", "fd00::2");
	rules.zones = zones;
	set_servers(redirect, &rules);
	assert_int_equal(ask_on(lasting[0], &first), 'S');
	assert_int_equal(ask_on(lasting[1], &second), 'D');
	assert_int_equal(ask_on(lasting[2], &third), 'D');
	assert_answered_by('D', .address = "fd00::2", .type = SOCK_STREAM);
	rules = rules_for("10.0.0.2", NULL);
	rules.zones = zones;
	set_servers(redirect, &rules);
	assert_int_equal(ask_on(lasting[0], &first), 'D');
	assert_int_equal(ask_on(lasting[1], &second), 'S');
	assert_int_equal(ask_on(lasting[2], &third), 'S');
	list_handles(after);
	assert_string_equal(after, before);
	redirect_close(redirect);
	for (unsigned i = 0; i < 3; i++) {
		close(lasting[i]);
	}
}

static void servers_change_without_another_table(void)
{
	start_name_server_beside_others();
	start_daemon();
	servers_are_followed(true);
	servers_are_followed(false);
}

/** Without zones a flow is forgotten only where its server changes: others may be in progress. */
static void flows_to_servers_that_stay_are_remembered(void)
{
	struct rules rules = rules_for("10.0.0.2", NULL);
	struct redirect *redirect;

	start_name_server_beside_others();
	start_daemon();
	rules.zones = false;
	redirect = opened(&rules);
	assert_answered_by('D', .address = "10.0.0.2");
	assert_answered_by('S', .address = "10.0.0.3", .mark = MARK);
	assert_answered_by('S', .address = "fd00::2", .mark = MARK);
	rules = rules_for("10.0.0.2", "fd00::2");
	rules.zones = false;
	set_servers(redirect, &rules);
	assert_non_null(strstr(output_of("conntrack -L 2>/dev/null"), "dst=10.0.0.2"));
	assert_non_null(strstr(output_of("conntrack -L 2>/dev/null"), "dst=10.0.0.3"));
	assert_null(strstr(output_of("conntrack -L -f ipv6 2>/dev/null"), "dst=fd00::2 "));
	redirect_close(redirect);
}

static void no_set_of_servers_is_none_to_change(void)
{
	struct rules rules = all_rules();
	struct redirect *redirect;

	redirect = opened(&rules);
	assert_int_equal(endpoint_parse(&rules.server[rules.server_count++], "10.0.0.2", 53), 0);
	set_servers(redirect, &rules);
	redirect_close(redirect);
}

static void installed_rules_get_other_servers(void)
{
	const struct rules before = rules_for("10.0.0.2", NULL);
	const struct rules now = rules_for("10.0.0.3", "fd00::2");
	struct rules only4 = before;
	struct redirect_error error;

	assert_int_equal(redirect_set_installed_servers(&before, &now, &error), -ENOENT);
	assert_string_equal(output_of("nft list ruleset"), "");
	assert_installed(&before);
	assert_int_equal(redirect_set_installed_servers(&before, &now, &error), 0);
	assert_answered_by('S', .address = "10.0.0.2");
	assert_answered_by('D', .address = "10.0.0.3");
	assert_answered_by('D', .address = "fd00::2");
	only4.ipv6 = false;
	assert_installed(&only4);
	assert_int_equal(redirect_set_installed_servers(&before, &now, &error), 0);
	assert_answered_by('D', .address = "10.0.0.3");
	assert_answered_by('S', .address = "fd00::2");
	only4.capture_all = true;
	assert_installed(&only4);
	assert_int_equal(redirect_set_installed_servers(&before, &now, &error), -ENOENT);
}

/* Failing closed */

static struct rules closed_rules(void)
{
	struct rules rules = rules_for("10.0.0.2", NULL);

	rules.fail_closed = true;
	return rules;
}

static void rules_that_fail_closed_stay(int signal)
{
	const struct rules rules = closed_rules();
	const struct rules open = rules_for("10.0.0.2", NULL);
	struct redirect *redirect;
	pid_t daemon = start_daemon();

	stop_by(start_owner(&rules), signal);
	assert_answered_by('D', .address = "10.0.0.2");
	stop(daemon);
	assert_int_equal(ask_connected("10.0.0.2", 53), 'r');
	assert_answered_by('r', .address = "10.0.0.2", .type = SOCK_STREAM);
	daemon = start_daemon();
	redirect = opened(&rules);
	assert_answered_by('D', .address = "10.0.0.2");
	redirect_withdraw(redirect);
	assert_answered_by('D', .address = "10.0.0.2");
	redirect_close(redirect);
	assert_answered_by('D', .address = "10.0.0.2");
	assert_string_equal(output_of("nft list tables"), "table inet kuma_dns_closed\n");
	assert_true(redirect_is_installed());
	redirect = opened(&open); /* the next one fails open: it is the last word */
	assert_string_equal(output_of("nft list tables"), "table inet kuma_dns\n");
	redirect_close(redirect);
	assert_answered_by('S', .address = "10.0.0.2");
	stop(daemon);
}

static void rules_can_outlive_their_daemon(void)
{
	start_name_server();
	rules_that_fail_closed_stay(SIGTERM);
	rules_that_fail_closed_stay(SIGKILL);
}

static void a_lasting_socket_follows_to_another_port(void)
{
	struct rules rules = closed_rules();
	const struct question q = {.address = "10.0.0.2"};
	static const char *const addresses[] = {"127.0.0.1", NULL};
	struct redirect *redirect;
	int fd;

	start_name_server_beside_others();
	start_daemon();
	start_server(addresses, PORT + 1, 'E');
	redirect_close(opened(&rules));
	fd = application(&q);
	assert_int_equal(ask_on(fd, &q), 'D');
	rules.port = PORT + 1;
	redirect = opened(&rules);
	assert_int_equal(ask_on(fd, &q), 'E');
	redirect_close(redirect);
	close(fd);
}

static void rules_that_fail_closed_are_uninstalled(void)
{
	const struct rules rules = closed_rules();
	struct redirect_error error;

	redirect_close(opened(&rules));
	assert_answered_by('D', .address = "10.0.0.2");
	assert_int_equal(redirect_uninstall(&rules, &error), 0);
	assert_string_equal(output_of("nft list ruleset"), "");
	assert_answered_by('S', .address = "10.0.0.2");
}

static void rules_that_fail_closed_get_other_servers(void)
{
	struct rules rules = closed_rules();
	struct redirect *redirect;

	redirect = opened(&rules);
	assert_int_equal(endpoint_parse(&rules.server[0], "10.0.0.3", 53), 0);
	set_servers(redirect, &rules);
	redirect_close(redirect);
	assert_answered_by('S', .address = "10.0.0.2");
	assert_answered_by('D', .address = "10.0.0.3");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_namespace(the_ruleset_is_the_documented_one),
		in_namespace(the_text_is_what_is_installed),
		with_servers(installed_rules_outlive_a_daemon_beside_them),
		in_namespace(uninstalling_leaves_the_tables_of_others),
		in_namespace(a_refused_install_leaves_what_was_there),
		in_namespace(what_is_installed_already_stays),
		in_namespace(what_is_not_as_it_was_installed_is_installed_anew),
		in_namespace(a_rule_that_is_gone_or_elsewhere_is_noticed),
		in_namespace(servers_that_changed_in_place_are_installed_again),
		in_namespace(sixteen_servers_of_one_family_fit),
		in_namespace(installing_is_quick),
		in_namespace(servers_change_without_another_table),
		in_namespace(flows_to_servers_that_stay_are_remembered),
		in_namespace(no_set_of_servers_is_none_to_change),
		with_servers(installed_rules_get_other_servers),
		in_namespace(rules_can_outlive_their_daemon),
		in_namespace(a_lasting_socket_follows_to_another_port),
		with_servers(rules_that_fail_closed_are_uninstalled),
		with_servers(rules_that_fail_closed_get_other_servers),
	};

	return cmocka_run_group_tests(tests, enter_user_namespace, NULL);
}
