/* SPDX-License-Identifier: Apache-2.0
 *
 * Connections: what comes in and goes out, and the limits of each.
 */
#include "tests/tcp_server.h"

static void answers_to_canaries_are_sent_and_not_counted(void **state)
{
	struct server *s = *state;
	start(s);
	int fd = client(s);
	ask(fd, 1, ORDER_CANARY);
	assert_int_equal(take(s, fd), 1);
	assert_int_equal(s->stats.request.count, 0);
	ask(fd, 2, ORDER_ANSWER);
	assert_int_equal(take(s, fd), 2);
	assert_int_equal(s->stats.request.count, 1);
	close(fd);
}

static void a_query_is_answered(void **state)
{
	struct server *s = *state;
	start(s);
	int fd = client(s);
	ask(fd, 1, ORDER_ANSWER);
	assert_int_equal(take(s, fd), 1);
	assert_int_equal(count(s, STAT_TCP_CONNECTIONS), 1);
	assert_int_equal(count(s, STAT_TCP_CONNECTIONS_NOW), 1);
	assert_int_equal(s->stats.request.count, 1);
	close(fd);
	RUN_UNTIL(s, tcp_connections(s->tcp) == 0);
	assert_int_equal(count(s, STAT_TCP_CONNECTIONS_NOW), 0);
}

static void pipelined_queries_are_all_answered(void **state)
{
	struct server *s = *state;
	enum { QUERIES = 2000 };
	static uint8_t frames[QUERIES * FRAME_LEN];
	start(s);
	int fd = client(s);
	for (uint16_t i = 0; i < QUERIES; i++) {
		put_query(frames + (size_t)i * FRAME_LEN, i, ORDER_ANSWER);
	}
	assert_int_equal(send(fd, frames, sizeof(frames), 0), sizeof(frames));
	for (uint16_t i = 0; i < QUERIES; i++) {
		assert_int_equal(take(s, fd), i);
	}
	close(fd);
}

static unsigned told;

/* Of whole messages alone, and before the first of them is served. */
static void expect(void *ctx, const struct span *messages, unsigned count)
{
	const struct server *s = ctx;
	assert_int_equal(s->served, told);
	assert_in_range(count, 1, SERVE_BATCH);
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(messages[i].len, FRAME_LEN - 2);
		assert_int_equal(octets_u16(messages[i].data), told + i);
	}
	told += count;
}

static void what_came_together_is_told_of_before_it_is_served(void **state)
{
	struct server *s = *state;
	uint8_t frames[4 * FRAME_LEN];
	start(s);
	tcp_set_expect(s->tcp, expect);
	told = 0;
	int fd = client(s);
	for (uint16_t i = 0; i < 4; i++) {
		put_query(frames + (size_t)i * FRAME_LEN, i, ORDER_ANSWER);
	}
	/* Three and a half, the rest, and what is no frame. */
	assert_int_equal(send(fd, frames, 3 * FRAME_LEN + 5, 0), 3 * FRAME_LEN + 5);
	settle(s);
	assert_int_equal(told, 3);
	assert_int_equal(send(fd, frames + 3 * FRAME_LEN + 5, FRAME_LEN - 5, 0), FRAME_LEN - 5);
	settle(s);
	assert_int_equal(send(fd, "\377\377x", 3, 0), 3);
	settle(s);
	assert_int_equal(told, 4);
	for (uint16_t i = 0; i < 4; i++) {
		assert_int_equal(take(s, fd), i);
	}
	close(fd);
}

static void frames_may_come_octet_by_octet(void **state)
{
	struct server *s = *state;
	uint8_t frames[2 * FRAME_LEN];
	start(s);
	int fd = client(s);
	put_query(frames, 1, ORDER_ANSWER);
	put_query(frames + FRAME_LEN, 2, ORDER_ANSWER);
	for (size_t i = 0; i < sizeof(frames); i++) {
		assert_int_equal(s->served, i / FRAME_LEN);
		assert_int_equal(send(fd, frames + i, 1, 0), 1);
		settle(s);
	}
	assert_int_equal(take(s, fd), 1);
	assert_int_equal(take(s, fd), 2);
	close(fd);
}

