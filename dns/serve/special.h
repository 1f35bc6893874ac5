/* SPDX-License-Identifier: Apache-2.0
 *
 * Names that mean the same everywhere and are nobody's to ask for: answered here, so that they
 * neither leak nor load the root (RFC 6303, RFC 6761 and its successors). Only the decision:
 * whether the mesh's table or an upstream of its own has the name is the caller's question before
 * this one. No I/O, no clock, no allocation.
 *
 * Not special here: `local.` (RFC 6762 wants it on the link, but clusters are called
 * cluster.local), `ipv4only.arpa.` (RFC 8880 §7.1: only the upstream knows its DNS64), `example.`
 * (RFC 6761 §6.5).
 */
#pragma once

#include "dns/wire/dname.h"

/** What can be passed on instead, each for itself. */
enum special_group {
	SPECIAL_LOCALHOST = 1 << 0,       /* localhost. (RFC 6761 §6.3) */
	SPECIAL_INVALID = 1 << 1,         /* invalid. (RFC 6761 §6.4) */
	SPECIAL_TEST = 1 << 2,            /* test. (RFC 6761 §6.2: by default) */
	SPECIAL_ONION = 1 << 3,           /* onion. (RFC 7686 §2) */
	SPECIAL_ALT = 1 << 4,             /* alt. (RFC 9476) */
	SPECIAL_HOME = 1 << 5,            /* home.arpa. (RFC 8375 §4) */
	SPECIAL_RESOLVER = 1 << 6,        /* resolver.arpa. (RFC 9462 §6.4) */
	SPECIAL_REVERSE_NOBODY = 1 << 7,  /* reverse zones of addresses that no upstream can know:
					     this host, loopback, link-local, documentation,
					     broadcast (RFC 6303 §4.2..§4.6) */
	SPECIAL_REVERSE_PRIVATE = 1 << 8, /* reverse zones of private networks, which the DNS of a
					     cluster or a site often does serve: RFC 1918, 100.64/10
					     (RFC 7793), fd00::/8 (RFC 6303 §4.1, §4.4) */
	SPECIAL_ALL = (1 << 9) - 1
};

enum special_answer {
	SPECIAL_NONE,         /* not ours */
	SPECIAL_NXDOMAIN,     /* … with the SOA of the apex */
	SPECIAL_NODATA,       /* likewise */
	SPECIAL_LOOPBACK,     /* special_rdata of A or AAAA, as asked; for ANY both */
	SPECIAL_LOOPBACK_NAME /* special_rdata of PTR */
};

struct special {
	enum special_answer answer;
	enum special_group group; /* which rule it was, unless SPECIAL_NONE */
	unsigned owner_labels; /* labels of the name before the apex, as response_soa takes them */
};

/**
 * What a special name is answered with.
 *
 * @param qname   folded, as query_parse leaves it
 * @param qtype   class IN is assumed
 * @param groups  those of enum special_group that are answered here
 * Cost: O(labels), and for nearly every name no more than finding its last one (under 20 ns);
 * names under arpa. take two or three times as long.
 */
struct special special_find(const struct dname *qname, uint16_t qtype, unsigned groups);

/** RDATA of the loopback answers: 127.0.0.1 for A, ::1 for AAAA, localhost. for PTR; else empty. */
struct span special_rdata(uint16_t type);
