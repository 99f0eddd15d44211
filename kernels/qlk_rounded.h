/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLK_ROUNDED_H
#define QLK_ROUNDED_H

#include "qlk_half.h"

/* Rows of finite numbers that become codes, and what one code is: the specification of the kernels,
 * and their tails. */
typedef struct qlk_rounded {
  const float *x;
  size_t n, group;         /* columns, and columns of a group: the last one may have fewer */
  const float *scales;     /* of the groups, not 0 */
  const int16_t *zeros;    /* of the groups */
  int32_t lowest, highest; /* codes */
} qlk_rounded;

/* The nearest integer, ties to even, of a number below 2^51. */
static inline double qlk_nearest(double v)
{
  return (v + 0x1.8p52) - 0x1.8p52;
}

static inline uint8_t qlk_rounded_code(float x, float scale, int32_t zero, int32_t lowest,
                                       int32_t highest)
{
  const double lo = (double)(lowest - zero), hi = (double)(highest - zero);
  const double q = (double)x / (double)scale;
  return (uint8_t)((int32_t)qlk_nearest(q < lo ? lo : q > hi ? hi : q) + zero);
}

/* Columns first .. end - 1, which lie in group g. */
static inline void qlk_rounded_span(const qlk_rounded *row, size_t g, size_t first, size_t end,
                                    uint8_t *codes)
{
  for (size_t i = first; i < end; i++)
    codes[i] =
        qlk_rounded_code(row->x[i], row->scales[g], row->zeros[g], row->lowest, row->highest);
}

/* Least and greatest of n > 0 numbers; a NaN or Inf among them makes *odd one of these. */
static inline void qlk_range_span(const float *x, size_t n, float *lo, float *hi, float *odd)
{
  for (size_t i = 0; i < n; i++) {
    *lo = x[i] < *lo ? x[i] : *lo;
    *hi = x[i] > *hi ? x[i] : *hi;
    *odd += x[i] * 0.0f;
  }
}

#endif
