/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__AVX512F__)
#error "this file needs -mavx512f"
#endif

#include "qlk_linalg.h"

#include <immintrin.h>

/* 24 of the 32 registers hold sums, three a row of b; the elements of a come from memory. */
enum { MR = 8, VEC = 3, LANES_F32 = 16, LANES_F64 = 8, AHEAD = 32 };

/* fused is a constant in every call. */
static inline __attribute__((always_inline)) void
sum_f32(size_t depth, const float *a, const float *b, __m512 sum[MR][VEC], int fused)
{
  for (size_t d = 0; d < depth; d++, a += QLK_PANEL, b += QLK_PANEL) {
    const __m512 b0 = _mm512_loadu_ps(b), b1 = _mm512_loadu_ps(b + 16);
    const __m512 b2 = _mm512_loadu_ps(b + 32);
    _mm_prefetch((const char *)(a + AHEAD * QLK_PANEL), _MM_HINT_T0);
#pragma GCC unroll 8
    for (int i = 0; i < MR; i++) {
      const __m512 x = _mm512_set1_ps(a[i]);
      if (fused) {
        sum[i][0] = _mm512_fmadd_ps(x, b0, sum[i][0]);
        sum[i][1] = _mm512_fmadd_ps(x, b1, sum[i][1]);
        sum[i][2] = _mm512_fmadd_ps(x, b2, sum[i][2]);
      } else {
        sum[i][0] = _mm512_add_ps(sum[i][0], _mm512_mul_ps(x, b0));
        sum[i][1] = _mm512_add_ps(sum[i][1], _mm512_mul_ps(x, b1));
        sum[i][2] = _mm512_add_ps(sum[i][2], _mm512_mul_ps(x, b2));
      }
    }
  }
}

static inline __attribute__((always_inline)) void
add_f32(size_t depth, const float *a, const float *b, float *c, size_t ldc, int fused)
{
  __m512 sum[MR][VEC];
#pragma GCC unroll 8
  for (size_t i = 0; i < MR; i++)
#pragma GCC unroll 3
    for (size_t v = 0; v < VEC; v++)
      sum[i][v] = _mm512_loadu_ps(c + i * ldc + v * LANES_F32);
  sum_f32(depth, a, b, sum, fused);
#pragma GCC unroll 8
  for (size_t i = 0; i < MR; i++)
#pragma GCC unroll 3
    for (size_t v = 0; v < VEC; v++)
      _mm512_storeu_ps(c + i * ldc + v * LANES_F32, sum[i][v]);
}

static void widen(double *c, __m256 part)
{
  _mm512_storeu_pd(c, _mm512_add_pd(_mm512_loadu_pd(c), _mm512_cvtps_pd(part)));
}

static inline __attribute__((always_inline)) void
add_wide(size_t depth, const float *a, const float *b, double *c, size_t ldc, int fused)
{
  __m512 sum[MR][VEC];
#pragma GCC unroll 8
  for (size_t i = 0; i < MR; i++)
#pragma GCC unroll 3
    for (size_t v = 0; v < VEC; v++)
      sum[i][v] = _mm512_setzero_ps();
  sum_f32(depth, a, b, sum, fused);
#pragma GCC unroll 8
  for (size_t i = 0; i < MR; i++)
#pragma GCC unroll 3
    for (size_t v = 0; v < VEC; v++) {
      double *at = c + i * ldc + v * LANES_F32;
      widen(at, _mm512_castps512_ps256(sum[i][v]));
      widen(at + 8, _mm512_extractf32x8_ps(sum[i][v], 1));
    }
}

static inline __attribute__((always_inline)) void
add_f64(size_t depth, const double *a, const double *b, double *c, size_t ldc, int fused)
{
  __m512d sum[MR][VEC];
#pragma GCC unroll 8
  for (size_t i = 0; i < MR; i++)
#pragma GCC unroll 3
    for (size_t v = 0; v < VEC; v++)
      sum[i][v] = _mm512_loadu_pd(c + i * ldc + v * LANES_F64);
  for (size_t d = 0; d < depth; d++, a += QLK_PANEL, b += QLK_PANEL) {
    const __m512d b0 = _mm512_loadu_pd(b), b1 = _mm512_loadu_pd(b + 8);
    const __m512d b2 = _mm512_loadu_pd(b + 16);
    _mm_prefetch((const char *)(a + AHEAD * QLK_PANEL), _MM_HINT_T0);
#pragma GCC unroll 8
    for (int i = 0; i < MR; i++) {
      const __m512d x = _mm512_set1_pd(a[i]);
      if (fused) {
        sum[i][0] = _mm512_fmadd_pd(x, b0, sum[i][0]);
        sum[i][1] = _mm512_fmadd_pd(x, b1, sum[i][1]);
        sum[i][2] = _mm512_fmadd_pd(x, b2, sum[i][2]);
      } else {
        sum[i][0] = _mm512_add_pd(sum[i][0], _mm512_mul_pd(x, b0));
        sum[i][1] = _mm512_add_pd(sum[i][1], _mm512_mul_pd(x, b1));
        sum[i][2] = _mm512_add_pd(sum[i][2], _mm512_mul_pd(x, b2));
      }
    }
  }
#pragma GCC unroll 8
  for (size_t i = 0; i < MR; i++)
#pragma GCC unroll 3
    for (size_t v = 0; v < VEC; v++)
      _mm512_storeu_pd(c + i * ldc + v * LANES_F64, sum[i][v]);
}

static void qlk_tile_f32_avx512(size_t depth, const float *a, const float *b, float *c, size_t ldc)
{
  add_f32(depth, a, b, c, ldc, 1);
}

static void qlk_tile_f32_ordered_avx512(size_t depth, const float *a, const float *b, float *c,
                                        size_t ldc)
{
  add_f32(depth, a, b, c, ldc, 0);
}

static void qlk_tile_f32_wide_avx512(size_t depth, const float *a, const float *b, double *c,
                                     size_t ldc)
{
  add_wide(depth, a, b, c, ldc, 1);
}

static void qlk_tile_f32_wide_ordered_avx512(size_t depth, const float *a, const float *b,
                                             double *c, size_t ldc)
{
  add_wide(depth, a, b, c, ldc, 0);
}

static void qlk_tile_f64_avx512(size_t depth, const double *a, const double *b, double *c,
                                size_t ldc)
{
  add_f64(depth, a, b, c, ldc, 1);
}

static void qlk_tile_f64_ordered_avx512(size_t depth, const double *a, const double *b, double *c,
                                        size_t ldc)
{
  add_f64(depth, a, b, c, ldc, 0);
}

void qlk_fill_linalg_avx512(qlk_linalg *t)
{
  const size_t nr_f32 = VEC * LANES_F32, nr_f64 = VEC * LANES_F64;
  t->f32 = (qlk_tile_f32){MR, nr_f32, qlk_tile_f32_avx512, qlk_tile_f32_wide_avx512};
  t->f32_ordered =
      (qlk_tile_f32){MR, nr_f32, qlk_tile_f32_ordered_avx512, qlk_tile_f32_wide_ordered_avx512};
  t->f64 = (qlk_tile_f64){MR, nr_f64, qlk_tile_f64_avx512};
  t->f64_ordered = (qlk_tile_f64){MR, nr_f64, qlk_tile_f64_ordered_avx512};
}
