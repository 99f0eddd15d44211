/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512DQ__) || \
    !defined(__AVX512VL__)
#error "this file needs -mavx512f -mavx512bw -mavx512dq -mavx512vl"
#endif

#include "qlk_gemm.h"

#include <immintrin.h>
#include <stdbool.h>

/* 12 x 32: 24 sums, 2 vectors of weights; the activations are broadcast from memory. */
enum { MR = 12, NR = 32 };

/* rows and ordered are constants at every call, so that all sums stay in registers. No unroll
 * pragma: clang applies it before it knows rows, and then keeps the sums in memory. */
static inline __attribute__((always_inline)) void tile(const size_t rows, const bool ordered,
                                                       size_t k, const float *x, size_t ldx,
                                                       const float *b, float *y, size_t ldy,
                                                       int accumulate)
{
  __m512 acc[MR][2];
  for (size_t i = 0; i < rows; i++)
    acc[i][0] = acc[i][1] = _mm512_setzero_ps();
  for (size_t p = 0; p < k; p++) {
    const __m512 b0 = _mm512_load_ps(b + p * NR), b1 = _mm512_load_ps(b + p * NR + 16);
    for (size_t i = 0; i < rows; i++) {
      const __m512 a = _mm512_set1_ps(x[i * ldx + p]);
      if (ordered) {
        acc[i][0] = _mm512_add_ps(acc[i][0], _mm512_mul_ps(a, b0));
        acc[i][1] = _mm512_add_ps(acc[i][1], _mm512_mul_ps(a, b1));
      } else {
        acc[i][0] = _mm512_fmadd_ps(a, b0, acc[i][0]);
        acc[i][1] = _mm512_fmadd_ps(a, b1, acc[i][1]);
      }
    }
  }
  for (size_t i = 0; i < rows; i++) {
    float *row = y + i * ldy;
    if (accumulate) {
      acc[i][0] = _mm512_add_ps(_mm512_loadu_ps(row), acc[i][0]);
      acc[i][1] = _mm512_add_ps(_mm512_loadu_ps(row + 16), acc[i][1]);
    }
    _mm512_storeu_ps(row, acc[i][0]);
    _mm512_storeu_ps(row + 16, acc[i][1]);
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
  case 6: tile(6, ordered, k, x, ldx, b, y, ldy, accumulate); break;
  case 7: tile(7, ordered, k, x, ldx, b, y, ldy, accumulate); break;
  case 8: tile(8, ordered, k, x, ldx, b, y, ldy, accumulate); break;
  case 9: tile(9, ordered, k, x, ldx, b, y, ldy, accumulate); break;
  case 10: tile(10, ordered, k, x, ldx, b, y, ldy, accumulate); break;
  case 11: tile(11, ordered, k, x, ldx, b, y, ldy, accumulate); break;
  default: tile(12, ordered, k, x, ldx, b, y, ldy, accumulate); break;
  }
}

void qlk_dense_f32p32_avx512(size_t m, size_t k, const float *x, size_t ldx, const float *b,
                             float *y, size_t ldy, int accumulate)
{
  tiles(m, false, k, x, ldx, b, y, ldy, accumulate);
}

void qlk_dense_ordered_f32p32_avx512(size_t m, size_t k, const float *x, size_t ldx, const float *b,
                                     float *y, size_t ldy, int accumulate)
{
  tiles(m, true, k, x, ldx, b, y, ldy, accumulate);
}
