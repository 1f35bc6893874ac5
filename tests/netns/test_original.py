# SPDX-License-Identifier: Apache-2.0
"""The server that was asked: what is for that very server goes there, octet for octet, and back.

NSD (AUTHORITATIVE) is not in resolv.conf; it sets AA, which the resolver there never does.
"""

import contextlib
import socket
import threading
import time

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.update
import pytest

import clients
import daemon as daemons
import nameserver
from clients import addresses_of, ask, rcode
from daemon import eventually
from namespaces import AUTHORITATIVE, EXTRA, NOBODY, RECURSIVE, SCRIPTED, SECOND, VANISHED
from redirected import BOTH, is_caught

ALL = {"redirect": {"dns": {"captureAll": True}}}
FAMILIES = pytest.mark.parametrize("family", [4, 6])
TRANSPORTS = pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])


def passed(one):
    return int(one.metric("kuma_dns_passed_total"))


class Recorder:
    """Says back each message, QR set and nothing else changed; keeps the octets. Over TCP `frames` come back."""

    def __init__(self, network, address):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with network.upstream():
            self._udp = socket.socket(family, socket.SOCK_DGRAM)
            self._tcp = socket.socket(family, socket.SOCK_STREAM)
        self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.seen = []
        self.closed = threading.Event()  # the other side has closed a connection
        self.frames = lambda octets: [as_response(octets)]
        self.hang_up = False  # after the frames
        for one in (self._udp, self._tcp):
            one.bind((address, 53))
        self._tcp.listen(16)
        threading.Thread(target=self._serve_udp, daemon=True).start()
        threading.Thread(target=self._serve_tcp, daemon=True).start()

    def _serve_udp(self):
        with contextlib.suppress(OSError):
            while True:
                octets, requestor = self._udp.recvfrom(65535)
                if not requestor:
                    return
                self.seen.append(octets)
                self._udp.sendto(as_response(octets), requestor)

    def _serve_tcp(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._tcp.accept()
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection):
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as stream:
            while len(size := stream.read(2)) == 2:
                octets = stream.read(int.from_bytes(size, "big"))
                self.seen.append(octets)
                for frame in self.frames(octets):
                    connection.sendall(len(frame).to_bytes(2, "big") + frame)
                if self.hang_up:
                    return
        self.closed.set()

    def close(self):
        for one in (self._udp, self._tcp):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def as_response(octets):
    return octets[:2] + bytes([octets[2] | 0x80]) + octets[3:]


@pytest.fixture
def recorder(network):
    one = Recorder(network, EXTRA[4])
    yield one
    one.close()


def exchange(octets, server, tcp):
    return clients.exchange(octets, tcp, server=server, port=53)


@FAMILIES
@TRANSPORTS
def test_another_server_is_the_one_that_answers(mesh, network, family, tcp):
    network.set_resolv_conf(*BOTH)
    one = mesh.start(config=ALL)
    for _ in range(2):
        response = ask("www.example.org", server=AUTHORITATIVE[family], tcp=tcp)
        assert response.flags & dns.flags.AA and not response.flags & dns.flags.RA
        assert addresses_of(response) == ["192.0.2.80"]
        response = ask("www.example.org", server=RECURSIVE[family], tcp=tcp)
        assert response.flags & dns.flags.RA and not response.flags & dns.flags.AA
    assert passed(one) == 2


@FAMILIES
@TRANSPORTS
def test_names_of_the_mesh_are_answered_whoever_is_asked(mesh, family, tcp):
    one = mesh.start(config=ALL)
    for server in (AUTHORITATIVE[family], VANISHED[family], NOBODY[family]):
        assert is_caught(server, tcp)
        assert rcode(ask("nosuch.svc.mesh.local", server=server, tcp=tcp)) == "NXDOMAIN"
        assert addresses_of(ask("localhost", server=server, tcp=tcp)) == ["127.0.0.1"]
    assert passed(one) == 0


def test_policy_is_for_whoever_is_asked(mesh):
    mesh.start("--upstream-zone", "example.org=refuse", config=ALL)
    assert rcode(ask("www.example.org", server=AUTHORITATIVE[4])) == "REFUSED"


@TRANSPORTS
def test_octet_for_octet_both_ways(mesh, recorder, tcp):
    mesh.start(config=ALL)
    query = dns.message.make_query("Www.Example.ORG", "A", use_edns=0, payload=4096, options=[
        dns.edns.GenericOption(10, b"clientck"), dns.edns.GenericOption(65001, b"whatever")])
    octets = query.to_wire()
    assert exchange(octets, EXTRA[4], tcp) == as_response(octets)
    assert recorder.seen == [octets]


