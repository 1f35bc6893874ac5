/* SPDX-License-Identifier: Apache-2.0
 *
 * The name server that a forwarder asks: gives everyone the fixed answer, at once or after a
 * delay, or is silent. It runs inside the load, so that it costs the forwarder's core nothing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct delayed;

struct upstream {
	int fd;
	uint64_t delay_ns;
	struct delayed *ring; /* answers that are held back; NULL without a delay */
	uint32_t ring_first;
	uint32_t ring_count;
	bool silent;    /* takes what is asked, and says nothing */
	uint64_t asked; /* queries received */
};

/** Listen on a port of 127.0.0.1. The program ends with a message where it cannot. */
void upstream_open(struct upstream *upstream, uint16_t port, uint64_t delay_ns);

/** Answer what is there, one batch at most. @return whether anything was */
bool upstream_serve(struct upstream *upstream, uint64_t now);
