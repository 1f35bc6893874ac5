/* SPDX-License-Identifier: Apache-2.0
 *
 * The ruleset of nft.h, message by message, and what the kernel lacks when it refuses one. Owns
 * nothing, sends nothing.
 */
#include "redirect/nft.h"

#include "redirect/batch.h"
#include "redirect/nft_rule.h"
#include "redirect/redirect.h"
#include "redirect/ruleset.h"

#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static const sa_family_t FAMILY[] = {AF_INET, AF_INET6};

/* Chains and tables */

static void put_chain(struct batch *b, const struct ruleset *set, enum ruleset_chain chain)
{
	const struct ruleset_hook place = ruleset_hook(set, chain);
	const bool is_nat = place.type && strcmp(place.type, "nat") == 0;
	struct nlattr *hook;

	batch_begin(b, is_nat ? NFT_CHAIN_NAT : NFT_CHAIN_FILTER, NFT_MSG_NEWCHAIN,
		NLM_F_CREATE | NLM_F_EXCL);
	batch_put_string(b, NFTA_CHAIN_NAME, place.name);
	if (place.type) {
		hook = batch_nest(b, NFTA_CHAIN_HOOK);
		batch_put_u32(b, NFTA_HOOK_HOOKNUM, place.number);
		batch_put_u32(b, NFTA_HOOK_PRIORITY, (uint32_t)place.priority);
		batch_unnest(b, hook);
		batch_put_u32(b, NFTA_CHAIN_POLICY, BATCH_ACCEPT);
		batch_put_string(b, NFTA_CHAIN_TYPE, place.type);
	}
	batch_end(b);
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

/** Deleting needs a table, and a table cannot change its owner: add, delete, add. */
static void put_removal(struct batch *b)
{
	put_table(b, NFT_TABLE, NFT_MSG_NEWTABLE, 0);
	put_table(b, NFT_TABLE, NFT_MSG_DELTABLE, 0);
}

int nft_compose_install(struct batch *b, const struct ruleset *set, const char *table, bool replace)
{
	const bool owned = set->life == RULESET_OWNED;

	batch_init(b, table);
	if (replace) {
		put_removal(b);
	}
	put_table(
		b, owned ? NFT_OWNER : NFT_TABLE, NFT_MSG_NEWTABLE, owned ? NFT_TABLE_F_OWNER : 0);
	for (unsigned i = 0; i < 2; i++) {
		if (set->has_servers[i]) {
			nft_put_servers(b, set->rules, FAMILY[i]);
		}
	}
	for (unsigned i = 0; i < CHAINS; i++) {
		if (set->has[i]) {
			put_chain(b, set, i);
		}
	}
	for (unsigned i = 0; i < set->count; i++) {
		nft_put_rule(b, set, &set->rule[i]);
	}
	return batch_finish(b);
}

int nft_take_digest(struct batch *b, struct ruleset *set, const char *table)
{
	const struct rules *rules = set->rules;
	struct rules without = *rules;
	int err;

	without.server_count = 0;
	set->rules = &without;
	set->digest = 0;
	err = nft_compose_install(b, set, table, false);
	set->rules = rules;
	if (err == 0) {
		set->digest = XXH3_64bits(b->data, b->len) | 1;
	}
	return err;
}

int nft_compose_servers(
	struct batch *b, const struct rules *rules, const bool has_servers[2], const char *table)
{
	batch_init(b, table);
	for (unsigned i = 0; i < 2; i++) {
		if (has_servers[i]) {
			nft_replace_servers(b, rules, FAMILY[i]);
		}
	}
	return batch_finish(b);
}

int nft_compose_remove(struct batch *b, const char *table)
{
	batch_init(b, table);
	put_removal(b);
	return batch_finish(b);
}

int nft_compose_withdraw(struct batch *b, const struct ruleset *set, const char *table)
{
	batch_init(b, table);
	for (unsigned i = 0; i < CHAINS; i++) {
		if (set->has[i]) {
			flush_chain(b, ruleset_hook(set, i).name);
		}
	}
	for (unsigned i = 0; i < set->count; i++) {
		if (set->rule[i].answers) {
			nft_put_rule(b, set, &set->rule[i]);
		}
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
		[NFT_SERVERS] = "nf_tables sets (CONFIG_NF_TABLES)",
		[NFT_SET] = "nf_tables sets (CONFIG_NF_TABLES)",
		[NFT_CHAIN_FILTER] = "nf_tables for inet (CONFIG_NF_TABLES_INET)",
		[NFT_CHAIN_NAT] = "nat in nf_tables (CONFIG_NFT_NAT, CONFIG_NF_NAT)",
		[NFT_RULE] = "nf_tables expressions (CONFIG_NF_TABLES)",
		[NFT_RULE_ZONE] = "conntrack zones in nf_tables (CONFIG_NFT_CT, "
				  "CONFIG_NF_CONNTRACK_ZONES; or set "
				  "redirect.dns.skipConntrackZoneSplit)",
		[NFT_RULE_REDIRECT] = "redirect in nf_tables (CONFIG_NFT_REDIR)",
		[NFT_RULE_CT] = "connection tracking in nf_tables (CONFIG_NFT_CT)",
		[NFT_RULE_LOG] = "logging in nf_tables (CONFIG_NFT_LOG)",
		[NFT_END] = "nf_tables (CONFIG_NF_TABLES)",
	};

	return needed[step];
}

int nft_explain(const struct batch *b, unsigned seq, int err, struct redirect_error *error)
{
	const enum nft_step step = seq < b->count ? b->step[seq] : NFT_END;

	if (err == -EPERM && step == NFT_BEGIN) {
		snprintf(error->text, sizeof error->text,
			"CAP_NET_ADMIN is missing: run as root or grant it");
		return -EPERM;
	}
	if (err == -EPERM && (step == NFT_TABLE || step == NFT_OWNER)) {
		snprintf(error->text, sizeof error->text, "another process owns the table inet %s",
			b->table);
		return -EBUSY;
	}
	if (err == -ENOENT && step == NFT_SERVERS) {
		snprintf(error->text, sizeof error->text, "the table inet %s has no such set",
			b->table);
		return -ENOENT;
	}
	if (is_missing(err)) {
		snprintf(error->text, sizeof error->text, "the kernel lacks %s", needed_by(step));
		return -EOPNOTSUPP;
	}
	snprintf(error->text, sizeof error->text, "the kernel refused rule message %u of %u: %s",
		seq + 1, b->count, strerror(-err));
	return err;
}
