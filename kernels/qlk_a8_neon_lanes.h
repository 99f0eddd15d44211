/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLK_A8_NEON_LANES_H
#define QLK_A8_NEON_LANES_H

#include "qlk_a8_neon_body.h"

/* The words of a step of a tile one after the other, four to a vector, for instructions that take
 * one of them by its lane: word r * parts + p belongs to row r. Where parts is less than 4, rows
 * lie side by side in memory too. Nothing is read past the last word. */
ALWAYS void load_lanes(const size_t parts, const size_t rows, const int8_t *x, const size_t stride,
                       int8x16_t *words)
{
  const size_t count = rows * parts;
  UNROLL
  for (size_t i = 0; i < count / 4; i++)
    words[i] = vld1q_s8(x + i * (parts == 4 ? stride : 16));
  const int8_t *rest = x + count / 4 * 16;
  if (count % 4 == 1)
    words[count / 4] = vreinterpretq_s8_s32(vdupq_n_s32(*(const four_digits *)(const void *)rest));
  if (count % 4 >= 2)
    words[count / 4] = vcombine_s8(vld1_s8(rest), vdup_n_s8(0));
  if (count % 4 == 3) {
    const int32_t word = *(const four_digits *)(const void *)(rest + 8);
    words[count / 4] =
        vreinterpretq_s8_s32(vsetq_lane_s32(word, vreinterpretq_s32_s8(words[count / 4]), 2));
  }
}

#endif
