/* SPDX-License-Identifier: Apache-2.0
 *
 * What a hop owes to a query's options, whoever answers it: a cookie for its requestor, and how
 * long a connection may be idle. No I/O, no clock, no allocation.
 */
#pragma once

#include "dns/wire/cookie.h"
#include "dns/wire/query.h"

/** Where a query came from, and when. */
struct hop {
	const struct cookie_secret *secret; /* borrowed */
	struct address peer;                /* as cookie_make takes it */
	uint32_t now;                       /* seconds since 1970, modulo 2^32 */
	uint32_t keepalive_ms; /* how long a TCP connection may be idle; 0: not over TCP */
};

/**
 * The options of our own that the response to `q` carries: COOKIE where the query had one
 * (RFC 7873 §5.2, RFC 9018), then edns-tcp-keepalive where it was asked for over TCP
 * (RFC 7828 §3.3).
 *
 * A bad server cookie is no error: the requestor learns the good one, and has its answer.
 *
 * @param[out] o    empty for most queries
 * @param      q    as query_parse left it, errors included
 * @param      hop  borrowed
 * @return 0; -EBADMSG where FORMERR is owed, with `o`: edns-tcp-keepalive is malformed (RFC 7828
 *         §3.1, RFC 6891 §7)
 * Cost: one or two SipHashes where there is a cookie, else nothing.
 */
int hop_options(struct edns_options *o, const struct query *q, const struct hop *hop)
	__attribute__((warn_unused_result));
