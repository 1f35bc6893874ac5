/* SPDX-License-Identifier: Apache-2.0
 *
 * The order of start and stop, signals, and who hands what to whom. The functions stand in the
 * order of the daemon's life.
 */
#include "dns/daemon.h"

#include "conf/clock.h"
#include "conf/log.h"
#include "conf/privileges.h"
#include "dns/admin/admin.h"
#include "dns/mesh/saved.h"
#include "dns/redirecting.h"
#include "dns/serve/listening.h"

#include <errno.h>
#include <event2/event.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
	STOP_SIGNALS = 3,
	FIRST_TABLE_LIMIT_S = 2, /* then we redirect without a table: forwarding works */
	FORMER_TABLE_MS = 30,    /* in which workers take the new one; if not, they free it */
	LARGE = 128 << 10        /* octets: what is mapped by itself */
};

struct daemon {
	struct conf conf;
	struct privileges who;
	struct resolv_conf resolv;
	struct routes *routes; /* our reference */
	struct watch *watch;
	struct cookie_secret secret;
	struct mesh_zones zones;
	struct redirecting redirecting;
	struct state state;
	struct event_base *base;
	struct event *stop[STOP_SIGNALS];
	struct event *first_table_limit;
	struct table *former; /* that was replaced a moment ago; NULL: none */
	struct event *forget_former;
	struct worker **workers;
	unsigned open;    /* workers that are open … */
	unsigned started; /* … and of these, that run */
	struct admin *admin;
	struct mesh *mesh;
	bool narrowed; /* no more privileges than running takes */
	bool ready;    /* said so */
	int status;    /* exit status */
};

/* Configuration, and what follows from it alone */

static int read_zones(struct mesh_zones *zones, const struct conf *conf)
{
	for (unsigned i = 0; i < conf->mesh_zones.count; i++) {
		const char *text = conf->mesh_zones.item[i];
		if (zones->count == MESH_ZONES_MAX ||
			dname_from_text(&zones->item[zones->count], text, strlen(text)) != 0) {
			log_error("meshZones: %s is no domain name, or one too many", text);
			return -EINVAL;
		}
		zones->count++;
	}
	return 0;
}

/** We are no server to ask: a query would go round for ever. */
static bool is_ours(void *ctx, const struct endpoint *at)
{
	const struct endpoint_list *ours = ctx;
	char text[ENDPOINT_TEXT_SIZE];
	if (!listening_takes(ours->item, ours->count, at)) {
		return false;
	}
	log_warning("name server %s is ourselves: not asked", endpoint_format(at, text));
	return true;
}

/** Who is asked for what, by the configuration and what resolv.conf says now. */
static int compile_routes(struct daemon *d)
{
	struct endpoint_list ours;
	listening_list(&ours, &d->conf);
	struct routes *routes = routes_compile(&d->conf, &d->resolv, is_ours, &ours);
	if (!routes) {
		return -ENOMEM;
	}
	if (routes->server_count == 0) {
		log_warning("no name servers: only names of the mesh are answered");
	}
	if (d->routes) {
		routes_inherit(routes, d->routes);
		routes_unref(d->routes);
	}
	d->routes = routes;
	d->state.routes = routes;
	return 0;
}

static void read_resolv_conf(struct daemon *d)
{
	int r = resolv_conf_load(&d->resolv, d->conf.resolv_conf);
	if (r != 0 && d->conf.servers.count == 0) {
		log_warning("%s: %s", d->conf.resolv_conf, strerror(-r));
	}
}

static void log_servers(const struct routes *routes)
{
	char address[ENDPOINT_TEXT_SIZE];
	for (unsigned i = 0; i < routes->server_count; i++) {
		log_info("name server %u: %s", i + 1,
			endpoint_format(&routes->server[i].at, address));
	}
}

static int configure(struct daemon *d)
{
	log_set_level((enum log_level)d->conf.log_level);
	d->redirecting = (struct redirecting){
		.conf = &d->conf, .state = &d->state, .asked = &d->resolv.servers};
	redirecting_look(&d->redirecting);
	/* A daemon for DNS alone needs no Envoy: TCP is redirected where it is spoken of. */
	d->conf.inbound.enabled = d->conf.inbound.enabled && d->conf.inbound.given;
	d->conf.outbound.enabled = d->conf.outbound.enabled && d->conf.outbound.given;
	int r = privileges_choose(&d->who, &d->conf);
	if (r == 0) {
		r = read_zones(&d->zones, &d->conf);
	}
	if (r != 0) {
		return r;
	}
	if (getrandom(&d->secret, sizeof(d->secret), 0) != (ssize_t)sizeof(d->secret)) {
		return -EIO;
	}
	read_resolv_conf(d);
	r = compile_routes(d);
	if (r == 0) {
		log_servers(d->routes);
	}
	if (r != 0) {
		return r;
	}
	return redirecting_prepare(&d->redirecting);
}

