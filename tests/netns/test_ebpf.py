# SPDX-License-Identifier: Apache-2.0
"""Redirection by eBPF at the sockets: what is caught, by whom, what comes back, and what is left behind."""

import contextlib
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import threading
import types

import dns.flags
import dns.message
import dns.opcode
import dns.query
import dns.rcode
import pytest

import cgroups
import clients
import daemon as daemons
import namespaces
from clients import addresses_of, ask, rcode
from daemon import eventually
from namespaces import APPLICATION, AUTHORITATIVE, NOBODY, RECURSIVE, SCRIPTED, SECOND, sh
from redirected import BOTH, REDIS, flows, is_caught, tables

HOOKS = sorted(f"cgroup_{hook}" for family in (4, 6) for hook in (
    f"inet{family}_connect", f"udp{family}_sendmsg", f"udp{family}_recvmsg", f"inet{family}_getpeername"))
FAMILIES = pytest.mark.parametrize("family", [4, 6])
TRANSPORTS = pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
MARK = 0x6B64
USER = 5678


@pytest.fixture(scope="module")
def cgroup(network):  # pylint: disable=unused-argument
    """A cgroup of this file's own, so that nobody else's sockets are touched, nor ours by others."""
    if cgroups.why_not():
        pytest.skip(cgroups.why_not())
    # A bpffs of our own, too: not every machine has one, and others may pin there.
    sh("mount", "-t", "bpf", "bpf", "/sys/fs/bpf")
    with cgroups.entered() as path:
        yield path
    sh("umount", "/sys/fs/bpf")


@pytest.fixture
def ebpf(mesh, network, cgroup):  # pylint: disable=unused-argument
    """Starts daemons that redirect by eBPF; nothing of them may be left."""
    def start(*flags, capture_all=False, config=None, **options):
        redirect = {"mode": "ebpf", "cgroup": cgroup, "dns": {"captureAll": capture_all}}
        return mesh.start(*flags, config={**(config or {}), "redirect": {**redirect, **(config or {}).get("redirect", {})}},
                          **options)
    network.set_resolv_conf(*BOTH)
    yield start
    for one in mesh.daemons:
        one.stop()
    assert not cgroups.programs(cgroup) and not cgroups.PINS.exists()
    for metric in cgroups.local_routes():
        sh("ip", "-6", "route", "del", "local", "fd6b:756d:6164:6e73::/112", "dev", "lo", "metric", metric)


def query(qname="redis.svc.mesh.local", **options):
    return dns.message.make_query(qname, "A", **options).to_wire()


def udp(family=4, mark=0, timeout=5):
    one = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, socket.SOCK_DGRAM)
    one.settimeout(timeout)
    if mark:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
    return one


