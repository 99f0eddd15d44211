/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLK_VEC_NEON_H
#define QLK_VEC_NEON_H

#if !defined(__aarch64__) || !defined(__ARM_NEON)
#error "this file needs aarch64 with Advanced SIMD"
#endif

#include <arm_neon.h>
#include <stdint.h>

/* Vectors of floats for the bodies that all ISAs share. A dense tile is 4 x 16: 16 sums, 4 vectors
 * of weights, one of activations. */
enum { VL = 4, NR = 16, MR = 4, SUMS = 16, FEW = 6 };

typedef float32x4_t vec;

static inline vec vec_set1(float a)
{
  return vdupq_n_f32(a);
}

static inline vec vec_load(const float *p)
{
  return vld1q_f32(p);
}

static inline void vec_store(float *p, vec a)
{
  vst1q_f32(p, a);
}

static inline vec vec_add(vec a, vec b)
{
  return vaddq_f32(a, b);
}

static inline vec vec_sub(vec a, vec b)
{
  return vsubq_f32(a, b);
}

static inline vec vec_mul(vec a, vec b)
{
  return vmulq_f32(a, b);
}

static inline vec vec_fma(vec a, vec b, vec c)
{
  return vfmaq_f32(c, a, b);
}

static inline vec vec_load_f16(const unsigned char *p)
{
  return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)));
}

static inline vec vec_load_bf16(const unsigned char *p)
{
  return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(p)), 16));
}

static inline vec vec_load_i16(const int16_t *p)
{
  return vcvtq_f32_s32(vmovl_s16(vld1_s16(p)));
}

#endif
