/* SPDX-License-Identifier: Apache-2.0
 *
 * Records of the table's document as they nearly always are, read several times as fast as by a
 * decoder that takes everything. No I/O, no clock, no allocation.
 */
#pragma once

#include "dns/wire/dname.h"

enum { PLAIN_ADDRESSES = 64 };

struct plain_record {
	struct dname owner;
	size_t count;
	struct address address[PLAIN_ADDRESSES];
};

/**
 * Read a record, {"name": "…", "ips": ["…", …]}, in which there is nothing to be reported: a name
 * that can be encoded, addresses that can be read; members in any order, with whatever white space,
 * members besides, and texts that mean printable ASCII.
 *
 * @param[in,out] r       at white space or the record; moved behind it where it was plain, else
 * left alone
 * @param[out]    record  as in the document; garbage where it was not plain
 * @return false: not plain, which says nothing about whether it is good
 */
bool plain_record_read(struct reader *r, struct plain_record *record);

/**
 * An address from its text. What decides is the spelling: a colon means IPv6, whatever kind of
 * address that is.
 *
 * @return whether it is one
 */
bool plain_address(struct span text, struct address *address);
