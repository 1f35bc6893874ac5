# SPDX-License-Identifier: Apache-2.0
"""What can be seen of a redirection from outside: whose answers come, the kernel's tables and flows."""

import re

import meshtable
from clients import addresses_of, ask
from namespaces import RECURSIVE, sh

REDIS = meshtable.addresses("redis.svc.mesh.local")[0]
BOTH = [RECURSIVE[4], RECURSIVE[6]]


def tables():
    return sh("nft", "list", "tables").split("\n")[:-1]


def is_caught(server, tcp=False):
    """Whether a query to this server reaches the daemon: only the daemon knows redis."""
    return addresses_of(ask("redis.svc.mesh.local", server=server, tcp=tcp)) == REDIS


def flows():
    """conntrack's flows to port 53 or ours, as dictionaries with their original direction."""
    found = []
    for line in sh("conntrack", "-L", "-o", "extended").splitlines():
        if not re.search(r"dport=(53|15053)\b", line):
            continue
        pairs = re.findall(r"([\w-]+)=(\S+)", line)
        first, second = {}, {}
        for key, value in pairs:
            (second if key in first else first).setdefault(key, value)
        first["reply"] = second
        found.append(first)
    return found
