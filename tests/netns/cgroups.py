# SPDX-License-Identifier: Apache-2.0
"""cgroups of our own below the host's cgroup2, and the eBPF programs that are attached to them."""

import contextlib
import os
import pathlib
import re
import tempfile

import clients
import daemon as daemons
import namespaces
from namespaces import sh

PINS = pathlib.Path("/sys/fs/bpf/kuma-dns")


def mount():
    """Where cgroup2 is mounted, or None."""
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        if " - cgroup2 " in line:
            return pathlib.Path(line.split()[4])
    return None


def why_not():
    """What eBPF at the sockets needs and is not here; "" where all is."""
    if not namespaces.has_other_users():
        return "eBPF needs the real root: it cannot be had in a user namespace"
    if b"built without eBPF" in pathlib.Path(daemons.binary()).read_bytes():
        return "built without eBPF"
    if mount() is None or not os.access(mount(), os.W_OK):
        return "no cgroup2 mount that can be written to"
    return ""


def move(cgroup, pid=None):
    (pathlib.Path(cgroup) / "cgroup.procs").write_text(str(pid or os.getpid()))


@contextlib.contextmanager
def made(parent=None):
    """A new cgroup with nobody in it."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="kuma-dns-test-", dir=parent or mount()))
    path.chmod(0o755)  # as all cgroups: the daemon is not root when it opens it
    try:
        yield path
    finally:
        daemons.eventually(lambda: _remove(path))


def _remove(path):
    """the cgroup is empty, and removed"""
    try:
        path.rmdir()
    except FileNotFoundError:
        pass
    except OSError:
        return False
    return True


@contextlib.contextmanager
def entered():
    """A new cgroup with this process in it, and all that it starts."""
    with made() as path:
        before = mount() / re.search(r"^0::/(.*)$", pathlib.Path("/proc/self/cgroup").read_text(), re.M)[1]
        move(path)
        try:
            yield path
        finally:
            move(before)


def programs(cgroup):
    """The attach types of the programs at a cgroup."""
    # Without any, what bpftool prints is no JSON.
    text = clients.run("bpftool", "--json", "cgroup", "show", str(cgroup))[1]
    return sorted(re.findall(r'"attach_type":"(\w+)"', text))


def local_routes():
    """Prefixes that were made local to this host, with their metrics."""
    return re.findall(r"^local fd6b:\S+ .*metric (\d+)", sh("ip", "-6", "route", "show", "table", "local"), re.M)
