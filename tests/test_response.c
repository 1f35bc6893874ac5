/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/message.h"

#include "dns/wire/relay.h"
#include "dns/wire/response.h"

/* A query, its reading, and room for the response. */
struct exchange {
	struct message query;
	struct query q;
	uint8_t octets[4096];
	struct writer out;
};

static void exchange_begin(
	struct exchange *x, const char *name, uint16_t type, const struct opt *opt)
{
	message_query(&x->query, name, type);
	if (opt) {
		message_opt(&x->query, *opt);
	}
	assert_int_equal(query_parse(&x->q, message_span(&x->query)), 0);
	x->out = (struct writer){.data = x->octets, .size = sizeof(x->octets)};
}

static struct span sent(const struct exchange *x)
{
	return (struct span){x->octets, x->out.len};
}

static const struct opt plain_opt = {.size = 1232};
static const uint8_t vip[] = {241, 0, 0, 1};

static void address_answer_reads_back(void **state)
{
	(void)state;
	struct exchange x;
	struct response r;
	exchange_begin(&x, "Web.Mesh", TYPE_A, NULL);
	response_begin(&r, &x.q, &x.out, x.q.udp_size);
	r.flags |= FLAG_AA;
	response_answer(&r, TYPE_A, 30, (struct span){vip, 4});
	size_t len = response_end(&r);
	assert_int_equal(len, x.out.len);

	ldns_pkt *p = packet_of(sent(&x));
	assert_int_equal(ldns_pkt_id(p), 0x1234);
	assert_true(ldns_pkt_qr(p) && ldns_pkt_aa(p) && ldns_pkt_rd(p) && ldns_pkt_ra(p));
	assert_false(ldns_pkt_tc(p) || ldns_pkt_ad(p) || ldns_pkt_edns(p));
	assert_record(ldns_pkt_question(p), 0, "Web.Mesh.\tIN\tA");
	assert_record(ldns_pkt_answer(p), 0, "Web.Mesh.\t30\tIN\tA\t241.0.0.1");
	ldns_pkt_free(p);
}

/* RFC 6891 §7: OPT if and only if the requestor sent one. */
static void opt_answers_opt(void **state)
{
	(void)state;
	for (int edns_do = 0; edns_do < 2; edns_do++) {
		struct exchange x;
		const struct opt opt = {.size = 4096, .edns_do = edns_do != 0};
		exchange_begin(&x, "web.mesh", TYPE_A, &opt);
		(void)response_error(&x.q, &x.out, x.q.udp_size, RCODE_NOERROR, EDE_NONE);
		ldns_pkt *p = packet_of(sent(&x));
		assert_true(ldns_pkt_edns(p));
		assert_int_equal(ldns_pkt_edns_udp_size(p), UDP_LEN_OURS);
		assert_int_equal(ldns_pkt_edns_version(p), 0);
		assert_int_equal(ldns_pkt_edns_do(p), edns_do);
		ldns_pkt_free(p);
	}
}

static void badvers_stands_in_header_and_opt(void **state)
{
	(void)state;
	struct exchange x;
	const struct opt opt = {.size = 1232, .version = 7};
	exchange_begin(&x, "web.mesh", TYPE_A, &opt);
	(void)response_error(&x.q, &x.out, x.q.udp_size, x.q.rcode, EDE_NONE);
	ldns_pkt *p = packet_of(sent(&x));
	assert_int_equal(ldns_pkt_get_rcode(p), 0);
	assert_int_equal(ldns_pkt_edns_extended_rcode(p), 1);
	assert_int_equal(ldns_pkt_edns_version(p), 0);
	ldns_pkt_free(p);
}

