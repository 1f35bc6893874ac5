/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of state.c. The mesh is a stand-in; a table is only asked whether it is there.
 */
#include "dns/admin/state.h"

#include "conf/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

struct mesh {
	struct mesh_status status;
};

const struct mesh_status *mesh_status(const struct mesh *mesh)
{
	return &mesh->status;
}

struct fixture {
	struct mesh mesh;
	struct state state;
	char reason[512];
};

static struct fixture ready(void)
{
	static int table;
	struct fixture f = {.mesh.status.source = MESH_SOCKET,
		.state = {.listening = true,
			.redirect = REDIRECT_ACTIVE,
			.table = (struct table *)&table}};
	return f;
}

static bool is_ready(struct fixture *f)
{
	f->state.mesh = &f->mesh;
	return state_ready(&f->state, f->reason, sizeof(f->reason));
}

static void all_in_place_is_ready_without_a_word(void **state)
{
	(void)state;
	struct fixture f = ready();
	assert_true(is_ready(&f));
	assert_string_equal(f.reason, "");
}

static void without_redirection_wanted_it_is_ready(void **state)
{
	(void)state;
	struct fixture f = ready();
	f.state.redirect = REDIRECT_OFF;
	assert_true(is_ready(&f));
}

static void not_listening_is_not_ready(void **state)
{
	(void)state;
	struct fixture f = ready();
	f.state.listening = false;
	assert_false(is_ready(&f));
	assert_string_equal(f.reason, "not listening yet");
}

static void without_a_table_it_is_not_ready_and_says_what_the_source_said(void **state)
{
	(void)state;
	struct fixture f = ready();
	f.state.table = NULL;
	assert_false(is_ready(&f));
	assert_string_equal(f.reason, "no table yet");
	snprintf(f.mesh.status.problem, sizeof(f.mesh.status.problem), "no such file");
	assert_false(is_ready(&f));
	assert_string_equal(f.reason, "no table yet: no such file");
}

static void before_the_mesh_is_open_it_is_not_ready(void **state)
{
	(void)state;
	struct state s = {.listening = true};
	char reason[64];
	assert_false(state_ready(&s, reason, sizeof(reason)));
	assert_string_equal(reason, "no table yet");
}

static void rules_that_are_not_in_place_make_it_not_ready(void **state)
{
	(void)state;
	struct fixture f = ready();
	f.state.redirect = REDIRECT_WAITING;
	assert_false(is_ready(&f));
	assert_string_equal(f.reason, "redirection not installed yet");
	f.state.redirect = REDIRECT_FAILED;
	snprintf(f.state.redirect_text, sizeof(f.state.redirect_text), "no CAP_NET_ADMIN");
	assert_false(is_ready(&f));
	assert_string_equal(f.reason, "redirection failed: no CAP_NET_ADMIN");
}

static void add_way(
	struct interception_status *s, const char *server, bool tcp, enum way_state way_state)
{
	struct way *way = &s->way[s->count++];
	*way = (struct way){.tcp = tcp, .state = way_state};
	snprintf(way->problem, sizeof(way->problem), "%s", way_state == WAY_LOST ? "why" : "");
	assert_int_equal(endpoint_parse(&way->server, server, 53), 0);
}

static void a_way_that_is_lost_makes_it_not_ready(void **state)
{
	(void)state;
	struct interception_status s = {.required = true, .settled = true};
	struct fixture f = ready();
	f.state.interception = &s;
	assert_true(is_ready(&f));
	add_way(&s, "192.0.2.1", false, WAY_OURS);
	add_way(&s, "192.0.2.2", false, WAY_UNKNOWN); /* new: the others are good */
	add_way(&s, "2001:db8::1", false, WAY_NO_ROUTE);
	assert_true(is_ready(&f));
	assert_string_equal(f.reason, "");
	add_way(&s, "192.0.2.1", true, WAY_LOST);
	assert_false(is_ready(&f));
	assert_string_equal(f.reason, "not intercepted: IPv4, TCP, server 192.0.2.1:53: why");
	add_way(&s, "2001:db8::2", false, WAY_LOST);
	assert_false(is_ready(&f));
	assert_string_equal(f.reason, "not intercepted: IPv4, TCP, server 192.0.2.1:53: why; "
				      "IPv6, UDP, server [2001:db8::2]:53: why");
	s.required = false;
	assert_true(is_ready(&f));
	assert_string_equal(f.reason, "");
}

static void before_canaries_are_back_it_is_not_ready(void **state)
{
	(void)state;
	struct interception_status s = {.required = true};
	struct fixture f = ready();
	f.state.interception = &s;
	add_way(&s, "192.0.2.1", false, WAY_UNKNOWN);
	assert_false(is_ready(&f));
	assert_string_equal(f.reason, "no canary back yet: interception is not proven");
	add_way(&s, "192.0.2.1", true, WAY_LOST); /* known already */
	assert_false(is_ready(&f));
	assert_string_equal(f.reason, "not intercepted: IPv4, TCP, server 192.0.2.1:53: why");
	s.required = false;
	assert_true(is_ready(&f));
}

static void a_saved_table_is_ready_and_marked_as_old(void **state)
{
	(void)state;
	struct fixture f = ready();
	f.mesh.status.source = MESH_SAVED;
	f.mesh.status.loaded_ms = clock_ms() - 90500;
	assert_true(is_ready(&f));
	assert_true(state_table_old(&f.state));
	assert_string_equal(f.reason, "table old: loaded from disk 90 s ago, source silent");
}

