/* SPDX-License-Identifier: Apache-2.0
 *
 * Decides which rules stand in which chain, and in which order. Owns nothing.
 */
#include "redirect/ruleset.h"

#include "redirect/batch.h"
#include "redirect/redirect.h"

#include <assert.h>
#include <netinet/in.h>
#include <string.h>

enum {
	DNS_PORT = 53,
	PRIORITY_RAW = -300,
	PRIORITY_MANGLE = -150,
	PRIORITY_NAT = -101, /* before Kuma's and Docker's, which are at -100 */
};

static const struct conf_network LINK_LOCAL = {AF_INET6, 64, {0xfe, 0x80}}; /* RFC 4291 §2.5.6 */
static const struct conf_network LOOPBACK4 = {AF_INET, 32, {127, 0, 0, 1}};
static const struct conf_network LOOPBACK6 = {AF_INET6, 128, {[15] = 1}};
/* Where Envoy sends what came in from: it is not to go through Envoy again. */
static const struct conf_network PASSED4 = {AF_INET, 32, {127, 0, 0, 6}};
static const struct conf_network PASSED6 = {AF_INET6, 128, {[15] = 6}};

struct ruleset_hook ruleset_hook(const struct ruleset *set, enum ruleset_chain chain)
{
	/* A daemon's table decides a flow before a lasting one is asked. */
	const int nat = set->life == RULESET_LASTING ? PRIORITY_NAT : PRIORITY_NAT - 1;
	const struct ruleset_hook hooks[CHAINS] = {
		[CHAIN_RAW_OUT] = {"raw_out", "filter", "output", BATCH_LOCAL_OUT, PRIORITY_RAW},
		[CHAIN_NAT_OUT] = {"nat_out", "nat", "output", BATCH_LOCAL_OUT, nat},
		[CHAIN_NAT_IN] = {"nat_in", "nat", "prerouting", BATCH_PRE_ROUTING, nat},
		[CHAIN_INVALID_IN] = {"invalid_in", "filter", "prerouting", BATCH_PRE_ROUTING,
			PRIORITY_MANGLE},
		[CHAIN_OUTBOUND] = {"outbound", NULL, NULL, 0, 0},
	};

	return hooks[chain];
}

/* Writing rules: begin one, then its terms */

static struct rule *begin(struct ruleset *set, enum ruleset_chain chain, const char *comment)
{
	struct rule *rule = &set->rule[set->count];

	assert(set->count < RULESET_RULES_MAX);
	set->count++;
	set->has[chain] = true;
	memset(rule, 0, sizeof *rule);
	rule->chain = chain;
	rule->comment = set->rules->comments ? comment : NULL;
	return rule;
}

static struct term *add(struct rule *rule, enum term_type type)
{
	struct term *term = &rule->term[rule->count];

	assert(rule->count < RULE_TERMS_MAX);
	rule->count++;
	term->type = type;
	return term;
}

static struct term *add_number(struct rule *rule, enum term_type type, uint32_t number)
{
	struct term *term = add(rule, type);

	term->first = number;
	term->last = number;
	return term;
}

static struct term *add_range(
	struct rule *rule, enum term_type type, const struct conf_range *range)
{
	struct term *term = add(rule, type);

	term->first = range->first;
	term->last = range->last;
	return term;
}

static struct term *add_name(struct rule *rule, enum term_type type, const char *name)
{
	struct term *term = add(rule, type);

	term->name = name;
	return term;
}

static struct term *add_family(struct rule *rule, enum term_type type, sa_family_t family)
{
	struct term *term = add(rule, type);

	term->family = family;
	return term;
}

/** All addresses of a family are that family: nothing is to be compared. */
static struct term *add_network(struct rule *rule, const struct conf_network *network)
{
	struct term *term =
		add_family(rule, network->bits ? TERM_ADDRESS : TERM_FAMILY, network->family);

	if (network->bits) {
		term->network = network;
	}
	return term;
}

