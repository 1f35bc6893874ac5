# SPDX-License-Identifier: Apache-2.0
"""EDNS ends at each hop, and so do cookies and keepalive.

Other opcodes and transfers are for the server that was asked, and never for one of our choice.
"""

import socket
import struct

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.query
import dns.rcode
import dns.rdatatype
import dns.update
import pytest

import daemon as daemons
import meshtable
from clients import addresses_of, ede, exchange, is_truncated, query, rcode, ttls
from nameserver import GOOD, good_answer, response_to
from namespaces import AUTHORITATIVE, SCRIPTED

COOKIE, KEEPALIVE, PADDING, NSID = 10, 11, 12, 3
WAYS = pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
# A local name, a forwarded one, and a forwarded one that is remembered.
NAMES = pytest.mark.parametrize("name", ["redis.svc.mesh.local", "fresh.example.org", "known.example.org"])


@pytest.fixture(autouse=True)
def forwarding(mesh, scripted):
    """A daemon that asks the scripted server, and knows one name already."""
    scripted.answer = good_answer
    one = mesh.forward_to(SCRIPTED[4])
    query("known.example.org")
    return one


def option(code, octets=b""):
    return dns.edns.GenericOption(code, octets)


def options_of(message, code):
    return [one for one in message.options if one.otype == code]


def data(response, code):
    """The octets of an option; None without one."""
    found = options_of(response, code)
    return found[0].to_wire() if found else None


# Cookies (RFC 7873, RFC 9018).


@WAYS
@NAMES
def test_client_gets_a_cookie_and_upstream_none(scripted, name, tcp):
    # c-ares#1081, #1271: cookies towards a farm of forwarders break
    client = b"\1\2\3\4\5\6\7\x08"
    response = query(name, options=[option(COOKIE, client)], tcp=tcp)
    cookie = data(response, COOKIE)
    assert rcode(response) == "NOERROR"
    assert len(cookie) == 24 and cookie[:8] == client and cookie[8:9] == b"\1"  # RFC 9018 §4: version 1
    assert data(query(name, options=[option(COOKIE, cookie)], tcp=tcp), COOKIE) == cookie  # echoed while it is valid
    assert not any(options_of(message, COOKIE) for message in scripted.seen())


def test_cookie_of_somebody_else_is_replaced():
    client = b"clientco"
    forged = client + b"\1\0\0\0" + struct.pack("!I", 1) + b"notahash"
    cookie = data(query(options=[option(COOKIE, forged)]), COOKIE)
    assert len(cookie) == 24 and cookie[:8] == client and cookie != forged


def test_client_cookie_is_not_in_our_cache_of_answers():
    first, other = (query("known.example.org", options=[option(COOKIE, octets)]) for octets in (b"a" * 8, b"b" * 8))
    assert data(first, COOKIE)[:8] == b"a" * 8 and data(other, COOKIE)[:8] == b"b" * 8
    assert data(query("known.example.org"), COOKIE) is None


@pytest.mark.parametrize("size", [0, 1, 7, 9, 15, 41, 100])
def test_malformed_cookie_is_formerr(scripted, size):
    # RFC 7873 §5.2.2
    response = query("fresh.example.org", options=[option(COOKIE, b"x" * size)])
    assert rcode(response) == "FORMERR" and not response.answer
    assert not scripted.seen("fresh.example.org")


# Keepalive (RFC 7828).


@NAMES
def test_keepalive_over_tcp(name):
    response = query(name, tcp=True, options=[option(KEEPALIVE)])
    (tenths,) = struct.unpack("!H", data(response, KEEPALIVE))
    assert 1 <= tenths <= 100  # tcp.idleTimeout is 10 s


@NAMES
def test_keepalive_over_udp_means_nothing(scripted, name):
    # RFC 7828 §3.2.1
    response = query(name, options=[option(KEEPALIVE)])
    assert rcode(response) == "NOERROR" and data(response, KEEPALIVE) is None
    assert not any(options_of(message, KEEPALIVE) for message in scripted.seen())


