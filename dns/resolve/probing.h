/* SPDX-License-Identifier: Apache-2.0
 *
 * Looking after the servers: those that are silent are asked now and then whether they are back,
 * all are asked whether what they are asked comes back to us, and those that lack something, OPT or
 * UDP, get a chance to show that they do not. Only while questions come, so that an idle worker
 * sleeps; a server that leads back to us is looked after until it does not.
 */
#pragma once

#include "dns/resolve/pool.h"
#include "dns/resolve/upstream.h"

struct event_base;
struct probing;

/**
 * @param pool        borrowed until probing_close; health and counters in it are kept here, too
 * @param upstream    borrowed likewise; attempts without an owner are ours
 * @param loop_probe  look for loops
 * @return 0; -ENOMEM
 */
int probing_open(struct probing **probing, struct event_base *base, struct pool *pool,
	struct upstream *upstream, bool loop_probe) __attribute__((warn_unused_result));

/** The pool has other routes: look at once. */
void probing_begin(struct probing *probing, int64_t now_ns);

/** A question came: go on for a while. */
void probing_on(struct probing *probing, int64_t now_ns);

/** An attempt without an owner has ended, as upstream_done says. */
void probing_done(struct probing *probing, const struct attempt *a, enum outcome outcome,
	const struct relayed *r);

/** Cancel what is outstanding, and free. NULL is a no-op. */
void probing_close(struct probing *probing);
