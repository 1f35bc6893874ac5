/* SPDX-License-Identifier: Apache-2.0
 *
 * Rules → the ruleset, as data: chains, and rules of terms. What the kernel gets (nft.c) and what
 * people read (text.c) are both written from it, so that they cannot differ. Pure.
 *
 * The ruleset for DNS alone, with servers 192.0.2.1 and 2001:db8::1, mark 0x6b64, UID 5678, port
 * 15053:
 *
 *     table inet kuma_dns {
 *       flags owner
 *       set ns4 { type ipv4_addr; elements = { 192.0.2.1 } }
 *       set ns6 { type ipv6_addr; elements = { 2001:db8::1 } }
 *       chain raw_out {
 *         type filter hook output priority raw; policy accept;
 *         meta mark 0x6b64 return
 *         oifname "lo" meta l4proto { tcp, udp } th sport 15053 ct zone set 2
 *         oifname "lo" meta l4proto { tcp, udp } th dport 15053 ct zone set 2
 *         oifname "lo" icmp type destination-unreachable @th,240,16 15053 ct zone set 2
 *         oifname "lo" icmpv6 type destination-unreachable @th,400,16 15053 ct zone set 2
 *         meta skuid 5678 meta priority != 0:5 return
 *         <excluded users and addresses> return
 *         ip6 daddr fe80::/64 return
 *         meta l4proto { tcp, udp } th dport 53 ip daddr @ns4 ct zone set 2
 *         meta l4proto { tcp, udp } th dport 53 ip6 daddr @ns6 ct zone set 2
 *       }
 *       chain nat_out {
 *         type nat hook output priority -102; policy accept;
 *         meta mark 0x6b64 return
 *         <excluded users and addresses> return
 *         meta skuid 5678 meta priority != 0:5 return
 *         ip6 daddr fe80::/64 return
 *         meta l4proto { tcp, udp } th dport 53 ip daddr @ns4 redirect to :15053
 *         meta l4proto { tcp, udp } th dport 53 ip6 daddr @ns6 redirect to :15053
 *       }
 *     }
 *
 * Zone 2 holds the flows that are redirected, in both directions, and nothing else, so that an
 * application's flow and ours may have the same addresses and ports. What is put into a zone on one
 * way only is INVALID to a stateful firewall (Kuma's dropInvalidPackets is one); hence
 *  - the mark, the UID and what is excluded return before a zone is set;
 *  - queries that are sent to our port directly are in zone 2 as well, since their answers are;
 *  - of ICMP, only errors about packets to our port: the port at offset 2 behind the IP header
 *    (20 or 40 octets) behind the ICMP header (8) is theirs. They make a query to a dead daemon
 *    fail at once.
 * Link-local addresses are left alone: the asker's is then link-local as well, and an answer to it
 * cannot be routed from loopback.
 * The UID returns after our answers have their zone: the daemon itself may run under that UID. Then
 * its canaries are that UID's, too; their priority (RULES_CANARY_PRIORITY) sets them apart, and is
 * only looked at for packets of that UID.
 *
 * Where all of port 53 is captured, and queries to other servers have a port of their own, 15054:
 *
 *         meta l4proto { tcp, udp } th dport 53 ip daddr @ns4 redirect to :15053
 *         meta l4proto { tcp, udp } th dport 53 meta nfproto ipv4 redirect to :15054
 *
 * Outbound TCP adds to nat_out, around the UID's return and behind everything:
 *
 *         meta skuid 5678 meta priority != 0:5 meta l4proto tcp th dport 53 return
 *         meta skuid 5678 meta priority != 0:5 meta l4proto tcp jump outbound
 *         meta l4proto tcp th dport 53 return          DNS over TCP that is not ours goes direct
 *         meta l4proto tcp jump outbound
 *
 * and the chain that decides as Kuma's KUMA_MESH_OUTBOUND does, in its order; inbound TCP and
 * virtual networks are in nat_in, at prerouting.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

struct conf_network;
struct conf_ports;
struct rules;

enum ruleset_chain {
	CHAIN_OUTBOUND, /* first: nat_out jumps to it */
	CHAIN_RAW_OUT,
	CHAIN_NAT_OUT,
	CHAIN_NAT_IN,
	CHAIN_INVALID_IN,
	CHAINS
};

