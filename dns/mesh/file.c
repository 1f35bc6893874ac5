/* SPDX-License-Identifier: Apache-2.0
 *
 * Watches directories, not the file: a watch on a file ends when it is replaced. The directory of
 * the path sees renames and the swap of a ConfigMap's `..data`; the directory of the real path sees
 * what happens behind a symbolic link.
 */
#include "dns/mesh/file.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	SETTLE_MS = 50,      /* of quiet after an event, so that a write in pieces is read once */
	SETTLE_MAX_MS = 500, /* but no longer than this after the first one */
	READ_STEP = 65536
};

static const uint32_t EVENTS = IN_CLOSE_WRITE | IN_MODIFY | IN_MOVED_FROM | IN_MOVED_TO |
			       IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ATTRIB;

/* Which content of which file; absent: all zero. */
struct identity {
	dev_t device;
	ino_t inode;
	off_t size;
	struct timespec modified;
	struct timespec changed;
};

struct file {
	source_report *report;
	void *ctx;
	char path[PATH_MAX];
	uint32_t interval_ms;
	size_t size_max;

	int inotify;
	int watch;      /* of the path's directory, -1: none */
	int real_watch; /* of the real path's; may be the same */
	struct event *readable;
	struct event *settle; /* reads */
	struct event *poll;   /* looks */
	int64_t settle_by_ms; /* 0: no event is pending */
	bool touched;         /* the file itself was named in an event */
	struct identity last; /* of the last reading */
	bool good;            /* the last reading was accepted, or the same as an accepted one */
};

static int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void timer_set(struct event *timer, int64_t ms)
{
	struct timeval after = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	event_add(timer, &after);
}

static struct identity identity_of(const struct stat *st)
{
	struct identity identity;
	memset(&identity, 0, sizeof identity); /* compared as octets, padding too */
	identity.device = st->st_dev;
	identity.inode = st->st_ino;
	identity.size = st->st_size;
	identity.modified = st->st_mtim;
	identity.changed = st->st_ctim;
	return identity;
}

static struct identity identity_now(const char *path)
{
	struct stat st = {0};
	if (stat(path, &st) < 0) {
		memset(&st, 0, sizeof st);
	}
	return identity_of(&st);
}

/* Read to the end, one octet beyond the limit at most. The size that the file system gives is only
 * where we begin. */
static int descriptor_read(int fd, size_t expected, size_t size_max, uint8_t **octets, size_t *len)
{
	size_t room = (expected < size_max ? expected : size_max) + 1;
	uint8_t *data = malloc(room);
	size_t at = 0;
	ssize_t got = data ? 1 : -1;
	errno = ENOMEM;
	while (got > 0) {
		if (at == room) {
			room = room + READ_STEP <= size_max ? room + READ_STEP : size_max + 1;
			uint8_t *larger = realloc(data, room);
			if (!larger) {
				errno = ENOMEM;
				got = -1;
				break;
			}
			data = larger;
		}
		got = read(fd, data + at, room - at);
		at += got > 0 ? (size_t)got : 0;
		if (at > size_max) {
			errno = E2BIG;
			got = -1;
		}
	}
	if (got < 0) {
		int rc = -errno;
		free(data);
		return rc;
	}
	*octets = data;
	*len = at;
	return 0;
}

int file_read(const char *path, bool follow, size_t size_max, uint8_t **octets, size_t *len)
{
	/* O_NONBLOCK: opening a pipe must not wait for its writer. */
	int fd = open(
		path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (follow ? 0 : O_NOFOLLOW));
	if (fd < 0) {
		return -errno;
	}
	struct stat st;
	int rc = fstat(fd, &st) < 0 ? -errno : S_ISREG(st.st_mode) ? 0 : -EINVAL;
	if (rc == 0) {
		rc = descriptor_read(fd, (size_t)st.st_size, size_max, octets, len);
	}
	close(fd);
	return rc;
}

static int directory_watch(struct file *file, const char *path)
{
	char directory[PATH_MAX];
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 0;
	memcpy(directory, path, len);
	directory[len] = '\0';
	const char *name = len > 0 ? directory : slash ? "/" : ".";
	return inotify_add_watch(file->inotify, name, EVENTS | IN_ONLYDIR);
}

/* Watch what the path leads to now. A watch that is there already is returned again. */
static void watch(struct file *file)
{
	char *real = realpath(file->path, NULL);
	int former = file->real_watch;
	file->watch = directory_watch(file, file->path);
	file->real_watch = real ? directory_watch(file, real) : -1;
	free(real);
	if (former >= 0 && former != file->real_watch && former != file->watch) {
		inotify_rm_watch(file->inotify, former);
	}
}

static void problem_report(struct file *file, enum source_event event, const char *what)
{
	char problem[PATH_MAX + 128];
	snprintf(problem, sizeof problem, "%s: %s", file->path, what);
	file->good = false;
	file->report(file->ctx, event, (struct span){0}, problem);
}

