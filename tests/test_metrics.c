/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of metrics.c: what it writes is read back by a reader of its own, after the grammar of
 * Prometheus' text format 0.0.4.
 */
#include "dns/admin/metrics.h"

#include <event2/buffer.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SERIES_MAX = 400, FAMILIES_MAX = 100, LABELS_MAX = 80 };

struct family {
	char name[128];
	char type[16];
	char help[128];
};

struct label {
	char name[128];
	char value[512]; /* as it stands, escapes included */
};

struct series {
	char name[128];
	struct label label[LABELS_MAX];
	size_t labels;
	double value;
	const struct family *family;
	char identity[6000]; /* name and labels */
};

struct exposition {
	struct family family[FAMILIES_MAX];
	size_t families;
	struct series series[SERIES_MAX];
	size_t count;
};

static size_t name_length(const char *s)
{
	return strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
}

static void copy(char *to, size_t size, const char *from, size_t len)
{
	assert_true(len > 0 && len < size);
	memcpy(to, from, len);
	to[len] = '\0';
}

static const char *read_label(struct series *s, const char *at)
{
	struct label *label = &s->label[s->labels++];
	size_t len = name_length(at);
	assert_true(s->labels < LABELS_MAX);
	assert_false(at[0] >= '0' && at[0] <= '9');
	copy(label->name, sizeof(label->name), at, len);
	at += len;
	assert_memory_equal(at, "=\"", 2);
	at += 2;
	size_t used = 0;
	while (*at != '"') {
		assert_true(*at != '\0' && *at != '\n' && used + 2 < sizeof(label->value));
		if (*at == '\\') {
			label->value[used++] = *at++;
			assert_true(*at == '\\' || *at == '"' || *at == 'n');
		}
		label->value[used++] = *at++;
	}
	label->value[used] = '\0';
	for (size_t i = 0; i + 1 < s->labels; i++) {
		assert_string_not_equal(s->label[i].name, label->name);
	}
	return at + 1;
}

static const struct family *family_of(const struct exposition *e, const char *series)
{
	static const char *const suffixes[] = {"", "_bucket", "_sum", "_count"};
	const struct family *f = &e->family[e->families - 1];
	assert_true(e->families > 0);
	for (size_t i = 0; i < 4; i++) {
		char name[160];
		snprintf(name, sizeof(name), "%s%s", f->name, suffixes[i]);
		if (strcmp(name, series) == 0) {
			assert_int_equal(i > 0, strcmp(f->type, "histogram") == 0);
			return f;
		}
	}
	fail_msg("%s does not belong to the family above it, %s", series, f->name);
	return NULL;
}

static void read_series(struct exposition *e, const char *line)
{
	struct series *s = &e->series[e->count++];
	assert_true(e->count < SERIES_MAX);
	size_t len = name_length(line);
	const char *at = line + len;
	copy(s->name, sizeof(s->name), line, len);
	if (*at == '{') {
		do {
			at = read_label(s, at + 1);
		} while (*at == ',');
		assert_int_equal(*at++, '}');
	}
	copy(s->identity, sizeof(s->identity), line, (size_t)(at - line));
	for (size_t i = 0; i + 1 < e->count; i++) {
		assert_string_not_equal(e->series[i].identity, s->identity);
	}
	assert_int_equal(*at++, ' ');
	char *end;
	s->value = strtod(at, &end);
	assert_true(end > at && *end == '\0');
	s->family = family_of(e, s->name);
}

