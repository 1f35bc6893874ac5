/* SPDX-License-Identifier: Apache-2.0
 *
 * Privileges are given up in children, since they do not come back. Those that need other users are
 * skipped where we are not root; those in a user namespace where there are none.
 */
#include "conf/privileges.h"

#include "conf/conf.h"
#include "conf/log.h"

#include <cap-ng.h>
#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { KUMA = 5678, ANOTHER = 65534, SKIPPED = 77 };

static char logged[512]; /* all lines, one behind the other */
static struct conf conf;
static struct privileges who;

void __wrap_log_line(struct log_site *site, enum log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

void __wrap_log_line(struct log_site *site, enum log_level level, const char *format, ...)
{
	const size_t len = strlen(logged);
	va_list arguments;

	(void)site;
	(void)level;
	va_start(arguments, format);
	vsnprintf(logged + len, sizeof logged - len, format, arguments);
	va_end(arguments);
}

/* What is true in a child */

#define check(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "line %d: not %s; log: %s\n", __LINE__, #condition,        \
				logged);                                                           \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

/** A line of /proc/self/status is this one, spaces at its end aside. */
static bool status_has(const char *key, const char *value)
{
	char line[256];
	bool found = false;
	FILE *file = fopen("/proc/self/status", "r");

	while (file && !found && fgets(line, sizeof line, file)) {
		line[strcspn(line, "\n")] = '\0';
		for (size_t len = strlen(line); len > 0 && line[len - 1] == ' '; len--) {
			line[len - 1] = '\0';
		}
		found = strncmp(line, key, strlen(key)) == 0 &&
			strcmp(line + strlen(key) + strspn(line + strlen(key), ":\t"), value) == 0;
	}
	if (file) {
		fclose(file);
	}
	return found;
}

static bool has_capabilities(const char *hex)
{
	return status_has("CapPrm", hex) && status_has("CapEff", hex) &&
	       status_has("CapInh", "0000000000000000") && status_has("CapAmb", "0000000000000000");
}

static void run_child(void (*body)(void))
{
	int status = 0;
	const pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		logged[0] = '\0';
		conf_init(&conf);
		body();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED) {
		print_message("the system has no other users, or no user namespaces, for us\n");
		skip();
	}
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void set_user(const char *user, const char *kuma)
{
	snprintf(conf.user, sizeof conf.user, "%s", user);
	snprintf(conf.kuma_dp_user, sizeof conf.kuma_dp_user, "%s", kuma);
}

static void need_root(void)
{
	static const unsigned needed[] = {CAP_SETUID, CAP_SETGID, CAP_SETPCAP, CAP_NET_ADMIN,
		CAP_NET_BIND_SERVICE, CAP_DAC_OVERRIDE};

	for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
		if (geteuid() != 0 || !privileges_have(needed[i])) {
			_exit(SKIPPED);
		}
	}
	if (setresuid(0, ANOTHER, 0) != 0 || setresuid(0, 0, 0) != 0) {
		_exit(SKIPPED);
	}
}

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	if (file) {
		fputs(text, file);
		fclose(file);
	}
}

/** Root of a user namespace that has no other user. */
static void enter_user_namespace(void)
{
	char map[32];
	const unsigned uid = geteuid();
	const unsigned gid = getegid();

	if (unshare(CLONE_NEWUSER) != 0) {
		_exit(SKIPPED);
	}
	write_file("/proc/self/setgroups", "deny");
	snprintf(map, sizeof map, "0 %u 1", uid);
	write_file("/proc/self/uid_map", map);
	snprintf(map, sizeof map, "0 %u 1", gid);
	write_file("/proc/self/gid_map", map);
	check(geteuid() == 0 && getegid() == 0);
}

/* Becoming another user */

