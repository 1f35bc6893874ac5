/* SPDX-License-Identifier: Apache-2.0 */
#include "redirect/cgroup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void mounts_of_cgroup2_are_read(void **unused)
{
	struct cgroup_mount mount;

	(void)unused;
	assert_true(cgroup_read_mount(&mount, "25 24 0:22 / /sys/fs/cgroup rw,nosuid shared:9 - "
					      "cgroup2 cgroup2 rw,nsdelegate\n"));
	assert_string_equal(mount.root, "/");
	assert_string_equal(mount.point, "/sys/fs/cgroup");
	assert_true(cgroup_read_mount(
		&mount, "25 24 0:22 /../.. /a\\040b\\134c rw - cgroup2 none rw\n"));
	assert_string_equal(mount.root, "/../..");
	assert_string_equal(mount.point, "/a b\\c");
}

static void other_mounts_are_not(void **unused)
{
	static const char *const lines[] = {"", "\n", " - cgroup2 ", "25 24 - cgroup2 none",
		"34 25 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n",
		"34 25 0:29 / /mnt rw - tmpfs cgroup2 rw\n",
		"34 25 0:29 / /mnt rw - cgroup23 x rw\n"};
	struct cgroup_mount mount;

	(void)unused;
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
		assert_false(cgroup_read_mount(&mount, lines[i]));
	}
}

static void the_pod_is_found_where_it_can_be_seen(void **unused)
{
	static const struct {
		const char *root;
		const char *own;
		const char *below; /* NULL: no pod */
	} cases[] = {
		{"/",
			"/kubepods.slice/kubepods-burstable.slice/"
			"kubepods-burstable-podab_12.slice/"
			"cri-containerd-f.scope",
			"/kubepods.slice/kubepods-burstable.slice/"
			"kubepods-burstable-podab_12.slice"},
		{"/", "/kubepods.slice/kubepods-podab.slice/docker-1.scope/inner/unit",
			"/kubepods.slice/kubepods-podab.slice"},
		{"/", "/kubepods/burstable/podab-12/0123", "/kubepods/burstable/podab-12"},
		{"/", "/system.slice/x/kubepods/pod12/0123", "/system.slice/x/kubepods/pod12"},
		{"/kubepods", "/kubepods/besteffort/pod1/0123", "/besteffort/pod1"},
		/* a part of the hierarchy that does not hold the pod */
		{"/kubepods/pod1/0123", "/kubepods/pod1/0123", NULL},
		{"/kubepods/pod1", "/kubepods/pod1/0123", ""},
		{"/kubepods/po", "/kubepods/pod1/0123", NULL},
		{"/other", "/kubepods/pod1/0123", NULL},
		{"/../..", "/", NULL},
		/* no pod at all */
		{"/", "/", NULL},
		{"/", "", NULL},
		{"/", "/system.slice/kuma-dns.service", NULL},
		{"/", "/user.slice/pod1/x", NULL},
		{"/", "/kubepods.slice/kubepods-burstable.slice", NULL},
		{"/", "/kubepods/pod", NULL},
	};
	char below[PATH_MAX];

	(void)unused;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const bool found = cgroup_choose(cases[i].root, cases[i].own, below);
		if (found != (cases[i].below != NULL)) {
			fail_msg("%s, %s: %s", cases[i].root, cases[i].own, below);
		}
		assert_string_equal(below, found ? cases[i].below : "");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mounts_of_cgroup2_are_read),
		cmocka_unit_test(other_mounts_are_not),
		cmocka_unit_test(the_pod_is_found_where_it_can_be_seen),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
