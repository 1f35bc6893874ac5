# SPDX-License-Identifier: Apache-2.0
"""What was promised, and whether it is kept."""

import collections
import statistics

import failover
import memory
import overload
import redirection
from rounds import NAMES, OWN_LOCAL, RATE
from summary import cpu_ratio, p99_ratio, pairs_of, runs_of, throughput_ratio

# What, the number found as text, and whether it is met: None where it was not measured.
Target = collections.namedtuple("Target", "text found met")

FROM_CACHE = 0.99  # less, and it is not the cache that was measured
PAIRS = 5  # with fewer, a ratio to the limit says little
OVERLOAD_KB = 4096 + 1024  # beside the cache: 4,096 transactions of 1 KiB, and as much as memory.MARGIN_KB


def target(text, value, form, limit, at_least=False):
    """@param value  None where it was not measured"""
    if value is None:
        return Target(text, "not measured", None)
    return Target(text, form.format(value), value >= limit if at_least else value <= limit)


def median(values):
    return statistics.median(values) if values else None


def local(runs):
    ours, echo = runs_of(runs, "udp", "kuma-dns"), runs_of(runs, "udp", "echo")
    quiet, pairs = pairs_of(ours, echo)
    form = "{:.2f}" if len(pairs) >= PAIRS else f"{{:.2f}} (of {len(pairs)} pairs)"
    form += f" ({len(pairs) - len(quiet)} disturbed)" if len(quiet) < len(pairs) else ""
    yield target("local answers, throughput ≥ 0.90 of echo", throughput_ratio(ours, echo), form, 0.90, at_least=True)
    yield target("local answers, CPU a query ≤ 1.1 of echo's", cpu_ratio(ours, echo), form, 1.1)
    rate, rate_echo = runs_of(runs, "rate", "kuma-dns"), runs_of(runs, "rate", "echo")
    yield target(f"{RATE:,} queries/s, CPU a query ≤ 1.1 of echo's", cpu_ratio(rate, rate_echo), "{:.2f}", 1.1)
    yield target(f"{RATE:,} queries/s, p99 ≤ 1.1 of echo's", p99_ratio(rate, rate_echo), "{:.2f}", 1.1)
    for name in dict.fromkeys(run["server"] for run in runs if run["workload"] == "udp"):
        if name not in ("kuma-dns", "echo"):
            ratio = cpu_ratio(ours, runs_of(runs, "udp", name))
            yield target(f"local answers, CPU a query less than {name}'s", ratio, "{:.2f} of it", 1)


def streams(runs, summary):
    ours = runs_of(runs, "tcp1", "kuma-dns")
    ratio = cpu_ratio(ours, runs_of(runs, "tcp1", "knot"))
    yield target("TCP, 1 in flight: CPU a query less than knot's", ratio, "{:.2f} of it", 1)
    line, limit = (summary["tcp16"].get(name) for name in ("kuma-dns", "echo"))
    wanted = min(1_000_000, limit["qps"] / 2) if limit else 1_000_000
    yield target("TCP, 16 in flight: ≥ 1,000,000 queries/s, or half of echo's", line and line["qps"], "{:,.0f}",
                 wanted, at_least=True)  # fmt: skip


def footprint(memory_kb, start_up, cost):
    pss = median(memory_kb.get("kuma-dns"))
    yield target(f"memory with {NAMES:,} names ≤ 4 MB (PSS)", pss and pss / 1024, "{:.1f} MB", 4)
    times = start_up.get("kuma-dns")
    yield target("start to ready ≤ 20 ms", times and median(times["ready_ms"]), "{:.0f} ms", 20)
    size = cost and cost["stripped_octets"]
    yield target("stripped program ≤ 1 MB", size and size / 1e6, "{:.2f} MB", 1)
    idle = cost and cost["idle"]
    quiet = idle and idle["settled"]  # else upstreams are still looked after, as they are for a while
    yield target(f"wake-ups in {idle['seconds'] if idle else 10:g} s of idleness: none",
                 idle["switches"] if quiet else None, "{}", 0)  # fmt: skip


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
        yield target(f"from the cache, CPU a query less than {name}'s", ratio, "{:.2f} of it", 1)


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
    yield target("install ≤ 5 ms, where they are there already", times and times["again_ms"], "{:.1f} ms", 5)


