/* SPDX-License-Identifier: Apache-2.0
 *
 * The daemon: `kuma-dns run`.
 */
#pragma once

struct conf;

enum exit_status {
	STATUS_FAILURE = 1,
	STATUS_USAGE = 2 /* of arguments, or of the configuration */
};

/** Serve until a signal ends it. One daemon in a process. @return 0; enum exit_status, logged */
int daemon_run(const struct conf *conf);
