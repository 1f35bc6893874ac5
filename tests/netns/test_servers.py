# SPDX-License-Identifier: Apache-2.0
"""Which server is asked, and when: the best first, a hedge, the dead ones in the background.

musl asks all servers at once and glibc one after the other; neither may notice that one of them is dead.
"""

import re
import threading
import time

import pytest

import nameserver
from clients import addresses_of, query, rcode, timed
from daemon import eventually
from nameserver import GOOD, good_answer, slowly
from namespaces import NOBODY, SCRIPTED, SECOND, VANISHED

QUICK = 0.4  # the hedge of 100 ms, with AddressSanitizer on a machine that has other things to do
SLOWER = 0.02  # the second server, so that the first is the better one


def label(server, port=53):
    return {"server": f"{server}:{port}"}


class Load:
    """Asks for new names all the time; `times` has how long each took, `failures` what went wrong."""

    def __init__(self, tcp=False):
        self.times, self.failures = [], []
        self._tcp = tcp
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        self._thread.join()

    def _run(self):
        while not self._stopping.is_set():
            try:
                took, response = timed(query, f"load{len(self.times)}.example.org", tcp=self._tcp)
                self.times.append(took)
                if addresses_of(response) != GOOD:
                    self.failures.append(rcode(response))
            except Exception as problem:  # pylint: disable=broad-except
                self.failures.append(repr(problem))
            time.sleep(0.002)  # a rate, not a race

    def wait_more(self, count, timeout=10):
        goal = len(self.times) + count
        eventually(lambda: len(self.times) >= goal, timeout)


@pytest.fixture
def pair(scripted, second):
    """Two good servers, of which the first is the quicker."""
    scripted.answer = good_answer
    second.answer = slowly(SLOWER)
    return scripted, second


def own(server):
    """The queries of requestors that a server saw, without probes."""
    return [message for message in server.seen() if "example.org." in str(message.question[0].name)]


def test_best_server_first(mesh, scripted, second):
    scripted.answer = slowly(0.08)
    second.answer = good_answer
    mesh.forward_to(SCRIPTED[4], SECOND[4])
    for number in range(20):
        query(f"warm{number}.example.org")
    before = len(own(scripted))
    took = sorted(timed(query, f"n{number}.example.org")[0] for number in range(20))
    assert len(own(scripted)) - before <= 5
    assert took[10] < 0.06


def test_good_first_server_is_asked_alone(mesh, pair):
    first, second = pair
    mesh.forward_to(SCRIPTED[4], SECOND[4])
    for number in range(50):
        assert addresses_of(query(f"n{number}.example.org")) == GOOD
    assert len(own(first)) >= 45 and len(own(second)) <= 10  # a hedge now and then


def test_latency_and_state_are_shown(mesh, pair):
    one = mesh.forward_to(SCRIPTED[4], SECOND[4])
    for number in range(10):
        query(f"n{number}.example.org")
    assert one.metric("kuma_dns_upstream_up", **label(SCRIPTED[4])) == 1
    assert 0 < one.metric("kuma_dns_upstream_latency_seconds", **label(SCRIPTED[4])) < 0.2
    assert one.metric("kuma_dns_upstream_queries_total", **label(SCRIPTED[4]), transport="udp") >= 10
    status, out, _ = one.run("status")
    assert status == 0 and SCRIPTED[4] in out and SECOND[4] in out


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_first_server_silent_from_the_start(mesh, second, tcp):
    # k8s#56903, istio#53577
    second.answer = good_answer
    one = mesh.forward_to(VANISHED[4], SECOND[4])
    times = [timed(query, f"n{number}.example.org", tcp=tcp) for number in range(20)]
    assert all(addresses_of(response) == GOOD for _, response in times)
    assert max(took for took, _ in times) < QUICK
    assert sorted(took for took, _ in times)[10] < 0.1  # not a hedge for each
    eventually(lambda: one.metric("kuma_dns_upstream_up", **label(VANISHED[4])) == 0, 5)
    assert one.metric("kuma_dns_upstream_hedges_total") >= 1


def test_first_server_refuses_packets(mesh, second):
    one = mesh.forward_to(NOBODY[4], SECOND[4])
    for number in range(10):
        took, response = timed(query, f"n{number}.example.org")
        assert addresses_of(response) == GOOD and took < QUICK
    assert one.metric("kuma_dns_upstream_failures_total", **label(NOBODY[4]), reason="unreachable") >= 1


def dies(first, how):
    if how == "closed":
        first.close()
    else:
        first.answer = {"silent": nameserver.silent, "fails": nameserver.failing("SERVFAIL"),
                        "slow": slowly(2)}[how]


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize("how", ["silent", "closed", "fails", "slow"])
def test_first_server_dies_in_the_middle(mesh, pair, how, tcp, record_property):
    # istio#53577, c-ares#650: resolution goes on within 100 ms, and nobody sees a timeout
    first, _ = pair
    mesh.forward_to(SCRIPTED[4], SECOND[4])
    with Load(tcp) as load:
        load.wait_more(50)
        dies(first, how)
        load.wait_more(50)
    if how == "silent":
        record_property("slowest answer (ms) when the first server falls silent", round(max(load.times) * 1000))
    assert not load.failures
    assert max(load.times) < QUICK


