/* SPDX-License-Identifier: Apache-2.0
 *
 * Metrics as text. One table says what there is: a row is one series, or one series for each
 * server; rows of one family stand together, and the first has its help. Numbers are written from
 * integers, so that no locale has a say.
 */
#include "dns/admin/metrics.h"

#include "dns/admin/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

enum { NS_IN_US = 1000, NS_IN_MS = 1000000, NS_IN_S = 1000000000, LABELS_SIZE = 4096 };

enum origin {
	FROM_STAT,     /* stats.value[index] */
	FROM_VALUE,    /* value[index] */
	FROM_TIME,     /* value[index], ns written as seconds */
	FROM_WAIT,     /* histogram of one observation, value[index] */
	FROM_REQUEST,  /* histogram stats.request */
	FROM_UPSTREAM, /* histogram stats.upstream */
	FROM_CACHE,    /* the figure that stands at octet `index` of struct cache_figures */
	/* of each server: */
	FROM_SERVER,         /* the counter that stands at octet `index` of struct server_report */
	FROM_SERVER_UP,      /* 1 while it is asked, and answers */
	FROM_SERVER_EDNS,    /* 1 while it is asked with OPT */
	FROM_SERVER_LOOP,    /* 1 while it leads back to us */
	FROM_SERVER_LATENCY, /* in seconds; absent before its first answer */
	FROM_WAY /* of each way to a server: 1 while canaries come back; absent where none can go */
};

struct row {
	const char *name;
	const char *type;
	const char *help;
	const char *labels;
	enum origin origin;
	size_t index;
};

#define COUNTER(name, help)   name, "counter", help
#define GAUGE(name, help)     name, "gauge", help
#define HISTOGRAM(name, help) name, "histogram", help
#define SAME(name)            name, NULL, NULL

#define SERVER_COUNTER(member) FROM_SERVER, offsetof(struct server_report, member)
#define CACHE_FIGURE(member)   FROM_CACHE, offsetof(struct cache_figures, member)

