# SPDX-License-Identifier: Apache-2.0
"""What is in an answer of ours, as an independent reader (dnspython) sees it."""

import ipaddress
import socket
import struct

import dns.flags
import dns.message
import dns.opcode
import dns.query
import dns.rdatatype
import dns.reversename
import pytest

import clients
import daemon as daemons
import meshtable
import namespaces
from clients import addresses_of, ask, ede, is_truncated, rcode, texts

WAYS = [(server, tcp) for server in ("127.0.0.1", "::1") for tcp in (False, True)]


def query(qname, qtype="A", way=WAYS[0], **options):
    """Ask the listener itself."""
    return ask(qname, qtype, server=way[0], tcp=way[1], port=daemons.PORT, **options)


def assert_negative(response, code, zone="mesh.local."):
    """The response is negative, with the SOA of its zone (RFC 2308 §5)."""
    assert rcode(response) == code
    assert not response.answer
    (soa,) = response.authority
    assert soa.name.to_text().lower() == zone and soa.rdtype == dns.rdatatype.SOA
    assert soa.ttl == min(soa.ttl, soa[0].minimum) <= 5


@pytest.mark.parametrize("way", WAYS)
def test_every_name_of_the_table_has_its_addresses(served, way):
    for record in meshtable.records()[:: 1 if way == WAYS[0] else 10]:
        v4, v6 = meshtable.addresses(record["name"])
        for qtype, expected in (("A", v4), ("AAAA", v6)):
            response = query(record["name"], qtype, way)
            if expected:
                assert clients.plain(addresses_of(response)) == clients.plain(expected)
                assert response.answer[0].ttl == meshtable.TTL
            else:
                assert rcode(response) == "NOERROR" and not response.answer
    assert served.daemon.alive()


@pytest.mark.parametrize("way", WAYS)
def test_case_is_ignored_and_kept(served, way):
    response = query("ReDiS.sVc.MESH.loCAL", way=way)
    assert response.question[0].name.to_text() == "ReDiS.sVc.MESH.loCAL."
    assert response.answer[0].name.to_text() == "ReDiS.sVc.MESH.loCAL."
    assert addresses_of(response) == meshtable.addresses("redis.svc.mesh.local")[0]
    assert addresses_of(query("mixed_case.svc.mesh.local", way=way)) == ["241.5.0.1"]


def test_case_is_kept_in_forwarded_answers(served):
    response = query("wWw.ExAmPlE.oRg")
    assert response.question[0].name.to_text() == "wWw.ExAmPlE.oRg."
    assert addresses_of(response) == ["192.0.2.80"]


def test_header_of_a_local_answer(served):
    response = query("redis.svc.mesh.local")
    assert response.flags & dns.flags.QR and response.flags & dns.flags.RA
    assert not response.flags & dns.flags.AD  # RFC 6840 §5.8: never invented
    assert dns.opcode.from_flags(response.flags) == dns.opcode.QUERY
    assert not query("redis.svc.mesh.local", edns=False).edns >= 0


@pytest.mark.parametrize("name,qtype", [
    ("v4only.svc.mesh.local", "AAAA"), ("v6only.svc.mesh.local", "A"),
    ("redis.svc.mesh.local", "HTTPS"), ("redis.svc.mesh.local", "SRV"), ("redis.svc.mesh.local", "TXT"),
    ("redis.svc.mesh.local", "TYPE65534"), ("svc.mesh.local", "A"), ("shop.svc.east.mesh.local", "A"),
])
def test_other_types_of_a_mesh_name_are_nodata(served, name, qtype):
    assert_negative(query(name, qtype), "NOERROR")


@pytest.mark.parametrize("name,zone", [
    ("nosuch.svc.mesh.local", "mesh.local."), ("below.redis.svc.mesh.local", "mesh.local."),
    ("web_demo_svc_80.mesh", "mesh."),
])
def test_unknown_mesh_names_are_nxdomain_from_here(served, name, zone):
    before = served.daemon.metric("kuma_dp_dns_queries_total", source="upstream") or 0
    assert_negative(query(name), "NXDOMAIN", zone)
    assert (served.daemon.metric("kuma_dp_dns_queries_total", source="upstream") or 0) == before


def test_any_gets_the_addresses(served):
    response = query("redis.svc.mesh.local", "ANY", payload=1232)
    expected = sum(meshtable.addresses("redis.svc.mesh.local"), [])
    assert clients.plain(addresses_of(response)) == clients.plain(expected)


def test_wildcard_owner_is_the_name_that_was_asked(served):
    # istio#47264, #61732
    response = query("any.wild.svc.mesh.local")
    assert texts(response) == ["any.wild.svc.mesh.local. A 241.4.0.1"]
    assert addresses_of(query("taken.wild.svc.mesh.local")) == ["241.4.0.2"]
    assert_negative(query("below.taken.wild.svc.mesh.local"), "NXDOMAIN")


