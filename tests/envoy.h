/* SPDX-License-Identifier: Apache-2.0
 *
 * Stands in for Envoy's socket: an HTTP server on a Unix socket that says what the test wrote down,
 * on the test's own event loop. It keeps the requests it saw.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <event2/event.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { ENVOY_CONNECTIONS_MAX = 32, ENVOY_REQUESTS_MAX = 64 };

enum envoy_after { ENVOY_KEEP, ENVOY_CLOSE, ENVOY_DRIP };

/** What is said to a request; the last reply of a script is said again and again. */
struct envoy_reply {
	const char *text;
	unsigned delay_ms;
	enum envoy_after after;
};

struct envoy {
	struct event_base *base;
	char path[108];
	int listener;
	struct event *acceptable;
	struct event *due; /* says the reply, or the next octet of a drip */
	struct {
		int fd;
		struct event *readable;
	} connection[ENVOY_CONNECTIONS_MAX];
	unsigned connections; /* accepted so far */
	unsigned asking;      /* index of the connection that asked last */
	const struct envoy_reply *script;
	size_t script_left;
	unsigned requests;
	char request[ENVOY_REQUESTS_MAX][512];
	int64_t at_ms[ENVOY_REQUESTS_MAX];
	bool dripping;
};

static inline int64_t envoy_now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static inline void envoy_hang_up(struct envoy *envoy, unsigned i)
{
	if (envoy->connection[i].readable) {
		event_free(envoy->connection[i].readable);
		envoy->connection[i].readable = NULL;
		close(envoy->connection[i].fd);
	}
}

static inline void envoy_due_in(struct envoy *envoy, unsigned ms)
{
	struct timeval after = {.tv_sec = ms / 1000, .tv_usec = (int)(ms % 1000) * 1000};
	event_add(envoy->due, &after);
}

static inline void envoy_say(struct envoy *envoy, const char *text)
{
	int fd = envoy->connection[envoy->asking].fd;
	if (envoy->connection[envoy->asking].readable) {
		(void)!send(fd, text, strlen(text), MSG_NOSIGNAL);
	}
}

static inline void envoy_due(evutil_socket_t unused, short what, void *ctx)
{
	(void)unused;
	(void)what;
	struct envoy *envoy = ctx;
	if (envoy->dripping) {
		envoy_say(envoy, "x");
		envoy_due_in(envoy, 5);
		return;
	}
	const struct envoy_reply *reply = envoy->script;
	if (envoy->script_left > 1) {
		envoy->script++;
		envoy->script_left--;
	}
	envoy_say(envoy, reply->text);
	if (reply->after == ENVOY_CLOSE) {
		envoy_hang_up(envoy, envoy->asking);
	} else if (reply->after == ENVOY_DRIP) {
		envoy->dripping = true;
		envoy_due_in(envoy, 5);
	}
}

static inline void envoy_readable(evutil_socket_t fd, short what, void *ctx)
{
	(void)what;
	struct envoy *envoy = ctx;
	unsigned i = 0;
	while (!envoy->connection[i].readable || envoy->connection[i].fd != fd) {
		i++;
	}
	char *request = envoy->request[envoy->requests % ENVOY_REQUESTS_MAX];
	/* A request is small: it comes whole. */
	ssize_t len = recv(fd, request, sizeof envoy->request[0] - 1, 0);
	if (len <= 0) {
		envoy_hang_up(envoy, i);
		return;
	}
	request[len] = '\0';
	envoy->at_ms[envoy->requests++ % ENVOY_REQUESTS_MAX] = envoy_now_ms();
	envoy->asking = i;
	envoy->dripping = false;
	envoy_due_in(envoy, envoy->script->delay_ms);
}

static inline void envoy_acceptable(evutil_socket_t listener, short what, void *ctx)
{
	(void)what;
	struct envoy *envoy = ctx;
	unsigned i = envoy->connections++;
	assert_true(i < ENVOY_CONNECTIONS_MAX);
	envoy->connection[i].fd = accept(listener, NULL, NULL);
	envoy->connection[i].readable = event_new(
		envoy->base, envoy->connection[i].fd, EV_READ | EV_PERSIST, envoy_readable, envoy);
	event_add(envoy->connection[i].readable, NULL);
}

/** Begin to say `count` replies. */
static inline void envoy_script(struct envoy *envoy, const struct envoy_reply *script, size_t count)
{
	envoy->script = script;
	envoy->script_left = count;
}

/** Listen at `path`, which is made new. */
static inline void envoy_open(struct envoy *envoy, struct event_base *base, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	snprintf(envoy->path, sizeof envoy->path, "%s", path);
	unlink(path);
	envoy->base = base;
	envoy->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(
		bind(envoy->listener, (const struct sockaddr *)&address, sizeof address), 0);
	assert_int_equal(listen(envoy->listener, 16), 0);
	envoy->acceptable =
		event_new(base, envoy->listener, EV_READ | EV_PERSIST, envoy_acceptable, envoy);
	event_add(envoy->acceptable, NULL);
	if (!envoy->due) {
		envoy->due = evtimer_new(base, envoy_due, envoy);
	}
}

/** Stop listening and close every connection; the socket's file stays, as Envoy leaves it. */
static inline void envoy_stop(struct envoy *envoy)
{
	for (unsigned i = 0; i < envoy->connections; i++) {
		envoy_hang_up(envoy, i);
	}
	if (envoy->acceptable) {
		event_free(envoy->acceptable);
		envoy->acceptable = NULL;
		close(envoy->listener);
	}
}

static inline void envoy_close(struct envoy *envoy)
{
	envoy_stop(envoy);
	unlink(envoy->path);
	if (envoy->due) {
		event_free(envoy->due);
		envoy->due = NULL;
	}
}
