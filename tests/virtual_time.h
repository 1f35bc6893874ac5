/* SPDX-License-Identifier: Apache-2.0
 *
 * Time that passes only where a test says so: CLOCK_MONOTONIC as the archive reads it, and the
 * timers that it sets, those of the loop and those of descriptors. So a test of minutes takes
 * milliseconds, and a busy machine is no slow name server. To be linked with
 * --wrap=clock_gettime,--wrap=event_add,--wrap=event_free,--wrap=timerfd_create and
 * --wrap=timerfd_settime.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <event2/event.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
	TIMERS_MAX = 512,
	TURNS_TO_SETTLE = 4,
	BEATS_TO_SETTLE = 3,
	BEAT_US = 1000,
	NS_IN_A_MS = 1000000
};

struct virtual_timer {
	struct event *event; /* NULL: none … */
	int fd;              /* … but this descriptor, or, being 0, none either */
	int64_t due_ns;
};

struct virtual_time {
	int64_t now_ns;
	struct event_base *base;
	struct event *beat; /* of real time: so that a turn of the loop always ends */
	unsigned beats;
	struct virtual_timer timer[TIMERS_MAX];
};

static struct virtual_time vt;

int __real_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts);
int __real_event_add(struct event *event, const struct timeval *wait);
int __wrap_event_add(struct event *event, const struct timeval *wait);
void __real_event_free(struct event *event);
void __wrap_event_free(struct event *event);
int __wrap_timerfd_create(int clock, int flags);
int __wrap_timerfd_settime(
	int fd, int flags, const struct itimerspec *wait, struct itimerspec *before);

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	if (id != CLOCK_MONOTONIC) {
		return __real_clock_gettime(id, ts);
	}
	ts->tv_sec = vt.now_ns / 1000000000;
	ts->tv_nsec = vt.now_ns % 1000000000;
	return 0;
}

static inline struct virtual_timer *vt_find(const struct event *event, int fd)
{
	for (unsigned i = 0; i < TIMERS_MAX; i++) {
		if (vt.timer[i].event == event && vt.timer[i].fd == fd) {
			return &vt.timer[i];
		}
	}
	return NULL;
}

/* Set anew, or for the first time. */
static inline int vt_set(struct event *event, int fd, int64_t wait_ns)
{
	struct virtual_timer *t = vt_find(event, fd);
	t = t ? t : vt_find(NULL, 0);
	if (!t) {
		fail_msg("too many timers");
		return -1;
	}
	*t = (struct virtual_timer){.event = event, .fd = fd, .due_ns = vt.now_ns + wait_ns};
	return 0;
}

int __wrap_event_add(struct event *event, const struct timeval *wait)
{
	static const struct timeval long_time = {.tv_sec = 1000000};
	if (!wait) {
		return __real_event_add(event, NULL);
	}
	if (vt_set(event, 0, (int64_t)wait->tv_sec * 1000000000 + (int64_t)wait->tv_usec * 1000)) {
		return -1;
	}
	return __real_event_add(event, &long_time);
}

void __wrap_event_free(struct event *event)
{
	struct virtual_timer *t = vt_find(event, 0);
	if (t) {
		t->event = NULL;
	}
	__real_event_free(event);
}

/* Becomes readable as one does, with a number of eight octets; when, is ours to say. */
int __wrap_timerfd_create(int clock, int flags)
{
	(void)clock, (void)flags;
	return eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
}

int __wrap_timerfd_settime(
	int fd, int flags, const struct itimerspec *wait, struct itimerspec *before)
{
	int64_t ns = (int64_t)wait->it_value.tv_sec * 1000000000 + wait->it_value.tv_nsec;
	(void)flags, (void)before;
	if (ns > 0) {
		return vt_set(NULL, fd, ns > 1 ? ns : 0); /* 1 means at once: 0 would stop it */
	}
	struct virtual_timer *t = vt_find(NULL, fd);
	if (t) {
		t->fd = 0;
	}
	return 0;
}

static inline void vt_beat(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
	vt.beats++;
}

static inline void vt_open(struct event_base *base)
{
	const struct timeval beat = {.tv_usec = BEAT_US};
	memset(&vt, 0, sizeof(vt));
	vt.now_ns = (int64_t)1000 * 1000000000;
	vt.base = base;
	vt.beat = event_new(base, -1, EV_PERSIST, vt_beat, NULL);
	__real_event_add(vt.beat, &beat);
}

static inline void vt_close(void)
{
	event_free(vt.beat);
}

static inline int64_t vt_ms(void)
{
	return vt.now_ns / NS_IN_A_MS;
}

static inline void vt_turn(void)
{
	event_base_loop(vt.base, EVLOOP_ONCE);
}

/** Let happen what happens without time: on the loopback all is there at once, or nearly. */
static inline void vt_settle(void)
{
	const struct timespec moment = {.tv_nsec = 20000};
	for (unsigned i = 0; i < TURNS_TO_SETTLE; i++) {
		event_base_loop(vt.base, EVLOOP_NONBLOCK);
		event_base_loop(vt.base, EVLOOP_NONBLOCK);
		nanosleep(&moment, NULL);
	}
}

/** The timer that is due first, of those that are set; NULL where none is. */
static inline struct virtual_timer *vt_first(void)
{
	struct virtual_timer *first = NULL;
	for (unsigned i = 0; i < TIMERS_MAX; i++) {
		struct virtual_timer *t = &vt.timer[i];
		if (t->event && !event_pending(t->event, EV_TIMEOUT, NULL)) {
			t->event = NULL;
		}
		if ((t->event || t->fd) && (!first || t->due_ns < first->due_ns)) {
			first = t;
		}
	}
	return first;
}

/* Go on to the next timer, if it is due until then. @return whether there was one */
static inline bool vt_step(int64_t until_ns)
{
	struct virtual_timer *t = vt_first();
	if (!t || t->due_ns > until_ns) {
		return false;
	}
	const struct virtual_timer due = *t;
	const uint64_t once = 1;
	vt.now_ns = due.due_ns > vt.now_ns ? due.due_ns : vt.now_ns;
	*t = (struct virtual_timer){.event = NULL};
	if (due.event) {
		event_active(due.event, EV_TIMEOUT, 1);
	} else {
		assert_int_equal(write(due.fd, &once, sizeof(once)), sizeof(once));
	}
	vt_settle();
	return true;
}

/** Let time pass. */
static inline void vt_pass(int64_t ms)
{
	int64_t until = vt.now_ns + ms * NS_IN_A_MS;
	vt_settle();
	while (vt_step(until)) {
	}
	vt.now_ns = until;
	vt_settle();
}

/** Let time pass until a number is reached, as long as it needs; fail after `ms`. */
static inline void vt_await(const unsigned *number, unsigned value, int64_t ms)
{
	int64_t until = vt.now_ns + ms * NS_IN_A_MS;
	do {
		vt.beats = 0;
		while (*number < value && vt.beats < BEATS_TO_SETTLE) {
			vt_turn();
		}
	} while (*number < value && vt_step(until));
	assert_true(*number >= value);
}
