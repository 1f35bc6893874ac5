# SPDX-License-Identifier: Apache-2.0
"""The cache: what is remembered, for how long, for whom, and what operators see of it."""

import re
import time

import dns.edns
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

import meshtable
import nameserver
from clients import addresses_of, ede, is_truncated, query, rcode, texts, timed, ttls
from daemon import eventually
from nameserver import GOOD, good_answer, response_to
from namespaces import SCRIPTED, VANISHED

NAME = "www.example.org"


@pytest.fixture
def start(mesh, scripted):
    """Starts a daemon that asks the scripted server, with these keys of `cache`."""
    scripted.answer = good_answer
    return lambda *flags, **keys: mesh.forward_to(SCRIPTED[4], flags=flags, config={"cache": keys} if keys else {})


def with_ttl(ttl, **options):
    return lambda message, tcp: good_answer(message, tcp, ttl, **options)


def negative(code, ttl, soa="example.org."):
    return lambda message, _: [response_to(message, code=dns.rcode.from_text(code), soa=soa, ttl=ttl)]


def pass_time(seconds):
    """Nothing but the clock makes an entry old."""
    time.sleep(seconds)


def test_second_query_is_a_hit(start, scripted):
    one = start()
    for _ in range(5):
        assert addresses_of(query()) == GOOD
        assert addresses_of(query(tcp=True)) == GOOD
    assert len(scripted.seen(NAME)) == 1
    assert one.metric("kuma_dns_cache_hits_total") == 9
    assert one.metric("kuma_dns_cache_misses_total") >= 1
    assert one.metric("kuma_dns_cache_insertions_total") >= 1
    assert one.metric("kuma_dns_cache_entries") >= 1
    assert 0 < one.metric("kuma_dns_cache_bytes") <= 4 << 20


def test_every_requestor_has_its_id_and_spelling(start, scripted):
    # RFC 4343: case is ignored in matching and kept in answers
    start()
    for number, name in enumerate(["www.example.org", "WWW.EXAMPLE.ORG", "wWw.eXample.oRg"]):
        response = query(name, id=1000 + number)
        assert response.id == 1000 + number
        assert response.question[0].name.to_text() == name + "."
        assert response.answer[0].name.to_text().lower() == "www.example.org."
        assert addresses_of(response) == GOOD
    assert len(scripted.seen(NAME)) == 1


def test_ttl_counts_down(start, scripted):
    scripted.answer = with_ttl(60)
    start()
    assert ttls(query()) == {60}
    eventually(lambda: ttls(query()) == {58}, 4, 0.1)
    assert len(scripted.seen(NAME)) == 1


def test_all_records_of_a_set_have_one_ttl(start, scripted):
    # RFC 2181 §5.2
    scripted.answer = lambda message, _: [response_to(
        message, (message.question[0].name, 300, "IN", "CNAME", "target.example.org."),
        ("target.example.org.", 20, "IN", "A", "192.0.2.1", "192.0.2.2"))]
    start()
    query()
    assert all(ttl <= 20 for ttl in ttls(query()) if ttl != 300)
    assert len(texts(query())) == 3


def test_answer_is_asked_for_again_after_its_time(start, scripted):
    scripted.answer = with_ttl(1)
    start(prefetch=False)
    query()
    pass_time(1.1)
    scripted.answer = with_ttl(60, addresses=["192.0.2.81"])
    assert addresses_of(query()) == ["192.0.2.81"]


def test_ttl_0_is_not_remembered(start, scripted):
    # RFC 1035 §3.2.1
    scripted.answer = with_ttl(0)
    start()
    for _ in range(3):
        assert ttls(query()) == {0}
    assert len(scripted.seen(NAME)) == 3


def test_ttl_is_capped(start, scripted):
    scripted.answer = with_ttl(604800)
    start(maxTTL="1h")
    query()
    assert max(ttls(query())) <= 3600


@pytest.mark.parametrize("code", ["NXDOMAIN", "NOERROR"])
def test_negative_answers_are_remembered_but_not_long(start, scripted, code):
    # RFC 2308 §5; kubernetes#74092, coredns#5953: negative answers were kept too long
    scripted.answer = negative(code, 3600)
    start()
    query()
    response = query()
    assert rcode(response) == code and not response.answer
    assert texts(response, "authority")[0].startswith("example.org. SOA ")
    assert max(ttls(response, "authority")) <= 30
    assert len(scripted.seen(NAME)) == 1


