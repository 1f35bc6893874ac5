# SPDX-License-Identifier: Apache-2.0
"""The servers that are compared: how each is configured for the same names, or the same forwarding.

A peer is one function a role. It writes its files into the site's folder and returns its command line. All run in
the foreground, with one worker, on one address and port, and log nothing. The roles:

    local     answers the site's names of the mesh; tcp the same, over TCP
    forward   asks the upstream for everything, and keeps nothing; or no longer than it must
    cached    asks the upstream, and keeps the answers to 10,000 names
    failover  asks either of two upstreams
    memory    asks the upstream, as configured by default
"""

import collections
import functools
import json
import os
import re
import shutil
import subprocess

ADDRESS = "127.0.0.1"
PORT = 5300
UPSTREAM_PORT = 5353
UPSTREAM_PORTS = (UPSTREAM_PORT, UPSTREAM_PORT + 1)

Peer = collections.namedtuple("Peer", "name program version_flag roles")


class Site:
    """Where a run keeps its files, and the names that are served."""

    def __init__(self, folder, build, count):
        self.folder = folder
        self.build = build
        self.names = mesh_names(count)
        self.write("names", "".join(f"{name} {a}\n" for name, a, _ in self.names))
        self.write("dnsperf", "".join(f"{name} A\n" for name, _, _ in self.names))
        # The load makes these unique, by writing a number over the first label: nothing is ever asked twice.
        self.write("unique", "".join(f"f{i:07x}.bench.example 192.0.2.1\n" for i in range(64)))
        self.write("public", "".join(f"{name} 192.0.2.1\n" for name in public_names(count)))
        records = [{"name": name, "ips": [a, aaaa]} for name, a, aaaa in self.names]
        self.write("table.json", json.dumps({"records": records, "ttl": 30}))
        self.write("empty.json", '{"records": [], "ttl": 30}')

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        return self.path(name)

    @functools.cached_property
    def kuma_dns_help(self):
        command = [f"{self.build}/kuma-dns", "--help"]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout

    @functools.cached_property
    def cache_size(self):
        """Octets of our cache where nothing is configured; None where the program has no cache."""
        found = re.search(r"--cache-size .*\(default (\d+)([KMG]iB)?\)", self.kuma_dns_help)
        unit = {None: 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
        return int(found.group(1)) * unit[found.group(2)] if found else None


def mesh_names(count):
    """Names as the control plane's default templates make them, with the addresses of their VIPs, sorted."""
    templates = (
        "service-{}.svc.mesh.local",
        "service-{}.shop.svc.east.mesh.local",
        "multi-{}.mzsvc.mesh.local",
        "external-{}.extsvc.mesh.local",
    )
    names = []
    for i in range(count):
        low = f"{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}"
        aaaa = f"::ffff:f1{i >> 16 & 255:02x}:{i & 0xffff:x}"
        names.append((templates[i % len(templates)].format(i), f"241.{low}", aaaa))
    return sorted(names)


def public_names(count):
    """Names that are none of the mesh's, as long as those are, so that messages have the same lengths."""
    templates = (
        "service-{}.pub.my.example",
        "service-{}.shop.pub.east.my.example",
        "multi-{}.mzpub.my.example",
        "external-{}.extpub.my.example",
    )
    return [templates[i % len(templates)].format(i) for i in range(count)]


# ---- limits


def echo(site):
    return [f"{site.build}/bench/echo", "udp", ADDRESS, str(PORT)]


def echo_tcp(site):
    return [f"{site.build}/bench/echo", "tcp", ADDRESS, str(PORT)]


def forwarder(site):
    return [f"{site.build}/bench/forwarder", ADDRESS, str(PORT), ADDRESS, str(UPSTREAM_PORT)]


# ---- kuma-dns


def kuma_dns(site, table="table.json", upstreams=UPSTREAM_PORTS[:1], more=()):
    command = [
        f"{site.build}/kuma-dns", "run", "--no-redirect", "--workers", "1", "--log-level", "error",
        "--listen", f"{ADDRESS}:{PORT}", "--admin-socket", site.path("admin.sock"),
        "--table-file", site.path(table),
    ]  # fmt: skip
    for port in upstreams:
        command += ["--upstream", f"{ADDRESS}:{port}"]
    return command + list(more)


def kuma_dns_forward(site):
    return kuma_dns(site, "empty.json", more=["--cache-size", "0"] if site.cache_size is not None else [])


def kuma_dns_failover(site):
    return kuma_dns(site, "empty.json", UPSTREAM_PORTS)


def kuma_dns_memory(site):
    return kuma_dns(site, "empty.json")


# ---- nsd


def nsd(site):
    records = "".join(f"{name}. 30 A {a}\n{name}. 30 AAAA {aaaa}\n" for name, a, aaaa in site.names)
    site.write("zone", "mesh.local. 30 SOA ns.mesh.local. host.mesh.local. 1 5 5 5 5\n"
               "mesh.local. 30 NS ns.mesh.local.\nns.mesh.local. 30 A 127.0.0.1\n" + records)
    site.write("nsd.conf", f"""
server:
    server-count: 1
    ip-address: {ADDRESS}@{PORT}
    do-ip6: no
    username: ""
    chroot: ""
    zonesdir: "{site.folder}"
    database: ""
    pidfile: ""
    logfile: "/dev/null"
    xfrdfile: "{site.path('xfrd.state')}"
    zonelistfile: "{site.path('zone.list')}"
    xfrdir: "{site.folder}"
    minimal-responses: yes
    rrl-ratelimit: 0
    tcp-count: 100
remote-control:
    control-enable: no
zone:
    name: mesh.local
    zonefile: zone
""")
    return ["nsd", "-d", "-c", site.path("nsd.conf")]


# ---- unbound

UNBOUND = """
server:
    num-threads: 1
    interface: {address}@{port}
    do-ip6: no
    username: ""
    chroot: ""
    directory: "{folder}"
    pidfile: ""
    use-syslog: no
    logfile: "/dev/null"
    verbosity: 0
    module-config: "iterator"
    minimal-responses: yes
    incoming-num-tcp: 100
    outgoing-range: 4096
    num-queries-per-thread: 2048
    do-not-query-localhost: no
    qname-minimisation: no
{more}
remote-control:
    control-enable: no
"""


def unbound_command(site, name, server, after=""):
    text = UNBOUND.format(address=ADDRESS, port=PORT, folder=site.folder, more=server)
    return ["unbound", "-d", "-p", "-c", site.write(name, text + after)]


def unbound(site):
    data = "".join(
        f'    local-data: "{name}. 30 A {a}"\n    local-data: "{name}. 30 AAAA {aaaa}"\n'
        for name, a, aaaa in site.names
    )
    return unbound_command(site, "unbound.conf", '    local-zone: "mesh.local." static\n' + data)


def unbound_to(site, upstreams, server):
    zone = 'forward-zone:\n    name: "."\n' + "".join(f"    forward-addr: {ADDRESS}@{port}\n" for port in upstreams)
    return unbound_command(site, "unbound-forward.conf", server, zone)


def unbound_forward(site):
    return unbound_to(site, UPSTREAM_PORTS[:1], "    cache-max-ttl: 0\n")


def unbound_cached(site):
    return unbound_to(site, UPSTREAM_PORTS[:1], "    msg-cache-size: 64m\n    rrset-cache-size: 64m\n")


def unbound_failover(site):
    return unbound_to(site, UPSTREAM_PORTS, "")


# ---- dnsdist

# One thread takes queries, in batches as we do, and one takes the answers of each upstream.
DNSDIST = """
setLocal("{address}:{port}")
setACL("127.0.0.0/8")
setSecurityPollSuffix("")
setVerboseHealthChecks(false)
setMaxUDPOutstanding(65535)
setUDPMultipleMessagesVectorSize(16)
"""


def dnsdist_command(site, more):
    path = site.write("dnsdist.conf", DNSDIST.format(address=ADDRESS, port=PORT) + more)
    return ["dnsdist", "--supervised", "--disable-syslog", "-C", path]


def dnsdist_forward(site):
    # Always up: the upstream is there as long as the load is, and dnsdist would look for it before.
    return dnsdist_command(site, f'newServer({{address="{ADDRESS}:{UPSTREAM_PORT}"}}):setUp()\n')


def dnsdist_cached(site):
    cache = "getPool(''):setCache(newPacketCache(20000, {maxTTL=86400, deferrableInsertLock=false}))\n"
    return dnsdist_command(site, f'newServer({{address="{ADDRESS}:{UPSTREAM_PORT}"}}):setUp()\n' + cache)


def dnsdist_failover(site):
    check = "checkInterval=1, checkTimeout=500, maxCheckFailures=1, rise=1"
    lines = (f'newServer({{address="{ADDRESS}:{port}", {check}}})\n' for port in UPSTREAM_PORTS)
    return dnsdist_command(site, "".join(lines))


# ---- pdns-recursor

RECURSOR = """
local-address={address}
local-port={port}
threads=1
pdns-distributes-queries=no
daemon=no
write-pid=no
disable-syslog=yes
quiet=yes
loglevel=0
socket-dir={folder}
security-poll-suffix=
hint-file=no
dnssec=off
dont-query=
max-mthreads=4096
"""


def recursor_command(site, upstreams, more):
    text = RECURSOR.format(address=ADDRESS, port=PORT, folder=site.folder)
    text += "forward-zones-recurse=.=" + ";".join(f"{ADDRESS}:{port}" for port in upstreams) + "\n"
    site.write("recursor.conf", text + more)
    return ["pdns_recursor", f"--config-dir={site.folder}"]


def recursor_forward(site):
    # Its record cache cannot be switched off, but a name that is asked once is never found in it.
    return recursor_command(site, UPSTREAM_PORTS[:1], "disable-packetcache=yes\nmax-cache-entries=0\n")


def recursor_cached(site):
    return recursor_command(site, UPSTREAM_PORTS[:1], "")


def recursor_failover(site):
    return recursor_command(site, UPSTREAM_PORTS, "")


# ---- dnsmasq

DNSMASQ = """
port={port}
listen-address={address}
bind-interfaces
no-resolv
no-hosts
no-poll
pid-file=
dns-forward-max=4096
"""


def dnsmasq_command(site, upstreams, cache_size):
    text = DNSMASQ.format(address=ADDRESS, port=PORT) + f"cache-size={cache_size}\n"
    text += "".join(f"server={ADDRESS}#{port}\n" for port in upstreams)
    # -d, as -k would change its groups, which a namespace like ours forbids.
    return ["dnsmasq", "-d", "-C", site.write("dnsmasq.conf", text)]


def dnsmasq_forward(site):
    return dnsmasq_command(site, UPSTREAM_PORTS[:1], 0)


def dnsmasq_cached(site):
    return dnsmasq_command(site, UPSTREAM_PORTS[:1], 20_000)


def dnsmasq_failover(site):
    return dnsmasq_command(site, UPSTREAM_PORTS, 0)


# ---- all of them

# What nobody is compared by: they are what the others are compared with.
LIMITS = (
    Peer("echo", "bench/echo", None, {"local": echo, "tcp": echo_tcp}),
    Peer("forwarder", "bench/forwarder", None, {"forward": forwarder}),
)
PEERS = (
    Peer("kuma-dns", "kuma-dns", "--version", {
        "local": kuma_dns, "tcp": kuma_dns, "forward": kuma_dns_forward, "cached": kuma_dns,
        "failover": kuma_dns_failover, "memory": kuma_dns_memory,
    }),
    Peer("nsd", "nsd", "-v", {"local": nsd, "tcp": nsd}),
    Peer("unbound", "unbound", "-V", {
        "local": unbound, "tcp": unbound, "forward": unbound_forward, "cached": unbound_cached,
        "failover": unbound_failover,
    }),
    Peer("dnsdist", "dnsdist", "--version", {
        "forward": dnsdist_forward, "cached": dnsdist_cached, "failover": dnsdist_failover,
    }),
    Peer("pdns-recursor", "pdns_recursor", "--version", {
        "forward": recursor_forward, "cached": recursor_cached, "failover": recursor_failover,
    }),
    Peer("dnsmasq", "dnsmasq", "--version", {
        "forward": dnsmasq_forward, "cached": dnsmasq_cached, "failover": dnsmasq_failover,
    }),
)  # fmt: skip


def program(peer, site):
    """The path of a peer's program; None where it is neither built nor installed."""
    return shutil.which(os.path.join(site.build, peer.program)) or shutil.which(peer.program)


def version(peer, site):
    """The version that a program prints."""
    command = [program(peer, site), peer.version_flag]
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    found = re.search(r"\d+\.\d+(\.\d+)?", ran.stdout)
    return found.group(0) if found else "?"
