/* SPDX-License-Identifier: Apache-2.0
 *
 * Redirection: the kernel hands us the application's DNS queries. rules.c decides what to
 * intercept, as plain data; nft.c turns it into one netlink batch. Knows only conf/.
 */
#pragma once

#include "conf/conf.h"
#include "conf/endpoint.h"
#include "conf/traffic.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct redirect;

enum {
	RULES_SERVERS_MAX = 16,
	/* SO_PRIORITY of a query that is redirected even though `uid` sent it: how the daemon asks
	 * as an application does, whoever it is. Anybody may set it, and nothing else does: of
	 * what the kernel makes of IP_TOS it is no value. */
	RULES_CANARY_PRIORITY = 5
};

/** What to intercept. */
struct rules {
	bool ipv4;        /* DNS; neither family: leave DNS alone */
	bool ipv6;        /* false: ipFamilyMode ipv4, or the kernel has no IPv6 */
	bool capture_all; /* all of port 53 but link-local; else only the servers' addresses */
	bool udp_only;    /* DNS over TCP is left alone, as Kuma leaves it */
	bool zones;       /* conntrack zones keep our flows and the application's apart */
	bool has_uid;     /* `uid` bypasses us, as in Kuma */
	uint32_t uid;
	uint32_t mark;       /* of our own queries, which are never intercepted; not 0 */
	uint16_t port;       /* where queries go: 127.0.0.1 and ::1 */
	uint16_t other_port; /* with capture_all: where those to other servers than these go, so
				that we know; 0: to `port` as well */
	unsigned server_count;
	struct endpoint server[RULES_SERVERS_MAX];
	struct conf_traffic inbound;  /* where `enabled`, TCP that comes in goes to Envoy */
	struct conf_traffic outbound; /* and TCP that is sent; exclusions go for DNS too */
	bool tcp6;                    /* that of IPv6 as well; needs `has_uid`, as IPv4 does */
	struct conf_vnets vnets;
	bool fail_closed; /* a daemon's rules outlive it */
	bool drop_invalid;
	bool comments;
	bool log;
	enum conf_redirect_mode mode;
	const char *cgroup; /* borrowed; eBPF: of the application; "" or NULL: to be found */
	bool at_sockets;    /* DNS of this host is left to eBPF; that of virtual networks is not */
};

struct redirect_error {
	char text[256]; /* what is missing, and what to do */
};

/**
 * Compile the configuration. Resolves kumaDPUser as Kuma does: a name or UID; empty: 5678 where
 * that UID exists, else the user kuma-dp, else nobody is exempt by UID, which is an error where TCP
 * is redirected: Envoy's own connections would come back to it.
 *
 * @param servers  those of resolv.conf, `count` of them; for !capture_all
 * @return 0; -ENOENT where a configured user does not exist, `error` set
 */
int rules_compile(struct rules *rules, const struct conf *conf, const struct endpoint *servers,
	unsigned count, struct redirect_error *error) __attribute__((warn_unused_result));

/** Other servers than before. @return whether there are any that were not there, or the reverse */
bool rules_set_servers(struct rules *rules, const struct endpoint *servers, unsigned count);

/**
 * Install the rules in one batch, owned by this process: the kernel removes them when the process
 * ends, however it ends. Beside another daemon's table a second one is made, so that a second start
 * takes over without a gap. Flows to port 53 that exist already are intercepted as well: with zones
 * they are new ones, without they are removed from conntrack, since nat rules only see new ones.
 *
 * With `fail_closed` nobody owns the rules. They stay when the process ends, so that nothing goes
 * direct; the next start replaces them, redirect_uninstall removes them, and so does a start that
 * fails open, once its own rules are there.
 *
 * @return 0; -EPERM (no CAP_NET_ADMIN), -EOPNOTSUPP (no nf_tables, nat, or owner flag in the
 * kernel), or the kernel's -errno; `error` set. Nothing is left behind by a failure.
 */
int redirect_open(struct redirect **redirect, const struct rules *rules,
	struct redirect_error *error) __attribute__((warn_unused_result));

/**
 * Whether queries to one of the servers are captured, canaries of the exempt user among them: its
 * family is, it is not link-local, and neither its address nor the user is excluded.
 *
 * @param transport  CONF_UDP or CONF_TCP: a user may be excluded for one of them
 * @param uid        of the process
 */
bool rules_capture(
	const struct rules *rules, const struct endpoint *server, uint32_t transport, uint32_t uid);

/** Name of our table, family inet; "" without one. */
const char *redirect_table(const struct redirect *redirect);

/** By what it is done, for people, and why: `eBPF at /sys/fs/cgroup`. */
const char *redirect_means(const struct redirect *redirect);

