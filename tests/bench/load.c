/* SPDX-License-Identifier: Apache-2.0
 *
 * The load: asks as fast as the server answers, or at a fixed rate, and checks every answer. It has
 * a core of its own and never sleeps: a load that sleeps would make the server pay for waking it.
 * Queries are ready-made and leave in runs of equal length, over UDP with segmentation offload, so
 * that asking costs less than answering. It can also play the upstreams of a forwarder, on its own
 * core, and let one of them fall silent.
 */
#include "tests/bench/datagrams.h"
#include "tests/bench/fixed.h"
#include "tests/bench/measure.h"
#include "tests/bench/options.h"
#include "tests/bench/queries.h"
#include "tests/bench/upstream.h"

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

enum { STREAM = 128 * 1024, RCODE_SERVFAIL = 2 };

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

/* Before an upstream falls silent, while that is felt, and after it is back. Without: all before.
 */
enum part_name { PART_BEFORE, PART_DURING, PART_AFTER, PART_COUNT };

struct part {
	uint64_t answers;
	uint64_t failed; /* the server said SERVFAIL: only where an upstream falls silent */
	uint64_t lost;
	uint64_t slowest_ns;
	uint64_t asked[UPSTREAMS_MAX]; /* what upstream was asked; by the time, not by the query */
};

struct load {
	struct options options;
	struct queries queries;
	struct peer peers[PEERS_MAX];
	enum phase phase;
	uint16_t slot_mask; /* the lower bits of an ID: its slot; above: whose turn */
	uint32_t number;
	uint32_t next_peer;
	struct upstream upstreams[UPSTREAMS_MAX];
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
	struct part parts[PART_COUNT];
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

/* ---- parts */

static uint64_t after_start(const struct load *load, double seconds)
{
	return load->started_ns + (uint64_t)(seconds * 1e9);
}

/* Which part of the run a query belongs to that was sent, and ended, at these times. */
static enum part_name part_of(const struct load *load, uint64_t sent_ns, uint64_t end_ns)
{
	const struct options *options = &load->options;

	if (options->silent == 0 || end_ns < after_start(load, options->silent_from)) {
		return PART_BEFORE;
	}
	return sent_ns < after_start(load, options->silent_to) ? PART_DURING : PART_AFTER;
}

/* @return NULL: it was sent while all warmed up, and counts nowhere */
static struct part *part_for(struct load *load, const struct slot *slot, uint64_t end_ns)
{
	if (load->phase == PHASE_WARMUP || slot->sent_ns < load->started_ns) {
		return NULL;
	}
	return &load->parts[part_of(load, slot->sent_ns, end_ns)];
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
	struct part *part = part_for(load, slot, now);
	uint64_t took_ns = now > slot->sent_ns ? now - slot->sent_ns : 0;

