/* SPDX-License-Identifier: Apache-2.0
 *
 * resolv_conf_parse on any octets: what it finds, printed and read again, is the same, and within
 * its limits. Twice the same text says the same as once.
 */
#include "dns/resolve/resolvconf.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds) {
		abort();
	}
}

static void server_print(const struct endpoint *e, FILE *out)
{
	char text[INET6_ADDRSTRLEN];
	require(endpoint_port(e) == 53);
	if (e->sa.sa_family == AF_INET) {
		inet_ntop(AF_INET, &e->in.sin_addr, text, sizeof(text));
		fprintf(out, "nameserver %s\n", text);
		return;
	}
	inet_ntop(AF_INET6, &e->in6.sin6_addr, text, sizeof(text));
	fprintf(out, "nameserver %s", text);
	if (e->in6.sin6_scope_id) {
		fprintf(out, "%%%u", e->in6.sin6_scope_id);
	}
	fputc('\n', out);
}

static void print(const struct resolv_conf *rc, FILE *out)
{
	for (unsigned i = 0; i < rc->servers.count; i++) {
		server_print(&rc->servers.item[i], out);
	}
	fputs("search", out);
	for (unsigned i = 0; i < rc->search_count; i++) {
		char text[DNAME_TEXT_SIZE];
		dname_to_text(dname_span(&rc->search[i]), text);
		fprintf(out, " %s", text);
	}
	fprintf(out, "\noptions ndots:%u %s", rc->ndots, rc->rotate ? "rotate" : "");
	if (rc->timeout_ms > 0) {
		fprintf(out, " timeout:%u", rc->timeout_ms / 1000);
	}
	if (rc->attempts > 0) {
		fprintf(out, " attempts:%u", rc->attempts);
	}
}

static void require_limits(const struct resolv_conf *rc)
{
	require(rc->servers.count <= SERVERS_LIST_MAX);
	require(rc->search_count <= RESOLV_SEARCH_MAX);
	require(rc->ndots <= RESOLV_NDOTS_MAX);
	require(rc->timeout_ms <= RESOLV_TIMEOUT_MAX * 1000 && rc->timeout_ms % 1000 == 0);
	require(rc->attempts <= RESOLV_ATTEMPTS_MAX);
}

static void comes_back(const struct resolv_conf *rc)
{
	char *text = NULL;
	size_t len = 0;
	struct resolv_conf again;
	FILE *out = open_memstream(&text, &len);
	require(out != NULL);
	print(rc, out);
	fclose(out);
	resolv_conf_parse(&again, (struct span){(const uint8_t *)text, len});
	require(resolv_conf_equal(rc, &again));
	free(text);
}

static void twice_is_once(const struct resolv_conf *rc, const uint8_t *data, size_t size)
{
	struct resolv_conf again;
	uint8_t *octets = malloc(2 * size + 1);
	require(octets != NULL);
	memcpy(octets, data, size);
	octets[size] = '\n';
	memcpy(octets + size + 1, data, size);
	resolv_conf_parse(&again, (struct span){octets, 2 * size + 1});
	require(resolv_conf_equal(rc, &again));
	free(octets);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct resolv_conf rc;
	resolv_conf_parse(&rc, (struct span){data, size});
	require_limits(&rc);
	comes_back(&rc);
	if (size > 0) {
		twice_is_once(&rc, data, size);
	}
	return 0;
}