def run_as(uid, *command):
    return clients.run("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *command)[1]


DIG = ("dig", "+noall", "+comments", "+tries=1", "redis.svc.mesh.local")


# What is caught


@TRANSPORTS
def test_only_servers_of_resolv_conf_are_caught(ebpf, cgroup, tcp):
    one = ebpf()
    assert cgroups.programs(cgroup) == HOOKS
    assert is_caught(RECURSIVE[4], tcp) and is_caught(RECURSIVE[6], tcp)
    assert not is_caught(AUTHORITATIVE[4], tcp) and not is_caught(AUTHORITATIVE[6], tcp)
    assert rcode(ask("www.example.org", server=RECURSIVE[4], tcp=tcp)) == "NOERROR"
    assert tables() == []
    assert f"by eBPF at {cgroup}" in one.log() and f"eBPF at {cgroup}" in one.run("status")[1]


@TRANSPORTS
def test_capture_all_catches_every_server(ebpf, tcp):
    ebpf(capture_all=True)
    for server in [*BOTH, AUTHORITATIVE[4], AUTHORITATIVE[6], namespaces.VANISHED[4], namespaces.VANISHED[6]]:
        assert is_caught(server, tcp)


def test_ipv4_mode_leaves_ipv6_alone(ebpf):
    ebpf(capture_all=True, config={"ipFamilyMode": "ipv4"})
    assert is_caught(RECURSIVE[4]) and not is_caught(RECURSIVE[6])
    assert not cgroups.local_routes()


@pytest.mark.parametrize("client", clients.CLIENTS, ids=lambda client: client.__name__)
@pytest.mark.parametrize("servers", [[RECURSIVE[4]], [RECURSIVE[6]], [NOBODY[4], RECURSIVE[4]], BOTH],
                         ids=["ipv4", "ipv6", "two", "both"])
def test_resolvers(ebpf, network, client, servers):
    network.set_resolv_conf(*servers)
    ebpf()
    assert client("redis.svc.mesh.local", 4) == ("ok", clients.plain(REDIS))
    if NOBODY[4] not in servers:
        assert client("www.example.org", 4)[0] == "ok"


def test_servers_follow_resolv_conf(ebpf, network):
    network.set_resolv_conf(RECURSIVE[4])
    one = ebpf()
    assert is_caught(RECURSIVE[4]) and not is_caught(AUTHORITATIVE[4])
    network.set_resolv_conf(AUTHORITATIVE[4])
    one.wait_log(f"redirecting {AUTHORITATIVE[4]}:53,")
    assert not is_caught(RECURSIVE[4]) and is_caught(AUTHORITATIVE[4])


@FAMILIES
@TRANSPORTS
def test_the_server_that_was_asked_answers(ebpf, family, tcp):
    """NSD, which is not in resolv.conf, sets AA; the resolver there never does. Without any capability: see status."""
    one = ebpf(capture_all=True)
    for number in range(1, 4):
        assert ask("www.example.org", server=AUTHORITATIVE[family], tcp=tcp).flags & dns.flags.AA
        assert not ask("www.example.org", server=RECURSIVE[family], tcp=tcp).flags & dns.flags.AA
        assert one.metric("kuma_dns_passed_total") == number
    status, text = clients.run("dig", "+noall", "+comments", "example.org", "IXFR=1", f"@{AUTHORITATIVE[family]}")
    assert status == 0 and "REFUSED" in text  # by NSD, which transfers its zones to nobody
    assert one.metric("kuma_dns_passed_total") == 4


def test_two_servers_asked_at_once_from_one_port(ebpf, scripted, second):
    """A server that says nothing does not keep the other one from being asked."""
    ebpf(capture_all=True)
    scripted.answer = lambda message, over_tcp: None
    with udp() as one:
        for _ in range(3):
            one.sendto(query("www.example.org"), (SCRIPTED[4], 53))
            one.sendto(query("www.example.org"), (SECOND[4], 53))
            octets, (source, _) = one.recvfrom(512)
            assert source == SECOND[4] and addresses_of(dns.message.from_wire(octets)) == ["192.0.2.80"]
    assert len(second.seen("www.example.org")) == 3


@TRANSPORTS
def test_nobody_else_is_asked_where_the_asked_server_cannot_be_reached(ebpf, tcp):
    one = ebpf(capture_all=True)
    assert rcode(ask("www.example.org", server="203.0.113.9", tcp=tcp)) == "SERVFAIL"
    assert one.metric("kuma_dns_transactions_total") == 0


def test_auto_goes_on_where_all_of_loopback_is_not_to_be_had(ebpf):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", daemons.PORT))
        one = ebpf("--no-redirect", "--listen", "127.0.0.1:5300", config={"redirect": {"mode": "auto"}})
        one.wait_log("cannot listen on all of loopback, port 15053")
        assert addresses_of(ask("redis.svc.mesh.local", port=5300)) == REDIS


@TRANSPORTS
def test_dns_over_tcp_can_be_left_alone(ebpf, tcp):
    ebpf(config={"redirect": {"dns": {"tcp": False, "captureAll": True}}})
    assert is_caught(RECURSIVE[4], tcp) != tcp and is_caught(RECURSIVE[6], tcp) != tcp


def test_failing_closed_cannot_be_had(ebpf, mesh):
    one = ebpf(config={"redirect": {"failClosed": True}}, ready=False)
    assert one.process.wait(10) == 2
    assert "redirect.failClosed: found true, expected false with redirect.mode ebpf" in one.log()
    mesh.forget(one)


def test_what_failed_closed_before_is_in_nobodys_way(ebpf, mesh):
    closed = mesh.start(config={"redirect": {"failClosed": True, "dns": {"captureAll": True}}})
    closed.stop(signal.SIGKILL)
    mesh.forget(closed)
    assert tables() == ["table inet kuma_dns_closed"]
    one = ebpf()
    assert not tables() and is_caught(RECURSIVE[4])
    one.stop()
    assert rcode(ask("www.example.org", server=RECURSIVE[4])) == "NOERROR"


def test_canaries_come_back_where_the_daemon_is_in_the_cgroup(ebpf, cgroup):
    inside = ebpf(config={"kumaDPUser": str(USER)})
    assert inside.metric("kuma_dns_interception_up") == 4
    inside.stop()
    with cgroups.made() as other:
        outside = ebpf(config={"redirect": {"cgroup": other}})
        assert outside.metric("kuma_dns_interception_up") is None
        outside.stop()


def test_no_flow_is_tracked(ebpf):
    clients.run("conntrack", "-F")
    ebpf()
    for _ in range(20):
        for tcp in (False, True):
            assert is_caught(RECURSIVE[4], tcp) and is_caught(RECURSIVE[6], tcp)
    assert not flows()


# What comes back


def replies_of(one, family, servers, rounds):
    """Ask every server by turns from one socket, all before the first answer is read: ID → source."""
    expected = {}
    for number in range(rounds * len(servers)):
        server = servers[number % len(servers)]
        one.sendto(query(id=number + 1), ("::ffff:" + server if family == "mapped" else server, 53))
        expected[number + 1] = server
    seen = {}
    while len(seen) < len(expected):
        octets, source = one.recvfrom(4096)
        message = dns.message.from_wire(octets)
        assert addresses_of(message) == REDIS and source[1] == 53
        seen[message.id] = source[0].removeprefix("::ffff:")
    return seen, expected


@pytest.mark.parametrize("family", [4, 6, "mapped"])
@pytest.mark.parametrize("listed", [True, False], ids=["listed", "all"])
def test_every_server_answers_from_its_own_address(ebpf, network, family, listed):
    # Kuma's eBPF remembers one server for each socket: whoever asks two sees the wrong source.
    version = 6 if family == 6 else 4
    servers = [where[version] for where in (RECURSIVE, AUTHORITATIVE, SCRIPTED, NOBODY, SECOND)]
    network.set_resolv_conf(*(servers[:3] if listed else servers[:1]))
    ebpf(capture_all=not listed)
    asked = servers[:3] if listed else servers
    with udp(6 if family == "mapped" else family) as one:
        seen, expected = replies_of(one, family, asked, 20)
    assert seen == expected


@FAMILIES
def test_sockets_that_ask_at_once_see_their_own_servers(ebpf, family):
    servers = [where[family] for where in (RECURSIVE, AUTHORITATIVE, SCRIPTED, NOBODY, SECOND)]
    ebpf(capture_all=True)
    wrong = []

    def go(shift):
        with udp(family) as one:
            seen, expected = replies_of(one, family, servers[shift:] + servers[:shift], 40)
        if seen != expected:
            wrong.append((seen, expected))
    threads = [threading.Thread(target=go, args=(shift,)) for shift in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_more_servers_than_are_remembered(ebpf):
    # What is remembered of servers that are not listed is used again, oldest first; nothing else is lost.
    ebpf(capture_all=True)
    with udp() as one:
        for number in range(3000):
            server = f"198.51.{number // 250}.{number % 250 + 1}"
            one.sendto(query(), (server, 53))
            assert one.recvfrom(4096)[1] == (server, 53)
        one.sendto(query(), (RECURSIVE[4], 53))
        assert one.recvfrom(4096)[1] == (RECURSIVE[4], 53)


@TRANSPORTS
@pytest.mark.parametrize("family", [4, 6, "mapped"])
def test_peer_of_a_connected_socket_is_the_server(ebpf, family, tcp):
    ebpf()
    server = {4: RECURSIVE[4], 6: RECURSIVE[6], "mapped": "::ffff:" + RECURSIVE[4]}[family]
    kind = socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, kind) as one:
        one.settimeout(5)
        one.connect((server, 53))
        assert one.getpeername()[:2] == (server, 53)
        octets = query()
        one.sendall(len(octets).to_bytes(2, "big") + octets if tcp else octets)
        answer, source = one.recvfrom(4096)
        assert addresses_of(dns.message.from_wire(answer[2:] if tcp else answer)) == REDIS
        assert tcp or source[:2] == (server, 53)


def test_others_on_our_port_and_other_ports_are_left_alone(ebpf):
    ebpf(capture_all=True)
    with udp() as one:
        one.connect((RECURSIVE[4], 5353))
        one.send(query())
        with pytest.raises(ConnectionRefusedError):
            one.recv(512)
    with udp() as one:
        one.sendto(query(), ("127.0.0.1", daemons.PORT))
        assert one.recvfrom(512)[1] == ("127.0.0.1", daemons.PORT)


def test_port_of_loopback_is_not_open_to_others(ebpf, network):
    ebpf(capture_all=True)
    with network.upstream(), udp(timeout=1) as one:
        one.connect((APPLICATION[4], daemons.PORT))
        one.send(query())
        with pytest.raises(ConnectionRefusedError):
            one.recv(512)


# Who is exempt


def test_mark_is_exempt(ebpf):
    ebpf(capture_all=True)
    for mark, caught in ((MARK, False), (0, True)):
        with udp(mark=mark) as one:
            one.sendto(query(), (RECURSIVE[4], 53))
            assert (addresses_of(dns.message.from_wire(one.recv(4096))) == REDIS) == caught


def test_kuma_user_is_exempt(ebpf):
    ebpf(config={"kumaDPUser": str(USER)})
    assert "status: NXDOMAIN" in run_as(USER, *DIG)
    assert "status: NOERROR" in run_as(USER + 1, *DIG)
    assert "status: NXDOMAIN" in run_as(USER, *DIG, "+tcp")


@pytest.mark.parametrize("exclusion, udp_direct, tcp_direct", [
    ("1000-2000", True, True), ("udp:53:1500", True, False), ("tcp:50-60:1500", False, True), ("54:1500", False, False),
    ("2000", False, False)])
def test_excluded_users(ebpf, exclusion, udp_direct, tcp_direct):
    # The section makes nftables redirect TCP as well, unless it is switched off.
    ebpf(config={"kumaDPUser": str(USER), "redirect": {"outbound": {"enabled": False, "excludePortsForUIDs": [exclusion]}}})
    assert ("status: NXDOMAIN" in run_as(1500, *DIG)) == udp_direct
    assert ("status: NXDOMAIN" in run_as(1500, *DIG, "+tcp")) == tcp_direct


def test_excluded_addresses(ebpf):
    ebpf(capture_all=True, config={"redirect": {"outbound": {
        "enabled": False, "excludePortsForIPs": ["10.53.0.3/32", "fd53::2/127"]}}})
    assert is_caught(RECURSIVE[4]) and not is_caught(AUTHORITATIVE[4])
    assert not is_caught(RECURSIVE[6]) and not is_caught(AUTHORITATIVE[6]) and is_caught(NOBODY[6])


def test_link_local_servers_are_left_alone(ebpf):
    ebpf(capture_all=True)
    with udp(6) as one:
        one.connect(("fe80::1", 53, 0, socket.if_nametoindex("mesh0")))
        assert one.getsockname()[0].startswith("fe80::")
    with udp(6) as one:
        one.connect((NOBODY[6], 53))
        assert one.getsockname()[0] == "::1"


def test_socket_tied_to_a_device_goes_direct(ebpf):
    ebpf()
    with udp() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"mesh0")
        one.sendto(query(), (RECURSIVE[4], 53))
        assert addresses_of(dns.message.from_wire(one.recv(4096))) != REDIS


