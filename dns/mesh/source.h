/* SPDX-License-Identifier: Apache-2.0
 *
 * What a source of tables tells the mesh: fetch.c asks a socket, file.c watches a file.
 */
#pragma once

#include "dns/wire/cursor.h"

enum source_event {
	SOURCE_DOCUMENT,    /* here is a document, perhaps the same as before */
	SOURCE_UNCHANGED,   /* the last document that was accepted is current */
	SOURCE_UNREACHABLE, /* nobody to ask, nothing there, or no answer in time */
	SOURCE_REJECTED     /* there was an answer, and it makes no sense */
};

/**
 * Called at the end of each request or reading. The source must not be closed in it.
 *
 * @param document  borrowed; for SOURCE_DOCUMENT
 * @param problem   a sentence; for SOURCE_UNREACHABLE and SOURCE_REJECTED
 * @return for SOURCE_DOCUMENT, 0 if the document is served from now on, else a negative errno: the
 * source then forgets that it has seen it. Else without meaning
 */
typedef int source_report(
	void *ctx, enum source_event event, struct span document, const char *problem);
