/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512VNNI__)
#error "this file needs -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni"
#endif

#define QLK_VECTOR 512
enum { MR = 12 };

#include "qlk_a8_x86_body.h"
#include "qlk_a8_units.h"

/* gcc 12 copies the sums around the intrinsic, and then has no registers for all of them: half the
 * speed with twelve rows. */
static inline ints add_dot(ints acc, ints codes, ints digits)
{
#if defined(__clang__)
  return _mm512_dpbusd_epi32(acc, codes, digits);
#else
  __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(codes), "v"(digits));
  return acc;
#endif
}

QLK_A8_LEVEL(32, avx512vnni)
