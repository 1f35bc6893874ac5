# SPDX-License-Identifier: Apache-2.0
"""Search lists without the storm: in Kubernetes one lookup of api.example.com is eight queries.

NSD has a cluster's zone and public ones; before it stands a server that counts. Names are looked up as glibc does.
"""

import collections

import dns.name
import dns.rcode
import dns.rdatatype
import pytest

import clients
import nameserver
from clients import query, rcode, texts
from daemon import eventually
from nameserver import GOOD, good_answer, response_to
from namespaces import EXTRA, SCRIPTED, sh

SEARCH = ["default.svc.cluster.local", "svc.cluster.local", "cluster.local"]
OPTIONS = f"search {' '.join(SEARCH)}\noptions ndots:5"
NDOTS = 5

PUBLIC = """
    api.stripe.com api.github.com github.com avatars.weather-maps.com objects.weather-maps.com tiles.weather-maps.com
    images.shop-photos.io auth.shop-photos.io thumbs.cdn.shop-photos.com news.io rates.io status.k8s.io
    iban.org files.addresses.org stock.quotes.org stock.prices.com www.w3.org archive.ietf.org
    www.kernel.org www.gnu.org index.timetables.io static.timetables.io parcels.org tracking.parcels-express.io
    www.iana.org www.icann.org archive.opening-hours.com geo.holidays.org lists.holidays.org
    s3.amazonaws.com s3.eu-west-1.amazonaws.com sqs.eu-west-1.amazonaws.com sns.eu-west-1.amazonaws.com
    sts.eu-west-1.amazonaws.com kms.eu-west-1.amazonaws.com dynamodb.eu-west-1.amazonaws.com ec2.amazonaws.com
    secretsmanager.eu-west-1.amazonaws.com logs.eu-west-1.amazonaws.com
    prod-db.cluster-c1.eu-west-1.rds.amazonaws.com
    storage.googleapis.com pubsub.googleapis.com oauth2.googleapis.com www.googleapis.com fcm.googleapis.com
    accounts.google.com maps.googleapis.com bigquery.googleapis.com login.microsoftonline.com graph.microsoft.com
    management.azure.com acct.blob.core.windows.net vault.vault.azure.net bus.servicebus.windows.net
    api.translate.com api.summaries.com api.twilio.com api.sendgrid.com api.mailgun.net smtp.sendgrid.net
    api.paypal.com api.braintreegateway.com checkout.adyen.com api.mollie.com api.klarna.com
    slack.com hooks.slack.com discord.com api.telegram.org graph.facebook.com api.twitter.com api.linkedin.com
    api.datadoghq.eu trace.agent.datadoghq.eu o1.ingest.sentry.io api.newrelic.com api.honeycomb.io
    in.logs.example.co.uk
    api.segment.io api.mixpanel.com api.amplitude.com cdn.fonts.net scripts.fonts.com fonts.gstatic.com
    acme-v02.api.letsencrypt.org ocsp.digicert.com crl3.digicert.com time.cloudflare.com pool.ntp.org
    example.auth0.com dev.okta.com api.pagerduty.com events.pagerduty.com api.opsgenie.com api.atlassian.com
    shop.myshopify.com api.zendesk.com api.hubspot.com na1.salesforce.com missing.example.com
""".split()

CLUSTER = """
    kubernetes kubernetes.default kubernetes.default.svc kubernetes.default.svc.cluster.local web redis.demo
    redis.demo.svc redis.demo.svc.cluster.local db.shop kafka.shop.svc kafka-0.kafka.shop kafka-1.kafka.shop.svc
    kafka-2.kafka.shop.svc.cluster.local kube-dns.kube-system com.demo org.shop nosuch nosuch.demo web.nosuch
    www.example.com. redis.demo.svc.cluster.local.
""".split()

CLUSTER_ZONE = """$TTL 5
@ SOA ns.dns hostmaster 1 7200 1800 86400 5
@ NS ns.dns
ns.dns A 10.96.0.10
kubernetes.default.svc A 10.96.0.1
_https._tcp.kubernetes.default.svc SRV 0 100 443 kubernetes.default.svc
web.default.svc A 10.96.1.1
_http._tcp.web.default.svc SRV 0 100 80 web.default.svc
kube-dns.kube-system.svc A 10.96.0.10
redis.demo.svc A 10.96.2.1
redis.demo.svc AAAA fd00:96::2:1
; services whose names are those of public zones
com.demo.svc A 10.96.2.2
org.shop.svc A 10.96.3.2
db.shop.svc CNAME prod-db.cluster-c1.eu-west-1.rds.amazonaws.com.
; a headless service and its pods
kafka.shop.svc A 10.244.1.10
kafka.shop.svc A 10.244.1.11
kafka.shop.svc A 10.244.1.12
kafka-0.kafka.shop.svc A 10.244.1.10
kafka-1.kafka.shop.svc A 10.244.1.11
kafka-2.kafka.shop.svc A 10.244.1.12
_broker._tcp.kafka.shop.svc SRV 0 33 9092 kafka-0.kafka.shop.svc
_broker._tcp.kafka.shop.svc SRV 0 33 9092 kafka-1.kafka.shop.svc
"""


