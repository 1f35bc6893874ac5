/* SPDX-License-Identifier: Apache-2.0
 *
 * Ties the sources to whoever serves: a document is decoded once, numbered, published, saved. What
 * is bad changes nothing but the status, and is logged when it is new.
 */
#include "dns/mesh/mesh.h"

#include "conf/clock.h"
#include "conf/conf.h"
#include "conf/log.h"
#include "dns/mesh/document.h"
#include "dns/mesh/fetch.h"
#include "dns/mesh/file.h"
#include "dns/mesh/saved.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum {
	FETCH_TIMEOUT_MS = 30000,
	TABLE_FOR_DOCUMENT = 4, /* octets of table that an octet of document may need */
	TABLE_MIN = 1 << 20,
	TRIM_FROM = 1 << 16 /* octets of a document that is worth returning memory for */
};

struct digest {
	XXH128_hash_t sum;
	bool known;
};

struct mesh {
	const struct conf *conf;
	mesh_publish *publish;
	void *ctx;
	enum mesh_source wanted; /* the source that is configured */
	struct file *file;
	struct fetch *fetch;
	struct event *trim;
	uint64_t seed; /* of the digests: who writes documents cannot make two alike */
	uint32_t generation;
	struct table *table; /* that is served; NULL: none yet */
	struct digest served;
	struct digest rejected; /* the last one; forgotten when a good one comes */
	char rejected_problem[sizeof((struct mesh_status *)0)->problem];
	struct digest on_disk;
	bool save_failed;
	char last_problem[sizeof((struct mesh_status *)0)->problem]; /* that was logged */
	struct mesh_status status;
};

static uint64_t random_u64(void)
{
	uint64_t value;
	if (getrandom(&value, sizeof value, 0) != sizeof value) {
		abort(); /* no kernel of the last decade refuses 8 octets */
	}
	return value;
}

static struct digest digest_of(const struct mesh *mesh, struct span document)
{
	return (struct digest){
		.sum = XXH3_128bits_withSeed(document.data, document.len, mesh->seed),
		.known = true};
}

static bool digest_equal(const struct digest *a, const struct digest *b)
{
	return a->known && b->known && XXH128_isEqual(a->sum, b->sum);
}

/* Give back to the system what decoding took. Later, because the document itself is still held. */
static void trim_due(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	(void)ctx;
#ifdef __GLIBC__
	malloc_trim(0);
#endif
}

/* Note why a reading brought nothing; logged where it was something else the last time. */
static void problem_set(struct mesh *mesh, const char *problem)
{
	struct mesh_status *status = &mesh->status;
	snprintf(status->problem, sizeof status->problem, "%s", problem);
	if (strcmp(status->problem, mesh->last_problem) != 0) {
		memcpy(mesh->last_problem, status->problem, sizeof mesh->last_problem);
		log_warning("no new table: %s", problem);
	}
}

static void problem_clear(struct mesh *mesh)
{
	if (mesh->last_problem[0] != '\0') {
		log_info("the source of the table is back");
	}
	mesh->last_problem[0] = '\0';
	mesh->status.problem[0] = '\0';
}

static void confirm(struct mesh *mesh)
{
	mesh->status.unchanged++;
	mesh->status.confirmed_ms = clock_ms();
	problem_clear(mesh);
}

static void document_log(const struct mesh *mesh, const struct table *table,
	enum mesh_source source, const struct document_report *report)
{
	log_info("table %" PRIu32 " from %s: %" PRIu32 " names", mesh->generation,
		mesh_source_name(source), table_count(table));
	if (report->skipped_text[0] != '\0') {
		log_warning("table %" PRIu32 ": left out %" PRIu32 " records, %" PRIu32
			    " addresses, %" PRIu32 " labels: %s",
			mesh->generation, report->skipped_records, report->skipped_addresses,
			report->skipped_labels, report->skipped_text);
	}
}

