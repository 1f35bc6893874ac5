/* SPDX-License-Identifier: Apache-2.0
 *
 * Gives privileges up, with libcap-ng. What is kept, and what for, stands in one table. Filters of
 * system calls and of paths (seccomp, Landlock) are not set here.
 */
#include "conf/privileges.h"

#include "conf/conf.h"
#include "conf/log.h"
#include "conf/user.h"

#include <cap-ng.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* What is kept */

/** What is ahead: first STARTING, then RUNNING; AS_ROOT besides where we stay root. */
enum { STARTING = 1, RUNNING = 2, AS_ROOT = 4 };

/** Ports below 1024, which are opened once. */
static bool needs_ports(const struct conf *conf, unsigned ahead)
{
	(void)conf;
	return (ahead & STARTING) != 0;
}

/**
 * Starting: large buffers of the sockets that we listen on. Running: rules that change and end,
 * flows to be forgotten, a mark on each socket to a server.
 */
static bool needs_network(const struct conf *conf, unsigned ahead)
{
	return (ahead & STARTING) != 0 || conf->redirect_enabled || conf->mark != 0;
}

/** Root has files of others to open: Envoy's socket belongs to Kuma's user. */
static bool needs_files(const struct conf *conf, unsigned ahead)
{
	(void)conf;
	return (ahead & AS_ROOT) != 0;
}

/** Programs that are loaded and attached once; a mount of cgroup2 that is hidden to be found. */
static bool needs_programs(const struct conf *conf, unsigned ahead)
{
	return (ahead & STARTING) != 0 && conf->redirect_enabled &&
	       conf->redirect_mode != CONF_NFTABLES;
}