static void read_comment(struct exposition *e, const char *line)
{
	if (strncmp(line, "# HELP ", 7) == 0) {
		struct family *f = &e->family[e->families++];
		assert_true(e->families < FAMILIES_MAX);
		size_t len = name_length(line + 7);
		copy(f->name, sizeof(f->name), line + 7, len);
		assert_int_equal(line[7 + len], ' ');
		copy(f->help, sizeof(f->help), line + 8 + len, strlen(line + 8 + len));
		for (size_t i = 0; i + 1 < e->families; i++) {
			assert_string_not_equal(e->family[i].name, f->name);
		}
		return;
	}
	assert_true(strncmp(line, "# TYPE ", 7) == 0);
	struct family *f = &e->family[e->families - 1];
	size_t len = strlen(f->name);
	assert_memory_equal(line + 7, f->name, len);
	assert_int_equal(line[7 + len], ' ');
	assert_string_equal(f->type, "");
	copy(f->type, sizeof(f->type), line + 8 + len, strlen(line + 8 + len));
}

static void read_exposition(struct exposition *e, char *text)
{
	size_t len = strlen(text);
	assert_true(len > 0 && text[len - 1] == '\n');
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		if (line[0] == '#') {
			read_comment(e, line);
		} else {
			read_series(e, line);
		}
	}
}

static struct exposition *exposition(const struct metrics *m)
{
	struct evbuffer *out = evbuffer_new();
	struct exposition *e = calloc(1, sizeof(*e));
	if (!out || !e) {
		abort();
	}
	assert_int_equal(metrics_write(m, out), 0);
	size_t len = evbuffer_get_length(out);
	char *text = calloc(1, len + 1);
	if (!text) {
		abort();
	}
	evbuffer_copyout(out, text, len);
	evbuffer_free(out);
	assert_int_equal(strlen(text), len);
	read_exposition(e, text);
	free(text);
	return e;
}

static const struct series *find(const struct exposition *e, const char *identity)
{
	for (size_t i = 0; i < e->count; i++) {
		if (strcmp(e->series[i].identity, identity) == 0) {
			return &e->series[i];
		}
	}
	fail_msg("no series %s", identity);
	abort();
}

static void assert_value(const struct exposition *e, const char *identity, double value)
{
	const struct series *s = find(e, identity);
	if (s->value < value || s->value > value) {
		fail_msg("%s is %f, not %f", identity, s->value, value);
	}
}

static bool has(const struct exposition *e, const char *name)
{
	for (size_t i = 0; i < e->count; i++) {
		if (strcmp(e->series[i].name, name) == 0) {
			return true;
		}
	}
	return false;
}

struct fixture {
	struct stats stats;
	struct server_report server[2];
	struct cache_figures cache;
	struct interception_status interception;
	struct metrics metrics;
	struct exposition *e;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	if (!f) {
		return -1;
	}
	f->metrics = (struct metrics){.stats = &f->stats,
		.servers = f->server,
		.server_count = 2,
		.interception = &f->interception,
		.cache = &f->cache};
	f->metrics.value[METRIC_READY_WAIT] = METRIC_ABSENT;
	f->server[0].smoothed_us = 1;
	*state = f;
	if (endpoint_parse(&f->server[0].at, "192.0.2.1", 53) ||
		endpoint_parse(&f->server[1].at, "[2001:db8::1]:5353", 53)) {
		return -1;
	}
	f->interception.count = 2;
	f->interception.way[0] = (struct way){.server = f->server[0].at, .state = WAY_OURS};
	f->interception.way[1] =
		(struct way){.server = f->server[1].at, .tcp = true, .state = WAY_LOST};
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	free(f->e);
	free(f);
	return 0;
}

static void every_family_has_help_type_and_series(void **state)
{
	struct fixture *f = *state;
	f->e = exposition(&f->metrics);
	for (size_t i = 0; i < f->e->families; i++) {
		const struct family *family = &f->e->family[i];
		size_t series = 0;
		for (size_t k = 0; k < f->e->count; k++) {
			series += f->e->series[k].family == family;
		}
		assert_true(series > 0);
		assert_string_not_equal(family->type, "");
	}
}