def zones():
    """The cluster's zone, a root, and each public top-level domain, with all names but `missing`."""
    soa = "$TTL 300\n@ SOA ns.nic.invalid. hostmaster.nic.invalid. 1 3600 600 86400 60\n@ NS ns.nic.invalid.\n"
    found = collections.defaultdict(lambda: soa, {"cluster.local": CLUSTER_ZONE, ".": soa})
    for number, name in enumerate(sorted(set(PUBLIC) - {"missing.example.com"})):
        found[name.rpartition(".")[2]] += f"{name}. A 198.51.100.{number}\n"
        if number % 3 == 0:
            found[name.rpartition(".")[2]] += f"{name}. AAAA 2001:db8::{number}\n"
    found["com"] += "www.example.com. A 198.51.100.250\n"
    return found


@pytest.fixture
def upstream(network, program, scripted):
    """Counts, and asks NSD."""
    program.nsd(EXTRA[4], zones())
    scripted.answer = nameserver.relay_to(EXTRA[4])
    network.set_resolv_conf(SCRIPTED[4], options=OPTIONS)
    return scripted


def candidates(name):
    """What glibc asks for, in order (resolv.conf(5), ndots)."""
    if name.endswith("."):
        return [name]
    searched = [f"{name}.{domain}." for domain in SEARCH]
    return [f"{name}."] + searched if name.count(".") >= NDOTS else searched + [f"{name}."]


def summary(response):
    """What is to be the same with and without us."""
    sections = [sorted(texts(response, section)) for section in ("answer", "authority")]
    return rcode(response), sections


def look_up(name):
    """A and AAAA of each candidate until one has an address: ([what each query was told], addresses)."""
    told = []
    for candidate in candidates(name):
        responses = [query(candidate, qtype) for qtype in ("A", "AAAA")]
        told += [(candidate, summary(response)) for response in responses]
        found = [address for response in responses for address in clients.addresses_of(response)]
        if found:
            return told, sorted(found)
    return told, []


def look_up_all(mesh, upstream, shortcut):  # pylint: disable=redefined-outer-name
    """({name: what it was told}, queries of the application, upstream queries) of a fresh daemon."""
    before = len(upstream.queries)
    one = mesh.start("--no-redirect", config={"forward": {"searchShortcut": shortcut}})
    told = {name: look_up(name) for name in PUBLIC + CLUSTER}
    asked = sum(len(responses) for responses, _ in told.values())
    counted = len(upstream.queries) - before
    assert abs(one.metric("kuma_dns_upstream_queries_total") - counted) <= 5  # probes of health and loops
    figures = one.metric("kuma_dns_search_probes_total"), one.metric("kuma_dns_search_domains")
    assert one.stop() == 0
    return told, asked, counted, figures


def test_storm(mesh, upstream, record_property):
    with_it, asked, few, (probes, domains) = look_up_all(mesh, upstream, True)
    without, asked_without, many, _ = look_up_all(mesh, upstream, False)
    record_property("search list, 100 public and 20 cluster names:",
                    f"{asked} queries, {many} of them upstream without the shortcut, {few} with it; "
                    f"{1 - few / asked:.0%} saved")
    assert with_it == without and asked == asked_without
    assert with_it["api.stripe.com"][1] and not with_it["missing.example.com"][1]
    assert with_it["com.demo"][1] == ["10.96.2.2"]
    assert few < asked / 2 and few < many * 2 / 3
    assert domains == len(SEARCH) and 0 < probes < 150


def test_order_of_names_makes_no_difference(mesh, upstream):  # pylint: disable=unused-argument
    mesh.start("--no-redirect")
    forward = {name: look_up(name) for name in CLUSTER + PUBLIC[:10]}
    mesh.daemons[-1].stop()
    mesh.start("--no-redirect")
    backward = {name: look_up(name) for name in reversed(CLUSTER + PUBLIC[:10])}
    assert forward == backward


@pytest.mark.parametrize("qtype", ["SRV", "TXT", "PTR", "TYPE65534"])
def test_other_types_in_the_cluster(mesh, upstream, qtype):
    mesh.start("--no-redirect")
    names = ["_https._tcp.kubernetes.default.svc.cluster.local", "_broker._tcp.kafka.shop.svc.cluster.local",
             "kubernetes.default.svc.cluster.local", "_http._tcp.nosuch.default.svc.cluster.local",
             "default.svc.cluster.local"]
    for name in names:
        direct = clients.ask(name, qtype, server=EXTRA[4])
        assert summary(query(name, qtype)) == summary(direct), name
    assert upstream.queries


