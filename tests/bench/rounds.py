# SPDX-License-Identifier: Apache-2.0
"""The workloads, and the rounds in which the servers take turns."""

import collections
import json
import os
import re
import subprocess

import peers
import setting
from server import Failure, admin_ready, answers, listens, running

NAMES = 10_000
RATE = 20_000
WARM_PASSES = 2  # the second is for caches that keep what is asked for again
UPSTREAM = ["--upstream", str(setting.UPSTREAM_PORT)]
OWN_LOCAL = "kuma-dns, local"  # in the workload "cached": what ours is compared with

# One load: the server that others are compared with, the file of its names, further arguments.
Workload = collections.namedtuple("Workload", "title role reference names arguments")

# What is measured, in the order of a round.
WORKLOADS = {
    "udp": Workload("local answers over UDP, saturated", "local", "echo", "names", []),
    "rate": Workload(f"local answers over UDP, {RATE} queries a second", "local", "echo", "names",
                     ["--rate", str(RATE), "--run", "1"]),
    "tcp1": Workload("local answers over TCP, 20 connections, 1 query in flight on each", "tcp", "echo", "names",
                     ["--tcp", "--sockets", "20", "--window", "1", "--run", "1"]),
    "tcp16": Workload("local answers over TCP, 20 connections, 16 queries in flight on each", "tcp", "echo", "names",
                      ["--tcp", "--sockets", "20", "--window", "16", "--run", "16"]),
    "forward": Workload("forwarded over UDP, nothing cached, saturated", "forward", "forwarder", "unique",
                        ["--unique", "--fixed", *UPSTREAM]),
    "cached": Workload(f"from the cache over UDP, {NAMES:,} names, saturated", "cached", OWN_LOCAL, "public",
                       ["--fixed", *UPSTREAM]),
}  # fmt: skip
ROLES = dict.fromkeys(workload.role for workload in WORKLOADS.values())


def put_load(site, server, names, arguments, limit_s=60):
    """Put the load on a server. @return what it reports, and its complaint about the first wrong answer"""
    command = [
        f"{site.build}/bench/load", "--server", setting.ADDRESS, "--port", str(setting.PORT),
        "--names", site.path(names), *arguments,
    ]  # fmt: skip
    for pid in server.pids():
        command += ["--pid", str(pid)]
    try:
        ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
                             timeout=limit_s)  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Failure(f"the load did not end within {limit_s:.0f} s") from None
    if not ran.stdout:
        server.check_alive()
        raise Failure(ran.stderr.strip())
    return json.loads(ran.stdout), ran.stderr.strip()


