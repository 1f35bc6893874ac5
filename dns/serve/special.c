/* SPDX-License-Identifier: Apache-2.0
 *
 * Three tables, one for each way of naming a zone: by its last label, by the octets of an IPv4
 * network, by the nibbles of an IPv6 network. A name's last label tells that it is in none.
 */
#include "dns/serve/special.h"

#include "dns/wire/query.h"

enum { TYPE_DS = 43 };

/* Zones named by one label, with its length in front. */
struct label_zone {
	const char *label;
	enum special_group group;
};

static const struct label_zone top_zones[] = {
	{"\3alt", SPECIAL_ALT},
	{"\4test", SPECIAL_TEST},
	{"\5onion", SPECIAL_ONION},
	{"\7invalid", SPECIAL_INVALID},
	{"\11localhost", SPECIAL_LOCALHOST},
};

/* IPv4 networks in ascending order, each the addresses of one zone for every value of its last
 * whole octet: 172.16.0.0 to 172.31.255.255 in zones of two octets are sixteen. */
static const struct {
	uint32_t first;
	uint32_t last;
	unsigned octets;
	enum special_group group;
} ipv4_zones[] = {
	{0x00000000, 0x00ffffff, 1, SPECIAL_REVERSE_NOBODY},  /* RFC 6303 §4.2: this host */
	{0x0a000000, 0x0affffff, 1, SPECIAL_REVERSE_PRIVATE}, /* §4.1: 10/8 */
	{0x64400000, 0x647fffff, 2, SPECIAL_REVERSE_PRIVATE}, /* RFC 7793: 100.64/10 */
	{0x7f000000, 0x7fffffff, 1, SPECIAL_REVERSE_NOBODY},  /* §4.2: loopback */
	{0xa9fe0000, 0xa9feffff, 2, SPECIAL_REVERSE_NOBODY},  /* §4.2: 169.254/16, link-local */
	{0xac100000, 0xac1fffff, 2, SPECIAL_REVERSE_PRIVATE}, /* §4.1: 172.16/12 */
	{0xc0000200, 0xc00002ff, 3, SPECIAL_REVERSE_NOBODY},  /* §4.2: 192.0.2/24, TEST-NET-1 */
	{0xc0a80000, 0xc0a8ffff, 2, SPECIAL_REVERSE_PRIVATE}, /* §4.1: 192.168/16 */
	{0xc6336400, 0xc63364ff, 3, SPECIAL_REVERSE_NOBODY},  /* §4.2: 198.51.100/24, TEST-NET-2 */
	{0xcb007100, 0xcb0071ff, 3, SPECIAL_REVERSE_NOBODY},  /* §4.2: 203.0.113/24, TEST-NET-3 */
	{0xffffffff, 0xffffffff, 4, SPECIAL_REVERSE_NOBODY},  /* §4.2: broadcast */
};

/* IPv6 networks, as nibbles in the order of the address. */
static const struct {
	const char *nibbles;
	enum special_group group;
} ipv6_zones[] = {
	{"00000000000000000000000000000000", SPECIAL_REVERSE_NOBODY}, /* RFC 6303 §4.3: :: */
	{"00000000000000000000000000000001", SPECIAL_REVERSE_NOBODY}, /* §4.3: ::1 */
	{"20010db8", SPECIAL_REVERSE_NOBODY},                         /* §4.6: documentation */
	{"fd", SPECIAL_REVERSE_PRIVATE},                              /* §4.4: fd00::/8 */
	{"fe8", SPECIAL_REVERSE_NOBODY},                              /* §4.5: link-local */
	{"fe9", SPECIAL_REVERSE_NOBODY},
	{"fea", SPECIAL_REVERSE_NOBODY},
	{"feb", SPECIAL_REVERSE_NOBODY},
};

enum { IPV6_LOOPBACK = 1 }; /* its row */

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The labels of a name, so that they can be looked at from its end. */
struct labels {
	const struct dname *name;
	unsigned count;
	uint8_t at[DNAME_MAX / 2 + 1];
};

/* Which zone a name is in. */
struct zone {
	enum special_group group; /* 0: none */
	unsigned labels;          /* of its apex */
};

