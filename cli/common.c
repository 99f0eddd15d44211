/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "common.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define BAR_CELLS 24
#define BAR_INTERVAL 0.1    /* seconds between two drawings */
#define PLAIN_INTERVAL 10.0 /* seconds between two lines where there is no terminal */

const exit_row exit_rows[] = {
    {EXIT_DONE, "success"},
    {EXIT_FAILED, "an error that is none of the following"},
    {EXIT_USAGE,
     "the command line is wrong: an unknown option, a value that is not allowed or that does not "
     "fit the model or the text"},
    {EXIT_MALFORMED, "an input is malformed: a file breaks the rules of its format, a tensor is "
                     "missing or has the wrong shape"},
    {EXIT_IO, "a file cannot be read or written: it does not exist, the disk is full"},
    {EXIT_NUMERIC, "NaN or infinity in weights or activations"},
    {EXIT_CANCELLED, "cancelled by SIGINT (Ctrl-C) or SIGTERM; nothing half-written is left"},
    {0, NULL},
};

static volatile sig_atomic_t stop_signal;

static void on_signal(int number)
{
  stop_signal = number;
}

int cancelled(void)
{
  return stop_signal != 0;
}

static void catch_signals(void)
{
  struct sigaction action = {.sa_handler = on_signal};
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGHUP, &action, NULL);
  /* A write beyond a file size limit or into a closed pipe is an error like any other. */
  signal(SIGXFSZ, SIG_IGN);
  signal(SIGPIPE, SIG_IGN);
}

double seconds_now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int colored(void)
{
  const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
  return isatty(STDERR_FILENO) && (no_color == NULL || no_color[0] == '\0') && term != NULL &&
         strcmp(term, "dumb") != 0;
}

void session_clear(session *s)
{
  if (s->bar_drawn)
    fputs("\r\033[K", stderr);
  s->bar_drawn = 0;
}

void session_warn(session *s, const char *text)
{
  if (s->options->quiet)
    return;
  session_clear(s);
  fprintf(stderr, "ql: warning: %s\n", text);
}

static void on_warning(void *user, const char *text)
{
  session_warn(user, text);
}

static void on_log(void *user, ql_log_level level, const char *text)
{
  session *s = user;
  if (level <= QL_LOG_WARNING)
    session_warn(s, text);
  else if (s->options->verbose) {
    session_clear(s);
    fprintf(stderr, "ql: %s\n", text);
  }
}

static void format_left(double seconds, char *text, size_t size)
{
  const long left = (long)(seconds + 0.5);
  if (left >= 3600)
    snprintf(text, size, "%ld:%02ld:%02ld left", left / 3600, left / 60 % 60, left % 60);
  else
    snprintf(text, size, "%ld:%02ld left", left / 60, left % 60);
}

static void draw(session *s, const char *phase, double fraction, double elapsed)
{
  char left[32] = "", cells[BAR_CELLS + 1];
  if (fraction > 0.01 && elapsed > 1)
    format_left(elapsed * (1 - fraction) / fraction, left, sizeof left);
  if (!s->bar) {
    fprintf(stderr, "ql: %s: %.0f %%%s%s\n", phase, 100 * fraction, left[0] ? ", " : "", left);
    return;
  }
  const int full = (int)(fraction * BAR_CELLS);
  for (int i = 0; i < BAR_CELLS; i++)
    cells[i] = i < full ? '#' : '.';
  cells[BAR_CELLS] = '\0';
  fprintf(stderr, "\r\033[K%s [%s] %3.0f %% %s", phase, cells, 100 * fraction, left);
  fflush(stderr);
  s->bar_drawn = 1;
}

static int on_progress(void *user, const char *phase, double fraction)
{
  session *s = user;
  const double now = seconds_now();
  if (cancelled())
    return 1;
  if (s->options->quiet)
    return 0;
  if (strcmp(s->phase, phase) != 0) {
    snprintf(s->phase, sizeof s->phase, "%s", phase);
    s->started = now;
    s->last_drawn = s->bar ? 0 : now;
  }
  if (now - s->last_drawn >= (s->bar ? BAR_INTERVAL : PLAIN_INTERVAL)) {
    s->last_drawn = now;
    draw(s, phase, fraction, now - s->started);
  }
  return 0;
}

/* The library's own progress is finer than what is shown; it serves to cancel soon. */
static int32_t on_library_progress(void *user, const char *phase, uint64_t done, uint64_t total)
{
  (void)user;
  (void)phase;
  (void)done;
  (void)total;
  return cancelled();
}

