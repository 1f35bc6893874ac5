/* SPDX-License-Identifier: Apache-2.0
 *
 * The table over HTTP, from the Unix socket that Envoy opens in kuma-dp's work directory.
 */
#pragma once

#include "dns/mesh/source.h"

#include <sys/un.h>

struct event_base;
struct fetch;

struct fetch_options {
	const char *work_dir; /* copied */
	uint32_t interval_ms; /* from the start of a request to the start of the next */
	uint32_t timeout_ms;  /* for a whole exchange, however it drips */
	size_t body_max;      /* octets */
};

/**
 * The socket of a work directory: `<work dir>/kuma-mesh-metric-config.sock`, what stands before
 * `.sock` cut at 98 octets, as kuma-dp does.
 */
void fetch_socket_path(const char *work_dir, char path[sizeof((struct sockaddr_un *)0)->sun_path]);

/**
 * Ask as soon as the loop runs, and then periodically.
 *
 * @param report  called from the loop, see source.h
 * @return 0; -ENOMEM
 */
int fetch_open(struct fetch **fetch, struct event_base *base, const struct fetch_options *options,
	source_report *report, void *ctx) __attribute__((warn_unused_result));

/** Stop asking and free. NULL is a no-op. */
void fetch_close(struct fetch *fetch);
