/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the configuration comes from: defaults, the file, the environment, the flags, each over the
 * one before; then what several keys must agree on. What a key is stands in keys.c.
 */
#include "conf/conf.h"

#include "conf/keys.h"
#include "conf/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_SIZE_MAX = 1024 * 1024, NAME_SIZE = 96 };

/* Variables that begin like ours and are those of Kuma, or of Kubernetes for a service that is
 * named kuma-dns; a final `*` stands for any end. */
static const char *const foreign_variables[] = {
	"KUMA_DNS_ENABLED",
	"KUMA_DNS_ENABLE_LOGGING",
	"KUMA_DNS_CONFIG_DIR",
	"KUMA_DNS_CORE_DNS_*",
	"KUMA_DNS_ENVOY_DNS_PORT",
	"KUMA_DNS_PROMETHEUS_PORT",
	"KUMA_DNS_SERVER_*",
	"KUMA_DNS_SERVICE_*",
	"KUMA_DNS_PORT",
	"KUMA_DNS_PORT_*",
};

/* A flag as it was found; `key` is NULL for --config. */
struct flag {
	char name[NAME_SIZE]; /* for errors: escaped, with its dashes */
	const struct key *key;
	const char *value;
};

static void init_admin_socket(struct conf *conf)
{
	const char *dir = getenv("XDG_RUNTIME_DIR");
	size_t size = sizeof conf->admin_socket;
	int len = 0;

	if (geteuid() == 0) {
		len = snprintf(conf->admin_socket, size, "/run/kuma-dns.sock");
	} else if (dir && *dir) {
		len = snprintf(conf->admin_socket, size, "%s/kuma-dns.sock", dir);
	}
	if (len < 0 || (size_t)len >= size) {
		memset(conf->admin_socket, 0, size);
	}
}

void conf_init(struct conf *conf)
{
	memset(conf, 0, sizeof *conf);
	for (unsigned i = 0; i < conf_keys_count; i++) {
		const struct key *key = &conf_keys[i];

		if (key->initial && key_set(key, conf, key->initial) < 0) {
			abort();
		}
	}
	conf->inbound.given = false;
	conf->outbound.given = false;
	init_admin_socket(conf);
}

/* Read back, a key that is there was asked for; this one was not. */
static bool is_not_given(const struct conf *conf, const struct key *key)
{
	return (key->offset == offsetof(struct conf, admin_socket) && !conf->admin_socket_given) ||
	       (key_is_in(key, "redirect.inbound") && !conf->inbound.given) ||
	       (key_is_in(key, "redirect.outbound") && !conf->outbound.given);
}

/* Whether the flag that is worth showing is the one that switches off. */
static bool is_on_by_default(const struct key *key)
{
	return key->type == KEY_BOOL && strcmp(key->initial, "true") == 0;
}

void conf_print(const struct conf *conf, FILE *out)
{
	for (unsigned i = 0; i < conf_keys_count; i++) {
		const struct key *key = &conf_keys[i];
		const char *name = key->path;

		if (key->type == KEY_IGNORED) {
			continue;
		}
		for (const char *dot = strchr(name, '.'); dot; dot = strchr(name, '.')) {
			fputs("  ", out);
			name = dot + 1;
		}
		if (key->type != KEY_SECTION && is_not_given(conf, key)) {
			putc('#', out);
		}
		fprintf(out, "%s:", name);
		if (key->type != KEY_SECTION) {
			putc(' ', out);
			key_print(key, conf, out);
		}
		putc('\n', out);
	}
}

void conf_print_flags(FILE *out)
{
	char left[NAME_SIZE];

	fprintf(out, "  %-44s %s\n", "--config FILE", "read this YAML file");
	for (unsigned i = 0; i < conf_keys_count; i++) {
		const struct key *key = &conf_keys[i];

		if (!key->flag) {
			continue;
		}
		if (is_on_by_default(key)) {
			snprintf(left, sizeof left, "--no-%s", key->flag);
			fprintf(out, "  %-44s do not %s\n", left, key->help);
			continue;
		}
		snprintf(left, sizeof left, "--%s%s%s%s", key->flag,
			key->type == KEY_BOOL ? "[=" : " ",
			key->type == KEY_CHOICES ? "NAME" : key->argument,
			key->type == KEY_BOOL ? "]" : "");
		fprintf(out, "  %-44s %s", left, key->help);
		if (key->initial && *key->initial) {
			fprintf(out, " (default %s)", key->initial);
		}
		putc('\n', out);
	}
}

