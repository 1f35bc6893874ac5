/* SPDX-License-Identifier: Apache-2.0
 *
 * Where connections come from, and which gives way where there are too many.
 */
#include "tests/tcp_server.h"

static void at_the_cap_of_all_the_longest_idle_makes_room(void **state)
{
	struct server *s = *state;
	s->conf.tcp_connections_max = 2;
	start(s);
	int one = client(s), two = client(s);
	ask(one, 1, ORDER_ANSWER);
	assert_int_equal(take(s, one), 1);
	pass_ms(s, 2);
	ask(two, 2, ORDER_ANSWER);
	assert_int_equal(take(s, two), 2);
	int three = client(s);
	ask(three, 3, ORDER_ANSWER);
	assert_int_equal(take(s, three), 3);
	take_end(s, one);
	ask(two, 4, ORDER_ANSWER);
	assert_int_equal(take(s, two), 4);
	assert_int_equal(count(s, STAT_DROP_TCP_LIMIT), 1);
	close(two);
	close(three);
}

static void who_waits_for_an_answer_makes_no_room(void **state)
{
	struct server *s = *state;
	s->conf.tcp_connections_max = 2;
	start(s);
	int one = client(s), two = client(s);
	ask(one, 1, ORDER_FORWARD);
	ask(two, 2, ORDER_FORWARD);
	RUN_UNTIL(s, s->forwarded == 2);
	int three = client(s);
	take_end(s, three);
	assert_int_equal(count(s, STAT_DROP_TCP_LIMIT), 1);
	reply(s, 0);
	reply(s, 1);
	(void)take(s, one);
	(void)take(s, two);
	close(one);
	close(two);
}

static void at_the_cap_of_its_peer_others_keep_their_connections(void **state)
{
	struct server *s = *state;
	s->conf.tcp_connections_peer_max = 2;
	start(s);
	struct endpoint elsewhere = loopback(0);
	elsewhere.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
	int other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(other, &elsewhere.sa, elsewhere.len), 0);
	assert_int_equal(connect(other, &s->at.sa, s->at.len), 0);
	RUN_UNTIL(s, tcp_connections(s->tcp) == 1);
	pass_ms(s, 2);
	int one = client(s);
	RUN_UNTIL(s, tcp_connections(s->tcp) == 2);
	pass_ms(s, 2);
	int two = client(s), three = client(s);
	take_end(s, one);
	assert_int_equal(count(s, STAT_DROP_TCP_LIMIT), 1);
	ask(other, 4, ORDER_ANSWER);
	assert_int_equal(take(s, other), 4);
	ask(two, 2, ORDER_ANSWER);
	assert_int_equal(take(s, two), 2);
	ask(three, 3, ORDER_ANSWER);
	assert_int_equal(take(s, three), 3);
	close(two);
	close(three);
	close(other);
}

static void without_descriptors_the_next_waits_its_turn(void **state)
{
	struct server *s = *state;
	struct rlimit before, none;
	s->conf.tcp_idle_ms = 200;
	start(s);
	settle(s);
	int fd = client(s);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = (rlim_t)fd + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	ask(fd, 1, ORDER_ANSWER);
	settle(s);
	assert_int_equal(tcp_connections(s->tcp), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(take(s, fd), 1);
	close(fd);
}

static void two_workers_share_a_port(void **state)
{
	struct server *s = *state;
	struct tcp *other;
	start(s);
	assert_int_equal(tcp_open(&other, s->base, &s->conf, &s->stats, serve, s), 0);
	assert_int_equal(tcp_listen(other, &s->at, 0), 0);
	tcp_close(other);
}

static void all_of_loopback_is_listened_at_and_told_apart(void **state)
{
	struct server *s = *state;
	struct endpoint all;
	start(s);
	all = s->at;
	all.in.sin_addr.s_addr = htonl(INADDR_ANY);
	assert_int_equal(tcp_listen(s->tcp, &all, LISTEN_INSIDE | LISTEN_ELSEWHERE), 0);
	s->at.in.sin_addr.s_addr = htonl(0x7f6b0401); /* 127.107.4.1 */
	int fd = client(s);
	ask(fd, 1, ORDER_FORWARD);
	RUN_UNTIL(s, s->forwarded == 1);
	struct endpoint local;
	assert_int_equal(tcp_local(s->tcp, &s->asked[0], &local), 0);
	assert_true(endpoint_equal(&local, &s->at));
	assert_true(s->asked[0].elsewhere);
	close(fd);
}

static void an_address_that_is_not_ours_is_an_error(void **state)
{
	struct server *s = *state;
	start(s);
	struct endpoint foreign = loopback(0);
	foreign.in.sin_addr.s_addr = htonl(0xc0000201); /* 192.0.2.1 */
	assert_int_equal(tcp_listen(s->tcp, &foreign, 0), -EADDRNOTAVAIL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STATEMENT(at_the_cap_of_all_the_longest_idle_makes_room),
		STATEMENT(who_waits_for_an_answer_makes_no_room),
		STATEMENT(at_the_cap_of_its_peer_others_keep_their_connections),
		STATEMENT(without_descriptors_the_next_waits_its_turn),
		STATEMENT(two_workers_share_a_port),
		STATEMENT(all_of_loopback_is_listened_at_and_told_apart),
		STATEMENT(an_address_that_is_not_ours_is_an_error),
	};
	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
