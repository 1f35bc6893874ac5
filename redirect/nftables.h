/* SPDX-License-Identifier: Apache-2.0
 *
 * Redirection by nftables: in a table that this process owns, or in one that lasts. Functions are
 * as their namesakes in redirect/redirect.h.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

struct nftables;
struct redirect_error;
struct rules;

int nftables_open(struct nftables **nftables, const struct rules *rules,
	struct redirect_error *error) __attribute__((warn_unused_result));
int nftables_set_servers(struct nftables *nftables, const struct rules *rules,
	struct redirect_error *error) __attribute__((warn_unused_result));
const char *nftables_table(const struct nftables *nftables);
void nftables_withdraw(struct nftables *nftables);
void nftables_close(struct nftables *nftables);

/** Now that queries go to somebody else, what a daemon left that failed closed is in the way. */
void nftables_remove_closed(void);

int nftables_install(const struct rules *rules, bool *changed, struct redirect_error *error)
	__attribute__((warn_unused_result));
int nftables_set_installed_servers(const struct rules *before, const struct rules *now,
	struct redirect_error *error) __attribute__((warn_unused_result));
int nftables_uninstall(const struct rules *rules, struct redirect_error *error)
	__attribute__((warn_unused_result));
bool nftables_is_installed(void);
int nftables_print(const struct rules *rules, FILE *out) __attribute__((warn_unused_result));
void nftables_print_removal(FILE *out);
