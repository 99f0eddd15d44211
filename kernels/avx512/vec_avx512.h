/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLK_VEC_AVX512_H
#define QLK_VEC_AVX512_H

#if !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512DQ__) || \
    !defined(__AVX512VL__)
#error "this file needs -mavx512f -mavx512bw -mavx512dq -mavx512vl"
#endif

#include <immintrin.h>
#include <stdint.h>

/* Vectors of floats for the bodies that all ISAs share. A dense tile is 12 x 32: 24 sums, 2 vectors
 * of weights; the activations are broadcast from memory. */
enum { VL = 16, NR = 32, MR = 12, SUMS = 24, FEW = 6 };

typedef __m512 vec;

static inline vec vec_set1(float a)
{
  return _mm512_set1_ps(a);
}

static inline vec vec_load(const float *p)
{
  return _mm512_loadu_ps(p);
}

static inline void vec_store(float *p, vec a)
{
  _mm512_storeu_ps(p, a);
}

static inline vec vec_add(vec a, vec b)
{
  return _mm512_add_ps(a, b);
}

static inline vec vec_sub(vec a, vec b)
{
  return _mm512_sub_ps(a, b);
}

static inline vec vec_mul(vec a, vec b)
{
  return _mm512_mul_ps(a, b);
}

static inline vec vec_fma(vec a, vec b, vec c)
{
  return _mm512_fmadd_ps(a, b, c);
}

static inline vec vec_load_f16(const unsigned char *p)
{
  return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

static inline vec vec_load_bf16(const unsigned char *p)
{
  const __m256i h = _mm256_loadu_si256((const __m256i *)(const void *)p);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

static inline vec vec_load_i16(const int16_t *p)
{
  const __m256i h = _mm256_loadu_si256((const __m256i *)(const void *)p);
  return _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(h));
}

#endif
