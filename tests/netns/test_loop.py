# SPDX-License-Identifier: Apache-2.0
"""Loops: a name server that is ourselves, or leads back to us, is found, named and avoided.

istio#30309, #29224, coredns#2087: a loop with systemd-resolved or dnsmasq burnt a CPU, or ended the process.
"""

import os
import pathlib
import re

import pytest

import daemon as daemons
import meshtable
import nameserver
import namespaces
from clients import addresses_of, ask, query, rcode, timed
from daemon import eventually
from nameserver import GOOD
from namespaces import RECURSIVE, SCRIPTED, SECOND

US = f"127.0.0.1:{daemons.PORT}"
ELSEWHERE = ("127.0.0.2", 5353)  # where the other forwarder listens, in our own namespace
OTHER = "{}:{}".format(*ELSEWHERE)
LOOP = "kuma_dns_upstream_loop"


def mesh_names_go_on():
    took, response = timed(query, "redis.svc.mesh.local")
    return addresses_of(response) == meshtable.addresses("redis.svc.mesh.local")[0] and took < 0.5


def wait_loop(one, server, timeout=5):
    def found():
        return one.metric(LOOP, server=server) == 1
    found.__doc__ = f"{server} is found to lead back to us:\n{one.log()}"
    eventually(found, timeout)


def assert_named(one, server, status):
    """In log, metric, status and /ready."""
    address = server.rpartition(":")[0]
    wait_loop(one, server)
    one.wait_log(f"{re.escape(address)}.*leads back to us", 3)
    eventually(lambda: "leads back to us" in one.get("/ready")[1], 3)
    code, text = one.get("/ready")
    assert code == status and address in text
    assert "leads back to us" in one.run("status")[1]


