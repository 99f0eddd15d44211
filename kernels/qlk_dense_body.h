/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLK_DENSE_BODY_H
#define QLK_DENSE_BODY_H

#include "qlk_gemm.h"

#include <stdbool.h>

/* The dense cores, included once per ISA behind its vec_<isa>.h: MR rows of NR columns. */

enum { VECTORS = NR / VL };

/* rows and ordered are constants at every call, so that all sums stay in registers. No unroll
 * pragma: clang applies it before it knows rows, and then keeps the sums in memory. */
static inline __attribute__((always_inline)) void tile(const size_t rows, const bool ordered,
                                                       size_t k, const float *x, size_t ldx,
                                                       const float *b, float *y, size_t ldy,
                                                       int accumulate)
{
  vec acc[MR][VECTORS];
  for (size_t i = 0; i < rows; i++)
    for (size_t v = 0; v < VECTORS; v++)
      acc[i][v] = vec_set1(0);
  for (size_t p = 0; p < k; p++, b += NR) {
    vec w[VECTORS];
    for (size_t v = 0; v < VECTORS; v++)
      w[v] = vec_load(b + v * VL);
    for (size_t i = 0; i < rows; i++) {
      const vec a = vec_set1(x[i * ldx + p]);
      for (size_t v = 0; v < VECTORS; v++)
        acc[i][v] = ordered ? vec_add(acc[i][v], vec_mul(a, w[v])) : vec_fma(a, w[v], acc[i][v]);
    }
  }
  for (size_t i = 0; i < rows; i++)
    for (size_t v = 0; v < VECTORS; v++) {
      float *part = y + i * ldy + v * VL;
      vec_store(part, accumulate ? vec_add(vec_load(part), acc[i][v]) : acc[i][v]);
    }
}

/* Calls beyond MR are never reached; the compiler drops them. */
static inline __attribute__((always_inline)) size_t at_most(size_t rows)
{
  return rows < MR ? rows : MR;
}

static inline __attribute__((always_inline)) void tiles(size_t m, const bool ordered, size_t k,
                                                        const float *x, size_t ldx, const float *b,
                                                        float *y, size_t ldy, int accumulate)
{
  switch (m < MR ? m : MR) {
  case 1: tile(at_most(1), ordered, k, x, ldx, b, y, ldy, accumulate); break;
  case 2: tile(at_most(2), ordered, k, x, ldx, b, y, ldy, accumulate); break;
  case 3: tile(at_most(3), ordered, k, x, ldx, b, y, ldy, accumulate); break;
  case 4: tile(at_most(4), ordered, k, x, ldx, b, y, ldy, accumulate); break;
  case 5: tile(at_most(5), ordered, k, x, ldx, b, y, ldy, accumulate); break;
  case 6: tile(at_most(6), ordered, k, x, ldx, b, y, ldy, accumulate); break;
  case 7: tile(at_most(7), ordered, k, x, ldx, b, y, ldy, accumulate); break;
  case 8: tile(at_most(8), ordered, k, x, ldx, b, y, ldy, accumulate); break;
  case 9: tile(at_most(9), ordered, k, x, ldx, b, y, ldy, accumulate); break;
  case 10: tile(at_most(10), ordered, k, x, ldx, b, y, ldy, accumulate); break;
  case 11: tile(at_most(11), ordered, k, x, ldx, b, y, ldy, accumulate); break;
  default: tile(MR, ordered, k, x, ldx, b, y, ldy, accumulate); break;
  }
}

#endif
