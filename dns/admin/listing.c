/* SPDX-License-Identifier: Apache-2.0
 *
 * The table as text. A listing holds a reference to its table and remembers the next record, so
 * that a million names take no more memory than ten, however slowly they are read.
 */
#include "dns/admin/listing.h"

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <stdio.h>
#include <stdlib.h>

enum { PART = 16384, LINE_SIZE = DNAME_TEXT_SIZE + INET6_ADDRSTRLEN + 64 };

struct listing {
	struct table *table;
	struct table_cursor cursor;
	bool single;   /* one name, which is set already */
	bool has_name; /* the following describe a name */
	size_t record; /* its next address, A before AAAA */
	struct table_addresses addresses;
	char owner[DNAME_TEXT_SIZE + 1]; /* with the trailing dot */
};

static void set_name(struct listing *l, struct span wire)
{
	size_t len = dname_to_text(wire, l->owner);
	if (wire.len > 1) { /* the root is its dot */
		l->owner[len] = '.';
		l->owner[len + 1] = '\0';
	}
	l->has_name = true;
	l->record = 0;
}

/* Go to the next name. @return whether there is one */
static bool next_name(struct listing *l)
{
	if (l->single) {
		return false;
	}
	struct span wire = table_next(l->table, &l->cursor, &l->addresses);
	if (wire.len > 0) {
		set_name(l, wire);
	}
	return wire.len > 0;
}

/* Write the current record and go to the next. @return length */
static size_t put_line(struct listing *l, char line[LINE_SIZE])
{
	const struct table_addresses *a = &l->addresses;
	size_t count = (size_t)a->a_count + a->aaaa_count;
	char text[INET6_ADDRSTRLEN];
	size_t i = l->record++;
	l->has_name = l->record < count;
	if (count == 0) {
		return (size_t)snprintf(line, LINE_SIZE, "; %s has no address\n", l->owner);
	}
	bool ipv4 = i < a->a_count;
	const uint8_t *octets = ipv4 ? a->a + 4 * i : a->aaaa + 16 * (i - a->a_count);
	inet_ntop(ipv4 ? AF_INET : AF_INET6, octets, text, sizeof(text));
	return (size_t)snprintf(line, LINE_SIZE, "%s %u IN %s %s\n", l->owner, table_ttl(l->table),
		ipv4 ? "A" : "AAAA", text);
}

static enum httpd_more listing_more(void *stream, struct evbuffer *body)
{
	struct listing *l = stream;
	char line[LINE_SIZE];
	while (evbuffer_get_length(body) < PART) {
		if (!l->has_name && !next_name(l)) {
			return HTTPD_END;
		}
		if (evbuffer_add(body, line, put_line(l, line)) < 0) {
			return HTTPD_ABORT;
		}
	}
	return HTTPD_MORE;
}

static void listing_free(void *stream)
{
	struct listing *l = stream;
	table_unref(l->table);
	free(l);
}

static struct listing *listing_new(struct httpd_reply *reply, struct table *table)
{
	struct listing *l = calloc(1, sizeof(*l));
	reply->status = l ? 200 : 0;
	if (l) {
		l->table = table_ref(table);
		reply->more = listing_more;
		reply->free = listing_free;
		reply->stream = l;
	}
	return l;
}

void listing_all(struct httpd_reply *reply, struct table *table)
{
	listing_new(reply, table);
}

static void not_found(struct httpd_reply *reply, const struct dname *name, const char *why)
{
	char owner[DNAME_TEXT_SIZE];
	dname_to_text(dname_span(name), owner);
	reply->status = 404;
	if (evbuffer_add_printf(reply->body, "%s %s\n", owner, why) < 0) {
		reply->status = 0;
	}
}

void listing_name(struct httpd_reply *reply, struct table *table, const struct dname *name)
{
	struct table_addresses addresses = {0};
	enum table_found found = table_lookup(table, name, &addresses);
	if (found == TABLE_ABSENT) {
		not_found(reply, name, "is not in the table");
		return;
	}
	if (found == TABLE_EMPTY) {
		not_found(reply, name, "has no record; names below it have");
		return;
	}
	struct listing *l = listing_new(reply, table);
	if (l) {
		l->single = true;
		l->addresses = addresses;
		set_name(l, dname_span(name));
	}
}