static ql_status make_context(session *s)
{
  const ql_status status = ql_threads_create((size_t)s->options->threads, &s->threads);
  if (status != QL_STATUS_OK) {
    snprintf(s->error.text, sizeof s->error.text, "cannot start threads");
    return status;
  }
  ql_ctx_config config = QL_CTX_CONFIG_INIT;
  config.isa = s->options->isa;
  config.flags = s->options->reproducible ? QL_CTX_REPRODUCIBLE : 0;
  config.executor = ql_threads_executor(s->threads);
  config.log = on_log;
  config.log_user = s;
  config.progress = on_library_progress;
  return ql_ctx_create(&config, &s->ctx, &s->error);
}

int session_open(session *s, const common *options)
{
  const ql_error no_error = QL_ERROR_INIT;
  *s = (session){.options = options, .error = no_error};
  s->events = (qle_events){s, on_progress, NULL, on_warning};
  s->bar = isatty(STDERR_FILENO);
  catch_signals();
  const ql_status status = make_context(s);
  if (status == QL_STATUS_OK)
    return 0;
  const int code = session_fail(s, status);
  session_close(s);
  /* The ISA is the only thing here that the command line can get wrong. */
  return status == QL_STATUS_UNSUPPORTED ? EXIT_USAGE : code;
}

void session_close(session *s)
{
  session_clear(s);
  ql_ctx_destroy(s->ctx);
  ql_threads_destroy(s->threads);
  s->ctx = NULL;
  s->threads = NULL;
}

static int exit_code(const ql_error *error, ql_status status)
{
  switch (status) {
  case QL_STATUS_OK: return EXIT_DONE;
  case QL_STATUS_INVALID_ARGUMENT: return EXIT_USAGE;
  case QL_STATUS_CANCELLED: return EXIT_CANCELLED;
  case QL_STATUS_IO: return EXIT_IO;
  case QL_STATUS_NUMERIC: return EXIT_NUMERIC;
  case QL_STATUS_FORMAT:
  case QL_STATUS_SHAPE:
  case QL_STATUS_DTYPE: return EXIT_MALFORMED;
  case QL_STATUS_NOT_FOUND: return error->tensor[0] != '\0' ? EXIT_MALFORMED : EXIT_IO;
  default: return EXIT_FAILED;
  }
}

int session_fail(session *s, ql_status status)
{
  const ql_error *e = &s->error;
  const char *on = colored() ? "\033[1;31m" : "", *off = colored() ? "\033[0m" : "";
  session_clear(s);
  fprintf(stderr, "ql: %serror:%s %s\n", on, off,
          e->text[0] != '\0' ? e->text : ql_status_str(status));
  if (e->file[0] != '\0' && strstr(e->text, e->file) == NULL)
    fprintf(stderr, "  file: %s\n", e->file);
  if (e->tensor[0] != '\0')
    fprintf(stderr, "  tensor: %s\n", e->tensor);
  if (e->row >= 0 && e->col >= 0)
    fprintf(stderr, "  position: row %lld, column %lld\n", (long long)e->row, (long long)e->col);
  else if (e->row >= 0)
    fprintf(stderr, "  position: %lld\n", (long long)e->row);
  if (e->cause != 0 && strstr(e->text, strerror(e->cause)) == NULL)
    fprintf(stderr, "  cause: %s\n", strerror(e->cause));
  if (e->hint[0] != '\0')
    fprintf(stderr, "  hint: %s\n", e->hint);
  return exit_code(e, status);
}

int finish_stdout(void)
{
  if (fflush(stdout) == 0 && !ferror(stdout))
    return EXIT_DONE;
  /* Who closed the pipe has seen enough, as in `ql inspect MODEL | head`. */
  if (errno != EPIPE)
    fprintf(stderr, "ql: error: cannot write to standard output: %s\n", strerror(errno));
  return EXIT_IO;
}

int print_json(json_t *object)
{
  const int bad =
      object == NULL || json_dumpf(object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(12)) != 0;
  json_decref(object);
  putchar('\n');
  const int code = finish_stdout();
  if (bad && code == EXIT_DONE) {
    fputs("ql: error: no memory for the JSON result\n", stderr);
    return EXIT_FAILED;
  }
  return code;
}

const char *human_bytes(double bytes, char *text, size_t size)
{
  static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB"};
  size_t unit = 0;
  while (bytes >= 1000 && unit + 1 < sizeof units / sizeof *units) {
    bytes /= 1000;
    unit++;
  }
  snprintf(text, size, unit == 0 ? "%.0f %s" : "%.2f %s", bytes, units[unit]);
  return text;
}

double peak_memory(void)
{
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (double)usage.ru_maxrss * 1024; /* Linux counts in KiB */
}
