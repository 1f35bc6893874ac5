/* SPDX-License-Identifier: Apache-2.0
 *
 * Configuration → rules. Decides what is intercepted; knows nothing of how. Reads the password
 * file for the exempt user, and nothing else.
 */
#include "redirect/redirect.h"

#include "conf/conf.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KUMA_UID = 5678, DNS_PORT = 53, PASSWD_SIZE = 4096 };

/** Whether `text` is a UID in decimal. (uid_t)-1 means "no user" to the kernel. */
static bool parse_uid(const char *text, uint32_t *uid)
{
	uint64_t value = 0;
	const char *p = text;

	for (; *p >= '0' && *p <= '9' && value < UINT32_MAX; p++) {
		value = value * 10 + (uint64_t)(*p - '0');
	}
	if (p == text || *p != '\0' || value >= UINT32_MAX) {
		return false;
	}
	*uid = (uint32_t)value;
	return true;
}

static bool find_name(const char *name, uint32_t *uid)
{
	struct passwd entry;
	struct passwd *found = NULL;
	char text[PASSWD_SIZE];

	if (getpwnam_r(name, &entry, text, sizeof text, &found) != 0 || !found) {
		return false;
	}
	*uid = found->pw_uid;
	return true;
}

static bool uid_exists(uid_t uid)
{
	struct passwd entry;
	struct passwd *found = NULL;
	char text[PASSWD_SIZE];

	return getpwuid_r(uid, &entry, text, sizeof text, &found) == 0 && found;
}

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
		KUMA_UID, KUMA_UID);
	return -ENOENT;
}

/** A UID needs no entry in the password file: containers often run users that have none. */
static int compile_user(struct rules *rules, const char *user, struct redirect_error *error)
{
	if (*user == '\0') {
		rules->uid = KUMA_UID;
		rules->has_uid = uid_exists(KUMA_UID) || find_name("kuma-dp", &rules->uid);
		return rules->has_uid ? 0 : check_nobody(rules, error);
	}
	rules->has_uid = parse_uid(user, &rules->uid) || find_name(user, &rules->uid);
	if (rules->has_uid) {
		return 0;
	}
	snprintf(error->text, sizeof error->text,
		"kumaDPUser: there is no user %s; create it, give a UID, or leave the key empty",
		user);
	return -ENOENT;
}

/** Applications ask port 53, whatever port we ask ourselves. */
static struct endpoint as_asked(const struct endpoint *server)
{
	struct endpoint e = *server;

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

/** A link-local server cannot be answered for, see redirect/nft.h. */
static bool captures(const struct rules *rules, const struct endpoint *server)
{
	return server->sa.sa_family == AF_INET6
		       ? rules->ipv6 && !IN6_IS_ADDR_LINKLOCAL(&server->in6.sin6_addr)
		       : rules->ipv4;
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
