/* SPDX-License-Identifier: Apache-2.0 */
#include "dns/wire/hop.h"

#include <errno.h>

int hop_options(struct edns_options *o, const struct query *q, const struct hop *hop)
{
	struct writer w = {.data = o->octets, .size = sizeof(o->octets)};
	const struct edns_query *asked = &q->edns;
	/* RFC 7828 §3.3.1: over UDP the option means nothing. */
	enum edns_keepalive keepalive =
		hop->keepalive_ms > 0 ? asked->keepalive : EDNS_KEEPALIVE_NONE;

	if (asked->cookie.len > 0) {
		uint8_t cookie[COOKIE_LEN];
		(void)cookie_answer(cookie, hop->secret, asked->cookie, &hop->peer, hop->now);
		edns_put_cookie(&w, cookie);
	}
	if (keepalive == EDNS_KEEPALIVE_ASKED) {
		edns_put_keepalive(&w, hop->keepalive_ms);
	}
	o->len = (uint8_t)w.len;
	return keepalive == EDNS_KEEPALIVE_MALFORMED ? -EBADMSG : 0;
}