/* RFC 8914 §2: option 15, the code in two octets. */
static void extended_error_is_told_where_opt_was_sent(void **state)
{
	(void)state;
	struct exchange x;
	exchange_begin(&x, "web.mesh", TYPE_A, &plain_opt);
	(void)response_error(&x.q, &x.out, x.q.udp_size, RCODE_SERVFAIL, EDE_NOT_READY);
	ldns_pkt *p = packet_of(sent(&x));
	ldns_rdf *options = ldns_pkt_edns_data(p);
	assert_non_null(options);
	assert_int_equal(ldns_rdf_size(options), 6);
	assert_memory_equal(ldns_rdf_data(options), "\0\17\0\2\0\16", 6);
	ldns_pkt_free(p);

	exchange_begin(&x, "web.mesh", TYPE_A, NULL);
	(void)response_error(&x.q, &x.out, x.q.udp_size, RCODE_SERVFAIL, EDE_NOT_READY);
	p = packet_of(sent(&x));
	assert_int_equal(ldns_pkt_get_rcode(p), LDNS_RCODE_SERVFAIL);
	assert_false(ldns_pkt_edns(p));
	ldns_pkt_free(p);
}

/* As hop_options leaves them at most. */
static const struct edns_options our_options = {
	EDNS_OPTIONS_MAX, "\0\12\0\30clientckserver-cookie!!!\0\13\0\2\0\144"};

static void options_stand_in_opt_before_the_extended_error(void **state)
{
	(void)state;
	struct exchange x;
	struct span options = edns_options_span(&our_options);
	exchange_begin(&x, "web.mesh", TYPE_A, &plain_opt);
	(void)response_error_with(
		&x.q, options, &x.out, x.q.udp_size, RCODE_SERVFAIL, EDE_CACHED_ERROR);
	ldns_pkt *p = packet_of(sent(&x));
	ldns_rdf *rdata = ldns_pkt_edns_data(p);
	assert_int_equal(ldns_rdf_size(rdata), options.len + 6);
	assert_memory_equal(ldns_rdf_data(rdata), options.data, options.len);
	assert_memory_equal(ldns_rdf_data(rdata) + options.len, "\0\17\0\2\0\15", 6);
	ldns_pkt_free(p);

	/* RFC 6891 §7: nothing where no OPT was sent */
	exchange_begin(&x, "web.mesh", TYPE_A, NULL);
	size_t len = response_error_with(&x.q, options, &x.out, 512, RCODE_SERVFAIL, EDE_BLOCKED);
	assert_int_equal(len, HEADER_LEN + x.q.question.len);
}

/* RFC 8914 §3: the extended error gives way to a record; options do not. */
static void extended_error_does_not_set_tc(void **state)
{
	(void)state;
	for (size_t spare = 0; spare <= 7; spare++) {
		struct exchange x;
		struct response r;
		struct span options = edns_options_span(&our_options);
		exchange_begin(&x, "web.mesh", TYPE_A, &plain_opt);
		size_t limit = HEADER_LEN + x.q.question.len + 16 + OPT_LEN + options.len + spare;
		response_begin(&r, &x.q, &x.out, limit - 1);
		response_options(&r, options);
		response_ede(&r, EDE_STALE_ANSWER);
		response_answer(&r, TYPE_A, 30, (struct span){vip, 4});
		(void)response_end(&r);
		ldns_pkt *p = packet_of(sent(&x));
		bool fits = spare >= 1;
		assert_true(x.out.len < limit);
		assert_int_equal(ldns_pkt_tc(p), !fits);
		assert_int_equal(ldns_pkt_ancount(p), fits);
		size_t with_ede = !fits || spare >= 7 ? EDNS_EDE_LEN : 0;
		assert_int_equal(ldns_rdf_size(ldns_pkt_edns_data(p)), options.len + with_ede);
		ldns_pkt_free(p);
	}
}

static void error_with_all_options_fits_into_512_octets(void **state)
{
	(void)state;
	char name[256];
	memset(name, 'a', sizeof(name));
	name[63] = name[127] = name[191] = '.';
	name[253] = '\0';
	struct exchange x;
	exchange_begin(&x, name, TYPE_A, &(struct opt){.size = 512});
	size_t len = response_error_with(&x.q, edns_options_span(&our_options), &x.out, 512,
		RCODE_SERVFAIL, EDE_NETWORK_ERROR);
	assert_int_equal(len, HEADER_LEN + 259 + OPT_LEN + EDNS_OPTIONS_MAX + EDNS_EDE_LEN);
	ldns_pkt *p = packet_of(sent(&x));
	assert_int_equal(ldns_rdf_size(ldns_pkt_edns_data(p)), EDNS_OPTIONS_MAX + EDNS_EDE_LEN);
	ldns_pkt_free(p);
}

