/* SPDX-License-Identifier: Apache-2.0
 *
 * The load's command line.
 */
#pragma once

#include <netinet/in.h>
#include <stdint.h>
#include <sys/types.h>

enum { PEERS_MAX = 1024, WINDOW_MAX = 4096, PIDS_MAX = 64, UPSTREAMS_MAX = 2 };

struct options {
	struct sockaddr_in server;
	const char *address;
	const char *names;
	uint32_t port;
	uint32_t tcp;      /* instead of UDP */
	uint32_t unique;   /* make every name unique */
	uint32_t fixed;    /* every answer is the fixed one */
	uint32_t separate; /* do not leave it to the kernel to cut runs apart */
	uint32_t sockets;
	uint32_t window;  /* queries in flight on each socket */
	uint32_t run;     /* queries sent at once; at a fixed rate too */
	uint32_t queries; /* how many are asked in all, without a warm-up; 0: as time allows */
	double rate;      /* queries a second; 0: as many as the windows allow */
	double seconds;
	double warmup;
	double timeout;
	uint32_t silent;    /* the upstream, 1 or 2, that falls silent in between; 0: none */
	double surge;       /* queries a second in the middle part; 0: as at other times */
	double middle_from; /* when the middle part begins and ends: seconds since the warm-up */
	double middle_to;   /* 0: there is none */
	const char *mixed;  /* names that the last sockets ask for instead, unique and fixed */
	uint32_t mixed_sockets;
	uint32_t churn; /* connections over TCP that come and go at the same time */
	double delay;   /* seconds until an upstream answers */
	uint32_t upstream_count;
	uint32_t upstreams[UPSTREAMS_MAX]; /* ports on which what is forwarded is answered */
	uint32_t pid_count;
	pid_t pids[PIDS_MAX]; /* of the server, whose CPU time is read */
};

/** Read the flags over the defaults; the program ends with a message where they make no sense. */
void options_read(struct options *options, int argc, char **argv);
