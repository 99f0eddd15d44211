/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_GRID_POWER_H
#define QLI_GRID_POWER_H

#include <stdint.h>
#include <string.h>

/* Rounding and powers from additions and multiplications alone: the C library's pow picks fused
 * instructions by processor, and a search that used it would choose other grids elsewhere. */

/* Nearest integer, ties to even, for |x| < 2^51: the sum has no bits below one. */
static inline double qli_rint(double x)
{
  return (x + 0x1.8p52) - 0x1.8p52;
}

static inline double qli_clamp(double x, double lo, double hi)
{
  return x < lo ? lo : x > hi ? hi : x;
}

static inline double qli_f64_from_bits(uint64_t bits)
{
  double x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/* log2 of a positive normal x: x = 2^e m with m in [sqrt(1/2), sqrt(2)), and
 * log2 m = 2 / ln 2 * artanh(t), t = (m - 1) / (m + 1), |t| < 0.1716: the first omitted term is
 * t^21 / 21 < 2^-57. */
static inline double qli_log2(double x)
{
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  const uint64_t sqrt_half = 0x3fe6a09e667f3bcdu;
  const int64_t e = (int64_t)(bits - sqrt_half) >> 52;
  const double m = qli_f64_from_bits(bits - ((uint64_t)e << 52));
  const double t = (m - 1.0) / (m + 1.0), u = t * t;
  double sum = 1.0 / 19.0;
  for (int k = 17; k >= 1; k -= 2)
    sum = sum * u + 1.0 / (double)k;
  return (double)e + t * sum * 0x1.71547652b82fep+1;
}

/* 2^y; 0 below the normal range. 2^f by its series, |f ln 2| < 0.3466: the first omitted term is
 * below 2^-57. */
static inline double qli_exp2(double y)
{
  if (y < -1021.0)
    return 0.0;
  if (y > 1023.0)
    y = 1023.0;
  const double whole = qli_rint(y);
  const double f = (y - whole) * 0x1.62e42fefa39efp-1;
  double sum = 1.0;
  for (int k = 13; k >= 1; k--)
    sum = sum * f / (double)k + 1.0;
  return sum * qli_f64_from_bits((uint64_t)((int64_t)whole + 1023) << 52);
}

/* a^norm for a >= 0; what is below the normal range counts as 0. */
static inline double qli_power(double a, double norm)
{
  if (norm == 2.0)
    return a * a;
  return a < 0x1p-1022 ? 0.0 : qli_exp2(norm * qli_log2(a));
}

#endif
