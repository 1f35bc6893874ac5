/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/message.h"

#include "dns/wire/edns.h"

#include <errno.h>

/* RDATA of OPT from a string of octets: as an initializer, and as an expression. */
#define OCTETS(octets)                                                                             \
	{                                                                                          \
		(const uint8_t *)(octets), sizeof(octets) - 1                                      \
	}
#define RDATA(octets) ((struct span)OCTETS(octets))
#define COUNT(array)  (sizeof(array) / sizeof((array)[0]))

static void assert_span(struct span found, const char *octets, size_t len)
{
	assert_int_equal(found.len, len);
	assert_memory_equal(found.data, octets, len);
}

static struct edns_query query_of(struct span rdata)
{
	struct edns_query e;
	assert_int_equal(edns_query_read(&e, rdata), 0);
	return e;
}

/* Read from an allocation of just that size, so that a sanitizer sees what is read beyond it. */
static int read_exactly(struct edns_query *e, struct span rdata)
{
	uint8_t *octets = malloc(rdata.len + 1);
	assert_non_null(octets);
	memcpy(octets + 1, rdata.data, rdata.len);
	int rc = edns_query_read(e, (struct span){octets + 1, rdata.len});
	free(octets);
	return rc;
}

static void opt_without_options_says_nothing(void **state)
{
	(void)state;
	struct edns_query e = query_of(RDATA(""));
	assert_int_equal(e.cookie.len, 0);
	assert_int_equal(e.subnet.len, 0);
	assert_int_equal(e.keepalive, EDNS_KEEPALIVE_NONE);
}

/* NSID, padding, a local code: RFC 6891 §6.1.2 */
static void unknown_options_are_passed_over(void **state)
{
	(void)state;
	struct edns_query e = query_of(RDATA("\0\3\0\0"
					     "\0\14\0\5\0\0\0\0\0"
					     "\375\351\0\2xy"
					     "\0\12\0\10clientck"));
	assert_span(e.cookie, "clientck", 8);
}

static void options_that_overrun_are_malformed(void **state)
{
	(void)state;
	static const struct span vectors[] = {
		OCTETS("\0"),
		OCTETS("\0\12\0"),
		OCTETS("\0\12\0\10clientc"),
		OCTETS("\375\351\377\377"),
		OCTETS("\0\12\0\10clientck\0\3\0"),
	};
	for (size_t i = 0; i < COUNT(vectors); i++) {
		struct edns_query e;
		assert_int_equal(read_exactly(&e, vectors[i]), -EBADMSG);
	}
}

/* RFC 7873 §5.2.2: 8, or 16 to 40 octets */
static void cookie_has_eight_or_sixteen_to_forty_octets(void **state)
{
	(void)state;
	for (uint8_t len = 0; len < 60; len++) {
		uint8_t octets[64] = {0, 10, 0, len};
		struct edns_query e;
		bool good = len == 8 || (len >= 16 && len <= 40);
		int rc = read_exactly(&e, (struct span){octets, 4U + len});
		assert_int_equal(rc, good ? 0 : -EBADMSG);
	}
}

/* RFC 7873 §5.2: the others are ignored, whatever they hold */
static void first_of_several_options_counts(void **state)
{
	(void)state;
	struct edns_query e = query_of(RDATA("\0\12\0\10clientck"
					     "\0\12\0\10otherone"
					     "\0\12\0\1x"
					     "\0\10\0\7\0\1\30\0\300\0\2"
					     "\0\10\0\5\0\1\10\0\12"
					     "\0\10\0\1x"));
	assert_span(e.cookie, "clientck", 8);
	assert_span(e.subnet, "\0\10\0\7\0\1\30\0\300\0\2", 11);
}

/* RFC 7828 §3.1: 0 octets, or 2; a client's time is not looked at */
static void keepalive_asks_whatever_time_it_names(void **state)
{
	(void)state;
	assert_int_equal(query_of(RDATA("\0\13\0\0")).keepalive, EDNS_KEEPALIVE_ASKED);
	assert_int_equal(query_of(RDATA("\0\13\0\2\1\0")).keepalive, EDNS_KEEPALIVE_ASKED);
	assert_int_equal(query_of(RDATA("\0\13\0\1\1")).keepalive, EDNS_KEEPALIVE_MALFORMED);
	assert_int_equal(query_of(RDATA("\0\13\0\4\0\0\0\1")).keepalive, EDNS_KEEPALIVE_MALFORMED);
}

