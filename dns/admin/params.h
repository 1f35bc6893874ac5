/* SPDX-License-Identifier: Apache-2.0
 *
 * Parameters of a page: the query string, `name=redis.mesh&type=AAAA`. Pure.
 */
#pragma once

#include "dns/wire/dname.h"

enum { PARAM_SIZE = DNAME_TEXT_SIZE + 1 }; /* the longest value is a name, with its dot */

/** What a page may be told; `key` is the page's, the rest is read. */
struct param {
	const char *key;
	bool given;
	size_t len;             /* octets of the value, which may hold NULs … */
	char value[PARAM_SIZE]; /* … and has one more behind its end */
};

/**
 * Read a query string, percent-encoded (RFC 3986 §2.1), into the parameters that a page has.
 *
 * @param query  hostile; empty: none is given
 * @return whether it consists of these alone, each at most once, well encoded, and each value
 *         shorter than PARAM_SIZE
 */
bool params_read(struct span query, struct param *param, size_t count);
