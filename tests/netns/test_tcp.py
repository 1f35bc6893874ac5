# SPDX-License-Identifier: Apache-2.0
"""TCP is equal to UDP (RFC 7766, 9210), and a bad peer harms nobody else."""

import socket
import struct

import dns.message
import pytest

import daemon as daemons
import meshtable
from clients import addresses_of, ask, rcode
from daemon import eventually
from namespaces import SCRIPTED

ADDRESS = ("127.0.0.1", daemons.PORT)


def frame(qname, qtype="A", **options):
    octets = dns.message.make_query(qname, qtype, **options).to_wire()
    return struct.pack("!H", len(octets)) + octets


class Connection:
    """A TCP connection that speaks in frames."""

    def __init__(self):
        self.socket = socket.create_connection(ADDRESS, 5)
        self.stream = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()
        self.socket.close()

    def send(self, octets):
        self.socket.sendall(octets)

    def receive(self):
        """The next response; None at the end."""
        size = self.stream.read(2)
        return dns.message.from_wire(self.stream.read(int.from_bytes(size, "big"))) if size else None


def serves():
    """Whether somebody else is served."""
    response = ask("redis.svc.mesh.local", tcp=True, port=daemons.PORT, timeout=2)
    return addresses_of(response) == meshtable.addresses("redis.svc.mesh.local")[0]


def test_pipelined_queries_are_all_answered(mesh):
    mesh.start("--no-redirect")
    names = [record["name"] for record in meshtable.records()]
    with Connection() as one:
        one.send(b"".join(frame(name, id=number) for number, name in enumerate(names)))
        answers = [one.receive() for _ in names]
    assert {answer.id for answer in answers} == set(range(len(names)))
    assert all(rcode(answer) == "NOERROR" for answer in answers)


def test_answers_come_as_they_are_ready(mesh, scripted):
    mesh.start("--no-redirect", "--upstream", SCRIPTED[4])
    with Connection() as one:
        one.send(frame("slow.example.org", id=1) + frame("redis.svc.mesh.local", id=2))
        assert one.receive().id == 2
        scripted.reply("slow.example.org")
        assert one.receive().id == 1


def test_query_may_come_octet_by_octet(mesh):
    mesh.start("--no-redirect")
    with Connection() as one:
        one.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in frame("redis.svc.mesh.local"):
            one.send(bytes([octet]))
        assert addresses_of(one.receive()) == meshtable.addresses("redis.svc.mesh.local")[0]


def test_half_closed_peer_gets_its_answers(mesh):
    mesh.start("--no-redirect")
    with Connection() as one:
        one.send(frame("www.example.org", id=1) + frame("redis.svc.mesh.local", id=2))
        one.socket.shutdown(socket.SHUT_WR)
        assert {one.receive().id, one.receive().id} == {1, 2}
        assert one.receive() is None


def test_idle_connection_is_closed(mesh):
    mesh.start("--no-redirect", config={"tcp": {"idleTimeout": "200ms"}})
    with Connection() as one, Connection() as half_a_frame:
        half_a_frame.send(frame("redis.svc.mesh.local")[:10])
        assert one.receive() is None
        assert half_a_frame.receive() is None


@pytest.mark.parametrize("octets", [
    struct.pack("!H", 4097) + bytes(100), struct.pack("!H", 0), struct.pack("!H", 11) + b"x" * 11,
], ids=["too large a query", "empty", "less than a header"])
def test_frame_that_makes_no_sense_closes_the_connection(mesh, octets):
    one = mesh.start("--no-redirect")
    with Connection() as bad:
        bad.send(octets)
        assert bad.receive() is None
    assert serves()
    assert one.metric("kuma_dns_drops_total", reason="tcp_frame") == 1


def test_cap_on_connections(mesh):
    one = mesh.start("--no-redirect", config={
        "tcp": {"maxConnections": 4, "maxConnectionsPerPeer": 4, "idleTimeout": "1s"}})
    held = [Connection() for _ in range(4)]
    for each in held:
        each.send(frame("redis.svc.mesh.local"))
        assert each.receive()
    late = Connection()
    late.socket.settimeout(3)
    # Refused, or left waiting in the backlog until one of the others has gone.
    late.send(frame("redis.svc.mesh.local"))
    try:
        late.receive()
    except OSError:
        pass
    for each in [*held, late]:
        each.__exit__()
    eventually(serves)
    assert one.alive()


def test_cap_on_connections_of_a_peer_leaves_room_for_others(mesh):
    mesh.start("--no-redirect", config={"tcp": {"maxConnectionsPerPeer": 2}})
    held = [Connection() for _ in range(2)]
    for each in held:
        each.send(frame("redis.svc.mesh.local"))
        assert each.receive()
    response = ask("redis.svc.mesh.local", server="::1", tcp=True, port=daemons.PORT)
    assert rcode(response) == "NOERROR"
    for each in held:
        each.__exit__()


def test_peer_that_does_not_read_harms_nobody(mesh):
    mesh.push([("huge.svc.mesh.local", [f"241.2.{n // 250}.{n % 250 + 1}" for n in range(1000)])])
    one = mesh.start("--no-redirect", config={"tcp": {"maxUnsent": "64KiB"}})
    with Connection() as bad:
        bad.socket.settimeout(0.2)
        try:
            for _ in range(3000):
                bad.send(frame("huge.svc.mesh.local"))
        except OSError:
            pass  # the daemon stopped reading, as it should, or closed
        assert serves()
    with open(f"/proc/{one.process.pid}/status", encoding="ascii") as status:
        memory = int(next(line for line in status if line.startswith("VmRSS")).split()[1])
    assert memory < (60_000 if not daemons.is_sanitized() else 400_000)