/** One of these ports, of TCP; any, where the list is empty. */
static void add_tcp_ports(struct rule *rule, const struct conf_ports *ports)
{
	add_number(rule, TERM_TRANSPORT, CONF_TCP);
	if (ports && ports->count == 1) {
		add_number(rule, TERM_PORT, ports->item[0]);
	} else if (ports && ports->count > 1) {
		add(rule, TERM_PORTS)->ports = ports;
	}
}

/* DNS */

static bool has_dns(const struct rules *rules)
{
	return rules->ipv4 || rules->ipv6;
}

/** Whether queries to servers that are not listed have a port of their own. */
static bool tells_apart(const struct rules *rules)
{
	return rules->capture_all && rules->other_port != 0;
}

static uint32_t dns_transports(const struct rules *rules)
{
	return rules->udp_only ? CONF_UDP : CONF_TCP | CONF_UDP;
}

static void except_mark(struct ruleset *set, enum ruleset_chain chain)
{
	struct rule *rule = begin(set, chain, "our own queries");

	add_number(rule, TERM_MARK, set->rules->mark);
	add(rule, TERM_RETURN);
}

/** Of Kuma's user, but no canary: those only seek DNS. */
static void add_proxy(struct ruleset *set, struct rule *rule)
{
	add_number(rule, TERM_UID, set->rules->uid);
	if (has_dns(set->rules) && rule->chain != CHAIN_OUTBOUND) {
		add_number(rule, TERM_PRIORITY, RULES_CANARY_PRIORITY)->differs = true;
	}
}

static void except_uid(struct ruleset *set, enum ruleset_chain chain)
{
	if (set->rules->has_uid) {
		struct rule *rule = begin(set, chain, "Kuma's proxy");

		add_proxy(set, rule);
		add(rule, TERM_RETURN);
	}
}

static void except_link_local(struct ruleset *set, enum ruleset_chain chain)
{
	struct rule *rule = begin(set, chain, "link-local: no way back");

	add_network(rule, &LINK_LOCAL);
	add(rule, TERM_RETURN);
}

static void exclude_user(
	struct ruleset *set, enum ruleset_chain chain, const struct conf_exclusion *exclusion)
{
	const bool all_ports = exclusion->ports.first == 0;
	struct rule *rule = begin(set, chain, "excluded user");

	add_range(rule, TERM_UID, &exclusion->uids);
	if (!all_ports || exclusion->transports != (CONF_TCP | CONF_UDP)) {
		add_number(rule, TERM_TRANSPORT, exclusion->transports);
	}
	if (!all_ports) {
		add_range(rule, TERM_PORT, &exclusion->ports);
	}
	add(rule, TERM_RETURN);
}

/** What is sent there, or by them, goes its own way, be it DNS or other TCP. */
static void exclude(struct ruleset *set, enum ruleset_chain chain)
{
	const struct conf_traffic *outbound = &set->rules->outbound;

	for (unsigned i = 0; i < outbound->exclude_ips.count; i++) {
		struct rule *rule = begin(set, chain, "excluded address");

		add_network(rule, &outbound->exclude_ips.item[i]);
		add(rule, TERM_RETURN);
	}
	for (unsigned i = 0; i < outbound->exclude_uids.count; i++) {
		exclude_user(set, chain, &outbound->exclude_uids.item[i]);
	}
}

/** A port of ours on loopback, on either side. */
static void zone_port(struct ruleset *set, uint16_t port, bool source)
{
	struct rule *rule = begin(set, CHAIN_RAW_OUT, source ? "our answers" : "to our port");

	rule->answers = true;
	add_name(rule, TERM_OUT, "lo");
	add_number(rule, TERM_TRANSPORT, CONF_TCP | CONF_UDP);
	add_number(rule, TERM_PORT, port)->source = source;
	add_number(rule, TERM_ZONE, RULESET_ZONE);
}