static void kumas_families_have_its_names_types_and_help(void **state)
{
	static const struct family kuma[] = {
		{"kuma_dp_dns_request_duration_seconds", "histogram",
			"time of a request, local or forwarded"},
		{"kuma_dp_dns_upstream_request_duration_seconds", "histogram",
			"time of a forwarded request"},
		{"kuma_dp_dns_upstream_request_failure_count", "counter",
			"failed forwarded requests"},
		{"kuma_dp_dns_queries_total", "counter", "requests"},
		{"kuma_dp_dns_response_codes_total", "counter", "responses"},
		{"kuma_dp_dns_entries_total", "gauge", "names in the table"},
		{"kuma_dp_dns_config_ready_wait_seconds", "histogram",
			"start until the first table"},
	};
	struct fixture *f = *state;
	f->e = exposition(&f->metrics);
	for (size_t i = 0; i < sizeof(kuma) / sizeof(kuma[0]); i++) {
		const struct family *family = NULL;
		for (size_t k = 0; k < f->e->families; k++) {
			if (strcmp(f->e->family[k].name, kuma[i].name) == 0) {
				family = &f->e->family[k];
			}
		}
		assert_non_null(family);
		assert_string_equal(family->type, kuma[i].type);
		assert_string_equal(family->help, kuma[i].help);
	}
}

static void our_counters_end_in_total(void **state)
{
	struct fixture *f = *state;
	f->e = exposition(&f->metrics);
	for (size_t i = 0; i < f->e->families; i++) {
		const char *name = f->e->family[i].name;
		size_t len = strlen(name);
		bool total = len > 6 && strcmp(name + len - 6, "_total") == 0;
		if (strncmp(name, "kuma_dp_", 8) != 0) {
			assert_int_equal(total, strcmp(f->e->family[i].type, "counter") == 0);
		}
	}
}

static void counters_stand_under_their_labels(void **state)
{
	struct fixture *f = *state;
	for (unsigned i = 0; i < STAT_COUNT; i++) {
		stats_add(&f->stats, i, 100 + i);
	}
	f->e = exposition(&f->metrics);
	static const struct {
		const char *identity;
		enum counter stat;
	} all[STAT_COUNT] = {
		{"kuma_dp_dns_queries_total{qtype=\"A\",source=\"local\"}", STAT_LOCAL_A},
		{"kuma_dp_dns_queries_total{qtype=\"AAAA\",source=\"local\"}", STAT_LOCAL_AAAA},
		{"kuma_dp_dns_queries_total{qtype=\"other\",source=\"local\"}", STAT_LOCAL_OTHER},
		{"kuma_dp_dns_queries_total{qtype=\"A\",source=\"upstream\"}", STAT_UPSTREAM_A},
		{"kuma_dp_dns_queries_total{qtype=\"AAAA\",source=\"upstream\"}",
			STAT_UPSTREAM_AAAA},
		{"kuma_dp_dns_queries_total{qtype=\"other\",source=\"upstream\"}",
			STAT_UPSTREAM_OTHER},
		{"kuma_dp_dns_response_codes_total{rcode=\"noerror\"}", STAT_NOERROR},
		{"kuma_dp_dns_response_codes_total{rcode=\"nxdomain\"}", STAT_NXDOMAIN},
		{"kuma_dp_dns_response_codes_total{rcode=\"servfail\"}", STAT_SERVFAIL},
		{"kuma_dp_dns_response_codes_total{rcode=\"other\"}", STAT_OTHER_RCODE},
		{"kuma_dp_dns_upstream_request_failure_count", STAT_UPSTREAM_FAILURES},
		{"kuma_dns_transactions_total", STAT_TRANSACTIONS},
		{"kuma_dns_passed_total", STAT_PASSED},
		{"kuma_dns_transactions_joined_total", STAT_TRANSACTIONS_JOINED},
		{"kuma_dns_transactions_refused_total", STAT_TRANSACTIONS_REFUSED},
		{"kuma_dns_transactions", STAT_TRANSACTIONS_NOW},
		{"kuma_dns_upstream_mismatched_total", STAT_UPSTREAM_MISMATCHED},
		{"kuma_dns_upstream_truncated_total", STAT_UPSTREAM_TRUNCATED},
		{"kuma_dns_search_probes_total", STAT_SEARCH_PROBES},
		{"kuma_dns_cache_prefetches_total", STAT_CACHE_PREFETCHES},
		{"kuma_dns_tcp_connections_total", STAT_TCP_CONNECTIONS},
		{"kuma_dns_tcp_connections", STAT_TCP_CONNECTIONS_NOW},
		{"kuma_dns_drops_total{reason=\"short\"}", STAT_DROP_SHORT},
		{"kuma_dns_drops_total{reason=\"response\"}", STAT_DROP_RESPONSE},
		{"kuma_dns_drops_total{reason=\"overload\"}", STAT_DROP_OVERLOAD},
		{"kuma_dns_drops_total{reason=\"send\"}", STAT_DROP_SEND},
		{"kuma_dns_drops_total{reason=\"tcp_limit\"}", STAT_DROP_TCP_LIMIT},
		{"kuma_dns_drops_total{reason=\"tcp_frame\"}", STAT_DROP_TCP_FRAME},
		{"kuma_dns_drops_total{reason=\"tcp_idle\"}", STAT_DROP_TCP_IDLE},
		{"kuma_dns_drops_total{reason=\"tcp_unsent\"}", STAT_DROP_TCP_UNSENT},
	};
	for (size_t i = 0; i < STAT_COUNT; i++) {
		assert_non_null(all[i].identity);
		assert_value(f->e, all[i].identity, 100 + all[i].stat);
	}
}

