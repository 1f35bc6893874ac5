/* SPDX-License-Identifier: Apache-2.0
 *
 * The ruleset in the syntax of nft(8), one line for each rule. Decides nothing.
 */
#include "redirect/ruleset.h"

#include "redirect/redirect.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <string.h>

static void print_range(const struct term *t, const char *what, FILE *out)
{
	fprintf(out, "%s %s%" PRIu32, what, t->differs ? "!= " : "", t->first);
	if (t->last != t->first) {
		fprintf(out, "-%" PRIu32, t->last);
	}
}

static void print_interface(const struct term *t, const char *what, FILE *out)
{
	const size_t len = strcspn(t->name, "+");

	fprintf(out, "%s \"%.*s%s\"", what, (int)len, t->name, t->name[len] ? "*" : "");
}

static void print_transport(const struct term *t, FILE *out)
{
	fprintf(out, "meta l4proto %s",
		t->first == CONF_TCP   ? "tcp"
		: t->first == CONF_UDP ? "udp"
				       : "{ tcp, udp }");
}

static void print_ports(const struct conf_ports *ports, FILE *out)
{
	fputs("th dport {", out);
	for (unsigned i = 0; i < ports->count; i++) {
		fprintf(out, "%s %u", i ? "," : "", ports->item[i]);
	}
	fputs(" }", out);
}

static const char *header(const struct term *t)
{
	return t->family == AF_INET ? "ip" : "ip6";
}

static void print_address(const struct term *t, FILE *out)
{
	char text[CONF_NETWORK_TEXT_SIZE];

	fprintf(out, "%s %s %s%s", header(t), t->source ? "saddr" : "daddr",
		t->differs ? "!= " : "", network_format(t->network, text));
}

/** The port of ours in the header that an error quotes: see ruleset.h. */
static void print_unreachable(const struct term *t, FILE *out)
{
	fprintf(out, "%s type destination-unreachable @th,%d,16 %" PRIu32,
		t->family == AF_INET ? "icmp" : "icmpv6", t->family == AF_INET ? 240 : 400,
		t->first);
}

static void print_action(const struct ruleset *set, const struct term *t, FILE *out)
{
	switch (t->type) {
	case TERM_DROP:
		fputs("drop", out);
		break;
	case TERM_OUTBOUND:
		fprintf(out, "jump %s", ruleset_hook(set, CHAIN_OUTBOUND).name);
		break;
	case TERM_REDIRECT:
		fprintf(out, "redirect to :%" PRIu32, t->first);
		break;
	case TERM_ZONE:
		fprintf(out, "ct zone set %" PRIu32, t->first);
		break;
	case TERM_LOG:
		fprintf(out, "log prefix \"%s\" level debug", t->name);
		break;
	default:
		fputs("return", out);
	}
}

static void print_term(const struct ruleset *set, const struct term *t, FILE *out)
{
	switch (t->type) {
	case TERM_MARK:
		fprintf(out, "meta mark 0x%" PRIx32, t->first);
		break;
	case TERM_UID:
		print_range(t, "meta skuid", out);
		break;
	case TERM_PRIORITY: /* as tc writes handles */
		fprintf(out, "meta priority %s0:%" PRIx32, t->differs ? "!= " : "", t->first);
		break;
	case TERM_OUT:
		print_interface(t, "oifname", out);
		break;
	case TERM_IN:
		print_interface(t, "iifname", out);
		break;
	case TERM_FAMILY:
		fprintf(out, "meta nfproto %s", t->family == AF_INET ? "ipv4" : "ipv6");
		break;
	case TERM_TRANSPORT:
		print_transport(t, out);
		break;
	case TERM_PORT:
		print_range(t, t->source ? "th sport" : "th dport", out);
		break;
	case TERM_PORTS:
		print_ports(t->ports, out);
		break;
	case TERM_ADDRESS:
		print_address(t, out);
		break;
	case TERM_SERVERS:
		fprintf(out, "%s daddr @%s", header(t), ruleset_servers(t->family));
		break;
	case TERM_UNREACHABLE:
		print_unreachable(t, out);
		break;
	case TERM_INVALID:
		fputs("ct state invalid", out);
		break;
	default:
		print_action(set, t, out);
	}
}

static void print_rule(const struct ruleset *set, const struct rule *rule, FILE *out)
{
	for (unsigned i = 0; i < rule->count; i++) {
		fputs(i ? " " : "\t\t", out);
		print_term(set, &rule->term[i], out);
	}
	if (rule->comment) {
		fprintf(out, " comment \"%s\"", rule->comment);
	}
	putc('\n', out);
}

static void print_chain(const struct ruleset *set, enum ruleset_chain chain, FILE *out)
{
	const struct ruleset_hook hook = ruleset_hook(set, chain);

	fprintf(out, "\tchain %s {\n", hook.name);
	if (hook.type) {
		fprintf(out, "\t\ttype %s hook %s priority %d; policy accept;\n", hook.type,
			hook.hook, hook.priority);
	}
	for (unsigned i = 0; i < set->count; i++) {
		if (set->rule[i].chain == chain) {
			print_rule(set, &set->rule[i], out);
		}
	}
	fputs("\t}\n", out);
}

static void print_servers(const struct rules *rules, sa_family_t family, FILE *out)
{
	const char *before = "\n\t\telements = { ";
	char text[INET6_ADDRSTRLEN];

	fprintf(out, "\tset %s {\n\t\ttype %s", ruleset_servers(family),
		family == AF_INET ? "ipv4_addr" : "ipv6_addr");
	for (unsigned i = 0; i < rules->server_count; i++) {
		const struct endpoint *e = &rules->server[i];

		if (e->sa.sa_family == family) {
			inet_ntop(family,
				family == AF_INET ? (const void *)&e->in.sin_addr
						  : &e->in6.sin6_addr,
				text, sizeof text);
			fprintf(out, "%s%s", before, text);
			before = ", ";
		}
	}
	fprintf(out, "%s\n\t}\n", *before == ',' ? " }" : "");
}

void ruleset_print(const struct ruleset *set, const char *table, FILE *out)
{
	fprintf(out, "table inet %s\ndelete table inet %s\ntable inet %s {\n", table, table, table);
	if (set->has_servers[0]) {
		print_servers(set->rules, AF_INET, out);
	}
	if (set->has_servers[1]) {
		print_servers(set->rules, AF_INET6, out);
	}
	for (unsigned i = 0; i < CHAINS; i++) {
		if (set->has[i]) {
			print_chain(set, i, out);
		}
	}
	fputs("}\n", out);
}
