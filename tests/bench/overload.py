# SPDX-License-Identifier: Apache-2.0
"""More than can be answered: three times the capacity, names of two kinds, and connections beside datagrams.

What comes later than the deadline is not an answer any more. Queries leave when they are due, whatever comes back;
what the load could not send in time is not counted, and said.
"""

import statistics

import ours
import peers
import rounds
from server import answers, listens, running

TIMES = 3  # the capacity
DEADLINE_S = 0.1
QUIET_RATE = 20_000  # before and after
UPSTREAM_DELAY_S = 0.02
CONNECTIONS = 100
BESIDE = 0.4  # of the capacity, beside connections that come and go
SOCKETS = ["--sockets", "20", "--window", "4096", "--timeout", str(DEADLINE_S)]


def parts(quick):
    """Seconds in all, and when the surge begins and ends."""
    return (2.5, 0.5, 1.5) if quick else (6.0, 1.0, 4.0)


def surge(bench, rate):
    seconds, begin, end = parts(bench.quick)
    return [*SOCKETS, "--rate", str(QUIET_RATE), "--surge", str(int(rate)), "--warmup", str(bench.warmup),
            "--seconds", str(seconds), "--middle-from", str(begin), "--middle-to", str(end)]  # fmt: skip


def capacity(bench, server, name):
    arguments = ["--sockets", "20", "--seconds", str(bench.seconds), "--warmup", str(bench.warmup)]
    fixed = ["--fixed"] if name == "echo" else []
    return bench.load(server, "names", [*arguments, *fixed], f"{name}, capacity")["qps"]


def answered(part):
    """The share of what was asked; None where nothing was."""
    return part["answers"] / part["asked"] if part["asked"] else None


def measure_surge(bench, peer):
    """Datagrams with local names alone."""
    name, address, _ = bench.site.names[0]
    seconds, begin, end = parts(bench.quick)
    fixed = ["--fixed"] if peer.name == "echo" else []
    with running(peer.roles["local"](bench.site), bench.cores) as server:
        server.wait_until(listens("udp") if peer in peers.LIMITS else answers(name, address))
        most = capacity(bench, server, peer.name)
        result = bench.load(server, "names", [*surge(bench, TIMES * most), *fixed], f"{peer.name}, overload")
    during = result["parts"]["during"]
    return {"server": peer.name, "capacity": most, "offered": during["asked"] / (end - begin),
            "goodput": during["answers"] / (end - begin), "ratio": during["answers"] / (end - begin) / most,
            "p99_us": during["p99_us"], "recovered_ms": result["recovered_ms"], "load": result}  # fmt: skip


def measure_mixed(bench):
    """As many names of the mesh as others, which a slow upstream answers."""
    name, address, _ = bench.site.names[0]
    mixed = ["--mixed", bench.site.path("unique"), "--mixed-sockets", "10", *rounds.UPSTREAM,
             "--upstream-delay", str(UPSTREAM_DELAY_S)]  # fmt: skip
    with running(ours.kuma_dns(bench.site), bench.cores) as server:
        server.wait_until(answers(name, address))
        before_kb = server.pss_kb()
        most = capacity(bench, server, "kuma-dns")
        result = bench.load(server, "names", [*surge(bench, 2 * most), *mixed], "overload with two kinds of names")
        after_kb, peak_kb = server.pss_kb(), server.peak_kb()
    local, forwarded = result["parts"]["during"], result["mixed"]["parts"]["during"]
    return {"local_answered": answered(local), "forwarded_answered": answered(forwarded),
            "local_p99_us": local["p99_us"], "forwarded_p99_us": forwarded["p99_us"],
            "recovered_ms": max(result["recovered_ms"], result["mixed"]["recovered_ms"]),
            "before_kb": before_kb, "after_kb": after_kb, "peak_rss_kb": peak_kb, "load": result}  # fmt: skip


def measure_beside(bench):
    """Datagrams below the capacity, without and with connections that come and go as fast as they can."""
    name, address, _ = bench.site.names[0]
    with running(ours.kuma_dns(bench.site), bench.cores) as server:
        server.wait_until(answers(name, address))
        rate = BESIDE * capacity(bench, server, "kuma-dns")
        arguments = [*SOCKETS, "--rate", str(int(rate)), "--seconds", str(bench.seconds), "--warmup", "0.3"]
        alone = bench.load(server, "names", arguments, "datagrams alone")
        churn = [*arguments, "--churn", str(CONNECTIONS)]
        beside = bench.load(server, "names", churn, "datagrams beside connections")
    return {"rate": rate, "alone": alone, "beside": beside, "answered": beside["qps"] / rate,
            "connections_per_s": beside["connections"] / beside["seconds"]}  # fmt: skip


def measure_all(bench):
    """In turns with the limit, which shows what the machine itself does when it is asked too much."""
    runs = []
    for _ in range(1 if bench.quick else 3):
        for peer in (peers.LIMITS[0], peers.PEERS[0]):
            run = bench.attempt(f"{peer.name}, overload", measure_surge, bench, peer)
            runs += [run] if run else []
    return {
        "surges": runs,
        "mixed": bench.attempt("overload with two kinds of names", measure_mixed, bench),
        "beside": bench.attempt("datagrams beside connections", measure_beside, bench),
    }


def median(result, server, key):
    values = [run[key] for run in result["surges"] if run["server"] == server]
    return statistics.median(values) if values else None
