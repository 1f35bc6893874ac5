/* SPDX-License-Identifier: Apache-2.0
 *
 * Numbers and their text: plain, as a mark, and with units of time or size.
 */
#include "conf/keys.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* Units in falling order, down to the one that the value is kept in. */
struct unit {
	const char *name;
	uint64_t factor;
};
static const struct unit durations[] = {
	{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {NULL, 0}};
static const struct unit seconds[] = {{"h", 3600}, {"m", 60}, {"s", 1}, {NULL, 0}};
static const struct unit sizes[] = {{"GiB", GIB}, {"MiB", MIB}, {"KiB", KIB}, {"", 1}, {NULL, 0}};

/* Those of a type whose values have units; NULL for the others. */
static const struct unit *units_of(const struct key *key)
{
	switch (key->type) {
	case KEY_DURATION:
		return durations;
	case KEY_SECONDS:
		return seconds;
	case KEY_SIZE:
	case KEY_SIZE_OR_0:
		return sizes;
	default:
		return NULL;
	}
}

/* Digits without leading zeros (YAML 1.1 reads those as octal); stops behind the last one. */
static int read_digits(const char **text, uint64_t *value)
{
	const char *first = *text;
	uint64_t number = 0;

	for (; **text >= '0' && **text <= '9'; (*text)++) {
		if (number > (UINT64_MAX - 9) / 10) {
			return -EINVAL;
		}
		number = number * 10 + (uint64_t)(**text - '0');
	}
	*value = number;
	return *text == first || (*first == '0' && *text - first > 1) ? -EINVAL : 0;
}

static int read_number(const char *text, uint64_t *value)
{
	return read_digits(&text, value) < 0 || *text ? -EINVAL : 0;
}

static int read_mark(const char *text, uint64_t *value)
{
	uint64_t number = 0;
	int digits = 0;

	if (text[0] != '0' || ascii_lower(text[1]) != 'x') {
		return read_number(text, value);
	}
	for (text += 2; *text; text++, digits++) {
		char c = ascii_lower(*text);

		if (digits == 8 || ((c < '0' || c > '9') && (c < 'a' || c > 'f'))) {
			return -EINVAL;
		}
		number = number << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
	}
	*value = number;
	return digits ? 0 : -EINVAL;
}

/* The unit that `text` begins with, out of `unit` and those behind it; NULL where there is none. */
static const struct unit *read_unit(const char **text, const struct unit *unit)
{
	size_t len = 0;

	while ((*text)[len] && ((*text)[len] < '0' || (*text)[len] > '9')) {
		len++;
	}
	for (; unit->name; unit++) {
		if (strlen(unit->name) == len && strncmp(*text, unit->name, len) == 0) {
			*text += len;
			return unit;
		}
	}
	return NULL;
}

/* `1m30s`: numbers with units, each unit smaller than the one before. */
static int read_units(const char *text, const struct unit *unit, uint64_t *value)
{
	uint64_t total = 0;

	do {
		uint64_t number;

		if (read_digits(&text, &number) < 0) {
			return -EINVAL;
		}
		unit = read_unit(&text, unit);
		if (!unit || number > UINT32_MAX) {
			return -EINVAL;
		}
		total += number * unit->factor;
		unit++;
	} while (*text);
	*value = total;
	return 0;
}

/* The number and the largest unit that divides it; 0 has the smallest. */
static const char *format_units(uint64_t value, const struct unit *unit, char *text, size_t size)
{
	while (value == 0 ? unit->factor > 1 : value % unit->factor) {
		unit++;
	}
	snprintf(text, size, "%" PRIu64 "%s", value / unit->factor, unit->name);
	return text;
}

static bool is_in_range(const struct key *key, uint64_t value)
{
	if (value == 0 && key->type == KEY_SIZE_OR_0) {
		return true;
	}
	return value >= key->min && value <= key->max;
}

int number_read(const struct key *key, const char *text, uint64_t *value)
{
	const struct unit *units = units_of(key);
	int rc;

	if (units) {
		rc = read_units(text, units, value);
	} else if (key->type == KEY_MARK) {
		rc = read_mark(text, value);
	} else {
		rc = read_number(text, value);
	}
	return rc < 0 || !is_in_range(key, *value) ? -EINVAL : 0;
}

const char *number_format(const struct key *key, uint64_t value, char text[NUMBER_TEXT_SIZE])
{
	const struct unit *units = units_of(key);

	if (units) {
		return format_units(value, units, text, NUMBER_TEXT_SIZE);
	}
	snprintf(text, NUMBER_TEXT_SIZE, key->type == KEY_MARK ? "0x%" PRIx64 : "%" PRIu64, value);
	return text;
}

void number_expected(const struct key *key, char *text, size_t size)
{
	char min[NUMBER_TEXT_SIZE];
	char max[NUMBER_TEXT_SIZE];

	number_format(key, key->min, min);
	number_format(key, key->max, max);
	switch (key->type) {
	case KEY_DURATION:
	case KEY_SECONDS:
		snprintf(text, size, "a duration from %s to %s, such as 1m30s", min, max);
		break;
	case KEY_SIZE:
	case KEY_SIZE_OR_0:
		snprintf(text, size, "%sa size from %s to %s, such as 64KiB",
			key->type == KEY_SIZE_OR_0 ? "0 or " : "", min, max);
		break;
	default:
		snprintf(text, size, "a number from %s to %s", min, max);
	}
}