def redirecting(found):
    for sockets in redirection.SOCKETS:
        ratio = redirection.ratio(found, "ebpf", sockets)
        text = f"eBPF, {sockets} sockets: CPU a query ≤ {redirection.LIMIT} of a direct one's"
        yield target(text, ratio, "{:.2f}", redirection.LIMIT)
    flows = redirection.flows(found, "ebpf")
    yield target(f"eBPF, {redirection.QUERIES:,} queries from new sockets: flows tracked, none", flows, "{}", 0)


def scaling(result):
    if result is None:
        yield target("the table's size", None, "", 0)
        return
    lines = result["lines"]
    most = max(lines)
    ratio = lines[1_000]["server_cpu_us"] / lines[most]["server_cpu_us"]
    yield target(f"{most:,} names: throughput ≥ 0.8 of that with 1,000 (by CPU a query)", ratio, "{:.2f}", 0.8,
                 at_least=True)  # fmt: skip
    line = lines[most]
    yield target(f"{most:,} names: ≤ 120 octets a name beside it (PSS)", line["octets_beyond_name"], "{:.0f}", 120)
    yield target(f"{most:,} names: loaded in ≤ 1.5 µs a name", line["load_us"], "{:.2f} µs", 1.5)
    documents = result["documents"]
    if documents:
        ratio = documents["few_ms"] / documents["same_ms"]
        yield target("a table with ten other names of 100,000: ≤ 2 of what reading costs", ratio, "{:.1f}", 2)
    replacing = result["replacing"]
    if replacing:
        lost = replacing["quiet"]["lost"] + replacing["replacing"]["lost"]
        ratio = replacing["replacing"]["p99_us"] / replacing["quiet"]["p99_us"]
        grown = replacing["after_kb"] / replacing["before_kb"]
        yield target("a table replaced each second: queries lost, none", lost, "{}", 0)
        yield target("a table replaced each second: p99 ≤ 2 of the quiet one", ratio, "{:.2f}", 2)
        yield target("a table replaced each second: memory afterwards ≤ 1.05 of before", grown, "{:.2f}", 1.05)


def overloaded(result, cache_size):
    if result is None:
        yield target("overload", None, "", 0)
        return
    offered = overload.median(result, "kuma-dns", "offered")
    most = overload.median(result, "kuma-dns", "capacity")
    text = f"offered {offered / most:.1f} times" if offered else "overload:"
    yield target(f"{text} the capacity: goodput ≥ 0.9 of it", overload.median(result, "kuma-dns", "ratio"), "{:.2f}",
                 0.9, at_least=True)  # fmt: skip
    yield target("overload: recovered within a second", overload.median(result, "kuma-dns", "recovered_ms"),
                 "{:.0f} ms", 1000)  # fmt: skip
    mixed = result["mixed"]
    if mixed:
        # Both are more than can be answered: who comes first shows in the share of each.
        ratio = mixed["local_answered"] / max(mixed["forwarded_answered"], 0.001)
        yield target("overload, half of it forwarded: of mesh names answered ≥ 2 times the share of others", ratio,
                     "{:.2f}", 2, at_least=True)  # fmt: skip
        yield target("overload, half of it forwarded: recovered within a second", mixed["recovered_ms"],
                     "{:.0f} ms", 1000)  # fmt: skip
        limit = ((cache_size or 0) / 1024 + OVERLOAD_KB) / 1024
        yield target(f"overload, half of it forwarded: memory grows by ≤ {limit:.0f} MiB",
                     (mixed["after_kb"] - mixed["before_kb"]) / 1024, "{:.1f} MiB", limit)  # fmt: skip
    beside = result["beside"]
    if beside:
        yield target(f"{beside['connections_per_s']:,.0f} TCP connections/s beside: datagrams answered ≥ 0.99",
                     beside["answered"], "{:.3f}", 0.99, at_least=True)  # fmt: skip


def judge(result):
    """All of them; none where kuma-dns was not measured."""
    runs = result["runs"]
    if not any(run["server"] == "kuma-dns" for run in runs):
        return []
    times = result["workers"] and result["workers"]["times"]
    return [
        *local(runs),
        *streams(runs, result["summary"]),
        *forwarding(runs),
        *caching(runs, result["summary"]),
        *failing(failover.summarize(result["failover"])),
        *bounded(result["memory"]),
        *installing(result["install"]),
        *redirecting(result["redirection"]),
        *scaling(result["scale"]),
        *footprint(result["memory_kb"], result["start_up"], result["cost"]),
        *overloaded(result["overload"], result["settings"]["cache_size"]),
        target("two workers on two cores: ≥ 1.8 times one", times, "{:.2f}", 1.8, at_least=True),
    ]
