/* SPDX-License-Identifier: Apache-2.0
 *
 * Long work gives way to short: reading a table of 100,000 names takes some 50 ms, and where a
 * worker has to share the core with that, the kernel would let its queries wait for whole time
 * slices. `make bench` shows both.
 */
#pragma once

/**
 * Let other threads have the core, if any waits for it; to be called every few microseconds of long
 * work. It gives way once in 50 µs at most, and after that works at least for as long as the
 * others did, up to 10 ms: where they never rest, it still has half of the core.
 *
 * Of the calling thread alone. Cost: a look at the clock; each 50 µs, a system call.
 */
void give_way(void);
