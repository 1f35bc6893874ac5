# SPDX-License-Identifier: Apache-2.0
"""Forwarding: to good servers, bad ones, silent ones and none."""

import concurrent.futures
import socket
import time

import dns.flags
import dns.message
import dns.rcode
import pytest

import daemon as daemons
from clients import addresses_of, ask, ede, is_truncated, query, rcode, texts
from daemon import eventually
from nameserver import GOOD, good_answer, response_to
from namespaces import AUTHORITATIVE, NOBODY, RECURSIVE, SCRIPTED, VANISHED

def start(mesh, *servers, **options):
    return mesh.forward_to(*servers, **options)


@pytest.mark.parametrize("server", [RECURSIVE[4], RECURSIVE[6], AUTHORITATIVE[4], AUTHORITATIVE[6]])
@pytest.mark.parametrize("tcp", [False, True])
def test_real_server_answers_are_passed_whole(mesh, server, tcp):
    start(mesh, f"[{server}]:53" if ":" in server else server)
    direct = ask("alias.example.org", server=server)
    through = query("alias.example.org", tcp=tcp)
    # istio#27223: the whole chain; istio#55490: nothing of other sections mixed in.
    for section in ("answer", "authority"):
        assert sorted(texts(through, section)) == sorted(texts(direct, section))
    assert texts(query("www.example.org", "HTTPS"))[0].split(" ", 2)[1] == "HTTPS"
    assert texts(query("odd.example.org", "TYPE65534")) == ["odd.example.org. TYPE65534 \\# 5 0102030405"]
    assert rcode(query("nosuch.example.org")) == "NXDOMAIN"
    nodata = query("v4only.example.org", "AAAA")
    assert rcode(nodata) == "NOERROR" and not nodata.answer
    assert texts(nodata, "authority")[0].startswith("example.org. SOA")


@pytest.mark.parametrize("name,octets", [("medium", 800), ("large", 2400), ("huge", 20000)])
def test_large_answers_are_fetched_over_tcp_and_cut_for_udp(mesh, name, octets):
    # kuma#14487, #15400
    start(mesh, RECURSIVE[4])
    whole = query(f"{name}.example.org", "TXT", tcp=True)
    assert sum(len(text) for text in texts(whole)) > octets
    cut = query(f"{name}.example.org", "TXT", edns=False)
    assert is_truncated(cut) and len(cut.to_wire()) <= 512
    assert is_truncated(query(f"{name}.example.org", "TXT", payload=1232)) == (octets > 1232)
    if octets < 4000:
        assert texts(query(f"{name}.example.org", "TXT", payload=4096)) == texts(whole)


def test_opt_only_for_those_who_ask(mesh):
    start(mesh, RECURSIVE[4])
    assert query(edns=False).edns == -1
    assert query().edns == 0


def test_first_server_silent(mesh):
    start(mesh, VANISHED[4], RECURSIVE[4])
    for _ in range(3):
        begin = time.monotonic()
        assert addresses_of(query()) == GOOD
        assert time.monotonic() - begin < 3.5


def test_first_server_refuses_connections(mesh):
    start(mesh, NOBODY[4], RECURSIVE[4])
    assert addresses_of(query()) == GOOD
    assert addresses_of(query("v4only.example.org", tcp=True)) == ["192.0.2.4"]


@pytest.mark.parametrize("code", ["SERVFAIL", "REFUSED", "NOTIMP"])
def test_next_server_is_asked_after_a_failure(mesh, scripted, code):
    scripted.answer = lambda message, _: [response_to(message, code=dns.rcode.from_text(code))]
    one = start(mesh, SCRIPTED[4], RECURSIVE[4])
    assert addresses_of(query()) == GOOD
    assert one.alive()


def test_servfail_of_all_servers_reaches_the_requestor(mesh, scripted):
    scripted.answer = lambda message, _: [response_to(message, code=dns.rcode.SERVFAIL)]
    start(mesh, SCRIPTED[4])
    begin = time.monotonic()
    assert rcode(query()) == "SERVFAIL"
    assert time.monotonic() - begin < 4.5


@pytest.mark.parametrize("server", [VANISHED[4], NOBODY[4], NOBODY[6]])
def test_an_answer_always_before_the_requestor_gives_up(mesh, server):
    start(mesh, f"[{server}]:53" if ":" in server else server)
    begin = time.monotonic()
    response = query()
    assert rcode(response) == "SERVFAIL" and ede(response)[0] in (22, 23)
    assert time.monotonic() - begin < 4.6
    assert addresses_of(query("redis.svc.mesh.local"))


def test_without_any_server(mesh, network):
    network.set_resolv_conf()
    mesh.start("--no-redirect")
    response = query()
    assert rcode(response) == "SERVFAIL" and ede(response)[0] in (22, 23)
    assert addresses_of(query("redis.svc.mesh.local"))


