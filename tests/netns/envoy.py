# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the socket on which Envoy serves the table, with all that this socket can do.

Its default is a healthy listener: `GET /dns` with an ETag, 304 without one. A test sets `behaviour` to
another function of this file, for the requests that follow.
"""

import hashlib
import os
import pathlib
import socket
import threading
import time

SOCKET_NAME = "kuma-mesh-metric-config.sock"
_REASONS = {200: "OK", 304: "Not Modified", 404: "Not Found", 500: "Internal Server Error",
            503: "Service Unavailable"}


def head(status, length, etag=None, extra=()):
    """The head of a response as Envoy writes it."""
    lines = [f"HTTP/1.1 {status} {_REASONS[status]}"]
    if status != 304:
        lines += [f"content-length: {length}", "content-type: text/plain"]
    if etag:
        lines.append(f"etag: {etag}")
    lines.append("date: " + time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()))
    lines += ["server: envoy", *extra]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Request:
    """One request: its path, its header fields by lower-case name, and where the answer goes."""

    def __init__(self, connection, text):
        first, *fields = text.decode("latin-1").split("\r\n")
        self.method, self.path, self.version = first.split(" ")
        self.fields = {}
        for field in fields:
            name, _, value = field.partition(":")
            self.fields[name.lower()] = value.strip()
        self.connection = connection

    def send(self, octets):
        self.connection.sendall(octets)

    def respond(self, status, body=b"", etag=None, extra=()):
        self.send(head(status, len(body), etag, extra) + body)


def serve(envoy, request):
    """The healthy listener."""
    body, etag = envoy.body, envoy.etag
    if request.path != "/dns":
        known = request.path in ("/meshmetric", "/otel")
        request.respond(200 if known else 404, b"{}" if known else b"")
    elif body is None:
        request.respond(404)
    elif request.fields.get("if-none-match") == etag:
        request.respond(304)
    else:
        request.respond(200, body, etag)


def serve_and_close(envoy, request):
    """Envoy replaces the listener: it answers, and closes without a word."""
    serve(envoy, request)
    return False


def serve_draining(envoy, request):
    """Envoy drains: it says `connection: close`, and means it."""
    request.respond(200, envoy.body, envoy.etag, ["connection: close"])
    return False


def serve_chunked(envoy, request):
    """The same document without a length."""
    lines = [head(200, 0, envoy.etag).replace(b"content-length: 0\r\n", b"transfer-encoding: chunked\r\n")]
    for start in range(0, len(envoy.body), 4096):
        chunk = envoy.body[start:start + 4096]
        lines.append(b"%x\r\n%s\r\n" % (len(chunk), chunk))
    request.send(b"".join([*lines, b"0\r\n\r\n"]))


def status(code):
    """A listener in trouble."""
    return lambda envoy, request: request.respond(code, b"no healthy upstream")


def body(octets):
    """200, an ETag, and this body."""
    return lambda envoy, request: request.respond(200, octets, hashlib.sha256(octets).hexdigest())


def half_document(envoy, request):
    """Half of the octets that the head promised, and the end of the connection."""
    request.send(head(200, len(envoy.body), envoy.etag) + envoy.body[:len(envoy.body) // 2])
    return False


def drip(interval):
    """An octet at a time, and never the last one."""
    def behave(envoy, request):
        request.send(head(200, len(envoy.body), envoy.etag))
        for octet in envoy.body[:-1]:
            if envoy.stopping.wait(interval):
                break
            request.send(bytes([octet]))
        return False
    return behave


def silent(envoy, request):
    """Takes the request and says nothing."""
    envoy.stopping.wait()
    return False


class Envoy:
    """The listener, in a thread; `requests` are all it has seen."""

    def __init__(self, work_dir):
        self.path = str(pathlib.Path(work_dir) / SOCKET_NAME)
        self.behaviour = serve
        self.body = None
        self.etag = None
        self.requests = []
        self.connections = 0
        self.stopping = threading.Event()
        self._changed = threading.Condition()
        self._listener = None
        self._open = set()
        self._threads = []

    def push(self, document):
        """Serve this document from now on; None: 404, the control plane has no table."""
        self.etag = None if document is None else hashlib.sha256(document).hexdigest()
        self.body = document

    def start(self):
        self.stopping = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if os.path.exists(self.path):
            os.unlink(self.path)
        self._listener.bind(self.path)
        os.chmod(self.path, 0o777)  # for daemons of any user; Envoy's own is for its user, and root
        self._listener.listen(16)
        self._spawn(self._accept, self._listener)
        return self

    def stop(self, leave_socket=False):
        """End, as Envoy does: politely, or leaving its socket file behind."""
        self.stopping.set()
        if self._listener:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
            if not leave_socket:
                os.unlink(self.path)
        self.drop_connections()
        for thread in self._threads:
            thread.join(5)
        self._threads = []

    def drop_connections(self):
        """Close what is connected now."""
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def wait_requests(self, count, timeout=10):
        """Wait until `count` more requests have been seen; return them."""
        with self._changed:
            start = len(self.requests)
            if not self._changed.wait_for(lambda: len(self.requests) >= start + count, timeout):
                raise TimeoutError(f"{len(self.requests) - start} of {count} requests in {timeout} s")
            return self.requests[start:]

    def _spawn(self, function, *arguments):
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.add(connection)
            self._spawn(self._talk, connection)

    def _talk(self, connection):
        try:
            with connection:
                self._requests_of(connection)
        except OSError:
            pass  # the daemon went away: its right
        finally:
            self._open.discard(connection)

    def _requests_of(self, connection):
        pending = b""
        while True:
            text, end, rest = pending.partition(b"\r\n\r\n")
            if not end:
                more = connection.recv(65536)
                if not more:
                    return
                pending += more
                continue
            pending = rest
            request = Request(connection, text)
            with self._changed:
                self.requests.append(request)
                self._changed.notify_all()
            if self.behaviour(self, request) is False:
                return
