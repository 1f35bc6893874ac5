/* SPDX-License-Identifier: Apache-2.0
 *
 * Configuration → rules. Decides what is intercepted; knows nothing of how. Reads the password
 * file for the exempt user, and nothing else.
 */
#include "redirect/redirect.h"

#include "conf/conf.h"
#include "conf/user.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DNS_PORT = 53 };

/** Nobody is exempt: Envoy's own connections would come back to it. */
static int check_nobody(const struct rules *rules, struct redirect_error *error)
{
	if (!rules->inbound.enabled && !rules->outbound.enabled) {
		return 0;
	}
	snprintf(error->text, sizeof error->text,
		"kumaDPUser: found nothing, and neither UID %d nor the user kuma-dp exists; "
		"expected "
		"the name or UID of Kuma's proxy, such as \"%d\"",
		USER_KUMA_UID, USER_KUMA_UID);
	return -ENOENT;
}

static int compile_user(struct rules *rules, const char *user, struct redirect_error *error)
{
	rules->has_uid = user_find_kuma(user, &rules->uid);
	if (rules->has_uid) {
		return 0;
	}
	if (*user == '\0') {
		return check_nobody(rules, error);
	}
	(void)user_explain("kumaDPUser", user, error->text, sizeof error->text);
	return -ENOENT;
}

/** Applications ask port 53, whatever port we ask ourselves. */
static struct endpoint as_asked(const struct endpoint *server)
{
	struct endpoint e = *server;

	if (e.sa.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&e.in6.sin6_addr)) {
		/* What is sent there is IPv4. */
		memset(&e, 0, sizeof e);
		e.in.sin_family = AF_INET;
		memcpy(&e.in.sin_addr, &server->in6.sin6_addr.s6_addr[12], sizeof e.in.sin_addr);
		e.len = sizeof e.in;
	}
	if (e.sa.sa_family == AF_INET6) {
		e.in6.sin6_port = htons(DNS_PORT);
	} else {
		e.in.sin_port = htons(DNS_PORT);
	}
	return e;
}

static bool has_server(const struct rules *rules, const struct endpoint *server)
{
	for (unsigned i = 0; i < rules->server_count; i++) {
		if (endpoint_equal(&rules->server[i], server)) {
			return true;
		}
	}
	return false;
}

static void add_server(struct rules *rules, const struct endpoint *server)
{
	const struct endpoint e = as_asked(server);

	if (!has_server(rules, &e) && rules->server_count < RULES_SERVERS_MAX) {
		rules->server[rules->server_count++] = e;
	}
}

bool rules_set_servers(struct rules *rules, const struct endpoint *servers, unsigned count)
{
	const struct rules before = *rules;
	bool changed;

	rules->server_count = 0;
	for (unsigned i = 0; i < count; i++) {
		add_server(rules, &servers[i]);
	}
	changed = rules->server_count != before.server_count;
	for (unsigned i = 0; i < rules->server_count && !changed; i++) {
		changed = !has_server(&before, &rules->server[i]);
	}
	return changed;
}

int rules_compile(struct rules *rules, const struct conf *conf, const struct endpoint *servers,
	unsigned count, struct redirect_error *error)
{
	*rules = (struct rules){
		.ipv4 = conf->redirect_enabled,
		.ipv6 = conf->redirect_enabled && conf->ip_family_mode == CONF_DUALSTACK,
		.capture_all = conf->capture_all,
		.udp_only = !conf->dns_tcp,
		.zones = !conf->skip_zone_split,
		.mark = conf->mark,
		.port = conf->port,
		.mode = conf->redirect_mode,
		.cgroup = conf->cgroup,
		.inbound = conf->inbound,
		.outbound = conf->outbound,
		.tcp6 = conf->ip_family_mode == CONF_DUALSTACK,
		.vnets = conf->vnets,
		.fail_closed = conf->fail_closed,
		.drop_invalid = conf->drop_invalid,
		.comments = !conf->no_comments,
		.log = conf->log_packets,
	};
	(void)rules_set_servers(rules, servers, count);
	return compile_user(rules, conf->kuma_dp_user, error);
}