/* A label with its length in front; `index` counts from the end of the name, 0 is the last one. */
static const uint8_t *label_from_end(const struct labels *l, unsigned index)
{
	return l->name->octets + l->at[l->count - 1 - index];
}

static bool label_is(const uint8_t *label, const char *expected)
{
	return label[0] == (uint8_t)expected[0] && memcmp(label + 1, expected + 1, label[0]) == 0;
}

static void labels_find(struct labels *l, const struct dname *name)
{
	l->name = name;
	l->count = 0;
	for (size_t at = 0; name->octets[at] != 0; at += 1U + name->octets[at]) {
		l->at[l->count++] = (uint8_t)at;
	}
}

/* The label as a decimal octet without leading zeros, or -1. */
static int label_octet(const uint8_t *label)
{
	int value = 0;
	if (label[0] > 3 || (label[0] > 1 && label[1] == '0')) {
		return -1;
	}
	for (unsigned i = 1; i <= label[0]; i++) {
		if (label[i] < '0' || label[i] > '9') {
			return -1;
		}
		value = value * 10 + (label[i] - '0');
	}
	return value <= 255 ? value : -1;
}

/* The octets that stand at the end of the name as an address, zeros behind them. */
static uint32_t ipv4_address(const struct labels *l, unsigned *octets)
{
	uint32_t address = 0;
	*octets = 0;
	while (*octets < 4 && *octets + 2 < l->count) {
		int octet = label_octet(label_from_end(l, *octets + 2));
		if (octet < 0) {
			break;
		}
		address |= (uint32_t)octet << (24 - 8 * *octets);
		++*octets;
	}
	return address;
}

static struct zone ipv4_zone(const struct labels *l)
{
	unsigned octets;
	uint32_t address = ipv4_address(l, &octets);
	for (size_t i = 0; i < COUNT(ipv4_zones) && ipv4_zones[i].first <= address; i++) {
		if (address <= ipv4_zones[i].last && octets >= ipv4_zones[i].octets) {
			return (struct zone){
				.group = ipv4_zones[i].group, .labels = ipv4_zones[i].octets + 2};
		}
	}
	return (struct zone){0};
}

/* How many labels of ip6.arpa and the nibbles in front of it the name ends in; 0 where not all. */
static unsigned ipv6_labels(const struct labels *l, const char *nibbles)
{
	unsigned index = 2;
	for (; *nibbles; nibbles++, index++) {
		if (index == l->count) {
			return 0;
		}
		const uint8_t *label = label_from_end(l, index);
		if (label[0] != 1 || label[1] != (uint8_t)*nibbles) {
			return 0;
		}
	}
	return index;
}

static struct zone ipv6_zone(const struct labels *l)
{
	for (size_t i = 0; i < COUNT(ipv6_zones); i++) {
		unsigned labels = ipv6_labels(l, ipv6_zones[i].nibbles);
		if (labels) {
			return (struct zone){.group = ipv6_zones[i].group, .labels = labels};
		}
	}
	return (struct zone){0};
}

static struct zone arpa_zone(const struct labels *l)
{
	if (l->count < 2) {
		return (struct zone){0};
	}
	const uint8_t *label = label_from_end(l, 1);
	if (label_is(label, "\7in-addr")) {
		return ipv4_zone(l);
	}
	if (label_is(label, "\3ip6")) {
		return ipv6_zone(l);
	}
	if (label_is(label, "\4home")) {
		return (struct zone){.group = SPECIAL_HOME, .labels = 2};
	}
	if (label_is(label, "\10resolver")) {
		return (struct zone){.group = SPECIAL_RESOLVER, .labels = 2};
	}
	return (struct zone){0};
}

/* 127.0.0.1 and what leads to it: how many labels of its reverse name the name ends in, where it
 * has no other; else 0. */
static unsigned ipv4_loopback_labels(const struct labels *l)
{
	static const char *const octets[] = {"\003127", "\0010", "\0010", "\0011"};
	if (l->count > 2 + COUNT(octets) || !label_is(label_from_end(l, 1), "\7in-addr")) {
		return 0;
	}
	for (unsigned i = 2; i < l->count; i++) {
		if (!label_is(label_from_end(l, i), octets[i - 2])) {
			return 0;
		}
	}
	return l->count;
}

