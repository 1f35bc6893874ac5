/* SPDX-License-Identifier: Apache-2.0
 *
 * Walking over resource records as they stand on the wire. No I/O, no allocation.
 */
#pragma once

#include "dns/wire/cursor.h"

/** A resource record (RFC 1035 §3.2.1); its owner name is passed over. Borrows the message. */
struct record {
	size_t at; /* offset of its first octet */
	uint16_t type;
	uint16_t class; /* OPT: the sender's UDP payload size (RFC 6891 §6.1.2) */
	uint32_t ttl;   /* OPT: upper RCODE bits, version, flags (RFC 6891 §6.1.3) */
	bool root;      /* its owner name is the root */
	struct span rdata;
};

enum { EDNS_DO = 0x8000 }; /* in the TTL of OPT (RFC 6891 §6.1.4) */

/**
 * Read the record at the cursor and move behind it.
 *
 * @return 0; -EBADMSG if its name or RDATA overruns the message
 */
int record_read(struct record *record, struct reader *r) __attribute__((warn_unused_result));
