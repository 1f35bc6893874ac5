/* SPDX-License-Identifier: Apache-2.0
 *
 * The table from a file, read again whenever it changes: written in place, replaced by rename, or
 * behind a symbolic link that is.
 */
#pragma once

#include "dns/mesh/source.h"

struct event_base;
struct file;

struct file_options {
	const char *path;     /* copied */
	uint32_t interval_ms; /* of looking at it all the same; some file systems tell nothing */
	size_t size_max;      /* octets */
};

/**
 * Read the file as soon as the loop runs, and after every change.
 *
 * @param report  called from the loop, see source.h
 * @return 0; -ENAMETOOLONG; -ENOMEM. A file that is absent is no error
 */
int file_open(struct file **file, struct event_base *base, const struct file_options *options,
	source_report *report, void *ctx) __attribute__((warn_unused_result));

/** Stop watching and free. NULL is a no-op. */
void file_close(struct file *file);

/**
 * Read a whole regular file; a symbolic link only where `follow` says so.
 *
 * @param[out] octets  `len` of them, malloc'd, transferred; set where 0 is returned
 * @return 0; -E2BIG beyond `size_max`, however large it says it is; -EINVAL if it is no regular
 * file; -ENOMEM; what open or read say
 */
int file_read(const char *path, bool follow, size_t size_max, uint8_t **octets, size_t *len)
	__attribute__((warn_unused_result));
