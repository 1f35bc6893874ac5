/* SPDX-License-Identifier: Apache-2.0
 *
 * The loader's side of what the programs at the sockets go by: rules → their configuration, servers
 * → aliases and back. Pure: the memory is the caller's, whoever shares it.
 */
#include "redirect/sockets.h"

#include "redirect/redirect.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum { DNS_PORT = 53 };

static_assert((int)SOCKETS_SERVERS_MAX >= (int)RULES_SERVERS_MAX &&
		      (int)SOCKETS_EXCLUDED_MAX >= (int)CONF_EXCLUSIONS_MAX &&
		      (int)SOCKETS_EXCLUDED_MAX >= (int)CONF_NETWORKS_MAX,
	"the programs have room for all that can be configured");

/* Addresses */

static struct sockets_address map_ipv4(uint32_t ipv4)
{
	return (struct sockets_address){{0, 0, htonl(0xffff), ipv4}};
}

static struct sockets_address address_of(const struct endpoint *e)
{
	struct sockets_address a;

	if (e->sa.sa_family == AF_INET) {
		return map_ipv4(e->in.sin_addr.s_addr);
	}
	memcpy(&a, &e->in6.sin6_addr, sizeof a);
	return a;
}

static bool is_mapped(const struct sockets_address *a)
{
	return a->word[0] == 0 && a->word[1] == 0 && a->word[2] == htonl(0xffff);
}

static bool is_equal(const struct sockets_address *a, const struct sockets_address *b)
{
	return memcmp(a, b, sizeof *a) == 0;
}

static struct endpoint endpoint_of(const struct sockets_address *a)
{
	struct endpoint e = {.len = sizeof e.in};

	if (is_mapped(a)) {
		e.in = (struct sockaddr_in){.sin_family = AF_INET,
			.sin_port = htons(DNS_PORT),
			.sin_addr.s_addr = a->word[3]};
		return e;
	}
	e.len = sizeof e.in6;
	e.in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(DNS_PORT)};
	memcpy(&e.in6.sin6_addr, a, sizeof *a);
	return e;
}

/* Configuration */

static struct sockets_network network_of(const struct conf_network *from)
{
	const unsigned before = from->family == AF_INET ? 96 : 0;
	struct sockets_network to = {.address = map_ipv4(0)};
	uint8_t *address = (uint8_t *)to.address.word;
	uint8_t *mask = (uint8_t *)to.mask.word;

	memcpy(address + before / 8, from->octet, sizeof to.address - before / 8);
	for (unsigned bit = 0; bit < before + from->bits; bit++) {
		mask[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
	}
	return to;
}

static bool has_dns_port(const struct conf_range *ports)
{
	return ports->first <= DNS_PORT && DNS_PORT <= ports->last;
}

static void add_users(struct sockets_config *config, const struct conf_exclusion *exclusion)
{
	if (has_dns_port(&exclusion->ports)) {
		config->users[config->users_count++] = (struct sockets_users){
			.first = exclusion->uids.first,
			.last = exclusion->uids.last,
			.udp = (exclusion->transports & CONF_UDP) != 0,
			.tcp = (exclusion->transports & CONF_TCP) != 0,
		};
	}
}

void sockets_configure(struct sockets_config *config, const struct rules *rules)
{
	const struct conf_traffic *outbound = &rules->outbound;

	memset(config, 0, sizeof *config);
	config->mark = rules->mark;
	config->has_uid = rules->has_uid;
	config->uid = rules->uid;
	config->port = htons(rules->port);
	config->other_port = rules->other_port ? htons(rules->other_port) : config->port;
	config->ipv4 = rules->ipv4;
	config->ipv6 = rules->ipv6;
	config->capture_all = rules->capture_all;
	config->udp_only = rules->udp_only;
	for (unsigned i = 0; i < outbound->exclude_ips.count; i++) {
		config->network[config->networks_count++] =
			network_of(&outbound->exclude_ips.item[i]);
	}
	for (unsigned i = 0; i < outbound->exclude_uids.count; i++) {
		add_users(config, &outbound->exclude_uids.item[i]);
	}
}

/* Servers */

/** Others write it too. */
static uint32_t count_of(const struct sockets_servers *list)
{
	return list->count < SOCKETS_SERVERS_MAX ? list->count : SOCKETS_SERVERS_MAX;
}

/** @return 0: it has none */
static uint32_t alias_in(const struct sockets_servers *list, const struct sockets_address *a)
{
	for (uint32_t i = 0; i < count_of(list); i++) {
		if (is_equal(&list->server[i], a)) {
			return list->alias[i];
		}
	}
	return 0;
}

static bool is_in_use(const struct sockets_servers *list, uint32_t alias)
{
	for (uint32_t i = 0; i < count_of(list); i++) {
		if (list->alias[i] == alias) {
			return true;
		}
	}
	return false;
}

static uint32_t new_alias(struct sockets_state *state, const struct sockets_servers *before)
{
	do {
		state->listed = state->listed % (SOCKETS_LISTED - 1) + 1;
	} while (is_in_use(before, state->listed));
	return state->listed;
}

void sockets_list(struct sockets_state *state, const struct rules *rules)
{
	const struct sockets_servers *before = &state->list[state->current & 1];
	struct sockets_servers *now = &state->list[(state->current + 1) & 1];

	now->count = 0;
	for (unsigned i = 0; i < rules->server_count; i++) {
		const struct sockets_address a = address_of(&rules->server[i]);
		uint32_t alias = alias_in(before, &a);
		if (alias == 0) {
			alias = new_alias(state, before);
			state->alias[alias] = a;
		}
		now->server[now->count] = a;
		now->alias[now->count++] = alias;
	}
	/* The programs see the list whole. */
	__atomic_store_n(&state->current, state->current + 1, __ATOMIC_RELEASE);
}

static uint32_t alias_of(const struct sockets_address *a)
{
	const uint32_t last = ntohl(a->word[3]);

	if (is_mapped(a)) {
		return (last & SOCKETS_ALIAS4_MASK) == SOCKETS_ALIAS4 ? last - SOCKETS_ALIAS4 : 0;
	}
	return ntohl(a->word[0]) == SOCKETS_ALIAS6_0 && ntohl(a->word[1]) == SOCKETS_ALIAS6_1 &&
			       a->word[2] == 0
		       ? last
		       : 0;
}

int sockets_original(
	const struct sockets_state *state, const struct endpoint *local, struct endpoint *out)
{
	static const struct sockets_address nobody;
	const struct sockets_address a = address_of(local);
	const uint32_t alias = alias_of(&a);

	if (alias == 0 || alias >= SOCKETS_ALIASES || is_equal(&state->alias[alias], &nobody)) {
		return -ENOENT;
	}
	*out = endpoint_of(&state->alias[alias]);
	return 0;
}
