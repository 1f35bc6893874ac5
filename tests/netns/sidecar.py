# SPDX-License-Identifier: Apache-2.0
"""What stands beside an application in a mesh: a work directory, Envoy's socket in it, and daemons."""

import os
import pathlib
import tempfile

import daemon as daemons
import envoy as envoys
import meshtable


class Mesh:
    """A work directory with Envoy's socket, and the daemons started on it."""

    def __init__(self, network):
        self.network = network
        self.directory = pathlib.Path(tempfile.mkdtemp(dir="/run"))
        self.directory.chmod(0o711)  # as kuma-dp does; daemons may run as another user than root
        self.envoy = envoys.Envoy(self.directory)
        self.daemons = []

    def push(self, extra=(), **options):
        """Make Envoy serve the usual table with these records besides; it is started if it is not."""
        self.envoy.push(meshtable.document(extra, **options))
        return self

    def start_envoy(self):
        self.envoy.start()
        return self

    def start(self, *flags, config=None, environment=None, wrapper=(), ready=True, owner=None, program=None):
        """Start a daemon on this work directory; ready where not asked otherwise; `program` instead of the usual one.

        `owner` is the UID that its own directory belongs to, where a wrapper makes it another one than ours.
        """
        directory = pathlib.Path(tempfile.mkdtemp(dir=self.directory))
        if owner:
            os.chown(directory, owner, owner)
        whole = {"table": {"workDir": self.directory, "pollInterval": "50ms"}}
        for section, keys in (config or {}).items():
            whole[section] = {**whole.get(section, {}), **keys} if isinstance(keys, dict) else keys
        started = daemons.Daemon(directory, whole, flags, environment, wrapper, program)
        self.daemons.append(started)
        return started.wait_ready() if ready else started

    def forward_to(self, *servers, flags=(), **options):
        """Start a daemon that forwards to these servers, without redirection."""
        words = [word for server in servers for word in ("--upstream", server)]
        return self.start("--no-redirect", *words, *flags, **options)

    def close(self):
        """End everything; return what went wrong with that, or on the way there."""
        problems = []
        for one in self.daemons:
            try:
                if one.stop() != 0:
                    problems.append(f"exit status {one.process.returncode}:\n{one.log()}")
            except AssertionError as error:
                problems.append(str(error))
            if one.sanitizer_report():
                problems.append(one.sanitizer_report())
        self.envoy.stop()
        return problems

    def forget(self, one):
        """The test has ended this daemon in its own way; its exit status is no problem."""
        self.daemons.remove(one)
        assert not one.alive() and not one.sanitizer_report(), one.log()
