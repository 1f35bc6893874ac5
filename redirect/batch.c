/* SPDX-License-Identifier: Apache-2.0
 *
 * nf_tables messages, attribute by attribute. Integers in them are big-endian; what is compared
 * with a packet is as in the packet, what is compared with metadata as in this machine. Knows no
 * ruleset; owns nothing, sends nothing.
 */
#include "redirect/batch.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <netinet/in.h>
#include <string.h>

/* Messages and attributes */

void batch_put(struct batch *b, uint16_t type, const void *data, size_t len)
{
	if (b->fault || !mnl_attr_put_check(b->message, BATCH_SIZE - b->len, type, len, data)) {
		b->fault = true;
	}
}

void batch_put_u32(struct batch *b, uint16_t type, uint32_t value)
{
	const uint32_t be = htonl(value);

	batch_put(b, type, &be, sizeof be);
}

void batch_put_string(struct batch *b, uint16_t type, const char *text)
{
	batch_put(b, type, text, strlen(text) + 1);
}

struct nlattr *batch_nest(struct batch *b, uint16_t type)
{
	struct nlattr *attr = NULL;

	if (!b->fault) {
		attr = mnl_attr_nest_start_check(b->message, BATCH_SIZE - b->len, type);
	}
	b->fault = !attr;
	return attr;
}

void batch_unnest(struct batch *b, struct nlattr *attr)
{
	if (!b->fault) {
		mnl_attr_nest_end(b->message, attr);
	}
}

static void begin_message(struct batch *b, unsigned step, unsigned type, unsigned flags)
{
	struct nfgenmsg *family;

	if (BATCH_SIZE - b->len < NLMSG_SPACE(sizeof *family) || b->count == BATCH_MESSAGES_MAX) {
		b->fault = true;
	}
	if (b->fault) {
		return;
	}
	b->message = mnl_nlmsg_put_header(b->data + b->len);
	b->message->nlmsg_type = (uint16_t)type;
	b->message->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	b->message->nlmsg_seq = b->count;
	b->step[b->count++] = (uint8_t)step;
	family = mnl_nlmsg_put_extra_header(b->message, sizeof *family);
	family->version = NFNETLINK_V0;
}

void batch_end(struct batch *b)
{
	if (!b->fault) {
		b->len += NLMSG_ALIGN((size_t)b->message->nlmsg_len);
	}
}

/** One of the two messages around a batch: it names the subsystem, and is not acknowledged. */
static void mark_batch(struct batch *b, unsigned type)
{
	begin_message(b, 0, type, 0);
	if (!b->fault) {
		struct nfgenmsg *family = mnl_nlmsg_get_payload(b->message);
		family->res_id = htons(NFNL_SUBSYS_NFTABLES);
	}
	batch_end(b);
}

void batch_init(struct batch *b, const char *table)
{
	memset(b, 0, sizeof *b);
	b->table = table;
	mark_batch(b, NFNL_MSG_BATCH_BEGIN);
}

int batch_finish(struct batch *b)
{
	if (!b->fault) {
		b->message->nlmsg_flags |= NLM_F_ACK;
	}
	mark_batch(b, NFNL_MSG_BATCH_END);
	return b->fault ? -EMSGSIZE : 0;
}

/* The table's name is attribute 1 of every kind of message. */
void batch_begin(struct batch *b, unsigned step, unsigned type, unsigned flags)
{
	begin_message(b, step, NFNL_SUBSYS_NFTABLES << 8 | type, flags);
	if (!b->fault) {
		struct nfgenmsg *family = mnl_nlmsg_get_payload(b->message);
		family->nfgen_family = BATCH_INET;
	}
	batch_put_string(b, NFTA_TABLE_NAME, b->table);
}

/* Expressions: each loads register 1, looks at it, or acts */

struct expression {
	struct nlattr *elem;
	struct nlattr *data;
};

static struct expression begin_expression(struct batch *b, const char *name)
{
	struct expression e;

	e.elem = batch_nest(b, NFTA_LIST_ELEM);
	batch_put_string(b, NFTA_EXPR_NAME, name);
	e.data = batch_nest(b, NFTA_EXPR_DATA);
	return e;
}

static void end_expression(struct batch *b, struct expression e)
{
	batch_unnest(b, e.data);
	batch_unnest(b, e.elem);
}

void batch_put_value(struct batch *b, uint16_t type, const void *data, size_t len)
{
	struct nlattr *value = batch_nest(b, type);

	batch_put(b, NFTA_DATA_VALUE, data, len);
	batch_unnest(b, value);
}

void batch_load_meta(struct batch *b, enum nft_meta_keys key)
{
	struct expression e = begin_expression(b, "meta");

	batch_put_u32(b, NFTA_META_DREG, NFT_REG_1);
	batch_put_u32(b, NFTA_META_KEY, key);
	end_expression(b, e);
}

void batch_load_payload(struct batch *b, enum nft_payload_bases base, uint32_t offset, uint32_t len)
{
	struct expression e = begin_expression(b, "payload");

	batch_put_u32(b, NFTA_PAYLOAD_DREG, NFT_REG_1);
	batch_put_u32(b, NFTA_PAYLOAD_BASE, base);
	batch_put_u32(b, NFTA_PAYLOAD_OFFSET, offset);
	batch_put_u32(b, NFTA_PAYLOAD_LEN, len);
	end_expression(b, e);
}

