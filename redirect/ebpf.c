/* SPDX-License-Identifier: Apache-2.0
 *
 * Redirection of DNS by eBPF: loads the programs of sockets.bpf.c, attaches them to a cgroup, and
 * says what is missing where that cannot be. Owns the links; the kernel detaches a link when the
 * last descriptor of it is closed, unless it is pinned.
 */
#include "redirect/ebpf.h"

#include "conf/log.h"
#include "conf/privileges.h"
#include "redirect/cgroup.h"
#include "redirect/inherit.h"
#include "redirect/local.h"
#include "redirect/netns.h"
#include "redirect/older.h"
#include "redirect/pins.h"
#include "redirect/redirect.h"
#include "redirect/sockets.h"

#include <sockets.skel.h>

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	PROGRAMS = 8,
	PINS = PROGRAMS + 1, /* and the state */
	LIST_PATIENCE_MS = 100,
	/* Metrics of routes: of programs that last, and of daemons. Where one is killed its route
	 * stays, which does no harm, and the next daemon has another metric. */
	METRIC_LASTING = 15053,
	METRIC_FIRST = 1,
	METRIC_LAST = 8,
};

struct ebpf {
	struct sockets *object;      /* NULL: the programs are somebody else's */
	struct sockets_state *state; /* in memory that they share */
	uint64_t netns;              /* cookie of the network namespace */
	int lock;                    /* of pins, while they change; else -1 */
	uint32_t metric;             /* of our own route to the aliases; 0: none */
	char cgroup[PATH_MAX];
	bool covers_us;
};

struct program {
	struct bpf_program *program;
	struct bpf_link **link;
	bool is_way_in; /* of queries; the others are the way back of answers */
};

static void list_programs(const struct ebpf *e, struct program list[PROGRAMS])
{
	struct sockets *o = e->object;
	const struct program all[PROGRAMS] = {
		{o->progs.recvmsg4, &o->links.recvmsg4, false},
		{o->progs.recvmsg6, &o->links.recvmsg6, false},
		{o->progs.getpeername4, &o->links.getpeername4, false},
		{o->progs.getpeername6, &o->links.getpeername6, false},
		{o->progs.connect4, &o->links.connect4, true},
		{o->progs.connect6, &o->links.connect6, true},
		{o->progs.sendmsg4, &o->links.sendmsg4, true},
		{o->progs.sendmsg6, &o->links.sendmsg6, true},
	};

	memcpy(list, all, sizeof all);
}

/* What is missing, by name */

/** The first user namespace maps all users to themselves. */
static bool is_in_user_namespace(void)
{
	unsigned long first = 0, outside = 0, count = 0;
	FILE *in = fopen("/proc/self/uid_map", "re");
	const bool whole = !in || (fscanf(in, "%lu %lu %lu", &first, &outside, &count) == 3 &&
					  first == 0 && outside == 0 && count == UINT32_MAX);

	if (in) {
		fclose(in);
	}
	return !whole;
}

/** CAP_SYS_ADMIN includes either. */
static const char *find_missing(void)
{
	const bool all = privileges_have(CAP_SYS_ADMIN);
	const bool bpf = all || privileges_have(CAP_BPF);
	const bool net = all || privileges_have(CAP_NET_ADMIN);

	return !bpf && !net             ? "CAP_BPF and CAP_NET_ADMIN"
	       : !bpf                   ? "CAP_BPF"
	       : !net                   ? "CAP_NET_ADMIN"
	       : is_in_user_namespace() ? "the first user namespace, which this is not"
					: NULL;
}

static int check_privileges(struct redirect_error *error)
{
	const char *missing = find_missing();

	if (!missing) {
		return 0;
	}
	snprintf(error->text, sizeof error->text, "eBPF: redirection needs %s", missing);
	return -EPERM;
}

static int fail(struct redirect_error *error, const char *what, int err)
{
	snprintf(error->text, sizeof error->text,
		"eBPF: %s: %s (Linux 5.14 with CONFIG_BPF_SYSCALL and CONFIG_CGROUP_BPF is needed)",
		what, strerror(-err));
	return err;
}

/** libbpf explains at length; our message names what is missing. */
__attribute__((format(printf, 2, 0))) static int log_libbpf(
	enum libbpf_print_level level, const char *format, va_list arguments)
{
	char text[512];

