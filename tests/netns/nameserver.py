# SPDX-License-Identifier: Apache-2.0
"""Real name servers for the upstream namespace: NSD has the zones, unbound resolves by asking NSD.

For what no good server does, Scripted is one whose answers a test writes.
"""

import contextlib
import pathlib
import socket
import subprocess
import threading
import time

import dns.exception
import dns.message
import dns.query

from namespaces import AUTHORITATIVE, RECURSIVE, SCRIPTED

ROOT_ZONE = """
$TTL 3600
.              SOA ns.root.invalid. hostmaster.root.invalid. 1 3600 600 86400 60
.              NS  ns.root.invalid.
ns.root.invalid. A 10.53.0.3
example.org.   NS  ns.example.org.
ns.example.org. A  10.53.0.3
"""

EXAMPLE_ZONE = """
$TTL 300
@       SOA ns hostmaster 1 3600 600 86400 60
@       NS    ns
@       MX    10 mail
@       A     192.0.2.1
ns      A     10.53.0.3
ns      AAAA  fd53::3
www     A     192.0.2.80
www     AAAA  2001:db8::80
www     HTTPS 1 . alpn=h2,h3 ipv4hint=192.0.2.80
v4only  A     192.0.2.4
mail    A     192.0.2.25
alias   CNAME alias2
alias2  CNAME alias3
alias3  CNAME www
_sip._tcp SRV 10 5 5060 www
odd     TYPE65534 \\# 5 0102030405
*.wild  A     192.0.2.99
; Also a name of the mesh, which must win.
db      A     192.0.2.66
db      TXT   "public"
db      HTTPS 1 . ipv4hint=192.0.2.66
; Over 512 octets; over 1232 octets; and what needs TCP whatever the size asked for.
medium  TXT   {medium}
large   TXT   {large}
huge    TXT   {huge}
{many}
"""

_NSD = """
server:
    ip-address: {a4}
    ip-address: {a6}
    username: ""
    zonesdir: {dir}
    xfrdir: {dir}
    xfrdfile: {dir}/xfrd.state
    zonelistfile: {dir}/zone.list
    pidfile: {dir}/nsd.pid
    database: ""
    server-count: 1
    rrl-ratelimit: 0
    tcp-count: 100
zone:
    name: .
    zonefile: root.zone
zone:
    name: example.org
    zonefile: example.zone
remote-control:
    control-enable: no
"""

_UNBOUND = """
server:
    interface: {r4}
    interface: {r6}
    access-control: 0.0.0.0/0 allow
    access-control: ::/0 allow
    username: ""
    chroot: ""
    directory: {dir}
    pidfile: {dir}/unbound.pid
    use-syslog: no
    module-config: iterator
    do-not-query-localhost: no
    edns-buffer-size: 1232
    num-threads: 1
    ip-ratelimit: 0
    local-zone: "2.0.192.in-addr.arpa." static
    local-data-ptr: "192.0.2.80 www.example.org"
stub-zone:
    name: .
    stub-addr: {a4}
stub-zone:
    name: example.org
    stub-addr: {a4}
remote-control:
    control-enable: no
"""


def _strings(octets):
    """Character strings of TXT that add up to about so many octets."""
    return " ".join(f'"{number:03d}{"x" * 197}"' for number in range(octets // 200))


def _await_answer(process, address, qname):
    query = dns.message.make_query(qname, "SOA")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args[0]} ended with status {process.returncode}")
        try:
            dns.query.udp(query, address, timeout=0.1)
            return
        except (dns.exception.Timeout, OSError):
            time.sleep(0.02)
    raise RuntimeError(f"{process.args[0]} does not answer")


def _start(network, directory, config, command):
    with network.upstream():
        with open(directory / (command[0] + ".log"), "wb") as log:
            (directory / f"{command[0]}.conf").write_text(config)
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                    cwd=directory)


def start_nsd(network, directory):
    """The authoritative server, answering when this returns."""
    directory = pathlib.Path(directory)
    (directory / "root.zone").write_text(ROOT_ZONE)
    many = "\n".join(f"many A 192.0.2.{number}" for number in range(100, 140))
    (directory / "example.zone").write_text("$ORIGIN example.org.\n" + EXAMPLE_ZONE.format(
        medium=_strings(800), large=_strings(2400), huge=_strings(20000), many=many))
    config = _NSD.format(dir=directory, a4=AUTHORITATIVE[4], a6=AUTHORITATIVE[6])
    process = _start(network, directory, config, ["nsd", "-d", "-c", str(directory / "nsd.conf")])
    _await_answer(process, AUTHORITATIVE[4], "example.org.")
    return process


def start_unbound(network, directory):
    """The resolver, answering when this returns; after start_nsd."""
    directory = pathlib.Path(directory)
    config = _UNBOUND.format(dir=directory, r4=RECURSIVE[4], r6=RECURSIVE[6], a4=AUTHORITATIVE[4])
    process = _start(network, directory, config,
                     ["unbound", "-d", "-c", str(directory / "unbound.conf")])
    _await_answer(process, RECURSIVE[4], "example.org.")
    return process


class Scripted:
    """A server whose answers come from `answer(query, tcp)`: a list of messages or octets; None: silence.

    `queries` are the questions seen: (message, requestor's address, over TCP).
    """

    def __init__(self, network, address=SCRIPTED[4], upstream=True):
        self.address = address
        self.answer = lambda query, tcp: None
        self.queries = []
        self._changed = threading.Condition()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with network.upstream() if upstream else contextlib.nullcontext():
            self._udp = socket.socket(family, socket.SOCK_DGRAM)
            self._tcp = socket.socket(family, socket.SOCK_STREAM)
        for one in (self._udp, self._tcp):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((address, 53))
        self._tcp.listen(16)
        threading.Thread(target=self._serve_udp, daemon=True).start()
        threading.Thread(target=self._serve_tcp, daemon=True).start()

    def close(self):
        for one in (self._udp, self._tcp):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for it
            one.close()

    def wait_queries(self, count, timeout=5):
        """Wait until `count` queries in all have been seen."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.queries) >= count, timeout):
                raise TimeoutError(f"{len(self.queries)} of {count} queries in {timeout} s")

    def reply(self, requestor, query, **options):
        """Send a late answer over UDP."""
        self._udp.sendto(dns.message.make_response(query, **options).to_wire(), requestor)

    def _answers(self, octets, requestor, tcp):
        query = dns.message.from_wire(octets)
        with self._changed:
            self.queries.append((query, requestor, tcp))
            self._changed.notify_all()
        for answer in self.answer(query, tcp) or []:
            yield answer if isinstance(answer, bytes) else answer.to_wire()

    def _serve_udp(self):
        while True:
            try:
                octets, requestor = self._udp.recvfrom(65535)
            except OSError:
                return
            if not requestor:
                return  # closed
            for answer in self._answers(octets, requestor, False):
                self._udp.sendto(answer, requestor)

    def _serve_tcp(self):
        while True:
            try:
                connection, requestor = self._tcp.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection, requestor), daemon=True).start()

    def _talk(self, connection, requestor):
        with connection, connection.makefile("rb") as stream:
            while len(size := stream.read(2)) == 2:
                octets = stream.read(int.from_bytes(size, "big"))
                for answer in self._answers(octets, requestor, True):
                    connection.sendall(len(answer).to_bytes(2, "big") + answer)