/**
 * Every connection and every upstream socket is a descriptor. Half of what the system gives us is
 * for connections, and for those to the servers that they asked, so that whoever opens many does
 * not keep others from being answered.
 */
static void share_descriptors(struct conf *conf)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
		return;
	}
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	rlim_t connections = limit.rlim_cur / 4 / conf->workers;
	if (conf->tcp_connections_max > connections) {
		conf->tcp_connections_max = connections ? (uint32_t)connections : 1;
		log_warning("%llu file descriptors: at most %u TCP connections for each worker",
			(unsigned long long)limit.rlim_cur, conf->tcp_connections_max);
	}
}

/**
 * Documents and tables are mapped one by one, so that the kernel has each back as soon as it is
 * freed, by whichever thread. Left to itself malloc takes the first one that is freed for a habit:
 * those that follow come from its heap, where a gap remains when a worker gives up the old table.
 */
static void map_what_is_large(void)
{
#ifdef __GLIBC__
	(void)mallopt(M_MMAP_THRESHOLD, LARGE);
#endif
}

/* Serving, once there is a table */

static void end(struct daemon *d, int status)
{
	d->status = status;
	(void)event_base_loopbreak(d->base);
}

static void log_ready_once(struct daemon *d)
{
	char reason[256];
	if (!d->ready && state_ready(&d->state, reason, sizeof(reason))) {
		d->ready = true;
		log_info("ready%s%s", reason[0] ? ": " : "", reason);
	}
}

static void log_listening(const struct daemon *d)
{
	unsigned count;
	char text[ENDPOINT_TEXT_SIZE];
	const struct endpoint *listening = worker_listening(d->workers[0], &count);
	for (unsigned i = 0; i < count; i++) {
		log_info("listening on %s, UDP and TCP", endpoint_format(&listening[i], text));
	}
}

/** Listen, and answer: from here on the kernel hands us queries. */
static int begin_serving(struct daemon *d)
{
	for (unsigned i = 0; i < d->open; i++) {
		int r = worker_listen(d->workers[i]);
		if (r != 0) {
			return r;
		}
	}
	int r = redirecting_listen(&d->redirecting);
	if (r != 0) {
		return r;
	}
	for (; d->started < d->open; d->started++) {
		r = worker_start(d->workers[d->started]);
		if (r != 0) {
			return r;
		}
	}
	d->state.listening = true;
	log_listening(d);
	redirecting_settle(&d->redirecting);
	return 0;
}

/**
 * Whether somebody listens where we are about to: our predecessor, in a second start. The kernel
 * would give us a share of its queries, so we must have a table first.
 */
