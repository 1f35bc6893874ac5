/* SPDX-License-Identifier: Apache-2.0
 *
 * An option is looked at where its length is known, and kept as a span of the message.
 */
#include "dns/wire/edns.h"

#include <errno.h>

enum { /* IANA, DNS EDNS0 Option Codes */
	OPTION_SUBNET = 8,
	OPTION_COOKIE = 10,
	OPTION_KEEPALIVE = 11,
	OPTION_EDE = 15
};

enum {
	TYPE_OPT_RECORD = 41,
	DO_FLAG = 0x8000,
	OPT_RDLENGTH_AT = 1 + 2 + 2 + 4, /* behind root, type, class, TTL */
	SUBNET_SCOPE_AT = 4 + 2 + 1,     /* behind code, length, family, source prefix length */
	SUBNET_FIXED = 4                 /* family and the two prefix lengths */
};

/* An option on the wire; `whole` has code and length in front of its data. */
struct option {
	uint16_t code;
	struct span whole;
	struct span data;
};

/* False at the end, and where the option overruns: then the cursor has its fault. */
static bool option_next(struct option *option, struct reader *r)
{
	if (reader_left(r) == 0) {
		return false;
	}
	const uint8_t *start = r->data + r->at;
	option->code = reader_u16(r);
	option->data = reader_span(r, reader_u16(r));
	option->whole = (struct span){start, EDNS_OPTION_LEN + option->data.len};
	return !r->fault;
}

/* Prefix lengths that a family allows, or -1. Family 0 with nothing is how dig says «no subnet». */
static int family_bits(uint16_t family)
{
	switch (family) {
	case 0:
		return 0;
	case 1:
		return 32;
	case 2:
		return 128;
	default:
		return -1;
	}
}

/* RFC 7871 §6: as many octets as the source prefix needs, and no bit set behind it. So there is one
 * spelling for each subnet, and equal subnets are equal octets. */
static bool subnet_well_formed(struct span data)
{
	if (data.len < SUBNET_FIXED) {
		return false;
	}
	int bits = family_bits(octets_u16(data.data));
	uint8_t source = data.data[2];
	uint8_t scope = data.data[3];
	if (source > bits || scope > bits || data.len != SUBNET_FIXED + (source + 7U) / 8) {
		return false;
	}
	unsigned spare = (8U - source % 8U) % 8U;
	return (data.data[data.len - 1] & ((1U << spare) - 1)) == 0;
}

/* RFC 7871 §6: the scope is the server's to set. */
static int read_subnet(struct edns_query *e, const struct option *option)
{
	if (e->subnet.len > 0) {
		return 0;
	}
	if (!subnet_well_formed(option->data) || edns_subnet_scope(option->whole) != 0) {
		return -EBADMSG;
	}
	e->subnet = option->whole;
	return 0;
}

/* RFC 7873 §5.2.2 */
static int read_cookie(struct edns_query *e, struct span data)
{
	if (e->cookie.len > 0) {
		return 0;
	}
	if (data.len != 8 && (data.len < 16 || data.len > 40)) {
		return -EBADMSG;
	}
	e->cookie = data;
	return 0;
}

/* RFC 7828 §3.1 knows the lengths 0 and 2. A client must not name a time (§3.2.1); one that does is
 * told ours all the same. */
static void read_keepalive(struct edns_query *e, struct span data)
{
	if (e->keepalive == EDNS_KEEPALIVE_NONE) {
		e->keepalive = data.len == 0 || data.len == 2 ? EDNS_KEEPALIVE_ASKED
							      : EDNS_KEEPALIVE_MALFORMED;
	}
}

int edns_query_read(struct edns_query *e, struct span rdata)
{
	struct reader r = reader_over(rdata);
	struct option option;
	int error = 0;

	*e = (struct edns_query){.keepalive = EDNS_KEEPALIVE_NONE};
	while (error == 0 && option_next(&option, &r)) {
		if (option.code == OPTION_COOKIE) {
			error = read_cookie(e, option.data);
		} else if (option.code == OPTION_SUBNET) {
			error = read_subnet(e, &option);
		} else if (option.code == OPTION_KEEPALIVE) {
			read_keepalive(e, option.data);
		}
	}
	return r.fault ? -EBADMSG : error;
}

