# SPDX-License-Identifier: Apache-2.0
"""What the released daemon takes of the machine: memory, wake-ups, the time until it is ready.

A sanitizer has memory and time of its own: where only such a build is there, these tests are skipped.
"""

import concurrent.futures
import json
import pathlib
import re
import threading
import time

import pytest

import daemon as daemons
import namespaces
from clients import addresses_of, ask
from daemon import eventually

pytestmark = pytest.mark.skipif(
    daemons.released() is None, reason="no released build: a sanitizer has memory and time of its own")

# Names as the control plane's default templates make them.
TEMPLATES = ["service-{}.svc.mesh.local", "service-{}.shop.svc.east.mesh.local", "multi-{}.mzsvc.mesh.local",
             "external-{}.extsvc.mesh.local"]  # fmt: skip
CALM_S = 36  # upstreams are looked after for 30 s after a question, and their ports kept for some more
IDLE_S = 5
LAST = "service-0.svc.mesh.local"


def document(count, first_octet=241):
    """So many names, each with an IPv4 address and its IPv4-mapped form."""
    names = {TEMPLATES[i % 4].format(i): (i >> 16 & 255, i & 0xffff) for i in range(count)}
    records = [{"name": name, "ips": [f"{first_octet}.{high}.{low >> 8}.{low & 255}",
                                      f"::ffff:{first_octet:x}{high:02x}:{low:x}"]}
               for name, (high, low) in sorted(names.items())]  # fmt: skip
    return json.dumps({"records": records, "ttl": 30}, separators=(",", ":")).encode()


def memory_kb(one, key):
    """Of all its memory: "Pss", where what it shares counts in part; "Rss"."""
    text = pathlib.Path(f"/proc/{one.process.pid}/smaps_rollup").read_text()
    return int(re.search(rf"^{key}:\s*(\d+)", text, re.M)[1])


def served_from(one, first_octet):
    """Wait until the table with these addresses is served; a worker frees the old one when it takes the new one."""
    eventually(lambda: addresses_of(ask(LAST, port=daemons.PORT)) == [f"{first_octet}.0.0.0"])
    return one


def test_memory_returns_when_a_large_table_is_replaced(mesh, record_property):
    # malloc raised its threshold to the size of a document, and tables left gaps in its heap: 11 MB became 20.
    documents = {octet: document(100_000, octet) for octet in (241, 242)}
    mesh.envoy.push(documents[241])
    one = served_from(mesh.start("--no-redirect", program=daemons.released()), 241)
    time.sleep(0.2)  # decoding is over, and what it took given back
    before = memory_kb(one, "Rss")
    for octet in [242, 241] * 10:
        mesh.envoy.push(documents[octet])
        served_from(one, octet)

        def is_back():
            return memory_kb(one, "Rss") <= before * 1.05
        is_back.__doc__ = f"no more than {before} KiB and 5 %, as before"
        eventually(is_back)
    peak = int(re.search(r"VmHWM:\s*(\d+)", pathlib.Path(f"/proc/{one.process.pid}/status").read_text())[1])
    record_property("resident (KiB)", f"{before}, at most {peak}")
    # While a table is replaced, the document, the old table and the new one are there, and nothing of their size besides.
    assert peak <= 2 * before + len(documents[241]) / 1024 + 2048


@pytest.mark.parametrize("source", ["socket", "file"])
def test_ten_thousand_names_take_four_megabytes_at_most(mesh, record_property, source):
    mesh.envoy.push(document(10_000))
    path = mesh.directory / "table.json"
    path.write_bytes(document(10_000))
    flags = ["--table-file", path] if source == "file" else []
    one = served_from(mesh.start("--no-redirect", *map(str, flags), program=daemons.released()), 241)

    def is_small():
        return memory_kb(one, "Pss") <= 4096
    is_small.__doc__ = "at most 4 MiB of proportional set size"
    eventually(is_small)
    record_property("proportional (KiB)", memory_kb(one, "Pss"))


