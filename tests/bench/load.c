/* SPDX-License-Identifier: Apache-2.0
 *
 * The load: asks as fast as the server answers, or at a fixed rate, and checks every answer. It has
 * a core of its own and never sleeps: a load that sleeps would make the server pay for waking it.
 * Queries are ready-made and leave in runs of equal length, over UDP with segmentation offload, so
 * that asking costs less than answering. It can also play the upstreams of a forwarder, on its own
 * core, and let one of them fall silent; ask more for a while than any server can answer; ask names
 * of two kinds; and let connections come and go.
 */
#include "tests/bench/churn.h"
#include "tests/bench/datagrams.h"
#include "tests/bench/fixed.h"
#include "tests/bench/measure.h"
#include "tests/bench/options.h"
#include "tests/bench/queries.h"
#include "tests/bench/tally.h"
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
static const uint64_t OVERDUE_NS = 5000000;
static const uint64_t SLOW_NS = 10000000; /* an answer takes longer: the server is not well */

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
	struct kind *kind;
	uint32_t free_count;
	struct slot *slots;
	uint16_t *free;  /* stack of free places */
	uint8_t *octets; /* TCP: what was read, not yet a whole frame */
	size_t len;
};

enum phase { PHASE_WARMUP, PHASE_MEASURE, PHASE_DRAIN };

/* Queries of one kind: all, or those that are answered here and those that are forwarded. */
enum { KINDS_MAX = 2 };

struct kind {
	struct queries queries;
	struct tally tally;
};

struct load {
	struct options options;
	struct kind kinds[KINDS_MAX];
	uint32_t kind_count;
	struct peer peers[PEERS_MAX];
	enum phase phase;
	uint16_t slot_mask; /* the lower bits of an ID: its slot; above: whose turn */
	uint32_t number;
	uint32_t next_peer;
	struct upstream upstreams[UPSTREAMS_MAX];
	uint64_t due_ns; /* of the next query, at a fixed rate */
	struct span_of_time span;
	uint64_t ended_ns;
	uint64_t cpu_ns; /* the server's, then what it used while measured */
	/* what is reported */
	uint64_t late;
	uint64_t idle_ns; /* turns of the loop that found nothing to do */
	uint64_t mistakes[MISTAKE_COUNT];
	uint64_t asked_upstream[PART_COUNT][UPSTREAMS_MAX]; /* by the time, not by the query */
	struct churn churn;
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
		if (load->late < load->kinds[0].tally.lost + load->kinds[1].tally.lost) {
			load->late++;
		} else {
			report_mistake(load, MISTAKE_UNASKED, octets, len);
		}
		return;
	}
	const struct slot *slot = &peer->slots[index];
	struct kind *kind = peer->kind;
	enum mistake mistake = queries_check(&kind->queries, slot->item, slot->number, octets, len);

	if (mistake == MISTAKE_RCODE && load->options.middle_to != 0 &&
		(octets[3] & 15) == RCODE_SERVFAIL) {
		tally_failed(&kind->tally, &load->span, slot->sent_ns, now);
		free_slot(peer, index);
		return;
	}
	if (mistake != MISTAKE_NONE) {
		report_mistake(load, mistake, octets, len);
	}
	tally_answer(&kind->tally, &load->span, slot->sent_ns, now);
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

