# SPDX-License-Identifier: Apache-2.0
"""The servers that are compared, and what each can be asked to do.

A peer is one function a role: it writes its files into the site's folder and returns its command line. All run in the
foreground, with one worker, on one address and port, and log nothing. The roles:

    local     answers the site's names of the mesh; tcp the same, over TCP
    forward   asks the upstream for everything, and keeps nothing; or no longer than it must
    cached    asks the upstream, and keeps the answers to 10,000 names
    failover  asks either of two upstreams
    memory    asks the upstream, as configured by default
"""

import collections
import os
import re
import shutil
import subprocess

import authoritative
import forwarders
import ours
import resolvers

Peer = collections.namedtuple("Peer", "name program version_flag roles")

# What nobody is compared by: they are what the others are compared with.
LIMITS = (
    Peer("echo", "bench/echo", None, {"local": ours.echo, "tcp": ours.echo_tcp}),
    Peer("forwarder", "bench/forwarder", None, {"forward": ours.forwarder}),
)
PEERS = (
    Peer("kuma-dns", "kuma-dns", "--version", {
        "local": ours.kuma_dns_local, "tcp": ours.kuma_dns_local, "forward": ours.kuma_dns_forward, "cached": ours.kuma_dns,
        "failover": ours.kuma_dns_failover, "memory": ours.kuma_dns_memory,
    }),
    Peer("nsd", "nsd", "-v", {"local": authoritative.nsd, "tcp": authoritative.nsd}),
    Peer("knot", "knotd", "-V", {"local": authoritative.knot, "tcp": authoritative.knot}),
    Peer("unbound", "unbound", "-V", {
        "local": resolvers.unbound, "tcp": resolvers.unbound, "forward": resolvers.unbound_forward,
        "cached": resolvers.unbound_cached, "failover": resolvers.unbound_failover,
    }),
    Peer("pdns-recursor", "pdns_recursor", "--version", {
        "local": resolvers.recursor, "tcp": resolvers.recursor, "forward": resolvers.recursor_forward,
        "cached": resolvers.recursor_cached, "failover": resolvers.recursor_failover,
    }),
    Peer("kresd", "kresd", "--version", {
        "local": resolvers.kresd, "tcp": resolvers.kresd, "forward": resolvers.kresd_forward,
        "cached": resolvers.kresd_cached, "failover": resolvers.kresd_failover,
    }),
    Peer("bind", "named", "-v", {
        "local": resolvers.bind, "tcp": resolvers.bind, "forward": resolvers.bind_forward,
        "cached": resolvers.bind_cached, "failover": resolvers.bind_failover,
    }),
    # Without tcp: it forks for each connection, and what its children use is not found beside it.
    Peer("dnsmasq", "dnsmasq", "--version", {
        "local": forwarders.dnsmasq, "forward": forwarders.dnsmasq_forward, "cached": forwarders.dnsmasq_cached,
        "failover": forwarders.dnsmasq_failover,
    }),
    Peer("dnsdist", "dnsdist", "--version", {
        "local": forwarders.dnsdist, "tcp": forwarders.dnsdist, "forward": forwarders.dnsdist_forward,
        "cached": forwarders.dnsdist_cached, "failover": forwarders.dnsdist_failover,
    }),
)  # fmt: skip
QUICK = ("kuma-dns", "nsd", "knot", "unbound", "dnsdist")


def program(peer, site):
    """The path of a peer's program; None where it is neither built nor installed."""
    return shutil.which(os.path.join(site.build, peer.program)) or shutil.which(peer.program)


def version(peer, site):
    """The version that a program prints."""
    command = [program(peer, site), peer.version_flag]
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    found = re.search(r"\d+\.\d+(\.\d+)?", ran.stdout)
    return found.group(0) if found else "?"
