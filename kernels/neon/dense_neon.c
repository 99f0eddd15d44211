/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__aarch64__) || !defined(__ARM_NEON)
#error "this file needs aarch64 with Advanced SIMD"
#endif

#include "qlk_gemm.h"

#include <arm_neon.h>
#include <stdbool.h>

/* 4 x 16: 16 sums, 4 vectors of weights, one of activations. */
enum { MR = 4, NR = 16, VECTORS = 4 };

/* rows and ordered are constants at every call, so that all sums stay in registers. */
static inline __attribute__((always_inline)) void tile(const size_t rows, const bool ordered,
                                                       size_t k, const float *x, size_t ldx,
                                                       const float *b, float *y, size_t ldy,
                                                       int accumulate)
{
  float32x4_t acc[MR][VECTORS];
  for (size_t i = 0; i < rows; i++)
    for (size_t v = 0; v < VECTORS; v++)
      acc[i][v] = vdupq_n_f32(0);
  for (size_t p = 0; p < k; p++, b += NR) {
    const float32x4_t w[VECTORS] = {vld1q_f32(b), vld1q_f32(b + 4), vld1q_f32(b + 8),
                                    vld1q_f32(b + 12)};
    for (size_t i = 0; i < rows; i++) {
      const float32x4_t a = vdupq_n_f32(x[i * ldx + p]);
      for (size_t v = 0; v < VECTORS; v++)
        acc[i][v] =
            ordered ? vaddq_f32(acc[i][v], vmulq_f32(a, w[v])) : vfmaq_f32(acc[i][v], a, w[v]);
    }
  }
  for (size_t i = 0; i < rows; i++)
    for (size_t v = 0; v < VECTORS; v++) {
      float *part = y + i * ldy + 4 * v;
      vst1q_f32(part, accumulate ? vaddq_f32(vld1q_f32(part), acc[i][v]) : acc[i][v]);
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
  default: tile(4, ordered, k, x, ldx, b, y, ldy, accumulate); break;
  }
}

void qlk_dense_f32p16_neon(size_t m, size_t k, const float *x, size_t ldx, const float *b, float *y,
                           size_t ldy, int accumulate)
{
  tiles(m, false, k, x, ldx, b, y, ldy, accumulate);
}

void qlk_dense_ordered_f32p16_neon(size_t m, size_t k, const float *x, size_t ldx, const float *b,
                                   float *y, size_t ldy, int accumulate)
{
  tiles(m, true, k, x, ldx, b, y, ldy, accumulate);
}