/* kumactl's names of flags that we had under other names already. */
static const struct {
	const char *alias;
	const char *flag;
} aliases[] = {
	{"kuma-dp-uid", "kuma-dp-user"},
	{"redirect-dns", "redirect"},
	{"redirect-dns-port", "port"},
	{"redirect-all-dns-traffic", "capture-all"},
	{"skip-dns-conntrack-zone-split", "skip-conntrack-zone-split"},
	{"iptables-logs", "log-packets"},
};

static bool is_same(const char *text, const char *name, size_t len)
{
	return text && strlen(text) == len && strncmp(text, name, len) == 0;
}

static const struct key *find_flag(const char *name, size_t len)
{
	for (size_t i = 0; i < sizeof aliases / sizeof aliases[0]; i++) {
		if (is_same(aliases[i].alias, name, len)) {
			name = aliases[i].flag;
			len = strlen(name);
		}
	}
	for (unsigned i = 0; i < conf_keys_count; i++) {
		if (is_same(conf_keys[i].flag, name, len)) {
			return &conf_keys[i];
		}
	}
	return NULL;
}

/* The switch that `no-NAME` turns off, or NULL. */
static const struct key *find_switched_off(const char *name, size_t len)
{
	const struct key *key = NULL;

	if (len > 3 && strncmp(name, "no-", 3) == 0) {
		key = find_flag(name + 3, len - 3);
	}
	return key && key->type == KEY_BOOL ? key : NULL;
}

/* Which flag `name` is, `len` octets; `implied` is its value where none is written. */
static int match_flag(struct flag *flag, const char *name, size_t len, const char **implied)
{
	flag->key = find_flag(name, len);
	if (flag->key) {
		*implied = flag->key->type == KEY_BOOL ? "true" : NULL;
		return 0;
	}
	flag->key = find_switched_off(name, len);
	*implied = flag->key ? "false" : NULL;
	return flag->key || is_same("config", name, len) || is_same("config-file", name, len)
		       ? 0
		       : -EINVAL;
}

/* The flag at `*index`, which is moved behind it and its value. */
static int read_flag(
	struct flag *flag, int argc, char *const argv[], int *index, struct conf_error *error)
{
	const char *text = argv[(*index)++];
	size_t len = strcspn(text, "=");
	const char *implied = NULL;
	char expected[160] = "FILE";

	snprintf(flag->name, sizeof flag->name, "%.*s", (int)(len < 64 ? len : 64), text);
	flag->value = text[len] ? text + len + 1 : NULL;
	if (len < 3 || text[1] != '-' || match_flag(flag, text + 2, len - 2, &implied) < 0) {
		char quoted[80];

		return conf_fail(error, "%s: found an unknown flag, expected one of --help",
			key_quote(quoted, sizeof quoted, flag->name, ""));
	}
	if (flag->value && implied && strcmp(implied, "false") == 0) {
		return conf_fail(error, "%s: found a value, expected none", flag->name);
	}
	if (!flag->value) {
		flag->value = implied || *index == argc ? implied : argv[(*index)++];
	}
	if (!flag->value) {
		if (flag->key) {
			key_expected(flag->key, expected, sizeof expected);
		}
		return conf_fail(error, "%s: found nothing, expected %s", flag->name, expected);
	}
	return 0;
}

/* A list's first flag replaces what file and environment say, the next ones add to it. */
static int set_flag(
	struct conf *conf, const struct flag *flag, bool seen[KEYS_MAX], struct conf_error *error)
{
	char quoted[80];
	char expected[160];
	bool *again = &seen[flag->key - conf_keys];
	int rc = *again ? key_add(flag->key, conf, flag->value)
			: key_set(flag->key, conf, flag->value);

	*again = true;
	if (rc < 0) {
		key_expected(flag->key, expected, sizeof expected);
		conf_fail(error, "%s: found %s, expected %s", flag->name,
			key_quote(quoted, sizeof quoted, flag->value, "\""), expected);
	}
	return rc;
}

static bool is_flag(const char *argument)
{
	return argument[0] == '-' && argument[1] != '\0';
}

