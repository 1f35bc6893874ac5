# SPDX-License-Identifier: Apache-2.0
"""resolv.conf is followed as it changes, in all the ways in which it does.

A rename ends a watch on the file; a symlink's directory sees nothing of its target; a ConfigMap swaps `..data`.
"""

import concurrent.futures
import itertools
import os
import pathlib
import re
import socket
import tempfile

import dns.message
import pytest

import daemon as daemons
import nameserver
from clients import addresses_of, query, rcode
from daemon import eventually
from nameserver import good_answer
from namespaces import RECURSIVE, SCRIPTED, SECOND, sh
from redirected import REDIS, is_caught

FIRST_SAYS, SECOND_SAYS = ["192.0.2.1"], ["192.0.2.2"]
CHANGES = "kuma_dns_resolv_conf_changes_total"
_numbers = itertools.count()


def says(addresses):
    return lambda message, tcp: good_answer(message, tcp, addresses=addresses)


def text(*servers, options=""):
    return "".join(f"nameserver {server}\n" for server in servers) + options


@pytest.fixture
def servers(scripted, second):
    scripted.answer, second.answer = says(FIRST_SAYS), says(SECOND_SAYS)
    return scripted, second


@pytest.fixture
def folder(network):  # pylint: disable=unused-argument
    return pathlib.Path(tempfile.mkdtemp(dir="/run"))


@pytest.fixture
def start(mesh, servers, folder):  # pylint: disable=unused-argument,redefined-outer-name
    """Starts a daemon that follows this file."""
    def started(path, *flags):
        one = mesh.start("--no-redirect", "--resolv-conf", str(path), *flags)
        assert answered_by() == FIRST_SAYS
        return one
    return started


def answered_by():
    """Who answers now; a new name each time, which no cache knows."""
    return addresses_of(query(f"n{next(_numbers)}.example.org"))


def wait_second():
    def asked():
        return answered_by() == SECOND_SAYS
    asked.__doc__ = "the second server is asked"
    eventually(asked, 5)


def test_file_is_written_anew(start, folder):
    path = folder / "resolv.conf"
    path.write_text(text(SCRIPTED[4]))
    one = start(path)
    assert not one.metric(CHANGES)
    path.write_text(text(SECOND[4]))
    wait_second()
    assert one.metric(CHANGES) == 1
    one.wait_log(re.escape(SECOND[4]))
    assert SECOND[4] in one.run("status")[1]


def test_file_is_renamed_over(start, folder):
    path = folder / "resolv.conf"
    path.write_text(text(SCRIPTED[4]))
    start(path)
    for server, wanted in ((SECOND[4], SECOND_SAYS), (SCRIPTED[4], FIRST_SAYS), (SECOND[4], SECOND_SAYS)):
        (folder / "new").write_text(text(server))
        os.rename(folder / "new", path)
        eventually(lambda wanted=wanted: answered_by() == wanted, 5)


def test_symlink_is_pointed_elsewhere(start, folder):
    for name, server in (("one", SCRIPTED[4]), ("two", SECOND[4])):
        (folder / name).mkdir()
        (folder / name / "resolv.conf").write_text(text(server))
    (folder / "resolv.conf").symlink_to(folder / "one" / "resolv.conf")
    start(folder / "resolv.conf")
    (folder / "new").symlink_to(folder / "two" / "resolv.conf")
    os.rename(folder / "new", folder / "resolv.conf")
    wait_second()
    # The target that it has now is followed too.
    (folder / "two" / "resolv.conf").write_text(text(SCRIPTED[4]))
    eventually(lambda: answered_by() == FIRST_SAYS, 5)


def test_target_of_a_symlink_changes(start, folder):
    """systemd-resolved: /etc/resolv.conf leads to /run/systemd/resolve, where files are renamed."""
    (folder / "run").mkdir()
    (folder / "run" / "stub").write_text(text(SCRIPTED[4]))
    (folder / "resolv.conf").symlink_to("run/stub")
    start(folder / "resolv.conf")
    (folder / "run" / "new").write_text(text(SECOND[4]))
    os.rename(folder / "run" / "new", folder / "run" / "stub")
    wait_second()


def test_configmap_is_swapped(start, folder):
    """Kubernetes: resolv.conf → ..data/resolv.conf, ..data → ..2026_01; then ..data is replaced."""
    for name, server in (("..2026_01", SCRIPTED[4]), ("..2026_02", SECOND[4])):
        (folder / name).mkdir()
        (folder / name / "resolv.conf").write_text(text(server))
    (folder / "..data").symlink_to("..2026_01")
    (folder / "resolv.conf").symlink_to("..data/resolv.conf")
    start(folder / "resolv.conf")
    (folder / "..data_tmp").symlink_to("..2026_02")
    os.rename(folder / "..data_tmp", folder / "..data")
    (folder / "..2026_01" / "resolv.conf").unlink()
    (folder / "..2026_01").rmdir()
    wait_second()


