/* SPDX-License-Identifier: Apache-2.0
 *
 * The ruleset → one batch of nf_tables messages, as octets. Pure: nftables.c sends them.
 */
#pragma once

#include <stdbool.h>

struct batch;
struct redirect_error;
struct rules;
struct ruleset;

/** What a message needs of the kernel, to explain its failure. */
enum nft_step {
	NFT_BEGIN,
	NFT_TABLE,
	NFT_OWNER,
	NFT_SET,
	NFT_SERVERS,
	NFT_CHAIN_FILTER,
	NFT_CHAIN_NAT,
	NFT_RULE,
	NFT_RULE_ZONE,
	NFT_RULE_REDIRECT,
	NFT_RULE_CT,
	NFT_RULE_LOG,
	NFT_END,
};

/**
 * Compose the whole ruleset. The table belongs to the socket that sends the batch, or lasts, as the
 * ruleset was compiled.
 *
 * @param table    its name, at most 31 octets
 * @param replace  a table of that name which nobody owns; else the kernel refuses with -EEXIST
 * where there is one. It costs a pause of 7 to 20 ms (unchanged.h).
 * @return 0; -EMSGSIZE if it does not fit, which no ruleset can cause
 */
int nft_compose_install(struct batch *b, const struct ruleset *set, const char *table, bool replace)
	__attribute__((warn_unused_result));

/**
 * Give the ruleset the digest of what it is composed of, which every rule bears from now on. It is
 * not that of the servers, which change in place.
 *
 * @param b  what is in it is overwritten
 * @return as nft_compose_install
 */
int nft_take_digest(struct batch *b, struct ruleset *set, const char *table)
	__attribute__((warn_unused_result));

/** Compose what stops interception, and leaves the way back to flows in progress. Like above. */
int nft_compose_withdraw(struct batch *b, const struct ruleset *set, const char *table)
	__attribute__((warn_unused_result));

/**
 * Compose what makes the sets hold the rules' servers, and those alone. Like above.
 *
 * @param has_servers  which sets there are: of IPv4, of IPv6
 */
int nft_compose_servers(struct batch *b, const struct rules *rules, const bool has_servers[2],
	const char *table) __attribute__((warn_unused_result));

/** Compose what removes a table, whether it is there or not. Like above. */
int nft_compose_remove(struct batch *b, const char *table) __attribute__((warn_unused_result));

/**
 * Say what is missing when message `seq` of `b` failed with `err`.
 *
 * @param err  a negative errno of the kernel
 * @return -EPERM, -EBUSY (another process owns the table), -ENOENT (no set to fill), -EOPNOTSUPP,
 * or `err`; `error` set
 */
int nft_explain(const struct batch *b, unsigned seq, int err, struct redirect_error *error)
	__attribute__((warn_unused_result));
