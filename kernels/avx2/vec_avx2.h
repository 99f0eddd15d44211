/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLK_VEC_AVX2_H
#define QLK_VEC_AVX2_H

#if !defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__)
#error "this file needs -mavx2 -mfma -mf16c -mbmi2"
#endif

#include <immintrin.h>
#include <stdint.h>

/* Vectors of floats for the bodies that all ISAs share. A dense tile is 6 x 16: 12 sums, 2 vectors
 * of weights, one of activations. */
enum { VL = 8, NR = 16, MR = 6, SUMS = 8, FEW = 6 };

typedef __m256 vec;

static inline vec vec_set1(float a)
{
  return _mm256_set1_ps(a);
}

static inline vec vec_load(const float *p)
{
  return _mm256_loadu_ps(p);
}

static inline void vec_store(float *p, vec a)
{
  _mm256_storeu_ps(p, a);
}

static inline vec vec_add(vec a, vec b)
{
  return _mm256_add_ps(a, b);
}

static inline vec vec_sub(vec a, vec b)
{
  return _mm256_sub_ps(a, b);
}

static inline vec vec_mul(vec a, vec b)
{
  return _mm256_mul_ps(a, b);
}

static inline vec vec_fma(vec a, vec b, vec c)
{
  return _mm256_fmadd_ps(a, b, c);
}

static inline vec vec_load_f16(const unsigned char *p)
{
  return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

static inline vec vec_load_bf16(const unsigned char *p)
{
  const __m128i h = _mm_loadu_si128((const __m128i *)(const void *)p);
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

static inline vec vec_load_i16(const int16_t *p)
{
  const __m128i h = _mm_loadu_si128((const __m128i *)(const void *)p);
  return _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(h));
}

#endif
