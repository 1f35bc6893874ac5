/* SPDX-License-Identifier: Apache-2.0
 *
 * A table that has much in common with a former one: it has the same arena, in which what did
 * change is put behind all others, and copies of the ways into it, with few corrections. For
 * builder.c, which makes what did change.
 *
 * Entries can be taken over in the order that they have in the former table; the control plane
 * sorts its records by name.
 */
#pragma once

#include "dns/mesh/index.h"

struct patch;

/** @param former  borrowed as long as the patch is there @return NULL without memory */
struct patch *patch_new(const struct table *former);

/**
 * Take an entry of the former table over, if one of the next few was made of a text with this hash.
 *
 * @return 1: it was; 0: none was; -ENOMEM
 */
int patch_keep(struct patch *patch, uint64_t text) __attribute__((warn_unused_result));

/**
 * An entry that was made anew comes next.
 *
 * @param changes  the table that it is in, where nothing else is
 * @param name     its place there
 * @return 0; -ENOMEM; -EAGAIN where too much changes for a patch to be worth it
 */
int patch_change(struct patch *patch, const struct table *changes, size_t name)
	__attribute__((warn_unused_result));

/**
 * Put together what was taken over and what was made anew.
 *
 * @param[in,out] changes  all of them; its labels go to the new table
 * @param         limit    octets the new table may hold
 * @return one reference, `ttl` and `generation` unset; NULL where it has to be made without the
 * former one: no memory, no room in what they have in common, a name that comes twice
 */
struct table *patch_apply(struct patch *patch, struct table *changes, size_t limit);

/** NULL is a no-op. */
void patch_free(struct patch *patch);