static bool has_predecessor(const struct conf *conf)
{
	struct endpoint_list list;
	listening_list(&list, conf);
	int fd = socket(list.item[0].sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool taken =
		fd >= 0 && bind(fd, &list.item[0].sa, list.item[0].len) != 0 && errno == EADDRINUSE;
	if (fd >= 0) {
		close(fd);
	}
	return taken;
}

/** Sockets, threads and rules are there: what is left takes less. */
static int narrow(struct daemon *d)
{
	char text[PRIVILEGES_TEXT_SIZE];
	int r = d->narrowed ? 0 : privileges_narrow(&d->conf);
	if (r == 0 && !d->narrowed) {
		log_info("running as %s", privileges_describe(text, sizeof(text)));
		d->narrowed = true;
	}
	return r;
}

static void on_canaries(void *ctx)
{
	log_ready_once(ctx);
}

/** The first table is there, or will not come in time: serve, then redirect. */
static void begin(struct daemon *d)
{
	(void)event_del(d->first_table_limit);
	int r = d->state.listening ? 0 : begin_serving(d);
	if (r != 0) {
		log_error("cannot start: %s", strerror(-r));
		end(d, STATUS_FAILURE);
		return;
	}
	if (d->state.redirect == REDIRECT_WAITING && redirecting_begin(&d->redirecting) != 0) {
		end(d, STATUS_FAILURE);
	}
	if (narrow(d) != 0) {
		end(d, STATUS_FAILURE);
		return;
	}
	if (d->state.redirect != REDIRECT_FAILED) {
		redirecting_prove(&d->redirecting, d->base, &d->secret, on_canaries, d);
	}
	log_ready_once(d);
}

static void on_first_table_limit(evutil_socket_t fd, short what, void *arg)
{
	struct daemon *d = arg;
	(void)fd;
	(void)what;
	const char *problem = mesh_status(d->mesh)->problem;
	log_warning("no table after %d s%s%s; going on without it", FIRST_TABLE_LIMIT_S,
		problem[0] ? ": " : "", problem);
	begin(d);
}

/* Tables */

/**
 * Freeing a large table takes milliseconds, and whoever gives the last reference back frees it: not
 * a worker, whose queries would wait, but we, when all workers have taken the new one.
 */
static void on_forget_former(evutil_socket_t fd, short what, void *arg)
{
	struct daemon *d = arg;
	(void)fd;
	(void)what;
	table_unref(d->former);
	d->former = NULL;
}

static void forget_later(struct daemon *d, struct table *table)
{
	static const struct timeval moment = {.tv_usec = FORMER_TABLE_MS * 1000};
	table_unref(d->former);
	d->former = table;
	(void)event_base_update_cache_time(d->base); /* reading has taken longer than that */
	if (event_add(d->forget_former, &moment) != 0) {
		event_active(d->forget_former, EV_TIMEOUT, 0);
	}
}

/** Hand a new table to every worker; the last reference is ours, for the admin socket. */
static void on_table(void *ctx, struct table *table, enum mesh_source source)
{
	struct daemon *d = ctx;
	for (unsigned i = 0; i < d->open; i++) {
		worker_publish(d->workers[i], table_ref(table));
	}
	forget_later(d, d->state.table);
	d->state.table = table;
	if (d->state.table_ready_ms == 0 && source != MESH_SAVED) {
		d->state.table_ready_ms = clock_ms();
	}
	if (!d->mesh) {
		return; /* still starting: see wait_for_table */
	}
	begin(d);
}

/** Begin at once where there is a table, or nobody to bring one; else within a limit. */
static void wait_for_table(struct daemon *d)
{
	struct timeval limit = {.tv_sec = FIRST_TABLE_LIMIT_S};
	bool has_source = d->conf.table_file[0] || d->conf.work_dir[0];
	if (d->state.table || !has_source || event_add(d->first_table_limit, &limit) != 0) {
		begin(d);
	}
}

/* Servers */

/** resolv.conf says something else: new questions go to the new servers. */
static void on_resolv_conf(void *ctx, const struct resolv_conf *now)
{
	struct daemon *d = ctx;
	d->resolv = *now;
	if (compile_routes(d) != 0) {
		log_error("%s: no memory: going on with the servers from before",
			d->conf.resolv_conf);
		return;
	}
	log_servers(d->routes);
	for (unsigned i = 0; i < d->open; i++) {
		worker_set_routes(d->workers[i], d->routes);
	}
	redirecting_follow(&d->redirecting);
}

/* Start */

static void on_stop(evutil_socket_t signal_number, short what, void *arg)
{
	struct daemon *d = arg;
	(void)what;
	log_info("stopping: %s", signal_number == SIGTERM  ? "SIGTERM"
				 : signal_number == SIGINT ? "SIGINT"
							   : "SIGHUP");
	end(d, EXIT_SUCCESS);
}

/** Whether whoever started us, nohup(1) perhaps, wants a signal to be ignored. */
static bool is_ignored(int signal_number)
{
	struct sigaction action;
	return sigaction(signal_number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

static int open_loop(struct daemon *d)
{
	/* SIGHUP: the terminal is gone. There is nothing to read again: files are watched. */
	static const int signals[STOP_SIGNALS] = {SIGTERM, SIGINT, SIGHUP};
	d->base = event_base_new();
	if (!d->base) {
		return -ENOMEM;
	}
	for (unsigned i = 0; i < STOP_SIGNALS; i++) {
		if (signals[i] == SIGHUP && is_ignored(SIGHUP)) {
			continue;
		}
		d->stop[i] = evsignal_new(d->base, signals[i], on_stop, d);
		if (!d->stop[i] || event_add(d->stop[i], NULL) != 0) {
			return -ENOMEM;
		}
	}
	d->first_table_limit = evtimer_new(d->base, on_first_table_limit, d);
	d->forget_former = evtimer_new(d->base, on_forget_former, d);
	return d->first_table_limit && d->forget_former ? 0 : -ENOMEM;
}

static int open_workers(struct daemon *d)
{
	d->workers = calloc(d->conf.workers, sizeof(struct worker *));
	if (!d->workers) {
		return -ENOMEM;
	}
	for (; d->open < d->conf.workers; d->open++) {
		int r = worker_open(
			&d->workers[d->open], &d->conf, d->routes, &d->zones, &d->secret);
		if (r != 0) {
			return r;
		}
		if (d->conf.asked_server && d->conf.mark != 0) {
			worker_set_original(
				d->workers[d->open], redirecting_asked, &d->redirecting);
		}
	}
	return 0;
}

/** What root alone can do, and then be root no longer. There are no threads yet. */
static int leave_root(struct daemon *d)
{
	if (d->conf.state_dir[0]) {
		int r = saved_make_directory(d->conf.state_dir, d->who.uid, d->who.gid);
		if (r != 0) {
			log_warning("table.stateDir: cannot make %s, or give it to UID %u: %s",
				d->conf.state_dir, d->who.uid, strerror(-r));
		}
	}
	int r = admin_open(&d->admin, d->base, &d->state);
	return r == 0 ? privileges_become(&d->who, &d->conf) : r;
}

static int start(struct daemon *d)
{
	d->state = (struct state){.conf = &d->conf,
		.routes = d->routes,
		.redirect = d->conf.redirect_enabled ? REDIRECT_WAITING : REDIRECT_OFF,
		.started_ms = d->state.started_ms};
	int r = open_loop(d);
	if (r == 0) {
		r = leave_root(d);
	}
	if (r == 0) {
		r = open_workers(d);
		d->state.workers = d->workers;
	}
	if (r == 0 && !has_predecessor(&d->conf)) {
		r = begin_serving(d);
	}
	if (r == 0) {
		r = watch_open(&d->watch, d->base, d->conf.resolv_conf, WATCH_POLL_MS, &d->resolv,
			on_resolv_conf, d);
		d->state.watch = d->watch;
	}
	if (r == 0) {
		r = mesh_open(&d->mesh, d->base, &d->conf, on_table, d);
	}
	if (r != 0) {
		return r;
	}
	d->state.mesh = d->mesh;
	redirecting_catch_up(&d->redirecting);
	wait_for_table(d);
	return 0;
}

/* Stop: interception ends first, so that whoever asks now asks the servers directly; what is on its
 * way is answered through the rest of the rules, which go last. */

static void stop(struct daemon *d)
{
	redirecting_withdraw(&d->redirecting);
	admin_close(d->admin);
	watch_close(d->watch);
	mesh_close(d->mesh);
	for (unsigned i = 0; i < d->started; i++) {
		worker_order_stop(d->workers[i]);
	}
	for (unsigned i = 0; i < d->started; i++) {
		worker_stop(d->workers[i]);
	}
	redirecting_close(&d->redirecting);
	for (unsigned i = 0; i < d->open; i++) {
		worker_close(d->workers[i]);
	}
	free(d->workers);
	routes_unref(d->routes);
	table_unref(d->state.table);
	table_unref(d->former);
	for (unsigned i = 0; i < STOP_SIGNALS; i++) {
		if (d->stop[i]) {
			event_free(d->stop[i]);
		}
	}
	if (d->forget_former) {
		event_free(d->forget_former);
	}
	if (d->first_table_limit) {
		event_free(d->first_table_limit);
	}
	if (d->base) {
		event_base_free(d->base);
	}
}

int daemon_run(const struct conf *conf)
{
	static struct daemon d;
	(void)signal(SIGPIPE, SIG_IGN);
	d.conf = *conf;
	d.state.started_ms = clock_ms();
	if (configure(&d) != 0) {
		return STATUS_USAGE;
	}
	if (redirecting_check(&d.redirecting) != 0) {
		redirecting_close(&d.redirecting);
		routes_unref(d.routes);
		return STATUS_FAILURE;
	}
	share_descriptors(&d.conf);
	map_what_is_large();
	int r = start(&d);
	if (r != 0) {
		log_error("cannot start: %s", strerror(-r));
		d.status = STATUS_FAILURE;
	} else if (d.status == 0 && event_base_dispatch(d.base) < 0) {
		d.status = STATUS_FAILURE;
	}
	stop(&d);
	return d.status;
}
