# SPDX-License-Identifier: Apache-2.0
"""Upstreams by zone (kuma#8119), zones that are refused, and names that are special everywhere."""

import time

import dns.name
import dns.reversename
import pytest

import meshtable
import nameserver
from clients import addresses_of, ede, query, rcode, texts, timed
from nameserver import GOOD, good_answer
from namespaces import RECURSIVE, SCRIPTED, SECOND, VANISHED

CORP, CORP6, DEFAULT = ["192.0.2.10"], ["192.0.2.16"], GOOD


def says(addresses):
    return lambda message, tcp: good_answer(message, tcp, addresses=addresses)


@pytest.fixture
def servers(scripted, second):
    """For everything, and for a zone."""
    scripted.answer, second.answer = says(DEFAULT), says(CORP)
    return scripted, second


@pytest.fixture
def sixth(network):
    """One more, over IPv6 and on a port of its own."""
    one = nameserver.Scripted(network, SECOND[6], port=5353)
    one.answer = says(CORP6)
    yield one
    one.close()


@pytest.fixture
def start(mesh, servers):  # pylint: disable=unused-argument,redefined-outer-name
    """Starts a daemon with these upstreams by zone, and the scripted server for everything else."""
    def started(*upstreams, **forward):
        config = {**({"upstreams": list(upstreams)} if upstreams else {}), **({"forward": forward} if forward else {})}
        return mesh.forward_to(SCRIPTED[4], config=config)
    return started


def zone(name, *servers, **keys):  # pylint: disable=redefined-outer-name
    return {"zone": name, **({"servers": list(servers)} if servers else {}), **keys}


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_zone_has_its_own_servers(start, servers, tcp):
    start(zone("corp.example", SECOND[4]))
    for name in ("corp.example", "www.corp.example", "A.B.C.Corp.EXAMPLE"):
        assert addresses_of(query(name, tcp=tcp)) == CORP
    for name in ("example", "www.example", "notcorp.example", "corp.example.org", "xcorp.example"):
        assert addresses_of(query(name, tcp=tcp)) == DEFAULT
    first, second = servers
    corp = dns.name.from_text("corp.example")
    assert not any(message.question[0].name.is_subdomain(corp) for message in first.seen())
    assert not [name for name in ("www.example.", "corp.example.org.") if second.seen(name)]


def test_longest_match_wins(start, sixth):  # pylint: disable=unused-argument
    start(zone("example", SCRIPTED[4]), zone("deep.corp.example", f"[{SECOND[6]}]:5353"),
          zone("corp.example.", SECOND[4]))
    assert addresses_of(query("www.deep.corp.example")) == CORP6
    assert addresses_of(query("www.corp.example")) == CORP
    assert addresses_of(query("www.example")) == DEFAULT
    assert addresses_of(query("www.example.org")) == DEFAULT


def test_root_is_a_zone(mesh, servers):  # pylint: disable=unused-argument
    mesh.forward_to(VANISHED[4], config={"upstreams": [zone(".", SECOND[4]), zone("example.org", SCRIPTED[4])]})
    assert addresses_of(query("www.example.com")) == CORP
    assert addresses_of(query("www.example.org")) == DEFAULT


def test_servers_of_a_zone_are_a_group(start):
    """The second one of the zone is asked after the first one, never that of everything else."""
    start(zone("corp.example", VANISHED[4], SECOND[4]))
    for number in range(5):
        took, response = timed(query, f"n{number}.corp.example")
        assert addresses_of(response) == CORP and took < 0.4


def test_dead_server_of_a_zone_is_no_harm_to_others(start, servers):
    start(zone("corp.example", VANISHED[4]), timeout="1s")
    assert rcode(query("www.corp.example")) == "SERVFAIL"
    took, response = timed(query, "www.example.org")
    assert addresses_of(response) == DEFAULT and took < 0.3
    assert not servers[0].seen("www.corp.example")


