/* SPDX-License-Identifier: Apache-2.0
 *
 * The configuration: what is accepted from where, what is refused and in which words, and that the
 * manual page and the sample file name every key.
 */
#include "conf/conf.h"

#include "dns/serve/special.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static struct conf conf;
static struct conf defaults;
static struct conf_error error;

static int set_up(void **state)
{
	(void)state;
	memset(&error, 0, sizeof error);
	conf_init(&conf);
	conf_init(&defaults);
	return 0;
}

static int read_text(const char *text)
{
	return conf_read(&conf, "f.yaml", text, strlen(text), &error);
}

static void assert_reads(const char *text)
{
	if (read_text(text) != 0) {
		fail_msg("%s", error.text);
	}
}

/* Flags and variables as literals: at most WORDS_MAX, ended by NULL. */
typedef const char *const words[];
enum { WORDS_MAX = 40 };

static int copy_words(char *to[WORDS_MAX], words from)
{
	int count = 0;

	while (from[count]) {
		count++;
	}
	assert_true(count < WORDS_MAX);
	memcpy(to, from, sizeof from[0] * ((size_t)count + 1));
	return count;
}

static int load(words flags, words variables, int *rest)
{
	char *argv[WORDS_MAX];
	char *envp[WORDS_MAX];
	int argc = copy_words(argv, flags);

	copy_words(envp, variables);
	return conf_load(&conf, argc, argv, envp, rest, &error);
}

static int load_flags(words flags)
{
	int rest;

	return load(flags, (words){NULL}, &rest);
}

static int load_variables(words variables)
{
	int rest;

	return load((words){NULL}, variables, &rest);
}

#define LOAD(...) load_flags((words){__VA_ARGS__, NULL})

static void assert_loads(words flags, words variables)
{
	int rest;

	if (load(flags, variables, &rest) != 0) {
		fail_msg("%s", error.text);
	}
	assert_null(flags[rest]);
}

/* A file with `text`; the name is written to `path`, which mkstemp completes. */
static void write_file(char *path, const char *text, size_t len)
{
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), len);
	close(fd);
}

static void assert_endpoint(const struct endpoint *e, const char *expected)
{
	char text[ENDPOINT_TEXT_SIZE];

	assert_string_equal(endpoint_format(e, text), expected);
}

static char *print(const struct conf *c)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	conf_print(c, out);
	fclose(out);
	return text;
}

static char *print_flags(void)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	conf_print_flags(out);
	fclose(out);
	return text;
}

static char *read_whole(const char *path)
{
	FILE *in = fopen(path, "r");
	char *text = calloc(1, 256 * 1024);

	if (!in) {
		fail_msg("%s: not here; tests run in the root of the tree", path);
	}
	assert_true(fread(text, 1, 256 * 1024 - 1, in) > 0);
	fclose(in);
	return text;
}

static void defaults_are_the_documented_ones(void **state)
{
	(void)state;
	assert_string_equal(conf.kuma_dp_user, "");
	assert_int_equal(conf.ip_family_mode, CONF_DUALSTACK);
	assert_true(conf.redirect_enabled);
	assert_int_equal(conf.port, 15053);
	assert_false(conf.capture_all);
	assert_true(conf.dns_tcp);
	assert_false(conf.skip_zone_split);
	assert_string_equal(conf.resolv_conf, "/etc/resolv.conf");
	assert_int_equal(conf.mark, 0x6b64);
	assert_int_equal(conf.listen.count, 0);
	assert_int_equal(conf.workers, 1);
	assert_int_equal(conf.mesh_zones.count, 2);
	assert_string_equal(conf.mesh_zones.item[0], "mesh");
	assert_string_equal(conf.mesh_zones.item[1], "mesh.local");
	assert_int_equal(conf.poll_interval_ms, 1000);
	assert_int_equal(conf.table_max_size, 64 * 1024 * 1024);
	assert_int_equal(conf.servers.count, 0);
	assert_int_equal(conf.forward_timeout_ms, 4000);
	assert_int_equal(conf.forward_try_ms, 800);
	assert_int_equal(conf.transactions_max, 4096);
	assert_int_equal(conf.special_names, SPECIAL_ALL & ~SPECIAL_REVERSE_PRIVATE);
	assert_true(conf.search_shortcut);
	assert_true(conf.loop_probe);
	assert_int_equal(conf.upstreams.count, 0);
	assert_int_equal(conf.cache_size, 4 * 1024 * 1024);
	assert_int_equal(conf.cache_ttl_max, 86400);
	assert_int_equal(conf.cache_negative_ttl_max, 30);
	assert_int_equal(conf.cache_stale_max, 3600);
	assert_true(conf.cache_prefetch);
	assert_true(conf.cache_nxdomain_covers);
	assert_int_equal(conf.tcp_connections_max, 512);
	assert_int_equal(conf.tcp_connections_peer_max, 256);
	assert_int_equal(conf.tcp_idle_ms, 10000);
	assert_int_equal(conf.tcp_unsent_max, 256 * 1024);
	assert_int_equal(conf.tcp_frame_max, 4096);
	assert_int_equal(conf.metrics_address.len, 0);
	assert_int_equal(conf.log_level, CONF_LOG_INFO);
	assert_false(conf.admin_socket_given);
}

static void file_sets_every_type(void **state)
{
	(void)state;
	assert_reads("kumaDPUser: 5678\n"
		     "ipFamilyMode: ipv4\n"
		     "workers: 64\n"
		     "redirect:\n  mark: 0xFFffFFff\n  dns: {captureAll: true, port: 1}\n"
		     "table: {file: 'a b', maxSize: 5000, pollInterval: 1h}\n"
		     "forward: {timeout: 1s500ms, tryTimeout: '50ms'}\n"
		     "admin: {metricsAddress: '[::1]:9903', socket: ''}\n"
		     "log: {level: Debug}\n");
	assert_string_equal(conf.kuma_dp_user, "5678");
	assert_int_equal(conf.ip_family_mode, CONF_IPV4);
	assert_int_equal(conf.workers, 64);
	assert_int_equal(conf.mark, 0xffffffff);
	assert_true(conf.capture_all);
	assert_int_equal(conf.port, 1);
	assert_string_equal(conf.table_file, "a b");
	assert_int_equal(conf.table_max_size, 5000);
	assert_int_equal(conf.poll_interval_ms, 3600000);
	assert_int_equal(conf.forward_timeout_ms, 1500);
	assert_int_equal(conf.forward_try_ms, 50);
	assert_endpoint(&conf.metrics_address, "[::1]:9903");
	assert_string_equal(conf.admin_socket, "");
	assert_true(conf.admin_socket_given);
	assert_int_equal(conf.log_level, CONF_LOG_DEBUG);
}

static void cache_is_set_and_switched_off(void **state)
{
	(void)state;
	assert_reads("cache:\n  size: 1GiB\n  maxTTL: 720h\n  maxNegativeTTL: 24h\n"
		     "  serveStale: 1h1m1s\n  prefetch: false\n  nxdomainCovers: false\n");
	assert_int_equal(conf.cache_size, 1 << 30);
	assert_int_equal(conf.cache_ttl_max, 2592000);
	assert_int_equal(conf.cache_negative_ttl_max, 86400);
	assert_int_equal(conf.cache_stale_max, 3661);
	assert_false(conf.cache_prefetch);
	assert_false(conf.cache_nxdomain_covers);

	assert_reads("cache: {size: 0, maxTTL: 1s, maxNegativeTTL: 0s, serveStale: 0h}\n");
	assert_int_equal(conf.cache_size, 0);
	assert_int_equal(conf.cache_ttl_max, 1);
	assert_int_equal(conf.cache_negative_ttl_max, 0);
	assert_int_equal(conf.cache_stale_max, 0);
	assert_reads("cache: {size: 64KiB, serveStale: 72h}\n");
	assert_int_equal(conf.cache_size, 65536);
	assert_int_equal(conf.cache_stale_max, 259200);
}

static void canaries_are_set_and_switched_off(void **state)
{
	(void)state;
	conf_init(&conf);
	assert_int_equal(conf.canary_interval, 30);
	assert_int_equal(conf.canary_required, CONF_CANARY_OWN);
	assert_reads("canary: {interval: 1h, required: always}\n");
	assert_int_equal(conf.canary_interval, 3600);
	assert_int_equal(conf.canary_required, CONF_CANARY_ALWAYS);
	assert_reads("canary: {interval: 0s, required: never}\n");
	assert_int_equal(conf.canary_interval, 0);
	assert_int_equal(conf.canary_required, CONF_CANARY_NEVER);
}

/* The words stand in the order of enum special_group, which conf/ does not know. */
static void special_names_are_the_groups_of_that_name(void **state)
{
	static const struct {
		const char *text;
		uint32_t groups;
	} cases[] = {
		{"localhost", SPECIAL_LOCALHOST}, {"invalid", SPECIAL_INVALID},
		{"test", SPECIAL_TEST}, {"onion", SPECIAL_ONION}, {"alt", SPECIAL_ALT},
		{"home", SPECIAL_HOME}, {"resolver", SPECIAL_RESOLVER},
		{"reverse", SPECIAL_REVERSE_NOBODY}, {"private-reverse", SPECIAL_REVERSE_PRIVATE},
		{"[]", 0}, {"''", 0}, {"[Test, onion, test]", SPECIAL_TEST | SPECIAL_ONION},
		{"'home , private-reverse'", SPECIAL_HOME | SPECIAL_REVERSE_PRIVATE},
		{"~", SPECIAL_HOME | SPECIAL_REVERSE_PRIVATE}, /* stays */
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char text[100];

		snprintf(text, sizeof text, "forward: {specialNames: %s}", cases[i].text);
		assert_reads(text);
		assert_int_equal(conf.special_names, cases[i].groups);
	}
}

