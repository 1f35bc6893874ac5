/* SPDX-License-Identifier: Apache-2.0
 *
 * The admin interface: where it listens, and which paths each of its two doors has.
 */
#include "dns/admin/admin.h"

#include "conf/clock.h"
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

static const struct place {
	const char *path;
	page_function *page;
	bool tcp;     /* the TCP address has it, too */
	bool changes; /* what it is about: asked with POST, never by looking around */
} places[] = {
	{"/metrics", page_metrics, true, false},
	{"/ready", page_ready, true, false},
	{"/status", page_status, false, false},
	{"/table", page_table, false, false},
	{"/cache", page_cache, false, false},
	{"/cache/flush", page_cache_flush, false, true},
	{"/explain", page_explain, false, false},
};

enum { PLACES = sizeof(places) / sizeof(places[0]) };

static bool has_place(const struct door *door, const struct place *place)
{
	return place->tcp || !door->tcp;
}

static const struct place *find_place(const struct door *door, struct span path)
{
	for (size_t i = 0; i < PLACES; i++) {
		if (has_place(door, &places[i]) && path_is(path, places[i].path)) {
			return &places[i];
		}
	}
	return NULL;
}

static void list_places(const struct door *door, struct httpd_reply *reply)
{
	reply->status = 404;
	evbuffer_add_printf(reply->body, "here are");
	for (size_t i = 0; i < PLACES; i++) {
		if (has_place(door, &places[i])) {
			evbuffer_add_printf(reply->body, " %s", places[i].path);
		}
	}
	evbuffer_add_printf(reply->body, "\n");
}

static bool is_allowed(const struct place *place, enum httpd_method method)
{
	return place->changes ? method == HTTPD_POST : method == HTTPD_GET || method == HTTPD_HEAD;
}

static void serve(void *ctx, const struct httpd_request *request, struct httpd_reply *reply)
{
	const struct door *door = ctx;
	const struct place *place = find_place(door, request->path);
	const struct page_ask ask = {.state = door->admin->state,
		.start_ns = door->admin->start_ns,
		.query = request->query};
	if (!place) {
		list_places(door, reply);
	} else if (!is_allowed(place, request->method)) {
		reply->status = 405;
		reply->allow = place->changes ? "POST" : "GET, HEAD";
		evbuffer_add_printf(reply->body, "this takes %s\n", reply->allow);
	} else {
		place->page(reply, &ask);
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
	int64_t up_ms = clock_ms() - state->started_ms;
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
