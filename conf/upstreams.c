/* SPDX-License-Identifier: Apache-2.0
 *
 * Upstreams by zone: the keys of one of them, its short form in flags and variables, and what makes
 * it whole.
 */
#include "conf/keys.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#define AT(member)                                                                                 \
	offsetof(struct conf_upstream, member), sizeof(((struct conf_upstream *)0)->member)

static_assert(sizeof(enum conf_policy) == 4, "put_integer knows choices as 4 octets");

const struct key conf_upstream_keys[] = {
	[UPSTREAM_ZONE] = {"upstreams.zone", NULL, KEY_ZONE, AT(zone), 0, 0, "ZONE", NULL, NULL,
		NULL},
	[UPSTREAM_SERVERS] = {"upstreams.servers", NULL, KEY_ENDPOINTS, AT(servers), 53, 0,
		"ADDRESS[:PORT]", NULL, NULL, NULL},
	[UPSTREAM_ANSWER] = {"upstreams.answer", NULL, KEY_CHOICE, AT(answer), CONF_REFUSE, 0,
		"refuse|nxdomain", NULL, NULL, NULL},
};
static_assert(sizeof conf_upstream_keys / sizeof conf_upstream_keys[0] == UPSTREAM_KEYS,
	"every key has its place");

static bool has_zone(const struct conf_upstreams *list, const char *zone)
{
	for (unsigned i = 0; i < list->count; i++) {
		if (strcmp(list->item[i].zone, zone) == 0) {
			return true;
		}
	}
	return false;
}

const char *upstreams_add(struct conf_upstreams *list, const struct conf_upstream *upstream)
{
	bool servers = upstream->servers.count > 0;
	bool answer = upstream->answer != CONF_FORWARD;

	if (upstream->zone[0] == '\0') {
		return "found no zone, expected one";
	}
	if (servers && answer) {
		return "found servers and an answer, expected one of them";
	}
	if (!servers && !answer) {
		return "found neither servers nor an answer, expected one of them";
	}
	if (has_zone(list, upstream->zone)) {
		return "found a second time, expected once";
	}
	if (list->count == CONF_UPSTREAMS_MAX) {
		return "found one more, expected at most 32";
	}
	list->item[list->count++] = *upstream;
	return NULL;
}
static_assert(CONF_UPSTREAMS_MAX == 32, "as upstreams_add says");

/* `refuse`, `nxdomain` or `SERVER[+SERVER...]`. */
static int read_target(struct conf_upstream *upstream, char *text)
{
	if (key_set(&conf_upstream_keys[UPSTREAM_ANSWER], upstream, text) == 0) {
		return 0;
	}
	for (char *plus = strchr(text, '+'); plus; plus = strchr(plus, '+')) {
		*plus = ',';
	}
	return key_set(&conf_upstream_keys[UPSTREAM_SERVERS], upstream, text);
}

int upstreams_add_text(struct conf_upstreams *list, char *text)
{
	struct conf_upstream upstream;
	char *equals = strchr(text, '=');

	memset(&upstream, 0, sizeof upstream);
	if (!equals) {
		return -EINVAL;
	}
	*equals = '\0';
	if (key_set(&conf_upstream_keys[UPSTREAM_ZONE], &upstream, text) < 0 ||
		read_target(&upstream, equals + 1) < 0) {
		return -EINVAL;
	}
	return upstreams_add(list, &upstream) ? -EINVAL : 0;
}

static void print_upstream(const struct conf_upstream *upstream, FILE *out)
{
	bool forward = upstream->answer == CONF_FORWARD;

	fputs("{zone: ", out);
	key_print(&conf_upstream_keys[UPSTREAM_ZONE], upstream, out);
	fputs(forward ? ", servers: " : ", answer: ", out);
	key_print(&conf_upstream_keys[forward ? UPSTREAM_SERVERS : UPSTREAM_ANSWER], upstream, out);
	putc('}', out);
}

void upstreams_print(const struct conf_upstreams *list, FILE *out)
{
	putc('[', out);
	for (unsigned i = 0; i < list->count; i++) {
		fputs(i ? ",\n  " : "\n  ", out);
		print_upstream(&list->item[i], out);
	}
	putc(']', out);
}
