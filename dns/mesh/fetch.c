/* SPDX-License-Identifier: Apache-2.0
 *
 * One connection, one request at a time. A request ends in exactly one report and one setting of
 * the timer for the next. libevent's HTTP client cannot use Unix sockets; http.c reads the
 * responses.
 */
#include "dns/mesh/fetch.h"

#include "conf/clock.h"
#include "dns/mesh/http.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	PATH_CUT = 98, /* Kuma's limit for what stands before `.sock` */
	BACKOFF_MAX_MS = 30000
};

struct fetch {
	struct event_base *base;
	source_report *report;
	void *ctx;
	char path[sizeof((struct sockaddr_un *)0)->sun_path];
	uint32_t interval_ms;
	uint32_t timeout_ms;
	size_t body_max;

	struct event *poll;             /* begins a request */
	struct event *deadline;         /* ends it */
	struct bufferevent *connection; /* NULL: none */
	bool asking;                    /* a request is out */
	bool answered;                  /* the connection has carried a response */
	bool conditional;               /* the request had the ETag */
	bool early;                     /* the next request comes before its time */
	bool hurried;                   /* this one did */
	int64_t begun_ms;
	unsigned failures;         /* in a row, of those that make us wait longer */
	char etag[HTTP_ETAG_SIZE]; /* of the document that is served; empty: unknown */
	struct http_response response;
};

void fetch_socket_path(const char *work_dir, char path[sizeof((struct sockaddr_un *)0)->sun_path])
{
	size_t len = strlen(work_dir);
	while (len > 1 && work_dir[len - 1] == '/') { /* Go's filepath.Join drops them */
		len--;
	}
	if (len > PATH_CUT) {
		len = PATH_CUT; /* more cannot matter, and %.*s takes an int */
	}
	const char *slash = len == 1 && work_dir[0] == '/' ? "" : "/";
	char whole[PATH_CUT + 32];
	snprintf(whole, sizeof whole, "%.*s%skuma-mesh-metric-config", (int)len, work_dir, slash);
	snprintf(path, sizeof((struct sockaddr_un *)0)->sun_path, "%.*s.sock", PATH_CUT, whole);
}

static void timer_set(struct event *timer, int64_t ms)
{
	struct timeval after = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	event_add(timer, &after);
}

static void disconnect(struct fetch *fetch)
{
	if (fetch->connection) {
		bufferevent_free(fetch->connection);
		fetch->connection = NULL;
	}
	fetch->answered = false;
}

/* The next request: one interval after this one began, longer after failures in a row. */
static void schedule(struct fetch *fetch)
{
	int64_t wait = fetch->interval_ms;
	for (unsigned i = 0; i < fetch->failures && wait < BACKOFF_MAX_MS; i++) {
		wait = wait * 2 < BACKOFF_MAX_MS ? wait * 2 : BACKOFF_MAX_MS;
	}
	int64_t left = fetch->begun_ms + wait - clock_ms();
	timer_set(fetch->poll, left > 0 ? left : 0);
}

/* A request is over: whatever comes now belongs to no request. */
static void request_end(struct fetch *fetch)
{
	fetch->asking = false;
	event_del(fetch->deadline);
	http_free(&fetch->response);
}

/* Nobody there: the table stays, and so does its ETag. */
static void unreachable(struct fetch *fetch, const char *problem)
{
	disconnect(fetch);
	request_end(fetch);
	fetch->failures = 0;
	schedule(fetch);
	fetch->report(fetch->ctx, SOURCE_UNREACHABLE, (struct span){0}, problem);
}

/* Somebody is there, and in trouble: ask for everything again, and not so soon. */
static void trouble(struct fetch *fetch, enum source_event event, const char *problem)
{
	disconnect(fetch);
	request_end(fetch);
	fetch->etag[0] = '\0';
	if (fetch->failures < 32) {
		fetch->failures++;
	}
	schedule(fetch);
	fetch->report(fetch->ctx, event, (struct span){0}, problem);
}

