# SPDX-License-Identifier: Apache-2.0
"""Privileges: what is given up, what goes on without, and how little Kubernetes and systemd have to give."""

import configparser
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import tempfile

import pytest

import clients
import daemon as daemons
import namespaces
from clients import addresses_of, ask, rcode
from daemon import eventually
from namespaces import RECURSIVE, SECOND, sh
from redirected import REDIS, is_caught, tables

USER = 5678
OTHERS = pytest.mark.skipif(not namespaces.has_other_users(), reason="needs the real root: other UIDs do not exist here")
NET_ADMIN, NET_RAW = 1 << 12, 1 << 13
NAMES = {"Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"}


def privileges(one):
    """Of each thread of a daemon: who it is and what it may do, as numbers."""
    found = []
    for task in pathlib.Path(f"/proc/{one.process.pid}/task").iterdir():
        fields = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line)
        found.append({name: [int(word, 16 if name.startswith("Cap") else 10) for word in fields[name].split()]
                      for name in NAMES})
    return found


def assert_reduced(one, uid, capabilities, threads=1):
    found = privileges(one)
    assert len(found) > threads
    for thread in found:
        assert thread["Uid"] == [uid] * 4 and thread["Gid"] == [uid] * 4
        assert thread["CapPrm"] == thread["CapEff"] == [capabilities]
        assert thread["CapInh"] == thread["CapAmb"] == thread["CapBnd"] == [0]
        assert thread["NoNewPrivs"] == [1]
        assert uid == 0 or thread["Groups"] == []


@pytest.fixture
def program_of_all():
    """A copy of the daemon that every user can execute, wherever it was built."""
    with tempfile.TemporaryDirectory(dir="/run") as directory:
        os.chmod(directory, 0o755)
        shutil.copy(daemons.binary(), directory)
        yield f"{directory}/{os.path.basename(daemons.binary())}"


def setpriv(program, *words):
    """A wrapper that executes the copy instead, with these flags of setpriv."""
    return ["setpriv", *words, "sh", "-c", f"shift; exec {program} \"$@\"", "sh"]


# As root, who gives up the rest


@OTHERS
def test_root_becomes_kumas_user_in_every_thread(mesh):
    one = mesh.start("--kuma-dp-user", str(USER), "--workers", "3")
    assert_reduced(one, USER, NET_ADMIN, threads=3)
    assert "running as:   UID 5678, GID 5678, CAP_NET_ADMIN\n" in one.run("status")[1]
    for server in (RECURSIVE[4], RECURSIVE[6]):
        for tcp in (False, True):
            assert addresses_of(ask("redis.svc.mesh.local", server="127.0.0.1", port=daemons.PORT, tcp=tcp)) == REDIS
            assert rcode(ask("www.example.org", server=RECURSIVE[4], tcp=tcp)) == "NOERROR", server
    assert "mark" not in one.log()
    assert one.stop() == 0 and not tables()


@OTHERS
def test_kumas_user_is_found_without_being_named(mesh):
    passwd = mesh.directory / "passwd"
    passwd.write_text(pathlib.Path("/etc/passwd").read_text() + f"mesh:x:{USER}:{USER}::/:/bin/false\n")
    wrapper = ["unshare", "--mount", "sh", "-c", f"mount --bind {passwd} /etc/passwd; exec \"$@\"", "sh"]
    one = mesh.start(wrapper=wrapper)
    assert_reduced(one, USER, NET_ADMIN)
    # What the kernel hides from another user of a process that changed its own, it shows the process itself.
    assert one.metric("process_open_fds") > 5 and one.metric("process_resident_memory_bytes") > 0


@OTHERS
def test_rules_follow_resolv_conf_after_root_is_gone(mesh, network, second):  # pylint: disable=unused-argument
    one = mesh.start("--kuma-dp-user", str(USER))
    assert is_caught(RECURSIVE[4])
    network.set_resolv_conf(SECOND[4])
    one.wait_log("redirecting ", count=2)
    assert is_caught(SECOND[4]) and not is_caught(RECURSIVE[4])
    assert_reduced(one, USER, NET_ADMIN)


@OTHERS
def test_nothing_is_kept_where_nothing_is_redirected(mesh):
    one = mesh.start("--no-redirect", "--user", str(USER), "--listen", "127.0.0.1:53")
    assert_reduced(one, USER, 0)
    assert "UID 5678, GID 5678, no capabilities" in one.run("status")[1]
    assert addresses_of(ask("redis.svc.mesh.local", server="127.0.0.1")) == REDIS
    assert rcode(ask("www.example.org", server="127.0.0.1")) == "NOERROR"


