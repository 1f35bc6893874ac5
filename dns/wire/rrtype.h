/* SPDX-License-Identifier: Apache-2.0
 *
 * Mnemonics of RR types, for people: the common ones, and TYPE123 for all (RFC 3597 §5).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RRTYPE_TEXT_SIZE = 16 };

/** @param[out] text  NUL-terminated. @return `text` */
const char *rrtype_to_text(uint16_t type, char text[RRTYPE_TEXT_SIZE]);

/**
 * Read a mnemonic, whatever its case.
 *
 * @param[out] type  as it was where the text is none
 * @param text  `len` characters, no NUL needed
 * @return whether it is one
 */
bool rrtype_from_text(uint16_t *type, const char *text, size_t len);
