/* SPDX-License-Identifier: Apache-2.0
 *
 * An address with a port, and its text form. Pure.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

enum { ENDPOINT_TEXT_SIZE = 80 };

/** An IPv4 or IPv6 address and port, with the scope where the text had one. */
struct endpoint {
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	};
	socklen_t len; /* of the member that is used; 0: none */
};

/**
 * Read `192.0.2.1`, `192.0.2.1:53`, `2001:db8::1`, `[2001:db8::1]:53`, `fe80::1%eth0`.
 *
 * @param default_port  used where the text has none; 0: the text must have one
 * @return 0; -EINVAL if it is none of these, the port is not 1..65535, or the interface is unknown
 */
int endpoint_parse(struct endpoint *e, const char *text, uint16_t default_port)
	__attribute__((warn_unused_result));

/** Write `192.0.2.1:53` or `[2001:db8::1]:53`. @return `text` */
const char *endpoint_format(const struct endpoint *e, char text[ENDPOINT_TEXT_SIZE]);

/** Same family, address, port and scope. */
bool endpoint_equal(const struct endpoint *a, const struct endpoint *b);

/** Port in host order. */
uint16_t endpoint_port(const struct endpoint *e);