/**
 * Capture what is sent to the servers of `rules` from now on, in one batch; nothing else of them is
 * looked at. Flows that exist are treated as new ones would be. Where no set of servers is asked,
 * since all is captured, nothing is done.
 *
 * @return as redirect_open; what was captured before is captured still after a failure
 */
int redirect_set_servers(struct redirect *redirect, const struct rules *rules,
	struct redirect_error *error) __attribute__((warn_unused_result));

/** Whether queries of this very process are captured, if it is not exempt: with eBPF it may be in
 * another cgroup than the application. */
bool redirect_covers_us(const struct redirect *redirect);

/** One line for people: what is captured. @return `text` */
const char *redirect_describe(const struct rules *rules, char *text, unsigned size);

/**
 * Stop interception: new queries go their own way from now on. Those in progress can still be
 * answered until redirect_close. Where the kernel does not let us (capabilities were given up), all
 * rules go at once. With `fail_closed` they stay, all of them. NULL is a no-op.
 */
void redirect_withdraw(struct redirect *redirect);

/**
 * Which server a requestor asked, before its query was redirected to us. Any thread; a system call
 * or a few, some 10 µs.
 *
 * @param redirect  NULL: ask about rules that were installed to last
 * @param peer      the requestor's address and port, as our socket sees them
 * @param local     ours
 * @param protocol  IPPROTO_UDP, IPPROTO_TCP
 * @return 0; -ENOENT: it asked us, or the flow is over; -EPERM: without CAP_NET_ADMIN nobody tells;
 * -errno
 */
int redirect_original(const struct redirect *redirect, const struct endpoint *peer,
	const struct endpoint *local, int protocol, struct endpoint *server)
	__attribute__((warn_unused_result));

/**
 * Remove the rules, and flows to our port from conntrack unless another daemon's table remains.
 * NULL is a no-op.
 */
void redirect_close(struct redirect *redirect);

/**
 * Install the rules to last, in the table inet kuma_dns_installed, in one batch, or with programs
 * that are pinned, or both: all of it or nothing. What an earlier call installed is replaced,
 * unless it is the same. A daemon's own table may be beside it: its nat rules come first as long as
 * it lives, and these go on when it ends.
 *
 * @param[out] changed  false: all was there as it is to be, and stays
 * @return as redirect_open, but no owner is needed
 */
int redirect_install(const struct rules *rules, bool *changed, struct redirect_error *error)
	__attribute__((warn_unused_result));

/**
 * Give that table the servers of `now`, as redirect_set_servers does.
 *
 * @param before  with the servers that it had, as far as we know: of their flows
 * @return 0; -ENOENT: there is none, or it captures everything; -EPERM; `error` set
 */
int redirect_set_installed_servers(const struct rules *before, const struct rules *now,
	struct redirect_error *error) __attribute__((warn_unused_result));

/**
 * Remove that table if it is there, and that of a daemon that failed closed, and pinned programs,
 * those of network namespaces and cgroups that are gone too, and nothing else. Where one cannot be
 * removed, none is.
 *
 * @param rules  their port and zones: of redirected flows, which are removed from conntrack
 */
int redirect_uninstall(const struct rules *rules, struct redirect_error *error)
	__attribute__((warn_unused_result));

/** Whether one of these is there, as far as we may know: CAP_NET_ADMIN is needed to see it. */
bool redirect_is_installed(void);

/** Whether programs are pinned for this network namespace, as far as we may know: bpffs is root's.
 */
bool redirect_is_pinned(void);

/**
 * Go on with programs that somebody pinned for this network namespace: redirect_set_servers and
 * redirect_original are theirs then, and redirect_close leaves them as they are. Nothing of it
 * takes a capability afterwards.
 *
 * @return 0; -ENOENT: there are none, as far as we may see; -EPERM, -EACCES: bpffs is root's;
 * -EPROTO: another version pinned them; -errno; `error` set in any case
 */
int redirect_open_pinned(struct redirect **redirect, struct redirect_error *error)
	__attribute__((warn_unused_result));

/** Of pinned programs: whether somebody listens at the port behind redirect.dns.port, for what
 * they capture of other servers than the ones of resolv.conf. */
void redirect_set_elsewhere(struct redirect *redirect, bool elsewhere);

/** Write what redirect_install would install as a file for nft -f. @return 0; -ENOMEM */
int redirect_print(const struct rules *rules, FILE *out) __attribute__((warn_unused_result));

/** Write what redirect_uninstall would do. */
void redirect_print_removal(FILE *out);

/**
 * Go on in another network namespace, with all that this thread opens from now on.
 *
 * @return 0; -errno, `error` set: no such file, no namespace, no permission
 */
int redirect_enter(const char *path, struct redirect_error *error)
	__attribute__((warn_unused_result));
