/* SPDX-License-Identifier: Apache-2.0
 *
 * The limit for forwarding: the least that a forwarder in user space can do that is no gift to
 * those who forge answers. A query leaves with a new random ID from one of 64 connected sockets
 * with random ports, chosen anew each time; an answer counts if it comes to that port, from the
 * upstream, with that ID and those octets as its question (RFC 5452). Nothing else is read, joined,
 * timed, repeated or kept. The ports are never replaced by others: that would only cost more.
 *
 * Each way has one batch: what comes in with one recvmmsg goes out with as few calls as there are
 * sockets to send from.
 */
#include "tests/bench/datagrams.h"
#include "tests/bench/fixed.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	PORTS = 64,
	WAITING = 4096, /* queries in flight; the next one takes the place of an old one */
	CHAINS = 64,    /* for each port, by the lower bits of the ID */
	QUESTION_MAX = 255 + 4,
	NOBODY = WAITING
};

/* A query in flight, or a free place for one. */
struct waiting {
	struct sockaddr_in client;
	uint16_t client_id;
	uint16_t id;
	uint16_t next; /* in its chain */
	uint16_t question_len;
	uint8_t port;
	uint8_t question[QUESTION_MAX];
};

static struct waiting waiting[WAITING];
static uint16_t free_places[WAITING]; /* a stack: the last used is the next used, and still near */
static uint32_t free_count;
static uint32_t oldest; /* a hand that goes round: whose place is taken when none is free */
static uint16_t chains[PORTS][CHAINS];
static int ports[PORTS];
static struct datagrams queries;
static struct datagrams answers;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint32_t next_random(void)
{
	static uint32_t words[1024];
	static size_t left;

	if (left == 0) {
		/* The kernel's, in portions: unpredictable, and next to nothing for each query. */
		if (getrandom(words, sizeof(words), 0) != sizeof(words)) {
			die("getrandom");
		}
		left = sizeof(words) / sizeof(words[0]);
	}
	return words[--left];
}

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static void put16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

/* ---- queries in flight */

static uint16_t *chain_of(uint8_t port, uint16_t id)
{
	return &chains[port][id % CHAINS];
}

static void take_out(uint16_t *link)
{
	uint16_t place = *link;

	*link = waiting[place].next;
	free_places[free_count++] = place;
}

/* Give up the query that the hand points to, so that there is a free place. */
static void drop_oldest(void)
{
	const struct waiting *old = &waiting[oldest];
	uint16_t *link = chain_of(old->port, old->id);

	while (*link != oldest) {
		link = &waiting[*link].next;
	}
	take_out(link);
	oldest = (oldest + 1) % WAITING;
}

/* Remember a query, and give it its port and its ID. @return the port */
static uint8_t remember(uint8_t *query, size_t question_len, const struct sockaddr_in *client)
{
	uint32_t chance = next_random();

	if (free_count == 0) {
		drop_oldest();
	}
	uint16_t place = free_places[--free_count];
	struct waiting *w = &waiting[place];

	w->client = *client;
	w->client_id = get16(query);
	w->id = (uint16_t)chance;
	w->port = (uint8_t)(chance >> 16) % PORTS;
	w->question_len = (uint16_t)question_len;
	memcpy(w->question, query + FIXED_HEADER, question_len);
	put16(query, w->id);
	uint16_t *chain = chain_of(w->port, w->id);

	w->next = *chain;
	*chain = place;
	return w->port;
}

/* Whose answer this is. @return the link to it; NULL: nobody's */
static uint16_t *find(uint8_t port, const uint8_t *answer, size_t len)
{
	if (len < FIXED_HEADER || (answer[2] & 0x80) == 0) {
		return NULL;
	}
	uint16_t id = get16(answer);
	uint16_t *link = chain_of(port, id);

	for (; *link != NOBODY; link = &waiting[*link].next) {
		const struct waiting *w = &waiting[*link];

		if (w->id == id && len >= FIXED_HEADER + (size_t)w->question_len &&
			memcmp(answer + FIXED_HEADER, w->question, w->question_len) == 0) {
			return link;
		}
	}
	return NULL;
}

/* ---- datagrams */

/* Send queries that wait in `queries`, each from its own port: one call for each port in use. */
static void send_from_ports(const uint8_t *numbers, const uint8_t *from, unsigned count)
{
	struct mmsghdr sorted[DATAGRAMS_MAX];
	unsigned ends[PORTS + 1] = {0}; /* of each port's share; the first is that of none */

	for (unsigned i = 0; i < count; i++) {
		ends[from[i] + 1]++;
	}
	for (unsigned port = 0; port < PORTS; port++) {
		ends[port + 1] += ends[port];
	}
	for (unsigned i = 0; i < count; i++) {
		sorted[--ends[from[i] + 1]].msg_hdr =
			(struct msghdr){.msg_iov = &queries.iov[numbers[i]], .msg_iovlen = 1};
	}
	/* Filled from behind: what was each share's end is its beginning now. */
	for (unsigned port = 0; port < PORTS; port++) {
		unsigned first = ends[port + 1];
		unsigned end = port + 1 < PORTS ? ends[port + 2] : count;

		datagrams_send(ports[port], sorted + first, end - first);
	}
}