def test_cap_of_negative_answers(start, scripted):
    scripted.answer = negative("NXDOMAIN", 3600)
    start(maxNegativeTTL="1s")
    query()
    pass_time(1.1)
    scripted.answer = good_answer
    assert addresses_of(query()) == GOOD  # the service that was deployed a moment ago


def test_negative_answer_without_soa_is_not_remembered(start, scripted):
    # RFC 2308 §5
    scripted.answer = negative("NXDOMAIN", 60, soa=None)
    start()
    query()
    scripted.answer = good_answer
    assert addresses_of(query()) == GOOD


def test_nodata_is_for_its_type_only(start, scripted):
    # istio#31250
    scripted.answer = lambda message, tcp: (
        good_answer(message, tcp) if message.question[0].rdtype == dns.rdatatype.A
        else negative("NOERROR", 60)(message, tcp))
    start()
    for _ in range(2):
        assert rcode(query(qtype="AAAA")) == "NOERROR" and not query(qtype="AAAA").answer
        assert addresses_of(query()) == GOOD
    assert len(scripted.seen(NAME)) == 2


@pytest.mark.parametrize("covers", [True, False])
def test_nxdomain_covers_what_is_below(start, scripted, covers):
    # RFC 8020
    scripted.answer = negative("NXDOMAIN", 60)
    one = start(nxdomainCovers=covers)
    query("gone.example.org")
    for name in ("a.gone.example.org", "b.a.gone.example.org", "c.gone.example.org"):
        response = query(name, "AAAA")
        assert rcode(response) == "NXDOMAIN" and response.question[0].name.to_text() == name + "."
        assert texts(response, "authority")[0].startswith("example.org. SOA ")
        assert bool(scripted.seen(name)) != covers
    assert (one.metric("kuma_dns_cache_covered_total") or 0) == (3 if covers else 0)


def test_nxdomain_covers_neither_beside_nor_above(start, scripted):
    scripted.answer = lambda message, tcp: (
        negative("NXDOMAIN", 60)(message, tcp) if str(message.question[0].name) == "gone.example.org."
        else good_answer(message, tcp))
    start()
    query("gone.example.org")
    for name in ("example.org", "gonegone.example.org", "notgone.example.org", "org"):
        assert addresses_of(query(name)) == GOOD


def test_nxdomain_behind_an_alias_does_not_cover_the_alias(start, scripted):
    # RFC 6604, RFC 8020 §2: the RCODE is that of the end of the chain; the alias itself exists
    def answer(message, tcp):
        if str(message.question[0].name) != "alias.example.org.":
            return good_answer(message, tcp)
        said = response_to(message, ("alias.example.org.", 60, "IN", "CNAME", "gone.example.org."),
                           code=dns.rcode.NXDOMAIN, soa="example.org.")
        return [said]
    scripted.answer = answer
    start()
    assert rcode(query("alias.example.org")) == "NXDOMAIN"
    assert addresses_of(query("below.alias.example.org")) == GOOD


def test_whole_chain_of_aliases(start, scripted):
    # istio#27223: a bare CNAME was returned
    scripted.answer = lambda message, _: [response_to(
        message, (message.question[0].name, 60, "IN", "CNAME", "b.example.org."),
        ("b.example.org.", 60, "IN", "CNAME", "c.example.org."), ("c.example.org.", 60, "IN", "A", *GOOD))]
    start()
    first, again = query("a.example.org"), query("a.example.org")
    assert texts(first) == texts(again) and len(texts(again)) == 3 and addresses_of(again) == GOOD
    assert len(scripted.seen("a.example.org")) == 1


def test_nothing_out_of_the_chain_is_believed(start, scripted):
    # RFC 5452 §6: what else the answer brings along is of no authority
    scripted.answer = lambda message, tcp: (
        good_answer(message, tcp) if str(message.question[0].name) != "evil.example.org." else [response_to(
            message, ("evil.example.org.", 60, "IN", "A", "192.0.2.66"), (NAME + ".", 60, "IN", "A", "192.0.2.66"))])
    start()
    query("evil.example.org")
    assert addresses_of(query()) == GOOD