/** Who keeps the table: a daemon; nobody, after a daemon that fails closed; nobody, after
 * `install`. Nat rules of the last one come after a daemon's. */
enum ruleset_life { RULESET_OWNED, RULESET_CLOSED, RULESET_LASTING };

enum term_type {
	/* conditions */
	TERM_MARK,        /* `first` */
	TERM_UID,         /* `first` to `last` */
	TERM_PRIORITY,    /* `first`: SO_PRIORITY of the socket */
	TERM_OUT,         /* interface `name` */
	TERM_IN,          /* interface `name`; `br+`: all that begin with `br` */
	TERM_FAMILY,      /* `family` */
	TERM_TRANSPORT,   /* `first`: CONF_TCP, CONF_UDP, or both */
	TERM_PORT,        /* `first` to `last` */
	TERM_PORTS,       /* one of `ports` */
	TERM_ADDRESS,     /* in `network` */
	TERM_SERVERS,     /* destination in the set of servers of `family` */
	TERM_UNREACHABLE, /* an ICMP error of `family` about a packet to port `first` */
	TERM_INVALID,     /* to connection tracking */
	/* actions; but for TERM_LOG and TERM_ZONE, the last term */
	TERM_RETURN,
	TERM_DROP,
	TERM_OUTBOUND, /* jump */
	TERM_REDIRECT, /* to port `first` of this host */
	TERM_ZONE,     /* put into zone `first` */
	TERM_LOG,      /* with prefix `name` */
};

struct term {
	enum term_type type;
	bool differs; /* the condition is that it is not so: TERM_UID, TERM_ADDRESS, TERM_PRIORITY
		       */
	bool source;  /* of a port or an address; else the destination */
	uint16_t family; /* AF_INET, AF_INET6 */
	uint32_t first;
	uint32_t last;
	union { /* borrowed from the rules, or static */
		const char *name;
		const struct conf_ports *ports; /* two or more */
		const struct conf_network *network;
	};
};

enum { RULESET_RULES_MAX = 256, RULE_TERMS_MAX = 7, RULESET_ZONE = 2 };

struct rule {
	enum ruleset_chain chain;
	bool answers; /* the way back of flows that are redirected: stays when they end */
	unsigned count;
	struct term term[RULE_TERMS_MAX];
	const char *comment; /* NULL: none */
};

/** Rules in the order of chains, and in each in the order in which they are asked. */
struct ruleset {
	const struct rules *rules; /* borrowed: the servers are there */
	enum ruleset_life life;
	uint64_t digest; /* of all but the servers; every rule bears it in the kernel. 0: none does
			  */
	bool has[CHAINS];
	bool has_servers[2]; /* sets for IPv4, IPv6 */
	unsigned count;
	struct rule rule[RULESET_RULES_MAX];
};

/** The name of the set of servers of a family, AF_INET or AF_INET6. */
static inline const char *ruleset_servers(unsigned family)
{
	return family == AF_INET ? "ns4" : "ns6";
}

/** @param rules  borrowed as long as `set` is used; no digest is taken */
void ruleset_compile(struct ruleset *set, const struct rules *rules, enum ruleset_life life);

/** A chain's place; `type` NULL: it is only jumped to. */
struct ruleset_hook {
	const char *name;
	const char *type;
	const char *hook; /* as nft calls it */
	uint32_t number;
	int priority;
};
struct ruleset_hook ruleset_hook(const struct ruleset *set, enum ruleset_chain chain);

/**
 * Write it as a file for nft -f, which replaces a table of that name as installing it does.
 *
 * @param table  its name
 */
void ruleset_print(const struct ruleset *set, const char *table, FILE *out);
