# SPDX-License-Identifier: Apache-2.0
"""Interception that proves itself: canaries come back, or the daemon says which do not."""

import contextlib
import re
import subprocess

import pytest

import daemon as daemons
import namespaces
from daemon import eventually
from namespaces import AUTHORITATIVE, RECURSIVE, SCRIPTED, sh
from redirected import BOTH, REDIS, is_caught
from clients import addresses_of, ask

OFTEN = {"canary": {"interval": "1s"}}
USER = "5678"
AS_USER = ["sh", "-c", f"""chmod -R a+rwX "$(dirname "$(dirname "$4")")"
    exec setpriv --reuid={USER} --clear-groups --inh-caps="$CAPS" --ambient-caps="$CAPS" "$@" """, "sh"]
OTHERS = pytest.mark.skipif(not namespaces.has_other_users(), reason="needs the real root: other UIDs do not exist here")


def ways(daemon):
    """{(family, transport, server): whether canaries come back}"""
    found = {}
    for line in daemon.get("/metrics")[1].splitlines():
        match = re.match(r'kuma_dns_interception_up\{family="(\w+)",transport="(\w+)",server="(.*?)".*\} ([01])$', line)
        if match:
            found[match.groups()[:3]] = match[4] == "1"
    return found


def all_ways(*servers):
    """As ways(), where all of them come back."""
    return {(f"ipv{6 if ':' in server else 4}", transport, f"[{server}]:53" if ":" in server else f"{server}:53"): True
            for server in servers for transport in ("udp", "tcp")}


def wait_lost(daemon, *words):
    def lost():
        status, text = daemon.get("/ready")
        return status == 503 and all(word in text for word in words)
    try:
        eventually(lost)
    except AssertionError as error:
        raise AssertionError(f"{words}: {daemon.get('/ready')}\n{daemon.log()}") from error


@contextlib.contextmanager
def table_of_others(rules):
    sh("nft", "-f", "-", input="table inet others {\n chain one {\n" + rules + "\n}\n}\n")
    try:
        yield
    finally:
        sh("nft", "delete", "table", "inet", "others")


@contextlib.contextmanager
def installed(*flags):
    """Rules of `install`, for Kuma's user."""
    sh(daemons.binary(), "install", "--kuma-dp-user", USER, *flags)
    try:
        yield
    finally:
        sh(daemons.binary(), "uninstall")


DNS_ALONE = ("--no-redirect-inbound", "--no-redirect-outbound")


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("zones", [True, False])
def test_canaries_come_back(mesh, network, scripted, everything, zones):
    servers = [SCRIPTED[4], RECURSIVE[4], RECURSIVE[6]]
    network.set_resolv_conf(*servers)
    dns = {"captureAll": everything, "skipConntrackZoneSplit": not zones}
    one = mesh.start(config={"redirect": {"dns": dns}, **OFTEN})
    assert one.get("/ready") == (200, "ready\n")
    assert ways(one) == all_ways(*servers)
    assert "6 of 6 canaries came back" in one.log() and one.log().index("canaries") < one.log().index("info: ready")
    assert one.run("status")[1].count("canary:       came back: IPv") == 6
    # Nothing went upstream, and nothing counts as an application's.
    assert not [query for query in scripted.seen() if b"canary" in query.question[0].name.labels]
    assert one.metric("kuma_dp_dns_queries_total") == 0
    assert one.metric("kuma_dp_dns_request_duration_seconds_count") == 0


STEALS = "type nat hook output priority -110\nmeta mark != 0x6b64 ip protocol udp udp dport 53 redirect to :9"


def test_rules_of_others_that_come_first_are_found(mesh, network):
    network.set_resolv_conf(*BOTH)
    one = mesh.start(config=OFTEN)
    with table_of_others(STEALS):
        wait_lost(one, "not intercepted: IPv4, UDP, server 10.53.0.2:53: ")
        assert "IPv6" not in one.get("/ready")[1] and "TCP" not in one.get("/ready")[1]
        assert one.run("ready")[0] == 1
        expected = all_ways(*BOTH)
        expected["ipv4", "udp", "10.53.0.2:53"] = False
        assert ways(one) == expected and one.metric("kuma_dns_ready") == 0
        assert "canary:       lost: IPv4, UDP, server 10.53.0.2:53" in one.run("status")[1]
    eventually(lambda: one.get("/ready")[0] == 200)
    assert ways(one) == all_ways(*BOTH)
    # said once each
    assert len(re.findall("warning: not intercepted: ", one.log())) == 1
    assert len(re.findall("info: intercepted again: IPv4, UDP, server 10.53.0.2:53\n", one.log())) == 1


