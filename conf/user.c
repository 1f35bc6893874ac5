/* SPDX-License-Identifier: Apache-2.0
 *
 * Looks users up in /etc/passwd, and names that are configured elsewhere too. Where nobody is
 * named, other sources of users are not asked: they would be loaded for good, a third of a megabyte
 * with systemd's. Decides nothing.
 */
#include "conf/user.h"

#include <pwd.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { PASSWD_SIZE = 4096 };

struct account {
	uint32_t uid;
	uint32_t gid;
};

/** Whether `text` is a UID in decimal. (uid_t)-1 means "no user" to the kernel. */
static bool parse_uid(const char *text, uint32_t *uid)
{
	uint64_t value = 0;
	const char *p = text;

	for (; *p >= '0' && *p <= '9' && value < UINT32_MAX; p++) {
		value = value * 10 + (uint64_t)(*p - '0');
	}
	if (p == text || *p != '\0' || value >= UINT32_MAX) {
		return false;
	}
	*uid = (uint32_t)value;
	return true;
}

/** The entry of a name, or of a UID where that is NULL, in /etc/passwd. Before there are threads.
 */
static bool find_here(const char *name, uint32_t uid, struct account *account)
{
	const struct passwd *entry = NULL;
	bool any = false;
	FILE *file = fopen("/etc/passwd", "re");

	while (file && !any && (entry = fgetpwent(file)) != NULL) {
		any = name ? strcmp(entry->pw_name, name) == 0 : entry->pw_uid == uid;
	}
	if (any) {
		*account = (struct account){.uid = entry->pw_uid, .gid = entry->pw_gid};
	}
	if (file) {
		fclose(file);
	}
	return any;
}

/** A name that only another source of users knows (nsswitch.conf). */
static bool find_elsewhere(const char *name, struct account *account)
{
	struct passwd entry;
	struct passwd *found = NULL;
	char text[PASSWD_SIZE];

	if (getpwnam_r(name, &entry, text, sizeof text, &found) != 0 || !found) {
		return false;
	}
	*account = (struct account){.uid = entry.pw_uid, .gid = entry.pw_gid};
	return true;
}

static bool find_name(const char *name, uint32_t *uid)
{
	struct account account;

	if (!find_here(name, 0, &account) && !find_elsewhere(name, &account)) {
		return false;
	}
	*uid = account.uid;
	return true;
}

bool user_find(const char *text, uint32_t *uid)
{
	return parse_uid(text, uid) || find_name(text, uid);
}

bool user_find_kuma(const char *text, uint32_t *uid)
{
	struct account account;

	if (*text != '\0') {
		return user_find(text, uid);
	}
	if (!find_here(NULL, USER_KUMA_UID, &account) && !find_here("kuma-dp", 0, &account)) {
		return false;
	}
	*uid = account.uid;
	return true;
}

const char *user_explain(const char *key, const char *found, char *text, size_t size)
{
	snprintf(text, size, "%s: found %.100s, expected the name of a user of this host, or a UID",
		key, found);
	return text;
}

uint32_t user_group(uint32_t uid)
{
	struct account account = {.gid = uid};

	(void)find_here(NULL, uid, &account);
	return account.gid;
}
