/* SPDX-License-Identifier: Apache-2.0
 *
 * What each way of redirection needs of the system, by name: checked before anything is changed.
 */
#pragma once

struct redirect_error;

/** Ways, as bits: what several need stands in the table once. */
enum needs_way {
	NEEDS_NFTABLES = 1 << 0,
	NEEDS_NETNS = 1 << 1, /* to enter another network namespace */
};

/**
 * Check all that these ways need, and name the first that is missing. What a ruleset needs besides
 * (nat, zones, an owner) the kernel says when it gets it, see nft_explain.
 *
 * @param ways  enum needs_way, or'ed
 * @return 0; -EPERM for a capability, -EOPNOTSUPP for what the kernel lacks, `error` set
 */
int needs_check(unsigned ways, struct redirect_error *error) __attribute__((warn_unused_result));