/* Where the question of a query ends. @return octets from its beginning; 0: this is no query */
static size_t question_end(const uint8_t *query, size_t len)
{
	size_t end = 0;

	if (len >= FIXED_HEADER && (query[2] & 0x80) == 0) {
		end = fixed_question_end(query, len);
	}
	return end <= FIXED_HEADER + QUESTION_MAX ? end : 0;
}

static void forward_queries(int fd)
{
	uint8_t numbers[DATAGRAMS_MAX];
	uint8_t from[DATAGRAMS_MAX];
	unsigned good = 0;
	int count = datagrams_receive(&queries, fd, 0, true);

	for (int i = 0; i < count; i++) {
		size_t len = queries.headers[i].msg_len;
		size_t end = question_end(queries.octets[i], len);

		if (end == 0) {
			continue;
		}
		queries.iov[i].iov_len = len;
		numbers[good] = (uint8_t)i;
		from[good++] = remember(queries.octets[i], end - FIXED_HEADER, &queries.peers[i]);
	}
	send_from_ports(numbers, from, good);
}

/* Restore the ID of an answer and put it where the sender finds it, as number `to` of the batch. */
static void relay(uint16_t *link, unsigned from, unsigned to, struct mmsghdr *headers)
{
	struct waiting *w = &waiting[*link];

	put16(answers.octets[from], w->client_id);
	answers.iov[from].iov_len = answers.headers[from].msg_len;
	answers.peers[from] = w->client;
	headers[to].msg_hdr = (struct msghdr){.msg_iov = &answers.iov[from],
		.msg_iovlen = 1,
		.msg_name = &answers.peers[from],
		.msg_namelen = sizeof(answers.peers[from])};
	take_out(link);
}

/* Answers on their way to the clients; they lie in `answers` until they are sent. */
static struct mmsghdr outgoing[DATAGRAMS_MAX];
static unsigned outgoing_count;
static unsigned answers_used;

static void flush(int fd)
{
	datagrams_send(fd, outgoing, outgoing_count);
	outgoing_count = 0;
	answers_used = 0;
}

static void relay_answers(int fd, uint8_t port)
{
	int count = datagrams_receive(&answers, ports[port], answers_used, false);

	for (int i = 0; i < count; i++) {
		unsigned from = answers_used + (unsigned)i;
		uint16_t *link = find(port, answers.octets[from], answers.headers[from].msg_len);

		if (link != NULL) {
			relay(link, from, outgoing_count++, outgoing);
		}
	}
	answers_used += count > 0 ? (unsigned)count : 0;
	if (answers_used == DATAGRAMS_MAX) {
		flush(fd);
	}
}

static _Noreturn void serve(int fd, int poller)
{
	struct epoll_event events[PORTS + 1];

	for (;;) {
		int count = epoll_wait(poller, events, PORTS + 1, -1);

		for (int i = 0; i < count; i++) {
			if (events[i].data.u32 == PORTS) {
				forward_queries(fd);
			} else {
				relay_answers(fd, (uint8_t)events[i].data.u32);
			}
		}
		flush(fd);
	}
}

/* ---- the set-up */

/* @return a socket in the poller, known there as `number` */
static int open_socket(int poller, uint32_t number)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) != 0) {
		die("socket");
	}
	datagrams_widen(fd);
	return fd;
}

static void open_ports(int poller, const struct sockaddr_in *upstream)
{
	const struct sockaddr_in any = {.sin_family = AF_INET};

	for (uint32_t i = 0; i < PORTS; i++) {
		ports[i] = open_socket(poller, i);
		/* Port 0: the kernel draws one at random. */
		if (bind(ports[i], (const struct sockaddr *)&any, sizeof(any)) != 0 ||
			connect(ports[i], (const struct sockaddr *)upstream, sizeof(*upstream)) !=
				0) {
			die("connect");
		}
		for (size_t j = 0; j < CHAINS; j++) {
			chains[i][j] = NOBODY;
		}
	}
	while (free_count < WAITING) {
		free_places[free_count] = (uint16_t)free_count;
		free_count++;
	}
}

static bool read_address(struct sockaddr_in *address, const char *host, const char *port)
{
	*address = (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(port, NULL, 10))};
	return inet_pton(AF_INET, host, &address->sin_addr) == 1;
}

int main(int argc, char **argv)
{
	struct sockaddr_in address;
	struct sockaddr_in upstream;
	int poller = epoll_create1(0);

	if (argc != 5 || !read_address(&address, argv[1], argv[2]) ||
		!read_address(&upstream, argv[3], argv[4])) {
		fprintf(stderr, "usage: forwarder ADDRESS PORT UPSTREAM-ADDRESS UPSTREAM-PORT\n");
		return 2;
	}
	if (poller < 0) {
		die("epoll");
	}
	open_ports(poller, &upstream);
	int fd = open_socket(poller, PORTS);

	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
		die("bind");
	}
	serve(fd, poller);
}
