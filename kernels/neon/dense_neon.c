/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "vec_neon.h"

#include "qlk_dense_body.h"

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
