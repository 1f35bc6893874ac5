# SPDX-License-Identifier: Apache-2.0
"""The samples of conf/: the systemd unit and the Kubernetes manifest are valid, and true of what they start."""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import tempfile

import pytest
import yaml

import daemon as daemons

UNIT = daemons.ROOT / "conf/kuma-dns.service"
MANIFEST = daemons.ROOT / "conf/kubernetes.yaml"
UNPACKED = daemons.ROOT / "build/debian"  # see tests/packages


def run(*command, **environment):
    """(exit status, all that it wrote)."""
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=60, check=False, env={**os.environ, **environment})
    return done.returncode, done.stdout


def check(*flags, **environment):
    """What `kuma-dns check` makes of flags and environment, as text; it must like them."""
    status, text = run(daemons.binary(), "check", *flags, **environment)
    assert status == 0 and "KUMA_DNS_" not in text, text  # it would name a variable that it does not know
    return text


# The unit


def analyze():
    """How systemd-analyze is started, and its environment; (None, {}) without it."""
    program = shutil.which("systemd-analyze")
    if program:
        return program, {}
    program = next(UNPACKED.glob("**/bin/systemd-analyze"), None)
    library = next(UNPACKED.glob("**/libsystemd-shared-*.so"), None)
    if not program or not library:
        return None, {}
    return program, {"LD_LIBRARY_PATH": str(library.parent), "SYSTEMD_UNIT_PATH": f"{UNPACKED}/lib/systemd/system"}


ANALYZE, ENVIRONMENT = analyze()
SYSTEMD = pytest.mark.skipif(not ANALYZE, reason="no systemd-analyze (Debian package systemd)")


@pytest.fixture
def unit(network):  # pylint: disable=unused-argument
    """The unit, with a program that is there."""
    with tempfile.TemporaryDirectory(dir="/run") as directory:
        path = pathlib.Path(directory) / UNIT.name
        text, count = re.subn(r"(?m)^ExecStart=\S+/kuma-dns", f"ExecStart={daemons.binary()}", UNIT.read_text())
        assert count == 1
        path.write_text(text)
        yield path


def verify(unit):
    """(exit status, what systemd says of this unit; it may have its say about others)."""
    status, text = run(ANALYZE, "verify", "--man=no", unit, **ENVIRONMENT)
    return status, [line for line in text.splitlines() if unit.name in line]


@SYSTEMD
def test_unit_is_valid(unit):
    assert verify(unit) == (0, [])
    # It is no empty word: what systemd does not know, it says.
    unit.write_text(unit.read_text().replace("ProtectSystem=strict", "ProtectSystems=strict"))
    assert "ProtectSystems" in verify(unit)[1][0]


@SYSTEMD
def test_unit_is_hardened(unit):
    status, text = run(ANALYZE, "security", "--offline=yes", "--threshold=20", "--no-pager", unit, **ENVIRONMENT)
    assert status == 0, text[-200:]


def test_unit_says_what_run_reads(unit):
    fields = dict(re.findall(r"(?m)^(ExecStart|RuntimeDirectory|StateDirectory)=(.*)$", unit.read_text()))
    environment = dict(word.split("=", 1) for line in re.findall(r"(?m)^Environment=(.*)$", unit.read_text())
                       for word in shlex.split(line))
    effective = yaml.safe_load(check(**environment))
    assert effective["table"]["stateDir"] == f"/var/lib/{fields['StateDirectory']}"
    assert os.path.dirname(effective["admin"]["socket"]) == f"/run/{fields['RuntimeDirectory']}"
    assert effective["table"]["workDir"]
    assert shlex.split(fields["ExecStart"])[1:] == ["run"]


def test_unit_names_the_program_that_is_installed():
    (program,) = re.findall(r"(?m)^ExecStart=(\S+)", UNIT.read_text())
    _, text = run("make", "-C", daemons.ROOT, "-n", "install", "PREFIX=/usr/local", "DESTDIR=")
    assert f" {program}\n" in text and " /usr/local/lib/systemd/system/kuma-dns.service\n" in text
    assert "/usr/local/share/doc/kuma-dns/examples/kubernetes.yaml\n" in text


# The manifest: a schema of the parts of Kubernetes' API that it uses; what is not here is an error


def one_of(*values):
    return lambda value: value in values and type(value) is type(values[0])


