/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/message.h"

#include "dns/wire/relay.h"

#include <errno.h>

enum { TYPE_TXT = 16, TYPE_MX = 15, TYPE_TSIG = 250 };

static const uint8_t public_address[] = {192, 0, 2, 1};

/* A requestor's query, remembered. */
static struct asker asker_for(const char *name, uint16_t type, const struct opt *opt, size_t limit)
{
	struct message m;
	struct query q;
	struct asker a;
	message_query(&m, name, type);
	if (opt) {
		message_opt(&m, *opt);
	}
	assert_int_equal(query_parse(&q, message_span(&m)), 0);
	asker_init(&a, &q, limit);
	return a;
}

static const struct opt plain_opt = {.size = 1232};
static const struct opt do_opt = {.size = 1232, .edns_do = true};

static void upstream_begin(struct message *m, const char *name, uint16_t type, unsigned flags)
{
	message_begin(m, (uint16_t)(FLAG_QR | FLAG_RD | FLAG_RA | flags));
	message_question(m, name, type);
}

/* Relay `m` to `a`; the result stands in `octets`. */
static struct span relayed_to(
	const struct asker *a, const struct message *m, uint8_t *octets, size_t size)
{
	struct relayed r;
	assert_int_equal(relayed_read(&r, message_span(m), a), 0);
	struct writer out = {.data = octets, .size = size};
	size_t len = relay_response(&r, a, &out);
	assert_int_equal(len, out.len);
	return (struct span){octets, len};
}

static void query_goes_up_with_our_opt_as_its_last_eleven_octets(void **state)
{
	(void)state;
	struct asker a = asker_for("Api.Example.com", TYPE_A, &do_opt, 1232);
	uint8_t octets[512];
	struct writer out = {.data = octets, .size = sizeof(octets)};
	size_t len = relay_query(&a, 0xbeef, true, &out);
	assert_memory_equal(octets + len - OPT_LEN, "\0\0\51\4\320\0\0\200\0\0\0", OPT_LEN);
	ldns_pkt *p = packet_of((struct span){octets, len});
	assert_int_equal(ldns_pkt_id(p), 0xbeef);
	assert_true(ldns_pkt_rd(p) && ldns_pkt_edns_do(p));
	assert_false(ldns_pkt_qr(p));
	assert_record(ldns_pkt_question(p), 0, "Api.Example.com.\tIN\tA");
	ldns_pkt_free(p);

	out.len = 0;
	assert_int_equal(relay_query(&a, 1, false, &out), len - OPT_LEN);
	p = packet_of((struct span){octets, out.len});
	assert_false(ldns_pkt_edns(p));
	ldns_pkt_free(p);
}

static void query_that_does_not_fit_is_not_written(void **state)
{
	(void)state;
	struct asker a = asker_for("api.example.com", TYPE_A, NULL, 512);
	uint8_t octets[20];
	struct writer out = {.data = octets, .size = sizeof(octets)};
	assert_int_equal(relay_query(&a, 1, true, &out), 0);
}

/* RFC 5452 §4.2 */
static void response_to_another_question_is_refused(void **state)
{
	(void)state;
	struct asker a = asker_for("api.example.com", TYPE_A, NULL, 512);
	struct relayed r;
	struct message m;
	upstream_begin(&m, "evil.example.com", TYPE_A, 0);
	assert_int_equal(relayed_read(&r, message_span(&m), &a), -ENOMSG);
	upstream_begin(&m, "api.example.com", TYPE_AAAA, 0);
	assert_int_equal(relayed_read(&r, message_span(&m), &a), -ENOMSG);
	upstream_begin(&m, "api.example.co", TYPE_A, 0);
	assert_int_equal(relayed_read(&r, message_span(&m), &a), -ENOMSG);
	upstream_begin(&m, "api.example.com", TYPE_A, 0);
	message_question(&m, "api.example.com", TYPE_A);
	assert_int_equal(relayed_read(&r, message_span(&m), &a), -ENOMSG);
	message_begin(&m, FLAG_QR);
	assert_int_equal(relayed_read(&r, message_span(&m), &a), -ENOMSG);
	message_query(&m, "api.example.com", TYPE_A);
	assert_int_equal(relayed_read(&r, message_span(&m), &a), -ENOMSG);
	assert_int_equal(relayed_read(&r, (struct span){m.octets, 11}, &a), -ENOMSG);
}