def test_do_and_cd_are_entries_of_their_own(start, scripted):
    # RFC 4035 §3.2
    start()
    for _ in range(2):
        query()
        query(want_dnssec=True)
        query(flags=dns.flags.RD | dns.flags.CD)
        query(want_dnssec=True, flags=dns.flags.RD | dns.flags.CD)
    seen = scripted.seen(NAME)
    kinds = {(bool(m.ednsflags & dns.flags.DO), bool(m.flags & dns.flags.CD)) for m in seen}
    assert len(seen) == 4 and len(kinds) == 4


def test_client_subnets_are_apart(start, scripted):
    # RFC 7871 §7.3
    def answer(message, tcp):
        subnets = [o for o in message.options if o.otype == dns.edns.OptionType.ECS]
        last = subnets[0].address.split(".")[2] if subnets else "0"
        (said,) = good_answer(message, tcp, addresses=[f"192.0.{last}.1"])
        if subnets:
            scoped = dns.edns.ECSOption(subnets[0].address, subnets[0].srclen, 24)
            said.use_edns(0, options=[scoped])
        return [said]
    scripted.answer = answer
    start()
    for _ in range(2):
        for third in ("7", "8"):
            subnet = dns.edns.ECSOption(f"198.51.{third}.0", 24)
            assert addresses_of(query(options=[subnet])) == [f"192.0.{third}.1"]
        assert addresses_of(query()) == ["192.0.0.1"]


def test_ad_is_for_those_who_understand_it(start, scripted):
    # RFC 6840 §5.8; remembered for all, told to those who set AD or DO
    def answer(message, tcp):
        (said,) = good_answer(message, tcp)
        said.flags |= dns.flags.AD
        return [said]
    scripted.answer = answer
    start()
    for _ in range(2):
        assert not query().flags & dns.flags.AD
        assert query(flags=dns.flags.RD | dns.flags.AD).flags & dns.flags.AD
        assert query(want_dnssec=True).flags & dns.flags.AD
    assert len(scripted.seen(NAME)) == 2


def test_answers_to_queries_without_rd_are_not_remembered(start, scripted):
    start()
    for _ in range(2):
        query(flags=0)
    assert len(scripted.seen(NAME)) == 2


# Stale answers (RFC 8767).


def stale_after(scripted, start, **keys):
    """A daemon that knows an answer whose time is over."""
    scripted.answer = with_ttl(1)
    one = start(**{"prefetch": False, **keys})
    assert addresses_of(query()) == GOOD
    pass_time(1.1)
    return one


def test_stale_answer_while_the_server_is_silent(start, scripted):
    one = stale_after(scripted, start)
    scripted.answer = nameserver.silent
    took, response = timed(query)
    assert 1.5 < took < 2.3
    assert addresses_of(response) == GOOD and ttls(response) == {30} and ede(response) == [3]
    took, response = timed(query)  # RFC 8767 §5: the failure is known for a while
    assert addresses_of(response) == GOOD and took < 2.3
    assert one.metric("kuma_dns_cache_stale_total") >= 1


@pytest.mark.parametrize("code", ["SERVFAIL", "REFUSED"])
def test_stale_answer_after_a_failure(start, scripted, code):
    stale_after(scripted, start)
    scripted.answer = nameserver.failing(code)
    took, response = timed(query, tcp=True)
    assert addresses_of(response) == GOOD and ttls(response) == {30} and ede(response) == [3]
    assert took < 2.3


def test_stale_answer_where_no_server_is_there(start, scripted):
    stale_after(scripted, start)
    scripted.close()
    took, response = timed(query)
    assert addresses_of(response) == GOOD and ede(response) == [3] and took < 2.3


def test_stale_denial(start, scripted):
    scripted.answer = negative("NXDOMAIN", 1)
    start(prefetch=False)
    query()
    pass_time(1.1)
    scripted.answer = nameserver.silent
    response = query()
    assert rcode(response) == "NXDOMAIN" and ede(response) == [19]  # RFC 8914 §4.20


def test_fresh_answer_replaces_the_stale_one(start, scripted):
    stale_after(scripted, start)
    scripted.answer = nameserver.silent
    assert ttls(query()) == {30}
    scripted.answer = with_ttl(60, addresses=["192.0.2.81"])
    eventually(lambda: addresses_of(query()) == ["192.0.2.81"], 8, 0.1)


