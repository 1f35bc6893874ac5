/* SPDX-License-Identifier: Apache-2.0
 *
 * What the mesh says: the table from its source (Envoy's socket or a file), or the last good one
 * from disk. Runs on the main thread's loop; decoding never delays a query.
 */
#pragma once

#include "dns/mesh/table.h"

#include <time.h>

struct conf;
struct event_base;
struct mesh;

enum mesh_source { MESH_NONE, MESH_SAVED, MESH_FILE, MESH_SOCKET };

/** How the table came about, for operators. All times are of CLOCK_MONOTONIC, in ms. */
struct mesh_status {
	enum mesh_source source; /* of the table that is served */
	int64_t loaded_ms;       /* when it was published */
	int64_t confirmed_ms;    /* when its source last said that it is current */
	uint64_t fetches;        /* requests or readings ended */
	uint64_t unchanged;      /* of those, 304 or the same content */
	uint64_t unreachable;    /* of those, no connection, no file, or a time-out */
	uint64_t rejected;       /* of those, a bad document or an answer that makes no sense */
	char problem[256];       /* why the last reading brought nothing; empty where it did */
};

/**
 * Called with every new table, also inside mesh_open (the saved one).
 *
 * @param table  transferred: one reference; its generation is set
 */
typedef void mesh_publish(void *ctx, struct table *table, enum mesh_source source);

/**
 * Serve the saved table at once, if there is one, and begin to ask the source.
 *
 * @param conf  borrowed as long as the mesh is open: tableFile or workDir, pollInterval, maxSize,
 * stateDir
 * @return 0; -ENOMEM, or what the loop refused. A source that is absent, a bad document
 * and a damaged saved table are no errors: they are logged, counted and tried again
 */
int mesh_open(struct mesh **mesh, struct event_base *base, const struct conf *conf,
	mesh_publish *publish, void *ctx) __attribute__((warn_unused_result));

/** Borrowed; current until the loop runs again. */
const struct mesh_status *mesh_status(const struct mesh *mesh);

/** "saved", "file", "socket", "none". */
const char *mesh_source_name(enum mesh_source source);

/** Stop asking and free. NULL is a no-op. */
void mesh_close(struct mesh *mesh);
