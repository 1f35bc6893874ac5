/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/message.h"

#include "dns/wire/hop.h"

#include <errno.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* RFC 9018, appendix A.1 */
static const struct cookie_secret secret = {{0xe5, 0xe9, 0x73, 0xe5, 0xa6, 0xb2, 0xa4, 0x3f, 0x48,
	0xe7, 0xdc, 0x84, 0x9e, 0x37, 0xbf, 0xcf}};
static const char client_cookie[] = "\x24\x64\xc4\xab\xcf\x10\xc9\x57";
static const char whole_cookie[] = "\x24\x64\xc4\xab\xcf\x10\xc9\x57"
				   "\x01\0\0\0\x5c\xf7\x9f\x11\x1f\x81\x30\xc3\xee\xe2\x94\x80";

enum { THEN = 1559731985, KEEPALIVE_MS = 10000 };

static struct hop hop_over(uint32_t keepalive_ms)
{
	return (struct hop){.secret = &secret,
		.peer = {4, {198, 51, 100, 100}},
		.now = THEN,
		.keepalive_ms = keepalive_ms};
}

/* What a query with these options is owed; 0 or -EBADMSG. */
static int options_for(struct edns_options *o, const char *rdata, size_t len, uint32_t keepalive_ms)
{
	struct message m;
	struct query q;
	struct hop hop = hop_over(keepalive_ms);
	message_query(&m, "web.mesh", TYPE_A);
	message_opt(&m, (struct opt){.size = 1232, .rdata = rdata, .rdata_len = (uint16_t)len});
	assert_int_equal(query_parse(&q, message_span(&m)), 0);
	memset(o, 0xff, sizeof(*o));
	return hop_options(o, &q, &hop);
}

static void plain_queries_are_owed_nothing(void **state)
{
	(void)state;
	static const struct {
		const char *rdata;
		size_t len;
	} vectors[] = {
		{"", 0}, {"\0\3\0\0", 4}, {"\0\10\0\7\0\1\30\0\300\0\2", 11}, {"\0\14\0\2\0\0", 6}};
	struct edns_options o;
	for (size_t i = 0; i < COUNT(vectors); i++) {
		assert_int_equal(
			options_for(&o, vectors[i].rdata, vectors[i].len, KEEPALIVE_MS), 0);
		assert_int_equal(o.len, 0);
	}
	struct message m;
	struct query q;
	struct hop hop = hop_over(KEEPALIVE_MS);
	message_query(&m, "web.mesh", TYPE_A);
	assert_int_equal(query_parse(&q, message_span(&m)), 0);
	o.len = 0xff;
	assert_int_equal(hop_options(&o, &q, &hop), 0);
	assert_int_equal(edns_options_span(&o).len, 0);
}

/* RFC 9018, appendix A.1: learning a new server cookie */
static void client_cookie_gets_ours(void **state)
{
	(void)state;
	char rdata[12] = {0, 10, 0, 8};
	struct edns_options o;
	memcpy(rdata + 4, client_cookie, 8);
	assert_int_equal(options_for(&o, rdata, sizeof(rdata), 0), 0);
	struct span s = edns_options_span(&o);
	assert_int_equal(s.len, EDNS_COOKIE_LEN);
	assert_memory_equal(s.data, "\0\12\0\30", 4);
	assert_memory_equal(s.data + 4, whole_cookie, 24);
}

/* RFC 7873 §5.2.4, §5.2.5: a good one is echoed, and a bad one (here our own with an octet less or
 * changed) is answered with a good one. */
static void server_cookie_is_echoed_or_replaced(void **state)
{
	(void)state;
	char rdata[28] = {0, 10, 0, 24};
	struct edns_options o;
	for (int change = 0; change < 3; change++) {
		memcpy(rdata + 4, whole_cookie, 24);
		rdata[27] ^= (char)(change == 1);
		rdata[3] = change == 2 ? 23 : 24;
		assert_int_equal(options_for(&o, rdata, change == 2 ? 27 : sizeof(rdata), 0), 0);
		assert_int_equal(o.len, EDNS_COOKIE_LEN);
		assert_memory_equal(o.octets + 4, whole_cookie, 24);
	}
}

/* RFC 7828 §3.3.1, §3.3.2 */
static void keepalive_is_answered_over_tcp_alone(void **state)
{
	(void)state;
	struct edns_options o;
	assert_int_equal(options_for(&o, "\0\13\0\0", 4, KEEPALIVE_MS), 0);
	assert_int_equal(o.len, EDNS_KEEPALIVE_LEN);
	assert_memory_equal(o.octets, "\0\13\0\2\0\144", 6);
	assert_int_equal(options_for(&o, "\0\13\0\0", 4, 0), 0);
	assert_int_equal(o.len, 0);
}

/* RFC 6891 §7; RFC 7828 §3.3.1: over UDP it is ignored, whatever it holds */
static void malformed_keepalive_is_a_format_error_over_tcp_alone(void **state)
{
	(void)state;
	static const char rdata[] = "\0\13\0\1\0\0\12\0\10clientck";
	struct edns_options o;
	assert_int_equal(options_for(&o, rdata, sizeof(rdata) - 1, KEEPALIVE_MS), -EBADMSG);
	assert_int_equal(o.len, EDNS_COOKIE_LEN); /* the cookie is owed all the same */
	assert_int_equal(options_for(&o, rdata, sizeof(rdata) - 1, 0), 0);
	assert_int_equal(o.len, EDNS_COOKIE_LEN);
}

static void both_options_stand_behind_each_other(void **state)
{
	(void)state;
	static const char rdata[] = "\0\13\0\2\1\0\0\12\0\10clientck";
	struct edns_options o;
	assert_int_equal(options_for(&o, rdata, sizeof(rdata) - 1, 0xffffffff), 0);
	assert_int_equal(o.len, EDNS_OPTIONS_MAX);
	assert_memory_equal(o.octets, "\0\12\0\30clientck", 12);
	assert_memory_equal(o.octets + EDNS_COOKIE_LEN, "\0\13\0\2\377\377", 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_queries_are_owed_nothing),
		cmocka_unit_test(client_cookie_gets_ours),
		cmocka_unit_test(server_cookie_is_echoed_or_replaced),
		cmocka_unit_test(keepalive_is_answered_over_tcp_alone),
		cmocka_unit_test(malformed_keepalive_is_a_format_error_over_tcp_alone),
		cmocka_unit_test(both_options_stand_behind_each_other),
	};
	return cmocka_run_group_tests_name("hop", tests, NULL, NULL);
}
