/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/message.h"

#include "dns/wire/relay.h"

#include <errno.h>

enum { TYPE_MX = 15 };

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
	asker_init(&a, &q, limit, NULL);
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
	assert_true(ldns_pkt_ad(p)); /* RFC 6840 §5.7 */
	assert_false(ldns_pkt_qr(p) || ldns_pkt_cd(p));
	assert_record(ldns_pkt_question(p), 0, "Api.Example.com.\tIN\tA");
	ldns_pkt_free(p);

	out.len = 0;
	assert_int_equal(relay_query(&a, 1, false, &out), len - OPT_LEN);
	p = packet_of((struct span){octets, out.len});
	assert_false(ldns_pkt_edns(p));
	ldns_pkt_free(p);
}

/* The client subnet option: 192.0.2.0/24, and with the scope that a server chose. */
#define SUBNET        "\0\10\0\7\0\1\30\0\300\0\2"
#define SUBNET_SCOPED "\0\10\0\7\0\1\30\20\300\0\2"

static const struct opt subnet_opt = {
	.size = 1232, .rdata = "\0\12\0\10clientck" SUBNET "\0\14\0\2\0\0", .rdata_len = 29};

/* RFC 6840 §5.7, RFC 4035 §3.2.2, RFC 1035 §4.1.1 */
static void flags_that_go_up(void **state)
{
	(void)state;
	static const uint16_t flags[][2] = {{0, 0}, {FLAG_RD, FLAG_RD}, {FLAG_CD, FLAG_CD},
		{FLAG_AD, 0}, {FLAG_RD | FLAG_AD | FLAG_CD, FLAG_RD | FLAG_CD},
		{FLAG_AA | FLAG_TC | FLAG_RA | 0x40, 0}};
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		struct asker a = asker_for("api.example.com", TYPE_A, NULL, 512);
		uint8_t octets[512];
		struct writer out = {.data = octets, .size = sizeof(octets)};
		a.flags = flags[i][0];
		assert_true(relay_query(&a, 1, true, &out) > 0);
		assert_int_equal(octets_u16(octets + 2), flags[i][1] | FLAG_AD);
	}
}

/* RFC 7871 §7.1.3: the subnet goes on; RFC 7873: cookies end here */
static void query_goes_up_with_its_subnet_and_no_other_option(void **state)
{
	(void)state;
	struct asker a = asker_for("api.example.com", TYPE_A, &subnet_opt, 1232);
	uint8_t octets[512];
	struct writer out = {.data = octets, .size = sizeof(octets)};
	assert_int_equal(asker_subnet(&a).len, 11);
	size_t len = relay_query(&a, 1, true, &out);
	ldns_pkt *p = packet_of((struct span){octets, len});
	assert_int_equal(ldns_rdf_size(ldns_pkt_edns_data(p)), 11);
	assert_memory_equal(ldns_rdf_data(ldns_pkt_edns_data(p)), SUBNET, 11);
	ldns_pkt_free(p);

	out.len = 0;
	assert_int_equal(relay_query(&a, 1, false, &out), len - OPT_LEN - 11);
	assert_int_equal(octets_u16(octets + 10), 0);
}