def test_real_servers_for_a_zone(start):
    start(zone("example.org", RECURSIVE[4], f"[{RECURSIVE[6]}]:53"))
    assert addresses_of(query("alias.example.org")) == ["192.0.2.80"]
    assert rcode(query("nosuch.example.org")) == "NXDOMAIN"
    assert addresses_of(query("www.example.com")) == DEFAULT


def test_mesh_names_win(start):
    start(zone("local", SECOND[4]), zone("example.org", SECOND[4]))
    assert addresses_of(query("redis.svc.mesh.local")) == meshtable.addresses("redis.svc.mesh.local")[0]
    assert rcode(query("nosuch.svc.mesh.local")) == "NXDOMAIN"
    assert addresses_of(query(meshtable.SHADOWED)) == meshtable.addresses(meshtable.SHADOWED)[0]
    assert addresses_of(query("other.local")) == CORP


@pytest.mark.parametrize("answer,code", [("refuse", "REFUSED"), ("nxdomain", "NXDOMAIN")])
@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_zone_that_is_blocked(start, servers, answer, code, tcp):
    # RFC 8914 §4.16: Blocked
    start(zone("ads.example", answer=answer), zone("good.ads.example", SECOND[4]))
    for name in ("ads.example", "www.ads.example", "a.b.ADS.example"):
        for qtype in ("A", "AAAA", "HTTPS", "TXT"):
            response = query(name, qtype, tcp=tcp)
            assert rcode(response) == code and ede(response) == [15] and not response.answer
    assert not ede(query("plain.ads.example", edns=False))
    assert addresses_of(query("good.ads.example")) == CORP
    assert addresses_of(query("notads.example")) == DEFAULT
    assert not servers[0].seen("www.ads.example") and not servers[1].seen("www.ads.example")


def test_denied_zone_has_an_soa(start):
    """RFC 2308 §5: so that the denial can be remembered, for a short time."""
    start(zone("ads.example", answer="nxdomain"))
    response = query("www.ads.example")
    (soa,) = response.authority
    assert soa.name == dns.name.from_text("ads.example") and soa.ttl <= 30


def test_blocked_zone_with_a_name_of_the_mesh(start):
    start(zone("example.org", answer="refuse"))
    assert addresses_of(query(meshtable.SHADOWED)) == meshtable.addresses(meshtable.SHADOWED)[0]
    assert rcode(query("www.example.org")) == "REFUSED"


def test_cache_is_one_for_all(start, servers):
    start(zone("corp.example", SECOND[4]))
    for _ in range(3):
        query("www.corp.example")
        query("www.example.org")
    assert len(servers[1].seen("www.corp.example")) == 1 and len(servers[0].seen("www.example.org")) == 1


def test_metrics_and_status_name_the_servers_of_zones(start):
    one = start(zone("corp.example", SECOND[4]), zone("ads.example", answer="refuse"))
    query("www.corp.example")
    assert one.metric("kuma_dns_upstream_queries_total", server=f"{SECOND[4]}:53") >= 1
    text = one.run("status")[1]
    assert "corp.example" in text and SECOND[4] in text


# Special names (RFC 6303, 6761, 7686, 8375).

LOOPBACK = [("localhost", "A", ["127.0.0.1"]), ("localhost", "AAAA", ["::1"]), ("a.b.LOCALHOST", "A", ["127.0.0.1"])]
DENIED = ["invalid", "www.invalid", "test", "www.test", "onion", "abc.onion", "x.alt"]
REVERSE = ["127.0.0.2", "0.0.0.1", "169.254.1.1", "192.0.2.1", "255.255.255.255", "fe80::1", "2001:db8::1", "::"]
PRIVATE = ["10.1.2.3", "172.16.0.1", "192.168.1.1", "fd12::1"]


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_localhost(start, servers, tcp):
    # RFC 6761 §6.3
    start()
    for name, qtype, found in LOOPBACK:
        response = query(name, qtype, tcp=tcp)
        assert addresses_of(response) == found and response.answer[0].name == dns.name.from_text(name)
    response = query("localhost", "TXT", tcp=tcp)
    assert rcode(response) == "NOERROR" and not response.answer
    for address in ("127.0.0.1", "::1"):
        response = query(dns.reversename.from_address(address), "PTR", tcp=tcp)
        assert [text.rpartition(" ")[2] for text in texts(response)] == ["localhost."]
    assert not [message for message in servers[0].seen() if "local" in str(message.question[0].name).lower()]