def cpu_seconds(one):
    fields = pathlib.Path(f"/proc/{one.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def assert_quiet(one):
    """A query for what only upstream knows ends, and does not go round and round."""
    before = one.metric("kuma_dns_transactions_total") or 0
    took, response = timed(query, "www.example.org")
    assert rcode(response) == "SERVFAIL" and took < 4.6
    assert (one.metric("kuma_dns_transactions_total") or 0) - before <= 5
    eventually(mesh_names_go_on, 3)
    assert cpu_seconds(one) < 3


@pytest.fixture
def dnsmasq(program):
    return program.dnsmasq(ELSEWHERE[0], US.replace(":", "#"), port=ELSEWHERE[1])


def test_server_that_is_ourselves(mesh, network):
    network.set_resolv_conf("127.0.0.1")
    one = mesh.start("--no-redirect", "--listen", "127.0.0.1:53", "--listen", US, ready=False).wait_listening()
    eventually(lambda: re.search("127.0.0.1.*(ourselves|leads back)", one.log()), 5)
    assert rcode(query()) == "SERVFAIL"
    eventually(mesh_names_go_on, 3)
    assert one.alive()


def test_server_on_another_address_that_is_ourselves(mesh):
    """Listening on every address: 127.0.0.9 is nobody else."""
    one = mesh.forward_to(f"127.0.0.9:{daemons.PORT}", flags=["--listen", f"0.0.0.0:{daemons.PORT}"], ready=False)
    one.wait_listening()
    eventually(lambda: re.search("127.0.0.9.*(ourselves|leads back)", one.log()), 5)
    eventually(lambda: one.get("/ready")[0] == 503 and "127.0.0.9" in one.get("/ready")[1], 5)
    assert_quiet(one)


def test_dnsmasq_forwards_back_to_us(mesh, dnsmasq):
    one = mesh.forward_to(OTHER, ready=False).wait_listening()
    assert_named(one, OTHER, 503)
    assert_quiet(one)
    assert dnsmasq.poll() is None


def test_unbound_forwards_back_to_us(mesh, program):
    program.unbound(ELSEWHERE[0], US.replace(":", "@"), port=ELSEWHERE[1])
    one = mesh.forward_to(OTHER, ready=False).wait_listening()
    assert_named(one, OTHER, 503)
    assert_quiet(one)


@pytest.mark.parametrize("order", [(OTHER, RECURSIVE[4]), (RECURSIVE[4], OTHER)], ids=["first", "second"])
def test_with_a_good_server_nothing_is_lost(mesh, dnsmasq, order):  # pylint: disable=unused-argument
    one = mesh.forward_to(*order)
    assert_named(one, OTHER, 200)
    for name in ("www.example.org", "alias.example.org", "v4only.example.org", "mail.example.org"):
        took, response = timed(query, name)
        assert rcode(response) == "NOERROR" and took < 0.3
    before = one.metric("kuma_dns_upstream_queries_total", server=OTHER) or 0
    for number in range(20):
        assert rcode(query(f"nosuch{number}.example.org")) == "NXDOMAIN"
    assert (one.metric("kuma_dns_upstream_queries_total", server=OTHER) or 0) - before <= 2
    assert mesh_names_go_on()


def test_two_of_us_in_a_ring(mesh, scripted, second):
    """Each forwards to the other; both find it, and a third server serves both."""
    scripted.answer = second.answer = nameserver.good_answer
    other = mesh.start("--no-redirect", "--listen", "127.0.0.1:15054", "--upstream", US, "--upstream", SECOND[4])
    one = mesh.forward_to("127.0.0.1:15054", SCRIPTED[4])
    for daemon in (one, other):
        # Which of the two has found it first has broken the ring, so that the other needs not find any.
        eventually(lambda: one.metric(LOOP, server="127.0.0.1:15054") == 1 or other.metric(LOOP, server=US) == 1, 5)
        assert daemon.get("/ready")[0] == 200
    for number in range(20):
        for port in (15053, 15054):
            took, response = timed(ask, f"n{number}.example.org", port=port)
            assert addresses_of(response) == GOOD and took < 0.5


def test_chain_of_forwarders(mesh, program):
    """dnsmasq → unbound → us."""
    program.unbound("127.0.0.3", US.replace(":", "@"), port=5353)
    program.dnsmasq(ELSEWHERE[0], "127.0.0.3#5353", port=ELSEWHERE[1])
    one = mesh.forward_to(OTHER, RECURSIVE[4])
    assert_named(one, OTHER, 200)
    assert rcode(query()) == "NOERROR"


def test_forwarder_that_does_not_lead_back_is_none(mesh, program):
    program.dnsmasq(ELSEWHERE[0], RECURSIVE[4], port=ELSEWHERE[1])
    one = mesh.forward_to(OTHER)
    assert addresses_of(query()) == GOOD
    assert one.metric(LOOP, server=OTHER) == 0
    assert one.get("/ready")[0] == 200 and "leads back" not in one.get("/ready")[1]


def test_loop_that_is_over(mesh, program, network):
    """A resolv.conf that changes is a reason to look again at once; else it takes a minute or so."""
    network.set_resolv_conf("127.0.0.53")
    mapped = program.dnsmasq("127.0.0.53", US.replace(":", "#"))
    one = mesh.start("--no-redirect", ready=False).wait_listening()
    wait_loop(one, "127.0.0.53:53")
    program.stop(mapped)
    program.dnsmasq("127.0.0.53", RECURSIVE[4])
    network.set_resolv_conf("127.0.0.53", options="options ndots:2")
    network.set_resolv_conf(RECURSIVE[4])
    eventually(lambda: addresses_of(query()) == GOOD, 8, 0.1)
    network.set_resolv_conf("127.0.0.53")
    eventually(lambda: one.metric(LOOP, server="127.0.0.53:53") == 0, 5)
    assert rcode(query("v4only.example.org")) == "NOERROR"


def test_probe_can_be_switched_off(mesh, scripted):
    scripted.answer = nameserver.good_answer
    one = mesh.forward_to(SCRIPTED[4], config={"forward": {"loopProbe": False}})
    assert addresses_of(query()) == GOOD
    assert {str(message.question[0].name) for message in scripted.seen()} == {"www.example.org."}
    assert not one.metric(LOOP)


def test_probe_is_no_burden(mesh, scripted):
    """A good server sees a handful of them, and no query waits for one."""
    scripted.answer = nameserver.good_answer
    mesh.forward_to(SCRIPTED[4])
    took, response = timed(query)
    assert addresses_of(response) == GOOD and took < 0.3
    assert len(scripted.queries) <= 4


def test_another_of_us_before_us_is_no_loop(mesh, scripted):
    """Whose probes come by: those of others are queries like any other."""
    scripted.answer = nameserver.good_answer
    behind = mesh.start("--no-redirect", "--listen", "127.0.0.1:15054", "--upstream", SCRIPTED[4])
    before = mesh.forward_to("127.0.0.1:15054")
    for number in range(10):
        assert addresses_of(query(f"n{number}.example.org")) == GOOD
    for one in (behind, before):
        assert not one.metric(LOOP) and one.get("/ready")[0] == 200


@pytest.mark.parametrize("capture_all", [False, True])
def test_local_forwarder_whose_queries_we_catch(mesh, network, program, capture_all):
    """The stub asks the real server, and its query is redirected to us: a loop that only redirection makes."""
    program.dnsmasq("127.0.0.53", RECURSIVE[4])
    network.set_resolv_conf("127.0.0.53", RECURSIVE[4])
    one = mesh.start(config={"redirect": {"dns": {"captureAll": capture_all}}})
    wait_loop(one, "127.0.0.53:53")
    assert addresses_of(ask("www.example.org", server="127.0.0.53")) == GOOD
    assert addresses_of(ask("v4only.example.org", server=RECURSIVE[4])) == ["192.0.2.4"]
    assert addresses_of(ask("redis.svc.mesh.local", server="127.0.0.53"))


# systemd-resolved's stub, without systemd and D-Bus.

RESOLVED = [os.environ.get("SYSTEMD_RESOLVED", ""), "/lib/systemd/systemd-resolved",
            str(daemons.ROOT / "build/debian/lib/systemd/systemd-resolved")]


def resolved_program():
    """Where it is, with the libraries that it needs: installed, or unpacked by tests/packages."""
    return next((pathlib.Path(path) for path in RESOLVED if path and os.access(path, os.X_OK)), None)


needs_resolved = pytest.mark.skipif(
    not resolved_program(), reason="no systemd-resolved: as root, tests/packages check unpacks it")


def start_resolved(program, *servers):
    """Its stub listens on 127.0.0.53 when this returns. It looks for its user in a passwd of ours."""
    for folder in ("resolve", "netif/links", "resolved.conf.d"):
        pathlib.Path("/run/systemd", folder).mkdir(parents=True, exist_ok=True)
    for file, line in (("passwd", "systemd-resolve:x:0:0::/:/bin/false\n"), ("group", "systemd-resolve:x:0:\n")):
        text = pathlib.Path("/etc", file).read_text(encoding="utf-8")
        if line not in text:
            namespaces.bind_over(f"/etc/{file}", text + line)
    pathlib.Path("/run/systemd/resolved.conf.d/test.conf").write_text(
        f"[Resolve]\nDNS={' '.join(servers)}\nFallbackDNS=\nDomains=~.\n"
        "LLMNR=no\nMulticastDNS=no\nDNSSEC=no\nCache=no\n", encoding="ascii")
    where = resolved_program()
    libraries = where.parents[2] / "usr/lib"
    paths = ":".join(str(path.parent) for path in libraries.glob("*/systemd/libsystemd-shared-*.so"))
    process = program.start(str(where), environment={"LD_LIBRARY_PATH": paths})
    program.await_port(process, "127.0.0.53", 53)
    return process


@needs_resolved
def test_resolved_forwards_back_to_us(mesh, network, program):
    start_resolved(program, US)
    network.set_resolv_conf("127.0.0.53")
    one = mesh.start("--no-redirect", ready=False).wait_listening()
    assert_named(one, "127.0.0.53:53", 503)
    assert_quiet(one)


@needs_resolved
def test_resolved_as_a_server_like_any_other(mesh, network, program):
    start_resolved(program, RECURSIVE[4])
    network.set_resolv_conf("127.0.0.53")
    one = mesh.start("--no-redirect")
    assert addresses_of(query()) == GOOD
    assert rcode(query("nosuch.example.org")) == "NXDOMAIN"
    assert addresses_of(query("www.example.org", tcp=True)) == GOOD
    assert one.metric(LOOP, server="127.0.0.53:53") == 0


@needs_resolved
def test_resolved_whose_queries_we_catch(mesh, network, program):
    start_resolved(program, RECURSIVE[4])
    network.set_resolv_conf("127.0.0.53", RECURSIVE[4])
    one = mesh.start(config={"redirect": {"dns": {"captureAll": True}}})
    wait_loop(one, "127.0.0.53:53")
    assert addresses_of(ask("www.example.org", server="127.0.0.53")) == GOOD
    assert addresses_of(ask("redis.svc.mesh.local", server="127.0.0.53"))