def test_nothing_stale_where_it_is_switched_off(start, scripted):
    stale_after(scripted, start, serveStale="0s")
    scripted.answer = nameserver.failing("SERVFAIL")
    response = query()
    assert rcode(response) == "SERVFAIL" and not response.answer


# Failures (RFC 9520).


def test_failure_is_remembered_but_not_for_long(start, scripted):
    scripted.answer = nameserver.failing("SERVFAIL")
    one = start()
    begin = time.monotonic()
    query()
    before = len(scripted.seen(NAME))
    took, response = timed(query)
    assert rcode(response) == "SERVFAIL" and ede(response) and took < 0.3
    assert len(scripted.seen(NAME)) == before and one.metric("kuma_dns_cache_failed_total") >= 1
    scripted.answer = good_answer
    eventually(lambda: addresses_of(query()) == GOOD, 7, 0.1)
    assert time.monotonic() - begin < 6.5


def test_failure_of_one_name_is_none_of_another(start, scripted):
    scripted.answer = lambda message, tcp: (
        nameserver.failing("SERVFAIL")(message, tcp) if "broken" in str(message.question[0].name)
        else good_answer(message, tcp))
    start()
    assert rcode(query("broken.example.org")) == "SERVFAIL"
    assert addresses_of(query()) == GOOD


# Prefetch.


def test_hot_name_is_fetched_before_its_time_is_over(start, scripted):
    scripted.answer = with_ttl(3)
    one = start()
    query()
    scripted.answer = nameserver.slowly(0.15, with_ttl(3))  # whoever waits from now on, waits so long
    slowest, end = 0, time.monotonic() + 3.5
    while time.monotonic() < end:
        took, response = timed(query)
        assert addresses_of(response) == GOOD
        slowest = max(slowest, took)
        time.sleep(0.01)
    assert len(scripted.seen(NAME)) in (2, 3)  # 150 ms make some ask once more
    assert slowest < 0.1
    assert one.metric("kuma_dns_cache_prefetches_total") == 1


def test_no_prefetch_where_it_is_switched_off(start, scripted):
    scripted.answer = with_ttl(2)
    start(prefetch=False)
    end = time.monotonic() + 1.8
    while time.monotonic() < end:
        query()
        time.sleep(0.01)
    assert len(scripted.seen(NAME)) == 1


# The mesh's names.


def test_name_of_the_table_is_never_answered_from_the_cache(mesh, start, scripted):
    # kuma#13463, #2607, #13353: clients kept an address that was another's by then
    name = "moves.example.org"
    start()
    assert addresses_of(query(name)) == GOOD and addresses_of(query(name)) == GOOD
    mesh.push([(name, ["241.9.0.1"])])
    eventually(lambda: addresses_of(query(name)) == ["241.9.0.1"])
    mesh.push([(name, ["241.9.0.2"])])
    eventually(lambda: addresses_of(query(name)) == ["241.9.0.2"])
    mesh.push()
    eventually(lambda: addresses_of(query(name)) == GOOD)


def test_table_wins_over_an_nxdomain_that_covers_it(mesh, start, scripted):
    scripted.answer = negative("NXDOMAIN", 60)
    start()
    assert rcode(query("gone.example.org")) == "NXDOMAIN"
    mesh.push([("in.gone.example.org", ["241.9.0.3"])])
    eventually(lambda: addresses_of(query("in.gone.example.org")) == ["241.9.0.3"])
    assert addresses_of(query(meshtable.SHADOWED)) == meshtable.addresses(meshtable.SHADOWED)[0]


# Large answers.


def test_small_requestors_get_a_cut_answer_from_the_cache(start, scripted):
    # istio#29675: TC; over TCP whole
    many = [f"192.0.2.{number}" for number in range(1, 201)]
    scripted.answer = with_ttl(60, addresses=many)
    start()
    assert sorted(addresses_of(query(tcp=True))) == sorted(many)
    for options in ({"edns": False}, {"payload": 1232}):
        response = query(**options)
        assert is_truncated(response) and len(response.to_wire()) <= options.get("payload", 512)
    for options in ({"tcp": True}, {"payload": 4096}):
        response = query(**options)
        assert sorted(addresses_of(response)) == sorted(many) and not is_truncated(response)
    assert len(scripted.seen(NAME)) <= 2  # TC, and again over TCP


