/* SPDX-License-Identifier: Apache-2.0
 *
 * Makes an IPv6 prefix local to the host: every address in it is then one of loopback, as all of
 * 127.0.0.0/8 is.
 */
#pragma once

#include <netinet/in.h>
#include <stdint.h>

/**
 * Add the route. Several may be there for the same prefix, each with a metric of its own: whoever
 * added one can remove it without regard to others.
 *
 * @param bits  of `prefix`
 * @return 0; -EEXIST: with that metric it is there already; -EPERM; -EAFNOSUPPORT, -EACCES and
 * others where there is no IPv6
 */
int local_add(const struct in6_addr *prefix, unsigned bits, uint32_t metric)
	__attribute__((warn_unused_result));

/** Remove it. @return 0, also where it is not there; -errno */
int local_remove(const struct in6_addr *prefix, unsigned bits, uint32_t metric)
	__attribute__((warn_unused_result));
