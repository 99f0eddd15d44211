/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "outliers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Values that are converted to f32 at a time, and those of one piece of parallel work. */
#define CHUNK_VALUES ((size_t)1 << 22)
#define TILE_VALUES ((size_t)1 << 14)
#define TILES (CHUNK_VALUES / TILE_VALUES)

typedef struct sums {
  double count, s1, s2, s3, s4, absmax, beyond, not_finite;
} sums;

typedef struct measure {
  const float *x;
  size_t count;
  int second; /* count values beyond limit from mean */
  double mean, limit;
  sums tiles[TILES];
} measure;

static void add_moments(sums *s, double v)
{
  const double square = v * v;
  s->count++;
  s->s1 += v;
  s->s2 += square;
  s->s3 += square * v;
  s->s4 += square * square;
  s->absmax = fmax(s->absmax, fabs(v));
}

static void measure_tile(void *arg, size_t index, size_t worker)
{
  measure *m = arg;
  (void)worker;
  const size_t first = index * TILE_VALUES;
  const size_t end = first + TILE_VALUES < m->count ? first + TILE_VALUES : m->count;
  sums s = {0};
  for (size_t i = first; i < end; i++) {
    const double v = (double)m->x[i];
    if (!isfinite(v))
      s.not_finite++;
    else if (m->second)
      s.beyond += fabs(v - m->mean) > m->limit;
    else
      add_moments(&s, v);
  }
  m->tiles[index] = s;
}

static void add_sums(sums *a, const sums *b)
{
  a->count += b->count;
  a->s1 += b->s1;
  a->s2 += b->s2;
  a->s3 += b->s3;
  a->s4 += b->s4;
  a->absmax = fmax(a->absmax, b->absmax);
  a->beyond += b->beyond;
  a->not_finite += b->not_finite;
}

/* Goes through all rows, some at a time. */
static ql_status pass(const ql_ctx *ctx, const ql_tensor *t, measure *m, float *buffer,
                      size_t rows_at_once, sums *total, ql_error *error)
{
  for (size_t row = 0; row < t->shape[0]; row += rows_at_once) {
    const size_t left = t->shape[0] - row;
    ql_tensor part = *t, copy;
    part.shape[0] = left < rows_at_once ? left : rows_at_once;
    part.data = (char *)t->data + (ptrdiff_t)row * t->stride[0];
    ql_status status = ql_tensor_init_2d(&copy, buffer, QL_DTYPE_F32, part.shape[0], part.shape[1]);
    if (status == QL_STATUS_OK)
      status = ql_tensor_convert(ctx, &part, &copy, error);
    if (status != QL_STATUS_OK)
      return status;
    m->x = buffer;
    m->count = part.shape[0] * part.shape[1];
    const size_t tiles = (m->count + TILE_VALUES - 1) / TILE_VALUES;
    ql_ctx_parallel_for(ctx, tiles, measure_tile, m);
    for (size_t i = 0; i < tiles; i++)
      add_sums(total, &m->tiles[i]);
  }
  return QL_STATUS_OK;
}

static void finish(const sums *s, double beyond, double mean, double variance, outliers *out)
{
  const double n = s->count;
  const double m2 = s->s2 / n, m3 = s->s3 / n, m4 = s->s4 / n;
  const double fourth = m4 - 4 * mean * m3 + 6 * mean * mean * m2 - 3 * mean * mean * mean * mean;
  *out = (outliers){.absmax = s->absmax,
                    .rms = sqrt(m2),
                    .mean = mean,
                    .kurtosis = variance > 0 ? fourth / (variance * variance) : 0,
                    .beyond = beyond / n,
                    .not_finite = (uint64_t)s->not_finite};
}

static ql_status run(const ql_ctx *ctx, const ql_tensor *t, measure *m, float *buffer, size_t rows,
                     outliers *out, ql_error *error)
{
  sums first = {0}, second = {0};
  ql_status status = pass(ctx, t, m, buffer, rows, &first, error);
  if (status != QL_STATUS_OK)
    return status;
  *out = (outliers){.not_finite = (uint64_t)first.not_finite};
  if (first.count == 0)
    return QL_STATUS_OK;
  const double mean = first.s1 / first.count;
  const double variance = fmax(0, first.s2 / first.count - mean * mean);
  m->second = 1;
  m->mean = mean;
  m->limit = 6 * sqrt(variance);
  status = pass(ctx, t, m, buffer, rows, &second, error);
  if (status == QL_STATUS_OK)
    finish(&first, second.beyond, mean, variance, out);
  return status;
}

ql_status outliers_measure(const ql_ctx *ctx, const ql_tensor *t, outliers *out, ql_error *error)
{
  const size_t cols = t->shape[1];
  *out = (outliers){0};
  if (t->shape[0] == 0 || cols == 0)
    return QL_STATUS_OK;
  /* A row beyond CHUNK_VALUES does not occur in models: rows are at most vocabularies. */
  if (cols > CHUNK_VALUES)
    return QL_STATUS_UNSUPPORTED;
  const size_t rows = CHUNK_VALUES / cols;
  const size_t used = rows < t->shape[0] ? rows : t->shape[0];
  float *buffer = malloc(used * cols * sizeof *buffer);
  measure *m = calloc(1, sizeof *m);
  const ql_status status =
      buffer == NULL || m == NULL ? QL_STATUS_NO_MEMORY : run(ctx, t, m, buffer, rows, out, error);
  free(buffer);
  free(m);
  return status;
}
