/* SPDX-License-Identifier: Apache-2.0
 *
 * Which servers resolve for us: resolv.conf or configuration. Pure but for reading the one file.
 */
#pragma once

#include "conf/endpoint.h"

struct conf;

enum { SERVERS_LIST_MAX = 16 };

/** Name servers in the order in which they are asked. */
struct servers {
	unsigned count;
	struct endpoint item[SERVERS_LIST_MAX];
};

/** Append a server; one that is there already, or is one too many, is left out. */
void servers_add(struct servers *servers, const struct endpoint *e);

/** Whether both name the same servers in the same order. */
bool servers_equal(const struct servers *a, const struct servers *b);

/**
 * The servers that the configuration names: conf->servers, else those of conf->resolv_conf.
 *
 * @return 0, also where the list is empty; -errno of reading the file (`servers` is empty then)
 */
int servers_load(struct servers *servers, const struct conf *conf)
	__attribute__((warn_unused_result));
