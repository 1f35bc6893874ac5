# SPDX-License-Identifier: Apache-2.0
"""kuma-dns as a process: started with a configuration, waited for, asked over its admin socket, ended."""

import http.client
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PORT = 15053
_REPORT = re.compile(r"(ERROR: \w+Sanitizer|WARNING: \w+Sanitizer|runtime error:).*")


def binary():
    """The daemon under test: build/kuma-dns, or what KUMA_DNS names."""
    return os.path.abspath(os.environ.get("KUMA_DNS", ROOT / "build/kuma-dns"))


def released():
    """The daemon as it is released, for what a sanitizer would spoil; None where there is none."""
    named = os.environ.get("RELEASED_KUMA_DNS") or (ROOT / "build/kuma-dns" if is_sanitized() else binary())
    return os.path.abspath(named) if os.path.exists(named) else None


def is_sanitized():
    """Whether it is a build with a sanitizer, which is some times slower."""
    return b"__asan_init" in pathlib.Path(binary()).read_bytes()


def yaml(value, indent=0):
    """Nested dictionaries and lists as YAML."""
    lines = []
    for key, item in value.items():
        start = " " * indent + f"{key}:"
        if isinstance(item, dict):
            lines += [start, yaml(item, indent + 2)]
        elif item == []:
            lines.append(f"{start} []")
        elif isinstance(item, list):
            lines += [start, *(" " * indent + f"  - {one!r}" for one in item)]
        else:
            lines.append(f"{start} {str(item).lower() if isinstance(item, bool) else item}")
    return "\n".join(lines)


def eventually(condition, timeout=10, interval=0.01):
    """Wait until `condition()` is true, and return what it said."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {condition.__doc__ or condition}; last: {result!r}")
        time.sleep(interval)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=5)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def http_get(connection, path):
    """(status, text) of a GET; closes the connection."""
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


class Daemon:
    """One `kuma-dns run`. `config` is the file as nested dictionaries."""

    def __init__(self, directory, config=None, flags=(), environment=None, wrapper=(), program=None):
        self.directory = pathlib.Path(directory)
        self.log_path = self.directory / "stderr"
        config = dict(config or {})
        admin = {"socket": self.directory / "admin.sock", **config.get("admin", {})}
        config["admin"] = admin
        self.admin_socket = str(admin["socket"])
        self.config_path = self.directory / "kuma-dns.yaml"
        self.config_path.write_text(yaml(config) + "\n")
        self.command = [*wrapper, program or binary(), "run", "--config", str(self.config_path), *flags]
        self.started = time.monotonic()
        self.ready_after_ms = None
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **(environment or {})})

    def log(self):
        return self.log_path.read_text(errors="replace")

    def get(self, path):
        """(status, text) from the admin socket; (0, "") where it does not listen."""
        try:
            return http_get(_UnixConnection(self.admin_socket), path)
        except OSError:
            return 0, ""

    def alive(self):
        return self.process.poll() is None

    def _or_dead(self, condition):
        if condition():
            return True
        if not self.alive():
            raise AssertionError(f"ended with {self.process.returncode}:\n{self.log()}")
        return False

    def wait_ready(self, timeout=10):
        """Wait until /ready says 200."""
        eventually(lambda: self._or_dead(lambda: self.get("/ready")[0] == 200), timeout, 0.005)
        self.ready_after_ms = round((time.monotonic() - self.started) * 1000)
        return self

    def wait_listening(self, timeout=10):
        """Wait until the admin socket answers, ready or not."""
        eventually(lambda: self._or_dead(lambda: self.get("/ready")[0] != 0), timeout, 0.005)
        return self

    def wait_log(self, pattern, timeout=10, count=1):
        """Wait until the log has `count` matches."""
        def found():
            return len(re.findall(pattern, self.log())) >= count
        found.__doc__ = f"{count} × {pattern!r} in the log:\n{self.log()}"
        eventually(found, timeout)

    def metric(self, name, **labels):
        """The value of a metric: the sum over all series that have these labels; None without one."""
        total = None
        for line in self.get("/metrics")[1].splitlines():
            match = re.match(r"(\w+)(?:\{(.*)\})? (\S+)$", line)
            if not match or match[1] != name:
                continue
            found = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or ""))
            if all(found.get(key) == value for key, value in labels.items()):
                total = (total or 0) + float(match[3])
        return total

    def run(self, command, *arguments):
        """A client command: (exit status, standard output, standard error)."""
        done = subprocess.run([binary(), command, "--admin-socket", self.admin_socket, *arguments],
                              capture_output=True, text=True, timeout=10, check=False)
        return done.returncode, done.stdout, done.stderr

    def stop(self, with_signal=signal.SIGTERM):
        """End it; return its exit status."""
        if self.alive():
            self.process.send_signal(with_signal)
        try:
            return self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"did not end on {with_signal!r}:\n{self.log()}") from None

    def sanitizer_report(self):
        """What a sanitizer wrote, or an empty text."""
        match = _REPORT.search(self.log())
        return self.log()[match.start():] if match else ""
