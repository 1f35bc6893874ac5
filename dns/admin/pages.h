/* SPDX-License-Identifier: Apache-2.0
 *
 * The pages of the admin socket, composed from the daemon's state.
 */
#pragma once

#include "dns/admin/httpd.h"
#include "dns/admin/state.h"

/** Add up what the workers counted. @return datagrams the kernel dropped, of all workers */
uint64_t workers_sum(const struct state *state, struct stats *sum);

/** Prometheus text. @param start_ns  of the process, CLOCK_REALTIME */
void page_metrics(struct httpd_reply *reply, const struct state *state, uint64_t start_ns);

/** 200 or 503, with one line. */
void page_ready(struct httpd_reply *reply, const struct state *state);

/** The table, or with `?name=` one name. @param query  hostile */
void page_table(struct httpd_reply *reply, const struct state *state, struct span query);

/** A page for people. */
void page_status(struct httpd_reply *reply, const struct state *state);
