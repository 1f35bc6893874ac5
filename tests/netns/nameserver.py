# SPDX-License-Identifier: Apache-2.0
"""Real name servers for the upstream namespace: NSD has the zones, unbound resolves by asking NSD.

For what no good server does, Scripted is one whose answers a test writes.
"""

import contextlib
import os
import pathlib
import socket
import subprocess
import tempfile
import threading
import time

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset

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

_SMALL_NSD = """
server:
    ip-address: {address}
    username: ""
    zonesdir: {dir}
    xfrdir: {dir}
    xfrdfile: {dir}/xfrd.state
    zonelistfile: {dir}/zone.list
    pidfile: {dir}/nsd.pid
    database: ""
    server-count: 1
    rrl-ratelimit: 0
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

_FORWARDING_UNBOUND = """
server:
    interface: {address}@{port}
    access-control: 0.0.0.0/0 allow
    username: ""
    chroot: ""
    directory: {dir}
    pidfile: {dir}/unbound.pid
    use-syslog: no
    module-config: iterator
    do-not-query-localhost: no
    num-threads: 1
forward-zone:
    name: .
{servers}
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


class Wait:
    """In the list of answers: the next one comes after so many seconds."""

    def __init__(self, seconds):
        self.seconds = seconds


class Elsewhere:
    """In the list of answers, UDP: one that does not come from where it was asked for."""

    def __init__(self, message, address=None):
        self.message, self.address = message, address


class Raw:
    """In the list of answers, TCP: octets that are no frame."""

    def __init__(self, octets):
        self.octets = octets


CLOSE = Raw(b"")  # in the list of answers, TCP: the connection ends here


def response_to(message, *lines, code=dns.rcode.NOERROR, truncated=False, soa=None, ttl=60):
    """An answer of a scripted server; `soa` is the zone of a negative one, of these `ttl` seconds."""
    answer = dns.message.make_response(message, recursion_available=True)
    answer.set_rcode(code)
    for line in lines:
        answer.answer.append(dns.rrset.from_text(*line))
    if soa:
        rdata = f"ns.{soa} hostmaster.{soa} 1 3600 600 86400 {ttl}"
        answer.authority.append(dns.rrset.from_text(soa, ttl, "IN", "SOA", rdata))
    if truncated:
        answer.flags |= dns.flags.TC
    return answer


GOOD = ["192.0.2.80"]


def good_answer(message, _tcp=False, ttl=60, addresses=GOOD):
    """A for whatever is asked, of any type."""
    return [response_to(message, (message.question[0].name, ttl, "IN", "A", *addresses))]


def failing(code):
    """Says nothing but this RCODE."""
    return lambda message, tcp: [response_to(message, code=dns.rcode.from_text(code))]


def silent(_message, _tcp):
    """Says nothing."""
    return None


def slowly(seconds, answer=good_answer):
    return lambda message, tcp: [Wait(seconds), *answer(message, tcp)]


def relay_to(server):
    """Asks a real server: what this one says then can be counted."""
    def answer(message, tcp):
        ask = dns.query.tcp if tcp else dns.query.udp
        return [ask(message, server, timeout=5).to_wire(max_size=65535)]
    return answer