def test_other_network_namespaces_are_not_touched(ebpf, network, cgroup, mesh):
    # Kuma attached to the root of the node, and touched all of it.
    ebpf(capture_all=True)
    with network.upstream():
        assert not is_caught(RECURSIVE[4])
        second = mesh.start(config={"redirect": {"mode": "ebpf", "cgroup": cgroup, "dns": {"captureAll": True}}})
        assert cgroups.programs(cgroup) == sorted(HOOKS * 2)
        assert is_caught(RECURSIVE[4]) and is_caught(RECURSIVE[6])
    assert second.stop() == 0
    assert cgroups.programs(cgroup) == HOOKS
    with network.upstream():
        assert not is_caught(RECURSIVE[4])
    assert is_caught(RECURSIVE[4])


def test_other_cgroups_are_not_touched(ebpf, cgroup):
    with cgroups.made(cgroup) as inner:
        ebpf(config={"redirect": {"cgroup": inner}})
        assert not is_caught(RECURSIVE[4])
        ask_inside = f"echo $$ >{inner}/cgroup.procs && exec {' '.join(DIG)}"
        assert "status: NOERROR" in clients.run("sh", "-c", ask_inside)[1]


def test_application_is_found_without_a_key(ebpf):
    one = ebpf(config={"redirect": {"cgroup": "''"}})
    assert f"eBPF at {cgroups.mount()}" in one.log() and is_caught(RECURSIVE[4])