@OTHERS
def test_user_may_be_another_than_kumas(mesh):
    one = mesh.start("--kuma-dp-user", str(USER), "--user", "65534")
    assert_reduced(one, 65534, NET_ADMIN)
    assert is_caught(RECURSIVE[4]) and rcode(ask("www.example.org", server=RECURSIVE[4])) == "NOERROR"


@OTHERS
def test_root_may_stay_and_open_what_is_others(mesh):
    os.chown(mesh.envoy.path, USER, USER)
    os.chmod(mesh.envoy.path, 0o700)
    one = mesh.start("--kuma-dp-user", str(USER), "--user", "root")
    assert_reduced(one, 0, NET_ADMIN | 1 << 1)
    assert is_caught(RECURSIVE[4]) and rcode(ask("www.example.org", server=RECURSIVE[4])) == "NOERROR"


@OTHERS
def test_envoys_socket_lets_kumas_user_in(mesh):
    os.chown(mesh.envoy.path, USER, USER)
    os.chmod(mesh.envoy.path, 0o755)
    assert mesh.start("--kuma-dp-user", str(USER)).metric("kuma_dp_dns_entries_total") > 0


@OTHERS
def test_second_start_takes_over_without_root(mesh):
    flags = ["--kuma-dp-user", str(USER), "--listen", "127.0.0.1:15053", "--listen", "127.0.0.1:853"]
    first = mesh.start(*flags)
    second = mesh.start(*flags, ready=False)
    second.wait_log("(?m) ready$")
    assert first.stop() == 0
    assert is_caught(RECURSIVE[4]) and addresses_of(ask("redis.svc.mesh.local", port=853)) == REDIS
    assert_reduced(second, USER, NET_ADMIN)


@OTHERS
def test_state_directory_is_made_for_the_user(mesh):
    state = mesh.directory / "state"
    flags = ["--kuma-dp-user", str(USER), "--state-dir", str(state)]
    assert mesh.start(*flags).stop() == 0
    assert (state.stat().st_uid, state.stat().st_mode & 0o777) == (USER, 0o700)
    assert (state / "table.saved").stat().st_uid == USER
    mesh.envoy.stop(leave_socket=True)
    one = mesh.start(*flags, ready=False).wait_listening()
    eventually(lambda: one.metric("kuma_dp_dns_entries_total"))
    assert "table.stateDir" not in one.log()
    mesh.start_envoy()


@OTHERS
def test_state_directory_that_root_made_is_given_to_the_user(mesh):
    """Root ran before, with the same directory: what it kept is served, and kept again."""
    state = mesh.directory / "state"
    assert mesh.start("--user", "0", "--state-dir", str(state)).stop() == 0
    assert (state.stat().st_uid, (state / "table.saved").stat().st_uid) == (0, 0)
    mesh.envoy.stop(leave_socket=True)
    flags = ["--kuma-dp-user", str(USER), "--state-dir", str(state)]
    one = mesh.start(*flags, ready=False).wait_listening()
    eventually(lambda: one.metric("kuma_dp_dns_entries_total"))
    assert (state.stat().st_uid, (state / "table.saved").stat().st_uid) == (USER, USER)
    assert "table.stateDir" not in one.log()
    mesh.start_envoy()
    eventually(lambda: (state / "table.saved").exists())


def of_another_user(state):
    os.chown(state, 77, 77)


def with_files_of_others(state):
    (state / "notes").write_text("mine")


def writable_by_others(state):
    state.chmod(0o775)


def behind_a_link(state):
    state.rename(state.with_name("target"))
    state.symlink_to("target")


@OTHERS
@pytest.mark.parametrize("made", [of_another_user, with_files_of_others, writable_by_others, behind_a_link])
def test_state_directory_of_others_is_named(mesh, made):
    state = mesh.directory / "state"
    state.mkdir(mode=0o755)
    made(state)
    owner = state.stat().st_uid
    one = mesh.start("--kuma-dp-user", str(USER), "--state-dir", str(state))
    assert re.search(r"warning: table.stateDir: .*state: UID 5678 may not write there: Permission denied", one.log())
    assert state.stat().st_uid == owner and len(re.findall("cannot be kept", one.log())) == 1


