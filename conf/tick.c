/* SPDX-License-Identifier: Apache-2.0 */
#include "conf/tick.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

struct tick {
	tick_due *due;
	void *ctx;
	struct event *readable;
	int fd;
	bool running;
};

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct tick *t = arg;
	uint64_t times;
	(void)what;
	if (read(fd, &times, sizeof(times)) == sizeof(times)) { /* else set anew meanwhile */
		t->running = false;
		t->due(t->ctx);
	}
}

static void set(const struct tick *t, struct timespec wait)
{
	struct itimerspec once = {.it_value = wait};
	(void)timerfd_settime(t->fd, 0, &once, NULL); /* a valid time: it cannot fail */
}

int tick_open(struct tick **tick, struct event_base *base, tick_due *due, void *ctx)
{
	struct tick *t = calloc(1, sizeof(*t));
	if (!t) {
		return -ENOMEM;
	}
	t->due = due;
	t->ctx = ctx;
	t->fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (t->fd < 0) {
		int error = -errno;
		free(t);
		return error;
	}
	t->readable = event_new(base, t->fd, EV_READ | EV_PERSIST, on_readable, t);
	if (!t->readable || event_add(t->readable, NULL) != 0) {
		tick_close(t);
		return -ENOMEM;
	}
	*tick = t;
	return 0;
}

void tick_start(struct tick *tick, uint32_t ms)
{
	struct timespec wait = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
	if (ms == 0) {
		wait.tv_nsec = 1; /* 0 would stop it */
	}
	tick->running = true;
	set(tick, wait);
}

bool tick_is_running(const struct tick *tick)
{
	return tick->running;
}

void tick_close(struct tick *tick)
{
	if (!tick) {
		return;
	}
	if (tick->readable) {
		event_free(tick->readable);
	}
	set(tick, (struct timespec){0});
	close(tick->fd);
	free(tick);
}
