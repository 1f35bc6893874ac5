/* SPDX-License-Identifier: Apache-2.0
 *
 * What arrives while we are silent is read all the same: a server that comes back does not answer
 * the questions of its absence.
 */
#include "tests/bench/upstream.h"

#include "tests/bench/datagrams.h"
#include "tests/bench/fixed.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(DATAGRAM_ROOM - DATAGRAM_MAX >= FIXED_GROWTH, "a response grows in place");

enum { RING = 1 << 16, ANSWER_MAX = 512 };

/* An answer, and when it is to be sent. */
struct delayed {
	uint64_t due_ns;
	struct sockaddr_in to;
	uint16_t len;
	uint8_t octets[ANSWER_MAX];
};

void upstream_open(struct upstream *upstream, uint16_t port, uint64_t delay_ns)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
		perror("load: upstream");
		exit(2);
	}
	datagrams_widen(fd);
	*upstream = (struct upstream){.fd = fd, .delay_ns = delay_ns};
	if (delay_ns != 0 && (upstream->ring = calloc(RING, sizeof(*upstream->ring))) == NULL) {
		perror("load: upstream");
		exit(2);
	}
}

/* Hold an answer back; where there is no more room it is lost. */
static void hold_back(struct upstream *upstream, const struct sockaddr_in *to,
	const uint8_t *octets, size_t len, uint64_t now)
{
	struct delayed *held;

	if (len > ANSWER_MAX || upstream->ring_count == RING) {
		return;
	}
	held = &upstream->ring[(upstream->ring_first + upstream->ring_count++) % RING];
	held->due_ns = now + upstream->delay_ns;
	held->to = *to;
	held->len = (uint16_t)len;
	memcpy(held->octets, octets, len);
}

/* Send what is due, one batch at most. */
static bool release_due(struct upstream *upstream, uint64_t now)
{
	struct mmsghdr headers[DATAGRAMS_MAX] = {0};
	struct iovec iov[DATAGRAMS_MAX];
	unsigned count = 0;

	while (count < DATAGRAMS_MAX && upstream->ring_count != 0) {
		struct delayed *held = &upstream->ring[upstream->ring_first];

		if (held->due_ns > now) {
			break;
		}
		iov[count] = (struct iovec){held->octets, held->len};
		headers[count].msg_hdr = (struct msghdr){.msg_iov = &iov[count],
			.msg_iovlen = 1,
			.msg_name = &held->to,
			.msg_namelen = sizeof(held->to)};
		count++;
		upstream->ring_first = (upstream->ring_first + 1) % RING;
		upstream->ring_count--;
	}
	datagrams_send(upstream->fd, headers, count);
	return count != 0;
}

bool upstream_serve(struct upstream *upstream, uint64_t now)
{
	static struct datagrams batch;
	bool released = upstream->delay_ns != 0 && release_due(upstream, now);
	int count = datagrams_receive(&batch, upstream->fd, 0, true);

	if (count <= 0) {
		return released;
	}
	upstream->asked += (uint64_t)count;
	if (upstream->silent) {
		return true;
	}
	for (int i = 0; i < count; i++) {
		batch.iov[i].iov_len = fixed_answer(batch.octets[i], batch.headers[i].msg_len);
		if (upstream->delay_ns != 0) {
			hold_back(upstream, &batch.peers[i], batch.octets[i], batch.iov[i].iov_len,
				now);
		}
	}
	if (upstream->delay_ns == 0) {
		datagrams_send(upstream->fd, batch.headers, (unsigned)count);
	}
	return true;
}
