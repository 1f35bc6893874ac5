/* SPDX-License-Identifier: Apache-2.0
 *
 * A flight for each way: a new socket, so a new port and a new flow to the kernel, one canary on
 * it, and its answer. Rounds of flights, with a timer between them. Owns the sockets.
 */
#include "dns/admin/interception.h"

#include "conf/clock.h"
#include "conf/log.h"
#include "dns/resolve/entropy.h"
#include "dns/wire/canary.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	CANARIES_MAX = 2, /* of one flight that are in vain */
	/* … and that reach another daemon, which shares our ports: a predecessor, until it ends.
	 * Even where it has four workers and we have one, chance loses no more than one flight in
	 * a million. */
	CANARIES_ALIKE_MAX = 64,
	PREFIX_LEN = 2, /* of a message over TCP (RFC 1035 §4.2.2) */
	WAIT_MAX_MS = 3600000
};

struct flight {
	struct interception *all;
	struct way *way;
	struct event *event; /* NULL: landed, and there is no socket */
	int fd;
	struct canary canary;
	int64_t deadline_ms;
	unsigned lost;
	unsigned alike;
	char problem[WAY_PROBLEM_SIZE]; /* of the last one that was in vain */
	size_t len;                     /* of `in` */
	uint8_t in[PREFIX_LEN + UDP_LEN_MIN];
};

struct interception {
	struct event_base *base;
	struct event *timer;
	struct interception_settings settings;
	struct cookie_secret secret;
	interception_settled *settled;
	void *ctx;
	struct entropy entropy;
	uint32_t wait_ms;
	unsigned flying;
	struct flight flight[WAYS_MAX]; /* of the way with the same number */
	struct interception_status status;
};

static void launch(struct flight *f);

/* Words */

const char *way_format(const struct way *way, char text[WAY_TEXT_SIZE])
{
	char server[ENDPOINT_TEXT_SIZE];
	snprintf(text, WAY_TEXT_SIZE, "%s, %s, server %s%s%s",
		way->server.sa.sa_family == AF_INET6 ? "IPv6" : "IPv4", way->tcp ? "TCP" : "UDP",
		endpoint_format(&way->server, server), way->problem[0] ? ": " : "", way->problem);
	return text;
}

static void tell(const struct interception *i, const struct way *way, enum way_state before)
{
	char text[WAY_TEXT_SIZE];
	way_format(way, text);
	if (way->state == WAY_LOST && i->status.required) {
		log_warning("not intercepted: %s", text);
	} else if (way->state == WAY_LOST) {
		log_info("not intercepted: %s", text);
	} else if (way->state == WAY_NO_ROUTE) {
		log_info("not to be reached by anybody: %s", text);
	} else if (before != WAY_UNKNOWN) {
		log_info("intercepted again: %s", text);
	}
}

/* Rounds */

static unsigned count_ways(const struct interception *i, enum way_state state)
{
	unsigned count = 0;
	for (unsigned n = 0; n < i->status.count; n++) {
		count += i->status.way[n].state == state;
	}
	return count;
}

static uint32_t next_wait(const struct interception *i)
{
	if (i->status.required || count_ways(i, WAY_OURS) > 0) {
		return i->settings.interval_ms;
	}
	return i->wait_ms < WAIT_MAX_MS / 2 ? i->wait_ms * 2 : WAIT_MAX_MS;
}

static void wait_for_next(struct interception *i)
{
	struct timeval wait = {
		.tv_sec = i->wait_ms / 1000, .tv_usec = (suseconds_t)(i->wait_ms % 1000) * 1000};
	if (i->status.count > 0) {
		(void)evtimer_add(i->timer, &wait);
	}
}

static void end_round(struct interception *i)
{
	if (!i->status.settled && i->status.count > 0 &&
		count_ways(i, WAY_OURS) == i->status.count) {
		log_info("%u of %u canaries came back: queries are intercepted", i->status.count,
			i->status.count);
	}
	i->status.settled = true;
	i->wait_ms = next_wait(i);
	wait_for_next(i);
	i->settled(i->ctx);
}

static void begin_round(struct interception *i)
{
	i->flying = i->status.count + 1; /* one more, so that it does not end in between */
	for (unsigned n = 0; n < i->status.count; n++) {
		i->flight[n].lost = 0;
		i->flight[n].alike = 0;
		launch(&i->flight[n]);
	}
	if (--i->flying == 0) {
		end_round(i);
	}
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	begin_round(arg);
}

/* A flight */