static void forwarded_answers_come_as_they_are_ready(void **state)
{
	struct server *s = *state;
	start(s);
	int fd = client(s);
	ask(fd, 1, ORDER_FORWARD);
	ask(fd, 2, ORDER_FORWARD);
	ask(fd, 3, ORDER_ANSWER);
	assert_int_equal(take(s, fd), 3);
	assert_int_equal(s->forwarded, 2);
	reply(s, 1);
	assert_int_equal(take(s, fd), 2);
	reply(s, 0);
	assert_int_equal(take(s, fd), 1);
	close(fd);
}

static void a_forwarded_query_may_be_answered_at_once(void **state)
{
	struct server *s = *state;
	s->at_once = true;
	start(s);
	int fd = client(s);
	for (uint16_t i = 0; i < 2 * TCP_IN_FLIGHT_MAX; i++) {
		ask(fd, i, ORDER_FORWARD);
	}
	for (uint16_t i = 0; i < 2 * TCP_IN_FLIGHT_MAX; i++) {
		assert_int_equal(take(s, fd), i);
	}
	close(fd);
}

static void what_is_dropped_leaves_no_frame(void **state)
{
	struct server *s = *state;
	start(s);
	int fd = client(s);
	ask(fd, 1, ORDER_ANSWER);
	ask(fd, 2, ORDER_DROP);
	ask(fd, 3, ORDER_ANSWER);
	assert_int_equal(take(s, fd), 1);
	assert_int_equal(take(s, fd), 3);
	close(fd);
}

static void a_half_closed_peer_gets_all_its_answers(void **state)
{
	struct server *s = *state;
	start(s);
	int fd = client(s);
	ask(fd, 1, ORDER_BIG);
	ask(fd, 2, ORDER_FORWARD);
	ask(fd, 3, ORDER_ANSWER);
	assert_int_equal(send(fd, "\0", 1, 0), 1); /* half a prefix is nothing to wait for */
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_int_equal(take(s, fd), 1);
	assert_int_equal(take(s, fd), 3);
	settle(s);
	assert_int_equal(tcp_connections(s->tcp), 1);
	reply(s, 0);
	assert_int_equal(take(s, fd), 2);
	take_end(s, fd);
	assert_int_equal(tcp_connections(s->tcp), 0);
}

/* Answers that the peer is slow to take, while more of its queries wait here than may be in flight.
 */
static void a_slow_half_closed_peer_gets_all_its_answers(void **state)
{
	struct server *s = *state;
	enum { BIG = 200, FORWARDED = 200 };
	s->conf.tcp_unsent_max = 64 << 20;
	s->conf.tcp_idle_ms = 400; /* a tick every 100 ms */
	start(s);
	int fd = client(s);
	for (uint16_t i = 0; i < BIG; i++) {
		ask(fd, i, ORDER_BIG);
	}
	for (uint16_t i = 0; i < FORWARDED; i++) {
		ask(fd, i, ORDER_FORWARD);
	}
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	RUN_UNTIL(s, s->forwarded == TCP_IN_FLIGHT_MAX);
	reply(s, 0);
	pass_ms(s, 250);
	for (unsigned i = 0; i < BIG; i++) {
		assert_int_equal(take(s, fd), i);
	}
	for (unsigned i = 1; i < FORWARDED; i++) {
		RUN_UNTIL(s, s->forwarded > i);
		reply(s, i);
	}
	for (unsigned i = 0; i < FORWARDED; i++) {
		(void)take(s, fd);
	}
	take_end(s, fd);
}

static void a_reply_to_a_connection_that_left_is_dropped(void **state)
{
	struct server *s = *state;
	start(s);
	int fd = client(s);
	ask(fd, 1, ORDER_FORWARD);
	RUN_UNTIL(s, s->forwarded == 1);
	reset(fd);
	RUN_UNTIL(s, tcp_connections(s->tcp) == 0);
	reply(s, 0);
	int next = client(s); /* has the slot now */
	ask(next, 2, ORDER_FORWARD);
	RUN_UNTIL(s, s->forwarded == 2);
	assert_int_equal(s->asked[1].slot, s->asked[0].slot);
	reply(s, 0);
	reply(s, 1);
	assert_int_equal(take(s, next), 2);
	close(next);
}

static void a_reply_to_nowhere_is_dropped(void **state)
{
	struct server *s = *state;
	start(s);
	s->asked[0].slot = s->conf.tcp_connections_max;
	reply(s, 0);
}