/* A 200: whether its document can be served decides whether its ETag is kept. */
static void document_take(struct fetch *fetch)
{
	struct span document = {fetch->response.body, fetch->response.body_len};
	int rc = fetch->report(fetch->ctx, SOURCE_DOCUMENT, document, NULL);
	memcpy(fetch->etag, rc < 0 ? "" : fetch->response.etag, rc < 0 ? 1 : sizeof fetch->etag);
}

static void response_take(struct fetch *fetch)
{
	unsigned status = fetch->response.status;
	char problem[sizeof fetch->path + 64];
	if (status != 200 && status != 404 && !(status == 304 && fetch->conditional)) {
		snprintf(problem, sizeof problem, "%s answers with status %u", fetch->path, status);
		trouble(fetch, SOURCE_REJECTED, problem);
		return;
	}
	fetch->failures = 0;
	fetch->answered = true;
	if (status == 200) {
		document_take(fetch);
	} else if (status == 304) {
		fetch->report(fetch->ctx, SOURCE_UNCHANGED, (struct span){0}, NULL);
	} else {
		snprintf(problem, sizeof problem, "%s: the control plane sends no table now (404)",
			fetch->path);
		fetch->report(fetch->ctx, SOURCE_UNREACHABLE, (struct span){0}, problem);
	}
	bool keep = fetch->response.keep_alive;
	request_end(fetch);
	if (!keep) {
		disconnect(fetch);
	}
	schedule(fetch);
}

/* Feed the response with what has come, without copying it first. */
static int response_feed(struct fetch *fetch, struct evbuffer *input)
{
	while (evbuffer_get_length(input) > 0 && !http_is_complete(&fetch->response)) {
		struct evbuffer_iovec piece;
		if (evbuffer_peek(input, -1, NULL, &piece, 1) < 1) {
			return -ENOMEM;
		}
		struct span octets = {piece.iov_base, piece.iov_len};
		size_t used = 0;
		int rc = http_feed(&fetch->response, octets, &used);
		if (rc < 0) {
			return rc;
		}
		evbuffer_drain(input, used);
	}
	return 0;
}

static void response_refuse(struct fetch *fetch, int rc)
{
	char problem[sizeof fetch->path + 96];
	snprintf(problem, sizeof problem, "%s: %s", fetch->path,
		rc == -E2BIG    ? "the answer is larger than allowed"
		: rc == -ENOMEM ? "out of memory"
				: "the answer is not HTTP/1.1");
	trouble(fetch, SOURCE_REJECTED, problem);
}

static void readable(struct bufferevent *connection, void *ctx)
{
	struct fetch *fetch = ctx;
	struct evbuffer *input = bufferevent_get_input(connection);
	if (!fetch->asking) { /* an answer that nobody asked for: the next one could not be told */
		disconnect(fetch);
		return;
	}
	int rc = response_feed(fetch, input);
	if (rc < 0) {
		response_refuse(fetch, rc);
		return;
	}
	if (http_is_complete(&fetch->response)) {
		bool more = evbuffer_get_length(input) > 0;
		fetch->response.keep_alive = fetch->response.keep_alive && !more;
		response_take(fetch);
	}
}

/* Begin the next request now, because the listener was replaced. Once for each request that comes
 * in its time: a peer that closes after every answer must not make a tight loop. */
static bool hurry(struct fetch *fetch)
{
	if (fetch->hurried) {
		return false;
	}
	fetch->early = true;
	timer_set(fetch->poll, 0);
	return true;
}

/* The connection ended where no answer had begun. */
static void closed_early(struct fetch *fetch, const char *problem)
{
	if (!fetch->answered) {
		trouble(fetch, SOURCE_UNREACHABLE, problem);
	} else if (hurry(fetch)) { /* it was closed between requests, and ours crossed that */
		disconnect(fetch);
		request_end(fetch);
	} else {
		unreachable(fetch, problem);
	}
}

/* The connection ended inside an answer: half a document, which the next request brings whole. */
static void closed_inside(struct fetch *fetch, const char *problem)
{
	fetch->etag[0] = '\0';
	disconnect(fetch);
	request_end(fetch);
	fetch->failures = 0;
	schedule(fetch);
	fetch->report(fetch->ctx, SOURCE_REJECTED, (struct span){0}, problem);
}

