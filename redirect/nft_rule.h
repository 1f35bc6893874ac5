/* SPDX-License-Identifier: Apache-2.0
 *
 * What nft.c composes a ruleset of: rules, and the sets of servers that they look into. Pure; a
 * fault is latched in the batch.
 */
#pragma once

#include <stdint.h>
#include <sys/socket.h>

struct batch;
struct rule;
struct rules;
struct ruleset;

/** What a rule bears at the end of its userdata, so that it is known again. */
struct nft_tag {
	uint8_t type;
	uint8_t len;
	uint64_t digest; /* of the ruleset */
	uint16_t number; /* its place there */
} __attribute__((packed));

struct nft_tag nft_tag(const struct ruleset *set, const struct rule *rule);

/** Add a rule at the end of its chain, with the anonymous sets that it needs. */
void nft_put_rule(struct batch *b, const struct ruleset *set, const struct rule *rule);

/** Add the set of the rules' servers of a family, AF_INET or AF_INET6. */
void nft_put_servers(struct batch *b, const struct rules *rules, sa_family_t family);

/** Make that set, which is there, hold the rules' servers and no others. */
void nft_replace_servers(struct batch *b, const struct rules *rules, sa_family_t family);
