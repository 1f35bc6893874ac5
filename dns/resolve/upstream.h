/* SPDX-License-Identifier: Apache-2.0
 *
 * Asking one server once. Draws the ID and the port, matches what comes back, and tells how the
 * attempt ended. Which server is asked, when, and how often, is forward's business.
 *
 * c-ares speaks TCP for us: connections, frames, and what belongs to which query. UDP goes through
 * our own ports: what c-ares could do there we would have to keep from it (one source port for each
 * server, answers cut to 512 octets, 11 octets taken off a query after a FORMERR), and its account
 * of queries took two fifths of all instructions of a forwarded query.
 */
#pragma once

#include "conf/endpoint.h"
#include "dns/resolve/list.h"
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
	OUTCOME_TIMEOUT      /* TCP: c-ares gave it up, where its owner did not */
};

enum { UPSTREAM_SERVERS_MAX = 128 }; /* servers have a number below this */

/** One query to one server. Owned by upstream; what is not said to be set by it is the caller's. */
struct attempt {
	void *owner;
	struct link sibling;
	int64_t sent_ns; /* set by upstream */
	uint8_t server;  /* set by upstream */
	bool tcp;        /* set by upstream */
	bool with_opt;   /* the query carried our OPT */
	bool changed;    /* asked in another form than at first, because nothing came back */
	bool missed;     /* its server was silent for longer than usual */
	bool late;       /* set by upstream: upstream_late was called */
	bool reused;     /* set by upstream: TCP, and the connection was open before, so it may have
			    been closing */

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
	bool in_ares;
	bool orphan; /* cancelled, but c-ares still knows it */
};

/**
 * Whether a response says that the server does not understand our OPT: FORMERR without OPT
 * (RFC 6891 §7), or BADVERS (§6.1.3).
 */
static inline bool attempt_stumbled(const struct attempt *a, const struct relayed *r)
{
	return a->with_opt &&
	       ((r->rcode == RCODE_FORMERR && r->opt_at == 0) || r->rcode == RCODE_BADVERS);
}

/**
 * Tells the end of an attempt; never inside upstream_send. The attempt is gone afterwards.
 *
 * @param r       only with OUTCOME_RESPONSE; borrowed during the call
 */
typedef void upstream_done(
	void *ctx, struct attempt *attempt, enum outcome outcome, const struct relayed *r);

/** The query that was answered after it was cancelled. */
struct late_answer {
	int64_t sent_ns;
	bool with_opt; /* it carried our OPT, and the answer is NOERROR or NXDOMAIN */
};

/**
 * Tells that something came from a server that answers no query that is outstanding.
 *
 * @param late  the query, where it is the answer to one of the last over UDP that were cancelled;
 *              else NULL; borrowed during the call
 */
typedef void upstream_heard(void *ctx, unsigned server, const struct late_answer *late);

/**
 * @param conf   borrowed during the call
 * @param stats  borrowed until upstream_close
 * @return 0; -ENOMEM; -errno
 */
int upstream_open(struct upstream **upstream, struct event_base *base, const struct conf *conf,
	struct stats *stats, upstream_done *done, upstream_heard *heard, void *ctx)
	__attribute__((warn_unused_result));

/** Which server has a number; nothing is outstanding at one that had it before. */
void upstream_set_server(struct upstream *upstream, unsigned server, const struct endpoint *at);

/** What is open towards this server closes once nothing is outstanding on it. Who asked it before
 * may ask it again, until another one has its number. */
void upstream_retire_server(struct upstream *upstream, unsigned server);

/**
 * Send a query to a server.
 *
 * @param asker  whose question it is; borrowed until the attempt has ended
 * @param query  `len` octets, HEADER_LEN at least; the ID is written here
 * @param now_ns CLOCK_MONOTONIC
 * @return the attempt, its `owner` set; NULL where nothing could be sent: no port, no memory, too
 *         many attempts, unreachable
 */
struct attempt *upstream_send(struct upstream *upstream, unsigned server, bool tcp,
	const struct asker *asker, uint8_t *query, size_t len, void *owner, int64_t now_ns)
	__attribute__((warn_unused_result));

/** No answer in the usual time: it may still come, but nothing new goes through this socket. */
void upstream_late(struct attempt *attempt);

/** Nobody waits for this any more; it is gone afterwards, and its end is not told. */
void upstream_cancel(struct upstream *upstream, struct attempt *attempt);

/** Close every socket and free; all attempts have ended or are cancelled. NULL is a no-op. */
void upstream_close(struct upstream *upstream);
