# SPDX-License-Identifier: Apache-2.0
"""Real name servers as upstream: through us they say what they say directly, to the last record."""

import dns.flags
import pytest

import daemon as daemons
from clients import ask, ede, is_truncated, rcode, texts
from namespaces import AUTHORITATIVE, EXTRA, RECURSIVE

SERVERS = {
    "unbound": RECURSIVE[4], "unbound, IPv6": RECURSIVE[6], "NSD": AUTHORITATIVE[4], "NSD, IPv6": AUTHORITATIVE[6],
    "dnsmasq": EXTRA[4], "unbound that forwards": EXTRA[4],
}
# All shapes of nameserver.EXAMPLE_ZONE.
SHAPES = [
    ("www", "A"), ("www", "AAAA"), ("www", "HTTPS"), ("WwW", "A"), ("v4only", "A"), ("v4only", "AAAA"), ("mail", "A"),
    ("alias", "A"), ("alias", "AAAA"), ("alias", "CNAME"), ("alias", "TXT"), ("_sip._tcp", "SRV"), ("odd", "TYPE65534"),
    ("odd", "A"), ("any.wild", "A"), ("a.b.wild", "A"), ("any.wild", "TXT"), ("wild", "A"), ("db", "TXT"),
    ("medium", "TXT"), ("large", "TXT"), ("huge", "TXT"), ("many", "A"), ("nosuch", "A"), ("a.b.nosuch", "AAAA"),
    ("", "SOA"), ("", "NS"), ("", "MX"), ("", "A"), ("", "TXT"), ("www", "PTR"), ("www", "DS"),
]


@pytest.fixture(params=SERVERS)
def server(request, mesh, program):
    """A real server, and a daemon that forwards to it."""
    if request.param == "dnsmasq":
        # Its cache leaves links of a chain out.
        program.dnsmasq(EXTRA[4], RECURSIVE[4], upstream=True, options=["--cache-size=0"])
    elif request.param == "unbound that forwards":
        program.unbound(EXTRA[4], AUTHORITATIVE[4], upstream=True)
    address = SERVERS[request.param]
    mesh.forward_to(f"[{address}]:53" if ":" in address else address)
    return address


def all_of(response):
    """What it says, but for TTLs and the order of records."""
    sections = [sorted(texts(response, section)) for section in ("answer", "authority", "additional")]
    # Not AA, which is not true any more of what is remembered.
    flags = response.flags & (dns.flags.QR | dns.flags.RA | dns.flags.TC)
    return rcode(response), flags, response.question, sections


def differences(server, repeat=1, **options):  # pylint: disable=redefined-outer-name
    found = []
    for label, qtype in SHAPES * repeat:
        name = f"{label}.example.org".lstrip(".")
        direct = ask(name, qtype, server=server, tcp=True)
        through = ask(name, qtype, port=daemons.PORT, **options)
        if is_truncated(through):
            through = ask(name, qtype, port=daemons.PORT, **{**options, "tcp": True})
        if all_of(direct) != all_of(through):
            found.append((name, qtype, all_of(direct), all_of(through)))
        assert not ede(through)
        longer = [rrset for rrset in through.answer for other in direct.answer
                  if rrset.match(other.name, other.rdclass, other.rdtype, other.covers) and rrset.ttl > other.ttl + 1]
        assert not longer
    return found


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_same_answers_as_directly(server, tcp):
    assert not differences(server, tcp=tcp)


def test_same_answers_without_edns(server):
    assert not differences(server, edns=False)


def test_same_answers_from_the_cache(server):
    assert not differences(server, repeat=2)


@pytest.mark.parametrize("flags", [dns.flags.RD | dns.flags.CD, dns.flags.RD | dns.flags.AD])
def test_same_answers_with_flags(server, flags):
    for label, qtype in SHAPES[:8]:
        name = f"{label}.example.org".lstrip(".")
        direct = ask(name, qtype, server=server, flags=flags)
        through = ask(name, qtype, port=daemons.PORT, flags=flags)
        assert all_of(direct)[3] == all_of(through)[3] and rcode(direct) == rcode(through)
        assert through.flags & dns.flags.CD == flags & dns.flags.CD  # RFC 4035 §3.2.2; NSD forgets it


def test_same_answers_with_dnssec_ok(server):
    for label, qtype in SHAPES[:8]:
        name = f"{label}.example.org".lstrip(".")
        direct = ask(name, qtype, server=server, want_dnssec=True)
        through = ask(name, qtype, port=daemons.PORT, want_dnssec=True)
        assert all_of(direct)[3] == all_of(through)[3]
        assert through.ednsflags & dns.flags.DO