static void flags_and_variables_set_cache_and_forwarding(void **state)
{
	words envp = {"KUMA_DNS_CACHE_SIZE=1MiB", "KUMA_DNS_CACHE_MAX_TTL=2h",
		"KUMA_DNS_CACHE_MAX_NEGATIVE_TTL=5s", "KUMA_DNS_CACHE_SERVE_STALE=5m",
		"KUMA_DNS_CACHE_PREFETCH=false", "KUMA_DNS_CACHE_NXDOMAIN_COVERS=false",
		"KUMA_DNS_FORWARD_SPECIAL_NAMES=test,onion",
		"KUMA_DNS_FORWARD_SEARCH_SHORTCUT=false", "KUMA_DNS_FORWARD_LOOP_PROBE=false",
		NULL};

	(void)state;
	for (int round = 0; round < 2; round++) {
		if (round == 0) {
			assert_loads((words){NULL}, envp);
		} else {
			assert_loads((words){"--cache-size=1MiB", "--cache-max-ttl", "120m",
					     "--cache-max-negative-ttl=5s", "--serve-stale=300s",
					     "--no-prefetch", "--no-nxdomain-covers",
					     "--special-name=test", "--special-name=onion",
					     "--no-search-shortcut", "--no-loop-probe", NULL},
				(words){NULL});
		}
		assert_int_equal(conf.cache_size, 1 << 20);
		assert_int_equal(conf.cache_ttl_max, 7200);
		assert_int_equal(conf.cache_negative_ttl_max, 5);
		assert_int_equal(conf.cache_stale_max, 300);
		assert_false(conf.cache_prefetch);
		assert_false(conf.cache_nxdomain_covers);
		assert_int_equal(conf.special_names, SPECIAL_TEST | SPECIAL_ONION);
		assert_false(conf.search_shortcut);
		assert_false(conf.loop_probe);
	}
	assert_loads((words){"--special-name=", "--cache-size=0", NULL}, envp);
	assert_int_equal(conf.special_names, 0);
	assert_int_equal(conf.cache_size, 0);
}

static void assert_upstream(unsigned index, const char *zone, enum conf_policy answer,
	unsigned servers, const char *last_server)
{
	const struct conf_upstream *u = &conf.upstreams.item[index];

	assert_true(index < conf.upstreams.count);
	assert_string_equal(u->zone, zone);
	assert_int_equal(u->answer, answer);
	assert_int_equal(u->servers.count, servers);
	if (servers > 0) {
		assert_endpoint(&u->servers.item[servers - 1], last_server);
	}
}

static void upstreams_are_mappings_in_both_styles(void **state)
{
	(void)state;
	assert_reads("upstreams:\n"
		     "  - zone: Corp.Example.\n"
		     "    servers:\n"
		     "    - 10.1.1.1\n"
		     "    - \"[fd00::1]:5353\"\n"
		     "  - {answer: NXDomain, zone: ads.example}\n"
		     "  -\n"
		     "    zone: '.'\n"
		     "    servers: 10.1.1.2, 10.1.1.3:54 ,10.1.1.2:53\n"
		     "    answer:\n");
	assert_int_equal(conf.upstreams.count, 3);
	assert_upstream(0, "corp.example", CONF_FORWARD, 2, "[fd00::1]:5353");
	assert_endpoint(&conf.upstreams.item[0].servers.item[0], "10.1.1.1:53");
	assert_upstream(1, "ads.example", CONF_NXDOMAIN, 0, NULL);
	assert_upstream(2, ".", CONF_FORWARD, 2, "10.1.1.3:54");

	assert_reads("upstreams: [{zone: 1.10.in-addr.arpa, servers: [\"10.1.1.4:1\"]},\n"
		     "{zone: a, servers: [], answer: refuse}]\nworkers: 2\n");
	assert_int_equal(conf.upstreams.count, 2);
	assert_upstream(0, "1.10.in-addr.arpa", CONF_FORWARD, 1, "10.1.1.4:1");
	assert_upstream(1, "a", CONF_REFUSE, 0, NULL);
	assert_int_equal(conf.workers, 2);

	assert_reads("upstreams: ~\n");
	assert_int_equal(conf.upstreams.count, 2);
	assert_reads("upstreams: []\n");
	assert_memory_equal(&conf.upstreams, &defaults.upstreams, sizeof conf.upstreams);
}

static void upstreams_are_flags_and_a_variable(void **state)
{
	words envp = {"KUMA_DNS_UPSTREAMS=Corp.Example=10.1.1.1+[fd00::1]:5353 , ads.example.="
		      "Refuse, .=fd00::2",
		NULL};

	(void)state;
	assert_loads((words){NULL}, envp);
	assert_int_equal(conf.upstreams.count, 3);
	assert_upstream(0, "corp.example", CONF_FORWARD, 2, "[fd00::1]:5353");
	assert_upstream(1, "ads.example", CONF_REFUSE, 0, NULL);
	assert_upstream(2, ".", CONF_FORWARD, 1, "[fd00::2]:53");

	assert_loads(
		(words){"--upstream-zone", "a=10.1.1.1", "--upstream-zone=b=nxdomain", "--upstream",
			"10.1.1.3", "--upstream-zone=c.a=10.1.1.2:54,d=refuse", NULL},
		envp);
	assert_int_equal(conf.upstreams.count, 4);
	assert_upstream(0, "a", CONF_FORWARD, 1, "10.1.1.1:53");
	assert_upstream(1, "b", CONF_NXDOMAIN, 0, NULL);
	assert_upstream(2, "c.a", CONF_FORWARD, 1, "10.1.1.2:54");
	assert_upstream(3, "d", CONF_REFUSE, 0, NULL);
	assert_int_equal(conf.servers.count, 1);

	assert_loads((words){"--upstream-zone=", NULL}, envp);
	assert_int_equal(conf.upstreams.count, 0);
}

static void bad_upstreams_in_short_form_are_refused(void **state)
{
	static const char *const texts[] = {"a", "=10.1.1.1", "a=", "a=10.1.1", "a=10.1.1.1+",
		"a=+10.1.1.1", "a=refuse+10.1.1.1", "a=10.1.1.1+refuse", "a=10.1.1.1=refuse",
		"a..b=refuse", "*.a=refuse", "..=refuse", "a =refuse", "a=refuse,",
		"a=refuse,A.=refuse", "a=forward", "a=a"};
	char message[300];

	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++) {
		if (LOAD("--upstream-zone", texts[i]) != -EINVAL) {
			fail_msg("%s is accepted", texts[i]);
		}
		snprintf(message, sizeof message,
			"--upstream-zone: found \"%s\", expected ZONE=SERVER[+SERVER...], "
			"ZONE=refuse or ZONE=nxdomain, at most 32 of them, each zone once",
			texts[i]);
		assert_string_equal(error.text, message);
	}
	assert_int_equal(LOAD("--upstream-zone=a=10.1.1.1", "--upstream-zone=A.=refuse"), -EINVAL);
}

