/* SPDX-License-Identifier: Apache-2.0
 *
 * Redirection in the order of the daemon's life: what is there, what is to be done, where queries
 * come to us, our own rules, canaries, other servers, the end.
 */
#include "dns/redirecting.h"

#include "conf/log.h"
#include "dns/serve/listening.h"
#include "redirect/needs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { CANARY_PATIENCE_MS = 1000 };

int redirecting_compile(struct rules *rules, const struct conf *conf, const struct servers *asked)
{
	struct redirect_error error = {.text = ""};
	int err = rules_compile(rules, conf, asked->item, asked->count, &error);
	if (err != 0) {
		log_error("%s", error.text);
	} else if (rules->ipv4 && !rules->capture_all && rules->server_count == 0) {
		log_warning("%s names no server: no query is captured; redirect.dns.captureAll "
			    "captures everything",
			conf->resolv_conf);
	}
	return err;
}

void redirecting_look(struct redirecting *r)
{
	int err = redirect_open_pinned(&r->programs, &r->no_programs);
	r->pinned = err == 0 || redirect_is_pinned();
	if (r->conf->redirect_enabled) {
		return;
	}
	r->installed = redirect_is_installed();
	if (!r->installed) {
		r->conf->mark = 0; /* it takes a capability, and there is nothing to be spared by */
	}
	r->pinned = r->pinned || r->conf->redirect_mode == CONF_EBPF; /* if it says so */
}

int redirecting_prepare(struct redirecting *r)
{
	int err = 0;
	if (r->conf->redirect_enabled) {
		err = redirecting_compile(&r->rules, r->conf, r->asked);
	} else {
		/* Of rules that were installed: what we need to know when servers change. */
		r->rules = (struct rules){.port = r->conf->port,
			.zones = !r->conf->skip_zone_split,
			.udp_only = !r->conf->dns_tcp};
		(void)rules_set_servers(&r->rules, r->asked->item, r->asked->count);
	}
	if (r->pinned && r->conf->redirect_mode == CONF_NFTABLES) {
		r->conf->redirect_mode =
			CONF_AUTO; /* it is at all of loopback that they send to us */
	}
	return err;
}

/* Who was asked */

int redirecting_asked(void *ctx, const struct endpoint *peer, const struct endpoint *local,
	bool tcp, struct endpoint *server)
{
	struct redirecting *r = ctx;
	int protocol = tcp ? IPPROTO_TCP : IPPROTO_UDP;
	int err = -ENOENT;
	if (r->own || !r->programs) {
		err = redirect_original(r->own, peer, local, protocol, server);
	}
	if (err != 0 && r->programs) {
		err = redirect_original(r->programs, peer, local, protocol, server);
	}
	return err;
}

/* Where queries come to us */

/** Where all of port 53 is ours, queries to servers that we would not ask come to the next port: so
 * the others need not be looked up. Rules that a daemon left when it failed closed do so too. */
static bool listen_elsewhere(struct redirecting *r)
{
	uint16_t port = r->conf->port < UINT16_MAX ? (uint16_t)(r->conf->port + 1) : 0;
	bool others =
		r->pinned || (r->conf->redirect_enabled ? r->conf->capture_all : r->installed);
	if (!r->conf->asked_server || !others || port == 0) {
		return false;
	}
	for (unsigned i = 0; i < r->conf->workers; i++) {
		int err = worker_listen_elsewhere(r->state->workers[i], port);
		if (err != 0) {
			log_warning("cannot listen on loopback, port %u: %s: queries to servers "
				    "that are not in %s go to those that are",
				port, strerror(-err), r->conf->resolv_conf);
			return false;
		}
	}
	r->rules.other_port = port;
	return true;
}

/** What eBPF needs, and nobody else; with `auto` there is another way. */
static int listen_inside(struct redirecting *r)
{
	int err = 0;
	for (unsigned i = 0;
		i < r->conf->workers && err == 0 && r->conf->redirect_mode != CONF_NFTABLES; i++) {
		err = worker_listen_inside(r->state->workers[i]);
	}
	if (err == 0) {
		return 0;
	}
	bool needed = r->conf->redirect_mode == CONF_EBPF && r->conf->redirect_enabled;
	log_warning("cannot listen on all of loopback, port %u: %s: eBPF cannot redirect to us",
		r->conf->port, strerror(-err));
	r->rules.mode = CONF_NFTABLES;
	return needed ? err : 0;
}

