/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "checked.h"
#include "gemm_a8.h"

#include <string.h>

/* Groups that are summed over all rows of a tile before the next ones: so many columns of the
 * digits of 144 rows, and of the codes of a panel, stay in the second-level cache. */
enum { COLUMNS = 4096 };

/* The tile of digits that begins at activation `row` of the job. */
static qlk_a8_rows rows_at(const qli_gemm_job *job, size_t row)
{
  const qli_a8_job *a8 = job->a8;
  const size_t groups = job->w->weights.groups, first = row * a8->digits;
  qlk_a8_rows rows = {a8->tiles + first * job->w->weights.k, a8->sums + first * groups, NULL, NULL};
  if (a8->by_group)
    rows.scales = a8->scales + row * groups;
  if (a8->zeros != NULL)
    rows.zeros = a8->zeros + row;
  return rows;
}

static void add_groups(const qli_gemm_job *job, const qli_gemm_tile *t, size_t p, size_t group,
                       size_t end)
{
  const qli_a8_job *a8 = job->a8;
  const qlk_a8_unit *unit = a8->unit;
  const qlk_weights *w = &job->w->weights;
  qlk_a8_gemm_fn *gemm = a8->digits == 2 ? unit->gemm16 : unit->gemm8;
  for (size_t i = 0; i < t->rows; i += a8->tile_rows) {
    const size_t m = qli_min_size(a8->tile_rows, t->rows - i);
    const qlk_a8_rows rows = rows_at(job, t->row + i);
    float *y = t->sums + i * QLI_GEMM_COLUMNS + p * unit->nr;
    if (job->y->dtype == QL_DTYPE_I32)
      unit->integers(w, t->panel + p, group, m, &rows, (int32_t *)(void *)y, QLI_GEMM_COLUMNS);
    else
      gemm(w, t->panel + p, group, end, m, &rows, y, QLI_GEMM_COLUMNS);
  }
}

static size_t block_end(const qlk_weights *w, size_t group)
{
  const size_t first = group > 0 ? w->ends[group - 1] : 0;
  size_t end = group + 1;
  while (end < w->groups && w->ends[end] - first <= COLUMNS)
    end++;
  return end;
}

static void scale_rows(const qli_gemm_job *job, const qli_gemm_tile *t)
{
  const size_t n = t->panels * job->unit->nr;
  for (size_t i = 0; i < t->rows; i++)
    for (size_t j = 0; j < n; j++)
      t->sums[i * QLI_GEMM_COLUMNS + j] *= job->a8->scales[t->row + i];
}

/* The columns in floating point, one after the other, multiply then add. */
static void add_outliers(const qli_gemm_job *job, const qli_gemm_tile *t, size_t p)
{
  const qlk_weights *w = &job->w->weights;
  const size_t nr = job->unit->nr, kr = job->unit->kr;
  size_t group = 0;
  for (size_t o = 0; o < job->a8->outlier_count; o++) {
    const size_t c = (size_t)job->a8->outliers[o], k0 = c / kr * kr;
    group = qlk_next_group(w, group, k0);
    job->unit->expand(w, t->panel + p, k0, k0 + kr, group, t->block);
    for (size_t i = 0; i < t->rows; i++) {
      const float x = job->x[(t->row + i) * job->x_stride + c];
      float *y = t->sums + i * QLI_GEMM_COLUMNS + p * nr;
      for (size_t j = 0; j < nr; j++)
        y[j] += x * t->block[(c - k0) * nr + j];
    }
  }
}

void qli_a8_sums(const qli_gemm_job *job, const qli_gemm_tile *t)
{
  const qlk_weights *w = &job->w->weights;
  const bool one = t->rows <= job->a8->tile_rows;
  memset(t->sums, 0, t->rows * QLI_GEMM_COLUMNS * sizeof(float));
  for (size_t group = 0; group < w->groups;) {
    const size_t end = one ? w->groups : block_end(w, group);
    for (size_t p = 0; p < t->panels; p++)
      add_groups(job, t, p, group, end);
    group = end;
  }
  if (job->y->dtype == QL_DTYPE_I32)
    return;
  if (!job->a8->by_group)
    scale_rows(job, t);
  for (size_t p = 0; p < t->panels && job->a8->outlier_count > 0; p++)
    add_outliers(job, t, p);
}
