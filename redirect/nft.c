/* SPDX-License-Identifier: Apache-2.0
 *
 * The ruleset of nft.h, message by message, and what the kernel lacks when it refuses one. Owns
 * nothing, sends nothing.
 */
#include "redirect/nft.h"

#include "redirect/batch.h"
#include "redirect/redirect.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <stdio.h>
#include <string.h>

enum {
	DNS_PORT = 53,
	PRIORITY_RAW = -300,
	PRIORITY_NAT = -101, /* before Kuma's and Docker's, which are at -100 */
	/* how nft, the reader of our table, numbers the types of keys */
	TYPE_IPV4_ADDR = 7,
	TYPE_IPV6_ADDR = 8,
	TYPE_INET_PROTO = 12,
	/* octets before a field, in its header */
	SPORT = 0,
	DPORT = 2,
	IPV4_DADDR = 16,
	IPV6_DADDR = 24,
	ICMP_TYPE = 0,
	ICMP_ERROR_DPORT = 8 + 20 + DPORT,
	ICMP6_ERROR_DPORT = 8 + 40 + DPORT,
};

static const char RAW_OUT[] = "raw_out";
static const char NAT_OUT[] = "nat_out";
static const char ANONYMOUS[] = "__set%d"; /* the kernel numbers these sets */

/* Matches: what nft writes as one condition */

static void match_u8(struct batch *b, enum nft_meta_keys key, uint8_t value)
{
	batch_load_meta(b, key);
	batch_equals(b, &value, sizeof value);
}

static void match_u32(struct batch *b, enum nft_meta_keys key, uint32_t value)
{
	batch_load_meta(b, key);
	batch_equals(b, &value, sizeof value);
}

static void match_loopback(struct batch *b)
{
	const char name[IFNAMSIZ] = "lo";

	batch_load_meta(b, NFT_META_OIFNAME);
	batch_equals(b, name, sizeof name);
}

static void match_port(struct batch *b, uint32_t offset, uint16_t port)
{
	const uint16_t be = htons(port);

	batch_load_payload(b, NFT_PAYLOAD_TRANSPORT_HEADER, offset, sizeof be);
	batch_equals(b, &be, sizeof be);
}

/** @param transports  id of an anonymous set of protocols, made before this rule */
static void match_transport_port(
	struct batch *b, uint32_t transports, uint32_t offset, uint16_t port)
{
	batch_load_meta(b, NFT_META_L4PROTO);
	batch_in_set(b, ANONYMOUS, transports);
	match_port(b, offset, port);
}

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

/** A way of asking: the address family, and where its destination is in the header. */
struct family {
	sa_family_t sa;
	uint8_t nfproto;
	uint32_t daddr;
	uint32_t len;
	uint32_t type;
	const char *set; /* of servers */
	uint8_t icmp;    /* protocol */
	uint8_t unreachable;
	uint32_t error_dport;
};

static const struct family IPV4 = {AF_INET, BATCH_IPV4, IPV4_DADDR, 4, TYPE_IPV4_ADDR, "ns4",
	IPPROTO_ICMP, ICMP_DEST_UNREACH, ICMP_ERROR_DPORT};
static const struct family IPV6 = {AF_INET6, BATCH_IPV6, IPV6_DADDR, 16, TYPE_IPV6_ADDR, "ns6",
	IPPROTO_ICMPV6, ICMP6_DST_UNREACH, ICMP6_ERROR_DPORT};

static unsigned count_servers(const struct rules *rules, const struct family *f)
{
	unsigned count = 0;

	for (unsigned i = 0; i < rules->server_count; i++) {
		count += rules->server[i].sa.sa_family == f->sa;
	}
	return count;
}