	if (mistake == MISTAKE_RCODE && load->options.silent != 0 &&
		(octets[3] & 15) == RCODE_SERVFAIL) {
		if (part != NULL) {
			part->failed++;
		}
		free_slot(peer, index);
		return;
	}
	if (mistake != MISTAKE_NONE) {
		report_mistake(load, mistake, octets, len);
	}
	if (load->phase == PHASE_MEASURE) {
		latency_add(&load->latency, took_ns);
	}
	if (part != NULL) {
		part->answers++;
		part->slowest_ns = took_ns > part->slowest_ns ? took_ns : part->slowest_ns;
	}
	free_slot(peer, index);
}

static bool read_datagrams(struct load *load, struct peer *peer)
{
	static struct datagrams batch;
	int count = datagrams_receive(&batch, peer->fd, 0, false);
	uint64_t now = count > 0 ? now_ns() : 0;

	for (int i = 0; i < count; i++) {
		take_answer(load, peer, batch.octets[i], batch.headers[i].msg_len, now);
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

/* Whether all were asked that were to be asked. */
static bool is_complete(const struct load *load)
{
	return load->options.queries != 0 && load->number >= load->options.queries;
}

static bool fill_window(struct load *load, struct peer *peer)
{
	uint32_t run = load->options.run;
	bool asked = false;

	while (peer->free_count >= run && !is_complete(load)) {
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

	while (load->due_ns <= now && full < load->options.sockets && !is_complete(load)) {
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

static void lose(struct load *load, struct peer *peer, uint16_t index, uint64_t now)
{
	struct part *part = part_for(load, &peer->slots[index], now);

	if (part != NULL) {
		part->lost++;
	}
	load->lost++;
	free_slot(peer, index);
}

/* Give up queries that were sent before `before`. @return how many still wait */
static uint64_t give_up(struct load *load, uint64_t before, uint64_t now)
{
	uint64_t waiting = 0;

	for (uint32_t i = 0; i < load->options.sockets; i++) {
		struct peer *peer = &load->peers[i];

		for (uint32_t j = 0; j < load->options.window; j++) {
			if (!peer->slots[j].busy) {
				continue;
			}
			if (peer->slots[j].sent_ns < before) {
				lose(load, peer, (uint16_t)j, now);
			} else {
				waiting++;
			}
		}
	}
	return waiting;
}

/* ---- the run */

static bool serve_upstreams(struct load *load, uint64_t now)
{
	enum part_name part = part_of(load, now, now);
	bool busy = false;

	for (uint32_t i = 0; i < load->options.upstream_count; i++) {
		struct upstream *upstream = &load->upstreams[i];
		uint64_t asked = upstream->asked;

		upstream->silent = load->phase == PHASE_MEASURE && part == PART_DURING &&
				   load->options.silent == i + 1;
		busy |= upstream_serve(upstream);
		if (load->phase == PHASE_MEASURE) {
			load->parts[part].asked[i] += upstream->asked - asked;
		}
	}
	return busy;
}

static bool turn(struct load *load, uint64_t now)
{
	bool busy = serve_upstreams(load, now);

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
	uint64_t measure_ns = options->queries != 0 ? now : now + (uint64_t)(options->warmup * 1e9);
	uint64_t drain_ns = options->queries != 0 ? UINT64_MAX
						  : measure_ns + (uint64_t)(options->seconds * 1e9);
	uint64_t sweep_ns = now + timeout_ns;

	load->due_ns = now;
	for (;;) {
		if (load->phase == PHASE_WARMUP && now >= measure_ns) {
			enter(load, PHASE_MEASURE, now);
		} else if (load->phase == PHASE_MEASURE && (now >= drain_ns || is_complete(load))) {
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
			if (give_up(load, now - timeout_ns, now) == 0 &&
				load->phase == PHASE_DRAIN) {
				return;
			}
		}
	}
}

static void report_parts(const struct load *load)
{
	static const char *const names[PART_COUNT] = {"before", "during", "after"};

	printf(", \"parts\": {");
	for (size_t i = 0; i < PART_COUNT; i++) {
		const struct part *part = &load->parts[i];

		printf("%s\"%s\": {\"answers\": %" PRIu64 ", \"failed\": %" PRIu64,
			i == 0 ? "" : ", ", names[i], part->answers, part->failed);
		printf(", \"lost\": %" PRIu64 ", \"slowest_ms\": %.3f", part->lost,
			(double)part->slowest_ns / 1e6);
		printf(", \"asked\": [%" PRIu64 ", %" PRIu64 "]}", part->asked[0], part->asked[1]);
	}
	printf("}");
}

static int report(const struct load *load)
{
	const struct latency *latency = &load->latency;
	double answers = (double)latency->count;
	double seconds = (double)(load->ended_ns - load->started_ns) / 1e9;
	uint64_t asked = 0;
	uint64_t wrong = 0;

	for (size_t i = 0; i < MISTAKE_COUNT; i++) {
		wrong += load->mistakes[i];
	}
	for (size_t i = 0; i < PART_COUNT; i++) {
		asked += load->parts[i].asked[0] + load->parts[i].asked[1];
	}
	printf("{\"seconds\": %.3f, \"answers\": %" PRIu64 ", \"qps\": %.0f", seconds,
		latency->count, answers / seconds);
	printf(", \"lost\": %" PRIu64 ", \"late\": %" PRIu64 ", \"wrong\": %" PRIu64
	       ", \"upstream\": %" PRIu64,
		load->lost, load->late, wrong, asked);
	printf(", \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f",
		latency_percentile_us(latency, 0.5), latency_percentile_us(latency, 0.99),
		latency_percentile_us(latency, 0.999));
	printf(", \"server_cpu_us\": %.3f, \"server_busy\": %.3f, \"load_idle\": %.3f",
		latency->count == 0 ? 0 : (double)load->cpu_ns / 1e3 / answers,
		(double)load->cpu_ns / 1e9 / seconds, (double)load->idle_ns / 1e9 / seconds);
	if (load->options.silent != 0) {
		report_parts(load);
	}
	printf("}\n");
	return wrong == 0 && latency->count > 0 ? 0 : 1;
}

/* ---- the set-up */

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
		datagrams_widen(peer->fd);
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

int main(int argc, char **argv)
{
	static struct load load = {.options = {.server.sin_family = AF_INET,
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
	for (uint32_t i = 0; i < load.options.upstream_count; i++) {
		upstream_open(&load.upstreams[i], (uint16_t)load.options.upstreams[i]);
	}
	for (uint32_t i = 0; i < load.options.sockets; i++) {
		open_peer(&load, &load.peers[i]);
	}
	run(&load);
	return report(&load);
}
