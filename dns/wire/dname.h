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

/**
 * Read a possibly compressed domain name and store it folded to lower case.
 *
 * @param[out] name  1..255 octets, uncompressed, root label included (RFC 1035 §3.1)
 * @param      r     cursor inside a whole message; advanced past the name as it stands on the wire
 * @return 0; -EBADMSG if a label or pointer is malformed, the name exceeds 255 octets, or a pointer
 *         does not point strictly backwards (RFC 1035 §4.1.4, RFC 9267 §2)
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

/** The name as octets. */
static inline struct span dname_span(const struct dname *name)
{
	return (struct span){.data = name->octets, .len = name->len};
}
