/* SPDX-License-Identifier: Apache-2.0
 *
 * The load: asks as fast as the server answers, or at a fixed rate, and checks every answer. It has
 * a core of its own and never sleeps: a load that sleeps would make the server pay for waking it.
 * Queries are ready-made and leave in runs of equal length, over UDP with segmentation offload, so
 * that asking costs less than answering. It can also play the upstream of a forwarder, on its own
 * core.
 */
#include "tests/bench/fixed.h"
#include "tests/bench/measure.h"
#include "tests/bench/options.h"
#include "tests/bench/queries.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, DATAGRAM = 1500, STREAM = 128 * 1024, RECEIVE_BUFFER = 8 << 20 };

static const uint64_t SECOND = 1000000000;

/* A query in flight, or a free place for one. */
struct slot {
	uint64_t sent_ns;
	uint32_t item;
	uint32_t number;
	uint16_t id;
	bool busy;
};

/* A socket and its queries in flight. */
struct peer {
	int fd;
	uint32_t free_count;
	struct slot *slots;
	uint16_t *free;  /* stack of free places */
	uint8_t *octets; /* TCP: what was read, not yet a whole frame */
	size_t len;
};

enum phase { PHASE_WARMUP, PHASE_MEASURE, PHASE_DRAIN };

struct load {
	struct options options;
	struct queries queries;
	struct peer peers[PEERS_MAX];
	enum phase phase;
	uint16_t slot_mask; /* the lower bits of an ID: its slot; above: whose turn */
	uint32_t number;
	uint32_t next_peer;
	int upstream;
	uint64_t due_ns; /* of the next query, at a fixed rate */
	uint64_t started_ns;
	uint64_t ended_ns;
	uint64_t cpu_ns; /* the server's, then what it used while measured */
	/* what is reported */
	uint64_t lost;
	uint64_t late;
	uint64_t idle_ns; /* turns of the loop that found nothing to do */
	uint64_t mistakes[MISTAKE_COUNT];
	struct latency latency;
};

static void die(const char *what)
{
	perror(what);
	exit(2);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

/* ---- answers */

static void report_mistake(
	struct load *load, enum mistake mistake, const uint8_t *octets, size_t len)
{
	if (load->mistakes[mistake]++ != 0) {
		return;
	}
	fprintf(stderr, "load: wrong answer (%s):", mistake_name(mistake));
	for (size_t i = 0; i < len; i++) {
		fprintf(stderr, " %02x", octets[i]);
	}
	fprintf(stderr, "\n");
}

static void free_slot(struct peer *peer, uint16_t index)
{
	peer->slots[index].busy = false;
	peer->free[peer->free_count++] = index;
}

static void take_answer(
	struct load *load, struct peer *peer, const uint8_t *octets, size_t len, uint64_t now)
{
	uint16_t id = len < 2 ? 0 : (uint16_t)(octets[0] << 8 | octets[1]);
	uint16_t index = id & load->slot_mask;

	if (len < 2 || index >= load->options.window || !peer->slots[index].busy ||
		peer->slots[index].id != id) {
		/* What was given up as lost may still come; anything else was never asked. */
		if (load->late < load->lost) {
			load->late++;
		} else {
			report_mistake(load, MISTAKE_UNASKED, octets, len);
		}
		return;
	}
	const struct slot *slot = &peer->slots[index];
	enum mistake mistake = queries_check(&load->queries, slot->item, slot->number, octets, len);

	if (mistake != MISTAKE_NONE) {
		report_mistake(load, mistake, octets, len);
	}
	if (load->phase == PHASE_MEASURE) {
		latency_add(&load->latency, now > slot->sent_ns ? now - slot->sent_ns : 0);
	}
	free_slot(peer, index);
}

static uint8_t datagrams[BATCH][DATAGRAM];
static struct iovec datagram_iov[BATCH];
static struct sockaddr_in datagram_peers[BATCH];
static struct mmsghdr datagram_headers[BATCH];

/* @param named  whether the senders' addresses are wanted */
static int receive_datagrams(int fd, bool named)
{
	for (size_t i = 0; i < BATCH; i++) {
		datagram_iov[i] = (struct iovec){datagrams[i], DATAGRAM - FIXED_GROWTH};
		datagram_headers[i].msg_hdr = (struct msghdr){
			.msg_iov = &datagram_iov[i],
			.msg_iovlen = 1,
			.msg_name = named ? &datagram_peers[i] : NULL,
			.msg_namelen = named ? sizeof(datagram_peers[i]) : 0,
		};
	}
	return recvmmsg(fd, datagram_headers, BATCH, MSG_DONTWAIT, NULL);
}

static bool read_datagrams(struct load *load, struct peer *peer)
{
	int count = receive_datagrams(peer->fd, false);
	uint64_t now = count > 0 ? now_ns() : 0;

	for (int i = 0; i < count; i++) {
		take_answer(load, peer, datagrams[i], datagram_headers[i].msg_len, now);
	}
	return count > 0;
}

static bool read_stream(struct load *load, struct peer *peer)
{
	ssize_t n = recv(peer->fd, peer->octets + peer->len, STREAM - peer->len, MSG_DONTWAIT);
	size_t at = 0;

	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		fprintf(stderr, "load: the server closed a connection\n");
		exit(2);
	}
	if (n < 0) {
		return false;
	}
	uint64_t now = now_ns();

	peer->len += (size_t)n;
	while (peer->len - at >= 2) {
		size_t len = (size_t)peer->octets[at] << 8 | peer->octets[at + 1];

		if (peer->len - at - 2 < len) {
			break;
		}
		take_answer(load, peer, peer->octets + at + 2, len, now);
		at += 2 + len;
	}
	memmove(peer->octets, peer->octets + at, peer->len - at);
	peer->len -= at;
	return true;
}

