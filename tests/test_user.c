/* SPDX-License-Identifier: Apache-2.0 */
#include "conf/user.h"

#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void users_have_names_or_uids(void **state)
{
	static const struct {
		const char *text;
		bool found;
		uint32_t uid;
	} cases[] = {
		{"root", true, 0},
		{"0", true, 0},
		{"5678", true, 5678},
		{"4294967294", true, 4294967294U},
		{"4294967295", false, 7}, /* nobody, to the kernel */
		{"4294967296", false, 7},
		{"18446744073709551616", false, 7},
		{"-1", false, 7},
		{"5678x", false, 7},
		{" 5678", false, 7},
		{"", false, 7},
		{"no such user", false, 7},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		uint32_t uid = 7;
		if (user_find(cases[i].text, &uid) != cases[i].found || uid != cases[i].uid) {
			fail_msg("%s: uid %u", cases[i].text, uid);
		}
	}
}

static void kumas_user_is_5678_or_has_its_name(void **state)
{
	const struct passwd *named = getpwuid(USER_KUMA_UID) ? NULL : getpwnam("kuma-dp");
	const bool exists = getpwuid(USER_KUMA_UID) || named;
	uint32_t uid = 7;

	(void)state;
	assert_true(user_find_kuma("5678", &uid) && uid == USER_KUMA_UID);
	assert_true(user_find_kuma("root", &uid) && uid == 0);
	assert_false(user_find_kuma("no such user", &uid));
	assert_int_equal(user_find_kuma("", &uid), exists);
	assert_int_equal(uid, !exists ? 0 : named ? named->pw_uid : USER_KUMA_UID);
}

static void a_group_is_that_of_the_password_file_or_has_the_same_number(void **state)
{
	const struct passwd *nobody = getpwnam("nobody");

	(void)state;
	assert_int_equal(user_group(0), 0);
	assert_int_equal(user_group(4000000001U), 4000000001U);
	if (nobody) {
		const gid_t gid = nobody->pw_gid;
		assert_int_equal(user_group(nobody->pw_uid), gid);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(users_have_names_or_uids),
		cmocka_unit_test(kumas_user_is_5678_or_has_its_name),
		cmocka_unit_test(a_group_is_that_of_the_password_file_or_has_the_same_number),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