def test_glibc_looks_up_through_the_search_list(mesh, upstream):
    mesh.start()
    for name in ("api.stripe.com", "api.paypal.com", "github.com", "slack.com"):
        before = len(upstream.queries)
        outcome, found = clients.glibc(name, 4)
        assert outcome == "ok" and found
    assert len(upstream.queries) - before <= 2  # `com` in the cluster's domains is known by then; without: 4
    assert clients.glibc("redis.demo", 4) == ("ok", {"10.96.2.1"})
    assert clients.glibc("kubernetes", 4) == ("ok", {"10.96.0.1"})
    assert clients.glibc("missing.example.com", 4)[0] == "absent"


def test_musl_looks_up_through_the_search_list(mesh, upstream):
    # docker-alpine#326
    mesh.start()
    assert clients.musl("redis.demo", 4) == ("ok", {"10.96.2.1"})
    for name in ("api.stripe.com", "api.github.com"):  # then the domains are known, and `com` in them
        assert clients.musl(name, 4)[0] == "ok"
    before = len(upstream.queries)
    assert clients.musl("api.paypal.com", 4)[0] == "ok"
    assert len(upstream.queries) - before <= 2


def test_search_domains_of_a_new_resolv_conf(mesh, upstream, network):
    one = mesh.start("--no-redirect")
    eventually(lambda: one.metric("kuma_dns_search_domains") == 3)
    network.set_resolv_conf(SCRIPTED[4], options="search cluster.local\noptions ndots:5")
    eventually(lambda: one.metric("kuma_dns_search_domains") == 1)
    assert upstream.address == SCRIPTED[4]


def test_probe_holds_up_nobody(mesh, upstream):
    """The question next to the search domain is not answered at all: the name itself still is."""
    inner = upstream.answer
    upstream.answer = lambda message, tcp: (
        None if len(message.question[0].name) == len(dns.name.from_text(SEARCH[0])) + 1 and
        message.question[0].name.is_subdomain(dns.name.from_text(SEARCH[0])) else inner(message, tcp))
    mesh.start("--no-redirect")
    for name in ("api.stripe.com", "redis.demo"):
        for candidate in candidates(name):
            took, response = clients.timed(query, candidate)
            assert rcode(response) in ("NOERROR", "NXDOMAIN") and took < 1.5


# Servers that deny names above names that exist, against RFC 8020 §2.

EXISTING = {"redis.demo.svc.cluster.local.": GOOD, "kafka-0.kafka.shop.svc.cluster.local.": GOOD}


def denies_all_else(message, _tcp):
    name = str(message.question[0].name).lower()
    if name in EXISTING:
        a = message.question[0].rdtype == dns.rdatatype.A
        return good_answer(message) if a else [response_to(message, soa="cluster.local.", ttl=30)]
    return [response_to(message, code=dns.rcode.NXDOMAIN, soa="cluster.local.", ttl=30)]


def test_names_below_denied_names_do_not_vanish(mesh, scripted, network):
    """What we ask for of our own accord must not deny what exists."""
    scripted.answer = denies_all_else
    network.set_resolv_conf(SCRIPTED[4], options=OPTIONS)
    mesh.start("--no-redirect")
    for name in ("other.demo.svc.cluster.local", "x.other.demo.svc.cluster.local", "web.shop.svc.cluster.local"):
        assert rcode(query(name)) == "NXDOMAIN"
    for name, found in EXISTING.items():
        assert clients.addresses_of(query(name)) == found


def test_names_below_denied_names_that_a_requestor_asked_for(mesh, scripted, network):
    """Then RFC 8020 lets us deny them; for such servers there is cache.nxdomainCovers."""
    scripted.answer = denies_all_else
    network.set_resolv_conf(SCRIPTED[4], options=OPTIONS)
    mesh.start("--no-redirect", config={"cache": {"nxdomainCovers": False}})
    for name in ("demo.svc.cluster.local", "shop.svc.cluster.local", "kafka.shop.svc.cluster.local"):
        assert rcode(query(name)) == "NXDOMAIN"
    for name, found in EXISTING.items():
        assert clients.addresses_of(query(name)) == found


def test_names_below_denied_names_with_a_search_list(mesh, scripted, network):
    scripted.answer = denies_all_else
    network.set_resolv_conf(SCRIPTED[4], options=OPTIONS)
    mesh.start("--no-redirect")
    assert look_up("nosuch.demo")[1] == []
    assert look_up("redis.demo")[1] == GOOD
    assert look_up("kafka-0.kafka.shop")[1] == GOOD


def test_getent_uses_the_search_list_here(network, upstream):  # pylint: disable=unused-argument
    """The tests above mean something: without us, glibc asks NSD for eight names."""
    sh("getent", "ahosts", "api.github.com")
    assert len(upstream.queries) == 8