@TRANSPORTS
def test_without_zones_too(mesh, tcp):
    one = mesh.start("--skip-conntrack-zone-split", "--workers", "2", config=ALL)
    # From ports that we never ask from: in one zone the kernel would take a query of ours for the flow that came from
    # the same port before, and redirect it to us.
    for port in range(20000, 20020):
        assert ask("www.example.org", server=AUTHORITATIVE[4], tcp=tcp, source_port=port).flags & dns.flags.AA
    assert passed(one) == 20


def test_answers_of_others_are_neither_remembered_nor_used(mesh, network, scripted, second):
    network.set_resolv_conf(SCRIPTED[4])
    scripted.answer = lambda message, tcp: nameserver.good_answer(message, addresses=["192.0.2.1"])
    second.answer = lambda message, tcp: nameserver.good_answer(message, addresses=["192.0.2.2"])
    mesh.start(config=ALL)
    for _ in range(3):
        assert addresses_of(ask("www.example.com", server=SCRIPTED[4])) == ["192.0.2.1"]
        assert addresses_of(ask("www.example.com", server=SECOND[4])) == ["192.0.2.2"]
    assert len(scripted.seen("www.example.com")) == 1 and len(second.seen("www.example.com")) == 3


@TRANSPORTS
@pytest.mark.parametrize("opcode", [dns.opcode.NOTIFY, dns.opcode.UPDATE, dns.opcode.IQUERY, 6])
def test_other_opcodes_go_to_the_server_that_was_asked(mesh, network, recorder, tcp, opcode):
    # of those in resolv.conf, the second one: none of our choice
    network.set_resolv_conf(RECURSIVE[4], EXTRA[4])
    mesh.start()
    message = dns.message.make_query("example.org", "SOA")
    octets = bytearray(message.to_wire())
    octets[2] = octets[2] & 0x87 | opcode << 3
    assert exchange(bytes(octets), EXTRA[4], tcp) == as_response(bytes(octets))
    assert recorder.seen.count(bytes(octets)) == 1


@TRANSPORTS
def test_a_whole_update_arrives(mesh, network, recorder, tcp):
    network.set_resolv_conf(EXTRA[4])
    mesh.start()
    update = dns.update.UpdateMessage("example.org")
    update.present("www")
    update.replace("new", 300, "A", "192.0.2.7")
    octets = update.to_wire()
    assert exchange(octets, EXTRA[4], tcp) == as_response(octets)
    assert recorder.seen.count(octets) == 1


@pytest.mark.parametrize("length", [4097, 30000, 65535])
def test_a_long_update_arrives_over_tcp(mesh, network, recorder, length):
    network.set_resolv_conf(EXTRA[4])
    mesh.start()
    octets = dns.update.UpdateMessage("example.org").to_wire()
    octets += bytes(number * number % 251 for number in range(length - len(octets)))
    for _ in range(3):
        assert exchange(octets, EXTRA[4], tcp=True) == as_response(octets)
    assert recorder.seen.count(octets) == 3


def test_a_long_query_is_refused(mesh, network, recorder):
    network.set_resolv_conf(EXTRA[4])
    mesh.start(config=ALL)
    octets = dns.message.make_query("example.org", "SOA").to_wire()
    with pytest.raises(ConnectionResetError):
        exchange(octets + bytes(5000), EXTRA[4], tcp=True)
    assert not any(len(one) > 5000 for one in recorder.seen)


def test_what_asks_us_ourselves_has_no_other_server(mesh):
    one = mesh.start(config=ALL)
    octets = dns.update.UpdateMessage("example.org").to_wire()
    for tcp in (False, True):
        answer = clients.exchange(octets, tcp)
        assert answer[3] & 15 == dns.rcode.NOTIMP and answer[2] >> 3 & 15 == dns.opcode.UPDATE
        assert rcode(clients.query("example.org", "IXFR", tcp=tcp)) == "REFUSED"
    assert rcode(clients.query()) == "NOERROR"
    assert passed(one) == 0


@FAMILIES
@pytest.mark.parametrize("capture_all", [False, True], ids=["listed", "all"])
def test_zone_transfer(mesh, network, program, family, capture_all):
    names = "\n".join(f"host{number} A 192.0.2.{number % 250}" for number in range(5000))
    program.nsd(EXTRA[family], {"big.example": f"$TTL 60\n@ SOA ns a 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n{names}\n"})
    network.set_resolv_conf(RECURSIVE[4], *([] if capture_all else [EXTRA[family]]))
    one = mesh.start(config=ALL if capture_all else {})
    status, text = clients.run("dig", "+onesoa", "big.example", "AXFR", f"@{EXTRA[family]}")
    records = [line for line in text.splitlines() if line and not line.startswith(";")]
    assert status == 0 and len(records) == 5003 and "XFR size" in text, text[-500:]
    assert passed(one) == 1


