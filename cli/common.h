/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QL_CLI_COMMON_H
#define QL_CLI_COMMON_H

#include "options.h"
#include "quantize_events.h"

#include <quantlib/quantlib.h>
#include <quantlib/threads.h>

#include <jansson.h>

#include <stdio.h>

/* What every command needs: a context, messages, progress, cancelling. */

typedef struct session {
  const common *options;
  ql_threads *threads;
  ql_ctx *ctx;
  ql_error error;
  qle_events events; /* progress and warnings to stderr */
  int bar;           /* stderr is a terminal: a bar */
  int bar_drawn;
  int table_begun;            /* the head of a table is printed */
  double started, last_drawn; /* of the phase, of the last line */
  char phase[48];
} session;

/* Makes threads and context; 0 or an exit code after a message. */
int session_open(session *s, const common *options);
void session_close(session *s);

/* Prints s->error and returns the exit code for status. */
int session_fail(session *s, ql_status status);

/* Removes a drawn progress bar, so that other output begins on an empty line. */
void session_clear(session *s);

/* A line on stderr that begins with "ql: warning: ". */
void session_warn(session *s, const char *text);

/* Prints a JSON object to stdout and releases it; an exit code. */
int print_json(json_t *object);

/* Flushes stdout; EXIT_IO after a message when it cannot take all. */
int finish_stdout(void);

/* "10.5 MB": decimal units. */
const char *human_bytes(double bytes, char *text, size_t size);

/* Largest memory that this process had resident, in bytes. */
double peak_memory(void);

double seconds_now(void);

/* Non-zero after SIGINT or SIGTERM. */
int cancelled(void);

#endif
