/* SPDX-License-Identifier: Apache-2.0
 *
 * Circular lists whose links live inside their members: no allocation, removal without a search.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/** Head or member; a link that is in no list points to itself. */
struct link {
	struct link *prev;
	struct link *next;
};

/** The `type` that holds `link` as its `member`. */
#define link_entry(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

static inline void link_init(struct link *l)
{
	l->prev = l;
	l->next = l;
}

static inline bool link_empty(const struct link *head)
{
	return head->next == head;
}

/** Put `l`, which is in no list, at the end. */
static inline void link_append(struct link *head, struct link *l)
{
	l->prev = head->prev;
	l->next = head;
	head->prev->next = l;
	head->prev = l;
}

/** Take `l` out of its list, if it is in one. */
static inline void link_remove(struct link *l)
{
	l->prev->next = l->next;
	l->next->prev = l->prev;
	link_init(l);
}
