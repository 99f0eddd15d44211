/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__)
#error "this file needs -mavx2 -mfma -mf16c -mbmi2"
#endif

#define QLK_PAIRS 1
#define QLK_SIGNED 1
#define QLK_VECTOR 256
enum { MR = 4 };

#include "qlk_a8_x86_body.h"
#include "qlk_a8_units.h"

/* |code - 128| is at most 128 and fits a byte without a sign; the digit takes the sign. 128 * 127
 * twice fits in 16 bits. */
static inline ints add_dot(ints acc, ints codes, ints digits)
{
  const ints pairs = MM(maddubs_epi16)(MM(abs_epi8)(codes), MM(sign_epi8)(digits, codes));
  return MM(add_epi32)(acc, MM(madd_epi16)(pairs, MM(set1_epi16)(1)));
}

QLK_A8_LEVEL(16, avx2)
