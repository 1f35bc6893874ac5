/* SPDX-License-Identifier: Apache-2.0
 *
 * The input is two octets for type and groups, and a name. Which rule a name falls under is told by
 * its end alone; an absent name has nothing below it (RFC 8020); a rule that is off is off.
 */
#include "dns/serve/special.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TYPE_A = 1 };

static void require(bool holds)
{
	if (!holds) {
		abort();
	}
}

/* Without its first `labels` labels. */
static struct dname end_of(const struct dname *name, unsigned labels)
{
	size_t at = 0;
	for (; labels > 0; labels--) {
		at += 1U + name->octets[at];
	}
	struct dname end = {.len = (uint8_t)(name->len - at)};
	memcpy(end.octets, name->octets + at, end.len);
	return end;
}

/* With another label in front, where there is room. */
static bool below(struct dname *child, const struct dname *name, uint8_t octet)
{
	if (name->len + 2 > DNAME_MAX) {
		return false;
	}
	child->len = (uint8_t)(name->len + 2);
	child->octets[0] = 1;
	child->octets[1] = octet_folded(octet);
	memcpy(child->octets + 2, name->octets, name->len);
	return true;
}

static void rule_is_in_the_end(const struct dname *name, const struct special *s)
{
	struct dname apex = end_of(name, s->owner_labels);
	struct special found = special_find(&apex, TYPE_A, SPECIAL_ALL);
	require(found.answer != SPECIAL_NONE);
	require(found.group == s->group && found.owner_labels == 0);
	for (unsigned labels = s->owner_labels; labels > 0; labels--) {
		struct dname end = end_of(name, labels);
		found = special_find(&end, TYPE_A, SPECIAL_ALL);
		require(found.group == s->group);
		require(s->answer == SPECIAL_NXDOMAIN || found.answer != SPECIAL_NXDOMAIN);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dname name;
	struct dname child;
	if (size < 3) {
		return 0;
	}
	struct reader r = reader_over((struct span){data + 2, size - 2});
	if (dname_read(&name, &r) != 0 &&
		dname_from_text(&name, (const char *)data + 2, size - 2)) {
		return 0;
	}
	unsigned groups = (data[1] | data[0] << 8) & SPECIAL_ALL;
	struct special s = special_find(&name, data[0], SPECIAL_ALL);
	struct special some = special_find(&name, data[0], groups);
	require(some.answer == (s.group & groups ? s.answer : SPECIAL_NONE));
	if (s.answer == SPECIAL_NONE) {
		return 0;
	}
	rule_is_in_the_end(&name, &s);
	if (below(&child, &name, data[1])) {
		struct special found = special_find(&child, data[0], SPECIAL_ALL);
		require(found.group == s.group && found.owner_labels == s.owner_labels + 1);
		require(s.answer != SPECIAL_NXDOMAIN || found.answer == SPECIAL_NXDOMAIN);
	}
	return 0;
}
