/* SPDX-License-Identifier: Apache-2.0
 *
 * Where we listen, and what arrives there. Pure.
 */
#pragma once

#include "conf/conf.h"

/** 127.0.0.1 at a port, in host order. */
struct endpoint listening_loopback4(uint16_t port);

/** ::1 at a port, in host order. */
struct endpoint listening_loopback6(uint16_t port);

/** The addresses that are configured, else the defaults: loopback at conf->port, each family. */
void listening_list(struct endpoint_list *list, const struct conf *conf);

/**
 * Where eBPF sends queries: any address of loopback at `port`, each family. Not in the list
 * above, since nobody is to ask there.
 */
void listening_aliases(struct endpoint_list *list, const struct conf *conf, uint16_t port);

/**
 * Whether a query sent to `to` on this host arrives at one of `count` addresses; a wildcard address
 * takes what is sent to loopback, what other addresses this host has is not known here.
 */
bool listening_takes(const struct endpoint *listening, unsigned count, const struct endpoint *to);
