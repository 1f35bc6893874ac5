/* SPDX-License-Identifier: Apache-2.0
 *
 * One rule as messages: its terms as expressions, with the anonymous sets that they look into; and
 * the sets of servers. Owns nothing.
 */
#include "redirect/nft_rule.h"

#include "redirect/batch.h"
#include "redirect/nft.h"
#include "redirect/redirect.h"
#include "redirect/ruleset.h"

#include <linux/netfilter/nf_tables.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <string.h>

enum {
	/* how nft, the reader of our table, numbers the types of keys */
	TYPE_IPV4_ADDR = 7,
	TYPE_IPV6_ADDR = 8,
	TYPE_INET_PROTO = 12,
	TYPE_INET_SERVICE = 13,
	/* octets before a field, in its header */
	SPORT = 0,
	DPORT = 2,
	IPV4_SADDR = 12,
	IPV4_DADDR = 16,
	IPV6_SADDR = 8,
	IPV6_DADDR = 24,
	ICMP_TYPE = 0,
	ICMP_ERROR_DPORT = 8 + 20 + DPORT,
	ICMP6_ERROR_DPORT = 8 + 40 + DPORT,
	/* of conntrack's states, as nft numbers them */
	STATE_INVALID = 1,
	LEVEL_DEBUG = 7,
	UDATA_COMMENT = 0, /* as nft numbers what a rule carries along; of ours it knows nothing */
	UDATA_TAG = 'k',
	COMMENT_SIZE = 64,
};

static const char ANONYMOUS[] = "__set%d"; /* the kernel numbers these sets */

/* Sets */

/** @return an id, which stands for the set in this batch */
static uint32_t put_set(
	struct batch *b, const char *name, uint32_t flags, uint32_t type, uint32_t len)
{
	const uint32_t id = b->count;

	batch_begin(b, NFT_SET, NFT_MSG_NEWSET, NLM_F_CREATE | NLM_F_EXCL);
	batch_put_string(b, NFTA_SET_NAME, name);
	batch_put_u32(b, NFTA_SET_FLAGS, flags);
	batch_put_u32(b, NFTA_SET_KEY_TYPE, type);
	batch_put_u32(b, NFTA_SET_KEY_LEN, len);
	batch_put_u32(b, NFTA_SET_ID, id);
	batch_end(b);
	return id;
}

static void put_element(struct batch *b, const void *key, size_t len)
{
	struct nlattr *elem = batch_nest(b, NFTA_LIST_ELEM);

	batch_put_value(b, NFTA_SET_ELEM_KEY, key, len);
	batch_unnest(b, elem);
}

static struct nlattr *begin_elements(struct batch *b, const char *name, uint32_t id)
{
	batch_begin(b, NFT_SET, NFT_MSG_NEWSETELEM, NLM_F_CREATE);
	batch_put_string(b, NFTA_SET_ELEM_LIST_SET, name);
	batch_put_u32(b, NFTA_SET_ELEM_LIST_SET_ID, id);
	return batch_nest(b, NFTA_SET_ELEM_LIST_ELEMENTS);
}

static void end_elements(struct batch *b, struct nlattr *elements)
{
	batch_unnest(b, elements);
	batch_end(b);
}

/** `{ tcp, udp }`: an anonymous set belongs to one rule. @return its id */
static uint32_t put_transports(struct batch *b)
{
	static const uint8_t transports[] = {IPPROTO_TCP, IPPROTO_UDP};
	const uint32_t id =
		put_set(b, ANONYMOUS, NFT_SET_ANONYMOUS | NFT_SET_CONSTANT, TYPE_INET_PROTO, 1);
	struct nlattr *elements = begin_elements(b, ANONYMOUS, id);

	for (size_t i = 0; i < sizeof transports; i++) {
		put_element(b, &transports[i], 1);
	}
	end_elements(b, elements);
	return id;
}

static uint32_t put_ports(struct batch *b, const struct conf_ports *ports)
{
	const uint32_t id =
		put_set(b, ANONYMOUS, NFT_SET_ANONYMOUS | NFT_SET_CONSTANT, TYPE_INET_SERVICE, 2);
	struct nlattr *elements = begin_elements(b, ANONYMOUS, id);

	for (unsigned i = 0; i < ports->count; i++) {
		const uint16_t be = htons(ports->item[i]);
		put_element(b, &be, sizeof be);
	}
	end_elements(b, elements);
	return id;
}

