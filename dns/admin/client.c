/* SPDX-License-Identifier: Apache-2.0
 *
 * The client commands: one request on the admin socket. The whole response is read before a line is
 * printed, so that a pager does not make the daemon wait, and half an answer is never taken for
 * one.
 */
#include "dns/admin/admin.h"

#include "dns/wire/cursor.h"

#include <errno.h>
#include <event2/http.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	TIMEOUT_S = 5,
	STATUS_OK = 0,
	STATUS_REFUSED = 1,
	STATUS_FAILED = 2,
	READ_SIZE = 65536,
	RESPONSE_MAX = 1 << 30
};

/** A response in memory; `body` is a part of `octets`. */
struct response_text {
	char *octets;
	size_t len;
	size_t size;
	unsigned status;
	char *body;
	size_t body_len;
};

static int complain(const char *path, const char *what, int err)
{
	fprintf(stderr, "kuma-dns: %s %s%s%s\n", what, path, err ? ": " : "",
		err ? strerror(err) : "");
	return STATUS_FAILED;
}

static int connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval timeout = {.tv_sec = TIMEOUT_S};
	size_t len = strlen(path);
	if (len == 0 || len >= sizeof(address.sun_path)) {
		return -ENAMETOOLONG;
	}
	memcpy(address.sun_path, path, len);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		return -errno;
	}
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0 ||
		connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		int err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

static int send_all(int fd, const char *octets, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, octets, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0) {
			return -errno;
		}
		octets += n;
		len -= (size_t)n;
	}
	return 0;
}

static int send_request(int fd, const char *command, const char *argument)
{
	char *name = argument ? evhttp_encode_uri(argument) : NULL;
	char *request = NULL;
	if (argument && !name) {
		return -ENOMEM;
	}
	int len = asprintf(&request,
		"GET /%s%s%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", command,
		name ? "?name=" : "", name ? name : "");
	free(name);
	if (len < 0) {
		return -ENOMEM;
	}
	int err = send_all(fd, request, (size_t)len);
	free(request);
	return err;
}

static int make_room(struct response_text *r)
{
	if (r->size - r->len >= READ_SIZE) {
		return 0;
	}
	size_t size = r->size ? r->size * 2 : (size_t)READ_SIZE * 2;
	if (size > RESPONSE_MAX) {
		return -EMSGSIZE;
	}
	char *octets = realloc(r->octets, size);
	if (!octets) {
		return -ENOMEM;
	}
	r->octets = octets;
	r->size = size;
	return 0;
}

static int receive(int fd, struct response_text *r)
{
	for (;;) {
		int err = make_room(r);
		if (err < 0) {
			return err;
		}
		ssize_t n = recv(fd, r->octets + r->len, READ_SIZE, 0);
		if (n == 0) {
			return 0;
		}
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0) {
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		}
		r->len += (size_t)n;
	}
}

static int digit_value(char c, unsigned base)
{
	int value = -1;
	if (c >= '0' && c <= '9') {
		value = c - '0';
	} else if (c >= 'a' && c <= 'f') {
		value = c - 'a' + 10;
	} else if (c >= 'A' && c <= 'F') {
		value = c - 'A' + 10;
	}
	return value < (int)base ? value : -1;
}

/* A number of `len` characters at most, up to RESPONSE_MAX. @return its digits; 0: there is none */
static size_t read_number(const char *text, size_t len, unsigned base, size_t *number)
{
	size_t i = 0;
	*number = 0;
	for (; i < len && digit_value(text[i], base) >= 0; i++) {
		*number = *number * base + (size_t)digit_value(text[i], base);
		if (*number > RESPONSE_MAX) {
			return 0;
		}
	}
	return i;
}

/* Join the chunks in place (RFC 9112 §7.1); our server sends no extensions and no trailers. */
static int join_chunks(struct response_text *r)
{
	size_t from = 0;
	size_t to = 0;
	for (;;) {
		size_t chunk;
		size_t digits = read_number(r->body + from, r->body_len - from, 16, &chunk);
		from += digits;
		if (digits == 0 || r->body_len - from < 2 + chunk + 2) {
			return -EBADMSG;
		}
		from += 2;
		memmove(r->body + to, r->body + from, chunk);
		from += chunk + 2;
		to += chunk;
		if (chunk == 0) {
			r->body_len = to;
			return 0;
		}
	}
}

/* The value of a header that our server spells like this; NULL where there is none. */
static const char *header(const struct response_text *r, const char *name)
{
	size_t head_len = (size_t)(r->body - r->octets);
	const char *at = memmem(r->octets, head_len, name, strlen(name));
	return at ? at + strlen(name) : NULL;
}

static int parse_response(struct response_text *r)
{
	static const char version[] = "HTTP/1.1 ";
	size_t skip = sizeof(version) - 1;
	size_t number;
	const char *blank = r->len ? memmem(r->octets, r->len, "\r\n\r\n", 4) : NULL;
	if (!blank || r->len < skip || memcmp(r->octets, version, skip) != 0 ||
		read_number(r->octets + skip, r->len - skip, 10, &number) != 3) {
		return -EBADMSG;
	}
	r->status = (unsigned)number;
	r->body = r->octets + (blank - r->octets) + 4;
	r->body_len = r->len - (size_t)(r->body - r->octets);
	if (header(r, "\r\nTransfer-Encoding: chunked\r\n")) {
		return join_chunks(r);
	}
	const char *length = header(r, "\r\nContent-Length: ");
	if (!length || read_number(length, (size_t)(r->body - length), 10, &number) == 0 ||
		number != r->body_len) {
		return -EBADMSG;
	}
	return 0;
}

static int print(const struct response_text *r)
{
	FILE *out = r->status == 200 ? stdout : stderr;
	if (fwrite(r->body, 1, r->body_len, out) != r->body_len || fflush(out) != 0) {
		fprintf(stderr, "kuma-dns: cannot write: %s\n", strerror(errno));
		return STATUS_FAILED;
	}
	return r->status == 200 ? STATUS_OK : STATUS_REFUSED;
}

static int ask(int fd, const char *path, const char *command, const char *argument)
{
	struct response_text r = {0};
	int err = send_request(fd, command, argument);
	if (err == 0) {
		err = receive(fd, &r);
	}
	if (err == 0) {
		err = parse_response(&r);
	}
	int status = STATUS_FAILED;
	if (err == -EBADMSG) {
		complain(path, "the answer is cut short or makes no sense, from", 0);
	} else if (err < 0) {
		complain(path, "no answer from", -err);
	} else {
		status = print(&r);
	}
	free(r.octets);
	return status;
}

static bool is_command(const char *command, const char *argument)
{
	static const char *const plain[] = {"status", "ready", "metrics"};
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
		if (strcmp(command, plain[i]) == 0) {
			return !argument;
		}
	}
	return strcmp(command, "table") == 0;
}

int admin_client(const char *path, const char *command, const char *argument)
{
	if (!is_command(command, argument)) {
		return complain(command, "no such command, or too many arguments:", 0);
	}
	if (!*path) {
		return complain("--admin-socket PATH", "no admin socket is configured; use", 0);
	}
	int fd = connect_to(path);
	if (fd == -ENOENT || fd == -ECONNREFUSED) {
		return complain(path, "no daemon listens on", -fd);
	}
	if (fd < 0) {
		return complain(path, "cannot connect to", -fd);
	}
	int status = ask(fd, path, command, argument);
	close(fd);
	return status;
}
