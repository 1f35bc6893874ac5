/* SPDX-License-Identifier: Apache-2.0
 *
 * conf_read on any document: what it accepts, printed and read again, is the same configuration;
 * what it refuses, it explains.
 */
#include "conf/conf.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct conf conf;
	static struct conf again;
	struct conf_error error = {""};
	char *text = NULL;
	size_t len = 0;
	FILE *out;

	conf_init(&conf);
	if (conf_read(&conf, "fuzz", (const char *)data, size, &error) != 0) {
		if (!error.text[0]) {
			abort();
		}
		return 0;
	}
	out = open_memstream(&text, &len);
	conf_print(&conf, out);
	fclose(out);
	conf_init(&again);
	if (conf_read(&again, "printed", text, len, &error) != 0 ||
		memcmp(&conf, &again, sizeof conf) != 0) {
		abort();
	}
	free(text);
	return 0;
}
