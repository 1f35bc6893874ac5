/* SPDX-License-Identifier: Apache-2.0
 *
 * /metrics, /ready, /table and /explain: gathering what they say. Asks the workers each time it is
 * asked; keeps nothing.
 */
#include "dns/admin/pages.h"

#include "conf/clock.h"
#include "dns/admin/gather.h"
#include "dns/admin/listing.h"
#include "dns/admin/metrics.h"
#include "dns/admin/process.h"
#include "dns/admin/text.h"
#include "dns/serve/explain.h"
#include "dns/wire/record.h"
#include "dns/wire/rrtype.h"

#include <event2/buffer.h>

enum { NS_IN_MS = 1000000, REASON_SIZE = 640 };

static uint64_t elapsed_ns(int64_t from_ms, int64_t to_ms)
{
	return to_ms > from_ms ? (uint64_t)(to_ms - from_ms) * NS_IN_MS : 0;
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
		value[METRIC_AGE] = elapsed_ns(since, clock_ms());
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

static void gather_resolv_conf(uint64_t *value, const struct state *state)
{
	value[METRIC_SEARCH_DOMAINS] = state->routes ? state->routes->search_count : 0;
	value[METRIC_RESOLV_CONF_CHANGES] =
		state->watch ? watch_status(state->watch)->changes : METRIC_ABSENT;
}

void page_metrics(struct httpd_reply *reply, const struct page_ask *ask)
{
	static struct gathered all;
	const struct state *state = ask->state;
	char reason[REASON_SIZE];
	gather(&all, state);
	struct metrics m = {.stats = &all.stats,
		.servers = all.server,
		.server_count = all.server_count,
		.interception = state->interception,
		.cache = all.has_cache ? &all.cache : NULL};
	m.value[METRIC_UDP_OVERFLOWS] = all.overflows;
	m.value[METRIC_REDIRECT_ACTIVE] = state->redirect == REDIRECT_ACTIVE;
	m.value[METRIC_READY] = state_ready(state, reason, sizeof(reason));
	m.value[METRIC_INFO] = 1;
	m.value[METRIC_START] = ask->start_ns;
	gather_mesh(m.value, state);
	gather_resolv_conf(m.value, state);
	gather_table(&m, state);
	gather_process(m.value);
	reply->content_type = "text/plain; version=0.0.4; charset=utf-8";
	reply->status = metrics_write(&m, reply->body) == 0 ? 200 : 0;
}

void page_ready(struct httpd_reply *reply, const struct page_ask *ask)
{
	char reason[REASON_SIZE];
	bool ready = state_ready(ask->state, reason, sizeof(reason));
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

/* Parameters */

bool page_params(struct httpd_reply *reply, struct span query, struct param *param, size_t count)
{
	struct text text = {.out = reply->body};
	if (params_read(query, param, count)) {
		return true;
	}
	text_add(&text, "found ?%.*s, expected ", (int)query.len, (const char *)query.data);
	for (size_t i = 0; i < count; i++) {
		text_add(&text, "%s%s=VALUE", i ? " and " : "", param[i].key);
	}
	text_add(&text, ", each at most once, with %%XX for what is no letter or digit\n");
	reply->status = text.fault ? 0 : 400;
	return false;
}

bool page_name(struct httpd_reply *reply, const struct param *param, struct dname *name)
{
	struct text text = {.out = reply->body};
	if (dname_from_text(name, param->value, param->len) == 0) {
		return true;
	}
	text_add(&text, param->given ? "not a domain name: " : "expected name=NAME");
	text_add_foreign(&text, param->value);
	text_add(&text, "\n");
	reply->status = text.fault ? 0 : 400;
	return false;
}

void page_table(struct httpd_reply *reply, const struct page_ask *ask)
{
	struct param name_param = {.key = "name"};
	struct table *table = ask->state->table;
	struct dname name;
	if (!page_params(reply, ask->query, &name_param, 1)) {
		return;
	}
	if (!table) {
		reply->status = 503;
		evbuffer_add_printf(reply->body, "no table yet\n");
	} else if (!name_param.given) {
		listing_all(reply, table);
	} else if (page_name(reply, &name_param, &name)) {
		listing_name(reply, table, &name);
	}
}

/* How a name would be answered */

struct explaining {
	struct dname name;
	uint16_t qtype;
	struct explanation text;
};

static void explain_inside(void *ctx, const struct worker_inside *inside)
{
	struct explaining *e = ctx;
	explain(&e->text, inside, &e->name, e->qtype);
}

/* @return whether there is a type, A where none is given */
static bool read_type(struct httpd_reply *reply, const struct param *param, uint16_t *qtype)
{
	struct text text = {.out = reply->body};
	*qtype = TYPE_A;
	if (!param->given || rrtype_from_text(qtype, param->value, param->len)) {
		return true;
	}
	text_add(&text, "not a type: ");
	text_add_foreign(&text, param->value);
	text_add(&text, "; expected a mnemonic, such as AAAA, or a number, such as TYPE65\n");
	reply->status = text.fault ? 0 : 400;
	return false;
}

void page_explain(struct httpd_reply *reply, const struct page_ask *ask)
{
	static struct explaining e;
	struct param params[] = {{.key = "name"}, {.key = "type"}};
	if (!page_params(reply, ask->query, params, 2) || !page_name(reply, &params[0], &e.name) ||
		!read_type(reply, &params[1], &e.qtype)) {
		return;
	}
	if (!ask->state->workers) {
		reply->status = 503;
		evbuffer_add_printf(reply->body, "nobody answers yet\n");
		return;
	}
	worker_call(ask->state->workers[0], explain_inside, &e);
	reply->status = evbuffer_add(reply->body, e.text.text, e.text.len) == 0 ? 200 : 0;
}
