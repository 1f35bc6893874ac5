/* SPDX-License-Identifier: Apache-2.0
 *
 * Frames of two octets of length and a message. All that has arrived is read, all answers that are
 * ours are composed behind each other and leave with one write; forwarded ones follow as they come,
 * in any order (RFC 7766 §7). Owns the connections; they come from tcp_listen.c.
 *
 * A connection is closed in five places only, all called by the loop: on_readable, on_written,
 * on_event and on_tick, and to make room for a new one. tcp_send never closes one, because it may
 * be called while its queries are being served.
 */
#include "dns/serve/tcp_inside.h"

#include "conf/clock.h"
#include "conf/conf.h"
#include "conf/tick.h"
#include "dns/admin/stats.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	PREFIX_LEN = 2, /* RFC 1035 §4.2.2 */
	MESSAGE_MAX = 65535,
	ANSWERS_SIZE = 2 * (PREFIX_LEN + MESSAGE_MAX),
	UNSENT_SHARES = 64, /* connections that may have their limit of unsent output at once */
	LARGE_MAX = 16,     /* connections that may send large messages at once: 1 MiB */
	OPCODE_END = 4,     /* octets of a message that tell its opcode */
	TICK_MIN_MS = 10,
	TICK_MAX_MS = 1000,
	GRACE_MS = 1000 /* beyond the forwarder's own limit: then its answer never comes */
};

/* A connection's life */

static void tell(const struct connection *c, enum tcp_news news)
{
	if (c->tcp->notify) {
		c->tcp->notify(c->tcp->ctx, c->slot, c->generation, news);
	}
}

/** Room for a message that is larger than a query. @return false: others have all of it */
static bool take_room(struct connection *c)
{
	if (!c->large && c->tcp->large < LARGE_MAX) {
		c->large = true;
		c->tcp->large++;
	}
	return c->large;
}

static void give_room(struct connection *c)
{
	c->tcp->large -= c->large;
	c->large = false;
}

void tcp_connection_close(struct connection *c)
{
	struct tcp *t = c->tcp;
	give_room(c);
	tell(c, TCP_CLOSED);
	t->unsent -= tcp_unsent(c);
	bufferevent_free(c->bev);
	c->bev = NULL;
	c->generation++;
	t->open--;
	stats_lower(t->stats, STAT_TCP_CONNECTIONS_NOW);
	if (t->paused) {
		tcp_resume_listening(t);
	}
}

/** Whether output takes more memory than it should: then nobody who reads slowly adds to it. */
static bool is_flooded(const struct tcp *t)
{
	return t->unsent / UNSENT_SHARES > t->conf->tcp_unsent_max;
}

/** Whether another query may be taken: not from whom we owe much already. */
static bool takes_query(const struct connection *c)
{
	size_t owed = tcp_unsent(c);
	return !c->ending && c->waiting < TCP_IN_FLIGHT_MAX &&
	       owed + c->tcp->answers.len <= c->tcp->conf->tcp_unsent_max &&
	       (owed == 0 || !is_flooded(c->tcp));
}

/** Close a connection that has come to its end, else read from it or not; only where its input is
 * served as far as it may be. Maybe frees: call last.
 */
static void settle(struct connection *c)
{
	if (c->starved || (c->ending && !c->held && c->waiting == 0 && tcp_unsent(c) == 0)) {
		tcp_connection_close(c);
	} else if (takes_query(c) && !c->crowded) {
		(void)bufferevent_enable(c->bev, EV_READ);
	} else {
		(void)bufferevent_disable(c->bev, EV_READ);
	}
}

/** Count what is unsent, and note when the peer takes some; the clock starts anew where nothing was
 * unsent before. */
static void on_output(struct evbuffer *output, const struct evbuffer_cb_info *info, void *arg)
{
	struct connection *c = arg;
	(void)output;
	c->tcp->unsent += info->n_added;
	c->tcp->unsent -= info->n_deleted;
	if (info->n_deleted > 0 || info->orig_size == 0) {
		c->taken_ms = clock_ms();
	}
}

