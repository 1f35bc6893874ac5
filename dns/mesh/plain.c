/* SPDX-License-Identifier: Apache-2.0
 *
 * A small part of JSON, read to the letter: whatever is not surely in it is left to jansson, which
 * decides whether it is good, and says what is wrong with it. So nothing here may take what jansson
 * refuses, or give it another meaning: numbers are short and whole, texts are ASCII, a member that
 * comes twice is not plain.
 */
#include "dns/mesh/plain.h"

#include <arpa/inet.h>

enum {
	TEXT_MAX = 256, /* octets of a text with something escaped in it */
	DIGITS_MAX = 15,
	DEPTH_MAX = 8 /* of members that are not ours */
};

enum member { NAME = 1, IPS = 2 };

/* A text as it stands, or, where something was escaped, as it is meant. */
struct text {
	struct span span;
	uint8_t meant[TEXT_MAX];
};

static uint8_t peek(const struct reader *r)
{
	return r->at < r->len ? r->data[r->at] : 0;
}

static void skip_space(struct reader *r)
{
	uint8_t octet = peek(r);
	while (octet == ' ' || octet == '\n' || octet == '\t' || octet == '\r') {
		r->at++;
		octet = peek(r);
	}
}

static bool take(struct reader *r, uint8_t octet)
{
	skip_space(r);
	bool found = peek(r) == octet;
	r->at += found;
	return found;
}

/* Move past `word`, if it stands at the cursor. */
static bool take_word(struct reader *r, const char *word)
{
	size_t len = strlen(word);
	bool found = reader_left(r) >= len && memcmp(r->data + r->at, word, len) == 0;
	r->at += found ? len : 0;
	return found;
}

static bool is_printable(unsigned octet)
{
	return octet >= 0x20 && octet < 0x7f;
}

static int hex_value(uint8_t c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

/* What is meant by an escape whose backslash was read; 0 where that is no printable ASCII. */
static uint8_t take_escaped(struct reader *r)
{
	uint8_t kind = reader_u8(r);
	if (kind == '"' || kind == '\\' || kind == '/') {
		return kind;
	}
	struct span digits = reader_span(r, kind == 'u' ? 4 : SIZE_MAX);
	unsigned value = 0;
	for (size_t i = 0; i < digits.len; i++) {
		int digit = hex_value(digits.data[i]);
		if (digit < 0) {
			return 0;
		}
		value = value << 4 | (unsigned)digit;
	}
	return is_printable(value) ? (uint8_t)value : 0;
}

/* The rest of a text in which something is escaped; what is before that was found plain. */
static bool take_meant(struct reader *r, struct text *text)
{
	size_t len = text->span.len;
	if (len > TEXT_MAX) {
		return false;
	}
	memcpy(text->meant, text->span.data, len);
	for (uint8_t octet; (octet = reader_u8(r)) != '"';) {
		octet = octet == '\\' ? take_escaped(r) : octet;
		if (!is_printable(octet) || len == TEXT_MAX) {
			return false;
		}
		text->meant[len++] = octet;
	}
	text->span = (struct span){text->meant, len};
	return true;
}

static bool take_text(struct reader *r, struct text *text)
{
	if (!take(r, '"')) {
		return false;
	}
	const uint8_t *begin = r->data + r->at;
	size_t left = reader_left(r);
	size_t len = 0;
	while (len < left && is_printable(begin[len]) && begin[len] != '"' && begin[len] != '\\') {
		len++;
	}
	r->at += len;
	text->span = (struct span){begin, len};
	return peek(r) == '"' ? take(r, '"') : take_meant(r, text);
}

/* A whole number that fits anywhere. */
static bool take_number(struct reader *r)
{
	size_t digits = 0;
	(void)take(r, '-');
	bool zero = peek(r) == '0';
	for (; peek(r) >= '0' && peek(r) <= '9'; r->at++) {
		digits++;
	}
	return digits == 1 || (digits > 1 && digits <= DIGITS_MAX && !zero);
}

static bool skip_value(struct reader *r, unsigned depth);

/* The members of an object, or the values of a list, up to what closes it. */
static bool skip_items(struct reader *r, uint8_t close, unsigned depth)
{
	struct text key;
	if (depth == DEPTH_MAX) {
		return false;
	}
	if (take(r, close)) {
		return true;
	}
	do {
		if ((close == '}' && !(take_text(r, &key) && take(r, ':'))) ||
			!skip_value(r, depth + 1)) {
			return false;
		}
	} while (take(r, ','));
	return take(r, close);
}

/* The value of a member that is not ours. */
static bool skip_value(struct reader *r, unsigned depth)
{
	struct text text;
	skip_space(r);
	switch (peek(r)) {
	case '"':
		return take_text(r, &text);
	case '{':
		return take(r, '{') && skip_items(r, '}', depth);
	case '[':
		return take(r, '[') && skip_items(r, ']', depth);
	case 't':
		return take_word(r, "true");
	case 'f':
		return take_word(r, "false");
	case 'n':
		return take_word(r, "null");
	default:
		return take_number(r);
	}
}

bool plain_address(struct span text, struct address *address)
{
	char spelled[INET6_ADDRSTRLEN];
	if (text.len >= sizeof spelled) {
		return false;
	}
	memcpy(spelled, text.data, text.len);
	spelled[text.len] = '\0';
	bool six = memchr(spelled, ':', text.len) != NULL;
	address->len = six ? 16 : 4;
	return inet_pton(six ? AF_INET6 : AF_INET, spelled, address->octets) == 1;
}

static bool name_take(struct reader *r, struct dname *owner)
{
	struct text text UNCLEARED;
	return take_text(r, &text) &&
	       dname_from_text(owner, (const char *)text.span.data, text.span.len) == 0;
}

/* A list of texts; Go writes null for an empty one. */
static bool ips_take(struct reader *r, struct plain_record *record)
{
	struct text text UNCLEARED;
	record->count = 0;
	if (!take(r, '[')) {
		return take_word(r, "null");
	}
	if (take(r, ']')) {
		return true;
	}
	do {
		if (record->count == PLAIN_ADDRESSES || !take_text(r, &text) ||
			!plain_address(text.span, &record->address[record->count])) {
			return false;
		}
		record->count++;
	} while (take(r, ','));
	return take(r, ']');
}

static bool is_word(struct span text, const char *word)
{
	return text.len == strlen(word) && memcmp(text.data, word, text.len) == 0;
}

static bool member_take(struct reader *r, struct plain_record *record, unsigned *seen)
{
	struct text key UNCLEARED;
	if (!take_text(r, &key) || !take(r, ':')) {
		return false;
	}
	unsigned member = is_word(key.span, "name") ? NAME : is_word(key.span, "ips") ? IPS : 0;
	if ((*seen & member) != 0) {
		return false;
	}
	*seen |= member;
	return member == NAME  ? name_take(r, &record->owner)
	       : member == IPS ? ips_take(r, record)
			       : skip_value(r, 0);
}

bool plain_record_read(struct reader *r, struct plain_record *record)
{
	struct reader at = *r;
	unsigned seen = 0;
	if (!take(&at, '{')) {
		return false;
	}
	do {
		if (!member_take(&at, record, &seen)) {
			return false;
		}
	} while (take(&at, ','));
	if (!take(&at, '}') || seen != (NAME | IPS)) {
		return false;
	}
	*r = at;
	return true;
}
