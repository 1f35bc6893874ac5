# SPDX-License-Identifier: Apache-2.0
"""`install` and `uninstall`: rules that last, and what Kuma's transparent proxy does with TCP and DNS.

A scene is a host with Kuma's proxy, an application and a peer:

    peer                   host                       virtual network
    10.77.0.2   --veth--   10.77.0.1   10.78.0.1   --veth--   10.78.0.2
    fd77::2                fd77::1     fd78::1                fd78::2

Who answers says one letter: I is Envoy's inbound port, O its outbound port, D our port, P the peer, A an
application of the host, U one of the virtual network. An Envoy at 16006 and 16001 says where TCP was to go.
"""

import contextlib
import os
import re
import socket
import subprocess
import sys
import tempfile

import pytest

import clients
import daemon as daemons
import namespaces
from namespaces import sh

USER = 5678  # Kuma's proxy
HOST = {4: "10.77.0.1", 6: "fd77::1"}
PEER = {4: "10.77.0.2", 6: "fd77::2"}
OTHER = {4: "10.77.0.3", 6: "fd77::3"}  # also the peer
NOBODY = {4: "10.77.0.200", 6: "fd77::200"}
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
VIRTUAL = {4: "10.78.0.1", 6: "fd78::1"}  # the host, towards the virtual network
BEHIND = {4: "10.78.0.2", 6: "fd78::2"}
SECOND = {4: "127.0.0.2", 6: "::2"}  # another address of the host's loopback
FAMILIES = pytest.mark.parametrize("family", [4, 6])
OTHERS = pytest.mark.skipif(not namespaces.has_other_users(), reason="needs the real root: other UIDs do not exist here")
INSTALLED = "table inet kuma_dns_installed"

SERVE = r"""
import selectors, socket, sys
poll = selectors.DefaultSelector()
for word in sys.argv[2:]:
    kind, address, port = word.split("/")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    one = socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    one.bind((address, int(port)))
    if kind == "tcp":
        one.listen(64)
    poll.register(one, selectors.EVENT_READ, kind)
print("ready", flush=True)
letter = sys.argv[1].encode()

def original(connection):
    if connection.family == socket.AF_INET:
        sockaddr = connection.getsockopt(socket.SOL_IP, 80, 16)
        address = socket.inet_ntoa(sockaddr[4:8])
    else:
        sockaddr = connection.getsockopt(socket.IPPROTO_IPV6, 80, 28)
        address = socket.inet_ntop(socket.AF_INET6, sockaddr[8:24])
    return f"{address} {int.from_bytes(sockaddr[2:4], 'big')}".encode()

while True:
    for key, _ in poll.select():
        if key.data == "udp":
            _, peer = key.fileobj.recvfrom(2048)
            key.fileobj.sendto(letter, peer)
        else:
            connection, _ = key.fileobj.accept()
            connection.sendall(original(connection) if letter == b"=" else letter)
            connection.close()
"""

ASK = r"""
import os, socket, sys
kind, address, port, uid, source = sys.argv[1:]
if uid != "0":
    os.setgroups([])
    os.setuid(int(uid))
family = socket.AF_INET6 if ":" in address else socket.AF_INET
one = socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
one.settimeout(1)
try:
    if source:
        one.bind((source, 0))
    if kind == "udp":
        one.sendto(b"?", (address, int(port)))
        letter, peer = one.recvfrom(16)
        assert peer[:2] == (address, int(port)), peer
    else:
        one.connect((address, int(port)))
        letter = one.recv(64)
    print(letter.decode())
except OSError as error:
    print("refused" if isinstance(error, ConnectionRefusedError) else "nobody")
"""


