/* SPDX-License-Identifier: Apache-2.0
 *
 * A table, as IANA has it (DNS Parameters, Resource Record TYPEs).
 */
#include "dns/wire/rrtype.h"

#include "dns/wire/dname.h"

#include <stdio.h>

static const struct {
	uint16_t type;
	char text[RRTYPE_TEXT_SIZE];
} known[] = {
	{1, "A"},
	{2, "NS"},
	{5, "CNAME"},
	{6, "SOA"},
	{12, "PTR"},
	{13, "HINFO"},
	{15, "MX"},
	{16, "TXT"},
	{28, "AAAA"},
	{29, "LOC"},
	{33, "SRV"},
	{35, "NAPTR"},
	{37, "CERT"},
	{39, "DNAME"},
	{43, "DS"},
	{44, "SSHFP"},
	{46, "RRSIG"},
	{47, "NSEC"},
	{48, "DNSKEY"},
	{50, "NSEC3"},
	{51, "NSEC3PARAM"},
	{52, "TLSA"},
	{59, "CDS"},
	{60, "CDNSKEY"},
	{61, "OPENPGPKEY"},
	{64, "SVCB"},
	{65, "HTTPS"},
	{99, "SPF"},
	{252, "AXFR"},
	{255, "ANY"},
	{256, "URI"},
	{257, "CAA"},
};

enum { KNOWN = sizeof(known) / sizeof(known[0]), GENERIC_LEN = 4, GENERIC_DIGITS = 5 };

const char *rrtype_to_text(uint16_t type, char text[RRTYPE_TEXT_SIZE])
{
	for (size_t i = 0; i < KNOWN; i++) {
		if (known[i].type == type) {
			memcpy(text, known[i].text, RRTYPE_TEXT_SIZE);
			return text;
		}
	}
	(void)snprintf(text, RRTYPE_TEXT_SIZE, "TYPE%u", type);
	return text;
}

static bool same_text(const char *text, size_t len, const char *mnemonic)
{
	for (size_t i = 0; i < len; i++) {
		if (mnemonic[i] == '\0' ||
			octet_folded((uint8_t)text[i]) != octet_folded((uint8_t)mnemonic[i])) {
			return false;
		}
	}
	return mnemonic[len] == '\0';
}

/* RFC 3597 §5: TYPE and a number. */
static bool generic_from_text(uint16_t *type, const char *text, size_t len)
{
	if (len <= GENERIC_LEN || len > GENERIC_LEN + GENERIC_DIGITS ||
		!same_text(text, GENERIC_LEN, "TYPE")) {
		return false;
	}
	uint32_t number = 0;
	for (size_t i = GENERIC_LEN; i < len; i++) {
		if (text[i] < '0' || text[i] > '9') {
			return false;
		}
		number = number * 10 + (uint32_t)(text[i] - '0');
	}
	if (number > UINT16_MAX) {
		return false;
	}
	*type = (uint16_t)number;
	return true;
}

bool rrtype_from_text(uint16_t *type, const char *text, size_t len)
{
	for (size_t i = 0; i < KNOWN; i++) {
		if (same_text(text, len, known[i].text)) {
			*type = known[i].type;
			return true;
		}
	}
	return generic_from_text(type, text, len);
}