void batch_load_ct_state(struct batch *b)
{
	struct expression e = begin_expression(b, "ct");

	batch_put_u32(b, NFTA_CT_DREG, NFT_REG_1);
	batch_put_u32(b, NFTA_CT_KEY, NFT_CT_STATE);
	end_expression(b, e);
}

void batch_mask(struct batch *b, const void *mask, size_t len)
{
	static const uint8_t none[16];
	struct expression e = begin_expression(b, "bitwise");

	batch_put_u32(b, NFTA_BITWISE_SREG, NFT_REG_1);
	batch_put_u32(b, NFTA_BITWISE_DREG, NFT_REG_1);
	batch_put_u32(b, NFTA_BITWISE_LEN, (uint32_t)len);
	batch_put_value(b, NFTA_BITWISE_MASK, mask, len);
	batch_put_value(b, NFTA_BITWISE_XOR, none, len);
	end_expression(b, e);
}

void batch_to_network_order(struct batch *b)
{
	struct expression e = begin_expression(b, "byteorder");

	batch_put_u32(b, NFTA_BYTEORDER_SREG, NFT_REG_1);
	batch_put_u32(b, NFTA_BYTEORDER_DREG, NFT_REG_1);
	batch_put_u32(b, NFTA_BYTEORDER_OP, NFT_BYTEORDER_HTON);
	batch_put_u32(b, NFTA_BYTEORDER_LEN, sizeof(uint32_t));
	batch_put_u32(b, NFTA_BYTEORDER_SIZE, sizeof(uint32_t));
	end_expression(b, e);
}

void batch_equals(struct batch *b, const void *data, size_t len)
{
	batch_compare(b, NFT_CMP_EQ, data, len);
}

void batch_compare(struct batch *b, enum nft_cmp_ops op, const void *data, size_t len)
{
	struct expression e = begin_expression(b, "cmp");

	batch_put_u32(b, NFTA_CMP_SREG, NFT_REG_1);
	batch_put_u32(b, NFTA_CMP_OP, op);
	batch_put_value(b, NFTA_CMP_DATA, data, len);
	end_expression(b, e);
}

void batch_in_set(struct batch *b, const char *name, uint32_t id)
{
	struct expression e = begin_expression(b, "lookup");

	batch_put_string(b, NFTA_LOOKUP_SET, name);
	batch_put_u32(b, NFTA_LOOKUP_SREG, NFT_REG_1);
	batch_put_u32(b, NFTA_LOOKUP_SET_ID, id);
	end_expression(b, e);
}

void batch_load_value(struct batch *b, const void *data, size_t len)
{
	struct expression e = begin_expression(b, "immediate");

	batch_put_u32(b, NFTA_IMMEDIATE_DREG, NFT_REG_1);
	batch_put_value(b, NFTA_IMMEDIATE_DATA, data, len);
	end_expression(b, e);
}

/** @param chain  where to jump to; NULL: nowhere */
static void put_verdict(struct batch *b, uint32_t code, const char *chain)
{
	struct expression e = begin_expression(b, "immediate");
	struct nlattr *data;
	struct nlattr *verdict;

	batch_put_u32(b, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
	data = batch_nest(b, NFTA_IMMEDIATE_DATA);
	verdict = batch_nest(b, NFTA_DATA_VERDICT);
	batch_put_u32(b, NFTA_VERDICT_CODE, code);
	if (chain) {
		batch_put_string(b, NFTA_VERDICT_CHAIN, chain);
	}
	batch_unnest(b, verdict);
	batch_unnest(b, data);
	end_expression(b, e);
}

void batch_leave_chain(struct batch *b)
{
	put_verdict(b, (uint32_t)NFT_RETURN, NULL);
}

void batch_drop(struct batch *b)
{
	put_verdict(b, BATCH_DROP, NULL);
}

void batch_jump(struct batch *b, const char *chain)
{
	put_verdict(b, (uint32_t)NFT_JUMP, chain);
}

void batch_log(struct batch *b, const char *prefix, uint32_t level)
{
	struct expression e = begin_expression(b, "log");

	batch_put_string(b, NFTA_LOG_PREFIX, prefix);
	batch_put_u32(b, NFTA_LOG_LEVEL, level);
	end_expression(b, e);
}

void batch_set_zone(struct batch *b, uint16_t zone)
{
	struct expression e;

	batch_load_value(b, &zone, sizeof zone);
	e = begin_expression(b, "ct");
	batch_put_u32(b, NFTA_CT_KEY, NFT_CT_ZONE);
	batch_put_u32(b, NFTA_CT_SREG, NFT_REG_1);
	end_expression(b, e);
}

void batch_redirect_to(struct batch *b, uint16_t port)
{
	const uint16_t be = htons(port);
	struct expression e;

	batch_load_value(b, &be, sizeof be);
	e = begin_expression(b, "redir");
	batch_put_u32(b, NFTA_REDIR_REG_PROTO_MIN, NFT_REG_1);
	batch_put_u32(b, NFTA_REDIR_FLAGS, BATCH_NAT_PORT);
	end_expression(b, e);
}
