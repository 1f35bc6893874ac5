/* SPDX-License-Identifier: Apache-2.0
 *
 * kuma-dns(8): the arguments and the commands.
 */
#include "conf/conf.h"
#include "conf/log.h"
#include "conf/user.h"
#include "dns/admin/admin.h"
#include "dns/daemon.h"
#include "dns/redirecting.h"
#include "dns/resolve/resolvconf.h"
#include "redirect/needs.h"
#include "redirect/redirect.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef KUMA_DNS_VERSION
#define KUMA_DNS_VERSION "unknown"
#endif

static int run(const struct conf *conf, char *const *arguments)
{
	(void)arguments;
	return daemon_run(conf);
}

/** What could not be written was not said. */
static int finish_output(FILE *out, int status)
{
	return fflush(out) == 0 && !ferror(out) ? status : STATUS_FAILURE;
}

static int complain(const char *what, const char *which)
{
	fprintf(stderr, "kuma-dns: %s %s; see kuma-dns --help\n", what, which);
	return STATUS_USAGE;
}

/** Users are looked up here and now, as `run` and `install` would. */
static bool check_user(const char *key, const char *user)
{
	char text[256];
	uint32_t uid;
	if (user[0] == '\0' || user_find(user, &uid)) {
		return true;
	}
	fprintf(stderr, "kuma-dns: %s\n", user_explain(key, user, text, sizeof(text)));
	return false;
}

static int check(const struct conf *conf, char *const *arguments)
{
	(void)arguments;
	if (!check_user("kumaDPUser", conf->kuma_dp_user) || !check_user("user", conf->user)) {
		return STATUS_USAGE;
	}
	conf_print(conf, stdout);
	return finish_output(stdout, EXIT_SUCCESS);
}

static int fail_redirection(const struct redirect_error *error)
{
	fprintf(stderr, "kuma-dns: %s\n", error->text);
	return STATUS_FAILURE;
}

/** Where the rules are to be: what that needs, and what they need there. */
static int enter_namespace(const struct conf *conf)
{
	struct redirect_error error = {.text = ""};
	int r = 0;
	if (conf->netns[0]) {
		r = needs_check(NEEDS_NETNS, &error);
		r = r == 0 ? redirect_enter(conf->netns, &error) : r;
	}
	if (r == 0 && !conf->dry_run && conf->redirect_mode == CONF_NFTABLES) {
		r = needs_check(NEEDS_NFTABLES, &error);
	}
	return r == 0 ? EXIT_SUCCESS : fail_redirection(&error);
}

/** The rules of `install`; where they are for another network namespace, we are in it. */
static int prepare_rules(struct rules *rules, const struct conf *conf)
{
	static struct resolv_conf resolv;
	int r = resolv_conf_load(&resolv, conf->resolv_conf);
	log_set_level((enum log_level)conf->log_level);
	if (r != 0 && conf->redirect_enabled && !conf->capture_all) {
		log_warning("%s: %s", conf->resolv_conf, strerror(-r));
	}
	if (redirecting_compile(rules, conf, &resolv.servers) != 0) {
		return STATUS_USAGE;
	}
	rules->fail_closed = false; /* they outlive everybody anyway */
	return enter_namespace(conf);
}

static int install(const struct conf *conf, char *const *arguments)
{
	static struct rules rules;
	struct redirect_error error = {.text = ""};
	char text[512];
	(void)arguments;
	int status = prepare_rules(&rules, conf);
	if (status != EXIT_SUCCESS) {
		return status;
	}
	if (conf->dry_run) {
		return finish_output(
			stdout, redirect_print(&rules, stdout) ? STATUS_FAILURE : EXIT_SUCCESS);
	}
	bool before = redirect_is_installed();
	bool changed;
	if (redirect_install(&rules, &changed, &error) != 0) {
		return fail_redirection(&error);
	}
	printf("%s: %s\n",
		!changed ? "installed already"
		: before ? "installed anew"
			 : "installed",
		redirect_describe(&rules, text, sizeof(text)));
	return finish_output(stdout, EXIT_SUCCESS);
}

static int uninstall(const struct conf *conf, char *const *arguments)
{
	/* What may be known of rules that somebody installed: where their flows go. */
	const struct rules rules = {.port = conf->port, .zones = !conf->skip_zone_split};
	struct redirect_error error = {.text = ""};
	(void)arguments;
	int status = enter_namespace(conf);
	if (status != EXIT_SUCCESS) {
		return status;
	}
	if (conf->dry_run) {
		redirect_print_removal(stdout);
		return finish_output(stdout, EXIT_SUCCESS);
	}
	bool before = redirect_is_installed();
	if (redirect_uninstall(&rules, &error) != 0) {
		return fail_redirection(&error);
	}
	puts(before ? "uninstalled" : "nothing was installed");
	return finish_output(stdout, EXIT_SUCCESS);
}

