/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether the daemon is ready, and why not. Changes nothing.
 */
#include "dns/admin/state.h"

#include "conf/clock.h"

#include <stdarg.h>
#include <stdio.h>

bool state_table_old(const struct state *state)
{
	return state->table && state->mesh && mesh_status(state->mesh)->source == MESH_SAVED;
}

static void no_table(const struct state *state, char *reason, size_t size)
{
	const char *problem = state->mesh ? mesh_status(state->mesh)->problem : "";
	snprintf(reason, size, "no table yet%s%s", problem[0] ? ": " : "", problem);
}

/* Add to the remarks on one line; what finds no room is cut. */
__attribute__((format(printf, 3, 4))) static void remark(
	char *reason, size_t size, const char *format, ...)
{
	size_t len = strlen(reason);
	size_t begin = len;
	if (len > 0) {
		len += (size_t)snprintf(reason + len, size - len, "; ");
	}
	if (len + 1 >= size) {
		reason[begin] = '\0'; /* no room but for a separator */
		return;
	}
	va_list args;
	va_start(args, format);
	(void)vsnprintf(reason + len, size - len, format, args);
	va_end(args);
}

static void remark_loops(const struct routes *routes, int64_t now_ms, char *reason, size_t size)
{
	for (unsigned i = 0; i < routes->server_count; i++) {
		const struct route_server *server = &routes->server[i];
		char text[ENDPOINT_TEXT_SIZE];
		if (routes_is_loop(routes, i, now_ms)) {
			remark(reason, size, "name server %s %s",
				endpoint_format(&server->at, text),
				server->ours ? "is ourselves" : "leads back to us");
		}
	}
}

/* Whether all servers but those of single zones lead back to us. Where there are none, names of the
 * mesh are all that is wanted. */
static bool only_loops(const struct routes *routes, int64_t now_ms)
{
	const struct route *root = &routes->route[0];
	unsigned loops = 0;
	for (unsigned i = 0; i < root->count; i++) {
		loops += routes_is_loop(routes, root->server[i], now_ms);
	}
	return root->count > 0 && loops == root->count;
}

static bool has_servers(const struct state *state, char *reason, size_t size)
{
	int64_t now_ms = clock_ms();
	if (!state->routes) {
		return true;
	}
	remark_loops(state->routes, now_ms, reason, size);
	return !only_loops(state->routes, now_ms);
}

/* Where one way is lost, who goes it is told that names of the mesh do not exist. */
static bool is_intercepting(const struct interception_status *s, char *reason, size_t size)
{
	bool lost = false;
	if (!s || !s->required) {
		return true;
	}
	for (unsigned i = 0; i < s->count; i++) {
		char text[WAY_TEXT_SIZE];
		if (s->way[i].state == WAY_LOST) {
			remark(reason, size, "%s%s",
				lost ? "" : "not intercepted: ", way_format(&s->way[i], text));
			lost = true;
		}
	}
	if (!lost && !s->settled) {
		snprintf(reason, size, "no canary back yet: interception is not proven");
	}
	return !lost && s->settled;
}

bool state_ready(const struct state *state, char *reason, size_t size)
{
	reason[0] = '\0';
	if (!state->listening) {
		snprintf(reason, size, "not listening yet");
		return false;
	}
	if (!state->table) {
		no_table(state, reason, size);
		return false;
	}
	if (state->redirect == REDIRECT_WAITING) {
		snprintf(reason, size, "redirection not installed yet");
		return false;
	}
	if (state->redirect == REDIRECT_FAILED) {
		snprintf(reason, size, "redirection failed: %s", state->redirect_text);
		return false;
	}
	if (!is_intercepting(state->interception, reason, size) ||
		!has_servers(state, reason, size)) {
		return false;
	}
	if (state_table_old(state)) {
		int64_t ms = clock_ms() - mesh_status(state->mesh)->loaded_ms;
		remark(reason, size, "table old: loaded from disk %lld s ago, source silent",
			(long long)ms / 1000);
	}
	return true;
}
