/* SPDX-License-Identifier: Apache-2.0
 *
 * What the transports know of the server: one function that takes a message and may compose the
 * response in place.
 */
#pragma once

#include "dns/resolve/forward.h"
#include "dns/serve/answer.h"

/** How a transport listens at an address: none of these, or both. */
enum listen_how {
	LISTEN_ELSEWHERE = 1, /* requestors are marked `elsewhere` */
	LISTEN_INSIDE = 2     /* only for what is sent within this host: tied to loopback */
};

/**
 * Serve one message.
 *
 * @param message  borrowed: valid during the call
 * @param from     borrowed likewise; the response to it may be handed to the transport inside
 * @param out      room for the response; its `len` grows by it where it is to be sent
 * @return VERDICT_SEND: send what stands in `out`; VERDICT_CANARY: likewise, and do not count it;
 * VERDICT_FORWARD: the response comes later through udp_send or tcp_send; VERDICT_DROP: there is
 * none
 */
typedef enum verdict serve_message(
	void *ctx, struct span message, const struct requestor *from, struct writer *out);

enum { SERVE_BATCH = 64 };

/**
 * What is told of messages that have arrived together before the first of them is served: they are,
 * in this order, before others are told of. Some may not be, and some may come untold.
 *
 * @param messages  borrowed until then; `count` of them, at most SERVE_BATCH
 */
typedef void serve_expect(void *ctx, const struct span *messages, unsigned count);
