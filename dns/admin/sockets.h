/* SPDX-License-Identifier: Apache-2.0
 *
 * The listening sockets of the admin interface. The socket file is made under another name and
 * renamed into place, so that its path always leads to a daemon that listens: a stale file is
 * replaced, and so is the file of a daemon that runs, whose place a second start takes.
 */
#pragma once

#include "conf/endpoint.h"

#include <sys/types.h>

/** Which file is ours. */
struct socket_file {
	dev_t dev;
	ino_t ino;
};

/**
 * Listen on a Unix socket, mode 0600 from its first moment.
 *
 * @param[out] fd    non-blocking, close-on-exec
 * @param[out] file  for socket_file_remove
 * @return 0; -EEXIST where something that is no socket is in the way; -ENAMETOOLONG; -errno
 */
int socket_file_listen(int *fd, struct socket_file *file, const char *path)
	__attribute__((warn_unused_result));

/** Remove the file if it is still ours; before its socket is closed. */
void socket_file_remove(const struct socket_file *file, const char *path);

/** Listen on a TCP address, beside another start of the daemon. @return 0; -errno */
int socket_tcp_listen(int *fd, const struct endpoint *address) __attribute__((warn_unused_result));
