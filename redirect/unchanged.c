/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether a table is as it would be made. Rules are known by what they bear: the kernel replaces a
 * rule, but does not change one. Servers are compared one by one, since they change in place. Owns
 * nothing, changes nothing.
 */
#include "redirect/unchanged.h"

#include "redirect/batch.h"
#include "redirect/netlink.h"
#include "redirect/nft_rule.h"
#include "redirect/redirect.h"
#include "redirect/ruleset.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

struct comparison {
	const struct ruleset *set;
	const char *table;
	unsigned count; /* of what was seen of one kind */
	bool differs;
	sa_family_t family;           /* of the servers that are looked at */
	bool seen[RULES_SERVERS_MAX]; /* which of the ruleset's servers are there */
};

enum { ATTRIBUTES = 16 };

struct attributes {
	const struct nlattr *type[ATTRIBUTES]; /* NULL: not there */
};

static int keep(const struct nlattr *attr, void *data)
{
	struct attributes *found = data;

	if (mnl_attr_get_type(attr) < ATTRIBUTES) {
		found->type[mnl_attr_get_type(attr)] = attr;
	}
	return MNL_CB_OK;
}

static struct attributes parse(const struct nlmsghdr *message)
{
	struct attributes found = {{NULL}};

	(void)mnl_attr_parse(message, sizeof(struct nfgenmsg), keep, &found);
	return found;
}

static struct attributes parse_nested(const struct nlattr *attr)
{
	struct attributes found = {{NULL}};

	if (attr) {
		(void)mnl_attr_parse_nested(attr, keep, &found);
	}
	return found;
}

static bool is_string(const struct nlattr *attr, const char *text)
{
	return attr && mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0 &&
	       strcmp(mnl_attr_get_str(attr), text) == 0;
}

/** @return whether it is there, and another one */
static bool is_other_number(const struct nlattr *attr, uint32_t expected)
{
	return attr && (mnl_attr_validate(attr, MNL_TYPE_U32) != 0 ||
			       ntohl(mnl_attr_get_u32(attr)) != expected);
}

/** A table can be put to sleep, with all its rules. */
static int see_table(const struct nlmsghdr *message, void *data)
{
	struct comparison *c = data;
	const struct attributes table = parse(message);

	if (is_string(table.type[NFTA_TABLE_NAME], c->table)) {
		c->count++;
		c->differs |= is_other_number(table.type[NFTA_TABLE_FLAGS], 0);
	}
	return MNL_CB_OK;
}

/** The place of a chain cannot change, what it does at its end can. */
static int see_chain(const struct nlmsghdr *message, void *data)
{
	struct comparison *c = data;
	const struct attributes chain = parse(message);

	if (is_string(chain.type[NFTA_CHAIN_TABLE], c->table)) {
		c->count++;
		c->differs |= is_other_number(chain.type[NFTA_CHAIN_POLICY], BATCH_ACCEPT);
	}
	return MNL_CB_OK;
}

static int see_rule(const struct nlmsghdr *message, void *data)
{
	struct comparison *c = data;
	const struct nlattr *userdata = parse(message).type[NFTA_RULE_USERDATA];
	const size_t len = userdata ? mnl_attr_get_payload_len(userdata) : 0;
	struct nft_tag expected;

	if (c->count < c->set->count && len >= sizeof expected) {
		const char *octets = mnl_attr_get_payload(userdata);
		expected = nft_tag(c->set, &c->set->rule[c->count]);
		c->differs |=
			memcmp(octets + len - sizeof expected, &expected, sizeof expected) != 0;
	} else {
		c->differs = true;
	}
	c->count++;
	return MNL_CB_OK;
}

static bool is_address(const struct nlattr *attr, const struct endpoint *e)
{
	const size_t len = mnl_attr_get_payload_len(attr);

	return e->sa.sa_family == AF_INET
		       ? len == sizeof e->in.sin_addr &&
				 memcmp(mnl_attr_get_payload(attr), &e->in.sin_addr, len) == 0
		       : len == sizeof e->in6.sin6_addr &&
				 memcmp(mnl_attr_get_payload(attr), &e->in6.sin6_addr, len) == 0;
}

/** A server may be listed twice, and is one element. */
static int see_element(const struct nlattr *attr, void *data)
{
	struct comparison *c = data;
	const struct rules *rules = c->set->rules;
	const struct attributes key = parse_nested(parse_nested(attr).type[NFTA_SET_ELEM_KEY]);
	const struct nlattr *value = key.type[NFTA_DATA_VALUE];
	bool found = false;

	for (unsigned i = 0; value && i < rules->server_count; i++) {
		if (rules->server[i].sa.sa_family == c->family &&
			is_address(value, &rules->server[i])) {
			c->seen[i] = found = true;
		}
	}
	c->differs |= !found;
	return MNL_CB_OK;
}

static int see_elements(const struct nlmsghdr *message, void *data)
{
	const struct nlattr *list = parse(message).type[NFTA_SET_ELEM_LIST_ELEMENTS];

	return list ? mnl_attr_parse_nested(list, see_element, data) : MNL_CB_OK;
}

static bool has_servers(struct comparison *c, sa_family_t family)
{
	const struct rules *rules = c->set->rules;

	c->family = family;
	if (netlink_dump(NFT_MSG_GETSETELEM, c->table, ruleset_servers(family), see_elements, c)) {
		return false;
	}
	for (unsigned i = 0; i < rules->server_count; i++) {
		c->differs |= rules->server[i].sa.sa_family == family && !c->seen[i];
	}
	return !c->differs;
}

/** @return whether there are `count` of a kind, and none differs */
static bool has(struct comparison *c, unsigned type, unsigned count,
	int (*see)(const struct nlmsghdr *message, void *data))
{
	c->count = 0;
	return netlink_dump(type, c->table, NULL, see, c) == 0 && c->count == count && !c->differs;
}

bool unchanged_is(const struct ruleset *set, const char *table)
{
	struct comparison c = {.set = set, .table = table};
	unsigned chains = 0;

	for (unsigned i = 0; i < CHAINS; i++) {
		chains += set->has[i];
	}
	return has(&c, NFT_MSG_GETTABLE, 1, see_table) &&
	       has(&c, NFT_MSG_GETCHAIN, chains, see_chain) &&
	       has(&c, NFT_MSG_GETRULE, set->count, see_rule) &&
	       (!set->has_servers[0] || has_servers(&c, AF_INET)) &&
	       (!set->has_servers[1] || has_servers(&c, AF_INET6));
}
