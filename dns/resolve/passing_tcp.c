/* SPDX-License-Identifier: Apache-2.0
 *
 * Connections that are passed on, message by message, so that names of the mesh are still answered
 * on them. Whoever is slow slows the other down: what is read from a server waits for its
 * requestor, and a requestor's queries are bounded by what is unsent.
 */
#include "dns/resolve/passing.h"
#include "dns/resolve/ports.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	PREFIX_LEN = 2, /* RFC 1035 §4.2.2 */
	INPUT_MAX = 2 * (PREFIX_LEN + 65535),
	UNSENT_MAX = 256 * 1024
};

struct pass {
	struct passing_tcp *passing;
	struct bufferevent *bev; /* NULL: there is none in this slot */
	struct requestor from;
	struct endpoint server;
	bool full;  /* the requestor has much to read: nothing is passed on until it resumes */
	bool half;  /* the requestor sends no more, which the server has not been told yet */
	bool ended; /* the server has closed; what it sent before is still to be passed on */
};

struct passing_tcp {
	struct event_base *base;
	passing_reply *reply;
	passing_end *end;
	void *ctx;
	uint32_t mark;
	uint32_t slots;
	struct pass *pass;
};

static struct pass *find(const struct passing_tcp *p, uint32_t slot, uint32_t generation)
{
	if (slot >= p->slots) {
		return NULL;
	}
	struct pass *pass = &p->pass[slot];
	return pass->bev && pass->from.generation == generation ? pass : NULL;
}

static void close_pass(struct pass *pass)
{
	bufferevent_free(pass->bev);
	pass->bev = NULL;
}

/* The requestor's side may notify us of its own end meanwhile, which is none of a pass any more. */
static void end_pass(struct pass *pass)
{
	const struct passing_tcp *p = pass->passing;
	struct requestor to = pass->from;
	close_pass(pass);
	p->end(p->ctx, &to);
}

/* Coming back */

/** The next whole message. @return its length, prefix included; 0: it is not there yet */
static size_t next_message(struct evbuffer *input, const uint8_t **message)
{
	uint8_t prefix[PREFIX_LEN];
	if (evbuffer_copyout(input, prefix, sizeof(prefix)) < (ssize_t)sizeof(prefix)) {
		return 0;
	}
	size_t len = PREFIX_LEN + (size_t)octets_u16(prefix);
	if (evbuffer_get_length(input) < len) {
		return 0;
	}
	const uint8_t *octets = evbuffer_pullup(input, (ssize_t)len);
	*message = octets ? octets + PREFIX_LEN : NULL;
	return octets ? len : 0;
}

static void on_readable(struct bufferevent *bev, void *arg)
{
	struct pass *pass = arg;
	const struct passing_tcp *p = pass->passing;
	struct evbuffer *input = bufferevent_get_input(bev);
	const uint8_t *message;
	for (size_t len = next_message(input, &message); len > 0;
		len = next_message(input, &message)) {
		struct span octets = {message, len - PREFIX_LEN};
		enum passing_peer peer = p->reply(p->ctx, &pass->from, octets);
		(void)evbuffer_drain(input, len);
		if (peer == PASSING_GONE) {
			close_pass(pass);
			return;
		}
		if (peer == PASSING_FULL) {
			pass->full = true;
			(void)bufferevent_disable(bev, EV_READ);
			return;
		}
	}
	if (pass->ended) {
		end_pass(pass);
	}
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	struct pass *pass = arg;
	const struct timeval limit = {.tv_sec = PASSING_SILENCE_MS / 1000};
	if (what & BEV_EVENT_CONNECTED) {
		(void)bufferevent_set_timeouts(bev, &limit, NULL);
	} else if (what & BEV_EVENT_EOF) {
		pass->ended = true;
		if (!pass->full) {
			on_readable(bev, pass);
		}
	} else {
		end_pass(pass);
	}
}

static void tell_half(struct pass *pass)
{
	if (pass->half && evbuffer_get_length(bufferevent_get_output(pass->bev)) == 0) {
		pass->half = false;
		(void)shutdown(bufferevent_getfd(pass->bev), SHUT_WR);
	}
}

static void on_written(struct bufferevent *bev, void *arg)
{
	(void)bev;
	tell_half(arg);
}

