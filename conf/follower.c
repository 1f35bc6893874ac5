/* SPDX-License-Identifier: Apache-2.0
 *
 * Names are watched in their directories, content at the file: a watch on a file ends when it is
 * replaced, and a directory does not see what is written through another name (a bind mount, a hard
 * link). Neighbours that are written to do not wake us.
 */
#include "conf/follower.h"

#include "conf/clock.h"
#include "conf/log.h"

#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	NAMES_MAX = 64, /* on the way; what is beyond is found by looking */
	LINKS_MAX = 40, /* as in path_resolution(7) */
	SETTLE_FACTOR = 10
};

static const uint32_t DIRECTORY_EVENTS = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO |
					 IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
static const uint32_t FILE_EVENTS = IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE_SELF;

/* What an event must be about to concern us. */
struct name {
	int watch;
	char text[NAME_MAX + 1]; /* in the directory that is watched; empty: the object itself */
};

/* Which content of which file; absent: all zero. */
struct identity {
	dev_t device;
	ino_t inode;
	off_t size;
	struct timespec modified;
	struct timespec changed;
};

struct follower {
	follower_look *look;
	void *ctx;
	struct event_base *base;
	char path[PATH_MAX];
	uint32_t settle_ms;
	uint32_t poll_ms;

	int inotify;            /* -1: none */
	struct event *readable; /* NULL: no inotify */
	struct event *settle;
	struct event *poll;
	struct name names[NAMES_MAX];
	unsigned name_count;
	int error;            /* of the last walk: why inotify does not help; 0: it does */
	int64_t settle_by_ms; /* 0: nothing is to be told */
	struct identity last; /* when we told last */
};

/* Where we are on the way: in a directory without a link, empty for the root; and what is left. */
struct walk {
	char directory[PATH_MAX];
	char rest[PATH_MAX];
	unsigned links;
};

static void timer_set(struct event *timer, int64_t ms)
{
	struct timeval after = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	event_add(timer, &after);
}

static uint32_t poll_interval_ms(const struct follower *f)
{
	bool often = f->error != 0 && f->poll_ms > FOLLOWER_BLIND_MS;
	return often ? FOLLOWER_BLIND_MS : f->poll_ms;
}

static struct identity identity_now(const char *path)
{
	struct identity identity;
	struct stat st;
	memset(&identity, 0, sizeof identity); /* compared as octets, padding too */
	if (stat(path, &st) == 0) {
		identity.device = st.st_dev;
		identity.inode = st.st_ino;
		identity.size = st.st_size;
		identity.modified = st.st_mtim;
		identity.changed = st.st_ctim;
	}
	return identity;
}

/* Watches */

static bool is_watched(const struct follower *f, int watch)
{
	for (unsigned i = 0; i < f->name_count; i++) {
		if (f->names[i].watch == watch) {
			return true;
		}
	}
	return false;
}

/* A watch that is there already is given again, with what it had to tell before. */
static void name_watch(struct follower *f, const char *path, const char *text, uint32_t events)
{
	if (f->name_count == NAMES_MAX) {
		return;
	}
	int watch = inotify_add_watch(f->inotify, path, events | IN_MASK_ADD);
	if (watch < 0) {
		/* Absent, or not ours to read: that is no want of inotify. */
		f->error = errno == ENOSPC || errno == ENOMEM ? errno : f->error;
		return;
	}
	struct name *name = &f->names[f->name_count++];
	name->watch = watch;
	(void)snprintf(name->text, sizeof name->text, "%s", text);
}

/* The walk */

/* Take the next name off the way; false at its end. */
static bool walk_name(struct walk *w, char name[NAME_MAX + 1])
{
	const char *start = w->rest + strspn(w->rest, "/");
	size_t len = strcspn(start, "/");
	if (len == 0 || len > NAME_MAX) {
		return false;
	}
	memcpy(name, start, len);
	name[len] = '\0';
	memmove(w->rest, start + len, strlen(start + len) + 1);
	return true;
}

/* Go where the link leads. */
static bool walk_link(struct walk *w, const char *target)
{
	char rest[PATH_MAX];
	int len = snprintf(rest, sizeof rest, "%s%s", target, w->rest);
	if (len < 0 || (size_t)len >= sizeof rest || ++w->links > LINKS_MAX) {
		return false;
	}
	if (target[0] == '/') {
		w->directory[0] = '\0';
	}
	memcpy(w->rest, rest, (size_t)len + 1);
	return true;
}

/* Look the name up; false where the way ends. */
static bool walk_step(struct walk *w, const char *name)
{
	char whole[PATH_MAX];
	char target[PATH_MAX];
	int len = snprintf(whole, sizeof whole, "%s/%s", w->directory, name);
	if (len < 0 || (size_t)len >= sizeof whole) {
		return false;
	}
	ssize_t target_len = readlink(whole, target, sizeof target - 1);
	if (target_len >= 0) {
		target[target_len] = '\0';
		return walk_link(w, target);
	}
	if (errno != EINVAL) {
		return false; /* EINVAL: something that is no link */
	}
	memcpy(w->directory, whole, (size_t)len + 1);
	return true;
}

