/* SPDX-License-Identifier: Apache-2.0
 *
 * Workers, and forwarders with all that is theirs, are opened while one thing after the other is
 * not to be had: memory, an event, a descriptor. That is an error, or something is gone without;
 * and nothing is left behind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "conf/conf.h"
#include "conf/log.h"
#include "dns/resolve/forward.h"
#include "dns/serve/worker.h"
#include "tests/descriptors.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

static unsigned wanted;  /* how much was asked for */
static unsigned refused; /* which of it is refused; 0: nothing */
static unsigned logged;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
struct event *__real_event_new(struct event_base *base, evutil_socket_t fd, short what,
	event_callback_fn callback, void *arg);
struct event *__wrap_event_new(struct event_base *base, evutil_socket_t fd, short what,
	event_callback_fn callback, void *arg);
int __real_event_add(struct event *event, const struct timeval *timeout);
int __wrap_event_add(struct event *event, const struct timeval *timeout);
struct event_config *__real_event_config_new(void);
struct event_config *__wrap_event_config_new(void);
struct event_base *__real_event_base_new_with_config(const struct event_config *config);
struct event_base *__wrap_event_base_new_with_config(const struct event_config *config);
int __real_eventfd(unsigned count, int flags);
int __wrap_eventfd(unsigned count, int flags);
int __real_timerfd_create(int clock, int flags);
int __wrap_timerfd_create(int clock, int flags);
void __wrap_log_line(struct log_site *site, enum log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static bool is_refused(void)
{
	return ++wanted == refused;
}

void *__wrap_malloc(size_t size)
{
	return is_refused() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return is_refused() ? NULL : __real_calloc(count, size);
}

struct event *__wrap_event_new(struct event_base *base, evutil_socket_t fd, short what,
	event_callback_fn callback, void *arg)
{
	return is_refused() ? NULL : __real_event_new(base, fd, what, callback, arg);
}

int __wrap_event_add(struct event *event, const struct timeval *timeout)
{
	return is_refused() ? -1 : __real_event_add(event, timeout);
}

struct event_config *__wrap_event_config_new(void)
{
	return is_refused() ? NULL : __real_event_config_new();
}

struct event_base *__wrap_event_base_new_with_config(const struct event_config *config)
{
	return is_refused() ? NULL : __real_event_base_new_with_config(config);
}

int __wrap_eventfd(unsigned count, int flags)
{
	if (is_refused()) {
		errno = EMFILE;
		return -1;
	}
	return __real_eventfd(count, flags);
}

int __wrap_timerfd_create(int clock, int flags)
{
	if (is_refused()) {
		errno = EMFILE;
		return -1;
	}
	return __real_timerfd_create(clock, flags);
}

void __wrap_log_line(struct log_site *site, enum log_level level, const char *format, ...)
{
	(void)site, (void)level, (void)format;
	logged++;
}

static void limits(struct conf *conf)
{
	memset(conf, 0, sizeof(*conf));
	conf->cache_size = 65536;
	conf->transactions_max = 16;
	conf->tcp_connections_max = 4;
	conf->tcp_connections_peer_max = 4;
	conf->forward_timeout_ms = 4000;
}

static void nobody(void *ctx, const struct requestor *to, struct span message)
{
	(void)ctx, (void)to, (void)message;
	fail();
}

static int open_forward(struct event_base *base, unsigned refuse)
{
	static struct stats stats;
	struct forward *forward = NULL;
	struct conf conf;
	limits(&conf);
	wanted = 0;
	refused = refuse;
	int r = forward_open(&forward, base, &conf, NULL, &stats, nobody, NULL);
	refused = 0;
	assert_int_equal(forward != NULL, r == 0);
	forward_close(forward);
	return r;
}

static void a_forwarder_without_one_thing_is_none(void **state)
{
	(void)state;
	struct event_base *base = event_base_new();
	assert_non_null(base);
	unsigned descriptors = open_descriptors();
	assert_int_equal(open_forward(base, 0), 0);
	unsigned all = wanted;
	assert_true(all > 10);
	unsigned without_descriptor = 0;
	for (unsigned i = 1; i <= all; i++) {
		int r = open_forward(base, i);
		without_descriptor += r == -EMFILE;
		assert_true(r == -EMFILE || r == -ENOMEM);
	}
	assert_int_equal(without_descriptor, 2); /* what looks after sockets, and after servers */
	assert_int_equal(open_forward(base, all + 1), 0);
	assert_int_equal(wanted, all);
	assert_int_equal(open_descriptors(), descriptors);
	event_base_free(base);
}

static void note_cache(void *ctx, const struct worker_inside *inside)
{
	bool *has_cache = ctx;
	assert_non_null(inside->forward);
	*has_cache = inside->authority.cache != NULL;
}

/* @return 0; 1 without a cache; -errno */
static int open_worker(unsigned refuse)
{
	static const struct mesh_zones no_zones;
	static const struct cookie_secret secret;
	struct worker *worker = NULL;
	struct conf conf;
	bool has_cache = false;
	struct routes *routes = routes_new();
	assert_non_null(routes);
	limits(&conf);
	logged = 0;
	wanted = 0;
	refused = refuse;
	int r = worker_open(&worker, &conf, routes, &no_zones, &secret);
	refused = 0;
	assert_int_equal(worker != NULL, r == 0);
	if (worker) {
		worker_call(worker, note_cache, &has_cache);
		worker_close(worker);
	}
	routes_unref(routes);
	return r == 0 && !has_cache ? 1 : r;
}

static void a_worker_without_one_thing_is_none_unless_that_is_its_cache(void **state)
{
	(void)state;
	unsigned descriptors = open_descriptors();
	unsigned without_cache = 0;
	unsigned without_descriptor = 0;
	assert_int_equal(open_worker(0), 0);
	assert_int_equal(logged, 0);
	unsigned all = wanted;
	for (unsigned i = 1; i <= all; i++) {
		int r = open_worker(i);
		without_cache += r == 1;
		without_descriptor += r == -EMFILE;
		assert_true(r == 1 || r == -EMFILE || r == -ENOMEM);
		assert_int_equal(logged, 1);
	}
	assert_int_equal(without_cache, 1);
	assert_int_equal(without_descriptor, 5); /* to be woken, and four timers */
	assert_int_equal(open_worker(all + 1), 0);
	assert_int_equal(open_descriptors(), descriptors);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_forwarder_without_one_thing_is_none),
		cmocka_unit_test(a_worker_without_one_thing_is_none_unless_that_is_its_cache),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