/* Read the file and report it, good or bad. */
static void content_read(struct file *file)
{
	/* Taken first: a change while we read makes it differ the next time. */
	file->last = identity_now(file->path);
	uint8_t *octets;
	size_t len;
	int rc = file_read(file->path, true, file->size_max, &octets, &len);
	if (rc == -E2BIG) {
		problem_report(file, SOURCE_REJECTED, "the file is larger than allowed");
	} else if (rc == -EINVAL) {
		problem_report(file, SOURCE_REJECTED, "not a regular file");
	} else if (rc < 0) {
		problem_report(file, SOURCE_UNREACHABLE, strerror(-rc));
	} else {
		struct span document = {octets, len};
		file->good = file->report(file->ctx, SOURCE_DOCUMENT, document, NULL) == 0;
		free(octets);
	}
}

static bool is_changed(const struct file *file)
{
	struct identity now = identity_now(file->path);
	return memcmp(&now, &file->last, sizeof now) != 0;
}

static void settled(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	struct file *file = ctx;
	file->settle_by_ms = 0;
	watch(file);
	/* A write within the clock's grain leaves no trace in the times. */
	if (file->touched || is_changed(file)) {
		file->touched = false;
		content_read(file);
	}
}

static void settle_begin(struct file *file)
{
	int64_t now = now_ms();
	if (file->settle_by_ms == 0) {
		file->settle_by_ms = now + SETTLE_MAX_MS;
	}
	int64_t left = file->settle_by_ms - now;
	left = left < 0 ? 0 : left;
	timer_set(file->settle, left < SETTLE_MS ? left : SETTLE_MS);
}

static bool names_file(const struct file *file, const struct inotify_event *event)
{
	const char *slash = strrchr(file->path, '/');
	return event->len > 0 && strcmp(event->name, slash ? slash + 1 : file->path) == 0;
}

static void notified(evutil_socket_t fd, short what, void *ctx)
{
	(void)what;
	struct file *file = ctx;
	union {
		struct inotify_event event;
		char octets[8192];
	} buffer;
	ssize_t len = read(fd, &buffer, sizeof buffer);
	if (len <= 0) {
		return; /* nothing after all; the poll looks anyhow */
	}
	for (size_t at = 0; at < (size_t)len;) {
		struct inotify_event event;
		memcpy(&event, buffer.octets + at, sizeof event);
		const void *whole = buffer.octets + at;
		bool behind_link = event.wd == file->real_watch && event.wd != file->watch;
		file->touched = file->touched || behind_link || names_file(file, whole) ||
				(event.mask & IN_Q_OVERFLOW) != 0;
		at += sizeof event + event.len;
	}
	settle_begin(file);
}

static void poll_due(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	struct file *file = ctx;
	timer_set(file->poll, file->interval_ms);
	if (is_changed(file)) {
		settle_begin(file);
	} else if (file->good) {
		file->report(file->ctx, SOURCE_UNCHANGED, (struct span){0}, NULL);
	} else if (file->last.inode == 0) {
		content_read(file); /* still absent, and counted */
	}
}

static int events_new(struct file *file, struct event_base *base)
{
	file->readable = event_new(base, file->inotify, EV_READ | EV_PERSIST, notified, file);
	file->settle = evtimer_new(base, settled, file);
	file->poll = evtimer_new(base, poll_due, file);
	if (!file->readable || !file->settle || !file->poll ||
		event_add(file->readable, NULL) < 0) {
		return -ENOMEM;
	}
	timer_set(file->settle, 0);
	timer_set(file->poll, file->interval_ms);
	return 0;
}

int file_open(struct file **out, struct event_base *base, const struct file_options *options,
	source_report *report, void *ctx)
{
	if (strlen(options->path) >= PATH_MAX) {
		return -ENAMETOOLONG;
	}
	struct file *file = calloc(1, sizeof *file);
	if (!file) {
		return -ENOMEM;
	}
	file->report = report;
	file->ctx = ctx;
	file->interval_ms = options->interval_ms;
	file->size_max = options->size_max;
	file->watch = file->real_watch = -1;
	file->touched = true; /* the first reading is unconditional */
	memcpy(file->path, options->path, strlen(options->path) + 1);
	file->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	int rc = file->inotify < 0 ? -errno : events_new(file, base);
	if (rc < 0) {
		file_close(file);
		return rc;
	}
	*out = file;
	return 0;
}

void file_close(struct file *file)
{
	if (!file) {
		return;
	}
	struct event *events[] = {file->readable, file->settle, file->poll};
	for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
		if (events[i]) {
			event_free(events[i]);
		}
	}
	if (file->inotify >= 0) {
		close(file->inotify);
	}
	free(file);
}
