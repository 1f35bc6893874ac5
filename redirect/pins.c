/* SPDX-License-Identifier: Apache-2.0
 *
 * The directory of bpffs that pinned links are in:
 *
 *     /sys/fs/bpf/kuma-dns/<cookie of the network namespace>/connect4 ...
 *
 * Removing a pin detaches its link. Nothing else is touched: a directory that holds something else
 * is not removed.
 */
#include "redirect/pins.h"

#include "redirect/redirect.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define BPFFS  "/sys/fs/bpf"
#define PARENT BPFFS "/kuma-dns"

enum { FILE_PATH_SIZE = 2 * PINS_PATH_SIZE + 256 };

const char *pins_path(uint64_t netns, char path[PINS_PATH_SIZE])
{
	snprintf(path, PINS_PATH_SIZE, PARENT "/%" PRIu64, netns);
	return path;
}

bool pins_exist(uint64_t netns)
{
	char path[PINS_PATH_SIZE];

	return access(pins_path(netns, path), F_OK) == 0;
}

static const char *join(char path[FILE_PATH_SIZE], const char *directory, const char *name)
{
	snprintf(path, FILE_PATH_SIZE, "%s/%.255s", directory, name);
	return path;
}

/** Call for each entry of a directory. @return whether there is such a directory */
static bool for_each(const char *directory, void (*see)(const char *path))
{
	DIR *entries = opendir(directory);
	char path[FILE_PATH_SIZE];

	if (!entries) {
		return false;
	}
	for (struct dirent *e = readdir(entries); e; e = readdir(entries)) {
		if (e->d_name[0] != '.') {
			see(join(path, directory, e->d_name));
		}
	}
	closedir(entries);
	return true;
}

static void remove_file(const char *path)
{
	(void)unlink(path);
}

static int remove_directory(const char *path)
{
	if (!for_each(path, remove_file)) {
		return errno == ENOENT ? 0 : -errno;
	}
	return rmdir(path) == 0 ? 0 : -errno;
}

/* Pinning */

static int fail(struct redirect_error *error, const char *path, int err)
{
	snprintf(error->text, sizeof error->text, "cannot pin programs in %.120s: %s", path,
		strerror(-err));
	return err;
}

static int check_bpffs(struct redirect_error *error)
{
	struct statfs fs;

	if (statfs(BPFFS, &fs) == 0 && fs.f_type == BPF_FS_MAGIC) {
		return 0;
	}
	snprintf(error->text, sizeof error->text,
		"programs that last are pinned in %s: found no bpffs there (ip netns exec hides "
		"it, --netns does not); expected it to be mounted",
		BPFFS);
	return -EOPNOTSUPP;
}

static int make_directory(const char *path)
{
	return mkdir(path, 0700) == 0 || errno == EEXIST ? 0 : -errno;
}

static int pin_all(const char *directory, const char *const name[], const int fd[], unsigned count)
{
	char path[FILE_PATH_SIZE];
	int err = make_directory(directory);

	for (unsigned i = 0; i < count && err == 0; i++) {
		err = bpf_obj_pin(fd[i], join(path, directory, name[i])) == 0 ? 0 : -errno;
	}
	return err;
}

int pins_replace(uint64_t netns, const char *const name[], const int fd[], unsigned count,
	struct redirect_error *error)
{
	char path[PINS_PATH_SIZE];
	char fresh[PINS_PATH_SIZE + 8];
	int err = check_bpffs(error);

	if (err) {
		return err;
	}
	pins_path(netns, path);
	snprintf(fresh, sizeof fresh, "%s-new", path);
	err = make_directory(PARENT);
	if (err == 0) {
		err = remove_directory(fresh); /* of one that was interrupted */
	}
	if (err == 0) {
		err = pin_all(fresh, name, fd, count);
	}
	if (err == 0) {
		err = remove_directory(path);
	}
	if (err == 0 && rename(fresh, path) != 0) {
		err = -errno;
	}
	if (err) {
		(void)remove_directory(fresh);
		return fail(error, path, err);
	}
	return 0;
}

int pins_remove(uint64_t netns, struct redirect_error *error)
{
	char path[PINS_PATH_SIZE];
	const int err = remove_directory(pins_path(netns, path));

	(void)rmdir(PARENT); /* unless others are in it */
	if (err) {
		snprintf(error->text, sizeof error->text, "cannot remove %s: %s", path,
			strerror(-err));
	}
	return err;
}

/* Sweeping */

/** The kernel detaches the links of a cgroup that is removed, and knows no cgroup of theirs then.
 */
static bool is_detached(const char *path)
{
	struct bpf_link_info info = {0};
	__u32 size = sizeof info;
	const int fd = bpf_obj_get(path);
	bool detached = false;

	if (fd >= 0) {
		detached = bpf_obj_get_info_by_fd(fd, &info, &size) == 0 &&
			   info.type == BPF_LINK_TYPE_CGROUP && info.cgroup.cgroup_id == 0;
		close(fd);
	}
	return detached;
}

static void sweep_file(const char *path)
{
	if (is_detached(path)) {
		(void)unlink(path);
	}
}

static void sweep_directory(const char *path)
{
	if (for_each(path, sweep_file)) {
		(void)rmdir(path); /* where nothing is left */
	}
}

void pins_sweep(void)
{
	(void)for_each(PARENT, sweep_directory);
}
