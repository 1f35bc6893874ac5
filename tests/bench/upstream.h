/* SPDX-License-Identifier: Apache-2.0
 *
 * The name server that a forwarder asks: gives everyone the fixed answer, or is silent. It runs
 * inside the load, so that it costs the forwarder's core nothing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct upstream {
	int fd;
	bool silent;    /* takes what is asked, and says nothing */
	uint64_t asked; /* queries received */
};

/** Listen on a port of 127.0.0.1. The program ends with a message where it cannot. */
void upstream_open(struct upstream *upstream, uint16_t port);

/** Answer what is there, one batch at most. @return whether anything was */
bool upstream_serve(struct upstream *upstream);
