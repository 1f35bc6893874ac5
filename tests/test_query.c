/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/message.h"

#include <errno.h>

static struct query parsed(const struct message *m)
{
	struct query q;
	assert_int_equal(query_parse(&q, message_span(m)), 0);
	return q;
}

static void plain_query_is_read(void **state)
{
	(void)state;
	struct message m;
	message_query(&m, "Web.MESH", TYPE_A);
	struct query q = parsed(&m);
	assert_int_equal(q.rcode, RCODE_NOERROR);
	assert_int_equal(q.id, 0x1234);
	assert_int_equal(q.flags, FLAG_RD);
	assert_int_equal(q.qtype, TYPE_A);
	assert_int_equal(q.qclass, CLASS_IN);
	assert_int_equal(q.udp_size, 512);
	assert_false(q.has_opt);
	assert_false(q.is_signed);
	struct dname folded = name_of("web.mesh");
	assert_int_equal(q.qname.len, folded.len);
	assert_memory_equal(q.qname.octets, folded.octets, folded.len);
	/* RFC 4343 §4: the question keeps its spelling */
	assert_int_equal(q.question.len, folded.len + 4);
	assert_memory_equal(q.question.data, "\3Web\4MESH\0\0\1\0\1", 14);
}

static void less_than_a_header_gets_no_answer(void **state)
{
	(void)state;
	struct message m;
	message_query(&m, "web.mesh", TYPE_A);
	struct query q;
	for (size_t len = 0; len < HEADER_LEN; len++) {
		assert_int_equal(query_parse(&q, (struct span){m.octets, len}), -EBADMSG);
	}
}

/* RFC 1035 §4.1.1: QR=1 is a response; answering it makes two servers talk for ever. */
static void response_gets_no_answer(void **state)
{
	(void)state;
	struct message m;
	message_query(&m, "web.mesh", TYPE_A);
	m.octets[2] |= 0x80;
	struct query q;
	assert_int_equal(query_parse(&q, message_span(&m)), -EBADMSG);
}

static void query_cut_behind_its_header_is_a_format_error(void **state)
{
	(void)state;
	struct message m;
	message_query(&m, "web.mesh", TYPE_A);
	for (size_t len = HEADER_LEN; len < m.w.len; len++) {
		struct query q;
		assert_int_equal(query_parse(&q, (struct span){m.octets, len}), 0);
		assert_int_equal(q.rcode, RCODE_FORMERR);
		assert_int_equal(q.question.len, 0);
	}
}

/* RFC 9619 §4 */
static void question_count_other_than_one_is_a_format_error(void **state)
{
	(void)state;
	struct message m;
	message_begin(&m, FLAG_RD);
	assert_int_equal(parsed(&m).rcode, RCODE_FORMERR);
	message_question(&m, "web.mesh", TYPE_A);
	message_question(&m, "web.mesh", TYPE_AAAA);
	assert_int_equal(parsed(&m).rcode, RCODE_FORMERR);
	octets_put_u16(m.octets + 4, 0xffff);
	assert_int_equal(parsed(&m).rcode, RCODE_FORMERR);
}

static void pointer_in_the_question_is_a_format_error(void **state)
{
	(void)state;
	struct message m;
	message_begin(&m, FLAG_RD);
	/* to offset 4, where the count 0 0 reads as a root label */
	writer_octets(&m.w, "\3web\xc0\4\0\1\0\1", 10);
	octets_put_u16(m.octets + 4, 1);
	assert_int_equal(parsed(&m).rcode, RCODE_FORMERR);
}

static void other_opcodes_are_not_implemented(void **state)
{
	(void)state;
	for (unsigned opcode = 1; opcode < 16; opcode++) {
		struct message m;
		message_query(&m, "web.mesh", TYPE_A);
		m.octets[2] = (uint8_t)(opcode << 3);
		struct query q = parsed(&m);
		assert_int_equal(q.rcode, RCODE_NOTIMP);
		assert_int_equal(query_opcode(&q), opcode);
	}
}

