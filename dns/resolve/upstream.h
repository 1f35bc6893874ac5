/* SPDX-License-Identifier: Apache-2.0
 *
 * Asking one server once, through c-ares. Draws the ID and the port, matches what comes back, and
 * tells how the attempt ended. Which server is asked, when, and how often, is forward's business.
 *
 * c-ares keeps the account of queries and speaks TCP. What goes out over UDP are our octets, from
 * our ports; what comes in over UDP is checked here and never parsed by c-ares, which hears only
 * that the query is over. So none of its reactions to an answer (asking again over TCP, cutting to
 * 512 octets, taking 11 octets off the query after a FORMERR) can be triggered by anybody.
 */
#pragma once

#include "dns/resolve/list.h"
#include "dns/resolve/servers.h"
#include "dns/wire/relay.h"

#include <stdint.h>

struct channel;
struct conf;
struct event_base;
struct port;
struct stats;
struct upstream;

/** How an attempt ended. */
enum outcome {
	OUTCOME_RESPONSE,    /* a whole response to the question, whatever its RCODE and TC */
	OUTCOME_MALFORMED,   /* our ID, to our port, but it cannot be read */
	OUTCOME_UNREACHABLE, /* ICMP, refused, connection cut; nobody can have answered */
	OUTCOME_TIMEOUT      /* c-ares gave it up; only where its owner did not */
};

/** One query to one server. Owned by upstream; `owner` and `sibling` are the caller's. */
struct attempt {
	void *owner;
	struct link sibling;
	uint8_t server;
	bool tcp;
	bool with_opt; /* the query carried our OPT */
	bool late;     /* upstream_late was called */
	bool reused;   /* TCP: the connection was open before, so it may have been closing */

	/* upstream's own */
	const struct asker *asker;
	struct attempt *next_by_id;
	struct channel *channel;
	struct port *port;      /* UDP; NULL before it is sent and after it has ended */
	struct link port_link;  /* among those outstanding on `port` */
	struct link ended_link; /* among those that ended, but whose owner was not told */
	uint8_t *answer;        /* TCP: the response, a copy */
	size_t answer_len;
	enum outcome outcome;
	uint16_t id;
	uint16_t ares_id;
	bool in_ares;
	bool orphan; /* cancelled, but c-ares still knows it */
};

/**
 * Tells the end of an attempt; never inside upstream_send. The attempt is gone afterwards.
 *
 * @param r  only with OUTCOME_RESPONSE; borrowed during the call
 */
typedef void upstream_done(
	void *ctx, struct attempt *attempt, enum outcome outcome, const struct relayed *r);

/**
 * @param conf     borrowed during the call
 * @param servers  copied
 * @param stats    borrowed until upstream_close
 * @return 0; -ENOMEM; -errno
 */
int upstream_open(struct upstream **upstream, struct event_base *base, const struct conf *conf,
	const struct servers *servers, struct stats *stats, upstream_done *done, void *ctx)
	__attribute__((warn_unused_result));

/**
 * Send a query to a server.
 *
 * @param asker  whose question it is; borrowed until the attempt has ended
 * @param query  `len` octets, HEADER_LEN at least; the ID is written here
 * @return the attempt, its `owner` set; NULL where nothing could be sent: no port, no memory, too
 *         many attempts, unreachable
 */
struct attempt *upstream_send(struct upstream *upstream, unsigned server, bool tcp,
	const struct asker *asker, uint8_t *query, size_t len, void *owner)
	__attribute__((warn_unused_result));

/** No answer in the usual time: it may still come, but nothing new goes through this socket. */
void upstream_late(struct upstream *upstream, struct attempt *attempt);

/** Nobody waits for this any more; it is gone afterwards, and its end is not told. */
void upstream_cancel(struct upstream *upstream, struct attempt *attempt);

/** Close every socket and free; all attempts have ended or are cancelled. NULL is a no-op. */
void upstream_close(struct upstream *upstream);
