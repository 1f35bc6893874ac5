# SPDX-License-Identifier: Apache-2.0
"""Whatever is asked, memory is bounded: millions of names that are all different, through a forwarder."""

import threading
import time

import rounds
from server import Failure, listens, running

SLOWEST = 20_000  # queries a second: slower than that, and we do not wait
INTERVAL_S = 0.5
MARGIN_KB = 1024  # beside the cache


def count(quick):
    return 400_000 if quick else 10_000_000


class Watch(threading.Thread):
    """Reads the memory of a server while it works."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server = server
        self.over = threading.Event()
        self.samples = []  # seconds, KiB

    def run(self):
        started = time.monotonic()
        while not self.over.wait(INTERVAL_S):
            try:
                self.samples.append((round(time.monotonic() - started, 1), self.server.pss_kb()))
            except Failure:
                return  # it is gone, and the load says so

    def stop(self):
        self.over.set()
        self.join()


def measure(bench, peer):
    """Proportional set size before, during and after, in KiB; the cache has its default size."""
    queries = count(bench.quick)
    arguments = ["--queries", str(queries), "--unique", "--fixed", *rounds.UPSTREAM]
    with running(peer.roles["memory"](bench.site), bench.cores) as server:
        server.wait_until(listens("udp"))
        time.sleep(INTERVAL_S)  # it may listen before it is through with its start
        before = server.pss_kb()
        watch = Watch(server)
        watch.start()
        try:
            result = bench.load(server, "unique", arguments, f"{peer.name}, {queries:,} names",
                                30 + queries / SLOWEST)  # fmt: skip
        finally:
            watch.stop()
        after = server.pss_kb()
    if result["upstream"] < queries * 0.99:
        raise Failure(f"only {result['upstream']:,} of {queries:,} names were asked upstream")
    peak = max([after, *(kb for _, kb in watch.samples)])
    return {
        "server": peer.name, "names": queries, "cache_kb": (bench.site.cache_size or 0) / 1024,
        "before_kb": before, "after_kb": after, "peak_kb": peak, "samples": watch.samples, "load": result,
    }  # fmt: skip


def growth_kb(result):
    """At its highest, and not only in the end."""
    return result["peak_kb"] - result["before_kb"]