/* RFC 7871 §6 */
static const struct {
	const char *what;
	struct span option;
	bool good;
} subnets[] = {
	{"192.0.2.0/24", OCTETS("\0\10\0\7\0\1\30\0\300\0\2"), true},
	{"192.0.0.0/17", OCTETS("\0\10\0\7\0\1\21\0\300\0\200"), true},
	{"192.0.2.1/32", OCTETS("\0\10\0\10\0\1\40\0\300\0\2\1"), true},
	{"0.0.0.0/0: nobody is to know (§7.1.2)", OCTETS("\0\10\0\4\0\1\0\0"), true},
	{"::/0", OCTETS("\0\10\0\4\0\2\0\0"), true},
	{"dig +subnet=0", OCTETS("\0\10\0\4\0\0\0\0"), true},
	{"2001:db8::/32", OCTETS("\0\10\0\10\0\2\40\0\40\1\15\270"), true},
	{"2001:db8::1/128", OCTETS("\0\10\0\24\0\2\200\0\40\1\15\270\0\0\0\0\0\0\0\0\0\0\0\1"),
		true},
	{"empty", OCTETS("\0\10\0\0"), false},
	{"no scope", OCTETS("\0\10\0\3\0\1\0"), false},
	{"scope in a query", OCTETS("\0\10\0\7\0\1\30\30\300\0\2"), false},
	{"scope beyond the family", OCTETS("\0\10\0\7\0\1\30\41\300\0\2"), false},
	{"IPv4 /33", OCTETS("\0\10\0\11\0\1\41\0\300\0\2\1\0"), false},
	{"IPv6 /129", OCTETS("\0\10\0\25\0\2\201\0\40\1\15\270\0\0\0\0\0\0\0\0\0\0\0\1\0"), false},
	{"too few octets", OCTETS("\0\10\0\6\0\1\30\0\300\0"), false},
	{"too many octets", OCTETS("\0\10\0\10\0\1\30\0\300\0\2\0"), false},
	{"bit behind the prefix", OCTETS("\0\10\0\7\0\1\21\0\300\0\240"), false},
	{"last bit behind the prefix", OCTETS("\0\10\0\7\0\1\27\0\300\0\3"), false},
	{"family 3", OCTETS("\0\10\0\4\0\3\0\0"), false},
	{"family 0 with an address", OCTETS("\0\10\0\5\0\0\10\0\12"), false},
};

static void client_subnet_is_kept_whole_or_malformed(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(subnets); i++) {
		struct edns_query e;
		int rc = read_exactly(&e, subnets[i].option);
		if ((rc == 0) != subnets[i].good) {
			fail_msg("%s: %d", subnets[i].what, rc);
		}
		if (rc == 0) {
			e = query_of(subnets[i].option);
			assert_int_equal(e.subnet.len, subnets[i].option.len);
			assert_ptr_equal(e.subnet.data, subnets[i].option.data);
			assert_true(e.subnet.len <= EDNS_SUBNET_MAX);
		}
	}
}

static void responses_subnet_keeps_its_scope(void **state)
{
	(void)state;
	struct edns_response e;
	edns_response_read(&e, RDATA("\0\10\0\7\0\1\30\20\300\0\2"));
	assert_int_equal(edns_subnet_scope(e.subnet), 16);
	assert_int_equal(edns_subnet_scope((struct span){0}), 0);
}

/* RFC 8914 §2 */
static void extended_errors_of_a_response_are_read_in_order(void **state)
{
	(void)state;
	struct edns_response e;
	edns_response_read(&e, RDATA("\0\17\0\2\0\6"
				     "\0\12\0\10clientck"
				     "\0\17\0\11\0\26timeout"
				     "\0\17\0\1\0"));
	assert_int_equal(e.ede_count, 2);
	assert_int_equal(e.ede[0].code, 6);
	assert_int_equal(e.ede[0].text.len, 0);
	assert_int_equal(e.ede[1].code, 22);
	assert_span(e.ede[1].text, "timeout", 7);
	assert_int_equal(e.subnet.len, 0);
}