@OTHERS
def test_admin_socket_that_stays_behind_is_replaced(mesh):
    flags = ["--kuma-dp-user", str(USER)]
    environment = {"KUMA_DNS_ADMIN_SOCKET": ""}
    for _ in range(2):
        one = mesh.start(*flags, environment=environment, config={"admin": {"socket": "/run/kuma-dns.sock"}})
        status = os.stat("/run/kuma-dns.sock")
        assert (status.st_uid, status.st_mode & 0o777) == (0, 0o600)
        assert one.run("ready")[0] == 0
        assert one.stop() == 0
    done = clients.run(daemons.binary(), "ready", "--admin-socket", "/run/kuma-dns.sock")
    assert done[0] == 2 and "/run/kuma-dns.sock" in done[1]
    os.unlink("/run/kuma-dns.sock")


def test_kumas_user_that_is_not_to_be_had_is_no_reason_to_fail(mesh):
    wrapper = ["unshare", "--user", "--map-root-user"]
    one = mesh.start("--no-redirect", "--kuma-dp-user", str(USER), wrapper=wrapper)
    assert "staying root: cannot become UID 5678: this user namespace does not have it" in one.log()
    assert addresses_of(ask("redis.svc.mesh.local", port=daemons.PORT)) == REDIS


@pytest.mark.parametrize("user,status,words", [
    ("nosuch", 2, "user: found nosuch, expected the name of a user of this host, or a UID"),
    (str(USER), 2, "user: found 5678, but cannot become UID 5678: this user namespace does not have it"),
])
def test_user_that_is_asked_for_must_be_had(mesh, user, status, words):
    one = mesh.start("--no-redirect", "--user", user, ready=False, wrapper=["unshare", "--user", "--map-root-user"])
    assert one.process.wait(10) == status and words in one.log()
    mesh.forget(one)


# What is needed, first


def test_what_is_missing_is_named_before_anything_is_done(mesh):
    one = mesh.start(ready=False, wrapper=["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"])
    assert one.process.wait(10) == 1
    assert re.search("error: redirection: CAP_NET_ADMIN is missing: run as root or grant it .*AmbientCapabilities"
                     ".*use --no-redirect to run without", one.log())
    assert "listening" not in one.log() and not os.path.exists(one.admin_socket)
    mesh.forget(one)


def test_network_of_another_user_namespace(mesh):
    one = mesh.start(ready=False, wrapper=["unshare", "--user", "--map-root-user"])
    assert one.process.wait(10) == 1
    assert "CAP_NET_ADMIN is missing in the user namespace that this network namespace belongs to" in one.log()
    mesh.forget(one)


@pytest.mark.parametrize("command,flags,lacks,name", [
    ("install", [], "net_admin", "CAP_NET_ADMIN"), ("uninstall", [], "net_admin", "CAP_NET_ADMIN"),
    ("install", ["--netns", "/proc/self/ns/net"], "sys_admin", "CAP_SYS_ADMIN"),
])
def test_commands_name_what_is_missing(network, command, flags, lacks, name):  # pylint: disable=unused-argument
    status, text = clients.run("setpriv", f"--bounding-set=-{lacks}", f"--inh-caps=-{lacks}", daemons.binary(), command,
                               "--kuma-dp-user", str(USER), *flags)
    assert status == 1 and f"kuma-dns: {name} is missing" in text and "run as root or grant it" in text
    assert not tables()


# As Kubernetes does it: rules of an init container, and a sidecar with nothing

READ_ONLY = r"""
mount --make-rprivate /
findmnt -rno TARGET | while read -r target; do
    mount -o remount,bind,ro "$target" 2>/dev/null || true
done
! touch /run/written /tmp/written 2>/dev/null || exit 99
exec "$@"
"""
INIT = ["unshare", "--mount", "sh", "-c", READ_ONLY, "sh", "setpriv", "--bounding-set=-all,+net_admin,+net_raw",
        "--inh-caps=-all", "--no-new-privs"]
NOTHING = [f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all",
           "--no-new-privs"]


def test_init_container_installs_with_two_capabilities_and_a_read_only_root(network):  # pylint: disable=unused-argument
    flags = ["--kuma-dp-user", str(USER), "--capture-all"]
    _, status = clients.run(*INIT, "grep", "CapEff", "/proc/self/status")
    assert int(status.split()[1], 16) == NET_ADMIN | NET_RAW
    for said in ("installed: ", "installed already: "):
        status, text = clients.run(*INIT, daemons.binary(), "install", *flags)
        assert status == 0 and text.startswith(said), text
    assert tables() == ["table inet kuma_dns_installed"]
    assert clients.run(*INIT, daemons.binary(), "uninstall") == (0, "uninstalled\n")
    assert not tables()


