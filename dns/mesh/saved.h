/* SPDX-License-Identifier: Apache-2.0
 *
 * The last good document on disk, for the time after a start until a source speaks.
 */
#pragma once

#include "dns/wire/cursor.h"

#include <sys/types.h>

/** A document that was read back. */
struct saved {
	uint8_t *octets;      /* the file, owned */
	struct span document; /* part of it */
	char problem[128];    /* why it could not be read */
};

/**
 * Make the state directory where it is missing, for this user alone (mode 0700). One that is there
 * and plainly root's own for this purpose, with nothing in it but what saved_write leaves, nor
 * writable by anybody else, is given to the user with that. Any other one is somebody's, and so is
 * what a link leads to: it stays as it is.
 *
 * @return 0, whatever it is to be used for now; what the file system says
 */
int saved_make_directory(const char *directory, uid_t uid, gid_t gid)
	__attribute__((warn_unused_result));

/** Whether files can be made and replaced there. @return 0; -EACCES, -EROFS, -ENOENT and the like
 */
int saved_check_directory(const char *directory) __attribute__((warn_unused_result));

/**
 * Read what saved_write wrote, and nothing else.
 *
 * @param[out] saved      to be freed; `problem` is set where an error is returned
 * @param      directory  the state directory; the file in it is `table.saved`
 * @param      size_max   octets of the document
 * @return 0; -ENOENT if nothing was saved; -EBADMSG if it is damaged, cut, or of another program or
 * version; -E2BIG beyond `size_max`; -ENOMEM; what open or read say
 */
int saved_read(struct saved *saved, const char *directory, size_t size_max)
	__attribute__((warn_unused_result));

/** Free what saved_read read. */
void saved_free(struct saved *saved);

/**
 * Replace the saved document: a new file beside it, on disk before it takes the place of the old
 * one, so that after a crash there is the one or the other. Mode 0600.
 *
 * @return 0; what the file system says
 */
int saved_write(const char *directory, struct span document) __attribute__((warn_unused_result));
