/* SPDX-License-Identifier: Apache-2.0
 *
 * The pages of the admin socket, composed from the daemon's state.
 */
#pragma once

#include "dns/admin/httpd.h"
#include "dns/admin/params.h"
#include "dns/admin/state.h"

/** What a page is made from; borrowed during the call. */
struct page_ask {
	const struct state *state;
	uint64_t start_ns; /* of the process, CLOCK_REALTIME */
	struct span query; /* hostile */
};

typedef void page_function(struct httpd_reply *reply, const struct page_ask *ask);

/** Prometheus text. */
page_function page_metrics;

/** 200 or 503, with one line. */
page_function page_ready;

/** The table, or with `?name=` one name. */
page_function page_table;

/** A page for people. */
page_function page_status;

/** Figures of the cache, or with `?name=` its entries of a name. */
page_function page_cache;

/** Forget all that is in the cache, or with `?name=` a name and what is below it. */
page_function page_cache_flush;

/** How `?name=` and perhaps `&type=` would be answered, and why. */
page_function page_explain;

/* What pages have in common. */

/** Read the parameters; where they are not the page's, reply 400. @return whether to go on */
bool page_params(struct httpd_reply *reply, struct span query, struct param *param, size_t count);

/** Read a name; where it is none, reply 400. @return whether to go on */
bool page_name(struct httpd_reply *reply, const struct param *param, struct dname *name);