def test_empty_or_missing_file_keeps_the_servers(start, folder):
    path = folder / "resolv.conf"
    path.write_text(text(SCRIPTED[4]))
    one = start(path)
    for _ in range(2):
        path.write_text("")
        path.write_text("# written in a moment\n")
        path.unlink()
        for _ in range(20):
            assert answered_by() == FIRST_SAYS
        path.write_text(text(SECOND[4]))
        wait_second()
        path.write_text(text(SCRIPTED[4]))
        eventually(lambda: answered_by() == FIRST_SAYS, 5)
    assert one.metric(CHANGES) == 4


def test_file_that_is_not_there_at_the_start(mesh, servers, folder):  # pylint: disable=unused-argument
    path = folder / "resolv.conf"
    mesh.start("--no-redirect", "--resolv-conf", str(path))
    assert rcode(query("early.example.org")) == "SERVFAIL"
    path.write_text(text(SECOND[4]))
    wait_second()


def test_same_content_is_no_change(start, folder):
    path = folder / "resolv.conf"
    path.write_text(text(SCRIPTED[4]))
    one = start(path)
    (folder / "new").write_text(text(SCRIPTED[4]) + "# and a comment\n")
    os.rename(folder / "new", path)
    path.write_text(text(SECOND[4]))
    wait_second()
    assert one.metric(CHANGES) == 1


def test_transaction_in_flight_is_finished_on_the_old_server(start, folder, servers):
    path = folder / "resolv.conf"
    path.write_text(text(SCRIPTED[4]))
    one = start(path)
    first, _ = servers
    first.answer = nameserver.silent
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(query, "slow.example.org")
        first.wait_seen("slow.example.org")
        path.write_text(text(SECOND[4]))
        eventually(lambda: one.metric(CHANGES) == 1, 3)
        first.reply("slow.example.org")
        response = waiting.result()
    assert rcode(response) == "NOERROR" and not response.answer  # what the old one said
    wait_second()


def test_no_query_is_lost_while_it_changes(start, folder):
    path = folder / "resolv.conf"
    path.write_text(text(SCRIPTED[4]))
    one = start(path)
    for number in range(10):
        (folder / "new").write_text(text((SECOND[4], SCRIPTED[4])[number % 2]))
        os.rename(folder / "new", path)
        for _ in range(15):
            assert answered_by() in (FIRST_SAYS, SECOND_SAYS)
        eventually(lambda number=number: one.metric(CHANGES) == number + 1, 5)


def test_what_was_remembered_stays(start, folder, servers):
    path = folder / "resolv.conf"
    path.write_text(text(SCRIPTED[4]))
    start(path)
    assert addresses_of(query("kept.example.org")) == FIRST_SAYS
    path.write_text(text(SECOND[4]))
    wait_second()
    assert rcode(query("kept.example.org")) == "NOERROR"
    assert len(servers[0].seen("kept.example.org")) == 1


def test_options_are_followed(start, folder):
    path = folder / "resolv.conf"
    path.write_text(text(SCRIPTED[4], SECOND[4]))
    start(path)
    path.write_text(text(SCRIPTED[4], SECOND[4], options="options rotate\n"))
    eventually(lambda: {tuple(answered_by()) for _ in range(20)} == {tuple(FIRST_SAYS), tuple(SECOND_SAYS)}, 5)


def test_servers_of_the_configuration_win(mesh, servers, folder):  # pylint: disable=unused-argument
    path = folder / "resolv.conf"
    path.write_text(text(SCRIPTED[4]))
    mesh.forward_to(SCRIPTED[4], flags=["--resolv-conf", str(path)])
    path.write_text(text(SECOND[4]))
    for _ in range(20):
        assert answered_by() == FIRST_SAYS


def test_every_worker_follows(mesh, servers, folder):  # pylint: disable=unused-argument
    path = folder / "resolv.conf"
    path.write_text(text(SCRIPTED[4]))
    mesh.start("--no-redirect", "--resolv-conf", str(path), "--workers", "3")
    path.write_text(text(SECOND[4]))
    eventually(lambda: {tuple(answered_by()) for _ in range(20)} == {tuple(SECOND_SAYS)}, 5)


def handles():
    """Our table with its handles, which a new table would not have, and without its servers."""
    text = sh("nft", "-a", "list", "ruleset")
    return re.sub(r"\n\t\telements = \{[^}]*\}", "", text)


@pytest.mark.parametrize("zones", [True, False])
def test_redirection_follows(mesh, network, servers, zones):  # pylint: disable=unused-argument
    """What applications ask after a change is captured, too, and the rules are the same."""
    network.set_resolv_conf(SCRIPTED[4])
    one = mesh.start(config={"redirect": {"dns": {"skipConntrackZoneSplit": not zones}}})
    before = handles()
    lasting = {address: connected(address) for address in (SCRIPTED[4], SECOND[4], RECURSIVE[6])}
    for number, captured in enumerate(([SECOND[4], RECURSIVE[6]], [SCRIPTED[4]], [RECURSIVE[6]])):
        network.set_resolv_conf(*captured)
        one.wait_log("info: redirecting", count=number + 2)
        one.wait_log(re.escape(f"redirecting {', '.join(as_server(address) for address in captured)}, UDP"))
        for address, socket_ in lasting.items():
            assert (asked_on(socket_) == REDIS) == (address in captured), (address, captured)
            assert is_caught(address) == (address in captured)
    assert handles() == before
    for socket_ in lasting.values():
        socket_.close()