/* An argument that is no flag goes to the end; those that did before keep their order. */
static void put_last(int argc, char *argv[], int index)
{
	char *argument = argv[index];

	memmove(&argv[index], &argv[index + 1], (size_t)(argc - index - 1) * sizeof argv[0]);
	argv[argc - 1] = argument;
}

/*
 * Read the flags, and put the other arguments behind them. Without `conf` they are only checked for
 * being flags, and --config is found: the file is read before the flags take effect.
 */
static int read_flags(struct conf *conf, const char **file, int argc, char *argv[], int *rest,
	struct conf_error *error)
{
	bool seen[KEYS_MAX] = {false};
	int end = argc; /* of what was not put last */
	int index = 0;

	while (index < end) {
		struct flag flag = {.key = NULL};
		int rc;

		if (!is_flag(argv[index])) {
			put_last(argc, argv, index);
			end--;
			continue;
		}
		if (strcmp(argv[index], "--") == 0) {
			index++;
			break;
		}
		rc = read_flag(&flag, end, argv, &index, error);
		if (rc == 0 && conf && flag.key) {
			rc = set_flag(conf, &flag, seen, error);
		}
		if (rc < 0) {
			return rc;
		}
		*file = flag.key ? *file : flag.value;
	}
	*rest = index;
	return 0;
}

static const char OURS[] = "KUMA_DNS_";
static const char KUMAS[] = "KUMA_TRANSPARENT_PROXY_";

/* `redirect.dns.captureAll` → `KUMA_DNS_REDIRECT_DNS_CAPTURE_ALL`, `kumaDPUser` → `…KUMA_DP_USER`
 */
static void variable_of(const struct key *key, const char *prefix, char name[NAME_SIZE])
{
	size_t len = (size_t)snprintf(name, NAME_SIZE, "%s", prefix);

	for (const char *c = key->path; *c && len < NAME_SIZE - 2; c++) {
		bool upper = *c >= 'A' && *c <= 'Z';
		bool before = c > key->path && c[-1] >= 'a' && c[-1] <= 'z';
		bool after = c > key->path && c[-1] >= 'A' && c[-1] <= 'Z' && c[1] >= 'a' &&
			     c[1] <= 'z' && strcmp(c, "Ds") != 0 && strcmp(c, "Ps") != 0;

		if (upper && (before || after)) {
			name[len++] = '_';
		}
		name[len++] = *c == '.' ? '_' : upper ? *c : (char)(*c - 'a' + 'A');
	}
	name[len] = '\0';
}

/* A variable's value; one that is empty counts as not set. */
static const char *get_variable(char *const envp[], const char *name)
{
	size_t len = strlen(name);

	for (; *envp; envp++) {
		if (strncmp(*envp, name, len) == 0 && (*envp)[len] == '=' && (*envp)[len + 1]) {
			return *envp + len + 1;
		}
	}
	return NULL;
}

static int set_variable(struct conf *conf, const struct key *key, char *const envp[],
	const char *name, struct conf_error *error)
{
	const char *value = get_variable(envp, name);
	char quoted[80];
	char expected[160];

	if (!value || key_set(key, conf, value) == 0) {
		return 0;
	}
	key_expected(key, expected, sizeof expected);
	return conf_fail(error, "environment: %s: found %s, expected %s", name,
		key_quote(quoted, sizeof quoted, value, "\""), expected);
}

static bool is_foreign(const char *name, size_t len)
{
	for (size_t i = 0; i < sizeof foreign_variables / sizeof foreign_variables[0]; i++) {
		const char *foreign = foreign_variables[i];
		size_t prefix = strcspn(foreign, "*");

		if (strncmp(name, foreign, prefix) == 0 &&
			(foreign[prefix] == '*' || len == prefix)) {
			return true;
		}
	}
	return false;
}

/* Whether Kuma's proxy has this key too, with a variable of its own. */
static bool is_shared(const struct key *key)
{
	static const char *const shared[] = {"kumaDPUser", "ipFamilyMode", "dropInvalidPackets",
		"dryRun", "comments.disabled", "log.enabled"};

	for (size_t i = 0; i < sizeof shared / sizeof shared[0]; i++) {
		if (strcmp(key->path, shared[i]) == 0) {
			return true;
		}
	}
	if (strcmp(key->path, "redirect.dns.tcp") == 0) {
		return false;
	}
	/* What stands in `redirect` itself is ours; Kuma has sections there. */
	return key_is_in(key, "redirect") && strchr(key->path + sizeof "redirect", '.');
}

