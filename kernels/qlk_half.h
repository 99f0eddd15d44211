/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLK_HALF_H
#define QLK_HALF_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* fp16 and bf16 in integer arithmetic, for scalar kernels and for the tails of the others. Round to
 * nearest even; a NaN stays one, made quiet with its payload cut, as processors do it. */

static inline float qlk_float(uint32_t bits)
{
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

static inline uint32_t qlk_bits(float f)
{
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  return bits;
}

static inline uint16_t qlk_load16(const void *src, size_t i)
{
  uint16_t h;
  memcpy(&h, (const unsigned char *)src + 2 * i, sizeof h);
  return h;
}

static inline void qlk_store16(void *dst, size_t i, uint16_t h)
{
  memcpy((unsigned char *)dst + 2 * i, &h, sizeof h);
}

static inline float qlk_bf16_to_f32(uint16_t h)
{
  return qlk_float((uint32_t)h << 16);
}

static inline uint16_t qlk_f32_to_bf16(float f)
{
  const uint32_t u = qlk_bits(f);
  if ((u & 0x7fffffffu) > 0x7f800000u)
    return (uint16_t)((u >> 16) | 0x40u);
  return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

/* With the fp16 exponent at the bottom of the f32 one, multiplying by 2^112 sets the bias right,
 * and normalizes subnormals on the way: exact. */
static inline float qlk_f16_to_f32(uint16_t h)
{
  const uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
  const uint32_t rest = (uint32_t)(h & 0x7fffu) << 13;
  if (rest >= 0x0f800000u)
    return qlk_float(sign | 0x7f800000u | (rest & 0x7fffffu) | (rest > 0x0f800000u ? 1u << 22 : 0));
  return qlk_float(sign | qlk_bits(qlk_float(rest) * 0x1p112f));
}

static inline uint16_t qlk_f32_to_f16(float f)
{
  const uint32_t u = qlk_bits(f), a = u & 0x7fffffffu;
  const uint16_t sign = (uint16_t)(u >> 16 & 0x8000u);
  if (a > 0x7f800000u)
    return (uint16_t)(sign | 0x7e00u | (a >> 13 & 0x1ffu));
  if (a >= 0x477ff000u) /* 65520, half way from the largest number to the next, goes to infinity */
    return (uint16_t)(sign | 0x7c00u);
  if (a < 0x38800000u) /* below 2^-14, multiples of 2^-24: adding 0.5 makes them the last place */
    return (uint16_t)(sign | (qlk_bits(qlk_float(a) + 0.5f) - 0x3f000000u));
  return (uint16_t)(sign | ((a + 0xfffu + (a >> 13 & 1u) - 0x38000000u) >> 13));
}

#endif
