/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__aarch64__) || !defined(__ARM_FEATURE_MATMUL_INT8)
#error "this file needs -march=armv8.2-a+dotprod+i8mm"
#endif

enum { MR = 6, OFFSET8 = 0 };
#define QLK_TWO_CHUNKS

#include <arm_neon.h>

/* Codes are unsigned, digits signed. Two rows of eight digits times two columns of eight codes are
 * one instruction: pair[i][h] holds 8 digits (words 2 h, 2 h + 1) of row 2 i, then those of row
 * 2 i + 1. The last row of an odd number goes alone, by words. */
typedef struct {
  int8x16_t pair[MR / 2][2];
  int8x16_t last;
} digit_vectors;

#include "qlk_a8_neon_body.h"
#include "qlk_a8_units.h"

#include "qlk_a8_neon_lanes.h"

ALWAYS void load_digits(const size_t parts, const size_t rows, const int8_t *x, const size_t stride,
                        digit_vectors *digits)
{
  UNROLL
  for (size_t i = 0; i < rows / 2; i++) {
    const int8_t *row = x + 2 * i * stride;
    if (parts == 2) {
      digits->pair[i][0] = vld1q_s8(row);
      continue;
    }
    const int64x2_t a = vreinterpretq_s64_s8(vld1q_s8(row)),
                    b = vreinterpretq_s64_s8(vld1q_s8(row + stride));
    digits->pair[i][0] = vreinterpretq_s8_s64(vtrn1q_s64(a, b));
    digits->pair[i][1] = vreinterpretq_s8_s64(vtrn2q_s64(a, b));
  }
  if (rows % 2 != 0)
    load_lanes(parts, 1, x + (rows - 1) * stride, stride, &digits->last);
}

/* Compilers copy the sums around the intrinsic, and then have no registers for all of them. */
#define DOT_LANE(lane) \
  __asm__("usdot %0.4s, %1.16b, %2.4b[" #lane "]" : "+w"(acc) : "w"(codes), "w"(x)); \
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

/* codes[0] and codes[1] have four codes each of the same four columns: side by side they are eight
 * of columns 0, 1 and of columns 2, 3. Sums: [column][row] of two by two. */
ALWAYS void add_pairs(const size_t rows, const uint8x16_t *codes, const digit_vectors *digits,
                      const size_t h, const size_t v, sums_of *acc)
{
  const uint32x4_t a = vreinterpretq_u32_u8(codes[0]), b = vreinterpretq_u32_u8(codes[1]);
  const uint8x16_t left = vreinterpretq_u8_u32(vzip1q_u32(a, b)),
                   right = vreinterpretq_u8_u32(vzip2q_u32(a, b));
  UNROLL
  for (size_t i = 0; i < rows / 2; i++) {
    const int8x16_t x = digits->pair[i][h];
    acc[2 * i][v] = vusmmlaq_s32(acc[2 * i][v], left, x);
    acc[2 * i + 1][v] = vusmmlaq_s32(acc[2 * i + 1][v], right, x);
  }
}

ALWAYS void add_dots(const int wide, const size_t parts, const size_t rows, const uint8x16_t *codes,
                     const digit_vectors *digits, const size_t v, sums_of *acc)
{
  (void)wide;
  if (rows > 1) {
    UNROLL
    for (size_t p = 0; p < parts; p += 2)
      add_pairs(rows, codes + p, digits, p / 2, v, acc);
  }
  if (rows % 2 != 0) {
    UNROLL
    for (size_t p = 0; p < parts; p++)
      acc[rows - 1][v] = dot_lane(acc[rows - 1][v], codes[p], digits->last, p);
  }
}

/* The words of two chunks of 8-bit codes side by side: rows are words in each. */
ALWAYS void load_two_chunks8(const size_t rows, const size_t tile_rows, const int8_t *x,
                             const int both, digit_vectors *digits)
{
  int8x16_t first[2] = {vdupq_n_s8(0), vdupq_n_s8(0)}, second[2] = {first[0], first[0]};
  load_lanes(1, rows, x, 4, first);
  if (both)
    load_lanes(1, rows, x + 4 * tile_rows, 4, second);
  UNROLL
  for (size_t i = 0; i < (rows + 1) / 2; i++) {
    const int32x4_t a = vreinterpretq_s32_s8(first[i / 2]), b = vreinterpretq_s32_s8(second[i / 2]);
    const int8x16_t pair = vreinterpretq_s8_s32(i % 2 == 0 ? vzip1q_s32(a, b) : vzip2q_s32(a, b));
    if (2 * i + 1 < rows)
      digits->pair[i][0] = pair;
    else
      digits->last = pair;
  }
}

ALWAYS void add_two_chunks8(const size_t rows, const size_t tile_rows, const unsigned char *chunk,
                            const int8_t *x, const int both, sums_of *acc)
{
  digit_vectors digits;
  load_two_chunks8(rows, tile_rows, x, both, &digits);
  UNROLL
  for (size_t v = 0; v < VECTORS; v++) {
    const unsigned char *words = chunk + v * LANES * 4;
    const uint8x16_t codes[2] = {vld1q_u8(words), both ? vld1q_u8(words + 4 * NR) : vdupq_n_u8(0)};
    add_dots(8, 2, rows, codes, &digits, v, acc);
  }
}

ALWAYS void untangle(const size_t rows, sums_of *acc)
{
  UNROLL
  for (size_t i = 0; i + 1 < rows; i += 2) {
    UNROLL
    for (size_t v = 0; v < VECTORS; v++) {
      const int32x4_t left = acc[i][v], right = acc[i + 1][v];
      acc[i][v] = vuzp1q_s32(left, right);
      acc[i + 1][v] = vuzp2q_s32(left, right);
    }
  }
}

QLK_A8_LEVEL(16, neoni8mm)
