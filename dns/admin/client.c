/* SPDX-License-Identifier: Apache-2.0
 *
 * The client commands: one request on the admin socket. The whole response is read before a line is
 * printed, so that a pager does not make the daemon wait, and half an answer is never taken for
 * one.
 */
#include "dns/admin/admin.h"

#include "dns/mesh/http.h"

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

/* `?name=…&type=…`. @return to be freed; NULL without memory */
static char *query_string(const struct admin_question *q)
{
	char *name = evhttp_encode_uri(q->name ? q->name : "");
	char *type = evhttp_encode_uri(q->type ? q->type : "");
	char *query = NULL;
	if (name && type &&
		asprintf(&query, "%s%s%s%s", q->name ? "?name=" : "", name, q->type ? "&type=" : "",
			type) < 0) {
		query = NULL;
	}
	free(name);
	free(type);
	return query;
}

static int send_request(int fd, const struct admin_question *q)
{
	char *query = query_string(q);
	char *request = NULL;
	if (!query) {
		return -ENOMEM;
	}
	int len = asprintf(&request,
		"%s /%s%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s\r\n",
		q->changes ? "POST" : "GET", q->page, query,
		q->changes ? "Content-Length: 0\r\n" : "");
	free(query);
	if (len < 0) {
		return -ENOMEM;
	}
	int err = send_all(fd, request, (size_t)len);
	free(request);
	return err;
}

/* Our server says how long its response is: one that ends with the connection is cut. */
static int receive(int fd, struct http_response *r)
{
	static uint8_t octets[READ_SIZE];
	while (!http_is_complete(r)) {
		ssize_t n = recv(fd, octets, sizeof(octets), 0);
		size_t used = 0;
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0) {
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		}
		int err = n > 0 ? http_feed(r, (struct span){octets, (size_t)n}, &used) : -EBADMSG;
		if (err < 0) {
			return err;
		}
		if (used < (size_t)n) {
			return -EBADMSG;
		}
	}
	return 0;
}

static int print(const struct http_response *r)
{
	FILE *out = r->status == 200 ? stdout : stderr;
	if (fwrite(r->body, 1, r->body_len, out) != r->body_len || fflush(out) != 0) {
		fprintf(stderr, "kuma-dns: cannot write: %s\n", strerror(errno));
		return STATUS_FAILED;
	}
	return r->status == 200 ? STATUS_OK : r->status == 400 ? STATUS_FAILED : STATUS_REFUSED;
}

static int ask(int fd, const char *path, const struct admin_question *question)
{
	struct http_response r;
	http_init(&r, RESPONSE_MAX);
	int err = send_request(fd, question);
	if (err == 0) {
		err = receive(fd, &r);
	}
	int status = STATUS_FAILED;
	if (err == -EBADMSG || err == -E2BIG) {
		complain(path, "the answer is cut short or makes no sense, from", 0);
	} else if (err < 0) {
		complain(path, "no answer from", -err);
	} else {
		status = print(&r);
	}
	http_free(&r);
	return status;
}

int admin_client(const char *path, const struct admin_question *question)
{
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
	int status = ask(fd, path, question);
	close(fd);
	return status;
}