static void close_socket(struct flight *f)
{
	if (f->event) {
		event_free(f->event);
		f->event = NULL;
	}
	if (f->fd >= 0) {
		close(f->fd);
		f->fd = -1;
	}
}

static void land(struct flight *f, enum way_state state)
{
	struct way *way = f->way;
	enum way_state before = way->state;
	close_socket(f);
	way->state = state;
	snprintf(way->problem, sizeof(way->problem), "%s", state == WAY_OURS ? "" : f->problem);
	if (state != before) {
		tell(f->all, way, before);
	}
	if (--f->all->flying == 0) {
		end_round(f->all);
	}
}

static void lose(struct flight *f, const char *problem)
{
	snprintf(f->problem, sizeof(f->problem), "%s", problem);
	close_socket(f);
	if (++f->lost < CANARIES_MAX) {
		launch(f);
	} else {
		land(f, WAY_LOST);
	}
}

/** Our ports may be shared: another port of ours may lead to us. */
static void lose_to_another(struct flight *f)
{
	if (++f->alike < CANARIES_ALIKE_MAX) {
		close_socket(f);
		launch(f);
	} else {
		f->lost = CANARIES_MAX;
		lose(f, "another kuma-dns answers");
	}
}

/** @return whether it was somebody's answer, and the flight is over */
static bool take_answer(struct flight *f, struct span message)
{
	switch (canary_read(message, &f->canary, &f->all->secret)) {
	case CANARY_NOBODY:
		return false;
	case CANARY_US:
		land(f, WAY_OURS);
		break;
	case CANARY_LIKE_US:
		lose_to_another(f);
		break;
	case CANARY_STRANGER:
		lose(f, "somebody else answers");
		break;
	}
	return true;
}

/** @return as take_answer; of a frame as far as it is there */
static bool take_frame(struct flight *f)
{
	if (f->len < PREFIX_LEN) {
		return false;
	}
	size_t len = octets_u16(f->in);
	if (len > sizeof(f->in) - PREFIX_LEN) {
		lose(f, "somebody else answers");
		return true;
	}
	if (f->len < PREFIX_LEN + len) {
		return false;
	}
	if (!take_answer(f, (struct span){f->in + PREFIX_LEN, len})) {
		lose(f, "somebody else answers");
	}
	return true;
}

/** @return as take_answer */
static bool receive(struct flight *f)
{
	ssize_t n = recv(f->fd, f->in + f->len, sizeof(f->in) - f->len, MSG_DONTWAIT);
	if (n > 0 && !f->way->tcp) {
		return take_answer(f, (struct span){f->in, (size_t)n});
	}
	if (n > 0) {
		f->len += (size_t)n;
		return take_frame(f);
	}
	if (n == 0 ? !f->way->tcp : errno == EAGAIN || errno == EINTR) {
		return false;
	}
	lose(f, n == 0 ? "the connection is closed" : strerror(errno));
	return true;
}

/** Wait for what is to come next, until the canary's time is over. */
static void wait_for(struct flight *f, short what, event_callback_fn callback)
{
	int64_t left_ms = f->deadline_ms - clock_ms();
	struct timeval left = {.tv_usec = 1000};
	if (left_ms > 0) {
		left = (struct timeval){.tv_sec = left_ms / 1000, .tv_usec = left_ms % 1000 * 1000};
	}
	if (f->event) {
		event_free(f->event);
	}
	f->event = event_new(f->all->base, f->fd, what, callback, f);
	if (!f->event || event_add(f->event, &left) != 0) {
		lose(f, "out of memory");
	}
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct flight *f = arg;
	(void)fd, (void)what;
	if (receive(f)) { /* also where the time is over: the loop may have been busy for long */
		return;
	}
	if (clock_ms() >= f->deadline_ms) {
		lose(f, "no answer");
	} else {
		wait_for(f, EV_READ, on_readable);
	}
}

static int send_canary(const struct flight *f)
{
	uint8_t frame[PREFIX_LEN + CANARY_QUERY_LEN];
	size_t from = f->way->tcp ? 0 : PREFIX_LEN;
	octets_put_u16(frame, CANARY_QUERY_LEN);
	canary_query(frame + PREFIX_LEN, &f->canary);
	ssize_t sent = send(f->fd, frame + from, sizeof(frame) - from, MSG_NOSIGNAL);
	return sent < 0 ? -errno : sent == (ssize_t)(sizeof(frame) - from) ? 0 : -EIO;
}

