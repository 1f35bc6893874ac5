/* SPDX-License-Identifier: Apache-2.0
 *
 * The kernel's memory of flows to port 53, and how to make it forget. nat rules are asked only
 * about the first packet of a flow.
 */
#pragma once

#include "conf/endpoint.h"

#include <stdint.h>

/** Which flows to port 53, UDP and TCP, in which zone. */
struct conntrack_flows {
	uint16_t zone;
	uint16_t port;       /* of ours: a flow that is redirected is answered from it … */
	uint16_t other_port; /* … or from this one */
	enum { CONNTRACK_REDIRECTED, CONNTRACK_OTHERS } which;
	const struct endpoint *server; /* to these alone, borrowed; NULL: to any */
	unsigned server_count;
};

/**
 * Delete these flows. Needs CAP_NET_ADMIN.
 *
 * @param[out] count  of those deleted, also after an error
 * @return 0; -EPERM; -EOPNOTSUPP and the like where the kernel has no CONFIG_NF_CT_NETLINK; -ENOMEM
 * Cost: one pass over all flows of the network namespace.
 */
int conntrack_delete(const struct conntrack_flows *flows, unsigned *count)
	__attribute__((warn_unused_result));

/**
 * Which server a flow went to before it was redirected, as redirect_original. Flows in our zone and
 * in none are looked at.
 */
int conntrack_original(const struct endpoint *peer, const struct endpoint *local, int protocol,
	struct endpoint *server) __attribute__((warn_unused_result));
