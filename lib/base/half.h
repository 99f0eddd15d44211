/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_BASE_HALF_H
#define QLI_BASE_HALF_H

#include <stdint.h>
#include <string.h>

/* fp16 and bf16, bit exact, round to nearest even, without help of the processor.
 * NaN stays NaN (quiet, payload cut); overflow becomes infinity. */

static inline float qli_f32_from_bits(uint32_t bits)
{
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

static inline uint32_t qli_bits_from_f32(float f)
{
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  return bits;
}

static inline float qli_bf16_to_f32(uint16_t h)
{
  return qli_f32_from_bits((uint32_t)h << 16);
}

static inline uint16_t qli_f32_to_bf16(float f)
{
  uint32_t u = qli_bits_from_f32(f);
  if ((u & 0x7fffffffu) > 0x7f800000u)
    return (uint16_t)((u >> 16) | 0x40u);
  /* Adding half of the last kept place, less one unless that place is odd, rounds ties to even. */
  return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

static inline float qli_f16_to_f32(uint16_t h)
{
  const uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
  const uint32_t exponent = (h >> 10) & 0x1fu;
  const uint32_t mantissa = h & 0x3ffu;
  if (exponent == 0x1fu) {
    const uint32_t quiet = mantissa ? 0x400000u : 0u;
    return qli_f32_from_bits(sign | 0x7f800000u | quiet | mantissa << 13);
  }
  if (exponent == 0) {
    /* A subnormal is mantissa * 2^-24, exact in f32. */
    const float magnitude = (float)mantissa * 0x1p-24f;
    return qli_f32_from_bits(sign | qli_bits_from_f32(magnitude));
  }
  return qli_f32_from_bits(sign | (exponent + 112u) << 23 | mantissa << 13);
}

static inline uint16_t qli_f32_to_f16(float f)
{
  const uint32_t u = qli_bits_from_f32(f);
  const uint16_t sign = (uint16_t)((u >> 16) & 0x8000u);
  const uint32_t a = u & 0x7fffffffu;
  if (a > 0x7f800000u)
    return (uint16_t)(sign | 0x7e00u | ((a >> 13) & 0x1ffu));
  if (a >= 0x477ff000u) /* 65520 and above round to infinity */
    return (uint16_t)(sign | 0x7c00u);
  if (a < 0x38800000u) {
    /* Below 2^-14: adding 0.5 leaves round(f / 2^-24) in the low mantissa bits, ties to even. */
    const float shifted = qli_f32_from_bits(a) + 0.5f;
    return (uint16_t)(sign | (qli_bits_from_f32(shifted) - 0x3f000000u));
  }
  const uint32_t rounded = a + 0xfffu + ((a >> 13) & 1u);
  return (uint16_t)(sign | ((rounded - 0x38000000u) >> 13));
}

#endif