static void opt_gives_size_and_do(void **state)
{
	(void)state;
	static const struct {
		uint16_t sent;
		uint16_t counts_as;
	} sizes[] = {{0, 512}, {511, 512}, {512, 512}, {1232, 1232}, {65535, 65535}};
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct message m;
		message_query(&m, "web.mesh", TYPE_A);
		message_opt(&m, (struct opt){.size = sizes[i].sent, .edns_do = i % 2 != 0});
		struct query q = parsed(&m);
		assert_int_equal(q.rcode, RCODE_NOERROR);
		assert_true(q.has_opt);
		assert_int_equal(q.edns_do, i % 2 != 0);
		assert_int_equal(q.udp_size, sizes[i].counts_as);
		assert_false(q.is_signed);
	}
}

/* RFC 6891 §6.1.3 */
static void unknown_edns_version_is_badvers(void **state)
{
	(void)state;
	struct message m;
	message_query(&m, "web.mesh", TYPE_A);
	message_opt(&m, (struct opt){.size = 1232, .version = 1});
	assert_int_equal(parsed(&m).rcode, RCODE_BADVERS);
}

/* RFC 6891 §6.1.1 */
static void two_opts_are_a_format_error(void **state)
{
	(void)state;
	struct message m;
	message_query(&m, "web.mesh", TYPE_A);
	message_opt(&m, (struct opt){.size = 1232});
	message_opt(&m, (struct opt){.size = 1232});
	assert_int_equal(parsed(&m).rcode, RCODE_FORMERR);
}

/* RFC 6891 §6.1.1: OPT belongs into the additional section; §6.1.2: its owner is the root. */
static void misplaced_opt_is_a_format_error(void **state)
{
	(void)state;
	struct message m;
	message_query(&m, "web.mesh", TYPE_A);
	message_record(&m, 1, ".", TYPE_OPT, 0, "", 0);
	assert_int_equal(parsed(&m).rcode, RCODE_FORMERR);
	message_query(&m, "web.mesh", TYPE_A);
	message_record(&m, 3, "web", TYPE_OPT, 0, "", 0);
	assert_int_equal(parsed(&m).rcode, RCODE_FORMERR);
}

/* The query, with these options. */
static struct query with_options(struct message *m, const char *rdata, size_t len)
{
	message_query(m, "web.mesh", TYPE_A);
	message_opt(m, (struct opt){.size = 1232, .rdata = rdata, .rdata_len = (uint16_t)len});
	return parsed(m);
}

/* RFC 6891 §7: a badly formatted option is a format error, and the response has OPT. */
static void option_beyond_rdata_is_a_format_error(void **state)
{
	(void)state;
	static const char *const bad[] = {"\0\12\0\10\1", "\0\12\0", "\0"};
	static const uint16_t lens[] = {5, 3, 1};
	for (size_t i = 0; i < 3; i++) {
		struct message m;
		struct query q = with_options(&m, bad[i], lens[i]);
		assert_int_equal(q.rcode, RCODE_FORMERR);
		assert_true(q.has_opt);
		assert_int_equal(q.udp_size, 1232);
	}
}

/* RFC 6891 §6.1.2: options that are not known are ignored. */
static void unknown_options_are_passed_over(void **state)
{
	(void)state;
	struct message m;
	struct query q = with_options(&m, "\xff\xfe\0\2ab\0\14\0\2\0\0", 12); /* and padding */
	assert_int_equal(q.rcode, RCODE_NOERROR);
	assert_int_equal(q.edns.cookie.len, 0);
	assert_int_equal(q.edns.subnet.len, 0);
	assert_int_equal(q.edns.keepalive, EDNS_KEEPALIVE_NONE);
}

static void query_without_opt_has_no_options(void **state)
{
	(void)state;
	struct message m;
	struct query q;
	message_query(&m, "web.mesh", TYPE_A);
	memset(&q, 0xff, sizeof(q));
	assert_int_equal(query_parse(&q, message_span(&m)), 0);
	assert_int_equal(q.edns.cookie.len, 0);
	assert_int_equal(q.edns.subnet.len, 0);
	assert_int_equal(q.edns.keepalive, EDNS_KEEPALIVE_NONE);
}