class Bench:
    """What all measurements share, and what came of them."""

    def __init__(self, site, cores, options):
        self.site = site
        *self.cores, self.spare_cores = cores
        self.quick = options.quick
        self.seconds = 0.4 if options.quick else 2.0
        self.warmup = 0.2 if options.quick else 0.3
        # The limits and ours are measured more often than the others: what is close needs more pairs.
        self.rounds = options.rounds or (1 if options.quick else 3)
        self.pair_rounds = options.rounds or (2 if options.quick else 7)
        self.runs = []  # every single run, as it goes into the file
        self.memory_kb = {}
        self.wrong = 0
        self.failures = []

    def attempt(self, what, function, *arguments):
        """Call a function; where it fails, say so and go on: the others can still be measured."""
        try:
            return function(*arguments)
        except Failure as failure:
            self.failures.append(f"{what}: {failure}")
            print(f"  {self.failures[-1]}", flush=True)
            return None

    def load(self, server, names, arguments, what, limit_s=60):
        """Put the load on a server, and take note of wrong answers: those of a peer are only told."""
        result, complaint = put_load(self.site, server, names, arguments, limit_s)
        if result["wrong"]:
            ours = server.program.startswith(self.site.build + os.sep)
            self.wrong += result["wrong"] if ours else 0
            print(f"  {what}: {result['wrong']} wrong answers; the first: {complaint}", flush=True)
        return result

    def run(self, server, workload, number, name, names=None, arguments=()):
        """One line of the file: a workload on a server in a round."""
        work = WORKLOADS[workload]
        arguments = ["--seconds", str(self.seconds), "--warmup", str(self.warmup), *(arguments or work.arguments)]
        if name == "echo":
            arguments.append("--fixed")
        result = self.load(server, names or work.names, arguments, f"{name}, {work.title}")
        self.runs.append({"server": name, "workload": workload, "round": number, **result})

    def warm(self, server, peer):
        """Ask for every name before it is measured."""
        arguments = ["--queries", str(NAMES), *WORKLOADS["cached"].arguments]
        for _ in range(WARM_PASSES):
            self.load(server, "public", arguments, f"{peer.name}, filling the cache")

    def run_cached(self, server, number, peer):
        """From the cache; for ours, side by side with local answers of the same process, in turning order."""
        self.warm(server, peer)
        loads = [(peer.name, None, ())]
        if peer.name == "kuma-dns":
            loads.append((OWN_LOCAL, "names", UPSTREAM))
        for name, names, arguments in loads if number % 2 == 0 else reversed(loads):
            self.run(server, "cached", number, name, names, arguments)

    def measure(self, peer, role, number, ready):
        """Start a server, put each load of its role on it, stop it."""
        with running(peer.roles[role](self.site), self.cores) as server:
            server.wait_until(ready)
            if role == "cached":
                self.run_cached(server, number, peer)
                return
            for workload, work in WORKLOADS.items():
                if work.role == role:
                    self.run(server, workload, number, peer.name)
            if role == "local" and peer not in peers.LIMITS:
                self.memory_kb.setdefault(peer.name, []).append(server.pss_kb())

    def order(self, role, number, chosen):
        """It turns, so that none always follows the same one; the limit and ours are neighbours."""
        able = [peer for peer in (*peers.LIMITS, *chosen) if role in peer.roles]
        pair = [peer for peer in able if peer in (*peers.LIMITS, peers.PEERS[0])]
        others = [peer for peer in able if peer not in pair] if number < self.rounds else []
        turn = number % (len(others) + 1)
        return others[:turn] + (pair if number % 2 == 0 else pair[::-1]) + others[turn:]

    def round(self, number, chosen):
        """Each server once in each role; after the first rounds, only the limits and ours."""
        name, address, _ = self.site.names[0]
        for role in ROLES:
            for peer in self.order(role, number, chosen):
                ready = listens("tcp" if role == "tcp" else "udp")
                if role in ("local", "tcp") and peer not in peers.LIMITS:
                    ready = answers(name, address)
                self.attempt(f"{peer.name}, {role}", self.measure, peer, role, number, ready)

    def dnsperf(self, peer):
        """Queries a second as dnsperf sees them: a check of our own load."""
        name, address, _ = self.site.names[0]
        ready = listens("udp") if peer in peers.LIMITS else answers(name, address)
        command = ["dnsperf", "-s", setting.ADDRESS, "-p", str(setting.PORT), "-d", self.site.path("dnsperf"),
                   "-c", "4", "-T", "1", "-q", "128", "-l", str(max(1, int(self.seconds)))]  # fmt: skip
        with running(peer.roles["local"](self.site), self.cores) as server:
            server.wait_until(ready)
            ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        found = re.search(r"Queries per second:\s*([\d.]+)", ran.stdout)
        if not found or float(found.group(1)) == 0:
            raise Failure(ran.stdout.strip()[-500:] or "it says nothing")
        return float(found.group(1))

    def start_up(self, peer):
        """Milliseconds from exec until the first right answer, and, for ours, until /ready says 200."""
        name, address, _ = self.site.names[-1]
        first, ready = [], []
        for _ in range(3 if self.quick else 5):
            with running(peer.roles["local"](self.site), self.cores) as server:
                first.append(server.wait_until(answers(name, address)))
                if peer.name == "kuma-dns":
                    ready.append(server.wait_until(admin_ready(self.site.path("admin.sock"))))
        return {"first_answer_ms": first, **({"ready_ms": ready} if ready else {})}