static const struct {
	unsigned capability;
	const char *name;
	bool (*is_needed)(const struct conf *conf, unsigned ahead);
} kept[] = {
	{CAP_NET_BIND_SERVICE, "CAP_NET_BIND_SERVICE", needs_ports},
	{CAP_NET_ADMIN, "CAP_NET_ADMIN", needs_network},
	{CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE", needs_files},
	{CAP_BPF, "CAP_BPF", needs_programs},
	{CAP_SYS_ADMIN, "CAP_SYS_ADMIN", needs_programs},
};

enum { KEPT = sizeof kept / sizeof kept[0] };

/* Choosing */

bool privileges_have(unsigned capability)
{
	return capng_get_caps_process() == 0 &&
	       capng_have_capability(CAPNG_EFFECTIVE, capability) != 0;
}

/** Whether a user namespace has this ID: its maps are lines of first ID, first outside, count. */
static bool is_mapped(const char *path, uint32_t id)
{
	unsigned first;
	unsigned count;
	bool found = false;
	FILE *map = fopen(path, "re");

	if (!map) {
		return true; /* no /proc, no way to tell: it shows when we try */
	}
	while (!found && fscanf(map, "%u %*u %u", &first, &count) == 2) {
		found = id >= first && id - first < count;
	}
	fclose(map);
	return found;
}

static bool may_set_groups(void)
{
	char word[8];
	FILE *file = fopen("/proc/self/setgroups", "re");
	bool denied;

	if (!file) {
		return true;
	}
	denied = fgets(word, sizeof word, file) && strncmp(word, "deny", 4) == 0;
	fclose(file);
	return !denied;
}

/** @return why we cannot become this user; NULL where we can */
static const char *find_obstacle(uint32_t uid, uint32_t gid)
{
	if (geteuid() != 0) {
		return "only root becomes another user";
	}
	if (!privileges_have(CAP_SETUID)) {
		return "CAP_SETUID is missing";
	}
	if (!privileges_have(CAP_SETGID)) {
		return "CAP_SETGID is missing";
	}
	if (!is_mapped("/proc/self/uid_map", uid) || !is_mapped("/proc/self/gid_map", gid)) {
		return "this user namespace does not have it";
	}
	return may_set_groups() ? NULL : "this user namespace does not let go of groups";
}

/** @return 0; -ENOENT with `uid` as it was where nobody is named */
static int find_user(const struct conf *conf, uint32_t *uid)
{
	char text[256];

	if (conf->user[0]) {
		if (user_find(conf->user, uid)) {
			return 0;
		}
		log_error("%s", user_explain("user", conf->user, text, sizeof text));
		return -ENOENT;
	}
	if (*uid == 0 && !user_find_kuma(conf->kuma_dp_user, uid)) {
		log_info("staying root: there is no user of Kuma's proxy, see kumaDPUser and user");
	}
	return 0;
}

int privileges_choose(struct privileges *who, const struct conf *conf)
{
	const uint32_t uid = geteuid();
	const char *obstacle;

	*who = (struct privileges){.uid = uid, .gid = getegid()};
	const int err = find_user(conf, &who->uid);
	if (err || who->uid == uid) {
		return err;
	}
	who->gid = user_group(who->uid);
	obstacle = find_obstacle(who->uid, who->gid);
	who->changes = !obstacle;
	if (obstacle && conf->user[0]) {
		log_error("user: found %s, but cannot become UID %u: %s", conf->user, who->uid,
			obstacle);
		return -EPERM;
	}
	if (obstacle) {
		log_info("staying root: cannot become UID %u: %s", who->uid, obstacle);
		*who = (struct privileges){.uid = uid, .gid = getegid()};
	}
	return 0;
}

/* Giving up */

/** Let libcap-ng's set be what is needed, as far as we have it. */
static void select_kept(const struct conf *conf, unsigned ahead)
{
	bool keep[KEPT];

	for (size_t i = 0; i < KEPT; i++) {
		keep[i] = kept[i].is_needed(conf, ahead) && privileges_have(kept[i].capability);
	}
	capng_clear(CAPNG_SELECT_ALL);
	for (size_t i = 0; i < KEPT; i++) {
		if (keep[i]) {
			(void)capng_update(
				CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, kept[i].capability);
		}
	}
}

/** A sanitizer looks at its own process as a debugger does, which a change of user forbids. */
static void allow_sanitizer(void)
{
#if defined(__SANITIZE_ADDRESS__)
	(void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
	(void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
#endif
#endif
}

static int refuse(const char *what, int code)
{
	log_error("cannot give up privileges: %s: %s (%d)", what, strerror(errno), code);
	return -EPERM;
}

static int change_user(const struct privileges *who, bool bounding)
{
	const unsigned flags =
		CAPNG_DROP_SUPP_GRP | CAPNG_CLEAR_AMBIENT | (bounding ? CAPNG_CLEAR_BOUNDING : 0);
	const int code = capng_change_id((int)who->uid, (int)who->gid, (capng_flags_t)flags);

	if (code != 0) {
		return refuse("change of user", code);
	}
	allow_sanitizer();
	return 0;
}

int privileges_become(const struct privileges *who, const struct conf *conf)
{
	const bool bounding = privileges_have(CAP_SETPCAP);
	const unsigned root = who->uid == 0 ? AS_ROOT : 0;
	int err = 0;

	select_kept(conf, STARTING | root);
	if (who->changes) {
		err = change_user(who, bounding);
	} else {
		const int code = capng_apply(
			bounding ? CAPNG_SELECT_ALL : CAPNG_SELECT_CAPS | CAPNG_SELECT_AMBIENT);
		err = code ? refuse("capabilities", code) : 0;
	}
	if (err == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
		err = refuse("no_new_privs", 0);
	}
	return err;
}

int privileges_narrow(const struct conf *conf)
{
	const unsigned root = geteuid() == 0 ? AS_ROOT : 0;

	select_kept(conf, RUNNING | root);
	const int code = capng_apply(CAPNG_SELECT_CAPS);
	if (code != 0) {
		return refuse("capabilities", code);
	}
	return 0;
}

const char *privileges_describe(char *text, size_t size)
{
	FILE *out = fmemopen(text, size, "w");
	bool any = false;

	text[0] = '\0';
	if (!out) {
		return text;
	}
	fprintf(out, "UID %u, GID %u", geteuid(), getegid());
	for (size_t i = 0; i < KEPT; i++) {
		if (privileges_have(kept[i].capability)) {
			fprintf(out, ", %s", kept[i].name);
			any = true;
		}
	}
	fputs(any ? "" : ", no capabilities", out);
	fclose(out);
	text[size - 1] = '\0';
	return text;
}
