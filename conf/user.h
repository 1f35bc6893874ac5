/* SPDX-License-Identifier: Apache-2.0
 *
 * Users as the configuration names them: a name of the password file, or a UID, which needs no
 * entry there: containers often run users that have none.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { USER_KUMA_UID = 5678 };

/** Find a user by its name or UID. @return false where `text` is neither; `uid` is as it was */
bool user_find(const char *text, uint32_t *uid);

/**
 * Find Kuma's proxy as Kuma does; without a name, in /etc/passwd alone.
 *
 * @param text  kumaDPUser; empty: 5678 where that UID exists, else the user kuma-dp
 * @return false where there is no such user
 */
bool user_find_kuma(const char *text, uint32_t *uid);

/**
 * Say that a user is not there: key, what was found, what is expected.
 *
 * @return `text`
 */
const char *user_explain(const char *key, const char *found, char *text, size_t size);

/** The user's group; the GID of the same number where /etc/passwd does not know the UID. */
uint32_t user_group(uint32_t uid);