static bool is_ours(const char *name, size_t len)
{
	char variable[NAME_SIZE];

	for (unsigned i = 0; i < conf_keys_count; i++) {
		const struct key *key = &conf_keys[i];

		if (key->type == KEY_SECTION || key->type == KEY_IGNORED) {
			continue;
		}
		variable_of(key, OURS, variable);
		if (is_same(variable, name, len) || is_same(key->environment, name, len)) {
			return true;
		}
	}
	return is_same("KUMA_DNS_CONFIG", name, len);
}

/* We share the environment with kuma-dp, so an unknown name is no error; but it may be a typo. */
static void warn_unknown_variables(char *const envp[])
{
	for (; *envp; envp++) {
		size_t len = strcspn(*envp, "=");

		if (strncmp(*envp, "KUMA_DNS_", strlen("KUMA_DNS_")) == 0 &&
			!is_foreign(*envp, len) && !is_ours(*envp, len)) {
			log_warning("environment: %.*s: unknown, ignored",
				(int)(len < NAME_SIZE ? len : NAME_SIZE), *envp);
		}
	}
}

static int read_environment(struct conf *conf, char *const envp[], struct conf_error *error)
{
	for (unsigned i = 0; i < conf_keys_count; i++) {
		const struct key *key = &conf_keys[i];
		char name[NAME_SIZE];
		int rc = 0;

		if (key->type == KEY_SECTION || key->type == KEY_IGNORED) {
			continue;
		}
		if (key->environment) {
			rc = set_variable(conf, key, envp, key->environment, error);
		}
		if (rc == 0 && is_shared(key)) {
			variable_of(key, KUMAS, name);
			rc = set_variable(conf, key, envp, name, error);
		}
		variable_of(key, OURS, name);
		if (rc == 0) {
			rc = set_variable(conf, key, envp, name, error);
		}
		if (rc < 0) {
			return rc;
		}
	}
	warn_unknown_variables(envp);
	return 0;
}

