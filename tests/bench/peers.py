# SPDX-License-Identifier: Apache-2.0
"""The servers that are compared: how each is configured for the same names, or the same forwarding.

A peer is one function a role. It writes its files into the site's folder and returns its command line. All run in
the foreground, with one worker, on one address and port, and log nothing.
"""

import collections
import json
import os
import re
import shutil
import subprocess

ADDRESS = "127.0.0.1"
PORT = 5300
UPSTREAM_PORT = 5353

# What a peer can be asked for.
Peer = collections.namedtuple("Peer", "name local forward version_flag")


class Site:
    """Where a run keeps its files, and the names that are served."""

    def __init__(self, folder, build, count):
        self.folder = folder
        self.build = build
        self.names = mesh_names(count)
        self.write("names", "".join(f"{name} {a}\n" for name, a, _ in self.names))
        self.write("dnsperf", "".join(f"{name} A\n" for name, _, _ in self.names))
        # The load makes these unique, by writing a number over the first label: nothing is ever cached.
        self.write("forwarded", "".join(f"f{i:07x}.bench.example 192.0.2.1\n" for i in range(64)))
        records = [{"name": name, "ips": [a, aaaa]} for name, a, aaaa in self.names]
        self.write("table.json", json.dumps({"records": records, "ttl": 30}))

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        return self.path(name)


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


def echo(site):
    return [f"{site.build}/bench/echo", "udp", ADDRESS, str(PORT)]


def echo_tcp(site):
    return [f"{site.build}/bench/echo", "tcp", ADDRESS, str(PORT)]


def kuma_dns_command(site, *more):
    return [
        f"{site.build}/kuma-dns", "run", "--no-redirect", "--workers", "1", "--log-level", "error",
        "--listen", f"{ADDRESS}:{PORT}", "--admin-socket", site.path("admin.sock"),
        "--upstream", f"{ADDRESS}:{UPSTREAM_PORT}", *more,
    ]  # fmt: skip


def kuma_dns(site):
    return kuma_dns_command(site, "--table-file", site.path("table.json"))


def kuma_dns_forward(site):
    site.write("empty.json", '{"records": [], "ttl": 30}')
    return kuma_dns_command(site, "--table-file", site.path("empty.json"))


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


def unbound_forward(site):
    after = f'forward-zone:\n    name: "."\n    forward-addr: {ADDRESS}@{UPSTREAM_PORT}\n'
    return unbound_command(site, "unbound-forward.conf", "", after)


def version(peer, site):
    """The version that a program prints."""
    command = [peer.local(site)[0], peer.version_flag]
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    found = re.search(r"\d+\.\d+(\.\d+)?", ran.stdout)
    return found.group(0) if found else "?"


LIMIT = Peer("echo", echo, None, None)
LIMIT_TCP = Peer("echo", echo_tcp, None, None)
PEERS = (
    Peer("kuma-dns", kuma_dns, kuma_dns_forward, "--version"),
    Peer("nsd", nsd, None, "-v"),
    Peer("unbound", unbound, unbound_forward, "-V"),
)


def available(peer, site):
    """Whether the peer is installed, or was built."""
    return shutil.which(peer.local(site)[0]) is not None