static void a_short_reason_is_cut_not_overrun(void **state)
{
	(void)state;
	struct fixture f = ready();
	char reason[8] = "xxxxxxx";
	f.state.listening = false;
	assert_false(state_ready(&f.state, reason, sizeof(reason)));
	assert_string_equal(reason, "not lis");
}

/* Routes to servers of which the first `loops` lead back to us. */
static struct routes *routes_with(unsigned servers, unsigned loops)
{
	struct routes *routes = routes_new();
	assert_non_null(routes);
	for (unsigned i = 0; i < servers; i++) {
		struct endpoint at;
		char text[32];
		snprintf(text, sizeof(text), "192.0.2.%u", i + 1);
		assert_int_equal(endpoint_parse(&at, text, 53), 0);
		assert_int_equal(
			routes_add_server(routes, &routes->route[0], &at, false, i + 1), 0);
		if (i < loops) {
			atomic_store(&routes->server[i].looped_ms, clock_ms());
		}
	}
	return routes;
}

static void a_loop_beside_a_good_server_is_a_remark(void **state)
{
	(void)state;
	struct fixture f = ready();
	struct routes *routes = routes_with(2, 1);
	f.state.routes = routes;
	assert_true(is_ready(&f));
	assert_string_equal(f.reason, "name server 192.0.2.1:53 leads back to us");
	atomic_store(&routes->server[0].looped_ms, clock_ms() - ROUTES_LOOP_MS - 1000);
	assert_true(is_ready(&f));
	assert_string_equal(f.reason, "");
	routes_unref(routes);
}

static void where_all_servers_lead_back_it_is_not_ready(void **state)
{
	(void)state;
	struct fixture f = ready();
	struct routes *routes = routes_with(2, 1);
	routes->server[1].ours = true;
	f.state.routes = routes;
	assert_false(is_ready(&f));
	assert_string_equal(f.reason,
		"name server 192.0.2.1:53 leads back to us; name server 192.0.2.2:53 is ourselves");
	routes_unref(routes);
}

static void a_server_for_one_zone_does_not_make_up_for_all_others(void **state)
{
	(void)state;
	struct fixture f = ready();
	struct routes *routes = routes_with(1, 1);
	struct dname zone;
	struct endpoint at;
	assert_int_equal(dname_from_text(&zone, "corp.example", 12), 0);
	assert_int_equal(endpoint_parse(&at, "192.0.2.9", 53), 0);
	struct route *route = routes_add(routes, &zone);
	assert_non_null(route);
	assert_int_equal(routes_add_server(routes, route, &at, false, 9), 0);
	f.state.routes = routes;
	assert_false(is_ready(&f));
	atomic_store(&routes->server[0].looped_ms, 0);
	atomic_store(&routes->server[1].looped_ms, clock_ms());
	assert_true(is_ready(&f));
	assert_string_equal(f.reason, "name server 192.0.2.9:53 leads back to us");
	routes_unref(routes);
}

static void without_servers_the_mesh_alone_is_ready(void **state)
{
	(void)state;
	struct fixture f = ready();
	struct routes *routes = routes_with(0, 0);
	f.state.routes = routes;
	assert_true(is_ready(&f));
	assert_string_equal(f.reason, "");
	routes_unref(routes);
}

static void several_remarks_stand_side_by_side(void **state)
{
	(void)state;
	struct fixture f = ready();
	struct routes *routes = routes_with(2, 1);
	f.state.routes = routes;
	f.mesh.status.source = MESH_SAVED;
	f.mesh.status.loaded_ms = clock_ms() - 90500;
	assert_true(is_ready(&f));
	assert_string_equal(f.reason, "name server 192.0.2.1:53 leads back to us; "
				      "table old: loaded from disk 90 s ago, source silent");
	routes_unref(routes);
}

static void more_loops_than_there_is_room_for_are_counted_all_the_same(void **state)
{
	(void)state;
	struct fixture f = ready();
	struct routes *routes = routes_with(SERVERS_LIST_MAX, SERVERS_LIST_MAX);
	f.state.routes = routes;
	f.state.mesh = &f.mesh;
	for (size_t size = 1; size < 120; size++) {
		char reason[128];
		memset(reason, 'x', sizeof(reason));
		assert_false(state_ready(&f.state, reason, size));
		assert_true(strlen(reason) < size);
		assert_int_equal(reason[size], 'x');
	}
	routes_unref(routes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_in_place_is_ready_without_a_word),
		cmocka_unit_test(without_redirection_wanted_it_is_ready),
		cmocka_unit_test(not_listening_is_not_ready),
		cmocka_unit_test(without_a_table_it_is_not_ready_and_says_what_the_source_said),
		cmocka_unit_test(before_the_mesh_is_open_it_is_not_ready),
		cmocka_unit_test(rules_that_are_not_in_place_make_it_not_ready),
		cmocka_unit_test(a_way_that_is_lost_makes_it_not_ready),
		cmocka_unit_test(before_canaries_are_back_it_is_not_ready),
		cmocka_unit_test(a_saved_table_is_ready_and_marked_as_old),
		cmocka_unit_test(a_short_reason_is_cut_not_overrun),
		cmocka_unit_test(a_loop_beside_a_good_server_is_a_remark),
		cmocka_unit_test(where_all_servers_lead_back_it_is_not_ready),
		cmocka_unit_test(a_server_for_one_zone_does_not_make_up_for_all_others),
		cmocka_unit_test(without_servers_the_mesh_alone_is_ready),
		cmocka_unit_test(several_remarks_stand_side_by_side),
		cmocka_unit_test(more_loops_than_there_is_room_for_are_counted_all_the_same),
	};
	return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
