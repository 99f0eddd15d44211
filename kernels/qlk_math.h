/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLK_MATH_H
#define QLK_MATH_H

#include <stdint.h>
#include <string.h>

/* Elementary functions of our own: those of the C library have other bits in every version. Plain
 * C in a fixed order, so that every ISA gives the same. */

static inline float qlk_bits_to_float(uint32_t bits)
{
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

static inline uint32_t qlk_float_to_bits(float f)
{
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  return bits;
}

/* e^x, at most 1 ulp off over all floats, infinity and NaN included; the constants come from
 * scripts/derive_exp.py. x = n ln 2 + r with |r| <= ln(2) / 2: adding 1.5 * 2^23 rounds
 * x / ln 2 to the integer n and leaves it in the low bits; n * ln2_high is exact. The factor 2^n is
 * applied in two halves, each a normal number, so that subnormal results are rounded once. */
static inline float qlk_exp(float x)
{
  const float magic = 0x1.8p23f, ln2_high = 0x1.62e4p-1f, ln2_low = 0x1.7f7d1cp-20f;
  x = x < -104.0f ? -104.0f : x;
  x = x > 89.0f ? 89.0f : x;
  const float shifted = x * 0x1.715476p+0f + magic;
  const float n = shifted - magic;
  const float r = (x - n * ln2_high) - n * ln2_low;
  float p = 0x1.6a244cp-10f;
  p = p * r + 0x1.1239d4p-7f;
  p = p * r + 0x1.5558f2p-5f;
  p = p * r + 0x1.555492p-3f;
  p = p * r + 0x1.fffffcp-2f;
  const float y = 1.0f + (r + r * r * p);
  /* n + 512 is positive: halves can be taken without signed shifts. */
  const uint32_t biased = qlk_float_to_bits(shifted) - qlk_float_to_bits(magic) + 512u;
  const uint32_t half = biased >> 1;
  const float scale1 = qlk_bits_to_float((half - 256u + 127u) << 23);
  const float scale2 = qlk_bits_to_float((biased - half - 256u + 127u) << 23);
  return y * scale1 * scale2;
}

/* ln s for a normal s > 0 to the last bits of a double; infinity and NaN are returned as they are.
 * s = 2^e m, sqrt(1/2) < m <= sqrt(2), ln m = 2 artanh((m - 1) / (m + 1)). */
static inline double qlk_log(double s)
{
  if (!(s < 0x1p1023))
    return s;
  uint64_t bits;
  memcpy(&bits, &s, sizeof bits);
  double e = (double)(bits >> 52) - 1023.0;
  bits = (bits & 0xfffffffffffffu) | 0x3ff0000000000000u;
  double m;
  memcpy(&m, &bits, sizeof m);
  if (m > 0x1.6a09e667f3bcdp+0) {
    m *= 0.5;
    e += 1.0;
  }
  const double f = (m - 1.0) / (m + 1.0), f2 = f * f;
  double sum = 0.0;
  for (int k = 23; k >= 1; k -= 2) /* |f| < 0.172: the next term is below 2^-66 */
    sum = sum * f2 + 1.0 / (double)k;
  return e * 0x1.62e42fefa39efp-1 + 2.0 * f * sum;
}

/* The fixed tree: lanes 8 apart, then 4, 2, 1. */
static inline float qlk_tree_sum(const float *lanes)
{
  float a[8], b[4];
  for (int j = 0; j < 8; j++)
    a[j] = lanes[j] + lanes[j + 8];
  for (int j = 0; j < 4; j++)
    b[j] = a[j] + a[j + 4];
  return (b[0] + b[2]) + (b[1] + b[3]);
}

#endif
