# SPDX-License-Identifier: Apache-2.0
"""Beside the rules of others: Docker's DNS, Kuma's own chains, firewalls, other nat tables, systemd-resolved.

Each is what others really install, before us and after us, in both flavours of iptables. That an answer comes from
the address that was asked is part of every question: whatever else comes is not taken for one.
"""

import contextlib
import socket
import threading

import pytest

import clients
import daemon as daemons
import namespaces
from clients import addresses_of, ask, rcode
from daemon import eventually
from nameserver import GOOD
from namespaces import AUTHORITATIVE, EXTRA, RECURSIVE, sh
from redirected import REDIS, flows, is_caught, tables
from test_loop import needs_resolved, start_resolved

USER = 5678  # Kuma's proxy
CAPTURE_ALL = {"redirect": {"dns": {"captureAll": True}}}
OTHERS = pytest.mark.skipif(not namespaces.has_other_users(), reason="needs the real root: other UIDs do not exist here")
ORDERS = pytest.mark.parametrize("first", [True, False], ids=["theirs first", "ours first"])


class Iptables:
    """iptables of one flavour, for IPv4 and IPv6."""

    def __init__(self, flavour):
        self._flavour = flavour

    def _program(self, family, what=""):
        return f"ip{'6' if family == 6 else ''}tables-{self._flavour}{what}"

    def missing(self):
        """Why there is none of this flavour here, or None."""
        for family in (4, 6):
            for table in ("nat", "raw"):
                try:
                    sh(self._program(family), "-w", "-t", table, "-S")
                except (OSError, RuntimeError) as problem:
                    return str(problem)
        return None

    def restore(self, family, text):
        sh(self._program(family, "-restore"), "-n", input=text)

    def flush(self):
        for family in (4, 6):
            for table in ("nat", "raw"):
                for what in ("-F", "-X"):
                    sh(self._program(family), "-w", "-t", table, what)


@pytest.fixture(params=["nft", "legacy"])
def iptables(request, mesh):  # pylint: disable=unused-argument
    """One flavour; what the test makes with it ends with the test."""
    one = Iptables(request.param)
    reason = one.missing()
    if reason:
        pytest.skip(f"iptables-{request.param}: {reason}")
    yield one
    one.flush()
    for table in tables():
        if "inet" not in table:
            sh("nft", "delete", *table.split())


@pytest.fixture
def others(mesh):  # pylint: disable=unused-argument
    """Adds a table of somebody else, which ends with the test."""
    def add(text):
        sh("nft", "-f", "-", input="table inet others {\n" + text + "\n}\n")
    yield add
    sh("nft", "-f", "-", input="table inet others\ndelete table inet others\n")


def assert_served(*servers, transports=(False, True)):
    """The mesh's names come from us, all others from a name server, by way of us."""
    for server in servers:
        for tcp in transports:
            assert is_caught(server, tcp), (server, tcp)
            assert addresses_of(ask("www.example.org", server=server, tcp=tcp)) == GOOD, (server, tcp)


# Docker

DOCKER = "127.0.0.11"
DOCKERS_RULES = """
*nat
:DOCKER_OUTPUT - [0:0]
:DOCKER_POSTROUTING - [0:0]
-A OUTPUT -d 127.0.0.11/32 -j DOCKER_OUTPUT
-A POSTROUTING -d 127.0.0.11/32 -j DOCKER_POSTROUTING
-A DOCKER_OUTPUT -d 127.0.0.11/32 -p tcp -m tcp --dport 53 -j DNAT --to-destination 127.0.0.11:37777
-A DOCKER_OUTPUT -d 127.0.0.11/32 -p udp -m udp --dport 53 -j DNAT --to-destination 127.0.0.11:38888
-A DOCKER_POSTROUTING -s 127.0.0.11/32 -p tcp -m tcp --sport 37777 -j SNAT --to-source :53
-A DOCKER_POSTROUTING -s 127.0.0.11/32 -p udp -m udp --sport 38888 -j SNAT --to-source :53
COMMIT
"""


