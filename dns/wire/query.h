/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading a query: header, question, OPT. What is wrong with it becomes the RCODE that we owe.
 * No I/O, no clock, no allocation.
 */
#pragma once

#include "dns/wire/dname.h"
#include "dns/wire/edns.h"

enum {
	HEADER_LEN = 12, /* RFC 1035 §4.1.1 */
	UDP_LEN_MIN =
		512, /* RFC 1035 §2.3.4; a smaller OPT size counts as this (RFC 6891 §6.2.3) */
	UDP_LEN_OURS = 1232 /* what our OPT advertises: no fragments (RFC 9715 §3) */
};

enum header_flag { /* second 16-bit word of the header, RFC 1035 §4.1.1 and RFC 4035 §3 */
	FLAG_QR = 0x8000,
	FLAG_AA = 0x0400,
	FLAG_TC = 0x0200,
	FLAG_RD = 0x0100,
	FLAG_RA = 0x0080,
	FLAG_AD = 0x0020,
	FLAG_CD = 0x0010,
	FLAG_OPCODE = 0x7800,
	FLAG_RCODE = 0x000f
};

enum rcode { /* IANA, DNS RCODEs; above 15 only with OPT */
	RCODE_NOERROR = 0,
	RCODE_FORMERR = 1,
	RCODE_SERVFAIL = 2,
	RCODE_NXDOMAIN = 3,
	RCODE_NOTIMP = 4,
	RCODE_REFUSED = 5,
	RCODE_YXDOMAIN = 6,
	RCODE_BADVERS = 16
};

enum rrtype {
	TYPE_A = 1,
	TYPE_NS = 2,
	TYPE_CNAME = 5,
	TYPE_SOA = 6,
	TYPE_PTR = 12,
	TYPE_TXT = 16,
	TYPE_SIG = 24, /* SIG(0): RFC 2931 */
	TYPE_AAAA = 28,
	TYPE_OPT = 41,
	TYPE_SVCB = 64,
	TYPE_HTTPS = 65,
	TYPE_TSIG = 250, /* RFC 8945 */
	TYPE_IXFR = 251,
	TYPE_AXFR = 252,
	TYPE_ANY = 255
};

enum rrclass { CLASS_IN = 1, CLASS_CH = 3, CLASS_ANY = 255 };

/** A query as it was asked. Spans point into the message and live as long as it. */
struct query {
	struct span message; /* all of it */
	struct span
		question; /* QNAME as spelled, QTYPE, QCLASS; empty where it could not be read */
	uint16_t id;
	uint16_t flags; /* enum header_flag */
	uint16_t rcode; /* RCODE_NOERROR, or what we owe: FORMERR, NOTIMP, BADVERS */
	uint16_t qtype;
	uint16_t qclass;
	uint16_t udp_size; /* largest UDP response the requestor takes: 512..65535 */
	bool has_opt;
	bool edns_do;
	bool is_signed;         /* by TSIG or SIG(0): whatever is changed breaks it */
	struct edns_query edns; /* what OPT's options say; empty without one, and with BADVERS */
	struct dname qname;     /* folded; only where `question` is not empty */
};

static inline uint8_t query_opcode(const struct query *q)
{
	return (uint8_t)((q->flags & FLAG_OPCODE) >> 11);
}

/**
 * Read a query.
 *
 * An opcode other than QUERY gives NOTIMP, whatever the rest of the message says. Its OPT counts
 * nevertheless, where all records can be walked over and there is just one that is well-formed, so
 * that NOTIMP carries one (RFC 6891 §7).
 *
 * @param[out] q        every member set
 * @param      message  1..65535 octets from the network, borrowed by `q`
 * @return 0 if an answer is owed (q->rcode says which error, if any); -EBADMSG if none ever is:
 *         less than a header, or QR=1 (RFC 1035 §4.1.1, RFC 8906)
 * Cost: O(length of the name + number of records and options); no allocation.
 */
int query_parse(struct query *q, struct span message) __attribute__((warn_unused_result));