int redirecting_listen(struct redirecting *r)
{
	int err = listen_inside(r);
	if (err != 0) {
		return err;
	}
	bool elsewhere = listen_elsewhere(r);
	if (r->programs) {
		redirect_set_elsewhere(r->programs, elsewhere);
	}
	return 0;
}

/** Whether what is redirected arrives. */
static bool listens_at(const struct redirecting *r, struct endpoint loopback)
{
	unsigned count;
	const struct endpoint *listening = worker_listening(r->state->workers[0], &count);
	return listening_takes(listening, count, &loopback);
}

/** The kernel only sends where somebody listens: else interception would be a denial. */
static void note_families(struct redirecting *r)
{
	bool v4 = listens_at(r, listening_loopback4(r->conf->port));
	bool v6 = listens_at(r, listening_loopback6(r->conf->port));
	if (r->rules.ipv4 && !v4) {
		log_warning("not listening on 127.0.0.1:%u: IPv4 is not redirected", r->conf->port);
	}
	if (r->rules.ipv6 && !v6) {
		log_info("not listening on [::1]:%u: IPv6 is not redirected", r->conf->port);
	}
	r->rules.ipv4 = r->rules.ipv4 && v4;
	r->rules.ipv6 = r->rules.ipv6 && v6;
}

/** Queries of virtual networks arrive at the address of the interface. */
static void note_vnets(const struct redirecting *r)
{
	unsigned count;
	const struct endpoint *listening = worker_listening(r->state->workers[0], &count);
	bool any = r->rules.vnets.count == 0;
	for (unsigned i = 0; i < count && !any; i++) {
		any = listening[i].sa.sa_family == AF_INET6
			      ? IN6_IS_ADDR_UNSPECIFIED(&listening[i].in6.sin6_addr)
			      : listening[i].in.sin_addr.s_addr == htonl(INADDR_ANY);
	}
	if (!any) {
		log_warning("redirect.vnet.networks: queries from there reach us only where listen "
			    "has 0.0.0.0:%u or [::]:%u",
			r->conf->port, r->conf->port);
	}
}

void redirecting_settle(struct redirecting *r)
{
	if (r->conf->redirect_enabled) {
		note_families(r);
		note_vnets(r);
	}
}

/* Our own rules */

static void log_no_redirection(const struct redirect_error *error, int err)
{
	bool hinted = strstr(error->text, "--no-redirect") != NULL;
	log_error("redirection: %s%s", error->text[0] ? error->text : strerror(-err),
		hinted ? "" : "; use --no-redirect to run without");
}

int redirecting_check(const struct redirecting *r)
{
	struct redirect_error error = {.text = ""};
	bool by_nftables = r->conf->redirect_enabled && r->rules.mode == CONF_NFTABLES;
	int err = by_nftables ? needs_check(NEEDS_NFTABLES, &error) : 0; /* eBPF says so itself */
	if (err != 0) {
		log_no_redirection(&error, err);
	}
	return err;
}

static void describe_redirect(struct redirecting *r)
{
	char what[256];
	(void)snprintf(r->state->redirect_text, sizeof(r->state->redirect_text), "%s; by %s",
		redirect_describe(&r->rules, what, sizeof(what)), redirect_means(r->own));
	log_info("redirecting %s", r->state->redirect_text);
}

int redirecting_begin(struct redirecting *r)
{
	struct redirect_error error = {.text = ""};
	struct redirect *redirect = NULL;
	int err = redirect_open(&redirect, &r->rules, &error);
	if (err != 0) {
		log_no_redirection(&error, err);
		(void)snprintf(
			r->state->redirect_text, sizeof(r->state->redirect_text), "%s", error.text);
		r->state->redirect = REDIRECT_FAILED;
		return err;
	}
	r->own = redirect;
	describe_redirect(r);
	r->state->redirect = REDIRECT_ACTIVE;
	return 0;
}

/* Whether queries come to us */

/** What others may redirect to us. */
static void assume_rules(struct redirecting *r)
{
	r->rules.ipv4 = listens_at(r, listening_loopback4(r->conf->port));
	r->rules.ipv6 = listens_at(r, listening_loopback6(r->conf->port));
	r->rules.outbound = r->conf->outbound;
}

