/* SPDX-License-Identifier: Apache-2.0
 *
 * The text of ports, exclusions, networks and virtual networks, read and written. Whatever is
 * printed is read back into the same.
 */
#include "conf/traffic.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum { PORT_MAX = UINT16_MAX, ITEM_SIZE = 512, NUMBER_SIZE = 16 };

/* (uid_t)-1 means "no user" to the kernel. */
static const uint32_t UID_MAX = UINT32_MAX - 1;

/* Decimal digits without leading zeros, up to `end`. */
static int read_number(const char *text, size_t len, uint32_t max, uint32_t *number)
{
	uint64_t value = 0;

	if (len == 0 || len >= NUMBER_SIZE || (text[0] == '0' && len > 1)) {
		return -EINVAL;
	}
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9') {
			return -EINVAL;
		}
		value = value * 10 + (uint64_t)(text[i] - '0');
	}
	*number = (uint32_t)value;
	return value > max ? -EINVAL : 0;
}

/* `a` or `a-b`. */
static int read_range(const char *text, size_t len, uint32_t max, struct conf_range *range)
{
	const char *dash = memchr(text, '-', len);
	size_t first = dash ? (size_t)(dash - text) : len;

	if (read_number(text, first, max, &range->first) < 0) {
		return -EINVAL;
	}
	range->last = range->first;
	if (dash && read_number(dash + 1, len - first - 1, max, &range->last) < 0) {
		return -EINVAL;
	}
	return range->first <= range->last ? 0 : -EINVAL;
}

int ports_add(struct conf_ports *list, const char *text)
{
	uint32_t port;

	if (read_number(text, strlen(text), PORT_MAX, &port) < 0 || port == 0) {
		return -EINVAL;
	}
	for (unsigned i = 0; i < list->count; i++) {
		if (list->item[i] == port) {
			return 0;
		}
	}
	if (list->count == CONF_PORTS_MAX) {
		return -EINVAL;
	}
	list->item[list->count++] = (uint16_t)port;
	return 0;
}

/* Networks */

static void clear_behind_prefix(struct conf_network *network)
{
	for (unsigned bit = network->bits; bit < 8 * sizeof network->octet; bit++) {
		network->octet[bit / 8] &= (uint8_t) ~(0x80U >> bit % 8);
	}
}

static int read_network(struct conf_network *network, const char *text)
{
	const size_t len = strcspn(text, "/");
	char address[INET6_ADDRSTRLEN];
	uint32_t bits;

	memset(network, 0, sizeof *network);
	if (len >= sizeof address) {
		return -EINVAL;
	}
	memcpy(address, text, len);
	address[len] = '\0';
	network->family = strchr(address, ':') ? AF_INET6 : AF_INET;
	if (inet_pton(network->family, address, network->octet) != 1) {
		return -EINVAL;
	}
	bits = network->family == AF_INET ? 32 : 128;
	if (text[len] && read_number(text + len + 1, strlen(text + len + 1), bits, &bits) < 0) {
		return -EINVAL;
	}
	network->bits = (uint16_t)bits;
	clear_behind_prefix(network);
	return 0;
}

int networks_add(struct conf_networks *list, const char *text)
{
	struct conf_network network;

	if (read_network(&network, text) < 0) {
		return -EINVAL;
	}
	for (unsigned i = 0; i < list->count; i++) {
		if (memcmp(&list->item[i], &network, sizeof network) == 0) {
			return 0;
		}
	}
	if (list->count == CONF_NETWORKS_MAX) {
		return -EINVAL;
	}
	list->item[list->count++] = network;
	return 0;
}

static bool is_interface(const char *name, size_t len)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789._-@";
	const size_t plain = strspn(name, allowed);

	return len < CONF_INTERFACE_SIZE && plain > 0 &&
	       (plain == len || (plain + 1 == len && name[plain] == '+'));
}

int vnets_add(struct conf_vnets *list, const char *text)
{
	const size_t len = strcspn(text, ":");
	struct conf_vnet vnet;

	memset(&vnet, 0, sizeof vnet);
	if (!text[len] || !is_interface(text, len) ||
		read_network(&vnet.network, text + len + 1) < 0) {
		return -EINVAL;
	}
	memcpy(vnet.interface, text, len);
	for (unsigned i = 0; i < list->count; i++) {
		if (memcmp(&list->item[i], &vnet, sizeof vnet) == 0) {
			return 0;
		}
	}
	if (list->count == CONF_VNETS_MAX) {
		return -EINVAL;
	}
	list->item[list->count++] = vnet;
	return 0;
}

/* Exclusions */

static int add_exclusion(struct conf_exclusions *list, const struct conf_exclusion *exclusion)
{
	for (unsigned i = 0; i < list->count; i++) {
		if (memcmp(&list->item[i], exclusion, sizeof *exclusion) == 0) {
			return 0;
		}
	}
	if (list->count == CONF_EXCLUSIONS_MAX) {
		return -EINVAL;
	}
	list->item[list->count++] = *exclusion;
	return 0;
}

/* `*`, or ports and ranges with commas: an exclusion for each. */
static int add_each(
	struct conf_exclusions *list, struct conf_exclusion *exclusion, const char *ports)
{
	if (*ports == '\0' || strcmp(ports, "*") == 0) {
		exclusion->ports = (struct conf_range){0, PORT_MAX};
		return add_exclusion(list, exclusion);
	}
	for (;;) {
		const size_t len = strcspn(ports, ",");

		if (read_range(ports, len, PORT_MAX, &exclusion->ports) < 0 ||
			exclusion->ports.first == 0 || add_exclusion(list, exclusion) < 0) {
			return -EINVAL;
		}
		if (ports[len] == '\0') {
			return 0;
		}
		ports += len + 1;
	}
}