static bool ipv6_is_loopback(const struct labels *l)
{
	return label_is(label_from_end(l, 1), "\3ip6") &&
	       ipv6_labels(l, ipv6_zones[IPV6_LOOPBACK].nibbles) == l->count;
}

static enum special_answer loopback_name(uint16_t qtype)
{
	return qtype == TYPE_PTR || qtype == TYPE_ANY ? SPECIAL_LOOPBACK_NAME : SPECIAL_NODATA;
}

static enum special_answer arpa_answer(
	const struct labels *l, const struct zone *zone, uint16_t qtype)
{
	bool apex = zone->labels == l->count;
	/* RFC 9462 §6.4: NODATA for whatever is there. No designated resolver of upstream's is
	 * ours: its certificate does not name us (§6.1). */
	if (zone->group == SPECIAL_RESOLVER) {
		return SPECIAL_NODATA;
	}
	/* RFC 4035 §3.1.4.1: DS at the apex is the parent's, which proves to a validator behind us
	 * that these zones are unsigned (RFC 8375 §4, RFC 6303 §7). */
	if (apex && qtype == TYPE_DS) {
		return SPECIAL_NONE;
	}
	unsigned loopback = ipv4_loopback_labels(l);
	if (loopback == 6 || ipv6_is_loopback(l)) {
		return loopback_name(qtype);
	}
	/* RFC 8020: no NXDOMAIN above a name that is there. */
	return apex || loopback ? SPECIAL_NODATA : SPECIAL_NXDOMAIN;
}

static struct special find_arpa(const struct dname *qname, uint16_t qtype, unsigned groups)
{
	struct labels l;
	labels_find(&l, qname);
	struct zone zone = arpa_zone(&l);
	if (!(zone.group & groups)) {
		return (struct special){.answer = SPECIAL_NONE};
	}
	enum special_answer answer = arpa_answer(&l, &zone, qtype);
	if (answer == SPECIAL_NONE) {
		return (struct special){.answer = SPECIAL_NONE};
	}
	return (struct special){
		.answer = answer, .group = zone.group, .owner_labels = l.count - zone.labels};
}

/* The names below a special top-level label are as the label itself: it is no zone of anybody's. */
static enum special_answer top_answer(enum special_group group, uint16_t qtype)
{
	if (group != SPECIAL_LOCALHOST) {
		return SPECIAL_NXDOMAIN;
	}
	/* RFC 6761 §6.3: addresses, and negative answers for all other types. */
	bool address = qtype == TYPE_A || qtype == TYPE_AAAA || qtype == TYPE_ANY;
	return address ? SPECIAL_LOOPBACK : SPECIAL_NODATA;
}

struct special special_find(const struct dname *qname, uint16_t qtype, unsigned groups)
{
	size_t last = 0;
	unsigned labels = 0;
	for (size_t at = 0; qname->octets[at] != 0; at += 1U + qname->octets[at]) {
		last = at;
		labels++;
	}
	const uint8_t *label = qname->octets + last;
	if (label_is(label, "\4arpa")) {
		return find_arpa(qname, qtype, groups);
	}
	for (size_t i = 0; i < COUNT(top_zones); i++) {
		if (label_is(label, top_zones[i].label) && (groups & top_zones[i].group)) {
			return (struct special){.answer = top_answer(top_zones[i].group, qtype),
				.group = top_zones[i].group,
				.owner_labels = labels - 1};
		}
	}
	return (struct special){.answer = SPECIAL_NONE};
}

struct span special_rdata(uint16_t type)
{
	static const uint8_t ipv4[] = {127, 0, 0, 1};
	static const uint8_t ipv6[16] = {[15] = 1};
	static const uint8_t name[] = "\11localhost"; /* the root label is the string's NUL */
	switch (type) {
	case TYPE_A:
		return (struct span){ipv4, sizeof(ipv4)};
	case TYPE_AAAA:
		return (struct span){ipv6, sizeof(ipv6)};
	case TYPE_PTR:
		return (struct span){name, sizeof(name)};
	default:
		return (struct span){0};
	}
}
