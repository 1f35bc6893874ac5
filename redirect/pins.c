/* SPDX-License-Identifier: Apache-2.0
 *
 * The directory of bpffs that things are pinned in:
 *
 *     /sys/fs/bpf/kuma-dns/<cookie of the network namespace>/connect4 ... state namespace
 *
 * Removing a pin detaches its link. Nothing else is touched: a directory that holds something else
 * is not removed. While one is replaced there are two more, `-new` and `-old`; renaming is atomic.
 */
#include "redirect/pins.h"

#include "redirect/netns.h"
#include "redirect/redirect.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define BPFFS  "/sys/fs/bpf"
#define PARENT BPFFS "/kuma-dns"

enum {
	FILE_PATH_SIZE = 2 * PINS_PATH_SIZE + 256,
	LOCK_POLL_MS = 5,
	LOCK_PATIENCE_MS = 10000,
};

const char PINS_STATE[] = "state";
static const char NAMESPACE[] = "namespace"; /* a link to the name of it, which is no file */

const char *pins_path(uint64_t netns, char path[PINS_PATH_SIZE])
{
	snprintf(path, PINS_PATH_SIZE, PARENT "/%" PRIu64, netns);
	return path;
}

/** The directory of a network namespace, and the two beside it while it is replaced. */
struct paths {
	char now[PINS_PATH_SIZE];
	char fresh[PINS_PATH_SIZE + 8];
	char old[PINS_PATH_SIZE + 8];
};

static void name_paths(struct paths *p, uint64_t netns)
{
	pins_path(netns, p->now);
	snprintf(p->fresh, sizeof p->fresh, "%s-new", p->now);
	snprintf(p->old, sizeof p->old, "%s-old", p->now);
}

static const char *join(char path[FILE_PATH_SIZE], const char *directory, const char *name)
{
	snprintf(path, FILE_PATH_SIZE, "%s/%.255s", directory, name);
	return path;
}

/** Show the entries of a directory until one is what is looked for. @return whether one was */
static bool find(const char *directory, bool (*is_it)(const char *path))
{
	DIR *entries = opendir(directory);
	char path[FILE_PATH_SIZE];
	bool found = false;

	if (!entries) {
		return false;
	}
	for (struct dirent *e = readdir(entries); e && !found; e = readdir(entries)) {
		found = e->d_name[0] != '.' && is_it(join(path, directory, e->d_name));
	}
	closedir(entries);
	return found;
}

/** As far as it goes, and on to the next. */
static bool remove_file(const char *path)
{
	(void)unlink(path);
	return false;
}

static int remove_directory(const char *path)
{
	(void)find(path, remove_file);
	return rmdir(path) == 0 || errno == ENOENT ? 0 : -errno;
}

/* What is there */

/** Other than access(2) it goes by what we may do now. */
static bool is_there(const char *path)
{
	struct stat found;

	return stat(path, &found) == 0;
}

bool pins_exist(uint64_t netns)
{
	struct paths p;

	name_paths(&p, netns);
	return is_there(p.now) || is_there(p.old) || is_there(p.fresh);
}

bool pins_exist_at_all(void)
{
	return is_there(PARENT);
}