static const struct row rows[] = {
	/* Kuma's own, which dashboards use already */
	{HISTOGRAM("kuma_dp_dns_request_duration_seconds", "time of a request, local or forwarded"),
		"", FROM_REQUEST, 0},
	{HISTOGRAM("kuma_dp_dns_upstream_request_duration_seconds", "time of a forwarded request"),
		"", FROM_UPSTREAM, 0},
	{COUNTER("kuma_dp_dns_upstream_request_failure_count", "failed forwarded requests"), "",
		FROM_STAT, STAT_UPSTREAM_FAILURES},
	{COUNTER("kuma_dp_dns_queries_total", "requests"), "qtype=\"A\",source=\"local\"",
		FROM_STAT, STAT_LOCAL_A},
	{SAME("kuma_dp_dns_queries_total"), "qtype=\"AAAA\",source=\"local\"", FROM_STAT,
		STAT_LOCAL_AAAA},
	{SAME("kuma_dp_dns_queries_total"), "qtype=\"other\",source=\"local\"", FROM_STAT,
		STAT_LOCAL_OTHER},
	{SAME("kuma_dp_dns_queries_total"), "qtype=\"A\",source=\"upstream\"", FROM_STAT,
		STAT_UPSTREAM_A},
	{SAME("kuma_dp_dns_queries_total"), "qtype=\"AAAA\",source=\"upstream\"", FROM_STAT,
		STAT_UPSTREAM_AAAA},
	{SAME("kuma_dp_dns_queries_total"), "qtype=\"other\",source=\"upstream\"", FROM_STAT,
		STAT_UPSTREAM_OTHER},
	{COUNTER("kuma_dp_dns_response_codes_total", "responses"), "rcode=\"noerror\"", FROM_STAT,
		STAT_NOERROR},
	{SAME("kuma_dp_dns_response_codes_total"), "rcode=\"nxdomain\"", FROM_STAT, STAT_NXDOMAIN},
	{SAME("kuma_dp_dns_response_codes_total"), "rcode=\"servfail\"", FROM_STAT, STAT_SERVFAIL},
	{SAME("kuma_dp_dns_response_codes_total"), "rcode=\"other\"", FROM_STAT, STAT_OTHER_RCODE},
	{GAUGE("kuma_dp_dns_entries_total", "names in the table"), "", FROM_VALUE, METRIC_ENTRIES},
	{HISTOGRAM("kuma_dp_dns_config_ready_wait_seconds", "start until the first table"), "",
		FROM_WAIT, METRIC_READY_WAIT},

	/* forwarding */
	{GAUGE("kuma_dns_transactions", "outstanding upstream questions"), "", FROM_STAT,
		STAT_TRANSACTIONS_NOW},
	{COUNTER("kuma_dns_transactions_total", "upstream questions begun"), "", FROM_STAT,
		STAT_TRANSACTIONS},
	{COUNTER("kuma_dns_passed_total", "messages passed on to the very server that was asked"),
		"", FROM_STAT, STAT_PASSED},
	{COUNTER("kuma_dns_transactions_joined_total", "requests that joined one in flight"), "",
		FROM_STAT, STAT_TRANSACTIONS_JOINED},
	{COUNTER("kuma_dns_transactions_refused_total",
		 "requests answered with SERVFAIL at once, at the limit of transactions"),
		"", FROM_STAT, STAT_TRANSACTIONS_REFUSED},
	{COUNTER("kuma_dns_upstream_queries_total", "queries sent to a server"),
		"transport=\"udp\"", SERVER_COUNTER(udp_queries)},
	{SAME("kuma_dns_upstream_queries_total"), "transport=\"tcp\"", SERVER_COUNTER(tcp_queries)},
	{COUNTER("kuma_dns_upstream_failures_total", "queries that a server did not answer well"),
		"reason=\"timeout\"", SERVER_COUNTER(failures[UPSTREAM_TIMEOUT])},
	{SAME("kuma_dns_upstream_failures_total"), "reason=\"refused\"",
		SERVER_COUNTER(failures[UPSTREAM_REFUSED])},
	{SAME("kuma_dns_upstream_failures_total"), "reason=\"servfail\"",
		SERVER_COUNTER(failures[UPSTREAM_SERVFAIL])},
	{SAME("kuma_dns_upstream_failures_total"), "reason=\"unreachable\"",
		SERVER_COUNTER(failures[UPSTREAM_UNREACHABLE])},
	{SAME("kuma_dns_upstream_failures_total"), "reason=\"malformed\"",
		SERVER_COUNTER(failures[UPSTREAM_MALFORMED])},
	{COUNTER("kuma_dns_upstream_hedges_total",
		 "queries to a server because another one took long"),
		"", SERVER_COUNTER(hedges)},
	{COUNTER("kuma_dns_upstream_probes_total", "our own queries: does it answer, is it a loop"),
		"", SERVER_COUNTER(probes)},
	{GAUGE("kuma_dns_upstream_up", "0 while a server is silent or leads back to us"), "",
		FROM_SERVER_UP, 0},
	{GAUGE("kuma_dns_upstream_latency_seconds", "smoothed response time of a server"), "",
		FROM_SERVER_LATENCY, 0},
	{GAUGE("kuma_dns_upstream_edns", "0 while a server is asked without EDNS"), "",
		FROM_SERVER_EDNS, 0},
	{GAUGE("kuma_dns_upstream_loop", "1 while what a server is asked comes back to us"), "",
		FROM_SERVER_LOOP, 0},
	{COUNTER("kuma_dns_upstream_mismatched_total",
		 "datagrams with the wrong port, ID or question"),
		"", FROM_STAT, STAT_UPSTREAM_MISMATCHED},
	{COUNTER("kuma_dns_upstream_truncated_total", "truncated answers, asked again over TCP"),
		"", FROM_STAT, STAT_UPSTREAM_TRUNCATED},

	{COUNTER("kuma_dns_search_probes_total", "questions for the label next to a search domain"),
		"", FROM_STAT, STAT_SEARCH_PROBES},
	{GAUGE("kuma_dns_search_domains", "search domains of resolv.conf"), "", FROM_VALUE,
		METRIC_SEARCH_DOMAINS},
	{COUNTER("kuma_dns_resolv_conf_changes_total", "changes of resolv.conf taken over"), "",
		FROM_VALUE, METRIC_RESOLV_CONF_CHANGES},

	/* the cache */
	{COUNTER("kuma_dns_cache_hits_total", "answers from the cache, covered ones included"), "",
		CACHE_FIGURE(hits)},
	{COUNTER("kuma_dns_cache_misses_total", "requests that the cache had no answer to"), "",
		CACHE_FIGURE(misses)},
	{COUNTER("kuma_dns_cache_covered_total",
		 "NXDOMAIN because a name above does not exist (RFC 8020)"),
		"", CACHE_FIGURE(covered)},
	{COUNTER("kuma_dns_cache_stale_total", "answers after their time (RFC 8767)"), "",
		CACHE_FIGURE(stale)},
	{COUNTER("kuma_dns_cache_failed_total", "SERVFAIL for what was tried in vain (RFC 9520)"),
		"", CACHE_FIGURE(failed)},
	{COUNTER("kuma_dns_cache_insertions_total", "responses and failures remembered"), "",
		CACHE_FIGURE(insertions)},
	{COUNTER("kuma_dns_cache_evictions_total", "entries forgotten for want of room"), "",
		CACHE_FIGURE(evictions)},
	{COUNTER("kuma_dns_cache_refused_total", "responses that may not be remembered"), "",
		CACHE_FIGURE(refused)},
	{COUNTER("kuma_dns_cache_prefetches_total", "entries asked for again before their end"), "",
		FROM_STAT, STAT_CACHE_PREFETCHES},
	{GAUGE("kuma_dns_cache_entries", "entries in the cache"), "", CACHE_FIGURE(entries)},
	{GAUGE("kuma_dns_cache_bytes", "octets that the entries take"), "", CACHE_FIGURE(octets)},

	/* the table */
	{GAUGE("kuma_dns_table_generation", "number of the table that is served"), "", FROM_VALUE,
		METRIC_GENERATION},
	{GAUGE("kuma_dns_table_age_seconds", "time since the source confirmed the table"), "",
		FROM_TIME, METRIC_AGE},
	{GAUGE("kuma_dns_table_old", "1 while the table is the saved one and no source spoke"), "",
		FROM_VALUE, METRIC_OLD},
	{GAUGE("kuma_dns_table_skipped_records", "records of the table that cannot be served"), "",
		FROM_VALUE, METRIC_SKIPPED},
	{COUNTER("kuma_dns_table_fetches_total", "readings of the table's source, by result"),
		"result=\"new\"", FROM_VALUE, METRIC_FETCHES_NEW},
	{SAME("kuma_dns_table_fetches_total"), "result=\"unchanged\"", FROM_VALUE,
		METRIC_FETCHES_UNCHANGED},
	{SAME("kuma_dns_table_fetches_total"), "result=\"unreachable\"", FROM_VALUE,
		METRIC_FETCHES_UNREACHABLE},
	{SAME("kuma_dns_table_fetches_total"), "result=\"rejected\"", FROM_VALUE,
		METRIC_FETCHES_REJECTED},

	/* requestors */
	{GAUGE("kuma_dns_tcp_connections", "open TCP connections of requestors"), "", FROM_STAT,
		STAT_TCP_CONNECTIONS_NOW},
	{COUNTER("kuma_dns_tcp_connections_total", "TCP connections accepted"), "", FROM_STAT,
		STAT_TCP_CONNECTIONS},
	{COUNTER("kuma_dns_drops_total", "messages and connections dropped, by reason"),
		"reason=\"short\"", FROM_STAT, STAT_DROP_SHORT},
	{SAME("kuma_dns_drops_total"), "reason=\"response\"", FROM_STAT, STAT_DROP_RESPONSE},
	{SAME("kuma_dns_drops_total"), "reason=\"overload\"", FROM_STAT, STAT_DROP_OVERLOAD},
	{SAME("kuma_dns_drops_total"), "reason=\"send\"", FROM_STAT, STAT_DROP_SEND},
	{SAME("kuma_dns_drops_total"), "reason=\"tcp_limit\"", FROM_STAT, STAT_DROP_TCP_LIMIT},
	{SAME("kuma_dns_drops_total"), "reason=\"tcp_frame\"", FROM_STAT, STAT_DROP_TCP_FRAME},
	{SAME("kuma_dns_drops_total"), "reason=\"tcp_idle\"", FROM_STAT, STAT_DROP_TCP_IDLE},
	{SAME("kuma_dns_drops_total"), "reason=\"tcp_unsent\"", FROM_STAT, STAT_DROP_TCP_UNSENT},
	{COUNTER("kuma_dns_udp_overflows_total", "datagrams lost because our buffer was full"), "",
		FROM_VALUE, METRIC_UDP_OVERFLOWS},

	/* the daemon */
	{GAUGE("kuma_dns_redirect_active", "1 while the redirection is installed"), "", FROM_VALUE,
		METRIC_REDIRECT_ACTIVE},
	{GAUGE("kuma_dns_interception_up",
		 "0 while queries to a server of resolv.conf do not come to us"),
		"", FROM_WAY, 0},
	{GAUGE("kuma_dns_ready", "1 while /ready says 200"), "", FROM_VALUE, METRIC_READY},
	{GAUGE("kuma_dns_info", "1, with the version"), "version=\"" KUMA_DNS_VERSION "\"",
		FROM_VALUE, METRIC_INFO},
	{GAUGE("process_start_time_seconds", "start of the process, seconds since 1970"), "",
		FROM_TIME, METRIC_START},
	{GAUGE("process_resident_memory_bytes", "resident memory"), "", FROM_VALUE, METRIC_MEMORY},
	{GAUGE("process_open_fds", "open file descriptors"), "", FROM_VALUE, METRIC_OPEN_FDS},
	{COUNTER("process_cpu_seconds_total", "user and system time spent"), "", FROM_TIME,
		METRIC_CPU},
};

