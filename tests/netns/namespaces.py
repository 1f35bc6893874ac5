# SPDX-License-Identifier: Apache-2.0
"""A network of our own: the application's namespace, where this process lives, and the name servers'.

    application            upstream
    10.53.0.1   --veth--   10.53.0.2 .. 10.53.0.7
    fd53::1                fd53::2   .. fd53::7

enter() runs the program again inside fresh namespaces (network, mounts, processes; for a user without
privileges also a user namespace, where it is root). All of it ends with the program, however that ends.
"""

import contextlib
import ctypes
import os
import pathlib
import subprocess
import sys

CLONE_NEWNET = 0x40000000
INSIDE = "NETNS_INSIDE"  # environment variable: the namespaces that we are in
APPLICATION = {4: "10.53.0.1", 6: "fd53::1"}
RECURSIVE = {4: "10.53.0.2", 6: "fd53::2"}  # unbound
AUTHORITATIVE = {4: "10.53.0.3", 6: "fd53::3"}  # NSD
SCRIPTED = {4: "10.53.0.4", 6: "fd53::4"}  # servers that a test writes itself
NOBODY = {4: "10.53.0.5", 6: "fd53::5"}  # an address where nobody listens
SECOND = {4: "10.53.0.6", 6: "fd53::6"}  # another scripted one
EXTRA = {4: "10.53.0.7", 6: "fd53::7"}  # for a program that one test starts
VANISHED = {4: "10.53.0.99", 6: "fd53::99"}  # an address that does not exist

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result):
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _unshare_command():
    """The unshare command that works for us, and why the others do not; ([], reasons) where none does."""
    common = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    candidates = [["unshare", "--user", "--map-root-user", *common]]
    if os.geteuid() == 0 and not os.environ.get("NETNS_FORCE_USER"):
        # With the real root, other UIDs exist too.
        candidates.insert(0, ["unshare", *common])
    reasons = []
    for command in candidates:
        trial = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
        if trial.returncode == 0:
            return command, reasons
        reasons.append(trial.stderr.strip())
    return [], reasons


def enter(argv):
    """Become `argv` inside fresh namespaces; return at once where we are inside already.

    Raises OSError where the system does not let us.
    """
    if INSIDE in os.environ:
        return
    # Where Debian has nsd, unbound, nft and conntrack; the path of a plain user lacks it.
    os.environ["PATH"] = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    command, reasons = _unshare_command()
    if not command:
        raise OSError("no namespaces for us: " + "; ".join(reasons))
    os.environ[INSIDE] = "user" if "--user" in command else "root"
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvp(command[0], [*command, *argv])


def has_other_users():
    """Whether processes can run under another UID here."""
    return os.environ.get(INSIDE) == "root"


def sh(*command, **options):
    """Run a command that must succeed, and return what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def bind_over(path, text):
    """Put a file of ours where programs look for `path`; the file of the host is not touched."""
    target = pathlib.Path(os.path.realpath(path))
    if target.is_relative_to("/run"):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return target
    source = pathlib.Path("/run/over") / target.name
    source.parent.mkdir(exist_ok=True)
    source.write_text(text)
    if not target.exists():
        raise OSError(f"{path} does not exist here, so nothing can be mounted over it")
    sh("mount", "--bind", str(source), str(target))
    return source


class Network:
    """The two namespaces. Make one only, after enter()."""

    def __init__(self):
        sh("mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run")
        self.resolv_conf = bind_over("/etc/resolv.conf", f"nameserver {RECURSIVE[4]}\n")
        bind_over("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\nservices: files\n")
        self._application = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        _check(_libc.unshare(CLONE_NEWNET))
        self._upstream = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        _check(_libc.setns(self._application, CLONE_NEWNET))
        self._connect()

    def _connect(self):
        sh("ip", "link", "set", "lo", "up")
        peer = f"/proc/self/fd/{self._upstream}"
        sh("ip", "link", "add", "mesh0", "type", "veth", "peer", "name", "up0", "netns", peer,
           pass_fds=[self._upstream])
        _add_addresses("mesh0", [APPLICATION])
        with self.upstream():
            sh("ip", "link", "set", "lo", "up")
            _add_addresses("up0", [RECURSIVE, AUTHORITATIVE, SCRIPTED, NOBODY, SECOND, EXTRA])

    @contextlib.contextmanager
    def upstream(self):
        """Within, this thread's new sockets and processes are in the name servers' namespace."""
        _check(_libc.setns(self._upstream, CLONE_NEWNET))
        try:
            yield
        finally:
            _check(_libc.setns(self._application, CLONE_NEWNET))

    def set_resolv_conf(self, *servers, options=""):
        """Rewrite /etc/resolv.conf, the file that every client here reads."""
        lines = [f"nameserver {server}" for server in servers]
        self.resolv_conf.write_text("\n".join([*lines, options]).strip() + "\n")


def _add_addresses(device, families):
    lines = []
    for addresses in families:
        lines.append(f"address add {addresses[4]}/24 dev {device}")
        # Without duplicate address detection an address serves at once.
        lines.append(f"address add {addresses[6]}/64 dev {device} nodad")
    lines.append(f"link set {device} up")
    sh("ip", "-batch", "-", input="\n".join(lines) + "\n")
