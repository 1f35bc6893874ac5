/* SPDX-License-Identifier: Apache-2.0
 *
 * The admin socket: HTTP on a Unix socket (mode 0600), and `/metrics` and `/ready` on a TCP address
 * where one is configured. Runs on the main thread's loop.
 *
 *   GET /metrics  Prometheus text format 0.0.4
 *   GET /ready    200 "ready", else 503 and the reason
 *   GET /table    the table, one record a line: name, TTL, class, type, address; `?name=` for one
 *   GET /status   what `kuma-dns status` prints
 *   GET /cache    figures of the cache; `?name=` for the entries of a name, a line each
 *   GET /explain  `?name=` and perhaps `&type=`: how that would be answered, and why
 *   POST /cache/flush  forget everything; `?name=` for a name and all below it
 *
 * The process must ignore SIGPIPE: a peer may vanish at any time.
 */
#pragma once

#include <stdbool.h>

struct admin;
struct event_base;
struct state;

/**
 * Listen. A socket file that is there already is replaced, also that of a daemon that runs. Where
 * the socket cannot be made and was not asked for (conf->admin_socket_given), that is a warning.
 *
 * @param state  borrowed until admin_close
 * @return 0; -errno, logged with path or address
 */
int admin_open(struct admin **admin, struct event_base *base, const struct state *state)
	__attribute__((warn_unused_result));

/** Stop listening; the socket file is removed where it is still ours. NULL is a no-op. */
void admin_close(struct admin *admin);

/** What a running daemon is asked. */
struct admin_question {
	const char *page; /* its path, without the first slash */
	const char *name; /* NULL: none is given */
	const char *type; /* likewise; only with a name */
	bool changes;     /* it is POST that is wanted */
};

/**
 * Ask a running daemon at its admin socket; prints the answer on standard output, errors on
 * standard error.
 *
 * @param path  of the socket
 * @return an exit status: 0; 1 where the daemon said no; 2 where it could not be asked, or did not
 *         understand
 */
int admin_client(const char *path, const struct admin_question *question);