@OTHERS
def test_sidecar_without_any_capability_serves_what_is_redirected(mesh, program_of_all):
    sh(daemons.binary(), "install", "--kuma-dp-user", str(USER), "--capture-all", "--redirect-inbound=false",
       "--redirect-outbound=false")
    os.chown(mesh.envoy.path, USER, USER)
    os.chmod(mesh.envoy.path, 0o755)
    state = mesh.directory / "state"
    state.mkdir()
    os.chown(state, USER, USER)
    one = mesh.start("--no-redirect", "--kuma-dp-user", str(USER), "--state-dir", str(state),
                     "--metrics-address", "127.0.0.1:9903", wrapper=setpriv(program_of_all, *NOTHING), owner=USER)
    assert_reduced(one, USER, 0)
    for server in (RECURSIVE[4], RECURSIVE[6]):
        for tcp in (False, True):
            assert is_caught(server, tcp)
            assert rcode(ask("www.example.org", server=server, tcp=tcp)) == "NOERROR"
    # Each went out once, and did not come back to us.
    assert one.metric("kuma_dp_dns_queries_total", source="upstream") == 4
    assert one.metric("kuma_dp_dns_queries_total") == 8
    done = clients.run("setpriv", *NOTHING, "dig", "+noall", "+comments", "redis.svc.mesh.local", f"@{RECURSIVE[4]}")
    assert "status: NXDOMAIN" in done[1]
    assert daemons.http_get(daemons.http.client.HTTPConnection("127.0.0.1", 9903, timeout=5), "/ready")[0] == 200
    assert (state / "table.saved").exists()
    assert one.stop() == 0 and not os.path.exists(one.admin_socket)
    sh(daemons.binary(), "uninstall")


# As systemd does it


def unit():
    """Keys of the [Service] section, each with all its values."""
    class Several(dict):
        def __setitem__(self, key, value):
            if isinstance(value, list) and key in self:
                self[key].extend(value)
            else:
                super().__setitem__(key, value)
    parser = configparser.RawConfigParser(strict=False, dict_type=Several, interpolation=None)
    parser.optionxform = str
    parser.read(daemons.ROOT / "conf/kuma-dns.service")
    return {key: value.split("\n") for key, value in parser.items("Service")}


@OTHERS
def test_unit_has_what_run_needs(mesh, program_of_all):
    """The unit's user, capabilities, variables and directories, without systemd."""
    service = unit()
    assert service["AmbientCapabilities"] == service["CapabilityBoundingSet"] == ["CAP_NET_ADMIN"]
    assert service["NoNewPrivileges"] == ["yes"] and service["User"] == ["kuma-dp"]
    environment = dict(word.split("=", 1) for line in service["Environment"] for word in shlex.split(line))
    for key, top in (("RuntimeDirectory", "/run"), ("StateDirectory", "/var/lib")):
        assert any(value.startswith(f"{top}/{service[key][0]}") for value in environment.values())
    own = mesh.directory / "own"
    own.mkdir()
    os.chown(own, USER, USER)
    environment.update(KUMA_DATAPLANE_RUNTIME_WORK_DIR=str(mesh.directory), KUMA_DNS_TABLE_STATE_DIR=str(own),
                       KUMA_DNS_ADMIN_SOCKET=str(own / "kuma-dns.sock"), KUMA_DNS_KUMA_DP_USER=str(USER))
    wrapper = ["unshare", "--mount", "sh", "-c", READ_ONLY.replace("exec", f"mount -o remount,bind,rw {own}\nexec"), "sh",
               *setpriv(program_of_all, f"--reuid={USER}", f"--regid={USER}", "--clear-groups",
                        "--inh-caps=-all,+net_admin", "--ambient-caps=-all,+net_admin",
                        "--bounding-set=-all,+net_admin", "--no-new-privs")]
    sh("mount", "--bind", str(own), str(own))
    try:
        one = mesh.start(environment=environment, wrapper=wrapper, ready=False, owner=USER,
                         config={"admin": {"socket": own / "kuma-dns.sock"}}).wait_ready()
        for thread in privileges(one):
            assert thread["Uid"] == [USER] * 4 and thread["CapEff"] == thread["CapPrm"] == [NET_ADMIN]
            assert thread["CapInh"] == thread["CapAmb"] == [0]
        assert is_caught(RECURSIVE[4]) and rcode(ask("www.example.org", server=RECURSIVE[4])) == "NOERROR"
        assert (own / "table.saved").exists()
        assert one.stop() == 0 and not (own / "kuma-dns.sock").exists() and not tables()
    finally:
        subprocess.run(["umount", str(own)], check=False)