static const char *const own_labels[] = {"qtype", "source", "rcode", "family", "transport",
	"server", "reason", "result", "version", "le"};

struct page {
	const struct metrics *m;
	struct text text;
	char constant[LABELS_SIZE + 1]; /* the table's labels, each with a comma before it */
};

/* Octets of the UTF-8 character at `s`; 0 where there is none, or one that a terminal obeys
 * (U+0000..1F, U+007F..9F). RFC 3629 §4. */
static size_t printable_length(const uint8_t *s)
{
	static const struct {
		uint8_t first_min, first_max, second_min, second_max, len;
	} shapes[] = {
		{0xc3, 0xdf, 0x80, 0xbf, 2},
		{0xc2, 0xc2, 0xa0, 0xbf, 2},
		{0xe0, 0xe0, 0xa0, 0xbf, 3},
		{0xed, 0xed, 0x80, 0x9f, 3},
		{0xe1, 0xef, 0x80, 0xbf, 3},
		{0xf0, 0xf0, 0x90, 0xbf, 4},
		{0xf1, 0xf3, 0x80, 0xbf, 4},
		{0xf4, 0xf4, 0x80, 0x8f, 4},
	};
	if (s[0] < 0x80) {
		return s[0] >= 0x20 && s[0] != 0x7f;
	}
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		if (s[0] < shapes[i].first_min || s[0] > shapes[i].first_max) {
			continue;
		}
		if (s[1] < shapes[i].second_min || s[1] > shapes[i].second_max) {
			return 0;
		}
		for (size_t k = 2; k < shapes[i].len; k++) {
			if ((s[k] & 0xc0) != 0x80) {
				return 0;
			}
		}
		return shapes[i].len;
	}
	return 0;
}

