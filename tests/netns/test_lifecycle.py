# SPDX-License-Identifier: Apache-2.0
"""Start and end: the rules live as long as a daemon that answers, and no longer."""

import collections
import signal
import socket
import threading

import dns.message
import pytest

import clients
import daemon as daemons
import namespaces
from clients import addresses_of, ask, ede, rcode
from daemon import eventually
from namespaces import RECURSIVE
from redirected import REDIS, is_caught, tables


def test_rules_come_only_with_a_daemon_that_can_answer(mesh):
    mesh.envoy.push(None)
    mesh.start(ready=False).wait_listening()
    # With or without rules: a public name is answered all the time.
    for _ in range(20):
        assert rcode(ask("www.example.org", server=RECURSIVE[4])) == "NOERROR"


@pytest.mark.parametrize("tcp", [False, True])
def test_kill_9_is_fail_open(mesh, tcp):
    # istio#36453, kubernetes/dns#438, #453: rules must not outlive their process
    one = mesh.start()
    assert is_caught(RECURSIVE[4], tcp)
    one.process.kill()
    one.process.wait()
    # The kernel removes the rules a moment after the process is gone.
    eventually(lambda: not tables(), 2)
    assert addresses_of(ask("www.example.org", server=RECURSIVE[4], tcp=tcp)) == ["192.0.2.80"]
    assert clients.glibc("www.example.org", 4) == ("ok", {"192.0.2.80"})
    assert not is_caught(RECURSIVE[4], tcp)
    mesh.forget(one)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_removes_rules_and_ends_with_0(mesh, end):
    one = mesh.start()
    assert one.stop(end) == 0
    assert not tables()
    assert addresses_of(ask("www.example.org", server=RECURSIVE[4])) == ["192.0.2.80"]


def test_sigterm_answers_what_is_in_flight(mesh, network, scripted):
    network.set_resolv_conf(namespaces.SCRIPTED[4])
    one = mesh.start()
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(5)
    client.connect((namespaces.SCRIPTED[4], 53))
    client.send(dns.message.make_query("slow.example.org", "A").to_wire())
    scripted.wait_seen("slow.example.org")
    assert one.stop() == 0
    assert rcode(dns.message.from_wire(client.recv(65535))) == "SERVFAIL"
    client.close()


class Asker:
    """Asks all the time, from new sockets, until told to stop; `lost` are the queries without an answer."""

    def __init__(self, server):
        self.lost, self.answered = [], 0
        self._server = server
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while not self._stopping.is_set():
            try:
                response = ask("redis.svc.mesh.local", server=self._server)
                if addresses_of(response) != REDIS:
                    raise AssertionError(f"{rcode(response)}, extended error {ede(response)}")
                self.answered += 1
            except Exception as problem:  # pylint: disable=broad-except
                self.lost.append(repr(problem))

    def stop(self):
        self._stopping.set()
        self._thread.join()


def test_second_start_takes_over_without_a_lost_query(mesh):
    # cilium#14333, #21059: no gap while one follows the other
    first = mesh.start()
    asker = Asker(RECURSIVE[4])
    for _ in range(3):
        second = mesh.start()
        assert first.stop() == 0
        first = second
    asker.stop()
    assert not asker.lost, collections.Counter(asker.lost)
    assert asker.answered > 10
    assert len(tables()) == 1


def test_second_start_at_another_port_takes_lasting_sockets_along(mesh):
    first = mesh.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(5)
        one.connect((RECURSIVE[4], 53))
        query = dns.message.make_query("redis.svc.mesh.local", "A").to_wire()
        one.send(query)
        assert one.recv(512)
        mesh.start("--port", "15200")
        assert first.stop() == 0
        one.send(query)
        assert addresses_of(dns.message.from_wire(one.recv(512))) == REDIS


def test_second_start_with_the_same_configuration_takes_over(mesh):
    same = {"admin": {"socket": mesh.directory / "admin.sock"}}
    first = mesh.start(config=same)
    second = mesh.start(config=same, ready=False)
    second.wait_log("(?m) ready$")
    assert first.stop() == 0
    assert is_caught(RECURSIVE[4])
    assert second.get("/ready")[0] == 200, second.log()


def test_no_redirect_leaves_the_kernel_alone(mesh):
    one = mesh.start("--no-redirect")
    assert not tables()
    assert not is_caught(RECURSIVE[4]) and addresses_of(ask("redis.svc.mesh.local", port=daemons.PORT)) == REDIS
    assert one.get("/ready")[0] == 200


WITHOUT_NET_ADMIN = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]


def test_without_net_admin_the_error_says_what_is_missing(mesh):
    one = mesh.start(ready=False, wrapper=WITHOUT_NET_ADMIN)
    assert one.process.wait(10) not in (0, None)
    assert "CAP_NET_ADMIN" in one.log() and "--no-redirect" in one.log()
    assert not tables()
    mesh.forget(one)


def test_no_redirect_works_without_net_admin(mesh):
    mesh.start("--no-redirect", wrapper=WITHOUT_NET_ADMIN)
    assert addresses_of(ask("redis.svc.mesh.local", port=daemons.PORT)) == REDIS
    assert rcode(ask("www.example.org", port=daemons.PORT)) == "NOERROR"