	if (level != LIBBPF_DEBUG) {
		vsnprintf(text, sizeof text, format, arguments);
		text[strcspn(text, "\n")] = '\0';
		log_debug("%s", text);
	}
	return 0;
}

/* Loading and attaching */

/* IPv6 needs a route to the aliases. */

static int add_route(uint32_t metric)
{
	const struct in6_addr prefix = {
		.s6_addr32 = {htonl(SOCKETS_ALIAS6_0), htonl(SOCKETS_ALIAS6_1)}};

	return local_add(&prefix, SOCKETS_ALIAS6_BITS, metric);
}

static int remove_route(uint32_t metric)
{
	const struct in6_addr prefix = {
		.s6_addr32 = {htonl(SOCKETS_ALIAS6_0), htonl(SOCKETS_ALIAS6_1)}};

	return local_remove(&prefix, SOCKETS_ALIAS6_BITS, metric);
}

/** Without it, queries over IPv6 go their own way. @return whether it is there */
static bool prepare_ipv6(struct ebpf *e, uint32_t first, uint32_t last)
{
	uint32_t metric = first;
	int err = add_route(metric);

	while (err == -EEXIST && metric < last) {
		err = add_route(++metric);
	}
	if (err == 0) {
		e->metric = metric;
	} else if (err != -EEXIST) {
		log_warning("eBPF: no local route for IPv6: %s: IPv6 is not redirected",
			strerror(-err));
	}
	return err == 0 || err == -EEXIST;
}

/** While another daemon is there, or pinned programs, what their programs have given out comes to
 * us as well: it means to us what it means to them. */
static bool inherit(struct ebpf *e, int cgroup)
{
	const int map = inherit_find(e->netns, cgroup);
	int err = map;

	if (map >= 0) {
		err = bpf_map__reuse_fd(e->object->maps.bss, map);
		close(map);
	}
	if (err != 0 && err != -ENOENT) {
		log_debug("eBPF: what older programs go by is not known: %s", strerror(-err));
	}
	return err == 0;
}

static int load(struct ebpf *e, const struct rules *rules, bool lasting, int cgroup,
	struct redirect_error *error)
{
	struct sockets_config *config;
	bool inherited;
	int err;

	libbpf_set_print(log_libbpf);
	e->object = sockets__open();
	if (!e->object) {
		return fail(error, "loading programs", -errno);
	}
	config = &e->object->rodata->config;
	sockets_configure(config, rules);
	config->lasting = lasting;
	err = netns_find(&e->netns);
	if (err) {
		return fail(error, "finding our network namespace", err);
	}
	config->netns = e->netns;
	inherited = inherit(e, cgroup);
	err = sockets__load(e->object);
	if (err) {
		return fail(error, "loading programs", err);
	}
	e->state = &e->object->bss->state;
	if (!inherited) {
		/* Where we could not look, theirs is not to be taken for ours. Listed servers,
		 * which both have, begin alike. */
		(void)!getrandom(&e->state->others, sizeof e->state->others, 0);
	}
	return 0;
}

/** The way back first: no query goes through before its answer can. */
static int attach(struct ebpf *e, int cgroup, struct redirect_error *error)
{
	struct program list[PROGRAMS];

	list_programs(e, list);
	for (unsigned i = 0; i < PROGRAMS; i++) {
		*list[i].link = bpf_program__attach_cgroup(list[i].program, cgroup);
		if (!*list[i].link) {
			return fail(error, "attaching programs", -errno);
		}
	}
	return 0;
}

/** Others who share the state hear of resolv.conf at the same moment as we do. Whoever is busy for
 * long was killed over it. */
static void list_servers(struct sockets_state *state, const struct rules *rules)
{
	for (unsigned ms = 0; __atomic_exchange_n(&state->busy, 1, __ATOMIC_ACQUIRE) != 0; ms++) {
		if (ms == LIST_PATIENCE_MS) {
			break;
		}
		usleep(1000);
	}
	sockets_list(state, rules);
	__atomic_store_n(&state->busy, 0, __ATOMIC_RELEASE);
}