/* Decode a document and hand it out. */
static int document_publish(struct mesh *mesh, struct span document, const struct digest *digest,
	enum mesh_source source, struct document_report *report)
{
	size_t limit = mesh->conf->table_max_size * TABLE_FOR_DOCUMENT + TABLE_MIN;
	struct table *table;
	int rc = document_read(&table, document, mesh->table, random_u64(), limit, report);
	if (document.len >= TRIM_FROM) {
		event_active(mesh->trim, EV_TIMEOUT, 0);
	}
	if (rc < 0) {
		return rc;
	}
	table_set_generation(table, ++mesh->generation);
	mesh->served = *digest;
	mesh->rejected.known = false;
	mesh->status.source = source;
	mesh->status.loaded_ms = clock_ms();
	document_log(mesh, table, source, report);
	mesh->publish(mesh->ctx, table_ref(table), source);
	table_unref(mesh->table);
	mesh->table = table;
	return 0;
}

/* Keep a good document for the next start. */
static void document_save(struct mesh *mesh, struct span document)
{
	if (mesh->conf->state_dir[0] == '\0' || digest_equal(&mesh->on_disk, &mesh->served)) {
		return;
	}
	int rc = saved_write(mesh->conf->state_dir, document);
	if (rc == 0) {
		mesh->on_disk = mesh->served;
	} else if (!mesh->save_failed) {
		log_warning(
			"the table cannot be kept in %s: %s", mesh->conf->state_dir, strerror(-rc));
	}
	mesh->save_failed = rc < 0;
}

/* The bad document of before: it is neither decoded nor logged again. */
static void rejected_again(struct mesh *mesh)
{
	mesh->status.rejected++;
	memcpy(mesh->status.problem, mesh->rejected_problem, sizeof mesh->rejected_problem);
	memcpy(mesh->last_problem, mesh->rejected_problem, sizeof mesh->rejected_problem);
}

/* What is wrong with a document, and whose it is. */
static void document_refuse(struct mesh *mesh, const char *error)
{
	const struct conf *conf = mesh->conf;
	const char *place = mesh->wanted == MESH_FILE ? conf->table_file : conf->work_dir;
	char problem[sizeof mesh->status.problem];
	snprintf(problem, sizeof problem, "%s %.100s: %.140s", mesh_source_name(mesh->wanted),
		place, error);
	problem_set(mesh, problem);
	memcpy(mesh->rejected_problem, mesh->status.problem, sizeof mesh->rejected_problem);
}

static int document_take(struct mesh *mesh, struct span document)
{
	struct digest digest = digest_of(mesh, document);
	if (mesh->status.source == mesh->wanted && digest_equal(&digest, &mesh->served)) {
		confirm(mesh);
		return 0;
	}
	if (digest_equal(&digest, &mesh->rejected)) {
		rejected_again(mesh);
		return -EBADMSG;
	}
	struct document_report report;
	int rc = document_publish(mesh, document, &digest, mesh->wanted, &report);
	if (rc < 0) {
		mesh->status.rejected++;
		mesh->rejected = digest;
		mesh->rejected.known = rc != -ENOMEM; /* memory may come back */
		document_refuse(mesh, report.error);
		return rc;
	}
	mesh->status.confirmed_ms = mesh->status.loaded_ms;
	problem_clear(mesh);
	document_save(mesh, document);
	return 0;
}

static int source_reported(
	void *ctx, enum source_event event, struct span document, const char *problem)
{
	struct mesh *mesh = ctx;
	mesh->status.fetches++;
	switch (event) {
	case SOURCE_DOCUMENT:
		return document_take(mesh, document);
	case SOURCE_UNCHANGED:
		confirm(mesh);
		return 0;
	case SOURCE_UNREACHABLE:
		mesh->status.unreachable++;
		break;
	case SOURCE_REJECTED:
		mesh->status.rejected++;
		break;
	}
	problem_set(mesh, problem);
	return 0;
}