static bool is_in(const struct conf_network *network, const struct endpoint *e)
{
	const uint8_t *address = e->sa.sa_family == AF_INET6 ? e->in6.sin6_addr.s6_addr
							     : (const uint8_t *)&e->in.sin_addr;
	const unsigned whole = network->bits / 8;
	const uint8_t mask = (uint8_t)(0xff00 >> network->bits % 8);

	return network->family == e->sa.sa_family && memcmp(address, network->octet, whole) == 0 &&
	       (mask == 0 || (address[whole] & mask) == network->octet[whole]);
}

static bool is_excluded(const struct conf_exclusion *exclusion, uint32_t transport, uint32_t uid)
{
	return (exclusion->transports & transport) != 0 && exclusion->ports.first <= DNS_PORT &&
	       DNS_PORT <= exclusion->ports.last && exclusion->uids.first <= uid &&
	       uid <= exclusion->uids.last;
}

/** A link-local server cannot be answered for, see redirect/nft.h. */
static bool captures(const struct rules *rules, const struct endpoint *server)
{
	return server->sa.sa_family == AF_INET6
		       ? rules->ipv6 && !IN6_IS_ADDR_LINKLOCAL(&server->in6.sin6_addr)
		       : rules->ipv4;
}

bool rules_capture(
	const struct rules *rules, const struct endpoint *server, uint32_t transport, uint32_t uid)
{
	const struct conf_networks *ips = &rules->outbound.exclude_ips;
	const struct conf_exclusions *uids = &rules->outbound.exclude_uids;
	bool captured = captures(rules, server) && !(rules->udp_only && transport == CONF_TCP);

	for (unsigned i = 0; i < ips->count && captured; i++) {
		captured = !is_in(&ips->item[i], server);
	}
	for (unsigned i = 0; i < uids->count && captured; i++) {
		captured = !is_excluded(&uids->item[i], transport, uid);
	}
	return captured;
}

/** A line that is cut at `size` stays a string. */
static void describe_servers(const struct rules *rules, FILE *out)
{
	const char *separator = "";
	char text[ENDPOINT_TEXT_SIZE];

	for (unsigned i = 0; i < rules->server_count; i++) {
		if (captures(rules, &rules->server[i])) {
			fprintf(out, "%s%s", separator, endpoint_format(&rules->server[i], text));
			separator = ", ";
		}
	}
	if (*separator == '\0') {
		fputs("nothing", out);
	}
}

static void describe_dns(const struct rules *rules, FILE *out)
{
	if (rules->capture_all) {
		fprintf(out, "all of port 53, %s",
			rules->ipv4 && rules->ipv6 ? "IPv4 and IPv6"
			: rules->ipv4              ? "IPv4"
						   : "IPv6");
	} else {
		describe_servers(rules, out);
	}
	fprintf(out, ", %s, to port %u", rules->udp_only ? "UDP" : "UDP and TCP", rules->port);
}

static void describe_tcp(
	const struct conf_traffic *traffic, const char *direction, const char *before, FILE *out)
{
	if (traffic->enabled) {
		fprintf(out, "%s%s TCP to port %u", before, direction, traffic->port);
	}
}

const char *redirect_describe(const struct rules *rules, char *text, unsigned size)
{
	FILE *out = fmemopen(text, size, "w");

	if (!out) {
		if (size > 0) {
			text[0] = '\0';
		}
		return text;
	}
	const bool dns = rules->ipv4 || rules->ipv6;
	if (dns) {
		describe_dns(rules, out);
	}
	describe_tcp(&rules->inbound, "inbound", dns ? "; " : "", out);
	describe_tcp(&rules->outbound, "outbound", dns || rules->inbound.enabled ? "; " : "", out);
	if (!dns && !rules->inbound.enabled && !rules->outbound.enabled) {
		fputs("nothing", out);
	}
	if (rules->has_uid) {
		fprintf(out, ", except of UID %u", rules->uid);
	}
	if (rules->fail_closed) {
		fputs("; stays when this ends", out);
	}
	fclose(out);
	text[size - 1] = '\0';
	return text;
}
