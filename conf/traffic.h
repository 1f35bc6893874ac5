/* SPDX-License-Identifier: Apache-2.0
 *
 * Which traffic Kuma's keys speak of: ports, users, networks, virtual networks, and their text
 * forms. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

enum {
	CONF_PORTS_MAX = 64,
	CONF_EXCLUSIONS_MAX = 32,
	CONF_NETWORKS_MAX = 32,
	CONF_VNETS_MAX = 16,
	CONF_INTERFACE_SIZE = 16, /* IFNAMSIZ */
	CONF_NETWORK_TEXT_SIZE = 64,
};

enum { CONF_TCP = 1, CONF_UDP = 2 };

/** All of a range: `first` to `last`, both in it. */
struct conf_range {
	uint32_t first;
	uint32_t last;
};

/** In host order, none twice. */
struct conf_ports {
	unsigned count;
	uint16_t item[CONF_PORTS_MAX];
};

/** Traffic of some users to some ports. All ports: 0 to 65535. */
struct conf_exclusion {
	uint32_t transports; /* CONF_TCP, CONF_UDP */
	struct conf_range ports;
	struct conf_range uids;
};

struct conf_exclusions {
	unsigned count;
	struct conf_exclusion item[CONF_EXCLUSIONS_MAX];
};

/** An address prefix; what is behind it is 0. */
struct conf_network {
	uint16_t family;   /* AF_INET, AF_INET6 */
	uint16_t bits;     /* of the prefix: 0..32, 0..128 */
	uint8_t octet[16]; /* as in a packet: 4, or all 16 */
};

struct conf_networks {
	unsigned count;
	struct conf_network item[CONF_NETWORKS_MAX];
};

/** A network behind an interface of this host. */
struct conf_vnet {
	char interface[CONF_INTERFACE_SIZE]; /* `br+`: all names that begin with `br` */
	struct conf_network network;
};

struct conf_vnets {
	unsigned count;
	struct conf_vnet item[CONF_VNETS_MAX];
};

/** One direction of TCP: redirect.inbound or redirect.outbound. */
struct conf_traffic {
	bool enabled;
	bool given;                /* a key of this direction was set, whichever */
	uint16_t port;             /* where Envoy takes it */
	struct conf_ports include; /* not empty: these alone, and `exclude` has no effect */
	struct conf_ports exclude;
	struct conf_exclusions exclude_uids;
	struct conf_networks exclude_ips;
};

/**
 * Append one element to a list, unless it is there already.
 *
 * @param text  `80`; `10.0.0.0/8`, `10.0.0.1`, `fd00::/8`; `br+:172.18.0.0/16`, `eth1:fd00::/64`
 * @return 0; -EINVAL if it is none of these, or the list is full
 */
int ports_add(struct conf_ports *list, const char *text) __attribute__((warn_unused_result));
int networks_add(struct conf_networks *list, const char *text) __attribute__((warn_unused_result));
int vnets_add(struct conf_vnets *list, const char *text) __attribute__((warn_unused_result));

/**
 * Append what `UIDS`, `PORTS:UIDS` or `PROTOCOL:PORTS:UIDS` says, one or more of them with commas
 * between. PORTS itself may be a list: commas before a colon belong to it, as kumactl has it.
 *
 * @return 0; -EINVAL as above
 */
int exclusions_add(struct conf_exclusions *list, const char *text)
	__attribute__((warn_unused_result));

/** Write `10.0.0.0/8`. @return `text` */
const char *network_format(const struct conf_network *network, char text[CONF_NETWORK_TEXT_SIZE]);

/** Write a list in YAML's flow style. */
void ports_print(const struct conf_ports *list, FILE *out);
void networks_print(const struct conf_networks *list, FILE *out);
void vnets_print(const struct conf_vnets *list, FILE *out);
void exclusions_print(const struct conf_exclusions *list, FILE *out);