# Before and after


def test_older_sockets_are_reported(ebpf):
    with udp() as one, udp(6) as two, udp(mark=MARK) as ours, socket.create_connection((RECURSIVE[4], 53)) as tcp:
        for connected in (one, ours):
            connected.connect((RECURSIVE[4], 53))
        two.connect((RECURSIVE[6], 53))
        ebpf().wait_log("eBPF: 3 sockets are connected to port 53 already")
        one.send(query())
        assert addresses_of(dns.message.from_wire(one.recv(4096))) != REDIS
        assert tcp.getpeername() == (RECURSIVE[4], 53)


def test_kill_leaves_dns_direct_at_once(ebpf, mesh, cgroup):
    one = ebpf()
    with udp() as lasting:
        lasting.sendto(query(), (RECURSIVE[4], 53))
        assert addresses_of(dns.message.from_wire(lasting.recv(4096))) == REDIS
        one.stop(signal.SIGKILL)
        mesh.forget(one)
        assert not cgroups.programs(cgroup)
        lasting.sendto(query("www.example.org"), (RECURSIVE[4], 53))
        assert addresses_of(dns.message.from_wire(lasting.recv(4096)))
    assert not is_caught(RECURSIVE[4]) and not is_caught(RECURSIVE[6], tcp=True)
    ebpf()
    assert is_caught(RECURSIVE[4]) and is_caught(RECURSIVE[6], tcp=True)


def test_stop_leaves_nothing(ebpf, cgroup):
    one = ebpf()
    assert cgroups.local_routes() == ["1"]
    assert one.stop() == 0
    assert not cgroups.programs(cgroup) and not cgroups.local_routes() and not is_caught(RECURSIVE[6])


def test_second_start_takes_over(ebpf, cgroup):
    one = ebpf()
    ebpf()
    assert cgroups.programs(cgroup) == sorted(HOOKS * 2)
    assert is_caught(RECURSIVE[4]) and is_caught(RECURSIVE[6])
    assert one.stop() == 0
    for tcp in (False, True):
        assert is_caught(RECURSIVE[4], tcp) and is_caught(RECURSIVE[6], tcp)