static void each_server_has_its_own_series(void **state)
{
	struct fixture *f = *state;
	f->server[0].udp_queries = 7;
	f->server[1].tcp_queries = 8;
	f->server[1].failures[UPSTREAM_MALFORMED] = 9;
	f->server[0].hedges = 10;
	f->server[1].probes = 11;
	f->e = exposition(&f->metrics);
	assert_value(f->e,
		"kuma_dns_upstream_queries_total{server=\"192.0.2.1:53\",transport=\"udp\"}", 7);
	assert_value(f->e,
		"kuma_dns_upstream_queries_total{server=\"[2001:db8::1]:5353\",transport=\"tcp\"}",
		8);
	assert_value(f->e,
		"kuma_dns_upstream_failures_total{server=\"[2001:db8::1]:5353\",reason="
		"\"malformed\"}",
		9);
	assert_value(f->e, "kuma_dns_upstream_hedges_total{server=\"192.0.2.1:53\"}", 10);
	assert_value(f->e, "kuma_dns_upstream_hedges_total{server=\"[2001:db8::1]:5353\"}", 0);
	assert_value(f->e, "kuma_dns_upstream_probes_total{server=\"[2001:db8::1]:5353\"}", 11);
}

static void each_reason_to_fail_has_its_own_series(void **state)
{
	static const char *const reasons[UPSTREAM_FAILURES] = {
		[UPSTREAM_TIMEOUT] = "timeout",
		[UPSTREAM_REFUSED] = "refused",
		[UPSTREAM_SERVFAIL] = "servfail",
		[UPSTREAM_UNREACHABLE] = "unreachable",
		[UPSTREAM_MALFORMED] = "malformed",
	};
	struct fixture *f = *state;
	for (unsigned i = 0; i < UPSTREAM_FAILURES; i++) {
		f->server[0].failures[i] = 20 + i;
	}
	f->e = exposition(&f->metrics);
	for (unsigned i = 0; i < UPSTREAM_FAILURES; i++) {
		char identity[160];
		snprintf(identity, sizeof(identity),
			"kuma_dns_upstream_failures_total{server=\"192.0.2.1:53\",reason=\"%s\"}",
			reasons[i]);
		assert_value(f->e, identity, 20 + i);
	}
}