def test_transfer_of_a_mesh_zone_is_refused(mesh):
    one = mesh.start(config=ALL)
    assert rcode(ask("mesh.local", "IXFR", server=AUTHORITATIVE[4], tcp=True)) == "REFUSED"
    assert passed(one) == 0


def resident_kib(one):
    for line in open(f"/proc/{one.process.pid}/smaps_rollup", encoding="ascii"):
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise AssertionError("no Pss")


def test_a_large_transfer_waits_for_who_reads_it(mesh, recorder):
    frame = b"x" * 60000
    count = 1500  # 90 MB
    recorder.frames = lambda octets: (as_response(octets)[:12] + frame for _ in range(count))
    recorder.hang_up = True
    one = mesh.start(config=ALL)
    before = resident_kib(one)
    query = dns.message.make_query("example.org", "AXFR").to_wire()
    with socket.create_connection((EXTRA[4], 53), 10) as client, client.makefile("rb") as stream:
        client.sendall(len(query).to_bytes(2, "big") + query)
        assert len(stream.read(2)) == 2
        time.sleep(1)  # meanwhile all of it would have come
        assert resident_kib(one) - before < 16 << 10
        assert len(stream.read(60012)) == 60012
        for _ in range(count - 1):
            assert int.from_bytes(stream.read(2), "big") == 60012
            assert len(stream.read(60012)) == 60012
        assert stream.read(1) == b""  # the server has closed


def test_the_client_ends_a_transfer(mesh, recorder):
    recorder.frames = lambda octets: (as_response(octets)[:12] + b"x" * 60000 for _ in range(100000))
    one = mesh.start(config=ALL)
    query = dns.message.make_query("example.org", "AXFR").to_wire()
    with socket.create_connection((EXTRA[4], 53), 10) as client:
        client.sendall(len(query).to_bytes(2, "big") + query)
        assert client.recv(1000)
    assert recorder.closed.wait(10)
    assert one.alive()


@TRANSPORTS
def test_where_nobody_is_there_the_client_does_not_wait(mesh, tcp):
    mesh.start(config=ALL)
    begin = time.monotonic()
    if tcp:
        with pytest.raises((EOFError, ConnectionError)):
            ask("www.example.org", server=NOBODY[4], tcp=True)
    else:
        assert rcode(ask("www.example.org", server=NOBODY[4])) == "SERVFAIL"
    assert time.monotonic() - begin < 2


def test_silence_is_passed_on_too(mesh, scripted):
    scripted.answer = nameserver.silent
    mesh.start(config=ALL)
    with pytest.raises(dns.exception.Timeout):
        ask("www.example.org", server=SCRIPTED[4], timeout=1)
    assert len(scripted.seen("www.example.org")) == 1


def test_two_servers_asked_from_one_socket(mesh, scripted, second):
    scripted.answer = lambda message, tcp: nameserver.good_answer(message, addresses=["192.0.2.1"])
    second.answer = lambda message, tcp: nameserver.good_answer(message, addresses=["192.0.2.2"])
    mesh.start(config=ALL)
    expected = {SCRIPTED[4]: "192.0.2.1", SECOND[4]: "192.0.2.2", RECURSIVE[4]: "192.0.2.80"}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(6)
        for number in range(60):
            server = list(expected)[number % 3]
            query = dns.message.make_query("www.example.org", "A")
            one.sendto(query.to_wire(), (server, 53))
            octets, (source, _) = one.recvfrom(4096)
            response = dns.message.from_wire(octets)
            assert (source, response.id) == (server, query.id)
            assert addresses_of(response) == [expected[server]]


def test_more_sockets_than_there_are_flows(mesh, recorder):
    one = mesh.start(config=ALL)
    query = dns.message.make_query("www.example.org", "A").to_wire()
    for _ in range(3):
        many = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(400)]
        for client in many:
            client.connect((EXTRA[4], 53))
            client.settimeout(6)
            client.send(query)
        for client in many:
            assert client.recv(512) == as_response(query)
            client.close()
    assert passed(one) == 1200 and len(recorder.seen) == 1200


def test_pipelined_over_one_connection_with_names_of_the_mesh(mesh):
    one = mesh.start(config=ALL)
    names = ["www.example.org", "redis.svc.mesh.local"] * 20
    with socket.create_connection((AUTHORITATIVE[4], 53), 10) as client, client.makefile("rb") as stream:
        queries = {}
        for number, name in enumerate(names):  # random IDs of forty are not always different
            query = dns.message.make_query(name, "A", id=number)
            queries[query.id] = query
            octets = query.to_wire()
            client.sendall(len(octets).to_bytes(2, "big") + octets)
        for _ in names:
            response = dns.message.from_wire(stream.read(int.from_bytes(stream.read(2), "big")))
            query = queries.pop(response.id)
            assert query.is_response(response) and response.answer
            assert bool(response.flags & dns.flags.AA)
    assert passed(one) == 20


