/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "qlk_exact.h"

static int qlk_ranges_f32_scalar(const float *x, size_t n, size_t group, float *lo, float *hi)
{
  float odd = 0.0f;
  for (size_t first = 0, g = 0; first < n; g++) {
    const size_t rest = n - first, count = rest < group ? rest : group;
    lo[g] = hi[g] = x[first];
    qlk_range_span(x + first, count, &lo[g], &hi[g], &odd);
    first += count;
  }
  return odd == 0.0f;
}

static void qlk_round_u8_scalar(const qlk_rounded *row, uint8_t *codes)
{
  for (size_t first = 0, g = 0; first < row->n; g++) {
    const size_t rest = row->n - first, n = rest < row->group ? rest : row->group;
    qlk_rounded_span(row, g, first, first + n, codes);
    first += n;
  }
}

void qlk_fill_round_scalar(qlk_exact *t)
{
  t->ranges = qlk_ranges_f32_scalar;
  t->round = qlk_round_u8_scalar;
}