/* Queries in, answers out */

/** Send the answers composed so far, at once as far as the peer's window allows. */
static void write_answers(struct connection *c)
{
	struct writer *w = &c->tcp->answers;
	size_t sent = 0;
	if (w->len > 0 && tcp_unsent(c) == 0) {
		ssize_t n = send(
			bufferevent_getfd(c->bev), w->data, w->len, MSG_DONTWAIT | MSG_NOSIGNAL);
		sent = n > 0 ? (size_t)n : 0; /* an error shows again when the rest is written */
	}
	if (sent < w->len &&
		evbuffer_add(bufferevent_get_output(c->bev), w->data + sent, w->len - sent) != 0) {
		c->starved = true;
	}
	w->len = 0;
}

/** Serve one query. @return how many answers count: 0 or 1 */
static unsigned serve_query(struct connection *c, struct span message)
{
	struct tcp *t = c->tcp;
	struct writer *w = &t->answers;
	if (w->size - w->len < PREFIX_LEN + MESSAGE_MAX) {
		write_answers(c);
	}
	size_t at = w->len;
	w->len += PREFIX_LEN;
	struct requestor from = {.peer = c->peer,
		.slot = c->slot,
		.generation = c->generation,
		.tcp = true,
		.elsewhere = c->elsewhere};
	c->waiting++; /* before the call, which may already bring the answer */
	enum verdict verdict = t->serve(t->ctx, message, &from, w);
	if (verdict != VERDICT_FORWARD) {
		c->waiting--;
	}
	if (verdict != VERDICT_SEND && verdict != VERDICT_CANARY) {
		w->len = at;
		return 0;
	}
	octets_put_u16(w->data + at, (uint16_t)(w->len - at - PREFIX_LEN));
	return verdict == VERDICT_SEND;
}

enum frame {
	FRAME_NONE,    /* nothing is left */
	FRAME_PARTIAL, /* the rest has yet to come */
	FRAME_CROWDED, /* likewise, but there is no room for it now */
	FRAME_WHOLE,
	FRAME_BAD /* over the limit, or shorter than a header */
};

/** Queries are short; what is passed on, an UPDATE perhaps, may be as long as messages get. */
static enum frame next_large_frame(struct connection *c, const struct reader *r, size_t len)
{
	if (reader_left(r) < PREFIX_LEN + OPCODE_END) {
		return FRAME_PARTIAL;
	}
	if ((octets_u16(r->data + r->at + PREFIX_LEN + 2) & FLAG_OPCODE) == 0) {
		return FRAME_BAD;
	}
	if (reader_left(r) < PREFIX_LEN + len) {
		return take_room(c) ? FRAME_PARTIAL : FRAME_CROWDED;
	}
	return FRAME_WHOLE;
}

static enum frame next_frame(struct connection *c, struct reader *r, struct span *message)
{
	if (reader_left(r) < PREFIX_LEN) {
		return reader_left(r) == 0 ? FRAME_NONE : FRAME_PARTIAL;
	}
	size_t len = octets_u16(r->data + r->at);
	enum frame frame = len < HEADER_LEN                    ? FRAME_BAD
			   : len > c->tcp->conf->tcp_frame_max ? next_large_frame(c, r, len)
			   : reader_left(r) < PREFIX_LEN + len ? FRAME_PARTIAL
							       : FRAME_WHOLE;
	if (frame == FRAME_WHOLE) {
		give_room(c);
		r->at += PREFIX_LEN;
		*message = reader_span(r, len);
	}
	return frame;
}

/** Tell who wants to know what will be served; in passing: next_frame decides. No more than can be
 * taken if all of it has to wait for others: the rest is told of when there is room. */
