# SPDX-License-Identifier: Apache-2.0
"""The command itself: configuration and its errors, the admin socket, its clients, the log."""

import http.client
import os
import re
import signal
import socket
import stat
import subprocess
import tempfile

import pytest

import clients
import daemon as daemons
import meshtable
from clients import ask, rcode
from daemon import eventually
from namespaces import sh


def kuma_dns(*arguments, **environment):
    """(exit status, standard output, standard error)."""
    done = subprocess.run([daemons.binary(), *arguments], capture_output=True, text=True, timeout=20,
                          check=False, env={**os.environ, **environment})
    return done.returncode, done.stdout, done.stderr


def config_file(text):
    path = tempfile.mktemp(dir="/run", suffix=".yaml")
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    return path


def test_help_and_version(network):  # pylint: disable=unused-argument
    status, out, err = kuma_dns("--help")
    assert status == 0 and not err
    for flag in ("--config", "--listen", "--table-file", "--work-dir", "--resolv-conf", "--upstream",
                 "--admin-socket", "--metrics-address", "--workers", "--no-redirect", "--log-level"):
        assert flag in out
    assert kuma_dns("run", "--no-redirect", "--help") == (0, out, "")
    status, out, _ = kuma_dns("--version")
    assert status == 0 and re.match(r"kuma-dns \d+\.\d+\.\d+\n$", out)


@pytest.mark.parametrize("command", ["--help", "--version", "check"])
def test_output_that_is_lost_is_an_error(network, command):  # pylint: disable=unused-argument
    with open("/dev/full", "wb") as full:
        assert subprocess.run([daemons.binary(), command], stdout=full, check=False, timeout=20).returncode == 1


@pytest.mark.parametrize("text,line,words", [
    ("workers: 1\nworker: 2\n", 2, ["worker"]),
    ("redirect:\n  dns:\n    port: many\n", 3, ["port", "many"]),
    ("redirect:\n  dns:\n    port: 65536\n", 3, ["65536", "65535"]),
    ("redirect:\n  dns:\n    captureAll: 3\n", 3, ["captureAll", "3"]),
    ("log:\n  level: loud\n", 2, ["loud", "info"]),
    ("table:\n  pollInterval: 1ms\n", 2, ["pollInterval", "1ms"]),
    ("listen: [\n", None, []),
    ("listen:\n- 127.0.0.1:99999\n", 2, ["127.0.0.1:99999"]),
])
def test_config_errors_say_where_and_what(network, text, line, words):  # pylint: disable=unused-argument
    path = config_file(text)
    for command in ("run", "check"):
        status, _, err = kuma_dns(command, "--config", path)
        assert status == 2
        assert path in err and (line is None or f"{path}:{line}" in err), err
        assert all(word in err for word in words), err
        assert len(err.splitlines()) == 1


@pytest.mark.parametrize("key", ["kumaDPUser", "user"])
@pytest.mark.parametrize("command", ["run", "check"])
def test_user_who_does_not_exist(network, key, command):  # pylint: disable=unused-argument
    status, out, err = kuma_dns(command, "--config", config_file(f"{key}: nosuch\n"))
    assert (status, out) == (2, "")
    assert f"{key}: found nosuch, expected the name of a user of this host, or a UID\n" in err


@pytest.mark.parametrize("value", ["4294967294", "root", '""'])
def test_user_who_may_exist_elsewhere(network, value):  # pylint: disable=unused-argument
    status, _, err = kuma_dns("check", "--config", config_file(f"kumaDPUser: {value}\nuser: {value}\n"))
    assert (status, err) == (0, "")


@pytest.mark.parametrize("arguments", [
    ["run", "--nonsense"], ["run", "--workers", "0"], ["run", "--workers"], ["nonsense"], [],
    ["run", "--config", "/nonexistent.yaml"], ["run", "extra"],
])
def test_bad_arguments_exit_2(network, arguments):  # pylint: disable=unused-argument
    status, _, err = kuma_dns(*arguments)
    assert status == 2 and err


def test_flags_override_environment_overrides_file(network):  # pylint: disable=unused-argument
    path = config_file("workers: 2\nlog:\n  level: error\nredirect:\n  dns:\n    port: 1111\n")
    status, out, _ = kuma_dns("check", "--config", path)
    assert status == 0 and re.search(r"^workers: 2$", out, re.M) and re.search("level: \"?error", out)
    _, out, _ = kuma_dns("check", "--config", path, KUMA_DNS_PROXY_PORT="2222", KUMA_DNS_WORKERS="3")
    assert re.search("^workers: 3$", out, re.M) and re.search("port: 2222", out)
    _, out, _ = kuma_dns("check", "--config", path, "--workers", "4", KUMA_DNS_WORKERS="3",
                         KUMA_DNS_ENABLED="false", KUMA_DATAPLANE_RUNTIME_WORK_DIR="/run/there")
    assert re.search("^workers: 4$", out, re.M) and "/run/there" in out
    again = config_file(out)
    assert kuma_dns("check", "--config", again)[1] == out


