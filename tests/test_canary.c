/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of canary.c: the query as ldns reads it, and whose answers are taken for ours.
 */
#include "tests/message.h"

#include "dns/wire/canary.h"

static const struct canary one = {.id = 0x1234, .nonce = 0x0123456789abcdef, .more = 0xfedcba98};
static const struct cookie_secret ours = {.octets = "ours"};
static const struct cookie_secret others = {.octets = "others"};

struct answer {
	uint8_t octets[512];
	size_t len;
};

static void parse(struct query *q, uint8_t message[CANARY_QUERY_LEN])
{
	canary_query(message, &one);
	assert_int_equal(query_parse(q, (struct span){message, CANARY_QUERY_LEN}), 0);
	assert_int_equal(q->rcode, RCODE_NOERROR);
}

static struct answer answer_of(const struct cookie_secret *secret)
{
	uint8_t message[CANARY_QUERY_LEN];
	struct answer a;
	struct writer out = {.data = a.octets, .size = sizeof(a.octets)};
	struct query q;
	parse(&q, message);
	canary_answer(&q, secret, (struct span){0}, &out, UDP_LEN_MIN);
	a.len = out.len;
	return a;
}

static enum canary_sender sender_of(const struct answer *a)
{
	return canary_read((struct span){a->octets, a->len}, &one, &ours);
}

static void a_query_is_a_question_for_a_name_of_nobody(void **state)
{
	(void)state;
	uint8_t message[CANARY_QUERY_LEN];
	canary_query(message, &one);
	ldns_pkt *packet = packet_of((struct span){message, sizeof(message)});
	assert_int_equal(ldns_pkt_id(packet), 0x1234);
	assert_true(ldns_pkt_rd(packet) && !ldns_pkt_qr(packet) && !ldns_pkt_edns(packet));
	char *text = ldns_rr2str(ldns_rr_list_rr(ldns_pkt_question(packet), 0));
	assert_string_equal(text, "0123456789abcdeffedcba98.canary.kuma-dns.internal.\tIN\tTXT\n");
	free(text);
	ldns_pkt_free(packet);
}

static void an_answer_is_not_to_be_remembered(void **state)
{
	(void)state;
	struct answer a = answer_of(&ours);
	assert_int_equal(a.len, CANARY_RESPONSE_LEN);
	ldns_pkt *packet = packet_of((struct span){a.octets, a.len});
	assert_true(ldns_pkt_qr(packet) && ldns_pkt_aa(packet));
	assert_int_equal(ldns_rr_list_rr_count(ldns_pkt_answer(packet)), 1);
	assert_int_equal(ldns_rr_ttl(ldns_rr_list_rr(ldns_pkt_answer(packet), 0)), 0);
	ldns_pkt_free(packet);
}

static void only_canaries_are_canaries(void **state)
{
	(void)state;
	uint8_t message[CANARY_QUERY_LEN];
	struct query q;
	parse(&q, message);
	assert_true(canary_is(&q));
	struct query other = q;
	other.qtype = TYPE_A;
	assert_false(canary_is(&other));
	other = q;
	other.qclass = CLASS_CH;
	assert_false(canary_is(&other));
	other = q;
	other.qname = name_of("0123456789abcdeffedcba98.canary.kuma-dns.internap");
	assert_int_equal(other.qname.len, CANARY_NAME_LEN);
	assert_false(canary_is(&other));
	other.qname = name_of("0123456789abcdeffedcba.8.canary.kuma-dns.internal");
	assert_int_equal(other.qname.len, CANARY_NAME_LEN);
	assert_false(canary_is(&other));
	other.qname = name_of("canary.kuma-dns.internal");
	assert_false(canary_is(&other));
}

static void whoever_knows_the_secret_is_we(void **state)
{
	(void)state;
	struct answer a = answer_of(&ours);
	assert_int_equal(sender_of(&a), CANARY_US);
	a = answer_of(&others);
	assert_int_equal(sender_of(&a), CANARY_LIKE_US);
}

static void an_answer_to_another_canary_is_not_ours(void **state)
{
	(void)state;
	const struct canary next = {.id = one.id, .nonce = one.nonce, .more = one.more + 1};
	struct answer a = answer_of(&ours);
	assert_int_equal(
		canary_read((struct span){a.octets, a.len}, &next, &ours), CANARY_STRANGER);
	/* its question exchanged */
	canary_query(a.octets, &next);
	struct answer true_one = answer_of(&ours);
	memcpy(a.octets, true_one.octets, HEADER_LEN);
	assert_int_equal(canary_read((struct span){a.octets, a.len}, &next, &ours), CANARY_LIKE_US);
}

static void what_is_no_response_is_nobodys(void **state)
{
	(void)state;
	struct answer a = answer_of(&ours);
	a.octets[0] ^= 1;
	assert_int_equal(sender_of(&a), CANARY_NOBODY);
	a = answer_of(&ours);
	a.octets[2] &= 0x7f;
	assert_int_equal(sender_of(&a), CANARY_NOBODY);
	for (a.len = 0; a.len < HEADER_LEN; a.len++) {
		assert_int_equal(sender_of(&a), CANARY_NOBODY);
	}
}

static void answers_of_name_servers_are_strangers(void **state)
{
	(void)state;
	struct answer a = answer_of(&ours);
	octets_put_u16(a.octets + 2, FLAG_QR | FLAG_RD | FLAG_RA | RCODE_NXDOMAIN);
	octets_put_u16(a.octets + 6, 0);
	a.len = CANARY_QUERY_LEN;
	assert_int_equal(sender_of(&a), CANARY_STRANGER);
	a = answer_of(&ours);
	a.len--;
	assert_int_equal(sender_of(&a), CANARY_STRANGER);
	a = answer_of(&ours);
	a.len++;
	assert_int_equal(sender_of(&a), CANARY_STRANGER);
	a = answer_of(&ours);
	a.octets[2] &= (uint8_t) ~(FLAG_AA >> 8);
	assert_int_equal(sender_of(&a), CANARY_STRANGER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_query_is_a_question_for_a_name_of_nobody),
		cmocka_unit_test(an_answer_is_not_to_be_remembered),
		cmocka_unit_test(only_canaries_are_canaries),
		cmocka_unit_test(whoever_knows_the_secret_is_we),
		cmocka_unit_test(an_answer_to_another_canary_is_not_ours),
		cmocka_unit_test(what_is_no_response_is_nobodys),
		cmocka_unit_test(answers_of_name_servers_are_strangers),
	};
	return cmocka_run_group_tests_name("canary", tests, NULL, NULL);
}
