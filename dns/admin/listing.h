/* SPDX-License-Identifier: Apache-2.0
 *
 * The table as text, a record a line, as dig prints them. Long tables go out in parts.
 */
#pragma once

#include "dns/admin/httpd.h"
#include "dns/mesh/table.h"

/** Reply with all records in the order of the document. @param table  one more reference is held */
void listing_all(struct httpd_reply *reply, struct table *table);

/**
 * Reply with what a name has: 200; 404 where it has no record.
 *
 * @param table  one more reference is held
 */
void listing_name(struct httpd_reply *reply, struct table *table, const struct dname *name);
