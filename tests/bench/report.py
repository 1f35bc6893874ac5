# SPDX-License-Identifier: Apache-2.0
"""What is printed in the end."""

import statistics

import failover
import memory
import overload
import redirection
from rounds import NAMES, WORKLOADS
from summary import BUSY


def print_table(title, head, lines):
    print(f"\n{title}")
    widths = [max(len(str(row[i])) for row in [head, *lines]) for i in range(len(head))]
    for row in [head, *lines]:
        cells = [str(cell).ljust(width) if i == 0 else str(cell).rjust(width)
                 for i, (cell, width) in enumerate(zip(row, widths))]  # fmt: skip
        print("  " + "  ".join(cells))


def number(value, form="{:.2f}"):
    return "–" if value is None else form.format(value)


def print_workload(name, lines):
    workload = WORKLOADS[name]
    compared = "of local" if name == "cached" else f"of {workload.reference}"
    cached = ["from cache"] if name == "cached" else []
    head = ["", "queries/s", compared, "spread", "CPU µs", compared, "busy", *cached]
    head += ["p50 µs", "p99 µs", "p99.9 µs", "lost"]
    rows = [
        [
            server, f"{line['qps']:,.0f}", number(line["ratio"]), f"{line['spread']:.0%}",
            f"{line['server_cpu_us']:.2f}", number(line["cpu_ratio"]), f"{line['server_busy']:.0%}",
            *([f"{line['from_cache']:.0%}"] if cached and server != workload.reference else ["–"] * len(cached)),
            f"{line['p50_us']:.0f}", f"{line['p99_us']:.0f}", f"{line['p999_us']:.0f}", line["lost"],
        ]
        for server, line in lines.items()
    ]  # fmt: skip
    print_table(workload.title, head, rows)
    disturbed = ", ".join(f"{server} {line['disturbed']}" for server, line in lines.items() if line["disturbed"])
    if disturbed:
        print(f"  rounds in which a server got less than {BUSY:.0%} of its core: {disturbed}")
        print("  (not counted in its ratios; where none is left, those of the CPU times of all rounds are)")


def print_start_up(start_up, memory_kb):
    rows = []
    for name, times in start_up.items():
        memory_mb = statistics.median(memory_kb[name]) / 1024 if name in memory_kb else None
        ready = statistics.median(times["ready_ms"]) if "ready_ms" in times else None
        first = statistics.median(times["first_answer_ms"])
        rows.append([name, number(memory_mb, "{:.1f}"), number(first, "{:.1f}"), number(ready, "{:.1f}")])
    if rows:
        print_table(f"with {NAMES:,} names", ["", "memory MB (PSS, after load)", "first answer ms", "/ready ms"], rows)


def print_failover(lines, quick):
    before, during, after = failover.seconds(quick)
    rows = [
        [
            line["server"], "first" if line["silent"] == 1 else "second", line["rounds"],
            *(f"{line[f'{part}_ms']:.1f}" for part in failover.PARTS), f"{line['added_ms']:.1f}",
            line["queries"], line["lost"], line["failed"],
        ]
        for line in lines
    ]  # fmt: skip
    if rows:
        title = f"one of two servers is silent for {during:g} s, {failover.RATE:,} queries a second, none asked twice; "
        title += f"the slowest answer in the {before:g} s before, meanwhile, and in the {after:g} s after"
        head = ["", "silent", "rounds", *(f"{part} ms" for part in failover.PARTS), "added ms"]
        print_table(title, [*head, "queries", "lost", "failed"], rows)


def print_memory(result):
    row = [result["server"]]
    row += [f"{result[key] / 1024:.2f}" for key in ("cache_kb", "before_kb", "peak_kb", "after_kb")]
    row += [f"{memory.growth_kb(result) / 1024:.2f}", f"{result['load']['qps']:,.0f}"]
    head = ["", "cache MiB", "PSS before", "at most", "after", "growth", "queries/s"]
    print_table(f"{result['names']:,} different names, forwarded", head, [row])


def print_install(times):
    row = ["", *(f"{times[key]:.1f}" for key in ("first_ms", "again_ms", "changed_ms", "alone_ms"))]
    head = ["", "first ms", "the same again ms", "in place of others ms", "a program that does nothing ms"]
    print_table("install", head, [row])


def print_redirection(found):
    rows = []
    for means in redirection.MEANS:
        row = [means]
        for sockets in redirection.SOCKETS:
            row += [number(redirection.median(found, means, sockets)), number(redirection.ratio(found, means, sockets))]
        rows.append([*row, number(redirection.flows(found, means), "{:,}")])
    head = ["", "lasting sockets, µs", "of direct", "a socket for each query, µs", "of direct", "flows tracked"]
    print_table("redirected queries, CPU of server and client together", head, rows)
    for failure in found.get("failures", []):
        print(f"  {failure}")


