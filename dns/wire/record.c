/* SPDX-License-Identifier: Apache-2.0 */
#include "dns/wire/record.h"

#include "dns/wire/dname.h"

#include <errno.h>

int record_read(struct record *record, struct reader *r)
{
	record->at = r->at;
	if (dname_skip(r)) {
		return -EBADMSG;
	}
	record->root = r->at == record->at + 1;
	record->type = reader_u16(r);
	record->class = reader_u16(r);
	record->ttl = reader_u32(r);
	record->rdata = reader_span(r, reader_u16(r));
	return r->fault ? -EBADMSG : 0;
}
