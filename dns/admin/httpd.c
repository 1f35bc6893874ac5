/* SPDX-License-Identifier: Apache-2.0
 *
 * The way of a connection: READING until the blank line, WRITING until the last octet left,
 * LINGERING until the peer has closed, so that a reset does not overtake the response. Each state
 * has its deadline. Above the limit of connections the listener rests and the kernel's queue holds
 * the others.
 */
#include "dns/admin/httpd.h"

#include "conf/log.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 64, LINGER_MS = 1000, ACCEPT_RETRY_MS = 1000 };

enum phase { FREE, READING, WRITING, LINGERING };

struct connection {
	struct httpd_server *server;
	struct bufferevent *bev;
	struct event *deadline;
	enum phase phase;
	bool peer_done; /* it has closed its side */
	bool chunked;   /* the body goes out in chunks */
	struct httpd_reply reply;
};

struct httpd_server {
	struct event_base *base;
	struct evconnlistener *listener;
	struct event *retry; /* listen again after the system had no descriptor for us */
	httpd_handler *handler;
	void *ctx;
	unsigned count;
	struct connection connection[HTTPD_CONNECTIONS_MAX];
};

static struct timeval interval(unsigned ms)
{
	return (struct timeval){.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};
}

static bool span_is(struct span s, const char *text)
{
	return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

static bool span_take_prefix(struct span *s, const char *text)
{
	size_t len = strlen(text);
	if (s->len < len || memcmp(s->data, text, len) != 0) {
		return false;
	}
	*s = (struct span){.data = s->data + len, .len = s->len - len};
	return true;
}

/* Up to `stop`, which is passed; all of it where there is none. */
static struct span span_until(struct span *s, uint8_t stop)
{
	const uint8_t *at = s->len ? memchr(s->data, stop, s->len) : NULL;
	struct span part = {.data = s->data, .len = at ? (size_t)(at - s->data) : s->len};
	size_t passed = part.len + (at ? 1 : 0);
	*s = (struct span){.data = s->data + passed, .len = s->len - passed};
	return part;
}

/* RFC 9112 §3.2: origin-form, and absolute-form, which a server must take too. */
static bool parse_target(struct httpd_request *request, struct span target)
{
	if (span_take_prefix(&target, "http://")) {
		const uint8_t *path = target.len ? memchr(target.data, '/', target.len) : NULL;
		if (!path) {
			return false;
		}
		target.len -= (size_t)(path - target.data);
		target.data = path;
	}
	if (target.len == 0 || target.data[0] != '/') {
		return false;
	}
	for (size_t i = 0; i < target.len; i++) {
		if (target.data[i] <= 0x20 || target.data[i] >= 0x7f) {
			return false;
		}
	}
	request->path = span_until(&target, '?');
	request->query = target;
	return true;
}

static enum httpd_method parse_method(struct span method)
{
	return span_is(method, "GET")    ? HTTPD_GET
	       : span_is(method, "HEAD") ? HTTPD_HEAD
	       : span_is(method, "POST") ? HTTPD_POST
					 : HTTPD_OTHER;
}

unsigned httpd_request_parse(struct httpd_request *request, struct span head)
{
	*request = (struct httpd_request){0};
	struct span line = span_until(&head, '\n');
	if (line.len > 0 && line.data[line.len - 1] == '\r') {
		line.len--;
	}
	struct span method = span_until(&line, ' ');
	struct span target = span_until(&line, ' ');
	if (!span_take_prefix(&line, "HTTP/") || !parse_target(request, target)) {
		return 400;
	}
	request->method = parse_method(method);
	request->chunked = span_is(line, "1.1");
	return request->chunked || span_is(line, "1.0") ? 200 : 505;
}

/* Octets of the head in `buf`, through its blank line; 0 where it is not complete. A line may end
 * without CR (RFC 9112 §2.2). */
static size_t head_length(const uint8_t *buf, size_t len)
{
	for (size_t i = 1; i < len; i++) {
		if (buf[i] == '\n' && (buf[i - 1] == '\n' || (i >= 2 && buf[i - 1] == '\r' &&
								     buf[i - 2] == '\n'))) {
			return i + 1;
		}
	}
	return 0;
}

static const char *status_text(unsigned status)
{
	switch (status) {
	case 200:
		return "OK";
	case 400:
		return "Bad Request";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 431:
		return "Request Header Fields Too Large";
	case 503:
		return "Service Unavailable";
	case 505:
		return "HTTP Version Not Supported";
	default:
		return "Internal Server Error";
	}
}

static void stream_free(struct connection *c)
{
	if (c->reply.free) {
		c->reply.free(c->reply.stream);
	}
	c->reply = (struct httpd_reply){0};
}

static void connection_close(struct connection *c)
{
	struct httpd_server *server = c->server;
	stream_free(c);
	event_free(c->deadline);
	bufferevent_free(c->bev);
	*c = (struct connection){0};
	server->count--;
	if (!evtimer_pending(server->retry, NULL)) {
		evconnlistener_enable(server->listener);
	}
}

static void deadline_set(struct connection *c, unsigned ms)
{
	struct timeval tv = interval(ms);
	evtimer_add(c->deadline, &tv);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	connection_close(arg);
}

/* Everything has left. Close our side and wait for the peer to close its own. */
static void linger(struct connection *c)
{
	if (c->peer_done) {
		connection_close(c);
		return;
	}
	stream_free(c);
	c->phase = LINGERING;
	shutdown(bufferevent_getfd(c->bev), SHUT_WR);
	deadline_set(c, LINGER_MS);
}

/* Whether there was memory; else the response is worth nothing and the connection is closed. */
static bool send_part(struct connection *c, struct evbuffer *body, bool last)
{
	struct evbuffer *out = bufferevent_get_output(c->bev);
	size_t len = evbuffer_get_length(body);
	bool frame = c->chunked && len > 0;
	return (!frame || evbuffer_add_printf(out, "%zx\r\n", len) >= 0) &&
	       evbuffer_add_buffer(out, body) == 0 &&
	       (!frame || evbuffer_add(out, "\r\n", 2) == 0) &&
	       (!c->chunked || !last || evbuffer_add(out, "0\r\n\r\n", 5) == 0);
}

/* The next part of a stream. */
static bool send_more(struct connection *c)
{
	struct evbuffer *body = evbuffer_new();
	if (!body) {
		return false;
	}
	enum httpd_more more = c->reply.more(c->reply.stream, body);
	bool sent = more != HTTPD_ABORT && send_part(c, body, more == HTTPD_END);
	evbuffer_free(body);
	if (more == HTTPD_END) {
		c->reply.more = NULL;
	}
	if (sent && evbuffer_get_length(bufferevent_get_output(c->bev)) == 0) {
		/* Nothing will leave that could call us again. */
		bufferevent_trigger(c->bev, EV_WRITE, BEV_TRIG_DEFER_CALLBACKS);
	}
	return sent;
}

static void on_written(struct bufferevent *bev, void *arg)
{
	struct connection *c = arg;
	(void)bev;
	if (c->phase != WRITING) {
		return;
	}
	if (!c->reply.more) {
		linger(c);
		return;
	}
	if (!send_more(c)) {
		connection_close(c); /* without the last chunk: the peer sees that it is cut */
	}
}

static bool send_head(struct connection *c, const struct httpd_request *request)
{
	struct evbuffer *out = bufferevent_get_output(c->bev);
	const char *type = c->reply.content_type;
	char length[64] = "";
	c->chunked = c->reply.more && request->chunked;
	if (!c->reply.more) {
		snprintf(length, sizeof(length), "Content-Length: %zu\r\n",
			evbuffer_get_length(c->reply.body));
	}
	return evbuffer_add_printf(out,
		       "HTTP/1.1 %u %s\r\n"
		       "Content-Type: %s\r\n"
		       "Cache-Control: no-store\r\n"
		       "Connection: close\r\n"
		       "%s%s%s%s%s\r\n",
		       c->reply.status, status_text(c->reply.status),
		       type ? type : "text/plain; charset=utf-8", c->reply.allow ? "Allow: " : "",
		       c->reply.allow ? c->reply.allow : "", c->reply.allow ? "\r\n" : "", length,
		       c->chunked ? "Transfer-Encoding: chunked\r\n" : "") >= 0;
}

static void send_reply(struct connection *c, const struct httpd_request *request)
{
	c->phase = WRITING;
	deadline_set(c, HTTPD_RESPONSE_MS);
	bool sent = send_head(c, request);
	if (request->method == HTTPD_HEAD) {
		c->reply.more = NULL;
	} else {
		sent = sent && send_part(c, c->reply.body, false);
	}
	c->reply.body = NULL;
	if (!sent) {
		connection_close(c);
	}
}

static void answer(struct connection *c, struct span head, unsigned status)
{
	struct httpd_request request = {0};
	struct evbuffer *body = evbuffer_new();
	if (!body) {
		connection_close(c);
		return;
	}
	c->reply.body = body;
	c->reply.status = status ? status : httpd_request_parse(&request, head);
	if (c->reply.status == 200) {
		c->server->handler(c->server->ctx, &request, &c->reply);
	} else {
		evbuffer_add_printf(body, "%s\n", status_text(c->reply.status));
	}
	if (c->reply.status == 0) {
		connection_close(c);
	} else {
		send_reply(c, &request);
	}
	evbuffer_free(body);
}

static void on_readable(struct bufferevent *bev, void *arg)
{
	struct connection *c = arg;
	struct evbuffer *in = bufferevent_get_input(bev);
	if (c->phase != READING) {
		evbuffer_drain(in, evbuffer_get_length(in)); /* a body, or a second request */
		return;
	}
	size_t len = evbuffer_get_length(in);
	const uint8_t *octets = evbuffer_pullup(in, -1);
	size_t head = octets ? head_length(octets, len) : 0;
	if (head == 0 && len < HTTPD_HEAD_MAX) {
		return;
	}
	answer(c, (struct span){.data = octets, .len = head}, head ? 0 : 431);
	if (c->phase != FREE) {
		evbuffer_drain(in, evbuffer_get_length(in));
	}
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	struct connection *c = arg;
	(void)bev;
	c->peer_done = true;
	/* A peer that has closed its side only may still wait for the response. */
	bool half = (what & BEV_EVENT_EOF) && (what & BEV_EVENT_READING);
	if (!half || c->phase != WRITING) {
		connection_close(c);
	}
}

static struct connection *free_slot(struct httpd_server *server)
{
	for (size_t i = 0; i < HTTPD_CONNECTIONS_MAX; i++) {
		if (server->connection[i].phase == FREE) {
			return &server->connection[i];
		}
	}
	return NULL;
}

static int connection_open(struct connection *c, struct httpd_server *server, int fd)
{
	c->bev = bufferevent_socket_new(server->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (!c->bev) {
		close(fd);
		return -ENOMEM;
	}
	c->deadline = evtimer_new(server->base, on_deadline, c);
	if (!c->deadline) {
		bufferevent_free(c->bev);
		return -ENOMEM;
	}
	struct timeval stall = interval(HTTPD_STALL_MS);
	c->server = server;
	c->phase = READING;
	bufferevent_setcb(c->bev, on_readable, on_written, on_event, c);
	bufferevent_setwatermark(c->bev, EV_READ, 0, HTTPD_HEAD_MAX);
	bufferevent_set_timeouts(c->bev, NULL, &stall);
	deadline_set(c, HTTPD_REQUEST_MS);
	bufferevent_enable(c->bev, EV_READ | EV_WRITE);
	return 0;
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *peer,
	int peer_len, void *arg)
{
	struct httpd_server *server = arg;
	(void)peer;
	(void)peer_len;
	struct connection *c = free_slot(server);
	if (!c || connection_open(c, server, fd) < 0) {
		if (!c) {
			close(fd);
		}
		return;
	}
	server->count++;
	if (server->count == HTTPD_CONNECTIONS_MAX) {
		log_warning("admin: %u connections, others wait", server->count);
		evconnlistener_disable(listener);
	}
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct httpd_server *server = arg;
	(void)fd;
	(void)what;
	if (server->count < HTTPD_CONNECTIONS_MAX) {
		evconnlistener_enable(server->listener);
	}
}

/* Without a descriptor to spare, accept would fail again at once, for ever. */
static void on_accept_error(struct evconnlistener *listener, void *arg)
{
	struct httpd_server *server = arg;
	struct timeval tv = interval(ACCEPT_RETRY_MS);
	log_warning("admin: cannot accept a connection: %s", strerror(EVUTIL_SOCKET_ERROR()));
	evconnlistener_disable(listener);
	evtimer_add(server->retry, &tv);
}

int httpd_open(struct httpd_server **server, struct event_base *base, int fd,
	httpd_handler *handler, void *ctx)
{
	struct httpd_server *s = calloc(1, sizeof(*s));
	if (!s) {
		close(fd);
		return -ENOMEM;
	}
	*s = (struct httpd_server){.base = base, .handler = handler, .ctx = ctx};
	s->retry = evtimer_new(base, on_retry, s);
	s->listener = evconnlistener_new(
		base, on_accept, s, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, BACKLOG, fd);
	if (!s->retry || !s->listener) {
		if (!s->listener) {
			close(fd);
		}
		httpd_close(s);
		return -ENOMEM;
	}
	evconnlistener_set_error_cb(s->listener, on_accept_error);
	*server = s;
	return 0;
}

void httpd_close(struct httpd_server *server)
{
	if (!server) {
		return;
	}
	for (size_t i = 0; i < HTTPD_CONNECTIONS_MAX; i++) {
		if (server->connection[i].phase != FREE) {
			connection_close(&server->connection[i]);
		}
	}
	if (server->listener) {
		evconnlistener_free(server->listener);
	}
	if (server->retry) {
		event_free(server->retry);
	}
	free(server);
}