static void zone_errors(struct ruleset *set, uint16_t port, sa_family_t family)
{
	struct rule *rule = begin(set, CHAIN_RAW_OUT, "nobody at our port");

	rule->answers = true;
	add_name(rule, TERM_OUT, "lo");
	add_number(rule, TERM_UNREACHABLE, port)->family = family;
	add_number(rule, TERM_ZONE, RULESET_ZONE);
}

/** What comes to one of our ports, and back. */
static void zone_answers(struct ruleset *set, uint16_t port)
{
	zone_port(set, port, true);
	zone_port(set, port, false);
	if (set->rules->ipv4) {
		zone_errors(set, port, AF_INET);
	}
	if (set->rules->ipv6) {
		zone_errors(set, port, AF_INET6);
	}
}

/** What an application asks, all servers or those that are listed: begins a rule that its caller
 * ends with an action. */
static struct rule *begin_queries(
	struct ruleset *set, enum ruleset_chain chain, sa_family_t family, bool listed)
{
	struct rule *rule = begin(set, chain, "queries");

	add_number(rule, TERM_TRANSPORT, dns_transports(set->rules));
	add_number(rule, TERM_PORT, DNS_PORT);
	add_family(rule, listed ? TERM_SERVERS : TERM_FAMILY, family);
	return rule;
}

static void zone_queries(struct ruleset *set, sa_family_t family)
{
	const bool listed = !set->rules->capture_all;

	add_number(begin_queries(set, CHAIN_RAW_OUT, family, listed), TERM_ZONE, RULESET_ZONE);
}

static void redirect_queries(struct ruleset *set, sa_family_t family)
{
	const struct rules *rules = set->rules;
	const bool apart = tells_apart(rules);

	add_number(begin_queries(set, CHAIN_NAT_OUT, family, !rules->capture_all || apart),
		TERM_REDIRECT, rules->port);
	if (apart) {
		add_number(begin_queries(set, CHAIN_NAT_OUT, family, false), TERM_REDIRECT,
			rules->other_port);
	}
}

static void for_each_family(
	struct ruleset *set, void (*write)(struct ruleset *set, sa_family_t family))
{
	if (set->rules->ipv4) {
		write(set, AF_INET);
	}
	if (set->rules->ipv6) {
		write(set, AF_INET6);
	}
}

static void compile_raw_out(struct ruleset *set)
{
	except_mark(set, CHAIN_RAW_OUT);
	set->rule[set->count - 1].answers = true;
	zone_answers(set, set->rules->port);
	if (tells_apart(set->rules)) {
		zone_answers(set, set->rules->other_port);
	}
	except_uid(set, CHAIN_RAW_OUT);
	exclude(set, CHAIN_RAW_OUT);
	if (set->rules->ipv6) {
		except_link_local(set, CHAIN_RAW_OUT);
	}
	for_each_family(set, zone_queries);
}

/* TCP through Envoy, as KUMA_MESH_OUTBOUND and KUMA_MESH_INBOUND have it */

static void log_first(struct ruleset *set, enum ruleset_chain chain, const char *prefix)
{
	if (set->rules->log) {
		add_name(begin(set, chain, NULL), TERM_LOG, prefix);
	}
}

/** All TCP, but IPv6 only where it is wanted. */
static struct rule *begin_tcp(struct ruleset *set, enum ruleset_chain chain, const char *comment)
{
	struct rule *rule = begin(set, chain, comment);

	if (!set->rules->tcp6) {
		add_family(rule, TERM_FAMILY, AF_INET);
	}
	return rule;
}

static void exclude_ports(
	struct ruleset *set, enum ruleset_chain chain, const struct conf_traffic *traffic)
{
	if (traffic->include.count == 0 && traffic->exclude.count > 0) {
		struct rule *rule = begin(set, chain, "excluded ports");

		add_tcp_ports(rule, &traffic->exclude);
		add(rule, TERM_RETURN);
	}
}

static void redirect_tcp(struct ruleset *set, enum ruleset_chain chain, const char *comment,
	const struct conf_traffic *traffic)
{
	struct rule *rule = begin_tcp(set, chain, comment);

	add_tcp_ports(rule, &traffic->include);
	add_number(rule, TERM_REDIRECT, traffic->port);
}