def test_queries_by_older_aliases_go_to_the_server_that_was_asked(ebpf):
    """In a take-over the older programs come first, and both daemons get what they send."""
    one = ebpf(capture_all=True)
    two = ebpf(capture_all=True)
    with udp() as lasting:
        lasting.connect((AUTHORITATIVE[4], 53))
        asked = 0
        while not (one.metric("kuma_dns_passed_total") and two.metric("kuma_dns_passed_total")):
            assert ask("www.example.org", server=AUTHORITATIVE[4 + 2 * (asked % 2)]).flags & dns.flags.AA
            asked += 1
            assert asked < 200
        assert one.stop() == 0
        lasting.send(query("www.example.org"))
        assert dns.message.from_wire(lasting.recv(4096)).flags & dns.flags.AA


def test_more_workers_than_one(ebpf):
    ebpf(config={"workers": 3}, capture_all=True)
    servers = [where[4] for where in (RECURSIVE, AUTHORITATIVE, SCRIPTED)]
    for _ in range(10):
        with udp() as one:
            seen, expected = replies_of(one, 4, servers, 3)
            assert seen == expected
        assert is_caught(RECURSIVE[6], tcp=True)


# Programs that last


@pytest.fixture
def installed(ebpf, cgroup):
    """Runs install and uninstall; what was installed goes in the end."""
    def run(command, *flags, ok=True, wrapper=()):
        done = subprocess.run([*wrapper, daemons.binary(), command, "--redirect-mode", "ebpf", "--redirect-cgroup", str(cgroup),
                               "--no-redirect-inbound", "--no-redirect-outbound", *flags],
                              capture_output=True, text=True, check=False)
        assert (done.returncode == 0) == ok, done.stderr
        return done.stdout + done.stderr
    yield types.SimpleNamespace(run=run, start=ebpf)
    run("uninstall")


def test_installed_programs_outlive_the_command(installed, cgroup, mesh):
    assert installed.run("install").startswith("installed: ")
    assert cgroups.programs(cgroup) == HOOKS and len(list(cgroups.PINS.iterdir())) == 1
    # Nobody listens yet: queries fail, and that must not switch anything off for good, as Kuma's did.
    with udp() as one:
        one.connect((RECURSIVE[4], 53))
        one.send(query())
        with pytest.raises(ConnectionRefusedError):
            one.recv(512)
    mesh.start("--no-redirect", config={"redirect": {"mode": "ebpf"}})
    for tcp in (False, True):
        assert is_caught(RECURSIVE[4], tcp) and is_caught(RECURSIVE[6], tcp)
    assert rcode(ask("www.example.org", server=RECURSIVE[4])) == "NOERROR"


@pytest.mark.parametrize("flags", [(), ("--user", str(USER))], ids=["root", "user"])
def test_installed_programs_follow_resolv_conf(installed, mesh, network, flags):
    """A daemon that may look sees that they are there, whatever the mode; it needs no privilege for it later."""
    network.set_resolv_conf(NOBODY[4])
    installed.run("install")
    network.set_resolv_conf(RECURSIVE[4], RECURSIVE[6])
    one = mesh.start("--no-redirect", *flags)
    for tcp in (False, True):
        assert is_caught(RECURSIVE[4], tcp) and is_caught(RECURSIVE[6], tcp)
    network.set_resolv_conf(AUTHORITATIVE[4])
    one.wait_log("installed rules: the servers are those of resolv.conf", count=2)
    assert is_caught(AUTHORITATIVE[4]) and not is_caught(RECURSIVE[4]) and not is_caught(RECURSIVE[6])
    # Programs that take their place are the same daemon's.
    installed.run("install", "--redirect-cgroup", str(cgroups.mount()))
    network.set_resolv_conf(RECURSIVE[4])
    one.wait_log("installed rules: the servers are those of resolv.conf", count=3)
    assert is_caught(RECURSIVE[4], tcp=True) and not is_caught(AUTHORITATIVE[4])


def test_installed_programs_follow_beside_those_of_a_daemon(installed, network):
    installed.run("install")
    one = installed.start()
    network.set_resolv_conf(AUTHORITATIVE[4])
    one.wait_log(f"redirecting {AUTHORITATIVE[4]}:53,")
    installed.start("--no-redirect", "--resolv-conf", "/nonexistent", "--upstream", RECURSIVE[4])
    one.stop()
    assert is_caught(AUTHORITATIVE[4]) and not is_caught(RECURSIVE[4])


def test_installed_programs_are_served_beside_rules_of_a_daemon(installed, mesh, network):
    installed.run("install", "--capture-all")
    one = mesh.start()
    for tcp in (False, True):
        assert is_caught(RECURSIVE[4], tcp) and is_caught(RECURSIVE[6], tcp)
        assert ask("www.example.org", server=AUTHORITATIVE[4], tcp=tcp).flags & dns.flags.AA
    network.set_resolv_conf(AUTHORITATIVE[4])
    one.wait_log(f"redirecting {AUTHORITATIVE[4]}:53,")
    passed = one.metric("kuma_dns_passed_total")
    assert rcode(ask("www.example.org", server=AUTHORITATIVE[4])) == "NOERROR"
    assert one.metric("kuma_dns_passed_total") == passed  # it is one of ours by now


