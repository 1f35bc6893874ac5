/* SPDX-License-Identifier: Apache-2.0
 *
 * Finds the state of programs that are attached already: by its pin, or by way of a program at the
 * cgroup, whose maps the kernel tells. Changes nothing, and owns nothing but mappings.
 */
#include "redirect/inherit.h"

#include "redirect/pins.h"
#include "redirect/sockets.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PROGRAMS_MAX = 64 /* at a cgroup: the kernel's limit */, MAPS_MAX = 8 };

static int check_map(int map, const char *name, size_t size)
{
	struct bpf_map_info info = {0};
	__u32 info_size = sizeof info;

	if (bpf_obj_get_info_by_fd(map, &info, &info_size) != 0) {
		return -errno;
	}
	return info.type == BPF_MAP_TYPE_ARRAY && info.value_size == size &&
			       info.max_entries == 1 && strcmp(info.name, name) == 0
		       ? 0
		       : -EPROTO;
}

int inherit_check(int map)
{
	return check_map(map, "sockets.bss", sizeof(struct sockets_state));
}

static bool is_config_for(int map, uint64_t netns)
{
	const __u32 first = 0;
	struct sockets_config config;

	return check_map(map, "sockets.rodata", sizeof config) == 0 &&
	       bpf_map_lookup_elem(map, &first, &config) == 0 && config.netns == netns;
}

/** Of one program's maps. @return the state; -ENOENT: it is not ours, or for others */
static int look_at_maps(const __u32 *id, __u32 count, uint64_t netns)
{
	bool is_ours = false;
	int state = -ENOENT;

	for (__u32 i = 0; i < count; i++) {
		const int map = bpf_map_get_fd_by_id(id[i]);
		if (map < 0) {
			continue;
		}
		is_ours = is_ours || is_config_for(map, netns);
		if (state < 0 && inherit_check(map) == 0) {
			state = map;
		} else {
			close(map);
		}
	}
	if (state >= 0 && !is_ours) {
		close(state);
		return -ENOENT;
	}
	return state;
}

static int look_at_program(__u32 id, uint64_t netns)
{
	__u32 map[MAPS_MAX];
	struct bpf_prog_info info = {.nr_map_ids = MAPS_MAX, .map_ids = (__u64)(uintptr_t)map};
	__u32 size = sizeof info;
	const int program = bpf_prog_get_fd_by_id(id);
	int state = -ENOENT;

	if (program < 0) {
		return errno == ENOENT ? -ENOENT : -errno;
	}
	if (bpf_obj_get_info_by_fd(program, &info, &size) == 0 && info.nr_map_ids <= MAPS_MAX) {
		state = look_at_maps(map, info.nr_map_ids, netns);
	}
	close(program);
	return state;
}

/** The first that was attached is the one whose aliases are seen. */
static int find_attached(uint64_t netns, int cgroup)
{
	__u32 id[PROGRAMS_MAX];
	__u32 count = PROGRAMS_MAX;
	int state = -ENOENT;

	if (bpf_prog_query(cgroup, BPF_CGROUP_INET4_CONNECT, 0, NULL, id, &count) != 0) {
		return -errno;
	}
	for (__u32 i = 0; i < count && state == -ENOENT; i++) {
		state = look_at_program(id[i], netns);
	}
	return state;
}

int inherit_find(uint64_t netns, int cgroup)
{
	const int pinned = pins_open_state(netns);

	if (pinned >= 0 && inherit_check(pinned) == 0) {
		return pinned;
	}
	if (pinned >= 0) {
		close(pinned);
	}
	return find_attached(netns, cgroup);
}

int inherit_map(struct sockets_state **state, int map)
{
	void *at = mmap(NULL, sizeof **state, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);

	if (at == MAP_FAILED) {
		return -errno;
	}
	*state = at;
	return 0;
}

void inherit_unmap(struct sockets_state *state)
{
	if (state) {
		(void)munmap(state, sizeof *state);
	}
}