/* RFC 7873 §5.2.2 */
static void cookie_of_a_wrong_length_is_a_format_error(void **state)
{
	(void)state;
	static const uint8_t lens[] = {0, 7, 8, 9, 15, 16, 24, 40, 41};
	for (size_t i = 0; i < sizeof(lens); i++) {
		struct message m;
		char rdata[4 + 41] = {0, 10, 0, (char)lens[i]};
		bool good = lens[i] == 8 || (lens[i] >= 16 && lens[i] <= 40);
		struct query q = with_options(&m, rdata, 4U + lens[i]);
		assert_int_equal(q.rcode, good ? RCODE_NOERROR : RCODE_FORMERR);
		assert_int_equal(q.edns.cookie.len, good ? lens[i] : 0);
		assert_true(q.has_opt);
	}
}

/* RFC 7873 §5.2: the first one counts */
static void second_cookie_is_ignored(void **state)
{
	(void)state;
	struct message m;
	struct query q = with_options(&m, "\0\12\0\10clientck\0\12\0\1x", 17);
	assert_int_equal(q.rcode, RCODE_NOERROR);
	assert_int_equal(q.edns.cookie.len, 8);
	assert_memory_equal(q.edns.cookie.data, "clientck", 8);
}

/* RFC 7871 §6: as many octets as the prefix needs, none set behind it, no scope */
static void client_subnet_is_kept_or_a_format_error(void **state)
{
	(void)state;
	static const struct {
		const char *rdata;
		uint8_t len;
		bool good;
	} vectors[] = {
		{"\0\10\0\7\0\1\30\0\300\0\2", 11, true},
		{"\0\10\0\13\0\2\70\0\40\1\15\270\1\2\3", 15, true},
		{"\0\10\0\4\0\1\0\0", 8, true},
		{"\0\10\0\4\0\0\0\0", 8, true},
		{"\0\10\0\7\0\1\30\30\300\0\2", 11, false},
		{"\0\10\0\6\0\1\30\0\300\0", 10, false},
		{"\0\10\0\7\0\1\27\0\300\0\3", 11, false},
		{"\0\10\0\7\0\3\30\0\300\0\2", 11, false},
		{"\0\10\0\0", 4, false},
	};
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		struct message m;
		struct query q = with_options(&m, vectors[i].rdata, vectors[i].len);
		assert_int_equal(q.rcode, vectors[i].good ? RCODE_NOERROR : RCODE_FORMERR);
		assert_true(q.has_opt);
		assert_int_equal(q.edns.subnet.len, vectors[i].good ? vectors[i].len : 0);
		if (vectors[i].good) {
			assert_memory_equal(q.edns.subnet.data, vectors[i].rdata, vectors[i].len);
		}
	}
}

/* RFC 7828 §3.3.1: what it is depends on the transport, which is not known here */
static void keepalive_is_never_an_error_by_itself(void **state)
{
	(void)state;
	static const struct {
		const char *rdata;
		uint8_t len;
		enum edns_keepalive is;
	} vectors[] = {
		{"\0\13\0\0", 4, EDNS_KEEPALIVE_ASKED},
		{"\0\13\0\2\0\1", 6, EDNS_KEEPALIVE_ASKED},
		{"\0\13\0\1\0", 5, EDNS_KEEPALIVE_MALFORMED},
	};
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		struct message m;
		struct query q = with_options(&m, vectors[i].rdata, vectors[i].len);
		assert_int_equal(q.rcode, RCODE_NOERROR);
		assert_int_equal(q.edns.keepalive, vectors[i].is);
	}
}