def test_programs_that_cannot_be_opened_are_named(installed, mesh, network, cgroup):
    installed.run("install", "--kuma-dp-user", str(USER))
    hidden = mesh.start("--no-redirect", "--user", str(USER), config={"redirect": {"mode": "ebpf"}}, wrapper=HIDING)
    network.set_resolv_conf(RECURSIVE[4])
    hidden.wait_log("programs that somebody installed keep .*/sys/fs/bpf/kuma-dns/[0-9]+/state: No such file")
    assert is_caught(RECURSIVE[4]) and is_caught(RECURSIVE[6])
    hidden.stop()
    may_look = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--inh-caps=+dac_read_search",
                "--ambient-caps=+dac_read_search"]
    denied = mesh.start("--no-redirect", wrapper=may_look, owner=USER)
    network.set_resolv_conf(*BOTH)
    denied.wait_log("programs that somebody installed keep .*/state: it takes CAP_DAC_OVERRIDE")
    denied.stop()
    next(cgroups.PINS.glob("*/state")).unlink()  # an earlier version had none
    before = mesh.start("--no-redirect")
    network.set_resolv_conf(RECURSIVE[4])
    before.wait_log("programs that somebody installed keep .*/state: found programs of another version")
    assert is_caught(RECURSIVE[6]) and cgroups.programs(cgroup) == HOOKS


@FAMILIES
@TRANSPORTS
def test_installed_programs_tell_the_server_that_was_asked(installed, mesh, family, tcp):
    installed.run("install", "--capture-all")
    one = mesh.start("--no-redirect", config={"forward": {"askedServer": False}})
    assert not ask("www.example.org", server=AUTHORITATIVE[family], tcp=tcp).flags & dns.flags.AA
    one.stop()
    one = mesh.start("--no-redirect", "--user", str(USER))
    for number in range(1, 4):
        assert ask("www.example.org", server=AUTHORITATIVE[family], tcp=tcp).flags & dns.flags.AA
        assert not ask("www.example.org", server=RECURSIVE[family], tcp=tcp).flags & dns.flags.AA
        assert one.metric("kuma_dns_passed_total") == number
    notify = dns.message.make_query("example.org", "SOA")
    notify.set_opcode(dns.opcode.NOTIFY)
    assert dns.query.udp(notify, AUTHORITATIVE[family], timeout=5).rcode() != dns.rcode.NOTIMP
    assert one.metric("kuma_dns_passed_total") == 4


def test_install_can_be_repeated_and_undone(installed, cgroup):
    installed.run("install")
    assert installed.run("install", "--capture-all").startswith("installed anew: ")
    assert cgroups.programs(cgroup) == HOOKS
    assert installed.run("uninstall") == "uninstalled\n"
    assert not cgroups.programs(cgroup) and not cgroups.PINS.exists() and not cgroups.local_routes()
    assert installed.run("uninstall") == "nothing was installed\n"


def test_uninstall_leaves_others_alone(installed, cgroup, network):
    installed.run("install")
    others = cgroups.PINS.with_name("somebody-else")
    others.mkdir()
    one = installed.start()
    with network.upstream():
        installed.run("install")
    assert cgroups.programs(cgroup) == sorted(HOOKS * 3)
    installed.run("uninstall")
    assert cgroups.programs(cgroup) == sorted(HOOKS * 2) and others.exists()
    assert is_caught(RECURSIVE[4]) and is_caught(RECURSIVE[6])
    one.stop()
    assert not is_caught(RECURSIVE[4]) and len(list(cgroups.PINS.iterdir())) == 1
    others.rmdir()
    with network.upstream():
        installed.run("uninstall")


def test_means_of_installing_replace_each_other(installed, cgroup):
    flags = ("--no-redirect-inbound", "--no-redirect-outbound")
    installed.run("install")
    sh(daemons.binary(), "install", *flags)
    assert tables() == ["table inet kuma_dns_installed"] and not cgroups.programs(cgroup)
    installed.run("install")
    assert not tables() and cgroups.programs(cgroup) == HOOKS
    installed.run("uninstall")
    assert not tables() and not cgroups.programs(cgroup)


def kernel_objects():
    """Our maps and programs in the kernel, whoever holds them, by number."""
    found = set()
    for kind, names in (("map", r"sockets\.|others"), ("prog", "connect|sendmsg|recvmsg|getpeername")):
        text = clients.run("bpftool", "--json", kind, "show")[1]
        found |= {(kind, one["id"]) for one in json.loads(text) if re.match(names, one.get("name", ""))}
    return found


