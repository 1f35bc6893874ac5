/* SPDX-License-Identifier: Apache-2.0
 *
 * Finds the cgroup that holds the application. Where no mount of cgroup2 is to be seen, as in `ip
 * netns exec`, which mounts /sys anew, one is made that has no place in the file system and is gone
 * with its descriptor.
 */
#include "redirect/cgroup.h"

#include "redirect/redirect.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { ROOT_INODE = 1 }; /* of the hierarchy; in a cgroup namespace "/" is another one */

/* Deciding */

/** `\040` is a space, and so on. */
static void unescape(char *text)
{
	char *out = text;

	for (const char *p = text; *p; out++) {
		if (p[0] == '\\' && p[1] && p[2] && p[3]) {
			*out = (char)((p[1] - '0') * 64 + (p[2] - '0') * 8 + (p[3] - '0'));
			p += 4;
		} else {
			*out = *p++;
		}
	}
	*out = '\0';
}

bool cgroup_read_mount(struct cgroup_mount *mount, const char *line)
{
	const char *type = strstr(line, " - ");

	if (!type || strncmp(type, " - cgroup2 ", 11) != 0 ||
		sscanf(line, "%*d %*d %*s %4095s %4095s", mount->root, mount->point) != 2 ||
		mount->root[0] != '/' || mount->point[0] != '/') {
		return false;
	}
	unescape(mount->root);
	unescape(mount->point);
	return true;
}

/** `pod…` below `kubepods`, or systemd's `kubepods-…-pod….slice`. */
static bool is_pod(const char *name, size_t len)
{
	return (len > 3 && strncmp(name, "pod", 3) == 0) ||
	       (len > 8 && strncmp(name, "kubepods", 8) == 0 && memmem(name, len, "-pod", 4));
}

/** Octets of the path of the pod that `own` is in; 0: in none. */
static size_t pod_len(const char *own)
{
	const char *name = strstr(own, "/kubepods");

	while (name && *name == '/') {
		const size_t len = strcspn(++name, "/");
		if (is_pod(name, len)) {
			return (size_t)(name - own) + len;
		}
		name += len;
	}
	return 0;
}

bool cgroup_choose(const char *root, const char *own, char below[PATH_MAX])
{
	const size_t pod = pod_len(own);
	const size_t above = strcmp(root, "/") == 0 ? 0 : strlen(root);

	below[0] = '\0';
	if (pod < above || pod == 0 || pod >= PATH_MAX || strncmp(own, root, above) != 0 ||
		own[above] != '/') {
		return false;
	}
	memcpy(below, own + above, pod - above);
	below[pod - above] = '\0';
	return true;
}

/* Looking */

static bool is_cgroup2(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

static int open_directory(int at, const char *path)
{
	const int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/** A mount that another one covers is listed, but is not what its path leads to. */
static int open_mount(struct cgroup_mount *mount)
{
	FILE *in = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t size = 0;
	int fd = -ENOENT;

	while (in && fd < 0 && getline(&line, &size, in) > 0) {
		if (!cgroup_read_mount(mount, line)) {
			continue;
		}
		fd = open_directory(AT_FDCWD, mount->point);
		if (fd >= 0 && !is_cgroup2(fd)) {
			close(fd);
			fd = -ENOENT;
		}
	}
	free(line);
	if (in) {
		fclose(in);
	}
	return fd;
}

static int make_mount(struct cgroup_mount *mount)
{
	const int fs = fsopen("cgroup2", FSOPEN_CLOEXEC);
	int fd = -1;

	snprintf(mount->root, sizeof mount->root, "/");
	snprintf(mount->point, sizeof mount->point, "cgroup2:");
	if (fs >= 0 && fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0) {
		fd = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	}
	if (fs >= 0) {
		close(fs);
	}
	return fd < 0 ? -ENOENT : fd;
}

/** The line of cgroup2 has number 0 and no controllers. */
static void read_own(char own[PATH_MAX])
{
	FILE *in = fopen("/proc/self/cgroup", "re");
	char *line = NULL;
	size_t size = 0;

	own[0] = '\0';
	while (in && getline(&line, &size, in) > 0) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "0::", 3) == 0) {
			snprintf(own, PATH_MAX, "%.*s", PATH_MAX - 1, line + 3);
		}
	}
	free(line);
	if (in) {
		fclose(in);
	}
}

static bool is_root(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_ino == ROOT_INODE;
}

static int fail(struct redirect_error *error, const char *found)
{
	snprintf(error->text, sizeof error->text, "redirect.cgroup: found %.140s", found);
	return -ENOENT;
}

static int find(char path[PATH_MAX], struct redirect_error *error)
{
	static const char part[] =
		"no cgroup above our own container's, and the application may be "
		"beside it; expected the host's cgroup2, or a path";
	struct cgroup_mount mount;
	char own[PATH_MAX];
	char below[PATH_MAX];
	int top = open_mount(&mount);
	int fd;

	if (top < 0) {
		top = make_mount(&mount);
	}
	if (top < 0) {
		return fail(error, "no cgroup2 mount (ip netns exec hides it, nsenter --net= does "
				   "not); expected one");
	}
	read_own(own);
	const bool is_pods = cgroup_choose(mount.root, own, below);
	snprintf(path, PATH_MAX, "%.2047s%.2047s", mount.point, below);
	fd = is_pods ? open_directory(top, below[0] ? below + 1 : ".") : dup(top);
	close(top);
	if (fd >= 0 && !is_pods && !is_root(fd)) {
		close(fd);
		return fail(error, part);
	}
	return fd < 0 ? fail(error, "no way to open the pod's cgroup; expected a path") : fd;
}

int cgroup_open(const char *name, char path[PATH_MAX], struct redirect_error *error)
{
	int fd;

	if (name[0] == '\0') {
		return find(path, error);
	}
	snprintf(path, PATH_MAX, "%s", name);
	fd = open_directory(AT_FDCWD, name);
	if (fd >= 0 && !is_cgroup2(fd)) {
		close(fd);
		fd = -ENOTSUP;
	}
	if (fd < 0) {
		snprintf(error->text, sizeof error->text,
			"redirect.cgroup: found %.100s, expected a directory of cgroup2: %s", name,
			fd == -ENOTSUP ? "it is none" : strerror(-fd));
		return -ENOENT;
	}
	return fd;
}

/** Whether one of the directories from `at` up to the top is `cgroup`. Closes `at`. */
static bool is_above(int cgroup, int at)
{
	struct stat wanted;
	struct stat here;
	bool found = false;

	while (!found && at >= 0 && is_cgroup2(at) && fstat(cgroup, &wanted) == 0 &&
		fstat(at, &here) == 0) {
		found = here.st_dev == wanted.st_dev && here.st_ino == wanted.st_ino;
		const int above = found ? -1 : open_directory(at, "..");
		close(at);
		at = above;
	}
	if (at >= 0) {
		close(at);
	}
	return found;
}

bool cgroup_holds_us(int cgroup)
{
	struct cgroup_mount mount;
	char own[PATH_MAX];
	const int top = open_mount(&mount);
	bool found;

	if (top < 0) {
		return is_root(cgroup);
	}
	const size_t root_len = strcmp(mount.root, "/") == 0 ? 0 : strlen(mount.root);
	read_own(own);
	if (strncmp(own, mount.root, root_len) != 0) {
		found = is_root(cgroup);
	} else {
		found = is_above(
			cgroup, open_directory(top, own[root_len] == '/' && own[root_len + 1]
							    ? own + root_len + 1
							    : "."));
	}
	close(top);
	return found;
}
