/* SPDX-License-Identifier: Apache-2.0
 *
 * Interception that proves itself: a canary to each server that applications ask, over UDP and TCP,
 * sent as an application would, has to come to a worker of ours, and its answer has to come back.
 * On the main thread's loop. What follows from the result is not decided here.
 */
#pragma once

#include "conf/endpoint.h"
#include "dns/resolve/servers.h"
#include "dns/wire/cookie.h"

#include <stdbool.h>
#include <stdint.h>

struct event_base;
struct interception;

enum {
	WAYS_MAX = 2 * SERVERS_LIST_MAX,
	WAY_PROBLEM_SIZE = 48,
	WAY_TEXT_SIZE = ENDPOINT_TEXT_SIZE + WAY_PROBLEM_SIZE + 24
};

enum way_state {
	WAY_UNKNOWN, /* no canary has come back or been given up yet */
	WAY_OURS,    /* what is sent there comes to us */
	WAY_LOST,    /* it does not: see `problem` */
	WAY_NO_ROUTE /* nobody on this host can send there: neither to us nor past us */
};

/** A way from an application to a server. */
struct way {
	struct endpoint server;
	bool tcp;
	enum way_state state;
	char problem[WAY_PROBLEM_SIZE]; /* of WAY_LOST and WAY_NO_ROUTE */
};

struct interception_status {
	bool required; /* as it was set: the daemon is not ready where a way is lost */
	bool settled;  /* it is known of all ways, or was of all that there were at first */
	unsigned count;
	struct way way[WAYS_MAX];
};

struct interception_settings {
	uint32_t interval_ms; /* from the end of one round of canaries to the next */
	uint32_t patience_ms; /* for an answer; then a second canary is sent, and no more */
	bool required;
	int priority;                       /* SO_PRIORITY of canaries */
	const struct cookie_secret *secret; /* that the workers have; copied */
};

/** All canaries of a round have come back or been given up. May be called by interception_watch. */
typedef void interception_settled(void *ctx);

/**
 * Open; nothing is sent yet.
 *
 * As long as no way is ours and none is required, rounds become ever more seldom, up to an hour
 * between two: where nothing is redirected on purpose, name servers are not to be bothered.
 *
 * @return 0; -ENOMEM
 */
int interception_open(struct interception **interception, struct event_base *base,
	const struct interception_settings *settings, interception_settled *settled, void *ctx)
	__attribute__((warn_unused_result));

/**
 * Watch these ways instead of those before, and send their canaries now. What is known of a way
 * that stays is kept.
 *
 * @param ways  `count` of them, up to WAYS_MAX; of each `server` and `tcp` count
 */
void interception_watch(struct interception *interception, const struct way *ways, unsigned count);

/** What is known; valid until interception_close. */
const struct interception_status *interception_status(const struct interception *interception);

/** Write `IPv4, UDP, server 192.0.2.1:53`, and the problem where there is one. @return `text` */
const char *way_format(const struct way *way, char text[WAY_TEXT_SIZE]);

/** NULL is a no-op. */
void interception_close(struct interception *interception);