static void closed(struct bufferevent *connection, short what, void *ctx)
{
	(void)connection;
	struct fetch *fetch = ctx;
	if (!fetch->asking) {
		disconnect(fetch);
		hurry(fetch);
		return;
	}
	if ((what & BEV_EVENT_EOF) != 0 && http_end(&fetch->response) == 0) {
		response_take(fetch);
		return;
	}
	bool begun = http_is_begun(&fetch->response);
	char problem[sizeof fetch->path + 64];
	snprintf(problem, sizeof problem, "%s: the connection was closed before the answer %s",
		fetch->path, begun ? "was complete" : "came");
	if (begun) {
		closed_inside(fetch, problem);
	} else {
		closed_early(fetch, problem);
	}
}

static void timed_out(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	struct fetch *fetch = ctx;
	char problem[sizeof fetch->path + 64];
	snprintf(problem, sizeof problem, "%s: no complete answer after %u ms", fetch->path,
		fetch->timeout_ms);
	trouble(fetch, SOURCE_UNREACHABLE, problem);
}

/* Connecting to a Unix socket succeeds or fails at once. */
static int connection_open(struct fetch *fetch)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		return -errno;
	}
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	memcpy(address.sun_path, fetch->path, sizeof address.sun_path);
	if (connect(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
		int rc = -errno;
		close(fd);
		return rc;
	}
	fetch->connection = bufferevent_socket_new(fetch->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (!fetch->connection) {
		close(fd);
		return -ENOMEM;
	}
	bufferevent_setcb(fetch->connection, readable, NULL, closed, fetch);
	return bufferevent_enable(fetch->connection, EV_READ | EV_WRITE) == 0 ? 0 : -ENOMEM;
}

static int request_write(struct fetch *fetch)
{
	struct evbuffer *output = bufferevent_get_output(fetch->connection);
	fetch->conditional = fetch->etag[0] != '\0';
	int len = evbuffer_add_printf(output, "GET /dns HTTP/1.1\r\nHost: kuma-dns\r\n%s%s%s\r\n",
		fetch->conditional ? "If-None-Match: " : "", fetch->etag,
		fetch->conditional ? "\r\n" : "");
	return len > 0 ? 0 : -ENOMEM;
}

static void request_begin(struct fetch *fetch)
{
	fetch->begun_ms = clock_ms();
	fetch->asking = true;
	fetch->hurried = fetch->early;
	fetch->early = false;
	http_init(&fetch->response, fetch->body_max);
	timer_set(fetch->deadline, fetch->timeout_ms);
	int rc = fetch->connection ? 0 : connection_open(fetch);
	if (rc == 0) {
		rc = request_write(fetch);
	}
	if (rc < 0) {
		char problem[sizeof fetch->path + 128];
		snprintf(problem, sizeof problem, "%s: %s", fetch->path, strerror(-rc));
		unreachable(fetch, problem);
	}
}

static void poll_due(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	struct fetch *fetch = ctx;
	request_begin(fetch);
}

int fetch_open(struct fetch **out, struct event_base *base, const struct fetch_options *options,
	source_report *report, void *ctx)
{
	struct fetch *fetch = calloc(1, sizeof *fetch);
	if (!fetch) {
		return -ENOMEM;
	}
	fetch->base = base;
	fetch->report = report;
	fetch->ctx = ctx;
	fetch->interval_ms = options->interval_ms;
	fetch->timeout_ms = options->timeout_ms;
	fetch->body_max = options->body_max;
	fetch_socket_path(options->work_dir, fetch->path);
	fetch->poll = evtimer_new(base, poll_due, fetch);
	fetch->deadline = evtimer_new(base, timed_out, fetch);
	if (!fetch->poll || !fetch->deadline) {
		fetch_close(fetch);
		return -ENOMEM;
	}
	timer_set(fetch->poll, 0);
	*out = fetch;
	return 0;
}

void fetch_close(struct fetch *fetch)
{
	if (!fetch) {
		return;
	}
	disconnect(fetch);
	http_free(&fetch->response);
	if (fetch->poll) {
		event_free(fetch->poll);
	}
	if (fetch->deadline) {
		event_free(fetch->deadline);
	}
	free(fetch);
}
