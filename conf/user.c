/* SPDX-License-Identifier: Apache-2.0
 *
 * Looks users up in the password file. Decides nothing.
 */
#include "conf/user.h"

#include <pwd.h>
#include <stddef.h>

enum { PASSWD_SIZE = 4096 };

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

static bool find_name(const char *name, uint32_t *uid)
{
	struct passwd entry;
	struct passwd *found = NULL;
	char text[PASSWD_SIZE];

	if (getpwnam_r(name, &entry, text, sizeof text, &found) != 0 || !found) {
		return false;
	}
	*uid = found->pw_uid;
	return true;
}

static bool find_uid(uint32_t uid, uint32_t *gid)
{
	struct passwd entry;
	struct passwd *found = NULL;
	char text[PASSWD_SIZE];

	if (getpwuid_r(uid, &entry, text, sizeof text, &found) != 0 || !found) {
		return false;
	}
	*gid = found->pw_gid;
	return true;
}

bool user_find(const char *text, uint32_t *uid)
{
	return parse_uid(text, uid) || find_name(text, uid);
}

bool user_find_kuma(const char *text, uint32_t *uid)
{
	uint32_t gid;

	if (*text != '\0') {
		return user_find(text, uid);
	}
	if (find_uid(USER_KUMA_UID, &gid)) {
		*uid = USER_KUMA_UID;
		return true;
	}
	return find_name("kuma-dp", uid);
}

uint32_t user_group(uint32_t uid)
{
	uint32_t gid = uid;

	(void)find_uid(uid, &gid);
	return gid;
}
