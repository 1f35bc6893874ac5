# SPDX-License-Identifier: Apache-2.0
"""Bad servers: what they do costs no requestor its answer, nor the daemon its life.

Each is tried as the first of two servers, where the other one is good, and as the only one.
"""

import concurrent.futures
import dataclasses
import itertools
import os
import struct
import typing

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

import nameserver
from clients import addresses_of, exchange, is_truncated, query, rcode, texts, timed
from nameserver import CLOSE, GOOD, Elsewhere, Raw, good_answer, response_to, slowly
from namespaces import NOBODY, SCRIPTED, SECOND

BAD = ["192.0.2.250"]  # never to be seen
QUICK = 0.4  # the hedge of 100 ms, with AddressSanitizer on a machine that has other things to do
TIMEOUT = 1.5  # forward.timeout of those that are alone; below 4.6 s (kuma#4250), and tests take less time


@dataclasses.dataclass
class Case:
    """A bad server: what it says, and what may be expected."""

    name: str
    answer: typing.Callable
    alone: str = "any"  # "good": a right answer is to be had from it
    within: float = 1.0  # seconds, with a good server besides
    udp: bool = True
    tcp: bool = True  # False: refuses connections


def bad(message, **changes):
    (answer,) = good_answer(message, addresses=BAD)
    for key, value in changes.items():
        setattr(answer, key, value)
    return answer


def wrong_question(message, _tcp):
    """RFC 5452 §9.1; the answer fits the question that it brings along, not ours."""
    other = dns.message.make_query("other.example.org", "A", id=message.id)
    return [response_to(other, (name, 60, "IN", "A", *BAD))
            for name in ("other.example.org.", message.question[0].name)]


def wrong_type(message, _tcp):
    return [response_to(dns.message.make_query(message.question[0].name, "AAAA", id=message.id))]


def no_question(message, _tcp):
    return [bad(message, question=[])]


def flags_of_a_query(message, _tcp):
    return [bad(message, flags=dns.flags.RD)]


def only_udp(answer_udp, answer_tcp):
    return lambda message, tcp: answer_tcp(message, tcp) if tcp else answer_udp(message, tcp)


def truncated(message, _tcp):
    return [response_to(message, truncated=True)]


def wire(message):
    (answer,) = good_answer(message, True)
    return answer.to_wire()


