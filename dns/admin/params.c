/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading a query string. Nothing is guessed: what is not understood as a whole is refused, since
 * half of a question has another answer.
 */
#include "dns/admin/params.h"

/* Up to `stop`, which is passed. @return whether it is there; else all is taken */
static bool take_until(struct span *from, uint8_t stop, struct span *part)
{
	const uint8_t *at = from->len ? memchr(from->data, stop, from->len) : NULL;
	part->data = from->data;
	part->len = at ? (size_t)(at - from->data) : from->len;
	size_t passed = part->len + (at ? 1 : 0);
	*from = (struct span){.data = from->data + passed, .len = from->len - passed};
	return at != NULL;
}

/* @return 0..15; 16 where it is no hexadecimal digit */
static unsigned digit(uint8_t c)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = memchr(digits, octet_folded(c), 16);
	return at ? (unsigned)(at - digits) : 16;
}

/* The octet at `*at`, decoded, and past it. @return whether it is well encoded */
static bool take_octet(struct span encoded, size_t *at, uint8_t *octet)
{
	*octet = encoded.data[(*at)++];
	if (*octet != '%') {
		return true;
	}
	if (encoded.len - *at < 2) {
		return false;
	}
	unsigned high = digit(encoded.data[(*at)++]);
	unsigned low = digit(encoded.data[(*at)++]);
	*octet = (uint8_t)(high << 4 | low);
	return high < 16 && low < 16;
}

static bool read_value(struct param *param, struct span encoded)
{
	size_t at = 0;
	param->given = true;
	while (at < encoded.len) {
		uint8_t octet;
		if (param->len + 1 == sizeof(param->value) || !take_octet(encoded, &at, &octet)) {
			return false;
		}
		param->value[param->len++] = (char)octet;
	}
	param->value[param->len] = '\0';
	return true;
}

static struct param *find(struct param *param, size_t count, struct span key)
{
	for (size_t i = 0; i < count; i++) {
		if (key.len == strlen(param[i].key) &&
			memcmp(key.data, param[i].key, key.len) == 0) {
			return &param[i];
		}
	}
	return NULL;
}

bool params_read(struct span query, struct param *param, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		param[i].given = false;
		param[i].len = 0;
		param[i].value[0] = '\0';
	}
	bool more = query.len > 0;
	while (more) {
		struct span value, key;
		more = take_until(&query, '&', &value);
		bool valued = take_until(&value, '=', &key);
		struct param *p = find(param, count, key);
		if (!valued || !p || p->given || !read_value(p, value)) {
			return false;
		}
	}
	return true;
}