/** Connected, or nothing to connect. */
static void send_off(struct flight *f)
{
	int r = send_canary(f);
	if (r != 0) {
		lose(f, strerror(-r));
	} else {
		wait_for(f, EV_READ, on_readable);
	}
}

static void on_connected(evutil_socket_t fd, short what, void *arg)
{
	struct flight *f = arg;
	int error = 0;
	socklen_t len = sizeof(error);
	(void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error != 0) {
		lose(f, strerror(error));
	} else if (what & EV_WRITE) {
		send_off(f);
	} else {
		lose(f, "no connection");
	}
}

static int open_socket(struct flight *f)
{
	const struct interception_settings *s = &f->all->settings;
	const struct linger at_once = {.l_onoff = 1}; /* no TIME_WAIT is left behind */
	int type = f->way->tcp ? SOCK_STREAM : SOCK_DGRAM;
	f->fd = socket(f->way->server.sa.sa_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (f->fd < 0 || setsockopt(f->fd, SOL_SOCKET, SO_PRIORITY, &s->priority,
				 sizeof(s->priority)) != 0) {
		return -errno;
	}
	if (f->way->tcp) {
		(void)setsockopt(f->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	}
	int r = connect(f->fd, &f->way->server.sa, f->way->server.len);
	return r == 0 || errno == EINPROGRESS ? 0 : -errno;
}

/** What connect() says before anything is sent: applications hear the same. */
static bool is_unroutable(int error)
{
	return error == -ENETUNREACH || error == -EHOSTUNREACH || error == -EADDRNOTAVAIL ||
	       error == -EAFNOSUPPORT;
}

static void launch(struct flight *f)
{
	struct interception *i = f->all;
	f->canary = (struct canary){.id = entropy_u16(&i->entropy),
		.nonce = entropy_u64(&i->entropy),
		.more = (uint32_t)entropy_u64(&i->entropy)};
	f->len = 0;
	f->deadline_ms = clock_ms() + i->settings.patience_ms;
	int r = open_socket(f);
	if (is_unroutable(r)) {
		snprintf(f->problem, sizeof(f->problem), "%s", strerror(-r));
		land(f, WAY_NO_ROUTE);
	} else if (r != 0) {
		lose(f, strerror(-r));
	} else if (f->way->tcp) {
		wait_for(f, EV_WRITE, on_connected);
	} else {
		send_off(f);
	}
}

/* Watching */

static void recall(struct interception *i)
{
	for (unsigned n = 0; n < WAYS_MAX; n++) {
		close_socket(&i->flight[n]);
	}
	i->flying = 0;
}

static const struct way *find_way(const struct interception_status *s, const struct way *way)
{
	for (unsigned n = 0; n < s->count; n++) {
		if (s->way[n].tcp == way->tcp && endpoint_equal(&s->way[n].server, &way->server)) {
			return &s->way[n];
		}
	}
	return NULL;
}

void interception_watch(struct interception *interception, const struct way *ways, unsigned count)
{
	struct interception *i = interception;
	const struct interception_status before = i->status;
	recall(i);
	(void)evtimer_del(i->timer);
	i->wait_ms = i->settings.interval_ms;
	i->status.count = count < WAYS_MAX ? count : WAYS_MAX;
	for (unsigned n = 0; n < i->status.count; n++) {
		const struct way *known = find_way(&before, &ways[n]);
		i->status.way[n] =
			known ? *known : (struct way){.server = ways[n].server, .tcp = ways[n].tcp};
	}
	begin_round(i);
}

int interception_open(struct interception **interception, struct event_base *base,
	const struct interception_settings *settings, interception_settled *settled, void *ctx)
{
	struct interception *i = calloc(1, sizeof(*i));
	if (!i) {
		return -ENOMEM;
	}
	i->base = base;
	i->settings = *settings;
	i->secret = *settings->secret;
	i->settled = settled;
	i->ctx = ctx;
	i->status.required = settings->required;
	for (unsigned n = 0; n < WAYS_MAX; n++) {
		i->flight[n] = (struct flight){.all = i, .way = &i->status.way[n], .fd = -1};
	}
	i->timer = evtimer_new(base, on_timer, i);
	if (!i->timer) {
		free(i);
		return -ENOMEM;
	}
	*interception = i;
	return 0;
}

const struct interception_status *interception_status(const struct interception *interception)
{
	return &interception->status;
}

void interception_close(struct interception *interception)
{
	if (!interception) {
		return;
	}
	recall(interception);
	event_free(interception->timer);
	free(interception);
}
