/* SPDX-License-Identifier: Apache-2.0
 *
 * Values and their text: what the file, the environment and the flags may say, and what is printed
 * of it. Whatever key_print writes, key_set and key_add read back into the same.
 */
#include "conf/keys.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static char *member(const struct key *key, void *base)
{
	return (char *)base + key->offset;
}

static const char *member_const(const struct key *key, const void *base)
{
	return (const char *)base + key->offset;
}

static void put_integer(char *at, size_t size, uint64_t value)
{
	uint16_t value16 = (uint16_t)value;
	uint32_t value32 = (uint32_t)value;

	if (size == sizeof value16) {
		memcpy(at, &value16, size);
	} else if (size == sizeof value32) {
		memcpy(at, &value32, size);
	} else {
		memcpy(at, &value, sizeof value);
	}
}

static uint64_t get_integer(const char *at, size_t size)
{
	uint16_t value16;
	uint32_t value32;
	uint64_t value;

	if (size == sizeof value16) {
		memcpy(&value16, at, sizeof value16);
		return value16;
	}
	if (size == sizeof value32) {
		memcpy(&value32, at, sizeof value32);
		return value32;
	}
	memcpy(&value, at, sizeof value);
	return value;
}

/* The next code point of a text that does not end here; negative where it is not UTF-8. */
static int32_t utf8_next(const char **text)
{
	static const int32_t least[] = {0, 0x80, 0x800, 0x10000};
	unsigned char c = (unsigned char)*(*text)++;
	unsigned more = c < 0xc0 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
	int32_t code = more ? c & (0x3f >> more) : c;

	if ((c >= 0x80 && c < 0xc0) || c >= 0xf8) {
		return -1;
	}
	for (unsigned i = 0; i < more; i++) {
		if (((unsigned char)**text & 0xc0) != 0x80) {
			return -1;
		}
		code = code << 6 | (*(*text)++ & 0x3f);
	}
	if (code < least[more] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) {
		return -1;
	}
	return code;
}

/* UTF-8 without control characters: what a log line and a YAML document can hold. */
static bool text_is_clean(const char *text)
{
	while (*text) {
		int32_t code = utf8_next(&text);

		if (code < 0x20 || (code >= 0x7f && code < 0xa0)) {
			return false;
		}
	}
	return true;
}

/* ASCII, case ignored: `text` is exactly the `len` octets of `word`. */
static bool is_word(const char *text, const char *word, size_t len)
{
	size_t i;

	for (i = 0; i < len && text[i]; i++) {
		if (ascii_lower(text[i]) != word[i]) {
			return false;
		}
	}
	return i == len && text[i] == '\0';
}

static int set_integer(const struct key *key, void *base, const char *text)
{
	uint64_t value;

	if (number_read(key, text, &value) < 0) {
		return -EINVAL;
	}
	put_integer(member(key, base), key->size, value);
	return 0;
}

static int set_bool(const struct key *key, void *base, const char *text)
{
	bool value = is_word(text, "true", 4);

	if (!value && !is_word(text, "false", 5)) {
		return -EINVAL;
	}
	memcpy(member(key, base), &value, sizeof value);
	return 0;
}

/* Which of the words in a choice's `argument` it is. */
static int find_choice(const struct key *key, const char *text, unsigned *index)
{
	const char *word = key->argument;

	for (*index = 0; *word; ++*index) {
		size_t len = strcspn(word, "|");

		if (is_word(text, word, len)) {
			return 0;
		}
		word += len + (word[len] == '|');
	}
	return -EINVAL;
}

static int set_choice(const struct key *key, void *base, const char *text)
{
	unsigned index;

	if (find_choice(key, text, &index) < 0) {
		return -EINVAL;
	}
	put_integer(member(key, base), key->size, key->min + index);
	return 0;
}

static int add_choice(const struct key *key, uint32_t *bits, const char *text)
{
	unsigned index;

	if (find_choice(key, text, &index) < 0) {
		return -EINVAL;
	}
	*bits |= UINT32_C(1) << index;
	return 0;
}

static int set_text(const struct key *key, void *base, const char *text)
{
	size_t len = strlen(text);

	if (len >= key->size) {
		return -EINVAL;
	}
	memset(member(key, base), 0, key->size);
	memcpy(member(key, base), text, len);
	if (strcmp(key->path, "admin.socket") == 0) {
		((struct conf *)base)->admin_socket_given = true;
	}
	return 0;
}