void passing_tcp_half_close(struct passing_tcp *passing, uint32_t slot, uint32_t generation)
{
	struct pass *pass = find(passing, slot, generation);
	if (pass) {
		pass->half = true;
		tell_half(pass);
	}
}

void passing_tcp_resume(struct passing_tcp *passing, uint32_t slot, uint32_t generation)
{
	struct pass *pass = find(passing, slot, generation);
	if (pass && pass->full) {
		pass->full = false;
		(void)bufferevent_enable(pass->bev, EV_READ);
		/* What is there already, at the loop's next turn: the requestor's side calls us. */
		bufferevent_trigger(
			pass->bev, EV_READ, BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
	}
}

/* Going on */

static int open_pass(struct pass *pass, const struct requestor *from, const struct endpoint *server)
{
	struct passing_tcp *p = pass->passing;
	const struct timeval limit = {.tv_sec = PASSING_CONNECT_MS / 1000};
	int fd = server_socket(server, SOCK_STREAM, p->mark);
	if (fd < 0) {
		return fd;
	}
	struct bufferevent *bev = bufferevent_socket_new(p->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (!bev) {
		close(fd);
		return -ENOMEM;
	}
	struct endpoint to = *server;
	bufferevent_setwatermark(bev, EV_READ, 0, INPUT_MAX);
	(void)bufferevent_set_timeouts(bev, &limit, &limit);
	/* Without callbacks as yet: a failure inside the call would be told to them as well. */
	if (bufferevent_socket_connect(bev, &to.sa, (int)to.len) != 0 ||
		bufferevent_enable(bev, EV_READ | EV_WRITE) != 0) {
		bufferevent_free(bev);
		return -EHOSTUNREACH;
	}
	bufferevent_setcb(bev, on_readable, on_written, on_event, pass);
	pass->bev = bev;
	pass->from = *from;
	pass->server = *server;
	pass->full = false;
	pass->half = false;
	pass->ended = false;
	return 0;
}

const struct endpoint *passing_tcp_server(
	const struct passing_tcp *passing, const struct requestor *from)
{
	const struct pass *pass = find(passing, from->slot, from->generation);
	return pass ? &pass->server : NULL;
}

int passing_tcp_send(struct passing_tcp *passing, struct span message, const struct requestor *from,
	const struct endpoint *server)
{
	struct pass *pass = find(passing, from->slot, from->generation);
	uint8_t prefix[PREFIX_LEN];
	if (!pass) {
		pass = &passing->pass[from->slot];
		pass->passing = passing;
		int error = pass->bev ? -EBUSY : open_pass(pass, from, server);
		if (error) {
			return error;
		}
	}
	struct evbuffer *output = bufferevent_get_output(pass->bev);
	if (evbuffer_get_length(output) + message.len > UNSENT_MAX) {
		return -ENOBUFS;
	}
	octets_put_u16(prefix, (uint16_t)message.len);
	if (evbuffer_expand(output, sizeof(prefix) + message.len) != 0 ||
		evbuffer_add(output, prefix, sizeof(prefix)) != 0 ||
		evbuffer_add(output, message.data, message.len) != 0) {
		return -ENOMEM;
	}
	return 0;
}

void passing_tcp_gone(struct passing_tcp *passing, uint32_t slot, uint32_t generation)
{
	struct pass *pass = find(passing, slot, generation);
	if (pass) {
		close_pass(pass);
	}
}

/* The whole */

int passing_tcp_open(struct passing_tcp **passing, struct event_base *base, uint32_t mark,
	uint32_t slots, passing_reply *reply, passing_end *end, void *ctx)
{
	struct passing_tcp *p = calloc(1, sizeof(*p));
	if (!p) {
		return -ENOMEM;
	}
	p->pass = calloc(slots, sizeof(*p->pass)); /* pages that are never used stay unborn */
	if (!p->pass) {
		free(p);
		return -ENOMEM;
	}
	p->base = base;
	p->mark = mark;
	p->slots = slots;
	p->reply = reply;
	p->end = end;
	p->ctx = ctx;
	*passing = p;
	return 0;
}

void passing_tcp_close(struct passing_tcp *passing)
{
	if (!passing) {
		return;
	}
	for (uint32_t i = 0; i < passing->slots; i++) {
		if (passing->pass[i].bev) {
			close_pass(&passing->pass[i]);
		}
	}
	free(passing->pass);
	free(passing);
}
