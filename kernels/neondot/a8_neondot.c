/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__aarch64__) || !defined(__ARM_FEATURE_DOTPROD)
#error "this file needs -march=armv8.2-a+dotprod"
#endif

enum { MR = 6, OFFSET8 = 128 };

#include <arm_neon.h>

typedef struct {
  int8x16_t words[MR];
} digit_vectors;

#include "qlk_a8_neon_body.h"
#include "qlk_a8_units.h"

#include "qlk_a8_neon_lanes.h"

/* Compilers copy the sums around the intrinsic, and then have no registers for all of them. */
#define DOT_LANE(lane) \
  __asm__("sdot %0.4s, %1.16b, %2.4b[" #lane "]" : "+w"(acc) : "w"(codes), "w"(x)); \
  break;

ALWAYS int32x4_t dot_lane(int32x4_t acc, const uint8x16_t codes, const int8x16_t x,
                          const size_t lane)
{
  switch (lane) {
  case 0: DOT_LANE(0)
  case 1: DOT_LANE(1)
  case 2: DOT_LANE(2)
  default: DOT_LANE(3)
  }
  return acc;
}

#undef DOT_LANE

ALWAYS void load_digits(const size_t parts, const size_t rows, const int8_t *x, const size_t stride,
                        digit_vectors *digits)
{
  load_lanes(parts, rows, x, stride, digits->words);
}

ALWAYS void add_dots(const int wide, const size_t parts, const size_t rows, const uint8x16_t *codes,
                     const digit_vectors *digits, const size_t v, sums_of *acc)
{
  (void)wide;
  UNROLL
  for (size_t p = 0; p < parts; p++) {
    UNROLL
    for (size_t r = 0; r < rows; r++) {
      const size_t word = r * parts + p;
      acc[r][v] = dot_lane(acc[r][v], codes[p], digits->words[word / 4], word % 4);
    }
  }
}

ALWAYS void untangle(const size_t rows, sums_of *acc)
{
  (void)rows;
  (void)acc;
}

QLK_A8_LEVEL(16, neondot)
