/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__aarch64__) || !defined(__ARM_NEON)
#error "this file needs aarch64 with Advanced SIMD"
#endif

#include "qlk_exact.h"

#include <arm_neon.h>

enum { LANES = 4 };
typedef float32x4_t vfloat;

static inline float32x4_t splat(float x)
{
  return vdupq_n_f32(x);
}

static inline float32x4_t load_values(const float *x)
{
  return vld1q_f32(x);
}

static inline float32x4_t multiply_add(float32x4_t a, float32x4_t b, float32x4_t c)
{
  return vfmaq_f32(c, a, b);
}

static inline float32x4_t negated_add(float32x4_t a, float32x4_t b, float32x4_t c)
{
  return vfmsq_f32(c, a, b);
}

static inline float32x4_t sum(float32x4_t a, float32x4_t b)
{
  return vaddq_f32(a, b);
}

static inline float32x4_t lesser(float32x4_t a, float32x4_t b)
{
  return vminq_f32(a, b);
}

static inline float32x4_t greater(float32x4_t a, float32x4_t b)
{
  return vmaxq_f32(a, b);
}

static inline float32x4_t differ(float32x4_t a, float32x4_t b, float32x4_t before)
{
  const uint32x4_t x = veorq_u32(vreinterpretq_u32_f32(a), vreinterpretq_u32_f32(b));
  return vreinterpretq_f32_u32(vorrq_u32(x, vreinterpretq_u32_f32(before)));
}

static inline int any(float32x4_t bits)
{
  return vmaxvq_u32(vreinterpretq_u32_f32(bits)) != 0;
}

/* low or high, which differ by 1, by the sign of rest / s; the even one where rest is 0. */
static inline float32x4_t choose_exact(float32x4_t low, float32x4_t high, float32x4_t half,
                                       float32x4_t rest, float32x4_t s)
{
  const int32x4_t signs = veorq_s32(vreinterpretq_s32_f32(rest), vreinterpretq_s32_f32(s));
  const float32x4_t v = vbslq_f32(vcltzq_s32(signs), vminq_f32(low, high), vmaxq_f32(low, high));
  const float32x4_t tie = vaddq_f32(half, vdupq_n_f32(0x1.8p23f));
  return vbslq_f32(vceqq_f32(low, high), low, vbslq_f32(vceqzq_f32(rest), tie, v));
}

static inline void put_codes(float32x4_t v, int32_t zero, uint8_t *codes)
{
  const uint16x4_t c = vmovn_u32(vreinterpretq_u32_f32(v));
  const uint8x8_t bytes = vadd_u8(vmovn_u16(vcombine_u16(c, c)), vdup_n_u8((uint8_t)zero));
  const uint32_t word = vget_lane_u32(vreinterpret_u32_u8(bytes), 0);
  memcpy(codes, &word, sizeof word);
}

static inline float least(float32x4_t v)
{
  return vminvq_f32(v);
}

static inline float greatest(float32x4_t v)
{
  return vmaxvq_f32(v);
}

#include "qlk_round_body.h"

static int qlk_ranges_f32_neon(const float *x, size_t n, size_t group, float *lo, float *hi)
{
  return range_row(x, n, group, lo, hi);
}

static void qlk_round_u8_neon(const qlk_rounded *row, uint8_t *codes)
{
  round_row(row, codes);
}

void qlk_fill_round_neon(qlk_exact *t)
{
  t->ranges = qlk_ranges_f32_neon;
  t->round = qlk_round_u8_neon;
}
