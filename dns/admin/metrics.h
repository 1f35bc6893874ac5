/* SPDX-License-Identifier: Apache-2.0
 *
 * Metrics as text: Prometheus' exposition format 0.0.4. Pure: numbers in, text out; where the
 * numbers come from is the business of pages.c.
 */
#pragma once

#include "dns/admin/interception.h"
#include "dns/admin/stats.h"
#include "dns/mesh/table.h"
#include "dns/resolve/asking.h"
#include "dns/resolve/cache.h"

struct evbuffer;

/** What is no counter of a worker. */
enum metric_value {
	METRIC_ENTRIES,
	METRIC_GENERATION,
	METRIC_AGE, /* ns */
	METRIC_OLD,
	METRIC_SKIPPED,
	METRIC_FETCHES_NEW,
	METRIC_FETCHES_UNCHANGED,
	METRIC_FETCHES_UNREACHABLE,
	METRIC_FETCHES_REJECTED,
	METRIC_SEARCH_DOMAINS,
	METRIC_RESOLV_CONF_CHANGES,
	METRIC_READY_WAIT, /* ns from start to the first table of a source; absent before */
	METRIC_UDP_OVERFLOWS,
	METRIC_REDIRECT_ACTIVE,
	METRIC_READY,
	METRIC_INFO,  /* 1 */
	METRIC_START, /* ns of CLOCK_REALTIME */
	METRIC_MEMORY,
	METRIC_OPEN_FDS,
	METRIC_CPU, /* ns */
	METRIC_VALUES
};

#define METRIC_ABSENT UINT64_MAX /* the value is not known: its series is left out */

struct metrics {
	const struct stats *stats; /* of all workers */
	const struct server_report *servers;
	unsigned server_count;
	const struct interception_status *interception; /* NULL: no canaries are sent */
	const struct cache_figures *cache;              /* of all workers; NULL: there is none */
	const struct table_label *labels;               /* on every series; hostile */
	size_t label_count;
	uint64_t value[METRIC_VALUES];
};

/**
 * Write every family: HELP, TYPE, series.
 *
 * A label of the table whose name is also one of ours (`server`, `reason`, …) is written as
 * `exported_<name>`, as Prometheus does; of two that end up with the same name the first counts.
 * Octets that no label name may have become `_`; control characters and what is not UTF-8 in a
 * value become `?`. Names that begin with `__` belong to Prometheus and are dropped, and so is what
 * goes beyond 4 KiB of labels.
 *
 * @return 0; -ENOMEM, with part of the text in `out`
 */
int metrics_write(const struct metrics *metrics, struct evbuffer *out)
	__attribute__((warn_unused_result));
