/* SPDX-License-Identifier: Apache-2.0
 *
 * Counts the sockets of this network namespace that are connected to port 53: programs at the
 * sockets come too late for those.
 */
#pragma once

#include <stdint.h>

/**
 * @param mark        of sockets that do not count: our own
 * @param[out] count  UDP and TCP, IPv4 and IPv6
 * @return 0; -errno where the kernel has no sock_diag
 */
int older_count(uint32_t mark, unsigned *count) __attribute__((warn_unused_result));
