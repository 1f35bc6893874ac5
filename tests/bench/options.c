/* SPDX-License-Identifier: Apache-2.0
 *
 * One table says what each flag sets; those that may come more than once stand beside it.
 */
#include "tests/bench/options.h"

#include "tests/bench/churn.h"
#include "tests/bench/queries.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The flags: each takes a value, but for switches. */
static const struct flag {
	const char *name;
	enum { SWITCH, NUMBER, REAL, TEXT } kind;
	size_t offset; /* in struct options */
} flags[] = {
	{"--server", TEXT, offsetof(struct options, address)},
	{"--port", NUMBER, offsetof(struct options, port)},
	{"--names", TEXT, offsetof(struct options, names)},
	{"--tcp", SWITCH, offsetof(struct options, tcp)},
	{"--unique", SWITCH, offsetof(struct options, unique)},
	{"--fixed", SWITCH, offsetof(struct options, fixed)},
	{"--separate", SWITCH, offsetof(struct options, separate)},
	{"--sockets", NUMBER, offsetof(struct options, sockets)},
	{"--window", NUMBER, offsetof(struct options, window)},
	{"--run", NUMBER, offsetof(struct options, run)},
	{"--queries", NUMBER, offsetof(struct options, queries)},
	{"--rate", REAL, offsetof(struct options, rate)},
	{"--seconds", REAL, offsetof(struct options, seconds)},
	{"--warmup", REAL, offsetof(struct options, warmup)},
	{"--timeout", REAL, offsetof(struct options, timeout)},
	{"--silent", NUMBER, offsetof(struct options, silent)},
	{"--surge", REAL, offsetof(struct options, surge)},
	{"--middle-from", REAL, offsetof(struct options, middle_from)},
	{"--middle-to", REAL, offsetof(struct options, middle_to)},
	{"--mixed", TEXT, offsetof(struct options, mixed)},
	{"--mixed-sockets", NUMBER, offsetof(struct options, mixed_sockets)},
	{"--churn", NUMBER, offsetof(struct options, churn)},
	{"--upstream-delay", REAL, offsetof(struct options, delay)},
};

static _Noreturn void usage(void)
{
	fprintf(stderr, "usage: load");
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		fprintf(stderr, flags[i].kind == SWITCH ? " [%s]" : " %s VALUE", flags[i].name);
	}
	fprintf(stderr, " [--upstream PORT]... [--pid PID]...\n");
	exit(2);
}

static void set_option(struct options *options, const char *name, const char *value)
{
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		uint8_t *field = (uint8_t *)options + flags[i].offset;
		uint32_t number = value == NULL ? 1 : (uint32_t)strtoul(value, NULL, 10);
		double real = value == NULL ? 0 : strtod(value, NULL);

		if (strcmp(flags[i].name, name) != 0) {
			continue;
		}
		if (flags[i].kind == TEXT) {
			memcpy(field, &value, sizeof(value));
		} else if (flags[i].kind == REAL) {
			memcpy(field, &real, sizeof(real));
		} else {
			memcpy(field, &number, sizeof(number));
		}
		return;
	}
	usage();
}

static bool is_switch(const char *name)
{
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		if (flags[i].kind == SWITCH && strcmp(flags[i].name, name) == 0) {
			return true;
		}
	}
	return false;
}

/* @return whether it is the name of a list, which has room */
static bool add_to_list(struct options *options, const char *name, const char *value)
{
	long number = strtol(value, NULL, 10);

	if (strcmp(name, "--pid") == 0 && options->pid_count < PIDS_MAX) {
		options->pids[options->pid_count++] = (pid_t)number;
		return true;
	}
	if (strcmp(name, "--upstream") == 0 && options->upstream_count < UPSTREAMS_MAX) {
		options->upstreams[options->upstream_count++] = (uint32_t)number;
		return true;
	}
	return false;
}

void options_read(struct options *options, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (is_switch(argv[i])) {
			set_option(options, argv[i], NULL);
		} else if (i + 1 == argc) {
			usage();
		} else {
			if (!add_to_list(options, argv[i], argv[i + 1])) {
				set_option(options, argv[i], argv[i + 1]);
			}
			i++;
		}
	}
	options->server.sin_port = htons((uint16_t)options->port);
	if (options->names == NULL || options->address == NULL || options->port == 0 ||
		inet_pton(AF_INET, options->address, &options->server.sin_addr) != 1 ||
		options->sockets == 0 || options->sockets > PEERS_MAX || options->window == 0 ||
		options->window > WINDOW_MAX || options->run == 0 ||
		options->run > QUERIES_RUN_MAX || options->run > options->window ||
		options->silent > options->upstream_count || options->churn > CHURN_MAX ||
		(options->mixed == NULL) != (options->mixed_sockets == 0) ||
		options->mixed_sockets >= options->sockets) {
		usage();
	}
}
