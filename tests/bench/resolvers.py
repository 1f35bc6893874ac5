# SPDX-License-Identifier: Apache-2.0
"""Resolvers, told to forward: unbound, PowerDNS Recursor, Knot Resolver, BIND."""

from setting import ADDRESS, PORT, UPSTREAM_PORTS, hosts_file, zone_file


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


def recursor_command(site, more):
    text = RECURSOR.format(address=ADDRESS, port=PORT, folder=site.folder)
    site.write("recursor.conf", text + more)
    return ["pdns_recursor", f"--config-dir={site.folder}"]


def recursor_to(site, upstreams, more):
    zone = "forward-zones-recurse=.=" + ";".join(f"{ADDRESS}:{port}" for port in upstreams) + "\n"
    return recursor_command(site, zone + more)


def recursor(site):
    return recursor_command(site, f"auth-zones=mesh.local={zone_file(site)}\n")


def recursor_forward(site):
    # Its record cache cannot be switched off, but a name that is asked once is never found in it.
    return recursor_to(site, UPSTREAM_PORTS[:1], "disable-packetcache=yes\nmax-cache-entries=0\n")


def recursor_cached(site):
    return recursor_to(site, UPSTREAM_PORTS[:1], "")


def recursor_failover(site):
    return recursor_to(site, UPSTREAM_PORTS, "")


# ---- knot resolver

KRESD = """
net.listen('{address}', {port}, {{ kind = 'dns' }})
log_level('crit')
trust_anchors.remove('.')
cache.size = 64 * MB
modules.unload('ta_update')
modules.unload('ta_signal_query')
modules.unload('priming')
modules.unload('detect_time_skew')
modules.unload('detect_time_jump')
"""


def kresd_command(site, more):
    text = KRESD.format(address=ADDRESS, port=PORT)
    return ["kresd", "-n", "-c", site.write("kresd.conf", text + more), site.folder]


def kresd(site):
    # Without a policy of ours, its own refuses what ends in "local".
    rule = "policy.add(policy.all(policy.PASS))\n"
    return kresd_command(site, f"modules.load('hints')\nhints.config('{hosts_file(site)}')\n{rule}")


def kresd_to(site, upstreams, more=""):
    servers = ", ".join(f"'{ADDRESS}@{port}'" for port in upstreams)
    return kresd_command(site, more + f"policy.add(policy.all(policy.FORWARD({{{servers}}})))\n")


def kresd_forward(site):
    # Its cache can be passed by when it is read, and is written all the same.
    return kresd_to(site, UPSTREAM_PORTS[:1], "policy.add(policy.all(policy.FLAGS({'NO_CACHE'})))\n")


def kresd_cached(site):
    return kresd_to(site, UPSTREAM_PORTS[:1])


def kresd_failover(site):
    return kresd_to(site, UPSTREAM_PORTS)


# ---- bind

BIND = """
options {{
    directory "{folder}";
    listen-on port {port} {{ {address}; }};
    listen-on-v6 {{ none; }};
    pid-file none;
    session-keyfile none;
    lock-file none;
    minimal-responses yes;
    dnssec-validation no;
    qname-minimization off;
    empty-zones-enable no;
    tcp-clients 1000;
    recursive-clients 20000;
    prefetch 0;
{more}
}};
logging {{ category default {{ null; }}; }};
controls {{ }};
"""


def bind_command(site, more, after=""):
    text = BIND.format(folder=site.folder, address=ADDRESS, port=PORT, more=more)
    return ["named", "-f", "-n", "1", "-c", site.write("named.conf", text + after)]


def bind(site):
    zone = f'zone "mesh.local" {{ type primary; file "{zone_file(site)}"; }};\n'
    return bind_command(site, "    recursion no;", zone)


def bind_to(site, upstreams, more=""):
    servers = " ".join(f"{ADDRESS} port {port};" for port in upstreams)
    return bind_command(site, f"    recursion yes; forward only; forwarders {{ {servers} }};\n{more}")


def bind_forward(site):
    # Its cache has a size of 2 MB at least; a name that is asked once is never found in it.
    return bind_to(site, UPSTREAM_PORTS[:1], "    max-cache-ttl 0; max-cache-size 2m;")


def bind_cached(site):
    return bind_to(site, UPSTREAM_PORTS[:1])


def bind_failover(site):
    return bind_to(site, UPSTREAM_PORTS)