static void spelling_id_and_rd_are_the_requestors(void **state)
{
	(void)state;
	struct asker a = asker_for("API.example.COM", TYPE_A, NULL, 512);
	struct message m;
	upstream_begin(&m, "api.example.com", TYPE_A, FLAG_AA);
	m.octets[0] = 0x99;
	message_record(&m, 1, NULL, TYPE_A, 300, public_address, 4);
	uint8_t octets[1024];
	struct span s = relayed_to(&a, &m, octets, sizeof(octets));
	ldns_pkt *p = packet_of(s);
	assert_int_equal(ldns_pkt_id(p), 0x1234);
	assert_true(ldns_pkt_aa(p) && ldns_pkt_rd(p) && ldns_pkt_ra(p));
	assert_record(ldns_pkt_question(p), 0, "API.example.COM.\tIN\tA");
	assert_record(ldns_pkt_answer(p), 0, "API.example.COM.\t300\tIN\tA\t192.0.2.1");
	/* RFC 5625 §6.2: nothing else is touched */
	size_t start = HEADER_LEN + a.question_len;
	assert_int_equal(s.len, m.w.len);
	assert_memory_equal(s.data + start, m.octets + start, s.len - start);
	ldns_pkt_free(p);
}

static void opt_is_ours_and_only_for_those_who_sent_one(void **state)
{
	(void)state;
	struct message m;
	upstream_begin(&m, "api.example.com", TYPE_A, 0);
	message_record(&m, 1, NULL, TYPE_A, 300, public_address, 4);
	message_opt(&m, (struct opt){.size = 4096, .rdata = "\0\12\0\10abcdefgh", .rdata_len = 12});
	const struct opt *const opts[] = {NULL, &plain_opt, &do_opt};
	for (size_t i = 0; i < 3; i++) {
		struct asker a = asker_for("api.example.com", TYPE_A, opts[i], 1232);
		uint8_t octets[1024];
		ldns_pkt *p = packet_of(relayed_to(&a, &m, octets, sizeof(octets)));
		assert_int_equal(ldns_pkt_edns(p), i > 0);
		assert_int_equal(ldns_pkt_ancount(p), 1);
		assert_int_equal(octets_u16(octets + 10), i > 0);
		if (i > 0) {
			assert_int_equal(ldns_pkt_edns_udp_size(p), UDP_LEN_OURS);
			assert_int_equal(ldns_pkt_edns_do(p), i == 2);
			assert_null(ldns_pkt_edns_data(p)); /* RFC 7873: cookies end here */
		}
		ldns_pkt_free(p);
	}
}

static void records_behind_opt_follow_where_they_can(void **state)
{
	(void)state;
	struct asker a = asker_for("api.example.com", TYPE_A, NULL, 1232);
	uint8_t octets[1024];
	struct message m;
	upstream_begin(&m, "api.example.com", TYPE_A, 0);
	message_opt(&m, (struct opt){.size = 4096});
	message_record(&m, 3, "ns.example.com", TYPE_A, 60, public_address, 4);
	message_record(&m, 3, NULL, TYPE_A, 60, public_address, 4);
	ldns_pkt *p = packet_of(relayed_to(&a, &m, octets, sizeof(octets)));
	assert_int_equal(ldns_pkt_arcount(p), 2);
	assert_record(ldns_pkt_additional(p), 0, "ns.example.com.\t60\tIN\tA\t192.0.2.1");
	assert_record(ldns_pkt_additional(p), 1, "api.example.com.\t60\tIN\tA\t192.0.2.1");
	ldns_pkt_free(p);

	/* a pointer to a name behind OPT would point to something else: the record is left out */
	upstream_begin(&m, "api.example.com", TYPE_A, 0);
	message_record(&m, 3, "a.example.com", TYPE_A, 60, public_address, 4);
	message_opt(&m, (struct opt){.size = 4096});
	size_t at = m.w.len;
	message_record(&m, 3, "ns.example.com", TYPE_A, 60, public_address, 4);
	writer_u16(&m.w, (uint16_t)(0xc000 | at));
	writer_octets(&m.w, "\0\1\0\1\0\0\0\1\0\4\1\2\3\4", 14);
	message_count(&m, 3);
	p = packet_of(relayed_to(&a, &m, octets, sizeof(octets)));
	assert_int_equal(ldns_pkt_arcount(p), 1);
	assert_record(ldns_pkt_additional(p), 0, "a.example.com.\t60\tIN\tA\t192.0.2.1");
	ldns_pkt_free(p);
}

