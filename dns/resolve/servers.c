/* SPDX-License-Identifier: Apache-2.0
 *
 * The list of name servers, and where it comes from.
 */
#include "dns/resolve/servers.h"

#include "conf/conf.h"
#include "dns/resolve/resolvconf.h"

#include <string.h>

void servers_add(struct servers *servers, const struct endpoint *e)
{
	for (unsigned i = 0; i < servers->count; i++) {
		if (endpoint_equal(&servers->item[i], e)) {
			return;
		}
	}
	if (servers->count < SERVERS_LIST_MAX) {
		servers->item[servers->count++] = *e;
	}
}

bool servers_equal(const struct servers *a, const struct servers *b)
{
	if (a->count != b->count) {
		return false;
	}
	for (unsigned i = 0; i < a->count; i++) {
		if (!endpoint_equal(&a->item[i], &b->item[i])) {
			return false;
		}
	}
	return true;
}

int servers_load(struct servers *servers, const struct conf *conf)
{
	memset(servers, 0, sizeof(*servers));
	if (conf->servers.count == 0) {
		struct resolv_conf rc;
		int error = resolv_conf_load(&rc, conf->resolv_conf);
		*servers = rc.servers;
		return error;
	}
	for (unsigned i = 0; i < conf->servers.count; i++) {
		servers_add(servers, &conf->servers.item[i]);
	}
	return 0;
}
