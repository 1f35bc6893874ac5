/* SPDX-License-Identifier: Apache-2.0
 *
 * The listening sockets of the admin interface, and the file of one of them.
 */
#include "dns/admin/sockets.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 64 };

/* A name in the same directory that nobody else uses. */
static int temporary_name(const char *path, struct sockaddr_un *address)
{
	uint32_t random;
	const char *slash = strrchr(path, '/');
	int dir_len = slash ? (int)(slash - path) + 1 : 0;
	if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
		return -errno;
	}
	int len = snprintf(
		address->sun_path, sizeof(address->sun_path), "%.*s.%08x", dir_len, path, random);
	return len < (int)sizeof(address->sun_path) ? 0 : -ENAMETOOLONG;
}

/* A mistyped path must not cost anybody a file. */
static int check_replaceable(const char *path)
{
	struct stat st;
	if (lstat(path, &st) < 0) {
		return errno == ENOENT ? 0 : -errno;
	}
	return S_ISSOCK(st.st_mode) ? 0 : -EEXIST;
}

static int bind_file(int fd, struct socket_file *file, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat st;
	int err = temporary_name(path, &address);
	if (err < 0) {
		return err;
	}
	/* Linux gives the file the mode of the socket, so that it is never open to others. */
	if (fchmod(fd, 0600) < 0 ||
		bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		return -errno;
	}
	if (chmod(address.sun_path, 0600) < 0 || lstat(address.sun_path, &st) < 0 ||
		listen(fd, BACKLOG) < 0 || rename(address.sun_path, path) < 0) {
		err = -errno;
		unlink(address.sun_path);
		return err;
	}
	*file = (struct socket_file){.dev = st.st_dev, .ino = st.st_ino};
	return 0;
}

int socket_file_listen(int *fd, struct socket_file *file, const char *path)
{
	int err = check_replaceable(path);
	if (err < 0) {
		return err;
	}
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s < 0) {
		return -errno;
	}
	err = bind_file(s, file, path);
	if (err < 0) {
		close(s);
		return err;
	}
	*fd = s;
	return 0;
}

/* While our socket is open its inode cannot become another file's, so the number tells. */
void socket_file_remove(const struct socket_file *file, const char *path)
{
	struct stat st;
	if (lstat(path, &st) == 0 && st.st_dev == file->dev && st.st_ino == file->ino) {
		unlink(path);
	}
}

static int bind_tcp(int fd, const struct endpoint *address)
{
	int on = 1;
	/* SO_REUSEPORT: as with the DNS sockets, a second start binds before the first one ends. */
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0 ||
		(address->sa.sa_family == AF_INET6 &&
			setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0) ||
		bind(fd, &address->sa, address->len) < 0 || listen(fd, BACKLOG) < 0) {
		return -errno;
	}
	return 0;
}

int socket_tcp_listen(int *fd, const struct endpoint *address)
{
	int s = socket(address->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s < 0) {
		return -errno;
	}
	int err = bind_tcp(s, address);
	if (err < 0) {
		close(s);
		return err;
	}
	*fd = s;
	return 0;
}
