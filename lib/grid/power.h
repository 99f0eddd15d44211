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

static inline uint64_t qli_bits_from_f64(double x)
{
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

/* log2 of a positive normal x: x = 2^e m with m in [sqrt(1/2), sqrt(2)), and
 * log2 m = 2 / ln 2 * artanh(t), t = (m - 1) / (m + 1), |t| < 0.1716: the first omitted term is
 * t^17 / 17 < 2^-47. Without branches and with shifts that SSE2 has, for the vectorizer. */
static inline double qli_log2(double x)
{
  const uint64_t sqrt_half = 0x3fe6a09e667f3bcdu, bias = (uint64_t)1024 << 52;
  const uint64_t bits = qli_bits_from_f64(x);
  const uint64_t biased = (bits - sqrt_half + bias) >> 52; /* e + 1024 */
  const double m = qli_f64_from_bits(bits - (biased << 52) + bias);
  /* In the low bits of 2^52 an integer is its own value. */
  const double e = qli_f64_from_bits(biased | qli_bits_from_f64(0x1p52)) - (0x1p52 + 1024.0);
  const double t = (m - 1.0) / (m + 1.0), u = t * t;
  double sum = 1.0 / 15.0;
  sum = sum * u + 1.0 / 13.0;
  sum = sum * u + 1.0 / 11.0;
  sum = sum * u + 1.0 / 9.0;
  sum = sum * u + 1.0 / 7.0;
  sum = sum * u + 1.0 / 5.0;
  sum = sum * u + 1.0 / 3.0;
  sum = sum * u + 1.0;
  return e + t * sum * 0x1.71547652b82fep+1;
}

/* 2^y for y in [-1021, 1023]. 2^f by its series, |f ln 2| < 0.3466: the first omitted term is below
 * 2^-45. */
static inline double qli_exp2(double y)
{
  const double shifted = qli_clamp(y, -1021.0, 1023.0) + 0x1.8p52;
  const double f = (qli_clamp(y, -1021.0, 1023.0) - (shifted - 0x1.8p52)) * 0x1.62e42fefa39efp-1;
  const uint64_t whole = qli_bits_from_f64(shifted) - qli_bits_from_f64(0x1.8p52);
  double sum = 1.0 / 39916800.0;
  sum = sum * f + 1.0 / 3628800.0;
  sum = sum * f + 1.0 / 362880.0;
  sum = sum * f + 1.0 / 40320.0;
  sum = sum * f + 1.0 / 5040.0;
  sum = sum * f + 1.0 / 720.0;
  sum = sum * f + 1.0 / 120.0;
  sum = sum * f + 1.0 / 24.0;
  sum = sum * f + 1.0 / 6.0;
  sum = sum * f + 0.5;
  sum = sum * f + 1.0;
  sum = sum * f + 1.0;
  return sum * qli_f64_from_bits((whole + 1023) << 52);
}

/* a^norm for a >= 0 to ten digits; 0 for what is below the normal range. */
static inline double qli_power(double a, double norm)
{
  const double power = qli_exp2(norm * qli_log2(a));
  return a < 0x1p-1022 ? 0.0 : power;
}

#endif
