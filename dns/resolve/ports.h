/* SPDX-License-Identifier: Apache-2.0
 *
 * UDP sockets towards the servers, with random source ports that change (RFC 5452 §9.2): up to
 * PORTS_PER_SERVER for each server, opened as they are needed, each replaced after PORT_USES_MAX
 * queries or when one of its queries got no answer: conntrack may have tied the old port to a
 * server that is gone. Knows no DNS.
 */
#pragma once

#include "conf/endpoint.h"
#include "dns/resolve/entropy.h"
#include "dns/resolve/list.h"
#include "dns/wire/cursor.h"

#include <stdint.h>

struct event;
struct event_base;
struct ports;

enum {
	PORTS_SERVERS_MAX = 128,
	PORTS_PER_SERVER = 64,
	PORT_USES_MAX = 256,
	PORTS_MAX = 512,      /* open in all, those that wait for late answers included */
	PORT_IDLE_MS = 10000, /* an unused socket is closed after this time */
	PORT_LATE_MS = 2000   /* one that waits for a late answer, after this */
};

/** One connected socket. Opaque to its user but for the list of what is outstanding on it. */
struct port {
	struct link outstanding; /* the user's: while not empty the socket stays open */
	struct ports *pool;
	struct event *event;
	struct link link; /* in the pool's list of all */
	int64_t used_ms;
	int fd;
	uint16_t slot;
	uint8_t server;
	unsigned uses;
	bool retired; /* takes no new queries */
	bool late;    /* waits for a late answer, although nothing is outstanding */
	bool busy;    /* its datagrams are being handed out: not to be closed */
};

/** Takes a datagram that came from the server's address to this port; borrowed during the call. */
typedef void ports_message(void *ctx, struct port *port, struct span message);

/** Tells that the socket reported an error; it is retired already. May run inside ports_send. */
typedef void ports_broken(void *ctx, struct port *port, int error);

/**
 * @param servers  PORTS_SERVERS_MAX addresses, borrowed until ports_close; one changes only where
 *                 nothing is open towards it but what is retired
 * @param mark     SO_MARK of every socket; 0: none
 * @param entropy  borrowed until ports_close
 * @return 0; -ENOMEM
 */
int ports_open(struct ports **ports, struct event_base *base, const struct endpoint *servers,
	uint32_t mark, struct entropy *entropy, ports_message *message, ports_broken *broken,
	void *ctx) __attribute__((warn_unused_result));

/**
 * Send a datagram to a server from a random port of its pool. Where no new port can be had, any
 * open one serves.
 *
 * @param now_ms     CLOCK_MONOTONIC
 * @param[out] port  which one it was; the caller adds to its `outstanding`
 * @return 0; -errno of the socket: no port at all, unreachable, too large
 */
int ports_send(struct ports *ports, unsigned server, struct span message, int64_t now_ms,
	struct port **port) __attribute__((warn_unused_result));

/** No new queries through this socket; it closes once nothing is outstanding. */
void port_retire(struct port *port);

/** Likewise; but it stays open for PORT_LATE_MS, so that a late answer is heard. */
void port_retire_late(struct port *port);

/** To be called after something was taken off `outstanding`. May close and free `port`. */
void port_release(struct port *port);

/** No new queries through the sockets towards a server. */
void ports_retire(struct ports *ports, unsigned server);

/** Close what has been idle. @return whether any socket is still open */
bool ports_reap(struct ports *ports, int64_t now_ms);

/** Close every socket and free; nothing is outstanding. NULL is a no-op. */
void ports_close(struct ports *ports);

/**
 * A non-blocking socket towards a server, with the mark, not yet connected.
 *
 * @param type  SOCK_DGRAM or SOCK_STREAM
 * @return the descriptor, or -errno
 */
int server_socket(const struct endpoint *server, int type, uint32_t mark)
	__attribute__((warn_unused_result));