/* Said at the start, not when there is a table to be kept. */
static void state_dir_check(struct mesh *mesh)
{
	int rc = saved_check_directory(mesh->conf->state_dir);
	if (rc < 0) {
		mesh->save_failed = true;
		log_warning("table.stateDir: the table cannot be kept in %s: UID %u may not write "
			    "there: %s",
			mesh->conf->state_dir, geteuid(), strerror(-rc));
	}
}

/* Serve the table of the last run until the source speaks. */
static void saved_serve(struct mesh *mesh)
{
	const char *directory = mesh->conf->state_dir;
	struct saved saved;
	int rc = saved_read(&saved, directory, mesh->conf->table_max_size);
	if (rc == -ENOENT) {
		return;
	}
	if (rc < 0) {
		log_warning("%s/table.saved is not used: %s", directory, saved.problem);
		return;
	}
	struct document_report report;
	struct digest digest = digest_of(mesh, saved.document);
	if (document_publish(mesh, saved.document, &digest, MESH_SAVED, &report) == 0) {
		mesh->on_disk = mesh->served;
	} else {
		log_warning("%s/table.saved is not used: %s", directory, report.error);
	}
	saved_free(&saved);
}

static int source_open(struct mesh *mesh, struct event_base *base)
{
	const struct conf *conf = mesh->conf;
	switch (mesh->wanted) {
	case MESH_FILE: {
		struct file_options options = {.path = conf->table_file,
			.interval_ms = conf->poll_interval_ms,
			.size_max = conf->table_max_size};
		return file_open(&mesh->file, base, &options, source_reported, mesh);
	}
	case MESH_SOCKET: {
		struct fetch_options options = {.work_dir = conf->work_dir,
			.interval_ms = conf->poll_interval_ms,
			.timeout_ms = FETCH_TIMEOUT_MS,
			.body_max = conf->table_max_size};
		return fetch_open(&mesh->fetch, base, &options, source_reported, mesh);
	}
	default:
		log_warning("no source of a table: neither a table file nor a work directory of "
			    "kuma-dp is configured");
		return 0;
	}
}

int mesh_open(struct mesh **out, struct event_base *base, const struct conf *conf,
	mesh_publish *publish, void *ctx)
{
	struct mesh *mesh = calloc(1, sizeof *mesh);
	if (!mesh) {
		return -ENOMEM;
	}
	mesh->conf = conf;
	mesh->publish = publish;
	mesh->ctx = ctx;
	mesh->seed = random_u64();
	mesh->wanted = conf->table_file[0] != '\0' ? MESH_FILE
		       : conf->work_dir[0] != '\0' ? MESH_SOCKET
						   : MESH_NONE;
	mesh->trim = evtimer_new(base, trim_due, mesh);
	int rc = mesh->trim ? 0 : -ENOMEM;
	if (rc == 0 && conf->state_dir[0] != '\0') {
		state_dir_check(mesh);
		saved_serve(mesh);
	}
	if (rc == 0) {
		rc = source_open(mesh, base);
	}
	if (rc < 0) {
		mesh_close(mesh);
		return rc;
	}
	*out = mesh;
	return 0;
}

const struct mesh_status *mesh_status(const struct mesh *mesh)
{
	return &mesh->status;
}

const char *mesh_source_name(enum mesh_source source)
{
	static const char *const names[] = {
		[MESH_NONE] = "none",
		[MESH_SAVED] = "saved",
		[MESH_FILE] = "file",
		[MESH_SOCKET] = "socket",
	};
	return names[source];
}

void mesh_close(struct mesh *mesh)
{
	if (!mesh) {
		return;
	}
	file_close(mesh->file);
	fetch_close(mesh->fetch);
	if (mesh->trim) {
		event_free(mesh->trim);
	}
	table_unref(mesh->table);
	free(mesh);
}