static int set_endpoint(const struct key *key, void *base, const char *text)
{
	struct endpoint e;

	memset(&e, 0, sizeof e);
	if (*text && endpoint_parse(&e, text, (uint16_t)key->min) < 0) {
		return -EINVAL;
	}
	memcpy(member(key, base), &e, sizeof e);
	return 0;
}

static int add_endpoint(const struct key *key, struct endpoint_list *list, const char *text)
{
	struct endpoint e;

	if (endpoint_parse(&e, text, (uint16_t)key->min) < 0) {
		return -EINVAL;
	}
	for (unsigned i = 0; i < list->count; i++) {
		if (endpoint_equal(&list->item[i], &e)) {
			return 0;
		}
	}
	if (list->count == CONF_SERVERS_MAX) {
		return -EINVAL;
	}
	list->item[list->count++] = e;
	return 0;
}

/* RFC 1035 §2.3.4: labels of 1..63 octets. Escapes have no place in a zone of a mesh. */
static bool is_domain_name(const char *name)
{
	size_t label = 0;

	for (; *name; name++) {
		char c = *name;

		if (c == '.' && label > 0) {
			label = 0;
		} else if (((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
				   c == '_') &&
			   label < 63) {
			label++;
		} else {
			return false;
		}
	}
	return label > 0;
}

/* A domain name as names are compared: in lower case, without the dot at its end. */
static int read_zone(char name[CONF_ZONE_SIZE], const char *text)
{
	size_t len = strlen(text);

	if (len > 0 && text[len - 1] == '.') {
		len--;
	}
	if (len > 253) {
		return -EINVAL;
	}
	memset(name, 0, CONF_ZONE_SIZE);
	for (size_t i = 0; i < len; i++) {
		name[i] = ascii_lower(text[i]);
	}
	return is_domain_name(name) ? 0 : -EINVAL;
}

static int set_zone(const struct key *key, void *base, const char *text)
{
	char name[CONF_ZONE_SIZE] = ".";

	if (strcmp(text, ".") != 0 && read_zone(name, text) < 0) {
		return -EINVAL;
	}
	memcpy(member(key, base), name, sizeof name);
	return 0;
}

static int add_zone(struct conf_zones *zones, const char *text)
{
	char name[CONF_ZONE_SIZE];

	if (read_zone(name, text) < 0) {
		return -EINVAL;
	}
	for (unsigned i = 0; i < zones->count; i++) {
		if (strcmp(zones->item[i], name) == 0) {
			return 0;
		}
	}
	if (zones->count == CONF_ZONES_MAX) {
		return -EINVAL;
	}
	memcpy(zones->item[zones->count++], name, sizeof name);
	return 0;
}

static int add_element(const struct key *key, void *base, char *text)
{
	void *list = member(key, base);

	switch (key->type) {
	case KEY_CHOICES:
		return add_choice(key, list, text);
	case KEY_ZONES:
		return add_zone(list, text);
	case KEY_UPSTREAMS:
		return upstreams_add_text(list, text);
	case KEY_PORTS:
		return ports_add(list, text);
	case KEY_NETWORKS:
		return networks_add(list, text);
	case KEY_VNETS:
		return vnets_add(list, text);
	default:
		return add_endpoint(key, list, text);
	}
}

/* The longest element: a zone, and all servers that it may have. */
enum { ELEMENT_SIZE = CONF_ZONE_SIZE + CONF_SERVERS_MAX * ENDPOINT_TEXT_SIZE };

/* Split at commas, without the spaces around them. */
static int add_elements(const struct key *key, void *base, const char *text)
{
	char element[ELEMENT_SIZE];

	for (;;) {
		size_t len;
		size_t used;

		text += strspn(text, " ");
		len = strcspn(text, ",");
		for (used = len; used > 0 && text[used - 1] == ' '; used--) {
		}
		if (used >= sizeof element) {
			return -EINVAL;
		}
		memcpy(element, text, used);
		element[used] = '\0';
		if (add_element(key, base, element) < 0) {
			return -EINVAL;
		}
		if (text[len] == '\0') {
			return 0;
		}
		text += len + 1;
	}
}

bool key_is_list(const struct key *key)
{
	switch (key->type) {
	case KEY_CHOICES:
	case KEY_ENDPOINTS:
	case KEY_ZONES:
	case KEY_PORTS:
	case KEY_EXCLUSIONS:
	case KEY_NETWORKS:
	case KEY_VNETS:
	case KEY_UPSTREAMS:
		return true;
	default:
		return false;
	}
}

void key_clear(const struct key *key, void *base)
{
	if (key_is_list(key)) {
		memset(member(key, base), 0, key->size);
	}
}

static int add_text(const struct key *key, void *base, const char *text)
{
	switch (key->type) {
	case KEY_BOOL:
		return set_bool(key, base, text);
	case KEY_TEXT:
		return set_text(key, base, text);
	case KEY_CHOICE:
		return set_choice(key, base, text);
	case KEY_ENDPOINT:
		return set_endpoint(key, base, text);
	case KEY_ZONE:
		return set_zone(key, base, text);
	case KEY_CHOICES:
	case KEY_ENDPOINTS:
	case KEY_ZONES:
	case KEY_PORTS:
	case KEY_NETWORKS:
	case KEY_VNETS:
	case KEY_UPSTREAMS:
		return add_elements(key, base, text);
	case KEY_EXCLUSIONS:
		return exclusions_add((void *)member(key, base), text);
	case KEY_SECTION:
	case KEY_IGNORED:
		return -EINVAL;
	default:
		return set_integer(key, base, text);
	}
}

bool key_is_in(const struct key *key, const char *section)
{
	const size_t len = strlen(section);

	return strncmp(key->path, section, len) == 0 && key->path[len] == '.';
}

/* That a direction is spoken of at all is what `run` goes by. */
static void note_given(const struct key *key, struct conf *conf)
{
	conf->inbound.given = conf->inbound.given || key_is_in(key, "redirect.inbound");
	conf->outbound.given = conf->outbound.given || key_is_in(key, "redirect.outbound");
}

int key_add(const struct key *key, void *base, const char *text)
{
	const int rc = text_is_clean(text) ? add_text(key, base, text) : -EINVAL;

	if (rc == 0 && key_is_in(key, "redirect")) {
		note_given(key, base);
	}
	return rc;
}

int key_set(const struct key *key, void *base, const char *text)
{
	key_clear(key, base);
	return key_is_list(key) && text[strspn(text, " ")] == '\0' ? 0 : key_add(key, base, text);
}

/* The words of a choice, with commas. */
static void expected_choice(const struct key *key, char *text, size_t size)
{
	size_t len = (size_t)snprintf(text, size, key->type == KEY_CHOICE ? "one of " : "some of ");

	for (const char *c = key->argument; *c && len + 3 < size; c++) {
		len += (size_t)snprintf(text + len, size - len, *c == '|' ? ", " : "%c", *c);
	}
}

void key_expected(const struct key *key, char *text, size_t size)
{
	switch (key->type) {
	case KEY_BOOL:
		snprintf(text, size, "true or false");
		break;
	case KEY_TEXT:
		snprintf(text, size, "up to %zu octets of UTF-8 without control characters",
			key->size - 1);
		break;
	case KEY_CHOICE:
	case KEY_CHOICES:
		expected_choice(key, text, size);
		break;
	case KEY_ENDPOINT:
		snprintf(text, size, "%s", key->argument);
		break;
	case KEY_ENDPOINTS:
		snprintf(text, size, "%s, at most %d of them", key->argument, CONF_SERVERS_MAX);
		break;
	case KEY_ZONE:
		snprintf(text, size,
			"a domain name of letters, digits, hyphens and underscores, or \".\"");
		break;
	case KEY_UPSTREAMS:
		snprintf(text, size,
			"%s, ZONE=refuse or ZONE=nxdomain, at most %d of them, each zone once",
			key->argument, CONF_UPSTREAMS_MAX);
		break;
	case KEY_ZONES:
		snprintf(text, size,
			"domain names of letters, digits, hyphens and underscores, at most %d of "
			"them",
			CONF_ZONES_MAX);
		break;
	case KEY_PORTS:
		snprintf(text, size,
			"ports from 1 to 65535, as a list, \"80,443\" or one number, "
			"at most %d of them",
			CONF_PORTS_MAX);
		break;
	case KEY_EXCLUSIONS:
		snprintf(text, size,
			"UIDS, PORTS:UIDS or PROTOCOL:PORTS:UIDS, such as "
			"tcp:80-90:1000-2000 or *:1000, at most %d of them",
			CONF_EXCLUSIONS_MAX);
		break;
	case KEY_NETWORKS:
		snprintf(text, size,
			"addresses or networks, such as 10.0.0.0/8 or fd00::1, at most "
			"%d of them",
			CONF_NETWORKS_MAX);
		break;
	case KEY_VNETS:
		snprintf(text, size,
			"INTERFACE:NETWORK, such as docker0:172.17.0.0/16 or "
			"br+:fd00::/64, at most %d of them",
			CONF_VNETS_MAX);
		break;
	case KEY_SECTION:
	case KEY_IGNORED:
		snprintf(text, size, "a mapping");
		break;
	default:
		number_expected(key, text, size);
	}
}

/* YAML's double-quoted style (YAML 1.2 §5.7), in ASCII alone. */
static void print_quoted(const char *text, FILE *out)
{
	putc('"', out);
	while (*text) {
		int32_t code = utf8_next(&text);

		if (code == '"' || code == '\\') {
			fprintf(out, "\\%c", (int)code);
		} else if (code >= 0x20 && code < 0x7f) {
			putc((int)code, out);
		} else {
			fprintf(out, "\\U%08" PRIX32, (uint32_t)(code < 0 ? 0xfffd : code));
		}
	}
	putc('"', out);
}

static void print_endpoints(const struct endpoint_list *list, FILE *out)
{
	char text[ENDPOINT_TEXT_SIZE];

	putc('[', out);
	for (unsigned i = 0; i < list->count; i++) {
		fputs(i ? ", " : "", out);
		print_quoted(endpoint_format(&list->item[i], text), out);
	}
	putc(']', out);
}

static void print_zones(const struct conf_zones *zones, FILE *out)
{
	putc('[', out);
	for (unsigned i = 0; i < zones->count; i++) {
		fputs(i ? ", " : "", out);
		print_quoted(zones->item[i], out);
	}
	putc(']', out);
}

static void print_endpoint(const struct endpoint *e, FILE *out)
{
	char text[ENDPOINT_TEXT_SIZE];

	print_quoted(e->len ? endpoint_format(e, text) : "", out);
}

static void print_choice(const struct key *key, uint64_t value, FILE *out)
{
	const char *word = key->argument;

	for (; value > key->min; value--) {
		word += strcspn(word, "|") + 1;
	}
	fprintf(out, "%.*s", (int)strcspn(word, "|"), word);
}

static void print_choices(const struct key *key, uint64_t bits, FILE *out)
{
	const char *separator = "";

	putc('[', out);
	for (unsigned i = 0; bits >> i; i++) {
		if (bits >> i & 1) {
			fputs(separator, out);
			print_choice(key, i, out);
			separator = ", ";
		}
	}
	putc(']', out);
}

static void print_integer(const struct key *key, uint64_t value, FILE *out)
{
	char text[NUMBER_TEXT_SIZE];

	switch (key->type) {
	case KEY_CHOICE:
		print_choice(key, value, out);
		break;
	case KEY_CHOICES:
		print_choices(key, value, out);
		break;
	default:
		fputs(number_format(key, value, text), out);
	}
}

void key_print(const struct key *key, const void *base, FILE *out)
{
	const void *at = member_const(key, base);

	switch (key->type) {
	case KEY_BOOL:
		fputs(*(const bool *)at ? "true" : "false", out);
		break;
	case KEY_TEXT:
	case KEY_ZONE:
		print_quoted(at, out);
		break;
	case KEY_ENDPOINT:
		print_endpoint(at, out);
		break;
	case KEY_ENDPOINTS:
		print_endpoints(at, out);
		break;
	case KEY_ZONES:
		print_zones(at, out);
		break;
	case KEY_PORTS:
		ports_print((const void *)at, out);
		break;
	case KEY_EXCLUSIONS:
		exclusions_print((const void *)at, out);
		break;
	case KEY_NETWORKS:
		networks_print((const void *)at, out);
		break;
	case KEY_VNETS:
		vnets_print((const void *)at, out);
		break;
	case KEY_UPSTREAMS:
		upstreams_print(at, out);
		break;
	default:
		print_integer(key, get_integer(at, key->size), out);
	}
}
