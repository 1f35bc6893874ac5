/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of all keys of the configuration, and the text form of their values. Private to conf/:
 * the file, the environment, the flags, `check` and `--help` all read this one table.
 */
#pragma once

#include "conf/conf.h"

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

enum key_type {
	KEY_SECTION,   /* a mapping of keys; its members follow in the table */
	KEY_IGNORED,   /* belongs to Kuma's proxy: accepted whole, never looked at */
	KEY_BOOL,      /* true or false */
	KEY_TEXT,      /* UTF-8 without control characters */
	KEY_NUMBER,    /* min..max, decimal */
	KEY_MARK,      /* min..max, decimal or 0x and hexadecimal */
	KEY_DURATION,  /* min..max in ms; `1m30s` */
	KEY_SECONDS,   /* min..max in seconds; `1m30s` */
	KEY_SIZE,      /* min..max in octets; `64MiB` or plain octets */
	KEY_SIZE_OR_0, /* as KEY_SIZE, or 0 below `min` */
	KEY_CHOICE,    /* `min` + index of a word in `argument`, which lists them as `a|b|c` */
	KEY_CHOICES,   /* a list of such words; bit i is the one with index i */
	KEY_ENDPOINT,  /* at most one; `min` is the default port, 0: the text has one */
	KEY_ENDPOINTS, /* a list of up to CONF_SERVERS_MAX; `min` as above */
	KEY_ZONE,      /* a domain name, or "." */
	KEY_ZONES,     /* a list of up to CONF_ZONES_MAX domain names */
	KEY_PORTS,     /* a list of up to CONF_PORTS_MAX ports; so are the next three */
	KEY_EXCLUSIONS,
	KEY_NETWORKS,
	KEY_VNETS,
	KEY_UPSTREAMS, /* a list of mappings, the keys of which are conf_upstream_keys */
};

struct key {
	const char *path; /* in the file, with dots */
	const char *flag; /* without `--`; NULL: none */
	enum key_type type;
	size_t offset; /* of its member in struct conf, or in struct conf_upstream */
	size_t size;   /* of that member */
	uint64_t min;
	uint64_t max;
	const char *argument;    /* name of the value in the help; for a choice all its words */
	const char *initial;     /* the default as text; lists with commas */
	const char *environment; /* Kuma's variable that sets it too, or NULL */
	const char *help;
};

extern const struct key conf_keys[];

/** The sections come before their members; a key's index is below this. */
enum { KEYS_MAX = 96 };
extern const unsigned conf_keys_count;

/** The keys of one of the `upstreams`; their paths begin like those of members of a section. */
enum { UPSTREAM_ZONE, UPSTREAM_SERVERS, UPSTREAM_ANSWER, UPSTREAM_KEYS };
extern const struct key conf_upstream_keys[];

/** Whether the key is below this section. */
bool key_is_in(const struct key *key, const char *section);

/** Whether the key holds a list. */
bool key_is_list(const struct key *key);

/*
 * In what follows `base` is the struct that the key's offset counts from: struct conf for
 * conf_keys, struct conf_upstream for conf_upstream_keys.
 */

/** Empty a list. */
void key_clear(const struct key *key, void *base);

/**
 * Append what `text` lists with commas to a list; an element that is there already stays once.
 * Any other type is set.
 *
 * @return 0; -EINVAL if an element is none of the type, or there are too many
 */
int key_add(const struct key *key, void *base, const char *text)
	__attribute__((warn_unused_result));

/** Set a key from its text, lists as a whole. @return 0; -EINVAL: see key_expected */
int key_set(const struct key *key, void *base, const char *text)
	__attribute__((warn_unused_result));

enum { NUMBER_TEXT_SIZE = 32 };

/** Read a number of the key's type. @return 0; -EINVAL if it is none, or out of range */
int number_read(const struct key *key, const char *text, uint64_t *value)
	__attribute__((warn_unused_result));

/** Write it with the largest unit that divides it. @return `text` */
const char *number_format(const struct key *key, uint64_t value, char text[NUMBER_TEXT_SIZE]);

/** As key_expected. */
void number_expected(const struct key *key, char *text, size_t size);

/** Write the end of a sentence `expected …`. */
void key_expected(const struct key *key, char *text, size_t size);

/** Write a key's value in YAML's flow style. */
void key_print(const struct key *key, const void *base, FILE *out);

/**
 * Append an upstream, if it is whole and its zone is new.
 *
 * @return NULL; else `found …, expected …`, and nothing was appended
 */
const char *upstreams_add(struct conf_upstreams *list, const struct conf_upstream *upstream)
	__attribute__((warn_unused_result));

/**
 * Append an upstream in its short form: `ZONE=SERVER[+SERVER...]`, `ZONE=refuse`, `ZONE=nxdomain`.
 *
 * @param text  is written to
 * @return 0; -EINVAL if it is none of these, or upstreams_add refuses it
 */
int upstreams_add_text(struct conf_upstreams *list, char *text) __attribute__((warn_unused_result));

/** Write a list in YAML's flow style, each upstream on a line of its own. */
void upstreams_print(const struct conf_upstreams *list, FILE *out);

static inline char ascii_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/** Write `text` between `quotes`, escaped and cut at some 60 octets. @return `out` */
const char *key_quote(char *out, size_t size, const char *text, const char *quotes);

/** Set the error's text. @return -EINVAL */
int conf_fail(struct conf_error *error, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