@pytest.fixture
def docker(network, program, iptables):  # pylint: disable=redefined-outer-name
    """Docker's resolver with its two ports, and its rules; resolv.conf names it."""
    program.unbound(EXTRA[4], f"{AUTHORITATIVE[4]}@53", port=5300, upstream=True)
    for port in (37777, 38888):
        program.unbound(DOCKER, f"{EXTRA[4]}@5300", port=port)
    network.set_resolv_conf(DOCKER)

    def install():
        iptables.restore(4, DOCKERS_RULES)
        for tcp in (False, True):
            assert addresses_of(ask("www.example.org", server=DOCKER, tcp=tcp)) == GOOD
    return install


@ORDERS
@pytest.mark.parametrize("config", [{}, CAPTURE_ALL], ids=["listed", "all"])
def test_dockers_resolver(mesh, docker, first, config):
    if first:
        docker()
    one = mesh.start(config=config)
    if not first:
        docker()
    assert_served(DOCKER)
    assert ask("huge.example.org", "TXT", server=DOCKER, tcp=True).answer  # we too ask over TCP
    assert one.metric("kuma_dns_upstream_queries_total", server=f"{DOCKER}:53") >= 2
    assert clients.glibc("redis.svc.mesh.local", 4) == ("ok", set(REDIS))
    assert one.stop() == 0
    for tcp in (False, True):
        assert addresses_of(ask("www.example.org", server=DOCKER, tcp=tcp)) == GOOD
        assert not is_caught(DOCKER, tcp)


@ORDERS
def test_dockers_resolver_beside_installed_rules(mesh, docker, first):
    if first:
        docker()
    sh(daemons.binary(), "install", "--kuma-dp-user", str(USER), "--redirect-inbound=false",
       "--redirect-outbound=false")
    mesh.start("--no-redirect")
    if not first:
        docker()
    assert_served(DOCKER)
    sh(daemons.binary(), "uninstall")


# Kuma

KUMAS_RULES = """
*raw
-A PREROUTING -p udp -m udp --sport 53 -j CT --zone 1
-A OUTPUT -p udp -m udp --dport 53 -m owner --uid-owner 5678 -j CT --zone 1
-A OUTPUT -p udp -m udp --sport 15053 -m owner --uid-owner 5678 -j CT --zone 2
-A OUTPUT -p udp -m udp --dport 53 -j CT --zone 2
COMMIT
*nat
:KUMA_MESH_INBOUND - [0:0]
:KUMA_MESH_OUTBOUND - [0:0]
:KUMA_MESH_INBOUND_REDIRECT - [0:0]
:KUMA_MESH_OUTBOUND_REDIRECT - [0:0]
-A PREROUTING -i br+ -p udp -m udp --dport 53 -j REDIRECT --to-ports 15053
-A PREROUTING -p tcp -j KUMA_MESH_INBOUND
-A OUTPUT -p udp -m udp --dport 53 -m owner --uid-owner 5678 -j RETURN
-A OUTPUT -p udp -m udp --dport 53 -j REDIRECT --to-ports 15053
-A OUTPUT -p tcp -m tcp --dport 53 -m owner ! --uid-owner 5678 -j RETURN
-A OUTPUT -p tcp -j KUMA_MESH_OUTBOUND
-A KUMA_MESH_OUTBOUND -s {passed} -o lo -j RETURN
-A KUMA_MESH_OUTBOUND ! -d {loopback} -o lo -p tcp -m owner --uid-owner 5678 -j KUMA_MESH_INBOUND_REDIRECT
-A KUMA_MESH_OUTBOUND -o lo -p tcp -m owner ! --uid-owner 5678 -j RETURN
-A KUMA_MESH_OUTBOUND -m owner --uid-owner 5678 -j RETURN
-A KUMA_MESH_OUTBOUND -d {loopback} -j RETURN
-A KUMA_MESH_OUTBOUND -j KUMA_MESH_OUTBOUND_REDIRECT
-A KUMA_MESH_OUTBOUND_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A KUMA_MESH_INBOUND -p tcp -j KUMA_MESH_INBOUND_REDIRECT
-A KUMA_MESH_INBOUND_REDIRECT -p tcp -j REDIRECT --to-ports 15006
COMMIT
"""
BOTH = [RECURSIVE[4], RECURSIVE[6]]


