/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__AVX2__) || !defined(__FMA__)
#error "this file needs -mavx2 -mfma"
#endif

#include "qlk_linalg.h"

#include <immintrin.h>

/* 12 of the 16 registers hold sums, two a row of b, one an element of a. */
enum { MR = 6, VEC = 2, LANES_F32 = 8, LANES_F64 = 4 };

/* fused is a constant in every call. */
static inline __attribute__((always_inline)) void
sum_f32(size_t depth, const float *a, const float *b, __m256 sum[MR][VEC], int fused)
{
  for (size_t d = 0; d < depth; d++, a += QLK_PANEL, b += QLK_PANEL) {
    const __m256 b0 = _mm256_loadu_ps(b), b1 = _mm256_loadu_ps(b + 8);
#pragma GCC unroll 6
    for (int i = 0; i < MR; i++) {
      const __m256 x = _mm256_set1_ps(a[i]);
      if (fused) {
        sum[i][0] = _mm256_fmadd_ps(x, b0, sum[i][0]);
        sum[i][1] = _mm256_fmadd_ps(x, b1, sum[i][1]);
      } else {
        sum[i][0] = _mm256_add_ps(sum[i][0], _mm256_mul_ps(x, b0));
        sum[i][1] = _mm256_add_ps(sum[i][1], _mm256_mul_ps(x, b1));
      }
    }
  }
}

static inline __attribute__((always_inline)) void
add_f32(size_t depth, const float *a, const float *b, float *c, size_t ldc, int fused)
{
  __m256 sum[MR][VEC];
#pragma GCC unroll 6
  for (size_t i = 0; i < MR; i++)
#pragma GCC unroll 2
    for (size_t v = 0; v < VEC; v++)
      sum[i][v] = _mm256_loadu_ps(c + i * ldc + v * LANES_F32);
  sum_f32(depth, a, b, sum, fused);
#pragma GCC unroll 6
  for (size_t i = 0; i < MR; i++)
#pragma GCC unroll 2
    for (size_t v = 0; v < VEC; v++)
      _mm256_storeu_ps(c + i * ldc + v * LANES_F32, sum[i][v]);
}

static void widen(double *c, __m128 part)
{
  _mm256_storeu_pd(c, _mm256_add_pd(_mm256_loadu_pd(c), _mm256_cvtps_pd(part)));
}

static inline __attribute__((always_inline)) void
add_wide(size_t depth, const float *a, const float *b, double *c, size_t ldc, int fused)
{
  __m256 sum[MR][VEC];
#pragma GCC unroll 6
  for (size_t i = 0; i < MR; i++)
#pragma GCC unroll 2
    for (size_t v = 0; v < VEC; v++)
      sum[i][v] = _mm256_setzero_ps();
  sum_f32(depth, a, b, sum, fused);
#pragma GCC unroll 6
  for (size_t i = 0; i < MR; i++)
#pragma GCC unroll 2
    for (size_t v = 0; v < VEC; v++) {
      double *at = c + i * ldc + v * LANES_F32;
      widen(at, _mm256_castps256_ps128(sum[i][v]));
      widen(at + 4, _mm256_extractf128_ps(sum[i][v], 1));
    }
}

static inline __attribute__((always_inline)) void
add_f64(size_t depth, const double *a, const double *b, double *c, size_t ldc, int fused)
{
  __m256d sum[MR][VEC];
#pragma GCC unroll 6
  for (size_t i = 0; i < MR; i++)
#pragma GCC unroll 2
    for (size_t v = 0; v < VEC; v++)
      sum[i][v] = _mm256_loadu_pd(c + i * ldc + v * LANES_F64);
  for (size_t d = 0; d < depth; d++, a += QLK_PANEL, b += QLK_PANEL) {
    const __m256d b0 = _mm256_loadu_pd(b), b1 = _mm256_loadu_pd(b + 4);
#pragma GCC unroll 6
    for (int i = 0; i < MR; i++) {
      const __m256d x = _mm256_set1_pd(a[i]);
      if (fused) {
        sum[i][0] = _mm256_fmadd_pd(x, b0, sum[i][0]);
        sum[i][1] = _mm256_fmadd_pd(x, b1, sum[i][1]);
      } else {
        sum[i][0] = _mm256_add_pd(sum[i][0], _mm256_mul_pd(x, b0));
        sum[i][1] = _mm256_add_pd(sum[i][1], _mm256_mul_pd(x, b1));
      }
    }
  }
#pragma GCC unroll 6
  for (size_t i = 0; i < MR; i++)
#pragma GCC unroll 2
    for (size_t v = 0; v < VEC; v++)
      _mm256_storeu_pd(c + i * ldc + v * LANES_F64, sum[i][v]);
}

static void qlk_tile_f32_avx2(size_t depth, const float *a, const float *b, float *c, size_t ldc)
{
  add_f32(depth, a, b, c, ldc, 1);
}

static void qlk_tile_f32_ordered_avx2(size_t depth, const float *a, const float *b, float *c,
                                      size_t ldc)
{
  add_f32(depth, a, b, c, ldc, 0);
}

static void qlk_tile_f32_wide_avx2(size_t depth, const float *a, const float *b, double *c,
                                   size_t ldc)
{
  add_wide(depth, a, b, c, ldc, 1);
}

static void qlk_tile_f32_wide_ordered_avx2(size_t depth, const float *a, const float *b, double *c,
                                           size_t ldc)
{
  add_wide(depth, a, b, c, ldc, 0);
}

static void qlk_tile_f64_avx2(size_t depth, const double *a, const double *b, double *c, size_t ldc)
{
  add_f64(depth, a, b, c, ldc, 1);
}

static void qlk_tile_f64_ordered_avx2(size_t depth, const double *a, const double *b, double *c,
                                      size_t ldc)
{
  add_f64(depth, a, b, c, ldc, 0);
}

void qlk_fill_linalg_avx2(qlk_linalg *t)
{
  const size_t nr_f32 = VEC * LANES_F32, nr_f64 = VEC * LANES_F64;
  t->f32 = (qlk_tile_f32){MR, nr_f32, qlk_tile_f32_avx2, qlk_tile_f32_wide_avx2};
  t->f32_ordered =
      (qlk_tile_f32){MR, nr_f32, qlk_tile_f32_ordered_avx2, qlk_tile_f32_wide_ordered_avx2};
  t->f64 = (qlk_tile_f64){MR, nr_f64, qlk_tile_f64_avx2};
  t->f64_ordered = (qlk_tile_f64){MR, nr_f64, qlk_tile_f64_ordered_avx2};
}
