/* SPDX-License-Identifier: Apache-2.0
 *
 * The configuration: defaults, then the file, the environment, the flags, in rising precedence. One
 * table in conf.c describes every key once: its place in the file, its variable, its flag, type,
 * range.
 */
#pragma once

#include "conf/endpoint.h"
#include "conf/traffic.h"

#include <limits.h>
#include <stdint.h>
#include <stdio.h>

enum {
	CONF_LISTEN_MAX = 16,
	CONF_SERVERS_MAX = 16,
	CONF_ZONES_MAX = 32,
	CONF_UPSTREAMS_MAX = 32,
	CONF_ZONE_SIZE = 256
};

struct endpoint_list {
	unsigned count;
	struct endpoint item[CONF_SERVERS_MAX];
};

/** A zone in presentation format, without its trailing dot, checked to be a domain name. */
struct conf_zones {
	unsigned count;
	char item[CONF_ZONES_MAX][CONF_ZONE_SIZE];
};

/** What is done with the names in a zone. */
enum conf_policy { CONF_FORWARD, CONF_REFUSE, CONF_NXDOMAIN };

/** A zone with servers of its own, or with one answer to every question. */
struct conf_upstream {
	char zone[CONF_ZONE_SIZE]; /* as in struct conf_zones; "." is the root */
	enum conf_policy answer;
	struct endpoint_list servers; /* 1..CONF_SERVERS_MAX with CONF_FORWARD, else none */
};

/** In the order of the file; no zone is there twice. */
struct conf_upstreams {
	unsigned count;
	struct conf_upstream item[CONF_UPSTREAMS_MAX];
};

/** How queries are redirected. */
enum conf_redirect_mode { CONF_NFTABLES, CONF_EBPF, CONF_AUTO };
enum conf_log_level { CONF_LOG_ERROR, CONF_LOG_WARNING, CONF_LOG_INFO, CONF_LOG_DEBUG };
enum conf_families { CONF_DUALSTACK, CONF_IPV4 };

/** When the daemon is not ready as long as canaries get lost. */
enum conf_canary { CONF_CANARY_OWN, CONF_CANARY_ALWAYS, CONF_CANARY_NEVER };

struct conf {
	/* Kuma's keys */
	char kuma_dp_user[64]; /* kumaDPUser: a name or UID; empty: 5678, else kuma-dp */
	enum conf_families ip_family_mode; /* ipFamilyMode: dualstack, ipv4 */
	bool redirect_enabled;        /* redirect.dns.enabled; --no-redirect; default true for us */
	uint16_t port;                /* redirect.dns.port, KUMA_DNS_PROXY_PORT: 15053 */
	bool capture_all;             /* redirect.dns.captureAll: false */
	bool dns_tcp;                 /* redirect.dns.tcp: true */
	bool skip_zone_split;         /* redirect.dns.skipConntrackZoneSplit: false */
	char resolv_conf[PATH_MAX];   /* redirect.dns.resolvConfigPath, --resolv-conf */
	struct conf_traffic inbound;  /* redirect.inbound: port 15006 */
	struct conf_traffic outbound; /* redirect.outbound: port 15001 */
	struct conf_vnets vnets;      /* redirect.vnet.networks */
	bool drop_invalid;            /* dropInvalidPackets: false */
	bool no_comments;             /* comments.disabled: false */
	bool log_packets;             /* log.enabled: false */
	bool dry_run;                 /* dryRun: install and uninstall print what they would do */

