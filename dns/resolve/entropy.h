/* SPDX-License-Identifier: Apache-2.0
 *
 * Random numbers that nobody can predict (RFC 5452 §9.2), fetched from the kernel in blocks.
 */
#pragma once

#include <stdint.h>

/** One worker's supply; all zero at first. */
struct entropy {
	uint8_t octets[256];
	unsigned left; /* octets not yet given out, at the end */
};

/** 16 random bits. Cost: one system call in 128. */
uint16_t entropy_u16(struct entropy *e);

/** 64 random bits. */
uint64_t entropy_u64(struct entropy *e);