/* RFC 6840 §5.8 */
static void ad_reaches_only_those_who_understand_it(void **state)
{
	(void)state;
	struct message m;
	uint8_t octets[1024];
	upstream_begin(&m, "api.example.com", TYPE_A, FLAG_AD);
	struct asker a = asker_for("api.example.com", TYPE_A, &plain_opt, 1232);
	(void)relayed_to(&a, &m, octets, sizeof(octets));
	assert_false(octets_u16(octets + 2) & FLAG_AD);
	a = asker_for("api.example.com", TYPE_A, &do_opt, 1232);
	(void)relayed_to(&a, &m, octets, sizeof(octets));
	assert_true(octets_u16(octets + 2) & FLAG_AD);
	a = asker_for("api.example.com", TYPE_A, NULL, 512);
	a.flags |= FLAG_AD;
	(void)relayed_to(&a, &m, octets, sizeof(octets));
	assert_true(octets_u16(octets + 2) & FLAG_AD);
}

static void large_answer_is_cut_at_whole_records_with_tc(void **state)
{
	(void)state;
	struct message m;
	upstream_begin(&m, "big.example.com", TYPE_A, 0);
	for (int i = 0; i < 60; i++) {
		message_record(&m, 1, NULL, TYPE_A, 60, public_address, 4);
	}
	message_record(&m, 2, "example.com", TYPE_NS, 60, "\2ns\0", 4);
	message_opt(&m, (struct opt){.size = 4096});
	static const size_t limits[] = {512, 600, 1232};
	const struct opt *const opts[] = {NULL, &plain_opt};
	for (size_t i = 0; i < 6; i++) {
		size_t limit = limits[i / 2];
		struct asker a = asker_for("big.example.com", TYPE_A, opts[i % 2], limit);
		uint8_t octets[2048];
		struct span s = relayed_to(&a, &m, octets, sizeof(octets));
		ldns_pkt *p = packet_of(s);
		assert_true(s.len <= limit);
		assert_int_equal(ldns_pkt_tc(p), limit < 1000);
		assert_int_equal(ldns_pkt_edns(p), i % 2);
		size_t expected = limit >= 1000 ? 60 : (limit - 33 - (i % 2 ? OPT_LEN : 0)) / 16;
		assert_int_equal(ldns_pkt_ancount(p), expected);
		assert_int_equal(ldns_pkt_nscount(p), limit >= 1000);
		ldns_pkt_free(p);
	}
}

static void rcode_without_question_is_accepted(void **state)
{
	(void)state;
	struct asker a = asker_for("api.example.com", TYPE_A, &plain_opt, 1232);
	struct message m;
	uint8_t octets[512];
	message_begin(&m, FLAG_QR | RCODE_FORMERR);
	ldns_pkt *p = packet_of(relayed_to(&a, &m, octets, sizeof(octets)));
	assert_int_equal(ldns_pkt_get_rcode(p), LDNS_RCODE_FORMERR);
	assert_record(ldns_pkt_question(p), 0, "api.example.com.\tIN\tA");
	ldns_pkt_free(p);
	struct relayed r;
	message_begin(&m, FLAG_QR | RCODE_NXDOMAIN);
	assert_int_equal(relayed_read(&r, message_span(&m), &a), -ENOMSG);
}

static void extended_rcode_is_read_and_not_passed_on(void **state)
{
	(void)state;
	struct asker a = asker_for("api.example.com", TYPE_A, &plain_opt, 1232);
	struct message m;
	upstream_begin(&m, "api.example.com", TYPE_A, 0);
	message_opt(&m, (struct opt){.size = 512});
	m.octets[m.w.len - 6] = 1; /* upper bits of BADVERS */
	struct relayed r;
	assert_int_equal(relayed_read(&r, message_span(&m), &a), 0);
	assert_int_equal(r.rcode, RCODE_BADVERS);
	uint8_t octets[512];
	struct writer out = {.data = octets, .size = sizeof(octets)};
	(void)relay_response(&r, &a, &out);
	assert_int_equal(octets[3] & FLAG_RCODE, RCODE_SERVFAIL);
}