@pytest.mark.parametrize("family,transport", [(4, "tcp"), (6, "udp"), (6, "tcp")])
def test_a_way_that_leads_to_others_is_named(mesh, network, family, transport):
    # A name server answers, but not what nobody else knows. (In our zone its answer would get lost.)
    network.set_resolv_conf(*BOTH)
    one = mesh.start("--skip-conntrack-zone-split", config=OFTEN)
    header = "ip" if family == 4 else "ip6"
    stolen = f"{header} daddr {RECURSIVE[family]} meta l4proto {transport} th dport 53"
    with table_of_others(f"type nat hook output priority -110\nmeta mark != 0x6b64 {stolen} dnat {header} to "
                         f"{AUTHORITATIVE[family]}:53"):
        wait_lost(one, f"not intercepted: IPv{family}, {transport.upper()}, server ",
                  "somebody else answers" if family == 4 else "")
        assert [way[:2] for way, good in ways(one).items() if not good] == [(f"ipv{family}", transport)]
    eventually(lambda: one.get("/ready")[0] == 200)


def test_a_start_beside_rules_that_come_first_is_never_ready(mesh):
    with table_of_others(STEALS):
        one = mesh.start(ready=False)
        wait_lost(one, "not intercepted: IPv4, UDP, server 10.53.0.2:53: ")
        assert "info: ready" not in one.log()


def test_installed_rules_that_are_deleted_are_found(mesh):
    with installed("--capture-all", *DNS_ALONE):
        one = mesh.start("--no-redirect", "--mark", "0x6b64", config={"canary": {"interval": "1s", "required": "always"}})
        assert ways(one) == all_ways(RECURSIVE[4])
        listing = sh("nft", "-a", "list", "chain", "inet", "kuma_dns_installed", "nat_out")
        handle = re.search(r"nfproto ipv4 redirect to :15053.*# handle (\d+)", listing)[1]
        sh("nft", "delete", "rule", "inet", "kuma_dns_installed", "nat_out", "handle", handle)
        wait_lost(one, "IPv4, UDP, server 10.53.0.2:53: ", "IPv4, TCP, server 10.53.0.2:53: ")
        sh(daemons.binary(), "install", "--kuma-dp-user", USER, "--capture-all", *DNS_ALONE)
        eventually(lambda: one.get("/ready")[0] == 200)


def test_without_rules_nothing_is_lost_unless_asked_for(mesh, network, scripted):
    network.set_resolv_conf(SCRIPTED[4])
    one = mesh.start("--no-redirect", config=OFTEN)
    one.wait_log("info: not intercepted: IPv4, (UDP|TCP), server 10.53.0.4:53", count=2)
    assert one.get("/ready") == (200, "ready\n") and set(ways(one).values()) == {False}
    assert "canary:       lost: IPv4, UDP, server 10.53.0.4:53" in one.run("status")[1]
    assert [query for query in scripted.seen() if b"canary" in query.question[0].name.labels]
    assert one.stop() == 0
    mesh.forget(one)
    never = mesh.start("--no-redirect", "--canary-interval", "0s")
    assert ways(never) == {} and "canary" not in never.run("status")[1]
    assert never.stop() == 0
    mesh.forget(never)
    wait_lost(mesh.start("--no-redirect", "--canary-required", "always", ready=False), "not intercepted: IPv4, ")


def test_not_required_is_ready_all_the_same(mesh):
    with table_of_others(STEALS):
        one = mesh.start("--canary-required=never")
        one.wait_log("info: not intercepted: IPv4, UDP, server 10.53.0.2:53")
        assert one.get("/ready") == (200, "ready\n")


