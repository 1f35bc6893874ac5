/* SPDX-License-Identifier: Apache-2.0
 *
 * One line, then the document:
 *
 *     kuma-dns-table 1 <length, 20 digits> <XXH3-128 of the document, 32 hex digits>
 *
 * The line follows from the document, so a file is good if it begins with the line that its
 * document makes. The checksum finds damage; it is no protection from someone who may write there.
 */
#include "dns/mesh/saved.h"

#include "conf/giveway.h"
#include "dns/mesh/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define MAGIC    "kuma-dns-table 1 "
#define NAME     "table.saved"
#define NEW_NAME "table.saved.new" /* while it is written */

enum {
	MAGIC_LEN = sizeof MAGIC - 1,
	LINE_LEN = MAGIC_LEN + 20 + 1 + 32 + 1,
	WRITE_STEP = 65536 /* octets, some 30 µs of work */
};

static void line_make(char line[LINE_LEN + 1], struct span document)
{
	XXH128_hash_t sum = XXH3_128bits(document.data, document.len);
	snprintf(line, LINE_LEN + 1, MAGIC "%020zu %016llx%016llx\n", document.len,
		(unsigned long long)sum.high64, (unsigned long long)sum.low64);
}

static int path_make(char path[PATH_MAX], const char *directory, const char *name)
{
	int len = snprintf(path, PATH_MAX, "%s/%s", directory, name);
	return len > 0 && len < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* What is wrong with `len` octets of a file; NULL where nothing is. */
static const char *fault_of(const uint8_t *octets, size_t len)
{
	if (len < MAGIC_LEN || memcmp(octets, MAGIC, MAGIC_LEN) != 0) {
		return "not a table of this version of kuma-dns";
	}
	if (len < LINE_LEN) {
		return "cut short";
	}
	char line[LINE_LEN + 1];
	line_make(line, (struct span){octets + LINE_LEN, len - LINE_LEN});
	if (memcmp(octets, line, MAGIC_LEN + 20) != 0) {
		return "cut short, or longer than it was";
	}
	return memcmp(octets, line, LINE_LEN) != 0 ? "damaged: the checksum differs" : NULL;
}

/** Whether nobody but root has put anything here, and nothing but what we keep. */
static bool is_ours(int directory)
{
	struct stat st;
	const struct dirent *entry;
	bool ours = fstat(directory, &st) == 0 && st.st_uid == geteuid() &&
		    (st.st_mode & (S_IWGRP | S_IWOTH)) == 0;
	int fd = ours ? openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	DIR *list = fd < 0 ? NULL : fdopendir(fd);
	if (!list) {
		if (fd >= 0) {
			close(fd);
		}
		return false;
	}
	while (ours && (entry = readdir(list))) {
		ours = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
		       strcmp(entry->d_name, NAME) == 0 || strcmp(entry->d_name, NEW_NAME) == 0;
	}
	closedir(list);
	return ours;
}

/** Neither what a link leads to, nor what has another name elsewhere. */
static int file_give(int directory, const char *name, uid_t uid, gid_t gid)
{
	struct stat st;
	int fd = openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) {
		return errno == ENOENT ? 0 : -errno;
	}
	int rc = 0;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 &&
		fchownat(fd, "", uid, gid, AT_EMPTY_PATH) < 0) {
		rc = -errno;
	}
	close(fd);
	return rc;
}

/** The directory last: from then on its owner may put anything there. */
static int all_give(int directory, uid_t uid, gid_t gid)
{
	int rc = file_give(directory, NAME, uid, gid);
	if (rc == 0) {
		rc = file_give(directory, NEW_NAME, uid, gid);
	}
	return rc == 0 && fchown(directory, uid, gid) < 0 ? -errno : rc;
}

/** What a link leads to may be others': a slash at the end would follow it. @return fd; -errno */
static int directory_open(const char *directory)
{
	char path[PATH_MAX];
	int rc = path_make(path, directory, "");
	if (rc < 0) {
		return rc;
	}
	for (size_t len = strlen(path); len > 1 && path[len - 1] == '/'; len--) {
		path[len - 1] = '\0';
	}
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int saved_make_directory(const char *directory, uid_t uid, gid_t gid)
{
	if (mkdir(directory, 0700) < 0 && errno != EEXIST) {
		return -errno;
	}
	if (uid == geteuid()) {
		return 0;
	}
	int fd = directory_open(directory);
	if (fd < 0) {
		return fd == -ELOOP || fd == -ENOTDIR ? 0 : fd;
	}
	int rc = is_ours(fd) ? all_give(fd, uid, gid) : 0;
	close(fd);
	return rc;
}

int saved_check_directory(const char *directory)
{
	return faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS) < 0 ? -errno : 0;
}

int saved_read(struct saved *saved, const char *directory, size_t size_max)
{
	*saved = (struct saved){0};
	char path[PATH_MAX];
	int rc = path_make(path, directory, NAME);
	size_t len = 0;
	if (rc == 0) {
		size_t limit = size_max < SIZE_MAX - LINE_LEN - 1 ? size_max + LINE_LEN : size_max;
		rc = file_read(path, false, limit, &saved->octets, &len);
	}
	if (rc < 0) {
		snprintf(saved->problem, sizeof saved->problem, "%s",
			rc == -E2BIG ? "larger than allowed" : strerror(-rc));
		return rc;
	}
	const char *fault = fault_of(saved->octets, len);
	if (fault) {
		snprintf(saved->problem, sizeof saved->problem, "%s", fault);
		saved_free(saved);
		return -EBADMSG;
	}
	saved->document = (struct span){saved->octets + LINE_LEN, len - LINE_LEN};
	return 0;
}

void saved_free(struct saved *saved)
{
	free(saved->octets);
	saved->octets = NULL;
	saved->document = (struct span){0};
}

static int all_write(int fd, const void *octets, size_t len)
{
	const char *data = octets;
	while (len > 0) {
		give_way();
		ssize_t put = write(fd, data, len < WRITE_STEP ? len : WRITE_STEP);
		if (put < 0 && errno == EINTR) {
			continue;
		}
		if (put <= 0) {
			return put < 0 ? -errno : -EIO;
		}
		data += put;
		len -= (size_t)put;
	}
	return 0;
}

static int new_file_write(const char *path, struct span document)
{
	/* Left by a crash, perhaps; what is there is nobody's. */
	if (unlink(path) < 0 && errno != ENOENT) {
		return -errno;
	}
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0) {
		return -errno;
	}
	char line[LINE_LEN + 1];
	line_make(line, document);
	int rc = all_write(fd, line, LINE_LEN);
	if (rc == 0) {
		rc = all_write(fd, document.data, document.len);
	}
	if (rc == 0 && fsync(fd) < 0) {
		rc = -errno;
	}
	if (close(fd) < 0 && rc == 0) {
		rc = -errno;
	}
	return rc;
}

/* A rename is on disk once its directory is. */
static int directory_sync(const char *directory)
{
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		return -errno;
	}
	int rc = fsync(fd) < 0 ? -errno : 0;
	close(fd);
	return rc;
}

int saved_write(const char *directory, struct span document)
{
	char path[PATH_MAX];
	char new_path[PATH_MAX];
	int rc = path_make(path, directory, NAME);
	if (rc == 0) {
		rc = path_make(new_path, directory, NEW_NAME);
	}
	if (rc < 0) {
		return rc;
	}
	rc = new_file_write(new_path, document);
	if (rc == 0 && rename(new_path, path) < 0) {
		rc = -errno;
	}
	if (rc < 0) {
		unlink(new_path);
		return rc;
	}
	return directory_sync(directory);
}
