/* SPDX-License-Identifier: Apache-2.0
 *
 * resolv.conf: lines, keywords, words. Where glibc and musl differ we follow glibc, but that white
 * space before a line's end may be a carriage return, and that a number needs a digit (musl both).
 */
#include "dns/resolve/resolvconf.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	FILE_SIZE_MAX = 65536,
	ADDRESS_TEXT_MAX = 64,
	DNS_PORT = 53,
	SECOND_MS = 1000,
	NDOTS_DEFAULT = 1
};

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* Take the next word off the front of `rest`; empty at the end. */
static struct span word_take(struct span *rest)
{
	size_t start = 0;
	while (start < rest->len && is_blank(rest->data[start])) {
		start++;
	}
	size_t end = start;
	while (end < rest->len && !is_blank(rest->data[end])) {
		end++;
	}
	struct span word = {.data = rest->data + start, .len = end - start};
	*rest = (struct span){.data = rest->data + end, .len = rest->len - end};
	return word;
}

/* Whether `text` begins with `prefix`; if so, `rest` is what follows. */
static bool starts_with(struct span text, const char *prefix, struct span *rest)
{
	size_t len = strlen(prefix);
	if (text.len < len || memcmp(text.data, prefix, len) != 0) {
		return false;
	}
	*rest = (struct span){.data = text.data + len, .len = text.len - len};
	return true;
}

/* An address alone, with its scope: endpoint_parse would take a port too, which no libc does. */
static bool parse_address(struct endpoint *e, const char *text)
{
	char address[ADDRESS_TEXT_MAX];
	size_t len = strcspn(text, "%");
	struct in6_addr octets;
	memcpy(address, text, len);
	address[len] = '\0';
	if (inet_pton(AF_INET6, address, &octets) != 1 &&
		(text[len] == '%' || inet_pton(AF_INET, address, &octets) != 1)) {
		return false;
	}
	return endpoint_parse(e, text, DNS_PORT) == 0;
}

static void parse_nameserver(struct resolv_conf *rc, struct span rest)
{
	struct span word = word_take(&rest);
	char text[ADDRESS_TEXT_MAX];
	size_t len = 0;
	/* A comment may follow without a blank between. */
	while (len < word.len && word.data[len] != '#' && word.data[len] != ';') {
		if (len == sizeof(text) - 1) {
			return;
		}
		text[len] = (char)word.data[len];
		len++;
	}
	text[len] = '\0';
	struct endpoint e;
	if (parse_address(&e, text)) {
		servers_add(&rc->servers, &e);
	}
}

static bool dname_equal(const struct dname *a, const struct dname *b)
{
	return a->len == b->len && memcmp(a->octets, b->octets, a->len) == 0;
}

static void search_add(struct resolv_conf *rc, struct span word)
{
	struct dname name;
	if (rc->search_count == RESOLV_SEARCH_MAX ||
		dname_from_text(&name, (const char *)word.data, word.len) != 0 || name.len == 1) {
		return;
	}
	for (unsigned i = 0; i < rc->search_count; i++) {
		if (dname_equal(&rc->search[i], &name)) {
			return;
		}
	}
	rc->search[rc->search_count++] = name;
}

/* `count` words at most. Without any, what an earlier line said stays. */
static void parse_search(struct resolv_conf *rc, struct span rest, unsigned count)
{
	struct span word = word_take(&rest);
	if (word.len > 0) {
		rc->search_count = 0;
	}
	for (; word.len > 0 && count > 0; count--) {
		search_add(rc, word);
		word = word_take(&rest);
	}
}

/* The digits at the start of `text`, `max` at most; what follows them is nobody's. */
static bool parse_number(struct span text, unsigned max, unsigned *value)
{
	unsigned number = 0;
	size_t at = 0;
	for (; at < text.len && text.data[at] >= '0' && text.data[at] <= '9'; at++) {
		number = number * 10 + (unsigned)(text.data[at] - '0');
		number = number < max ? number : max;
	}
	if (at > 0) {
		*value = number;
	}
	return at > 0;
}