/* RFC 6891 §6.1.3: before anything else that another version may mean otherwise */
static void options_of_an_unknown_version_are_not_looked_at(void **state)
{
	(void)state;
	struct message m;
	message_query(&m, "web.mesh", TYPE_A);
	message_opt(&m,
		(struct opt){.size = 1232, .version = 1, .rdata = "\0\12\0\1x", .rdata_len = 5});
	struct query q = parsed(&m);
	assert_int_equal(q.rcode, RCODE_BADVERS);
	assert_true(q.has_opt);
	assert_int_equal(q.edns.cookie.len, 0);
}

enum { OPCODE_NOTIFY = 4, OPCODE_UPDATE = 5, OPCODE_DSO = 6 };

static void with_opcode(struct message *m, unsigned opcode)
{
	message_begin(m, (uint16_t)(opcode << 11));
}

static void assert_not_implemented(const struct message *m, bool has_opt)
{
	struct query q = parsed(m);
	assert_int_equal(q.rcode, RCODE_NOTIMP);
	assert_int_equal(q.question.len, 0);
	assert_int_equal(q.has_opt, has_opt);
	assert_int_equal(q.edns_do, has_opt);
	assert_int_equal(q.udp_size, has_opt ? 1400 : 512);
	assert_int_equal(q.edns.cookie.len, has_opt ? 8 : 0);
}

static const struct opt good_opt = {
	.size = 1400, .edns_do = true, .rdata = "\0\12\0\10clientck", .rdata_len = 12};

/* RFC 2136 §2, RFC 1996 §3, RFC 8490 §5.4: with OPT, and without */
static void opt_of_other_opcodes_is_found(void **state)
{
	(void)state;
	for (int with_opt = 0; with_opt < 2; with_opt++) {
		struct message m;
		with_opcode(&m, OPCODE_UPDATE);
		message_question(&m, "example.com", TYPE_SOA);
		message_record(&m, 1, "www.example.com", TYPE_ANY, 0, "", 0);
		message_record(&m, 2, "www.example.com", TYPE_A, 60, "\300\0\2\1", 4);
		if (with_opt) {
			message_opt(&m, good_opt);
		}
		message_record(&m, 3, "key", 250, 0, "1234567890", 10);
		assert_not_implemented(&m, with_opt != 0);

		with_opcode(&m, OPCODE_NOTIFY);
		message_question(&m, "example.com", TYPE_SOA);
		message_record(&m, 1, NULL, TYPE_SOA, 60, "\0\0aaaabbbbccccddddeeee", 22);
		if (with_opt) {
			message_opt(&m, good_opt);
		}
		assert_not_implemented(&m, with_opt != 0);

		with_opcode(&m, OPCODE_DSO); /* no counts; TLVs behind the header */
		if (with_opt) {
			message_opt(&m, good_opt);
		}
		writer_octets(&m.w, "\0\1\0\10\0\0\72\230\0\0\72\230", 12);
		assert_not_implemented(&m, with_opt != 0);
	}
}

/* Never FORMERR: what is wrong with a message that we do not understand is not ours to say. */
static void unreadable_messages_of_other_opcodes_have_no_opt(void **state)
{
	(void)state;
	struct message m;
	with_opcode(&m, OPCODE_UPDATE); /* two */
	message_opt(&m, good_opt);
	message_opt(&m, good_opt);
	assert_not_implemented(&m, false);

	with_opcode(&m, OPCODE_UPDATE); /* in another section */
	message_record(&m, 2, ".", TYPE_OPT, 0, "", 0);
	message_opt(&m, good_opt);
	assert_not_implemented(&m, false);

	with_opcode(&m, OPCODE_UPDATE); /* with a malformed cookie */
	message_opt(&m, (struct opt){.size = 1400, .rdata = "\0\12\0\1x", .rdata_len = 5});
	assert_not_implemented(&m, false);

	with_opcode(&m, OPCODE_NOTIFY); /* of all lengths but the whole */
	message_question(&m, "example.com", TYPE_SOA);
	message_opt(&m, good_opt);
	for (size_t whole = m.w.len--; m.w.len >= HEADER_LEN; m.w.len--) {
		assert_true(m.w.len < whole);
		assert_not_implemented(&m, false);
	}

	for (size_t at = 4; at <= 10; at += 2) { /* with a count that lies */
		with_opcode(&m, OPCODE_NOTIFY);
		message_opt(&m, good_opt);
		octets_put_u16(m.octets + at, 0xffff);
		assert_not_implemented(&m, false);
	}
}

