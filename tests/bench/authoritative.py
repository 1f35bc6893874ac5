# SPDX-License-Identifier: Apache-2.0
"""Servers of zones: NSD and Knot DNS. They answer what they have, and forward nothing."""

from setting import ADDRESS, PORT, zone_file


# ---- nsd


def nsd(site):
    site.write("nsd.conf", f"""
server:
    server-count: 1
    ip-address: {ADDRESS}@{PORT}
    do-ip6: no
    username: ""
    chroot: ""
    zonesdir: "{site.folder}"
    database: ""
    pidfile: ""
    logfile: "/dev/null"
    xfrdfile: "{site.path('xfrd.state')}"
    zonelistfile: "{site.path('zone.list')}"
    xfrdir: "{site.folder}"
    minimal-responses: yes
    rrl-ratelimit: 0
    tcp-count: 100
remote-control:
    control-enable: no
zone:
    name: mesh.local
    zonefile: {zone_file(site)}
""")
    return ["nsd", "-d", "-c", site.path("nsd.conf")]


# ---- knot

KNOT = """
server:
    rundir: "{folder}"
    listen: {address}@{port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
    tcp-max-clients: 1000
database:
    storage: "{folder}"
zone:
  - domain: mesh.local
    file: "{zone}"
    zonefile-sync: -1
    journal-content: none
    semantic-checks: off
"""


def knot(site):
    text = KNOT.format(folder=site.folder, address=ADDRESS, port=PORT, zone=zone_file(site))
    return ["knotd", "-c", site.write("knot.conf", text)]
