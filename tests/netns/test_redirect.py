# SPDX-License-Identifier: Apache-2.0
"""The redirection: what is caught, what is not, and what the kernel remembers."""

import json
import socket
import subprocess

import dns.message
import pytest

import clients
import daemon as daemons
import namespaces
import nameserver
from clients import addresses_of, ask, rcode
from daemon import eventually
from namespaces import AUTHORITATIVE, RECURSIVE, sh
from redirected import BOTH, REDIS, flows, is_caught, tables


@pytest.mark.parametrize("tcp", [False, True])
def test_only_servers_of_resolv_conf_are_caught(mesh, network, tcp):
    network.set_resolv_conf(*BOTH)
    mesh.start()
    assert is_caught(RECURSIVE[4], tcp) and is_caught(RECURSIVE[6], tcp)
    assert not is_caught(AUTHORITATIVE[4], tcp) and not is_caught(AUTHORITATIVE[6], tcp)


@pytest.mark.parametrize("tcp", [False, True])
def test_capture_all_catches_every_server(mesh, tcp):
    mesh.start(config={"redirect": {"dns": {"captureAll": True}}})
    for server in [*BOTH, AUTHORITATIVE[4], AUTHORITATIVE[6], namespaces.VANISHED[4]]:
        assert is_caught(server, tcp)


def test_family_without_server_is_not_caught(mesh):
    mesh.start()
    assert is_caught(RECURSIVE[4]) and not is_caught(RECURSIVE[6])


def test_ipv4_mode_leaves_ipv6_alone(mesh):
    mesh.start(config={"redirect": {"dns": {"captureAll": True}}, "ipFamilyMode": "ipv4"})
    assert is_caught(RECURSIVE[4]) and not is_caught(RECURSIVE[6])


def test_other_ports_are_left_alone(mesh):
    mesh.start(config={"redirect": {"dns": {"captureAll": True}}})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(5)
        one.connect((RECURSIVE[4], 5353))
        one.send(dns.message.make_query("redis.svc.mesh.local", "A").to_wire())
        with pytest.raises(ConnectionRefusedError):
            one.recv(512)


def test_ruleset_reads_back(mesh, network):
    # kubernetes/dns#292, #643: netlink, no lock and no binary of ours; nft is only the reader here
    network.set_resolv_conf(*BOTH)
    mesh.start()
    (table,) = tables()
    assert table.startswith("table inet kuma")
    text = sh("nft", "-a", "list", "ruleset")
    assert "flags owner" in text
    for words in ("hook output priority raw", "type nat hook output", "-102", "redirect to :15053",
                  RECURSIVE[4], RECURSIVE[6], "ct zone set", "0x00006b64"):
        assert words in text, text
    json.loads(sh("nft", "-j", "list", "ruleset"))


def test_nobody_else_can_change_our_table(mesh):
    mesh.start()
    (table,) = tables()
    done = subprocess.run(["nft", "delete", *table.split()], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    sh("nft", "flush", "ruleset")
    assert tables() == [table] and is_caught(RECURSIVE[4])


def test_application_and_our_own_flows_are_in_different_zones(mesh):
    clients.run("conntrack", "-F")
    mesh.start()
    assert rcode(ask("www.example.org", server=RECURSIVE[4])) == "NOERROR"
    seen = flows()
    redirected = [flow for flow in seen if flow["dport"] == "53" and flow["reply"].get("sport") == "15053"]
    ours = [flow for flow in seen if flow["dport"] == "53" and flow["reply"].get("sport") == "53"]
    assert redirected and ours, seen
    assert {flow.get("zone") for flow in redirected} == {"2"}
    assert "2" not in {flow.get("zone") for flow in ours}


def test_used_source_port_of_an_application_does_not_mislead_us(mesh, network, scripted):
    # istio#33469: the application's port towards a server is then ours; neither flow may take the other's way.
    network.set_resolv_conf(namespaces.SCRIPTED[4])
    mesh.start()
    used = []
    for _ in range(200):
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.bind((namespaces.APPLICATION[4], 0))
        one.settimeout(5)
        one.sendto(dns.message.make_query("redis.svc.mesh.local", "A").to_wire(), (namespaces.SCRIPTED[4], 53))
        assert one.recv(512)
        used.append(one.getsockname()[1])
        one.close()
    # Queries that bear the mark, from those very ports: as if the daemon had drawn them.
    for port in used:
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 0x6B64)
        one.bind((namespaces.APPLICATION[4], port))
        one.sendto(dns.message.make_query("redis.svc.mesh.local", "A").to_wire(), (namespaces.SCRIPTED[4], 53))
        one.close()
    scripted.wait_queries(len(used))