/* RFC 6891 §7 */
static void other_opcodes_are_answered_with_opt(void **state)
{
	(void)state;
	for (unsigned opcode = 1; opcode < 16; opcode++) {
		struct exchange x;
		message_begin(&x.query, (uint16_t)(opcode << 11));
		message_opt(&x.query, (struct opt){.size = 4096, .edns_do = true});
		assert_int_equal(query_parse(&x.q, message_span(&x.query)), 0);
		x.out = (struct writer){.data = x.octets, .size = sizeof(x.octets)};
		(void)response_error(&x.q, &x.out, 512, x.q.rcode, EDE_NONE);
		ldns_pkt *p = packet_of(sent(&x));
		assert_int_equal(x.out.len, HEADER_LEN + OPT_LEN);
		assert_int_equal(ldns_pkt_get_rcode(p), LDNS_RCODE_NOTIMPL);
		assert_int_equal(ldns_pkt_get_opcode(p), opcode);
		assert_true(ldns_pkt_edns(p) && ldns_pkt_edns_do(p));
		ldns_pkt_free(p);
	}
}

static void soa_stands_at_the_apex(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		unsigned labels;
		const char *expected;
	} vectors[] = {
		{"a.b.mesh", 2, "mesh.\t5\tIN\tSOA\tmesh. hostmaster.mesh. 9 3600 600 86400 5"},
		{"mesh", 0, "mesh.\t5\tIN\tSOA\tmesh. hostmaster.mesh. 9 3600 600 86400 5"},
		{"db.Example.com", 0,
			"db.Example.com.\t5\tIN\tSOA\tdb.Example.com. hostmaster.db.Example.com. 9 "
			"3600 600 86400 5"},
	};
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		struct exchange x;
		struct response r;
		exchange_begin(&x, vectors[i].name, TYPE_A, &plain_opt);
		response_begin(&r, &x.q, &x.out, x.q.udp_size);
		response_soa(&r, vectors[i].labels, 5, 9);
		(void)response_end(&r);
		ldns_pkt *p = packet_of(sent(&x));
		assert_int_equal(ldns_pkt_ancount(p), 0);
		assert_record(ldns_pkt_authority(p), 0, vectors[i].expected);
		ldns_pkt_free(p);
	}
}

/* RFC 2181 §9: TC, with the whole records that fit; with OPT in any case. */
static void what_does_not_fit_sets_tc(void **state)
{
	(void)state;
	static const struct opt *const opts[] = {NULL, &plain_opt};
	static const size_t limits[] = {512, 1232};
	for (size_t i = 0; i < 2; i++) {
		struct exchange x;
		struct response r;
		exchange_begin(&x, "web.mesh", TYPE_A, opts[i]);
		response_begin(&r, &x.q, &x.out, x.q.udp_size);
		for (int n = 0; n < 200; n++) {
			response_answer(&r, TYPE_A, 30, (struct span){vip, 4});
		}
		size_t len = response_end(&r);
		assert_true(len <= limits[i]);
		assert_true(len + 16 > limits[i]);
		ldns_pkt *p = packet_of(sent(&x));
		assert_true(ldns_pkt_tc(p));
		assert_int_equal(ldns_pkt_edns(p), opts[i] != NULL);
		assert_int_equal(ldns_pkt_ancount(p), ldns_rr_list_rr_count(ldns_pkt_answer(p)));
		ldns_pkt_free(p);
	}
}

static void tcp_has_room_for_all(void **state)
{
	(void)state;
	struct exchange x;
	struct response r;
	exchange_begin(&x, "web.mesh", TYPE_A, NULL);
	response_begin(&r, &x.q, &x.out, 65535);
	for (int n = 0; n < 200; n++) {
		response_answer(&r, TYPE_A, 30, (struct span){vip, 4});
	}
	(void)response_end(&r);
	ldns_pkt *p = packet_of(sent(&x));
	assert_false(ldns_pkt_tc(p));
	assert_int_equal(ldns_pkt_ancount(p), 200);
	ldns_pkt_free(p);
}

