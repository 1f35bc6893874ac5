/* SPDX-License-Identifier: Apache-2.0
 *
 * Where we listen, and what arrives there: so that we never ask ourselves, and nothing is
 * redirected to where nobody listens.
 */
#include "dns/serve/listening.h"

struct endpoint listening_loopback4(uint16_t port)
{
	struct endpoint e = {.in = {.sin_family = AF_INET,
				     .sin_port = htons(port),
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK)},
		.len = sizeof(e.in)};
	return e;
}

struct endpoint listening_loopback6(uint16_t port)
{
	struct endpoint e = {.in6 = {.sin6_family = AF_INET6,
				     .sin6_port = htons(port),
				     .sin6_addr = IN6ADDR_LOOPBACK_INIT},
		.len = sizeof(e.in6)};
	return e;
}

void listening_list(struct endpoint_list *list, const struct conf *conf)
{
	*list = conf->listen;
	if (list->count > 0) {
		return;
	}
	list->item[list->count++] = listening_loopback4(conf->port);
	if (conf->ip_family_mode == CONF_DUALSTACK) {
		list->item[list->count++] = listening_loopback6(conf->port);
	}
}

void listening_aliases(struct endpoint_list *list, const struct conf *conf, uint16_t port)
{
	list->count = 0;
	if (conf->redirect_mode == CONF_NFTABLES) {
		return;
	}
	list->item[list->count] = listening_loopback4(port);
	list->item[list->count++].in.sin_addr.s_addr = htonl(INADDR_ANY);
	if (conf->ip_family_mode == CONF_DUALSTACK) {
		list->item[list->count] = listening_loopback6(port);
		list->item[list->count++].in6.sin6_addr = in6addr_any;
	}
}

static bool is_loopback(const struct endpoint *e)
{
	return e->sa.sa_family == AF_INET ? ntohl(e->in.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET
					  : IN6_IS_ADDR_LOOPBACK(&e->in6.sin6_addr);
}

static bool is_wildcard(const struct endpoint *e)
{
	return e->sa.sa_family == AF_INET ? e->in.sin_addr.s_addr == htonl(INADDR_ANY)
					  : IN6_IS_ADDR_UNSPECIFIED(&e->in6.sin6_addr);
}

bool listening_takes(const struct endpoint *listening, unsigned count, const struct endpoint *to)
{
	for (unsigned i = 0; i < count; i++) {
		const struct endpoint *at = &listening[i];
		if (endpoint_equal(at, to)) {
			return true;
		}
		if (at->sa.sa_family == to->sa.sa_family && is_wildcard(at) && is_loopback(to) &&
			endpoint_port(at) == endpoint_port(to)) {
			return true;
		}
	}
	return false;
}