/* Watch each name from the start of the path to its file, or to where it ends now. */
static void names_watch(struct follower *f)
{
	struct walk w = {.links = 0};
	char name[NAME_MAX + 1];
	bool on = true;
	(void)snprintf(w.directory, sizeof w.directory, "%s", f->path[0] == '/' ? "" : ".");
	(void)snprintf(w.rest, sizeof w.rest, "%s", f->path);
	while (on && walk_name(&w, name)) {
		if (strcmp(name, ".") == 0) {
			continue;
		}
		if (strcmp(name, "..") != 0) {
			/* Before it is looked up: what happens in between is told. */
			name_watch(f, w.directory[0] ? w.directory : "/", name, DIRECTORY_EVENTS);
		}
		on = walk_step(&w, name);
	}
	if (on && w.directory[0]) {
		name_watch(f, w.directory, "", FILE_EVENTS);
	}
}

static void notified(evutil_socket_t fd, short what, void *ctx);

static void inotify_end(struct follower *f)
{
	if (f->readable) {
		event_free(f->readable);
		f->readable = NULL;
	}
	if (f->inotify >= 0) {
		close(f->inotify);
		f->inotify = -1;
	}
}

/* Have an inotify descriptor, or remember why not. */
static void inotify_begin(struct follower *f)
{
	if (f->readable) {
		return;
	}
	f->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (f->inotify < 0) {
		f->error = errno;
		return;
	}
	f->readable = event_new(f->base, f->inotify, EV_READ | EV_PERSIST, notified, f);
	if (!f->readable || event_add(f->readable, NULL) < 0) {
		f->error = ENOMEM;
		inotify_end(f);
	}
}

/* Watch the way as it is now, and nothing else. */
static void walk_again(struct follower *f)
{
	int former[NAMES_MAX];
	unsigned former_count = f->name_count;
	int former_error = f->error;
	for (unsigned i = 0; i < former_count; i++) {
		former[i] = f->names[i].watch;
	}
	f->name_count = 0;
	f->error = 0;
	inotify_begin(f);
	if (f->readable) {
		names_watch(f);
	}
	for (unsigned i = 0; i < former_count; i++) {
		if (!is_watched(f, former[i])) {
			inotify_rm_watch(f->inotify, former[i]); /* may be gone with its object */
		}
	}
	if (f->error != 0 && former_error == 0) {
		log_warning("%s: no inotify (%s): looked at every %u ms", f->path,
			strerror(f->error), poll_interval_ms(f));
		timer_set(f->poll, poll_interval_ms(f));
	}
}

/* What the loop calls */

static void settled(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	struct follower *f = ctx;
	f->settle_by_ms = 0;
	/* Taken first: a change while it is read makes it differ the next time. */
	f->last = identity_now(f->path);
	f->look(f->ctx, true);
}

static void settle_begin(struct follower *f)
{
	int64_t now = clock_ms();
	if (f->settle_by_ms == 0) {
		f->settle_by_ms = now + (int64_t)f->settle_ms * SETTLE_FACTOR;
	}
	int64_t left = f->settle_by_ms - now;
	left = left < 0 ? 0 : left;
	timer_set(f->settle, left < f->settle_ms ? left : f->settle_ms);
}

/* An event without a name is about the object that is watched. */
static bool is_concerned(const struct follower *f, const struct inotify_event *event)
{
	for (unsigned i = 0; i < f->name_count; i++) {
		const struct name *name = &f->names[i];
		if (name->watch == event->wd && (!name->text[0] || event->len == 0 ||
							strcmp(name->text, event->name) == 0)) {
			return true;
		}
	}
	return (event->mask & IN_Q_OVERFLOW) != 0;
}

static void notified(evutil_socket_t fd, short what, void *ctx)
{
	(void)what;
	struct follower *f = ctx;
	union {
		struct inotify_event event;
		char octets[8192];
	} buffer;
	ssize_t len = read(fd, &buffer, sizeof buffer);
	bool concerned = false;
	for (size_t at = 0; len > 0 && at < (size_t)len;) {
		const void *start = buffer.octets + at; /* the kernel aligns them */
		const struct inotify_event *event = start;
		concerned = concerned || is_concerned(f, event);
		at += sizeof *event + event->len;
	}
	if (concerned) {
		walk_again(f);
		settle_begin(f);
	}
}

static void poll_due(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	struct follower *f = ctx;
	walk_again(f);
	timer_set(f->poll, poll_interval_ms(f));
	if (f->settle_by_ms != 0) {
		return; /* told soon anyhow */
	}
	struct identity now = identity_now(f->path);
	if (memcmp(&now, &f->last, sizeof now) != 0) {
		settle_begin(f);
	} else {
		f->look(f->ctx, false);
	}
}

int follower_open(struct follower **out, struct event_base *base,
	const struct follower_options *options, follower_look *look, void *ctx)
{
	size_t len = strlen(options->path);
	if (len >= PATH_MAX) {
		return -ENAMETOOLONG;
	}
	struct follower *f = calloc(1, sizeof *f);
	if (!f) {
		return -ENOMEM;
	}
	f->look = look;
	f->ctx = ctx;
	f->base = base;
	memcpy(f->path, options->path, len + 1);
	f->settle_ms = options->settle_ms;
	f->poll_ms = options->poll_ms;
	f->inotify = -1;
	f->settle = evtimer_new(base, settled, f);
	f->poll = evtimer_new(base, poll_due, f);
	if (!f->settle || !f->poll) {
		follower_close(f);
		return -ENOMEM;
	}
	walk_again(f);
	timer_set(f->poll, poll_interval_ms(f));
	f->settle_by_ms = clock_ms();
	timer_set(f->settle, 0);
	*out = f;
	return 0;
}

void follower_close(struct follower *f)
{
	if (!f) {
		return;
	}
	inotify_end(f);
	if (f->settle) {
		event_free(f->settle);
	}
	if (f->poll) {
		event_free(f->poll);
	}
	free(f);
}