/* `*`, or `tcp`, `udp` with commas. */
static int read_transports(const char *text, uint32_t *transports)
{
	if (*text == '\0' || strcmp(text, "*") == 0) {
		return 0;
	}
	*transports = 0;
	for (;;) {
		const size_t len = strcspn(text, ",");

		if (len != 3 ||
			(strncmp(text, "tcp", len) != 0 && strncmp(text, "udp", len) != 0)) {
			return -EINVAL;
		}
		*transports |= *text == 't' ? CONF_TCP : CONF_UDP;
		if (text[len] == '\0') {
			return 0;
		}
		text += len + 1;
	}
}

/** @param text  one item; is written to */
static int add_item(struct conf_exclusions *list, char *text)
{
	struct conf_exclusion exclusion;
	char *last = strrchr(text, ':');
	char *uids = last ? last + 1 : text;
	const char *ports = "";
	char *colon;

	memset(&exclusion, 0, sizeof exclusion);
	exclusion.transports = CONF_TCP | CONF_UDP;
	if (last) {
		*last = '\0';
		ports = text;
		colon = strchr(text, ':');
		if (colon) {
			*colon = '\0';
			ports = colon + 1;
		}
		if (colon && read_transports(text, &exclusion.transports) < 0) {
			return -EINVAL;
		}
	}
	if (read_range(uids, strlen(uids), UID_MAX, &exclusion.uids) < 0) {
		return -EINVAL;
	}
	return add_each(list, &exclusion, ports);
}

/* A list of ports goes on with a digit; a protocol or `*` begins another item. */
static bool goes_on(const char *text)
{
	text += strspn(text, " ");
	return *text >= '0' && *text <= '9';
}

/* Octets of the first item: to the comma behind its users. Without a colon, all are users. */
static size_t item_len(const char *text)
{
	const size_t word = strcspn(text, ":0123456789");
	const size_t first = strcspn(text, ",");
	bool colon = false;

	for (size_t i = text[word] == ':' ? word + 1 : 0; text[i]; i++) {
		colon = colon || text[i] == ':';
		if (text[i] == ',' && colon) {
			return i;
		}
		if (text[i] == ',' && !goes_on(text + i + 1)) {
			break;
		}
	}
	return colon ? strlen(text) : first;
}

int exclusions_add(struct conf_exclusions *list, const char *text)
{
	char item[ITEM_SIZE];

	for (;;) {
		size_t len;

		text += strspn(text, " ");
		len = item_len(text);
		if (len >= sizeof item) {
			return -EINVAL;
		}
		memcpy(item, text, len);
		item[len] = '\0';
		if (add_item(list, item) < 0) {
			return -EINVAL;
		}
		if (text[len] == '\0') {
			return 0;
		}
		text += len + 1;
	}
}

/* Writing */

const char *network_format(const struct conf_network *network, char text[CONF_NETWORK_TEXT_SIZE])
{
	char address[INET6_ADDRSTRLEN];

	inet_ntop(network->family, network->octet, address, sizeof address);
	snprintf(text, CONF_NETWORK_TEXT_SIZE, "%s/%u", address, network->bits);
	return text;
}

void ports_print(const struct conf_ports *list, FILE *out)
{
	putc('[', out);
	for (unsigned i = 0; i < list->count; i++) {
		fprintf(out, "%s%u", i ? ", " : "", list->item[i]);
	}
	putc(']', out);
}

void networks_print(const struct conf_networks *list, FILE *out)
{
	char text[CONF_NETWORK_TEXT_SIZE];

	putc('[', out);
	for (unsigned i = 0; i < list->count; i++) {
		fprintf(out, "%s\"%s\"", i ? ", " : "", network_format(&list->item[i], text));
	}
	putc(']', out);
}

void vnets_print(const struct conf_vnets *list, FILE *out)
{
	char text[CONF_NETWORK_TEXT_SIZE];

	putc('[', out);
	for (unsigned i = 0; i < list->count; i++) {
		fprintf(out, "%s\"%s:%s\"", i ? ", " : "", list->item[i].interface,
			network_format(&list->item[i].network, text));
	}
	putc(']', out);
}

static void print_range(const struct conf_range *range, FILE *out)
{
	fprintf(out, "%" PRIu32, range->first);
	if (range->last != range->first) {
		fprintf(out, "-%" PRIu32, range->last);
	}
}

static void print_exclusion(const struct conf_exclusion *e, FILE *out)
{
	if (e->transports != (CONF_TCP | CONF_UDP)) {
		fputs(e->transports == CONF_TCP ? "tcp:" : "udp:", out);
	}
	if (e->ports.first == 0) {
		fputc('*', out);
	} else {
		print_range(&e->ports, out);
	}
	fputc(':', out);
	print_range(&e->uids, out);
}

void exclusions_print(const struct conf_exclusions *list, FILE *out)
{
	putc('[', out);
	for (unsigned i = 0; i < list->count; i++) {
		fputs(i ? ", \"" : "\"", out);
		print_exclusion(&list->item[i], out);
		putc('"', out);
	}
	putc(']', out);
}
