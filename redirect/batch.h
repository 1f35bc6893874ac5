/* SPDX-License-Identifier: Apache-2.0
 *
 * A batch of nf_tables messages about one table, as octets: the kernel does all of them or none.
 * Pure. Functions latch `fault` where something does not fit; check once, with batch_finish.
 *
 *     batch_init(b, "kuma_dns");
 *     batch_begin(b, step, NFT_MSG_NEWRULE, flags);     one message; the table's name is in it
 *     batch_put_string(b, NFTA_RULE_CHAIN, "raw_out");
 *     list = batch_nest(b, NFTA_RULE_EXPRESSIONS);
 *     batch_load_meta(b, NFT_META_L4PROTO);             an expression; all work on register 1
 *     batch_equals(b, &protocol, 1);
 *     batch_unnest(b, list);
 *     batch_end(b);
 *     err = batch_finish(b);
 */
#pragma once

#include <linux/netfilter/nf_tables.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nlattr;
struct nlmsghdr;

/** Of linux/netfilter.h, which cannot be included beside netinet/in.h with every C library. */
enum {
	BATCH_INET = 1,        /* NFPROTO_INET */
	BATCH_IPV4 = 2,        /* NFPROTO_IPV4 */
	BATCH_IPV6 = 10,       /* NFPROTO_IPV6 */
	BATCH_PRE_ROUTING = 0, /* NF_INET_PRE_ROUTING */
	BATCH_LOCAL_OUT = 3,   /* NF_INET_LOCAL_OUT */
	BATCH_DROP = 0,        /* NF_DROP */
	BATCH_ACCEPT = 1,      /* NF_ACCEPT */
	BATCH_NAT_PORT = 2,    /* NF_NAT_RANGE_PROTO_SPECIFIED */
};

enum { BATCH_SIZE = 163840, BATCH_MESSAGES_MAX = 640 };

/** Messages with sequence numbers 0..count-1. The last but one asks to be acknowledged: the kernel
 * reports failures of all, and the acknowledgements of hundreds would not fit into a socket. */
struct batch {
	_Alignas(8) unsigned char data[BATCH_SIZE];
	size_t len;
	unsigned count;
	uint8_t step[BATCH_MESSAGES_MAX]; /* what each message is for, in the caller's terms */
	struct nlmsghdr *message;         /* being written */
	const char *table;                /* borrowed until batch_finish */
	bool fault;                       /* latched: it does not fit */
};

/** Begin a batch about `table`, at most 31 octets, family inet. Its first message has step 0. */
void batch_init(struct batch *b, const char *table);

/** @return 0; -EMSGSIZE if it did not fit */
int batch_finish(struct batch *b) __attribute__((warn_unused_result));

/**
 * Begin a message.
 *
 * @param step   0..255, kept in `b->step`
 * @param type   NFT_MSG_…
 * @param flags  NLM_F_… beside REQUEST and ACK
 */
void batch_begin(struct batch *b, unsigned step, unsigned type, unsigned flags);
void batch_end(struct batch *b);

/** Attributes: octets, an integer, a string, nested ones. */
void batch_put(struct batch *b, uint16_t type, const void *data, size_t len);
void batch_put_u32(struct batch *b, uint16_t type, uint32_t value);
void batch_put_string(struct batch *b, uint16_t type, const char *text);
void batch_put_value(struct batch *b, uint16_t type, const void *data, size_t len);
struct nlattr *batch_nest(struct batch *b, uint16_t type);
void batch_unnest(struct batch *b, struct nlattr *attr);

/** Expressions that load register 1: what is known of the packet, a part of it, a constant. */
void batch_load_meta(struct batch *b, enum nft_meta_keys key);
void batch_load_payload(
	struct batch *b, enum nft_payload_bases base, uint32_t offset, uint32_t len);
void batch_load_value(struct batch *b, const void *data, size_t len);

void batch_load_ct_state(struct batch *b);

/** Expressions that change register 1: clear bits that are 0 in `mask`; 4 octets to big-endian. */
void batch_mask(struct batch *b, const void *mask, size_t len);
void batch_to_network_order(struct batch *b);

/** Expressions that end the rule unless register 1 is this value, or so to it, or in this set. */
void batch_equals(struct batch *b, const void *data, size_t len);
void batch_compare(struct batch *b, enum nft_cmp_ops op, const void *data, size_t len);
void batch_in_set(struct batch *b, const char *name, uint32_t id);

/** Expressions that act: return, drop, jump, log, set the conntrack zone, redirect to a port of
 * this host. */
void batch_leave_chain(struct batch *b);
void batch_drop(struct batch *b);
void batch_jump(struct batch *b, const char *chain);
void batch_log(struct batch *b, const char *prefix, uint32_t level);
void batch_set_zone(struct batch *b, uint16_t zone);
void batch_redirect_to(struct batch *b, uint16_t port);
