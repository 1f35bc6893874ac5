/* SPDX-License-Identifier: Apache-2.0
 *
 * The headers are made anew for each batch: the kernel writes into them.
 */
#include "tests/bench/datagrams.h"

#include <stddef.h>

enum { RECEIVE_BUFFER = 8 << 20 };

int datagrams_receive(struct datagrams *datagrams, int fd, unsigned first, bool named)
{
	for (unsigned i = first; i < DATAGRAMS_MAX; i++) {
		datagrams->iov[i] = (struct iovec){datagrams->octets[i], DATAGRAM_MAX};
		datagrams->headers[i].msg_hdr = (struct msghdr){
			.msg_iov = &datagrams->iov[i],
			.msg_iovlen = 1,
			.msg_name = named ? &datagrams->peers[i] : NULL,
			.msg_namelen = named ? sizeof(datagrams->peers[i]) : 0,
		};
	}
	return recvmmsg(fd, datagrams->headers + first, DATAGRAMS_MAX - first, MSG_DONTWAIT, NULL);
}

void datagrams_send(int fd, struct mmsghdr *headers, unsigned count)
{
	for (unsigned sent = 0; sent < count;) {
		int n = sendmmsg(fd, headers + sent, count - sent, 0);

		sent += n > 0 ? (unsigned)n : 1;
	}
}

void datagrams_widen(int fd)
{
	int size = RECEIVE_BUFFER;

	/* Forced where we may; else as far as the system allows. */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) != 0) {
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	}
}
