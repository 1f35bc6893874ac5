/* SPDX-License-Identifier: Apache-2.0
 *
 * The histogram keeps the five bits below the highest one of each latency, and the power of two.
 */
#include "tests/bench/measure.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LINEAR = 1 << LATENCY_STEP_BITS };

void latency_add(struct latency *latency, uint64_t ns)
{
	size_t step = ns;

	if (ns >= LINEAR) {
		unsigned shift = 63U - (unsigned)__builtin_clzll(ns) - LATENCY_STEP_BITS;

		step = ((size_t)shift << LATENCY_STEP_BITS) + (ns >> shift);
	}
	latency->steps[step]++;
	latency->count++;
}

static double step_us(size_t step)
{
	if (step < LINEAR) {
		return (double)step / 1e3;
	}
	unsigned shift = (unsigned)(step >> LATENCY_STEP_BITS) - 1;

	return (double)((uint64_t)(LINEAR + step % LINEAR) << shift) / 1e3;
}

double latency_percentile_us(const struct latency *latency, double part)
{
	uint64_t wanted = (uint64_t)((double)latency->count * part);
	uint64_t seen = 0;

	for (size_t i = 0; i < LATENCY_STEPS; i++) {
		seen += latency->steps[i];
		if (seen > wanted) {
			return step_us(i);
		}
	}
	return 0;
}

static uint64_t thread_time_ns(int tasks, const char *name)
{
	char path[64];
	char text[64] = "";

	snprintf(path, sizeof(path), "%.32s/schedstat", name);
	int fd = openat(tasks, path, O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		return 0;
	}
	ssize_t n = read(fd, text, sizeof(text) - 1);

	close(fd);
	return n > 0 ? strtoull(text, NULL, 10) : 0;
}

uint64_t cpu_time_ns(const pid_t *pids, uint32_t count)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < count; i++) {
		char path[64];
		struct dirent *entry;

		snprintf(path, sizeof(path), "/proc/%d/task", (int)pids[i]);
		DIR *tasks = opendir(path);

		if (tasks == NULL) {
			fprintf(stderr, "load: the server is gone\n");
			exit(2);
		}
		while ((entry = readdir(tasks)) != NULL) {
			if (entry->d_name[0] != '.') {
				sum += thread_time_ns(dirfd(tasks), entry->d_name);
			}
		}
		closedir(tasks);
	}
	return sum;
}
