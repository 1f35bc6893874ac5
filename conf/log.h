/* SPDX-License-Identifier: Apache-2.0
 *
 * The log: one line each on standard error, with level; each place in the code at most 10 lines in
 * 10 s, then a count of those left out. Any thread. Never called from files that only decide.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/** One place that logs, and how often it did. Writers: any thread, relaxed. */
struct log_site {
	_Atomic int64_t window_ms;
	_Atomic uint32_t lines;
	_Atomic uint32_t dropped;
};

/** Lines above this level are not written. */
void log_set_level(enum log_level level);

/** Write a line through its place's limit; use the macros. Control characters become `\xNN`. */
void log_line(struct log_site *site, enum log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#define log_at(level, ...)                                                                         \
	do {                                                                                       \
		static struct log_site log_here;                                                   \
		log_line(&log_here, (level), __VA_ARGS__);                                         \
	} while (0)
#define log_error(...)   log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_at(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)