def test_kumas_own_file_is_read(network):  # pylint: disable=unused-argument
    path = config_file(
        "kumaDPUser: \"\"\nipFamilyMode: ipv4\nredirect:\n"
        "  inbound: {enabled: true, port: 15006, includePorts: [], excludePorts: \"80,443\"}\n"
        "  outbound: {enabled: true, port: 15001, excludePortsForUIDs: [\"tcp:*:5678\"]}\n"
        "  dns: {enabled: true, port: 15054, captureAll: true, resolvConfigPath: /run/resolv.conf}\n"
        "  vnet: {networks: [\"docker0:172.17.0.0/16\"]}\ndropInvalidPackets: false\n")
    status, out, err = kuma_dns("check", "--config", path)
    assert status == 0, err
    assert "15054" in out and "/run/resolv.conf" in out


def test_address_that_is_taken(mesh):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", daemons.PORT))
        one = mesh.start("--no-redirect", ready=False)
        assert one.process.wait(10) not in (0, None)
    assert f"127.0.0.1:{daemons.PORT}" in one.log() and "in use" in one.log()
    mesh.forget(one)


def test_listen_elsewhere_with_several_workers(mesh):
    one = mesh.start("--no-redirect", "--listen", "127.0.0.1:5301", "--listen", "[::1]:5302", "--workers", "3")
    for server, port in (("127.0.0.1", 5301), ("::1", 5302)):
        for tcp in (False, True):
            assert rcode(ask("redis.svc.mesh.local", server=server, port=port, tcp=tcp)) == "NOERROR"
    assert len(os.listdir(f"/proc/{one.process.pid}/task")) >= 3


def test_without_ipv6_ipv4_alone_and_a_note(mesh):
    wrapper = ["unshare", "--net", "sh", "-c",
               "ip link set lo up; echo 1 >/proc/sys/net/ipv6/conf/lo/disable_ipv6; exec \"$@\"", "sh"]
    one = mesh.start("--no-redirect", wrapper=wrapper)
    assert "IPv6" in one.log()


def test_admin_socket_is_for_its_owner_only(mesh):
    one = mesh.start("--no-redirect")
    assert stat.S_IMODE(os.stat(one.admin_socket).st_mode) == 0o600
    assert one.get("/nothing")[0] == 404
    assert one.stop() == 0
    assert not os.path.exists(one.admin_socket)


def test_client_commands(mesh):
    one = mesh.start("--no-redirect")
    status, out, _ = one.run("table")
    assert status == 0 and len({line.split()[0] for line in out.splitlines()}) == len(meshtable.records())
    status, out, _ = one.run("table", "redis.svc.mesh.local")
    assert status == 0
    for addresses in meshtable.addresses("redis.svc.mesh.local"):
        assert any(clients.plain([line.split()[-1]]) == clients.plain(addresses) for line in out.splitlines())
    assert one.run("table", "nosuch.svc.mesh.local")[0] == 1
    status, out, _ = one.run("status")
    assert status == 0 and "300" in out and f"127.0.0.1:{daemons.PORT}" in out
    assert one.stop() == 0
    status, _, err = one.run("status")
    assert status == 2 and one.admin_socket in err


def test_output_into_a_pipe_that_is_closed_ends_quietly(mesh):
    one = mesh.start("--no-redirect")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([daemons.binary(), "table", "--admin-socket", one.admin_socket], stdout=writer,
                          stderr=subprocess.PIPE, check=False, timeout=20)
    os.close(writer)
    assert done.returncode == -signal.SIGPIPE and not done.stderr


def test_without_an_admin_socket_the_client_says_so(network):  # pylint: disable=unused-argument
    status, _, err = kuma_dns("status", "--admin-socket", "")
    assert status == 2 and "--admin-socket" in err


def test_closed_standard_descriptors_become_nothing_else(mesh):
    one = mesh.start("--no-redirect", wrapper=["sh", "-c", "exec \"$@\" 0<&- 1>&- 2>&-", "sh"])
    assert {os.readlink(f"/proc/{one.process.pid}/fd/{fd}") for fd in range(3)} == {"/dev/null"}
    assert rcode(ask("redis.svc.mesh.local", port=daemons.PORT)) == "NOERROR"