static void record_count_that_lies_is_a_format_error(void **state)
{
	(void)state;
	for (size_t at = 6; at <= 10; at += 2) {
		struct message m;
		message_query(&m, "web.mesh", TYPE_A);
		octets_put_u16(m.octets + at, 1);
		assert_int_equal(parsed(&m).rcode, RCODE_FORMERR);
		octets_put_u16(m.octets + at, 0xffff);
		assert_int_equal(parsed(&m).rcode, RCODE_FORMERR);
	}
}

static void signed_query_is_marked(void **state)
{
	(void)state;
	struct message m;
	message_query(&m, "web.mesh", TYPE_A);
	message_opt(&m, (struct opt){.size = 1232});
	message_record(&m, 3, "key", TYPE_TSIG, 0, "1234567890", 10);
	struct query q = parsed(&m);
	assert_int_equal(q.rcode, RCODE_NOERROR);
	assert_true(q.has_opt);
	assert_true(q.is_signed);
}

/* Whatever else is in the additional section, options such as cookies end here. */
static void other_records_are_no_signature(void **state)
{
	(void)state;
	struct message m;
	message_query(&m, "web.mesh", TYPE_A);
	message_opt(&m, (struct opt){.size = 1232});
	message_record(&m, 3, "key", TYPE_A, 0, "\300\0\2\1", 4);
	message_record(&m, 3, "key", TYPE_TXT, 0, "\1x", 2);
	assert_false(parsed(&m).is_signed);
	message_record(&m, 3, ".", TYPE_SIG, 0, "", 0);
	assert_true(parsed(&m).is_signed);
}

static void octets_behind_the_query_do_no_harm(void **state)
{
	(void)state;
	struct message m;
	message_query(&m, "web.mesh", TYPE_A);
	writer_octets(&m.w, "\0\0\0\0", 4);
	assert_int_equal(parsed(&m).rcode, RCODE_NOERROR);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_query_is_read),
		cmocka_unit_test(less_than_a_header_gets_no_answer),
		cmocka_unit_test(response_gets_no_answer),
		cmocka_unit_test(query_cut_behind_its_header_is_a_format_error),
		cmocka_unit_test(question_count_other_than_one_is_a_format_error),
		cmocka_unit_test(pointer_in_the_question_is_a_format_error),
		cmocka_unit_test(other_opcodes_are_not_implemented),
		cmocka_unit_test(opt_gives_size_and_do),
		cmocka_unit_test(unknown_edns_version_is_badvers),
		cmocka_unit_test(two_opts_are_a_format_error),
		cmocka_unit_test(misplaced_opt_is_a_format_error),
		cmocka_unit_test(option_beyond_rdata_is_a_format_error),
		cmocka_unit_test(unknown_options_are_passed_over),
		cmocka_unit_test(query_without_opt_has_no_options),
		cmocka_unit_test(cookie_of_a_wrong_length_is_a_format_error),
		cmocka_unit_test(second_cookie_is_ignored),
		cmocka_unit_test(client_subnet_is_kept_or_a_format_error),
		cmocka_unit_test(keepalive_is_never_an_error_by_itself),
		cmocka_unit_test(options_of_an_unknown_version_are_not_looked_at),
		cmocka_unit_test(opt_of_other_opcodes_is_found),
		cmocka_unit_test(unreadable_messages_of_other_opcodes_have_no_opt),
		cmocka_unit_test(record_count_that_lies_is_a_format_error),
		cmocka_unit_test(signed_query_is_marked),
		cmocka_unit_test(other_records_are_no_signature),
		cmocka_unit_test(octets_behind_the_query_do_no_harm),
	};
	return cmocka_run_group_tests_name("query", tests, NULL, NULL);
}
