/* SPDX-License-Identifier: Apache-2.0
 *
 * The socket that speaks to nf_tables. What a batch makes may belong to the socket that sent it:
 * the kernel removes that when the socket closes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct batch;
struct mnl_socket;
struct nlmsghdr;
struct redirect_error;

/**
 * @param[out] socket  the caller's, for mnl_socket_close
 * @param[out] error   set on failure
 * @return 0; -EOPNOTSUPP where the kernel has no nfnetlink; -errno
 */
int netlink_open(struct mnl_socket **socket, struct redirect_error *error)
	__attribute__((warn_unused_result));

/** Send a batch: all of it is done, or nothing. @return 0; as nft_explain, `error` set */
int netlink_send(const struct mnl_socket *nl, const struct batch *b, struct redirect_error *error)
	__attribute__((warn_unused_result));

/**
 * Have the kernel list what is in tables of family inet.
 *
 * @param type   NFT_MSG_GET…
 * @param table  of this one alone, as far as the kernel heeds it: not for tables and chains; or
 * NULL
 * @param set    whose elements; else NULL
 * @param see    as with mnl_cb_run, for each message
 * @return 0; -EINTR: it changed meanwhile; -ENOENT; -errno
 */
int netlink_dump(unsigned type, const char *table, const char *set,
	int (*see)(const struct nlmsghdr *message, void *data), void *data)
	__attribute__((warn_unused_result));

/**
 * Look for a table of family inet whose name begins with these octets; with `len` one more than the
 * name's length it has to be the whole name.
 *
 * @return 0: it is there; -ENOENT; -EPERM: without CAP_NET_ADMIN none is to be seen; -errno
 */
int netlink_look_for_table(const char *name, size_t len) __attribute__((warn_unused_result));

static inline bool netlink_find_table(const char *name, size_t len)
{
	return netlink_look_for_table(name, len) == 0;
}