static void longest_name_with_soa_fits_into_512_octets(void **state)
{
	(void)state;
	char name[256];
	memset(name, 'a', sizeof(name));
	name[63] = name[127] = name[191] = '.';
	name[253] = '\0';
	struct exchange x;
	struct response r;
	const struct opt opt = {.size = 512};
	exchange_begin(&x, name, TYPE_A, &opt);
	response_begin(&r, &x.q, &x.out, x.q.udp_size);
	response_ede(&r, EDE_NETWORK_ERROR);
	response_soa(&r, 3, 5, 1);
	(void)response_end(&r);
	ldns_pkt *p = packet_of(sent(&x));
	assert_false(ldns_pkt_tc(p));
	assert_int_equal(ldns_pkt_nscount(p), 1);
	ldns_pkt_free(p);
}

/* RFC 8906 §3.1.4: the opcode is echoed; a question that could not be read is not. */
static void error_without_question_is_a_header(void **state)
{
	(void)state;
	struct exchange x;
	message_begin(&x.query, 5 << 11 | FLAG_RD);
	assert_int_equal(query_parse(&x.q, message_span(&x.query)), 0);
	x.out = (struct writer){.data = x.octets, .size = sizeof(x.octets)};
	(void)response_error(&x.q, &x.out, 512, x.q.rcode, EDE_NONE);
	ldns_pkt *p = packet_of(sent(&x));
	assert_int_equal(x.out.len, HEADER_LEN);
	assert_int_equal(ldns_pkt_get_opcode(p), 5);
	assert_int_equal(ldns_pkt_get_rcode(p), LDNS_RCODE_NOTIMPL);
	ldns_pkt_free(p);
}

/* RFC 4035 §3.2.2: CD is copied; AD is never ours to set. */
static void cd_is_copied_and_ad_is_not(void **state)
{
	(void)state;
	struct exchange x;
	message_begin(&x.query, FLAG_RD | FLAG_AD | FLAG_CD);
	message_question(&x.query, "web.mesh", TYPE_A);
	assert_int_equal(query_parse(&x.q, message_span(&x.query)), 0);
	x.out = (struct writer){.data = x.octets, .size = sizeof(x.octets)};
	(void)response_error(&x.q, &x.out, 512, RCODE_NXDOMAIN, EDE_NONE);
	assert_int_equal(
		octets_u16(x.octets + 2), FLAG_QR | FLAG_RD | FLAG_RA | FLAG_CD | RCODE_NXDOMAIN);
}

static void response_goes_behind_what_is_there(void **state)
{
	(void)state;
	struct exchange x;
	exchange_begin(&x, "web.mesh", TYPE_A, NULL);
	writer_octets(&x.out, "ab", 2);
	size_t len = response_error(&x.q, &x.out, 512, RCODE_NOERROR, EDE_NONE);
	assert_int_equal(x.out.len, 2 + len);
	ldns_pkt *p = packet_of((struct span){x.octets + 2, len});
	ldns_pkt_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(address_answer_reads_back),
		cmocka_unit_test(opt_answers_opt),
		cmocka_unit_test(badvers_stands_in_header_and_opt),
		cmocka_unit_test(extended_error_is_told_where_opt_was_sent),
		cmocka_unit_test(options_stand_in_opt_before_the_extended_error),
		cmocka_unit_test(extended_error_does_not_set_tc),
		cmocka_unit_test(error_with_all_options_fits_into_512_octets),
		cmocka_unit_test(other_opcodes_are_answered_with_opt),
		cmocka_unit_test(soa_stands_at_the_apex),
		cmocka_unit_test(what_does_not_fit_sets_tc),
		cmocka_unit_test(tcp_has_room_for_all),
		cmocka_unit_test(longest_name_with_soa_fits_into_512_octets),
		cmocka_unit_test(error_without_question_is_a_header),
		cmocka_unit_test(cd_is_copied_and_ad_is_not),
		cmocka_unit_test(response_goes_behind_what_is_there),
	};
	return cmocka_run_group_tests_name("response", tests, NULL, NULL);
}
