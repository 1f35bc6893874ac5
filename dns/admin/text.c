/* SPDX-License-Identifier: Apache-2.0
 *
 * Text into a buffer.
 */
#include "dns/admin/text.h"

#include <event2/buffer.h>

void text_add(struct text *text, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	if (evbuffer_add_vprintf(text->out, format, args) < 0) {
		text->fault = true;
	}
	va_end(args);
}

void text_add_foreign(struct text *text, const char *foreign)
{
	for (const char *c = foreign; *c; c++) {
		bool printable = *c >= 0x20 && *c < 0x7f;
		if (evbuffer_add(text->out, printable ? c : "?", 1) < 0) {
			text->fault = true;
		}
	}
}