def test_nothing_is_left_in_the_kernel(installed, mesh, network):
    before = kernel_objects()
    for _ in range(2):
        installed.run("install")
        one = mesh.start("--no-redirect")
        assert is_caught(RECURSIVE[4])
        installed.run("install", "--capture-all")
        one.stop()
    assert kernel_objects() - before
    installed.run("uninstall")
    own = installed.start()
    own.stop()
    network.set_resolv_conf(*BOTH)
    assert eventually(lambda: not kernel_objects() - before)


WITHOUT_RULES = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]  # programs only take CAP_SYS_ADMIN


def test_install_is_all_or_nothing(installed, cgroup, mesh):
    """What nftables does fails after the programs are in place."""
    envoy = ("--kuma-dp-user", str(USER), "--redirect-outbound", "--redirect-outbound-port")
    installed.run("install", *envoy, "15001")
    mesh.start("--no-redirect")
    rules, pins, ids = sh("nft", "list", "ruleset"), sorted(cgroups.PINS.glob("*/*")), kernel_objects()
    for command in (("install", "--capture-all", *envoy, "15002"), ("uninstall",)):
        assert "CAP_NET_ADMIN" in installed.run(*command, wrapper=WITHOUT_RULES, ok=False)
    assert sh("nft", "list", "ruleset") == rules and sorted(cgroups.PINS.glob("*/*")) == pins
    assert cgroups.programs(cgroup) == HOOKS and eventually(lambda: kernel_objects() == ids)
    for tcp in (False, True):
        assert is_caught(RECURSIVE[4], tcp) and is_caught(RECURSIVE[6], tcp) and not is_caught(AUTHORITATIVE[4], tcp)
    installed.run("install", "--capture-all", *envoy, "15002")
    assert is_caught(AUTHORITATIVE[4]) and "15002" in sh("nft", "list", "ruleset")


def test_what_cannot_be_installed_leaves_nothing(installed, cgroup):
    installed.run("install", "--kuma-dp-user", str(USER), "--redirect-outbound", wrapper=WITHOUT_RULES, ok=False)
    assert not tables() and not cgroups.programs(cgroup) and not cgroups.PINS.exists()


@pytest.mark.parametrize("left", ["-old", "-new"])
def test_what_was_interrupted_is_in_nobodys_way(installed, cgroup, left):
    """Killed between two of the steps: what it replaces was put aside, or its own is not in place yet."""
    installed.run("install")
    place = next(cgroups.PINS.iterdir())
    place.rename(f"{place}{left}")
    assert installed.run("install").startswith("installed anew: ")
    assert cgroups.programs(cgroup) == HOOKS and list(cgroups.PINS.iterdir()) == [place]
    place.rename(f"{place}{left}")
    assert installed.run("uninstall") == "uninstalled\n"
    assert not cgroups.programs(cgroup) and not cgroups.PINS.exists() and not cgroups.local_routes()