static void extended_errors_beyond_the_fourth_are_left_out(void **state)
{
	(void)state;
	struct edns_response e;
	edns_response_read(&e, RDATA("\0\17\0\2\0\1\0\17\0\2\0\2\0\17\0\2\0\3"
				     "\0\17\0\2\0\4\0\17\0\2\0\5"));
	assert_int_equal(e.ede_count, EDNS_EDE_MAX);
	assert_int_equal(e.ede[EDNS_EDE_MAX - 1].code, 4);
}

/* What a server says besides its answer is no reason to lose the answer. */
static void malformed_options_of_a_response_are_left_out(void **state)
{
	(void)state;
	struct edns_response e;
	edns_response_read(&e, RDATA("\0\10\0\6\0\1\30\0\300\0"
				     "\0\17\0\2\0\7"
				     "\0\17\0\11\0\26"));
	assert_int_equal(e.subnet.len, 0);
	assert_int_equal(e.ede_count, 1);
	assert_int_equal(e.ede[0].code, 7);
}

/* RFC 7871 §7.3 */
static void subnet_of_a_response_is_compared_but_for_its_scope(void **state)
{
	(void)state;
	struct span asked = RDATA("\0\10\0\7\0\1\30\0\300\0\2");
	struct span none = {0};
	assert_true(edns_subnet_answers(asked, RDATA("\0\10\0\7\0\1\30\20\300\0\2")));
	assert_true(edns_subnet_answers(asked, none));
	assert_true(edns_subnet_answers(none, none));
	assert_false(edns_subnet_answers(none, asked));
	assert_false(edns_subnet_answers(asked, RDATA("\0\10\0\7\0\1\30\20\300\0\3")));
	assert_false(edns_subnet_answers(asked, RDATA("\0\10\0\7\0\1\27\20\300\0\2")));
	assert_false(edns_subnet_answers(asked, RDATA("\0\10\0\7\0\2\30\20\300\0\2")));
	assert_false(edns_subnet_answers(asked, RDATA("\0\10\0\6\0\1\20\20\300\0")));
}

static void everything_that_is_written_stands_in_one_opt(void **state)
{
	(void)state;
	static const uint8_t cookie[] = "clientckserver cookie 16";
	static const char expected[] = "\0\12\0\30clientckserver cookie 16"
				       "\0\13\0\2\0\144"
				       "\0\10\0\7\0\1\30\20\300\0\2"
				       "\0\17\0\2\0\3"
				       "\0\17\0\7\0\26slow!";
	struct message m;
	message_query(&m, "web.mesh", TYPE_A);
	size_t at = edns_begin(&m.w, 1232, RCODE_BADVERS, true);
	edns_put_cookie(&m.w, cookie);
	edns_put_keepalive(&m.w, 10000);
	edns_put_subnet(&m.w, RDATA("\0\10\0\7\0\1\30\0\300\0\2"), 16);
	edns_put_ede(&m.w, 3, (struct span){0});
	edns_put_ede(&m.w, 22, RDATA("slow!"));
	edns_end(&m.w, at);
	message_count(&m, 3);

	ldns_pkt *p = packet_of(message_span(&m));
	assert_true(ldns_pkt_edns(p) && ldns_pkt_edns_do(p));
	assert_int_equal(ldns_pkt_edns_udp_size(p), 1232);
	assert_int_equal(ldns_pkt_edns_extended_rcode(p), 1);
	assert_int_equal(ldns_pkt_edns_version(p), 0);
	ldns_rdf *data = ldns_pkt_edns_data(p);
	assert_non_null(data);
	assert_span((struct span){ldns_rdf_data(data), ldns_rdf_size(data)}, expected,
		sizeof(expected) - 1);
	ldns_pkt_free(p);
}

