/* SPDX-License-Identifier: Apache-2.0
 *
 * The rules of a daemon at work: whose they are, what they capture, what becomes of flows. nft and
 * conntrack are the independent readers.
 */
#include "tests/redirecting.h"

/* Ownership */

static void nobody_else_can_remove_the_table(void)
{
	const struct rules rules = all_rules();
	struct redirect *redirect;

	redirect = opened(&rules);
	assert_string_equal(redirect_table(redirect), "kuma_dns");
	assert_non_null(strstr(output_of("nft list ruleset"), "flags owner"));
	assert_int_not_equal(system("nft delete table inet kuma_dns 2>/dev/null"), 0);
	run("nft flush ruleset");
	assert_non_null(strstr(output_of("nft list ruleset"), "redirect to :15053"));
	redirect_close(redirect);
	assert_string_equal(output_of("nft list ruleset"), "");
}

static void a_killed_process_leaves_no_table(void)
{
	const struct rules rules = all_rules();
	pid_t owner;

	owner = start_owner(&rules);
	assert_non_null(strstr(output_of("nft list ruleset"), "flags owner"));
	stop(owner);
	assert_string_equal(output_of("nft list ruleset"), "");
}

static void a_table_that_nobody_owns_is_replaced(void)
{
	const struct rules rules = all_rules();
	struct redirect *redirect;

	run("nft 'add table inet kuma_dns; add chain inet kuma_dns old { type filter hook output "
	    "priority 0; policy drop; }'");
	redirect = opened(&rules);
	assert_string_equal(redirect_table(redirect), "kuma_dns");
	assert_null(strstr(output_of("nft list ruleset"), "chain old"));
	assert_non_null(strstr(output_of("nft list ruleset"), "flags owner"));
	redirect_close(redirect);
}

static void eight_daemons_have_tables_and_the_ninth_an_error(void)
{
	const struct rules rules = all_rules();
	struct redirect *redirect[8];
	struct redirect *ninth;
	struct redirect_error error;

	for (unsigned i = 0; i < 8; i++) {
		redirect[i] = opened(&rules);
	}
	assert_string_equal(redirect_table(redirect[1]), "kuma_dns_2");
	assert_string_equal(redirect_table(redirect[7]), "kuma_dns_8");
	assert_int_equal(redirect_open(&ninth, &rules, &error), -EBUSY);
	assert_non_null(strstr(error.text, "another process owns"));
	redirect_close(redirect[3]);
	redirect[3] = opened(&rules);
	assert_string_equal(redirect_table(redirect[3]), "kuma_dns_4");
	for (unsigned i = 0; i < 8; i++) {
		redirect_close(redirect[i]);
	}
}

/** Ask without pause, on new sockets and on one that lasts; report if an answer is not D. */
static void ask_until_told(int told, int report)
{
	const struct question q = {.address = "10.0.0.2"};
	const int lasting = application(&q);
	struct pollfd p = {.fd = told, .events = POLLIN};
	char verdict = 'k';

	tell(report, 'r');
	while (poll(&p, 1, 0) == 0) {
		if (ask(q) != 'D' || ask_on(lasting, &q) != 'D') {
			verdict = 'l';
		}
	}
	tell(report, verdict);
	_exit(0);
}

/** @param signal  what ends the first daemon */
static void replace_without_a_gap(int signal)
{
	const struct rules rules = rules_for("10.0.0.2", NULL);
	int told[2];
	int report[2];
	struct redirect *second;
	pid_t first;

	start_name_server();
	start_daemon();
	first = start_owner(&rules);
	assert_int_equal(pipe(told), 0);
	assert_int_equal(pipe(report), 0);
	if (start() == 0) {
		ask_until_told(told[0], report[1]);
	}
	await(report[0], 'r');
	second = opened(&rules);
	assert_string_equal(redirect_table(second), "kuma_dns_2");
	stop_by(first, signal);
	for (unsigned i = 0; i < 50; i++) {
		assert_answered_by('D', .address = "10.0.0.2");
	}
	assert_null(strstr(output_of("nft list ruleset"), "table inet kuma_dns {"));
	tell(told[1], '.');
	await(report[0], 'k');
	redirect_close(second);
	assert_answered_by('S', .address = "10.0.0.2");
	close(told[0]);
	close(told[1]);
	close(report[0]);
	close(report[1]);
}

static void a_second_start_replaces_a_first_that_stops_without_a_gap(void)
{
	replace_without_a_gap(SIGTERM);
}

