/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads the file when the follower says so, and reports what came of it.
 */
#include "dns/mesh/file.h"

#include "conf/follower.h"
#include "conf/giveway.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	SETTLE_MS = 50,   /* so that a write in pieces is read once */
	READ_STEP = 65536 /* octets, some 30 µs of work */
};

/* What the last reading brought. */
enum content { CONTENT_GOOD, CONTENT_BAD, CONTENT_ABSENT };

struct file {
	source_report *report;
	void *ctx;
	char path[PATH_MAX];
	size_t size_max;
	struct follower *follower;
	enum content content;
};

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
		give_way();
		got = read(fd, data + at, room - at < READ_STEP ? room - at : READ_STEP);
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

static void problem_report(struct file *file, enum source_event event, const char *what)
{
	char problem[PATH_MAX + 128];
	snprintf(problem, sizeof problem, "%s: %s", file->path, what);
	file->content = event == SOURCE_UNREACHABLE ? CONTENT_ABSENT : CONTENT_BAD;
	file->report(file->ctx, event, (struct span){0}, problem);
}

/* Read the file and report it, good or bad. */
static void content_read(struct file *file)
{
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
		bool good = file->report(file->ctx, SOURCE_DOCUMENT, document, NULL) == 0;
		file->content = good ? CONTENT_GOOD : CONTENT_BAD;
		free(octets);
	}
}

static void look(void *ctx, bool changed)
{
	struct file *file = ctx;
	if (changed || file->content == CONTENT_ABSENT) {
		content_read(file); /* still absent: that is counted */
	} else if (file->content == CONTENT_GOOD) {
		file->report(file->ctx, SOURCE_UNCHANGED, (struct span){0}, NULL);
	}
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
	file->size_max = options->size_max;
	memcpy(file->path, options->path, strlen(options->path) + 1);
	struct follower_options follow = {
		.path = file->path, .settle_ms = SETTLE_MS, .poll_ms = options->interval_ms};
	int rc = follower_open(&file->follower, base, &follow, look, file);
	if (rc < 0) {
		free(file);
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
	follower_close(file->follower);
	free(file);
}