int pins_open_state(uint64_t netns)
{
	char directory[PINS_PATH_SIZE];
	char path[FILE_PATH_SIZE];
	const int fd = bpf_obj_get(join(path, pins_path(netns, directory), PINS_STATE));

	return fd < 0 ? -errno : fd;
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

/** @return 0; -EWOULDBLOCK: somebody else holds it for long; -errno */
static int wait_for_lock(int fd)
{
	int err = -EWOULDBLOCK;

	for (unsigned ms = 0; ms < LOCK_PATIENCE_MS && err == -EWOULDBLOCK; ms += LOCK_POLL_MS) {
		err = flock(fd, LOCK_EX | LOCK_NB) == 0 ? 0 : -errno;
		if (err == -EWOULDBLOCK) {
			usleep(LOCK_POLL_MS * 1000);
		}
	}
	return err;
}

/** Of bpffs itself: what is below it comes and goes. */
int pins_lock(struct redirect_error *error)
{
	int err = check_bpffs(error);
	int fd;

	if (err) {
		return err;
	}
	fd = open(BPFFS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	err = fd < 0 ? -errno : wait_for_lock(fd);
	if (err == 0) {
		return fd;
	}
	if (fd >= 0) {
		close(fd);
	}
	if (err == -EWOULDBLOCK) {
		snprintf(error->text, sizeof error->text,
			"%s: found it locked for %u s, expected whoever installs to end", BPFFS,
			LOCK_PATIENCE_MS / 1000);
		return err;
	}
	return fail(error, BPFFS, err);
}

static int make_directory(const char *path)
{
	return mkdir(path, 0700) == 0 || errno == EEXIST ? 0 : -errno;
}

/** For those who sweep; best effort. */
static void note_namespace(const char *directory)
{
	char path[FILE_PATH_SIZE];
	char name[NETNS_NAME_SIZE];

	if (netns_name(name) == 0) {
		(void)!symlink(name, join(path, directory, NAMESPACE));
	}
}

static int pin_all(const char *directory, const struct pin *pins, unsigned count)
{
	char path[FILE_PATH_SIZE];
	int err = make_directory(directory);

	for (unsigned i = 0; i < count && err == 0; i++) {
		join(path, directory, pins[i].name);
		err = bpf_obj_pin(pins[i].fd, path) == 0 ? 0 : -errno;
	}
	note_namespace(directory);
	return err;
}

/** The end of one that was interrupted. */
static int clear(const struct paths *p)
{
	int err = 0;

	if (!is_there(p->now)) {
		(void)rename(p->old, p->now);
	}
	err = remove_directory(p->old);
	return err ? err : remove_directory(p->fresh);
}

static int exchange(const struct paths *p)
{
	int err;

	if (rename(p->now, p->old) != 0 && errno != ENOENT) {
		return -errno;
	}
	err = rename(p->fresh, p->now) == 0 ? 0 : -errno;
	if (err) {
		(void)rename(p->old, p->now);
	}
	return err;
}

int pins_replace(
	uint64_t netns, const struct pin *pins, unsigned count, struct redirect_error *error)
{
	struct paths p;
	int err = make_directory(PARENT);

	name_paths(&p, netns);
	if (err == 0) {
		err = clear(&p);
	}
	if (err == 0) {
		err = pin_all(p.fresh, pins, count);
	}
	if (err == 0) {
		err = exchange(&p);
	}
	if (err) {
		(void)remove_directory(p.fresh);
		(void)rmdir(PARENT); /* unless others are in it */
		return fail(error, p.now, err);
	}
	return 0;
}

void pins_forget(uint64_t netns)
{
	struct paths p;

	name_paths(&p, netns);
	(void)remove_directory(p.old);
}

void pins_restore(uint64_t netns)
{
	struct paths p;

	name_paths(&p, netns);
	(void)rename(p.now, p.fresh);
	(void)rename(p.old, p.now);
	(void)remove_directory(p.fresh);
	(void)rmdir(PARENT); /* unless others are in it */
}

int pins_put_aside(uint64_t netns, struct redirect_error *error)
{
	struct paths p;
	int err;

	name_paths(&p, netns);
	err = clear(&p);
	if (err == 0 && rename(p.now, p.old) != 0 && errno != ENOENT) {
		err = -errno;
	}
	if (err) {
		snprintf(error->text, sizeof error->text, "cannot remove %s: %s", p.now,
			strerror(-err));
	}
	return err;
}

/* Sweeping */

/** The kernel detaches the links of a cgroup that is removed, and knows no cgroup of theirs then.
 * (No map that we pin has a type that is a link's.) */
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

static bool is_orphan(const char *directory)
{
	char path[FILE_PATH_SIZE];
	char name[NETNS_NAME_SIZE];
	const ssize_t len = readlink(join(path, directory, NAMESPACE), name, sizeof name - 1);

	if (len < 0) {
		return false;
	}
	name[len] = '\0';
	return netns_is_gone(name);
}

/** One link says it for all. */
static bool sweep_detached(const char *directory)
{
	if (find(directory, is_detached)) {
		(void)remove_directory(directory);
	}
	return false;
}

static bool sweep_orphans(const char *directory)
{
	if (is_orphan(directory)) {
		(void)remove_directory(directory);
	}
	return false;
}

void pins_sweep(bool sees_all)
{
	(void)find(PARENT, sweep_detached);
	if (sees_all) {
		(void)find(PARENT, sweep_orphans);
	}
	(void)rmdir(PARENT); /* unless others are in it */
}
