/* SPDX-License-Identifier: Apache-2.0
 *
 * The messages as octets, and the sentences about those that fail. What they mean to the kernel and
 * to nft is seen in test_nftables.c.
 */
#include "redirect/batch.h"
#include "redirect/nft.h"
#include "redirect/redirect.h"
#include "redirect/ruleset.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

_Static_assert((int)BATCH_INET == (int)NFPROTO_INET, "as the kernel has it");
_Static_assert((int)BATCH_IPV4 == (int)NFPROTO_IPV4, "as the kernel has it");
_Static_assert((int)BATCH_IPV6 == (int)NFPROTO_IPV6, "as the kernel has it");
_Static_assert((int)BATCH_LOCAL_OUT == (int)NF_INET_LOCAL_OUT, "as the kernel has it");
_Static_assert((int)BATCH_PRE_ROUTING == (int)NF_INET_PRE_ROUTING, "as the kernel has it");
_Static_assert((int)BATCH_DROP == (int)NF_DROP, "as the kernel has it");
_Static_assert((int)BATCH_ACCEPT == (int)NF_ACCEPT, "as the kernel has it");
_Static_assert((int)BATCH_NAT_PORT == (int)NF_NAT_RANGE_PROTO_SPECIFIED, "as the kernel has it");

static struct rules all_on(void)
{
	struct rules rules = {
		.ipv4 = true,
		.ipv6 = true,
		.zones = true,
		.has_uid = true,
		.uid = 5678,
		.mark = 0x6b64,
		.port = 15053,
	};

	for (unsigned i = 0; i < RULES_SERVERS_MAX; i++) {
		struct endpoint *e = &rules.server[rules.server_count++];
		e->in6.sin6_family = AF_INET6;
		e->in6.sin6_addr.s6_addr[15] = (uint8_t)(i + 1);
		e->len = sizeof e->in6;
	}
	return rules;
}

/** The message at `*offset`, which is moved behind it. */
static const struct nlmsghdr *next_message(const struct batch *b, size_t *offset)
{
	const struct nlmsghdr *m = (const void *)(b->data + *offset);

	assert_true(b->len - *offset >= sizeof *m);
	assert_true(m->nlmsg_len >= sizeof *m && m->nlmsg_len <= b->len - *offset);
	*offset += NLMSG_ALIGN((size_t)m->nlmsg_len);
	return m;
}

/** First and last mark the batch; the last but one asks to be acknowledged. */
static void assert_well_formed(const struct batch *b)
{
	size_t offset = 0;

	for (unsigned i = 0; i < b->count; i++) {
		const struct nlmsghdr *m = next_message(b, &offset);
		const bool inside = i > 0 && i < b->count - 1;
		const bool last = i == b->count - 2;
		assert_int_equal(m->nlmsg_seq, i);
		assert_int_equal((m->nlmsg_flags & NLM_F_ACK) != 0, last);
		assert_true(m->nlmsg_flags & NLM_F_REQUEST);
		if (inside) {
			assert_int_equal(m->nlmsg_type >> 8, NFNL_SUBSYS_NFTABLES);
		}
	}
	assert_int_equal(offset, b->len);
}

/** Compile and compose: the daemon's ruleset. */
static int compose(struct batch *b, const struct rules *rules, const char *table)
{
	static struct ruleset set;

	ruleset_compile(&set, rules, RULESET_OWNED);
	return nft_compose_install(b, &set, table, true);
}

static unsigned count_type(const struct batch *b, unsigned type)
{
	unsigned count = 0;
	size_t offset = 0;

	for (unsigned i = 0; i < b->count; i++) {
		const struct nlmsghdr *m = next_message(b, &offset);
		count += m->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | type);
	}
	return count;
}

/** All lists full, of what takes the most room. */
static void fill(struct conf_traffic *traffic)
{
	char text[64];

	traffic->enabled = true;
	for (unsigned i = 0; i < CONF_PORTS_MAX; i++) {
		traffic->exclude.item[traffic->exclude.count++] = (uint16_t)(i + 1);
	}
	for (unsigned i = 0; i < 32; i++) {
		snprintf(text, sizeof text, "%u-%u:%u-1000", i + 1, i + 9, i);
		assert_int_equal(exclusions_add(&traffic->exclude_uids, text), 0);
		snprintf(text, sizeof text, "fd00:%x::/127", i);
		assert_int_equal(networks_add(&traffic->exclude_ips, text), 0);
	}
}

static struct rules all_full(void)
{
	struct rules rules = all_on();
	char text[64];

	rules.tcp6 = true;
	rules.comments = true;
	rules.log = true;
	rules.drop_invalid = true;
	fill(&rules.inbound);
	fill(&rules.outbound);
	for (unsigned i = 0; i < CONF_VNETS_MAX; i++) {
		snprintf(text, sizeof text, "br%u+:fd00::/63", i);
		assert_int_equal(vnets_add(&rules.vnets, text), 0);
	}
	return rules;
}

static void the_largest_ruleset_fits(void **state)
{
	const struct rules rules = all_full();
	static struct ruleset set;
	static struct batch b;

	(void)state;
	ruleset_compile(&set, &rules, RULESET_OWNED);
	assert_int_equal(nft_compose_install(&b, &set, "kuma_dns_8_a_name_of_31_octets_", true), 0);
	assert_well_formed(&b);
	print_message("%u rules, %u messages, %zu octets\n", set.count, b.count, b.len);
	assert_true(b.len < BATCH_SIZE - BATCH_SIZE / 8);
	assert_true(b.count < BATCH_MESSAGES_MAX - BATCH_MESSAGES_MAX / 8);
	assert_true(set.count < RULESET_RULES_MAX - 8);
	assert_int_equal(nft_compose_withdraw(&b, &set, "kuma_dns"), 0);
	assert_well_formed(&b);
	assert_int_equal(nft_compose_remove(&b, "kuma_dns"), 0);
	assert_well_formed(&b);
}