static void what_is_known_of_a_server_is_shown(void **state)
{
	struct fixture *f = *state;
	f->server[0].smoothed_us = 1500;
	f->server[1].no_opt = true;
	f->server[1].silent = true;
	f->e = exposition(&f->metrics);
	assert_value(f->e, "kuma_dns_upstream_up{server=\"192.0.2.1:53\"}", 1);
	assert_value(f->e, "kuma_dns_upstream_edns{server=\"192.0.2.1:53\"}", 1);
	assert_value(f->e, "kuma_dns_upstream_loop{server=\"192.0.2.1:53\"}", 0);
	assert_value(f->e, "kuma_dns_upstream_latency_seconds{server=\"192.0.2.1:53\"}", 0.0015);
	assert_value(f->e, "kuma_dns_upstream_up{server=\"[2001:db8::1]:5353\"}", 0);
	assert_value(f->e, "kuma_dns_upstream_edns{server=\"[2001:db8::1]:5353\"}", 0);
}

static void ways_are_shown_as_far_as_they_are_known(void **state)
{
	struct fixture *f = *state;
	f->e = exposition(&f->metrics);
	assert_value(f->e,
		"kuma_dns_interception_up{family=\"ipv4\",transport=\"udp\","
		"server=\"192.0.2.1:53\"}",
		1);
	assert_value(f->e,
		"kuma_dns_interception_up{family=\"ipv6\",transport=\"tcp\","
		"server=\"[2001:db8::1]:5353\"}",
		0);
	f->interception.way[0].state = WAY_UNKNOWN;
	f->interception.way[1].state = WAY_NO_ROUTE;
	free(f->e);
	f->e = exposition(&f->metrics);
	assert_false(has(f->e, "kuma_dns_interception_up"));
	f->metrics.interception = NULL;
	free(f->e);
	f->e = exposition(&f->metrics);
	assert_false(has(f->e, "kuma_dns_interception_up"));
}

static void a_server_that_never_answered_has_no_latency(void **state)
{
	struct fixture *f = *state;
	f->server[0].smoothed_us = 0;
	f->e = exposition(&f->metrics);
	assert_false(has(f->e, "kuma_dns_upstream_latency_seconds"));
	assert_true(has(f->e, "kuma_dns_upstream_up"));
}

static void a_server_that_is_a_loop_or_ourselves_is_not_up(void **state)
{
	struct fixture *f = *state;
	f->server[0].loop = true;
	f->server[1].ours = true;
	f->e = exposition(&f->metrics);
	assert_value(f->e, "kuma_dns_upstream_up{server=\"192.0.2.1:53\"}", 0);
	assert_value(f->e, "kuma_dns_upstream_loop{server=\"192.0.2.1:53\"}", 1);
	assert_value(f->e, "kuma_dns_upstream_up{server=\"[2001:db8::1]:5353\"}", 0);
}

static void figures_of_the_cache_stand_under_their_names(void **state)
{
	struct fixture *f = *state;
	f->cache = (struct cache_figures){.entries = 2,
		.octets = 3,
		.hits = 4,
		.misses = 5,
		.covered = 6,
		.stale = 7,
		.failed = 8,
		.insertions = 9,
		.evictions = 10,
		.refused = 11};
	f->e = exposition(&f->metrics);
	assert_value(f->e, "kuma_dns_cache_entries", 2);
	assert_value(f->e, "kuma_dns_cache_bytes", 3);
	assert_value(f->e, "kuma_dns_cache_hits_total", 4);
	assert_value(f->e, "kuma_dns_cache_misses_total", 5);
	assert_value(f->e, "kuma_dns_cache_covered_total", 6);
	assert_value(f->e, "kuma_dns_cache_stale_total", 7);
	assert_value(f->e, "kuma_dns_cache_failed_total", 8);
	assert_value(f->e, "kuma_dns_cache_insertions_total", 9);
	assert_value(f->e, "kuma_dns_cache_evictions_total", 10);
	assert_value(f->e, "kuma_dns_cache_refused_total", 11);
}

