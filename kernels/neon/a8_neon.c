/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__aarch64__) || !defined(__ARM_NEON)
#error "this file needs aarch64 with Advanced SIMD"
#endif

enum { MR = 4, OFFSET8 = 128 };

#include <arm_neon.h>

typedef struct {
  int8x16_t four[MR][4];
} digit_vectors;

#include "qlk_a8_neon_body.h"
#include "qlk_a8_units.h"

ALWAYS void load_digits(const size_t parts, const size_t rows, const int8_t *x, const size_t stride,
                        digit_vectors *digits)
{
  UNROLL
  for (size_t r = 0; r < rows; r++) {
    UNROLL
    for (size_t p = 0; p < parts; p++)
      digits->four[r][p] = vreinterpretq_s8_s32(
          vdupq_n_s32(*(const four_digits *)(const void *)(x + r * stride + 4 * p)));
  }
}

/* In 16 bits fit eight products of a code of up to 4 bits (8 * 15 * 127) or two of a signed byte
 * (2 * 128 * 127), which is what a pairwise sum of all parts has, or of one part. */
ALWAYS void add_dots(const int wide, const size_t parts, const size_t rows, const uint8x16_t *codes,
                     const digit_vectors *digits, const size_t v, sums_of *acc)
{
  UNROLL
  for (size_t r = 0; r < rows; r++) {
    const int8x16_t first = vreinterpretq_s8_u8(codes[0]), x = digits->four[r][0];
    int16x8_t low = vmull_s8(vget_low_s8(first), vget_low_s8(x)), high = vmull_high_s8(first, x);
    UNROLL
    for (size_t p = 1; p < parts; p++) {
      if (wide == 8) {
        acc[r][v] = vpadalq_s16(acc[r][v], vpaddq_s16(low, high));
        low = high = vdupq_n_s16(0);
      }
      const int8x16_t next = vreinterpretq_s8_u8(codes[p]), d = digits->four[r][p];
      low = vmlal_s8(low, vget_low_s8(next), vget_low_s8(d));
      high = vmlal_high_s8(high, next, d);
    }
    acc[r][v] = vpadalq_s16(acc[r][v], vpaddq_s16(low, high));
  }
}

ALWAYS void untangle(const size_t rows, sums_of *acc)
{
  (void)rows;
  (void)acc;
}

QLK_A8_LEVEL(16, neon)