static void put_label_value(struct writer *w, const char *value)
{
	const uint8_t *s = (const uint8_t *)value;
	while (*s && !w->fault) {
		size_t len = printable_length(s);
		if (*s == '\n') {
			writer_octets(w, "\\n", 2);
		} else if (*s == '\\' || *s == '"') {
			writer_octets(w, (uint8_t[]){'\\', *s}, 2);
		} else if (len == 0) {
			writer_u8(w, '?');
		} else {
			writer_octets(w, s, len);
		}
		s += len ? len : 1;
	}
}

static bool is_own_label(const char *name)
{
	for (size_t i = 0; i < sizeof(own_labels) / sizeof(own_labels[0]); i++) {
		if (strcmp(own_labels[i], name) == 0) {
			return true;
		}
	}
	return false;
}

static bool is_label_octet(char c, bool first)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
	       (c >= '0' && c <= '9' && !first);
}

static void put_label_name(struct writer *w, const char *name)
{
	if (is_own_label(name)) {
		writer_octets(w, "exported_", 9);
	}
	for (const char *c = name; *c; c++) {
		writer_u8(w, is_label_octet(*c, c == name) ? (uint8_t)*c : '_');
	}
}

/* Whether `,name="` stands in the text already. A quote inside a value is always escaped, so a
 * value cannot look like it. */