static void cut_and_lying_responses_are_refused(void **state)
{
	(void)state;
	struct asker a = asker_for("api.example.com", TYPE_A, NULL, 1232);
	struct message m;
	struct relayed r;
	upstream_begin(&m, "api.example.com", TYPE_A, 0);
	size_t start = m.w.len;
	message_record(&m, 1, NULL, TYPE_A, 60, public_address, 4);
	message_record(&m, 1, "x.example.com", TYPE_MX, 60, "\0\12\2mx\0", 6);
	message_opt(&m, (struct opt){.size = 512});
	assert_int_equal(relayed_read(&r, message_span(&m), &a), 0);
	for (size_t len = start; len < m.w.len; len++) {
		assert_int_equal(relayed_read(&r, (struct span){m.octets, len}, &a), -EBADMSG);
	}
	message_opt(&m, (struct opt){.size = 512});
	assert_int_equal(relayed_read(&r, message_span(&m), &a), -EBADMSG);
}

/* Some servers cut in the middle of a record when they set TC. */
static void truncated_response_may_end_anywhere(void **state)
{
	(void)state;
	struct asker a = asker_for("api.example.com", TYPE_A, NULL, 512);
	struct message m;
	struct relayed r;
	upstream_begin(&m, "api.example.com", TYPE_A, FLAG_TC);
	size_t start = m.w.len;
	message_record(&m, 1, NULL, TYPE_A, 60, public_address, 4);
	for (size_t len = start; len <= m.w.len; len++) {
		assert_int_equal(relayed_read(&r, (struct span){m.octets, len}, &a), 0);
		assert_true(r.flags & FLAG_TC);
	}
}

static void octets_behind_the_last_record_are_left_out(void **state)
{
	(void)state;
	struct asker a = asker_for("api.example.com", TYPE_A, NULL, 512);
	struct message m;
	uint8_t octets[512];
	upstream_begin(&m, "api.example.com", TYPE_A, 0);
	message_record(&m, 1, NULL, TYPE_A, 60, public_address, 4);
	size_t len = m.w.len;
	writer_octets(&m.w, "garbage", 7);
	assert_int_equal(relayed_to(&a, &m, octets, sizeof(octets)).len, len);
}

/* RFC 3597 §3: unknown types pass octet for octet. */
static void unknown_types_pass_as_they_are(void **state)
{
	(void)state;
	struct asker a = asker_for("api.example.com", 65280, NULL, 512);
	struct message m;
	uint8_t octets[512];
	upstream_begin(&m, "api.example.com", 65280, 0);
	message_record(&m, 1, NULL, 65280, 60, "\xc0\xff\0\1\2", 5);
	struct span s = relayed_to(&a, &m, octets, sizeof(octets));
	assert_int_equal(s.len, m.w.len);
	assert_memory_equal(s.data + s.len - 5, "\xc0\xff\0\1\2", 5);
}

static void remembered_query_composes_errors(void **state)
{
	(void)state;
	struct asker a = asker_for("Api.example.com", TYPE_TXT, &do_opt, 1232);
	struct query q;
	asker_query(&a, &q);
	assert_int_equal(q.id, 0x1234);
	assert_int_equal(q.question.len, a.question_len);
	assert_true(q.has_opt && q.edns_do);
	assert_int_equal(q.udp_size, 1232);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(query_goes_up_with_our_opt_as_its_last_eleven_octets),
		cmocka_unit_test(query_that_does_not_fit_is_not_written),
		cmocka_unit_test(response_to_another_question_is_refused),
		cmocka_unit_test(spelling_id_and_rd_are_the_requestors),
		cmocka_unit_test(opt_is_ours_and_only_for_those_who_sent_one),
		cmocka_unit_test(records_behind_opt_follow_where_they_can),
		cmocka_unit_test(ad_reaches_only_those_who_understand_it),
		cmocka_unit_test(large_answer_is_cut_at_whole_records_with_tc),
		cmocka_unit_test(rcode_without_question_is_accepted),
		cmocka_unit_test(extended_rcode_is_read_and_not_passed_on),
		cmocka_unit_test(cut_and_lying_responses_are_refused),
		cmocka_unit_test(truncated_response_may_end_anywhere),
		cmocka_unit_test(octets_behind_the_last_record_are_left_out),
		cmocka_unit_test(unknown_types_pass_as_they_are),
		cmocka_unit_test(remembered_query_composes_errors),
	};
	return cmocka_run_group_tests_name("relay", tests, NULL, NULL);
}