static void a_ruleset_has_no_more_than_it_needs(void **state)
{
	struct rules rules = all_on();
	static struct batch b;

	(void)state;
	assert_int_equal(compose(&b, &rules, "t"), 0);
	assert_int_equal(count_type(&b, NFT_MSG_NEWCHAIN), 2);
	assert_int_equal(count_type(&b, NFT_MSG_NEWRULE), 9 + 5);
	rules.has_uid = false;
	assert_int_equal(compose(&b, &rules, "t"), 0);
	assert_int_equal(count_type(&b, NFT_MSG_NEWRULE), 8 + 4);
	rules.ipv6 = false;
	assert_int_equal(compose(&b, &rules, "t"), 0);
	assert_int_equal(count_type(&b, NFT_MSG_NEWRULE), 5 + 2);
	rules.zones = false;
	rules.capture_all = true;
	assert_int_equal(compose(&b, &rules, "t"), 0);
	assert_well_formed(&b);
	assert_int_equal(count_type(&b, NFT_MSG_NEWCHAIN), 1);
	assert_int_equal(count_type(&b, NFT_MSG_NEWRULE), 2);
	assert_int_equal(count_type(&b, NFT_MSG_NEWSET), 1);
}

static void a_batch_that_is_full_says_so_and_stays_inside(void **state)
{
	static struct {
		struct batch batch;
		char behind[64];
	} s;
	static const char value[1000];

	(void)state;
	memset(s.behind, '#', sizeof s.behind);
	batch_init(&s.batch, "t");
	batch_begin(&s.batch, 1, NFT_MSG_NEWRULE, 0);
	for (unsigned i = 0; i < BATCH_SIZE / sizeof value + 4; i++) {
		struct nlattr *attr = batch_nest(&s.batch, 1);
		batch_put(&s.batch, 1, value, sizeof value);
		batch_unnest(&s.batch, attr);
	}
	batch_load_meta(&s.batch, NFT_META_MARK);
	batch_end(&s.batch);
	assert_int_equal(batch_finish(&s.batch), -EMSGSIZE);
	for (size_t i = 0; i < sizeof s.behind; i++) {
		assert_int_equal(s.behind[i], '#');
	}
	batch_init(&s.batch, "t");
	for (unsigned i = 0; i < 2 * BATCH_MESSAGES_MAX; i++) {
		batch_begin(&s.batch, 1, NFT_MSG_NEWRULE, 0);
		batch_end(&s.batch);
	}
	assert_int_equal(batch_finish(&s.batch), -EMSGSIZE);
}

/** Number of the first message that is for `step`. */
static unsigned find_step(const struct batch *b, enum nft_step step)
{
	for (unsigned i = 0; i < b->count; i++) {
		if (b->step[i] == step) {
			return i;
		}
	}
	fail_msg("no message is for step %d", step);
	return 0;
}

static void a_failure_says_what_is_missing(void **state)
{
	static const struct {
		enum nft_step step;
		int err;
		int expected;
		const char *text;
	} cases[] = {
		{NFT_BEGIN, -EPERM, -EPERM, "CAP_NET_ADMIN is missing"},
		{NFT_BEGIN, -EOPNOTSUPP, -EOPNOTSUPP, "CONFIG_NF_TABLES)"},
		{NFT_TABLE, -EAFNOSUPPORT, -EOPNOTSUPP, "CONFIG_NF_TABLES_INET"},
		{NFT_TABLE, -EPERM, -EBUSY, "another process owns the table inet kuma_dns"},
		{NFT_OWNER, -EOPNOTSUPP, -EOPNOTSUPP, "Linux 5.12"},
		{NFT_CHAIN_FILTER, -ENOENT, -EOPNOTSUPP, "CONFIG_NF_TABLES_INET"},
		{NFT_CHAIN_NAT, -ENOENT, -EOPNOTSUPP, "CONFIG_NFT_NAT"},
		{NFT_RULE_ZONE, -EOPNOTSUPP, -EOPNOTSUPP, "CONFIG_NF_CONNTRACK_ZONES"},
		{NFT_RULE_REDIRECT, -ENOENT, -EOPNOTSUPP, "CONFIG_NFT_REDIR"},
		{NFT_SET, -ENOMEM, -ENOMEM, "Cannot allocate memory"},
		{NFT_CHAIN_NAT, -EPERM, -EPERM, "Operation not permitted"},
	};
	const struct rules rules = all_on();
	static struct batch b;
	struct redirect_error error;

	(void)state;
	assert_int_equal(compose(&b, &rules, "kuma_dns"), 0);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const unsigned seq = find_step(&b, cases[i].step);
		error.text[0] = '\0';
		assert_int_equal(nft_explain(&b, seq, cases[i].err, &error), cases[i].expected);
		assert_non_null(strstr(error.text, cases[i].text));
	}
	/* a number from outside */
	assert_int_equal(nft_explain(&b, 4000000000U, -EIO, &error), -EIO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_largest_ruleset_fits),
		cmocka_unit_test(a_ruleset_has_no_more_than_it_needs),
		cmocka_unit_test(a_batch_that_is_full_says_so_and_stays_inside),
		cmocka_unit_test(a_failure_says_what_is_missing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
