/* SPDX-License-Identifier: Apache-2.0
 *
 * What the programs at the sockets (sockets.bpf.c, in the kernel) and their loader (ebpf.c) have in
 * common: how a server that was asked is written into the address that its query goes to instead.
 *
 * A query to a server goes to the server's alias, an address of loopback that is the server's
 * alone, so the way back needs no memory of any socket: what comes from an alias came, to the
 * application, from the alias' server. One socket may ask as many servers as it likes, as fast as
 * it likes, and each answer has its own address; and the daemon sees whom the application meant.
 *
 *     to 192.0.2.1:53    becomes  to 127.107.0.1:15053,              alias 1 = 192.0.2.1
 *     to 2001:db8::1:53  becomes  to [fd6b:756d:6164:6e73::2]:15053, alias 2 = 2001:db8::1
 *
 * All of 127.0.0.0/8 is local to every host. IPv6 has but ::1: redirect/local.c makes the prefix of
 * the aliases (RFC 4193; its octets spell "kumadns") local as well.
 *
 * Included by both compilers: no header of libc here.
 */
#pragma once

#include <linux/types.h>

struct endpoint;
struct rules;

enum {
	/* Aliases of servers in resolv.conf are given out by the loader, round and round: what is
	 * not listed any more is still known for as long as answers may come. 0 is none. */
	SOCKETS_LISTED = 256,
	/* Those of all others by the programs, round and round too. */
	SOCKETS_OTHERS = 1024,
	SOCKETS_ALIASES = SOCKETS_LISTED + SOCKETS_OTHERS,

	SOCKETS_ALIAS6_BITS = 112,

	SOCKETS_SERVERS_MAX = 16,
	SOCKETS_EXCLUDED_MAX = 32,

	SOCKETS_CANARY_PRIORITY = 5, /* RULES_CANARY_PRIORITY of redirect.h */
};

/* In host order: 127.107.0.0/16, and fd6b:756d:6164:6e73::/112. */
#define SOCKETS_ALIAS4      0x7f6b0000u
#define SOCKETS_ALIAS4_MASK 0xffff0000u
#define SOCKETS_ALIAS6_0    0xfd6b756du
#define SOCKETS_ALIAS6_1    0x61646e73u

/** IPv6, or IPv4 as ::ffff:a.b.c.d; words in network order. */
struct sockets_address {
	__u32 word[4];
};

struct sockets_network {
	struct sockets_address address;
	struct sockets_address mask;
};

struct sockets_users {
	__u32 first;
	__u32 last;
	__u8 udp;
	__u8 tcp;
	__u8 unused[2];
};

/** What the programs go by; does not change after they are loaded. */
struct sockets_config {
	__u64 netns; /* cookie of the network namespace that they are for */
	__u32 mark;  /* of our own queries */
	__u32 uid;
	__u16 port;       /* where queries go, in network order */
	__u16 other_port; /* likewise for servers that are not listed */
	__u8 has_uid;
	__u8 ipv4;
	__u8 ipv6;
	__u8 capture_all;
	__u8 udp_only;
	__u8 lasting; /* whether anybody is at `other_port` the state says */
	__u8 unused[2];
	__u32 networks_count;
	__u32 users_count;
	struct sockets_network network[SOCKETS_EXCLUDED_MAX];
	struct sockets_users users[SOCKETS_EXCLUDED_MAX];
};

/** Servers that are listed, and their aliases. */
struct sockets_servers {
	__u32 count;
	__u32 alias[SOCKETS_SERVERS_MAX];
	struct sockets_address server[SOCKETS_SERVERS_MAX];
};

/**
 * What changes: memory that the programs and the daemon share, so that no system call, hence no
 * capability, is needed to read or to write it. Programs and daemons that come later share it too
 * (redirect/inherit.c), of other builds as well: whoever changes what it means changes its size.
 */
struct sockets_state {
	__u32 busy;      /* somebody fills a list */
	__u32 elsewhere; /* somebody is at the `other_port` of programs that last */
	__u32 current; /* which of the two lists is in use; the loader fills the other one first */
	__u32 listed;  /* the alias that the loader gave out last */
	__u32 others;  /* how many the programs gave out, from SOCKETS_LISTED on */
	struct sockets_servers list[2];
	struct sockets_address alias[SOCKETS_ALIASES]; /* {0}: nobody's */
};

#ifndef __bpf__

/** Rules for DNS → what the programs go by, but for the network namespace. Pure. */
void sockets_configure(struct sockets_config *config, const struct rules *rules);

/**
 * Make the rules' servers the listed ones. What is listed already keeps its alias; that of one that
 * is listed no more is the last to be given out again. Not from two threads at once.
 */
void sockets_list(struct sockets_state *state, const struct rules *rules);

/**
 * The server of an alias.
 *
 * @param local  its port is not looked at
 * @param out    at port 53
 * @return 0; -ENOENT: it is no alias, or nobody's
 */
int sockets_original(const struct sockets_state *state, const struct endpoint *local,
	struct endpoint *out) __attribute__((warn_unused_result));

#endif
