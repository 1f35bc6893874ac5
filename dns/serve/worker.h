/* SPDX-License-Identifier: Apache-2.0
 *
 * A worker: one thread that owns an event loop and everything that a query touches: sockets,
 * forwarder, buffers, counters. It shares nothing that changes; tables reach it through a mailbox.
 */
#pragma once

#include "dns/admin/stats.h"
#include "dns/resolve/forward.h"
#include "dns/serve/answer.h"
#include "dns/wire/cookie.h"

struct conf;
struct worker;

/**
 * Open everything but the listeners; the thread does not run yet.
 *
 * @param conf    borrowed as long as the worker is open
 * @param routes  borrowed during the call
 * @param zones   borrowed as long as the worker is open
 * @param secret  of cookies; copied
 * @return 0; -ENOMEM or -errno, logged
 */
int worker_open(struct worker **worker, const struct conf *conf, struct routes *routes,
	const struct mesh_zones *zones, const struct cookie_secret *secret)
	__attribute__((warn_unused_result));

/**
 * Open the listeners; once, before worker_start. From here on the kernel hands us queries.
 *
 * Listeners are SO_REUSEPORT: other workers, and the next start of the daemon, bind the same ports.
 * IPv6 addresses are left out with a note where the kernel has no IPv6 and the address was not
 * configured.
 *
 * @return 0; -errno, logged with the address that could not be bound
 */
int worker_listen(struct worker *worker) __attribute__((warn_unused_result));

/**
 * Listen at all of loopback too, as eBPF needs it.
 *
 * @return 0; -errno, and nothing is logged: not to be had by a user before Linux 5.7
 */
int worker_listen_inside(struct worker *worker) __attribute__((warn_unused_result));

/**
 * Listen at one more port of loopback, where queries to servers arrive that are none of ours.
 *
 * @return 0; -errno: not at each address that the kernel has, and nothing is logged
 */
int worker_listen_elsewhere(struct worker *worker, uint16_t port)
	__attribute__((warn_unused_result));

/**
 * Tells which server a requestor asked, before its query was redirected to us; from the worker's
 * thread.
 *
 * @param peer   of the requestor, as our socket has it
 * @param local  ours
 * @return 0; -ENOENT: us; -EPERM: it is not to be known; -errno
 */
typedef int worker_original(void *ctx, const struct endpoint *peer, const struct endpoint *local,
	bool tcp, struct endpoint *server);

/** Whom to ask about that; before worker_start. Without, nothing is passed on. */
void worker_set_original(struct worker *worker, worker_original *original, void *ctx);

/** Start the thread, signals blocked in it. @return 0; -errno */
int worker_start(struct worker *worker) __attribute__((warn_unused_result));

/**
 * Hand over a table. Main thread only; the worker takes it at its next turn, without lock or wait.
 *
 * @param table  transferred: one reference
 */
void worker_publish(struct worker *worker, struct table *table);

/** Ask according to these routes from now on. Main thread only. @param routes  borrowed */
void worker_set_routes(struct worker *worker, struct routes *routes);

/** What a task finds inside a worker; borrowed during the task. */
struct worker_inside {
	struct authority authority; /* as for a query of nobody */
	struct forward *forward;
	int64_t table_since_ms; /* CLOCK_MONOTONIC, when the worker got its table */
};

typedef void worker_task(void *ctx, const struct worker_inside *inside);

/**
 * Have a short task done on the worker's thread, between two turns of its loop, and wait for it:
 * what a worker owns is read and changed by nobody else. Main thread only. Before worker_start and
 * after worker_stop it is done at once.
 */
void worker_call(struct worker *worker, worker_task *task, void *ctx);

/** Its counters, for reading with stats_sum. Main thread. */
const struct stats *worker_stats(const struct worker *worker);

/** Datagrams the kernel dropped because our receive buffer was full (SK_MEMINFO_DROPS). Main
 * thread. */
uint64_t worker_udp_overflows(const struct worker *worker);

/** Addresses that are listened on, for the log and the status. Main thread, after worker_listen. */
const struct endpoint *worker_listening(const struct worker *worker, unsigned *count);

/** Say that it is to stop, and do not wait: several may do so at the same time. */
void worker_order_stop(struct worker *worker);

/**
 * Stop: no new connections, what has already arrived is answered, every waiting client gets an
 * answer, the thread ends. Waits at most a second. Not before worker_start.
 */
void worker_stop(struct worker *worker);

/** Free; after worker_stop, or without worker_start. NULL is a no-op. */
void worker_close(struct worker *worker);
