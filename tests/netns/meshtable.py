# SPDX-License-Identifier: Apache-2.0
"""A table as a control plane would send it: 300 names of the zones west (here) and east (elsewhere)."""

import ipaddress
import itertools
import json

TTL = 30
EXTRA_LABELS = {
    "mesh": "default",
    "kuma_io_zone": "west",
    "kuma_workload": "web",
    "k8s_kuma_io_namespace": "demo",
}
# A name that also exists outside of the mesh, with another address; see nameserver.py.
SHADOWED = "db.example.org"

_SERVICES = """
    accounts adverts audit auth backend basket billing books cache calendar cart catalog chat checkout comments
    config contacts coupons currency customers dashboard delivery details discounts documents email events
    exports favorites feed files frontend gateway geo gifts graphql history identity images imports inventory
    invoices jobs kafka labels ledger limits locations login loyalty mail maps media messages metrics mongo
    notifications offers orders partners payments pdf photos postgres prices products profiles promotions
    quotes ratings recommendations redis refunds reports returns reviews rewards scheduler search
""".split()
_NAMESPACES = ["shop", "payments", "observability"]
_EXTERNAL = """
    stripe paypal sendgrid twilio s3 sqs sns auth0 okta slack github sentry datadog newrelic mailgun algolia
    cloudflare fastly maxmind openexchange vies fedex dhl ups
""".split()


def _vips(first_octet):
    """The addresses of a range, as Kuma hands them out: an IPv4 address and its IPv4-mapped form."""
    for number in itertools.count(1):
        address = ipaddress.IPv4Address((first_octet << 24) + number)
        low, high = int(address) >> 16, int(address) & 0xFFFF
        yield [str(address), f"::ffff:{low:x}:{high:x}"]


def _headless_pods():
    for number, service in enumerate(["kafka", "postgres", "mongo", "redis"]):
        for pod in range(6):
            addresses = [f"10.42.{number}.{pod + 10}"]
            if pod % 2:
                addresses.append(f"fd00:42::{number:x}:{pod + 10:x}")
            yield f"{service}-{pod}.{service}.shop.svc.east.mesh.local", addresses


def records(extra=()):
    """The records, sorted by name as Kuma sends them; `extra` ones are (name, addresses)."""
    services, external, multizone = _vips(241), _vips(242), _vips(243)
    found = dict(extra)
    named = dict(_headless_pods())
    named[SHADOWED] = next(external)
    for service in _SERVICES:
        named[f"{service}.svc.mesh.local"] = next(services)
    for service in _SERVICES[:60]:
        named[f"{service}.svc.east.mesh.local"] = next(services)
    for number, service in enumerate(_SERVICES[:60]):
        namespace = _NAMESPACES[number % len(_NAMESPACES)]
        named[f"{service}.{namespace}.svc.east.mesh.local"] = next(services)
    for service in _EXTERNAL:
        named[f"{service}.extsvc.mesh.local"] = next(external)
    for service in itertools.islice(_SERVICES, 300 - len(named)):
        named[f"{service}.mzsvc.mesh.local"] = next(multizone)
    named.update(found)
    return [{"name": name, "ips": named[name]} for name in sorted(named)]


def document(extra=(), ttl=TTL, labels=None):
    """The JSON document, as octets."""
    content = {
        "records": records(extra),
        "ttl": ttl,
        "extraLabels": EXTRA_LABELS if labels is None else labels,
    }
    return json.dumps(content, separators=(",", ":")).encode()


def addresses(name, extra=()):
    """What the table says about a name: (IPv4 addresses, IPv6 addresses)."""
    for record in records(extra):
        if record["name"] == name:
            ips = record["ips"]
            return [a for a in ips if ":" not in a], [a for a in ips if ":" in a]
    return [], []
