# SPDX-License-Identifier: Apache-2.0
"""Where it is measured: a network namespace of our own, and which cores server and load have."""

import fcntl
import os
import platform
import re
import socket
import struct
import sys

INSIDE = "KUMA_DNS_BENCH_INSIDE"


def enter_namespace():
    """Run again as root of a user and network namespace of our own, and bring its loopback up."""
    if os.environ.get(INSIDE) is None:
        os.environ[INSIDE] = "1"
        os.execvp("unshare", ["unshare", "-Urn", sys.executable, os.path.abspath(sys.argv[0]), *sys.argv[1:]])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        siocsifflags, iff_up = 0x8914, 1
        fcntl.ioctl(any_socket, siocsifflags, struct.pack("16sh22x", b"lo", iff_up))


def choose_cores():
    """One core for the server, another for the load and for ourselves; and those that are left."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print("only one core: server and load share it, the ratios say little")
    return cores[0], cores[-1], cores[1:-1]


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = re.search(r"model name\s*: (.*)", file.read())
    with open("/proc/meminfo", encoding="utf-8") as file:
        memory_kb = int(re.search(r"MemTotal:\s*(\d+)", file.read()).group(1))
    return {
        "cpu": model.group(1) if model else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory_kb / 2**20),
        "kernel": re.match(r"\d+\.\d+", platform.release()).group(),
        "libc": " ".join(platform.libc_ver()),
    }


def described(about):
    return f"{about['cpu']}, {about['cores']} cores, {about['memory_gb']} GB, Linux {about['kernel']}"
