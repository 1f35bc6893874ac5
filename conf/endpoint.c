/* SPDX-License-Identifier: Apache-2.0
 *
 * Addresses with ports: reading and writing their text. inet_pton does the addresses; brackets,
 * ports and scopes are ours.
 */
#include "conf/endpoint.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Decimal digits alone, no leading zero, 1..max. */
static int read_number(uint32_t *value, const char *text, uint32_t max)
{
	uint64_t number = 0;

	if (text[0] < '1' || text[0] > '9') {
		return -EINVAL;
	}
	for (; *text; text++) {
		if (*text < '0' || *text > '9') {
			return -EINVAL;
		}
		number = number * 10 + (uint64_t)(*text - '0');
		if (number > max) {
			return -EINVAL;
		}
	}
	*value = (uint32_t)number;
	return 0;
}

/* A port after its colon; `text` NULL means that there is none. */
static int read_port(in_port_t *port, const char *text, uint16_t default_port)
{
	uint32_t number = default_port;

	if (text && read_number(&number, text, UINT16_MAX) < 0) {
		return -EINVAL;
	}
	*port = htons((uint16_t)number);
	return number ? 0 : -EINVAL;
}

static int read_scope(uint32_t *scope, const char *text)
{
	*scope = if_nametoindex(text);
	return *scope ? 0 : read_number(scope, text, UINT32_MAX);
}

/* An IPv6 address, perhaps with %scope; modifies `text`. */
static int read_ipv6(struct sockaddr_in6 *in6, char *text)
{
	char *percent = strchr(text, '%');

	in6->sin6_family = AF_INET6;
	if (percent) {
		*percent = '\0';
		if (read_scope(&in6->sin6_scope_id, percent + 1) < 0) {
			return -EINVAL;
		}
	}
	return inet_pton(AF_INET6, text, &in6->sin6_addr) == 1 ? 0 : -EINVAL;
}

/* `address`, an IPv4 address; `port` as for read_port. */
static int parse_ipv4(
	struct endpoint *e, const char *address, const char *port, uint16_t default_port)
{
	e->in.sin_family = AF_INET;
	e->len = sizeof e->in;
	if (inet_pton(AF_INET, address, &e->in.sin_addr) != 1) {
		return -EINVAL;
	}
	return read_port(&e->in.sin_port, port, default_port);
}

static int parse_ipv6(struct endpoint *e, char *address, const char *port, uint16_t default_port)
{
	e->len = sizeof e->in6;
	if (read_ipv6(&e->in6, address) < 0) {
		return -EINVAL;
	}
	return read_port(&e->in6.sin6_port, port, default_port);
}

/* `[address]` or `[address]:port`; `text` begins behind the bracket. */
static int parse_bracketed(struct endpoint *e, char *text, uint16_t default_port)
{
	/* The last bracket: the name of an interface may hold one. */
	char *end = strrchr(text, ']');

	if (!end || (end[1] && end[1] != ':')) {
		return -EINVAL;
	}
	*end = '\0';
	return parse_ipv6(e, text, end[1] ? end + 2 : NULL, default_port);
}

static int parse(struct endpoint *e, char *text, uint16_t default_port)
{
	char *colon = strchr(text, ':');

	if (text[0] == '[') {
		return parse_bracketed(e, text + 1, default_port);
	}
	if (!colon) {
		return parse_ipv4(e, text, NULL, default_port);
	}
	if (strchr(colon + 1, ':')) {
		return parse_ipv6(e, text, NULL, default_port);
	}
	*colon = '\0';
	return parse_ipv4(e, text, colon + 1, default_port);
}

int endpoint_parse(struct endpoint *e, const char *text, uint16_t default_port)
{
	char copy[ENDPOINT_TEXT_SIZE];
	struct endpoint parsed;
	size_t len = strnlen(text, sizeof copy);

	if (len == sizeof copy) {
		return -EINVAL;
	}
	memcpy(copy, text, len + 1);
	memset(&parsed, 0, sizeof parsed);
	if (parse(&parsed, copy, default_port) < 0) {
		return -EINVAL;
	}
	*e = parsed;
	return 0;
}

static void format_ipv6(const struct sockaddr_in6 *in6, char text[ENDPOINT_TEXT_SIZE])
{
	char address[INET6_ADDRSTRLEN];
	char name[IF_NAMESIZE];
	char scope[IF_NAMESIZE + 1] = "";

	inet_ntop(AF_INET6, &in6->sin6_addr, address, sizeof address);
	if (in6->sin6_scope_id && if_indextoname(in6->sin6_scope_id, name)) {
		snprintf(scope, sizeof scope, "%%%s", name);
	} else if (in6->sin6_scope_id) {
		snprintf(scope, sizeof scope, "%%%u", in6->sin6_scope_id);
	}
	snprintf(text, ENDPOINT_TEXT_SIZE, "[%s%s]:%u", address, scope, ntohs(in6->sin6_port));
}

const char *endpoint_format(const struct endpoint *e, char text[ENDPOINT_TEXT_SIZE])
{
	char address[INET_ADDRSTRLEN];

	if (e->len == 0) {
		snprintf(text, ENDPOINT_TEXT_SIZE, "none");
	} else if (e->sa.sa_family == AF_INET6) {
		format_ipv6(&e->in6, text);
	} else {
		inet_ntop(AF_INET, &e->in.sin_addr, address, sizeof address);
		snprintf(text, ENDPOINT_TEXT_SIZE, "%s:%u", address, ntohs(e->in.sin_port));
	}
	return text;
}

bool endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
	if (a->len == 0 || b->len == 0) {
		return a->len == b->len;
	}
	if (a->sa.sa_family != b->sa.sa_family) {
		return false;
	}
	if (a->sa.sa_family == AF_INET6) {
		return IN6_ARE_ADDR_EQUAL(&a->in6.sin6_addr, &b->in6.sin6_addr) &&
		       a->in6.sin6_port == b->in6.sin6_port &&
		       a->in6.sin6_scope_id == b->in6.sin6_scope_id;
	}
	return a->in.sin_addr.s_addr == b->in.sin_addr.s_addr && a->in.sin_port == b->in.sin_port;
}

uint16_t endpoint_port(const struct endpoint *e)
{
	if (e->len == 0) {
		return 0;
	}
	return ntohs(e->sa.sa_family == AF_INET6 ? e->in6.sin6_port : e->in.sin_port);
}