# What operators see.


def test_cache_off(start, scripted):
    one = start(size=0)
    for _ in range(3):
        assert addresses_of(query()) == GOOD
    assert len(scripted.seen(NAME)) == 3
    assert not one.metric("kuma_dns_cache_entries")
    assert one.run("cache")[0] in (0, 1)


def test_cache_figures(start):
    one = start()
    query()
    query()
    status, out, err = one.run("cache")
    assert status == 0, err
    for word in ("entries", "hits", "misses", "evict", "stale"):
        assert word in out.lower(), out
    assert re.search(r"\b4(194304| ?MiB)\b", out), out


def test_cache_shows_the_entries_of_a_name(start, scripted):
    one = start()
    query()
    scripted.answer = negative("NOERROR", 60)
    query(qtype="AAAA")
    status, out, err = one.run("cache", "WWW.example.org")
    assert status == 0, err
    assert NAME in out and re.search(r"\bA\b", out) and re.search(r"\bAAAA\b", out)
    assert re.search(r"\b(60|59|58)\b", out), out  # what remains
    assert one.run("cache", "unknown.example.org")[0] == 1


def test_cache_flush(start, scripted):
    one = start()
    for name in ("a.example.org", "b.example.org"):
        query(name)
    status, out, err = one.run("cache", "flush", "a.example.org")
    assert status == 0 and re.search(r"\b1\b", out), err
    for name in ("a.example.org", "b.example.org"):
        query(name)
    assert len(scripted.seen("a.example.org")) == 2 and len(scripted.seen("b.example.org")) == 1
    assert one.run("cache", "flush")[0] == 0
    assert one.metric("kuma_dns_cache_entries") == 0
    for name in ("a.example.org", "b.example.org"):
        query(name)
    assert len(scripted.seen("a.example.org")) == 3 and len(scripted.seen("b.example.org")) == 2


def test_cache_flush_reaches_every_worker(mesh, scripted):
    scripted.answer = good_answer
    one = mesh.forward_to(SCRIPTED[4], flags=["--workers", "3"])
    for _ in range(30):
        query()
    eventually(lambda: one.metric("kuma_dns_cache_hits_total") > 20)
    assert one.run("cache", "flush")[0] == 0
    eventually(lambda: one.metric("kuma_dns_cache_entries") == 0)


def test_memory_is_bounded_by_the_slab(start):
    one = start(size="64KiB")
    for number in range(600):
        assert addresses_of(query(f"n{number}.example.org")) == GOOD
    assert one.metric("kuma_dns_cache_bytes") <= 64 << 10
    assert one.metric("kuma_dns_cache_evictions_total") > 0


def test_cache_survives_servers_that_are_gone(mesh):
    """Fresh entries need no server."""
    mesh.forward_to(VANISHED[4], config={"forward": {"timeout": "1s"}})
    assert rcode(query()) == "SERVFAIL"
    assert addresses_of(query("redis.svc.mesh.local"))


def with_record(rdtype, rdata):
    """The usual query with a client's cookie, and one more record in its additional section."""
    message = dns.message.make_query(NAME, "A", use_edns=0, options=[dns.edns.GenericOption(10, b"clientck")])
    message.additional.append(dns.rrset.from_text("sig.", 0, "IN", rdtype, rdata))
    return message


def test_signed_query_is_not_answered_from_the_cache(start, scripted):
    """SIG(0), RFC 2931: it goes on as it is."""
    start()
    query()
    message = with_record("SIG", "\\# 1 00")
    response = dns.query.udp(message, "127.0.0.1", 5, 15053)
    assert response.id == message.id
    assert rcode(response) != "NOERROR" or len(scripted.seen(NAME)) == 2


def test_other_records_of_a_query_stay_here(start, scripted):
    """They are no signature: nor does the cookie go upstream for their sake (RFC 7873)."""
    start()
    response = dns.query.udp(with_record("TXT", "whatever"), "127.0.0.1", 5, 15053)
    assert addresses_of(response) == GOOD
    (sent,) = scripted.seen(NAME)
    assert not sent.additional and 10 not in [option.otype for option in sent.options]
    dns.query.udp(with_record("TXT", "whatever"), "127.0.0.1", 5, 15053)
    assert len(scripted.seen(NAME)) == 1
