/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "qbench_internal.h"

#include <math.h>

/* A number, or null where it was not measured. */
static void number(FILE *file, const char *name, double value, int known)
{
  if (known && isfinite(value))
    fprintf(file, ", \"%s\": %.9g", name, value);
  else
    fprintf(file, ", \"%s\": null", name);
}

static void text(FILE *file, const char *name, const char *value)
{
  fprintf(file, ", \"%s\": \"", name);
  for (; *value != '\0'; value++) {
    if (*value == '"' || *value == '\\')
      fputc('\\', file);
    if ((unsigned char)*value >= ' ')
      fputc(*value, file);
  }
  fputc('"', file);
}

static double rate(double units, const qbench_row *r)
{
  return r->seconds > 0 ? units / r->seconds * 1e-9 : 0;
}

static void json_roofs(FILE *file, const qbench_roofs *roofs)
{
  fprintf(file, ", \"limits\": {");
  for (int i = 0; i < QBENCH_LIMITS; i++) {
    fprintf(file, "%s\"%s\": ", i > 0 ? ", " : "", qbench_limit_name((qbench_limit)i));
    if (roofs->value[i] > 0)
      fprintf(file, "%.6g", roofs->value[i]);
    else
      fprintf(file, "null");
  }
  fputc('}', file);
}

static void json_row(FILE *file, const qbench_row *r)
{
  const int measured = r->missing[0] == '\0';
  double fraction;
  const qbench_limit limit = qbench_binding(r, &fraction);
  fprintf(file, "{\"op\": \"%s\"", r->op);
  text(file, "weights", r->weights);
  text(file, "act_dtype", r->act_dtype);
  text(file, "compute", r->compute);
  fprintf(file, ", \"group_size\": %lld, \"m\": %zu, \"n\": %zu, \"k\": %zu", (long long)r->group,
          r->m, r->n, r->k);
  fprintf(file, ", \"threads\": %zu, \"cold\": %s", r->threads, r->cold ? "true" : "false");
  text(file, "isa", r->isa);
  text(file, "kernel", r->kernel);
  number(file, "seconds", r->seconds, measured);
  number(file, "weight_gb_per_s", rate(r->weight_bytes, r), measured && r->weight_bytes > 0);
  number(file, "gops", rate(r->operations, r), measured && r->operations > 0);
  text(file, "roofline", qbench_limit_name(limit));
  number(file, "roofline_fraction", fraction, measured);
  number(file, "calls", (double)r->calls, measured);
  number(file, "seconds_least", r->least, measured);
  number(file, "seconds_quartile1", r->quarter, measured);
  number(file, "seconds_quartile3", r->three_quarters, measured);
  number(file, "weight_bytes", r->weight_bytes, r->weight_bytes > 0);
  number(file, "bytes", r->bytes, 1);
  number(file, "operations", r->operations, 1);
  number(file, "size_to_original", r->size_ratio, r->size_ratio > 0);
  number(file, "speed_to_original", r->speed_ratio, r->speed_ratio > 0);
  number(file, "joules_per_token", r->joules / (double)(r->m > 0 ? r->m : 1),
         measured && r->joules >= 0);
  text(file, "status", measured ? "measured" : "not available");
  text(file, "reason", r->missing);
  json_roofs(file, r->roofs);
  fputc('}', file);
}

void qbench_print_json(const qbench_result *result, FILE *file)
{
  fputc('[', file);
  for (size_t i = 0; i < result->count; i++) {
    fputs(i > 0 ? ",\n " : "\n ", file);
    json_row(file, &result->rows[i]);
  }
  fputs("\n]\n", file);
}

static void figure(FILE *file, double value, int width, int decimals)
{
  if (value > 0)
    fprintf(file, " %*.*f", width, decimals, value);
  else
    fprintf(file, " %*s", width, "-");
}

static void table_head(const qbench_result *r, FILE *file)
{
  fprintf(file, "%s; instruction set %s; caches: second level %zu KiB, last level %zu KiB\n",
          r->processor, r->isa, r->l2_bytes >> 10, r->llc_bytes >> 10);
  fprintf(file, "Limits measured in this run, GB/s and GOP/s:\n%-10s", "threads");
  for (int i = 0; i < QBENCH_LIMITS; i++)
    fprintf(file, " %9s", qbench_limit_name((qbench_limit)i));
  fputc('\n', file);
  for (size_t t = 0; t < r->thread_count; t++) {
    fprintf(file, "%-10zu", r->threads[t]);
    for (int i = 0; i < QBENCH_LIMITS; i++)
      figure(file, r->roofs[t].value[i], 9, 1);
    fputc('\n', file);
  }
}

static const char *seconds_text(double seconds, char *out, size_t size)
{
  if (seconds < 1e-3)
    snprintf(out, size, "%.1f us", seconds * 1e6);
  else if (seconds < 1)
    snprintf(out, size, "%.2f ms", seconds * 1e3);
  else
    snprintf(out, size, "%.2f s", seconds);
  return out;
}

/* Half of the distance between the quartiles, in percent of the median. */
static double spread(const qbench_row *r)
{
  return r->seconds > 0 ? 50 * (r->three_quarters - r->quarter) / r->seconds : 0;
}

static void table_row(const qbench_row *r, FILE *file)
{
  char shape[32], time[32];
  double fraction;
  const qbench_limit limit = qbench_binding(r, &fraction);
  snprintf(shape, sizeof shape, "%zux%zu", r->n, r->k);
  fprintf(file, "%-14s %-14s %-4s %-3s %12s %4zu %3zu %-4s ", r->op, r->weights, r->act_dtype,
          r->compute, shape, r->m, r->threads, r->cold ? "cold" : "hot");
  if (r->missing[0] != '\0') {
    fprintf(file, "not available: %s\n", r->missing);
    return;
  }
  fprintf(file, "%10s %5.1f%%", seconds_text(r->seconds, time, sizeof time), spread(r));
  figure(file, rate(r->weight_bytes, r), 8, 2);
  figure(file, rate(r->operations, r), 8, 1);
  fprintf(file, " %4.0f%% %-9s", 100 * fraction, qbench_limit_name(limit));
  figure(file, r->size_ratio, 7, 3);
  figure(file, r->speed_ratio, 7, 2);
  if (r->joules >= 0)
    fprintf(file, " %9.3g", r->joules / (double)(r->m > 0 ? r->m : 1));
  else
    fprintf(file, "         -");
  fprintf(file, "  %s\n", r->kernel);
}

void qbench_print_table(const qbench_result *result, FILE *file)
{
  table_head(result, file);
  if (result->count == 0)
    return;
  fprintf(file,
          "\n%-14s %-14s %-4s %-3s %12s %4s %3s %-4s %10s %6s %8s %8s %5s %-9s %7s %7s %9s  %s\n",
          "op", "weights", "act", "by", "n x k", "m", "thr", "data", "time", "+-", "GB/s", "GOP/s",
          "share", "of limit", "size", "speed", "J/token", "kernel");
  for (size_t i = 0; i < result->count; i++)
    table_row(&result->rows[i], file);
  fputs("\ntime: median of a call; +-: half of the distance between the quartiles; GB/s: of packed "
        "weights; GOP/s: 2 m n k / time;\nshare: of what the binding limit allows; size, speed: "
        "against the original's floating-point weights in this run.\n",
        file);
}