@pytest.mark.parametrize("name", DENIED)
def test_names_that_nobody_has(start, servers, name):
    # RFC 6761 §6.2, §6.4; RFC 7686 §2; RFC 9476
    start()
    response = query(name)
    assert rcode(response) == "NXDOMAIN" or "." not in name and rcode(response) == "NOERROR"
    assert not response.answer and response.authority
    assert not servers[0].seen(name)


@pytest.mark.parametrize("name", ["home.arpa", "www.home.arpa", "resolver.arpa", "_dns.resolver.arpa"])
def test_zones_of_homes_and_resolvers(start, servers, name):
    # RFC 8375 §4, RFC 9462 §6.4
    start()
    response = query(name)
    assert rcode(response) in ("NXDOMAIN", "NOERROR") and not response.answer and response.authority
    assert not servers[0].seen(name)


@pytest.mark.parametrize("address", REVERSE)
def test_reverse_names_of_addresses_that_nobody_has(start, servers, address):
    # RFC 6303
    start()
    name = dns.reversename.from_address(address)
    response = query(name, "PTR")
    assert rcode(response) in ("NXDOMAIN", "NOERROR") and not response.answer
    assert not servers[0].seen(str(name))


def test_reverse_names_of_the_table_win(start):
    start()
    for address in sum(meshtable.addresses("kafka-1.kafka.shop.svc.east.mesh.local"), []):
        response = query(dns.reversename.from_address(address), "PTR")
        assert "kafka-1.kafka.shop.svc.east.mesh.local." in texts(response)[0]


@pytest.mark.parametrize("name", [
    "www.local", "www.example", "ipv4only.arpa", "arpa", "in-addr.arpa", "localhost.example"])
def test_names_that_are_not_special_go_upstream(start, servers, name):
    # RFC 6762: Kubernetes uses cluster.local; RFC 8880 §7.1
    start()
    query(name)
    assert servers[0].seen(name)


@pytest.mark.parametrize("name", ["www.test", "abc.onion", "www.home.arpa", "a.localhost", "www.invalid"])
def test_upstream_by_zone_wins_over_special_names(start, servers, name):
    start(zone(name.partition(".")[2], SECOND[4]))
    assert addresses_of(query(name)) == CORP
    assert servers[1].seen(name)


@pytest.mark.parametrize("address", REVERSE[:2] + PRIVATE)
def test_upstream_for_a_reverse_zone(start, servers, address):
    name = dns.reversename.from_address(address)
    start(zone(str(dns.name.Name(name.labels[-4:])), SECOND[4]))
    assert addresses_of(query(name, "PTR")) == CORP
    assert servers[1].seen(str(name))


def test_special_names_can_be_passed_on(start, servers):
    start(specialNames=[])
    for name in ("www.test", "abc.onion", "www.home.arpa", "localhost", "2.0.0.127.in-addr.arpa"):
        query(name)
        assert servers[0].seen(name), name


def test_some_special_names_can_be_passed_on(start, servers):
    start(specialNames=["localhost", "onion"])
    assert addresses_of(query("localhost")) == ["127.0.0.1"]
    assert rcode(query("abc.onion")) == "NXDOMAIN"
    assert addresses_of(query("www.test")) == DEFAULT and servers[0].seen("www.test")


def test_private_reverse_zones_of_a_cluster(start, servers):
    """Kubernetes serves the reverse zones of its services, in 10/8; with the upstream that has them they must work."""
    start(zone("10.in-addr.arpa", SECOND[4]))
    name = dns.reversename.from_address("10.96.0.1")
    begin = time.monotonic()
    assert addresses_of(query(name, "PTR")) == CORP and servers[1].seen(str(name))
    assert time.monotonic() - begin < 1