/** An address family, and where its fields are in the headers. */
struct family {
	sa_family_t sa;
	uint8_t nfproto;
	uint32_t saddr;
	uint32_t daddr;
	uint32_t len;
	uint32_t type;
	uint8_t icmp; /* protocol */
	uint8_t unreachable;
	uint32_t error_dport;
};

static const struct family IPV4 = {AF_INET, BATCH_IPV4, IPV4_SADDR, IPV4_DADDR, 4, TYPE_IPV4_ADDR,
	IPPROTO_ICMP, ICMP_DEST_UNREACH, ICMP_ERROR_DPORT};
static const struct family IPV6 = {AF_INET6, BATCH_IPV6, IPV6_SADDR, IPV6_DADDR, 16, TYPE_IPV6_ADDR,
	IPPROTO_ICMPV6, ICMP6_DST_UNREACH, ICMP6_ERROR_DPORT};

static const struct family *family_named(sa_family_t family)
{
	return family == AF_INET ? &IPV4 : &IPV6;
}

static const struct family *family_of(const struct term *t)
{
	return family_named(t->family);
}

static unsigned count_servers(const struct rules *rules, const struct family *f)
{
	unsigned count = 0;

	for (unsigned i = 0; i < rules->server_count; i++) {
		count += rules->server[i].sa.sa_family == f->sa;
	}
	return count;
}

/** A set without servers stays empty: its family is not captured. */
static void fill_servers(
	struct batch *b, const struct rules *rules, const struct family *f, uint32_t id)
{
	struct nlattr *elements;

	if (count_servers(rules, f) == 0) {
		return;
	}
	elements = begin_elements(b, ruleset_servers(f->sa), id);
	for (unsigned i = 0; i < rules->server_count; i++) {
		const struct endpoint *e = &rules->server[i];
		if (e->sa.sa_family != f->sa) {
			continue;
		}
		put_element(b, f->sa == AF_INET ? (const void *)&e->in.sin_addr : &e->in6.sin6_addr,
			f->len);
	}
	end_elements(b, elements);
}

void nft_put_servers(struct batch *b, const struct rules *rules, sa_family_t family)
{
	const struct family *f = family_named(family);

	fill_servers(b, rules, f, put_set(b, ruleset_servers(f->sa), 0, f->type, f->len));
}

void nft_replace_servers(struct batch *b, const struct rules *rules, sa_family_t family)
{
	const struct family *f = family_named(family);

	/* Without elements this deletes all of the set. */
	batch_begin(b, NFT_SERVERS, NFT_MSG_DELSETELEM, 0);
	batch_put_string(b, NFTA_SET_ELEM_LIST_SET, ruleset_servers(f->sa));
	batch_end(b);
	fill_servers(b, rules, f, 0);
}

/* Terms: what nft writes as one condition or one action */

static void put_u8(struct batch *b, enum nft_meta_keys key, uint8_t value)
{
	batch_load_meta(b, key);
	batch_equals(b, &value, sizeof value);
}

static void put_mark(struct batch *b, const struct term *t)
{
	batch_load_meta(b, NFT_META_MARK);
	batch_equals(b, &t->first, sizeof t->first);
}

/** A range in register 1, which is in network order: octets compare as numbers do. */
static void put_range(struct batch *b, const void *first, const void *last, size_t len)
{
	batch_compare(b, NFT_CMP_GTE, first, len);
	batch_compare(b, NFT_CMP_LTE, last, len);
}

static void put_uid(struct batch *b, const struct term *t)
{
	const uint32_t first = htonl(t->first);
	const uint32_t last = htonl(t->last);

	batch_load_meta(b, NFT_META_SKUID);
	if (t->first == t->last) {
		batch_compare(b, t->differs ? NFT_CMP_NEQ : NFT_CMP_EQ, &t->first, sizeof t->first);
	} else {
		batch_to_network_order(b);
		put_range(b, &first, &last, sizeof first);
	}
}

