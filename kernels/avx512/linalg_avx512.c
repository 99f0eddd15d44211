/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__AVX512F__) || !defined(__AVX512DQ__)
#error "this file needs -mavx512f -mavx512dq"
#endif

#include "qlk_linalg.h"

#include <immintrin.h>

/* 24 of the 32 registers hold sums, three a row of b, one an element of a. */
enum { MR = 8, VEC = 3, LANES_F32 = 16, LANES_F64 = 8 };

typedef __m512 vec_f32;

static inline vec_f32 load_f32(const float *x)
{
  return _mm512_loadu_ps(x);
}

static inline void store_f32(float *x, vec_f32 v)
{
  _mm512_storeu_ps(x, v);
}

static inline vec_f32 set_f32(float x)
{
  return _mm512_set1_ps(x);
}

static inline vec_f32 add_f32(vec_f32 a, vec_f32 b)
{
  return _mm512_add_ps(a, b);
}

static inline vec_f32 mul_f32(vec_f32 a, vec_f32 b)
{
  return _mm512_mul_ps(a, b);
}

static inline vec_f32 fma_f32(vec_f32 a, vec_f32 b, vec_f32 c)
{
  return _mm512_fmadd_ps(a, b, c);
}

typedef __m512d vec_f64;

static inline vec_f64 load_f64(const double *x)
{
  return _mm512_loadu_pd(x);
}

static inline void store_f64(double *x, vec_f64 v)
{
  _mm512_storeu_pd(x, v);
}

static inline vec_f64 set_f64(double x)
{
  return _mm512_set1_pd(x);
}

static inline vec_f64 add_f64(vec_f64 a, vec_f64 b)
{
  return _mm512_add_pd(a, b);
}

static inline vec_f64 mul_f64(vec_f64 a, vec_f64 b)
{
  return _mm512_mul_pd(a, b);
}

static inline vec_f64 fma_f64(vec_f64 a, vec_f64 b, vec_f64 c)
{
  return _mm512_fmadd_pd(a, b, c);
}

static inline void widen(double *c, vec_f32 x)
{
  const vec_f64 low = _mm512_cvtps_pd(_mm512_castps512_ps256(x));
  const vec_f64 high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
  store_f64(c, add_f64(load_f64(c), low));
  store_f64(c + LANES_F64, add_f64(load_f64(c + LANES_F64), high));
}

#include "qlk_linalg_body.h"

void qlk_fill_linalg_avx512(qlk_linalg *t)
{
  fill_linalg(t);
}
