/* SPDX-License-Identifier: Apache-2.0
 *
 * The list of name servers. Reads resolv.conf as the C libraries do, which our requestors use: a
 * keyword at the start of its line, an address without a port.
 */
#include "dns/resolve/servers.h"

#include "conf/conf.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { FILE_MAX = 65536, ADDRESS_TEXT_MAX = 64, DNS_PORT = 53 };

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static void add(struct servers *servers, const struct endpoint *e)
{
	for (unsigned i = 0; i < servers->count; i++) {
		if (endpoint_equal(&servers->item[i], e)) {
			return;
		}
	}
	if (servers->count < SERVERS_LIST_MAX) {
		servers->item[servers->count++] = *e;
	}
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

static void parse_line(struct servers *servers, struct span line)
{
	static const char keyword[] = "nameserver";
	const size_t skip = sizeof(keyword) - 1;
	if (line.len <= skip || memcmp(line.data, keyword, skip) != 0 ||
		!is_blank(line.data[skip])) {
		return;
	}
	size_t at = skip;
	while (at < line.len && is_blank(line.data[at])) {
		at++;
	}
	char text[ADDRESS_TEXT_MAX];
	size_t len = 0;
	while (at < line.len && !is_blank(line.data[at]) && line.data[at] != '#' &&
		line.data[at] != ';') {
		if (line.data[at] == '\0' || len == sizeof(text) - 1) {
			return;
		}
		text[len++] = (char)line.data[at++];
	}
	text[len] = '\0';
	struct endpoint e;
	if (parse_address(&e, text)) {
		add(servers, &e);
	}
}

void servers_parse(struct servers *servers, struct span text)
{
	memset(servers, 0, sizeof(*servers));
	size_t at = 0;
	while (at < text.len) {
		const uint8_t *start = text.data + at;
		const uint8_t *end = memchr(start, '\n', text.len - at);
		size_t len = end ? (size_t)(end - start) : text.len - at;
		parse_line(servers, (struct span){.data = start, .len = len});
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

static int load_file(struct servers *servers, const char *path)
{
	uint8_t *octets = malloc(FILE_MAX + 1);
	if (!octets) {
		return -ENOMEM;
	}
	int error;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		error = -errno;
		goto done;
	}
	size_t len;
	error = read_whole(fd, octets, FILE_MAX + 1, &len);
	close(fd);
	if (error == 0) {
		servers_parse(servers, (struct span){.data = octets, .len = len});
	}
done:
	free(octets);
	return error;
}

int servers_load(struct servers *servers, const struct conf *conf)
{
	memset(servers, 0, sizeof(*servers));
	if (conf->servers.count == 0) {
		return load_file(servers, conf->resolv_conf);
	}
	for (unsigned i = 0; i < conf->servers.count; i++) {
		add(servers, &conf->servers.item[i]);
	}
	return 0;
}