static void announce(const struct connection *c, struct reader r)
{
	const struct tcp *t = c->tcp;
	struct span message[SERVE_BATCH] UNCLEARED;
	unsigned room = takes_query(c) ? TCP_IN_FLIGHT_MAX - c->waiting : 0;
	unsigned most = room < SERVE_BATCH ? room : SERVE_BATCH;
	unsigned count = 0;
	while (t->expect && count < most && reader_left(&r) >= PREFIX_LEN) {
		size_t len = reader_u16(&r);
		if (reader_left(&r) < len) {
			break;
		}
		message[count++] = reader_span(&r, len);
	}
	if (count > 0) {
		t->expect(t->ctx, message, count);
	}
}

/** Serve the frames that are there. @return what comes behind the last one that was served */
static enum frame serve_frames(struct connection *c, struct reader *r)
{
	struct tcp *t = c->tcp;
	int64_t begin = clock_ns();
	unsigned answered = 0;
	enum frame frame = FRAME_NONE;
	announce(c, *r);
	while (takes_query(c)) {
		struct span message;
		frame = next_frame(c, r, &message);
		if (frame != FRAME_WHOLE) {
			break;
		}
		c->frame_ms = 0;
		c->active_ms = (int64_t)(begin / 1000000);
		answered += serve_query(c, message);
	}
	write_answers(c);
	if (answered > 0) {
		histogram_add(&t->stats->request, (uint64_t)(clock_ns() - begin), answered);
	}
	return frame;
}

static void serve_input(struct connection *c)
{
	struct evbuffer *input = bufferevent_get_input(c->bev);
	struct span octets = {.len = evbuffer_get_length(input)};
	octets.data = evbuffer_pullup(input, -1);
	if (octets.len == 0 || !octets.data) {
		return;
	}
	struct reader r = reader_over(octets);
	enum frame frame = serve_frames(c, &r);
	(void)evbuffer_drain(input, r.at);
	if (frame == FRAME_BAD) {
		/* There is no telling where the next frame would begin. */
		stats_add(c->tcp->stats, STAT_DROP_TCP_FRAME, 1);
		c->ending = true;
	} else if ((frame == FRAME_PARTIAL || frame == FRAME_CROWDED) && c->frame_ms == 0) {
		c->frame_ms = clock_ms();
	}
	c->crowded = frame == FRAME_CROWDED;
}

static void on_readable(struct bufferevent *bev, void *arg)
{
	struct connection *c = arg;
	(void)bev;
	serve_input(c);
	settle(c);
}

/** All is sent: go on with queries that were left waiting. */
static void on_written(struct bufferevent *bev, void *arg)
{
	tell(arg, TCP_DRAINED);
	on_readable(bev, arg);
}

/** Of a frame whose end will not come. */
static void forget_frame(struct connection *c)
{
	struct evbuffer *input = bufferevent_get_input(c->bev);
	(void)evbuffer_drain(input, evbuffer_get_length(input));
	give_room(c);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	struct connection *c = arg;
	(void)bev;
	if (what & BEV_EVENT_ERROR) {
		tcp_connection_close(c);
	} else if (what & BEV_EVENT_EOF) {
		c->ending = true; /* it may still read: RFC 7766 §6.2.4 */
		c->frame_ms = 0;
		forget_frame(c);
		tell(c, TCP_HALF_CLOSED);
		settle(c);
	}
}

/** NULL where it is gone. */
static struct connection *connection_of(const struct tcp *t, const struct requestor *r)
{
	if (r->slot >= t->conf->tcp_connections_max) {
		return NULL;
	}
	struct connection *c = &t->connection[r->slot];
	return c->bev && c->generation == r->generation ? c : NULL;
}