/* Read up to `size` octets; a pipe is as good as a file. @return 0; -errno */
static int read_all(int fd, char *text, size_t size, size_t *len)
{
	*len = 0;
	while (*len < size) {
		ssize_t n = read(fd, text + *len, size - *len);

		if (n == 0) {
			break;
		}
		if (n < 0 && errno != EINTR) {
			return -errno;
		}
		*len += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static int read_file(struct conf *conf, const char *file, struct conf_error *error)
{
	char *text = malloc(FILE_SIZE_MAX + 1);
	size_t len = 0;
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	int rc = fd < 0 ? -errno : 0;

	if (!text) {
		rc = -ENOMEM;
	}
	if (rc == 0) {
		rc = read_all(fd, text, FILE_SIZE_MAX + 1, &len);
	}
	if (rc < 0) {
		conf_fail(error, "%s: cannot be read: %s", file, strerror(-rc));
	} else if (len > FILE_SIZE_MAX) {
		rc = conf_fail(error, "%s: found more than 1MiB, expected less", file);
	} else {
		rc = conf_read(conf, file, text, len, error);
	}
	if (fd >= 0) {
		close(fd);
	}
	free(text);
	return rc;
}

/* The kernel redirects to 127.0.0.1 and ::1 (see nft(8), redirect). */
static bool gets_redirected(const struct endpoint *e, uint16_t port)
{
	static const struct in6_addr any6 = IN6ADDR_ANY_INIT;
	static const struct in6_addr loopback6 = IN6ADDR_LOOPBACK_INIT;

	if (endpoint_port(e) != port) {
		return false;
	}
	if (e->sa.sa_family == AF_INET6) {
		return IN6_ARE_ADDR_EQUAL(&e->in6.sin6_addr, &any6) ||
		       IN6_ARE_ADDR_EQUAL(&e->in6.sin6_addr, &loopback6);
	}
	return e->in.sin_addr.s_addr == htonl(INADDR_ANY) ||
	       e->in.sin_addr.s_addr == htonl(INADDR_LOOPBACK);
}

static int check_redirect(const struct conf *conf, struct conf_error *error)
{
	char text[ENDPOINT_TEXT_SIZE];

	if (conf->fail_closed && conf->redirect_mode == CONF_EBPF) {
		return conf_fail(error,
			"redirect.failClosed: found true, expected false with redirect.mode ebpf, "
			"whose programs end with the daemon");
	}
	if (!conf->redirect_enabled || conf->listen.count == 0) {
		return 0;
	}
	for (unsigned i = 0; i < conf->listen.count; i++) {
		if (gets_redirected(&conf->listen.item[i], conf->port)) {
			return 0;
		}
	}
	return conf_fail(error,
		"listen: found %s%s, expected 127.0.0.1:%u or [::1]:%u among them, where "
		"redirect.dns.port sends queries; or --no-redirect",
		endpoint_format(&conf->listen.item[0], text),
		conf->listen.count > 1 ? " and others" : "", conf->port, conf->port);
}

/* The kernel would let both have it, and hand HTTP connections to DNS and the other way round. */
static int check_metrics(const struct conf *conf, struct conf_error *error)
{
	uint16_t port = endpoint_port(&conf->metrics_address);
	bool taken = conf->listen.count == 0 && port == conf->port;
	char text[ENDPOINT_TEXT_SIZE];

	for (unsigned i = 0; i < conf->listen.count; i++) {
		taken = taken || endpoint_port(&conf->listen.item[i]) == port;
	}
	if (!taken) {
		return 0;
	}
	return conf_fail(error,
		"admin.metricsAddress: found %s, expected a port that DNS is not served at",
		endpoint_format(&conf->metrics_address, text));
}

/* Both in lower case, without a dot at the end. */
static bool is_in_zone(const char *name, const char *zone)
{
	size_t len = strlen(name);
	size_t zone_len = strlen(zone);

	if (len < zone_len || strcmp(name + len - zone_len, zone) != 0) {
		return false;
	}
	return len == zone_len || name[len - zone_len - 1] == '.';
}

/* Names in a mesh zone are never forwarded: an upstream for them would do nothing. */
static int check_upstreams(const struct conf *conf, struct conf_error *error)
{
	for (unsigned i = 0; i < conf->upstreams.count; i++) {
		for (unsigned j = 0; j < conf->mesh_zones.count; j++) {
			const char *zone = conf->upstreams.item[i].zone;
			const char *mesh = conf->mesh_zones.item[j];

			if (is_in_zone(zone, mesh)) {
				return conf_fail(error,
					"upstreams: found %s, expected a zone outside of the mesh "
					"zone %s, which is answered from the table alone",
					zone, mesh);
			}
		}
	}
	return 0;
}

/* What no key can judge alone. */
static int check_together(const struct conf *conf, struct conf_error *error)
{
	if (conf->tcp_connections_peer_max > conf->tcp_connections_max) {
		return conf_fail(error,
			"tcp.maxConnectionsPerPeer: found %u, expected at most tcp.maxConnections, "
			"%u",
			conf->tcp_connections_peer_max, conf->tcp_connections_max);
	}
	if (conf->forward_try_ms > conf->forward_timeout_ms) {
		return conf_fail(error,
			"forward.tryTimeout: found %ums, expected at most forward.timeout, %ums",
			conf->forward_try_ms, conf->forward_timeout_ms);
	}
	if (conf->inbound.exclude_uids.count > 0) {
		log_warning("redirect.inbound.excludePortsForUIDs: what comes in has no user: "
			    "no effect");
	}
	int rc = check_metrics(conf, error);

	if (rc == 0) {
		rc = check_upstreams(conf, error);
	}
	return rc < 0 ? rc : check_redirect(conf, error);
}

int conf_load(struct conf *conf, int argc, char *argv[], char *const envp[], int *rest,
	struct conf_error *error)
{
	const char *file = get_variable(envp, "KUMA_DNS_CONFIG");
	int rc = read_flags(NULL, &file, argc, argv, rest, error);

	conf_init(conf);
	if (rc == 0 && file) {
		rc = read_file(conf, file, error);
	}
	if (rc == 0) {
		rc = read_environment(conf, envp, error);
	}
	if (rc == 0) {
		rc = read_flags(conf, &file, argc, argv, rest, error);
	}
	return rc < 0 ? rc : check_together(conf, error);
}
