/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "qlk_linalg.h"

#include <string.h>

enum { MR = 4, NR = 8 };

static void sum_f32(size_t depth, const float *a, const float *b, float sum[MR][NR])
{
  for (size_t d = 0; d < depth; d++, a += QLK_PANEL, b += QLK_PANEL)
    for (size_t i = 0; i < MR; i++)
      for (size_t j = 0; j < NR; j++)
        sum[i][j] += a[i] * b[j];
}

static void qlk_tile_f32_scalar(size_t depth, const float *a, const float *b, float *c, size_t ldc)
{
  float sum[MR][NR];
  for (size_t i = 0; i < MR; i++)
    memcpy(sum[i], c + i * ldc, sizeof sum[i]);
  sum_f32(depth, a, b, sum);
  for (size_t i = 0; i < MR; i++)
    memcpy(c + i * ldc, sum[i], sizeof sum[i]);
}

static void qlk_tile_f32_wide_scalar(size_t depth, const float *a, const float *b, double *c,
                                     size_t ldc)
{
  float sum[MR][NR];
  memset(sum, 0, sizeof sum);
  sum_f32(depth, a, b, sum);
  for (size_t i = 0; i < MR; i++)
    for (size_t j = 0; j < NR; j++)
      c[i * ldc + j] += (double)sum[i][j];
}

static void qlk_tile_f64_scalar(size_t depth, const double *a, const double *b, double *c,
                                size_t ldc)
{
  double sum[MR][NR];
  for (size_t i = 0; i < MR; i++)
    memcpy(sum[i], c + i * ldc, sizeof sum[i]);
  for (size_t d = 0; d < depth; d++, a += QLK_PANEL, b += QLK_PANEL)
    for (size_t i = 0; i < MR; i++)
      for (size_t j = 0; j < NR; j++)
        sum[i][j] += a[i] * b[j];
  for (size_t i = 0; i < MR; i++)
    memcpy(c + i * ldc, sum[i], sizeof sum[i]);
}

void qlk_fill_linalg_scalar(qlk_linalg *t)
{
  t->f32 = (qlk_tile_f32){MR, NR, qlk_tile_f32_scalar, qlk_tile_f32_wide_scalar};
  t->f32_ordered = t->f32;
  t->f64 = (qlk_tile_f64){MR, NR, qlk_tile_f64_scalar};
  t->f64_ordered = t->f64;
}
