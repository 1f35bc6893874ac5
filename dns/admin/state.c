/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether the daemon is ready, and why not. Changes nothing.
 */
#include "dns/admin/state.h"

#include <stdio.h>

int64_t state_now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

bool state_table_old(const struct state *state)
{
	return state->table && state->mesh && mesh_status(state->mesh)->source == MESH_SAVED;
}

static void no_table(const struct state *state, char *reason, size_t size)
{
	const char *problem = state->mesh ? mesh_status(state->mesh)->problem : "";
	snprintf(reason, size, "no table yet%s%s", problem[0] ? ": " : "", problem);
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
	if (state_table_old(state)) {
		int64_t ms = state_now_ms() - mesh_status(state->mesh)->loaded_ms;
		snprintf(reason, size, "table old: loaded from disk %lld s ago, source silent",
			(long long)ms / 1000);
	}
	return true;
}