static enum tcp_peer send_frame(struct connection *c, struct span message)
{
	struct tcp *tcp = c->tcp;
	c->active_ms = clock_ms();
	if (tcp_unsent(c) > 0 && is_flooded(tcp) && !c->starved) {
		/* One large answer may be owed to thousands, who asked the same. */
		stats_add(tcp->stats, STAT_DROP_TCP_UNSENT, 1);
		c->starved = true;
	}
	if (c->starved) {
		return TCP_GONE;
	}
	uint8_t prefix[PREFIX_LEN];
	octets_put_u16(prefix, (uint16_t)message.len);
	struct evbuffer *output = bufferevent_get_output(c->bev);
	if (evbuffer_expand(output, sizeof(prefix) + message.len) != 0 ||
		evbuffer_add(output, prefix, sizeof(prefix)) != 0 ||
		evbuffer_add(output, message.data, message.len) != 0) {
		c->starved = true; /* the tick closes it */
	}
	return tcp_unsent(c) > tcp->conf->tcp_unsent_max ? TCP_FULL : TCP_READY;
}

void tcp_send(struct tcp *tcp, const struct requestor *to, struct span message)
{
	struct connection *c = connection_of(tcp, to);
	if (!c || message.len > MESSAGE_MAX) {
		return;
	}
	if (c->waiting > 0) {
		c->waiting--;
	}
	(void)send_frame(c, message);
}

enum tcp_peer tcp_send_passed(struct tcp *tcp, const struct requestor *to, struct span message)
{
	struct connection *c = connection_of(tcp, to);
	return c && message.len <= MESSAGE_MAX ? send_frame(c, message) : TCP_GONE;
}

void tcp_hold(struct tcp *tcp, const struct requestor *from)
{
	struct connection *c = connection_of(tcp, from);
	if (c) {
		c->held = true;
		c->waiting--; /* for which no tcp_send will come */
	}
}

void tcp_end(struct tcp *tcp, const struct requestor *to)
{
	struct connection *c = connection_of(tcp, to);
	if (c) {
		c->ending = true;
		c->held = false;
		settle(c);
	}
}

int tcp_local(const struct tcp *tcp, const struct requestor *of, struct endpoint *local)
{
	const struct connection *c = connection_of(tcp, of);
	*local = (struct endpoint){.len = sizeof(local->in6)};
	if (!c) {
		return -ENOTCONN;
	}
	return getsockname(bufferevent_getfd(c->bev), &local->sa, &local->len) == 0 ? 0 : -errno;
}

void tcp_set_expect(struct tcp *tcp, serve_expect *expect)
{
	tcp->expect = expect;
}

void tcp_set_notify(struct tcp *tcp, tcp_notify *notify)
{
	tcp->notify = notify;
}

/* Limits of time */

/** Why a connection has had its time; STAT_COUNT where it has not. */
static enum counter overdue(const struct connection *c, int64_t now)
{
	int64_t idle_ms = c->tcp->conf->tcp_idle_ms;
	bool owes = tcp_unsent(c) > 0;
	if (owes && now - c->taken_ms >= idle_ms) {
		return STAT_DROP_TCP_UNSENT;
	}
	/* However its octets trickle in, a frame has the idle limit to become whole. */
	if (c->frame_ms != 0 && now - c->frame_ms >= idle_ms) {
		return STAT_DROP_TCP_IDLE;
	}
	if (!owes && !c->held && c->waiting == 0 && now - c->active_ms >= idle_ms) {
		return STAT_DROP_TCP_IDLE;
	}
	return STAT_COUNT;
}

static void check_connection(struct connection *c, int64_t now)
{
	struct tcp *t = c->tcp;
	enum counter reason = overdue(c, now);
	if (reason != STAT_COUNT) {
		stats_add(t->stats, reason, 1);
		tcp_connection_close(c);
		return;
	}
	if (c->waiting > 0 && now - c->active_ms >= t->conf->forward_timeout_ms + GRACE_MS) {
		c->waiting = 0; /* the forwarder answers a query asked twice only once */
	}
	/* What is here is served before reading goes on: behind its end nothing would be. */
	on_readable(c->bev, c);
}