static void largest_query_has_room(void **state)
{
	(void)state;
	char name[256];
	memset(name, 'a', sizeof(name));
	name[63] = name[127] = name[191] = '.';
	name[253] = '\0';
	const struct opt opt = {.size = 512,
		.rdata = "\0\10\0\24\0\2\200\0abcdefghijklmnop",
		.rdata_len = EDNS_SUBNET_MAX};
	struct asker a = asker_for(name, TYPE_A, &opt, 512);
	uint8_t octets[RELAY_QUERY_MAX];
	struct writer out = {.data = octets, .size = sizeof(octets)};
	assert_int_equal(relay_query(&a, 1, true, &out), RELAY_QUERY_MAX);
	out = (struct writer){.data = octets, .size = sizeof(octets) - 1};
	assert_int_equal(relay_query(&a, 1, true, &out), 0);
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

/* An answer with OPT of these options. */
static void upstream_answer(struct message *m, const char *rdata, size_t len)
{
	upstream_begin(m, "api.example.com", TYPE_A, 0);
	message_record(m, 1, NULL, TYPE_A, 300, public_address, 4);
	message_opt(m, (struct opt){.size = 4096, .rdata = rdata, .rdata_len = (uint16_t)len});
}

/* The options of OPT, which ends the message. */
static void assert_options(struct span message, const char *rdata, size_t len)
{
	ldns_pkt *p = packet_of(message);
	assert_int_equal(ldns_pkt_ancount(p), 1);
	assert_true(ldns_pkt_edns(p));
	ldns_pkt_free(p);
	assert_true(message.len > OPT_LEN + len);
	const uint8_t *opt = message.data + message.len - OPT_LEN - len;
	assert_int_equal(octets_u16(opt + 1), TYPE_OPT);
	assert_int_equal(octets_u16(opt + OPT_LEN - 2), len);
	assert_memory_equal(opt + OPT_LEN, rdata, len);
}

/* RFC 7871 §7.2.2, §7.3: its own subnet, with the scope that upstream chose, or 0 */
static void subnet_comes_back_with_its_scope(void **state)
{
	(void)state;
	struct asker a = asker_for("api.example.com", TYPE_A, &subnet_opt, 1232);
	struct message m;
	uint8_t octets[512];
	upstream_answer(&m, SUBNET_SCOPED, 11);
	assert_options(relayed_to(&a, &m, octets, sizeof(octets)), SUBNET_SCOPED, 11);
	upstream_answer(&m, "", 0);
	assert_options(relayed_to(&a, &m, octets, sizeof(octets)), SUBNET, 11);
	/* malformed: as if it were not there */
	upstream_answer(&m, "\0\10\0\7\0\1\30\41\300\0\2", 11);
	assert_options(relayed_to(&a, &m, octets, sizeof(octets)), SUBNET, 11);
}

/* RFC 7871 §7.3 */
static void response_for_another_subnet_is_refused(void **state)
{
	(void)state;
	static const struct {
		const char *rdata;
		uint8_t len;
	} others[] = {
		{"\0\10\0\7\0\1\30\30\300\0\3", 11}, /* address */
		{"\0\10\0\6\0\1\20\20\300\0", 10},   /* source prefix */
		{"\0\10\0\7\0\2\30\30\300\0\2", 11}, /* family */
		{"\0\10\0\7\0\1\27\30\300\0\2", 11}, /* bits */
	};
	struct asker a = asker_for("api.example.com", TYPE_A, &subnet_opt, 1232);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		struct message m;
		struct relayed r;
		upstream_answer(&m, others[i].rdata, others[i].len);
		assert_int_equal(relayed_read(&r, message_span(&m), &a), -ENOMSG);
	}
}

static void subnet_that_nobody_asked_for_is_left_out(void **state)
{
	(void)state;
	struct asker a = asker_for("api.example.com", TYPE_A, &plain_opt, 1232);
	struct message m;
	struct relayed r;
	uint8_t octets[512];
	upstream_answer(&m, SUBNET_SCOPED, 11);
	assert_int_equal(relayed_read(&r, message_span(&m), &a), 0);
	assert_int_equal(r.edns.subnet.len, 0);
	assert_options(relayed_to(&a, &m, octets, sizeof(octets)), "", 0);
}

/* RFC 8914 §3: behind our own options and the subnet. What else upstream says ends here. */
static void extended_errors_are_passed_on(void **state)
{
	(void)state;
	struct asker a = asker_for("api.example.com", TYPE_A, &subnet_opt, 1232);
	struct message m;
	uint8_t octets[512];
	a.options = (struct edns_options){6, "\0\13\0\2\0\144"};
	upstream_answer(&m,
		"\0\12\0\30clientckserver-cookie!!!" /* RFC 7873 */
		"\0\13\0\2\0\1"                      /* RFC 7828 */
		"\0\17\0\7\0\3stale"
		"\0\3\0\2ns"      /* NSID */
		"\0\14\0\3\0\0\0" /* padding */
		"\0\17\0\2\0\26",
		28 + 6 + 11 + 6 + 7 + 6);
	assert_options(relayed_to(&a, &m, octets, sizeof(octets)),
		"\0\13\0\2\0\144" SUBNET "\0\17\0\7\0\3stale\0\17\0\2\0\26", 34);
	/* RFC 6891 §7: no OPT, no errors */
	a = asker_for("api.example.com", TYPE_A, NULL, 512);
	struct span s = relayed_to(&a, &m, octets, sizeof(octets));
	assert_int_equal(s.len, HEADER_LEN + a.question_len + 16);
}

/* First the texts go, the first one's too where the second error needs its place; then the errors;
 * never a record. */
