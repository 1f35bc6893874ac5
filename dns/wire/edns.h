/* SPDX-License-Identifier: Apache-2.0
 *
 * EDNS options (RFC 6891 §6.1.2): those of a requestor and of an upstream server that concern a
 * hop like us, and those that we write. Whatever else stands in OPT ends here: options are between
 * two neighbours (RFC 6891 §6.2.6 and §7). No I/O, no clock, no allocation.
 */
#pragma once

#include "dns/wire/cursor.h"

enum {
	OPT_LEN = 11,        /* an OPT record without options: root, type, class, TTL, RDLENGTH */
	EDNS_OPTION_LEN = 4, /* in front of an option's data: code, length */
	EDNS_COOKIE_LEN = 4 + 24, /* COOKIE as we send it: client's part 8, ours 16 (RFC 9018 §4) */
	EDNS_KEEPALIVE_LEN = 4 + 2, /* edns-tcp-keepalive as we send it */
	EDNS_OPTIONS_MAX = EDNS_COOKIE_LEN + EDNS_KEEPALIVE_LEN,
	EDNS_EDE_LEN = 4 + 2,     /* extended error without text */
	EDNS_SUBNET_MAX = 4 + 20, /* client subnet with a whole IPv6 address */
	EDNS_EDE_MAX = 4          /* extended errors that are passed on, of one response */
};

enum edns_keepalive {
	EDNS_KEEPALIVE_NONE,
	EDNS_KEEPALIVE_ASKED,
	EDNS_KEEPALIVE_MALFORMED /* over TCP: FORMERR; over UDP the option means nothing */
};

/** What a requestor's options say. Borrows the message. */
struct edns_query {
	struct span cookie; /* client cookie, 8 octets, and a server's of 0 or 8..32; or empty */
	struct span subnet; /* the client subnet option, code and length included: 8..24 octets, one
			       spelling for each subnet; or empty */
	enum edns_keepalive keepalive;
};

/** Options of our own for one response, as they stand on the wire. */
struct edns_options {
	uint8_t len;
	uint8_t octets[EDNS_OPTIONS_MAX];
};

/** An extended error (RFC 8914 §2). Borrows the message. */
struct edns_ede {
	uint16_t code;
	struct span text; /* UTF-8, if the sender kept to the RFC: not looked at */
};

/** What an upstream server's options say. Borrows the message. */
struct edns_response {
	struct span subnet; /* as in struct edns_query, with the scope that the server chose */
	unsigned ede_count;
	struct edns_ede ede[EDNS_EDE_MAX];
};

/**
 * Read the options of a query. Of several with one code, the first counts (RFC 7873 §5.2); unknown
 * ones and padding are ignored.
 *
 * @param[out] e      every member set
 * @param      rdata  of OPT; borrowed by `e`
 * @return 0; -EBADMSG where FORMERR is owed: options that overrun (RFC 6891 §7), a cookie of 0..7,
 *         9..15 or over 40 octets (RFC 7873 §5.2.2), a client subnet that is not as RFC 7871 §6
 *         wants it
 */
int edns_query_read(struct edns_query *e, struct span rdata) __attribute__((warn_unused_result));

/**
 * Read the options of a response. What is malformed is left out, and so is all behind an option
 * that overruns: what a server says besides its answer is no reason to lose the answer.
 *
 * @param[out] e      every member set
 * @param      rdata  of OPT; borrowed by `e`
 */
void edns_response_read(struct edns_response *e, struct span rdata);

/**
 * Whether a client subnet in a response is for the one that was asked with: equal but for the
 * scope (RFC 7871 §7.3). True where the response has none.
 *
 * @param asked     as in struct edns_query
 * @param answered  as in struct edns_response
 */
bool edns_subnet_answers(struct span asked, struct span answered);

/** SCOPE PREFIX-LENGTH of a client subnet that was read; 0 for an empty one. */
uint8_t edns_subnet_scope(struct span subnet);

/**
 * Begin an OPT record: version 0, no options yet.
 *
 * @param udp_size  what we take, in octets
 * @param rcode     0..4095; its upper bits go here
 * @return where it stands, for edns_end
 */
size_t edns_begin(struct writer *w, uint16_t udp_size, uint16_t rcode, bool edns_do);

/** End the OPT record that begins at `opt_at`: its RDLENGTH is what was written since. */
void edns_end(struct writer *w, size_t opt_at);

/** COOKIE: `cookie` holds the client's 8 octets and our 16, as cookie_answer gives them. */
void edns_put_cookie(struct writer *w, const uint8_t cookie[24]);

/** edns-tcp-keepalive (RFC 7828 §3.1), in units of 100 ms, rounded down; at most 6553.5 s. */
void edns_put_keepalive(struct writer *w, uint32_t timeout_ms);

/** The client subnet as it was read, with another scope; nothing where `subnet` is empty. */
void edns_put_subnet(struct writer *w, struct span subnet, uint8_t scope);

/**
 * An extended error. Where there is no room for it, it goes without its text, or not at all: it
 * must not cost the answer (RFC 8914 §3).
 */
void edns_put_ede(struct writer *w, uint16_t code, struct span text);

/** The options as octets; borrows `options`. */
static inline struct span edns_options_span(const struct edns_options *options)
{
	return (struct span){.data = options->octets, .len = options->len};
}
