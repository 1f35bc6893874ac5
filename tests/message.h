/* SPDX-License-Identifier: Apache-2.0
 *
 * Building queries for tests, and reading responses with ldns, which shares no code with ours.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ldns/ldns.h>

#include "dns/wire/query.h"

/** A message with room for what a test adds to it. */
struct message {
	uint8_t octets[2048];
	struct writer w;
};

/** What OPT says, for message_opt. */
struct opt {
	uint16_t size;
	uint8_t version;
	bool edns_do;
	const char *rdata; /* `rdata_len` octets of options */
	uint16_t rdata_len;
};

static inline struct dname name_of(const char *text)
{
	struct dname name;
	assert_int_equal(dname_from_text(&name, text, strlen(text)), 0);
	return name;
}

/* Letters as `text` spells them, where dname_from_text would fold them. */
static inline void message_name(struct message *m, const char *text)
{
	while (*text && strcmp(text, ".") != 0) {
		size_t len = strcspn(text, ".");
		writer_u8(&m->w, (uint8_t)len);
		writer_octets(&m->w, text, len);
		text += len + (text[len] == '.');
	}
	writer_u8(&m->w, 0);
}

static inline void message_question(struct message *m, const char *name, uint16_t type)
{
	message_name(m, name);
	writer_u16(&m->w, type);
	writer_u16(&m->w, CLASS_IN);
	octets_put_u16(m->octets + 4, (uint16_t)(octets_u16(m->octets + 4) + 1));
}

/** Begin with a header; ID 0x1234, no counts. */
static inline void message_begin(struct message *m, uint16_t flags)
{
	memset(m, 0, sizeof(*m));
	m->w = (struct writer){.data = m->octets, .size = sizeof(m->octets)};
	writer_u16(&m->w, 0x1234);
	writer_u16(&m->w, flags);
	writer_octets(&m->w, "\0\0\0\0\0\0\0\0", 8);
}

static inline void message_count(struct message *m, unsigned section)
{
	uint8_t *count = m->octets + 4 + (size_t)section * 2;
	octets_put_u16(count, (uint16_t)(octets_u16(count) + 1));
}

/** Add a record; `owner` NULL is a pointer to the question. Section 1 answer, 2 authority, 3
 * additional. */
static inline void message_record(struct message *m, unsigned section, const char *owner,
	uint16_t type, uint32_t ttl, const void *rdata, uint16_t rdata_len)
{
	if (owner) {
		message_name(m, owner);
	} else {
		writer_u16(&m->w, 0xc00c);
	}
	writer_u16(&m->w, type);
	writer_u16(&m->w, CLASS_IN);
	writer_u32(&m->w, ttl);
	writer_u16(&m->w, rdata_len);
	writer_octets(&m->w, rdata, rdata_len);
	message_count(m, section);
}

static inline void message_opt(struct message *m, struct opt opt)
{
	writer_u8(&m->w, 0);
	writer_u16(&m->w, TYPE_OPT);
	writer_u16(&m->w, opt.size);
	writer_u32(&m->w, (uint32_t)opt.version << 16 | (opt.edns_do ? 0x8000U : 0));
	writer_u16(&m->w, opt.rdata_len);
	writer_octets(&m->w, opt.rdata, opt.rdata_len);
	message_count(m, 3);
}

/** The usual query: RD set, one question. */
static inline void message_query(struct message *m, const char *name, uint16_t type)
{
	message_begin(m, FLAG_RD);
	message_question(m, name, type);
}

static inline struct span message_span(const struct message *m)
{
	assert_false(m->w.fault);
	return (struct span){m->octets, m->w.len};
}

/** Read with ldns; fails the test where ldns cannot. The caller frees with ldns_pkt_free. */
static inline ldns_pkt *packet_of(struct span message)
{
	ldns_pkt *packet = NULL;
	assert_int_equal(ldns_wire2pkt(&packet, message.data, message.len), LDNS_STATUS_OK);
	return packet;
}

/** Fail unless record `index` of the list prints as `expected` (fields separated by one tab). */
static inline void assert_record(const ldns_rr_list *list, size_t index, const char *expected)
{
	assert_true(index < ldns_rr_list_rr_count(list));
	char *text = ldns_rr2str(ldns_rr_list_rr(list, index));
	text[strcspn(text, "\n")] = '\0';
	assert_string_equal(text, expected);
	free(text);
}