def matches(pattern):
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def is_a(kind):
    return lambda value: type(value) is kind  # bool is an int


def number(low, high):
    return lambda value: type(value) is int and low <= value <= high


NAME = matches(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
LABELS = {matches(r"([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?"): matches(r"[A-Za-z0-9_.-]{0,63}")}
QUANTITY = matches(r"[0-9]+(m|Ki|Mi|Gi)?")
TEXT, PATH = is_a(str), matches(r"/[\w./-]*")
PORT, ID, SECONDS = number(1, 65535), number(0, 2**31 - 1), number(1, 3600)
METADATA = {"name!": NAME, "labels": LABELS}
SECCOMP = {"type!": one_of("RuntimeDefault", "Unconfined", "Localhost")}
CAPABILITIES = {"drop": [matches("[A-Z_]+")], "add": [matches("[A-Z_]+")]}
SECURITY = {"runAsUser": ID, "runAsGroup": ID, "runAsNonRoot": is_a(bool), "allowPrivilegeEscalation": is_a(bool),
            "readOnlyRootFilesystem": is_a(bool), "privileged": is_a(bool), "capabilities": CAPABILITIES,
            "seccompProfile": SECCOMP}
PROBE = {"httpGet!": {"path!": PATH, "port!": PORT}, "periodSeconds": SECONDS, "timeoutSeconds": SECONDS,
         "initialDelaySeconds": number(0, 3600), "failureThreshold": number(1, 1000), "successThreshold": one_of(1)}
AMOUNTS = {"cpu": QUANTITY, "memory": QUANTITY}
CONTAINER = {
    "name!": NAME, "image!": matches(r"[\w./-]+:[\w.-]+"), "args": [TEXT], "command": [TEXT],
    "env": [{"name!": matches("[A-Z_]+"), "value!": TEXT}],
    "ports": [{"name!": NAME, "containerPort!": PORT, "protocol": one_of("TCP", "UDP")}],
    "startupProbe": PROBE, "readinessProbe": PROBE, "livenessProbe": PROBE,
    "resources!": {"requests!": AMOUNTS, "limits!": AMOUNTS}, "securityContext!": SECURITY,
    "volumeMounts": [{"name!": NAME, "mountPath!": PATH, "readOnly": is_a(bool)}],
}
VOLUME = {"name!": NAME, "configMap": {"name!": NAME},
          "emptyDir": {"medium": one_of("Memory", ""), "sizeLimit": QUANTITY}}
SCHEMA = {
    "ConfigMap": {"apiVersion!": one_of("v1"), "kind!": TEXT, "metadata!": METADATA, "data!": {matches(r"[\w.-]+"): TEXT}},
    "Pod": {"apiVersion!": one_of("v1"), "kind!": TEXT, "metadata!": METADATA, "spec!": {
        "initContainers": [CONTAINER], "containers!": [CONTAINER], "volumes": [VOLUME],
        "securityContext": {"fsGroup": ID}}},
}


def faults(value, schema, where=""):
    """All that is not as the schema has it, with its place."""
    if isinstance(schema, list):
        if not isinstance(value, list) or not value:
            return [f"{where}: no list"]
        return [fault for i, item in enumerate(value) for fault in faults(item, schema[0], f"{where}[{i}]")]
    if not isinstance(schema, dict):
        return [] if schema(value) else [f"{where}: {value!r}"]
    if not isinstance(value, dict):
        return [f"{where}: no mapping"]
    known = {key.rstrip("!"): inner for key, inner in schema.items() if isinstance(key, str)}
    patterns = [(key, inner) for key, inner in schema.items() if callable(key)]
    found = [f"{where}: no {key[:-1]}" for key in schema if isinstance(key, str) and key[-1] == "!" and key[:-1] not in value]
    for key, item in value.items():
        inner = known.get(key) or next((inner for test, inner in patterns if test(key)), None)
        found += faults(item, inner, f"{where}.{key}") if inner else [f"{where}: unknown key {key!r}"]
    return found


class Strict(yaml.SafeLoader):
    """A key that is there twice is an error, as it is for the API server."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"{node.start_mark}: a key twice"
        return super().construct_mapping(node, deep)


def manifest():
    """The documents by their kind."""
    documents = list(yaml.load_all(MANIFEST.read_text(), Strict))
    assert [one["kind"] for one in documents] == ["ConfigMap", "Pod"]
    return {one["kind"]: one for one in documents}


def container(name):
    spec = manifest()["Pod"]["spec"]
    return next(one for one in spec["initContainers"] + spec["containers"] if one["name"] == name)


def environment_of(one):
    return {item["name"]: item["value"] for item in one.get("env", [])}


def test_manifest_keeps_to_the_schema():
    documents = manifest()
    assert [fault for kind, one in documents.items() for fault in faults(one, SCHEMA[kind], kind)] == []
    # It is no empty word: a slip is found.
    one = documents["Pod"]["spec"]["containers"][0]
    one["securityContext"]["runAsUsers"] = one["securityContext"].pop("runAsUser")
    one["resources"]["limits"]["memory"] = "64MiB"
    del one["image"]
    assert len(faults(documents["Pod"], SCHEMA["Pod"])) == 3


def test_manifest_names_only_volumes_that_it_has():
    spec = manifest()["Pod"]["spec"]
    volumes = {one["name"]: one for one in spec["volumes"]}
    used = {mount["name"] for one in spec["initContainers"] + spec["containers"] for mount in one.get("volumeMounts", [])}
    assert used == set(volumes)
    assert volumes["proxy-config"]["configMap"]["name"] == manifest()["ConfigMap"]["metadata"]["name"]
    assert manifest()["ConfigMap"]["metadata"]["name"] == "kuma-transparent-proxy-config"


@pytest.mark.parametrize("name,user,added", [
    ("kuma-dns-install", 0, ["NET_ADMIN", "NET_RAW"]), ("kuma-dns", 5678, []), ("kuma-dp", 5678, []), ("web", 1000, []),
])
def test_manifest_gives_no_more_than_is_needed(name, user, added):
    security = container(name)["securityContext"]
    assert security["runAsUser"] == user and security["runAsNonRoot"] == (user != 0)
    assert security["capabilities"] == {"drop": ["ALL"], **({"add": added} if added else {})}
    assert security["allowPrivilegeEscalation"] is False and security["readOnlyRootFilesystem"] is True
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}


@pytest.mark.parametrize("name,command", [("kuma-dns-install", "install"), ("kuma-dns", "run")])
def test_manifest_is_configuration_that_we_read(network, name, command):  # pylint: disable=unused-argument
    one = container(name)
    assert one["args"][0] == command
    with tempfile.TemporaryDirectory(dir="/run") as directory:
        path = pathlib.Path(directory) / "config.yaml"
        path.write_text(manifest()["ConfigMap"]["data"]["config.yaml"])
        mounted = next(mount["mountPath"] for mount in one["volumeMounts"] if mount["name"] == "proxy-config")
        flags = [word.replace(f"{mounted}/config.yaml", str(path)) for word in one["args"][1:]]
        assert str(path) in flags
        effective = yaml.safe_load(check(*flags, **environment_of(one)))
    assert effective["kumaDPUser"] in (5678, "5678") and effective["redirect"]["dns"]["captureAll"] is True
    assert effective["redirect"]["dns"]["enabled"] is (command == "install")
    if command == "run":
        places = [mount["mountPath"] for mount in one["volumeMounts"]]
        for path in (effective["table"]["workDir"], effective["table"]["stateDir"],
                     os.path.dirname(effective["admin"]["socket"])):
            assert path in places
        port = int(effective["admin"]["metricsAddress"].rsplit(":", 1)[1])
        probes = [one[probe]["httpGet"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
        assert {probe["port"] for probe in probes} == {port} == {one["ports"][0]["containerPort"]}
        assert {probe["path"] for probe in probes} == {"/ready", "/metrics"}
        # The kubelet asks from outside: what is redirected to Envoy does not arrive.
        assert port in effective["redirect"]["inbound"]["excludePorts"]


def test_manifest_turns_kumas_own_server_off():
    proxy = container("kuma-dp")
    config = yaml.safe_load(manifest()["ConfigMap"]["data"]["config.yaml"])
    assert environment_of(proxy) == {"KUMA_DNS_ENABLED": "false",
                                     "KUMA_DNS_PROXY_PORT": str(config["redirect"]["dns"]["port"])}
    work_dir = proxy["args"][proxy["args"].index("--work-dir") + 1]
    assert work_dir == environment_of(container("kuma-dns"))["KUMA_DATAPLANE_RUNTIME_WORK_DIR"]
