/* SPDX-License-Identifier: Apache-2.0
 *
 * The programs at the sockets: a query to port 53 goes to its server's alias at our port instead,
 * and what comes from there seems to come from the server. See redirect/sockets.h. No helper here
 * is for GPL programs only.
 *
 * IPv4 has two ways in: an AF_INET socket, and an AF_INET6 one that says ::ffff:a.b.c.d. The latter
 * connects through the hooks of IPv6, sends through those of IPv4, and receives through those of
 * IPv6 again (musl's resolver does). So addresses are IPv6 ones inside, whatever the hook.
 */
#include "redirect/sockets.h"

#include <linux/bpf.h>
#include <linux/in.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

enum { DNS_PORT = 53, AFTER_ALL = 1 /* go on */ };

#define MAPPED bpf_htonl(0xffff)

char LICENSE[] SEC("license") = "Apache-2.0";

const volatile struct sockets_config config;

struct sockets_state state;

/** Others that were asked lately → aliases. Written here. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SOCKETS_OTHERS);
	__type(key, struct sockets_address);
	__type(value, __u32);
} others SEC(".maps");

#define INLINE static __attribute__((always_inline))

/* Who is not to be intercepted */

INLINE int is_ours(struct bpf_sock_addr *ctx)
{
	return bpf_get_netns_cookie(ctx) == config.netns;
}

INLINE int is_excluded_user(__u32 uid, __u32 protocol)
{
	for (__u32 i = 0; i < SOCKETS_EXCLUDED_MAX && i < config.users_count; i++) {
		const volatile struct sockets_users *users = &config.users[i];

		if (uid >= users->first && uid <= users->last &&
			(protocol == IPPROTO_TCP ? users->tcp : users->udp)) {
			return 1;
		}
	}
	return 0;
}

INLINE int is_in(const struct sockets_address *a, const volatile struct sockets_network *network)
{
	return ((a->word[0] ^ network->address.word[0]) & network->mask.word[0]) == 0 &&
	       ((a->word[1] ^ network->address.word[1]) & network->mask.word[1]) == 0 &&
	       ((a->word[2] ^ network->address.word[2]) & network->mask.word[2]) == 0 &&
	       ((a->word[3] ^ network->address.word[3]) & network->mask.word[3]) == 0;
}

INLINE int is_excluded_address(const struct sockets_address *a)
{
	for (__u32 i = 0; i < SOCKETS_EXCLUDED_MAX && i < config.networks_count; i++) {
		if (is_in(a, &config.network[i])) {
			return 1;
		}
	}
	return 0;
}

INLINE int is_mapped(const struct sockets_address *a)
{
	return a->word[0] == 0 && a->word[1] == 0 && a->word[2] == MAPPED;
}

/** fe80::/64 (RFC 4291 §2.5.6) is left alone, as by nftables. */
INLINE int is_link_local(const struct sockets_address *a)
{
	return a->word[0] == bpf_htonl(0xfe800000) && a->word[1] == 0;
}

/** A socket that is tied to a device cannot reach loopback. */
INLINE int is_exempt_socket(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	return sk && (sk->mark == config.mark || sk->bound_dev_if != 0);
}

/** The daemon asks as an application does, whoever it is (RULES_CANARY_PRIORITY). */
INLINE int is_canary(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	return sk && sk->priority == SOCKETS_CANARY_PRIORITY;
}

/** Where no user is exempt, nobody is asked for: the kernel leaves out what cannot be reached. */
INLINE int is_exempt_user(struct bpf_sock_addr *ctx)
{
	__u32 uid;

	if (!config.has_uid && config.users_count == 0) {
		return 0;
	}
	uid = (__u32)bpf_get_current_uid_gid();
	return (config.has_uid && uid == config.uid && !is_canary(ctx)) ||
	       is_excluded_user(uid, ctx->protocol);
}

INLINE int is_exempt(struct bpf_sock_addr *ctx, const struct sockets_address *a)
{
	return is_exempt_socket(ctx) || is_exempt_user(ctx) || is_excluded_address(a);
}

INLINE int is_family_wanted(const struct sockets_address *a)
{
	return is_mapped(a) ? config.ipv4 : config.ipv6 && !is_link_local(a);
}

/** Whether it is a query, and one to be intercepted. */
INLINE int is_wanted(struct bpf_sock_addr *ctx, const struct sockets_address *a)
{
	return (ctx->protocol == IPPROTO_UDP ||
		       (ctx->protocol == IPPROTO_TCP && !config.udp_only)) &&
	       is_ours(ctx) && is_family_wanted(a) && !is_exempt(ctx, a);
}

/* Servers and aliases */

INLINE int is_equal(const struct sockets_address *a, const struct sockets_address *b)
{
	return a->word[0] == b->word[0] && a->word[1] == b->word[1] && a->word[2] == b->word[2] &&
	       a->word[3] == b->word[3];
}

INLINE __u32 find_listed(const struct sockets_address *a)
{
	const struct sockets_servers *list = &state.list[state.current & 1];

	for (__u32 i = 0; i < SOCKETS_SERVERS_MAX && i < list->count; i++) {
		if (is_equal(&list->server[i], a)) {
			return list->alias[i];
		}
	}
	return 0;
}

