/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "qlk_exact.h"
#include "qlk_half.h"

static void qlk_cvt_f32_f16_scalar(const void *src, size_t n, float *dst)
{
  for (size_t i = 0; i < n; i++)
    dst[i] = qlk_f16_to_f32(qlk_load16(src, i));
}

static void qlk_cvt_f32_bf16_scalar(const void *src, size_t n, float *dst)
{
  for (size_t i = 0; i < n; i++)
    dst[i] = qlk_bf16_to_f32(qlk_load16(src, i));
}

static void qlk_cvt_f16_f32_scalar(const float *src, size_t n, void *dst)
{
  for (size_t i = 0; i < n; i++)
    qlk_store16(dst, i, qlk_f32_to_f16(src[i]));
}

static void qlk_cvt_bf16_f32_scalar(const float *src, size_t n, void *dst)
{
  for (size_t i = 0; i < n; i++)
    qlk_store16(dst, i, qlk_f32_to_bf16(src[i]));
}

static void qlk_dequant_f32_u8_scalar(const uint8_t *codes, size_t n, float scale, int32_t zero,
                                      float *dst)
{
  for (size_t i = 0; i < n; i++)
    dst[i] = scale * (float)((int32_t)codes[i] - zero);
}

static uint32_t qlk_sum_u8_scalar(const uint8_t *codes, size_t n)
{
  uint32_t sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += codes[i];
  return sum;
}

static inline void dequant_row(const qlk_coded *row, qlk_dtype type, int flags, unsigned char *dst)
{
  for (size_t first = 0, g = 0; first < row->n; g++) {
    const size_t rest = row->n - first, n = rest < row->group ? rest : row->group;
    qlk_coded_span(row, g, first, first + n, type, flags, dst);
    first += n;
  }
}

static void qlk_rows_f32_scalar(const qlk_coded *row, int flags, void *dst)
{
  dequant_row(row, QLK_F32, flags & QLK_STREAM, dst);
}

static void qlk_rows_f16_scalar(const qlk_coded *row, int flags, void *dst)
{
  dequant_row(row, QLK_F16, flags, dst);
}

static void qlk_rows_bf16_scalar(const qlk_coded *row, int flags, void *dst)
{
  dequant_row(row, QLK_BF16, flags, dst);
}

void qlk_fill_exact_scalar(qlk_exact *t)
{
  t->f16_to_f32 = qlk_cvt_f32_f16_scalar;
  t->bf16_to_f32 = qlk_cvt_f32_bf16_scalar;
  t->f32_to_f16 = qlk_cvt_f16_f32_scalar;
  t->f32_to_bf16 = qlk_cvt_bf16_f32_scalar;
  t->dequant = qlk_dequant_f32_u8_scalar;
  t->sum = qlk_sum_u8_scalar;
  t->rows_f32 = qlk_rows_f32_scalar;
  t->rows_f16 = qlk_rows_f16_scalar;
  t->rows_bf16 = qlk_rows_bf16_scalar;
}
