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
 * that are connected to port 53 already stay as they are; the log says how many.
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
 * From now on these servers are the listed ones. Needs no system call and no capability. Answers of
 * the ones from before still come from where they were asked.
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
 * Attach programs that last: their links are pinned below /sys/fs/bpf/kuma-dns, for each network
 * namespace by itself. What an earlier call installed is replaced without a gap. Pins of cgroups
 * that are no more are removed, whoever left them.
 */
int ebpf_install(const struct rules *rules, struct redirect_error *error)
	__attribute__((warn_unused_result));

/** Remove these pins of our network namespace, if there are any. */
int ebpf_uninstall(struct redirect_error *error) __attribute__((warn_unused_result));
bool ebpf_is_installed(void);
void ebpf_print(const struct rules *rules, FILE *out);
void ebpf_print_removal(FILE *out);
