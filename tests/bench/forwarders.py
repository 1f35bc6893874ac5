# SPDX-License-Identifier: Apache-2.0
"""Forwarders: dnsdist and dnsmasq."""

from setting import ADDRESS, PORT, UPSTREAM_PORT, UPSTREAM_PORTS, hosts_file


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


# Its rules are tried one after the other: 10,000 names need a table, which it has in Lua.
DNSDIST_LOCAL = """
local names, names6 = {{}}, {{}}
for line in io.lines("{hosts}") do
    local address, name = line:match("(%S+) (%S+)")
    local to = address:find(":") and names6 or names
    to[name .. "."] = address
end
local types = {{[DNSQType.A] = names, [DNSQType.AAAA] = names6}}
addAction(AllRule(), LuaAction(function(dq)
    local of_type = types[dq.qtype]
    local address = of_type and of_type[dq.qname:toString()]
    if address then
        return DNSAction.Spoof, address
    end
    return DNSAction.Nxdomain
end))
"""


def dnsdist(site):
    return dnsdist_command(site, DNSDIST_LOCAL.format(hosts=hosts_file(site)))


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


def dnsmasq(site):
    command = dnsmasq_command(site, [], 0)
    return [*command, "--local=/mesh.local/", f"--addn-hosts={hosts_file(site)}"]


def dnsmasq_forward(site):
    return dnsmasq_command(site, UPSTREAM_PORTS[:1], 0)


def dnsmasq_cached(site):
    return dnsmasq_command(site, UPSTREAM_PORTS[:1], 20_000)


def dnsmasq_failover(site):
    return dnsmasq_command(site, UPSTREAM_PORTS, 0)