def as_server(address):
    return f"[{address}]:53" if ":" in address else f"{address}:53"


def connected(address):
    one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    one.settimeout(5)
    one.connect((address, 53))
    asked_on(one)
    return one


def asked_on(one):
    message = dns.message.make_query("redis.svc.mesh.local", "A")
    one.send(message.to_wire())
    return addresses_of(dns.message.from_wire(one.recv(65535)))


def test_options_leave_the_redirection_alone(mesh, network, servers):  # pylint: disable=unused-argument
    network.set_resolv_conf(SCRIPTED[4], SECOND[4])
    one = mesh.start()
    before = sh("nft", "-a", "list", "ruleset")
    for number, options in enumerate(("options rotate", "options ndots:3", "search example.org")):
        network.set_resolv_conf(SCRIPTED[4], SECOND[4], options=options)
        eventually(lambda number=number: one.metric(CHANGES) == number + 1, 5)
    network.set_resolv_conf(SECOND[4], SCRIPTED[4])
    eventually(lambda: one.metric(CHANGES) == 4, 5)
    assert sh("nft", "-a", "list", "ruleset") == before
    assert len(re.findall("info: redirecting", one.log())) == 1


@pytest.fixture
def installed(mesh):
    def install(*flags):
        sh(daemons.binary(), "install", "--kuma-dp-user", "5678", "--redirect-inbound=false",
           "--redirect-outbound=false", *flags)
    yield install
    sh(daemons.binary(), "uninstall")


def test_installed_rules_follow(mesh, network, servers, installed):  # pylint: disable=unused-argument
    network.set_resolv_conf(SCRIPTED[4])
    installed()
    one = mesh.start("--no-redirect")
    assert is_caught(SCRIPTED[4]) and not is_caught(SECOND[4])
    network.set_resolv_conf(SECOND[4], RECURSIVE[6])
    one.wait_log("installed rules: the servers are those of resolv.conf", count=2)
    assert not is_caught(SCRIPTED[4])
    for tcp in (False, True):
        assert is_caught(SECOND[4], tcp) and is_caught(RECURSIVE[6], tcp)
    assert "kuma_dns_installed" in sh("nft", "list", "ruleset")


def test_installed_rules_catch_up_at_the_start(mesh, network, servers, installed):  # pylint: disable=unused-argument
    network.set_resolv_conf(SCRIPTED[4])
    installed()
    network.set_resolv_conf(SECOND[4])
    mesh.start("--no-redirect")
    assert is_caught(SECOND[4]) and not is_caught(SCRIPTED[4])


def test_installed_rules_keep_their_servers_where_there_is_no_file(mesh, network, servers, installed):
    # pylint: disable=unused-argument
    network.set_resolv_conf(SCRIPTED[4])
    installed()
    mesh.start("--no-redirect", "--resolv-conf", "/nonexistent", "--upstream", SECOND[4])
    assert is_caught(SCRIPTED[4])


def test_installed_rules_follow_beside_those_of_a_daemon(mesh, network, servers, installed):
    # pylint: disable=unused-argument
    network.set_resolv_conf(SCRIPTED[4])
    installed()
    one = mesh.start()
    network.set_resolv_conf(SECOND[4])
    one.wait_log("redirecting 10.53.0.6:53")
    assert sh("nft", "list", "ruleset").count(f"elements = {{ {SECOND[4]} }}") == 2


def test_installed_rules_that_capture_everything_are_left_alone(mesh, network, servers, installed):
    # pylint: disable=unused-argument
    network.set_resolv_conf(SCRIPTED[4])
    installed("--capture-all")
    one = mesh.start("--no-redirect")
    network.set_resolv_conf(SECOND[4])
    wait_second()
    assert is_caught(SCRIPTED[4]) and is_caught(SECOND[4])
    assert "installed rules" not in one.log()


WITHOUT_NET_ADMIN = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]


def test_installed_rules_stay_where_we_may_not_change_them(mesh, network, servers, installed):
    # pylint: disable=unused-argument
    network.set_resolv_conf(SCRIPTED[4])
    installed()
    one = mesh.start("--no-redirect", wrapper=WITHOUT_NET_ADMIN, ready=False).wait_listening()
    before = sh("nft", "-a", "list", "ruleset")
    for number, server in enumerate((SECOND[4], SCRIPTED[4], SECOND[4])):
        network.set_resolv_conf(server)
        eventually(lambda number=number: one.metric(CHANGES) == number + 1, 5)
    eventually(lambda: "keep those that they have: CAP_NET_ADMIN is missing" in one.log(), 5)
    assert one.log().count("keep those that they have") == 1
    assert sh("nft", "-a", "list", "ruleset") == before
