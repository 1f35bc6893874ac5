/* SPDX-License-Identifier: Apache-2.0
 *
 * The admin interface: where it listens, and which paths each of its two doors has.
 */
#include "dns/admin/admin.h"

#include "conf/log.h"
#include "dns/admin/pages.h"
#include "dns/admin/sockets.h"

#include <errno.h>
#include <event2/buffer.h>
#include <stdlib.h>

/** The socket file, or the TCP address, which shows neither names nor servers. */
struct door {
	const struct admin *admin;
	struct httpd_server *server;
	bool tcp;
};

struct admin {
	const struct state *state;
	uint64_t start_ns; /* of the daemon, CLOCK_REALTIME */
	struct door local;
	struct door network;
	struct socket_file file;
	bool has_file;
};

static bool path_is(struct span path, const char *text)
{
	return path.len == strlen(text) && memcmp(path.data, text, path.len) == 0;
}

static void serve(void *ctx, const struct httpd_request *request, struct httpd_reply *reply)
{
	const struct door *door = ctx;
	const struct admin *admin = door->admin;
	if (path_is(request->path, "/metrics")) {
		page_metrics(reply, admin->state, admin->start_ns);
	} else if (path_is(request->path, "/ready")) {
		page_ready(reply, admin->state);
	} else if (!door->tcp && path_is(request->path, "/table")) {
		page_table(reply, admin->state, request->query);
	} else if (!door->tcp && path_is(request->path, "/status")) {
		page_status(reply, admin->state);
	} else {
		reply->status = 404;
		evbuffer_add_printf(reply->body, "here are %s\n",
			door->tcp ? "/metrics and /ready" : "/metrics, /ready, /status and /table");
	}
}

static int open_local(struct admin *admin, struct event_base *base, const char *path)
{
	int fd;
	int err = socket_file_listen(&fd, &admin->file, path);
	if (err < 0) {
		return err;
	}
	admin->has_file = true;
	admin->local = (struct door){.admin = admin};
	return httpd_open(&admin->local.server, base, fd, serve, &admin->local);
}

static int open_network(struct admin *admin, struct event_base *base, const struct endpoint *e)
{
	int fd;
	int err = socket_tcp_listen(&fd, e);
	if (err < 0) {
		return err;
	}
	admin->network = (struct door){.admin = admin, .tcp = true};
	return httpd_open(&admin->network.server, base, fd, serve, &admin->network);
}

static int try_local(struct admin *admin, struct event_base *base, const struct conf *conf)
{
	int err = open_local(admin, base, conf->admin_socket);
	if (err == 0) {
		return 0;
	}
	const char *why = err == -EEXIST ? "it exists and is no socket" : strerror(-err);
	if (conf->admin_socket_given) {
		log_error("admin socket %s: %s", conf->admin_socket, why);
		return err;
	}
	log_warning("admin socket %s: %s; going on without", conf->admin_socket, why);
	return 0;
}

static int try_network(struct admin *admin, struct event_base *base, const struct endpoint *e)
{
	int err = open_network(admin, base, e);
	if (err < 0) {
		char text[ENDPOINT_TEXT_SIZE];
		log_error("metrics address %s: %s", endpoint_format(e, text), strerror(-err));
	}
	return err;
}

static uint64_t start_ns(const struct state *state)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	int64_t up_ms = state_now_ms() - state->started_ms;
	return (uint64_t)((int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 - up_ms) * 1000000;
}

int admin_open(struct admin **admin, struct event_base *base, const struct state *state)
{
	struct admin *a = calloc(1, sizeof(*a));
	if (!a) {
		log_error("admin: %s", strerror(ENOMEM));
		return -ENOMEM;
	}
	const struct conf *conf = state->conf;
	a->state = state;
	a->start_ns = start_ns(state);
	int err = conf->admin_socket[0] ? try_local(a, base, conf) : 0;
	if (err == 0 && conf->metrics_address.len > 0) {
		err = try_network(a, base, &conf->metrics_address);
	}
	if (err < 0) {
		admin_close(a);
		return err;
	}
	*admin = a;
	return 0;
}

void admin_close(struct admin *admin)
{
	if (!admin) {
		return;
	}
	if (admin->has_file) {
		socket_file_remove(&admin->file, admin->state->conf->admin_socket);
	}
	httpd_close(admin->local.server);
	httpd_close(admin->network.server);
	free(admin);
}