static void extended_errors_take_what_is_left(void **state)
{
	(void)state;
	enum { FULL = 512 };
	static const char errors[] = "\0\17\0\7\0\3stale\0\17\0\4\0\26no";
	static const char no_second[] = "\0\17\0\7\0\3stale\0\17\0\2\0\26";
	static const char no_first[] = "\0\17\0\2\0\3\0\17\0\4\0\26no";
	static const char no_text[] = "\0\17\0\2\0\3\0\17\0\2\0\26";
	static const struct {
		uint8_t left;
		uint8_t len;
		const char *expected;
	} rows[] = {{19, 19, errors}, {18, 17, no_second}, {17, 17, no_second}, {16, 14, no_first},
		{14, 14, no_first}, {13, 12, no_text}, {12, 12, no_text}, {11, 6, no_text},
		{10, 6, no_text}, {6, 6, no_text}, {5, 0, ""}, {0, 0, ""}};
	struct asker a = asker_for("api.example.com", TYPE_A, &plain_opt, FULL);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		static const char text[FULL];
		struct message m;
		uint8_t octets[FULL];
		size_t rdata_len =
			FULL - HEADER_LEN - a.question_len - 12U - OPT_LEN - rows[i].left;
		upstream_begin(&m, "api.example.com", 65280, 0);
		octets_put_u16(m.octets + HEADER_LEN + a.question_len - 4, TYPE_A);
		message_record(&m, 1, NULL, 65280, 300, text, (uint16_t)rdata_len);
		message_opt(&m, (struct opt){.size = 4096, .rdata = errors, .rdata_len = 19});
		struct span s = relayed_to(&a, &m, octets, sizeof(octets));
		assert_true(s.len <= FULL);
		assert_false(octets_u16(s.data + 2) & FLAG_TC);
		assert_options(s, rows[i].expected, rows[i].len);
	}
}

/* What is cut leaves room for options, and errors take what is left of it. */
static void cut_answer_keeps_its_options(void **state)
{
	(void)state;
	struct asker a = asker_for("big.example.com", TYPE_A, &subnet_opt, 512);
	struct message m;
	uint8_t octets[512];
	a.options = (struct edns_options){
		EDNS_OPTIONS_MAX, "\0\12\0\30clientckserver-cookie!!!\0\13\0\2\0\144"};
	upstream_begin(&m, "big.example.com", TYPE_A, 0);
	for (int i = 0; i < 60; i++) {
		message_record(&m, 1, NULL, TYPE_A, 60, public_address, 4);
	}
	message_opt(&m, (struct opt){.size = 4096, .rdata = "\0\17\0\2\0\3", .rdata_len = 6});
	struct span s = relayed_to(&a, &m, octets, sizeof(octets));
	ldns_pkt *p = packet_of(s);
	size_t records = (512 - HEADER_LEN - 21 - OPT_LEN - EDNS_OPTIONS_MAX - 11) / 16;
	size_t left = (512 - HEADER_LEN - 21 - OPT_LEN - EDNS_OPTIONS_MAX - 11) % 16;
	assert_true(ldns_pkt_tc(p));
	assert_int_equal(ldns_pkt_ancount(p), records);
	assert_int_equal(
		ldns_rdf_size(ldns_pkt_edns_data(p)), EDNS_OPTIONS_MAX + 11 + (left >= 6 ? 6 : 0));
	ldns_pkt_free(p);
}

