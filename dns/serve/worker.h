/* SPDX-License-Identifier: Apache-2.0
 *
 * A worker: one thread that owns an event loop and everything that a query touches: sockets,
 * forwarder, buffers, counters. It shares nothing that changes; tables reach it through a mailbox.
 */
#pragma once

#include "dns/admin/stats.h"
#include "dns/resolve/servers.h"
#include "dns/serve/answer.h"

struct conf;
struct worker;

/**
 * Open everything but the listeners; the thread does not run yet.
 *
 * @param conf     borrowed as long as the worker is open
 * @param servers  copied
 * @param zones    borrowed as long as the worker is open
 * @return 0; -ENOMEM or -errno, logged
 */
int worker_open(struct worker **worker, const struct conf *conf, const struct servers *servers,
	const struct mesh_zones *zones) __attribute__((warn_unused_result));

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

/** Start the thread, signals blocked in it. @return 0; -errno */
int worker_start(struct worker *worker) __attribute__((warn_unused_result));

/**
 * Hand over a table. Main thread only; the worker takes it at its next turn, without lock or wait.
 *
 * @param table  transferred: one reference
 */
void worker_publish(struct worker *worker, struct table *table);

/** Its counters, for reading with stats_sum. Main thread. */
const struct stats *worker_stats(const struct worker *worker);

/** Datagrams the kernel dropped because our receive buffer was full (SK_MEMINFO_DROPS). Main
 * thread. */
uint64_t worker_udp_overflows(const struct worker *worker);

/** Addresses that are listened on, for the log and the status. Main thread, after worker_listen. */
const struct endpoint *worker_listening(const struct worker *worker, unsigned *count);

/**
 * Stop: no new connections, what has already arrived is answered, every waiting client gets an
 * answer, the thread ends. Waits at most a second. Not before worker_start.
 */
void worker_stop(struct worker *worker);

/** Free; after worker_stop, or without worker_start. NULL is a no-op. */
void worker_close(struct worker *worker);
