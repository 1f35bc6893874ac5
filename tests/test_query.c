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
	assert_false(q.has_other);
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
		assert_false(q.has_other);
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

static void option_beyond_rdata_is_a_format_error(void **state)
{
	(void)state;
	static const char *const bad[] = {"\0\12\0\10\1", "\0\12\0", "\0"};
	static const uint16_t lens[] = {5, 3, 1};
	for (size_t i = 0; i < 3; i++) {
		struct message m;
		message_query(&m, "web.mesh", TYPE_A);
		message_opt(&m, (struct opt){.size = 1232, .rdata = bad[i], .rdata_len = lens[i]});
		assert_int_equal(parsed(&m).rcode, RCODE_FORMERR);
	}
}

/* RFC 6891 §6.1.2: options that are not known are ignored. */
static void unknown_options_are_passed_over(void **state)
{
	(void)state;
	struct message m;
	message_query(&m, "web.mesh", TYPE_A);
	message_opt(&m,
		(struct opt){.size = 1232, .rdata = "\xff\xfe\0\2ab\0\14\0\0", .rdata_len = 10});
	assert_int_equal(parsed(&m).rcode, RCODE_NOERROR);
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
	enum { TYPE_TSIG = 250 };
	struct message m;
	message_query(&m, "web.mesh", TYPE_A);
	message_opt(&m, (struct opt){.size = 1232});
	message_record(&m, 3, "key", TYPE_TSIG, 0, "1234567890", 10);
	struct query q = parsed(&m);
	assert_int_equal(q.rcode, RCODE_NOERROR);
	assert_true(q.has_opt);
	assert_true(q.has_other);
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
		cmocka_unit_test(record_count_that_lies_is_a_format_error),
		cmocka_unit_test(signed_query_is_marked),
		cmocka_unit_test(octets_behind_the_query_do_no_harm),
	};
	return cmocka_run_group_tests_name("query", tests, NULL, NULL);
}