static void return_passed(struct ruleset *set, const struct conf_network *from)
{
	struct rule *rule = begin(set, CHAIN_OUTBOUND, "what came in, from the proxy");

	add_name(rule, TERM_OUT, "lo");
	add_network(rule, from)->source = true;
	add(rule, TERM_RETURN);
}

/** The proxy sends to a service of this very host: it comes in again. */
static void turn_inbound(struct ruleset *set, const struct conf_network *loopback)
{
	struct rule *rule = begin(set, CHAIN_OUTBOUND, "the proxy to itself");

	add_name(rule, TERM_OUT, "lo");
	add_network(rule, loopback)->differs = true;
	add_number(rule, TERM_UID, set->rules->uid);
	add_number(rule, TERM_TRANSPORT, CONF_TCP);
	add_number(rule, TERM_REDIRECT, set->rules->inbound.port);
}

static void return_local(struct ruleset *set)
{
	struct rule *rule = begin(set, CHAIN_OUTBOUND, "within this host");

	add_name(rule, TERM_OUT, "lo");
	add_number(rule, TERM_UID, set->rules->uid)->differs = true;
	add(rule, TERM_RETURN);
}

static void return_loopback(struct ruleset *set, const struct conf_network *loopback)
{
	struct rule *rule = begin(set, CHAIN_OUTBOUND, "to loopback");

	add_network(rule, loopback);
	add(rule, TERM_RETURN);
}

static void for_each_loopback(struct ruleset *set,
	void (*write)(struct ruleset *set, const struct conf_network *network),
	const struct conf_network *ipv4, const struct conf_network *ipv6)
{
	write(set, ipv4);
	if (set->rules->tcp6) {
		write(set, ipv6);
	}
}

static void compile_outbound(struct ruleset *set)
{
	exclude_ports(set, CHAIN_OUTBOUND, &set->rules->outbound);
	for_each_loopback(set, return_passed, &PASSED4, &PASSED6);
	if (set->rules->inbound.enabled) {
		for_each_loopback(set, turn_inbound, &LOOPBACK4, &LOOPBACK6);
	}
	return_local(set);
	except_uid(set, CHAIN_OUTBOUND);
	for_each_loopback(set, return_loopback, &LOOPBACK4, &LOOPBACK6);
	redirect_tcp(set, CHAIN_OUTBOUND, "to the proxy", &set->rules->outbound);
}

static void jump_outbound(struct ruleset *set, bool of_uid)
{
	struct rule *rule = begin_tcp(set, CHAIN_NAT_OUT, "outbound TCP");

	if (of_uid) {
		add_proxy(set, rule);
	}
	add_number(rule, TERM_TRANSPORT, CONF_TCP);
	add(rule, TERM_OUTBOUND);
}

/** DNS over TCP that is not captured goes direct, as in Kuma; what its own user sends never turns
 * inbound. */
static void except_dns_over_tcp(struct ruleset *set, bool of_uid)
{
	struct rule *rule = begin(set, CHAIN_NAT_OUT, of_uid ? "DNS of Kuma's proxy" : "other DNS");

	if (of_uid) {
		add_proxy(set, rule);
	}
	add_number(rule, TERM_TRANSPORT, CONF_TCP);
	add_number(rule, TERM_PORT, DNS_PORT);
	add(rule, TERM_RETURN);
}

static void compile_nat_out(struct ruleset *set)
{
	const struct rules *rules = set->rules;
	const bool tcp = rules->outbound.enabled;

	log_first(set, CHAIN_NAT_OUT, "kuma-dns out: ");
	except_mark(set, CHAIN_NAT_OUT);
	exclude(set, CHAIN_NAT_OUT);
	if (tcp && has_dns(rules)) {
		except_dns_over_tcp(set, true);
	}
	if (tcp) {
		jump_outbound(set, true);
	}
	except_uid(set, CHAIN_NAT_OUT);
	if (rules->ipv6 || (tcp && rules->tcp6)) {
		except_link_local(set, CHAIN_NAT_OUT);
	}
	if (!rules->at_sockets) {
		for_each_family(set, redirect_queries);
	}
	if (tcp && has_dns(rules)) {
		except_dns_over_tcp(set, false);
	}
	if (tcp) {
		jump_outbound(set, false);
	}
}

