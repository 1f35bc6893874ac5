# SPDX-License-Identifier: Apache-2.0
"""How long `install` takes, from start to end of the program: where there were no rules, where the same
are there already, and in place of others: then the kernel waits for a grace period when the program ends."""

import os
import statistics
import subprocess
import time

from server import Failure

ROUNDS = 20


def timed(site, *words):
    command = [os.path.join(site.build, "kuma-dns"), *words]
    began = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Failure(done.stderr.strip())
    return (time.perf_counter() - began) * 1000


def measure(site):
    """Medians, in ms; the program alone is what it takes to do nothing."""
    install = ["install", "--kuma-dp-user", "5678", "--capture-all"]
    times = {"alone_ms": [], "first_ms": [], "again_ms": [], "changed_ms": []}
    for _ in range(ROUNDS):
        times["alone_ms"].append(timed(site, "--version"))
        times["first_ms"].append(timed(site, *install))
        times["again_ms"].append(timed(site, *install))
        times["changed_ms"].append(timed(site, *install, "--ip-family-mode", "ipv4"))
        timed(site, "uninstall")
    return {name: statistics.median(values) for name, values in times.items()}
