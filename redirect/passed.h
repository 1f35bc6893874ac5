/* SPDX-License-Identifier: Apache-2.0
 *
 * The address that Envoy sends from what came in and is passed on to the application: 127.0.0.6,
 * which every host has, and ::6, which none has.
 */
#pragma once

/**
 * Give ::6 to the loopback interface, unless it has it. Without, Envoy cannot pass on what came in
 * over IPv6.
 *
 * @return 0; -EPERM; -EACCES where IPv6 is disabled; -errno
 */
int passed_add_address(void) __attribute__((warn_unused_result));