static void put_priority(struct batch *b, const struct term *t)
{
	batch_load_meta(b, NFT_META_PRIORITY);
	batch_compare(b, t->differs ? NFT_CMP_NEQ : NFT_CMP_EQ, &t->first, sizeof t->first);
}

/** A name that goes on anyhow is compared as far as it is written. */
static void put_interface(struct batch *b, enum nft_meta_keys key, const char *name)
{
	char octets[IFNAMSIZ] = {0};
	const size_t len = strcspn(name, "+");

	memcpy(octets, name, len < sizeof octets ? len : sizeof octets - 1);
	batch_load_meta(b, key);
	batch_equals(b, octets, name[len] ? len : sizeof octets);
}

static void put_transport(struct batch *b, const struct term *t, uint32_t set)
{
	if (t->first == (CONF_TCP | CONF_UDP)) {
		batch_load_meta(b, NFT_META_L4PROTO);
		batch_in_set(b, ANONYMOUS, set);
	} else {
		put_u8(b, NFT_META_L4PROTO, t->first == CONF_TCP ? IPPROTO_TCP : IPPROTO_UDP);
	}
}

static void load_port(struct batch *b, uint32_t offset)
{
	batch_load_payload(b, NFT_PAYLOAD_TRANSPORT_HEADER, offset, sizeof(uint16_t));
}

static void put_port(struct batch *b, const struct term *t)
{
	const uint16_t first = htons((uint16_t)t->first);
	const uint16_t last = htons((uint16_t)t->last);

	load_port(b, t->source ? SPORT : DPORT);
	if (first == last) {
		batch_equals(b, &first, sizeof first);
	} else {
		put_range(b, &first, &last, sizeof first);
	}
}

/** As nft does it: whole octets are loaded alone, for others the rest is masked. */
static void put_address(struct batch *b, const struct term *t)
{
	const struct family *f = family_of(t);
	const uint32_t bits = t->network->bits;
	const bool whole = bits % 8 == 0;
	const uint32_t len = whole ? bits / 8 : f->len;
	uint8_t mask[16] = {0};

	put_u8(b, NFT_META_NFPROTO, f->nfproto);
	batch_load_payload(b, NFT_PAYLOAD_NETWORK_HEADER, t->source ? f->saddr : f->daddr, len);
	if (!whole) {
		memset(mask, 0xff, bits / 8);
		mask[bits / 8] = (uint8_t)(0xff << (8 - bits % 8));
		batch_mask(b, mask, len);
	}
	batch_compare(b, t->differs ? NFT_CMP_NEQ : NFT_CMP_EQ, t->network->octet, len);
}

static void put_in_servers(struct batch *b, const struct family *f)
{
	put_u8(b, NFT_META_NFPROTO, f->nfproto);
	batch_load_payload(b, NFT_PAYLOAD_NETWORK_HEADER, f->daddr, f->len);
	batch_in_set(b, ruleset_servers(f->sa), 0);
}

static void put_unreachable(struct batch *b, const struct term *t)
{
	const struct family *f = family_of(t);
	const uint16_t port = htons((uint16_t)t->first);

	put_u8(b, NFT_META_NFPROTO, f->nfproto);
	put_u8(b, NFT_META_L4PROTO, f->icmp);
	batch_load_payload(b, NFT_PAYLOAD_TRANSPORT_HEADER, ICMP_TYPE, 1);
	batch_equals(b, &f->unreachable, 1);
	load_port(b, f->error_dport);
	batch_equals(b, &port, sizeof port);
}

static void put_invalid(struct batch *b)
{
	const uint32_t mask = STATE_INVALID;
	const uint32_t none = 0;

	batch_load_ct_state(b);
	batch_mask(b, &mask, sizeof mask);
	batch_compare(b, NFT_CMP_NEQ, &none, sizeof none);
}

static void put_action(struct batch *b, const struct ruleset *set, const struct term *t)
{
	switch (t->type) {
	case TERM_DROP:
		batch_drop(b);
		break;
	case TERM_OUTBOUND:
		batch_jump(b, ruleset_hook(set, CHAIN_OUTBOUND).name);
		break;
	case TERM_REDIRECT:
		batch_redirect_to(b, (uint16_t)t->first);
		break;
	case TERM_ZONE:
		batch_set_zone(b, (uint16_t)t->first);
		break;
	case TERM_LOG:
		batch_log(b, t->name, LEVEL_DEBUG);
		break;
	default:
		batch_leave_chain(b);
	}
}

