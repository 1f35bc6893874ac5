# SPDX-License-Identifier: Apache-2.0
"""A daemon that dies under load: open, DNS goes direct and hardly a query is lost; closed, nothing goes direct."""

import collections
import random
import signal
import socket
import threading
import time

import dns.exception
import dns.message
import dns.query
import pytest

import nameserver
from clients import addresses_of, ask
from daemon import binary, eventually
from nameserver import GOOD
from namespaces import RECURSIVE, SCRIPTED, sh
from redirected import is_caught, tables

CLOSED = {"redirect": {"failClosed": True, "dns": {"captureAll": True}}}
OPEN = {"redirect": {"dns": {"captureAll": True}}}
ENDS = pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])


class Socket:
    """An application's socket that asks all the time, a new name each time: names and what became of them.

    Over TCP it is a new connection each time.
    """

    def __init__(self, server, number, tcp):
        self.asked, self.lost, self.answered = [], [], 0
        self._stopping = threading.Event()
        self._server, self._number, self._tcp = server, number, tcp
        self._socket = socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(1.5)
        self._socket.connect((server, 53))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while not self._stopping.is_set():
            name = f"n{len(self.asked)}.s{self._number}.wild.example.org."
            query = dns.message.make_query(name, "A")
            self.asked.append(name)
            try:
                if self._tcp:
                    dns.query.tcp(query, self._server, 1.5)
                else:
                    self._socket.send(query.to_wire())
                    while dns.message.from_wire(self._socket.recv(4096)).id != query.id:
                        pass
                self.answered += 1
            except (OSError, EOFError, dns.exception.Timeout) as problem:
                self.lost.append((name, repr(problem)))
                if isinstance(problem, ConnectionRefusedError):
                    time.sleep(0.02)
            time.sleep(0.002)

    def stop(self):
        self._stopping.set()
        self._thread.join()
        self._socket.close()


@pytest.fixture
def load():
    """Starts sockets that ask, and ends them."""
    sockets = []

    def start(*servers, tcp=False):
        new = [Socket(server, len(sockets) + number, tcp) for number, server in enumerate(servers)]
        sockets.extend(new)
        return new
    yield start
    for one in sockets:
        one.stop()


def wait_answers(sockets, count=20):
    """Every socket gets so many more answers."""
    before = [one.answered for one in sockets]

    def answered():
        return all(one.answered - old >= count for one, old in zip(sockets, before))
    answered.__doc__ = f"{count} more answers each; lost: {[one.lost[-3:] for one in sockets]}"
    eventually(answered, 20)


@pytest.fixture
def six(network):
    one = nameserver.Scripted(network, SCRIPTED[6])
    one.answer = nameserver.good_answer
    yield one
    one.close()
    sh(binary(), "uninstall")  # also where a test ended early


def end_of(mesh, one, end):
    """End the daemon; KILL is for this test to look at."""
    if end == signal.SIGTERM:
        assert one.stop() == 0
    else:
        one.process.kill()
        one.process.wait()
        mesh.forget(one)


@pytest.fixture
def both(mesh, network):
    """A mesh whose applications have a server of each family."""
    network.set_resolv_conf(RECURSIVE[4], RECURSIVE[6])
    yield mesh
    sh(binary(), "uninstall")


@ENDS
@pytest.mark.parametrize("tcp", [False, True], ids=["UDP", "TCP"])
@pytest.mark.parametrize("zones", [True, False], ids=["zones", "no zones"])
def test_open_loses_one_query_at_most(both, load, end, zones, tcp):
    one = both.start(config={"redirect": {"dns": {"captureAll": True, "skipConntrackZoneSplit": not zones}}})
    sockets = load(*(RECURSIVE[4], RECURSIVE[6]) * 3, tcp=tcp)
    wait_answers(sockets)
    end_of(both, one, end)
    wait_answers(sockets)
    assert not tables()
    for each in sockets:
        assert len(each.lost) <= 1, each.lost


