/* SPDX-License-Identifier: Apache-2.0
 *
 * Which servers resolve for us: resolv.conf or configuration. Pure but for reading the one file.
 */
#pragma once

#include "conf/endpoint.h"
#include "dns/wire/cursor.h"

struct conf;

enum { SERVERS_LIST_MAX = 16 };

/** Name servers in the order in which they are asked. */
struct servers {
	unsigned count;
	struct endpoint item[SERVERS_LIST_MAX];
};

/**
 * Read resolv.conf(5): `nameserver` lines, IPv4 and IPv6 with scope; glibc takes three, we take 16.
 * Everything else is passed over, bad addresses too; the same address twice counts once.
 *
 * @param text  the file's content, hostile
 */
void servers_parse(struct servers *servers, struct span text);

/**
 * The servers that the configuration names: conf->servers, else those of conf->resolv_conf.
 *
 * @return 0, also where the list is empty; -errno of reading the file (`servers` is empty then)
 */
int servers_load(struct servers *servers, const struct conf *conf)
	__attribute__((warn_unused_result));