static void become_kumas_user(void)
{
	const gid_t groups[] = {7, 8};
	char text[PRIVILEGES_TEXT_SIZE];

	need_root();
	set_user("", "5678");
	check(setgroups(2, groups) == 0);
	capng_get_caps_process();
	check(capng_update(CAPNG_ADD, CAPNG_INHERITABLE | CAPNG_AMBIENT, CAP_NET_ADMIN) == 0);
	check(capng_apply(CAPNG_SELECT_CAPS) == 0 && capng_apply(CAPNG_SELECT_AMBIENT) == 0);
	check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_NET_ADMIN, 0, 0) == 1);
	check(privileges_choose(&who, &conf) == 0);
	check(who.changes && who.uid == KUMA && who.gid == KUMA);
	check(privileges_become(&who, &conf) == 0);
	check(status_has("Uid", "5678\t5678\t5678\t5678"));
	check(status_has("Gid", "5678\t5678\t5678\t5678"));
	check(status_has("Groups", ""));
	check(status_has("CapBnd", "0000000000000000") && status_has("NoNewPrivs", "1"));
	check(has_capabilities("0000000000001400"));
	check(privileges_narrow(&conf) == 0);
	check(has_capabilities("0000000000001000"));
	check(setresuid(0, 0, 0) != 0 && setgroups(2, groups) != 0);
	check(strcmp(privileges_describe(text, sizeof text), "UID 5678, GID 5678, CAP_NET_ADMIN") ==
		0);
}

/** Programs for the kernel are loaded once. */
static void keep_what_loading_takes(void)
{
	need_root();
	set_user("5678", "5678");
	conf.redirect_enabled = true;
	conf.redirect_mode = CONF_EBPF;
	check(privileges_choose(&who, &conf) == 0);
	check(privileges_become(&who, &conf) == 0);
	check(privileges_have(CAP_BPF) && privileges_have(CAP_SYS_ADMIN));
	check(privileges_narrow(&conf) == 0);
	check(has_capabilities("0000000000001000"));
}

static void what_loads_programs_keeps_that_no_longer(void **state)
{
	(void)state;
	run_child(keep_what_loading_takes);
}

static void root_becomes_kumas_user(void **state)
{
	(void)state;
	run_child(become_kumas_user);
}

static void keep_nothing(void)
{
	char text[PRIVILEGES_TEXT_SIZE];

	need_root();
	set_user("65534", "5678");
	conf.redirect_enabled = false;
	conf.mark = 0;
	check(privileges_choose(&who, &conf) == 0 && who.uid == ANOTHER);
	check(privileges_become(&who, &conf) == 0);
	check(privileges_have(CAP_NET_BIND_SERVICE) && privileges_have(CAP_NET_ADMIN));
	check(privileges_narrow(&conf) == 0);
	check(status_has("Uid", "65534\t65534\t65534\t65534"));
	check(has_capabilities("0000000000000000"));
	check(strstr(privileges_describe(text, sizeof text), ", no capabilities"));
	check(strlen(privileges_describe(text, 10)) == 9);
}

static void without_rules_and_marks_nothing_is_kept(void **state)
{
	(void)state;
	run_child(keep_nothing);
}

static void keep_for_marks(void)
{
	need_root();
	set_user("5678", "");
	conf.redirect_enabled = false;
	conf.mark = 1;
	check(privileges_choose(&who, &conf) == 0 && privileges_become(&who, &conf) == 0);
	check(privileges_narrow(&conf) == 0 && has_capabilities("0000000000001000"));
}

static void marks_take_net_admin(void **state)
{
	(void)state;
	run_child(keep_for_marks);
}

/* Staying */

static void stay_root(void)
{
	char text[PRIVILEGES_TEXT_SIZE];

	need_root();
	set_user("root", "5678");
	check(privileges_choose(&who, &conf) == 0 && !who.changes && who.uid == 0);
	check(privileges_become(&who, &conf) == 0 && privileges_narrow(&conf) == 0);
	check(geteuid() == 0 && has_capabilities("0000000000001002"));
	check(status_has("CapBnd", "0000000000000000") && status_has("NoNewPrivs", "1"));
	check(strncmp(privileges_describe(text, sizeof text), "UID 0, GID ", 11) == 0);
}

static void root_may_stay(void **state)
{
	(void)state;
	run_child(stay_root);
}

static void drop(unsigned capability)
{
	capng_get_caps_process();
	check(capng_update(CAPNG_DROP, CAPNG_EFFECTIVE | CAPNG_PERMITTED, capability) == 0);
	check(capng_apply(CAPNG_SELECT_CAPS) == 0);
}

