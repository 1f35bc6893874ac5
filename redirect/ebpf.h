/* SPDX-License-Identifier: Apache-2.0
 *
 * Redirection of DNS by eBPF at the sockets of a cgroup: by programs that end with this process, or
 * by ones that last. Where nothing else is said, functions are as their namesakes in
 * redirect/redirect.h. Only DNS of this host; for the rest of the rules see redirect/nftables.h.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

struct ebpf;
struct endpoint;
struct redirect_error;
struct rules;

/**
 * Attach the programs; the kernel detaches them when this process ends, however it ends. Sockets
 * that are connected to port 53 already stay as they are; the log says how many. Where there are
 * programs of another daemon at the cgroup, or pinned ones, what they have given out as the alias
 * of a server is known as such from then on, where we may look (CAP_SYS_ADMIN).
 *
 * @return 0; -EOPNOTSUPP: this build, or the kernel, has no such thing; -EPERM: no CAP_BPF or
 * CAP_NET_ADMIN, or in a user namespace; -ENOENT: no cgroup2, or the application's is not to be
 * seen; -errno. `error` names what is missing.
 */
int ebpf_open(struct ebpf **ebpf, const struct rules *rules, struct redirect_error *error)
	__attribute__((warn_unused_result));

/** The cgroup that is intercepted. */
const char *ebpf_cgroup(const struct ebpf *ebpf);

/** Whether this process is in it. */
bool ebpf_covers_us(const struct ebpf *ebpf);

/**
 * From now on these servers are the listed ones, also to others who share the state. Needs no
 * system call and no capability. Answers of the ones from before still come from where they were
 * asked.
 */
void ebpf_set_servers(struct ebpf *ebpf, const struct rules *rules);

/**
 * The server that an application asked, by the address at which its query arrived here.
 *
 * @param local  our side of it, as IP_PKTINFO or getsockname has it; its port is not looked at
 * @param out    the server, at port 53
 * @return 0; -ENOENT where the query was not redirected by these programs
 * Cost: one access to memory that is shared with the programs; no system call, no capability, no
 * lock. From any thread.
 */
int ebpf_original(const struct ebpf *ebpf, const struct endpoint *local, struct endpoint *out)
	__attribute__((warn_unused_result));

void ebpf_withdraw(struct ebpf *ebpf);
void ebpf_close(struct ebpf *ebpf);

/**
 * Programs that last, pinned for our network namespace, so that their servers can be set and the
 * one that was asked can be found; they go on when this is closed.
 *
 * @return as redirect_open_pinned
 */
int ebpf_open_pinned(struct ebpf **ebpf, struct redirect_error *error)
	__attribute__((warn_unused_result));

/** Whether anybody is at the port behind theirs, for queries to servers that are not listed. */
void ebpf_set_elsewhere(struct ebpf *ebpf, bool elsewhere);

/**
 * Attach programs that last: their links are pinned below /sys/fs/bpf/kuma-dns, for each network
 * namespace by itself. What an earlier call installed is put aside, without a gap, until
 * ebpf_commit removes it, or ebpf_roll_back has it back. Others who install wait until then.
 *
 * @return as ebpf_open; nothing has changed after a failure
 */
int ebpf_install(struct ebpf **ebpf, const struct rules *rules, struct redirect_error *error)
	__attribute__((warn_unused_result));

/** Put these pins of our network namespace aside likewise. @return 0, with NULL where there are
 * none at all; -errno, `error` set */
int ebpf_uninstall(struct ebpf **ebpf, struct redirect_error *error)
	__attribute__((warn_unused_result));

/**
 * Ends `ebpf`, which may be NULL. Pins whose cgroup or network namespace is no more are removed
 * too, whoever left them; of the latter the kernel tells since Linux 6.18.
 */
void ebpf_commit(struct ebpf *ebpf, const struct rules *rules);
void ebpf_roll_back(struct ebpf *ebpf);

bool ebpf_is_installed(void);
void ebpf_print(const struct rules *rules, FILE *out);
void ebpf_print_removal(FILE *out);
