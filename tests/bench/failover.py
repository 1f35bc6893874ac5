# SPDX-License-Identifier: Apache-2.0
"""One of two upstreams falls silent, and comes back: how long the slowest answer takes, and what is lost."""

import statistics

import setting
from server import listens, running

RATE = 2_000
PARTS = ("before", "during", "after")
# Those that look after their upstreams find at once, or within a second, that these are there.
WARMUP = 2.5


def seconds(quick):
    """How long all is well, one is silent, and all is well again."""
    return (0.7, 1.2, 1.0) if quick else (1.5, 4.0, 2.5)


def rounds(peer, quick):
    """How often it is measured: ours is what counts, the others are there to compare, and take their time."""
    if peer.name == "kuma-dns":
        return 1 if quick else 3
    return 0 if quick else 1


def measure(bench, peer, number, silent):
    """One run: names are unique, latency counts from when a query was due. @return what the load reports"""
    before, during, after = seconds(bench.quick)
    arguments = [
        "--unique", "--fixed", "--rate", str(RATE), "--run", "1", "--window", "4096", "--timeout", "5",
        "--warmup", str(0.3 if peer.name == "kuma-dns" else WARMUP), "--seconds", str(before + during + after),
        "--silent", str(silent), "--middle-from", str(before), "--middle-to", str(before + during),
    ]  # fmt: skip
    for port in setting.UPSTREAM_PORTS:
        arguments += ["--upstream", str(port)]
    with running(peer.roles["failover"](bench.site), bench.cores) as server:
        server.wait_until(listens("udp"))
        result = bench.load(server, "unique", arguments, f"{peer.name}, server {silent} silent")
    return {"server": peer.name, "silent": silent, "round": number, **result}


def measure_all(bench, chosen):
    """Each upstream of each server, in turns."""
    runs = []
    able = [peer for peer in chosen if "failover" in peer.roles]
    for number in range(max([rounds(peer, bench.quick) for peer in able], default=0)):
        for peer in able:
            for silent in (1, 2) if number < rounds(peer, bench.quick) else ():
                run = bench.attempt(f"{peer.name}, server {silent} silent", measure, bench, peer, number, silent)
                runs += [run] if run else []
    return runs


def added_ms(run):
    """By how much the failure, or the return, exceeds the slowest answer before."""
    slowest = {part: run["parts"][part]["slowest_ms"] for part in PARTS}
    return max(0.0, max(slowest["during"], slowest["after"]) - slowest["before"])


def summarize(runs):
    """For each server and silent upstream: medians of the slowest answers; what was lost or failed, in all."""
    summary = {}
    for run in runs:
        summary.setdefault((run["server"], run["silent"]), []).append(run)
    return [
        {
            "server": server,
            "silent": silent,
            "rounds": len(own),
            **{f"{part}_ms": statistics.median(run["parts"][part]["slowest_ms"] for run in own) for part in PARTS},
            "added_ms": statistics.median(map(added_ms, own)),
            "queries": sum(sum(run["parts"][part][key] for key in ("answers", "failed", "lost"))
                           for run in own for part in PARTS),
            "lost": sum(run["parts"][part]["lost"] for run in own for part in PARTS),
            "failed": sum(run["parts"][part]["failed"] for run in own for part in PARTS),
        }
        for (server, silent), own in summary.items()
    ]  # fmt: skip
