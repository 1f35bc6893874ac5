/* SPDX-License-Identifier: Apache-2.0
 *
 * A few connections a turn, as there is more to do on this core. Each is reset in the end: waiting
 * for its port to be free again (RFC 9293 §3.6) would use all ports up.
 */
#include "tests/bench/churn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EACH_TURN = 2 };

void churn_init(struct churn *churn, const struct sockaddr_in *server, uint32_t count)
{
	*churn = (struct churn){.server = *server, .count = count};
	for (uint32_t i = 0; i < CHURN_MAX; i++) {
		churn->fds[i] = -1;
	}
}

/* The query that connection `number` asks. */
static const struct query_item *item_of(const struct queries *queries, uint32_t number)
{
	return &queries->items[number % queries->count];
}

/* Connect and ask; the kernel keeps the query until the server takes the connection. */
static void open_one(struct churn *churn, const struct queries *queries, uint32_t number)
{
	const struct query_item *item = item_of(queries, number);
	const struct linger reset = {.l_onoff = 1};
	uint8_t frame[2 + QUERIES_MESSAGE_MAX] = {(uint8_t)(item->len >> 8), (uint8_t)item->len};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	memcpy(frame + 2, queries->octets + item->offset, item->len);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) != 0) {
		perror("load: churn");
		exit(2);
	}
	/* On one machine it is through by the time the call returns, unless the server's backlog is
	 * full: then nothing can be sent yet, and it is refused here. */
	if ((connect(fd, (const struct sockaddr *)&churn->server, sizeof(churn->server)) != 0 &&
		    errno != EINPROGRESS) ||
		send(fd, frame, item->len + 2U, MSG_NOSIGNAL) < 0) {
		churn->refused++;
		close(fd);
		return;
	}
	churn->fds[number] = fd;
}

static void look_at(struct churn *churn, const struct queries *queries, uint32_t number)
{
	uint8_t answer[2 + 1024];
	ssize_t n = recv(churn->fds[number], answer, sizeof(answer), 0);

	if (n < 0 && errno == EAGAIN) {
		return;
	}
	close(churn->fds[number]);
	churn->fds[number] = -1;
	if (n <= 2) {
		churn->refused++;
		return;
	}
	uint32_t item = number % queries->count;
	bool right = queries_check(queries, item, 0, answer + 2, (size_t)n - 2) == MISTAKE_NONE;

	churn->answered += right;
	churn->wrong += !right;
}

void churn_turn(struct churn *churn, const struct queries *queries)
{
	for (uint32_t i = 0; i < EACH_TURN && churn->count != 0; i++) {
		uint32_t number = churn->next++ % churn->count;

		if (churn->fds[number] < 0) {
			open_one(churn, queries, number);
		} else {
			look_at(churn, queries, number);
		}
	}
}
