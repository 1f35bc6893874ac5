# SPDX-License-Identifier: Apache-2.0
"""Unchanged resolvers find mesh names and public names, over UDP and TCP, IPv4 and IPv6."""

import re

import pytest

import clients
import meshtable
import namespaces
import sidecar
from conftest import close

SERVERS = {
    "unbound, IPv4": namespaces.RECURSIVE[4],
    "unbound, IPv6": namespaces.RECURSIVE[6],
    "NSD, IPv4": namespaces.AUTHORITATIVE[4],
    "NSD, IPv6": namespaces.AUTHORITATIVE[6],
}
# More than 512 octets hold.
MANY = [f"241.1.0.{number}" for number in range(1, 41)]
BY_NAME = {client.__name__: client for client in clients.CLIENTS}


@pytest.fixture(scope="module")
def every_server(network, tmp_path_factory):
    """One daemon, which captures all four by a file of its own; a client is then told of one of them."""
    path = tmp_path_factory.mktemp("clients") / "resolv.conf"
    path.write_text("".join(f"nameserver {server}\n" for server in SERVERS.values()))
    one = sidecar.Mesh(network).push([("many.svc.mesh.local", MANY)]).start_envoy()
    yield one.start("--resolv-conf", str(path))
    close(one)


@pytest.fixture(params=SERVERS)
def server(request, every_server, network):  # pylint: disable=redefined-outer-name,unused-argument
    """resolv.conf names this one."""
    network.set_resolv_conf(SERVERS[request.param])
    return SERVERS[request.param]


@pytest.mark.parametrize("client", BY_NAME)
def test_client_finds_what_there_is_and_nothing_else(server, client):  # pylint: disable=unused-argument
    lookup = BY_NAME[client]
    v4, v6 = meshtable.addresses("redis.svc.mesh.local")
    assert lookup("redis.svc.mesh.local", 4) == ("ok", clients.plain(v4))
    assert lookup("www.example.org", 4) == ("ok", {"192.0.2.80"})
    assert lookup("www.example.org", 6) == ("ok", {"2001:db8::80"})
    assert lookup("nosuch.svc.mesh.local", 4) == ("absent", set())
    assert lookup("nosuch.example.org", 4) == ("absent", set())
    assert lookup("v4only.example.org", 6)[0] in ("absent", "ok" if client == "glibc" else "absent")
    assert lookup(meshtable.SHADOWED, 4) == ("ok", clients.plain(meshtable.addresses(meshtable.SHADOWED)[0]))
    if client != "glibc":  # which shows a mapped address as its IPv4 form
        assert lookup("redis.svc.mesh.local", 6) == ("ok", clients.plain(v6))


@pytest.mark.parametrize("client", BY_NAME)
def test_client_lives_with_an_answer_over_512_octets(server, client):  # pylint: disable=unused-argument
    # docker-alpine#326: musl before 1.2.4 knows no TCP, and busybox none at all: TC must not leave them with nothing.
    outcome, found = BY_NAME[client]("many.svc.mesh.local", 4)
    assert outcome == "ok"
    assert found == set(MANY) or client in ("musl", "busybox") and found < set(MANY)


def test_answers_come_from_the_address_that_was_asked(every_server):  # pylint: disable=unused-argument
    for address in SERVERS.values():
        for tcp in ("+notcp", "+tcp"):
            _, text = clients.run("dig", f"@{address}", tcp, "redis.svc.mesh.local")
            assert f"SERVER: {address}#53" in text
            assert "status: NOERROR" in text


def test_getent_hosts_finds_an_address_and_its_name(server):  # pylint: disable=unused-argument
    (v4,), _ = meshtable.addresses("redis.svc.mesh.local")
    status, text = clients.run("getent", "ahosts", "redis.svc.mesh.local")
    assert status == 0 and v4 in text
    status, text = clients.run("getent", "hosts", v4)
    assert status == 0 and "redis.svc.mesh.local" in text


def test_dig_reads_the_reverse_name(server):  # pylint: disable=unused-argument
    for addresses in meshtable.addresses("kafka-1.kafka.shop.svc.east.mesh.local"):
        _, text = clients.run("dig", "+short", "-x", addresses[0])
        assert text.strip() == "kafka-1.kafka.shop.svc.east.mesh.local."


def test_search_list_of_resolv_conf_is_followed(every_server, network):  # pylint: disable=unused-argument
    network.set_resolv_conf(namespaces.RECURSIVE[4], options="search svc.mesh.local example.org\noptions ndots:2")
    (v4,), _ = meshtable.addresses("redis.svc.mesh.local")
    assert clients.glibc("redis", 4) == ("ok", {v4})
    assert clients.musl("redis", 4) == ("ok", {v4})
    assert clients.glibc("www", 4) == ("ok", {"192.0.2.80"})
    assert clients.musl("www", 4) == ("ok", {"192.0.2.80"})


def test_two_queries_from_one_socket_at_once_are_both_answered(server):  # pylint: disable=unused-argument
    # kuma#4250, kubernetes#56903: glibc asks for A and AAAA from one port; one of the two got lost.
    for _ in range(20):
        status, text = clients.run("getent", "ahosts", "kafka-1.kafka.shop.svc.east.mesh.local", timeout=4)
        assert status == 0
        assert "10.42.0.11" in text and re.search("fd00:42::b", text)