static bool label_is_there(const struct writer *w, size_t from)
{
	size_t len = w->len - from;
	return from >= len && memmem(w->data, from, w->data + from, len);
}

static void put_constant_label(struct writer *w, const struct table_label *label)
{
	size_t start = w->len;
	writer_u8(w, ',');
	put_label_name(w, label->name);
	bool reserved = w->len < start + 2 || (w->len >= start + 3 && w->data[start + 1] == '_' &&
						      w->data[start + 2] == '_');
	writer_octets(w, "=\"", 2);
	bool drop = reserved || w->fault || label_is_there(w, start);
	put_label_value(w, label->value);
	writer_u8(w, '"');
	if (drop || w->fault) {
		w->len = start;
		w->fault = false;
	}
}

static void prepare_constant_labels(struct page *page)
{
	struct writer w = {.data = (uint8_t *)page->constant, .size = LABELS_SIZE};
	for (size_t i = 0; i < page->m->label_count; i++) {
		put_constant_label(&w, &page->m->labels[i]);
	}
	page->constant[w.len] = '\0';
}

/* `name{labels,constant} `: the value follows. `more` is one label beyond the row's, or empty. */
static void put_series(struct page *page, const char *name, const char *suffix, const char *labels,
	const char *more)
{
	const char *constant = page->constant;
	const char *comma = labels[0] && more[0] ? "," : "";
	if (!labels[0] && !more[0] && constant[0]) {
		constant++; /* its comma */
	}
	bool any = labels[0] || more[0] || constant[0];
	text_add(&page->text, "%s%s%s%s%s%s%s%s ", name, suffix, any ? "{" : "", labels, comma,
		more, constant, any ? "}" : "");
}

static void put_seconds(struct page *page, uint64_t ns)
{
	text_add(&page->text, "%" PRIu64 ".%09" PRIu64 "\n", ns / NS_IN_S, ns % NS_IN_S);
}

static uint64_t load(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static void put_buckets(struct page *page, const char *name, const char *const *bounds,
	const uint64_t *buckets, size_t count)
{
	uint64_t cumulative = 0;
	for (size_t i = 0; i < count; i++) {
		char le[24];
		snprintf(le, sizeof(le), "le=\"%s\"", bounds[i]);
		cumulative += buckets[i];
		put_series(page, name, "_bucket", "", le);
		text_add(&page->text, "%" PRIu64 "\n", cumulative);
	}
}

static void put_totals(struct page *page, const char *name, uint64_t count, uint64_t sum_ns)
{
	put_series(page, name, "_bucket", "", "le=\"+Inf\"");
	text_add(&page->text, "%" PRIu64 "\n", count);
	put_series(page, name, "_sum", "", "");
	put_seconds(page, sum_ns);
	put_series(page, name, "_count", "", "");
	text_add(&page->text, "%" PRIu64 "\n", count);
}

static void put_histogram(struct page *page, const char *name, const struct histogram *h)
{
	static const char *const bounds[HISTOGRAM_BUCKETS] = {
		"0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10"};
	uint64_t buckets[HISTOGRAM_BUCKETS];
	uint64_t inside = 0;
	for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		buckets[i] = load(&h->bucket[i]);
		inside += buckets[i];
	}
	put_buckets(page, name, bounds, buckets, HISTOGRAM_BUCKETS);
	/* Workers count on while they are read: a bucket may be ahead of the count. */
	uint64_t count = load(&h->count);
	put_totals(page, name, count < inside ? inside : count, load(&h->sum_ns));
}

static void put_wait(struct page *page, const char *name, uint64_t ns)
{
	static const char *const bounds[] = {"0.1", "0.5", "1", "2", "5", "10", "30"};
	static const uint64_t bounds_ms[] = {100, 500, 1000, 2000, 5000, 10000, 30000};
	uint64_t buckets[sizeof(bounds_ms) / sizeof(bounds_ms[0])] = {0};
	size_t count = sizeof(bounds_ms) / sizeof(bounds_ms[0]);
	bool known = ns != METRIC_ABSENT;
	for (size_t i = 0; known && i < count; i++) {
		if (ns <= bounds_ms[i] * NS_IN_MS) {
			buckets[i] = 1;
			break;
		}
	}
	put_buckets(page, name, bounds, buckets, count);
	put_totals(page, name, known, known ? ns : 0);
}

