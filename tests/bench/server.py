# SPDX-License-Identifier: Apache-2.0
"""A server that runs on its core, and how to tell that it is ready."""

import contextlib
import os
import re
import socket
import struct
import subprocess
import tempfile
import time

import setting


class Failure(Exception):
    """Something could not be measured."""


class Server:
    """A running server, on its core, or on several."""

    def __init__(self, command, core, load_core):
        # The child inherits the affinity: no code of ours runs in it, and nothing of ours is timed with it.
        os.sched_setaffinity(0, core if isinstance(core, set) else {core})
        # What it complains about goes to a file: a pipe that nobody reads would stop it one day.
        self.complaints = tempfile.TemporaryFile()
        self.program = command[0]
        try:
            self.started = time.monotonic()
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.complaints,
                env={"PATH": os.environ["PATH"]},
            )  # fmt: skip
        finally:
            os.sched_setaffinity(0, {load_core})

    def pids(self):
        """The process and all its descendants."""
        found = [self.process.pid]
        for pid in found:
            with contextlib.suppress(OSError):
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/children", encoding="utf-8") as file:
                        found += map(int, file.read().split())
        return found

    def pss_kb(self):
        """Proportional set size of all its processes, in KiB."""
        total = 0
        try:
            for pid in self.pids():
                with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as file:
                    total += int(re.search(r"^Pss:\s*(\d+)", file.read(), re.M).group(1))
        except (OSError, AttributeError) as error:  # gone, or a zombie without memory
            self.check_alive()
            raise Failure(f"memory cannot be read: {error}") from error
        return total

    def statuses(self):
        """The text of /proc/…/status of every thread."""
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/status", encoding="utf-8") as file:
                        yield int(task) == pid, file.read()

    def peak_kb(self):
        """The most that was ever resident, in KiB: shared pages included."""
        texts = [text for is_process, text in self.statuses() if is_process]
        return sum(int(re.search(r"^VmHWM:\s*(\d+)", text, re.M).group(1)) for text in texts)

    def voluntary_switches(self):
        """How often its threads have gone to sleep."""
        return sum(int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", text, re.M).group(1))
                   for _, text in self.statuses())  # fmt: skip

    def check_alive(self):
        if self.process.poll() is not None:
            self.complaints.seek(0)
            lines = self.complaints.read().decode(errors="replace").strip()
            raise Failure(f"{os.path.basename(self.process.args[0])} ended: {lines[-500:]}")

    def wait_until(self, condition, seconds=20):
        """Wait for a condition. @return ms since the start"""
        while not condition():
            self.check_alive()
            if time.monotonic() > self.started + seconds:
                raise Failure(f"{os.path.basename(self.process.args[0])} does not get ready")
            time.sleep(0.0001)
        return (time.monotonic() - self.started) * 1e3

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.complaints.close()


@contextlib.contextmanager
def running(command, cores):
    server = Server(command, *cores)
    try:
        yield server
    finally:
        server.stop()


def answers(name, address):
    """A condition: the server gives this address for this name."""
    question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0\0\1\0\1"
    query = struct.pack(">6H", 0x1234, 0x0100, 1, 0, 0, 0) + question

    def condition():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect((setting.ADDRESS, setting.PORT))
            client.settimeout(0.02)
            try:
                client.send(query)
                response = client.recv(512)
            except OSError:
                return False
            return response[:2] == query[:2] and response.endswith(socket.inet_aton(address))

    return condition


def listens(kind):
    """A condition: something is bound to the port, over "udp" or "tcp"."""

    def condition():
        with open(f"/proc/self/net/{kind}", encoding="utf-8") as file:
            return f":{setting.PORT:04X} 00000000" in file.read()

    return condition


def admin_ready(path):
    """A condition: GET /ready says 200."""

    def condition():
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(0.1)
            try:
                client.connect(path)
                client.sendall(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return client.recv(64).startswith(b"HTTP/1.1 200 ")
            except OSError:
                return False

    return condition