static void read_ede(struct edns_response *e, struct span data)
{
	if (data.len < 2 || e->ede_count == EDNS_EDE_MAX) {
		return;
	}
	struct edns_ede *ede = &e->ede[e->ede_count++];
	ede->code = octets_u16(data.data);
	ede->text = (struct span){data.data + 2, data.len - 2};
}

void edns_response_read(struct edns_response *e, struct span rdata)
{
	struct reader r = reader_over(rdata);
	struct option option;

	e->subnet = (struct span){0};
	e->ede_count = 0;
	while (option_next(&option, &r)) {
		if (option.code == OPTION_EDE) {
			read_ede(e, option.data);
		} else if (option.code == OPTION_SUBNET && e->subnet.len == 0 &&
			   subnet_well_formed(option.data)) {
			e->subnet = option.whole;
		}
	}
}

bool edns_subnet_answers(struct span asked, struct span answered)
{
	if (answered.len == 0) {
		return true;
	}
	return asked.len == answered.len &&
	       memcmp(asked.data, answered.data, SUBNET_SCOPE_AT) == 0 &&
	       memcmp(asked.data + SUBNET_SCOPE_AT + 1, answered.data + SUBNET_SCOPE_AT + 1,
		       asked.len - SUBNET_SCOPE_AT - 1) == 0;
}

uint8_t edns_subnet_scope(struct span subnet)
{
	return subnet.len > SUBNET_SCOPE_AT ? subnet.data[SUBNET_SCOPE_AT] : 0;
}

size_t edns_begin(struct writer *w, uint16_t udp_size, uint16_t rcode, bool edns_do)
{
	size_t opt_at = w->len;
	uint8_t *p = writer_room(w, OPT_LEN);
	if (p) {
		p[0] = 0;
		octets_put_u16(p + 1, TYPE_OPT_RECORD);
		octets_put_u16(p + 3, udp_size);
		octets_put_u32(p + 5, (uint32_t)(rcode >> 4) << 24 | (edns_do ? DO_FLAG : 0));
		octets_put_u16(p + OPT_RDLENGTH_AT, 0);
	}
	return opt_at;
}

void edns_end(struct writer *w, size_t opt_at)
{
	if (!w->fault) {
		size_t len = w->len - opt_at - OPT_LEN;
		octets_put_u16(w->data + opt_at + OPT_RDLENGTH_AT, (uint16_t)len);
	}
}

static void put_option(struct writer *w, uint16_t code, size_t len)
{
	writer_u16(w, code);
	writer_u16(w, (uint16_t)len);
}

void edns_put_cookie(struct writer *w, const uint8_t cookie[24])
{
	put_option(w, OPTION_COOKIE, 24);
	writer_octets(w, cookie, 24);
}

void edns_put_keepalive(struct writer *w, uint32_t timeout_ms)
{
	uint32_t units = timeout_ms / 100;
	put_option(w, OPTION_KEEPALIVE, 2);
	writer_u16(w, units > UINT16_MAX ? UINT16_MAX : (uint16_t)units);
}

void edns_put_subnet(struct writer *w, struct span subnet, uint8_t scope)
{
	size_t at = w->len;
	writer_octets(w, subnet.data, subnet.len);
	if (!w->fault && subnet.len > SUBNET_SCOPE_AT) {
		w->data[at + SUBNET_SCOPE_AT] = scope;
	}
}

void edns_put_ede(struct writer *w, uint16_t code, struct span text)
{
	size_t room = w->fault ? 0 : w->size - w->len;
	if (room < EDNS_EDE_LEN) {
		return;
	}
	size_t text_len = text.len <= room - EDNS_EDE_LEN ? text.len : 0;
	put_option(w, OPTION_EDE, 2 + text_len);
	writer_u16(w, code);
	writer_octets(w, text.data, text_len);
}