/** Canaries to all servers of resolv.conf that are captured: applications ask these. */
static void send_canaries(struct redirecting *r)
{
	const struct servers *asked = r->asked;
	struct way ways[WAYS_MAX];
	unsigned count = 0;
	/* What is sent from outside of the application's cgroup proves nothing. */
	unsigned most = !r->own || redirect_covers_us(r->own) ? WAYS_MAX : 0;
	for (unsigned i = 0; i < most && i < 2 * asked->count; i++) {
		struct way way = {.server = asked->item[i / 2], .tcp = i % 2 == 1};
		if (rules_capture(
			    &r->rules, &way.server, way.tcp ? CONF_TCP : CONF_UDP, geteuid())) {
			ways[count++] = way;
		}
	}
	interception_watch(r->interception, ways, count);
}

void redirecting_prove(struct redirecting *r, struct event_base *base,
	const struct cookie_secret *secret, interception_settled *settled, void *ctx)
{
	const struct interception_settings settings = {
		.interval_ms = r->conf->canary_interval * 1000,
		.patience_ms = CANARY_PATIENCE_MS,
		.required =
			r->conf->canary_required == CONF_CANARY_ALWAYS ||
			(r->conf->canary_required == CONF_CANARY_OWN && r->conf->redirect_enabled),
		.priority = RULES_CANARY_PRIORITY,
		.secret = secret};
	if (r->interception || r->conf->canary_interval == 0) {
		return;
	}
	if (interception_open(&r->interception, base, &settings, settled, ctx) != 0) {
		log_error("no memory for canaries: going on without");
		return;
	}
	r->state->interception = interception_status(r->interception);
	if (!r->conf->redirect_enabled) {
		assume_rules(r);
	}
	send_canaries(r);
}

/* Other servers */

/** With pinned programs there can be a table besides, which has no servers. */
static int set_installed_servers(const struct redirecting *r, const struct rules *before,
	const struct rules *now, struct redirect_error *error)
{
	if (r->programs) {
		return redirect_set_servers(r->programs, now, error);
	}
	return redirect_set_installed_servers(before, now, error);
}

/** Installed rules follow too, where we may change them: a sidecar without capabilities may not. */
static void follow_installed(struct redirecting *r, const struct rules *now)
{
	struct redirect_error error = {.text = ""};
	int err = set_installed_servers(r, &r->rules, now, &error);
	if (r->pinned && !r->programs) {
		log_warning("%s names other servers: programs that somebody installed keep those "
			    "that they have until the next install, unless they capture all: %s",
			r->conf->resolv_conf, r->no_programs.text);
	}
	if (err == 0) {
		log_info("installed rules: the servers are those of resolv.conf");
	} else if (err == -EPERM && !r->conf->redirect_enabled && !r->told_servers_stay) {
		r->told_servers_stay = true;
		log_warning("%s names other servers: rules that somebody installed keep those "
			    "that they have: %s",
			r->conf->resolv_conf, error.text);
	} else if (err != -ENOENT && err != -EPERM) {
		log_error("installed rules: %s: the servers stay as they are", error.text);
	}
}

/** It may have changed since they were installed. Nobody is told where we may not, or need not. */
void redirecting_catch_up(const struct redirecting *r)
{
	struct redirect_error error = {.text = ""};
	if (r->rules.server_count > 0 &&
		set_installed_servers(r, &r->rules, &r->rules, &error) == 0) {
		log_info("installed rules: the servers are those of resolv.conf");
	}
}

/** Where not everything is captured, it is what applications ask from now on. */
static void follow_servers(struct redirecting *r)
{
	struct redirect_error error = {.text = ""};
	struct rules now = r->rules;
	if (!rules_set_servers(&now, r->asked->item, r->asked->count)) {
		return;
	}
	follow_installed(r, &now);
	if (r->own && redirect_set_servers(r->own, &now, &error) != 0) {
		log_error("redirection: %s: going on with the servers from before", error.text);
		return;
	}
	r->rules = now;
	if (r->own && !now.capture_all) {
		describe_redirect(r);
	}
}

void redirecting_follow(struct redirecting *r)
{
	follow_servers(r);
	if (r->interception) {
		send_canaries(r);
	}
}

/* The end */

void redirecting_withdraw(struct redirecting *r)
{
	interception_close(r->interception);
	redirect_withdraw(r->own);
}

void redirecting_close(struct redirecting *r)
{
	redirect_close(r->own);
	redirect_close(r->programs);
}