/* Play the upstream: answer what the forwarder asks. */
static bool serve_upstream(int fd)
{
	int count = receive_datagrams(fd, true);

	for (int i = 0; i < count; i++) {
		datagram_iov[i].iov_len = fixed_answer(datagrams[i], datagram_headers[i].msg_len);
	}
	for (int sent = 0; sent < count;) {
		int n = sendmmsg(fd, datagram_headers + sent, (unsigned)(count - sent), 0);

		sent += n > 0 ? n : 1;
	}
	return count > 0;
}

/* ---- queries */

/* Send queries of one length with one call: the kernel cuts them apart. */
static bool send_segmented(int fd, uint8_t *octets, size_t len, uint16_t each)
{
	union {
		char room[CMSG_SPACE(sizeof(uint16_t))];
		struct cmsghdr align;
	} control = {.room = {0}};
	struct iovec iov = {octets, len};
	struct msghdr message = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.room,
		.msg_controllen = sizeof(control.room)};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&message);

	cmsg->cmsg_level = SOL_UDP;
	cmsg->cmsg_type = UDP_SEGMENT;
	cmsg->cmsg_len = CMSG_LEN(sizeof(each));
	memcpy(CMSG_DATA(cmsg), &each, sizeof(each));
	return sendmsg(fd, &message, 0) == (ssize_t)len;
}