static void without_a_cache_there_is_no_series_of_it(void **state)
{
	struct fixture *f = *state;
	f->metrics.cache = NULL;
	f->e = exposition(&f->metrics);
	assert_false(has(f->e, "kuma_dns_cache_entries"));
	assert_false(has(f->e, "kuma_dns_cache_hits_total"));
}

static void resolv_conf_has_its_series(void **state)
{
	struct fixture *f = *state;
	f->metrics.value[METRIC_SEARCH_DOMAINS] = 3;
	f->metrics.value[METRIC_RESOLV_CONF_CHANGES] = 4;
	f->e = exposition(&f->metrics);
	assert_value(f->e, "kuma_dns_search_domains", 3);
	assert_value(f->e, "kuma_dns_resolv_conf_changes_total", 4);
}

static void without_servers_there_is_no_series_of_theirs(void **state)
{
	struct fixture *f = *state;
	f->metrics.server_count = 0;
	f->e = exposition(&f->metrics);
	assert_false(has(f->e, "kuma_dns_upstream_queries_total"));
	assert_false(has(f->e, "kuma_dns_upstream_up"));
}

static void times_are_written_in_seconds(void **state)
{
	struct fixture *f = *state;
	f->metrics.value[METRIC_AGE] = 1500000000;
	f->metrics.value[METRIC_START] = 1700000000250000000;
	f->metrics.value[METRIC_CPU] = 1000000;
	f->e = exposition(&f->metrics);
	assert_value(f->e, "kuma_dns_table_age_seconds", 1.5);
	assert_value(f->e, "process_start_time_seconds", 1700000000.25);
	assert_value(f->e, "process_cpu_seconds_total", 0.001);
}

static void an_unknown_value_has_no_series(void **state)
{
	struct fixture *f = *state;
	f->metrics.value[METRIC_MEMORY] = METRIC_ABSENT;
	f->metrics.value[METRIC_AGE] = METRIC_ABSENT;
	f->e = exposition(&f->metrics);
	assert_false(has(f->e, "process_resident_memory_bytes"));
	assert_false(has(f->e, "kuma_dns_table_age_seconds"));
	assert_true(has(f->e, "process_open_fds"));
}

static void assert_histogram(
	const struct exposition *e, const char *name, const char *const *bounds, size_t count)
{
	char bucket[160];
	size_t found = 0;
	double last = 0;
	snprintf(bucket, sizeof(bucket), "%s_bucket", name);
	for (size_t i = 0; i < e->count; i++) {
		const struct series *s = &e->series[i];
		if (strcmp(s->name, bucket) == 0) {
			assert_true(found < count);
			assert_string_equal(s->label[0].name, "le");
			assert_string_equal(s->label[0].value, bounds[found++]);
			assert_true(s->value >= last);
			last = s->value;
		}
	}
	assert_int_equal(found, count);
	snprintf(bucket, sizeof(bucket), "%s_count", name);
	assert_value(e, bucket, last);
	snprintf(bucket, sizeof(bucket), "%s_sum", name);
	find(e, bucket);
}

static void histograms_are_cumulative_and_end_with_their_count(void **state)
{
	static const char *const bounds[] = {"0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5",
		"1", "2.5", "5", "10", "+Inf"};
	static const char *const wait[] = {"0.1", "0.5", "1", "2", "5", "10", "30", "+Inf"};
	struct fixture *f = *state;
	for (uint64_t ms = 1; ms < 30000; ms = ms * 3 / 2 + 1) {
		histogram_add(&f->stats.request, ms * 1000000, ms);
		histogram_add(&f->stats.upstream, ms * 2000000, 1);
	}
	f->metrics.value[METRIC_READY_WAIT] = 600000000;
	f->e = exposition(&f->metrics);
	assert_histogram(f->e, "kuma_dp_dns_request_duration_seconds", bounds, 12);
	assert_histogram(f->e, "kuma_dp_dns_upstream_request_duration_seconds", bounds, 12);
	assert_histogram(f->e, "kuma_dp_dns_config_ready_wait_seconds", wait, 8);
	assert_value(f->e, "kuma_dp_dns_config_ready_wait_seconds_bucket{le=\"0.5\"}", 0);
	assert_value(f->e, "kuma_dp_dns_config_ready_wait_seconds_bucket{le=\"1\"}", 1);
	assert_value(f->e, "kuma_dp_dns_config_ready_wait_seconds_sum", 0.6);
}

