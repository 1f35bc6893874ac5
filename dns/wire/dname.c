/* SPDX-License-Identifier: Apache-2.0
 *
 * Domain names on the wire and in text.
 */
#include "dns/wire/dname.h"

#include <errno.h>

enum {
	LABEL_KIND = 0xc0,    /* the two upper bits of a length octet (RFC 1035 §4.1.4) */
	LABEL_POINTER = 0xc0, /* … both set: a pointer */
	POINTER_OFFSET = 0x3fff,
	POINTERS_MAX = 127 /* as many as a name has labels; a pointer to a pointer is of no use */
};

/* Labels as they stand one behind the other, folded: their lengths are below 'A', so that folding
 * leaves them alone. False where the name would grow over 255 octets. */
static bool dname_append(struct dname *name, const uint8_t *labels, size_t len)
{
	if (name->len + len > DNAME_MAX) {
		return false;
	}
	octets_fold(name->octets + name->len, labels, len);
	name->len = (uint8_t)(name->len + len);
	return true;
}

/* Follow the pointer whose first octet is `high`; it stands at `at` and must lead before `floor`.
 */
static bool reader_jump(struct reader *labels, uint8_t high, size_t *floor)
{
	size_t target = (size_t)(high << 8 | reader_u8(labels)) & POINTER_OFFSET;
	if (labels->fault || target >= *floor) {
		return false;
	}
	*floor = target;
	labels->at = target;
	return true;
}

int dname_read(struct dname *name, struct reader *r)
{
	struct reader labels = *r;
	/* RFC 9267 §2: each pointer leads before the place where this part of the name began. */
	size_t floor = r->at;
	size_t begin = r->at; /* of labels that are not yet in `name` */
	unsigned jumps = 0;
	uint8_t octet;

	name->len = 0;
	while ((octet = reader_u8(&labels)) != 0) {
		if (octet <= LABEL_MAX) {
			(void)reader_span(&labels, octet);
			continue;
		}
		if ((octet & LABEL_KIND) != LABEL_POINTER ||
			!dname_append(name, r->data + begin, labels.at - 1 - begin)) {
			return -EBADMSG;
		}
		if (jumps++ == 0) {
			r->at = labels.at + 1;
		}
		if (jumps > POINTERS_MAX || !reader_jump(&labels, octet, &floor)) {
			return -EBADMSG;
		}
		begin = labels.at;
	}
	if (labels.fault || !dname_append(name, r->data + begin, labels.at - begin)) {
		return -EBADMSG;
	}
	if (jumps == 0) {
		r->at = labels.at;
	}
	return 0;
}

