/* SPDX-License-Identifier: Apache-2.0
 *
 * Cookies and file handles of network namespaces. A handle does not keep its namespace, and cannot
 * be opened when that is gone; the kernel's answer is then what it is for all that it does not let
 * us open, so whether it does such a thing at all is tried with our own.
 */
#include "redirect/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71 /* absent from older libc headers */
#endif

union handle {
	struct file_handle head;
	unsigned char octets[sizeof(struct file_handle) + MAX_HANDLE_SZ];
};

int netns_find(uint64_t *cookie)
{
	const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t size = sizeof *cookie;
	const int err =
		fd < 0 || getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, cookie, &size) ? -errno : 0;

	if (fd >= 0) {
		close(fd);
	}
	return err;
}

static int open_ours(void)
{
	return open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
}

/** All of the handle as hexadecimal digits: its length and type first, as the kernel has them. */
static void write_name(char name[NETNS_NAME_SIZE], const union handle *h)
{
	const size_t len = sizeof h->head + h->head.handle_bytes;

	for (size_t i = 0; i < len; i++) {
		snprintf(name + 2 * i, NETNS_NAME_SIZE - 2 * i, "%02x", h->octets[i]);
	}
}

static bool read_name(union handle *h, const char *name)
{
	const size_t len = strlen(name) / 2;

	memset(h, 0, sizeof *h);
	if (len > sizeof h->octets) {
		return false;
	}
	for (size_t i = 0; i < len; i++) {
		const char digits[] = {name[2 * i], name[2 * i + 1], '\0'};
		char *end;
		h->octets[i] = (unsigned char)strtoul(digits, &end, 16);
		if (*end) {
			return false;
		}
	}
	return len > sizeof h->head && len == sizeof h->head + h->head.handle_bytes;
}

int netns_name(char name[NETNS_NAME_SIZE])
{
	union handle h = {.head.handle_bytes = MAX_HANDLE_SZ};
	const int ours = open_ours();
	int mount;
	const int err = ours < 0 || name_to_handle_at(ours, "", &h.head, &mount, AT_EMPTY_PATH) != 0
				? -errno
				: 0;

	if (ours >= 0) {
		close(ours);
	}
	if (err == 0) {
		write_name(name, &h);
	}
	return err;
}

/** @return 0: it is there; -ESTALE and others */
static int try_to_open(int ours, union handle *h)
{
	const int fd = open_by_handle_at(ours, &h->head, O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		return -errno;
	}
	close(fd);
	return 0;
}

bool netns_is_gone(const char *name)
{
	char own[NETNS_NAME_SIZE];
	union handle mine;
	union handle other;
	const int ours = open_ours();
	const bool gone = ours >= 0 && netns_name(own) == 0 && read_name(&mine, own) &&
			  try_to_open(ours, &mine) == 0 && read_name(&other, name) &&
			  try_to_open(ours, &other) == -ESTALE;

	if (ours >= 0) {
		close(ours);
	}
	return gone;
}
