/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "qlk_gemm.h"

/* The specification of the dense core. Multiply and add are apart (-ffp-contract=off), so that it
 * is its own ordered version; written by columns, so that compilers vectorize it in this order. */
enum { NR = 16 };

static void row(size_t k, const float *restrict x, const float *restrict b, float *restrict y,
                int accumulate)
{
  float acc[NR] = {0};
  for (size_t p = 0; p < k; p++)
    for (size_t j = 0; j < NR; j++)
      acc[j] += x[p] * b[p * NR + j];
  for (size_t j = 0; j < NR; j++)
    y[j] = accumulate ? y[j] + acc[j] : acc[j];
}

void qlk_dense_f32p16_scalar(size_t m, size_t k, const float *x, size_t ldx, const float *b,
                             float *y, size_t ldy, int accumulate)
{
  for (size_t i = 0; i < m; i++)
    row(k, x + i * ldx, b, y + i * ldy, accumulate);
}
