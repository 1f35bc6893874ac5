# SPDX-License-Identifier: Apache-2.0
"""Resolvers as applications have them. None is told about kuma-dns: all read /etc/resolv.conf.

Each of CLIENTS is called with a name and an address family, 4 or 6, and returns (outcome, addresses), where
the outcome is "ok", "absent" (no such name, or no address of this family) or "failed".
"""

import ipaddress
import pathlib
import re
import socket
import subprocess
import time

import dns.flags
import dns.message
import dns.query
import dns.rdatatype
import dns.resolver

import daemon as daemons
from namespaces import sh

TYPES = {4: "A", 6: "AAAA"}
MUSL_LOOKUP = "/run/musl_lookup"


def build_musl_lookup():
    """Link the musl program; a fraction of a second."""
    source = pathlib.Path(__file__).with_name("musl_lookup.c")
    sh("musl-gcc", "-static", "-O1", "-o", MUSL_LOOKUP, str(source))


def run(*command, timeout=20):
    """A command's (exit status, standard output)."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=timeout, check=False)
    return done.returncode, done.stdout


def plain(texts):
    """Addresses in one spelling each."""
    return {str(ipaddress.ip_address(text)) for text in texts}


def _answered(status, addresses):
    if status not in ("NOERROR", "NXDOMAIN"):
        return "failed", set()
    return ("ok" if addresses else "absent"), plain(addresses)


def _from_dig(program, name, family, *options):
    # Some servers add addresses of name servers.
    _, text = run(program, "+time=5", "+retry=0", "+noauthority", "+noadditional", *options, name, TYPES[family])
    status = re.search(r"status: (\w+)", text)
    addresses = re.findall(rf"^[^;\s]\S*\s+\d+\s+IN\s+{TYPES[family]}\s+(\S+)", text, re.M)
    return _answered(status[1] if status else "none", addresses)


def dig(name, family):
    return _from_dig("dig", name, family)


def dig_tcp(name, family):
    return _from_dig("dig", name, family, "+tcp")


def dig_noedns(name, family):
    return _from_dig("dig", name, family, "+noedns")


def kdig(name, family):
    return _from_dig("kdig", name, family, "+edns")


def kdig_tcp(name, family):
    return _from_dig("kdig", name, family, "+tcp")


def glibc(name, family):
    """getent, for an address of glibc's own choice of format; it does not tell absent from failed."""
    _, text = run("getent", f"ahostsv{family}", name)
    addresses = plain(line.split()[0] for line in text.splitlines())
    # glibc makes up mapped addresses where AAAA has none (AI_V4MAPPED of getent ahostsv6).
    return _error_of_glibc(name, family) if not addresses else ("ok", addresses)


def _error_of_glibc(name, family):
    try:
        socket.getaddrinfo(name, None, socket.AF_INET if family == 4 else socket.AF_INET6)
    except socket.gaierror as error:
        return ("failed" if error.errno == socket.EAI_AGAIN else "absent"), set()
    return "ok", set()


def musl(name, family):
    status, text = run(MUSL_LOOKUP, name, str(family))
    if status == 0:
        return "ok", plain(text.split())
    return ("absent" if text.strip() in ("EAI_NONAME", "EAI_NODATA") else "failed"), set()


def busybox(name, family):
    _, text = run("busybox", "nslookup", f"-type={TYPES[family]}", name)
    if re.search("SERVFAIL|REFUSED|timed out|no servers", text):
        return "failed", set()
    addresses = re.findall(r"^Address(?: \d+)?: (\S+)$", text.partition("\n\n")[2], re.M)
    return ("ok" if addresses else "absent"), plain(addresses)


def dnspython(name, family):
    resolver = dns.resolver.Resolver("/etc/resolv.conf")
    resolver.lifetime = 6
    try:
        found = resolver.resolve(name, TYPES[family], search=False)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return "absent", set()
    except (dns.resolver.NoNameservers, dns.resolver.LifetimeTimeout):
        return "failed", set()
    return "ok", plain(rdata.address for rdata in found)


CLIENTS = [dig, dig_tcp, dig_noedns, kdig, kdig_tcp, glibc, musl, busybox, dnspython]


def ask(qname, qtype="A", server="127.0.0.1", tcp=False, port=53, timeout=6, edns=True, payload=1232, source_port=0, **options):
    """One query by dnspython, and its response."""
    query = dns.message.make_query(qname, qtype, use_edns=0 if edns else None,
                                   payload=payload if edns else None, **options)
    if tcp:
        return dns.query.tcp(query, server, timeout, port, source_port=source_port)
    return dns.query.udp(query, server, timeout, port, source_port=source_port, ignore_unexpected=True)


def query(qname="www.example.org", qtype="A", **options):
    """Ask the daemon itself."""
    return ask(qname, qtype, port=daemons.PORT, **options)


def timed(function, *arguments, **options):
    """(seconds that it took, what it returned)."""
    begin = time.monotonic()
    result = function(*arguments, **options)
    return time.monotonic() - begin, result


def exchange(octets, tcp=False, timeout=6, server="127.0.0.1", port=None):
    """Send a message as it is; return the octets that come back, read by nobody."""
    where = (server, port or daemons.PORT)
    if not tcp:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.settimeout(timeout)
            one.connect(where)
            one.send(octets)
            return one.recv(65535)
    with socket.create_connection(where, timeout) as one, one.makefile("rb") as stream:
        one.settimeout(timeout)
        one.sendall(len(octets).to_bytes(2, "big") + octets)
        return stream.read(int.from_bytes(stream.read(2), "big"))


def rcode(response):
    return dns.rcode.to_text(response.rcode())


def texts(response, section="answer"):
    """The records of a section, as text without TTL: `name TYPE rdata`."""
    found = []
    for rrset in getattr(response, section):
        kind = dns.rdatatype.to_text(rrset.rdtype)
        found += [f"{rrset.name} {kind} {rdata.to_text()}" for rdata in rrset]
    return found


def addresses_of(response):
    """The addresses of an answer."""
    return [rdata.address for rrset in response.answer for rdata in rrset if hasattr(rdata, "address")]


def ede(response):
    """INFO-CODEs of the extended errors of a response (RFC 8914)."""
    return [int(option.code) for option in response.options if option.otype == 15]


def ttls(response, section="answer"):
    return {rrset.ttl for rrset in getattr(response, section)}


def is_truncated(response):
    return bool(response.flags & dns.flags.TC)
