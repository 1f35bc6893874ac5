#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The picture of a benchmark: bars for CPU time a query and for throughput, as SVG.

    tests/bench/picture.py BENCH.JSON > bench.svg

Colours are readable on white and on black; those of the text follow what the reader prefers.
"""

import json
import sys
from xml.sax.saxutils import escape

import place

WIDTH, LEFT, BAR, STEP, GAP = 880, 120, 14, 20, 34
COLUMN = (WIDTH - LEFT - 20) // 2
VALUE = 70  # room for the figure behind the longest bar
COLOURS = {"kuma-dns": "#2f81f7", "limit": "#8b949e", "other": "#c69026"}
STYLE = """
text{font:12px system-ui,sans-serif;fill:#24292f}
.title{font-weight:600;font-size:13px}.small{font-size:11px}.own{font-weight:600}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}}
"""

# workload → its title
PANELS = {
    "udp": "Names of the mesh over UDP",
    "tcp1": "Names of the mesh over TCP, one query in flight on each of 20 connections",
    "tcp16": "Names of the mesh over TCP, 16 queries in flight on each of 20 connections",
    "forward": "Forwarded, nothing cached",
    "cached": "From the cache",
}


def text(x, y, content, kind=""):
    return f'<text x="{x}" y="{y}"{f" class={chr(34)}{kind}{chr(34)}" if kind else ""}>{escape(content)}</text>'


def colour(name):
    return COLOURS.get("limit" if name in ("echo", "forwarder") else name, COLOURS["other"])


def bars(x, y, lines, key, form):
    """One column of bars, a server each."""
    most = max(line[key] for line in lines.values()) or 1
    for i, (name, line) in enumerate(lines.items()):
        length = max(1, (COLUMN - VALUE) * line[key] / most)
        top = y + i * STEP
        yield f'<rect x="{x}" y="{top}" width="{length:.1f}" height="{BAR}" rx="2" fill="{colour(name)}"/>'
        yield text(f"{x + length + 5:.1f}", top + BAR - 3, form.format(line[key]), "small")


def panel(y, title, lines):
    """Names at the left, then a column for each figure. The least CPU time comes first."""
    lines = dict(sorted(lines.items(), key=lambda item: item[1]["server_cpu_us"]))
    yield text(10, y, title, "title")
    yield text(LEFT, y + 18, "CPU µs a query (less is better)", "small")
    yield text(LEFT + COLUMN, y + 18, "queries a second (more is better)", "small")
    y += 26
    for i, name in enumerate(lines):
        yield text(10, y + i * STEP + BAR - 3, name, "own" if name.startswith("kuma-dns") else "")
    yield from bars(LEFT, y, lines, "server_cpu_us", "{:.2f}")
    yield from bars(LEFT + COLUMN, y, lines, "qps", "{:,.0f}")


def draw(result):
    """@param result  what goes into bench.json @return SVG"""
    shown = {name: result["summary"].get(name, {}) for name in PANELS}
    shown = {name: {server: line for server, line in lines.items() if line["qps"] and "," not in server}
             for name, lines in shown.items()}  # fmt: skip
    out, y = [], 24
    for name, lines in shown.items():
        if lines:
            out += panel(y, PANELS[name], lines)
            y += 26 + len(lines) * STEP + GAP
    settings = result["settings"]
    out.append(text(10, y, place.described(result["machine"]), "small"))
    about = f"{settings['names']:,} names, one worker, a core for the server and one for the load; "
    about += f"medians of {settings['rounds']} rounds of {settings['seconds']:g} s and more"
    out.append(text(10, y + 16, about, "small"))
    versions = [f"{name} {version}" for name, version in result["versions"].items()]
    half = (len(versions) + 1) // 2
    out += [text(10, y + 32 + 16 * i, ", ".join(part), "small")
            for i, part in enumerate((versions[:half], versions[half:]))]  # fmt: skip
    height = y + 32 + 16 + 10
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">'
    return "\n".join([head, f"<style>{STYLE}</style>", *out, "</svg>\n"])


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as given:
        sys.stdout.write(draw(json.load(given)))