def test_old_order_when_it_recovers(mesh, pair):
    first, second = pair
    one = mesh.forward_to(SCRIPTED[4], SECOND[4])
    with Load() as load:
        load.wait_more(30)
        first.answer = nameserver.silent
        eventually(lambda: one.metric("kuma_dns_upstream_up", **label(SCRIPTED[4])) == 0)
        load.wait_more(20)
        count = len(first.seen())
        first.wait_queries(count + 1, 5)  # probed in the background
        first.answer = good_answer
        begin = time.monotonic()
        eventually(lambda: one.metric("kuma_dns_upstream_up", **label(SCRIPTED[4])) == 1, 5)
        seen = len(own(second))
        load.wait_more(30)
        assert time.monotonic() - begin < 4
        assert len(own(second)) - seen <= 10
    assert not load.failures and max(load.times) < QUICK
    assert one.metric("kuma_dns_upstream_probes_total", **label(SCRIPTED[4])) >= 1


def test_dead_server_is_probed_without_any_query(mesh, pair):
    first, _ = pair
    first.answer = nameserver.silent
    one = mesh.forward_to(SCRIPTED[4], SECOND[4])
    with Load() as load:
        load.wait_more(10)
        eventually(lambda: one.metric("kuma_dns_upstream_up", **label(SCRIPTED[4])) == 0)
    first.answer = good_answer
    eventually(lambda: one.metric("kuma_dns_upstream_up", **label(SCRIPTED[4])) == 1, 6)


def test_all_servers_dead_and_one_returns(mesh, pair):
    first, second = pair
    first.answer = second.answer = nameserver.silent
    mesh.forward_to(SCRIPTED[4], SECOND[4], config={"forward": {"timeout": "1s"}})
    for number in range(3):
        assert rcode(query(f"dead{number}.example.org")) == "SERVFAIL"
    second.answer = good_answer
    names = iter(range(1000))
    eventually(lambda: addresses_of(query(f"n{next(names)}.example.org")) == GOOD, 4)


def test_flapping_server_costs_nobody_an_answer(mesh, pair):
    first, _ = pair
    mesh.forward_to(SCRIPTED[4], SECOND[4])
    with Load() as load:
        for _ in range(4):
            first.answer = nameserver.silent
            load.wait_more(15)
            first.answer = good_answer
            load.wait_more(15)
    assert not load.failures and max(load.times) < QUICK


# What a server does with OPT.


def without_opt(message, tcp, code="FORMERR"):
    if message.edns < 0:
        return good_answer(message, tcp)
    answer = nameserver.failing(code)(message, tcp)[0]
    answer.use_edns(-1)
    return [answer]


@pytest.mark.parametrize("answer", [
    without_opt, lambda message, tcp: good_answer(message, tcp) if message.edns < 0 else None,
], ids=["FORMERR", "drops"])
def test_server_without_edns_is_remembered(mesh, scripted, answer):
    # RFC 6891 §6.2.2; the gauge says 0 for a server that is asked without OPT
    scripted.answer = good_answer
    one = mesh.forward_to(SCRIPTED[4])
    query("before.example.org")
    assert one.metric("kuma_dns_upstream_edns", **label(SCRIPTED[4])) == 1
    scripted.answer = answer
    assert addresses_of(query("first.example.org")) == GOOD
    eventually(lambda: one.metric("kuma_dns_upstream_edns", **label(SCRIPTED[4])) == 0)
    for number in range(5):
        assert addresses_of(query(f"n{number}.example.org")) == GOOD
        assert [message.edns for message in scripted.seen(f"n{number}.example.org")] == [-1]
    assert re.search(r"(?i)edns", one.run("status")[1])


def test_edns_is_kept_for_the_others(mesh, scripted, second):
    scripted.answer = without_opt
    one = mesh.forward_to(SCRIPTED[4], SECOND[4])
    for number in range(5):
        query(f"n{number}.example.org")
    second.answer = good_answer
    scripted.answer = nameserver.failing("SERVFAIL")
    assert addresses_of(query("other.example.org")) == GOOD
    assert second.seen("other.example.org")[0].edns == 0
    assert one.metric("kuma_dns_upstream_edns", **label(SECOND[4])) == 1


# Options of resolv.conf.


def start_with(mesh, network, options, *servers, **config):
    network.set_resolv_conf(*servers, options=f"options {options}")
    return mesh.start("--no-redirect", config=config)


def test_rotate(mesh, network, pair):
    first, second = pair
    second.answer = good_answer
    start_with(mesh, network, "rotate", SCRIPTED[4], SECOND[4])
    for number in range(40):
        assert addresses_of(query(f"n{number}.example.org")) == GOOD
    assert min(len(own(first)), len(own(second))) >= 10


def test_without_rotate_the_order_is_kept(mesh, network, pair):
    first, second = pair
    start_with(mesh, network, "ndots:2", SCRIPTED[4], SECOND[4])
    for number in range(40):
        query(f"n{number}.example.org")
    assert len(own(first)) >= 35 and len(own(second)) <= 8


def test_timeout_and_attempts(mesh, network, scripted):
    """The requestor gives up after timeout × attempts: an answer before that."""
    start_with(mesh, network, "timeout:1 attempts:1", SCRIPTED[4])
    took, response = timed(query)
    assert rcode(response) == "SERVFAIL" and took < 1.3
    assert scripted.seen("www.example.org")


def test_attempts_are_made(mesh, network, scripted):
    """A server that loses the first packets answers the next: with attempts:3 it is asked again."""
    start_with(mesh, network, "timeout:1 attempts:3", SCRIPTED[4])
    scripted.answer = lambda message, tcp: (
        good_answer(message, tcp) if len(scripted.seen("www.example.org")) >= 3 else None)
    took, response = timed(query)
    assert addresses_of(response) == GOOD and took < 3.1