int dname_skip(struct reader *r)
{
	for (size_t len = 0; len < DNAME_MAX;) {
		uint8_t octet = reader_u8(r);
		if (r->fault) {
			return -EBADMSG;
		}
		if ((octet & LABEL_KIND) == LABEL_POINTER) {
			(void)reader_u8(r);
			return r->fault ? -EBADMSG : 0;
		}
		if (octet == 0) {
			return 0;
		}
		(void)reader_span(r, octet);
		if (octet > LABEL_MAX || r->fault) {
			return -EBADMSG;
		}
		len += 1U + octet;
	}
	return -EBADMSG;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The octet behind a backslash at *at (RFC 1035 §5.1), or -1; *at moves to its last character. */
static int text_escape(const char *text, size_t len, size_t *at)
{
	size_t left = len - *at - 1;
	const char *c = text + *at + 1;
	if (left >= 1 && !is_digit(c[0])) {
		*at += 1;
		return (uint8_t)c[0];
	}
	if (left < 3 || !is_digit(c[1]) || !is_digit(c[2])) {
		return -1;
	}
	*at += 3;
	int value = (c[0] - '0') * 100 + (c[1] - '0') * 10 + (c[2] - '0');
	return value <= 255 ? value : -1;
}

/* Append a label to the name; the root's has yet to come. */
static int label_append(struct dname *name, const char *octets, size_t len)
{
	if (len == 0 || len > LABEL_MAX || name->len + 1 + len >= DNAME_MAX) {
		return -EINVAL;
	}
	name->octets[name->len++] = (uint8_t)len;
	(void)dname_append(name, (const uint8_t *)octets, len); /* there is room */
	return 0;
}

/* The label that begins at *at, up to its dot or the end, with something escaped in it; *at moves
 * to its end. */
static int escaped_label(struct dname *name, const char *text, size_t len, size_t *at)
{
	char octets[LABEL_MAX];
	size_t count = 0;
	for (; *at < len && text[*at] != '.'; ++*at) {
		int octet = text[*at] == '\\' ? text_escape(text, len, at) : (uint8_t)text[*at];
		if (octet < 0 || count == sizeof(octets)) {
			return -EINVAL;
		}
		octets[count++] = (char)octet;
	}
	return label_append(name, octets, count);
}

/* The label that begins at *at; *at moves behind its dot. */
static int text_label(struct dname *name, const char *text, size_t len, size_t *at)
{
	size_t end = *at;
	while (end < len && text[end] != '.' && text[end] != '\\') {
		end++;
	}
	int rc;
	if (end < len && text[end] == '\\') {
		rc = escaped_label(name, text, len, at);
	} else {
		rc = label_append(name, text + *at, end - *at);
		*at = end;
	}
	++*at;
	return rc;
}

int dname_from_text(struct dname *name, const char *text, size_t len)
{
	name->len = 0;
	if (len == 0) {
		return -EINVAL;
	}
	if (len > 1 || text[0] != '.') {
		for (size_t at = 0; at < len;) {
			int rc = text_label(name, text, len, &at);
			if (rc) {
				return rc;
			}
		}
	}
	name->octets[name->len++] = 0;
	return 0;
}

static size_t octet_to_text(uint8_t octet, char *text)
{
	if (octet <= ' ' || octet > '~') {
		text[0] = '\\';
		text[1] = (char)('0' + octet / 100);
		text[2] = (char)('0' + octet / 10 % 10);
		text[3] = (char)('0' + octet % 10);
		return 4;
	}
	size_t len = 0;
	if (strchr(".\\\"();@$", octet)) {
		text[len++] = '\\';
	}
	text[len++] = (char)octet;
	return len;
}

size_t dname_to_text(struct span wire, char text[DNAME_TEXT_SIZE])
{
	size_t len = 0;
	for (size_t at = 0; at < wire.len && wire.data[at] != 0;) {
		size_t end = at + 1 + wire.data[at];
		if (len > 0) {
			text[len++] = '.';
		}
		for (at++; at < end && at < wire.len; at++) {
			len += octet_to_text(wire.data[at], text + len);
		}
	}
	if (len == 0) {
		text[len++] = '.';
	}
	text[len] = '\0';
	return len;
}

bool dname_is_under(const struct dname *name, const struct dname *zone)
{
	if (name->len < zone->len) {
		return false;
	}
	size_t at = 0;
	size_t start = (size_t)name->len - zone->len;
	while (at < start) { /* a suffix of octets counts only where it begins with a label */
		at += 1U + name->octets[at];
	}
	return at == start && memcmp(name->octets + start, zone->octets, zone->len) == 0;
}

/* The label at *at as a decimal octet without leading zeros, or -1; *at moves on. */
static int label_octet(const struct dname *name, size_t *at)
{
	const uint8_t *label = name->octets + *at;
	size_t len = label[0];
	if (len < 1 || len > 3 || (len > 1 && label[1] == '0')) {
		return -1;
	}
	int value = 0;
	for (size_t i = 1; i <= len; i++) {
		if (!is_digit((char)label[i])) {
			return -1;
		}
		value = value * 10 + (label[i] - '0');
	}
	*at += 1 + len;
	return value <= 255 ? value : -1;
}

static int label_nibble(const struct dname *name, size_t at)
{
	const uint8_t *label = name->octets + at;
	if (label[0] != 1) {
		return -1;
	}
	if (is_digit((char)label[1])) {
		return label[1] - '0';
	}
	return label[1] >= 'a' && label[1] <= 'f' ? label[1] - 'a' + 10 : -1;
}

static bool dname_ends(const struct dname *name, size_t at, const char *suffix, size_t size)
{
	return name->len == at + size && memcmp(name->octets + at, suffix, size) == 0;
}

static size_t reverse_ipv4(const struct dname *name, struct address *address)
{
	static const char suffix[] = "\7in-addr\4arpa";
	size_t at = 0;
	for (int i = 3; i >= 0; i--) {
		int octet = label_octet(name, &at);
		if (octet < 0) {
			return 0;
		}
		address->octets[i] = (uint8_t)octet;
	}
	address->len = 4;
	return dname_ends(name, at, suffix, sizeof(suffix)) ? 4 : 0;
}

static size_t reverse_ipv6(const struct dname *name, struct address *address)
{
	static const char suffix[] = "\3ip6\4arpa";
	enum { NIBBLES = 32, NIBBLE_LEN = 2 };
	if (!dname_ends(name, (size_t)NIBBLES * NIBBLE_LEN, suffix, sizeof(suffix))) {
		return 0;
	}
	for (size_t i = 0; i < NIBBLES; i += 2) {
		int low = label_nibble(name, i * NIBBLE_LEN);
		int high = label_nibble(name, (i + 1) * NIBBLE_LEN);
		if (low < 0 || high < 0) {
			return 0;
		}
		address->octets[15 - i / 2] = (uint8_t)(high << 4 | low);
	}
	address->len = 16;
	return 16;
}

size_t dname_reverse_address(const struct dname *name, struct address *address)
{
	/* "…4arpa0": cheap to see that nearly every name is none. */
	if (name->len < 6 || memcmp(name->octets + name->len - 6, "\4arpa", 6) != 0) {
		return 0;
	}
	size_t len = reverse_ipv4(name, address);
	return len ? len : reverse_ipv6(name, address);
}