/* With a room of just what the header promises, nothing is lost. */
static void response_grows_by_no_more_than_is_said(void **state)
{
	(void)state;
	char name[256];
	memset(name, 'a', sizeof(name));
	name[63] = name[127] = name[191] = '.';
	name[253] = '\0';
	const struct opt opt = {.size = 512,
		.rdata = "\0\10\0\24\0\2\200\0abcdefghijklmnop",
		.rdata_len = EDNS_SUBNET_MAX};
	struct asker a = asker_for(name, TYPE_A, &opt, 512);
	a.options.len = EDNS_OPTIONS_MAX;
	memset(a.options.octets, 0, EDNS_OPTIONS_MAX);
	struct message m;
	uint8_t octets[HEADER_LEN + RELAY_GROWTH_MAX];
	message_begin(&m, FLAG_QR | RCODE_SERVFAIL);
	struct span s = relayed_to(&a, &m, octets, sizeof(octets));
	assert_int_equal(s.len, sizeof(octets));
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

static uint32_t ttl_of(const ldns_rr_list *section)
{
	return ldns_rr_ttl(ldns_rr_list_rr(section, 0));
}

/* RFC 2181 §8; OPT's TTL is none (RFC 6891 §6.1.3) */
static void ttls_are_lowered_to_what_is_allowed(void **state)
{
	(void)state;
	static const uint32_t rows[][2] = {{0, 0}, {59, 59}, {60, 60}, {61, 60}, {86400, 60},
		{0x7fffffff, 60}, {0x80000000, 0}, {0xffffffff, 0}};
	struct asker a = asker_for("api.example.com", TYPE_A, &do_opt, 1232);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct message m;
		struct relayed r;
		uint8_t octets[1232];
		struct writer out = {.data = octets, .size = sizeof(octets)};
		upstream_begin(&m, "api.example.com", TYPE_A, 0);
		message_record(&m, 1, NULL, TYPE_A, rows[i][0], public_address, 4);
		message_record(&m, 2, "example.com", TYPE_NS, 30, "\1n\0", 3);
		message_record(&m, 3, "n", TYPE_A, rows[i][0], public_address, 4);
		message_opt(&m, do_opt);
		assert_int_equal(relayed_read(&r, message_span(&m), &a), 0);
		assert_int_equal(r.ttl_max, rows[i][0] > 30 ? rows[i][0] : 30);
		size_t len = relay_response(&r, &a, &out);
		relay_lower_ttls(octets, len, 60);
		ldns_pkt *p = packet_of((struct span){octets, len});
		assert_int_equal(ttl_of(ldns_pkt_answer(p)), rows[i][1]);
		assert_int_equal(ttl_of(ldns_pkt_authority(p)), 30);
		assert_int_equal(ttl_of(ldns_pkt_additional(p)), rows[i][1]);
		assert_true(ldns_pkt_edns_do(p));
		ldns_pkt_free(p);
	}
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
	assert_int_equal(q.edns.cookie.len, 0);
	assert_int_equal(q.edns.subnet.len, 0);
}

static void options_are_remembered(void **state)
{
	(void)state;
	struct message m;
	struct query q;
	struct asker a;
	const struct edns_options options = {6, "\0\13\0\2\0\144"};
	message_query(&m, "api.example.com", TYPE_A);
	message_opt(&m, subnet_opt);
	assert_int_equal(query_parse(&q, message_span(&m)), 0);
	asker_init(&a, &q, 1232, &options);
	memset(m.octets, 0, sizeof(m.octets)); /* nothing is borrowed */
	asker_query(&a, &q);
	assert_int_equal(q.edns.cookie.len, 0);
	assert_int_equal(q.edns.subnet.len, 11);
	assert_memory_equal(q.edns.subnet.data, SUBNET, 11);
	assert_int_equal(a.options.len, 6);
	assert_memory_equal(a.options.octets, options.octets, 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(query_goes_up_with_our_opt_as_its_last_eleven_octets),
		cmocka_unit_test(flags_that_go_up),
		cmocka_unit_test(query_goes_up_with_its_subnet_and_no_other_option),
		cmocka_unit_test(largest_query_has_room),
		cmocka_unit_test(query_that_does_not_fit_is_not_written),
		cmocka_unit_test(response_to_another_question_is_refused),
		cmocka_unit_test(spelling_id_and_rd_are_the_requestors),
		cmocka_unit_test(opt_is_ours_and_only_for_those_who_sent_one),
		cmocka_unit_test(records_behind_opt_follow_where_they_can),
		cmocka_unit_test(subnet_comes_back_with_its_scope),
		cmocka_unit_test(response_for_another_subnet_is_refused),
		cmocka_unit_test(subnet_that_nobody_asked_for_is_left_out),
		cmocka_unit_test(extended_errors_are_passed_on),
		cmocka_unit_test(extended_errors_take_what_is_left),
		cmocka_unit_test(cut_answer_keeps_its_options),
		cmocka_unit_test(response_grows_by_no_more_than_is_said),
		cmocka_unit_test(ad_reaches_only_those_who_understand_it),
		cmocka_unit_test(large_answer_is_cut_at_whole_records_with_tc),
		cmocka_unit_test(rcode_without_question_is_accepted),
		cmocka_unit_test(extended_rcode_is_read_and_not_passed_on),
		cmocka_unit_test(cut_and_lying_responses_are_refused),
		cmocka_unit_test(truncated_response_may_end_anywhere),
		cmocka_unit_test(octets_behind_the_last_record_are_left_out),
		cmocka_unit_test(unknown_types_pass_as_they_are),
		cmocka_unit_test(ttls_are_lowered_to_what_is_allowed),
		cmocka_unit_test(remembered_query_composes_errors),
		cmocka_unit_test(options_are_remembered),
	};
	return cmocka_run_group_tests_name("relay", tests, NULL, NULL);
}