def test_no_keepalive_for_those_who_do_not_ask():
    assert data(query(tcp=True), KEEPALIVE) is None


@pytest.mark.parametrize("octets,code", [(b"\0\x0a", "NOERROR"), (b"\0", "FORMERR"), (b"\0\0\x0a", "FORMERR")])
def test_keepalive_with_a_value(octets, code):
    # RFC 7828 §3.2.1: a client sends none; one that does is told ours
    response = query(tcp=True, options=[option(KEEPALIVE, octets)])
    assert rcode(response) == code and (code != "NOERROR" or data(response, KEEPALIVE) == b"\0\x64")


# Other options, and OPT itself.


@WAYS
@NAMES
def test_unknown_options_end_here(scripted, name, tcp):
    # RFC 6891 §6.1.2, §6.2.6
    sent = [option(code, b"octets") for code in (NSID, PADDING, 65001, 4711)]
    response = query(name, options=sent, tcp=tcp)
    assert rcode(response) == "NOERROR" and addresses_of(response)
    assert not response.options
    assert all(not message.options for message in scripted.seen())


def test_options_of_upstream_end_here(scripted):
    def answer(message, tcp):
        (said,) = good_answer(message, tcp)
        said.use_edns(0, options=[option(NSID, b"ns1"), option(COOKIE, b"c" * 24), option(65001, b"x")])
        return [said]
    scripted.answer = answer
    assert not query("fresh.example.org").options
    assert not query("fresh.example.org").options  # nor from the cache


@WAYS
@NAMES
def test_opt_only_for_those_who_ask(name, tcp):
    # RFC 6891 §6.1.1
    assert query(name, edns=False, tcp=tcp).edns == -1
    assert query(name, tcp=tcp).edns == 0


def test_our_own_opt_upstream(scripted):
    # RFC 9715: no fragments
    query("plain.example.org", edns=False)
    query("large.example.org", payload=4096)
    for name in ("plain.example.org", "large.example.org"):
        (message,) = scripted.seen(name)
        assert message.edns == 0 and message.payload == 1232 and not message.options


def test_options_that_overrun_are_formerr():
    question = b"\5redis\3svc\4mesh\5local\0" + struct.pack("!HH", 1, 1)
    opt = b"\0" + struct.pack("!HHIH", 41, 1232, 0, 6) + struct.pack("!HH", NSID, 200) + b"xx"
    octets = exchange(struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 1) + question + opt)
    assert octets[3] & 15 == dns.rcode.FORMERR


# Client subnet (RFC 7871).


def scoped(scope):
    """Answers with this scope, of the third octet of the subnet."""
    def answer(message, tcp):
        subnets = options_of(message, dns.edns.OptionType.ECS)
        (said,) = good_answer(message, tcp)
        if subnets:
            said.use_edns(0, options=[dns.edns.ECSOption(subnets[0].address, subnets[0].srclen, scope)])
        return [said]
    return answer


@WAYS
def test_client_subnet_is_passed_on_and_its_scope_returned(scripted, tcp):
    scripted.answer = scoped(20)
    sent = dns.edns.ECSOption("198.51.100.0", 24)
    for _ in range(2):  # the second time from the cache
        (found,) = options_of(query("subnet.example.org", options=[sent], tcp=tcp), dns.edns.OptionType.ECS)
        assert (found.address, found.srclen, found.scopelen) == ("198.51.100.0", 24, 20)
    (passed,) = options_of(scripted.seen("subnet.example.org")[0], dns.edns.OptionType.ECS)
    assert (passed.address, passed.srclen, passed.scopelen) == ("198.51.100.0", 24, 0)


def test_no_client_subnet_is_added(scripted):
    scripted.answer = scoped(24)
    query("fresh.example.org")
    assert not any(options_of(message, dns.edns.OptionType.ECS) for message in scripted.seen())