def test_ways_follow_resolv_conf(mesh, network):
    one = mesh.start(config=OFTEN)
    assert ways(one) == all_ways(RECURSIVE[4])
    network.set_resolv_conf(RECURSIVE[6], AUTHORITATIVE[4])
    eventually(lambda: ways(one) == all_ways(RECURSIVE[6], AUTHORITATIVE[4]))
    assert one.get("/ready")[0] == 200 and "not intercepted" not in one.log()


def test_without_servers_there_is_nothing_to_prove(mesh, network):
    network.set_resolv_conf()
    one = mesh.start(config={"redirect": {"dns": {"captureAll": True}}})
    assert ways(one) == {} and one.get("/ready") == (200, "ready\n")


def test_what_is_not_to_be_captured_is_not_to_be_proven(mesh, network):
    network.set_resolv_conf(RECURSIVE[4], AUTHORITATIVE[4], RECURSIVE[6])
    outbound = {"enabled": False, "excludePortsForIPs": [f"{AUTHORITATIVE[4]}/32"]}
    one = mesh.start(config={"ipFamilyMode": "ipv4", "redirect": {"outbound": outbound}})
    assert ways(one) == all_ways(RECURSIVE[4])
    assert not is_caught(AUTHORITATIVE[4])
    assert one.stop() == 0
    mesh.forget(one)
    outbound = {"enabled": False, "excludePortsForUIDs": ["udp:53:0"]}
    one = mesh.start(config={"redirect": {"outbound": outbound}})
    assert {way[1] for way in ways(one)} == {"tcp"} and set(ways(one).values()) == {True}


def test_server_without_a_route_does_no_harm(mesh, network):
    network.set_resolv_conf(RECURSIVE[4], "2001:db8::53")
    one = mesh.start()
    assert ways(one) == all_ways(RECURSIVE[4])
    assert one.run("status")[1].count("canary:       not sent: IPv6, ") == 2


def test_second_start_does_not_lose_canaries(mesh):
    # Both share the ports: a canary of one may come to the other, which does not know its answer.
    first = mesh.start(config=OFTEN)
    second = mesh.start(config=OFTEN)
    for one in (first, second):
        one.wait_log("canaries came back")
        assert "not intercepted" not in one.log()
    assert first.stop() == 0
    mesh.forget(first)
    eventually(lambda: second.get("/ready")[0] == 200)
    assert "not intercepted" not in second.log()


@OTHERS
@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("zones", [True, False])
def test_daemon_of_the_exempt_user(mesh, network, everything, zones):
    servers = [*BOTH, "127.0.0.53"]  # the last one is where TCP of that user would come in again
    network.set_resolv_conf(*servers)
    dns = {"captureAll": everything, "skipConntrackZoneSplit": not zones}
    one = mesh.start(config={"kumaDPUser": USER, "redirect": {"dns": dns, "outbound": {"port": 15001}, "inbound": {
        "port": 15006}}, **OFTEN}, wrapper=AS_USER, environment={"CAPS": "+net_admin"})
    assert ways(one) == all_ways(*servers)
    # the exemption stands
    asked = subprocess.run(["setpriv", f"--reuid={USER}", "--clear-groups", "dig", "+short", f"@{RECURSIVE[4]}",
                            "redis.svc.mesh.local"], capture_output=True, text=True, check=True)
    assert not asked.stdout.strip() and addresses_of(ask("redis.svc.mesh.local", server=RECURSIVE[4])) == REDIS


@OTHERS
@pytest.mark.parametrize("flags", [(), ("--capture-all",), ("--skip-conntrack-zone-split",)])
def test_sidecar_without_privileges_proves_what_is_installed(mesh, network, flags):
    network.set_resolv_conf(*BOTH)
    with installed(*flags):
        one = mesh.start("--no-redirect", config={"canary": {"interval": "1s", "required": "always"}},
                         wrapper=AS_USER, environment={"CAPS": "-all"})
        assert ways(one) == all_ways(*BOTH)
    wait_lost(one, *(f"IPv{family}, {transport}" for family in (4, 6) for transport in ("UDP", "TCP")))
