/* SPDX-License-Identifier: Apache-2.0
 *
 * What the daemon does about redirection: its own, that which somebody installed, and whether
 * queries do come to it. Of the daemon, this and main.c alone know redirect/. Main thread only, but
 * for redirecting_asked.
 */
#pragma once

#include "conf/conf.h"
#include "dns/admin/interception.h"
#include "dns/admin/state.h"
#include "redirect/redirect.h"

struct event_base;

struct redirecting {
	struct conf *conf;           /* borrowed; its mark and mode follow what is found */
	struct state *state;         /* borrowed: what becomes of it is told there */
	const struct servers *asked; /* borrowed: of resolv.conf, as it changes */
	struct rules rules;
	struct redirect *_Atomic own;      /* workers read it */
	bool installed;                    /* rules of others, or programs, with --no-redirect */
	bool pinned;                       /* programs … */
	struct redirect *programs;         /* … and these, where we may get at them … */
	struct redirect_error no_programs; /* … or why not */
	bool told_servers_stay;            /* of installed rules */
	struct interception *interception; /* NULL: not yet, or not wanted */
};

/**
 * What to intercept: what applications ask is in resolv.conf, whomever we ask ourselves.
 *
 * @param asked  of resolv.conf
 * @return as rules_compile; what is wrong was logged
 */
int redirecting_compile(struct rules *rules, const struct conf *conf, const struct servers *asked)
	__attribute__((warn_unused_result));

/** Look for what others have installed, as far as we may see it: before we are root no longer. The
 * borrowed members are set. */
void redirecting_look(struct redirecting *r);

/** Settle what is to be done. @return as rules_compile; what is wrong was logged */
int redirecting_prepare(struct redirecting *r) __attribute__((warn_unused_result));

/** Who was asked, for the workers: a worker_original. Any thread. */
int redirecting_asked(void *ctx, const struct endpoint *peer, const struct endpoint *local,
	bool tcp, struct endpoint *server);

/** Whether the kernel does what our own rules need. @return 0; -errno, as was logged */
int redirecting_check(const struct redirecting *r) __attribute__((warn_unused_result));

/** Have the workers listen where redirection, and it alone, sends queries; before they start.
 * @return 0; -errno: redirection could not work, as was logged */
int redirecting_listen(struct redirecting *r) __attribute__((warn_unused_result));

/** The workers listen: the kernel only is to send where somebody does. */
void redirecting_settle(struct redirecting *r);

/** Install our own rules. @return 0; -errno, as was logged */
int redirecting_begin(struct redirecting *r) __attribute__((warn_unused_result));

/** Send canaries from now on, where that is wanted and not done yet. As interception_open. */
void redirecting_prove(struct redirecting *r, struct event_base *base,
	const struct cookie_secret *secret, interception_settled *settled, void *ctx);

/** resolv.conf may have changed since rules were installed: they get its servers. */
void redirecting_catch_up(const struct redirecting *r);

/** resolv.conf has changed. */
void redirecting_follow(struct redirecting *r);

/** New queries go their own way from now on; see redirect_withdraw. */
void redirecting_withdraw(struct redirecting *r);

/** The rest of the rules goes: the workers have stopped. */
void redirecting_close(struct redirecting *r);