class Scene:
    """The namespaces, and what listens in them."""

    def __init__(self):
        self.programs = []
        self.namespaces = {}
        for name in ("host", "peer", "virtual"):
            sleeper = subprocess.Popen(["unshare", "--net", "sh", "-c", "ip link set lo up; echo; exec sleep 1000"],
                                       stdout=subprocess.PIPE)
            sleeper.stdout.readline()
            self.programs.append(sleeper)
            self.namespaces[name] = sleeper.pid
        self._connect("eth0", "peer", 77)
        self._connect("br0", "virtual", 78)
        self.sh("host", "ip", "addr", "add", "::2/128", "dev", "lo", "nodad")
        self.sh("host", "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        self.sh("peer", "ip", "route", "add", "10.78.0.0/24", "via", HOST[4])
        self.sh("peer", "ip", "route", "add", "fd78::/64", "via", HOST[6])
        for family in (4, 6):
            self.sh("peer", "ip", "addr", "add", f"{OTHER[family]}/{24 if family == 4 else 64}", "dev", "to-host",
                    *(["nodad"] if family == 6 else []))
        self._serve_all()

    def _connect(self, device, other, number):
        sh("ip", "link", "add", device, "netns", str(self.namespaces["host"]), "type", "veth",
           "peer", "name", "to-host", "netns", str(self.namespaces[other]))
        for where, link, last in (("host", device, 1), (other, "to-host", 2)):
            self.sh(where, "ip", "addr", "add", f"10.{number}.0.{last}/24", "dev", link)
            self.sh(where, "ip", "addr", "add", f"fd{number}::{last}/64", "dev", link, "nodad")
            self.sh(where, "ip", "link", "set", link, "up")
        self.sh(other, "ip", "route", "add", "default", "via", f"10.{number}.0.1")
        self.sh(other, "ip", "-6", "route", "add", "default", "via", f"fd{number}::1")

    def _serve_all(self):
        for letter, port in (("I", 15006), ("O", 15001)):
            self.serve("host", letter, f"tcp/0.0.0.0/{port}", f"tcp/::/{port}", uid=USER)
        self.serve("host", "=", *(f"tcp/{any_}/{port}" for any_ in ("0.0.0.0", "::") for port in (16001, 16006)))
        # UDP answers must come from the address that was asked: a socket for each.
        self.serve("host", "D", *(f"{kind}/{address}/15053" for kind in ("udp", "tcp")
                                  for address in (*LOOPBACK.values(), *VIRTUAL.values())))
        self.serve("host", "A", *(f"tcp/{any_}/{port}" for any_ in ("0.0.0.0", "::") for port in (80, 443, 8080)))
        self.serve("peer", "P", *(f"{kind}/{address}/{port}" for kind in ("udp", "tcp") for port in (53, 80, 443, 8080)
                                  for address in (*PEER.values(), *OTHER.values())))
        self.serve("virtual", "U", "tcp/0.0.0.0/80", "tcp/::/80")

    def command(self, where, *words):
        return ["nsenter", f"--net=/proc/{self.namespaces[where]}/ns/net", *words]

    def sh(self, where, *words, **options):
        return sh(*self.command(where, *words), **options)

    def serve(self, where, letter, *what, uid=0):
        words = self.command(where, *(["setpriv", f"--reuid={uid}", "--clear-groups"] if uid and
                                      namespaces.has_other_users() else []))
        program = subprocess.Popen([*words, sys.executable, "-c", SERVE, letter, *what], stdout=subprocess.PIPE)
        self.programs.append(program)
        assert program.stdout.readline(), what

    def ask(self, address, port=80, kind="tcp", where="host", uid=0, source=""):
        """Who answers."""
        return self.sh(where, sys.executable, "-c", ASK, kind, address, str(port), str(uid), source).strip()

    def kuma_dns(self, *words, where="host", environment=None):
        """(exit status, standard output, standard error)."""
        done = subprocess.run(self.command(where, daemons.binary(), *words), capture_output=True, text=True,
                              check=False, timeout=20, env={**os.environ, **(environment or {})})
        return done.returncode, done.stdout, done.stderr

    def install(self, *flags, config="", environment=None):
        """Install, with Kuma's user and this text as the file."""
        with tempfile.NamedTemporaryFile("w", dir="/run", suffix=".yaml") as file:
            file.write("kumaDPUser: \"5678\"\n" + config)
            file.flush()
            status, out, err = self.kuma_dns("install", "--config", file.name, *flags, environment=environment)
        assert status == 0 and out.startswith("installed") and "Sanitizer" not in err, (out, err)
        return out

    def rules(self):
        return self.sh("host", "nft", "-s", "list", "ruleset")

    def flows(self):
        return self.sh("host", "conntrack", "-L", "-o", "extended")

    def reset(self):
        if "::6/128" in self.sh("host", "ip", "-6", "addr", "show", "dev", "lo"):
            self.sh("host", "ip", "addr", "del", "::6/128", "dev", "lo")
        self.sh("host", "nft", "flush", "ruleset")
        self.sh("host", "conntrack", "-F")

    def close(self):
        for program in self.programs:
            program.kill()
            program.wait()
            program.stdout.close()


@pytest.fixture(scope="module")
def module_scene(network):  # pylint: disable=unused-argument
    one = Scene()
    yield one
    one.close()


@pytest.fixture
def scene(module_scene):  # pylint: disable=redefined-outer-name
    module_scene.reset()
    yield module_scene
    module_scene.reset()


@contextlib.contextmanager
def resolv_conf(*servers):
    with tempfile.NamedTemporaryFile("w", dir="/run") as file:
        file.write("".join(f"nameserver {server}\n" for server in servers))
        file.flush()
        yield file.name


# The command


def test_without_rules_everything_is_direct(scene):
    for family in (4, 6):
        assert scene.ask(PEER[family]) == "P" and scene.ask(HOST[family], where="peer") == "A"
        assert scene.ask(PEER[family], 53, "udp") == "P"


def test_install_says_what_it_did_and_can_be_repeated(scene):
    first = scene.install("--capture-all")
    assert first == ("installed: all of port 53, IPv4 and IPv6, UDP and TCP, to port 15053; inbound TCP to port 15006; "
                     "outbound TCP to port 15001, except of UID 5678\n")
    rules = scene.rules()
    assert scene.install("--capture-all") == first.replace("installed:", "installed already:")
    assert scene.rules() == rules and "flags" not in rules
    assert scene.install().startswith("installed anew: ")
    assert scene.install("--capture-all") == first.replace("installed:", "installed anew:")
    assert scene.rules() == rules
    assert scene.kuma_dns("uninstall") == (0, "uninstalled\n", "")
    assert scene.kuma_dns("uninstall") == (0, "nothing was installed\n", "")
    assert scene.rules() == ""


def test_uninstall_leaves_others_alone(scene):
    scene.sh("host", "nft", "-f", "-", input="table inet kuma_dnsx { chain c { }; }\ntable ip kuma_dns_installed {}\n")
    before = scene.rules()
    scene.install()
    assert scene.kuma_dns("uninstall")[0] == 0
    assert scene.rules() == before


FULL = """
redirect:
  inbound: {excludePorts: "22,9000", excludePortsForIPs: [10.9.0.0/15, "fd09::/16"]}
  outbound: {excludePorts: 25, excludePortsForUIDs: ["1000-2000", "tcp:80-90:7", "udp:53:9", "443:8"],
             excludePortsForIPs: [10.1.0.0/16, "fd01::1", "::/1"]}
  dns: {enabled: true}
  vnet: {networks: ["docker0:172.17.0.0/16", "br+:fd00::/64"]}
dropInvalidPackets: true
log: {enabled: true, level: 7}
"""


@pytest.mark.parametrize("config", [FULL, FULL + "comments: {disabled: true}\nipFamilyMode: ipv4\n",
                                    "redirect: {dns: {captureAll: true, skipConntrackZoneSplit: true}}\n",
                                    "redirect: {dns: {enabled: false}, inbound: {enabled: false}}\n"])
def test_dry_run_prints_what_is_installed_and_changes_nothing(scene, config):
    with tempfile.NamedTemporaryFile("w", dir="/run") as file, resolv_conf(PEER[4], PEER[6]) as servers:
        file.write("kumaDPUser: 5678\n" + config)
        file.flush()
        flags = ("--config", file.name, "--resolv-conf", servers)
        status, text, err = scene.kuma_dns("install", *flags, "--dry-run")
        assert status == 0 and not err and scene.rules() == ""
        scene.sh("host", "nft", "-c", "-f", "-", input=text)
        assert scene.rules() == ""
        scene.sh("host", "nft", "-f", "-", input=text)
        expected = scene.rules()
        scene.reset()
        assert scene.kuma_dns("install", *flags)[0] == 0
        assert scene.rules() == expected and expected.startswith(INSTALLED)
    status, text, _ = scene.kuma_dns("uninstall", "--dry-run")
    assert status == 0 and scene.rules() == expected
    scene.sh("host", "nft", "-f", "-", input=text)
    assert scene.rules() == ""


def test_dry_run_needs_no_privileges(network):  # pylint: disable=unused-argument
    done = clients.run("setpriv", "--bounding-set=-all", "--inh-caps=-all", daemons.binary(), "install",
                       "--kuma-dp-user", "5678", "--dry-run")
    assert done[0] == 0 and "redirect to :15006" in done[1]
    done = clients.run("setpriv", "--bounding-set=-all", "--inh-caps=-all", daemons.binary(), "install",
                       "--kuma-dp-user", "5678")
    assert done[0] == 1 and "CAP_NET_ADMIN" in done[1] and "--no-redirect" not in done[1]


def test_another_network_namespace(scene):
    path = f"/proc/{scene.namespaces['host']}/ns/net"
    status, out, err = scene.kuma_dns("install", "--kuma-dp-user", "5678", "--netns", path, where="virtual")
    assert status == 0 and out.startswith("installed:"), err
    assert INSTALLED in scene.rules() and not scene.sh("virtual", "nft", "list", "ruleset")
    assert scene.kuma_dns("uninstall", "--netns", path, where="virtual")[1] == "uninstalled\n"
    assert not scene.rules()
    for wrong in ("/nonexistent", "/etc/passwd"):
        status, out, err = scene.kuma_dns("install", "--kuma-dp-user", "5678", "--netns", wrong)
        assert status == 1 and not out and f"netns: found {wrong}, expected a network namespace" in err


@pytest.mark.parametrize("flags,words", [
    (("--kuma-dp-user", "nosuch"), ["kumaDPUser", "nosuch"]),
    (("--exclude-inbound-ports", "http"), ["--exclude-inbound-ports", "http", "80,443"]),
    (("--exclude-outbound-ports-for-uids", "tcp:1:root"), ["tcp:1:root", "PROTOCOL:PORTS:UIDS"]),
    (("--vnet", "docker0"), ["docker0", "INTERFACE:NETWORK"]),
])
def test_errors_leave_the_rules_of_before(scene, flags, words):
    scene.install()
    before = scene.rules()
    status, out, err = scene.kuma_dns("install", *flags)
    assert status == 2 and not out and all(word in err for word in words), err
    assert scene.rules() == before


# TCP


@FAMILIES
def test_tcp_goes_to_envoy(scene, family):
    scene.install()
    assert scene.ask(PEER[family]) == "O" and scene.ask(PEER[family], 9) == "O"
    assert scene.ask(HOST[family], where="peer") == "I" and scene.ask(HOST[family], 9, where="peer") == "I"
    assert scene.ask(LOOPBACK[family]) == "A" and scene.ask(HOST[family]) == "A"
    assert re.search(rf"tcp .*dst={PEER[family]} .*dport=9 src={HOST[family] if family == 0 else LOOPBACK[family]} "
                     r".*sport=15001", scene.flows()), scene.flows()
    scene.kuma_dns("uninstall")
    assert scene.ask(PEER[family]) == "P" and scene.ask(HOST[family], where="peer") == "A"


@FAMILIES
def test_envoy_sees_where_tcp_was_to_go(scene, family):
    """SO_ORIGINAL_DST, at any port of Envoy and to any address and port."""
    scene.install("--redirect-outbound-port", "16001", "--redirect-inbound-port", "16006")
    for address, port in ((PEER[family], 80), (OTHER[family], 9), (NOBODY[family], 65535)):
        assert scene.ask(address, port) == f"{address} {port}"
    for port in (1, 8080):
        assert scene.ask(HOST[family], port, where="peer") == f"{HOST[family]} {port}"
    assert scene.ask(LOOPBACK[family]) == "A"


@FAMILIES
@OTHERS
def test_envoy_reaches_the_world_and_its_own_services(scene, family):
    scene.install()
    assert scene.ask(PEER[family], uid=USER) == "P"
    assert scene.ask(LOOPBACK[family], uid=USER) == "A"
    assert scene.ask(HOST[family], uid=USER) == "I" and scene.ask(SECOND[family], uid=USER) == "I"
    assert scene.ask(PEER[family], uid=1000) == "O"


@OTHERS
def test_what_envoy_passes_on_from_its_own_address_is_not_redirected(scene):
    for _ in range(2):
        scene.install()
        assert scene.ask(HOST[4], uid=USER, source="127.0.0.6") == "A"
        assert scene.ask(HOST[6], uid=USER, source="::6") == "A"  # install gives the host this address


@pytest.mark.parametrize("flags", [("--redirect-inbound=false",), ("--ip-family-mode", "ipv4"), ("--dry-run",)])
def test_the_host_gets_no_address_without_need(scene, flags):
    assert scene.kuma_dns("install", "--kuma-dp-user", "5678", *flags)[0] == 0
    assert "::6/128" not in scene.sh("host", "ip", "-6", "addr", "show", "dev", "lo")


@FAMILIES
def test_excluded_and_included_ports(scene, family):
    scene.install("--exclude-inbound-ports", "443,8080", "--exclude-outbound-ports", "443")
    assert [scene.ask(HOST[family], port, where="peer") for port in (80, 443, 8080)] == ["I", "A", "A"]
    assert [scene.ask(PEER[family], port) for port in (80, 443, 8080)] == ["O", "P", "O"]
    scene.install(config="redirect:\n  inbound: {includePorts: 443, excludePorts: [443]}\n"
                         "  outbound: {includePorts: '80,8080'}\n")
    assert [scene.ask(HOST[family], port, where="peer") for port in (80, 443, 8080)] == ["A", "I", "A"]
    assert [scene.ask(PEER[family], port) for port in (80, 443, 8080)] == ["O", "P", "O"]


@FAMILIES
def test_directions_can_be_switched_off_and_moved(scene, family):
    scene.install(environment={"KUMA_TRANSPARENT_PROXY_REDIRECT_INBOUND_ENABLED": "false"})
    assert scene.ask(PEER[family]) == "O" and scene.ask(HOST[family], where="peer") == "A"
    scene.install("--redirect-outbound=false", "--redirect-inbound-port", "15001")
    assert scene.ask(PEER[family]) == "P" and scene.ask(HOST[family], where="peer") == "O"


@FAMILIES
def test_excluded_addresses(scene, family):
    length = {4: 32, 6: 127}[family]  # fd77::2 and fd77::3
    scene.install("--capture-all", "--exclude-outbound-ips", f"{PEER[family]}/{length}",
                  "--exclude-inbound-ips", PEER[family])
    assert scene.ask(PEER[family]) == "P" and scene.ask(PEER[family], 53, "udp") == "P"
    assert scene.ask(OTHER[family]) == ("O" if family == 4 else "P")
    assert scene.ask(OTHER[family], 53, "udp") == ("D" if family == 4 else "P")
    assert scene.ask(HOST[family], where="peer", source=PEER[family]) == "A"
    assert scene.ask(HOST[family], where="peer", source=OTHER[family]) == "I"


@FAMILIES
@OTHERS
@pytest.mark.parametrize("exclusion,excluded", [
    # of UIDs 1000 and 1003: TCP to 80, TCP to 443, UDP to 53, TCP to 53
    ("1000", "P P P P O O D D"),
    ("1000-1003", "P P P P P P P P"),
    ("80:1000", "P O D D O O D D"),
    ("*:1003", "O O D D P P P P"),
    ("tcp:*:1000", "P P D P O O D D"),
    ("udp:53:1000-1001", "O O P D O O D D"),
    ("53-100:999-1000", "P O P P O O D D"),
    ("tcp:53,443:1003", "O O D D O P D P"),
])
def test_excluded_users(scene, family, exclusion, excluded):
    scene.install("--capture-all", "--exclude-outbound-ports-for-uids", exclusion)
    questions = ((80, "tcp"), (443, "tcp"), (53, "udp"), (53, "tcp"))
    found = [scene.ask(PEER[family], port, kind, uid=uid) for uid in (1000, 1003) for port, kind in questions]
    assert " ".join(found) == excluded


def test_users_of_inbound_are_accepted_with_a_warning(scene):
    environment = {"KUMA_TRANSPARENT_PROXY_REDIRECT_INBOUND_EXCLUDE_PORTS_FOR_UIDS": "tcp:80:1000"}
    status, out, err = scene.kuma_dns("install", "--kuma-dp-user", "5678", environment=environment)
    assert status == 0 and out.startswith("installed") and "excludePortsForUIDs: what comes in has no user" in err
    assert scene.ask(HOST[4], where="peer") == "I"


# DNS


@FAMILIES
def test_dns_of_listed_servers(scene, family):
    with resolv_conf(PEER[family]) as servers:
        scene.install("--resolv-conf", servers)
    for kind in ("udp", "tcp"):
        assert scene.ask(PEER[family], 53, kind) == "D"
        assert scene.ask(OTHER[family], 53, kind) == "P"  # not even TCP goes to Envoy
        assert scene.ask(PEER[10 - family], 53, kind) == "P"
    zones = {line.split("zone=")[1][0] if "zone=" in line else "" for line in scene.flows().splitlines()
             if "sport=15053" in line}
    assert zones == {"2"}, scene.flows()


@FAMILIES
def test_dns_over_tcp_can_be_left_alone(scene, family):
    network = {4: "br+:10.78.0.0/24", 6: "br0:fd78::/64"}[family]
    scene.install("--capture-all", "--no-redirect-dns-tcp", "--vnet", network)
    assert scene.ask(PEER[family], 53, "udp") == "D" and scene.ask(PEER[family], 53) == "P"
    assert scene.ask(PEER[family], 53, "udp", where="virtual") == "D"
    assert scene.ask(PEER[family], 53, where="virtual") == "O"  # as all TCP


@FAMILIES
@OTHERS
def test_dns_over_tcp_of_envoy_does_not_turn_inbound(scene, family):
    scene.install("--capture-all")
    assert scene.ask(SECOND[family], 53, uid=USER) == "refused"
    scene.install("--no-redirect-dns")
    assert scene.ask(SECOND[family], 53, uid=USER) == "I"


@OTHERS
def test_dns_of_kumas_user_goes_direct(scene):
    scene.install("--capture-all")
    for family in (4, 6):
        for kind in ("udp", "tcp"):
            assert scene.ask(PEER[family], 53, kind, uid=USER) == "P"
            assert scene.ask(PEER[family], 53, kind) == "D"


def test_ipv4_mode_leaves_ipv6_alone(scene):
    scene.install("--capture-all", "--ip-family-mode", "ipv4")
    assert scene.ask(PEER[4]) == "O" and scene.ask(PEER[4], 53, "udp") == "D"
    assert scene.ask(HOST[4], where="peer") == "I" and scene.ask(HOST[6], where="peer") == "A"
    assert scene.ask(PEER[6]) == "P" and scene.ask(PEER[6], 53, "udp") == "P" and scene.ask(PEER[6], 53) == "P"


@FAMILIES
def test_virtual_networks(scene, family):
    network = {4: "br+:10.78.0.0/24", 6: "br0:fd78::/64"}[family]
    scene.install("--capture-all", "--vnet", network)
    for kind in ("udp", "tcp"):
        assert scene.ask(PEER[family], 53, kind, where="virtual") == "D"
        assert scene.ask(VIRTUAL[family], 53, kind, where="virtual") == "D"
    assert scene.ask(PEER[family], where="virtual") == "O"
    assert scene.ask(VIRTUAL[family], where="virtual") == "I"  # inside it: inbound
    assert scene.ask(BEHIND[family], where="peer") == "I"
    scene.install("--capture-all", "--vnet", network.replace("br", "docker"))
    assert scene.ask(PEER[family], 53, "udp", where="virtual") == "P"
    assert scene.ask(PEER[family], where="virtual") == "I"
    one = f"br+:{BEHIND[family]}/{32 if family == 4 else 128}"  # a network of one address
    scene.install("--capture-all", "--vnet", one)
    assert scene.ask(VIRTUAL[family], where="virtual") == "O" and scene.ask(PEER[family], where="virtual") == "O"


def test_invalid_packets_are_dropped(scene):
    # An acknowledgement that belongs to no connection, once conntrack does not pick such up.
    scene.sh("host", "sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_loose=0")
    for config, resets in (("", True), ("dropInvalidPackets: true\n", False)):
        scene.install("--capture-all", config=config)
        sender = scene.sh("peer", sys.executable, "-c", ACK, PEER[4], HOST[4])
        assert (sender.strip() == "reset") == resets, sender
        for family in (4, 6):
            assert scene.ask(PEER[family]) == "O" and scene.ask(PEER[family], 53, "udp") == "D"
            assert scene.ask(PEER[family], 53) == "D" and scene.ask(HOST[family], where="peer") == "I"


ACK = r"""
import socket, struct, sys
source, target = (socket.inet_aton(word) for word in sys.argv[1:])
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
raw.settimeout(1)
segment = struct.pack("!HHIIBBHHH", 4567, 8080, 1, 1, 5 << 4, 0x10, 1000, 0, 0)
words = struct.unpack("!16H", source + target + struct.pack("!BBH", 0, 6, 20) + segment)
total = sum(words)
total = (total & 0xffff) + (total >> 16)
total = (total & 0xffff) + (total >> 16)
raw.sendto(segment[:16] + struct.pack("!H", 0xffff - total) + segment[18:], (sys.argv[2], 0))
try:
    while True:
        packet = raw.recv(100)
        header = (packet[0] & 15) * 4
        if packet[header:header + 4] == struct.pack("!HH", 8080, 4567):
            print("reset" if packet[header + 13] & 4 else "other")
            break
except OSError:
    print("nothing")
"""


def test_packets_are_logged_where_asked(scene):
    scene.install("--iptables-logs")
    assert 'log prefix "kuma-dns out: " level debug' in scene.rules()
    assert scene.ask(PEER[4]) == "O"


COUNT = r"""
import os, socket, sys
address, uid = sys.argv[1:]
if uid != "0":
    os.setgroups([])
    os.setuid(int(uid))
counts = {}
for _ in range(1000):
    while True:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.settimeout(2)
            try:
                one.connect((address, 53))
            except OSError:  # all three ports are in use
                continue
            one.send(b"?")
            letter = one.recv(16).decode()
            counts[letter] = counts.get(letter, 0) + 1
            break
print(counts)
"""


def assert_each_in_its_zone(scene, family, servers):
    """conntrack's table: of each port towards each server one flow that is redirected, in zone 2 on both ways, and
    one that is direct, in none."""
    direct, redirected = set(), set()
    for line in scene.flows().splitlines():
        if "dport=53 " not in line:
            continue
        address, port = re.search(r"dst=(\S+) sport=(\d+) dport=53 ", line).groups()
        answered = re.search(r"dport=53 .*src=(\S+) dst=\S+ sport=(\d+) dport", line).groups()
        assert "zone-orig" not in line and "zone-reply" not in line, line
        found = redirected if "zone=2" in line else direct
        assert answered == ((LOOPBACK[family], "15053") if found is redirected else (address, "53")), line
        assert address in servers and (address, port) not in found, line
        found.add((address, port))
    ports = {"32768", "32769", "32770"}
    assert {port for _, port in direct} <= ports
    assert direct & redirected, "the same addresses and ports, in both zones"
    return direct, redirected


@FAMILIES
@OTHERS
@pytest.mark.parametrize("listed", [False, True], ids=["all", "listed"])
def test_users_with_the_same_few_ports_do_not_take_each_others_answers(scene, family, listed):
    """With a list of servers, a third asks one that is not on it."""
    with resolv_conf(PEER[family]) as servers:
        scene.install(*(("--resolv-conf", servers) if listed else ("--capture-all",)))
    scene.sh("host", "sysctl", "-qw", "net.ipv4.ip_local_port_range=32768 32770")
    questions = [(USER, PEER[family]), (1000, PEER[family])] + [(1000, OTHER[family])] * listed
    asking = [subprocess.Popen(scene.command("host", sys.executable, "-c", COUNT, address, str(uid)),
                               stdout=subprocess.PIPE, text=True) for uid, address in questions]
    counts = [one.communicate(timeout=60)[0].strip() for one in asking]
    scene.sh("host", "sysctl", "-qw", "net.ipv4.ip_local_port_range=32768 60999")
    assert counts == ["{'P': 1000}", "{'D': 1000}", "{'P': 1000}"][:len(questions)]
    direct, redirected = assert_each_in_its_zone(scene, family, {address for _, address in questions})
    assert {address for address, _ in redirected} == {PEER[family]}
    assert {address for address, _ in direct} == {address for _, address in questions}


@FAMILIES
def test_daemon_answers_virtual_networks(scene, family):
    with tempfile.TemporaryDirectory(dir="/run") as directory:
        with open(f"{directory}/table", "w", encoding="ascii") as file:
            file.write('{"records": [{"name": "redis.mesh", "ips": ["241.0.0.1"]}], "ttl": 30}')
        words = [daemons.binary(), "run", "--capture-all", "--vnet", "br+:10.78.0.0/24", "--vnet", "br+:fd78::/64",
                 "--table-file", f"{directory}/table", "--admin-socket", f"{directory}/admin", "--upstream", PEER[4],
                 "--no-loop-probe", "--port", "15054"]
        for listen, answer, warned in (("127.0.0.1", False, True), ("0.0.0.0", family == 4, False),
                                       ("[::]", family == 6, False)):
            with open(f"{directory}/log", "w+", encoding="utf-8") as log:
                with subprocess.Popen(scene.command("host", *words, "--listen", f"{listen}:15054"), stderr=log) as one:
                    daemons.eventually(lambda: "redirecting" in open(f"{directory}/log", encoding="utf-8").read())
                    for options in ((), ("+tcp",)):
                        _, text = clients.run(*scene.command("virtual", "dig", "+time=1", "+tries=1", "+short",
                                                             *options, f"@{PEER[family]}", "redis.mesh"))
                        assert (text == "241.0.0.1\n") == answer, (listen, text)
                    one.terminate()
                log.seek(0)
                assert ("queries from there reach us only where listen" in log.read()) == warned


# Daemons beside installed rules


def test_daemon_without_rules_serves_what_installed_ones_redirect(mesh):
    sh(daemons.binary(), "install", "--kuma-dp-user", "5678", "--redirect-inbound=false", "--redirect-outbound=false")
    one = mesh.start("--no-redirect")
    for tcp in (False, True):
        assert clients.addresses_of(clients.ask("redis.svc.mesh.local", server=namespaces.RECURSIVE[4], tcp=tcp))
        assert clients.rcode(clients.ask("www.example.org", server=namespaces.RECURSIVE[4], tcp=tcp)) == "NOERROR"
    assert one.metric("kuma_dp_dns_queries_total", qtype="A", source="upstream") == 2
    assert one.stop() == 0
    assert sh("nft", "list", "tables") == INSTALLED + "\n"
    assert sh(daemons.binary(), "uninstall") == "uninstalled\n"


def test_daemon_with_rules_beside_installed_ones(mesh):
    sh(daemons.binary(), "install", "--kuma-dp-user", "5678", "--redirect-inbound=false", "--redirect-outbound=false")
    one = mesh.start()
    assert sh("nft", "list", "tables") == "table inet kuma_dns_installed\ntable inet kuma_dns\n"
    for name, source in (("redis.svc.mesh.local", "local"), ("www.example.org", "upstream")):
        assert clients.rcode(clients.ask(name, server=namespaces.RECURSIVE[4])) == "NOERROR"
        assert one.metric("kuma_dp_dns_queries_total", qtype="A", source=source) == 1
    assert one.stop() == 0
    assert sh("nft", "list", "tables") == INSTALLED + "\n"
    two = mesh.start("--no-redirect")
    assert clients.rcode(clients.ask("www.example.org", server=namespaces.RECURSIVE[4])) == "NOERROR"
    assert two.stop() == 0
    sh(daemons.binary(), "uninstall")


def test_daemon_redirects_tcp_only_where_it_is_spoken_of(mesh):
    mesh.start()
    assert "15001" not in sh("nft", "list", "ruleset")
    mesh.daemons[0].stop()
    mesh.start(config={"kumaDPUser": "5678", "redirect": {"outbound": {"excludePorts": "80"}}})
    rules = sh("nft", "list", "ruleset")
    assert "redirect to :15001" in rules and "15006" not in rules
