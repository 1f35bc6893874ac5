/* SPDX-License-Identifier: Apache-2.0
 *
 * Rules → one batch of nf_tables messages, as octets. Pure: redirect.c sends them.
 *
 * The ruleset, with servers 192.0.2.1 and 2001:db8::1, mark 0x6b64, UID 5678, port 15053:
 *
 *     table inet kuma_dns {
 *             flags owner
 *             set ns4 { type ipv4_addr; elements = { 192.0.2.1 } }
 *             set ns6 { type ipv6_addr; elements = { 2001:db8::1 } }
 *             chain raw_out {
 *                     type filter hook output priority raw; policy accept;
 *                     meta mark 0x6b64 return
 *                     oifname "lo" meta l4proto { tcp, udp } th sport 15053 ct zone set 2
 *                     oifname "lo" meta l4proto { tcp, udp } th dport 15053 ct zone set 2
 *                     oifname "lo" icmp type destination-unreachable @th,240,16 15053 ct zone set 2
 *                     oifname "lo" icmpv6 type destination-unreachable @th,400,16 15053 ct zone set
 * 2 meta skuid 5678 return meta l4proto { tcp, udp } th dport 53 ip daddr @ns4 ct zone set 2 meta
 * l4proto { tcp, udp } th dport 53 ip6 daddr @ns6 ct zone set 2
 *             }
 *             chain nat_out {
 *                     type nat hook output priority -101; policy accept;
 *                     meta mark 0x6b64 return
 *                     meta skuid 5678 return
 *                     ip6 daddr fe80::/64 return
 *                     meta l4proto { tcp, udp } th dport 53 ip daddr @ns4 redirect to :15053
 *                     meta l4proto { tcp, udp } th dport 53 ip6 daddr @ns6 redirect to :15053
 *             }
 *     }
 *
 * Zone 2 holds the flows that are redirected, in both directions, and nothing else, so that an
 * application's flow and ours may have the same addresses and ports. What is put into a zone on one
 * way only is INVALID to a stateful firewall (Kuma's dropInvalidPackets is one); hence
 *  - the mark and the UID return before a zone is set;
 *  - queries that are sent to our port directly are in zone 2 as well, since their answers are;
 *  - of ICMP, only errors about packets to our port: the port at offset 2 behind the IP header
 *    (20 or 40 octets) behind the ICMP header (8) is theirs. They make a query to a dead daemon
 *    fail at once.
 * A link-local name server is not captured: the asker's address is then link-local as well, and an
 * answer to it cannot be routed from loopback.
 * The UID returns after our answers have their zone: the daemon itself may run under that UID.
 */
#pragma once

struct batch;
struct redirect_error;
struct rules;

/** What a message needs of the kernel, to explain its failure. */
enum nft_step {
	NFT_BEGIN,
	NFT_TABLE,
	NFT_OWNER,
	NFT_SET,
	NFT_CHAIN_FILTER,
	NFT_CHAIN_NAT,
	NFT_RULE,
	NFT_RULE_ZONE,
	NFT_RULE_REDIRECT,
	NFT_END,
};

enum { NFT_ZONE = 2 };

/**
 * Compose the whole ruleset, replacing a table of that name which nobody owns.
 *
 * @param table  its name, at most 31 octets
 * @return 0; -EMSGSIZE if it does not fit, which no `rules` can cause
 */
int nft_compose_install(struct batch *b, const struct rules *rules, const char *table)
	__attribute__((warn_unused_result));

/** Compose what stops interception, and leaves the way back to flows in progress. Like above. */
int nft_compose_withdraw(struct batch *b, const struct rules *rules, const char *table)
	__attribute__((warn_unused_result));

/**
 * Say what is missing when message `seq` of `b` failed with `err`.
 *
 * @param err  a negative errno of the kernel
 * @return -EPERM, -EBUSY (another process owns the table), -EOPNOTSUPP, or `err`; `error` set
 */
int nft_explain(const struct batch *b, unsigned seq, int err, struct redirect_error *error)
	__attribute__((warn_unused_result));
