/* SPDX-License-Identifier: Apache-2.0
 *
 * What is known of search domains, and what to find out next.
 */
#include "dns/resolve/search.h"

#include "dns/wire/query.h"

void search_init(struct search *search)
{
	memset(search, 0, sizeof(*search));
}

bool search_next(const struct search *search, const struct routes *routes, const struct dname *name,
	int64_t now_ms, struct search_question *ask)
{
	if (now_ms < search->from_ms || !routes_search(routes, name, &ask->name, &ask->domain)) {
		return false;
	}
	enum search_state state = search->state[ask->domain];
	ask->of_domain = state == SEARCH_UNKNOWN;
	if (ask->of_domain) {
		ask->name = routes->search[ask->domain];
	}
	return state == SEARCH_UNKNOWN || state == SEARCH_EXISTS;
}

void search_answered(struct search *search, unsigned domain, uint16_t rcode)
{
	search->state[domain] = rcode == RCODE_NOERROR    ? SEARCH_EXISTS
				: rcode == RCODE_NXDOMAIN ? SEARCH_DENIED
							  : SEARCH_UNKNOWN;
}