/* A zone of 253 octets with 16 servers is one element; 32 zones are a list. */
static void upstreams_have_limits(void **state)
{
	char text[4000];
	size_t len = 0;

	(void)state;
	for (int i = 0; i < 253; i++) {
		text[len++] = i % 64 == 63 ? '.' : 'a';
	}
	for (unsigned i = 0; i < CONF_SERVERS_MAX; i++) {
		len += (size_t)snprintf(text + len, sizeof text - len,
			"%c[2001:db8:1111:2222:3333:4444:5555:66%u%%lo]:65535", i ? '+' : '=',
			i + 10);
	}
	assert_loads((words){"--upstream-zone", text, NULL}, (words){NULL});
	assert_int_equal(conf.upstreams.item[0].servers.count, CONF_SERVERS_MAX);
	snprintf(text + len, sizeof text - len, "+10.1.1.1");
	assert_int_equal(LOAD("--upstream-zone", text), -EINVAL);
	memset(text, 'a', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	assert_int_equal(LOAD("--upstream-zone", text), -EINVAL);

	len = (size_t)snprintf(text, sizeof text, "upstreams:\n");
	for (int i = 0; i < CONF_UPSTREAMS_MAX; i++) {
		len += (size_t)snprintf(
			text + len, sizeof text - len, "- {zone: z%d, answer: refuse}\n", i);
	}
	assert_reads(text);
	assert_int_equal(conf.upstreams.count, CONF_UPSTREAMS_MAX);
	snprintf(text + len, sizeof text - len, "- {zone: one-more, answer: refuse}\n");
	assert_int_equal(read_text(text), -EINVAL);
	assert_string_equal(error.text, "f.yaml:34: upstreams: one-more: found one more, expected "
					"at most 32");
}

static void lists_are_sequences_or_text_with_commas(void **state)
{
	(void)state;
	assert_reads("listen: [\"127.0.0.1:15053\", '[::1]:15053', '[::1]:15053']\n"
		     "forward:\n  servers: 192.0.2.1, 2001:db8::1 ,192.0.2.2:5353\n"
		     "meshZones:\n- Mesh.\n- _web-1.EAST.mesh.local\n- mesh\n");
	assert_int_equal(conf.listen.count, 2);
	assert_endpoint(&conf.listen.item[1], "[::1]:15053");
	assert_int_equal(conf.servers.count, 3);
	assert_endpoint(&conf.servers.item[0], "192.0.2.1:53");
	assert_endpoint(&conf.servers.item[1], "[2001:db8::1]:53");
	assert_endpoint(&conf.servers.item[2], "192.0.2.2:5353");
	assert_int_equal(conf.mesh_zones.count, 2);
	assert_string_equal(conf.mesh_zones.item[0], "mesh");
	assert_string_equal(conf.mesh_zones.item[1], "_web-1.east.mesh.local");

	assert_reads("meshZones: []\nlisten: ''\n");
	assert_int_equal(conf.mesh_zones.count, 0);
	assert_int_equal(conf.listen.count, 0);
}

static void what_a_document_does_not_mention_stays(void **state)
{
	static const char *const documents[] = {"", "\n# nothing\n", "---\n", "---\n...\n", "~\n",
		"redirect:\nlisten:\nworkers: ~\ntable: {file: null}\n", "redirect:\n  dns:\n"};

	(void)state;
	for (size_t i = 0; i < COUNT(documents); i++) {
		assert_reads(documents[i]);
		assert_memory_equal(&conf, &defaults, sizeof conf);
	}
}

static void kumas_own_file_is_accepted(void **state)
{
	(void)state;
	assert_reads(
		"kumaDPUser: \"\"\n"
		"ipFamilyMode: dualstack\n"
		"redirect:\n"
		"  inbound:  {enabled: true, port: 15006, includePorts: [], excludePorts: '80,443',"
		" excludePortsForUIDs: [], excludePortsForIPs: []}\n"
		"  outbound: {enabled: true, port: 15001, excludePorts: [1, 2], "
		"insertRedirectInsteadOfAppend: true}\n"
		"  dns: {enabled: true, port: 15054, captureAll: true,"
		" skipConntrackZoneSplit: false, resolvConfigPath: /etc/resolv.conf}\n"
		"  vnet: {networks: ['docker0:172.17.0.0/16', 'iface:::1/64']}\n"
		"ebpf: {enabled: false, instanceIP: ''}\n"
		"dropInvalidPackets: false\n"
		"verbose: true\ndryRun: false\nwait: 5\nwaitInterval: 0\nstoreFirewalld: false\n"
		"retry: {maxRetries: 4, sleepBetweenRetries: 2s}\n"
		"iptablesExecutables: {}\ncomments: {disabled: false}\ncniMode: false\n"
		"log: {enabled: true, level: 7}\n");
	assert_int_equal(conf.port, 15054);
	assert_true(conf.capture_all);
	assert_int_equal(conf.log_level, CONF_LOG_INFO);
	assert_true(conf.log_packets);
	assert_true(conf.inbound.given && conf.outbound.given);
	assert_int_equal(conf.inbound.exclude.count, 2);
	assert_int_equal(conf.inbound.exclude.item[1], 443);
	assert_int_equal(conf.vnets.count, 2);
	assert_string_equal(conf.vnets.item[1].interface, "iface");
}

/* A document that sets one key of outbound, and how that is printed. */
static void assert_outbound(const char *document, const char *line)
{
	char text[600];
	char *printed;

	conf_init(&conf);
	snprintf(text, sizeof text, "redirect: {outbound: {%s}}", document);
	assert_reads(text);
	assert_true(conf.outbound.given && !conf.inbound.given);
	printed = print(&conf);
	if (!strstr(printed, line)) {
		fail_msg("%s: expected %s in %s", document, line, printed);
	}
	free(printed);
}

static void ports_users_and_networks_have_all_of_kumas_forms(void **state)
{
	(void)state;
	assert_outbound("excludePorts: 80", "    excludePorts: [80]\n");
	assert_outbound("excludePorts: '80, 443,80'", "    excludePorts: [80, 443]\n");
	assert_outbound("includePorts: [80, '443']", "    includePorts: [80, 443]\n");
	assert_outbound("excludePortsForUIDs: 1000", "UIDs: [\"*:1000\"]\n");
	assert_outbound("excludePortsForUIDs: ['1000-2000', '*:5', '53:1', 'tcp:*:6-7']",
		"UIDs: [\"*:1000-2000\", \"*:5\", \"53:1\", \"tcp:*:6-7\"]\n");
	assert_outbound("excludePortsForUIDs: ['tcp,udp:53:1', 'udp:53:1', 'udp,tcp:53:1']",
		"UIDs: [\"53:1\", \"udp:53:1\"]\n");
	assert_outbound("excludePortsForUIDs: '1000, 2000,tcp:*:7,53-80:8, *:9'",
		"UIDs: [\"*:1000\", \"*:2000\", \"tcp:*:7\", \"53-80:8\", \"*:9\"]\n");
	assert_outbound("excludePortsForUIDs: 'udp:1-9:0,1000,2000'",
		"UIDs: [\"udp:1-9:0\", \"*:1000\", \"*:2000\"]\n");
	assert_outbound("excludePortsForUIDs: '53,3000-5000:106-108,tcp:22,80:1,*::2,:3'",
		"UIDs: [\"53:106-108\", \"3000-5000:106-108\", \"tcp:22:1\", \"tcp:80:1\", "
		"\"*:2\", \"*:3\"]\n");
	assert_outbound("excludePortsForIPs: [10.1.2.3, 10.1.2.3/8, '::1', 'fd00:1::/15']",
		"IPs: [\"10.1.2.3/32\", \"10.0.0.0/8\", \"::1/128\", \"fd00::/15\"]\n");
}

static void wrong_ports_users_and_networks_are_refused(void **state)
{
	static const char *const wrong[] = {"excludePorts: 0", "excludePorts: 65536",
		"excludePorts: 080", "excludePorts: 80-90", "excludePorts: '80,'",
		"excludePortsForUIDs: root", "excludePortsForUIDs: '*'",
		"excludePortsForUIDs: 'icmp:1:2'", "excludePortsForUIDs: '1:2:3'",
		"excludePortsForUIDs: 'tcp:1:2:3'", "excludePortsForUIDs: 2-1",
		"excludePortsForUIDs: '65536:1'", "excludePortsForUIDs: '0:1'",
		"excludePortsForUIDs: 4294967295", "excludePortsForUIDs: '1:'",
		"excludePortsForUIDs: '1,'", "excludePortsForIPs: 10.0.0.0/33",
		"excludePortsForIPs: 10.0.0.1/", "excludePortsForIPs: host",
		"excludePortsForIPs: '::/129'"};
	char text[200];

	(void)state;
	for (size_t i = 0; i < COUNT(wrong); i++) {
		conf_init(&conf);
		snprintf(text, sizeof text, "redirect: {outbound: {%s}}", wrong[i]);
		if (read_text(text) != -EINVAL || !strstr(error.text, ", expected ") ||
			!strstr(error.text, "f.yaml:1: redirect.outbound.exclude")) {
			fail_msg("%s: %s", wrong[i], error.text);
		}
	}
}

static void virtual_networks_are_interfaces_with_a_network(void **state)
{
	static const char *const wrong[] = {"docker0", "docker0:", ":10.0.0.0/8", "+:10.0.0.0/8",
		"b+r:10.0.0.0/8", "eth 0:10.0.0.0/8", "abcdefghijklmnop:10.0.0.0/8",
		"br0:10.0.0.0/40", "b\\\"r:10.0.0.0/8"};
	char text[200];
	char *printed;

	(void)state;
	assert_reads("redirect: {vnet: {networks: 'docker0:172.17.0.1/16,br+:fd00::/64'}}");
	printed = print(&conf);
	assert_non_null(
		strstr(printed, "networks: [\"docker0:172.17.0.0/16\", \"br+:fd00::/64\"]\n"));
	free(printed);
	for (size_t i = 0; i < COUNT(wrong); i++) {
		snprintf(text, sizeof text, "redirect: {vnet: {networks: \"%s\"}}", wrong[i]);
		assert_int_equal(read_text(text), -EINVAL);
		assert_non_null(strstr(error.text, "expected INTERFACE:NETWORK, such as"));
	}
}

static void lists_of_traffic_have_limits(void **state)
{
	struct conf_traffic traffic = {.port = 1};
	struct conf_vnets vnets = {.count = 0};
	char text[64];

	(void)state;
	for (unsigned i = 1; i <= 70; i++) {
		snprintf(text, sizeof text, "%u", i);
		assert_int_equal(ports_add(&traffic.include, text), i <= 64 ? 0 : -EINVAL);
		assert_int_equal(
			exclusions_add(&traffic.exclude_uids, text), i <= 32 ? 0 : -EINVAL);
		snprintf(text, sizeof text, "10.0.0.%u", i);
		assert_int_equal(networks_add(&traffic.exclude_ips, text), i <= 32 ? 0 : -EINVAL);
		snprintf(text, sizeof text, "eth%u:10.0.0.0/8", i);
		assert_int_equal(vnets_add(&vnets, text), i <= 16 ? 0 : -EINVAL);
	}
}

struct refusal {
	const char *text;
	const char *message;
};

static void errors_say_where_what_and_what_was_expected(void **state)
{
	static const struct refusal refusals[] = {
		{"workers: 0", "f.yaml:1: workers: found 0, expected a number from 1 to 64"},
		{"# c\n\nworkers: 65",
			"f.yaml:3: workers: found 65, expected a number from 1 to 64"},
		{"workers: '2'", "f.yaml:1: workers: found \"2\", expected a number from 1 to 64"},
		{"workers: 010", "f.yaml:1: workers: found 010, expected a number from 1 to 64"},
		{"workers: 99999999999999999999999",
			"f.yaml:1: workers: found 99999999999999999999999, "
			"expected a number from 1 to 64"},
		{"workers: [1]", "f.yaml:1: workers: found a list, expected a number from 1 to 64"},
		{"workers: {a: 1}",
			"f.yaml:1: workers: found a mapping, expected a number from 1 to 64"},
		{"redirect:\n  dns:\n    port: 65536", "f.yaml:3: redirect.dns.port: found 65536, "
						       "expected a number from 1 to 65535"},
		{"redirect: {dns: {captureAll: yes}}",
			"f.yaml:1: redirect.dns.captureAll: found yes, expected true or false"},
		{"redirect: {dns: {captureAll: \"true\"}}",
			"f.yaml:1: redirect.dns.captureAll: found \"true\", expected true or "
			"false"},
		{"redirect: {mark: 0}", "f.yaml:1: redirect.mark: found 0, expected a number from "
					"0x1 to 0xffffffff"},
		{"redirect: {mark: 0x100000000}", "f.yaml:1: redirect.mark: found 0x100000000, "
						  "expected a number from 0x1 to 0xffffffff"},
		{"redirect: {mark: 0x}", "f.yaml:1: redirect.mark: found 0x, expected a number "
					 "from 0x1 to 0xffffffff"},
		{"redirect: 1", "f.yaml:1: redirect: found 1, expected a mapping"},
		{"table: {pollInterval: 49ms}", "f.yaml:1: table.pollInterval: found 49ms, "
						"expected a duration from 50ms to "
						"1h, such as 1m30s"},
		{"table: {pollInterval: 1}", "f.yaml:1: table.pollInterval: found 1, expected a "
					     "duration from 50ms to 1h, such as 1m30s"},
		{"table: {pollInterval: 1s1m}", "f.yaml:1: table.pollInterval: found 1s1m, "
						"expected a duration from 50ms to "
						"1h, such as 1m30s"},
		{"table: {maxSize: 64MB}", "f.yaml:1: table.maxSize: found 64MB, expected a size "
					   "from 4KiB to 4GiB, such as 64KiB"},
		{"table: {maxSize: 4294967296GiB}", "f.yaml:1: table.maxSize: found 4294967296GiB, "
						    "expected a size from 4KiB to "
						    "4GiB, such as 64KiB"},
		{"ipFamilyMode: ipv6",
			"f.yaml:1: ipFamilyMode: found ipv6, expected one of dualstack, ipv4"},
		{"log: {level: loud}", "f.yaml:1: log.level: found loud, expected one of error, "
				       "warning, info, debug"},
		{"log: {level: 8}", "f.yaml:1: log.level: found 8, expected one of error, warning, "
				    "info, debug"},
		{"listen:\n- 127.0.0.1:1\n- 127.0.0.1\n",
			"f.yaml:3: listen: found 127.0.0.1, expected ADDRESS:PORT, at most 16 of "
			"them"},
		{"listen: [[]]", "f.yaml:1: listen: found a list, expected ADDRESS:PORT, at most "
				 "16 of them"},
		{"listen: [~]",
			"f.yaml:1: listen: found ~, expected ADDRESS:PORT, at most 16 of them"},
		{"listen: '127.0.0.1:1,,127.0.0.1:2'",
			"f.yaml:1: listen: found \"127.0.0.1:1,,127.0.0.1:2\", expected "
			"ADDRESS:PORT, "
			"at most 16 of them"},
		{"forward: {servers: a}", "f.yaml:1: forward.servers: found a, expected "
					  "ADDRESS[:PORT], at most 16 of them"},
		{"forward:\n  specialNames:\n  - test\n  - lokalhost\n",
			"f.yaml:4: forward.specialNames: found lokalhost, expected some of "
			"localhost, invalid, test, onion, alt, home, resolver, reverse, "
			"private-reverse"},
		{"forward: {specialNames: [[test]]}",
			"f.yaml:1: forward.specialNames: found a list, expected some of "
			"localhost, invalid, test, onion, alt, home, resolver, reverse, "
			"private-reverse"},
		{"cache: {size: 64MB}", "f.yaml:1: cache.size: found 64MB, expected 0 or a size "
					"from 64KiB to 1GiB, such as 64KiB"},
		{"cache: {size: 65535}", "f.yaml:1: cache.size: found 65535, expected 0 or a size "
					 "from 64KiB to 1GiB, such as 64KiB"},
		{"cache: {size: 1048577KiB}", "f.yaml:1: cache.size: found 1048577KiB, expected 0 "
					      "or a size from 64KiB to 1GiB, such as 64KiB"},
		{"cache:\n  maxTTL: 0s", "f.yaml:2: cache.maxTTL: found 0s, expected a duration "
					 "from 1s to 720h, such as 1m30s"},
		{"cache: {maxTTL: 721h}", "f.yaml:1: cache.maxTTL: found 721h, expected a "
					  "duration from 1s to 720h, such as 1m30s"},
		{"cache: {maxTTL: 4294967295h}",
			"f.yaml:1: cache.maxTTL: found 4294967295h, expected a duration from 1s "
			"to 720h, such as 1m30s"},
		{"cache: {maxTTL: 30}", "f.yaml:1: cache.maxTTL: found 30, expected a duration "
					"from 1s to 720h, such as 1m30s"},
		{"cache: {maxNegativeTTL: 1500ms}",
			"f.yaml:1: cache.maxNegativeTTL: found 1500ms, expected a duration from "
			"0s to 24h, such as 1m30s"},
		{"canary: {interval: 500ms}", "f.yaml:1: canary.interval: found 500ms, expected a "
					      "duration from 0s to 1h, such as 1m30s"},
		{"canary: {required: yes}", "f.yaml:1: canary.required: found yes, expected one of "
					    "own, always, never"},
		{"cache: {serveStale: 72h1s}", "f.yaml:1: cache.serveStale: found 72h1s, expected "
					       "a duration from 0s to 72h, such as 1m30s"},
		{"cache: {ttl: 1s}", "f.yaml:1: cache.ttl: found an unknown key, expected one of "
				     "size, maxTTL, maxNegativeTTL, serveStale, prefetch, "
				     "nxdomainCovers"},
		{"upstreams: a=refuse", "f.yaml:1: upstreams: found a=refuse, expected a list of "
					"zones with servers or answer"},
		{"upstreams: {zone: a}", "f.yaml:1: upstreams: found a mapping, expected a list "
					 "of zones with servers or answer"},
		{"upstreams: [a=refuse]", "f.yaml:1: upstreams: found a=refuse, expected a mapping "
					  "of zone and servers or answer"},
		{"upstreams:\n- zone: a\n  answer: refuse\n-\n",
			"f.yaml:4: upstreams: found nothing, expected a mapping of zone and "
			"servers or answer"},
		{"upstreams: [[]]", "f.yaml:1: upstreams: found a list, expected a mapping of "
				    "zone and servers or answer"},
		{"upstreams:\n- zone: a\n  server: 10.1.1.1\n",
			"f.yaml:3: upstreams.server: found an unknown key, expected one of zone, "
			"servers, answer"},
		{"upstreams: [{zone: a, redirect: {}}]",
			"f.yaml:1: upstreams.redirect: found an unknown key, expected one of "
			"zone, servers, answer"},
		{"upstreams:\n- zone: a\n  zone: b\n",
			"f.yaml:3: upstreams.zone: found a second time, expected once"},
		{"upstreams:\n- zone: a\n  servers:\n  - 10.1.1.1\n  - b\n",
			"f.yaml:5: upstreams.servers: found b, expected ADDRESS[:PORT], at most "
			"16 of them"},
		{"upstreams: [{zone: a, servers: [{a: b}]}]",
			"f.yaml:1: upstreams.servers: found a mapping, expected ADDRESS[:PORT], "
			"at most 16 of them"},
		{"upstreams: [{zone: a, servers: [refuse]}]",
			"f.yaml:1: upstreams.servers: found refuse, expected ADDRESS[:PORT], at "
			"most 16 of them"},
		{"upstreams: [{zone: a, answer: forward}]",
			"f.yaml:1: upstreams.answer: found forward, expected one of refuse, "
			"nxdomain"},
		{"upstreams: [{zone: a, answer: [refuse]}]",
			"f.yaml:1: upstreams.answer: found a list, expected one of refuse, "
			"nxdomain"},
		{"upstreams: [{zone: '*.a', answer: refuse}]",
			"f.yaml:1: upstreams.zone: found \"*.a\", expected a domain name of "
			"letters, digits, hyphens and underscores, or \".\""},
		{"upstreams: [{zone: [a], answer: refuse}]",
			"f.yaml:1: upstreams.zone: found a list, expected a domain name of "
			"letters, digits, hyphens and underscores, or \".\""},
		{"upstreams: [{zone: '', answer: refuse}]",
			"f.yaml:1: upstreams.zone: found \"\", expected a domain name of "
			"letters, digits, hyphens and underscores, or \".\""},
		{"upstreams:\n- answer: refuse\n  zone:\n",
			"f.yaml:2: upstreams: found no zone, expected one"},
		{"upstreams:\n- {}\n", "f.yaml:2: upstreams: found no zone, expected one"},
		{"upstreams:\n\n-\n  zone: a\n",
			"f.yaml:4: upstreams: a: found neither servers nor an answer, expected "
			"one of them"},
		{"upstreams: [{zone: A., servers: []}]",
			"f.yaml:1: upstreams: a: found neither servers nor an answer, expected "
			"one of them"},
		{"upstreams:\n- zone: a\n  servers: 10.1.1.1\n  answer: refuse\n",
			"f.yaml:2: upstreams: a: found servers and an answer, expected one of "
			"them"},
		{"upstreams:\n- {zone: a.b, answer: refuse}\n- {zone: A.B., answer: nxdomain}\n",
			"f.yaml:3: upstreams: a.b: found a second time, expected once"},
		{"upstreams: [{zone: ., answer: refuse}, {zone: '.', servers: 10.1.1.1}]",
			"f.yaml:1: upstreams: .: found a second time, expected once"},
		{"upstreams: [{zone: &a a}]",
			"f.yaml:1: found an anchor, an alias or a tag, expected plain values"},
		{"upstreams: [{zone: a, answer: refuse}",
			"f.yaml:2: not YAML: did not find expected ',' or ']'"},
		{"admin: {metricsAddress: '127.0.0.1:1,127.0.0.1:2'}",
			"f.yaml:1: admin.metricsAddress: found \"127.0.0.1:1,127.0.0.1:2\", "
			"expected "
			"ADDRESS:PORT"},
		{"meshZones: [a..b]",
			"f.yaml:1: meshZones: found a..b, expected domain names of "
			"letters, digits, hyphens and underscores, at most 32 of them"},
		{"table: {file: \"a\\nb\"}",
			"f.yaml:1: table.file: found \"a\\x0ab\", expected up to "
			"4095 octets of UTF-8 without control characters"},
		{"table: {file: \"a\\0b\"}", "f.yaml:1: table.file: found \"a\", expected up to "
					     "4095 octets of UTF-8 without control characters"},
		{"worker: 1", "f.yaml:1: worker: found an unknown key, expected one of kumaDPUser, "
			      "ipFamilyMode, listen, workers, meshZones, user, redirect, "
			      "dropInvalidPackets, comments, dryRun, netns, table, forward, "
			      "upstreams, cache, tcp, canary, admin, log"},
		{"redirect: {dns: {prot: 1}}",
			"f.yaml:1: redirect.dns.prot: found an unknown key, expected one of "
			"enabled, "
			"port, captureAll, tcp, skipConntrackZoneSplit, resolvConfigPath"},
		{"redirect.mark: 1",
			"f.yaml:1: redirect.mark: found an unknown key, expected one of "
			"kumaDPUser, ipFamilyMode, listen, workers, meshZones, user, redirect, "
			"dropInvalidPackets, comments, dryRun, netns, "
			"table, forward, upstreams, cache, tcp, canary, admin, log"},
		{"log: {\"le\\0vel\": info}",
			"f.yaml:1: log.le: found an unknown key, expected one of level, "
			"enabled"},
		{"[a]: 1", "f.yaml:1: found a list, expected the name of a key"},
		{"workers: 1\nworkers: 1\n",
			"f.yaml:2: workers: found a second time, expected once"},
		{"log:\nlog: {level: info}\n", "f.yaml:2: log: found a second time, expected once"},
		{"- 1", "f.yaml:1: found a list, expected a mapping"},
		{"workers", "f.yaml:1: found workers, expected a mapping"},
		{"workers: 1\n---\nworkers: 2\n",
			"f.yaml:2: found a second document, expected one"},
		{"workers: &a 1",
			"f.yaml:1: found an anchor, an alias or a tag, expected plain values"},
		{"verbose: *a",
			"f.yaml:1: found an anchor, an alias or a tag, expected plain values"},
		{"kumaDPUser: !!str 1",
			"f.yaml:1: found an anchor, an alias or a tag, expected plain values"},
		{"workers: 1\n\tx",
			"f.yaml:2: not YAML: found a tab character that violates indentation"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(refusals); i++) {
		int rc = read_text(refusals[i].text);

		if (rc != -EINVAL || strcmp(error.text, refusals[i].message) != 0) {
			fail_msg("%s: %d, %s", refusals[i].text, rc, error.text);
		}
	}
}

static void values_are_escaped_and_cut_in_errors(void **state)
{
	static const char beginning[] = "workers: \"\\e[2J\\u00e9";
	char text[4000];

	(void)state;
	memset(text, 'x', sizeof text);
	memcpy(text, beginning, sizeof beginning - 1);
	memcpy(text + sizeof text - 2, "\"", 2);
	assert_int_equal(read_text(text), -EINVAL);
	assert_non_null(strstr(error.text, "found \"\\x1b[2J\\xc3\\xa9xxx"));
	assert_non_null(strstr(error.text, "xxx...\", expected a number"));
	assert_true(strlen(error.text) < 160);
}

static void limits_are_exact(void **state)
{
	char text[PATH_MAX + 100];
	char zones[64 * 33];
	size_t len = 0;

	(void)state;
	memset(text, 'a', sizeof text);
	memcpy(text, "table: {file: ", 14);
	memcpy(text + 14 + PATH_MAX - 1, "}", 2);
	assert_reads(text);
	assert_int_equal(strlen(conf.table_file), PATH_MAX - 1);
	memcpy(text + 14 + PATH_MAX - 1, "a}", 3);
	assert_int_equal(read_text(text), -EINVAL);

	for (int i = 0; i < CONF_ZONES_MAX; i++) {
		len += (size_t)snprintf(
			zones + len, sizeof zones - len, "%sz%d", i ? "," : "meshZones: ", i);
	}
	assert_reads(zones);
	assert_int_equal(conf.mesh_zones.count, CONF_ZONES_MAX);
	snprintf(zones + len, sizeof zones - len, ",one-more");
	assert_int_equal(read_text(zones), -EINVAL);
}

/* RFC 1035 §2.3.4: 63 octets of a label, 255 of a name with its length octets. */
static void zones_are_domain_names(void **state)
{
	char text[400] = "meshZones: ";
	size_t len = strlen(text);

	(void)state;
	for (int i = 0; i < 4; i++) {
		memset(text + len + (size_t)i * 64, 'a' + i, 63);
		text[len + (size_t)i * 64 + 63] = '.';
	}
	text[len + 253] = '\0';
	assert_reads(text);
	assert_int_equal(strlen(conf.mesh_zones.item[0]), 253);
	strncpy(text + len + 253, "d", 2);
	assert_int_equal(read_text(text), -EINVAL);

	assert_int_equal(read_text("meshZones: '.'"), -EINVAL);
	assert_int_equal(read_text("meshZones: .a"), -EINVAL);
	assert_int_equal(read_text("meshZones: '*.mesh'"), -EINVAL);
	memset(text + len, 'a', 64);
	text[len + 64] = '\0';
	assert_int_equal(read_text(text), -EINVAL);
	text[len + 63] = '\0';
	assert_reads(text);
}

static void nesting_is_limited(void **state)
{
	char *text = malloc(200000);

	(void)state;
	strncpy(text, "ebpf: ", 7);
	memset(text + 6, '[', 200000 - 7);
	text[200000 - 1] = '\0';
	assert_int_equal(read_text(text), -EINVAL);
	assert_string_equal(error.text, "f.yaml:1: ebpf: found a list, expected less nesting");
	free(text);
}

static void octets_that_are_not_utf8_are_refused(void **state)
{
	static const char *const texts[] = {"table: {file: \"\xff\"}", "kumaDPUser: \xc0\x80",
		"kumaDPUser: \xed\xa0\x80", "\xff\xfew\0o\0"};

	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++) {
		assert_int_equal(read_text(texts[i]), -EINVAL);
	}
	assert_int_equal(LOAD("--table-file", "\xc3("), -EINVAL);
	assert_int_equal(LOAD("--table-file", "\xed\xa0\x80"), -EINVAL);
	assert_int_equal(LOAD("--table-file", "\xf4\x90\x80\x80"), -EINVAL);
	assert_int_equal(LOAD("--table-file", "\xe2\x82"), -EINVAL);
}

static void printed_configuration_reads_back_into_the_same(void **state)
{
	struct conf again;
	char *text;

	(void)state;
	assert_loads((words){"--kuma-dp-user=a\"b\\c", "--table-file",
			     "/\xc3\xa9/\xe2\x80\xa8/\xf0\x9f\x90\xbb/#: x", "--listen=[::1]:15053",
			     "--listen", "[fe80::1%lo]:15053", "--upstream=192.0.2.1", "--mark=1",
			     "--capture-all", "--poll-interval=90s", "--tcp-max-unsent=1025KiB",
			     "--admin-socket=", "--metrics-address=127.0.0.1:9", "--mesh-zone=A.b.",
			     "--log-level=error", "--table-max-size=4GiB", "--cache-size=0",
			     "--serve-stale=0s", "--cache-max-ttl=90m", "--special-name=onion",
			     "--special-name=private-reverse", "--no-loop-probe",
			     "--upstream-zone=B.c.=10.1.1.1+[fe80::1%lo]:5353,.=refuse",
			     "--upstream-zone=ads.b=nxdomain", NULL},
		(words){NULL});
	text = print(&conf);
	conf_init(&again);
	assert_int_equal(conf_read(&again, "printed", text, strlen(text), &error), 0);
	assert_memory_equal(&again, &conf, sizeof conf);
	assert_non_null(strstr(text, "pollInterval: 90s\n"));
	assert_non_null(strstr(text, "maxUnsent: 1025KiB\n"));
	assert_non_null(strstr(text, "specialNames: [onion, private-reverse]\n"));
	assert_non_null(strstr(text, "\nupstreams: [\n  {zone: \"b.c\", servers: [\"10.1.1.1:53\", "
				     "\"[fe80::1%lo]:5353\"]},\n  {zone: \".\", answer: refuse},\n"
				     "  {zone: \"ads.b\", answer: nxdomain}]\n"));
	assert_non_null(strstr(text, "cache:\n  size: 0\n  maxTTL: 90m\n"));
	assert_non_null(strstr(text, "serveStale: 0s\n"));
	free(text);

	text = print(&defaults);
	conf_init(&again);
	assert_int_equal(conf_read(&again, "printed", text, strlen(text), &error), 0);
	assert_memory_equal(&again, &defaults, sizeof again);
	free(text);
}

static void flags_win_over_environment_over_file(void **state)
{
	static const char file[] = "workers: 2\ntable: {file: f}\nredirect: {dns: {port: 2}}\n"
				   "forward: {servers: [192.0.2.1, 192.0.2.2]}\n";
	char path[] = "/tmp/kuma-dns-test-XXXXXX";
	char config[64];
	words envp = {"KUMA_DNS_WORKERS=3", "KUMA_DNS_TABLE_FILE=e", "HOME=/",
		"KUMA_DNS_REDIRECT_DNS_CAPTURE_ALL=TRUE", "KUMA_DNS_KUMA_DP_USER=web",
		"KUMA_DNS_FORWARD_SERVERS=192.0.2.3,192.0.2.4", "KUMA_DNS_TABLE_STATE_DIR", NULL};

	(void)state;
	write_file(path, file, sizeof file - 1);
	snprintf(config, sizeof config, "--config=%s", path);
	assert_loads((words){"--workers=4", "--upstream=192.0.2.5", config, "--upstream",
			     "192.0.2.6", NULL},
		envp);
	unlink(path);
	assert_int_equal(conf.workers, 4);
	assert_string_equal(conf.table_file, "e");
	assert_int_equal(conf.port, 2);
	assert_true(conf.capture_all);
	assert_string_equal(conf.kuma_dp_user, "web");
	assert_int_equal(conf.servers.count, 2);
	assert_endpoint(&conf.servers.item[0], "192.0.2.5:53");
	assert_endpoint(&conf.servers.item[1], "192.0.2.6:53");
}

static void kumas_variables_set_ours(void **state)
{
	char path[] = "/tmp/kuma-dns-test-XXXXXX";
	char config[64];
	words envp = {"KUMA_DNS_PROXY_PORT=15054", "KUMA_DATAPLANE_RUNTIME_WORK_DIR=/tmp/kuma-dp-1",
		"KUMA_DNS_TABLE_FILE=", config, NULL};
	int rest;
	words both = {"KUMA_DNS_REDIRECT_DNS_PORT=3", "KUMA_DNS_PROXY_PORT=2", NULL};

	(void)state;
	write_file(path, "table: {file: f}\n", 17);
	snprintf(config, sizeof config, "KUMA_DNS_CONFIG=%s", path);
	assert_loads((words){NULL}, envp);
	assert_int_equal(conf.port, 15054);
	assert_string_equal(conf.work_dir, "/tmp/kuma-dp-1");
	assert_string_equal(conf.table_file, "f"); /* an empty variable counts as not set */
	assert_int_equal(load((words){"--config", "/nonexistent", NULL}, envp, &rest), -ENOENT);
	unlink(path);

	assert_loads((words){NULL}, both);
	assert_int_equal(conf.port, 3);
}

static void variables_of_kumas_proxy_are_read_and_ours_win(void **state)
{
	words envp = {"KUMA_TRANSPARENT_PROXY_REDIRECT_DNS_CAPTURE_ALL=true",
		"KUMA_TRANSPARENT_PROXY_KUMA_DP_USER=7",
		"KUMA_TRANSPARENT_PROXY_REDIRECT_OUTBOUND_EXCLUDE_PORTS_FOR_UIDS=tcp:80:5",
		"KUMA_TRANSPARENT_PROXY_REDIRECT_OUTBOUND_EXCLUDE_PORTS_FOR_IPS=::1,10.0.0.1",
		"KUMA_TRANSPARENT_PROXY_REDIRECT_DNS_PORT=5",
		"KUMA_TRANSPARENT_PROXY_COMMENTS_DISABLED=true",
		"KUMA_TRANSPARENT_PROXY_LOG_LEVEL=7", "KUMA_TRANSPARENT_PROXY_WORKERS=2",
		"KUMA_DNS_REDIRECT_DNS_PORT=6", NULL};
	words bad = {"KUMA_TRANSPARENT_PROXY_REDIRECT_VNET_NETWORKS=x", NULL};
	int rest;

	(void)state;
	assert_loads((words){NULL}, envp);
	assert_true(conf.capture_all);
	assert_string_equal(conf.kuma_dp_user, "7");
	assert_true(conf.outbound.given && !conf.inbound.given);
	assert_int_equal(conf.outbound.exclude_uids.item[0].uids.first, 5);
	assert_int_equal(conf.outbound.exclude_ips.count, 2);
	assert_int_equal(conf.port, 6);
	assert_true(conf.no_comments);
	assert_int_equal(conf.workers, 1);
	assert_int_equal(load((words){NULL}, bad, &rest), -EINVAL);
	assert_non_null(strstr(error.text, "KUMA_TRANSPARENT_PROXY_REDIRECT_VNET_NETWORKS: found "
					   "\"x\", expected INTERFACE:NETWORK"));
}

static void flags_have_the_names_of_kumactl(void **state)
{
	(void)state;
	assert_loads((words){"--redirect-dns=false", "--redirect-dns-port", "5",
			     "--redirect-all-dns-traffic", "--skip-dns-conntrack-zone-split",
			     "--kuma-dp-uid", "7", "--redirect-inbound=false",
			     "--redirect-outbound-port", "15", "--exclude-inbound-ports", "80,443",
			     "--exclude-inbound-ports", "8080", "--exclude-outbound-ports", "9",
			     "--exclude-outbound-ips", "10.0.0.0/8", "--exclude-inbound-ips",
			     "::/0", "--exclude-outbound-ports-for-uids", "53,80-90:106-108",
			     "--vnet", "br+:172.18.0.0/16", "--drop-invalid-packets",
			     "--iptables-logs", "--disable-comments", "--ip-family-mode", "ipv4",
			     "--dry-run", "--netns", "/run/netns/a", NULL},
		(words){NULL});
	assert_true(!conf.redirect_enabled && conf.port == 5 && conf.capture_all);
	assert_string_equal(conf.kuma_dp_user, "7");
	assert_true(conf.skip_zone_split && !conf.inbound.enabled && conf.outbound.port == 15);
	assert_int_equal(conf.inbound.exclude.count, 3);
	assert_int_equal(conf.inbound.exclude_ips.item[0].bits, 0);
	assert_int_equal(conf.outbound.exclude_uids.count, 2);
	assert_true(conf.drop_invalid && conf.log_packets && conf.no_comments && conf.dry_run);
	assert_string_equal(conf.netns, "/run/netns/a");
}

static void every_flag_of_the_first_day_works(void **state)
{
	(void)state;
	assert_loads(
		(words){"--listen", "127.0.0.1:1", "--listen=[::1]:1", "--table-file", "t",
			"--work-dir", "w", "--resolv-conf", "r", "--upstream", "::1",
			"--admin-socket", "a", "--metrics-address", "127.0.0.1:9", "--workers", "2",
			"--no-redirect", "--log-level", "debug", "--state-dir", "s", NULL},
		(words){NULL});
	assert_int_equal(conf.listen.count, 2);
	assert_string_equal(conf.table_file, "t");
	assert_string_equal(conf.work_dir, "w");
	assert_string_equal(conf.resolv_conf, "r");
	assert_endpoint(&conf.servers.item[0], "[::1]:53");
	assert_string_equal(conf.admin_socket, "a");
	assert_true(conf.admin_socket_given);
	assert_endpoint(&conf.metrics_address, "127.0.0.1:9");
	assert_int_equal(conf.workers, 2);
	assert_false(conf.redirect_enabled);
	assert_int_equal(conf.log_level, CONF_LOG_DEBUG);
	assert_string_equal(conf.state_dir, "s");
}

static void switches_have_three_forms(void **state)
{
	(void)state;
	assert_int_equal(LOAD("--capture-all"), 0);
	assert_true(conf.capture_all);
	assert_int_equal(LOAD("--capture-all", "--capture-all=false"), 0);
	assert_false(conf.capture_all);
	assert_int_equal(LOAD("--no-redirect-dns-tcp"), 0);
	assert_false(conf.dns_tcp);
	assert_true(conf.redirect_enabled);
	assert_int_equal(LOAD("--capture-all=true", "--no-capture-all"), 0);
	assert_false(conf.capture_all);
	assert_int_equal(LOAD("--no-redirect", "--redirect"), 0);
	assert_true(conf.redirect_enabled);
}

static void bad_flags_are_explained(void **state)
{
	static const struct {
		const char *argv[3];
		const char *message;
	} refusals[] = {
		{{"--wrokers=1"}, "--wrokers: found an unknown flag, expected one of --help"},
		{{"--worker"}, "--worker: found an unknown flag, expected one of --help"},
		{{"--no-workers"}, "--no-workers: found an unknown flag, expected one of --help"},
		{{"-w"}, "-w: found an unknown flag, expected one of --help"},
		{{"-listen", "127.0.0.1:1"},
			"-listen: found an unknown flag, expected one of --help"},
		{{"--\x1b[2J"}, "--\\x1b[2J: found an unknown flag, expected one of --help"},
		{{"--workers"}, "--workers: found nothing, expected a number from 1 to 64"},
		{{"--config"}, "--config: found nothing, expected FILE"},
		{{"--workers", "many"},
			"--workers: found \"many\", expected a number from 1 to 64"},
		{{"--workers="}, "--workers: found \"\", expected a number from 1 to 64"},
		{{"--no-redirect=true"}, "--no-redirect: found a value, expected none"},
		{{"--listen", "::1"},
			"--listen: found \"::1\", expected ADDRESS:PORT, at most 16 of them"},
		{{"--special-name", "local"},
			"--special-name: found \"local\", expected some of localhost, invalid, "
			"test, onion, alt, home, resolver, reverse, private-reverse"},
		{{"--cache-size=1"}, "--cache-size: found \"1\", expected 0 or a size from 64KiB "
				     "to 1GiB, such as 64KiB"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(refusals); i++) {
		assert_int_equal(load_flags(refusals[i].argv), -EINVAL);
		assert_string_equal(error.text, refusals[i].message);
	}
}

static void flags_may_stand_behind_words(void **state)
{
	words mixed = {
		"--workers", "2", "web.mesh", "--workers", "3", "db.mesh", "--no-redirect", NULL};
	words none = {NULL};
	char *argv[WORDS_MAX];
	int argc = copy_words(argv, mixed);
	int rest;

	(void)state;
	assert_int_equal(conf_load(&conf, argc, argv, (char *[]){NULL}, &rest, &error), 0);
	assert_int_equal(rest, 5);
	assert_string_equal(argv[5], "web.mesh");
	assert_string_equal(argv[6], "db.mesh");
	assert_int_equal(conf.workers, 3);
	assert_false(conf.redirect_enabled);
	/* The word is no value for a flag that lacks its own. */
	assert_int_equal(load((words){"web.mesh", "--workers", NULL}, none, &rest), -EINVAL);
	assert_int_equal(load((words){"--workers=2", "--", "--workers", NULL}, none, &rest), 0);
	assert_int_equal(rest, 2);
	assert_int_equal(load((words){"-", NULL}, none, &rest), 0);
	assert_int_equal(rest, 0);
}

static void bad_variables_are_explained(void **state)
{
	words envp = {"KUMA_DNS_TABLE_POLL_INTERVAL=1 s", NULL};
	words port = {"KUMA_DNS_PROXY_PORT=0", NULL};

	(void)state;
	assert_int_equal(load_variables(envp), -EINVAL);
	assert_string_equal(error.text,
		"environment: KUMA_DNS_TABLE_POLL_INTERVAL: found \"1 s\", expected a duration "
		"from 50ms to 1h, such as 1m30s");
	assert_int_equal(load_variables(port), -EINVAL);
	assert_string_equal(error.text, "environment: KUMA_DNS_PROXY_PORT: found \"0\", expected a "
					"number from 1 to 65535");
}

/* What conf_load writes to standard error with that environment. */
static void log_of(words variables, char *text, size_t size)
{
	int pipes[2];
	int saved = dup(STDERR_FILENO);
	ssize_t len;
	int rc;

	assert_int_equal(pipe(pipes), 0);
	dup2(pipes[1], STDERR_FILENO);
	rc = load_variables(variables);
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(pipes[1]);
	len = read(pipes[0], text, size - 1);
	close(pipes[0]);
	assert_int_equal(rc, 0);
	assert_true(len >= 0);
	text[len] = '\0';
}

static void a_variable_that_may_be_a_typo_is_named(void **state)
{
	words typo = {"KUMA_DNS_WROKERS=1", "KUMA_DNS_TABLE=1", NULL};
	words others = {"KUMA_DNS_ENABLED=false", "KUMA_DNS_CORE_DNS_PORT=1",
		"KUMA_DNS_CORE_DNS_EMPTY_PORT=1", "KUMA_DNS_CORE_DNS_BINARY_PATH=x",
		"KUMA_DNS_CORE_DNS_CONFIG_TEMPLATE_PATH=x", "KUMA_DNS_CORE_DNS_LOGGING=true",
		"KUMA_DNS_ENVOY_DNS_PORT=1", "KUMA_DNS_CONFIG_DIR=x", "KUMA_DNS_PROMETHEUS_PORT=1",
		"KUMA_DNS_ENABLE_LOGGING=true", "KUMA_DNS_SERVICE_HOST=10.0.0.1",
		"KUMA_DNS_PORT=tcp://10.0.0.1:53", "KUMA_DNS_PORT_53_UDP_ADDR=10.0.0.1",
		"KUMA_DNS_WORKERS=1", "KUMA_DNS_PROXY_PORT=15053", "KUMA_CONTROL_PLANE_X=1", NULL};
	char text[2000];

	(void)state;
	log_of(typo, text, sizeof text);
	assert_non_null(strstr(text, "warning: environment: KUMA_DNS_WROKERS: unknown, ignored\n"));
	assert_non_null(strstr(text, "warning: environment: KUMA_DNS_TABLE: unknown, ignored\n"));
	log_of(others, text, sizeof text);
	assert_string_equal(text, "");
}

static void keys_that_contradict_each_other_are_refused(void **state)
{
	(void)state;
	assert_int_equal(LOAD("--fail-closed", "--redirect-mode=auto"), 0);
	assert_int_equal(LOAD("--fail-closed", "--redirect-mode=ebpf"), -EINVAL);
	assert_string_equal(error.text,
		"redirect.failClosed: found true, expected false with redirect.mode ebpf, whose "
		"programs end with the daemon");
	assert_int_equal(LOAD("--tcp-max-connections=10"), -EINVAL);
	assert_string_equal(error.text, "tcp.maxConnectionsPerPeer: found 256, expected at most "
					"tcp.maxConnections, 10");
	assert_int_equal(LOAD("--forward-timeout=500ms"), -EINVAL);
	assert_string_equal(error.text,
		"forward.tryTimeout: found 800ms, expected at most forward.timeout, 500ms");
	assert_int_equal(LOAD("--metrics-address=0.0.0.0:15053"), -EINVAL);
	assert_string_equal(error.text,
		"admin.metricsAddress: found 0.0.0.0:15053, expected a port "
		"that DNS is not served at");
	assert_int_equal(
		LOAD("--metrics-address=[::1]:53", "--listen=127.0.0.1:53", "--no-redirect"),
		-EINVAL);
	assert_int_equal(LOAD("--listen=127.0.0.1:5300"), -EINVAL);
	assert_string_equal(error.text,
		"listen: found 127.0.0.1:5300, expected 127.0.0.1:15053 or [::1]:15053 among them, "
		"where redirect.dns.port sends queries; or --no-redirect");
	assert_int_equal(LOAD("--upstream-zone=a=10.1.1.1,web.Mesh.=refuse"), -EINVAL);
	assert_string_equal(error.text,
		"upstreams: found web.mesh, expected a zone outside of the mesh zone mesh, which "
		"is answered from the table alone");
	assert_int_equal(LOAD("--upstream-zone=mesh.local=refuse"), -EINVAL);
	assert_int_equal(
		LOAD("--upstream-zone=local=10.1.1.1,xmesh=refuse,mesh.x=refuse,.=10.1.1.2"), 0);
	assert_int_equal(LOAD("--upstream-zone=web.mesh=10.1.1.1", "--mesh-zone=b.mesh"), 0);
	assert_int_equal(LOAD("--listen=127.0.0.2:15053"), -EINVAL);
	assert_int_equal(LOAD("--listen=127.0.0.1:5300", "--no-redirect"), 0);
	assert_int_equal(LOAD("--listen=127.0.0.1:5300", "--port=5300"), 0);
	assert_int_equal(LOAD("--listen=192.0.2.1:1", "--listen=0.0.0.0:15053"), 0);
	assert_int_equal(LOAD("--listen=[::]:15053"), 0);
}

static void files_that_cannot_be_read_are_errors(void **state)
{
	char path[] = "/tmp/kuma-dns-test-XXXXXX";
	char *large = malloc(1024 * 1024 + 1);

	(void)state;
	assert_int_equal(LOAD("--config", "/nonexistent"), -ENOENT);
	assert_string_equal(error.text, "/nonexistent: cannot be read: No such file or directory");
	assert_int_equal(LOAD("--config-file", "/"), -EISDIR);
	assert_int_equal(LOAD("--config", "/"), -EISDIR);
	memset(large, '#', 1024 * 1024 + 1);
	write_file(path, large, 1024 * 1024 + 1);
	assert_int_equal(LOAD("--config", path), -EINVAL);
	assert_non_null(strstr(error.text, "found more than 1MiB"));
	assert_int_equal(truncate(path, 1024 * 1024), 0);
	assert_int_equal(LOAD("--config", path), 0);
	unlink(path);
	free(large);
}

static void admin_socket_is_in_the_place_of_the_user(void **state)
{
	(void)state;
	if (geteuid() == 0) {
		assert_string_equal(defaults.admin_socket, "/run/kuma-dns.sock");
		/* A child without privileges, so that the other half runs for root too. */
		pid_t child = fork();
		int status = 0;

		if (child == 0) {
			char long_dir[200];
			bool good = setresuid(65534, 65534, 65534) == 0;

			memset(long_dir, 'x', sizeof long_dir - 1);
			long_dir[sizeof long_dir - 1] = '\0';
			setenv("XDG_RUNTIME_DIR", "/run/user/1", 1);
			conf_init(&conf);
			good = good && !strcmp(conf.admin_socket, "/run/user/1/kuma-dns.sock");
			setenv("XDG_RUNTIME_DIR", long_dir, 1);
			conf_init(&conf);
			good = good && !conf.admin_socket[0];
			unsetenv("XDG_RUNTIME_DIR");
			conf_init(&conf);
			_exit(good && !conf.admin_socket[0] ? 0 : 1);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
	}
}

/* `text` with each `#key` at the beginning of a line made a key. */
static void uncomment(char *text)
{
	bool beginning = true;
	char *out = text;

	for (const char *c = text; *c; c++) {
		bool letter = (c[1] >= 'a' && c[1] <= 'z') || (c[1] >= 'A' && c[1] <= 'Z');

		if (!(beginning && *c == '#' && letter)) {
			*out++ = *c;
		}
		beginning = *c == '\n' || (beginning && *c == ' ');
	}
	*out = '\0';
}

static void sample_file_holds_the_defaults(void **state)
{
	char *text = read_whole("conf/kuma-dns.yaml");

	(void)state;
	assert_reads(text);
	assert_memory_equal(&conf, &defaults, sizeof conf);
	uncomment(text);
	assert_reads(text);
	conf.inbound.given = false; /* its keys stand there, as defaults */
	conf.outbound.given = false;
	assert_memory_equal(&conf, &defaults, sizeof conf);
	free(text);
}

/* Call `check` with the full path of each key that conf_print writes. */
static void for_each_key(void (*check)(const char *path, const char *text), const char *text)
{
	char *printed = print(&defaults);
	char path[200];
	size_t ends[8] = {0};
	char *save = NULL;

	for (char *line = strtok_r(printed, "\n", &save); line;
		line = strtok_r(NULL, "\n", &save)) {
		size_t indent = strspn(line, " #");
		size_t depth = strspn(line, " ") / 2;
		size_t at = depth ? ends[depth - 1] : 0;
		size_t len = strcspn(line + indent, ":");

		snprintf(path + at, sizeof path - at, "%s%.*s", depth ? "." : "", (int)len,
			line + indent);
		ends[depth] = strlen(path);
		if (line[strlen(line) - 1] != ':') {
			check(path, text);
		}
	}
	free(printed);
}

static void has_item(const char *path, const char *manual)
{
	char item[256];

	snprintf(item, sizeof item, "\n.It Cm %s ", path);
	if (!strstr(manual, item)) {
		fail_msg("kuma-dns.8 does not describe %s", path);
	}
}

static void has_line(const char *path, const char *sample)
{
	const char *dot = strrchr(path, '.');
	char line[256];

	snprintf(line, sizeof line, "#%s: ", dot ? dot + 1 : path);
	if (!strstr(sample, line) && strcmp(path, "admin.socket") != 0) {
		fail_msg("kuma-dns.yaml does not show %s", path);
	}
}

/* `text` holds `expected`, and a space or a newline behind them. */
static bool has_word(const char *text, const char *expected)
{
	size_t len = strlen(expected);

	for (text = strstr(text, expected); text; text = strstr(text + 1, expected)) {
		if (text[len] == ' ' || text[len] == '\n') {
			return true;
		}
	}
	return false;
}

static void manual_page_and_sample_name_every_key_and_flag(void **state)
{
	char *manual = read_whole("conf/kuma-dns.8");
	char *sample = read_whole("conf/kuma-dns.yaml");
	char *flags = print_flags();
	char *save = NULL;
	int count = 0;

	(void)state;
	for_each_key(has_item, manual);
	for_each_key(has_line, sample);
	for (char *line = strtok_r(flags, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char item[100];

		assert_memory_equal(line, "  --", 4);
		snprintf(item, sizeof item, "\n.It Fl -%.*s", (int)strcspn(line + 4, " ["),
			line + 4);
		if (!has_word(manual, item)) {
			fail_msg("kuma-dns.8 does not describe %s", line);
		}
		count++;
	}
	assert_true(count > 25);
	free(flags);
	free(sample);
	free(manual);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(defaults_are_the_documented_ones, set_up),
		cmocka_unit_test_setup(file_sets_every_type, set_up),
		cmocka_unit_test_setup(cache_is_set_and_switched_off, set_up),
		cmocka_unit_test_setup(canaries_are_set_and_switched_off, set_up),
		cmocka_unit_test_setup(special_names_are_the_groups_of_that_name, set_up),
		cmocka_unit_test_setup(flags_and_variables_set_cache_and_forwarding, set_up),
		cmocka_unit_test_setup(upstreams_are_mappings_in_both_styles, set_up),
		cmocka_unit_test_setup(upstreams_are_flags_and_a_variable, set_up),
		cmocka_unit_test_setup(bad_upstreams_in_short_form_are_refused, set_up),
		cmocka_unit_test_setup(upstreams_have_limits, set_up),
		cmocka_unit_test_setup(lists_are_sequences_or_text_with_commas, set_up),
		cmocka_unit_test_setup(what_a_document_does_not_mention_stays, set_up),
		cmocka_unit_test_setup(kumas_own_file_is_accepted, set_up),
		cmocka_unit_test_setup(ports_users_and_networks_have_all_of_kumas_forms, set_up),
		cmocka_unit_test_setup(wrong_ports_users_and_networks_are_refused, set_up),
		cmocka_unit_test_setup(virtual_networks_are_interfaces_with_a_network, set_up),
		cmocka_unit_test_setup(lists_of_traffic_have_limits, set_up),
		cmocka_unit_test_setup(errors_say_where_what_and_what_was_expected, set_up),
		cmocka_unit_test_setup(values_are_escaped_and_cut_in_errors, set_up),
		cmocka_unit_test_setup(limits_are_exact, set_up),
		cmocka_unit_test_setup(zones_are_domain_names, set_up),
		cmocka_unit_test_setup(nesting_is_limited, set_up),
		cmocka_unit_test_setup(octets_that_are_not_utf8_are_refused, set_up),
		cmocka_unit_test_setup(printed_configuration_reads_back_into_the_same, set_up),
		cmocka_unit_test_setup(flags_win_over_environment_over_file, set_up),
		cmocka_unit_test_setup(kumas_variables_set_ours, set_up),
		cmocka_unit_test_setup(variables_of_kumas_proxy_are_read_and_ours_win, set_up),
		cmocka_unit_test_setup(flags_have_the_names_of_kumactl, set_up),
		cmocka_unit_test_setup(every_flag_of_the_first_day_works, set_up),
		cmocka_unit_test_setup(switches_have_three_forms, set_up),
		cmocka_unit_test_setup(bad_flags_are_explained, set_up),
		cmocka_unit_test_setup(flags_may_stand_behind_words, set_up),
		cmocka_unit_test_setup(bad_variables_are_explained, set_up),
		cmocka_unit_test_setup(a_variable_that_may_be_a_typo_is_named, set_up),
		cmocka_unit_test_setup(keys_that_contradict_each_other_are_refused, set_up),
		cmocka_unit_test_setup(files_that_cannot_be_read_are_errors, set_up),
		cmocka_unit_test_setup(admin_socket_is_in_the_place_of_the_user, set_up),
		cmocka_unit_test_setup(sample_file_holds_the_defaults, set_up),
		cmocka_unit_test_setup(manual_page_and_sample_name_every_key_and_flag, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
