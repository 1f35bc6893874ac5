/* SPDX-License-Identifier: Apache-2.0
 *
 * resolv.conf(5) as the C libraries read it, which our requestors use. Pure but for reading the one
 * file. The environment (LOCALDOMAIN, RES_OPTIONS) is each requestor's own business.
 */
#pragma once

#include "dns/resolve/servers.h"
#include "dns/wire/dname.h"

enum {
	RESOLV_SEARCH_MAX = 32,  /* what Kubernetes allows; glibc has no limit */
	RESOLV_NDOTS_MAX = 15,   /* the limits are glibc's */
	RESOLV_TIMEOUT_MAX = 30, /* s */
	RESOLV_ATTEMPTS_MAX = 5
};

/** What the file says. */
struct resolv_conf {
	struct servers servers;
	unsigned search_count;
	struct dname search[RESOLV_SEARCH_MAX]; /* in the order in which they are tried */
	unsigned ndots;                         /* 0..15; 1 where it is not given */
	uint32_t timeout_ms;                    /* 1,000..30,000; 0: not given */
	unsigned attempts;                      /* 1..5; 0: not given */
	bool rotate;
};

/**
 * Read the content of the file. What makes no sense is passed over, as is a line with a NUL in it.
 *
 * A keyword counts at the start of a line only. `nameserver`: IPv4, and IPv6 with scope; glibc
 * takes three, we take 16. `search` and `domain`: the last of them wins, `domain` has one name;
 * what is no domain name is skipped, and the root, which is no suffix; glibc knows no comments at
 * the end of these lines, so neither do we. `options`: lines add up; numbers beyond a limit count
 * as the limit. The same server or domain twice counts once.
 *
 * @param text  hostile, any octets
 * Cost: O(length), and a system call for each IPv6 address with a scope.
 */
void resolv_conf_parse(struct resolv_conf *rc, struct span text);

/** Read the file. @return 0; -EFBIG beyond 64 KiB; -ENOMEM; what open or read say; then `rc` is as
 * of an empty file */
int resolv_conf_load(struct resolv_conf *rc, const char *path) __attribute__((warn_unused_result));

/** Whether they say the same, in the same order. */
bool resolv_conf_equal(const struct resolv_conf *a, const struct resolv_conf *b);
