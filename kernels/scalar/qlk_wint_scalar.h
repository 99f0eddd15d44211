/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLK_WINT_SCALAR_H
#define QLK_WINT_SCALAR_H

#include "qlk_gemm.h"
#include "qlk_half.h"

#include <string.h>

/* Reading of the panels of sixteen columns of integer codes, one code at a time. */
enum { NR = 16 };

static inline size_t qlk_wint_kr(const int bits)
{
  return bits == 3 ? 32 : 32 / (size_t)bits;
}

static inline size_t qlk_wint_chunk_bytes(const int bits)
{
  return bits == 3 ? 12 * NR : 4 * NR;
}

static inline uint32_t qlk_load_word(const unsigned char *p)
{
  return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline float qlk_wint_scale(qlk_dtype type, const unsigned char *scales, size_t at)
{
  float s;
  if (type == QLK_F16)
    return qlk_f16_to_f32(qlk_load16(scales, at));
  if (type == QLK_BF16)
    return qlk_bf16_to_f32(qlk_load16(scales, at));
  memcpy(&s, scales + 4 * at, sizeof s);
  return s;
}

/* Code t of column j of a chunk. */
static inline uint32_t qlk_wint_code(const int bits, const unsigned char *chunk, size_t t, size_t j)
{
  if (bits != 3)
    return qlk_load_word(chunk + 4 * j) >> (t * (size_t)bits) & ((1u << bits) - 1);
  const uint32_t low = qlk_load_word(chunk + 4 * (t / 16 * NR + j)) >> t % 16 * 2 & 3;
  return low | (qlk_load_word(chunk + 4 * (2 * NR + j)) >> qlk_third_bit(t) & 1) << 2;
}

#endif
