/* SPDX-License-Identifier: Apache-2.0
 *
 * Cursors over octets: how every message is read and written. A cursor latches `fault` at the
 * first access beyond its end; callers check it once after a run of calls. No I/O, no allocation.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/** Of a large variable on the way of every query, or every record of the table, which is set before
 * it is read: the compiler does not clear it first, as it does with all others
 * (-ftrivial-auto-var-init). */
#define UNCLEARED __attribute__((uninitialized))

/** Octets that somebody else owns; valid while the owner says so. */
struct span {
	const uint8_t *data;
	size_t len;
};

/** Reads from the front of `data`. After a fault every read gives 0 and `at` no longer moves. */
struct reader {
	const uint8_t *data;
	size_t len;
	size_t at;
	bool fault;
};

/** Appends to `data`, `size` octets of the caller's. After a fault nothing more is written. */
struct writer {
	uint8_t *data;
	size_t size;
	size_t len;
	bool fault;
};

static inline struct reader reader_over(struct span octets)
{
	return (struct reader){.data = octets.data, .len = octets.len};
}

static inline size_t reader_left(const struct reader *r)
{
	return r->len - r->at;
}

/** The next `len` octets, and past them; an empty span and a fault where fewer are left. */
static inline struct span reader_span(struct reader *r, size_t len)
{
	if (r->fault || len > reader_left(r)) {
		r->fault = true;
		return (struct span){0};
	}
	r->at += len;
	return (struct span){.data = r->data + r->at - len, .len = len};
}

static inline uint16_t octets_u16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t octets_u32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void octets_put_u16(uint8_t *p, uint16_t value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

static inline void octets_put_u32(uint8_t *p, uint32_t value)
{
	octets_put_u16(p, (uint16_t)(value >> 16));
	octets_put_u16(p + 2, (uint16_t)value);
}

static inline uint8_t reader_u8(struct reader *r)
{
	struct span s = reader_span(r, 1);
	return s.data ? s.data[0] : 0;
}

static inline uint16_t reader_u16(struct reader *r)
{
	struct span s = reader_span(r, 2);
	return s.data ? octets_u16(s.data) : 0;
}

static inline uint32_t reader_u32(struct reader *r)
{
	struct span s = reader_span(r, 4);
	return s.data ? octets_u32(s.data) : 0;
}

/** Room for `len` octets at the end of `w`, already counted; NULL and a fault where it is full. */
static inline uint8_t *writer_room(struct writer *w, size_t len)
{
	if (w->fault || len > w->size - w->len) {
		w->fault = true;
		return NULL;
	}
	w->len += len;
	return w->data + w->len - len;
}

static inline void writer_octets(struct writer *w, const void *octets, size_t len)
{
	uint8_t *room = writer_room(w, len);
	if (room && len > 0) {
		memcpy(room, octets, len);
	}
}

static inline void writer_u8(struct writer *w, uint8_t value)
{
	writer_octets(w, &value, 1);
}

static inline void writer_u16(struct writer *w, uint16_t value)
{
	uint8_t *room = writer_room(w, 2);
	if (room) {
		octets_put_u16(room, value);
	}
}

static inline void writer_u32(struct writer *w, uint32_t value)
{
	uint8_t *room = writer_room(w, 4);
	if (room) {
		octets_put_u32(room, value);
	}
}
