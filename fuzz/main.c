/* SPDX-License-Identifier: Apache-2.0
 *
 * Replays a corpus without libFuzzer: every file named on the command line goes through the fuzz
 * target that this file is linked with.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void replay(const char *path)
{
	FILE *file = fopen(path, "rb");
	if (!file || fseek(file, 0, SEEK_END) != 0) {
		perror(path);
		exit(1);
	}
	long size = ftell(file);
	rewind(file);
	/* An exact allocation, so that a sanitizer sees a read one octet beyond the input. */
	uint8_t *data = malloc(size > 0 ? (size_t)size : 1);
	if (size < 0 || !data || fread(data, 1, (size_t)size, file) != (size_t)size) {
		perror(path);
		exit(1);
	}
	fclose(file);
	(void)LLVMFuzzerTestOneInput(data, (size_t)size);
	free(data);
}

int main(int argc, char *argv[])
{
	for (int i = 1; i < argc; i++) {
		replay(argv[i]);
	}
	printf("%d inputs\n", argc - 1);
	return 0;
}
