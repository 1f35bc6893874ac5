# SPDX-License-Identifier: Apache-2.0
"""The static build does the main job: answers, forwards, redirects, and needs nothing of the system.

All other tests can be run with it as well: KUMA_DNS names the program.
"""

import subprocess

import pytest

import daemon as daemons
import meshtable
import namespaces
from clients import addresses_of, ask, run
from daemon import eventually

STATIC = daemons.ROOT / "build/static/kuma-dns"
pytestmark = pytest.mark.skipif(not STATIC.exists(), reason="no static build: make static")


def test_static_build_needs_no_library():
    headers = subprocess.run(["readelf", "-ldW", STATIC], capture_output=True, text=True, check=True).stdout
    assert "INTERP" not in headers and "(NEEDED)" not in headers


def test_static_build_is_small(tmp_path):
    subprocess.run(["strip", "-o", tmp_path / "stripped", STATIC], check=True)
    assert (tmp_path / "stripped").stat().st_size < 950_000


def test_static_build_answers_forwards_and_redirects(mesh):
    one = mesh.start(program=str(STATIC))
    for transport in ([], ["+tcp"]):
        name = "redis.svc.mesh.local"
        expected = meshtable.addresses(name)[0]
        assert run("dig", "+short", *transport, name, f"@{namespaces.RECURSIVE[4]}")[1].split() == expected
    assert addresses_of(ask("www.example.org", port=daemons.PORT)) == ["192.0.2.80"]
    mesh.push([("redis.svc.mesh.local", ["241.0.99.1"])])
    eventually(lambda: addresses_of(ask("redis.svc.mesh.local", port=daemons.PORT)) == ["241.0.99.1"])
    assert subprocess.run([STATIC, "explain", "--admin-socket", one.admin_socket, "redis.svc.mesh.local"],
                          capture_output=True, check=False).returncode == 0  # fmt: skip