class Scripted:
    """A server whose answers come from `answer(query, tcp)`: a list of messages or octets; None: silence.

    `queries` are the questions seen: (message, requestor's address, over TCP); probes for loops and health are
    among them, so tests count with seen(NAME). Each is answered by a thread of its own.
    """

    def __init__(self, network, address=SCRIPTED[4], upstream=True, port=53):
        self.address = address
        self.answer = silent
        self.queries = []
        self._network = network
        self._changed = threading.Condition()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with network.upstream() if upstream else contextlib.nullcontext():
            self._udp = socket.socket(family, socket.SOCK_DGRAM)
            self._tcp = socket.socket(family, socket.SOCK_STREAM)
        for one in (self._udp, self._tcp):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((address, port))
        self._tcp.listen(64)
        threading.Thread(target=self._serve_udp, daemon=True).start()
        threading.Thread(target=self._serve_tcp, daemon=True).start()

    def close_udp(self):
        """Let the kernel say that nobody is there."""
        self._close(self._udp)

    def close_tcp(self):
        """Refuse connections."""
        self._close(self._tcp)

    def close(self):
        self.close_udp()
        self.close_tcp()

    @staticmethod
    def _close(one):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for it
        one.close()

    def seen(self, qname=None, qtype=None, tcp=None):
        """The queries with this name (and type, and transport), as messages."""
        with self._changed:
            queries = list(self.queries)
        name = qname and dns.name.from_text(qname)
        kind = qtype and dns.rdatatype.from_text(qtype)
        return [message for message, _, over_tcp in queries
                if (name is None or message.question[0].name == name)
                and (kind is None or message.question[0].rdtype == kind) and tcp in (None, over_tcp)]

    def wait_queries(self, count, timeout=5):
        """Wait until `count` queries in all have been seen."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.queries) >= count, timeout):
                raise TimeoutError(f"{len(self.queries)} of {count} queries in {timeout} s")

    def wait_seen(self, qname, count=1, timeout=5):
        """Wait until the name has been asked for so many times."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.seen(qname)) >= count, timeout):
                raise TimeoutError(f"{len(self.seen(qname))} of {count} queries for {qname} in {timeout} s")

    def reply(self, qname, **options):
        """Send the late answer to the first query for this name, over UDP; it is waited for."""
        self.wait_seen(qname)
        wanted = dns.name.from_text(qname)
        query, requestor, _ = next(seen for seen in self.queries if seen[0].question[0].name == wanted)
        self._udp.sendto(dns.message.make_response(query, **options).to_wire(), requestor)

    def _answers(self, octets, requestor, tcp):
        query = dns.message.from_wire(octets)
        with self._changed:
            self.queries.append((query, requestor, tcp))
            self._changed.notify_all()
        return query

    def _said(self, query, tcp):
        """The answers as octets, waited for; what is special as it is."""
        for answer in self.answer(query, tcp) or []:
            if isinstance(answer, Wait):
                time.sleep(answer.seconds)
            elif isinstance(answer, dns.message.Message):
                yield answer.to_wire(max_size=65535)
            else:
                yield answer

    def _serve_udp(self):
        while True:
            try:
                octets, requestor = self._udp.recvfrom(65535)
            except OSError:
                return
            if not requestor:
                return  # closed
            query = self._answers(octets, requestor, False)
            threading.Thread(target=self._say, args=(query, requestor), daemon=True).start()

    def _say(self, query, requestor):
        with contextlib.suppress(OSError):  # closed in the meantime
            for answer in self._said(query, False):
                if isinstance(answer, Elsewhere):
                    self._send_elsewhere(answer, requestor)
                else:
                    self._udp.sendto(answer, requestor)

    def _send_elsewhere(self, answer, requestor):
        with self._network.upstream():
            other = socket.socket(self._udp.family, socket.SOCK_DGRAM)
        with other:
            other.bind((answer.address or self.address, 0))
            other.sendto(answer.message.to_wire(), requestor)

    def _serve_tcp(self):
        while True:
            try:
                connection, requestor = self._tcp.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection, requestor), daemon=True).start()

    def _talk(self, connection, requestor):
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as stream:
            while len(size := stream.read(2)) == 2:
                query = self._answers(stream.read(int.from_bytes(size, "big")), requestor, True)
                for answer in self._said(query, True):
                    if answer is CLOSE:
                        connection.shutdown(socket.SHUT_RDWR)
                        return
                    if isinstance(answer, Elsewhere):
                        continue
                    raw = isinstance(answer, Raw)
                    connection.sendall(answer.octets if raw else len(answer).to_bytes(2, "big") + answer)


class Programs:
    """Programs that one test needs: started, waited for, ended."""

    def __init__(self, network):
        self._network = network
        self._running = []
        self.directory = pathlib.Path(tempfile.mkdtemp(dir="/run"))

    def start(self, *command, config=None, upstream=False, environment=None):
        """Start it; `config` becomes the file NAME.conf of self.directory, where it runs."""
        name = pathlib.Path(command[0]).name
        if config is not None:
            (self.directory / f"{name}.conf").write_text(config)
        with self._network.upstream() if upstream else contextlib.nullcontext():
            with open(self.directory / f"{name}.log", "ab") as log:
                one = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       cwd=self.directory, env={**os.environ, **(environment or {})})
        self._running.append(one)
        return one

    def dnsmasq(self, address, *servers, port=53, options=(), upstream=False):
        """dnsmasq, forwarding to these servers (`ADDRESS#PORT`); it has bound when this returns."""
        process = self.start("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
                             "--user=root", "--group=root", "--pid-file", "--bind-interfaces", f"--port={port}",
                             f"--listen-address={address}", *[f"--server={server}" for server in servers],
                             *options, upstream=upstream)
        self.await_port(process, address, port, upstream)
        return process

    def unbound(self, address, *servers, port=53, upstream=False):
        """unbound, forwarding to these servers (`ADDRESS@PORT`)."""
        lines = "\n".join(f"    forward-addr: {server}" for server in servers)
        process = self.start("unbound", "-d", "-c", "unbound.conf", upstream=upstream,
                             config=_FORWARDING_UNBOUND.format(
                                 address=address, port=port, dir=self.directory, servers=lines))
        self.await_port(process, address, port, upstream)
        return process

    def nsd(self, address, zones):
        """NSD in the upstream namespace, with these zones: {name: text of the zone file}."""
        parts = [_SMALL_NSD.format(address=address, dir=self.directory)]
        for number, (zone, text) in enumerate(zones.items()):
            (self.directory / f"{number}.zone").write_text(text)
            parts.append(f"zone:\n    name: {zone}\n    zonefile: {number}.zone\n"
                         "    provide-xfr: 0.0.0.0/0 NOKEY\n    provide-xfr: ::0/0 NOKEY\n")
        process = self.start("nsd", "-d", "-c", "nsd.conf", config="".join(parts), upstream=True)
        self.await_port(process, address, 53, True)
        return process

    def await_port(self, process, address, port, upstream=False):
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise RuntimeError(f"{process.args[0]} ended with status {process.returncode}")
            with self._network.upstream() if upstream else contextlib.nullcontext():
                one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
            with one:
                if one.connect_ex((address, port)) == 0:
                    return
            time.sleep(0.02)
        raise RuntimeError(f"{process.args[0]} does not listen")

    def stop(self, process):
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._running.remove(process)

    def close(self):
        for process in list(self._running):
            self.stop(process)