@pytest.mark.parametrize("octets", [b"\0\1\x18", b"\0\1\x21\0\xc0\0\2\0\0", b"\0\3\x18\0\xc0\0\2", b"\0\1\x18\0\xc0\0"])
def test_malformed_client_subnet_is_formerr(octets):
    # RFC 7871 §7.1.2
    assert rcode(query(options=[option(8, octets)])) == "FORMERR"


# Extended errors (RFC 8914).


@WAYS
def test_extended_errors_of_upstream_are_passed_on(scripted, tcp):
    def answer(message, _):
        said = response_to(message, code=dns.rcode.SERVFAIL)
        said.use_edns(0, options=[dns.edns.EDEOption(6, "bad signature"), dns.edns.EDEOption(9)])
        return [said]
    scripted.answer = answer
    response = query("bogus.example.org", tcp=tcp)
    assert rcode(response) == "SERVFAIL" and ede(response)[:2] == [6, 9]
    assert [one.text for one in response.options if one.otype == 15][0] == "bad signature"


def test_extended_errors_with_an_answer(scripted):
    def answer(message, tcp):
        (said,) = good_answer(message, tcp)
        said.use_edns(0, options=[dns.edns.EDEOption(4, "forged")])
        return [said]
    scripted.answer = answer
    response = query("forged.example.org")
    assert addresses_of(response) == GOOD and ede(response) == [4]
    assert query("forged.example.org", edns=False).edns == -1


# Flags (RFC 4035, RFC 6840).


def test_do_and_cd_are_passed_on(scripted):
    for name, do, flags in (("a", False, 0), ("b", True, 0), ("c", False, dns.flags.CD), ("d", True, dns.flags.CD)):
        query(f"{name}.example.org", want_dnssec=do, flags=dns.flags.RD | flags)
        (message,) = scripted.seen(f"{name}.example.org")
        assert bool(message.ednsflags & dns.flags.DO) == do and bool(message.flags & dns.flags.CD) == bool(flags)
        assert message.flags & dns.flags.RD


def test_rd_is_passed_on(scripted):
    query("iterative.example.org", flags=0)
    assert not scripted.seen("iterative.example.org")[0].flags & dns.flags.RD


def test_upstream_is_always_asked_for_ad(scripted):
    """So that what is remembered serves those who want to know, too."""
    query("plain.example.org")
    assert scripted.seen("plain.example.org")[0].flags & dns.flags.AD


@pytest.mark.parametrize("options,expected", [
    ({}, False), ({"flags": dns.flags.RD | dns.flags.AD}, True), ({"want_dnssec": True}, True),
    ({"edns": False, "flags": dns.flags.RD | dns.flags.AD}, True),
])
def test_ad_reaches_those_who_understand_it(scripted, options, expected):
    # RFC 6840 §5.8
    def answer(message, tcp):
        (said,) = good_answer(message, tcp)
        said.flags |= dns.flags.AD
        return [said]
    scripted.answer = answer
    for _ in range(2):
        assert bool(query("secure.example.org", **options).flags & dns.flags.AD) == expected


def test_ad_is_never_invented():
    for name in ("redis.svc.mesh.local", "fresh.example.org", "fresh.example.org", "localhost"):
        assert not query(name, flags=dns.flags.RD | dns.flags.AD).flags & dns.flags.AD


# Opcodes and transfers (RFC 2136, 1996, 5936).


def raw(opcode, name="www.example.org", qtype=dns.rdatatype.SOA):
    message = dns.message.make_query(name, qtype, id=7)
    message.set_opcode(opcode)
    return message.to_wire()


def foreign(server):
    """What was passed on of it."""
    transfers = (dns.rdatatype.AXFR, dns.rdatatype.IXFR)
    return [message for message in server.seen()
            if message.opcode() != dns.opcode.QUERY or message.question[0].rdtype in transfers]


