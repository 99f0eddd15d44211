/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__AVX2__) || !defined(__AVXVNNI__)
#error "this file needs -mavx2 -mfma -mf16c -mbmi2 -mavxvnni"
#endif

#define QLK_VECTOR 256
enum { MR = 4 };

#include "qlk_a8_x86_body.h"
#include "qlk_a8_units.h"

/* gcc 12 copies the sums around the intrinsic, and then has no registers for all of them: half the
 * speed with twelve rows. */
static inline ints add_dot(ints acc, ints codes, ints digits)
{
#if defined(__clang__)
  return _mm256_dpbusd_avx_epi32(acc, codes, digits);
#else
  __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(codes), "x"(digits));
  return acc;
#endif
}

QLK_A8_LEVEL(16, avxvnni)