static void a_bucket_ahead_of_the_count_keeps_the_histogram_consistent(void **state)
{
	struct fixture *f = *state;
	stats_bump(&f->stats.request.bucket[3], 5);
	stats_bump(&f->stats.request.count, 4);
	f->e = exposition(&f->metrics);
	assert_value(f->e, "kuma_dp_dns_request_duration_seconds_bucket{le=\"10\"}", 5);
	assert_value(f->e, "kuma_dp_dns_request_duration_seconds_bucket{le=\"+Inf\"}", 5);
	assert_value(f->e, "kuma_dp_dns_request_duration_seconds_count", 5);
}

static void before_the_first_table_the_wait_has_no_observation(void **state)
{
	struct fixture *f = *state;
	f->e = exposition(&f->metrics);
	assert_value(f->e, "kuma_dp_dns_config_ready_wait_seconds_count", 0);
	assert_value(f->e, "kuma_dp_dns_config_ready_wait_seconds_bucket{le=\"30\"}", 0);
}

/* The value of a constant label, which every series must have alike; NULL where none has it. */
static const char *constant(const struct exposition *e, const char *name)
{
	const char *value = NULL;
	size_t found = 0;
	for (size_t i = 0; i < e->count; i++) {
		for (size_t k = 0; k < e->series[i].labels; k++) {
			const struct label *label = &e->series[i].label[k];
			if (strcmp(label->name, name) == 0) {
				assert_true(!value || strcmp(value, label->value) == 0);
				value = label->value;
				found++;
			}
		}
	}
	assert_true(found == 0 || found == e->count);
	return value;
}

static void set_labels(struct fixture *f, const struct table_label *labels, size_t count)
{
	f->metrics.labels = labels;
	f->metrics.label_count = count;
	f->e = exposition(&f->metrics);
}

static void the_tables_labels_are_on_every_series(void **state)
{
	static const struct table_label labels[] = {
		{"mesh", "default"}, {"kuma_io_zone", "east"}, {"empty", ""}};
	set_labels(*state, labels, 3);
	const struct exposition *e = ((struct fixture *)*state)->e;
	assert_string_equal(constant(e, "mesh"), "default");
	assert_string_equal(constant(e, "kuma_io_zone"), "east");
	assert_string_equal(constant(e, "empty"), "");
}

static void label_values_are_escaped(void **state)
{
	static const struct table_label labels[] = {{"a", "back\\slash \"quote\"\nline"},
		{"b", "\"} 1\nkuma_dns_ready 0"}, {"c", "\\"}};
	set_labels(*state, labels, 3);
	const struct exposition *e = ((struct fixture *)*state)->e;
	assert_string_equal(constant(e, "a"), "back\\\\slash \\\"quote\\\"\\nline");
	assert_string_equal(constant(e, "b"), "\\\"} 1\\nkuma_dns_ready 0");
	assert_string_equal(constant(e, "c"), "\\\\");
}

static void terminals_and_scrapers_get_no_octets_they_would_choke_on(void **state)
{
	static const struct table_label labels[] = {{"esc", "\x1b[2J\r\x7f"},
		{"utf8", "z\xc3\xbcrich \xe2\x82\xac \xf0\x9f\x90\xbb"},
		{"bad", "\xff\xc0\x80\xed\xa0\x80\xf4\x90\x80\x80\xe2\x82"}, {"c1", "\xc2\x9b"}};
	set_labels(*state, labels, 4);
	const struct exposition *e = ((struct fixture *)*state)->e;
	assert_string_equal(constant(e, "esc"), "?[2J??");
	assert_string_equal(constant(e, "utf8"), "z\xc3\xbcrich \xe2\x82\xac \xf0\x9f\x90\xbb");
	assert_string_equal(constant(e, "bad"), "????????????");
	assert_string_equal(constant(e, "c1"), "??");
}