static bool send_separately(int fd, uint8_t *octets, uint16_t each, uint32_t count)
{
	struct mmsghdr messages[QUERIES_RUN_MAX] = {0};
	struct iovec iov[QUERIES_RUN_MAX];

	for (uint32_t i = 0; i < count; i++) {
		iov[i] = (struct iovec){octets + (size_t)i * each, each};
		messages[i].msg_hdr.msg_iov = &iov[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	return sendmmsg(fd, messages, count, 0) == (int)count;
}

static void send_items(struct load *load, int fd, uint32_t first, uint32_t count)
{
	const struct query_item *item = &load->queries.items[first];
	uint32_t frame = load->queries.frame;
	uint8_t *octets = load->queries.octets + item->offset - frame;
	size_t len = (size_t)count * (item->len + frame);
	bool sent;

	if (load->options.tcp) {
		sent = send(fd, octets, len, MSG_NOSIGNAL) == (ssize_t)len;
	} else if (count == 1) {
		sent = send(fd, octets, len, 0) == (ssize_t)len;
	} else if (load->options.separate) {
		sent = send_separately(fd, octets, item->len, count);
	} else {
		sent = send_segmented(fd, octets, len, item->len);
	}
	/* Refused: the server is not there. Whatever else was not sent is counted as lost in time.
	 */
	if (!sent && (load->options.tcp || (errno != ECONNREFUSED && errno != ENOBUFS))) {
		die("load: send");
	}
}

/* Send up to `most` queries on free slots, as one call. @return how many */
static uint32_t ask(struct load *load, struct peer *peer, uint32_t most, uint64_t sent_ns)
{
	uint32_t first;
	uint32_t count = queries_take(&load->queries, most, &first);

	for (uint32_t i = 0; i < count; i++) {
		uint16_t index = peer->free[--peer->free_count];
		struct slot *slot = &peer->slots[index];

		*slot = (struct slot){.sent_ns = sent_ns,
			.item = first + i,
			.number = load->number++,
			.id = (uint16_t)(slot->id + load->slot_mask + 1U),
			.busy = true};
		queries_stamp(&load->queries, slot->item, slot->id, slot->number);
	}
	send_items(load, peer->fd, first, count);
	return count;
}

static bool fill_window(struct load *load, struct peer *peer)
{
	uint32_t run = load->options.run;
	bool asked = false;

	while (peer->free_count >= run) {
		ask(load, peer, run, now_ns());
		asked = true;
	}
	return asked;
}

/* Send what is due at the fixed rate, from one socket after the other. */
static bool send_due(struct load *load, uint64_t now)
{
	double interval = (double)SECOND / load->options.rate;
	uint32_t full = 0;
	bool asked = false;

	while (load->due_ns <= now && full < load->options.sockets) {
		struct peer *peer = &load->peers[load->next_peer++ % load->options.sockets];

		if (peer->free_count == 0) {
			full++;
			continue;
		}
		/* Latency counts from when the query was due: a stall is not hidden by asking
		 * later. */
		ask(load, peer, 1, load->due_ns);
		load->due_ns += (uint64_t)interval;
		full = 0;
		asked = true;
	}
	return asked;
}

/* Give up queries that were sent before `before`. @return how many still wait */
static uint64_t give_up(struct load *load, uint64_t before)
{
	uint64_t waiting = 0;

	for (uint32_t i = 0; i < load->options.sockets; i++) {
		struct peer *peer = &load->peers[i];

		for (uint32_t j = 0; j < load->options.window; j++) {
			if (!peer->slots[j].busy) {
				continue;
			}
			if (peer->slots[j].sent_ns < before) {
				free_slot(peer, (uint16_t)j);
				load->lost++;
			} else {
				waiting++;
			}
		}
	}
	return waiting;
}

/* ---- the run */

static bool turn(struct load *load, uint64_t now)
{
	bool busy = load->upstream >= 0 && serve_upstream(load->upstream);

	for (uint32_t i = 0; i < load->options.sockets; i++) {
		struct peer *peer = &load->peers[i];

		busy |= load->options.tcp ? read_stream(load, peer) : read_datagrams(load, peer);
		if (load->phase != PHASE_DRAIN && load->options.rate == 0) {
			busy |= fill_window(load, peer);
		}
	}
	if (load->phase != PHASE_DRAIN && load->options.rate != 0) {
		busy |= send_due(load, now);
	}
	return busy;
}

static void enter(struct load *load, enum phase phase, uint64_t now)
{
	load->phase = phase;
	if (phase == PHASE_MEASURE) {
		load->started_ns = now;
		load->cpu_ns = cpu_time_ns(load->options.pids, load->options.pid_count);
	} else {
		load->ended_ns = now;
		load->cpu_ns =
			cpu_time_ns(load->options.pids, load->options.pid_count) - load->cpu_ns;
	}
}

static void run(struct load *load)
{
	const struct options *options = &load->options;
	uint64_t timeout_ns = (uint64_t)(options->timeout * 1e9);
	uint64_t now = now_ns();
	uint64_t measure_ns = now + (uint64_t)(options->warmup * 1e9);
	uint64_t drain_ns = measure_ns + (uint64_t)(options->seconds * 1e9);
	uint64_t sweep_ns = now + timeout_ns;

	load->due_ns = now;
	for (;;) {
		if (load->phase == PHASE_WARMUP && now >= measure_ns) {
			enter(load, PHASE_MEASURE, now);
		} else if (load->phase == PHASE_MEASURE && now >= drain_ns) {
			enter(load, PHASE_DRAIN, now);
		}
		bool busy = turn(load, now);
		uint64_t after = now_ns();

		if (load->phase == PHASE_MEASURE && !busy) {
			load->idle_ns += after - now;
		}
		now = after;
		if (now >= sweep_ns || (load->phase == PHASE_DRAIN && !busy)) {
			sweep_ns = now + timeout_ns / 8;
			if (give_up(load, now - timeout_ns) == 0 && load->phase == PHASE_DRAIN) {
				return;
			}
		}
	}
}

static int report(const struct load *load)
{
	double seconds = (double)(load->ended_ns - load->started_ns) / 1e9;
	uint64_t wrong = 0;

	for (size_t i = 0; i < MISTAKE_COUNT; i++) {
		wrong += load->mistakes[i];
	}
	printf("{\"seconds\": %.3f, \"answers\": %" PRIu64 ", \"qps\": %.0f", seconds,
		load->latency.count, (double)load->latency.count / seconds);
	printf(", \"lost\": %" PRIu64 ", \"late\": %" PRIu64 ", \"wrong\": %" PRIu64, load->lost,
		load->late, wrong);
	printf(", \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f",
		latency_percentile_us(&load->latency, 0.5),
		latency_percentile_us(&load->latency, 0.99),
		latency_percentile_us(&load->latency, 0.999));
	printf(", \"server_cpu_us\": %.3f, \"server_busy\": %.3f, \"load_idle\": %.3f}\n",
		load->latency.count == 0 ? 0
					 : (double)load->cpu_ns / 1e3 / (double)load->latency.count,
		(double)load->cpu_ns / 1e9 / seconds, (double)load->idle_ns / 1e9 / seconds);
	return wrong == 0 && load->latency.count > 0 ? 0 : 1;
}

/* ---- the set-up */

static void widen(int fd)
{
	int size = RECEIVE_BUFFER;

	/* Forced where we may; else as far as the system allows. */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) != 0) {
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	}
}

