/* SPDX-License-Identifier: Apache-2.0
 *
 * kuma-dns(8): arguments, the order of start and stop, signals. The only file that sees both dns/
 * and redirect/. The functions stand in the order of the daemon's life.
 */
#include "conf/clock.h"
#include "conf/conf.h"
#include "conf/log.h"
#include "conf/privileges.h"
#include "conf/user.h"
#include "dns/admin/admin.h"
#include "dns/admin/interception.h"
#include "dns/admin/state.h"
#include "dns/mesh/mesh.h"
#include "dns/mesh/saved.h"
#include "dns/resolve/resolvconf.h"
#include "dns/resolve/routes.h"
#include "dns/resolve/watch.h"
#include "dns/serve/listening.h"
#include "dns/serve/worker.h"
#include "redirect/needs.h"
#include "redirect/redirect.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#ifndef KUMA_DNS_VERSION
#define KUMA_DNS_VERSION "unknown"
#endif

enum {
	STATUS_FAILURE = 1,
	STATUS_USAGE = 2,
	STOP_SIGNALS = 3,
	FIRST_TABLE_LIMIT_S = 2, /* then we redirect without a table: forwarding works */
	CANARY_PATIENCE_MS = 1000,
	LARGE = 128 << 10 /* octets: what is mapped by itself */
};

