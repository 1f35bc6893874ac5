/* SPDX-License-Identifier: Apache-2.0
 *
 * The limit: the least that a DNS server in user space can do. Receive, append a fixed record,
 * send; over UDP in batches of 64, over TCP all that is there with one write. It parses nothing and
 * looks nothing up. A server is measured by how close it comes to this one.
 */
#include "tests/bench/fixed.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 64, DATAGRAM = 1024, STREAM = 64 * 1024, STREAMS = 256, FRAME_MIN = FIXED_HEADER };

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* Octets of a connection that do not make a whole frame yet. */
struct stream {
	size_t len;
	uint8_t octets[STREAM];
};

static struct stream *streams[STREAMS];

static int open_socket(int type, const struct sockaddr_in *address)
{
	int fd = socket(AF_INET, type, 0);
	int on = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
		bind(fd, (const struct sockaddr *)address, sizeof(*address)) != 0) {
		die("bind");
	}
	return fd;
}

static _Noreturn void serve_udp(int fd)
{
	static uint8_t octets[BATCH][DATAGRAM];
	static struct sockaddr_in peers[BATCH];
	static struct iovec iov[BATCH];
	static struct mmsghdr messages[BATCH];

	for (size_t i = 0; i < BATCH; i++) {
		iov[i].iov_base = octets[i];
		messages[i].msg_hdr.msg_iov = &iov[i];
		messages[i].msg_hdr.msg_iovlen = 1;
		messages[i].msg_hdr.msg_name = &peers[i];
	}
	for (;;) {
		for (size_t i = 0; i < BATCH; i++) {
			iov[i].iov_len = DATAGRAM - FIXED_GROWTH;
			messages[i].msg_hdr.msg_namelen = sizeof(peers[i]);
		}
		int count = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);

		for (int i = 0; i < count; i++) {
			iov[i].iov_len = fixed_answer(octets[i], messages[i].msg_len);
		}
		for (int sent = 0; sent < count;) {
			int n = sendmmsg(fd, messages + sent, (unsigned)(count - sent), 0);

			sent += n > 0 ? n : 1;
		}
	}
}

/* Answer each whole frame of `in`; what is left over stays. @return octets of `out`, which has room
 */
static size_t answer_frames(struct stream *in, uint8_t *out)
{
	size_t at = 0;
	size_t filled = 0;

	while (in->len - at >= 2) {
		size_t len = (size_t)in->octets[at] << 8 | in->octets[at + 1];

		if (in->len - at - 2 < len) {
			break;
		}
		memcpy(out + filled + 2, in->octets + at + 2, len);
		size_t answered = fixed_answer(out + filled + 2, len);

		if (answered != 0) {
			out[filled] = (uint8_t)(answered >> 8);
			out[filled + 1] = (uint8_t)answered;
			filled += answered + 2;
		}
		at += 2 + len;
	}
	memmove(in->octets, in->octets + at, in->len - at);
	in->len -= at;
	return filled;
}

/* Read all that is there and answer it with one write. @return false when the connection is over */
static bool serve_stream(int fd)
{
	/* A frame grows by the record, at least 12 octets of header to 28. */
	static uint8_t out[STREAM * 3];
	struct stream *in = streams[fd];
	ssize_t n = recv(fd, in->octets + in->len, sizeof(in->octets) - in->len, 0);

	if (n <= 0) {
		return false;
	}
	in->len += (size_t)n;
	size_t filled = answer_frames(in, out);

	return filled == 0 || send(fd, out, filled, MSG_NOSIGNAL) == (ssize_t)filled;
}

static void accept_stream(int poller, int listener)
{
	int fd = accept(listener, NULL, NULL);
	int on = 1;
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	if (fd < 0) {
		return;
	}
	if (fd >= STREAMS || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 ||
		epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) != 0) {
		close(fd);
		return;
	}
	if (streams[fd] == NULL && (streams[fd] = calloc(1, sizeof(*streams[fd]))) == NULL) {
		die("calloc");
	}
	streams[fd]->len = 0;
}

static _Noreturn void serve_tcp(int listener)
{
	struct epoll_event events[BATCH] = {{.events = EPOLLIN, .data.fd = listener}};
	int poller = epoll_create1(0);

	if (listen(listener, SOMAXCONN) != 0 || poller < 0 ||
		epoll_ctl(poller, EPOLL_CTL_ADD, listener, events) != 0) {
		die("listen");
	}
	for (;;) {
		int count = epoll_wait(poller, events, BATCH, -1);

		for (int i = 0; i < count; i++) {
			if (events[i].data.fd == listener) {
				accept_stream(poller, listener);
			} else if (!serve_stream(events[i].data.fd)) {
				close(events[i].data.fd);
			}
		}
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET};

	if (argc != 4 || inet_pton(AF_INET, argv[2], &address.sin_addr) != 1) {
		fprintf(stderr, "usage: echo udp|tcp ADDRESS PORT\n");
		return 2;
	}
	address.sin_port = htons((uint16_t)strtoul(argv[3], NULL, 10));
	if (strcmp(argv[1], "tcp") == 0) {
		serve_tcp(open_socket(SOCK_STREAM, &address));
	}
	serve_udp(open_socket(SOCK_DGRAM, &address));
}