static void a_second_start_replaces_a_first_that_is_killed_without_a_gap(void)
{
	replace_without_a_gap(SIGKILL);
}

static void without_the_capability_the_error_says_so(void)
{
	const struct rules rules = all_rules();
	struct redirect *redirect;
	struct redirect_error error;
	int status;
	pid_t pid;

	pid = fork();
	if (pid == 0) {
		/* The network namespace stays with the user namespace that we leave. */
		_exit(unshare(CLONE_NEWUSER) == 0 &&
					redirect_open(&redirect, &rules, &error) == -EPERM &&
					strstr(error.text, "CAP_NET_ADMIN")
				? 0
				: 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_string_equal(output_of("nft list ruleset"), "");
}

/* Capture */

static void udp_and_tcp_of_both_families_are_captured(void)
{
	static const char *const asked[] = {"10.0.0.2", "fd00::2", "127.0.0.53", "127.0.0.11",
		"127.0.0.1", "::1", "10.0.0.1", "fd00::1", NULL};
	const struct rules rules = all_rules();
	struct redirect *redirect;

	assert_answered_by('S', .address = "10.0.0.2");
	assert_answered_by('S', .address = "fd00::2", .type = SOCK_STREAM);
	redirect = opened(&rules);
	for (const char *const *a = asked; *a; a++) {
		assert_answered_by('D', .address = *a);
		assert_answered_by('D', .address = *a, .type = SOCK_STREAM);
	}
	redirect_close(redirect);
	assert_answered_by('S', .address = "10.0.0.2");
	assert_answered_by('S', .address = "fd00::2", .type = SOCK_STREAM);
}

static void only_listed_servers_are_captured(void)
{
	struct rules rules;
	struct redirect *redirect;

	rules = rules_for("10.0.0.2", NULL);
	redirect = opened(&rules);
	assert_answered_by('D', .address = "10.0.0.2");
	assert_answered_by('D', .address = "10.0.0.2", .type = SOCK_STREAM);
	assert_answered_by('S', .address = "10.0.0.3");
	assert_answered_by('S', .address = "10.0.0.3", .type = SOCK_STREAM);
	assert_answered_by('S', .address = "fd00::2");
	redirect_close(redirect);
	rules = rules_for("127.0.0.53", "fd00::2");
	redirect = opened(&rules);
	assert_answered_by('S', .address = "10.0.0.2");
	assert_answered_by('D', .address = "127.0.0.53");
	assert_answered_by('D', .address = "fd00::2", .type = SOCK_STREAM);
	redirect_close(redirect);
}

/** An answer to a link-local address cannot be routed from loopback. */
static void a_link_local_server_is_left_alone(void)
{
	struct rules rules;
	struct redirect *redirect;

	rules = all_rules();
	redirect = opened(&rules);
	assert_answered_by('S', .address = "fe80::2%v0");
	assert_answered_by('S', .address = "fe80::2%v0", .type = SOCK_STREAM);
	redirect_close(redirect);
	rules = rules_for(NULL, "fe80::2%v0");
	redirect = opened(&rules);
	assert_answered_by('S', .address = "fe80::2%v0");
	redirect_close(redirect);
}

static void ipv6_is_left_alone_when_told_so(void)
{
	struct rules rules = all_rules();
	struct redirect *redirect;

	rules.ipv6 = false;
	redirect = opened(&rules);
	assert_answered_by('D', .address = "10.0.0.2");
	assert_answered_by('S', .address = "fd00::2");
	assert_answered_by('S', .address = "fd00::2", .type = SOCK_STREAM);
	redirect_close(redirect);
}

static void our_mark_is_exempt(void)
{
	static const char *const resolver[] = {"127.0.0.53", NULL};
	const struct rules rules = all_rules();
	struct redirect *redirect;

	start_server(resolver, 53, 'L');
	redirect = opened(&rules);
	assert_answered_by('S', .address = "10.0.0.2", .mark = MARK);
	assert_answered_by('S', .address = "10.0.0.2", .mark = MARK, .type = SOCK_STREAM);
	assert_answered_by('S', .address = "fd00::2", .mark = MARK);
	assert_answered_by('L', .address = "127.0.0.53", .mark = MARK);
	assert_answered_by('L', .address = "127.0.0.53", .mark = MARK, .type = SOCK_STREAM);
	assert_answered_by('D', .address = "10.0.0.2", .mark = MARK + 1);
	redirect_close(redirect);
}

static void the_uid_is_exempt_and_another_is_not(void)
{
	struct rules rules = all_rules();
	struct redirect *redirect;

	rules.has_uid = true;
	rules.uid = 0;
	redirect = opened(&rules);
	assert_answered_by('S', .address = "10.0.0.2");
	assert_answered_by('S', .address = "10.0.0.2", .type = SOCK_STREAM);
	redirect_close(redirect);
	rules.uid = KUMA_UID;
	redirect = opened(&rules);
	assert_answered_by('D', .address = "10.0.0.2");
	assert_answered_by('D', .address = "10.0.0.2", .type = SOCK_STREAM);
	redirect_close(redirect);
}

/** As beside kuma-dp: the daemon has the exempt UID, and its answers are in the zone still. */
static void the_daemon_may_have_the_exempt_uid(void)
{
	struct rules rules = all_rules();
	struct redirect *redirect;

	if (!two_users) {
		print_message("only root can map a second user\n");
		skip();
	}
	start_name_server();
	start_server_as(KUMA_UID, LOOPBACK, PORT, 'D');
	rules.has_uid = true;
	rules.uid = KUMA_UID;
	redirect = opened(&rules);
	assert_answered_by('D', .address = "10.0.0.2");
	assert_answered_by('D', .address = "fd00::2", .type = SOCK_STREAM);
	assert_int_equal(seteuid(KUMA_UID), 0);
	assert_answered_by('S', .address = "10.0.0.2");
	assert_answered_by('S', .address = "fd00::2", .type = SOCK_STREAM);
	assert_int_equal(seteuid(0), 0);
	redirect_close(redirect);
}

/* Conntrack */

/** An application and then we ask the same server from the same port. @return who answers us */
static char reuse_port(bool zones)
{
	struct rules rules = rules_for("10.0.0.2", NULL);
	struct redirect *redirect;
	char letter;

	rules.zones = zones;
	redirect = opened(&rules);
	assert_answered_by('D', .address = "10.0.0.2", .from = 40000);
	letter = ask((struct question){.address = "10.0.0.2", .from = 40000, .mark = MARK});
	redirect_close(redirect);
	return letter;
}

static void zones_keep_flows_with_the_same_ports_apart(void)
{
	assert_int_equal(reuse_port(false), 'D'); /* our own query came back to us */
	assert_int_equal(reuse_port(true), 'S');
}

/** The other way round: an application's query must not slip past us in the track of ours. */
static void an_application_can_reuse_a_port_of_ours(void)
{
	const struct rules rules = rules_for("10.0.0.2", NULL);
	struct redirect *redirect;

	redirect = opened(&rules);
	assert_answered_by('S', .address = "10.0.0.2", .from = 40000, .mark = MARK);
	assert_answered_by('D', .address = "10.0.0.2", .from = 40000);
	assert_answered_by('S', .address = "10.0.0.2", .from = 40000, .mark = MARK);
	redirect_close(redirect);
}

static void only_redirected_flows_are_in_the_zone(void)
{
	const struct rules rules = rules_for("10.0.0.2", NULL);
	struct redirect *redirect;
	const char *flows;

	redirect = opened(&rules);
	assert_answered_by('D', .address = "10.0.0.2", .from = 40001);
	assert_answered_by('S', .address = "10.0.0.2", .from = 40002, .mark = MARK);
	assert_answered_by('S', .address = "10.0.0.3", .from = 40003);
	flows = output_of("conntrack -L --zone 2 2>/dev/null");
	assert_non_null(strstr(flows, "src=10.0.0.1 dst=10.0.0.2 sport=40001 dport=53 "
				      "src=127.0.0.1 dst=10.0.0.1 sport=15053 dport=40001"));
	assert_null(strstr(flows, "UNREPLIED"));
	assert_null(strstr(flows, "sport=40002"));
	assert_null(strstr(flows, "sport=40003"));
	redirect_close(redirect);
	assert_null(strstr(output_of("conntrack -L 2>/dev/null"), "sport=15053"));
}

/** Kuma's dropInvalidPackets, and a firewall that lets in nothing but what was asked for. */
static void a_stateful_firewall_lets_everything_pass(void)
{
	static const char *const resolver[] = {"127.0.0.53", NULL};
	struct rules rules;
	struct redirect *redirect;

	start_server(resolver, 53, 'L');
	run("nft 'table inet wall {"
	    " chain in { type filter hook input priority 0; policy drop;"
	    "  ct state invalid drop; ct state established,related accept; iif lo accept;"
	    "  icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; };"
	    " chain out { type filter hook output priority 0; ct state invalid drop; }; }'");
	rules = rules_for("10.0.0.2", "::1");
	redirect = opened(&rules);
	assert_answered_by('D', .address = "10.0.0.2");
	assert_answered_by('D', .address = "::1", .type = SOCK_STREAM);
	assert_answered_by('S', .address = "10.0.0.2", .mark = MARK);
	assert_answered_by('S', .address = "10.0.0.3");
	assert_answered_by('S', .address = "fd00::2", .type = SOCK_STREAM);
	assert_answered_by('L', .address = "127.0.0.53", .type = SOCK_STREAM);
	/* our port itself, as a probe asks it */
	assert_answered_by('D', .address = "127.0.0.1", .port = PORT);
	assert_answered_by('D', .address = "127.0.0.1", .port = PORT, .type = SOCK_STREAM);
	assert_answered_by('D', .address = "::1", .port = PORT, .type = SOCK_STREAM);
	redirect_close(redirect);
	rules.has_uid = true;
	rules.uid = 0;
	redirect = opened(&rules);
	assert_answered_by('S', .address = "10.0.0.2");
	redirect_close(redirect);
}

static void a_daemon_that_does_not_listen_is_an_error_at_once(void)
{
	const struct rules rules = all_rules();
	struct redirect *redirect;

	start_name_server();
	run("nft 'table inet wall {"
	    " chain in { type filter hook input priority 0; ct state invalid drop; };"
	    " chain out { type filter hook output priority 0; ct state invalid drop; }; }'");
	redirect = opened(&rules);
	assert_int_equal(ask_connected("10.0.0.2", 53), 'r');
	assert_int_equal(ask_connected("fd00::2", 53), 'r');
	assert_int_equal(ask_connected("127.0.0.53", 53), 'r');
	assert_answered_by('r', .address = "10.0.0.2", .type = SOCK_STREAM);
	assert_answered_by('r', .address = "fd00::2", .type = SOCK_STREAM);
	/* errors that are not about our port stay out of the zone */
	assert_int_equal(ask_connected("127.0.0.1", 7), 'r');
	assert_int_equal(ask_connected("::1", 7), 'r');
	redirect_close(redirect);
}

/* A socket that lasts */

static void a_lasting_socket_is_captured_at_once(const char *address, bool zones)
{
	struct rules rules = all_rules();
	const struct question q = {.address = address};
	struct redirect *redirect;
	int fd;

	fd = application(&q);
	assert_int_equal(ask_on(fd, &q), 'S');
	assert_non_null(strstr(output_of("conntrack -L 2>/dev/null"), "dport=53"));
	rules.zones = zones;
	redirect = opened(&rules);
	assert_int_equal(ask_on(fd, &q), 'D');
	redirect_close(redirect);
	assert_int_equal(ask_on(fd, &q), 'S');
	assert_null(strstr(output_of("conntrack -L 2>/dev/null"), "sport=15053"));
	close(fd);
}

static void a_lasting_socket_follows_the_rules(void)
{
	start_name_server_beside_others();
	start_daemon();
	a_lasting_socket_is_captured_at_once("10.0.0.2", true);
	a_lasting_socket_is_captured_at_once("10.0.0.2", false);
	a_lasting_socket_is_captured_at_once("fd00::2", true);
	a_lasting_socket_is_captured_at_once("fd00::2", false);
}

static void a_lasting_socket_goes_direct_after_a_kill(void)
{
	const struct rules rules = rules_for("10.0.0.2", NULL);
	const struct question q = {.address = "10.0.0.2"};
	pid_t owner;
	pid_t daemon;
	int fd;

	start_name_server_beside_others();
	daemon = start_daemon();
	owner = start_owner(&rules);
	fd = application(&q);
	assert_int_equal(ask_on(fd, &q), 'D');
	stop(daemon);
	stop(owner);
	assert_int_equal(ask_on(fd, &q), 'S');
	assert_answered_by('S', .address = "10.0.0.2");
	close(fd);
}

/** After a kill, flows to the old port are still known; another start may have another port. */
static void a_new_port_is_used_at_once(void)
{
	static const char *const addresses[] = {"127.0.0.1", NULL};
	struct rules rules = rules_for("10.0.0.2", NULL);
	const struct question q = {.address = "10.0.0.2"};
	struct redirect *redirect;
	pid_t owner;
	int fd;

	start_name_server_beside_others();
	start_daemon();
	start_server(addresses, PORT + 1, 'E');
	owner = start_owner(&rules);
	fd = application(&q);
	assert_int_equal(ask_on(fd, &q), 'D');
	stop(owner);
	rules.port = PORT + 1;
	redirect = opened(&rules);
	assert_int_equal(ask_on(fd, &q), 'E');
	redirect_close(redirect);
	close(fd);
}

static void queries_in_progress_are_answered_after_withdrawal(void)
{
	const struct rules rules = rules_for("10.0.0.2", NULL);
	const struct question q = {.address = "10.0.0.2"};
	const struct endpoint server = endpoint_of(&q);
	struct endpoint client = {.len = sizeof client.in6};
	struct redirect *redirect;
	char c;
	int daemon;
	int fd;

	start_name_server();
	daemon = bound("127.0.0.1", PORT, SOCK_DGRAM);
	redirect = opened(&rules);
	fd = application(&q);
	assert_int_equal(sendto(fd, "?", 1, 0, &server.sa, server.len), 1);
	assert_int_equal(recvfrom(daemon, &c, 1, 0, &client.sa, &client.len), 1);
	redirect_withdraw(redirect);
	assert_answered_by('S', .address = "10.0.0.2");
	assert_int_equal(sendto(daemon, "D", 1, 0, &client.sa, client.len), 1);
	assert_int_equal(receive(fd, &server), 'D');
	assert_int_equal(ask_on(fd, &q), 'S');
	redirect_withdraw(redirect); /* twice does no harm */
	redirect_close(redirect);
	assert_string_equal(output_of("nft list ruleset"), "");
	close(fd);
	close(daemon);
}

static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	const struct __user_cap_data_struct none[2] = {{0}};

	return (int)syscall(SYS_capset, &header, none);
}

/** @param remove  what is done once capabilities are gone */
static void remove_without_capabilities(void (*remove)(struct redirect *redirect))
{
	const struct rules rules = all_rules();
	int ready[2];

	assert_int_equal(pipe(ready), 0);
	if (start() == 0) {
		struct redirect *redirect;
		struct redirect_error error;
		if (redirect_open(&redirect, &rules, &error) != 0 || drop_capabilities() != 0) {
			_exit(1);
		}
		remove(redirect);
		tell(ready[1], 'r');
		pause();
	}
	await(ready[0], 'r');
	assert_string_equal(output_of("nft list ruleset"), "");
	close(ready[0]);
	close(ready[1]);
}

static void rules_go_at_once_when_capabilities_are_gone(void)
{
	remove_without_capabilities(redirect_withdraw);
	remove_without_capabilities(redirect_close);
}

static void closing_nothing_is_allowed(void)
{
	redirect_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_namespace(nobody_else_can_remove_the_table),
		in_namespace(a_killed_process_leaves_no_table),
		in_namespace(a_table_that_nobody_owns_is_replaced),
		in_namespace(eight_daemons_have_tables_and_the_ninth_an_error),
		in_namespace(a_second_start_replaces_a_first_that_stops_without_a_gap),
		in_namespace(a_second_start_replaces_a_first_that_is_killed_without_a_gap),
		in_namespace(without_the_capability_the_error_says_so),
		with_servers(udp_and_tcp_of_both_families_are_captured),
		with_servers(only_listed_servers_are_captured),
		with_servers(a_link_local_server_is_left_alone),
		with_servers(ipv6_is_left_alone_when_told_so),
		with_servers(our_mark_is_exempt),
		with_servers(the_uid_is_exempt_and_another_is_not),
		in_namespace(the_daemon_may_have_the_exempt_uid),
		with_servers(zones_keep_flows_with_the_same_ports_apart),
		with_servers(an_application_can_reuse_a_port_of_ours),
		with_servers(only_redirected_flows_are_in_the_zone),
		with_servers(a_stateful_firewall_lets_everything_pass),
		in_namespace(a_daemon_that_does_not_listen_is_an_error_at_once),
		in_namespace(a_lasting_socket_follows_the_rules),
		in_namespace(a_lasting_socket_goes_direct_after_a_kill),
		in_namespace(a_new_port_is_used_at_once),
		in_namespace(queries_in_progress_are_answered_after_withdrawal),
		in_namespace(rules_go_at_once_when_capabilities_are_gone),
		in_namespace(closing_nothing_is_allowed),
	};

	return cmocka_run_group_tests(tests, enter_user_namespace, NULL);
}
