/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512DQ__) || \
    !defined(__AVX512VL__)
#error "this file needs -mavx512f -mavx512bw -mavx512dq -mavx512vl"
#endif

#define QLK_PAIRS 1
#define QLK_VECTOR 512
enum { MR = 12 };

#include "qlk_a8_x86_body.h"
#include "qlk_a8_units.h"

/* 255 * 127 twice does not fit in 16 bits: bytes of even and of odd places are widened first. */
static inline ints add_dot(ints acc, ints codes, ints digits)
{
  const ints even = SI(and)(codes, MM(set1_epi16)(255)), odd = MM(srli_epi16)(codes, 8);
  const ints x_even = MM(srai_epi16)(MM(slli_epi16)(digits, 8), 8);
  acc = MM(add_epi32)(acc, MM(madd_epi16)(even, x_even));
  return MM(add_epi32)(acc, MM(madd_epi16)(odd, MM(srai_epi16)(digits, 8)));
}

QLK_A8_LEVEL(32, avx512)