static void lengths_are_as_announced(void **state)
{
	(void)state;
	uint8_t octets[64];
	struct writer w = {.data = octets, .size = sizeof(octets)};
	edns_put_cookie(&w, (const uint8_t *)"clientckserver cookie 16");
	assert_int_equal(w.len, EDNS_COOKIE_LEN);
	w.len = 0;
	edns_put_keepalive(&w, 1);
	assert_int_equal(w.len, EDNS_KEEPALIVE_LEN);
	w.len = 0;
	edns_put_ede(&w, 1, (struct span){0});
	assert_int_equal(w.len, EDNS_EDE_LEN);
	w.len = 0;
	edns_put_subnet(&w, (struct span){0}, 24);
	assert_int_equal(w.len, 0);
	assert_false(w.fault);
}

/* RFC 7828 §3.1: units of 100 ms, 16 bits of them */
static void keepalive_is_in_tenths_of_a_second(void **state)
{
	(void)state;
	static const struct {
		uint32_t timeout_ms;
		uint16_t units;
	} vectors[] = {
		{0, 0}, {99, 0}, {100, 1}, {30000, 300}, {6553500, 65535}, {UINT32_MAX, 65535}};
	for (size_t i = 0; i < COUNT(vectors); i++) {
		uint8_t octets[EDNS_KEEPALIVE_LEN];
		struct writer w = {.data = octets, .size = sizeof(octets)};
		edns_put_keepalive(&w, vectors[i].timeout_ms);
		assert_int_equal(octets_u16(octets + 4), vectors[i].units);
	}
}

/* RFC 8914 §3: the text goes first, then the error; nothing else is lost for it */
static void extended_error_takes_no_more_than_there_is(void **state)
{
	(void)state;
	uint8_t octets[32];
	for (size_t size = 0; size <= 16; size++) {
		struct writer w = {.data = octets, .size = size};
		edns_put_ede(&w, 22, RDATA("slow!"));
		assert_int_equal(w.len, size >= 11 ? 11 : size >= 6 ? 6 : 0);
		assert_false(w.fault);
		if (w.len > 0) {
			assert_int_equal(octets_u16(octets + 2), w.len - 4);
		}
	}
	struct writer full = {.data = octets, .size = sizeof(octets), .fault = true};
	edns_put_ede(&full, 22, (struct span){0});
	assert_int_equal(full.len, 0);
}

static void what_does_not_fit_is_a_fault(void **state)
{
	(void)state;
	uint8_t octets[EDNS_COOKIE_LEN - 1];
	struct writer w = {.data = octets, .size = sizeof(octets)};
	edns_put_cookie(&w, (const uint8_t *)"clientckserver cookie 16");
	assert_true(w.fault);
	w = (struct writer){.data = octets, .size = 10};
	edns_put_subnet(&w, RDATA("\0\10\0\7\0\1\30\0\300\0\2"), 16);
	assert_true(w.fault);
	w = (struct writer){.data = octets, .size = 10};
	edns_end(&w, edns_begin(&w, 1232, 0, false));
	assert_true(w.fault);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(opt_without_options_says_nothing),
		cmocka_unit_test(unknown_options_are_passed_over),
		cmocka_unit_test(options_that_overrun_are_malformed),
		cmocka_unit_test(cookie_has_eight_or_sixteen_to_forty_octets),
		cmocka_unit_test(first_of_several_options_counts),
		cmocka_unit_test(keepalive_asks_whatever_time_it_names),
		cmocka_unit_test(client_subnet_is_kept_whole_or_malformed),
		cmocka_unit_test(responses_subnet_keeps_its_scope),
		cmocka_unit_test(extended_errors_of_a_response_are_read_in_order),
		cmocka_unit_test(extended_errors_beyond_the_fourth_are_left_out),
		cmocka_unit_test(malformed_options_of_a_response_are_left_out),
		cmocka_unit_test(subnet_of_a_response_is_compared_but_for_its_scope),
		cmocka_unit_test(everything_that_is_written_stands_in_one_opt),
		cmocka_unit_test(lengths_are_as_announced),
		cmocka_unit_test(keepalive_is_in_tenths_of_a_second),
		cmocka_unit_test(extended_error_takes_no_more_than_there_is),
		cmocka_unit_test(what_does_not_fit_is_a_fault),
	};
	return cmocka_run_group_tests_name("edns", tests, NULL, NULL);
}