@pytest.fixture
def kuma(network, iptables):  # pylint: disable=redefined-outer-name
    """Kuma's rules, of both families, and its outbound port."""
    network.set_resolv_conf(*BOTH)

    def install():
        iptables.restore(4, KUMAS_RULES.format(passed="127.0.0.6/32", loopback="127.0.0.1/32"))
        iptables.restore(6, KUMAS_RULES.format(passed="::6/128", loopback="::1/128"))
    with envoy():
        yield install


@contextlib.contextmanager
def envoy():
    """Its outbound port."""
    with socket.create_server(("::", 15001), family=socket.AF_INET6, dualstack_ipv6=True) as one:
        threading.Thread(target=greet, args=[one], daemon=True).start()
        yield
        one.shutdown(socket.SHUT_RDWR)


def greet(listening):
    try:
        while True:
            connection, _ = listening.accept()
            connection.sendall(b"O")
            connection.close()
    except OSError:
        pass  # closed


def goes_to_envoy(address):
    with socket.create_connection((address, 80), 5) as one:
        return one.recv(1) == b"O"


def as_kumas_user(mesh, *capabilities):
    """What a daemon's command begins with, to run it as Kuma's proxy does, with these capabilities."""
    gained = [f"--{kind}-caps=" + ",".join(f"+{one}" for one in capabilities) for kind in ("inh", "ambient")
              if capabilities]
    return ["sh", "-c", 'chmod -R a+rwX "$0" && exec "$@"', str(mesh.directory), "setpriv", f"--reuid={USER}",
            f"--regid={USER}", "--clear-groups", *gained]


@OTHERS
@ORDERS
@pytest.mark.parametrize("config", [{}, CAPTURE_ALL], ids=["listed", "all"])
def test_kumas_chains(mesh, kuma, first, config):
    if first:
        kuma()
    one = mesh.start(config={"kumaDPUser": str(USER), **config}, wrapper=as_kumas_user(mesh, "net_admin"))
    if not first:
        kuma()
    for _ in range(3):
        assert_served(*BOTH)
        if config:
            assert_served(AUTHORITATIVE[4], AUTHORITATIVE[6])
    assert all(goes_to_envoy(address) for address in (AUTHORITATIVE[4], AUTHORITATIVE[6]))
    for flow in flows():
        if flow["dport"] == "53":
            assert (flow.get("zone") == "2") == (flow["reply"].get("sport") in ("15053", "15054")), flow
    assert one.stop() == 0


@OTHERS
def test_kumas_chains_alone(mesh, kuma):
    """Their UDP is ours too, with no capability at all; their TCP goes direct."""
    kuma()
    mesh.start("--no-redirect", wrapper=as_kumas_user(mesh))
    for _ in range(3):
        assert_served(*BOTH, transports=[False])
    for server in BOTH:
        assert not is_caught(server, tcp=True)
        assert addresses_of(ask("www.example.org", server=server, tcp=True)) == GOOD


@OTHERS
def test_kumas_chains_alone_spare_its_user_only(mesh, kuma):
    kuma()
    one = mesh.start("--no-redirect", ready=False).wait_listening()
    eventually(lambda: one.metric("kuma_dns_upstream_loop", server=f"{RECURSIVE[4]}:53") == 1, 5)


# Firewalls

WALL = """
 chain input { type filter hook input priority 0; policy drop;
  ct state established,related accept
  iifname lo meta l4proto { tcp, udp } th dport { 15053, 15054 } ct state new accept
  icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
 }
 chain output { type filter hook output priority 0; policy drop;
  ct state established,related accept
  meta l4proto { tcp, udp } th dport { 53, 15053, 15054 } ct state new accept
  icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
 }
"""