static int ask(const struct conf *conf, const struct admin_question *question)
{
	return admin_client(conf->admin_socket, question);
}

static int ask_table(const struct conf *conf, char *const *arguments)
{
	return ask(conf, &(struct admin_question){.page = "table", .name = arguments[0]});
}

/** `flush` itself is a name, too: with its dot. */
static int ask_cache(const struct conf *conf, char *const *arguments)
{
	struct admin_question question = {.page = "cache", .name = arguments[0]};
	if (arguments[0] && strcmp(arguments[0], "flush") == 0) {
		question = (struct admin_question){
			.page = "cache/flush", .name = arguments[1], .changes = true};
	} else if (arguments[0] && arguments[1]) {
		return complain("unexpected argument", arguments[1]);
	}
	return ask(conf, &question);
}

static int ask_explain(const struct conf *conf, char *const *arguments)
{
	if (!arguments[0]) {
		return complain("missing argument", "NAME");
	}
	return ask(conf, &(struct admin_question){
				 .page = "explain", .name = arguments[0], .type = arguments[1]});
}

static int ask_status(const struct conf *conf, char *const *arguments)
{
	(void)arguments;
	return ask(conf, &(struct admin_question){.page = "status"});
}

static int ask_ready(const struct conf *conf, char *const *arguments)
{
	(void)arguments;
	return ask(conf, &(struct admin_question){.page = "ready"});
}

static int ask_metrics(const struct conf *conf, char *const *arguments)
{
	(void)arguments;
	return ask(conf, &(struct admin_question){.page = "metrics"});
}

struct command {
	const char *name;
	int (*go)(const struct conf *conf, char *const *arguments); /* NULL-terminated */
	int arguments_max;
	const char *takes;
	const char *help;
};

static const struct command commands[] = {
	{"run", run, 0, "", "run the daemon in the foreground"},
	{"install", install, 0, "", "install rules that last, and end"},
	{"uninstall", uninstall, 0, "", "remove them, and nothing else"},
	{"check", check, 0, "", "validate the configuration and print it"},
	{"table", ask_table, 1, "[NAME]",
		"print the table, or one name of it, of a running daemon"},
	{"cache", ask_cache, 2, "[NAME]", "print figures of its cache, or the entries of a name"},
	{"cache", ask_cache, 2, "flush [NAME]", "forget all, or a name and what is below it"},
	{"explain", ask_explain, 2, "NAME [TYPE]", "print how it would answer, and why"},
	{"status", ask_status, 0, "", "print the state of a running daemon"},
	{"ready", ask_ready, 0, "", "exit with 0 where a running daemon is ready"},
	{"metrics", ask_metrics, 0, "", "print the metrics of a running daemon"},
};

static int usage(FILE *out, int status)
{
	fputs("usage: kuma-dns COMMAND [FLAG...] [ARGUMENT...]\n\ncommands:\n", out);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		int width = 43 - (int)strlen(commands[i].name);
		fprintf(out, "  %s %-*s %s\n", commands[i].name, width, commands[i].takes,
			commands[i].help);
	}
	fputs("\nflags:\n", out);
	conf_print_flags(out);
	fputs("\nSee kuma-dns(8).\n", out);
	return finish_output(out, status);
}

static int go(const struct command *command, int argc, char *argv[])
{
	static struct conf conf;
	struct conf_error error = {.text = ""};
	int rest = 0;
	if (conf_load(&conf, argc, argv, environ, &rest, &error) != 0) {
		fprintf(stderr, "kuma-dns: %s\n", error.text);
		return STATUS_USAGE;
	}
	if (argc - rest > command->arguments_max) {
		return complain("unexpected argument", argv[rest + command->arguments_max]);
	}
	return command->go(&conf, argv + rest);
}

static bool wants_help(int argc, char *argv[])
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			return true;
		}
	}
	return false;
}

/** Where one of 0 to 2 is closed it would become a socket, and lines be written to that. */
static void hold_standard_descriptors(void)
{
	int fd;
	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0) {
		close(fd);
	}
}

int main(int argc, char *argv[])
{
	const char *first = argc > 1 ? argv[1] : "";
	hold_standard_descriptors();
	if (strcmp(first, "help") == 0 || wants_help(argc, argv)) {
		return usage(stdout, EXIT_SUCCESS);
	}
	if (strcmp(first, "--version") == 0) {
		puts("kuma-dns " KUMA_DNS_VERSION);
		return finish_output(stdout, EXIT_SUCCESS);
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(first, commands[i].name) == 0) {
			return go(&commands[i], argc - 2, argv + 2);
		}
	}
	return *first ? complain("unknown command", first) : usage(stderr, STATUS_USAGE);
}
