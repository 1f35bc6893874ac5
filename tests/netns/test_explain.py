# SPDX-License-Identifier: Apache-2.0
"""`kuma-dns explain NAME [TYPE]`: what would be answered and why.

Also over DNS, for a container with nothing but nslookup.
"""

import re

import pytest

import clients
import daemon as daemons
import meshtable
import nameserver
from clients import ask, query, rcode
from daemon import eventually
from namespaces import APPLICATION, RECURSIVE, SCRIPTED, SECOND, VANISHED

WILDCARD = [("*.wild.svc.mesh.local", ["241.4.0.1"])]
ZONES = [{"zone": "corp.example", "servers": [SECOND[4]]}, {"zone": "ads.example", "answer": "refuse"},
         {"zone": "gone.example", "answer": "nxdomain"}]


@pytest.fixture
def one(mesh, scripted):
    """A daemon with a bit of everything."""
    scripted.answer = nameserver.good_answer
    mesh.push(WILDCARD)
    return mesh.forward_to(SCRIPTED[4], SECOND[4], config={"upstreams": ZONES})


def explain(one, *words):  # pylint: disable=redefined-outer-name
    status, out, err = one.run("explain", *words)
    assert status == 0, err + out
    return out


def says(text, *words):
    """Whether all of these are in the text, whatever their case."""
    missing = [word for word in words if word.lower() not in text.lower()]
    assert not missing, f"{missing} not in:\n{text}"


def test_name_of_the_table(one):
    text = explain(one, "ReDiS.svc.mesh.local")
    says(text, "redis.svc.mesh.local", "table", *meshtable.addresses("redis.svc.mesh.local")[0])
    assert re.search(r"(?i)generation:? 1\b|table 1\b", text), text  # its number …
    assert re.search(r"\d+(\.\d+)? ?m?s\b", text), text  # … and age


def test_other_type_of_a_name_of_the_table(one):
    says(explain(one, "redis.svc.mesh.local", "TXT"), "NODATA")
    says(explain(one, "redis.svc.mesh.local", "AAAA"), "::ffff:241")


def test_wildcard(one):
    says(explain(one, "any.wild.svc.mesh.local"), "*.wild.svc.mesh.local", "241.4.0.1")


def test_name_of_the_mesh_that_is_not_in_the_table(one):
    says(explain(one, "nosuch.svc.mesh.local"), "NXDOMAIN", "mesh.local", "not in the table")


def test_shadowed_public_name(one):
    says(explain(one, meshtable.SHADOWED), "table", meshtable.addresses(meshtable.SHADOWED)[0][0])
    says(explain(one, meshtable.SHADOWED, "TXT"), "forward")


def test_reverse_name(one):
    (address,) = meshtable.addresses("redis.svc.mesh.local")[0]
    name = ".".join(reversed(address.split("."))) + ".in-addr.arpa"
    says(explain(one, name, "PTR"), "redis.svc.mesh.local", "table")


def test_name_that_is_remembered(one):
    text = explain(one, "www.example.org")
    says(text, "forward", SCRIPTED[4])
    query()
    text = explain(one, "www.example.org")
    says(text, "cache")
    assert re.search(r"\b(60|59|58)\b", text), text  # what remains of its time


def test_asking_changes_nothing(one, scripted):
    for name in ("www.example.org", "other.example.org", "redis.svc.mesh.local", "www.corp.example"):
        explain(one, name)
    assert not [name for name in ("www.example.org", "other.example.org", "www.corp.example") if scripted.seen(name)]
    assert not one.metric("kuma_dns_cache_hits_total")


def test_name_covered_by_an_nxdomain(one, scripted):
    scripted.answer = lambda message, _: [nameserver.response_to(message, code=3, soa="example.org.")]
    query("gone.example.org")
    says(explain(one, "below.gone.example.org"), "NXDOMAIN", "gone.example.org", "cache")


def test_forwarded_name_with_its_servers_in_order(one):
    text = explain(one, "www.example.org", "AAAA")
    says(text, "AAAA", "forward", SCRIPTED[4], SECOND[4])
    assert text.index(SCRIPTED[4]) < text.index(SECOND[4])


def test_health_of_the_servers(mesh, second):  # pylint: disable=unused-argument
    one = mesh.forward_to(VANISHED[4], SECOND[4])
    for number in range(5):
        query(f"n{number}.example.org")
    eventually(lambda: one.metric("kuma_dns_upstream_up", server=f"{VANISHED[4]}:53") == 0, 5)
    text = explain(one, "www.example.org")
    says(text, VANISHED[4], SECOND[4])
    assert text.index(SECOND[4]) < text.index(VANISHED[4])  # in the order in which they would be asked
    assert re.search(r"(?i)down|dead|silent|not up|no answer", text), text


def test_zone_with_its_own_servers(one):
    text = explain(one, "www.corp.example")
    says(text, "corp.example", SECOND[4])
    assert SCRIPTED[4] not in text


@pytest.mark.parametrize("name,word", [("www.ads.example", "REFUSED"), ("www.gone.example", "NXDOMAIN")])
def test_zone_that_is_blocked(one, name, word):
    says(explain(one, name), word, name.partition(".")[2])


@pytest.mark.parametrize("name,words", [
    ("localhost", ["127.0.0.1"]), ("www.invalid", ["NXDOMAIN", "invalid"]), ("abc.onion", ["NXDOMAIN", "onion"]),
    ("www.home.arpa", ["home.arpa"]),
])
def test_special_name(one, name, words):
    says(explain(one, name), *words)


