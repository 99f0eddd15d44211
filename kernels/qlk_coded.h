/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLK_CODED_H
#define QLK_CODED_H

#include "qlk_half.h"
#include "qlk_types.h"

/* Rows of codes with a scale and a zero point for each group of columns, and what one element of
 * them is: the specification of the kernels, and their tails. */
typedef struct qlk_coded {
  const uint8_t *codes;
  size_t n, group; /* columns, and columns of a group: the last one may have fewer */
  const float *scales;
  const int16_t *zeros;
  const float *fzeros; /* one of the two */
} qlk_coded;

/* How a row is written. */
enum {
  QLK_ODD = 1,   /* the product need not fit f32, and is to be rounded to 16 bits once */
  QLK_STREAM = 2 /* nobody reads it soon: past the caches where the target is 64-aligned */
};

static inline float qlk_coded_zero(const qlk_coded *row, size_t g)
{
  return row->zeros != NULL ? (float)row->zeros[g] : row->fzeros[g];
}

/* The f32 next to the exact p that keeps "not exact" in its last bit, so that rounding it further
 * to f16 or bf16 gives what rounding p at once would: round to odd (Boldo, Melquiond 2008). */
static inline float qlk_round_to_odd(double p)
{
  const float f = (float)p;
  const uint32_t bits = qlk_bits(f);
  if ((double)f == p || (bits & 0x7fffffffu) >= 0x7f800000u)
    return f;
  const int beyond = p < 0 ? (double)f < p : (double)f > p;
  return qlk_float((beyond ? bits - 1u : bits) | 1u);
}

/* s * (c - z) before it is narrowed. */
static inline float qlk_coded_value(uint8_t code, float scale, float zero, int flags)
{
  const double p = (double)scale * ((double)code - (double)zero);
  return (flags & QLK_ODD) != 0 ? qlk_round_to_odd(p) : (float)p;
}

static inline void qlk_coded_put(qlk_dtype type, float value, unsigned char *dst)
{
  if (type == QLK_F32)
    memcpy(dst, &value, sizeof value);
  else
    qlk_store16(dst, 0, type == QLK_F16 ? qlk_f32_to_f16(value) : qlk_f32_to_bf16(value));
}

/* Columns first .. end - 1, which lie in one group. */
static inline void qlk_coded_span(const qlk_coded *row, size_t g, size_t first, size_t end,
                                  qlk_dtype type, int flags, unsigned char *dst)
{
  const size_t size = type == QLK_F32 ? 4 : 2;
  const float zero = qlk_coded_zero(row, g);
  for (size_t i = first; i < end; i++)
    qlk_coded_put(type, qlk_coded_value(row->codes[i], row->scales[g], zero, flags),
                  dst + i * size);
}

#endif
