/* SPDX-License-Identifier: Apache-2.0
 *
 * A temporary directory with files to be changed, and a loop to see it in. For tests of what
 * follows files.
 */
#pragma once

#include <event2/event.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000, HOUR_MS = 3600000 };

static char directory[64];
static struct event_base *base;

static inline int directory_open(void)
{
	snprintf(directory, sizeof directory, "/tmp/kuma-dns-test-XXXXXX");
	base = event_base_new();
	return mkdtemp(directory) && base ? 0 : -1;
}

static inline int directory_close(void)
{
	char line[128];
	event_base_free(base);
	snprintf(line, sizeof line, "rm -rf %s", directory);
	return system(line);
}

/* The path of a name in the directory; good for four calls. */
static inline const char *at(const char *name)
{
	static char paths[4][128];
	static unsigned next;
	char *path = paths[next++ % 4];
	snprintf(path, sizeof paths[0], "%s/%s", directory, name);
	return path;
}

static inline void put(const char *name, const char *text)
{
	FILE *file = fopen(at(name), "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

/* Run commands in the directory. */
static inline void shell(const char *commands)
{
	char line[1024];
	snprintf(line, sizeof line, "cd %s && %s", directory, commands);
	assert_int_equal(system(line), 0);
}

static inline int64_t clock_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Run the loop for as long, or until something breaks it. */
static inline void run_for(int64_t ms)
{
	struct timeval time = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	event_base_loopexit(base, &time);
	event_base_dispatch(base);
}

/* Run the loop for as long, whatever breaks it. */
static inline void wait_for(int64_t ms)
{
	int64_t until = clock_ms() + ms;
	for (int64_t now = clock_ms(); now < until; now = clock_ms()) {
		run_for(until - now);
	}
}

/* Run the loop until `*counter` is beyond `before`; false if it never is. */
static inline bool goes_beyond(const unsigned *counter, unsigned before)
{
	int64_t until = clock_ms() + PATIENCE_MS;
	while (*counter <= before && clock_ms() < until) {
		run_for(1000);
	}
	return *counter > before;
}