static void a_reset_harms_nobody_else(void **state)
{
	struct server *s = *state;
	uint8_t frame[FRAME_LEN];
	start(s);
	int good = client(s);
	ask(good, 1, ORDER_FORWARD);
	for (unsigned i = 0; i < 20; i++) {
		int fd = client(s);
		ask(fd, 9, ORDER_BIG);
		put_query(frame, 9, ORDER_BIG);
		assert_int_equal(send(fd, frame, i % FRAME_LEN, 0), i % FRAME_LEN);
		if (i % 2) {
			settle(s);
		}
		reset(fd);
	}
	RUN_UNTIL(s, s->forwarded == 1 && tcp_connections(s->tcp) == 1);
	reply(s, 0);
	assert_int_equal(take(s, good), 1);
	close(good);
}

static void a_frame_shorter_than_a_header_ends_the_connection(void **state)
{
	struct server *s = *state;
	start(s);
	int fd = client(s);
	ask(fd, 1, ORDER_ANSWER);
	assert_int_equal(send(fd, "\0\13", 2, 0), 2);
	assert_int_equal(take(s, fd), 1);
	take_end(s, fd);
	assert_int_equal(count(s, STAT_DROP_TCP_FRAME), 1);
}

static void a_frame_over_the_limit_ends_the_connection(void **state)
{
	struct server *s = *state;
	uint8_t frame[2 + 512] = {2, 0};
	s->conf.tcp_frame_max = 512;
	start(s);
	int fd = client(s);
	frame[2 + HEADER_LEN] = ORDER_FORWARD; /* a frame at the limit is a frame */
	assert_int_equal(send(fd, frame, sizeof(frame), 0), sizeof(frame));
	RUN_UNTIL(s, s->forwarded == 1);
	reply(s, 0);
	assert_int_equal(take(s, fd), 0);
	/* It is a query: what is passed on may be longer. */
	assert_int_equal(send(fd, "\2\1\0\0\1\0", 6, 0), 6);
	take_end(s, fd);
	assert_int_equal(count(s, STAT_DROP_TCP_FRAME), 1);
}

/* Messages that are no queries */

/** An UPDATE of that length, with octets that all differ from their neighbours'. */
static void put_update(uint8_t frame[2 + 65535], size_t len, char order)
{
	for (size_t i = 0; i < len; i++) {
		frame[2 + i] = (uint8_t)(i ^ i >> 8);
	}
	octets_put_u16(frame, (uint16_t)len);
	frame[2 + 2] = 5 << 3;
	frame[2 + HEADER_LEN] = (uint8_t)order;
}

/** Send all, or as much as is taken while the server reads. @return how much */
static size_t send_slowly(struct server *s, int fd, const uint8_t *octets, size_t len)
{
	size_t sent = 0;
	for (unsigned idle = 0; sent < len && idle < 20;) {
		ssize_t n = send(fd, octets + sent, len - sent, MSG_NOSIGNAL);
		sent += n > 0 ? (size_t)n : 0;
		idle = n > 0 ? 0 : idle + 1;
		turn(s);
	}
	return sent;
}

static void what_is_no_query_may_be_as_long_as_messages_get(void **state)
{
	static const size_t lengths[] = {4097, 30000, 65535};
	static uint8_t frame[2 + 65535], back[2 + 65535];
	struct server *s = *state;
	start(s);
	int fd = client(s);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		size_t len = 2 + lengths[i];
		put_update(frame, lengths[i], ORDER_ANSWER);
		assert_int_equal(send_slowly(s, fd, frame, len), len);
		take_octets(s, fd, back, len);
		frame[2 + 2] |= 0x80;
		assert_memory_equal(back, frame, len);
	}
	ask(fd, 7, ORDER_ANSWER); /* and what comes behind them is read */
	assert_int_equal(take(s, fd), 7);
	close(fd);
}

static void what_it_is_is_waited_for(void **state)
{
	struct server *s = *state;
	start(s);
	int fd = client(s);
	assert_int_equal(send(fd, "\377\377", 2, 0), 2);
	settle(s);
	assert_int_equal(send(fd, "\1\2\0", 3, 0), 3);
	settle(s);
	assert_int_equal(count(s, STAT_DROP_TCP_FRAME), 0);
	assert_int_equal(send(fd, "\0", 1, 0), 1);
	take_end(s, fd);
	assert_int_equal(count(s, STAT_DROP_TCP_FRAME), 1);
}