static void send_items(struct load *load, const struct peer *peer, uint32_t first, uint32_t count)
{
	const struct queries *queries = &peer->kind->queries;
	const struct query_item *item = &queries->items[first];
	uint32_t frame = queries->frame;
	uint8_t *octets = queries->octets + item->offset - frame;
	int fd = peer->fd;
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
	struct queries *queries = &peer->kind->queries;
	uint32_t count = queries_take(queries, most, &first);

	for (uint32_t i = 0; i < count; i++) {
		uint16_t index = peer->free[--peer->free_count];
		struct slot *slot = &peer->slots[index];

		*slot = (struct slot){.sent_ns = sent_ns,
			.item = first + i,
			.number = load->number++,
			.id = (uint16_t)(slot->id + load->slot_mask + 1U),
			.busy = true};
		queries_stamp(queries, slot->item, slot->id, slot->number);
	}
	tally_asked(&peer->kind->tally, &load->span, sent_ns, count);
	send_items(load, peer, first, count);
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

static double interval_ns(const struct load *load, uint64_t now)
{
	bool surges = load->options.surge != 0 && load->span.middle_to != 0 &&
		      tally_part(&load->span, now, now) == PART_DURING;

	return (double)SECOND / (surges ? load->options.surge : load->options.rate);
}

/* Give up what should have been sent a while ago: a surge is felt by the server, and is over in
 * time, whatever the load itself can do. */
static void skip_overdue(struct load *load, uint64_t now, double interval)
{
	if (load->options.surge == 0 || load->due_ns + OVERDUE_NS >= now) {
		return;
	}
	uint64_t count = (uint64_t)((double)(now - load->due_ns) / interval);

	tally_unsent(&load->kinds[0].tally, &load->span, load->due_ns, count);
	load->due_ns += (uint64_t)((double)count * interval);
}

/* Send what is due at the fixed rate, from one socket after the other, as many with one call as are
 * due and a run has. */
static bool send_due(struct load *load, uint64_t now)
{
	double interval = interval_ns(load, now);
	uint32_t full = 0;
	bool asked = false;

	skip_overdue(load, now, interval);
	while (load->due_ns <= now && full < load->options.sockets && !is_complete(load)) {
		struct peer *peer = &load->peers[load->next_peer++ % load->options.sockets];
		uint32_t most = load->options.run;
		double due = 1 + (double)(now - load->due_ns) / interval;

		if (peer->free_count == 0) {
			full++;
			continue;
		}
		most = peer->free_count < most ? peer->free_count : most;
		most = due < most ? (uint32_t)due : most;
		/* Latency counts from when the query was due: a stall is not hidden by asking
		 * later. */
		most = ask(load, peer, most, load->due_ns);
		load->due_ns += (uint64_t)(interval * most);
		full = 0;
		asked = true;
	}
	return asked;
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
				tally_lost(&peer->kind->tally, &load->span, peer->slots[j].sent_ns,
					now);
				free_slot(peer, (uint16_t)j);
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
	enum part_name part = tally_part(&load->span, now, now);
	bool busy = false;

	for (uint32_t i = 0; i < load->options.upstream_count; i++) {
		struct upstream *upstream = &load->upstreams[i];
		uint64_t asked = upstream->asked;

		upstream->silent = load->phase == PHASE_MEASURE && part == PART_DURING &&
				   load->options.silent == i + 1;
		busy |= upstream_serve(upstream, now);
		if (load->phase == PHASE_MEASURE) {
			load->asked_upstream[part][i] += upstream->asked - asked;
		}
	}
	return busy;
}

static bool turn(struct load *load, uint64_t now)
{
	bool busy = serve_upstreams(load, now);

	churn_turn(&load->churn, &load->kinds[0].queries);
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
	const struct options *options = &load->options;

	load->phase = phase;
	load->span.measuring = phase == PHASE_MEASURE;
	if (phase == PHASE_MEASURE) {
		load->span.started = now;
		load->span.slow = SLOW_NS + (uint64_t)(options->delay * 1e9);
		if (options->middle_to != 0) {
			load->span.middle_from = now + (uint64_t)(options->middle_from * 1e9);
			load->span.middle_to = now + (uint64_t)(options->middle_to * 1e9);
		}
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

static void report_server(const struct load *load, double seconds)
{
	uint64_t answers = 0;

	for (size_t i = 0; i < load->kind_count; i++) {
		answers += load->kinds[i].tally.latency.count;
	}
	printf(", \"server_cpu_us\": %.3f, \"server_busy\": %.3f, \"load_idle\": %.3f",
		answers == 0 ? 0 : (double)load->cpu_ns / 1e3 / (double)answers,
		(double)load->cpu_ns / 1e9 / seconds, (double)load->idle_ns / 1e9 / seconds);
}

static void report_upstreams(const struct load *load)
{
	uint64_t asked = 0;

	printf(", \"asked\": [");
	for (size_t i = 0; i < PART_COUNT; i++) {
		const uint64_t *of = load->asked_upstream[i];

		printf("%s[%" PRIu64 ", %" PRIu64 "]", i == 0 ? "" : ", ", of[0], of[1]);
		asked += of[0] + of[1];
	}
	printf("], \"upstream\": %" PRIu64, asked);
}

static int report(const struct load *load)
{
	double seconds = (double)(load->ended_ns - load->span.started) / 1e9;
	uint64_t wrong = load->churn.wrong;

	for (size_t i = 0; i < MISTAKE_COUNT; i++) {
		wrong += load->mistakes[i];
	}
	printf("{\"seconds\": %.3f, \"late\": %" PRIu64 ", \"wrong\": %" PRIu64 ", ", seconds,
		load->late, wrong);
	tally_report(&load->kinds[0].tally, &load->span, seconds);
	report_upstreams(load);
	report_server(load, seconds);
	if (load->options.mixed != NULL) {
		printf(", \"mixed\": {");
		tally_report(&load->kinds[1].tally, &load->span, seconds);
		printf("}");
	}
	if (load->options.churn != 0) {
		printf(", \"connections\": %" PRIu64 ", \"refused\": %" PRIu64,
			load->churn.answered, load->churn.refused);
	}
	printf("}\n");
	return wrong == 0 && load->kinds[0].tally.latency.count > 0 ? 0 : 1;
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

static void read_names(struct load *load)
{
	const struct options *options = &load->options;
	bool good = queries_read(&load->kinds[0].queries, options->names, options->tcp != 0,
		options->unique != 0, options->fixed ? fixed_address : NULL, options->run);

	load->kind_count = 1;
	if (good && options->mixed != NULL) {
		good = queries_read(&load->kinds[1].queries, options->mixed, options->tcp != 0,
			true, fixed_address, options->run);
		load->kind_count = 2;
	}
	if (!good) {
		exit(2);
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
	read_names(&load);
	for (uint32_t i = 0; i < load.options.upstream_count; i++) {
		upstream_open(&load.upstreams[i], (uint16_t)load.options.upstreams[i],
			(uint64_t)(load.options.delay * 1e9));
	}
	for (uint32_t i = 0; i < load.options.sockets; i++) {
		bool mixed = i >= load.options.sockets - load.options.mixed_sockets;

		load.peers[i].kind = &load.kinds[mixed ? 1 : 0];
		open_peer(&load, &load.peers[i]);
	}
	churn_init(&load.churn, &load.options.server, load.options.churn);
	run(&load);
	return report(&load);
}
