# SPDX-License-Identifier: Apache-2.0
"""What was promised, and whether it is kept."""

import collections
import statistics

import failover
import memory
import redirection
from rounds import NAMES, OWN_LOCAL
from summary import cpu_ratio, runs_of, throughput_ratio

# What, the number found as text, and whether it is met: None where it was not measured.
Target = collections.namedtuple("Target", "text found met")

FROM_CACHE = 0.99  # less, and it is not the cache that was measured


def target(text, value, form, limit, at_least=False):
    """@param value  None where it was not measured"""
    if value is None:
        return Target(text, "not measured", None)
    return Target(text, form.format(value), value >= limit if at_least else value <= limit)


def local(runs, memory_kb, start_up):
    ours = runs_of(runs, "udp", "kuma-dns")
    ratio = throughput_ratio(ours, runs_of(runs, "udp", "echo"))
    yield target("local answers, throughput ≥ 0.75 of echo", ratio, "{:.2f}", 0.75, at_least=True)
    for name in ("nsd", "unbound"):
        ratio = throughput_ratio(ours, runs_of(runs, "udp", name))
        yield target(f"local answers, throughput more than {name}'s", ratio, "{:.2f} times", 1, at_least=True)
    pss = memory_kb.get("kuma-dns")
    yield target(f"memory with {NAMES:,} names ≤ 5 MB", statistics.median(pss) / 1024 if pss else None, "{:.1f} MB", 5)
    times = start_up.get("kuma-dns")
    yield target("start to ready ≤ 50 ms", statistics.median(times["ready_ms"]) if times else None, "{:.0f} ms", 50)


def forwarding(runs):
    ours = runs_of(runs, "forward", "kuma-dns")
    for name, limit in (("forwarder", 1.3), ("unbound", 0.3), ("dnsdist", 1)):
        ratio = cpu_ratio(ours, runs_of(runs, "forward", name))
        yield target(f"forwarded, CPU a query ≤ {limit} of {name}'s", ratio, "{:.2f}", limit)


def caching(runs, summary):
    ours = runs_of(runs, "cached", "kuma-dns")
    if ours and summary["cached"]["kuma-dns"]["from_cache"] < FROM_CACHE:
        found = f"only {summary['cached']['kuma-dns']['from_cache']:.0%} from the cache"
        yield Target("from the cache", found, False)
        return
    ratio = throughput_ratio(ours, runs_of(runs, "cached", OWN_LOCAL))
    yield target("from the cache, throughput ≥ 0.95 of own local answers", ratio, "{:.2f}", 0.95, at_least=True)
    for name in ("unbound", "pdns-recursor"):
        ratio = cpu_ratio(ours, runs_of(runs, "cached", name))
        yield target(f"from the cache, CPU a query less than {name}'s", ratio, "{:.2f}", 1)


def failing(failures):
    ours = [line for line in failures if line["server"] == "kuma-dns"]
    for silent, text in ((1, "first"), (2, "second")):
        line = next((line for line in ours if line["silent"] == silent), None)
        yield target(f"the {text} server falls silent: slowest answer + ≤ 100 ms", line and line["added_ms"],
                     "{:.0f} ms", 100)  # fmt: skip
    lost = sum(line["lost"] + line["failed"] for line in ours) if ours else None
    yield target("a server falls silent: queries lost or failed, none", lost, "{}", 0)


def bounded(result):
    if result is None:
        yield target("memory is bounded", None, "", 0)
        return
    limit_kb = result["cache_kb"] + memory.MARGIN_KB
    yield target(f"{result['names']:,} names: memory grows by ≤ the cache + 1 MiB = {limit_kb / 1024:.1f} MiB",
                 memory.growth_kb(result) / 1024, "{:.2f} MiB", limit_kb / 1024)  # fmt: skip


def installing(times):
    yield target("install ≤ 5 ms, where there were no rules", times and times["first_ms"], "{:.1f} ms", 5)


def redirecting(found):
    for sockets in redirection.SOCKETS:
        ratio = redirection.ratio(found, "ebpf", sockets)
        text = f"eBPF, {sockets} sockets: CPU a query ≤ {redirection.LIMIT} of a direct one's"
        yield target(text, ratio, "{:.2f}", redirection.LIMIT)
    flows = redirection.flows(found, "ebpf")
    yield target(f"eBPF, {redirection.QUERIES:,} queries from new sockets: flows tracked, none", flows, "{}", 0)


def judge(result):
    """All of them; none where kuma-dns was not measured."""
    runs = result["runs"]
    if not any(run["server"] == "kuma-dns" for run in runs):
        return []
    return [
        *local(runs, result["memory_kb"], result["start_up"]),
        *forwarding(runs),
        *caching(runs, result["summary"]),
        *failing(failover.summarize(result["failover"])),
        *bounded(result["memory"]),
        *installing(result["install"]),
        *redirecting(result["redirection"]),
    ]