def test_switched_off(mesh):
    one = mesh.start("--no-asked-server", config=ALL)
    response = ask("www.example.org", server=AUTHORITATIVE[4])
    assert response.flags & dns.flags.RA and not response.flags & dns.flags.AA
    assert rcode(ask("example.org", "IXFR", server=AUTHORITATIVE[4], tcp=True)) == "REFUSED"
    assert passed(one) == 0


def test_a_server_that_enters_resolv_conf_is_one_of_ours_from_then_on(mesh, network):
    mesh.start(config=ALL)
    assert ask("www.example.org", server=AUTHORITATIVE[4]).flags & dns.flags.AA
    network.set_resolv_conf(RECURSIVE[4], AUTHORITATIVE[4])
    eventually(lambda: not ask("www.example.org", server=AUTHORITATIVE[4]).flags & dns.flags.AA)
    network.set_resolv_conf(RECURSIVE[4])
    eventually(lambda: ask("www.example.org", server=AUTHORITATIVE[4]).flags & dns.flags.AA)


@pytest.mark.parametrize("taken", ["127.0.0.1", "::1"])
def test_the_port_for_other_servers_is_taken(mesh, taken):
    """In one family is enough: nothing is sent to a stranger."""
    with socket.socket(socket.AF_INET6 if ":" in taken else socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind((taken, daemons.PORT + 1))
        one = mesh.start(config=ALL)
        one.wait_log("cannot listen on loopback, port 15054")
        for family in (4, 6):
            assert is_caught(AUTHORITATIVE[family])
            assert ask("www.example.org", server=AUTHORITATIVE[family]).flags & dns.flags.RA


def frames_of(stream):
    """What comes until the other side closes."""
    while len(size := stream.read(2)) == 2:
        yield stream.read(int.from_bytes(size, "big"))


def test_transfer_goes_on_behind_a_half_close(mesh, recorder):
    recorder.frames = lambda octets: ((time.sleep(0.05), as_response(octets))[1] for _ in range(20))
    mesh.start(config=ALL)
    query = dns.message.make_query("example.org", "AXFR").to_wire()
    with socket.create_connection((EXTRA[4], 53), 10) as client, client.makefile("rb") as stream:
        client.sendall(len(query).to_bytes(2, "big") + query)
        client.shutdown(socket.SHUT_WR)
        assert len(list(frames_of(stream))) == 20
    assert recorder.closed.wait(10)


def test_transfer_may_pause(mesh, recorder):
    recorder.frames = lambda octets: ((time.sleep(1.2), as_response(octets))[1] for _ in range(3))
    recorder.hang_up = True
    mesh.start(config={**ALL, "tcp": {"idleTimeout": "500ms"}})
    query = dns.message.make_query("example.org", "AXFR").to_wire()
    with socket.create_connection((EXTRA[4], 53), 10) as client, client.makefile("rb") as stream:
        client.sendall(len(query).to_bytes(2, "big") + query)
        assert len(list(frames_of(stream))) == 3


def test_what_is_forwarded_is_answered_when_the_asked_server_hangs_up(mesh, network, recorder, scripted):
    network.set_resolv_conf(SCRIPTED[4], EXTRA[4])
    scripted.answer = nameserver.slowly(1)
    recorder.hang_up = True
    mesh.start()
    update = dns.update.UpdateMessage("example.org").to_wire()
    query = dns.message.make_query("slow.example.com", "A")
    octets = query.to_wire()
    with socket.create_connection((EXTRA[4], 53), 10) as client, client.makefile("rb") as stream:
        for message in (octets, update):
            client.sendall(len(message).to_bytes(2, "big") + message)
        answers = list(frames_of(stream))
    assert len(answers) == 2 and answers[0] == as_response(update)
    assert dns.message.from_wire(answers[1]).id == query.id


def test_stopping_while_answers_are_on_their_way(mesh, scripted, recorder):
    """Nothing is sent through sockets that are closed already."""
    recorder.frames = lambda octets: []
    scripted.answer = nameserver.slowly(0.35)
    one = mesh.start(config=ALL)
    query = dns.message.make_query("www.example.org", "A").to_wire()
    with socket.create_connection((EXTRA[4], 53), 10) as open_one, \
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waiting:
        open_one.sendall(len(query).to_bytes(2, "big") + query)
        waiting.connect((SCRIPTED[4], 53))
        waiting.send(query)
        scripted.wait_queries(1)
        assert one.stop() == 0


def test_large_message_over_udp(mesh, recorder):
    mesh.start(config=ALL)
    octets = dns.update.UpdateMessage("example.org").to_wire() + b"x" * 2500
    assert exchange(octets, EXTRA[4], False) == as_response(octets)