static void assert_stays(const char *why)
{
	set_user("", "5678");
	logged[0] = '\0';
	check(privileges_choose(&who, &conf) == 0 && !who.changes && who.uid == 0);
	check(strstr(logged, "staying root: cannot become UID 5678: ") && strstr(logged, why));
	set_user("5678", "");
	logged[0] = '\0';
	check(privileges_choose(&who, &conf) == -EPERM);
	check(strstr(logged, "user: found 5678, but cannot become UID 5678: "));
	check(strstr(logged, why));
}

static void lack_capabilities(void)
{
	need_root();
	drop(CAP_SETPCAP);
	drop(CAP_SETGID);
	assert_stays("CAP_SETGID is missing");
	drop(CAP_SETUID);
	assert_stays("CAP_SETUID is missing");
	drop(CAP_NET_ADMIN);
	drop(CAP_DAC_OVERRIDE);
	set_user("", "5678");
	check(privileges_choose(&who, &conf) == 0);
	check(privileges_become(&who, &conf) == 0 && privileges_narrow(&conf) == 0);
	check(has_capabilities("0000000000000000") && status_has("NoNewPrivs", "1"));
	check(!status_has("CapBnd", "0000000000000000"));
}

static void what_is_missing_is_not_asked_of_the_kernel(void **state)
{
	(void)state;
	run_child(lack_capabilities);
}

static void stay_in_namespace(void)
{
	enter_user_namespace();
	assert_stays("this user namespace does not have it");
	set_user("", "5678");
	check(privileges_choose(&who, &conf) == 0);
	check(privileges_become(&who, &conf) == 0 && privileges_narrow(&conf) == 0);
	check(has_capabilities("0000000000001002"));
}

static void root_stays_where_there_is_no_other_user(void **state)
{
	(void)state;
	run_child(stay_in_namespace);
}

static void stay_unprivileged(void)
{
	char text[32];

	if (geteuid() == 0 &&
		(setgroups(0, NULL) != 0 || setresgid(ANOTHER, ANOTHER, ANOTHER) != 0 ||
			setresuid(ANOTHER, ANOTHER, ANOTHER) != 0)) {
		_exit(SKIPPED);
	}
	set_user("", "5678");
	check(privileges_choose(&who, &conf) == 0 && !who.changes && who.uid == geteuid());
	check(logged[0] == '\0');
	snprintf(text, sizeof text, "%u", geteuid());
	set_user(text, "");
	check(privileges_choose(&who, &conf) == 0 && !who.changes);
	check(privileges_become(&who, &conf) == 0 && privileges_narrow(&conf) == 0);
	check(has_capabilities("0000000000000000") && status_has("NoNewPrivs", "1"));
	set_user("root", "");
	check(privileges_choose(&who, &conf) == -EPERM);
	check(strstr(logged, "user: found root, but cannot become UID 0: only root becomes"));
}

static void others_than_root_stay_who_they_are(void **state)
{
	(void)state;
	run_child(stay_unprivileged);
}

static void name_nobody(void)
{
	set_user("no such user", "5678");
	check(privileges_choose(&who, &conf) == -ENOENT);
	check(strstr(logged,
		"user: found no such user, expected the name of a user of this host, or a UID"));
}

static void a_user_that_does_not_exist_is_an_error(void **state)
{
	(void)state;
	run_child(name_nobody);
}

static void miss_kumas_user(void)
{
	need_root();
	set_user("", "no such user");
	check(privileges_choose(&who, &conf) == 0 && !who.changes && who.uid == 0);
	check(strstr(logged, "staying root: there is no user of Kuma's proxy"));
}

static void root_stays_where_kuma_has_no_user(void **state)
{
	(void)state;
	run_child(miss_kumas_user);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(root_becomes_kumas_user),
		cmocka_unit_test(what_loads_programs_keeps_that_no_longer),
		cmocka_unit_test(without_rules_and_marks_nothing_is_kept),
		cmocka_unit_test(marks_take_net_admin),
		cmocka_unit_test(root_may_stay),
		cmocka_unit_test(what_is_missing_is_not_asked_of_the_kernel),
		cmocka_unit_test(root_stays_where_there_is_no_other_user),
		cmocka_unit_test(others_than_root_stay_who_they_are),
		cmocka_unit_test(a_user_that_does_not_exist_is_an_error),
		cmocka_unit_test(root_stays_where_kuma_has_no_user),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
