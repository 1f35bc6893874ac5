/* SPDX-License-Identifier: Apache-2.0
 *
 * Text into a buffer.
 */
#include "dns/admin/text.h"

#include "dns/wire/dname.h"

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

void text_add_name(struct text *text, const struct dname *name)
{
	char presentation[DNAME_TEXT_SIZE];
	(void)dname_to_text(dname_span(name), presentation);
	text_add(text, "%s%s", presentation, name->len > 1 ? "." : "");
}