def test_shadowed_public_name(served):
    assert addresses_of(query(meshtable.SHADOWED)) == meshtable.addresses(meshtable.SHADOWED)[0]
    response = query(meshtable.SHADOWED, "HTTPS")  # a public one would lead around the mesh
    assert rcode(response) == "NOERROR" and not response.answer
    assert texts(query(meshtable.SHADOWED, "TXT")) == [f'{meshtable.SHADOWED}. TXT "public"']


def test_reverse_names_of_table_addresses(served):
    for address in sum(meshtable.addresses("redis.svc.mesh.local"), []):
        response = query(dns.reversename.from_address(str(ipaddress.ip_address(address))), "PTR")
        assert [rdata.target.to_text() for rdata in response.answer[0]] == ["redis.svc.mesh.local."]


def test_addresses_are_rotated(served):
    first = {addresses_of(query("many.svc.mesh.local", payload=4096))[0] for _ in range(20)}
    assert len(first) > 1


@pytest.mark.parametrize("way", WAYS)
def test_large_local_answer_is_cut_with_tc_and_whole_over_tcp(served, way):
    # istio#29675, kuma#14487
    response = query("many.svc.mesh.local", way=way, edns=False)
    assert is_truncated(response) == (not way[1])
    if way[1]:
        assert len(addresses_of(response)) == 40
        assert len(addresses_of(query("huge.svc.mesh.local", way=way))) == 1000


def test_size_follows_the_opt_of_the_requestor(served):
    wire = query("many.svc.mesh.local", edns=False).to_wire()
    assert len(wire) <= 512  # RFC 1035 §4.2.1
    response = query("many.svc.mesh.local", payload=1232)
    assert len(addresses_of(response)) == 40 and not is_truncated(response)
    assert is_truncated(query("many.svc.mesh.local", payload=100))  # RFC 6891 §6.2.5: counts as 512
    assert is_truncated(query("huge.svc.mesh.local", payload=1232))


def exchange(octets):
    """Send octets as they are; return what comes back, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect(("127.0.0.1", daemons.PORT))
        one.settimeout(5)
        one.send(octets)
        # Whatever is dropped is dropped before this is answered.
        sentinel = dns.message.make_query("redis.svc.mesh.local", "A", id=4711).to_wire()
        one.send(sentinel)
        received = one.recv(65535)
        return None if received[:2] == sentinel[:2] else received


def header(flags, qdcount=1, arcount=0):
    return struct.pack("!HHHHHH", 0x1234, flags, qdcount, 0, 0, arcount)


QUESTION = b"\5redis\3svc\4mesh\5local\0" + struct.pack("!HH", 1, 1)
OPT = b"\0" + struct.pack("!HHIH", 41, 1232, 0, 0)


@pytest.mark.parametrize("octets", [b"", b"\x12\x34\1\0", header(0x8100) + QUESTION])
def test_no_answer_is_ever_owed(served, octets):
    assert exchange(octets) is None


@pytest.mark.parametrize("octets,code,opcode", [
    (header(0x0100, 0), 1, 0), (header(0x0100, 2) + QUESTION + QUESTION, 1, 0),
    (header(0x0100) + b"\x40", 1, 0), (header(0x0100) + b"\xc0\x0c\0\1\0\1", 1, 0),
    (header(0x0100, 1, 2) + QUESTION + OPT + OPT, 1, 0),
    (header(0x1000), 4, 2), (header(0x2800) + QUESTION, 4, 5), (header(0x2000) + QUESTION, 4, 4),
])
def test_malformed_and_foreign_messages_get_their_rcode(served, octets, code, opcode):
    received = exchange(octets)
    flags = int.from_bytes(received[2:4], "big")
    assert received[:2] == b"\x12\x34" and flags & 0x8000
    assert (flags & 15, flags >> 11 & 15) == (code, opcode)


def test_edns_version_1_is_badvers(served):
    message = dns.message.make_query("redis.svc.mesh.local", "A", use_edns=0)
    message.ednsflags |= 1 << 16
    response = dns.query.udp(message, "127.0.0.1", 5, daemons.PORT)
    assert rcode(response) == "BADVERS" and response.edns == 0 and not response.answer


def test_extended_error_says_why_a_forwarded_query_failed(served):
    # NXDOMAIN of the upstream is passed on, with its SOA.
    response = query("nosuch.example.org")
    assert rcode(response) == "NXDOMAIN" and not ede(response)
    assert texts(response, "authority")[0].startswith("example.org. SOA ")
    assert namespaces.RECURSIVE[4] in served.network.resolv_conf.read_text()