@ORDERS
@pytest.mark.parametrize("config", [{}, CAPTURE_ALL], ids=["listed", "all"])
def test_stateful_firewall(mesh, network, others, first, config):
    network.set_resolv_conf(*BOTH)
    if first:
        others(WALL)
    one = mesh.start(config=config)
    if not first:
        others(WALL)
    assert_served(*BOTH)
    for server in (AUTHORITATIVE[4], AUTHORITATIVE[6]):
        for tcp in (False, True):
            assert is_caught(server, tcp) == bool(config)
            assert rcode(ask("www.example.org", server=server, tcp=tcp)) == "NOERROR"
    one.process.kill()
    one.process.wait()
    eventually(lambda: "table inet kuma_dns" not in tables(), 2)
    for server in BOTH:
        for tcp in (False, True):
            assert addresses_of(ask("www.example.org", server=server, tcp=tcp)) == GOOD
    mesh.forget(one)


# Other nat tables


@ORDERS
@pytest.mark.parametrize("priority", [-101, -100, -99, 0, 300])
def test_later_redirections_do_not_win(mesh, network, others, first, priority):
    network.set_resolv_conf(*BOTH)
    theirs = (f"chain out {{ type nat hook output priority {priority};\n"
              "meta mark != 0x6b64 meta l4proto { tcp, udp } th dport 53 redirect to :9\n}")
    if first:
        others(theirs)
    mesh.start()
    if not first:
        others(theirs)
    assert_served(*BOTH)


@ORDERS
def test_earlier_nat_of_other_things_and_masquerading(mesh, network, others, first):
    """Whose rules come first decides on what they name, and on nothing else; masquerading of all, lo included."""
    network.set_resolv_conf(*BOTH)
    theirs = ("chain out { type nat hook output priority -150;\n tcp dport 80 redirect to :15001\n}\n"
              "chain post { type nat hook postrouting priority 100;\n masquerade\n}")
    if first:
        others(theirs)
    mesh.start(config=CAPTURE_ALL)
    if not first:
        others(theirs)
    assert_served(*BOTH, AUTHORITATIVE[4], AUTHORITATIVE[6])
    with envoy():
        assert all(goes_to_envoy(address) for address in (AUTHORITATIVE[4], AUTHORITATIVE[6]))


def test_earlier_nat_of_queries_without_zones(mesh, network, others):
    """Theirs decides; in a zone of ours its answers would not find back."""
    network.set_resolv_conf(*BOTH)
    others("chain out { type nat hook output priority -150;\n"
           f" ip daddr {EXTRA[4]} meta l4proto {{ tcp, udp }} th dport 53 dnat ip to {AUTHORITATIVE[4]}\n"
           f" ip6 daddr {EXTRA[6]} meta l4proto {{ tcp, udp }} th dport 53 dnat ip6 to {AUTHORITATIVE[6]}\n}}")
    mesh.start(config={"redirect": {"dns": {"captureAll": True, "skipConntrackZoneSplit": True}}})
    assert_served(*BOTH)
    for server in (EXTRA[4], EXTRA[6]):
        for tcp in (False, True):
            assert rcode(ask("www.example.org", server=server, tcp=tcp)) == "NOERROR" and not is_caught(server, tcp)


# systemd-resolved


@needs_resolved
@ORDERS
def test_resolveds_stub(mesh, network, program, first):
    """resolv.conf names 127.0.0.53: the application is caught on the way there, our own queries arrive."""
    network.set_resolv_conf("127.0.0.53")
    if first:
        start_resolved(program, RECURSIVE[4])
        one = mesh.start()
    else:
        one = mesh.start(ready=False).wait_listening()
        one.wait_log("redirecting 127.0.0.53:53")
        start_resolved(program, RECURSIVE[4])
        eventually(lambda: addresses_of(ask("www.example.org", server="127.0.0.53")) == GOOD)
    assert_served("127.0.0.53")
    assert one.metric("kuma_dns_upstream_queries_total", server="127.0.0.53:53") >= 1
    assert not one.metric("kuma_dns_upstream_loop")
    assert one.stop() == 0
    assert addresses_of(ask("www.example.org", server="127.0.0.53")) == GOOD