def print_scale(result):
    rows = [
        [
            f"{count:,}", f"{line['qps']:,.0f}", f"{line['server_cpu_us']:.2f}", f"{line['server_busy']:.0%}",
            f"{line['load_us']:.2f}", f"{line['first_answer_ms']:.1f}", f"{line['pss_kb'] / 1024:.1f}",
            number(line["octets_beyond_name"], "{:.0f}"), f"{line['table_octets'] - line['name_octets']:.0f}",
        ]
        for count, line in result["lines"].items()
    ]  # fmt: skip
    print_table("kuma-dns with more names; octets beside each name, by PSS against the smallest and by its own account",
                ["names", "queries/s", "CPU µs", "busy", "load µs/name", "first answer ms", "PSS MB", "octets/name",
                 "of the table"], rows)  # fmt: skip
    rows = [[name, f"{ms:.0f}"] for name, ms in result["first_answer_ms"].items()]
    if rows:
        print_table("100,000 names, from start to the first right answer", ["", "ms"], rows)
    replacing = result["replacing"]
    if replacing:
        rows = [[text, f"{run['p50_us']:.0f}", f"{run['p99_us']:.0f}", f"{run['p999_us']:.0f}", run["lost"]]
                for text, run in (("before", replacing["quiet"]), ("meanwhile", replacing["replacing"]))]  # fmt: skip
        print_table("100,000 names, another table each second, 20,000 queries/s",
                    ["", "p50 µs", "p99 µs", "p99.9 µs", "lost"], rows)  # fmt: skip
        before, after, peak = (replacing[key] / 1024 for key in ("before_kb", "after_kb", "peak_kb"))
        print(f"  {replacing['put']} tables, {replacing['taken']} taken; PSS {before:.1f} MB before, {after:.1f} after, "
              f"at worst; resident at most {peak:.1f}")  # fmt: skip
    documents = result["documents"]
    if documents:
        rows = [[text, f"{documents[key]:.1f}", f"{documents[f'{key}_of_workers']:.2f}"] for text, key in
                (("that says the same", "same_ms"), ("with ten other names", "few_ms"), ("with all others", "all_ms"))]
        print_table("100,000 names, what a new document costs", ["", "main thread, ms", "worker, ms"], rows)


def print_overload(result):
    rows = [
        [server, *(number(overload.median(result, server, key), form) for key, form in
                   (("capacity", "{:,.0f}"), ("offered", "{:,.0f}"), ("goodput", "{:,.0f}"), ("ratio", "{:.2f}"),
                    ("p99_us", "{:,.0f}"), ("recovered_ms", "{:.0f}")))]
        for server in dict.fromkeys(run["server"] for run in result["surges"])
    ]  # fmt: skip
    print_table(f"overload; what takes more than {overload.DEADLINE_S * 1e3:.0f} ms is no answer",
                ["", "capacity/s", "offered/s", "answered/s", "of capacity", "p99 µs", "trouble afterwards ms"],
                rows)  # fmt: skip
    mixed = result["mixed"]
    if mixed:
        rows = [[text, f"{mixed[f'{key}_answered']:.0%}", f"{mixed[f'{key}_p99_us']:,.0f}"]
                for text, key in (("of the mesh", "local"), ("forwarded", "forwarded"))]  # fmt: skip
        print_table(f"overload with two kinds of names; the upstream takes {overload.UPSTREAM_DELAY_S * 1e3:.0f} ms",
                    ["", "answered", "p99 µs"], rows)  # fmt: skip
        print(f"  PSS {mixed['before_kb'] / 1024:.1f} MB before, {mixed['after_kb'] / 1024:.1f} after; "
              f"trouble until {mixed['recovered_ms']:.0f} ms afterwards")
    beside = result["beside"]
    if beside:
        rows = [[text, f"{run['qps']:,.0f}", f"{run['server_busy']:.0%}", f"{run['p99_us']:,.0f}", run["lost"]]
                for text, run in (("alone", beside["alone"]), ("beside connections", beside["beside"]))]  # fmt: skip
        title = f"datagrams, {beside['rate']:,.0f} a second, and {beside['connections_per_s']:,.0f} TCP connections"
        print_table(title, ["", "answers/s", "busy", "p99 µs", "lost"], rows)  # fmt: skip


def print_cost(cost, workers):
    rows = [[f"instructions a query, {kind}", number(count, "{:,.0f}")] for kind, count in cost["instructions"].items()]
    if cost["stripped_octets"]:
        rows.append(["stripped program, octets", f"{cost['stripped_octets']:,}"])
    if cost["idle"]:
        rows.append([f"wake-ups in {cost['idle']['seconds']:g} s of idleness", cost["idle"]["switches"]])
    if workers:
        rows.append(["CPU µs a query, one worker and two", " ".join(f"{us:.2f}" for us in workers["cpu_us"])])
        rows.append(["queries/s, one worker and two", " ".join(f"{qps:,.0f}" for qps in workers["qps"])])
    print_table("kuma-dns alone", ["", ""], rows)


def print_all(result):
    for workload, lines in result["summary"].items():
        if lines:
            print_workload(workload, lines)
    print_start_up(result["start_up"], result["memory_kb"])
    print_failover(failover.summarize(result["failover"]), result["settings"]["quick"])
    if result["memory"]:
        print_memory(result["memory"])
    if result["install"]:
        print_install(result["install"])
    print_redirection(result["redirection"])
    if result["scale"]:
        print_scale(result["scale"])
    if result["overload"]:
        print_overload(result["overload"])
    if result["cost"]:
        print_cost(result["cost"], result["workers"])
    if result["dnsperf_qps"]:
        rows = [[name, number(qps, "{:,.0f}")] for name, qps in result["dnsperf_qps"].items()]
        print_table("local answers, saturated, as dnsperf counts them (it needs more CPU than a fast server)",
                    ["", "queries/s"], rows)  # fmt: skip
    verdicts = {True: "met", False: "MISSED", None: ""}
    rows = [[text, found, verdicts[met]] for text, found, met in result["targets"]]
    if rows:
        print_table("targets", ["", "found", ""], rows)
    if result["failures"]:
        print_table("not measured, because of a failure", [""], [[text] for text in result["failures"]])
