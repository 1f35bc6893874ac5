# SPDX-License-Identifier: Apache-2.0
"""What does not depend on how busy the machine is: instructions a query, size of the program, wake-ups when idle.

Instructions are those of the program itself, as callgrind counts them. Two runs that differ only in the number of
queries: what a start costs is the same in both, and is gone in the difference.
"""

import os
import re
import shutil
import subprocess
import tempfile
import time

import ours
import rounds
import setting
from server import Failure, answers, listens, running

IDLE_S = 10.0
QUICK_IDLE_S = 3.0
SETTLED_S = 2.0  # after the start
QUIET_S = 45.0  # upstreams are looked after for 30 s after a start, too
QUIET_FOLDER = "/dev/shm" if os.path.isdir("/dev/shm") else None
IDLE_PORT = 5400
# A batch at a time, the next one when all of it is answered: how many a call takes costs instructions too.
BATCHES = ["--sockets", "1", "--window", "16", "--run", "16", "--timeout", "10"]

# kind → the daemon's command, names, further arguments, queries of the shorter run, how many more the longer one has
KINDS = {
    "local": (ours.kuma_dns, "names", [], 10_000, 100_000),
    "cached": (ours.kuma_dns, "public", ["--fixed", *rounds.UPSTREAM], 2 * rounds.NAMES, 5 * rounds.NAMES),
    "forwarded": (ours.kuma_dns_forward, "unique", ["--unique", "--fixed", *rounds.UPSTREAM], 5_000, 20_000),
}  # fmt: skip


def count_instructions(bench, kind, queries):
    """Instructions of one run, from start to end."""
    command, names, arguments, _, _ = KINDS[kind]
    out = bench.site.path("callgrind.out")
    valgrind = ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={out}"]
    name, address, _ = bench.site.names[0]
    ready = answers(name, address) if kind == "local" else listens("udp")
    with running([*valgrind, *command(bench.site)], bench.cores) as server:
        server.wait_until(ready, 60)
        if kind != "local":
            time.sleep(SETTLED_S / 2)  # it may listen before it is through with its start
        bench.load(server, names, [*BATCHES, *arguments, "--queries", str(queries)], f"{kind}, counted", 300)
    with open(out, encoding="utf-8") as file:
        return int(re.search(r"^(?:summary|totals): (\d+)", file.read(), re.M).group(1))


def instructions(bench, kind):
    _, _, _, fewer, more = KINDS[kind]
    counts = [count_instructions(bench, kind, queries) for queries in (fewer, fewer + more)]
    return (counts[1] - counts[0]) / more


def stripped_octets(bench):
    path = bench.site.path("stripped")
    command = ["strip", "-o", path, f"{bench.site.build}/kuma-dns"]
    if subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode != 0:
        raise Failure("strip failed")
    return os.path.getsize(path)


def idle_switches(bench, server):
    """Voluntary context switches of an idle daemon: each is a wait that something ended."""
    seconds = QUICK_IDLE_S if bench.quick else IDLE_S
    time.sleep(max(0, server.started + (SETTLED_S if bench.quick else QUIET_S) - time.monotonic()))
    before = server.voluntary_switches()
    time.sleep(seconds)
    return {"seconds": seconds, "settled": not bench.quick, "switches": server.voluntary_switches() - before}


def count_all(bench):
    if not shutil.which("valgrind"):
        print("valgrind is not there: instructions are not counted")
        return {}
    return {kind: bench.attempt(f"{kind}, counted", instructions, bench, kind) for kind in KINDS}


def measure_all(bench):
    """The idle daemon begins first, and calms down while instructions are counted.

    Its upstream is there, as one that is not is looked for; its table's file is not polled, only watched, and so are
    the folders that lead to it: it is where nobody else writes now.
    """
    with tempfile.TemporaryDirectory(prefix="kuma-dns-bench-", dir=QUIET_FOLDER) as folder:
        return measure_beside_idle(bench, setting.Site(folder, bench.site.build, rounds.NAMES))


def measure_beside_idle(bench, site):
    command = ours.kuma_dns(site, upstreams=[IDLE_PORT + 1], port=IDLE_PORT, more=["--poll-interval", "1h"])
    with running(ours.upstream(site, IDLE_PORT + 1), bench.cores), running(command, bench.cores) as server:
        return {
            "instructions": count_all(bench),
            "stripped_octets": bench.attempt("size", stripped_octets, bench),
            "idle": bench.attempt("idle", idle_switches, bench, server),
        }