static void note_older(const struct rules *rules)
{
	unsigned count = 0;
	const int err = older_count(rules->mark, &count);

	if (err) {
		log_debug("eBPF: sockets that are connected to port 53 already are not known: %s",
			strerror(-err));
	} else if (count > 0) {
		log_warning("eBPF: %u socket%s connected to port 53 already: not redirected until "
			    "connected anew",
			count, count == 1 ? " is" : "s are");
	}
}

/** A daemon's programs, or programs that last. */
static int open_programs(
	struct ebpf *e, const struct rules *rules, bool lasting, struct redirect_error *error)
{
	struct rules possible = *rules;
	const int cgroup = cgroup_open(rules->cgroup ? rules->cgroup : "", e->cgroup, error);
	int err;

	if (cgroup < 0) {
		return cgroup;
	}
	possible.ipv6 = rules->ipv6 && prepare_ipv6(e, lasting ? METRIC_LASTING : METRIC_FIRST,
					       lasting ? METRIC_LASTING : METRIC_LAST);
	if (lasting && rules->port < UINT16_MAX) {
		possible.other_port = (uint16_t)(rules->port + 1); /* of a daemon at `port` */
	}
	err = load(e, &possible, lasting, cgroup, error);
	if (err == 0) {
		err = attach(e, cgroup, error);
	}
	e->covers_us = cgroup_holds_us(cgroup);
	close(cgroup);
	if (err == 0) {
		note_older(rules);
	}
	return err;
}

static struct ebpf *new_ebpf(struct redirect_error *error)
{
	struct ebpf *e = calloc(1, sizeof *e);

	if (!e) {
		snprintf(error->text, sizeof error->text, "out of memory");
		return NULL;
	}
	e->lock = -1;
	return e;
}

static int open_new(
	struct ebpf **ebpf, const struct rules *rules, bool lasting, struct redirect_error *error)
{
	struct ebpf *e = new_ebpf(error);
	int err;

	if (!e) {
		return -ENOMEM;
	}
	err = check_privileges(error);
	if (err == 0 && lasting) {
		e->lock = pins_lock(error);
		err = e->lock < 0 ? e->lock : 0;
	}
	if (err == 0) {
		err = open_programs(e, rules, lasting, error);
	}
	if (err) {
		ebpf_close(e);
		return err;
	}
	*ebpf = e;
	return 0;
}

int ebpf_open(struct ebpf **ebpf, const struct rules *rules, struct redirect_error *error)
{
	const int err = open_new(ebpf, rules, false, error);

	if (err == 0) {
		list_servers((*ebpf)->state, rules);
	}
	return err;
}

const char *ebpf_cgroup(const struct ebpf *ebpf)
{
	return ebpf->cgroup;
}

bool ebpf_covers_us(const struct ebpf *ebpf)
{
	return ebpf->covers_us;
}

void ebpf_set_servers(struct ebpf *ebpf, const struct rules *rules)
{
	list_servers(ebpf->state, rules);
}

int ebpf_original(const struct ebpf *ebpf, const struct endpoint *local, struct endpoint *out)
{
	return sockets_original(ebpf->state, local, out);
}

void ebpf_withdraw(struct ebpf *ebpf)
{
	struct program list[PROGRAMS];

	if (!ebpf || !ebpf->object) {
		return;
	}
	list_programs(ebpf, list);
	for (unsigned i = 0; i < PROGRAMS; i++) {
		if (list[i].is_way_in) {
			bpf_link__destroy(*list[i].link);
			*list[i].link = NULL;
		}
	}
}

void ebpf_close(struct ebpf *ebpf)
{
	if (!ebpf) {
		return;
	}
	if (ebpf->object) {
		sockets__destroy(ebpf->object);
	} else {
		inherit_unmap(ebpf->state);
	}
	if (ebpf->metric != 0 && remove_route(ebpf->metric) != 0) {
		log_debug("eBPF: our local route for IPv6 stays");
	}
	if (ebpf->lock >= 0) {
		close(ebpf->lock); /* the route is under it too */
	}
	free(ebpf);
}

/* Programs that last */

static int explain_pinned(struct redirect_error *error, uint64_t netns, int err)
{
	char path[PINS_PATH_SIZE];

	if (err == -ENOENT && pins_exist(netns)) {
		err = -EPROTO;
	}
	snprintf(error->text, sizeof error->text, "%s/%s: %s", pins_path(netns, path), PINS_STATE,
		err == -EPROTO                    ? "found programs of another version"
		: err == -EACCES || err == -EPERM ? "it takes CAP_DAC_OVERRIDE, or root, and where "
						    "the system asks for it CAP_BPF"
						  : strerror(-err));
	return err;
}

