/* SPDX-License-Identifier: Apache-2.0
 *
 * How long it takes to make a table of a document that is in memory, and how much the table holds:
 * the daemon's own function, again and again, without the daemon.
 */
#include "dns/mesh/document.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* The whole file, in memory before anything is timed. */
static struct span read_document(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat about;
	void *octets = MAP_FAILED;

	if (fd >= 0 && fstat(fd, &about) == 0) {
		octets = mmap(
			NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	}
	if (octets == MAP_FAILED) {
		perror(path);
		exit(2);
	}
	return (struct span){octets, (size_t)about.st_size};
}

static uint64_t octets_of_names(const struct table *table)
{
	struct table_addresses addresses;
	uint64_t sum = 0;
	struct table_cursor cursor = {0};

	for (struct span name; (name = table_next(table, &cursor, &addresses)).len != 0;) {
		sum += name.len;
	}
	return sum;
}

int main(int argc, char **argv)
{
	unsigned long times = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
	struct document_report report;

	if (times == 0) {
		fprintf(stderr, "usage: load_table DOCUMENT TIMES\n");
		return 2;
	}
	struct span text = read_document(argv[1]);

	printf("{\"us\": [");
	for (unsigned long i = 0; i < times; i++) {
		struct table *table = NULL;
		double started = now_us();

		if (document_read(&table, text, NULL, i * 0x9e3779b97f4a7c15, SIZE_MAX / 2,
			    &report) != 0) {
			fprintf(stderr, "load_table: %s\n", report.error);
			return 1;
		}
		printf("%s%.1f", i == 0 ? "" : ", ", now_us() - started);
		if (i + 1 == times) {
			printf("], \"names\": %" PRIu32 ", \"octets\": %zu, \"of_names\": %" PRIu64
			       "}\n",
				table_count(table), table_memory(table), octets_of_names(table));
		}
		table_unref(table);
	}
	return 0;
}