def test_wrong_answers_are_not_believed(mesh, scripted):
    def answer(message, tcp):
        (right,) = good_answer(message, tcp)
        wrong_id = response_to(message, (message.question[0].name, 60, "IN", "A", "192.0.2.250"))
        wrong_id.id ^= 1
        other = dns.message.make_query("other.example.org", "A", id=message.id)
        wrong_question = response_to(other, ("other.example.org.", 60, "IN", "A", "192.0.2.251"))
        return [wrong_id, wrong_question, message.to_wire(), b"", b"\0" * 11, right]
    scripted.answer = answer
    start(mesh, SCRIPTED[4])
    assert addresses_of(query()) == GOOD


def test_ids_and_ports_are_random(mesh, scripted):
    # RFC 5452; istio#53577, c-ares#650: not one socket for ever
    scripted.answer = good_answer
    start(mesh, SCRIPTED[4])
    for number in range(64):
        query(f"n{number}.example.org", id=7)
    ports = [requestor[1] for _, requestor, _ in scripted.queries]
    assert len({message.id for message, _, _ in scripted.queries}) > 60
    assert len(set(ports)) > 20
    steps = {after - before for before, after in zip(ports, ports[1:])}
    assert len(steps) > 10


def test_identical_questions_in_flight_are_joined(mesh, scripted):
    start(mesh, SCRIPTED[4], config={"forward": {"tryTimeout": "3s"}})
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(query, "Joined.example.org") for _ in range(4)]
        waiting += [pool.submit(query, "jOINED.example.org", tcp=True) for _ in range(4)]
        scripted.wait_seen("joined.example.org")
        # All eight are with the daemon once it has counted them.
        one = mesh.daemons[0]
        eventually(lambda: (one.metric("kuma_dns_transactions_joined_total") or 0) >= 7, 3)
        scripted.reply("joined.example.org")
        responses = [future.result() for future in waiting]
    assert len(scripted.seen("joined.example.org")) == 1
    spellings = [response.question[0].name.to_text() for response in responses]
    assert spellings == ["Joined.example.org."] * 4 + ["jOINED.example.org."] * 4


def test_truncated_answer_is_asked_again_over_tcp(mesh, scripted):
    scripted.answer = lambda message, tcp: (
        good_answer(message, tcp) if tcp else [response_to(message, truncated=True)])
    start(mesh, SCRIPTED[4])
    response = query()
    assert addresses_of(response) == GOOD and not is_truncated(response)
    assert len(scripted.seen("www.example.org", tcp=False)) == len(scripted.seen("www.example.org", tcp=True)) == 1


def test_formerr_to_opt_does_not_harm_later_queries(mesh, scripted):
    # c-ares answers such a FORMERR by cutting 11 octets off the query, for the whole channel.
    def answer(message, tcp):
        if message.edns >= 0 and "old" in str(message.question[0].name):
            reply = dns.message.make_response(message)
            reply.use_edns(-1)
            reply.set_rcode(dns.rcode.FORMERR)
            return [reply]
        return good_answer(message, tcp)
    scripted.answer = answer
    start(mesh, SCRIPTED[4])
    assert rcode(query("old.example.org")) in ("NOERROR", "FORMERR", "SERVFAIL")
    for number in range(3):
        assert addresses_of(query(f"after{number}.example.org")) == GOOD
    assert all(scripted.seen(f"after{number}.example.org") for number in range(3))


def test_limit_of_transactions_is_servfail_at_once(mesh, scripted):
    one = start(mesh, SCRIPTED[4], config={"forward": {"maxTransactions": 4, "tryTimeout": "3s"}})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", daemons.PORT))
        client.settimeout(2)
        for number in range(5):
            client.send(dns.message.make_query(f"n{number}.example.org", "A").to_wire())
        assert rcode(dns.message.from_wire(client.recv(65535))) == "SERVFAIL"
        assert one.metric("kuma_dns_transactions_refused_total") == 1
        for number in range(4):
            scripted.reply(f"n{number}.example.org")
        answered = {dns.message.from_wire(client.recv(65535)).question[0].name.to_text() for _ in range(4)}
    assert len(answered) == 4


def test_checking_disabled_and_dnssec_ok_pass(mesh, scripted):
    scripted.answer = good_answer
    start(mesh, SCRIPTED[4])
    query("cd.example.org", flags=dns.flags.RD | dns.flags.CD)
    query("do.example.org", want_dnssec=True)
    by_name = {str(message.question[0].name): message for message, _, _ in scripted.queries}
    assert by_name["cd.example.org."].flags & dns.flags.CD
    assert by_name["do.example.org."].ednsflags & dns.flags.DO
    assert not by_name["cd.example.org."].ednsflags & dns.flags.DO
