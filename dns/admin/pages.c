/* SPDX-License-Identifier: Apache-2.0
 *
 * /metrics, /ready and /table: gathering what they say. Adds up the workers' counters each time it
 * is asked; keeps nothing.
 */
#include "dns/admin/pages.h"

#include "dns/admin/listing.h"
#include "dns/admin/metrics.h"
#include "dns/admin/process.h"
#include "dns/admin/text.h"

#include <event2/buffer.h>
#include <event2/http.h>
#include <stdlib.h>

enum { NS_IN_MS = 1000000, REASON_SIZE = 640, QUERY_MAX = HTTPD_HEAD_MAX };

static uint64_t elapsed_ns(int64_t from_ms, int64_t to_ms)
{
	return to_ms > from_ms ? (uint64_t)(to_ms - from_ms) * NS_IN_MS : 0;
}

uint64_t workers_sum(const struct state *state, struct stats *sum)
{
	uint64_t overflows = 0;
	for (unsigned i = 0; state->workers && i < state->conf->workers; i++) {
		if (state->workers[i]) {
			stats_sum(sum, worker_stats(state->workers[i]));
			overflows += worker_udp_overflows(state->workers[i]);
		}
	}
	return overflows;
}

static void gather_mesh(uint64_t *value, const struct state *state)
{
	static const struct mesh_status none;
	const struct mesh_status *mesh = state->mesh ? mesh_status(state->mesh) : &none;
	value[METRIC_FETCHES_NEW] =
		mesh->fetches - mesh->unchanged - mesh->unreachable - mesh->rejected;
	value[METRIC_FETCHES_UNCHANGED] = mesh->unchanged;
	value[METRIC_FETCHES_UNREACHABLE] = mesh->unreachable;
	value[METRIC_FETCHES_REJECTED] = mesh->rejected;
	value[METRIC_AGE] = METRIC_ABSENT;
	if (state->mesh && state->table) {
		/* A saved table has not been confirmed: it is at least as old as its loading. */
		int64_t since = mesh->source == MESH_SAVED ? mesh->loaded_ms : mesh->confirmed_ms;
		value[METRIC_AGE] = elapsed_ns(since, state_now_ms());
	}
}

static void gather_table(struct metrics *m, const struct state *state)
{
	const struct table *table = state->table;
	m->value[METRIC_ENTRIES] = table ? table_count(table) : 0;
	m->value[METRIC_GENERATION] = table ? table_generation(table) : 0;
	m->value[METRIC_SKIPPED] = table ? table_skipped(table) : 0;
	m->value[METRIC_OLD] = state_table_old(state);
	m->value[METRIC_READY_WAIT] = state->table_ready_ms
					      ? elapsed_ns(state->started_ms, state->table_ready_ms)
					      : METRIC_ABSENT;
	if (table) {
		m->labels = table_labels(table, &m->label_count);
	}
}

static void gather_process(uint64_t *value)
{
	struct process process;
	process_read(&process);
	value[METRIC_MEMORY] = process.resident;
	value[METRIC_OPEN_FDS] = process.open_fds;
	value[METRIC_CPU] = process.cpu_ns;
}

void page_metrics(struct httpd_reply *reply, const struct state *state, uint64_t start_ns)
{
	static const struct servers no_servers;
	char reason[REASON_SIZE];
	struct stats stats = {0};
	struct metrics m = {
		.stats = &stats, .servers = state->servers ? state->servers : &no_servers};
	m.value[METRIC_UDP_OVERFLOWS] = workers_sum(state, &stats);
	m.value[METRIC_REDIRECT_ACTIVE] = state->redirect == REDIRECT_ACTIVE;
	m.value[METRIC_READY] = state_ready(state, reason, sizeof(reason));
	m.value[METRIC_INFO] = 1;
	m.value[METRIC_START] = start_ns;
	gather_mesh(m.value, state);
	gather_table(&m, state);
	gather_process(m.value);
	reply->content_type = "text/plain; version=0.0.4; charset=utf-8";
	reply->status = metrics_write(&m, reply->body) == 0 ? 200 : 0;
}

void page_ready(struct httpd_reply *reply, const struct state *state)
{
	char reason[REASON_SIZE];
	bool ready = state_ready(state, reason, sizeof(reason));
	reply->status = ready ? 200 : 503;
	struct text text = {.out = reply->body};
	text_add(&text, ready ? "ready" : "not ready");
	if (reason[0]) {
		text_add(&text, ready ? " (" : ": ");
		text_add_foreign(&text, reason);
		text_add(&text, ready ? ")" : "");
	}
	text_add(&text, "\n");
	if (text.fault) {
		reply->status = 0;
	}
}

/* The value of `name=`, still encoded, as a NUL-terminated string; NULL for any other query. */
static char *query_name(struct span query)
{
	static const char key[] = "name=";
	size_t key_len = sizeof(key) - 1;
	if (query.len < key_len || memcmp(query.data, key, key_len) != 0 ||
		memchr(query.data, '&', query.len)) {
		return NULL;
	}
	return strndup((const char *)query.data + key_len, query.len - key_len);
}

void page_table(struct httpd_reply *reply, const struct state *state, struct span query)
{
	if (!state->table) {
		reply->status = 503;
		evbuffer_add_printf(reply->body, "no table yet\n");
		return;
	}
	if (query.len == 0) {
		listing_all(reply, state->table);
		return;
	}
	char *encoded = query_name(query);
	size_t len = 0;
	char *name = encoded ? evhttp_uridecode(encoded, 0, &len) : NULL;
	free(encoded);
	if (!name) {
		reply->status = 400;
		evbuffer_add_printf(reply->body, "only ?name=NAME is understood\n");
		return;
	}
	listing_name(reply, state->table, name, len);
	free(name);
}
