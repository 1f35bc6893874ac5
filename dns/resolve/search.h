/* SPDX-License-Identifier: Apache-2.0
 *
 * Search lists without the storm: with `ndots:5`, an application in Kubernetes asks for
 * api.example.com.default.svc.cluster.local before it asks for api.example.com. What to find out,
 * once, so that all such names are denied here: whether anything can be below
 * com.default.svc.cluster.local (RFC 8020). Pure: knows what is known of the search domains, and no
 * clock.
 *
 * A server that denies names which have others below them would deny too much that way. Most such
 * servers deny the search domain itself: so that is asked for first, and nothing is done in a
 * domain that is denied.
 */
#pragma once

#include "dns/resolve/routes.h"

enum { SEARCH_DISTRUST_MS = 600000 };

enum search_state { SEARCH_UNKNOWN, SEARCH_ASKING, SEARCH_EXISTS, SEARCH_DENIED };

struct search {
	int64_t from_ms;                  /* not before this time */
	uint8_t state[ROUTES_SEARCH_MAX]; /* enum search_state, of each search domain */
};

/** What to ask for. */
struct search_question {
	struct dname name;
	unsigned domain; /* which search domain it is about */
	bool of_domain;  /* it is the search domain itself */
};

/** Begin with other routes: nothing is known. */
void search_init(struct search *search);

/**
 * What to ask for because of a name that is asked for, type A.
 *
 * @param now_ms  CLOCK_MONOTONIC
 * @return whether there is anything
 */
bool search_next(const struct search *search, const struct routes *routes, const struct dname *name,
	int64_t now_ms, struct search_question *ask);

/** A search domain is asked for. */
static inline void search_asked(struct search *search, unsigned domain)
{
	search->state[domain] = SEARCH_ASKING;
}

/** … and what came of it. @param rcode  NOERROR, NXDOMAIN, or any other where nothing is known */
void search_answered(struct search *search, unsigned domain, uint16_t rcode);

/** A name was denied that has names below it: do nothing for a while. */
static inline void search_distrust(struct search *search, int64_t now_ms)
{
	search->from_ms = now_ms + SEARCH_DISTRUST_MS;
}