/* The counter at octet `offset` of a struct. */
static uint64_t member(const void *of, size_t offset)
{
	uint64_t value;
	memcpy(&value, (const uint8_t *)of + offset, sizeof(value));
	return value;
}

static uint64_t server_value(const struct row *row, const struct server_report *server)
{
	switch (row->origin) {
	case FROM_SERVER_UP:
		return !server->silent && !server->loop && !server->ours;
	case FROM_SERVER_EDNS:
		return !server->no_opt;
	case FROM_SERVER_LOOP:
		return server->loop;
	case FROM_SERVER_LATENCY:
		return server->smoothed_us ? server->smoothed_us * (uint64_t)NS_IN_US
					   : METRIC_ABSENT;
	default:
		return member(server, row->index);
	}
}

/* A series; `label` stands before those of the row. */
static void put_number(struct page *page, const struct row *row, const char *label, uint64_t value)
{
	if (value == METRIC_ABSENT) {
		return;
	}
	put_series(page, row->name, "", label, row->labels);
	if (row->origin == FROM_TIME || row->origin == FROM_SERVER_LATENCY) {
		put_seconds(page, value);
	} else {
		text_add(&page->text, "%" PRIu64 "\n", value);
	}
}

static void put_servers(struct page *page, const struct row *row)
{
	for (unsigned i = 0; i < page->m->server_count; i++) {
		const struct server_report *server = &page->m->servers[i];
		char text[ENDPOINT_TEXT_SIZE];
		char label[sizeof("server=\"\"") + ENDPOINT_TEXT_SIZE];
		snprintf(label, sizeof(label), "server=\"%s\"", endpoint_format(&server->at, text));
		put_number(page, row, label, server_value(row, server));
	}
}

static void put_ways(struct page *page, const struct row *row)
{
	const struct interception_status *s = page->m->interception;
	for (unsigned i = 0; s && i < s->count; i++) {
		const struct way *way = &s->way[i];
		char text[ENDPOINT_TEXT_SIZE];
		char label[ENDPOINT_TEXT_SIZE + 64];
		snprintf(label, sizeof(label), "family=\"%s\",transport=\"%s\",server=\"%s\"",
			way->server.sa.sa_family == AF_INET6 ? "ipv6" : "ipv4",
			way->tcp ? "tcp" : "udp", endpoint_format(&way->server, text));
		if (way->state == WAY_OURS || way->state == WAY_LOST) {
			put_number(page, row, label, way->state == WAY_OURS);
		}
	}
}

static void put_row(struct page *page, const struct row *row)
{
	const struct metrics *m = page->m;
	if (row->help) {
		text_add(&page->text, "# HELP %s %s\n# TYPE %s %s\n", row->name, row->help,
			row->name, row->type);
	}
	switch (row->origin) {
	case FROM_STAT:
		put_number(page, row, "", load(&m->stats->value[row->index]));
		break;
	case FROM_VALUE:
	case FROM_TIME:
		put_number(page, row, "", m->value[row->index]);
		break;
	case FROM_WAIT:
		put_wait(page, row->name, m->value[row->index]);
		break;
	case FROM_REQUEST:
		put_histogram(page, row->name, &m->stats->request);
		break;
	case FROM_UPSTREAM:
		put_histogram(page, row->name, &m->stats->upstream);
		break;
	case FROM_CACHE:
		put_number(page, row, "", m->cache ? member(m->cache, row->index) : METRIC_ABSENT);
		break;
	case FROM_SERVER:
	case FROM_SERVER_UP:
	case FROM_SERVER_EDNS:
	case FROM_SERVER_LOOP:
	case FROM_SERVER_LATENCY:
		put_servers(page, row);
		break;
	case FROM_WAY:
		put_ways(page, row);
		break;
	}
}

int metrics_write(const struct metrics *metrics, struct evbuffer *out)
{
	struct page page = {.m = metrics, .text = {.out = out}};
	prepare_constant_labels(&page);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		put_row(&page, &rows[i]);
	}
	return page.text.fault ? -ENOMEM : 0;
}
