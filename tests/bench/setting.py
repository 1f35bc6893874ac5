# SPDX-License-Identifier: Apache-2.0
"""What the servers are given: addresses, the names that they serve, and a folder for their files."""

import functools
import json
import os
import re
import subprocess

ADDRESS = "127.0.0.1"
PORT = 5300
UPSTREAM_PORT = 5353
UPSTREAM_PORTS = (UPSTREAM_PORT, UPSTREAM_PORT + 1)


class Site:
    """Where a run keeps its files, and the names that are served."""

    def __init__(self, folder, build, count):
        self.folder = folder
        self.build = build
        self.names = mesh_names(count)
        os.makedirs(folder, exist_ok=True)
        self.write("names", "".join(f"{name} {a}\n" for name, a, _ in self.names))
        self.write("table.json", document(self.names))

    def write_forwarded(self):
        """What is asked where the answer comes from an upstream, and the tables beside it."""
        self.write("dnsperf", "".join(f"{name} A\n" for name, _, _ in self.names))
        # The load makes these unique, by writing a number over the first label: nothing is ever asked twice.
        self.write("unique", "".join(f"f{i:07x}.bench.example 192.0.2.1\n" for i in range(64)))
        self.write("public", "".join(f"{name} 192.0.2.1\n" for name in public_names(len(self.names))))
        self.write("empty.json", document([]))

    def smaller_or_larger(self, count):
        """Another number of names, in a folder of their own below this one."""
        return Site(self.path(f"of-{count}"), self.build, count)

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


def document(names):
    """The table as Kuma's control plane writes it."""
    return json.dumps({"records": [{"name": name, "ips": [a, aaaa]} for name, a, aaaa in names], "ttl": 30},
                      separators=(",", ":"))  # fmt: skip


def zone_file(site):
    """Write the names as a zone. @return its path"""
    records = "".join(f"{name}. 30 A {a}\n{name}. 30 AAAA {aaaa}\n" for name, a, aaaa in site.names)
    return site.write("zone", "mesh.local. 30 SOA ns.mesh.local. host.mesh.local. 1 5 5 5 5\n"
                      "mesh.local. 30 NS ns.mesh.local.\nns.mesh.local. 30 A 127.0.0.1\n" + records)  # fmt: skip


def hosts_file(site):
    """Write the names as a hosts file. @return its path"""
    return site.write("hosts", "".join(f"{a} {name}\n{aaaa} {name}\n" for name, a, aaaa in site.names))


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