static void open_peer(struct load *load, struct peer *peer)
{
	const struct options *options = &load->options;
	int on = 1;

	peer->fd = socket(AF_INET, options->tcp ? SOCK_STREAM : SOCK_DGRAM, 0);
	if (peer->fd < 0 || connect(peer->fd, (const struct sockaddr *)&options->server,
				    sizeof(options->server)) != 0) {
		die("load: connect");
	}
	if (options->tcp) {
		setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		peer->octets = malloc(STREAM);
	} else {
		widen(peer->fd);
	}
	peer->slots = calloc(options->window, sizeof(*peer->slots));
	peer->free = calloc(options->window, sizeof(*peer->free));
	if (peer->slots == NULL || peer->free == NULL || (options->tcp && peer->octets == NULL)) {
		die("load: memory");
	}
	for (uint32_t i = 0; i < options->window; i++) {
		peer->slots[i].id = (uint16_t)i;
		peer->free[peer->free_count++] = (uint16_t)i;
	}
}

static int open_upstream(uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
		die("load: upstream");
	}
	widen(fd);
	return fd;
}

int main(int argc, char **argv)
{
	static struct load load = {.upstream = -1,
		.options = {.server.sin_family = AF_INET,
			.sockets = 4,
			.window = 32,
			.run = 16,
			.seconds = 2,
			.warmup = 0.3,
			.timeout = 1}};

	options_read(&load.options, argc, argv);
	while (load.slot_mask + 1U < load.options.window) {
		load.slot_mask = (uint16_t)(load.slot_mask << 1 | 1);
	}
	if (!queries_read(&load.queries, load.options.names, load.options.tcp != 0,
		    load.options.unique != 0, load.options.fixed ? fixed_address : NULL,
		    load.options.run)) {
		return 2;
	}
	if (load.options.upstream != 0) {
		load.upstream = open_upstream((uint16_t)load.options.upstream);
	}
	for (uint32_t i = 0; i < load.options.sockets; i++) {
		open_peer(&load, &load.peers[i]);
	}
	run(&load);
	return report(&load);
}