	/* ours */
	char user[64];        /* user: a name or UID; empty: that of Kuma's proxy */
	char netns[PATH_MAX]; /* netns: where install and uninstall work; empty: here */
	enum conf_redirect_mode redirect_mode; /* redirect.mode: nftables */
	char cgroup[PATH_MAX];                 /* redirect.cgroup: empty; for eBPF */
	bool fail_closed;                      /* redirect.failClosed: false */
	uint32_t mark;                /* redirect.mark: SO_MARK of our own queries; 0x6b64 */
	struct endpoint_list listen;  /* listen; empty: 127.0.0.1 and ::1 at `port` */
	unsigned workers;             /* workers: 1..64 */
	struct conf_zones mesh_zones; /* meshZones: mesh, mesh.local */
	char table_file[PATH_MAX];    /* table.file */
	char work_dir[PATH_MAX];      /* table.workDir, KUMA_DATAPLANE_RUNTIME_WORK_DIR */
	uint32_t poll_interval_ms;    /* table.pollInterval: 1s; 50ms..1h */
	uint64_t table_max_size;      /* table.maxSize: 64MiB; octets of the document */
	char state_dir[PATH_MAX];     /* table.stateDir; empty: nothing is kept */
	struct endpoint_list servers; /* forward.servers, --upstream; empty: those of resolv.conf */
	uint32_t forward_timeout_ms;  /* forward.timeout: 4s; the whole of a transaction */
	uint32_t forward_try_ms; /* forward.tryTimeout: 800ms; until a silent server is asked again
				  */
	uint32_t transactions_max; /* forward.maxTransactions: 4096; 1..65536 per worker */
	/* forward.specialNames: those answered here, bits in the order of enum special_group; all
	 * but the reverse zones of private networks */
	uint32_t special_names;
	bool asked_server;                 /* forward.askedServer: true */
	bool search_shortcut;              /* forward.searchShortcut: true */
	bool loop_probe;                   /* forward.loopProbe: true */
	struct conf_upstreams upstreams;   /* upstreams, --upstream-zone: none */
	uint64_t cache_size;               /* cache.size: 4MiB; octets per worker; 0: no cache */
	uint32_t cache_ttl_max;            /* cache.maxTTL: 24h; seconds; 1s..720h */
	uint32_t cache_negative_ttl_max;   /* cache.maxNegativeTTL: 30s; seconds; 0: none is kept */
	uint32_t cache_stale_max;          /* cache.serveStale: 1h; seconds; 0: never; ..72h */
	bool cache_prefetch;               /* cache.prefetch: true */
	bool cache_nxdomain_covers;        /* cache.nxdomainCovers: true */
	uint32_t tcp_connections_max;      /* tcp.maxConnections: 512 per worker */
	uint32_t tcp_connections_peer_max; /* tcp.maxConnectionsPerPeer: 256 */
	uint32_t tcp_idle_ms;              /* tcp.idleTimeout: 10s */
	uint32_t tcp_unsent_max;           /* tcp.maxUnsent: 256KiB; octets */
	uint32_t tcp_frame_max;            /* tcp.maxFrame: 4096; octets of a query; 512..65535 */
	uint32_t canary_interval;          /* canary.interval: 30s; seconds; 0: none are sent */
	enum conf_canary canary_required;  /* canary.required: own, with rules of our own */
	char admin_socket[108];            /* admin.socket */
	bool admin_socket_given;           /* asked for: then failing to bind is an error */
	struct endpoint metrics_address;   /* admin.metricsAddress; len 0: none */
	enum conf_log_level log_level;     /* log.level: info */
};

/** Where conf_load writes what is wrong: one line, with file, line, key, found and expected. */
struct conf_error {
	char text[1024];
};

/** Set every key to its default. */
void conf_init(struct conf *conf);

/**
 * Set the defaults, then read the YAML file, the environment and the flags over them, and check
 * what several keys must agree on. The file is `--config FILE`, else KUMA_DNS_CONFIG, else there is
 * none. Variables that look like ours and are not are named in the log.
 *
 * @param argv  arguments after the command's name; `--config FILE` names the file; `argc` of them;
 *              reordered: flags first, wherever they stood, unless behind `--`
 * @param envp  the environment, NULL-terminated
 * @param[out] rest  index of the first argument that is no flag; `argc` where all are
 * @return 0; -EINVAL with `error` set: unknown key or flag, wrong type, out of range, not YAML;
 * -ENOENT, -EACCES and the like for the file, `error` set
 */
int conf_load(struct conf *conf, int argc, char *argv[], char *const envp[], int *rest,
	struct conf_error *error) __attribute__((warn_unused_result));

/**
 * Read a YAML document into `conf`; what it does not mention stays.
 *
 * @param name  of the document, for errors
 * @param text  `len` octets, hostile
 * @return 0; -EINVAL with `error` set; -ENOMEM
 */
int conf_read(struct conf *conf, const char *name, const char *text, size_t len,
	struct conf_error *error) __attribute__((warn_unused_result));

/** Write the effective configuration as YAML that conf_read reads back into the same. */
void conf_print(const struct conf *conf, FILE *out);

/** Write one line for each flag: its argument, meaning and default. */
void conf_print_flags(FILE *out);