int ebpf_open_pinned(struct ebpf **ebpf, struct redirect_error *error)
{
	struct ebpf *e = new_ebpf(error);
	int err = e ? netns_find(&e->netns) : -ENOMEM;
	int map = -1;

	if (err == 0) {
		map = pins_open_state(e->netns);
		err = map < 0 ? map : inherit_check(map);
	}
	if (err == 0) {
		err = inherit_map(&e->state, map);
	}
	if (map >= 0) {
		close(map);
	}
	if (err) {
		err = e ? explain_pinned(error, e->netns, err) : err;
		free(e);
		return err;
	}
	*ebpf = e;
	return 0;
}

void ebpf_set_elsewhere(struct ebpf *ebpf, bool elsewhere)
{
	ebpf->state->elsewhere = elsewhere;
}

static int pin(struct ebpf *e, struct redirect_error *error)
{
	struct program list[PROGRAMS];
	struct pin pins[PINS];
	unsigned count = 0;

	list_programs(e, list);
	for (; count < PROGRAMS; count++) {
		pins[count] = (struct pin){.name = bpf_program__name(list[count].program),
			.fd = bpf_link__fd(*list[count].link)};
	}
	pins[count++] = (struct pin){.name = PINS_STATE, .fd = bpf_map__fd(e->object->maps.bss)};
	return pins_replace(e->netns, pins, count, error);
}

int ebpf_install(struct ebpf **ebpf, const struct rules *rules, struct redirect_error *error)
{
	struct ebpf *e;
	int err = open_new(&e, rules, true, error);

	if (err) {
		return err;
	}
	err = pin(e, error);
	if (err) {
		ebpf_close(e);
		return err;
	}
	*ebpf = e;
	return 0;
}

int ebpf_uninstall(struct ebpf **ebpf, struct redirect_error *error)
{
	struct ebpf *e;
	int err;

	*ebpf = NULL;
	if (!pins_exist_at_all()) {
		return 0;
	}
	e = new_ebpf(error);
	if (!e) {
		return -ENOMEM;
	}
	e->lock = pins_lock(error);
	err = e->lock < 0 ? e->lock : netns_find(&e->netns);
	if (err == 0 && pins_exist(e->netns)) {
		err = pins_put_aside(e->netns, error);
		e->metric = err ? 0 : METRIC_LASTING;
	}
	if (err) {
		ebpf_close(e);
		return err;
	}
	*ebpf = e;
	return 0;
}

void ebpf_commit(struct ebpf *ebpf, const struct rules *rules)
{
	if (!ebpf) {
		return;
	}
	if (ebpf->object) {
		list_servers(ebpf->state, rules);
		ebpf->metric = 0; /* the route is to last as well */
	}
	pins_forget(ebpf->netns);
	pins_sweep(privileges_have(CAP_SYS_ADMIN) && !is_in_user_namespace());
	ebpf_close(ebpf);
}

void ebpf_roll_back(struct ebpf *ebpf)
{
	if (!ebpf) {
		return;
	}
	if (!ebpf->object) {
		ebpf->metric = 0;
	}
	pins_restore(ebpf->netns);
	ebpf_close(ebpf);
}

bool ebpf_is_installed(void)
{
	uint64_t netns;

	return netns_find(&netns) == 0 && pins_exist(netns);
}

void ebpf_print(const struct rules *rules, FILE *out)
{
	char path[PINS_PATH_SIZE];
	uint64_t netns = 0;

	(void)!netns_find(&netns);
	fprintf(out, "# DNS by eBPF at the sockets of %s; links are pinned in %s\n",
		rules->cgroup && rules->cgroup[0] ? rules->cgroup : "the application's cgroup",
		pins_path(netns, path));
}

void ebpf_print_removal(FILE *out)
{
	char path[PINS_PATH_SIZE];
	uint64_t netns = 0;

	if (netns_find(&netns) == 0 && pins_exist(netns)) {
		fprintf(out, "# the links in %s\n", pins_path(netns, path));
	}
}