/* What comes in */

static void redirect_vnet_queries(struct ruleset *set, const struct conf_vnet *vnet)
{
	struct rule *rule = begin(set, CHAIN_NAT_IN, "queries from a virtual network");

	add_name(rule, TERM_IN, vnet->interface);
	add_number(rule, TERM_TRANSPORT, dns_transports(set->rules));
	add_number(rule, TERM_PORT, DNS_PORT);
	add_family(rule, TERM_FAMILY, vnet->network.family);
	add_number(rule, TERM_REDIRECT, set->rules->port);
}

/** What leaves the network; nothing leaves one that holds every address. */
static void redirect_vnet_tcp(struct ruleset *set, const struct conf_vnet *vnet)
{
	struct rule *rule;

	if (vnet->network.bits == 0) {
		return;
	}
	rule = begin(set, CHAIN_NAT_IN, "TCP from a virtual network");
	add_name(rule, TERM_IN, vnet->interface);
	add_network(rule, &vnet->network)->differs = true;
	add_number(rule, TERM_TRANSPORT, CONF_TCP);
	add_number(rule, TERM_REDIRECT, set->rules->outbound.port);
}

static void compile_vnets(struct ruleset *set)
{
	const struct rules *rules = set->rules;

	for (unsigned i = 0; i < rules->vnets.count; i++) {
		const struct conf_vnet *vnet = &rules->vnets.item[i];
		const bool is_ipv6 = vnet->network.family == AF_INET6;

		if (is_ipv6 ? rules->ipv6 : rules->ipv4) {
			redirect_vnet_queries(set, vnet);
		}
		if (rules->outbound.enabled && (!is_ipv6 || rules->tcp6)) {
			redirect_vnet_tcp(set, vnet);
		}
	}
}

static void compile_inbound(struct ruleset *set)
{
	const struct conf_traffic *inbound = &set->rules->inbound;

	for (unsigned i = 0; i < inbound->exclude_ips.count; i++) {
		struct rule *rule = begin(set, CHAIN_NAT_IN, "excluded address");

		add_network(rule, &inbound->exclude_ips.item[i])->source = true;
		add(rule, TERM_RETURN);
	}
	exclude_ports(set, CHAIN_NAT_IN, inbound);
	redirect_tcp(set, CHAIN_NAT_IN, "to the proxy", inbound);
}

static void compile_nat_in(struct ruleset *set)
{
	const struct rules *rules = set->rules;

	if (rules->inbound.enabled || rules->vnets.count > 0) {
		log_first(set, CHAIN_NAT_IN, "kuma-dns in: ");
	}
	compile_vnets(set);
	if (rules->inbound.enabled) {
		compile_inbound(set);
	}
}

static void drop_invalid(struct ruleset *set)
{
	struct rule *rule = begin(set, CHAIN_INVALID_IN, "invalid packets");

	add(rule, TERM_INVALID);
	add(rule, TERM_DROP);
}

void ruleset_compile(struct ruleset *set, const struct rules *rules, enum ruleset_life life)
{
	const bool listed = (!rules->capture_all || tells_apart(rules)) && !rules->at_sockets;

	memset(set, 0, sizeof *set);
	set->rules = rules;
	set->life = life;
	set->has_servers[0] = rules->ipv4 && listed;
	set->has_servers[1] = rules->ipv6 && listed;
	if (rules->outbound.enabled) {
		compile_outbound(set);
	}
	if (rules->zones && has_dns(rules) && !rules->at_sockets) {
		compile_raw_out(set);
	}
	compile_nat_out(set);
	compile_nat_in(set);
	if (rules->drop_invalid) {
		drop_invalid(set);
	}
}