static void a_label_that_is_also_ours_is_exported(void **state)
{
	static const struct table_label labels[] = {
		{"server", "x"}, {"le", "y"}, {"exported_server", "z"}};
	set_labels(*state, labels, 3);
	const struct exposition *e = ((struct fixture *)*state)->e;
	assert_string_equal(constant(e, "exported_server"), "x");
	assert_string_equal(constant(e, "exported_le"), "y");
}

static void of_two_labels_of_one_name_the_first_counts(void **state)
{
	static const struct table_label labels[] = {
		{"a.b", "1"}, {"a_b", "2"}, {"q", ",x=\""}, {"x", "3"}, {"a-b", "4"}};
	set_labels(*state, labels, 5);
	const struct exposition *e = ((struct fixture *)*state)->e;
	assert_string_equal(constant(e, "a_b"), "1");
	assert_string_equal(constant(e, "x"), "3");
}

static void impossible_label_names_are_mended_or_dropped(void **state)
{
	static const struct table_label labels[] = {{"__name__", "evil"}, {"", "empty"},
		{"1st", "digit"}, {"k8s.kuma.io/ns", "demo"}, {"} 1\n", "hostile"}};
	set_labels(*state, labels, 5);
	const struct exposition *e = ((struct fixture *)*state)->e;
	assert_null(constant(e, "__name__"));
	assert_string_equal(constant(e, "_st"), "digit");
	assert_string_equal(constant(e, "k8s_kuma_io_ns"), "demo");
}

static void labels_beyond_the_limit_are_dropped_whole(void **state)
{
	static char large[5000];
	static const struct table_label labels[] = {{"large", large}, {"small", "kept"}};
	memset(large, 'x', sizeof(large) - 1);
	set_labels(*state, labels, 2);
	const struct exposition *e = ((struct fixture *)*state)->e;
	assert_null(constant(e, "large"));
	assert_string_equal(constant(e, "small"), "kept");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_family_has_help_type_and_series),
		TEST(kumas_families_have_its_names_types_and_help),
		TEST(our_counters_end_in_total),
		TEST(counters_stand_under_their_labels),
		TEST(each_server_has_its_own_series),
		TEST(each_reason_to_fail_has_its_own_series),
		TEST(what_is_known_of_a_server_is_shown),
		TEST(ways_are_shown_as_far_as_they_are_known),
		TEST(a_server_that_never_answered_has_no_latency),
		TEST(a_server_that_is_a_loop_or_ourselves_is_not_up),
		TEST(figures_of_the_cache_stand_under_their_names),
		TEST(without_a_cache_there_is_no_series_of_it),
		TEST(resolv_conf_has_its_series),
		TEST(without_servers_there_is_no_series_of_theirs),
		TEST(times_are_written_in_seconds),
		TEST(an_unknown_value_has_no_series),
		TEST(histograms_are_cumulative_and_end_with_their_count),
		TEST(a_bucket_ahead_of_the_count_keeps_the_histogram_consistent),
		TEST(before_the_first_table_the_wait_has_no_observation),
		TEST(the_tables_labels_are_on_every_series),
		TEST(label_values_are_escaped),
		TEST(terminals_and_scrapers_get_no_octets_they_would_choke_on),
		TEST(a_label_that_is_also_ours_is_exported),
		TEST(of_two_labels_of_one_name_the_first_counts),
		TEST(impossible_label_names_are_mended_or_dropped),
		TEST(labels_beyond_the_limit_are_dropped_whole),
	};
	return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