def ready_after_ms(one):
    """From its start until /ready says 200."""
    eventually(lambda: one.get("/ready")[0] == 200, interval=0.0005)
    return (time.monotonic() - one.started) * 1000


@pytest.mark.parametrize("source", ["saved", "file"])
def test_ready_within_20_ms_with_ten_thousand_names(mesh, record_property, source):
    state, path = mesh.directory / "state", mesh.directory / "table.json"
    path.write_bytes(document(10_000))
    if source == "saved":
        mesh.envoy.push(document(10_000))
        served_from(mesh.start("--no-redirect", "--state-dir", str(state), program=daemons.released()), 241).stop()
        mesh.envoy.stop()
    flags = ["--table-file", str(path)] if source == "file" else ["--state-dir", str(state)]
    times = []
    while len(times) < 20 and (not times or min(times) > 20):  # others have the processor, too
        one = mesh.start("--no-redirect", *flags, ready=False, program=daemons.released())
        times.append(ready_after_ms(one))
        served_from(one, 241).stop()
    if source == "saved":
        mesh.envoy.start()
    record_property("start to ready (ms)", round(min(times), 1))
    assert min(times) <= 20, times


def switches(one):
    """How often each thread has gone to sleep: (the main thread, all others)."""
    counts = {int(task.name): int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", (task / "status").read_text(), re.M)[1])
              for task in pathlib.Path(f"/proc/{one.process.pid}/task").iterdir()}  # fmt: skip
    main = counts.pop(one.process.pid)
    return main, sum(counts.values())


def slept(one, seconds):
    """How often they went to sleep meanwhile, which something must have woken them for."""
    before = switches(one)
    time.sleep(seconds)
    return tuple(now - then for now, then in zip(switches(one), before))


# Flags of each: all with a cache, and with an upstream that is well and has been asked. Canaries, which go out
# in their time, and wake whoever they come to, are not what is counted.
SEEN_BY_ITS_POLL = "socket"
USUAL = {
    SEEN_BY_ITS_POLL: ["--no-redirect"],
    "file": ["--no-redirect", "--table-file", "{}/table.json", "--poll-interval", "1h"],
    "two workers": ["--no-redirect", "--workers", "2", "--poll-interval", "1h"],
    "redirection": ["--redirect-mode", "nftables", "--poll-interval", "1h"],
}


def start_usual(mesh, flags, port):
    flags = [flag.format(mesh.directory) for flag in flags]
    # Another address than that of resolv.conf, for which one of them has rules: they leave each other alone.
    one = mesh.start("--port", str(port), "--upstream", namespaces.RECURSIVE[6], *flags,
                     config={"table": {"pollInterval": "1s"}, "canary": {"interval": "1h"}}, program=daemons.released())  # fmt: skip
    assert addresses_of(ask("www.example.org", port=port)) == ["192.0.2.80"]
    return one


def write_meanwhile(path, over):
    """Something that lives beside the table's file, as logs do."""
    with open(path, "wb", buffering=0) as file:
        while not over.wait(0.05):
            file.write(b"x")


def test_nothing_wakes_an_idle_daemon_but_its_poll(mesh):
    (mesh.directory / "table.json").write_bytes(document(100))
    over = threading.Event()
    neighbour = threading.Thread(target=write_meanwhile, args=(mesh.directory / "neighbour", over), daemon=True)
    neighbour.start()
    started = {setting: start_usual(mesh, flags, daemons.PORT + number)
               for number, (setting, flags) in enumerate(USUAL.items())}  # fmt: skip
    time.sleep(CALM_S)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        counts = dict(zip(started, pool.map(lambda one: slept(one, IDLE_S), started.values())))
    over.set()
    neighbour.join()
    main, workers = counts.pop(SEEN_BY_ITS_POLL)
    # The timer, the answer, and perhaps an answer in two pieces.
    assert workers == 0 and main <= 3 * (IDLE_S + 1), (main, workers)
    assert set(counts.values()) == {(0, 0)}, counts
