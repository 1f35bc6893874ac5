/* SPDX-License-Identifier: Apache-2.0
 *
 * Datagrams in batches: received with one system call, sent with as few as the kernel takes.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
	DATAGRAMS_MAX = 64,  /* in a batch */
	DATAGRAM_MAX = 1472, /* octets; what is longer is cut */
	DATAGRAM_ROOM = 1504 /* for a response to grow in place */
};

struct datagrams {
	struct mmsghdr headers[DATAGRAMS_MAX];
	struct iovec iov[DATAGRAMS_MAX];
	struct sockaddr_in peers[DATAGRAMS_MAX];
	uint8_t octets[DATAGRAMS_MAX][DATAGRAM_ROOM];
};

/**
 * Receive what is there, without waiting, into the places from `first` on.
 *
 * @param named  whether the senders' addresses are wanted
 * @return how many; their lengths are in the headers. Negative, with errno, where there are none
 */
int datagrams_receive(struct datagrams *datagrams, int fd, unsigned first, bool named);

/** Send all. One that the kernel refuses is skipped: it is lost, as on any network. */
void datagrams_send(int fd, struct mmsghdr *headers, unsigned count);

/** Give a socket as much room for what arrives as the system allows. */
void datagrams_widen(int fd);
