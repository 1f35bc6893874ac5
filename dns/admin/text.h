/* SPDX-License-Identifier: Apache-2.0
 *
 * Text into a buffer; `fault` latches when memory ran out, and is checked once at the end.
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>

struct dname;
struct evbuffer;

struct text {
	struct evbuffer *out;
	bool fault;
};

/** Append formatted text. */
void text_add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** Append what others wrote: what is not printable ASCII becomes `?`, since people read it on
 * terminals. */
void text_add_foreign(struct text *text, const char *foreign);

/** Append a name in presentation format, with its trailing dot. */
void text_add_name(struct text *text, const struct dname *name);
