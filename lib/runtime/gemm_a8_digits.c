/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "act_grid.h"
#include "checked.h"
#include "gemm_a8.h"

#include <math.h>
#include <string.h>

/* The prologue of integer products: activations to digits. */

enum { CODE_ROWS = 8, FLAG_COLUMNS = 1024 };

/* Takes the columns that are multiplied in floating point out of a row, and puts them back. Their
 * code then is the zero point, which contributes nothing. */
static float *row_without(const qli_a8_product *p, size_t i, size_t worker)
{
  float *row = p->x_scratch + i * p->job.x_stride;
  float *saved = p->saved + worker * p->job.w->weights.k;
  for (size_t o = 0; o < p->rows.outlier_count; o++) {
    saved[o] = row[p->outliers[o]];
    row[p->outliers[o]] = 0;
  }
  return row;
}

static void restore(const qli_a8_product *p, size_t i, size_t worker)
{
  float *row = p->x_scratch + i * p->job.x_stride;
  const float *saved = p->saved + worker * p->job.w->weights.k;
  for (size_t o = 0; o < p->rows.outlier_count; o++)
    row[p->outliers[o]] = saved[o];
}

static const float *visible_row(const qli_a8_product *p, size_t i, size_t worker)
{
  return p->rows.outlier_count > 0 ? row_without(p, i, worker) : p->job.x + i * p->job.x_stride;
}

static void find_ranges(void *arg, size_t index, size_t worker)
{
  const qli_a8_product *p = arg;
  const size_t end = qli_min_size((index + 1) * CODE_ROWS, p->job.rows);
  for (size_t i = index * CODE_ROWS; i < end; i++) {
    p->job.ctx->kernels.a8.range(visible_row(p, i, worker), p->job.w->weights.k, &p->ranges[2 * i],
                                 &p->ranges[2 * i + 1]);
    if (p->rows.outlier_count > 0)
      restore(p, i, worker);
  }
}

/* Columns with an element beyond the threshold, |NaN| being none. */
static void find_outliers(void *arg, size_t index, size_t worker)
{
  const qli_a8_product *p = arg;
  const size_t first = index * FLAG_COLUMNS;
  const size_t end = qli_min_size(first + FLAG_COLUMNS, p->job.w->weights.k);
  const float threshold = p->act.threshold;
  (void)worker;
  for (size_t i = 0; i < p->job.rows; i++) {
    const float *row = p->job.x + i * p->job.x_stride;
    for (size_t c = first; c < end; c++)
      p->flags[c] |= (uint8_t)(row[c] >= threshold || row[c] <= -threshold);
  }
}

static void put_padding(const qli_a8_product *p, int8_t *codes)
{
  const ql_packed *w = p->job.w;
  for (size_t c = 0; w->gather != NULL && c < w->weights.k; c++)
    if (w->gather[c] < 0)
      codes[c] = 0;
}

/* Digit d of row i, in the order of packed k, into its place in the tile; and its sums. */
static void put_digits(const qli_a8_product *p, size_t i, size_t d, const int8_t *plain)
{
  const qlk_weights *w = &p->job.w->weights;
  const qli_a8_job *rows = &p->rows;
  const size_t tile = i / rows->tile_rows * rows->tile_rows;
  const size_t height = qli_min_size(rows->tile_rows, p->job.rows - tile) * rows->digits;
  const size_t row = (i - tile) * rows->digits + d;
  int32_t *sums = rows->sums + (i * rows->digits + d) * w->groups;
  rows->unit->arrange(plain, w->k, height,
                      rows->tiles + tile * rows->digits * w->k + row * rows->unit->kr);
  for (size_t g = 0, c = 0; g < w->groups; g++) {
    int32_t sum = 0;
    for (; c < w->ends[g]; c++)
      sum += plain[c];
    sums[g] = sum;
  }
}

/* One digit, one scale. */
static void code_row(const qli_a8_product *p, size_t i, const float *x, int8_t *plain)
{
  int32_t zero;
  qli_act_row(&p->job.ctx->kernels.a8, &p->act, x, p->job.w->weights.k, plain, &p->rows.scales[i],
              &zero);
  if (p->rows.zeros != NULL)
    p->rows.zeros[i] = zero;
}

/* A scale for each group. Not finite: NaN for the group, and digits of 0. */
static void code_groups(const qli_a8_product *p, size_t i, const float *x, int8_t *plain)
{
  const qlk_weights *w = &p->job.w->weights;
  const qlk_a8 *kernels = &p->job.ctx->kernels.a8;
  const float highest = p->rows.digits == 2 ? QLI_A16_HIGHEST : 127.0f;
  for (size_t g = 0, c = 0; g < w->groups; c = w->ends[g], g++) {
    const size_t n = w->ends[g] - c;
    float *scale = &p->rows.scales[i * w->groups + g];
    uint32_t negative, positive;
    kernels->range(x + c, n, &negative, &positive);
    *scale = qli_act_scale(negative, positive, highest);
    if (isnan(*scale)) {
      memset(plain + c, 0, n);
      if (p->rows.digits == 2)
        memset(plain + w->k + c, 0, n);
    } else if (p->rows.digits == 2) {
      kernels->split(x + c, n, *scale, plain + c, plain + w->k + c);
    } else {
      kernels->quantize(x + c, n, *scale, 0, plain + c);
    }
  }
}