/** Aliases are given out again: what was one server's may be another's by now. */
INLINE __u32 find_other(const struct sockets_address *a)
{
	const __u32 *found = bpf_map_lookup_elem(&others, a);
	const __u32 alias = found ? *found : 0;

	return alias < SOCKETS_ALIASES && is_equal(&state.alias[alias], a) ? alias : 0;
}

INLINE __u32 add_other(const struct sockets_address *a)
{
	const __u32 alias =
		SOCKETS_LISTED + __sync_fetch_and_add(&state.others, 1) % SOCKETS_OTHERS;

	state.alias[alias] = *a;
	return bpf_map_update_elem(&others, a, &alias, BPF_ANY) == 0 ? alias : 0;
}

/** @return the alias of a server, and the port for it; 0: it is not to be intercepted */
INLINE __u32 find_alias(const struct sockets_address *a, __u32 *port)
{
	__u32 alias = find_listed(a);

	*port = config.port;
	if (alias != 0 || !config.capture_all) {
		return alias;
	}
	if (!config.lasting || state.elsewhere) {
		*port = config.other_port;
	}
	alias = find_other(a);
	return alias ? alias : add_other(a);
}

INLINE void put_alias(struct sockets_address *a, __u32 alias)
{
	if (is_mapped(a)) {
		a->word[3] = bpf_htonl(SOCKETS_ALIAS4 | alias);
	} else {
		a->word[0] = bpf_htonl(SOCKETS_ALIAS6_0);
		a->word[1] = bpf_htonl(SOCKETS_ALIAS6_1);
		a->word[2] = 0;
		a->word[3] = bpf_htonl(alias);
	}
}

/** @return the alias that an address says; 0: it is none */
INLINE __u32 get_alias(const struct sockets_address *a)
{
	const __u32 last = bpf_ntohl(a->word[3]);

	if (is_mapped(a)) {
		return (last & SOCKETS_ALIAS4_MASK) == SOCKETS_ALIAS4 ? last & ~SOCKETS_ALIAS4_MASK
								      : 0;
	}
	return a->word[0] == bpf_htonl(SOCKETS_ALIAS6_0) &&
			       a->word[1] == bpf_htonl(SOCKETS_ALIAS6_1) && a->word[2] == 0
		       ? last
		       : 0;
}

/* The two ways. Each says whether `a` and the port changed. */

INLINE int to_alias(struct bpf_sock_addr *ctx, struct sockets_address *a)
{
	__u32 port;
	__u32 alias;

	if (ctx->user_port != bpf_htons(DNS_PORT) || !is_wanted(ctx, a)) {
		return 0;
	}
	alias = find_alias(a, &port);
	if (alias == 0) {
		return 0;
	}
	put_alias(a, alias);
	ctx->user_port = port;
	return 1;
}

INLINE int to_server(struct bpf_sock_addr *ctx, struct sockets_address *a)
{
	const struct sockets_address nobody = {{0}};
	__u32 alias;

	if (ctx->user_port != config.port && ctx->user_port != config.other_port) {
		return 0;
	}
	alias = get_alias(a);
	if (alias == 0 || alias >= SOCKETS_ALIASES || !is_ours(ctx) ||
		is_equal(&state.alias[alias], &nobody)) {
		return 0;
	}
	*a = state.alias[alias];
	ctx->user_port = bpf_htons(DNS_PORT);
	return 1;
}

/* The hooks */

typedef int way(struct bpf_sock_addr *ctx, struct sockets_address *a);

INLINE int through4(struct bpf_sock_addr *ctx, way *change)
{
	struct sockets_address a = {{0, 0, MAPPED, ctx->user_ip4}};

	if (change(ctx, &a)) {
		ctx->user_ip4 = a.word[3];
	}
	return AFTER_ALL;
}

INLINE int through6(struct bpf_sock_addr *ctx, way *change)
{
	struct sockets_address a = {
		{ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]}};

	if (change(ctx, &a)) {
		ctx->user_ip6[0] = a.word[0];
		ctx->user_ip6[1] = a.word[1];
		ctx->user_ip6[2] = a.word[2];
		ctx->user_ip6[3] = a.word[3];
	}
	return AFTER_ALL;
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	return through4(ctx, to_alias);
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	return through6(ctx, to_alias);
}

SEC("cgroup/sendmsg4")
int sendmsg4(struct bpf_sock_addr *ctx)
{
	return through4(ctx, to_alias);
}

SEC("cgroup/sendmsg6")
int sendmsg6(struct bpf_sock_addr *ctx)
{
	return through6(ctx, to_alias);
}

SEC("cgroup/recvmsg4")
int recvmsg4(struct bpf_sock_addr *ctx)
{
	return through4(ctx, to_server);
}

SEC("cgroup/recvmsg6")
int recvmsg6(struct bpf_sock_addr *ctx)
{
	return through6(ctx, to_server);
}

SEC("cgroup/getpeername4")
int getpeername4(struct bpf_sock_addr *ctx)
{
	return through4(ctx, to_server);
}

SEC("cgroup/getpeername6")
int getpeername6(struct bpf_sock_addr *ctx)
{
	return through6(ctx, to_server);
}
