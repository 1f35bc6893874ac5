# SPDX-License-Identifier: Apache-2.0
"""What every end-to-end test builds on: the network, real name servers, a mesh, daemons that end cleanly."""

import os
import pathlib
import signal
import sys
import tempfile
import types

import pytest

sys.path.insert(0, os.path.dirname(__file__))

# pylint: disable=wrong-import-position
import clients
import namespaces
import nameserver
import sidecar

_REFUSED = ""


def pytest_configure(config):
    """Run pytest again, inside namespaces. Output is not captured yet, so the new one inherits ours."""
    global _REFUSED  # pylint: disable=global-statement
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup(1) would have the daemons ignore it, too
    try:
        namespaces.enter([sys.executable, "-B", "-m", "pytest", *config.invocation_params.args])
    except OSError as error:
        _REFUSED = str(error)


def pytest_collection_modifyitems(items):
    if _REFUSED:
        for item in items:
            item.add_marker(pytest.mark.skip(reason=_REFUSED))


@pytest.fixture(scope="session")
def network():
    """The two namespaces, with NSD and unbound answering in the second one."""
    net = namespaces.Network()
    directory = pathlib.Path(tempfile.mkdtemp(dir="/run"))
    net.servers = [nameserver.start_nsd(net, directory), nameserver.start_unbound(net, directory)]
    clients.build_musl_lookup()
    yield net
    for process in net.servers:
        process.terminate()
        process.wait(10)


def close(mesh):
    """End a mesh; nothing of it may be left, nor have gone wrong."""
    problems = mesh.close()
    left = namespaces.sh("nft", "list", "tables")
    if left.strip():
        problems.append("rules outlived their process: " + left)
        namespaces.sh("nft", "flush", "ruleset")
    mesh.network.set_resolv_conf(namespaces.RECURSIVE[4])
    clients.run("conntrack", "-F")
    assert not problems, "\n".join(problems)


@pytest.fixture
def mesh(network):
    """A mesh of its own for one test: Envoy serves the usual table."""
    one = sidecar.Mesh(network).push().start_envoy()
    yield one
    close(one)


@pytest.fixture
def scripted(network):
    """A name server that says what the test tells it."""
    one = nameserver.Scripted(network)
    yield one
    one.close()


@pytest.fixture
def second(network):
    """Another scripted name server, which answers well until a test says otherwise."""
    one = nameserver.Scripted(network, namespaces.SECOND[4])
    one.answer = nameserver.good_answer
    yield one
    one.close()


@pytest.fixture
def program(network):
    """Starts programs, here or beside the name servers, and ends them."""
    started = nameserver.Programs(network)
    yield started
    started.close()


@pytest.fixture(scope="module")
def served(network):
    """A mesh and a daemon, started once for a file of tests that change neither."""
    mesh_of_file = sidecar.Mesh(network).push(extra=EXTRA.items()).start_envoy()
    one = mesh_of_file.start()
    yield types.SimpleNamespace(mesh=mesh_of_file, daemon=one, network=network)
    close(mesh_of_file)


# Records beside the usual ones, for what the usual ones do not have.
EXTRA = {
    "many.svc.mesh.local": [f"241.1.0.{n}" for n in range(1, 41)],
    "huge.svc.mesh.local": [f"241.2.{n // 250}.{n % 250 + 1}" for n in range(1000)],
    "v4only.svc.mesh.local": ["241.3.0.1"],
    "v6only.svc.mesh.local": ["fd00:3::1"],
    "*.wild.svc.mesh.local": ["241.4.0.1"],
    "taken.wild.svc.mesh.local": ["241.4.0.2"],
    "Mixed_Case.svc.mesh.local.": ["241.5.0.1"],
}