static void parse_option(struct resolv_conf *rc, struct span word)
{
	struct span rest;
	unsigned value;
	if (starts_with(word, "ndots:", &rest)) {
		if (parse_number(rest, RESOLV_NDOTS_MAX, &value)) {
			rc->ndots = value;
		}
	} else if (starts_with(word, "timeout:", &rest)) {
		if (parse_number(rest, RESOLV_TIMEOUT_MAX, &value)) {
			rc->timeout_ms = (value > 0 ? value : 1) * SECOND_MS;
		}
	} else if (starts_with(word, "attempts:", &rest)) {
		if (parse_number(rest, RESOLV_ATTEMPTS_MAX, &value)) {
			rc->attempts = value > 0 ? value : 1;
		}
	} else if (starts_with(word, "rotate", &rest)) { /* glibc too looks no further */
		rc->rotate = true;
	}
}

static void parse_options(struct resolv_conf *rc, struct span rest)
{
	for (struct span word = word_take(&rest); word.len > 0; word = word_take(&rest)) {
		parse_option(rc, word);
	}
}

/* The keyword at the very start of the line, with a blank behind it. */
static bool is_keyword(struct span line, const char *keyword, struct span *rest)
{
	return starts_with(line, keyword, rest) && rest->len > 0 && is_blank(rest->data[0]);
}

static void parse_line(struct resolv_conf *rc, struct span line)
{
	struct span rest;
	if (memchr(line.data, '\0', line.len)) {
		return;
	}
	if (is_keyword(line, "nameserver", &rest)) {
		parse_nameserver(rc, rest);
	} else if (is_keyword(line, "search", &rest)) {
		parse_search(rc, rest, UINT32_MAX);
	} else if (is_keyword(line, "domain", &rest)) {
		parse_search(rc, rest, 1);
	} else if (is_keyword(line, "options", &rest)) {
		parse_options(rc, rest);
	}
}

void resolv_conf_parse(struct resolv_conf *rc, struct span text)
{
	memset(rc, 0, sizeof(*rc));
	rc->ndots = NDOTS_DEFAULT;
	size_t at = 0;
	while (at < text.len) {
		const uint8_t *start = text.data + at;
		const uint8_t *end = memchr(start, '\n', text.len - at);
		size_t len = end ? (size_t)(end - start) : text.len - at;
		parse_line(rc, (struct span){.data = start, .len = len});
		at += len + 1;
	}
}

static int read_whole(int fd, uint8_t *octets, size_t size, size_t *len)
{
	*len = 0;
	while (*len < size) {
		ssize_t n = read(fd, octets + *len, size - *len);
		if (n == 0) {
			return 0;
		}
		if (n < 0 && errno != EINTR) {
			return -errno;
		}
		*len += n > 0 ? (size_t)n : 0;
	}
	return -EFBIG;
}

int resolv_conf_load(struct resolv_conf *rc, const char *path)
{
	resolv_conf_parse(rc, (struct span){0});
	uint8_t *octets = malloc(FILE_SIZE_MAX + 1);
	if (!octets) {
		return -ENOMEM;
	}
	int error;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0) {
		error = -errno;
		goto done;
	}
	size_t len;
	error = read_whole(fd, octets, FILE_SIZE_MAX + 1, &len);
	close(fd);
	if (error == 0) {
		resolv_conf_parse(rc, (struct span){.data = octets, .len = len});
	}
done:
	free(octets);
	return error;
}

bool resolv_conf_equal(const struct resolv_conf *a, const struct resolv_conf *b)
{
	if (a->search_count != b->search_count || a->ndots != b->ndots ||
		a->timeout_ms != b->timeout_ms || a->attempts != b->attempts ||
		a->rotate != b->rotate) {
		return false;
	}
	for (unsigned i = 0; i < a->search_count; i++) {
		if (!dname_equal(&a->search[i], &b->search[i])) {
			return false;
		}
	}
	return servers_equal(&a->servers, &b->servers);
}
