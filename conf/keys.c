/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of keys: all that file, environment, flags, `check` and `--help` know of a key stands
 * here once. And how errors are worded.
 */
#include "conf/keys.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#define AT(member) offsetof(struct conf, member), sizeof(((struct conf *)0)->member)
#define SECTION(p)                                                                                 \
	{                                                                                          \
		.path = p, .type = KEY_SECTION                                                     \
	}
#define IGNORED(p)                                                                                 \
	{                                                                                          \
		.path = p, .type = KEY_IGNORED                                                     \
	}

static_assert(sizeof(enum conf_log_level) == 4 && sizeof(enum conf_families) == 4 &&
		      sizeof(enum conf_redirect_mode) == 4 && sizeof(enum conf_canary) == 4,
	"put_integer knows choices as 4 octets");

/* clang-format off */
const struct key conf_keys[] = {
	{"kumaDPUser", "kuma-dp-user", KEY_TEXT, AT(kuma_dp_user), 0, 0, "USER", "", NULL,
		"name or UID of Kuma's proxy, which is not redirected; empty: 5678, else kuma-dp"},
	{"ipFamilyMode", "ip-family-mode", KEY_CHOICE, AT(ip_family_mode), 0, 0, "dualstack|ipv4",
		"dualstack", NULL, "the families that are served and redirected"},
	{"listen", "listen", KEY_ENDPOINTS, AT(listen), 0, 0, "ADDRESS:PORT", "", NULL,
		"serve here (repeatable); empty: 127.0.0.1 and ::1 at redirect.dns.port"},
	{"workers", "workers", KEY_NUMBER, AT(workers), 1, 64, "N", "1", NULL,
		"threads that answer queries"},
	{"meshZones", "mesh-zone", KEY_ZONES, AT(mesh_zones), 0, 0, "ZONE", "mesh,mesh.local", NULL,
		"answer every name below this zone from the table alone (repeatable)"},
	{"user", "user", KEY_TEXT, AT(user), 0, 0, "USER", "", NULL,
		"of run: become this user (a name or UID); empty: from root, Kuma's proxy's"},
	SECTION("redirect"),
	{"redirect.mode", "redirect-mode", KEY_CHOICE, AT(redirect_mode), 0, 0, "nftables|ebpf|auto",
		"nftables", NULL, "what redirects DNS of this host; auto: eBPF where it can be had"},
	{"redirect.cgroup", "redirect-cgroup", KEY_TEXT, AT(cgroup), 0, 0, "DIRECTORY", "", NULL,
		"the application's cgroup, for eBPF; empty: on Kubernetes the pod's, else all"},
	{"redirect.mark", "mark", KEY_MARK, AT(mark), 1, UINT32_MAX, "MARK", "0x6b64", NULL,
		"mark on our own queries, which are not redirected"},
	{"redirect.failClosed", "fail-closed", KEY_BOOL, AT(fail_closed), 0, 0, "BOOL", "false", NULL,
		"leave the rules when we end, however we end: no query goes direct"},
	SECTION("redirect.dns"),
	{"redirect.dns.enabled", "redirect", KEY_BOOL, AT(redirect_enabled), 0, 0, "BOOL", "true",
		NULL, "redirect port 53 to us"},
	{"redirect.dns.port", "port", KEY_NUMBER, AT(port), 1, UINT16_MAX, "PORT", "15053",
		"KUMA_DNS_PROXY_PORT", "port that queries are redirected to"},
	{"redirect.dns.captureAll", "capture-all", KEY_BOOL, AT(capture_all), 0, 0, "BOOL",
		"false", NULL, "redirect queries to all servers, not only to those of resolv.conf"},
	{"redirect.dns.tcp", "redirect-dns-tcp", KEY_BOOL, AT(dns_tcp), 0, 0, "BOOL", "true", NULL,
		"redirect DNS over TCP"},
	{"redirect.dns.skipConntrackZoneSplit", "skip-conntrack-zone-split", KEY_BOOL,
		AT(skip_zone_split), 0, 0, "BOOL", "false", NULL,
		"redirect without connection tracking zones"},
	{"redirect.dns.resolvConfigPath", "resolv-conf", KEY_TEXT, AT(resolv_conf), 0, 0, "FILE",
		"/etc/resolv.conf", NULL, "read the name servers from this file"},
	SECTION("redirect.inbound"),
	{"redirect.inbound.enabled", "redirect-inbound", KEY_BOOL, AT(inbound.enabled), 0, 0, "BOOL", "true",
		NULL, "redirect inbound TCP to Envoy; unless named, install does and run does not"},
	{"redirect.inbound.port", "redirect-inbound-port", KEY_NUMBER, AT(inbound.port), 1, UINT16_MAX,
		"PORT", "15006", NULL, "where Envoy takes inbound TCP"},
	{"redirect.inbound.includePorts", "include-inbound-ports", KEY_PORTS, AT(inbound.include), 0, 0,
		"PORTS", "", NULL, "redirect inbound TCP to these ports alone (repeatable)"},
	{"redirect.inbound.excludePorts", "exclude-inbound-ports", KEY_PORTS, AT(inbound.exclude), 0, 0,
		"PORTS", "", NULL, "do not redirect inbound TCP to these ports (repeatable)"},
	{"redirect.inbound.excludePortsForUIDs", NULL, KEY_EXCLUSIONS,
		AT(inbound.exclude_uids), 0, 0, "[[PROTOCOL:]PORTS:]UIDS", "", NULL,
		"has no effect: what comes in has no user (repeatable)"},
	{"redirect.inbound.excludePortsForIPs", "exclude-inbound-ips", KEY_NETWORKS,
		AT(inbound.exclude_ips), 0, 0, "NETWORK", "", NULL,
		"do not redirect TCP from these addresses (repeatable)"},
	IGNORED("redirect.inbound.insertRedirectInsteadOfAppend"),
	SECTION("redirect.outbound"),
	{"redirect.outbound.enabled", "redirect-outbound", KEY_BOOL, AT(outbound.enabled), 0, 0, "BOOL", "true",
		NULL, "redirect outbound TCP to Envoy; unless named, install does and run does not"},
	{"redirect.outbound.port", "redirect-outbound-port", KEY_NUMBER, AT(outbound.port), 1, UINT16_MAX,
		"PORT", "15001", NULL, "where Envoy takes outbound TCP"},
	{"redirect.outbound.includePorts", "include-outbound-ports", KEY_PORTS, AT(outbound.include), 0, 0,
		"PORTS", "", NULL, "redirect outbound TCP to these ports alone (repeatable)"},
	{"redirect.outbound.excludePorts", "exclude-outbound-ports", KEY_PORTS, AT(outbound.exclude), 0, 0,
		"PORTS", "", NULL, "do not redirect outbound TCP to these ports (repeatable)"},
	{"redirect.outbound.excludePortsForUIDs", "exclude-outbound-ports-for-uids", KEY_EXCLUSIONS,
		AT(outbound.exclude_uids), 0, 0, "[[PROTOCOL:]PORTS:]UIDS", "", NULL,
		"do not redirect what these users send to these ports (repeatable)"},
	{"redirect.outbound.excludePortsForIPs", "exclude-outbound-ips", KEY_NETWORKS,
		AT(outbound.exclude_ips), 0, 0, "NETWORK", "", NULL,
		"do not redirect anything to these addresses (repeatable)"},
	IGNORED("redirect.outbound.insertRedirectInsteadOfAppend"),
	SECTION("redirect.vnet"),
	{"redirect.vnet.networks", "vnet", KEY_VNETS, AT(vnets), 0, 0, "INTERFACE:NETWORK", "", NULL,
		"redirect what comes in here from this network, such as br+:172.18.0.0/16 "
		"(repeatable)"},
	{"dropInvalidPackets", "drop-invalid-packets", KEY_BOOL, AT(drop_invalid), 0, 0, "BOOL",
		"false", NULL, "drop incoming packets that connection tracking finds invalid"},
	SECTION("comments"),
	{"comments.disabled", "disable-comments", KEY_BOOL, AT(no_comments), 0, 0, "BOOL", "false",
		NULL, "install rules without comments"},
	{"dryRun", "dry-run", KEY_BOOL, AT(dry_run), 0, 0, "BOOL", "false", NULL,
		"of install and uninstall: print the rules and change nothing"},
	{"netns", "netns", KEY_TEXT, AT(netns), 0, 0, "PATH", "", NULL,
		"of install and uninstall: work in this network namespace"},
	SECTION("table"),
	{"table.file", "table-file", KEY_TEXT, AT(table_file), 0, 0, "FILE", "", NULL,
		"read the table from this JSON file"},
	{"table.workDir", "work-dir", KEY_TEXT, AT(work_dir), 0, 0, "DIR", "",
		"KUMA_DATAPLANE_RUNTIME_WORK_DIR",
		"fetch the table from Envoy's socket in kuma-dp's work directory"},
	{"table.pollInterval", "poll-interval", KEY_DURATION, AT(poll_interval_ms), 50, 3600000,
		"TIME", "1s", NULL, "ask Envoy's socket this often"},
	{"table.maxSize", "table-max-size", KEY_SIZE, AT(table_max_size), 4 * KIB, 4 * GIB, "SIZE",
		"64MiB", NULL, "refuse a table document that is larger"},
	{"table.stateDir", "state-dir", KEY_TEXT, AT(state_dir), 0, 0, "DIR", "", NULL,
		"keep the last good table here for the next start; empty: keep none"},
	SECTION("forward"),
	{"forward.servers", "upstream", KEY_ENDPOINTS, AT(servers), 53, 0, "ADDRESS[:PORT]", "",
		NULL, "forward to this server (repeatable); empty: those of resolv.conf"},
	{"forward.timeout", "forward-timeout", KEY_DURATION, AT(forward_timeout_ms), 100, 60000,
		"TIME", "4s", NULL, "give up on a forwarded query after this time"},
	{"forward.tryTimeout", "try-timeout", KEY_DURATION, AT(forward_try_ms), 50, 60000, "TIME",
		"800ms", NULL, "ask a server that is silent again after this time"},
	{"forward.maxTransactions", "max-transactions", KEY_NUMBER, AT(transactions_max), 1, 65536,
		"N", "4096", NULL, "forwarded queries in flight, for each worker"},
	{"forward.specialNames", "special-name", KEY_CHOICES, AT(special_names), 0, 0,
		"localhost|invalid|test|onion|alt|home|resolver|reverse|private-reverse",
		"localhost,invalid,test,onion,alt,home,resolver,reverse", NULL,
		"answer these names ourselves (repeatable); also private-reverse; empty: none"},
	{"forward.askedServer", "asked-server", KEY_BOOL, AT(asked_server), 0, 0, "BOOL", "true",
		NULL, "pass queries to servers that are not in resolv.conf on to these very servers"},
	{"forward.searchShortcut", "search-shortcut", KEY_BOOL, AT(search_shortcut), 0, 0, "BOOL",
		"true", NULL, "find out once what a search domain does not have"},
	{"forward.loopProbe", "loop-probe", KEY_BOOL, AT(loop_probe), 0, 0, "BOOL", "true", NULL,
		"look for servers that lead back to us"},
	{"upstreams", "upstream-zone", KEY_UPSTREAMS, AT(upstreams), 0, 0, "ZONE=SERVER[+SERVER...]",
		"", NULL,
		"forward names in this zone to these servers, or ZONE=refuse, ZONE=nxdomain "
		"(repeatable)"},
	SECTION("cache"),
	{"cache.size", "cache-size", KEY_SIZE_OR_0, AT(cache_size), 64 * KIB, GIB, "SIZE", "4MiB",
		NULL, "memory for answers to keep, for each worker; 0: keep none"},
	{"cache.maxTTL", "cache-max-ttl", KEY_SECONDS, AT(cache_ttl_max), 1, 720 * 3600, "TIME",
		"24h", NULL, "keep an answer for this time at most"},
	{"cache.maxNegativeTTL", "cache-max-negative-ttl", KEY_SECONDS, AT(cache_negative_ttl_max),
		0, 24 * 3600, "TIME", "30s", NULL,
		"keep a negative answer for this time at most; 0s: keep none"},
	{"cache.serveStale", "serve-stale", KEY_SECONDS, AT(cache_stale_max), 0, 72 * 3600, "TIME",
		"1h", NULL,
		"while servers fail, use answers up to this time after their end; 0s: never"},
	{"cache.prefetch", "prefetch", KEY_BOOL, AT(cache_prefetch), 0, 0, "BOOL", "true", NULL,
		"ask again shortly before an answer that is in use ends"},
	{"cache.nxdomainCovers", "nxdomain-covers", KEY_BOOL, AT(cache_nxdomain_covers), 0, 0,
		"BOOL", "true", NULL, "take NXDOMAIN for a name as one for all below it"},
	SECTION("tcp"),
	{"tcp.maxConnections", "tcp-max-connections", KEY_NUMBER, AT(tcp_connections_max), 1, 65536,
		"N", "512", NULL, "TCP connections, for each worker"},
	{"tcp.maxConnectionsPerPeer", "tcp-max-connections-per-peer", KEY_NUMBER,
		AT(tcp_connections_peer_max), 1, 65536, "N", "256", NULL,
		"TCP connections of one address, for each worker"},
	{"tcp.idleTimeout", "tcp-idle-timeout", KEY_DURATION, AT(tcp_idle_ms), 100, 3600000, "TIME",
		"10s", NULL, "close a TCP connection that is idle for this time"},
	{"tcp.maxUnsent", "tcp-max-unsent", KEY_SIZE, AT(tcp_unsent_max), 4 * KIB, GIB, "SIZE",
		"256KiB", NULL, "stop reading from a TCP peer with this much unread output"},
	{"tcp.maxFrame", "tcp-max-frame", KEY_SIZE, AT(tcp_frame_max), 512, UINT16_MAX, "SIZE",
		"4KiB", NULL, "refuse a query over TCP that is larger"},
	SECTION("canary"),
	{"canary.interval", "canary-interval", KEY_SECONDS, AT(canary_interval), 0, 3600, "TIME",
		"30s", NULL, "see this often whether queries come to us; 0s: never"},
	{"canary.required", "canary-required", KEY_CHOICE, AT(canary_required), 0, 0,
		"own|always|never", "own", NULL,
		"be ready only where they do; own: where the rules are our own"},
	SECTION("admin"),
	{"admin.socket", "admin-socket", KEY_TEXT, AT(admin_socket), 0, 0, "PATH", NULL, NULL,
		"admin socket; else /run/kuma-dns.sock for root, $XDG_RUNTIME_DIR/kuma-dns.sock for "
		"others; empty: none"},
	{"admin.metricsAddress", "metrics-address", KEY_ENDPOINT, AT(metrics_address), 0, 0,
		"ADDRESS:PORT", "", NULL, "serve /metrics and /ready here over TCP too; empty: nowhere"},
	SECTION("log"),
	{"log.level", "log-level", KEY_CHOICE, AT(log_level), 0, 0, "error|warning|info|debug",
		"info", NULL, "write lines of this level and above"},
	{"log.enabled", "log-packets", KEY_BOOL, AT(log_packets), 0, 0, "BOOL", "false", NULL,
		"let the kernel log the first packet of each flow that the rules see"},
	IGNORED("cniMode"),
	IGNORED("ebpf"),
	IGNORED("iptablesExecutables"),
	IGNORED("retry"),
	IGNORED("storeFirewalld"),
	IGNORED("verbose"),
	IGNORED("wait"),
	IGNORED("waitInterval"),
};
/* clang-format on */
const unsigned conf_keys_count = sizeof conf_keys / sizeof conf_keys[0];
static_assert(sizeof conf_keys / sizeof conf_keys[0] <= KEYS_MAX, "KEYS_MAX holds every key");

/* Room for an escape, the ellipsis and the closing quote. */
enum { QUOTE_CUT = 64, QUOTE_RESERVE = 12 };

const char *key_quote(char *out, size_t size, const char *text, const char *quotes)
{
	size_t limit = size < QUOTE_CUT ? size : QUOTE_CUT;
	size_t len = (size_t)snprintf(out, size, "%s", quotes);

	for (; *text && len + QUOTE_RESERVE < limit; text++) {
		unsigned char c = (unsigned char)*text;
		bool plain = c >= 0x20 && c < 0x7f;

		len += (size_t)snprintf(out + len, size - len, plain ? "%c" : "\\x%02x", c);
	}
	snprintf(out + len, size - len, "%s%s", *text ? "..." : "", quotes);
	return out;
}

int conf_fail(struct conf_error *error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error->text, sizeof error->text, format, args);
	va_end(args);
	return -EINVAL;
}