@ENDS
def test_closed_lets_nothing_through(mesh, network, load, scripted, six, end):
    """What the name servers see comes from the daemon's ports, however and whenever it ends."""
    scripted.answer = nameserver.good_answer
    network.set_resolv_conf(SCRIPTED[4], SCRIPTED[6])
    one = mesh.start(config=CLOSED)
    sockets = load(*(SCRIPTED[4], SCRIPTED[6]) * 2)
    for _ in range(2):
        wait_answers(sockets)
        end_of(mesh, one, end)
        lost = [len(each.lost) for each in sockets]
        eventually(lambda lost=lost: all(len(each.lost) >= old + 5 for each, old in zip(sockets, lost)))
        for tcp in (False, True):
            with pytest.raises((OSError, dns.exception.Timeout)):
                ask("closed.example.org", server=SCRIPTED[4], tcp=tcp, timeout=0.3)
        assert tables() == ["table inet kuma_dns_closed"]
        one = mesh.start(config=CLOSED)
        wait_answers(sockets)
    for each in sockets:
        each.stop()
    # One of the daemon's own ports may have the same number by chance: for a name of another socket.
    owner = {name: each.port for each in sockets for name in each.asked}
    direct = [str(message.question[0].name) for message, requestor, _ in scripted.queries + six.queries
              if owner.get(str(message.question[0].name)) == requestor[1]]
    assert not direct
    assert not scripted.seen("closed.example.org") and not six.seen("closed.example.org")
    one.stop()
    assert sh(binary(), "uninstall") == "uninstalled\n" and not tables()
    assert addresses_of(ask("open.example.org", server=SCRIPTED[4])) == GOOD


@pytest.mark.parametrize("config", [OPEN, CLOSED], ids=["open", "closed"])
def test_killed_while_it_starts(both, load, config):
    """The batch is done or it is not: where there are rules, all are there; without them, DNS goes direct."""
    one = both.start(config=config)
    whole = sh("nft", "-s", "list", "ruleset")
    took = one.ready_after_ms / 1000
    end_of(both, one, signal.SIGKILL)
    sh(binary(), "uninstall")
    eventually(lambda: not tables(), 5)
    sockets = load(RECURSIVE[4], RECURSIVE[6])
    seen = collections.Counter()
    for number in range(6):
        lost = [len(each.lost) for each in sockets]
        one = both.start(config=config, ready=False)
        time.sleep(took * random.uniform(0.2, 1.1))
        if number == 5:
            one.wait_log("redirecting")
        end_of(both, one, signal.SIGKILL)
        if config is OPEN:
            eventually(lambda: not tables(), 5)
        rules = sh("nft", "-s", "list", "ruleset")
        assert rules in ("", whole)
        seen[bool(rules)] += 1
        sh(binary(), "uninstall")
        wait_answers(sockets, 3)
        if config is OPEN:
            assert all(len(each.lost) <= old + 1 for each, old in zip(sockets, lost)), [each.lost for each in sockets]
    assert config is OPEN or seen[True]


@pytest.mark.parametrize("first,second", [(OPEN, OPEN), (CLOSED, CLOSED), (CLOSED, OPEN), (OPEN, CLOSED)],
                         ids=["open-open", "closed-closed", "closed-open", "open-closed"])
def test_second_start_takes_over_without_a_lost_query(both, load, first, second):
    one = both.start(config=first)
    connections = load(RECURSIVE[4], RECURSIVE[6], tcp=True)
    sockets = load(*(RECURSIVE[4], RECURSIVE[6]) * 2)
    wait_answers(sockets, 5)
    for config in (second, first, second):
        two = both.start(config=config)
        assert one.stop() == 0
        one = two
        wait_answers(sockets, 5)
    assert not [each.lost for each in sockets if each.lost]
    # The kernel resets connections that a listener has not accepted when it closes.
    assert all(len(each.lost) <= 3 for each in connections), [each.lost for each in connections]
    assert is_caught(RECURSIVE[4]) and is_caught(RECURSIVE[6], True)
    assert tables() == ["table inet kuma_dns_closed" if second is CLOSED else tables()[0]]


def closed_and_killed(mesh):
    """The rules that a daemon leaves that fails closed."""
    one = mesh.start(config=CLOSED)
    one.stop(signal.SIGKILL)
    mesh.forget(one)
    assert tables() == ["table inet kuma_dns_closed"]


def test_install_takes_the_place_of_what_failed_closed(mesh):
    closed_and_killed(mesh)
    port = ("--port", "15200", "--capture-all")
    sh(binary(), "install", "--kuma-dp-user", "5678", "--no-redirect-inbound", "--no-redirect-outbound", *port)
    try:
        assert tables() == ["table inet kuma_dns_installed"]
        mesh.start("--no-redirect", "--port", "15200")
        assert is_caught(RECURSIVE[4]) and is_caught(SCRIPTED[4], True)
    finally:
        sh(binary(), "uninstall")


def test_what_failed_closed_is_served_by_whoever_listens(mesh):
    """Queries to servers that are not listed come to a port of their own there."""
    closed_and_killed(mesh)
    try:
        mesh.start("--no-redirect")
        for server in (RECURSIVE[4], SCRIPTED[4]):
            for tcp in (False, True):
                assert is_caught(server, tcp)
    finally:
        sh(binary(), "uninstall")