@WAYS
@pytest.mark.parametrize("opcode", [
    dns.opcode.IQUERY, dns.opcode.STATUS, 3, dns.opcode.NOTIFY, dns.opcode.UPDATE, 6, 15])
@pytest.mark.parametrize("name", ["www.example.org", "redis.svc.mesh.local"])
def test_other_opcodes_are_notimp(scripted, opcode, name, tcp):
    # istio#55962: echoing the opcode; never to a server of our choice, never silence
    octets = exchange(raw(opcode, name), tcp)
    assert octets[:2] == b"\0\7" and octets[2] & 0x80
    assert octets[2] >> 3 & 15 == opcode and octets[3] & 15 == dns.rcode.NOTIMP
    assert not foreign(scripted)


@WAYS
def test_whole_update_is_notimp(scripted, tcp):
    update = dns.update.UpdateMessage("example.org")
    update.add("host", 300, "A", "192.0.2.1")
    octets = exchange(update.to_wire(), tcp)
    assert octets[3] & 15 == dns.rcode.NOTIMP and octets[2] >> 3 & 15 == dns.opcode.UPDATE
    assert not foreign(scripted)


@WAYS
@pytest.mark.parametrize("qtype", ["AXFR", "IXFR"])
@pytest.mark.parametrize("name", ["example.org", "mesh.local", "."])
def test_transfers_are_refused(scripted, qtype, name, tcp):
    octets = exchange(raw(dns.opcode.QUERY, name, qtype), tcp)
    assert octets[:2] == b"\0\7" and octets[3] & 15 == dns.rcode.REFUSED
    assert not foreign(scripted)


# Size.


@WAYS
@pytest.mark.parametrize("upstream", ["tc", "large"])
def test_tc_never_reaches_those_who_came_by_tcp(scripted, tcp, upstream):
    # docker-alpine#326, kuma#14487
    many = [f"192.0.2.{number}" for number in range(1, 151)]

    def answer(message, over_tcp):
        if over_tcp or upstream == "large":
            return good_answer(message, addresses=many)
        return [response_to(message, (message.question[0].name, 60, "IN", "A", *many[:20]), truncated=True)]
    scripted.answer = answer
    for _ in range(2):
        response = query("many.example.org", tcp=tcp, payload=1232)
        assert is_truncated(response) == (not tcp)
        if tcp:
            assert sorted(addresses_of(response)) == sorted(many) and ttls(response) <= {60, 59}


def test_answer_comes_from_the_address_that_was_asked():
    # RFC 2181 §4
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as one:
        one.settimeout(5)
        one.sendto(dns.message.make_query("known.example.org", "A").to_wire(), ("::1", daemons.PORT))
        assert one.recvfrom(4096)[1][0] == "::1"


def test_everything_at_once(scripted):
    """All options together, over TCP, for a name of the mesh and one of upstream."""
    scripted.answer = scoped(24)
    sent = [option(COOKIE, b"12345678"), option(KEEPALIVE), option(NSID), option(PADDING, b"\0" * 50),
            dns.edns.ECSOption("198.51.100.0", 24)]
    for name in ("redis.svc.mesh.local", "all.example.org"):
        response = query(name, tcp=True, options=sent, want_dnssec=True)
        assert addresses_of(response) in (GOOD, meshtable.addresses("redis.svc.mesh.local")[0])
        assert len(data(response, COOKIE)) == 24 and len(data(response, KEEPALIVE)) == 2
        assert data(response, NSID) is None and response.ednsflags & dns.flags.DO


def test_real_server_sees_what_we_promise(mesh):
    mesh.daemons[0].stop()
    mesh.forward_to(AUTHORITATIVE[4])
    for tcp in (False, True):
        response = query("www.example.org", options=[option(COOKIE, b"12345678"), option(NSID)], tcp=tcp)
        assert addresses_of(response) == ["192.0.2.80"] and len(data(response, COOKIE)) == 24
