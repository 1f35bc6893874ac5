# SPDX-License-Identifier: Apache-2.0
"""What came out of the rounds: medians, and ratios of servers that were measured in the same round."""

import statistics

import peers
from rounds import WORKLOADS

BUSY = 0.97  # of a core: less, and a server was not saturated


def is_disturbed(run):
    """Whether a run that should have kept the server busy did not: its core was shared, or the load was too slow.

    Over TCP only the limit can tell, and forwarding the limit and ours: others may wait, and that is their own fault.
    """
    saturates = run["workload"] in ("udp", "cached")
    saturates |= run["workload"].startswith("tcp") and run["server"] == "echo"
    saturates |= run["workload"] == "forward" and run["server"] in ("forwarder", "kuma-dns")
    return saturates and run["server_busy"] < BUSY


def pairs_of(runs, references):
    """Runs beside the reference's of the same round: those that nothing disturbed, then all."""
    by_round = {run["round"]: run for run in references}
    pairs = [(run, by_round[run["round"]]) for run in runs if run["round"] in by_round]
    pairs = [(run, other) for run, other in pairs if run["answers"] and other["answers"]]
    quiet = [(run, other) for run, other in pairs if not is_disturbed(run) and not is_disturbed(other)]
    return quiet, pairs


def throughput_ratio(runs, references):
    """The median of the rounds in which nothing disturbed; None where there is nothing to compare.

    Where there is no such round, what the two would do with a core of their own: the inverse of their CPU time a query.
    """
    quiet, pairs = pairs_of(runs, references)
    ratios = [run["qps"] / other["qps"] for run, other in quiet]
    ratios = ratios or [other["server_cpu_us"] / run["server_cpu_us"] for run, other in pairs]
    return statistics.median(ratios) if ratios else None


def cpu_ratio(runs, references):
    """CPU time a query, the median of the rounds in which nothing disturbed, or else of all; None: of none."""
    quiet, pairs = pairs_of(runs, references)
    ratios = [run["server_cpu_us"] / other["server_cpu_us"] for run, other in quiet or pairs]
    return statistics.median(ratios) if ratios else None


def p99_ratio(runs, references):
    """The 99th percentile of latency, the median of the rounds."""
    _, pairs = pairs_of(runs, references)
    ratios = [run["p99_us"] / other["p99_us"] for run, other in pairs]
    return statistics.median(ratios) if ratios else None


def runs_of(runs, workload, server):
    return [run for run in runs if run["workload"] == workload and run["server"] == server]


def summarize_server(runs, references):
    keys = ("qps", "p50_us", "p99_us", "p999_us", "server_cpu_us", "server_busy", "load_idle")
    line = {key: statistics.median(run[key] for run in runs) for key in keys}
    rates = [run["qps"] for run in runs]
    line["spread"] = (max(rates) - min(rates)) / line["qps"] if line["qps"] else 0
    line["lost"] = sum(run["lost"] for run in runs)
    line["wrong"] = sum(run["wrong"] for run in runs)
    line["disturbed"] = sum(map(is_disturbed, runs))
    line["from_cache"] = statistics.median(max(0, 1 - run["upstream"] / max(1, run["answers"])) for run in runs)
    line["ratio"] = throughput_ratio(runs, references)
    line["cpu_ratio"] = cpu_ratio(runs, references)
    return line


def summarize(runs):
    """For each workload and server: medians, spread, and ratios to the reference of the same round."""
    summary = {}
    for workload, work in WORKLOADS.items():
        references = runs_of(runs, workload, work.reference)
        names = dict.fromkeys(run["server"] for run in runs if run["workload"] == workload)
        order = [work.reference] * bool(references) + [peer.name for peer in peers.PEERS if peer.name in names]
        summary[workload] = {name: summarize_server(runs_of(runs, workload, name), references) for name in order}
    return summary