def test_flow_that_exists_already_is_caught_too(mesh):
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect((RECURSIVE[4], 53))
    client.settimeout(5)

    def answer():
        client.send(dns.message.make_query("redis.svc.mesh.local", "A").to_wire())
        return addresses_of(dns.message.from_wire(client.recv(65535)))

    assert answer() != REDIS
    mesh.start()
    assert answer() == REDIS
    client.close()


def test_server_on_loopback_is_caught_and_asked(mesh, network):
    # What systemd-resolved and Docker put into resolv.conf: answers must seem to come from there.
    local = nameserver.Scripted(network, "127.0.0.53", upstream=False)
    local.answer = lambda message, _: [dns.message.make_response(message)]
    network.set_resolv_conf("127.0.0.53")
    mesh.start()
    for tcp in (False, True):
        assert is_caught("127.0.0.53", tcp)
    assert rcode(ask("www.example.org", server="127.0.0.53")) == "NOERROR"
    assert len(local.seen("www.example.org")) == 1 and not local.seen("redis.svc.mesh.local")
    local.close()


def test_loop_to_ourselves_is_found(mesh):
    # istio#30309, coredns#2087: named in the log, and mesh names keep working.
    one = mesh.start("--no-redirect", "--upstream", f"127.0.0.1:{daemons.PORT}", ready=False).wait_listening()
    assert rcode(ask("www.example.org", port=daemons.PORT)) == "SERVFAIL"
    eventually(lambda: addresses_of(ask("redis.svc.mesh.local", port=daemons.PORT)) == REDIS)
    one.wait_log(f"127.0.0.1:{daemons.PORT}.*(ourselves|leads back to us)")


def add_rules(chain):
    """Rules of somebody else, in a table that the test removes."""
    sh("nft", "-f", "-", input="table inet others {\n chain one {\n" + chain + "\n}\n}\n")


def test_stateful_firewall_lets_all_answers_pass(mesh):
    add_rules("type filter hook input priority 0; policy drop\niifname lo accept\n"
              "ct state established,related accept\nmeta l4proto ipv6-icmp accept")
    mesh.start()
    for tcp in (False, True):
        assert is_caught(RECURSIVE[4], tcp)
        assert rcode(ask("www.example.org", server=RECURSIVE[4], tcp=tcp)) == "NOERROR"
        assert rcode(ask("www.example.org", server=AUTHORITATIVE[4], tcp=tcp)) == "NOERROR"
    sh("nft", "delete", "table", "inet", "others")


@pytest.mark.parametrize("first", [True, False], ids=["theirs first", "ours first"])
def test_redirections_of_others_do_not_win(mesh, first):
    # Docker's and Kuma's own chains, at priority -100.
    theirs = "type nat hook output priority -100\nmeta mark != 0x6b64 udp dport 53 redirect to :9"
    if first:
        add_rules(theirs)
    mesh.start()
    if not first:
        add_rules(theirs)
    for _ in range(10):
        assert is_caught(RECURSIVE[4])
    assert rcode(ask("www.example.org", server=RECURSIVE[4])) == "NOERROR"
    sh("nft", "delete", "table", "inet", "others")


@pytest.mark.skipif(not namespaces.has_other_users(), reason="needs the real root: other UIDs do not exist here")
def test_kuma_user_is_exempt(mesh):
    mesh.start(config={"kumaDPUser": "5678"})
    command = ["setpriv", "--reuid=5678", "--regid=5678", "--clear-groups",
               "dig", "+noall", "+comments", "redis.svc.mesh.local"]
    assert "status: NXDOMAIN" in clients.run(*command)[1]
    assert is_caught(RECURSIVE[4])
