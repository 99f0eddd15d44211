/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tables.h"

#include "power.h"

#include <math.h>

/* Rounding to the levels of a table. Pure functions. */

enum { CHUNK = 64 };

/* Codes in ascending order of their levels, of equal levels the lowest code only; their number. */
static size_t sort_codes(const float *levels, size_t count, uint8_t *codes)
{
  size_t n = 0;
  for (size_t code = 0; code < count; code++) {
    size_t at = n;
    while (at > 0 && levels[codes[at - 1]] > levels[code])
      at--;
    if (at > 0 && levels[codes[at - 1]] == levels[code])
      continue;
    for (size_t i = n++; i > at; i--)
      codes[i] = codes[i - 1];
    codes[at] = (uint8_t)code;
  }
  return n;
}

/* The next number below x. */
static double below(double x)
{
  if (x == 0.0)
    return -0x1p-1074;
  const uint64_t bits = qli_bits_from_f64(x);
  return qli_f64_from_bits(x > 0.0 ? bits - 1 : bits + 1);
}

static bool tie_goes_up(qli_ties ties, double middle, uint8_t upper_code)
{
  if (ties == QLI_TIES_EVEN)
    return upper_code % 2 == 0;
  return ties == QLI_TIES_UPPER || (ties == QLI_TIES_ZERO && middle < 0.0);
}

void qli_table_sort(const float *levels, int32_t bits, qli_ties ties, qli_table_order *out)
{
  const size_t count = (size_t)1 << bits, n = sort_codes(levels, count, out->codes);
  out->bits = bits;
  out->levels = levels;
  for (size_t i = 0; i + 1 < count; i++)
    out->limits[i] = INFINITY;
  for (size_t i = 0; i + 1 < n; i++) {
    /* exact: the sum of two f32 levels of like size */
    const double middle = ((double)levels[out->codes[i]] + (double)levels[out->codes[i + 1]]) * 0.5;
    out->limits[i] = tie_goes_up(ties, middle, out->codes[i + 1]) ? below(middle) : middle;
  }
  const float low = levels[out->codes[0]], high = levels[out->codes[n - 1]];
  out->reach = -low > high ? low : high;
  out->balanced = low == -high;
  out->has_zero = false;
  for (size_t i = 0; i < n; i++)
    out->has_zero |= levels[out->codes[i]] == 0.0f;
}

/* Number of limits below q: a search in 2^bits - 1 ascending numbers. */
static size_t place_of(const qli_table_order *t, double q)
{
  size_t at = 0;
  for (size_t step = (size_t)1 << (t->bits - 1); step > 0; step /= 2)
    at += q > t->limits[at + step - 1] ? step : 0;
  return at;
}

void qli_table_codes(const qli_table_order *t, float scale, const double *x, size_t n,
                     uint8_t *codes)
{
  const double s = (double)scale;
  if (scale == 0.0f) /* a block of zeros on a table without a level of 0 */
    for (size_t i = 0; i < n; i++)
      codes[i] = t->codes[place_of(t, 0.0)];
  else
    for (size_t i = 0; i < n; i++)
      codes[i] = t->codes[place_of(t, x[i] / s)];
}

/* The sums that judge a scale, and those that refit it. */
typedef struct {
  double error, xl, ll;
} table_sums;

static void add_row(const qli_grid *g, float scale, const double *x, const double *weight, size_t n,
                    table_sums *s)
{
  uint8_t codes[CHUNK];
  for (size_t first = 0; first < n; first += CHUNK) {
    const size_t count = n - first < CHUNK ? n - first : CHUNK;
    qli_table_codes(g->table, scale, x + first, count, codes);
    for (size_t i = 0; i < count; i++) {
      const double level = (double)g->table->levels[codes[i]];
      const double w = weight != NULL ? weight[first + i] : 1.0, at = x[first + i];
      const double e = (double)scale * level - at;
      s->error += w * (g->mse_norm == 2.0 ? e * e : qli_power(fabs(e), g->mse_norm));
      s->xl += w * at * level;
      s->ll += w * level * level;
    }
  }
}

static table_sums sums_of(const qli_grid *g, const qli_cells *cells, float scale)
{
  table_sums s = {0.0, 0.0, 0.0};
  for (size_t r = 0; r < cells->rows; r++)
    add_row(g, scale, cells->x + r * cells->stride, cells->weight, cells->cols, &s);
  return s;
}

/* Judges the scale as it can be stored, and for squared errors that which fits its codes best. */
static void consider(const qli_grid *g, const qli_cells *cells, double scale, qli_point *best,
                     double *least)
{
  for (int refit = 0; refit < 2; refit++) {
    qli_point p;
    if (!qli_grid_point(g, scale, 0.0, &p))
      return;
    const table_sums s = sums_of(g, cells, p.scale);
    if (s.error < *least) {
      *least = s.error;
      *best = p;
    }
    if (g->mse_norm != 2.0 || !(s.ll > 0.0) || s.xl == 0.0)
      return;
    scale = s.xl / s.ll;
  }
}

/* The first weight of the largest magnitude. */
static double extreme_of(const qli_cells *cells)
{
  double extreme = 0.0;
  for (size_t r = 0; r < cells->rows; r++)
    for (size_t c = 0; c < cells->cols; c++)
      if (fabs(cells->x[r * cells->stride + c]) > fabs(extreme))
        extreme = cells->x[r * cells->stride + c];
  return extreme;
}

bool qli_table_find(const qli_grid *g, const qli_cells *cells, qli_point *out)
{
  const qli_table_order *t = g->table;
  const double extreme = extreme_of(cells);
  if (extreme == 0.0) {
    *out = (qli_point){t->has_zero ? 1.0f : 0.0f, 0, 0.0f};
    return true;
  }
  const double whole = (t->balanced ? fabs(extreme) : extreme) / (double)t->reach;
  double least = INFINITY;
  if (!qli_grid_point(g, whole, 0.0, out))
    return false;
  const int32_t count = g->mse_norm > 0.0 ? (int32_t)(g->mse_shrink * (double)g->mse_steps) : 0;
  for (int32_t i = 0; i < count; i++) {
    const double part = whole * (1.0 - (double)i / (double)g->mse_steps);
    consider(g, cells, part, out, &least);
    if (!t->balanced)
      consider(g, cells, -part, out, &least);
  }
  return true;
}
