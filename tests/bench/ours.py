# SPDX-License-Identifier: Apache-2.0
"""The limits, and kuma-dns."""

from setting import ADDRESS, PORT, UPSTREAM_PORT, UPSTREAM_PORTS


# ---- limits


def echo(site):
    return [f"{site.build}/bench/echo", "udp", ADDRESS, str(PORT)]


def echo_tcp(site):
    return [f"{site.build}/bench/echo", "tcp", ADDRESS, str(PORT)]


def upstream(site, port):
    """A name server that is simply there, where the load does not play one."""
    return [f"{site.build}/bench/echo", "udp", ADDRESS, str(port)]


def forwarder(site):
    return [f"{site.build}/bench/forwarder", ADDRESS, str(PORT), ADDRESS, str(UPSTREAM_PORT)]


# ---- kuma-dns


def kuma_dns(site, table="table.json", upstreams=UPSTREAM_PORTS[:1], more=(), workers=1, port=PORT):
    command = [
        f"{site.build}/kuma-dns", "run", "--no-redirect", "--workers", str(workers), "--log-level", "error",
        "--listen", f"{ADDRESS}:{port}", "--admin-socket", site.path("admin.sock"),
        "--table-file", site.path(table),
    ]  # fmt: skip
    for upstream_port in upstreams:
        command += ["--upstream", f"{ADDRESS}:{upstream_port}"]
    return command + list(more)


def kuma_dns_local(site):
    """As those who know nothing but their zone: with nobody to ask, and so with nobody to look after."""
    return kuma_dns(site, upstreams=(), more=["--resolv-conf", "/dev/null"])


def kuma_dns_forward(site):
    return kuma_dns(site, "empty.json", more=["--cache-size", "0"] if site.cache_size is not None else [])


def kuma_dns_failover(site):
    return kuma_dns(site, "empty.json", UPSTREAM_PORTS)


def kuma_dns_memory(site):
    return kuma_dns(site, "empty.json")