/** @param id  of the anonymous set that the term needs, if it does */
static void put_term(struct batch *b, const struct ruleset *set, const struct term *t, uint32_t id)
{
	switch (t->type) {
	case TERM_MARK:
		put_mark(b, t);
		break;
	case TERM_UID:
		put_uid(b, t);
		break;
	case TERM_PRIORITY:
		put_priority(b, t);
		break;
	case TERM_OUT:
		put_interface(b, NFT_META_OIFNAME, t->name);
		break;
	case TERM_IN:
		put_interface(b, NFT_META_IIFNAME, t->name);
		break;
	case TERM_FAMILY:
		put_u8(b, NFT_META_NFPROTO, family_of(t)->nfproto);
		break;
	case TERM_TRANSPORT:
		put_transport(b, t, id);
		break;
	case TERM_PORT:
		put_port(b, t);
		break;
	case TERM_PORTS:
		load_port(b, DPORT);
		batch_in_set(b, ANONYMOUS, id);
		break;
	case TERM_ADDRESS:
		put_address(b, t);
		break;
	case TERM_SERVERS:
		put_in_servers(b, family_of(t));
		break;
	case TERM_UNREACHABLE:
		put_unreachable(b, t);
		break;
	case TERM_INVALID:
		put_invalid(b);
		break;
	default:
		put_action(b, set, t);
	}
}
/* Rules */

/** What the kernel must have for this rule, beside the expressions that all have. */
static enum nft_step step_of(const struct rule *rule)
{
	switch (rule->term[rule->count - 1].type) {
	case TERM_ZONE:
		return NFT_RULE_ZONE;
	case TERM_REDIRECT:
		return NFT_RULE_REDIRECT;
	case TERM_DROP:
		return NFT_RULE_CT;
	case TERM_LOG:
		return NFT_RULE_LOG;
	default:
		return NFT_RULE;
	}
}

struct nft_tag nft_tag(const struct ruleset *set, const struct rule *rule)
{
	return (struct nft_tag){UDATA_TAG, sizeof(uint64_t) + sizeof(uint16_t), set->digest,
		(uint16_t)(rule - set->rule)};
}

/** What the kernel keeps with a rule, and does not look at: type, length, octets. */
static void put_userdata(struct batch *b, const struct ruleset *set, const struct rule *rule)
{
	const struct nft_tag tag = nft_tag(set, rule);
	uint8_t data[2 + COMMENT_SIZE + sizeof tag] = {UDATA_COMMENT};
	size_t len = 0;

	if (rule->comment) {
		len = strnlen(rule->comment, COMMENT_SIZE - 1) + 1;
		data[1] = (uint8_t)len;
		memcpy(data + 2, rule->comment, len - 1);
		len += 2;
	}
	if (set->digest != 0) {
		memcpy(data + len, &tag, sizeof tag);
		len += sizeof tag;
	}
	if (len > 0) {
		batch_put(b, NFTA_RULE_USERDATA, data, len);
	}
}

static uint32_t put_anonymous(struct batch *b, const struct term *t)
{
	if (t->type == TERM_PORTS) {
		return put_ports(b, t->ports);
	}
	return t->type == TERM_TRANSPORT && t->first == (CONF_TCP | CONF_UDP) ? put_transports(b)
									      : 0;
}

void nft_put_rule(struct batch *b, const struct ruleset *set, const struct rule *rule)
{
	uint32_t id[RULE_TERMS_MAX];
	struct nlattr *expressions;

	for (unsigned i = 0; i < rule->count; i++) {
		id[i] = put_anonymous(b, &rule->term[i]);
	}
	batch_begin(b, step_of(rule), NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
	batch_put_string(b, NFTA_RULE_CHAIN, ruleset_hook(set, rule->chain).name);
	expressions = batch_nest(b, NFTA_RULE_EXPRESSIONS);
	for (unsigned i = 0; i < rule->count; i++) {
		put_term(b, set, &rule->term[i], id[i]);
	}
	batch_unnest(b, expressions);
	put_userdata(b, set, rule);
	batch_end(b);
}