/** A set without servers stays empty: its family is not captured. */
static void put_servers(struct batch *b, const struct rules *rules, const struct family *f)
{
	const uint32_t id = put_set(b, f->set, 0, f->type, f->len);
	struct nlattr *elements;

	if (count_servers(rules, f) == 0) {
		return;
	}
	elements = begin_elements(b, f->set, id);
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

/* Chains and rules */

static void put_chain(
	struct batch *b, enum nft_step step, const char *name, const char *type, int priority)
{
	struct nlattr *hook;

	batch_begin(b, step, NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL);
	batch_put_string(b, NFTA_CHAIN_NAME, name);
	hook = batch_nest(b, NFTA_CHAIN_HOOK);
	batch_put_u32(b, NFTA_HOOK_HOOKNUM, BATCH_LOCAL_OUT);
	batch_put_u32(b, NFTA_HOOK_PRIORITY, (uint32_t)priority);
	batch_unnest(b, hook);
	batch_put_u32(b, NFTA_CHAIN_POLICY, BATCH_ACCEPT);
	batch_put_string(b, NFTA_CHAIN_TYPE, type);
	batch_end(b);
}

static struct nlattr *begin_rule(struct batch *b, enum nft_step step, const char *chain)
{
	batch_begin(b, step, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
	batch_put_string(b, NFTA_RULE_CHAIN, chain);
	return batch_nest(b, NFTA_RULE_EXPRESSIONS);
}

static void end_rule(struct batch *b, struct nlattr *expressions)
{
	batch_unnest(b, expressions);
	batch_end(b);
}

/** `meta mark M return`, `meta skuid U return` */
static void put_exempt(struct batch *b, const char *chain, enum nft_meta_keys key, uint32_t value)
{
	struct nlattr *rule = begin_rule(b, NFT_RULE, chain);

	match_u32(b, key, value);
	batch_leave_chain(b);
	end_rule(b, rule);
}

/** Our port on loopback, on either side. */
static void put_zone_of_port(struct batch *b, uint32_t offset, uint16_t port)
{
	const uint32_t transports = put_transports(b);
	struct nlattr *rule = begin_rule(b, NFT_RULE_ZONE, RAW_OUT);

	match_loopback(b);
	match_transport_port(b, transports, offset, port);
	batch_set_zone(b, NFT_ZONE);
	end_rule(b, rule);
}

static void put_zone_of_errors(struct batch *b, const struct rules *rules, const struct family *f)
{
	struct nlattr *rule = begin_rule(b, NFT_RULE_ZONE, RAW_OUT);

	match_loopback(b);
	match_u8(b, NFT_META_NFPROTO, f->nfproto);
	match_u8(b, NFT_META_L4PROTO, f->icmp);
	batch_load_payload(b, NFT_PAYLOAD_TRANSPORT_HEADER, ICMP_TYPE, 1);
	batch_equals(b, &f->unreachable, 1);
	match_port(b, f->error_dport, rules->port);
	batch_set_zone(b, NFT_ZONE);
	end_rule(b, rule);
}

/** What an application asks: begins a rule that its caller ends with an action. */
static struct nlattr *begin_queries(struct batch *b, enum nft_step step, const char *chain,
	const struct rules *rules, const struct family *f)
{
	const uint32_t transports = put_transports(b);
	struct nlattr *rule = begin_rule(b, step, chain);

	match_transport_port(b, transports, DPORT, DNS_PORT);
	match_u8(b, NFT_META_NFPROTO, f->nfproto);
	if (!rules->capture_all) {
		batch_load_payload(b, NFT_PAYLOAD_NETWORK_HEADER, f->daddr, f->len);
		batch_in_set(b, f->set, 0);
	}
	return rule;
}

static void put_zone_of_queries(struct batch *b, const struct rules *rules, const struct family *f)
{
	struct nlattr *rule = begin_queries(b, NFT_RULE_ZONE, RAW_OUT, rules, f);

	batch_set_zone(b, NFT_ZONE);
	end_rule(b, rule);
}

static void put_redirect(struct batch *b, const struct rules *rules, const struct family *f)
{
	struct nlattr *rule = begin_queries(b, NFT_RULE_REDIRECT, NAT_OUT, rules, f);

	batch_redirect_to(b, rules->port);
	end_rule(b, rule);
}

typedef void family_put(struct batch *b, const struct rules *rules, const struct family *f);

static void for_each_family(struct batch *b, const struct rules *rules, family_put *put_one)
{
	if (rules->ipv4) {
		put_one(b, rules, &IPV4);
	}
	if (rules->ipv6) {
		put_one(b, rules, &IPV6);
	}
}

/** The way back of flows that are redirected. */
static void put_answers(struct batch *b, const struct rules *rules)
{
	put_exempt(b, RAW_OUT, NFT_META_MARK, rules->mark);
	put_zone_of_port(b, SPORT, rules->port);
	put_zone_of_port(b, DPORT, rules->port);
	for_each_family(b, rules, put_zone_of_errors);
}

/** A link-local address is none of loopback: an answer from there would not find its way back. */
static void put_exempt_link_local(struct batch *b, const char *chain)
{
	static const uint8_t prefix[8] = {0xfe, 0x80}; /* RFC 4291 §2.5.6 */
	struct nlattr *rule = begin_rule(b, NFT_RULE, chain);

	match_u8(b, NFT_META_NFPROTO, IPV6.nfproto);
	batch_load_payload(b, NFT_PAYLOAD_NETWORK_HEADER, IPV6.daddr, sizeof prefix);
	batch_equals(b, prefix, sizeof prefix);
	batch_leave_chain(b);
	end_rule(b, rule);
}

/** Whose queries, and which, are not for us. */
static void put_exceptions(struct batch *b, const struct rules *rules, const char *chain)
{
	if (rules->has_uid) {
		put_exempt(b, chain, NFT_META_SKUID, rules->uid);
	}
	if (rules->ipv6) {
		put_exempt_link_local(b, chain);
	}
}

static void put_raw_out(struct batch *b, const struct rules *rules)
{
	put_chain(b, NFT_CHAIN_FILTER, RAW_OUT, "filter", PRIORITY_RAW);
	put_answers(b, rules);
	put_exceptions(b, rules, RAW_OUT);
	for_each_family(b, rules, put_zone_of_queries);
}

static void put_nat_out(struct batch *b, const struct rules *rules)
{
	put_chain(b, NFT_CHAIN_NAT, NAT_OUT, "nat", PRIORITY_NAT);
	put_exempt(b, NAT_OUT, NFT_META_MARK, rules->mark);
	put_exceptions(b, rules, NAT_OUT);
	for_each_family(b, rules, put_redirect);
}

static void put_table(struct batch *b, enum nft_step step, unsigned type, uint32_t flags)
{
	batch_begin(b, step, type, type == NFT_MSG_NEWTABLE ? NLM_F_CREATE : 0);
	if (flags != 0) {
		batch_put_u32(b, NFTA_TABLE_FLAGS, flags);
	}
	batch_end(b);
}

/** Without a handle this deletes every rule of the chain. */
static void flush_chain(struct batch *b, const char *chain)
{
	batch_begin(b, NFT_RULE, NFT_MSG_DELRULE, 0);
	batch_put_string(b, NFTA_RULE_CHAIN, chain);
	batch_end(b);
}

int nft_compose_install(struct batch *b, const struct rules *rules, const char *table)
{
	batch_init(b, table);
	/* Deleting needs a table, and a table cannot change its owner: add, delete, add. */
	put_table(b, NFT_TABLE, NFT_MSG_NEWTABLE, 0);
	put_table(b, NFT_TABLE, NFT_MSG_DELTABLE, 0);
	put_table(b, NFT_OWNER, NFT_MSG_NEWTABLE, NFT_TABLE_F_OWNER);
	if (!rules->capture_all) {
		for_each_family(b, rules, put_servers);
	}
	if (rules->zones) {
		put_raw_out(b, rules);
	}
	put_nat_out(b, rules);
	return batch_finish(b);
}

int nft_compose_withdraw(struct batch *b, const struct rules *rules, const char *table)
{
	batch_init(b, table);
	flush_chain(b, NAT_OUT);
	if (rules->zones) {
		flush_chain(b, RAW_OUT);
		put_answers(b, rules);
	}
	return batch_finish(b);
}

/* Errors */

/** The kernel's way to say that it does not have what a message asks for. */
static bool is_missing(int err)
{
	return err == -ENOENT || err == -EOPNOTSUPP || err == -EPROTONOSUPPORT ||
	       err == -EAFNOSUPPORT;
}

static const char *needed_by(enum nft_step step)
{
	static const char *const needed[] = {
		[NFT_BEGIN] = "nf_tables (CONFIG_NF_TABLES)",
		[NFT_TABLE] = "nf_tables for inet (CONFIG_NF_TABLES_INET)",
		[NFT_OWNER] = "tables with an owner (Linux 5.12 or later)",
		[NFT_SET] = "nf_tables sets (CONFIG_NF_TABLES)",
		[NFT_CHAIN_FILTER] = "nf_tables for inet (CONFIG_NF_TABLES_INET)",
		[NFT_CHAIN_NAT] = "nat in nf_tables (CONFIG_NFT_NAT, CONFIG_NF_NAT)",
		[NFT_RULE] = "nf_tables expressions (CONFIG_NF_TABLES)",
		[NFT_RULE_ZONE] = "conntrack zones in nf_tables (CONFIG_NFT_CT, "
				  "CONFIG_NF_CONNTRACK_ZONES; or set "
				  "redirect.dns.skipConntrackZoneSplit)",
		[NFT_RULE_REDIRECT] = "redirect in nf_tables (CONFIG_NFT_REDIR)",
		[NFT_END] = "nf_tables (CONFIG_NF_TABLES)",
	};

	return needed[step];
}

int nft_explain(const struct batch *b, unsigned seq, int err, struct redirect_error *error)
{
	const enum nft_step step = seq < b->count ? b->step[seq] : NFT_END;

	if (err == -EPERM && step == NFT_BEGIN) {
		snprintf(error->text, sizeof error->text,
			"CAP_NET_ADMIN is missing: run as root or grant it, or use --no-redirect");
		return -EPERM;
	}
	if (err == -EPERM && (step == NFT_TABLE || step == NFT_OWNER)) {
		snprintf(error->text, sizeof error->text, "another process owns the table inet %s",
			b->table);
		return -EBUSY;
	}
	if (is_missing(err)) {
		snprintf(error->text, sizeof error->text,
			"the kernel lacks %s; use --no-redirect to run without", needed_by(step));
		return -EOPNOTSUPP;
	}
	snprintf(error->text, sizeof error->text, "the kernel refused rule message %u of %u: %s",
		seq + 1, b->count, strerror(-err));
	return err;
}
