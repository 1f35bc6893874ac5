/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether a table is as it would be made: then nothing is to be done. Deleting anything, a rule or
 * one element of a set, makes the kernel wait for a grace period when a netfilter socket is closed,
 * some 10 ms: what a program that ends cannot avoid.
 */
#pragma once

#include <stdbool.h>

struct ruleset;

/**
 * @param set    with its digest
 * @param table  its name
 * @return whether the table has the very rules of `set`, in their order, in chains that accept what
 * no rule decides, and the servers of `set`; false where that cannot be seen
 */
bool unchanged_is(const struct ruleset *set, const char *table);