def frame_half(message, _tcp):
    octets = wire(message)
    return [Raw(len(octets).to_bytes(2, "big") + octets[:len(octets) // 2]), CLOSE]


def close_at_once(_message, _tcp):
    return [CLOSE]


def text_of(octets, name):
    """TXT of many strings, in one record."""
    strings = " ".join(['"' + "x" * 249 + '"'] * (octets // 250))
    return dns.rrset.from_text(name, 60, "IN", "TXT", strings)


def oversized(octets):
    def answer(message, _tcp):
        said = response_to(message, (message.question[0].name, 60, "IN", "A", *GOOD))
        said.additional.append(text_of(octets, message.question[0].name))
        return [said]
    return answer


def cut_in_a_record(message, _tcp):
    said = response_to(message, (message.question[0].name, 60, "IN", "A", *BAD, "192.0.2.251"))
    said.use_edns(-1)
    return [said.to_wire()[:-3]]


def count_lies(message, _tcp):
    octets = bytearray(wire(message))
    octets[6:8] = b"\xff\xff"
    return [bytes(octets)]


def garbage(message, _tcp):
    return [message.id.to_bytes(2, "big") + os.urandom(200)]


def garbage_flags(message, _tcp):
    """A header that could be right, and nothing that is."""
    return [struct.pack("!HHHHHH", message.id, 0x8180, 1, 9, 9, 9) + os.urandom(100)]


def _records(message, records, count=1):
    """A right header and question, then these octets."""
    question = message.question[0].name.to_wire() + struct.pack("!HH", message.question[0].rdtype, 1)
    header = struct.pack("!HHHHHH", message.id, 0x8180, 1, count, 0, 0)
    return header + question + records


def _pointer(message, target):
    """An A record whose owner is a pointer to `target`, counted from where it stands."""
    at = 12 + len(message.question[0].name.to_wire()) + 4
    return struct.pack("!HHHIH4s", 0xc000 | (at + target), 1, 1, 60, 4, bytes([192, 0, 2, 250]))


def owner_points_to_itself(message, _tcp):
    return [_records(message, _pointer(message, 0))]


def owner_points_forward(message, _tcp):
    return [_records(message, _pointer(message, 10))]


def pointers_in_a_ring(message, _tcp):
    return [_records(message, _pointer(message, 16) + _pointer(message, 0), 2)]


def question_points_to_itself(message, _tcp):
    return [struct.pack("!HHHHHH", message.id, 0x8180, 1, 0, 0, 0) + b"\xc0\x0c" + b"\0\1\0\1"]


def bomb(message, _tcp):
    """A long chain of pointers, each to the one before: 100 labels a name, for little."""
    at = 12 + len(message.question[0].name.to_wire()) + 4
    records, offset = b"", 12
    for _ in range(60):
        owner = b"\1x" + struct.pack("!H", 0xc000 | offset)
        offset, records = at + len(records), records + owner + struct.pack("!HHIH4s", 1, 1, 60, 4, b"\xc0\0\2\xfa")
    return [_records(message, records, 60)]


def formerr_to_opt(message, tcp):
    if message.edns < 0:
        return good_answer(message, tcp)
    answer = response_to(message, code=dns.rcode.FORMERR)
    answer.use_edns(-1)
    return [answer]


def formerr_header_only(message, tcp):
    if message.edns < 0:
        return good_answer(message, tcp)
    return [struct.pack("!HHHHHH", message.id, 0x8181, 0, 0, 0, 0)]


def badvers_to_opt(message, tcp):
    if message.edns < 0:
        return good_answer(message, tcp)
    return [response_to(message, code=dns.rcode.BADVERS)]


def drops_opt(message, tcp):
    return good_answer(message, tcp) if message.edns < 0 else None


def answers_without_opt(message, tcp):
    (answer,) = good_answer(message, tcp)
    answer.use_edns(-1)
    return [answer]


def limited_to_512(message, tcp):
    """TC over 512 octets, whatever OPT says."""
    said = oversized(1000)(message, tcp)
    return said if tcp else truncated(message, tcp)


def drops_over_512(message, tcp):
    """A firewall before it knows no OPT; so it seems silent, until TCP is tried."""
    return oversized(1000)(message, tcp) if tcp else None


def flapping():
    turn = itertools.count()
    return lambda message, tcp: good_answer(message, tcp) if next(turn) % 2 else None


def once(message, tcp):
    return good_answer(message, tcp)


CASES = [
    Case("wrong ID", lambda m, _: [bad(m, id=m.id ^ 1)], within=QUICK),
    Case("wrong ID, then right", lambda m, t: [bad(m, id=m.id ^ 1), *once(m, t)], "good"),
    Case("wrong port", lambda m, _: [Elsewhere(bad(m))], within=QUICK),
    Case("wrong port, then right", lambda m, t: [Elsewhere(bad(m)), *once(m, t)], "good"),
    Case("wrong address", lambda m, _: [Elsewhere(bad(m), NOBODY[4])], within=QUICK),
    Case("wrong question", wrong_question, within=QUICK),
    Case("wrong question, then right", lambda m, t: [*wrong_question(m, t), *once(m, t)], "good"),
    Case("wrong type", wrong_type),
    Case("no question", no_question),
    Case("a query for an answer", flags_of_a_query, within=QUICK),
    Case("our own query", lambda m, _: [m.to_wire()], within=QUICK),
    Case("less than a header", lambda m, _: [m.to_wire()[:5], b""]),
    Case("header alone", lambda m, _: [struct.pack("!HHHHHH", m.id, 0x8180, 0, 0, 0, 0)]),
    Case("twice", lambda m, t: once(m, t) * 2, "good"),
    Case("right, then another answer", lambda m, t: [*once(m, t), bad(m)], "good"),
    Case("late, after the hedge", slowly(0.3), "good", within=QUICK),
    Case("late, after the next attempt", slowly(1.0), "good", within=QUICK),
    Case("late, after the answer", slowly(TIMEOUT + 0.3), within=QUICK),
    Case("cut in a record", cut_in_a_record),
    Case("count lies", count_lies),
    Case("garbage with our ID", garbage),
    Case("garbage behind a header", garbage_flags),
    Case("garbage", lambda m, _: [os.urandom(300)], within=QUICK),
    Case("TC, no TCP", truncated, tcp=False),
    Case("TC over TCP too", truncated),
    Case("TC, TCP silent", only_udp(truncated, nameserver.silent)),
    Case("TC, TCP closes in the middle", only_udp(truncated, frame_half)),
    Case("TC, TCP closes at once", only_udp(truncated, close_at_once)),
    Case("TC, garbage over TCP", only_udp(truncated, garbage)),
    Case("TC, frame of 0 octets", only_udp(truncated, lambda m, t: [Raw(b"\0\0")])),
    Case("TC, fine over TCP", only_udp(truncated, good_answer), "good"),
    Case("5,000 octets over UDP", oversized(5000), "good"),
    Case("64 KiB over TCP", only_udp(truncated, oversized(64000)), "good"),
    Case("SERVFAIL", nameserver.failing("SERVFAIL")),
    Case("REFUSED", nameserver.failing("REFUSED")),
    Case("NOTIMP", nameserver.failing("NOTIMP")),
    Case("FORMERR", nameserver.failing("FORMERR")),
    Case("FORMERR to OPT", formerr_to_opt, "good"),
    Case("FORMERR to OPT, header alone", formerr_header_only, "good"),
    Case("BADVERS to OPT", badvers_to_opt, "good"),
    Case("drops OPT", drops_opt, "good", within=QUICK),
    Case("answers without OPT", answers_without_opt, "good"),
    Case("512 octets at most", limited_to_512, "good"),
    Case("over 512 octets lost", drops_over_512, "good", within=QUICK),
    Case("UDP silent, TCP fine", only_udp(nameserver.silent, good_answer), "good", within=QUICK),
    Case("UDP closed, TCP fine", good_answer, "good", udp=False),
    Case("UDP closed, TCP closed", good_answer, udp=False, tcp=False),
    Case("UDP closed, TCP closes in the middle", frame_half, udp=False),
    Case("slow", slowly(0.7), "good", within=QUICK),
    Case("never", nameserver.silent, within=QUICK),
    Case("flaps", flapping(), "good", within=QUICK),
]

# What is relayed octet for octet; whether a requestor can read it, is not said.
UNREADABLE = [
    Case("owner points to itself", owner_points_to_itself),
    Case("owner points forward", owner_points_forward),
    Case("pointers in a ring", pointers_in_a_ring),
    Case("question points to itself", question_points_to_itself),
    Case("compression bomb", bomb),
]


def named(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


@pytest.fixture
def server(scripted, case):
    """The bad server."""
    scripted.answer = case.answer
    if not case.udp:
        scripted.close_udp()
    if not case.tcp:
        scripted.close_tcp()
    return scripted


def assert_alive_and_well(mesh, scripted, case):
    """The daemon lives, and asks a server that has become good."""
    scripted.answer = good_answer
    assert addresses_of(query("redis.svc.mesh.local"))
    if case.udp:
        assert addresses_of(query("afterwards.example.org")) == GOOD
    assert mesh.daemons[0].alive()


@named(CASES)
@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_bad_server_before_a_good_one(mesh, server, second, case, tcp):
    mesh.forward_to(SCRIPTED[4], SECOND[4])
    for number in range(3):
        took, response = timed(query, f"n{number}.example.org", tcp=tcp)
        assert addresses_of(response) == GOOD, case.name
        assert took < case.within, case.name
        assert not tcp or not is_truncated(response)
    assert_alive_and_well(mesh, server, case)


@named(CASES)
def test_bad_server_alone(mesh, server, case):
    mesh.forward_to(SCRIPTED[4], config={"forward": {"timeout": f"{int(TIMEOUT * 1000)}ms"}})
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        waiting = {tcp: pool.submit(timed, query, f"tcp-{tcp}.example.org", tcp=tcp) for tcp in (False, True)}
    for tcp, future in waiting.items():
        took, response = future.result()
        assert took < TIMEOUT + 0.6
        found = addresses_of(response)
        assert found in ([], GOOD)
        # TC is an answer, too: the requestor comes back over TCP. To one that is there already it is none.
        assert not is_truncated(response) or not tcp
        assert found or case.alone == "any" or is_truncated(response), response
    assert_alive_and_well(mesh, server, case)


@named(UNREADABLE)
@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_names_that_cannot_be_read(mesh, server, case, tcp):
    """RFC 9267: loops, forward pointers and bombs stop nobody, and are not remembered."""
    mesh.forward_to(SCRIPTED[4], config={"forward": {"timeout": f"{int(TIMEOUT * 1000)}ms"}})
    message = dns.message.make_query("loop.example.org", "A", use_edns=0)
    took, octets = timed(exchange, message.to_wire(), tcp)
    assert took < TIMEOUT + 0.6
    assert octets[:2] == message.id.to_bytes(2, "big") and octets[2] & 0x80
    assert_alive_and_well(mesh, server, case)


@pytest.mark.parametrize("name", ["owner points to itself", "owner points forward", "pointers in a ring"])
def test_loops_are_not_remembered(mesh, scripted, name):
    scripted.answer = next(case.answer for case in UNREADABLE if case.name == name)
    mesh.forward_to(SCRIPTED[4], config={"forward": {"timeout": "1s"}})
    message = dns.message.make_query("loop.example.org", "A")
    exchange(message.to_wire())
    scripted.answer = good_answer
    # RFC 9520: the failure may be remembered, for 5 s at most.
    if dns.message.from_wire(exchange(message.to_wire())).rcode() == dns.rcode.NOERROR:
        assert addresses_of(query("loop.example.org")) == GOOD


def test_silent_server_alone_is_a_failure_before_the_requestor_gives_up(mesh, scripted):
    # kuma#4250, kubernetes#56903: with all defaults; applications wait 5 s
    mesh.forward_to(SCRIPTED[4])
    took, response = timed(query)
    assert rcode(response) == "SERVFAIL" and took < 4.6
    scripted.answer = good_answer
    assert addresses_of(query("afterwards.example.org")) == GOOD


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_opt_dropper_is_found_out_once(mesh, scripted, tcp):
    scripted.answer = drops_opt
    mesh.forward_to(SCRIPTED[4])
    took, response = timed(query, "first.example.org", tcp=tcp)
    assert addresses_of(response) == GOOD and took < 4.6
    for number in range(5):
        took, response = timed(query, f"n{number}.example.org", tcp=tcp)
        assert addresses_of(response) == GOOD and took < QUICK


@pytest.mark.parametrize("octets", [5000, 30000, 64000])
def test_answers_up_to_64_kib_come_whole(mesh, scripted, octets):
    # kuma#14487
    scripted.answer = lambda message, tcp: (
        [response_to(message, truncated=True)] if not tcp else [with_text(message, octets)])
    mesh.forward_to(SCRIPTED[4])
    assert sum(len(text) for text in texts(query("large.example.org", "TXT", tcp=True))) >= octets
    cut = query("large2.example.org", "TXT")
    assert is_truncated(cut) and len(cut.to_wire()) <= 1232


def with_text(message, octets):
    said = response_to(message)
    said.answer.append(text_of(octets, message.question[0].name))
    return said


def test_largest_message_there_is(mesh, scripted):
    """65,535 octets leave no room for an OPT of ours: an answer all the same."""
    def answer(message, tcp):
        if not tcp:
            return truncated(message, tcp)
        octets = with_text(message, 64500).to_wire(max_size=65535)
        padding = 65535 - len(octets)
        filler = b"\0" + struct.pack("!HHIH", 65534, 1, 60, padding - 11) + b"x" * (padding - 11)
        counts = bytearray(octets)
        counts[8:10] = b"\0\1"  # an authority record, of no known type
        end = len(octets) - (11 if message.edns >= 0 else 0)
        return [bytes(counts[:end]) + filler + bytes(counts[end:])]
    scripted.answer = answer
    one = mesh.forward_to(SCRIPTED[4])
    octets = exchange(dns.message.make_query("largest.example.org", "TXT", use_edns=0, id=7).to_wire(), tcp=True)
    assert octets[:2] == b"\0\7" and one.alive()
    assert rcode(query("redis.svc.mesh.local")) == "NOERROR"


def test_pipelined_answers_may_come_in_any_order(mesh, scripted):
    # RFC 7766 §7: one connection, the slow answer does not hold up the quick one
    def answer(message, tcp):
        if not tcp:
            return truncated(message, tcp)
        return slowly(0.5)(message, tcp) if "slow" in str(message.question[0].name) else good_answer(message)
    scripted.answer = answer
    mesh.forward_to(SCRIPTED[4])
    assert addresses_of(query("slow.example.org")) == GOOD
    assert addresses_of(query("quick.example.org")) == GOOD
    connections = {requestor for _, requestor, tcp in scripted.queries if tcp}
    assert len(connections) == 1  # reused
