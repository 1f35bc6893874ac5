/* SPDX-License-Identifier: Apache-2.0
 *
 * conf_read on any document, and behind a `=` the short form of upstreams: what is accepted,
 * printed and read again, is the same configuration; what is refused is explained.
 */
#include "conf/conf.h"

#include <stdlib.h>
#include <string.h>

/* As NUL-terminated text in a flag. */
static int load(struct conf *conf, const char *text, size_t len, struct conf_error *error)
{
	char name[] = "--upstream-zone";
	char *value = strndup(text, len);
	char *argv[] = {name, value};
	char *envp[] = {NULL};
	int rest;
	int rc = conf_load(conf, 2, argv, envp, &rest, error);

	free(value);
	return rc;
}

static void prints_and_reads_back(const struct conf *conf)
{
	static struct conf again;
	struct conf_error error = {""};
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	conf_print(conf, out);
	fclose(out);
	conf_init(&again);
	if (conf_read(&again, "printed", text, len, &error) != 0 ||
		memcmp(conf, &again, sizeof again) != 0) {
		abort();
	}
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct conf conf;
	struct conf_error error = {""};
	const char *text = (const char *)data;
	int rc;

	conf_init(&conf);
	if (size > 0 && text[0] == '=') {
		rc = load(&conf, text + 1, size - 1, &error);
	} else {
		rc = conf_read(&conf, "fuzz", text, size, &error);
	}
	if (rc == 0) {
		prints_and_reads_back(&conf);
	} else if (!error.text[0]) {
		abort();
	}
	return 0;
}
