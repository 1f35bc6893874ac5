# SPDX-License-Identifier: Apache-2.0
"""From ten names to a million: throughput, memory, loading; and a table that is replaced while it is in use."""

import json
import os
import statistics
import subprocess
import threading
import time

import ours
import rounds
import setting
from server import Failure, answers, running

COUNTS = (10, 1_000, 100_000, 1_000_000)
QUICK_COUNTS = (10, 1_000, 100_000)
REPLACED = 100_000  # names of the table that is replaced, and that is loaded by peers
LOADERS = ("kuma-dns", "nsd", "knot", "dnsmasq")
SETTLED_S = 1.5  # until a table that was replaced has been freed
TAKEN_S = 0.4  # until a document that was put there has been read, with a table of REPLACED names
FEW = 10  # names that are others in a document that is nearly the same
SAMPLES = 4  # of memory afterwards, each after one more table: what malloc gives back is not always the same
OPTIONS = ["--table-max-size", "1GiB"]


def load_table(site, times):
    """The daemon's own function, in a program of its own. @return µs a name, octets held, those of names alone"""
    command = [f"{site.build}/bench/load_table", site.path("table.json"), str(times)]
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if ran.returncode != 0:
        raise Failure(ran.stderr.strip())
    found = json.loads(ran.stdout)
    return {"load_us": statistics.median(found["us"]) / found["names"],
            "table_octets": found["octets"] / found["names"],
            "name_octets": found["of_names"] / found["names"]}  # fmt: skip


def measure_once(bench, site):
    """Start, saturate for a while. @return one run"""
    name, address, _ = site.names[-1]
    with running(ours.kuma_dns(site, more=OPTIONS), bench.cores) as server:
        first_ms = server.wait_until(answers(name, address))
        arguments = ["--seconds", str(bench.seconds), "--warmup", str(bench.warmup)]
        result = bench.load(server, site.path("names"), arguments, f"{len(site.names):,} names")
        return {"first_answer_ms": first_ms, "pss_kb": server.pss_kb(), **result}


def summarize(bench, sites, runs):
    """For each number of names: medians, and what one more name takes. PSS is what the kernel counts."""
    keys = ("first_answer_ms", "pss_kb", "qps", "server_cpu_us", "server_busy", "p99_us")
    lines = {count: {key: statistics.median(run[key] for run in runs[count]) for key in keys} for count in runs}
    base_kb = lines[min(lines)]["pss_kb"]
    for count, line in lines.items():
        line.update(load_table(sites[count], 2 if count > REPLACED or bench.quick else 5))
        octets = (line["pss_kb"] - base_kb) * 1024 / count - line["name_octets"]
        line["octets_beyond_name"] = octets if count >= 1_000 else None  # less than what pages round up to
    return lines


class Replacer(threading.Thread):
    """Puts one of two documents in a file's place, in turns, every second."""

    def __init__(self, path, documents):
        super().__init__(daemon=True)
        self.path = path
        self.documents = documents
        self.over = threading.Event()
        self.count = 0

    def put(self):
        """A link and a rename: the documents are there already, and writing them would cost the load its core."""
        document = self.documents[self.count % len(self.documents)]
        os.link(document, self.path + ".new")
        os.replace(self.path + ".new", self.path)
        self.count += 1

    def run(self):
        while not self.over.wait(1):
            self.put()

    def stop(self):
        self.over.set()
        self.join()


def with_others(names, each):
    """The same names; each so many-th has another address."""
    return [(name, a, aaaa.replace("::ffff:f1", "::ffff:f2") if i % each == 0 else aaaa)
            for i, (name, a, aaaa) in enumerate(names)]  # fmt: skip


def with_few_others(names):
    """The same names but for FEW: of these every other one has another address, and every other one another name."""
    each = len(names) // FEW
    other = with_others(names, each)
    other[::2 * each] = [("a-new-" + name, a, aaaa) for name, a, aaaa in names[::2 * each]]
    return sorted(other)


def thread_ms(server):
    """CPU time that the main thread has had, and that the others have had, in ms."""
    pid = str(server.process.pid)
    sums = [0, 0]
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat", encoding="utf-8") as file:
                sums[task != pid] += int(file.read().split()[0]) / 1e6
        return sums
    except OSError as error:
        server.check_alive()
        raise Failure(f"CPU time cannot be read: {error}") from error


def document_costs(bench, site, server, replacer):
    """CPU times of the main thread, and of workers, for each of some documents that are put there, in turns."""
    times = []
    before = generation(site)
    for _ in range(2 if bench.quick else 6):
        started = thread_ms(server)
        replacer.put()
        time.sleep(TAKEN_S)
        times.append([after - former for after, former in zip(thread_ms(server), started)])
    server.check_alive()
    return times, generation(site) - before