struct daemon {
	struct conf conf;
	struct privileges who;
	struct resolv_conf resolv;
	struct routes *routes; /* our reference */
	struct watch *watch;
	struct cookie_secret secret;
	struct mesh_zones zones;
	struct rules rules;
	struct state state;
	struct event_base *base;
	struct event *stop[STOP_SIGNALS];
	struct event *first_table_limit;
	struct worker **workers;
	unsigned open;    /* workers that are open … */
	unsigned started; /* … and of these, that run */
	struct admin *admin;
	struct mesh *mesh;
	struct redirect *_Atomic redirect; /* workers read it, through find_asked */
	struct interception *interception; /* NULL: not yet, or not wanted */
	bool installed;                    /* rules of others, or programs, with --no-redirect */
	bool pinned;                       /* programs … */
	struct redirect *programs;         /* … and these, where we may get at them … */
	struct redirect_error no_programs; /* … or why not */
	bool narrowed;                     /* no more privileges than running takes */
	bool ready;                        /* said so */
	bool told_servers_stay;            /* of installed rules */
	int status;                        /* exit status */
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

/** What to intercept: what applications ask is in resolv.conf, whomever we ask ourselves. */
static int compile_rules(struct rules *rules, const struct conf *conf, const struct servers *asked)
{
	struct redirect_error error = {.text = ""};
	int r = rules_compile(rules, conf, asked->item, asked->count, &error);
	if (r != 0) {
		log_error("%s", error.text);
	} else if (rules->ipv4 && !rules->capture_all && rules->server_count == 0) {
		log_warning("%s names no server: no query is captured; redirect.dns.captureAll "
			    "captures everything",
			conf->resolv_conf);
	}
	return r;
}

static void log_servers(const struct routes *routes)
{
	char address[ENDPOINT_TEXT_SIZE];
	for (unsigned i = 0; i < routes->server_count; i++) {
		log_info("name server %u: %s", i + 1,
			endpoint_format(&routes->server[i].at, address));
	}
}

/** What others have installed, as far as we may see it: before we are root no longer. */
static void look_for_rules(struct daemon *d)
{
	int r = redirect_open_pinned(&d->programs, &d->no_programs);
	d->pinned = r == 0 || redirect_is_pinned();
	if (d->conf.redirect_enabled) {
		return;
	}
	d->installed = redirect_is_installed();
	if (!d->installed) {
		d->conf.mark = 0; /* it takes a capability, and there is nothing to be spared by */
	}
	d->pinned = d->pinned || d->conf.redirect_mode == CONF_EBPF; /* if it says so */
}

static int configure(struct daemon *d)
{
	log_set_level((enum log_level)d->conf.log_level);
	look_for_rules(d);
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
	if (!d->conf.redirect_enabled) {
		/* Of rules that were installed: what we need to know when servers change. */
		d->rules = (struct rules){.port = d->conf.port,
			.zones = !d->conf.skip_zone_split,
			.udp_only = !d->conf.dns_tcp};
		(void)rules_set_servers(&d->rules, d->resolv.servers.item, d->resolv.servers.count);
	} else {
		r = compile_rules(&d->rules, &d->conf, &d->resolv.servers);
	}
	if (d->pinned && d->conf.redirect_mode == CONF_NFTABLES) {
		d->conf.redirect_mode =
			CONF_AUTO; /* it is at all of loopback that they send to us */
	}
	return r;
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

/* Who was asked */

/** In every worker's thread. */
static int find_asked(void *ctx, const struct endpoint *peer, const struct endpoint *local,
	bool tcp, struct endpoint *server)
{
	struct daemon *d = ctx;
	int protocol = tcp ? IPPROTO_TCP : IPPROTO_UDP;
	int r = -ENOENT;
	if (d->redirect || !d->programs) {
		r = redirect_original(d->redirect, peer, local, protocol, server);
	}
	if (r != 0 && d->programs) {
		r = redirect_original(d->programs, peer, local, protocol, server);
	}
	return r;
}

/** Where all of port 53 is ours, queries to servers that we would not ask come to the next port: so
 * the others need not be looked up. Rules that a daemon left when it failed closed do so too. */
static bool listen_elsewhere(struct daemon *d)
{
	uint16_t port = d->conf.port < UINT16_MAX ? (uint16_t)(d->conf.port + 1) : 0;
	bool others = d->pinned || (d->conf.redirect_enabled ? d->conf.capture_all : d->installed);
	if (!d->conf.asked_server || !others || port == 0) {
		return false;
	}
	for (unsigned i = 0; i < d->open; i++) {
		int r = worker_listen_elsewhere(d->workers[i], port);
		if (r != 0) {
			log_warning("cannot listen on loopback, port %u: %s: queries to servers "
				    "that are not in %s go to those that are",
				port, strerror(-r), d->conf.resolv_conf);
			return false;
		}
	}
	d->rules.other_port = port;
	return true;
}

/** What eBPF needs, and nobody else; with `auto` there is another way. */
static int listen_inside(struct daemon *d)
{
	int r = 0;
	for (unsigned i = 0; i < d->open && r == 0 && d->conf.redirect_mode != CONF_NFTABLES; i++) {
		r = worker_listen_inside(d->workers[i]);
	}
	if (r == 0) {
		return 0;
	}
	bool needed = d->conf.redirect_mode == CONF_EBPF && d->conf.redirect_enabled;
	log_warning("cannot listen on all of loopback, port %u: %s: eBPF cannot redirect to us",
		d->conf.port, strerror(-r));
	d->rules.mode = CONF_NFTABLES;
	return needed ? r : 0;
}

/* Redirection, once we can answer */

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

/** Whether what is redirected arrives. */
static bool listens_at(const struct daemon *d, struct endpoint loopback)
{
	unsigned count;
	const struct endpoint *listening = worker_listening(d->workers[0], &count);
	return listening_takes(listening, count, &loopback);
}

/** The kernel only sends where somebody listens: else interception would be a denial. */
static void note_families(struct daemon *d)
{
	bool v4 = listens_at(d, listening_loopback4(d->conf.port));
	bool v6 = listens_at(d, listening_loopback6(d->conf.port));
	if (d->rules.ipv4 && !v4) {
		log_warning("not listening on 127.0.0.1:%u: IPv4 is not redirected", d->conf.port);
	}
	if (d->rules.ipv6 && !v6) {
		log_info("not listening on [::1]:%u: IPv6 is not redirected", d->conf.port);
	}
	d->rules.ipv4 = d->rules.ipv4 && v4;
	d->rules.ipv6 = d->rules.ipv6 && v6;
}

/** Queries of virtual networks arrive at the address of the interface. */
static void note_vnets(const struct daemon *d)
{
	unsigned count;
	const struct endpoint *listening = worker_listening(d->workers[0], &count);
	bool any = d->rules.vnets.count == 0;
	for (unsigned i = 0; i < count && !any; i++) {
		any = listening[i].sa.sa_family == AF_INET6
			      ? IN6_IS_ADDR_UNSPECIFIED(&listening[i].in6.sin6_addr)
			      : listening[i].in.sin_addr.s_addr == htonl(INADDR_ANY);
	}
	if (!any) {
		log_warning("redirect.vnet.networks: queries from there reach us only where listen "
			    "has 0.0.0.0:%u or [::]:%u",
			d->conf.port, d->conf.port);
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
	int r = listen_inside(d);
	if (r != 0) {
		return r;
	}
	bool elsewhere = listen_elsewhere(d);
	if (d->programs) {
		redirect_set_elsewhere(d->programs, elsewhere);
	}
	for (; d->started < d->open; d->started++) {
		r = worker_start(d->workers[d->started]);
		if (r != 0) {
			return r;
		}
	}
	d->state.listening = true;
	log_listening(d);
	if (d->conf.redirect_enabled) {
		note_families(d);
		note_vnets(d);
	}
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

static void log_no_redirection(const struct redirect_error *error, int r)
{
	bool hinted = strstr(error->text, "--no-redirect") != NULL;
	log_error("redirection: %s%s", error->text[0] ? error->text : strerror(-r),
		hinted ? "" : "; use --no-redirect to run without");
}

static void describe_redirect(struct daemon *d)
{
	char what[256];
	(void)snprintf(d->state.redirect_text, sizeof(d->state.redirect_text), "%s; by %s",
		redirect_describe(&d->rules, what, sizeof(what)), redirect_means(d->redirect));
	log_info("redirecting %s", d->state.redirect_text);
}

static void begin_redirecting(struct daemon *d)
{
	struct redirect_error error = {.text = ""};
	struct redirect *redirect = NULL;
	int r = redirect_open(&redirect, &d->rules, &error);
	if (r != 0) {
		log_no_redirection(&error, r);
		(void)snprintf(
			d->state.redirect_text, sizeof(d->state.redirect_text), "%s", error.text);
		d->state.redirect = REDIRECT_FAILED;
		end(d, STATUS_FAILURE);
		return;
	}
	d->redirect = redirect;
	describe_redirect(d);
	d->state.redirect = REDIRECT_ACTIVE;
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

/** What others may redirect to us. */
static void assume_rules(struct daemon *d)
{
	d->rules.ipv4 = listens_at(d, listening_loopback4(d->conf.port));
	d->rules.ipv6 = listens_at(d, listening_loopback6(d->conf.port));
	d->rules.outbound = d->conf.outbound;
}

/** Canaries to all servers of resolv.conf that are captured: applications ask these. */
static void send_canaries(struct daemon *d)
{
	const struct servers *asked = &d->resolv.servers;
	struct way ways[WAYS_MAX];
	unsigned count = 0;
	/* What is sent from outside of the application's cgroup proves nothing. */
	unsigned most = !d->redirect || redirect_covers_us(d->redirect) ? WAYS_MAX : 0;
	for (unsigned i = 0; i < most && i < 2 * asked->count; i++) {
		struct way way = {.server = asked->item[i / 2], .tcp = i % 2 == 1};
		if (rules_capture(
			    &d->rules, &way.server, way.tcp ? CONF_TCP : CONF_UDP, geteuid())) {
			ways[count++] = way;
		}
	}
	interception_watch(d->interception, ways, count);
}

static void begin_proving(struct daemon *d)
{
	const struct interception_settings settings = {
		.interval_ms = d->conf.canary_interval * 1000,
		.patience_ms = CANARY_PATIENCE_MS,
		.required =
			d->conf.canary_required == CONF_CANARY_ALWAYS ||
			(d->conf.canary_required == CONF_CANARY_OWN && d->conf.redirect_enabled),
		.priority = RULES_CANARY_PRIORITY,
		.secret = &d->secret};
	if (interception_open(&d->interception, d->base, &settings, on_canaries, d) != 0) {
		log_error("no memory for canaries: going on without");
		return;
	}
	d->state.interception = interception_status(d->interception);
	if (!d->conf.redirect_enabled) {
		assume_rules(d);
	}
	send_canaries(d);
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
	if (d->state.redirect == REDIRECT_WAITING) {
		begin_redirecting(d);
	}
	if (narrow(d) != 0) {
		end(d, STATUS_FAILURE);
		return;
	}
	if (!d->interception && d->conf.canary_interval > 0 &&
		d->state.redirect != REDIRECT_FAILED) {
		begin_proving(d);
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

/** Hand a new table to every worker; the last reference is ours, for the admin socket. */
static void on_table(void *ctx, struct table *table, enum mesh_source source)
{
	struct daemon *d = ctx;
	for (unsigned i = 0; i < d->open; i++) {
		worker_publish(d->workers[i], table_ref(table));
	}
	table_unref(d->state.table);
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

/** With pinned programs there can be a table besides, which has no servers. */
static int set_installed_servers(const struct daemon *d, const struct rules *before,
	const struct rules *now, struct redirect_error *error)
{
	if (d->programs) {
		return redirect_set_servers(d->programs, now, error);
	}
	return redirect_set_installed_servers(before, now, error);
}

/** Installed rules follow too, where we may change them: a sidecar without capabilities may not. */
static void follow_installed(struct daemon *d, const struct rules *now)
{
	struct redirect_error error = {.text = ""};
	int r = set_installed_servers(d, &d->rules, now, &error);
	if (d->pinned && !d->programs) {
		log_warning("%s names other servers: programs that somebody installed keep those "
			    "that they have until the next install, unless they capture all: %s",
			d->conf.resolv_conf, d->no_programs.text);
	}
	if (r == 0) {
		log_info("installed rules: the servers are those of resolv.conf");
	} else if (r == -EPERM && !d->conf.redirect_enabled && !d->told_servers_stay) {
		d->told_servers_stay = true;
		log_warning("%s names other servers: rules that somebody installed keep those "
			    "that they have: %s",
			d->conf.resolv_conf, error.text);
	} else if (r != -ENOENT && r != -EPERM) {
		log_error("installed rules: %s: the servers stay as they are", error.text);
	}
}

/** It may have changed since they were installed. Nobody is told where we may not, or need not. */
static void catch_up_installed(const struct daemon *d)
{
	struct redirect_error error = {.text = ""};
	if (d->rules.server_count > 0 &&
		set_installed_servers(d, &d->rules, &d->rules, &error) == 0) {
		log_info("installed rules: the servers are those of resolv.conf");
	}
}

/** Where not everything is captured, it is what applications ask from now on. */
static void follow_redirect(struct daemon *d)
{
	struct redirect_error error = {.text = ""};
	struct rules now = d->rules;
	if (!rules_set_servers(&now, d->resolv.servers.item, d->resolv.servers.count)) {
		return;
	}
	follow_installed(d, &now);
	if (d->redirect && redirect_set_servers(d->redirect, &now, &error) != 0) {
		log_error("redirection: %s: going on with the servers from before", error.text);
		return;
	}
	d->rules = now;
	if (d->redirect && !now.capture_all) {
		describe_redirect(d);
	}
}

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
	follow_redirect(d);
	if (d->interception) {
		send_canaries(d);
	}
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
	return d->first_table_limit ? 0 : -ENOMEM;
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
			worker_set_original(d->workers[d->open], find_asked, d);
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
	catch_up_installed(d);
	wait_for_table(d);
	return 0;
}

/* Stop: interception ends first, so that whoever asks now asks the servers directly; what is on its
 * way is answered through the rest of the rules, which go last. */

static void stop(struct daemon *d)
{
	interception_close(d->interception);
	redirect_withdraw(d->redirect);
	admin_close(d->admin);
	watch_close(d->watch);
	mesh_close(d->mesh);
	for (unsigned i = 0; i < d->started; i++) {
		worker_order_stop(d->workers[i]);
	}
	for (unsigned i = 0; i < d->started; i++) {
		worker_stop(d->workers[i]);
	}
	redirect_close(d->redirect);
	redirect_close(d->programs);
	for (unsigned i = 0; i < d->open; i++) {
		worker_close(d->workers[i]);
	}
	free(d->workers);
	routes_unref(d->routes);
	table_unref(d->state.table);
	for (unsigned i = 0; i < STOP_SIGNALS; i++) {
		if (d->stop[i]) {
			event_free(d->stop[i]);
		}
	}
	if (d->first_table_limit) {
		event_free(d->first_table_limit);
	}
	if (d->base) {
		event_base_free(d->base);
	}
}

/* Commands */

static int run(const struct conf *conf, char *const *arguments)
{
	static struct daemon d;
	(void)arguments;
	(void)signal(SIGPIPE, SIG_IGN);
	d.conf = *conf;
	d.state.started_ms = clock_ms();
	if (configure(&d) != 0) {
		return STATUS_USAGE;
	}
	struct redirect_error error = {.text = ""};
	bool by_nftables = d.conf.redirect_enabled && d.rules.mode == CONF_NFTABLES;
	int r = by_nftables ? needs_check(NEEDS_NFTABLES, &error) : 0; /* eBPF says so itself */
	if (r != 0) {
		log_no_redirection(&error, r);
		routes_unref(d.routes);
		return STATUS_FAILURE;
	}
	share_descriptors(&d.conf);
	map_what_is_large();
	r = start(&d);
	if (r != 0) {
		log_error("cannot start: %s", strerror(-r));
		d.status = STATUS_FAILURE;
	} else if (d.status == 0 && event_base_dispatch(d.base) < 0) {
		d.status = STATUS_FAILURE;
	}
	stop(&d);
	return d.status;
}

/** What could not be written was not said. */
static int finish_output(FILE *out, int status)
{
	return fflush(out) == 0 && !ferror(out) ? status : STATUS_FAILURE;
}

static int complain(const char *what, const char *which)
{
	fprintf(stderr, "kuma-dns: %s %s; see kuma-dns --help\n", what, which);
	return STATUS_USAGE;
}

/** Users are looked up here and now, as `run` and `install` would. */
static bool check_user(const char *key, const char *user)
{
	char text[256];
	uint32_t uid;
	if (user[0] == '\0' || user_find(user, &uid)) {
		return true;
	}
	fprintf(stderr, "kuma-dns: %s\n", user_explain(key, user, text, sizeof(text)));
	return false;
}

static int check(const struct conf *conf, char *const *arguments)
{
	(void)arguments;
	if (!check_user("kumaDPUser", conf->kuma_dp_user) || !check_user("user", conf->user)) {
		return STATUS_USAGE;
	}
	conf_print(conf, stdout);
	return finish_output(stdout, EXIT_SUCCESS);
}

static int fail_redirection(const struct redirect_error *error)
{
	fprintf(stderr, "kuma-dns: %s\n", error->text);
	return STATUS_FAILURE;
}

/** Where the rules are to be: what that needs, and what they need there. */
static int enter_namespace(const struct conf *conf)
{
	struct redirect_error error = {.text = ""};
	int r = 0;
	if (conf->netns[0]) {
		r = needs_check(NEEDS_NETNS, &error);
		r = r == 0 ? redirect_enter(conf->netns, &error) : r;
	}
	if (r == 0 && !conf->dry_run && conf->redirect_mode == CONF_NFTABLES) {
		r = needs_check(NEEDS_NFTABLES, &error);
	}
	return r == 0 ? EXIT_SUCCESS : fail_redirection(&error);
}

/** The rules of `install`; where they are for another network namespace, we are in it. */
static int prepare_rules(struct rules *rules, const struct conf *conf)
{
	static struct resolv_conf resolv;
	int r = resolv_conf_load(&resolv, conf->resolv_conf);
	log_set_level((enum log_level)conf->log_level);
	if (r != 0 && conf->redirect_enabled && !conf->capture_all) {
		log_warning("%s: %s", conf->resolv_conf, strerror(-r));
	}
	if (compile_rules(rules, conf, &resolv.servers) != 0) {
		return STATUS_USAGE;
	}
	rules->fail_closed = false; /* they outlive everybody anyway */
	return enter_namespace(conf);
}

static int install(const struct conf *conf, char *const *arguments)
{
	static struct rules rules;
	struct redirect_error error = {.text = ""};
	char text[512];
	(void)arguments;
	int status = prepare_rules(&rules, conf);
	if (status != EXIT_SUCCESS) {
		return status;
	}
	if (conf->dry_run) {
		return finish_output(
			stdout, redirect_print(&rules, stdout) ? STATUS_FAILURE : EXIT_SUCCESS);
	}
	const char *done = redirect_is_installed_so(&rules) ? "installed already"
			   : redirect_is_installed()        ? "installed anew"
							    : "installed";
	if (redirect_install(&rules, &error) != 0) {
		return fail_redirection(&error);
	}
	printf("%s: %s\n", done, redirect_describe(&rules, text, sizeof(text)));
	return finish_output(stdout, EXIT_SUCCESS);
}

static int uninstall(const struct conf *conf, char *const *arguments)
{
	/* What may be known of rules that somebody installed: where their flows go. */
	const struct rules rules = {.port = conf->port, .zones = !conf->skip_zone_split};
	struct redirect_error error = {.text = ""};
	(void)arguments;
	int status = enter_namespace(conf);
	if (status != EXIT_SUCCESS) {
		return status;
	}
	if (conf->dry_run) {
		redirect_print_removal(stdout);
		return finish_output(stdout, EXIT_SUCCESS);
	}
	bool before = redirect_is_installed();
	if (redirect_uninstall(&rules, &error) != 0) {
		return fail_redirection(&error);
	}
	puts(before ? "uninstalled" : "nothing was installed");
	return finish_output(stdout, EXIT_SUCCESS);
}

static int ask(const struct conf *conf, const struct admin_question *question)
{
	return admin_client(conf->admin_socket, question);
}

static int ask_table(const struct conf *conf, char *const *arguments)
{
	return ask(conf, &(struct admin_question){.page = "table", .name = arguments[0]});
}

/** `flush` itself is a name, too: with its dot. */
static int ask_cache(const struct conf *conf, char *const *arguments)
{
	struct admin_question question = {.page = "cache", .name = arguments[0]};
	if (arguments[0] && strcmp(arguments[0], "flush") == 0) {
		question = (struct admin_question){
			.page = "cache/flush", .name = arguments[1], .changes = true};
	} else if (arguments[0] && arguments[1]) {
		return complain("unexpected argument", arguments[1]);
	}
	return ask(conf, &question);
}

static int ask_explain(const struct conf *conf, char *const *arguments)
{
	if (!arguments[0]) {
		return complain("missing argument", "NAME");
	}
	return ask(conf, &(struct admin_question){
				 .page = "explain", .name = arguments[0], .type = arguments[1]});
}

static int ask_status(const struct conf *conf, char *const *arguments)
{
	(void)arguments;
	return ask(conf, &(struct admin_question){.page = "status"});
}

static int ask_ready(const struct conf *conf, char *const *arguments)
{
	(void)arguments;
	return ask(conf, &(struct admin_question){.page = "ready"});
}

static int ask_metrics(const struct conf *conf, char *const *arguments)
{
	(void)arguments;
	return ask(conf, &(struct admin_question){.page = "metrics"});
}

struct command {
	const char *name;
	int (*go)(const struct conf *conf, char *const *arguments); /* NULL-terminated */
	int arguments_max;
	const char *takes;
	const char *help;
};

static const struct command commands[] = {
	{"run", run, 0, "", "run the daemon in the foreground"},
	{"install", install, 0, "", "install rules that last, and end"},
	{"uninstall", uninstall, 0, "", "remove them, and nothing else"},
	{"check", check, 0, "", "validate the configuration and print it"},
	{"table", ask_table, 1, "[NAME]",
		"print the table, or one name of it, of a running daemon"},
	{"cache", ask_cache, 2, "[NAME]", "print figures of its cache, or the entries of a name"},
	{"cache", ask_cache, 2, "flush [NAME]", "forget all, or a name and what is below it"},
	{"explain", ask_explain, 2, "NAME [TYPE]", "print how it would answer, and why"},
	{"status", ask_status, 0, "", "print the state of a running daemon"},
	{"ready", ask_ready, 0, "", "exit with 0 where a running daemon is ready"},
	{"metrics", ask_metrics, 0, "", "print the metrics of a running daemon"},
};

static int usage(FILE *out, int status)
{
	fputs("usage: kuma-dns COMMAND [FLAG...] [ARGUMENT...]\n\ncommands:\n", out);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		int width = 43 - (int)strlen(commands[i].name);
		fprintf(out, "  %s %-*s %s\n", commands[i].name, width, commands[i].takes,
			commands[i].help);
	}
	fputs("\nflags:\n", out);
	conf_print_flags(out);
	fputs("\nSee kuma-dns(8).\n", out);
	return finish_output(out, status);
}

static int go(const struct command *command, int argc, char *argv[])
{
	static struct conf conf;
	struct conf_error error = {.text = ""};
	int rest = 0;
	if (conf_load(&conf, argc, argv, environ, &rest, &error) != 0) {
		fprintf(stderr, "kuma-dns: %s\n", error.text);
		return STATUS_USAGE;
	}
	if (argc - rest > command->arguments_max) {
		return complain("unexpected argument", argv[rest + command->arguments_max]);
	}
	return command->go(&conf, argv + rest);
}

static bool wants_help(int argc, char *argv[])
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			return true;
		}
	}
	return false;
}

/** Where one of 0 to 2 is closed it would become a socket, and lines be written to that. */
static void hold_standard_descriptors(void)
{
	int fd;
	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0) {
		close(fd);
	}
}

int main(int argc, char *argv[])
{
	const char *first = argc > 1 ? argv[1] : "";
	hold_standard_descriptors();
	if (strcmp(first, "help") == 0 || wants_help(argc, argv)) {
		return usage(stdout, EXIT_SUCCESS);
	}
	if (strcmp(first, "--version") == 0) {
		puts("kuma-dns " KUMA_DNS_VERSION);
		return finish_output(stdout, EXIT_SUCCESS);
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(first, commands[i].name) == 0) {
			return go(&commands[i], argc - 2, argv + 2);
		}
	}
	return *first ? complain("unknown command", first) : usage(stderr, STATUS_USAGE);
}