static void make_codes(void *arg, size_t index, size_t worker)
{
  const qli_a8_product *p = arg;
  const size_t k = p->job.w->weights.k, digits = p->rows.digits;
  const size_t end = qli_min_size((index + 1) * CODE_ROWS, p->job.rows);
  int8_t *plain = p->plain + worker * digits * k;
  for (size_t i = index * CODE_ROWS; i < end; i++) {
    const float *x = visible_row(p, i, worker);
    if (p->rows.by_group)
      code_groups(p, i, x, plain);
    else
      code_row(p, i, x, plain);
    if (p->rows.outlier_count > 0)
      restore(p, i, worker);
    for (size_t d = 0; d < digits; d++) {
      put_padding(p, plain + d * k);
      put_digits(p, i, d, plain + d * k);
    }
  }
}

static void take_scales(const qli_a8_product *p, size_t i, size_t row)
{
  const ql_tensor *scales = p->options->x_scales, *zeros = p->options->x_zeros;
  const char *from = (const char *)scales->data + (ptrdiff_t)row * scales->stride[0];
  const size_t groups = p->rows.by_group ? p->job.w->weights.groups : 1;
  for (size_t g = 0; g < groups; g++)
    memcpy(&p->rows.scales[i * groups + g],
           from + (p->rows.by_group ? (ptrdiff_t)g * scales->stride[1] : 0), sizeof(float));
  if (zeros != NULL)
    memcpy(&p->rows.zeros[i], (const char *)zeros->data + (ptrdiff_t)row * zeros->stride[0],
           sizeof(int32_t));
}

/* Codes of the caller, into the order of packed k. */
static void take_codes(void *arg, size_t index, size_t worker)
{
  const qli_a8_product *p = arg;
  const ql_packed *w = p->job.w;
  const size_t end = qli_min_size((index + 1) * CODE_ROWS, p->job.rows);
  int8_t *plain = p->plain + worker * w->weights.k;
  for (size_t i = index * CODE_ROWS; i < end; i++) {
    const size_t row = p->job.first_row + i;
    const int8_t *from = (const int8_t *)p->x->data + (ptrdiff_t)row * p->x->stride[0];
    for (size_t c = 0; c < w->weights.k; c++)
      plain[c] = w->gather == NULL ? from[c] : w->gather[c] >= 0 ? from[w->gather[c]] : 0;
    take_scales(p, i, row);
    put_digits(p, i, 0, plain);
  }
}

static void each_row(qli_a8_product *p, ql_task task)
{
  qli_parallel_for_work(p->job.ctx, 4.0 * (double)p->job.rows * (double)p->job.w->weights.k,
                        qli_ceil_div(p->job.rows, CODE_ROWS), task, p);
}

bool qli_a8_take_slab(qli_a8_product *p, size_t first)
{
  if (first >= p->x->shape[0])
    return false;
  p->job.first_row = first;
  p->job.rows = qli_min_size(QLI_GEMM_SLAB, p->x->shape[0] - first);
  if (p->x->dtype != QL_DTYPE_I8)
    qli_gemm_take(&p->job, p->x, p->act.threshold > 0, p->x_scratch);
  return true;
}

static void list_outliers(qli_a8_product *p)
{
  const size_t k = p->job.w->weights.k;
  memset(p->flags, 0, k);
  for (size_t row = 0; qli_a8_take_slab(p, row); row += QLI_GEMM_SLAB)
    qli_parallel_for_work(p->job.ctx, (double)p->job.rows * (double)k,
                          qli_ceil_div(k, FLAG_COLUMNS), find_outliers, p);
  for (size_t c = 0; c < k; c++)
    if (p->flags[c])
      p->outliers[p->rows.outlier_count++] = (int32_t)c;
}

/* One scale for all rows; those with NaN or Inf have no say in it. */
static void find_common_scale(qli_a8_product *p)
{
  uint32_t negative = 0, positive = 0;
  for (size_t row = 0; qli_a8_take_slab(p, row); row += QLI_GEMM_SLAB) {
    each_row(p, find_ranges);
    for (size_t i = 0; i < p->job.rows; i++) {
      const uint32_t *range = p->ranges + 2 * i;
      if (!qli_act_is_finite(range[0], range[1]))
        continue;
      negative = range[0] > negative ? range[0] : negative;
      positive = range[1] > positive ? range[1] : positive;
    }
  }
  qli_act_grid(p->act.asymmetric, negative, positive, &p->act.scale, &p->act.zero);
  p->act.mode = QL_ACT_STATIC;
}

void qli_a8_look(qli_a8_product *p)
{
  if (p->x->dtype == QL_DTYPE_I8)
    return;
  if (p->act.threshold > 0)
    list_outliers(p);
  if (p->act.mode == QL_ACT_TENSOR)
    find_common_scale(p);
}

void qli_a8_make_digits(qli_a8_product *p)
{
  each_row(p, p->x->dtype == QL_DTYPE_I8 ? take_codes : make_codes);
}
