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

_Static_assert(DATAGRAM_ROOM - DATAGRAM_MAX >= FIXED_GROWTH, "a response grows in place");

void upstream_open(struct upstream *upstream, uint16_t port)
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
	*upstream = (struct upstream){.fd = fd};
}

bool upstream_serve(struct upstream *upstream)
{
	static struct datagrams batch;
	int count = datagrams_receive(&batch, upstream->fd, 0, true);

	if (count <= 0) {
		return false;
	}
	upstream->asked += (uint64_t)count;
	if (upstream->silent) {
		return true;
	}
	for (int i = 0; i < count; i++) {
		batch.iov[i].iov_len = fixed_answer(batch.octets[i], batch.headers[i].msg_len);
	}
	datagrams_send(upstream->fd, batch.headers, (unsigned)count);
	return true;
}
