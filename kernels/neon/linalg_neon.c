/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__aarch64__) || !defined(__ARM_NEON)
#error "this file needs aarch64 with Advanced SIMD"
#endif

#include "qlk_linalg.h"

#include <arm_neon.h>

/* 24 of the 32 registers hold sums, three a row of b, one an element of a. */
enum { MR = 8, VEC = 3, LANES_F32 = 4, LANES_F64 = 2 };

typedef float32x4_t vec_f32;

static inline vec_f32 load_f32(const float *x)
{
  return vld1q_f32(x);
}

static inline void store_f32(float *x, vec_f32 v)
{
  vst1q_f32(x, v);
}

static inline vec_f32 set_f32(float x)
{
  return vdupq_n_f32(x);
}

static inline vec_f32 add_f32(vec_f32 a, vec_f32 b)
{
  return vaddq_f32(a, b);
}

static inline vec_f32 mul_f32(vec_f32 a, vec_f32 b)
{
  return vmulq_f32(a, b);
}

static inline vec_f32 fma_f32(vec_f32 a, vec_f32 b, vec_f32 c)
{
  return vfmaq_f32(c, a, b);
}

typedef float64x2_t vec_f64;

static inline vec_f64 load_f64(const double *x)
{
  return vld1q_f64(x);
}

static inline void store_f64(double *x, vec_f64 v)
{
  vst1q_f64(x, v);
}

static inline vec_f64 set_f64(double x)
{
  return vdupq_n_f64(x);
}

static inline vec_f64 add_f64(vec_f64 a, vec_f64 b)
{
  return vaddq_f64(a, b);
}

static inline vec_f64 mul_f64(vec_f64 a, vec_f64 b)
{
  return vmulq_f64(a, b);
}

static inline vec_f64 fma_f64(vec_f64 a, vec_f64 b, vec_f64 c)
{
  return vfmaq_f64(c, a, b);
}

static inline void widen(double *c, vec_f32 x)
{
  store_f64(c, add_f64(load_f64(c), vcvt_f64_f32(vget_low_f32(x))));
  store_f64(c + LANES_F64, add_f64(load_f64(c + LANES_F64), vcvt_f64_f32(vget_high_f32(x))));
}

#include "qlk_linalg_body.h"

void qlk_fill_linalg_neon(qlk_linalg *t)
{
  fill_linalg(t);
}