static void on_tick(void *ctx)
{
	struct tcp *t = ctx;
	int64_t now = clock_ms();
	for (uint32_t i = 0; i < t->conf->tcp_connections_max; i++) {
		if (t->connection[i].bev) {
			check_connection(&t->connection[i], now);
		}
	}
	if (t->paused) {
		tcp_resume_listening(t);
	}
	if (t->open > 0) {
		tcp_start_ticking(t);
	}
}

/* Beginning */

/** Finer than the idle limit, so that this is kept to a quarter. */
void tcp_start_ticking(struct tcp *t)
{
	int64_t ms = t->conf->tcp_idle_ms / 4;
	ms = ms < TICK_MIN_MS ? TICK_MIN_MS : ms > TICK_MAX_MS ? TICK_MAX_MS : ms;
	if (!tick_is_running(t->tick)) {
		tick_start(t->tick, (uint32_t)ms);
	}
}

int tcp_connection_open(struct connection *c, int fd, const struct endpoint *peer, bool elsewhere)
{
	struct tcp *t = c->tcp;
	struct bufferevent *bev = bufferevent_socket_new(t->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (!bev) {
		close(fd);
		return -ENOMEM;
	}
	bufferevent_setcb(bev, on_readable, on_written, on_event, c);
	if (!evbuffer_add_cb(bufferevent_get_output(bev), on_output, c) ||
		bufferevent_enable(bev, EV_READ | EV_WRITE) != 0) {
		bufferevent_free(bev);
		return -ENOMEM;
	}
	c->bev = bev;
	c->peer = *peer;
	c->elsewhere = elsewhere;
	c->waiting = 0;
	c->held = false;
	c->ending = false;
	c->starved = false;
	c->crowded = false;
	c->frame_ms = 0;
	c->active_ms = clock_ms();
	t->open++;
	stats_add(t->stats, STAT_TCP_CONNECTIONS, 1);
	stats_add(t->stats, STAT_TCP_CONNECTIONS_NOW, 1);
	return 0;
}

/* The whole */

int tcp_open(struct tcp **tcp, struct event_base *base, const struct conf *conf,
	struct stats *stats, serve_message *serve, void *ctx)
{
	struct tcp *t = calloc(1, sizeof(*t));
	if (!t) {
		return -ENOMEM;
	}
	t->base = base;
	t->conf = conf;
	t->stats = stats;
	t->serve = serve;
	t->ctx = ctx;
	int error = tick_open(&t->tick, base, on_tick, t);
	t->connection = calloc(conf->tcp_connections_max, sizeof(*t->connection));
	t->answers = (struct writer){.data = malloc(ANSWERS_SIZE), .size = ANSWERS_SIZE};
	if (error == 0 && (!t->connection || !t->answers.data)) {
		error = -ENOMEM;
	}
	if (error != 0) {
		tcp_close(t);
		return error;
	}
	for (uint32_t i = 0; i < conf->tcp_connections_max; i++) {
		t->connection[i].tcp = t;
		t->connection[i].slot = i;
	}
	*tcp = t;
	return 0;
}

void tcp_finish(struct tcp *tcp)
{
	tcp_close_listeners(tcp);
	for (uint32_t i = 0; i < tcp->conf->tcp_connections_max; i++) {
		struct connection *c = &tcp->connection[i];
		if (c->bev) {
			c->ending = true;
			settle(c);
		}
	}
}

unsigned tcp_connections(const struct tcp *tcp)
{
	return tcp->open;
}

void tcp_close(struct tcp *tcp)
{
	if (!tcp) {
		return;
	}
	tcp_close_listeners(tcp);
	for (uint32_t i = 0; tcp->connection && i < tcp->conf->tcp_connections_max; i++) {
		if (tcp->connection[i].bev) {
			tcp_connection_close(&tcp->connection[i]);
		}
	}
	tick_close(tcp->tick);
	free(tcp->connection);
	free(tcp->answers.data);
	free(tcp);
}