def test_explain_without_a_table(mesh):
    mesh.envoy.push(None)
    one = mesh.start("--no-redirect", ready=False).wait_listening()
    says(explain(one, "redis.svc.mesh.local"), "SERVFAIL", "no table")


@pytest.mark.parametrize("words", [
    ["a..b"], ["x" * 64 + ".example"], ["www.example.org", "NOTATYPE"], [], ["a", "A", "b"]])
def test_what_cannot_be_explained(one, words):
    status, out, err = one.run("explain", *words)
    assert status == 2 and err and not out


def test_type_by_number(one):
    says(explain(one, "www.example.org", "TYPE65534"), "forward")


# Over DNS.


def explained(name, rdclass="CH", server="127.0.0.1", tcp=False):
    """The text of the answer."""
    response = ask(name, "TXT", server=server, port=daemons.PORT, rdclass=rdclass, tcp=tcp)
    return rcode(response), " ".join(clients.texts(response))


@pytest.mark.parametrize("server", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("rdclass", ["CH", "IN"])
@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_explained_over_dns(one, server, rdclass, tcp):
    code, text = explained("explain.redis.svc.mesh.local.kuma-dns", rdclass, server, tcp)
    assert code == "NOERROR"
    says(text, "table", meshtable.addresses("redis.svc.mesh.local")[0][0])
    assert one.alive()


def test_explained_over_dns_with_a_type(one, scripted):
    code, text = explained("explain-aaaa.www.example.org.kuma-dns")
    assert code == "NOERROR"
    says(text, "AAAA", "forward", SCRIPTED[4])
    assert not scripted.seen("www.example.org") and one.alive()
    assert explained("Explain-TXT.REDIS.svc.mesh.local.Kuma-DNS", "IN")[0] == "NOERROR"


def test_explained_is_never_forwarded_nor_remembered(one, scripted):
    for rdclass in ("CH", "IN"):
        first = explained("explain.www.example.org.kuma-dns", rdclass)[1]
        query()
        assert explained("explain.www.example.org.kuma-dns", rdclass)[1] != first  # now it is in the cache
        assert one.run("cache", "flush")[0] == 0
    assert not scripted.seen("explain.www.example.org.kuma-dns")


@pytest.mark.parametrize("name", [
    "explain.kuma-dns", "explain-nosuch.www.example.org.kuma-dns", "explain-.www.example.org.kuma-dns",
    "other.www.example.org.kuma-dns", "kuma-dns",
])
def test_strange_names_get_an_answer(one, name):
    for rdclass in ("CH", "IN"):
        assert explained(name, rdclass)[0] in ("NOERROR", "NXDOMAIN", "REFUSED", "FORMERR")
    assert one.alive()


def test_answer_fits_into_512_octets_or_is_cut(one):
    response = ask("explain.www.example.org.kuma-dns", "TXT", port=daemons.PORT, edns=False)
    assert len(response.to_wire()) <= 512 and one.alive()


@pytest.mark.parametrize("command", [
    ["dig", "@127.0.0.1", "-p", "15053", "+short", "CH", "TXT", "explain.redis.svc.mesh.local.kuma-dns"],
    ["dig", "@127.0.0.1", "-p", "15053", "+short", "+tcp", "TXT", "explain.redis.svc.mesh.local.kuma-dns"],
    ["kdig", "@127.0.0.1", "-p", "15053", "+short", "CH", "TXT", "explain.redis.svc.mesh.local.kuma-dns."],
    ["busybox", "nslookup", "-type=txt", "explain.redis.svc.mesh.local.kuma-dns", "127.0.0.1:15053"],
], ids=["dig CH", "dig IN", "kdig CH", "busybox"])
def test_tools_can_ask(one, command):
    _, text = clients.run(*command)
    says(text, meshtable.addresses("redis.svc.mesh.local")[0][0])
    assert one.alive()


def test_container_with_nslookup_alone(mesh):
    """It knows no address of ours, only its resolv.conf, which is redirected."""
    mesh.start()
    _, text = clients.run("busybox", "nslookup", "-type=txt", "explain.redis.svc.mesh.local.kuma-dns")
    says(text, meshtable.addresses("redis.svc.mesh.local")[0][0])
    _, text = clients.run("dig", "+short", "TXT", "explain.www.example.org.kuma-dns")
    says(text, RECURSIVE[4])


@pytest.mark.parametrize("rdclass", ["CH", "IN"])
@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_others_are_refused(mesh, network, scripted, rdclass, tcp):
    """What we know about servers and names is for the local machine."""
    scripted.answer = nameserver.good_answer
    mesh.forward_to(SCRIPTED[4], flags=["--listen", f"0.0.0.0:{daemons.PORT}"])
    with network.upstream():
        address = {"server": APPLICATION[4], "port": daemons.PORT, "tcp": tcp}
        response = ask("explain.redis.svc.mesh.local.kuma-dns", "TXT", rdclass=rdclass, **address)
        assert rcode(ask("redis.svc.mesh.local", **address)) == "NOERROR"
    assert rcode(response) == "REFUSED" and not response.answer
    # Our own address on the interface is as local as 127.0.0.1.
    local = ask("explain.redis.svc.mesh.local.kuma-dns", "TXT", rdclass=rdclass, **address)
    assert rcode(local) == "NOERROR"


def test_version_in_chaos_goes_the_usual_way(one):
    """Other names in class CH are no business of ours: forwarded, as before."""
    response = ask("version.bind", "TXT", port=daemons.PORT, rdclass="CH")
    assert rcode(response) in ("NOERROR", "REFUSED", "NXDOMAIN") and one.alive()