@contextlib.contextmanager
def locked(path):
    """As one who installs has it meanwhile."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_installers_wait_for_each_other(installed, command):
    installed.run("install")
    other = threading.Thread(target=installed.run, args=(command,))
    before = sorted(cgroups.PINS.glob("*/*"))
    with locked("/sys/fs/bpf"):
        other.start()
        other.join(0.5)
        waits = other.is_alive() and sorted(cgroups.PINS.glob("*/*")) == before
    other.join(10)
    assert waits and not other.is_alive()


def test_pins_of_cgroups_that_are_gone_are_removed(installed, cgroup, network):
    # A pod that ends without cleaning up; Kuma's pins stayed.
    with cgroups.made(cgroup) as inner, network.upstream():
        installed.run("install", "--redirect-cgroup", str(inner))
    before = list(cgroups.PINS.iterdir())
    assert len(before) == 1
    installed.run("install")
    assert len(list(cgroups.PINS.iterdir())) == 1 and not before[0].exists()


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_pins_of_network_namespaces_that_are_gone_are_removed(installed, cgroup, command):
    """A pod that ended without cleaning up, whose programs are at a cgroup that stays."""
    if tuple(map(int, os.uname().release.split(".")[:2])) < (6, 18):
        pytest.skip("whether a network namespace is gone is told by Linux 6.18 or later")
    installed.run("install", wrapper=["unshare", "--net"])
    left = next(cgroups.PINS.iterdir())
    installed.run("install")

    def swept():
        installed.run(command)
        return not left.exists()
    eventually(swept)
    assert cgroups.programs(cgroup) == (HOOKS if command == "install" else [])


def test_dry_run_changes_nothing(installed, cgroup):
    text = installed.run("install", "--dry-run")
    assert str(cgroups.PINS) in text and not cgroups.programs(cgroup) and not cgroups.PINS.exists()


def test_another_network_namespace(installed, network, cgroup):
    sh("mkdir", "-p", "/run/netns")
    with network.upstream():
        sh("ip", "netns", "attach", "upstream", str(os.getpid()))
    installed.run("install", "--netns", "/run/netns/upstream")
    assert cgroups.programs(cgroup) == HOOKS and not is_caught_or_refused(RECURSIVE[4])
    with network.upstream():
        assert is_caught_or_refused(RECURSIVE[4])
    installed.run("uninstall", "--netns", "/run/netns/upstream")
    sh("ip", "netns", "del", "upstream")


def is_caught_or_refused(server):
    """Whether the query goes to our port, whoever is there."""
    with udp() as one:
        one.connect((server, 53))
        return one.getsockname()[0] in ("127.0.0.1", "::1")


# What is missing, and what is done then


def without(*capabilities):
    names = ",".join(f"-{name}" for name in capabilities)
    return ["setpriv", f"--bounding-set={names}", f"--inh-caps={names}"]


def fails(ebpf, mesh, words, **options):
    one = ebpf(ready=False, **options)
    assert eventually(lambda: not one.alive()) and re.search(words, one.log()), one.log()
    assert one.process.returncode == 1
    mesh.forget(one)


@pytest.mark.parametrize("capabilities, words", [
    (["bpf", "sys_admin"], "eBPF: .* needs CAP_BPF;"), (["net_admin", "sys_admin"], "eBPF: .* needs CAP_NET_ADMIN;"),
    (["bpf", "sys_admin", "net_admin"], "eBPF: .* needs CAP_BPF and CAP_NET_ADMIN;")])
def test_missing_capabilities_are_named(ebpf, mesh, capabilities, words):
    options = {"config": {"ipFamilyMode": "ipv4"}} if "net_admin" in capabilities else {}
    fails(ebpf, mesh, words, wrapper=without(*capabilities), **options)


def test_wrong_cgroups_are_named(ebpf, mesh):
    fails(ebpf, mesh, "redirect.cgroup: found /proc, expected a directory of cgroup2: it is none",
          config={"redirect": {"cgroup": "/proc"}})
    fails(ebpf, mesh, "redirect.cgroup: found /nowhere, expected a directory of cgroup2: No such file",
          config={"redirect": {"cgroup": "/nowhere"}})


HIDING = ["unshare", "--mount", "sh", "-c", 'mount -t sysfs sysfs /sys && exec "$@"', "sh"]  # as `ip netns exec` does


def test_hidden_cgroup2_is_found_or_named(ebpf, mesh):
    one = ebpf(config={"redirect": {"cgroup": "''"}}, wrapper=HIDING)
    assert is_caught(RECURSIVE[4])
    one.stop()
    fails(ebpf, mesh, "no cgroup2 mount .*ip netns exec.*expected one", config={"redirect": {"cgroup": "''"}},
          wrapper=[*HIDING, *without("sys_admin")])


def test_hidden_bpffs_is_named(cgroup):  # pylint: disable=unused-argument
    done = subprocess.run([*HIDING, daemons.binary(), "install", "--redirect-mode", "ebpf", "--capture-all",
                           "--no-redirect-inbound", "--no-redirect-outbound"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "found no bpffs" in done.stderr and "--netns" in done.stderr
    assert not cgroups.local_routes()


def test_auto_takes_ebpf_where_it_can(ebpf, cgroup):
    one = ebpf(config={"redirect": {"mode": "auto"}})
    assert cgroups.programs(cgroup) == HOOKS and not tables() and "eBPF at" in one.run("status")[1]
    assert is_caught(RECURSIVE[4])


def test_auto_takes_nftables_otherwise_and_says_why(ebpf, cgroup):
    one = ebpf(config={"redirect": {"mode": "auto"}}, wrapper=without("bpf", "sys_admin"))
    assert not cgroups.programs(cgroup) and tables() == ["table inet kuma_dns"]
    assert is_caught(RECURSIVE[4]) and is_caught(RECURSIVE[6], tcp=True)
    for text in (one.log(), one.run("status")[1]):
        assert re.search("nftables, since eBPF: .* needs CAP_BPF", text), text


def test_nftables_does_the_rest(ebpf, cgroup):
    ebpf(config={"kumaDPUser": str(USER), "dropInvalidPackets": True, "redirect": {"outbound": {"port": 15001}}})
    rules = sh("nft", "list", "ruleset")
    assert cgroups.programs(cgroup) == HOOKS and "redirect to :15001" in rules and "invalid" in rules
    assert "redirect to :15053" not in rules and "zone" not in rules
    for tcp in (False, True):
        assert is_caught(RECURSIVE[4], tcp) and is_caught(RECURSIVE[6], tcp)
        # Servers that are not ours are asked directly, over TCP too, and not through Envoy.
        assert not is_caught(AUTHORITATIVE[4], tcp)


def test_without_privileges_in_a_user_namespace(cgroup):  # pylint: disable=unused-argument
    done = subprocess.run(["unshare", "--user", "--map-root-user", "--net", daemons.binary(), "install", "--capture-all",
                           "--redirect-mode", "ebpf", "--no-redirect-inbound", "--no-redirect-outbound"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "user namespace" in done.stderr
