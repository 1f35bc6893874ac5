/* SPDX-License-Identifier: Apache-2.0
 *
 * Domain names: from the wire and from text into one form, uncompressed and folded to lower case,
 * in which equal names are equal octets (RFC 4343). No I/O, no allocation.
 */
#pragma once

#include "dns/wire/cursor.h"

enum {
	DNAME_MAX = 255, /* octets of a name on the wire, root label included (RFC 1035 §2.3.4) */
	LABEL_MAX = 63,  /* octets of a label (RFC 1035 §2.3.4) */
	DNAME_TEXT_SIZE = 1025 /* presentation format: at most 4 characters an octet, and a NUL */
};

/** A domain name in lower case; `octets` holds `len` (1..255) octets of wire form. */
struct dname {
	uint8_t len;
	uint8_t octets[DNAME_MAX];
};

/** An IPv4 (`len` 4) or IPv6 (`len` 16) address in network order. */
struct address {
	uint8_t len;
	uint8_t octets[16];
};

static inline uint8_t octet_folded(uint8_t octet)
{
	return (uint8_t)(octet | ((uint8_t)(octet - 'A') < 26 ? 0x20 : 0));
}

/** Eight octets at once, each folded as octet_folded does. */
static inline uint64_t octets8_folded(uint64_t octets)
{
	const uint64_t ones = 0x0101010101010101;
	uint64_t low = octets & 0x7f * ones;
	uint64_t from_a = low + (0x80 - 'A') * ones;      /* the highest bit: 'A' or above … */
	uint64_t above_z = low + (0x80 - 'Z' - 1) * ones; /* … above 'Z' … */
	uint64_t upper = (from_a ^ above_z) & ~octets & 0x80 * ones; /* … and ASCII */
	return octets | upper >> 2;
}

/** Copy eight octets, folded. */
static inline void octets8_fold(uint8_t *to, const uint8_t *from)
{
	uint64_t octets;
	memcpy(&octets, from, 8);
	octets = octets8_folded(octets);
	memcpy(to, &octets, 8);
}

/** Copy octets, folded; the two do not overlap. */
static inline void octets_fold(uint8_t *to, const uint8_t *from, size_t len)
{
	if (len < 8) {
		for (size_t i = 0; i < len; i++) {
			to[i] = octet_folded(from[i]);
		}
		return;
	}
	for (size_t at = 0; at + 8 < len; at += 8) {
		octets8_fold(to + at, from + at);
	}
	octets8_fold(to + len - 8, from + len - 8); /* some of them twice */
}

/** Whether two names of uncompressed labels are the same but for case: lengths of labels are below
 * 'A', so that folding leaves them alone. */
static inline bool octets_equal_folded(const uint8_t *a, const uint8_t *b, size_t len)
{
	if (memcmp(a, b, len) == 0) { /* mostly they are spelled alike, too */
		return true;
	}
	for (size_t i = 0; i < len; i++) {
		if (octet_folded(a[i]) != octet_folded(b[i])) {
			return false;
		}
	}
	return true;
}

/**
 * Read a possibly compressed domain name and store it folded to lower case.
 *
 * @param[out] name  1..255 octets, uncompressed, root label included (RFC 1035 §3.1)
 * @param      r     cursor inside a whole message; advanced past the name as it stands on the wire
 * @return 0; -EBADMSG if a label or pointer is malformed, the name exceeds 255 octets, a pointer
 * does not point strictly backwards (RFC 1035 §4.1.4, RFC 9267 §2), or there are over 127 of them
 * Cost: O(length), at most 127 labels; no allocation.
 */
int dname_read(struct dname *name, struct reader *r) __attribute__((warn_unused_result));

/**
 * Advance past a possibly compressed name without following its pointer.
 *
 * @return 0; -EBADMSG if the labels overrun the message or are of an unknown kind
 */
int dname_skip(struct reader *r) __attribute__((warn_unused_result));

/**
 * Read presentation format (RFC 1035 §5.1: `\.` and `\DDD` included), with or without the trailing
 * dot; always absolute; folded to lower case.
 *
 * @param text  `len` characters, no NUL needed
 * @return 0; -EINVAL if empty, a label is empty or over 63 octets, the name exceeds 255 octets, or
 *         an escape is malformed
 */
int dname_from_text(struct dname *name, const char *text, size_t len)
	__attribute__((warn_unused_result));

/**
 * Write presentation format without the trailing dot ("." for the root); octets that are not
 * printable ASCII become `\DDD`.
 *
 * @param      wire  an uncompressed name, as in `struct dname`
 * @param[out] text  DNAME_TEXT_SIZE characters; NUL-terminated
 * @return its length
 */
size_t dname_to_text(struct span wire, char text[DNAME_TEXT_SIZE]);

/** Whether `name` is `zone` or below it. O(labels); both folded. */
bool dname_is_under(const struct dname *name, const struct dname *zone);

/**
 * The address whose reverse name this is (RFC 1035 §3.5, RFC 3596 §2.5).
 *
 * @return 4 or 16, the length of the address; 0 if the name is no complete reverse name
 */
size_t dname_reverse_address(const struct dname *name, struct address *address);

/** Labels of a name, without the root's: 0..127. */
static inline unsigned dname_labels(const struct dname *name)
{
	unsigned labels = 0;
	for (size_t at = 0; name->octets[at] != 0; at += 1U + name->octets[at]) {
		labels++;
	}
	return labels;
}

/** The name as octets. */
static inline struct span dname_span(const struct dname *name)
{
	return (struct span){.data = name->octets, .len = name->len};
}