def measure_documents(bench, site):
    """What a document costs, in ms: one that says the same, one with a few other names, another one."""
    first = site.path("table.json")
    seconds = {
        "same_ms": site.write("same.json", setting.document(site.names)),
        "few_ms": site.write("few.json", setting.document(with_few_others(site.names))),
        "all_ms": site.write("all.json", setting.document(with_others(site.names, 1))),
    }
    found = {}
    name, address, _ = site.names[-1]
    for kind, second in seconds.items():
        file = f"changing-{kind}.json"
        replacer = Replacer(site.path(file), [first, second])
        replacer.put()
        with running(ours.kuma_dns(site, file, more=OPTIONS), bench.cores) as server:
            server.wait_until(answers(name, address))
            time.sleep(TAKEN_S)
            times, taken = document_costs(bench, site, server, replacer)
        found[kind], found[f"{kind}_of_workers"] = (statistics.median(of) for of in zip(*times))
        if taken != (0 if kind == "same_ms" else len(times)) or found[kind] == 0:
            raise Failure(f"{len(times)} documents, {taken} tables, {found[kind]:.1f} ms each")
    return found


def generation(site):
    """How often the daemon has had a table."""
    command = [f"{site.build}/kuma-dns", "metrics", "--admin-socket", site.path("admin.sock")]
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    found = [line.split()[-1] for line in ran.stdout.splitlines() if line.startswith("kuma_dns_table_generation")]
    return int(float(found[0])) if found else 0


def sample_again(server, replacer):
    replacer.put()
    time.sleep(SETTLED_S)
    return server.pss_kb()


def measure_replacing(bench, site):
    """Quiet, then with a new table each second: latency, what was lost, and memory."""
    seconds = 3.0 if bench.quick else 10.0
    arguments = ["--rate", str(rounds.RATE), "--run", "1", "--seconds", str(seconds), "--warmup", str(bench.warmup)]
    documents = [site.path("table.json"), site.write("other.json", setting.document(with_others(site.names, 1)))]
    replacer = Replacer(site.path("changing.json"), documents)
    replacer.put()
    name, address, _ = site.names[-1]
    with running(ours.kuma_dns(site, "changing.json", more=OPTIONS), bench.cores) as server:
        server.wait_until(answers(name, address))
        quiet = bench.load(server, site.path("names"), arguments, "before the table is replaced")
        before_kb, before = server.pss_kb(), generation(site)
        replacer.start()
        try:
            changing = bench.load(server, site.path("names"), arguments, "while the table is replaced")
        finally:
            replacer.stop()
        time.sleep(SETTLED_S)
        put, taken = replacer.count - 1, generation(site) - before
        after_kb = [server.pss_kb(), *(sample_again(server, replacer) for _ in range(SAMPLES - 1))]
        result = {"quiet": quiet, "replacing": changing, "before_kb": before_kb, "after_kb": max(after_kb),
                  "samples_kb": after_kb, "peak_kb": server.peak_kb(), "put": put, "taken": taken}  # fmt: skip
    if result["taken"] < result["put"] / 2:
        raise Failure(f"{result['put']} tables were put there, and {result['taken']} were read")
    return result


def measure_loaders(bench, site, chosen):
    """Milliseconds until the first right answer with 100,000 names, and the number of names."""
    found = {}
    name, address, _ = site.names[-1]
    for peer in [peer for peer in chosen if peer.name in LOADERS]:

        def start(peer=peer):
            with running(peer.roles["local"](site), bench.cores) as server:
                return server.wait_until(answers(name, address))

        times = [bench.attempt(f"{peer.name}, {len(site.names):,} names", start)
                 for _ in range(1 if bench.quick else 3)]  # fmt: skip
        times = [ms for ms in times if ms]
        if times:
            found[peer.name] = statistics.median(times)
    return found


def measure_all(bench, chosen):
    counts = QUICK_COUNTS if bench.quick else COUNTS
    sites = {count: bench.site.smaller_or_larger(count) for count in counts}
    runs = {count: [] for count in counts}
    for _ in range(1 if bench.quick else 3):
        for count in counts:
            run = bench.attempt(f"{count:,} names", measure_once, bench, sites[count])
            runs[count] += [run] if run else []
    if not all(runs.values()):
        return None
    return {
        "lines": summarize(bench, sites, runs),
        "replacing": bench.attempt("a table that is replaced", measure_replacing, bench, sites[REPLACED]),
        "documents": bench.attempt("documents", measure_documents, bench, sites[REPLACED]),
        "first_answer_ms": measure_loaders(bench, sites[REPLACED], chosen),
    }
