/* SPDX-License-Identifier: Apache-2.0
 *
 * How a name would be answered, and why, in words: for people who wonder. Asked over the admin
 * socket, or in DNS itself, from this machine only. Asks nobody and changes nothing.
 */
#pragma once

#include "dns/serve/worker.h"

enum { EXPLANATION_SIZE = 8192 };

/** Lines of text, each of at most 255 octets and its end of line. */
struct explanation {
	size_t len;
	char text[EXPLANATION_SIZE];
};

/**
 * Explain a name, class IN.
 *
 * @param inside  the worker's, in its thread
 */
void explain(struct explanation *e, const struct worker_inside *inside, const struct dname *name,
	uint16_t qtype);

/**
 * Answer a query for which answer() gave VERDICT_EXPLAIN: a TXT record for each line; REFUSED to
 * requestors that are not on this machine; FORMERR where the type in the name is none.
 *
 * @param options  of our own OPT
 * @param limit    octets of the largest response
 * @param out      grows by the response
 */
void explain_query(const struct worker_inside *inside, const struct query *q,
	const struct edns_options *options, const struct endpoint *peer, size_t limit,
	struct writer *out);
