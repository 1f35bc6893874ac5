# SPDX-License-Identifier: Apache-2.0
"""What it costs a query to be redirected: CPU time of server and client together, against one sent to us directly.

eBPF cannot be had in a user namespace, where all else is measured. So this runs as a program, before that, in a network
namespace alone where we are root; for others eBPF is left out.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import place
import setting
from server import Failure, admin_ready, running

RESULT = "KUMA_DNS_BENCH_REDIRECTION"  # environment variable: what was measured
MEANS = ("direct", "nftables", "ebpf")
SOCKETS = ("lasting", "new")
SERVER = "192.0.2.53"  # nobody is there: a query that is not redirected is lost
QUERIES = 100_000
LIMIT = 1.15


def measure_first(options):
    """Before namespaces are entered: measure, and leave the result to the program that runs on inside."""
    if place.INSIDE in os.environ:
        return
    unshare = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "-Urn"]
    command = [*unshare, sys.executable, "-B", __file__, os.path.abspath(options.build), "2" if options.quick else "5"]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    os.environ[RESULT] = ran.stdout or "{}"


def result():
    return json.loads(os.environ.get(RESULT, "{}"))


def tracked():
    """Flows that connection tracking knows in this namespace."""
    path = pathlib.Path("/proc/sys/net/netfilter/nf_conntrack_count")
    return int(path.read_text(encoding="utf-8")) if path.exists() else 0


def ask(build, server, sockets, direct):
    """@return µs a query, and how many flows are tracked for it"""
    address = (setting.ADDRESS, str(setting.PORT)) if direct else (SERVER, "53")
    before = tracked()
    ran = subprocess.run([f"{build}/bench/asker", *address, sockets, str(QUERIES), str(server.process.pid)],
                         stdout=subprocess.PIPE, text=True, check=False)  # fmt: skip
    if ran.returncode != 0:
        raise Failure(f"asker: {ran.stdout.strip() or ran.returncode}")
    used = json.loads(ran.stdout)
    return {**used, "us": used["client_us"] + used["server_us"], "flows": max(0, tracked() - before)}


def measure(build, folder, means, cores):
    """Both kinds of sockets."""
    command = [
        f"{build}/kuma-dns", "run", "--port", str(setting.PORT), "--table-file", f"{folder}/table.json",
        "--resolv-conf", f"{folder}/resolv.conf", "--admin-socket", f"{folder}/admin.sock", "--loop-probe=false",
        *(["--no-redirect"] if means == "direct" else ["--redirect-mode", means]),
    ]  # fmt: skip
    with running(command, cores) as server:
        server.wait_until(admin_ready(f"{folder}/admin.sock"))
        return {sockets: ask(build, server, sockets, means == "direct") for sockets in SOCKETS}


def write_files(folder):
    names = {"records": [{"name": "redis.svc.mesh.local", "ips": ["241.0.0.1"]}], "ttl": 30}
    pathlib.Path(folder, "table.json").write_text(json.dumps(names), encoding="utf-8")
    pathlib.Path(folder, "resolv.conf").write_text(f"nameserver {SERVER}\n", encoding="utf-8")


def connect():
    """A way to the server, so that there is something to redirect."""
    for words in ("link set lo up", "link add up0 type veth peer name up1", "link set up0 up", "link set up1 up",
                  "address add 192.0.2.1/24 dev up0"):  # fmt: skip
        subprocess.run(["ip", *words.split()], check=True)


def measure_all(build, rounds):
    """By turns, in rounds."""
    cores = place.choose_cores()[:2]
    os.sched_setaffinity(0, {cores[1]})
    runs, failures = [], []
    connect()
    with tempfile.TemporaryDirectory(prefix="kuma-dns-bench-") as folder:
        write_files(folder)
        for number in range(rounds):
            for means in MEANS[number % len(MEANS):] + MEANS[:number % len(MEANS)]:
                try:
                    runs.append({"round": number, "means": means, **measure(build, folder, means, cores)})
                except Failure as failure:
                    failures.append(f"redirection, {means}: {failure}")
    return {"runs": runs, "failures": sorted(set(failures))}


def ratio(found, means, sockets):
    """To direct ones of the same round; the median. None: not measured."""
    by_round = {run["round"]: run for run in found.get("runs", []) if run["means"] == "direct"}
    ratios = [run[sockets]["us"] / by_round[run["round"]][sockets]["us"]
              for run in found.get("runs", []) if run["means"] == means and run["round"] in by_round]  # fmt: skip
    return statistics.median(ratios) if ratios else None


def flows(found, means):
    """Flows that are tracked for all queries from new sockets of a round, at most."""
    return max((run["new"]["flows"] for run in found.get("runs", []) if run["means"] == means), default=None)


def median(found, means, sockets):
    values = [run[sockets]["us"] for run in found.get("runs", []) if run["means"] == means]
    return statistics.median(values) if values else None


if __name__ == "__main__":
    print(json.dumps(measure_all(sys.argv[1], int(sys.argv[2]))))