enum { AT_ONCE = 16 }; /* large messages that may arrive */

/** However many begin to send large messages, the others wait; queries do not. */
static void large_messages_are_few_at_once(void **state)
{
	static uint8_t frame[2 + 65535];
	struct server *s = *state;
	int fd[AT_ONCE + 1];
	s->conf.tcp_connections_max = s->conf.tcp_connections_peer_max = 32;
	start(s);
	put_update(frame, 65535, ORDER_FORWARD);
	for (unsigned i = 0; i < AT_ONCE; i++) {
		fd[i] = client(s);
		assert_int_equal(send_slowly(s, fd[i], frame, 60000), 60000);
	}
	int late = fd[AT_ONCE] = client(s);
	ask(late, 1, ORDER_ANSWER);
	assert_int_equal(take(s, late), 1);
	(void)send_slowly(s, late, frame, sizeof(frame));
	pass_ms(s, 50);
	assert_int_equal(s->forwarded, 0);
	int other = client(s);
	ask(other, 2, ORDER_ANSWER);
	assert_int_equal(take(s, other), 2);
	close(other);
	reset(fd[0]); /* which makes room */
	RUN_UNTIL(s, s->forwarded == 1);
	for (unsigned i = 1; i < AT_ONCE; i++) {
		assert_int_equal(send_slowly(s, fd[i], frame + 60000, 5537), 5537);
		RUN_UNTIL(s, s->forwarded == 1 + i);
	}
	fd[0] = client(s);
	assert_int_equal(send_slowly(s, fd[0], frame, sizeof(frame)), sizeof(frame));
	RUN_UNTIL(s, s->forwarded == 1 + AT_ONCE);
	for (unsigned i = 0; i <= AT_ONCE; i++) {
		close(fd[i]);
	}
}

/** Who says that no more comes keeps no room, though it may still wait for answers. */
static void who_sends_half_a_large_message_keeps_no_room(void **state)
{
	static uint8_t frame[2 + 65535];
	struct server *s = *state;
	int fd[AT_ONCE];
	s->conf.tcp_connections_max = s->conf.tcp_connections_peer_max = 32;
	start(s);
	put_update(frame, 65535, ORDER_FORWARD);
	for (unsigned i = 0; i < AT_ONCE; i++) {
		fd[i] = client(s);
		ask(fd[i], 1, ORDER_FORWARD);
		assert_int_equal(send_slowly(s, fd[i], frame, 60000), 60000);
		assert_int_equal(shutdown(fd[i], SHUT_WR), 0);
	}
	int late = client(s);
	(void)send_slowly(s, late, frame, sizeof(frame));
	RUN_UNTIL(s, s->forwarded == AT_ONCE + 1);
	assert_int_equal(tcp_connections(s->tcp), AT_ONCE + 1);
	close(late);
	for (unsigned i = 0; i < AT_ONCE; i++) {
		close(fd[i]);
	}
}

static void who_reads_no_answers_is_read_no_more_and_closed(void **state)
{
	struct server *s = *state;
	uint8_t frame[FRAME_LEN];
	unsigned asked = 0;
	s->conf.tcp_idle_ms = 300;
	start(s);
	int fd = client(s);
	put_query(frame, 1, ORDER_BIG);
	/* Until neither we nor the server take any more. */
	while (send(fd, frame, sizeof(frame), MSG_NOSIGNAL) == (ssize_t)sizeof(frame) &&
		asked < 1000) {
		asked++;
		settle(s);
	}
	/* What the kernel holds of ours and of the peer's buffer, and 256 KiB, and one answer. */
	assert_true(s->served < 300);
	unsigned served = s->served;
	int other = client(s);
	ask(other, 2, ORDER_ANSWER);
	assert_int_equal(take(s, other), 2);
	RUN_UNTIL(s, count(s, STAT_DROP_TCP_UNSENT) == 1);
	assert_int_equal(s->served, served + 1);
	close(other);
	close(fd);
}