def test_few_descriptors_are_shared_between_connections_and_the_rest(mesh):
    one = mesh.start("--no-redirect", wrapper=["sh", "-c", "ulimit -n 80; exec \"$@\"", "sh"])
    assert "80 file descriptors" in one.log()
    crowd = [socket.create_connection(("127.0.0.1", daemons.PORT)) for _ in range(100)]
    eventually(lambda: (one.metric("kuma_dns_tcp_connections_total") or 0) >= len(crowd))
    assert rcode(ask("www.example.org", port=daemons.PORT)) == "NOERROR"
    assert rcode(ask("redis.svc.mesh.local", port=daemons.PORT, tcp=True)) == "NOERROR"
    for connection in crowd:
        connection.close()


def test_metrics_on_tcp_and_nothing_else(mesh):
    mesh.start("--no-redirect", "--metrics-address", "127.0.0.1:9953")

    def get(path):
        return daemons.http_get(http.client.HTTPConnection("127.0.0.1", 9953, timeout=5), path)

    assert get("/ready")[0] == 200
    status, text = get("/metrics")
    assert status == 200 and "kuma_dp_dns_entries_total" in text
    assert get("/table")[0] == 404 and get("/status")[0] == 404


def test_metrics_of_kuma_with_its_labels(mesh):
    one = mesh.start("--no-redirect")
    for qtype in ("A", "AAAA", "TXT"):
        ask("redis.svc.mesh.local", qtype, port=daemons.PORT)
    ask("nosuch.svc.mesh.local", port=daemons.PORT)
    ask("www.example.org", port=daemons.PORT)
    labels = meshtable.EXTRA_LABELS
    queries = "kuma_dp_dns_queries_total"
    assert one.metric(queries, qtype="A", source="local", **labels) == 2
    assert one.metric(queries, qtype="AAAA", source="local", **labels) == 1
    assert one.metric(queries, qtype="other", source="local", **labels) == 1
    assert one.metric(queries, qtype="A", source="upstream", **labels) == 1
    assert one.metric("kuma_dp_dns_response_codes_total", rcode="nxdomain", **labels) == 1
    assert one.metric("kuma_dp_dns_entries_total", **labels) == 300
    assert one.metric("kuma_dp_dns_request_duration_seconds_count", **labels) == 5
    assert one.metric("kuma_dp_dns_upstream_request_duration_seconds_count", **labels) == 1
    assert one.metric("kuma_dp_dns_upstream_request_failure_count", **labels) == 0
    assert one.metric("kuma_dp_dns_config_ready_wait_seconds_count", **labels) == 1
    text = one.get("/metrics")[1]
    series = [line.rpartition(" ")[0] for line in text.splitlines() if line and not line.startswith("#")]
    assert len(series) == len(set(series))
    for name in {re.match(r"\w+", one_of)[0] for one_of in series}:
        assert re.search(rf"^# TYPE {re.sub('_(bucket|sum|count)$', '', name)}", text, re.M), name


def test_log_is_lines_with_level_on_standard_error(mesh):
    one = mesh.start("--no-redirect", "--log-level", "debug")
    ask("www.example.org", port=daemons.PORT)
    assert one.stop() == 0
    lines = one.log().splitlines()
    assert lines and all(re.search(r"\b(error|warning|info|debug)\b", line) for line in lines), one.log()


def test_log_is_limited(mesh):
    one = mesh.start("--no-redirect")
    before = len(one.log())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", daemons.PORT))
        for _ in range(2000):
            client.send(b"\x12\x34\1")
    eventually(lambda: (one.metric("kuma_dns_drops_total", reason="short") or 0) > 0)
    assert len(one.log()) - before < 10_000


@pytest.mark.skipif(not os.path.exists("/usr/bin/mandoc"), reason="mandoc is not installed")
def test_make_install_puts_files_where_debian_has_them(network):  # pylint: disable=unused-argument
    where = tempfile.mkdtemp(dir="/run")
    sh("make", "-s", "install", f"DESTDIR={where}", "PREFIX=/usr", cwd=daemons.ROOT)
    files = {os.path.relpath(os.path.join(folder, name), where)
             for folder, _, names in os.walk(where) for name in names}
    assert "usr/bin/kuma-dns" in files or "usr/sbin/kuma-dns" in files
    assert any(name.startswith("usr/share/man/man8/kuma-dns.8") for name in files)
    assert any(name.endswith(".yaml") for name in files)


def test_flags_may_stand_behind_the_name(mesh):
    mesh.start(config={"admin": {"socket": mesh.directory / "admin.sock"}})
    flag = ("--admin-socket", str(mesh.directory / "admin.sock"))
    for words in (("redis.svc.mesh.local", *flag), (*flag, "redis.svc.mesh.local")):
        status, out, err = kuma_dns("table", *words)
        assert status == 0 and out.startswith("redis.svc.mesh.local. 30 IN A "), err
    status, _, err = kuma_dns("table", "a.mesh", "b.mesh")
    assert status == 2 and "unexpected argument" in err
