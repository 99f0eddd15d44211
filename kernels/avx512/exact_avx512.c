/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512DQ__) || \
    !defined(__AVX512VL__)
#error "this file needs -mavx512f -mavx512bw -mavx512dq -mavx512vl"
#endif

#include "qlk_exact.h"

#include <immintrin.h>

/* Lanes 0..n-1 of 16; masked loads do not touch the memory of the other lanes. */
static __mmask16 lanes(size_t n)
{
  const unsigned mask = n >= 16 ? 0xffffu : (1u << n) - 1u;
  return (__mmask16)mask;
}

static __m256i load16(const void *src, size_t i, __mmask16 mask)
{
  return _mm256_maskz_loadu_epi16(mask, (const unsigned char *)src + 2 * i);
}

static void qlk_cvt_f32_f16_avx512(const void *src, size_t n, float *dst)
{
  for (size_t i = 0; i < n; i += 16) {
    const __mmask16 mask = lanes(n - i);
    _mm512_mask_storeu_ps(dst + i, mask, _mm512_cvtph_ps(load16(src, i, mask)));
  }
}

static void qlk_cvt_f32_bf16_avx512(const void *src, size_t n, float *dst)
{
  for (size_t i = 0; i < n; i += 16) {
    const __mmask16 mask = lanes(n - i);
    const __m512i wide = _mm512_cvtepu16_epi32(load16(src, i, mask));
    _mm512_mask_storeu_ps(dst + i, mask, _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16)));
  }
}

static void qlk_cvt_f16_f32_avx512(const float *src, size_t n, void *dst)
{
  for (size_t i = 0; i < n; i += 16) {
    const __mmask16 mask = lanes(n - i);
    const __m256i h =
        _mm512_cvtps_ph(_mm512_maskz_loadu_ps(mask, src + i), _MM_FROUND_TO_NEAREST_INT);
    _mm256_mask_storeu_epi16((unsigned char *)dst + 2 * i, mask, h);
  }
}

static __m256i narrow_bf16(__m512 f)
{
  const __m512i u = _mm512_castps_si512(f);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  const __m512i near = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd);
  const __m512i value = _mm512_mask_or_epi32(near, _mm512_cmp_ps_mask(f, f, _CMP_UNORD_Q), u,
                                             _mm512_set1_epi32(0x400000));
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(value, 16));
}

static void qlk_cvt_bf16_f32_avx512(const float *src, size_t n, void *dst)
{
  for (size_t i = 0; i < n; i += 16) {
    const __mmask16 mask = lanes(n - i);
    const __m256i h = narrow_bf16(_mm512_maskz_loadu_ps(mask, src + i));
    _mm256_mask_storeu_epi16((unsigned char *)dst + 2 * i, mask, h);
  }
}

static void qlk_dequant_f32_u8_avx512(const uint8_t *codes, size_t n, float scale, int32_t zero,
                                      float *dst)
{
  const __m512 s = _mm512_set1_ps(scale);
  const __m512i z = _mm512_set1_epi32(zero);
  for (size_t i = 0; i < n; i += 16) {
    const __mmask16 mask = lanes(n - i);
    const __m512i c = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, codes + i));
    const __m512 d = _mm512_cvtepi32_ps(_mm512_sub_epi32(c, z));
    _mm512_mask_storeu_ps(dst + i, mask, _mm512_mul_ps(s, d));
  }
}

enum { LANES = 16 };
typedef __m512 vfloat;

static inline __m512 splat(float x)
{
  return _mm512_set1_ps(x);
}

static inline __m512 code_values(const uint8_t *codes)
{
  const __m128i c = _mm_loadu_si128((const __m128i *)(const void *)codes);
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(c));
}

static inline __m512 difference(__m512 a, __m512 b)
{
  return _mm512_sub_ps(a, b);
}

static inline __m512 product(__m512 s, __m512 d)
{
  return _mm512_mul_ps(s, d);
}

static inline __m512 odd_product(__m512 s, __m512 d)
{
  const __m512 p = _mm512_mul_ps(s, d), error = _mm512_fmsub_ps(s, d, p);
  const __mmask16 inexact = _mm512_cmp_ps_mask(error, _mm512_setzero_ps(), _CMP_NEQ_UQ);
  /* -1 where the product lies beyond the exact one. */
  const __m512i beyond = _mm512_srai_epi32(_mm512_castps_si512(_mm512_xor_ps(p, error)), 31);
  const __m512i cut = _mm512_add_epi32(_mm512_castps_si512(p), beyond);
  const __m512i odd = _mm512_or_si512(cut, _mm512_set1_epi32(1));
  return _mm512_mask_mov_ps(p, inexact, _mm512_castsi512_ps(odd));
}

/* Without a NaN. */
static inline __m256i round_numbers(__m512 f)
{
  const __m512i u = _mm512_castps_si512(f);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  const __m512i near = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd);
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(near, 16));
}

static inline void put_values(qlk_dtype type, int stream, __m512 v, unsigned char *dst)
{
  if (type == QLK_F32 && stream) {
    _mm512_stream_ps((float *)(void *)dst, v);
    return;
  }
  if (type == QLK_F32) {
    _mm512_storeu_ps((float *)(void *)dst, v);
    return;
  }
  const __m256i h =
      type == QLK_F16 ? _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT) : round_numbers(v);
  if (stream)
    _mm256_stream_si256((__m256i *)(void *)dst, h);
  else
    _mm256_storeu_si256((__m256i *)(void *)dst, h);
}

static inline void fence(void)
{
  _mm_sfence();
}

#include "qlk_dequant_body.h"

static void qlk_rows_f32_avx512(const qlk_coded *row, int flags, void *dst)
{
  dequant_row(row, QLK_F32, flags & QLK_STREAM, dst);
}

static void qlk_rows_f16_avx512(const qlk_coded *row, int flags, void *dst)
{
  dequant_row(row, QLK_F16, flags, dst);
}

static void qlk_rows_bf16_avx512(const qlk_coded *row, int flags, void *dst)
{
  dequant_row(row, QLK_BF16, flags, dst);
}

void qlk_fill_exact_avx512(qlk_exact *t)
{
  t->f16_to_f32 = qlk_cvt_f32_f16_avx512;
  t->bf16_to_f32 = qlk_cvt_f32_bf16_avx512;
  t->f32_to_f16 = qlk_cvt_f16_f32_avx512;
  t->f32_to_bf16 = qlk_cvt_bf16_f32_avx512;
  t->dequant = qlk_dequant_f32_u8_avx512;
  t->rows_f32 = qlk_rows_f32_avx512;
  t->rows_f16 = qlk_rows_f16_avx512;
  t->rows_bf16 = qlk_rows_bf16_avx512;
}