static void large_answers_for_all_at_once_are_not_kept_without_limit(void **state)
{
	static uint8_t large[BIG_LEN] = {0, 0, 0x80};
	struct server *s = *state;
	s->conf.tcp_unsent_max = 4096; /* 256 KiB for all */
	start(s);
	int fd = client(s), other = client(s);
	for (uint16_t i = 0; i < TCP_IN_FLIGHT_MAX; i++) {
		ask(fd, i, ORDER_FORWARD);
	}
	RUN_UNTIL(s, s->forwarded == TCP_IN_FLIGHT_MAX);
	ask(other, 1, ORDER_FORWARD);
	RUN_UNTIL(s, s->forwarded == TCP_IN_FLIGHT_MAX + 1);
	for (unsigned i = 0; i < TCP_IN_FLIGHT_MAX; i++) {
		tcp_send(s->tcp, &s->asked[i], (struct span){large, sizeof(large)});
	}
	assert_int_equal(count(s, STAT_DROP_TCP_UNSENT), 1);
	reply(s, TCP_IN_FLIGHT_MAX); /* who owes nothing is answered all the same */
	assert_int_equal(take(s, other), 1);
	RUN_UNTIL(s, tcp_connections(s->tcp) == 1);
	close(fd);
	close(other);
}

static void who_reads_late_gets_everything(void **state)
{
	struct server *s = *state;
	start(s);
	int fd = client(s);
	for (uint16_t i = 0; i < 300; i++) {
		ask(fd, i, ORDER_BIG);
	}
	settle(s);
	assert_true(s->served < 300);
	for (uint16_t i = 0; i < 300; i++) {
		assert_int_equal(take(s, fd), i);
	}
	close(fd);
}

static void queries_in_flight_are_limited(void **state)
{
	struct server *s = *state;
	start(s);
	int fd = client(s);
	for (uint16_t i = 0; i < TCP_IN_FLIGHT_MAX + 50; i++) {
		ask(fd, i, ORDER_FORWARD);
	}
	settle(s);
	assert_int_equal(s->forwarded, TCP_IN_FLIGHT_MAX);
	for (unsigned i = 0; i < 50; i++) {
		reply(s, i);
		assert_int_equal(take(s, fd), i);
	}
	RUN_UNTIL(s, s->forwarded == TCP_IN_FLIGHT_MAX + 50);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	for (unsigned i = 50; i < TCP_IN_FLIGHT_MAX + 50; i++) {
		reply(s, i);
		assert_int_equal(take(s, fd), i);
	}
	take_end(s, fd);
}

static void count_told(void *ctx, const struct span *messages, unsigned count)
{
	(void)ctx, (void)messages;
	told += count;
}

/* What cannot be taken yet is not told of again and again, for each that is. */
static void what_waits_for_its_turn_is_not_told_of(void **state)
{
	struct server *s = *state;
	enum { QUERIES = TCP_IN_FLIGHT_MAX + 50 };
	start(s);
	tcp_set_expect(s->tcp, count_told);
	told = 0;
	int fd = client(s);
	for (uint16_t i = 0; i < QUERIES; i++) {
		ask(fd, i, ORDER_FORWARD);
	}
	settle(s);
	for (unsigned i = 0; i < QUERIES; i++) {
		reply(s, i);
		assert_int_equal(take(s, fd), i);
	}
	assert_in_range(told, 50, QUERIES);
	close(fd);
}

static void a_query_that_is_never_answered_holds_nothing_for_ever(void **state)
{
	struct server *s = *state;
	s->conf.forward_timeout_ms = 50;
	s->conf.tcp_idle_ms = 100;
	start(s);
	int fd = client(s);
	ask(fd, 1, ORDER_FORWARD);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	take_end(s, fd);
}

static void an_idle_connection_is_closed(void **state)
{
	struct server *s = *state;
	s->conf.tcp_idle_ms = 200;
	start(s);
	int64_t begin = now_ms();
	int fd = client(s);
	ask(fd, 1, ORDER_ANSWER);
	assert_int_equal(take(s, fd), 1);
	take_end(s, fd);
	assert_true(now_ms() - begin >= 200);
	assert_int_equal(count(s, STAT_DROP_TCP_IDLE), 1);
}

static void who_waits_for_an_answer_is_not_idle(void **state)
{
	struct server *s = *state;
	s->conf.tcp_idle_ms = 50;
	start(s);
	int fd = client(s);
	ask(fd, 1, ORDER_FORWARD);
	int64_t begin = now_ms();
	RUN_UNTIL(s, now_ms() - begin > 250);
	assert_int_equal(tcp_connections(s->tcp), 1);
	reply(s, 0);
	assert_int_equal(take(s, fd), 1);
	take_end(s, fd);
}

