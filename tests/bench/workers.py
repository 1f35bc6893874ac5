# SPDX-License-Identifier: Apache-2.0
"""Two workers on two cores against one: whether they are in each other's way.

Where there are three cores, the load has one of its own, and throughput can be compared. Where there are two, it
shares one of them with a worker: then CPU time a query is what can be compared.
"""

import statistics

import ours
from server import answers, running

SOCKETS = ["--sockets", "64"]  # the kernel spreads them over the workers


def measure_once(bench, count, cores):
    name, address, _ = bench.site.names[0]
    with running(ours.kuma_dns(bench.site, workers=count), cores) as server:
        server.wait_until(answers(name, address))
        arguments = [*SOCKETS, "--seconds", str(bench.seconds), "--warmup", str(bench.warmup)]
        return bench.load(server, "names", arguments, f"{count} workers")


def measure(bench):
    """In turns. @return CPU time a query of one and of two, in µs; throughputs; how many times one is two"""
    one, two = [], []
    first, load = bench.cores
    shared = not bench.spare_cores
    both = {first, load if shared else bench.spare_cores[0]}
    for _ in range(1 if bench.quick else 5):
        one.append(measure_once(bench, 1, bench.cores))
        two.append(measure_once(bench, 2, (both, load)))
    cpu = [statistics.median(run["server_cpu_us"] for run in runs) for runs in (one, two)]
    qps = [statistics.median(run["qps"] for run in runs) for runs in (one, two)]
    return {"cpu_us": cpu, "qps": qps, "load_shares_a_core": shared,
            "times": 2 * cpu[0] / cpu[1] if shared else qps[1] / qps[0]}  # fmt: skip
