/* SPDX-License-Identifier: Apache-2.0
 *
 * The configuration file. libyaml's events are taken one by one and checked against the table of
 * keys, so that nothing is built that a hostile document could make large, and each error knows its
 * line. Refused: anchors, aliases, tags, keys given twice, a second document.
 */
#include "conf/keys.h"

#include <errno.h>
#include <string.h>
#include <yaml.h>

/* Deepest nesting below a key that is Kuma's; our own keys are three levels deep. */
enum { DEPTH_MAX = 32, PATH_SIZE = 96 };

/* What the keys that are being read belong to. */
struct scope {
	const struct key *keys;
	unsigned count;
	void *base; /* the struct that their offsets count from */
	bool seen[KEYS_MAX];
};

struct reader {
	struct conf *conf;
	struct scope *scope;
	struct conf_error *error;
	const char *name;
	yaml_parser_t parser;
	yaml_event_t event; /* the current one */
};

static size_t line_of(const struct reader *r)
{
	return r->event.start_mark.line + 1;
}

static bool is_plain(const struct reader *r)
{
	return r->event.type == YAML_SCALAR_EVENT &&
	       r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

/* What the current event holds, as errors show it. */
static const char *found(const struct reader *r, char text[80])
{
	switch (r->event.type) {
	case YAML_SCALAR_EVENT:
		if (is_plain(r) && r->event.data.scalar.length == 0) {
			return "nothing";
		}
		return key_quote(text, 80, (const char *)r->event.data.scalar.value,
			is_plain(r) ? "" : "\"");
	case YAML_SEQUENCE_START_EVENT:
		return "a list";
	case YAML_MAPPING_START_EVENT:
		return "a mapping";
	default:
		return "the end";
	}
}

static int fail_found(const struct reader *r, const char *path, const char *expected)
{
	char text[80];

	return conf_fail(r->error, "%s:%zu: %s%sfound %s, expected %s", r->name, line_of(r), path,
		*path ? ": " : "", found(r, text), expected);
}

static int fail_value(const struct reader *r, const struct key *key)
{
	char expected[160];

	key_expected(key, expected, sizeof expected);
	return fail_found(r, key->path, expected);
}

static int fail_parser(const struct reader *r)
{
	const yaml_parser_t *p = &r->parser;

	if (p->error == YAML_MEMORY_ERROR) {
		conf_fail(r->error, "%s: out of memory", r->name);
		return -ENOMEM;
	}
	return conf_fail(r->error, "%s:%zu: not YAML: %s", r->name,
		(p->error == YAML_READER_ERROR ? p->mark.line : p->problem_mark.line) + 1,
		p->problem ? p->problem : "something else");
}

/* Anchors and aliases let a small document grow; tags change what a value is. */
static bool has_properties(const yaml_event_t *e)
{
	switch (e->type) {
	case YAML_ALIAS_EVENT:
		return true;
	case YAML_SCALAR_EVENT:
		return e->data.scalar.anchor || e->data.scalar.tag;
	case YAML_SEQUENCE_START_EVENT:
		return e->data.sequence_start.anchor || e->data.sequence_start.tag;
	case YAML_MAPPING_START_EVENT:
		return e->data.mapping_start.anchor || e->data.mapping_start.tag;
	default:
		return false;
	}
}

static int next(struct reader *r)
{
	yaml_event_delete(&r->event);
	if (!yaml_parser_parse(&r->parser, &r->event)) {
		return fail_parser(r);
	}
	if (has_properties(&r->event)) {
		return conf_fail(r->error,
			"%s:%zu: found an anchor, an alias or a tag, expected plain values",
			r->name, line_of(r));
	}
	return 0;
}

/* A scalar's text; NULL if the current event is none, or holds a NUL. */
static const char *scalar(const struct reader *r)
{
	const char *text = (const char *)r->event.data.scalar.value;

	if (r->event.type != YAML_SCALAR_EVENT || strlen(text) != r->event.data.scalar.length) {
		return NULL;
	}
	return text;
}

/* YAML 1.2 §10.2.1.1: a key without a value. It leaves the default. */
static bool is_null(const struct reader *r)
{
	static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
	const char *text = scalar(r);

	for (size_t i = 0; text && is_plain(r) && i < sizeof nulls / sizeof nulls[0]; i++) {
		if (strcmp(text, nulls[i]) == 0) {
			return true;
		}
	}
	return false;
}

/* Kuma has a log.level too, the number of iptables' LOG target: not ours to judge. */
static bool is_kumas(const struct reader *r, const struct key *key)
{
	const char *text = scalar(r);

	return text && is_plain(r) && strcmp(key->path, "log.level") == 0 && text[0] >= '0' &&
	       text[0] <= '7' && text[1] == '\0';
}

/* `workers: "2"` is text, not a number; the other types are all text. */
static bool wants_plain(const struct key *key)
{
	return key->type == KEY_BOOL || key->type == KEY_NUMBER || key->type == KEY_MARK;
}

static int read_scalar(struct reader *r, const struct key *key)
{
	const char *text = scalar(r);

	if (is_null(r) || is_kumas(r, key)) {
		return 0;
	}
	if (!text || (wants_plain(key) && !is_plain(r)) || key_set(key, r->scope->base, text) < 0) {
		return fail_value(r, key);
	}
	return 0;
}

static int read_sequence(struct reader *r, const struct key *key)
{
	key_clear(key, r->scope->base);
	for (;;) {
		int rc = next(r);

		if (rc < 0 || r->event.type == YAML_SEQUENCE_END_EVENT) {
			return rc;
		}
		if (!scalar(r) || is_null(r) || key_add(key, r->scope->base, scalar(r)) < 0) {
			return fail_value(r, key);
		}
	}
}

/* Pass over the current value with all that is in it. */
static int skip(struct reader *r, const struct key *key)
{
	int depth = 0;

	for (;;) {
		int rc;

		if (r->event.type == YAML_MAPPING_START_EVENT ||
			r->event.type == YAML_SEQUENCE_START_EVENT) {
			depth++;
		} else if (r->event.type == YAML_MAPPING_END_EVENT ||
			   r->event.type == YAML_SEQUENCE_END_EVENT) {
			depth--;
		}
		if (depth == 0) {
			return 0;
		}
		if (depth > DEPTH_MAX) {
			return fail_found(r, key->path, "less nesting");
		}
		rc = next(r);
		if (rc < 0) {
			return rc;
		}
	}
}

/* The part of `path` below `section`, if it is directly there; "" is the top. */
static const char *child_of(const char *section, const char *path)
{
	size_t len = strlen(section);

	if (strncmp(path, section, len) != 0 || (len > 0 && path[len++] != '.')) {
		return NULL;
	}
	return path[len] && !strchr(path + len, '.') ? path + len : NULL;
}

static void fail_unknown(const struct reader *r, const char *section, const char *path)
{
	char names[400] = "";
	size_t len = 0;

	for (unsigned i = 0; i < r->scope->count && len < sizeof names; i++) {
		const struct key *key = &r->scope->keys[i];
		const char *name = child_of(section, key->path);

		if (name && key->type != KEY_IGNORED) {
			len += (size_t)snprintf(
				names + len, sizeof names - len, "%s%s", len ? ", " : "", name);
		}
	}
	conf_fail(r->error, "%s:%zu: %s: found an unknown key, expected one of %s", r->name,
		line_of(r), path, names);
}

static const struct key *find_key(const struct scope *scope, const char *path)
{
	for (unsigned i = 0; i < scope->count; i++) {
		if (strcmp(scope->keys[i].path, path) == 0) {
			return &scope->keys[i];
		}
	}
	return NULL;
}

/* The current scalar as a member of `section`, which is marked as seen; NULL with the error set. */
static const struct key *read_key(struct reader *r, const char *section)
{
	const struct key *key;
	const char *name = scalar(r);
	bool *seen;
	char path[PATH_SIZE];
	char quoted[80];

	if (r->event.type != YAML_SCALAR_EVENT) {
		fail_found(r, section, "the name of a key");
		return NULL;
	}
	snprintf(path, sizeof path, "%s%s%s", section, *section ? "." : "",
		key_quote(quoted, sizeof quoted, (const char *)r->event.data.scalar.value, ""));
	key = name && !strchr(name, '.') ? find_key(r->scope, path) : NULL;
	if (!key) {
		fail_unknown(r, section, path);
		return NULL;
	}
	seen = &r->scope->seen[key - r->scope->keys];
	if (*seen) {
		conf_fail(r->error, "%s:%zu: %s: found a second time, expected once", r->name,
			line_of(r), path);
		return NULL;
	}
	*seen = true;
	return key;
}

static int read_mapping(struct reader *r, const char *section);

static int read_upstream(struct reader *r, const struct key *key)
{
	struct conf_upstream upstream;
	struct scope scope = {
		.keys = conf_upstream_keys, .count = UPSTREAM_KEYS, .base = &upstream};
	struct scope *outer = r->scope;
	size_t line = line_of(r);
	const char *wrong;
	int rc;

	memset(&upstream, 0, sizeof upstream);
	r->scope = &scope;
	rc = read_mapping(r, key->path);
	r->scope = outer;
	if (rc < 0) {
		return rc;
	}
	wrong = upstreams_add(&r->conf->upstreams, &upstream);
	if (wrong) {
		return conf_fail(r->error, "%s:%zu: %s: %s%s%s", r->name, line, key->path,
			upstream.zone, upstream.zone[0] ? ": " : "", wrong);
	}
	return 0;
}

static int read_upstreams(struct reader *r, const struct key *key)
{
	if (r->event.type != YAML_SEQUENCE_START_EVENT) {
		return fail_found(r, key->path, "a list of zones with servers or answer");
	}
	key_clear(key, r->conf);
	for (;;) {
		int rc = next(r);

		if (rc < 0 || r->event.type == YAML_SEQUENCE_END_EVENT) {
			return rc;
		}
		if (r->event.type != YAML_MAPPING_START_EVENT) {
			return fail_found(r, key->path, "a mapping of zone and servers or answer");
		}
		rc = read_upstream(r, key);
		if (rc < 0) {
			return rc;
		}
	}
}

static int read_value(struct reader *r, const struct key *key)
{
	if (key->type == KEY_IGNORED) {
		return skip(r, key);
	}
	if (key->type == KEY_SECTION && !is_null(r)) {
		if (r->event.type != YAML_MAPPING_START_EVENT) {
			return fail_value(r, key);
		}
		return read_mapping(r, key->path);
	}
	if (key->type == KEY_UPSTREAMS && !is_null(r)) {
		return read_upstreams(r, key);
	}
	if (r->event.type == YAML_SEQUENCE_START_EVENT && key_is_list(key)) {
		return read_sequence(r, key);
	}
	return read_scalar(r, key);
}

/* As deep as the table's sections, which is three; an upstream is no deeper. */
static int read_mapping(struct reader *r, const char *section)
{
	for (;;) {
		const struct key *key;
		int rc = next(r);

		if (rc < 0 || r->event.type == YAML_MAPPING_END_EVENT) {
			return rc;
		}
		key = read_key(r, section);
		if (!key) {
			return -EINVAL;
		}
		rc = next(r);
		if (rc == 0) {
			rc = read_value(r, key);
		}
		if (rc < 0) {
			return rc;
		}
	}
}

/* What stands between the document's start and its end. */
static int read_root(struct reader *r)
{
	int rc = next(r);

	if (rc < 0 || is_null(r)) {
		return rc;
	}
	if (r->event.type != YAML_MAPPING_START_EVENT) {
		return fail_found(r, "", "a mapping");
	}
	return read_mapping(r, "");
}

static int read_stream(struct reader *r)
{
	int rc = next(r); /* the stream's start */

	if (rc == 0) {
		rc = next(r);
	}
	if (rc < 0 || r->event.type == YAML_STREAM_END_EVENT) {
		return rc;
	}
	rc = read_root(r);
	if (rc == 0) {
		rc = next(r); /* the document's end */
	}
	if (rc == 0) {
		rc = next(r);
	}
	if (rc == 0 && r->event.type != YAML_STREAM_END_EVENT) {
		return conf_fail(r->error, "%s:%zu: found a second document, expected one", r->name,
			line_of(r));
	}
	return rc;
}

int conf_read(
	struct conf *conf, const char *name, const char *text, size_t len, struct conf_error *error)
{
	struct scope scope = {.keys = conf_keys, .count = conf_keys_count, .base = conf};
	struct reader r;
	int rc;

	memset(&r, 0, sizeof r);
	r.conf = conf;
	r.scope = &scope;
	r.error = error;
	r.name = name;
	if (!yaml_parser_initialize(&r.parser)) {
		conf_fail(error, "%s: out of memory", name);
		return -ENOMEM;
	}
	yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, len);
	rc = read_stream(&r);
	yaml_event_delete(&r.event);
	yaml_parser_delete(&r.parser);
	return rc;
}
