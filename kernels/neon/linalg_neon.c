/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__aarch64__) || !defined(__ARM_NEON)
#error "this file needs aarch64 with Advanced SIMD"
#endif

#include "qlk_linalg.h"

#include <arm_neon.h>

/* 24 of the 32 registers hold sums, three a row of b; the elements of a come from memory. */
enum { MR = 8, VEC = 3, LANES_F32 = 4, LANES_F64 = 2 };

/* fused is a constant in every call. */
static inline __attribute__((always_inline)) void
sum_f32(size_t depth, const float *a, const float *b, float32x4_t sum[MR][VEC], int fused)
{
  for (size_t d = 0; d < depth; d++, a += QLK_PANEL, b += QLK_PANEL) {
    const float32x4_t b0 = vld1q_f32(b), b1 = vld1q_f32(b + 4);
    const float32x4_t b2 = vld1q_f32(b + 8);
#pragma GCC unroll 8
    for (int i = 0; i < MR; i++) {
      const float32x4_t x = vdupq_n_f32(a[i]);
      if (fused) {
        sum[i][0] = vfmaq_f32(sum[i][0], x, b0);
        sum[i][1] = vfmaq_f32(sum[i][1], x, b1);
        sum[i][2] = vfmaq_f32(sum[i][2], x, b2);
      } else {
        sum[i][0] = vaddq_f32(sum[i][0], vmulq_f32(x, b0));
        sum[i][1] = vaddq_f32(sum[i][1], vmulq_f32(x, b1));
        sum[i][2] = vaddq_f32(sum[i][2], vmulq_f32(x, b2));
      }
    }
  }
}

static inline __attribute__((always_inline)) void
add_f32(size_t depth, const float *a, const float *b, float *c, size_t ldc, int fused)
{
  float32x4_t sum[MR][VEC];
#pragma GCC unroll 8
  for (size_t i = 0; i < MR; i++)
#pragma GCC unroll 3
    for (size_t v = 0; v < VEC; v++)
      sum[i][v] = vld1q_f32(c + i * ldc + v * LANES_F32);
  sum_f32(depth, a, b, sum, fused);
#pragma GCC unroll 8
  for (size_t i = 0; i < MR; i++)
#pragma GCC unroll 3
    for (size_t v = 0; v < VEC; v++)
      vst1q_f32(c + i * ldc + v * LANES_F32, sum[i][v]);
}

static void widen(double *c, float32x2_t part)
{
  vst1q_f64(c, vaddq_f64(vld1q_f64(c), vcvt_f64_f32(part)));
}

static inline __attribute__((always_inline)) void
add_wide(size_t depth, const float *a, const float *b, double *c, size_t ldc, int fused)
{
  float32x4_t sum[MR][VEC];
#pragma GCC unroll 8
  for (size_t i = 0; i < MR; i++)
#pragma GCC unroll 3
    for (size_t v = 0; v < VEC; v++)
      sum[i][v] = vdupq_n_f32(0);
  sum_f32(depth, a, b, sum, fused);
#pragma GCC unroll 8
  for (size_t i = 0; i < MR; i++)
#pragma GCC unroll 3
    for (size_t v = 0; v < VEC; v++) {
      double *at = c + i * ldc + v * LANES_F32;
      widen(at, vget_low_f32(sum[i][v]));
      widen(at + 2, vget_high_f32(sum[i][v]));
    }
}

static inline __attribute__((always_inline)) void
add_f64(size_t depth, const double *a, const double *b, double *c, size_t ldc, int fused)
{
  float64x2_t sum[MR][VEC];
#pragma GCC unroll 8
  for (size_t i = 0; i < MR; i++)
#pragma GCC unroll 3
    for (size_t v = 0; v < VEC; v++)
      sum[i][v] = vld1q_f64(c + i * ldc + v * LANES_F64);
  for (size_t d = 0; d < depth; d++, a += QLK_PANEL, b += QLK_PANEL) {
    const float64x2_t b0 = vld1q_f64(b), b1 = vld1q_f64(b + 2);
    const float64x2_t b2 = vld1q_f64(b + 4);
#pragma GCC unroll 8
    for (int i = 0; i < MR; i++) {
      const float64x2_t x = vdupq_n_f64(a[i]);
      if (fused) {
        sum[i][0] = vfmaq_f64(sum[i][0], x, b0);
        sum[i][1] = vfmaq_f64(sum[i][1], x, b1);
        sum[i][2] = vfmaq_f64(sum[i][2], x, b2);
      } else {
        sum[i][0] = vaddq_f64(sum[i][0], vmulq_f64(x, b0));
        sum[i][1] = vaddq_f64(sum[i][1], vmulq_f64(x, b1));
        sum[i][2] = vaddq_f64(sum[i][2], vmulq_f64(x, b2));
      }
    }
  }
#pragma GCC unroll 8
  for (size_t i = 0; i < MR; i++)
#pragma GCC unroll 3
    for (size_t v = 0; v < VEC; v++)
      vst1q_f64(c + i * ldc + v * LANES_F64, sum[i][v]);
}

static void qlk_tile_f32_neon(size_t depth, const float *a, const float *b, float *c, size_t ldc)
{
  add_f32(depth, a, b, c, ldc, 1);
}

static void qlk_tile_f32_ordered_neon(size_t depth, const float *a, const float *b, float *c,
                                      size_t ldc)
{
  add_f32(depth, a, b, c, ldc, 0);
}

static void qlk_tile_f32_wide_neon(size_t depth, const float *a, const float *b, double *c,
                                   size_t ldc)
{
  add_wide(depth, a, b, c, ldc, 1);
}

static void qlk_tile_f32_wide_ordered_neon(size_t depth, const float *a, const float *b, double *c,
                                           size_t ldc)
{
  add_wide(depth, a, b, c, ldc, 0);
}

static void qlk_tile_f64_neon(size_t depth, const double *a, const double *b, double *c, size_t ldc)
{
  add_f64(depth, a, b, c, ldc, 1);
}

static void qlk_tile_f64_ordered_neon(size_t depth, const double *a, const double *b, double *c,
                                      size_t ldc)
{
  add_f64(depth, a, b, c, ldc, 0);
}

void qlk_fill_linalg_neon(qlk_linalg *t)
{
  const size_t nr_f32 = VEC * LANES_F32, nr_f64 = VEC * LANES_F64;
  t->f32 = (qlk_tile_f32){MR, nr_f32, qlk_tile_f32_neon, qlk_tile_f32_wide_neon};
  t->f32_ordered =
      (qlk_tile_f32){MR, nr_f32, qlk_tile_f32_ordered_neon, qlk_tile_f32_wide_ordered_neon};
  t->f64 = (qlk_tile_f64){MR, nr_f64, qlk_tile_f64_neon};
  t->f64_ordered = (qlk_tile_f64){MR, nr_f64, qlk_tile_f64_ordered_neon};
}