static void a_frame_that_drips_is_given_up(void **state)
{
	struct server *s = *state;
	uint8_t frame[FRAME_LEN];
	size_t sent = 0;
	s->conf.tcp_idle_ms = 200;
	start(s);
	int fd = client(s);
	put_query(frame, 1, ORDER_ANSWER);
	/* An octet each turn, at most every 10 ms: never idle, never whole before the limit. */
	for (int64_t begin = now_ms(), last = 0; !readable(fd); turn(s)) {
		assert_true(now_ms() < begin + PATIENCE_MS);
		if (sent < sizeof(frame) - 1 && now_ms() - last >= 30) {
			assert_int_equal(send(fd, frame + sent, 1, MSG_NOSIGNAL), 1);
			sent++;
			last = now_ms();
		}
	}
	assert_true(sent < sizeof(frame) - 1);
	take_end(s, fd);
	assert_int_equal(count(s, STAT_DROP_TCP_IDLE), 1);
	assert_int_equal(s->served, 0);
}

static void at_the_finish_every_answer_is_sent(void **state)
{
	struct server *s = *state;
	start(s);
	int waits = client(s), idle = client(s), slow = client(s);
	ask(waits, 1, ORDER_FORWARD);
	ask(idle, 2, ORDER_ANSWER);
	assert_int_equal(take(s, idle), 2);
	for (uint16_t i = 0; i < 100; i++) {
		ask(slow, i, ORDER_BIG);
	}
	RUN_UNTIL(s, s->forwarded == 1);
	settle(s);
	tcp_finish(s->tcp);
	take_end(s, idle);
	unsigned owed = s->served - 2;
	for (uint16_t i = 0; i < owed; i++) {
		assert_int_equal(take(s, slow), i);
	}
	take_end(s, slow);
	assert_int_equal(tcp_connections(s->tcp), 1);
	reply(s, 0);
	assert_int_equal(take(s, waits), 1);
	take_end(s, waits);
	assert_int_equal(tcp_connections(s->tcp), 0);
}

static void closing_does_not_wait(void **state)
{
	struct server *s = *state;
	start(s);
	int fd = client(s);
	ask(fd, 1, ORDER_FORWARD);
	ask(fd, 1, ORDER_BIG);
	RUN_UNTIL(s, s->forwarded == 1);
	tcp_close(s->tcp);
	s->tcp = NULL;
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STATEMENT(a_query_is_answered),
		STATEMENT(answers_to_canaries_are_sent_and_not_counted),
		STATEMENT(pipelined_queries_are_all_answered),
		STATEMENT(what_came_together_is_told_of_before_it_is_served),
		STATEMENT(frames_may_come_octet_by_octet),
		STATEMENT(forwarded_answers_come_as_they_are_ready),
		STATEMENT(a_forwarded_query_may_be_answered_at_once),
		STATEMENT(what_is_dropped_leaves_no_frame),
		STATEMENT(a_half_closed_peer_gets_all_its_answers),
		STATEMENT(a_slow_half_closed_peer_gets_all_its_answers),
		STATEMENT(a_reply_to_a_connection_that_left_is_dropped),
		STATEMENT(a_reply_to_nowhere_is_dropped),
		STATEMENT(a_reset_harms_nobody_else),
		STATEMENT(a_frame_shorter_than_a_header_ends_the_connection),
		STATEMENT(a_frame_over_the_limit_ends_the_connection),
		STATEMENT(what_is_no_query_may_be_as_long_as_messages_get),
		STATEMENT(what_it_is_is_waited_for),
		STATEMENT(large_messages_are_few_at_once),
		STATEMENT(who_sends_half_a_large_message_keeps_no_room),
		STATEMENT(who_reads_no_answers_is_read_no_more_and_closed),
		STATEMENT(large_answers_for_all_at_once_are_not_kept_without_limit),
		STATEMENT(who_reads_late_gets_everything),
		STATEMENT(queries_in_flight_are_limited),
		STATEMENT(what_waits_for_its_turn_is_not_told_of),
		STATEMENT(a_query_that_is_never_answered_holds_nothing_for_ever),
		STATEMENT(an_idle_connection_is_closed),
		STATEMENT(who_waits_for_an_answer_is_not_idle),
		STATEMENT(a_frame_that_drips_is_given_up),
		STATEMENT(at_the_finish_every_answer_is_sent),
		STATEMENT(closing_does_not_wait),
	};
	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
