/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__)
#error "this file needs -mavx2 -mfma -mf16c -mbmi2"
#endif

#include "qlk_gemm.h"

#include <immintrin.h>
#include <stdbool.h>

/* 6 x 16: 12 sums, 2 vectors of weights, one of activations. */
enum { MR = 6, NR = 16 };

/* rows and ordered are constants at every call, so that all sums stay in registers. No unroll
 * pragma: clang applies it before it knows rows, and then keeps the sums in memory. */
static inline __attribute__((always_inline)) void tile(const size_t rows, const bool ordered,
                                                       size_t k, const float *x, size_t ldx,
                                                       const float *b, float *y, size_t ldy,
                                                       int accumulate)
{
  __m256 acc[MR][2];
  for (size_t i = 0; i < rows; i++)
    acc[i][0] = acc[i][1] = _mm256_setzero_ps();
  for (size_t p = 0; p < k; p++) {
    const __m256 b0 = _mm256_load_ps(b + p * NR), b1 = _mm256_load_ps(b + p * NR + 8);
    for (size_t i = 0; i < rows; i++) {
      const __m256 a = _mm256_set1_ps(x[i * ldx + p]);
      if (ordered) {
        acc[i][0] = _mm256_add_ps(acc[i][0], _mm256_mul_ps(a, b0));
        acc[i][1] = _mm256_add_ps(acc[i][1], _mm256_mul_ps(a, b1));
      } else {
        acc[i][0] = _mm256_fmadd_ps(a, b0, acc[i][0]);
        acc[i][1] = _mm256_fmadd_ps(a, b1, acc[i][1]);
      }
    }
  }
  for (size_t i = 0; i < rows; i++) {
    float *row = y + i * ldy;
    if (accumulate) {
      acc[i][0] = _mm256_add_ps(_mm256_loadu_ps(row), acc[i][0]);
      acc[i][1] = _mm256_add_ps(_mm256_loadu_ps(row + 8), acc[i][1]);
    }
    _mm256_storeu_ps(row, acc[i][0]);
    _mm256_storeu_ps(row + 8, acc[i][1]);
  }
}

static inline __attribute__((always_inline)) void tiles(size_t m, const bool ordered, size_t k,
                                                        const float *x, size_t ldx, const float *b,
                                                        float *y, size_t ldy, int accumulate)
{
  switch (m) {
  case 1: tile(1, ordered, k, x, ldx, b, y, ldy, accumulate); break;
  case 2: tile(2, ordered, k, x, ldx, b, y, ldy, accumulate); break;
  case 3: tile(3, ordered, k, x, ldx, b, y, ldy, accumulate); break;
  case 4: tile(4, ordered, k, x, ldx, b, y, ldy, accumulate); break;
  case 5: tile(5, ordered, k, x, ldx, b, y, ldy, accumulate); break;
  default: tile(6, ordered, k, x, ldx, b, y, ldy, accumulate); break;
  }
}

void qlk_dense_f32p16_avx2(size_t m, size_t k, const float *x, size_t ldx, const float *b, float *y,
                           size_t ldy, int accumulate)
{
  tiles(m, false, k, x, ldx, b, y, ldy, accumulate);
}

void qlk_dense_ordered_f32p16_avx2(size_t m, size_t k, const float *x, size_t ldx, const float *b,
                                   float *y, size_t ldy, int accumulate)
{
  tiles(m, true, k, x, ldx, b, y, ldy, accumulate);
}
