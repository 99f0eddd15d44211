/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__)
#error "this file needs -mavx2 -mfma -mf16c -mbmi2"
#endif

#include "qlk_exact.h"
#include "qlk_half.h"

#include <immintrin.h>

static __m128i load8x16(const void *src, size_t i)
{
  return _mm_loadu_si128((const __m128i *)(const void *)((const unsigned char *)src + 2 * i));
}

static void store8x16(void *dst, size_t i, __m128i v)
{
  _mm_storeu_si128((__m128i *)(void *)((unsigned char *)dst + 2 * i), v);
}

static void qlk_cvt_f32_f16_avx2(const void *src, size_t n, float *dst)
{
  size_t i = 0;
  for (; i + 8 <= n; i += 8)
    _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(load8x16(src, i)));
  for (; i < n; i++)
    dst[i] = qlk_f16_to_f32(qlk_load16(src, i));
}

static void qlk_cvt_f32_bf16_avx2(const void *src, size_t n, float *dst)
{
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256i wide = _mm256_cvtepu16_epi32(load8x16(src, i));
    _mm256_storeu_ps(dst + i, _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16)));
  }
  for (; i < n; i++)
    dst[i] = qlk_bf16_to_f32(qlk_load16(src, i));
}

static void qlk_cvt_f16_f32_avx2(const float *src, size_t n, void *dst)
{
  size_t i = 0;
  for (; i + 8 <= n; i += 8)
    store8x16(dst, i, _mm256_cvtps_ph(_mm256_loadu_ps(src + i), _MM_FROUND_TO_NEAREST_INT));
  for (; i < n; i++)
    qlk_store16(dst, i, qlk_f32_to_f16(src[i]));
}

/* The upper halves of eight f32 after rounding. */
static __m256i round_bf16(__m256 f)
{
  const __m256i u = _mm256_castps_si256(f);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
  const __m256i near = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd);
  const __m256i quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(f, f, _CMP_UNORD_Q));
  return _mm256_srli_epi32(_mm256_blendv_epi8(near, quiet, nan), 16);
}

static void qlk_cvt_bf16_f32_avx2(const float *src, size_t n, void *dst)
{
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256i wide = round_bf16(_mm256_loadu_ps(src + i));
    store8x16(dst, i,
              _mm_packus_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1)));
  }
  for (; i < n; i++)
    qlk_store16(dst, i, qlk_f32_to_bf16(src[i]));
}

static void qlk_dequant_f32_u8_avx2(const uint8_t *codes, size_t n, float scale, int32_t zero,
                                    float *dst)
{
  const __m256 s = _mm256_set1_ps(scale);
  const __m256i z = _mm256_set1_epi32(zero);
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i c = _mm_loadl_epi64((const __m128i *)(const void *)(codes + i));
    const __m256i d = _mm256_sub_epi32(_mm256_cvtepu8_epi32(c), z);
    _mm256_storeu_ps(dst + i, _mm256_mul_ps(s, _mm256_cvtepi32_ps(d)));
  }
  for (; i < n; i++)
    dst[i] = scale * (float)((int32_t)codes[i] - zero);
}

static uint32_t qlk_sum_u8_avx2(const uint8_t *codes, size_t n)
{
  __m256i sums = _mm256_setzero_si256();
  size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const __m256i c = _mm256_loadu_si256((const __m256i *)(const void *)(codes + i));
    sums = _mm256_add_epi64(sums, _mm256_sad_epu8(c, _mm256_setzero_si256()));
  }
  const __m128i half =
      _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
  uint32_t sum = (uint32_t)_mm_cvtsi128_si32(_mm_add_epi64(half, _mm_srli_si128(half, 8)));
  for (; i < n; i++)
    sum += codes[i];
  return sum;
}

enum { LANES = 8 };
typedef __m256 vfloat;

static inline __m256 splat(float x)
{
  return _mm256_set1_ps(x);
}

static inline __m256 code_values(const uint8_t *codes)
{
  const __m128i c = _mm_loadl_epi64((const __m128i *)(const void *)codes);
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(c));
}

static inline __m256 difference(__m256 a, __m256 b)
{
  return _mm256_sub_ps(a, b);
}

static inline __m256 product(__m256 s, __m256 d)
{
  return _mm256_mul_ps(s, d);
}

static inline __m256 odd_product(__m256 s, __m256 d)
{
  const __m256 p = _mm256_mul_ps(s, d), error = _mm256_fmsub_ps(s, d, p);
  const __m256 inexact = _mm256_cmp_ps(error, _mm256_setzero_ps(), _CMP_NEQ_UQ);
  /* -1 where the product lies beyond the exact one. */
  const __m256i beyond = _mm256_srai_epi32(_mm256_castps_si256(_mm256_xor_ps(p, error)), 31);
  const __m256i cut = _mm256_add_epi32(_mm256_castps_si256(p), beyond);
  const __m256i odd = _mm256_or_si256(cut, _mm256_set1_epi32(1));
  return _mm256_blendv_ps(p, _mm256_castsi256_ps(odd), inexact);
}

/* The upper halves after rounding, of numbers. */
static inline __m256i round_numbers(__m256 f)
{
  const __m256i u = _mm256_castps_si256(f);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
  const __m256i near = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd);
  return _mm256_srli_epi32(near, 16);
}

static inline void put_values(qlk_dtype type, int stream, __m256 v, unsigned char *dst)
{
  if (type == QLK_F32 && stream) {
    _mm256_stream_ps((float *)(void *)dst, v);
    return;
  }
  if (type == QLK_F32) {
    _mm256_storeu_ps((float *)(void *)dst, v);
    return;
  }
  const __m256i wide = type == QLK_BF16 ? round_numbers(v) : _mm256_setzero_si256();
  const __m128i h = type == QLK_F16 ? _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT)
                                    : _mm_packus_epi32(_mm256_castsi256_si128(wide),
                                                       _mm256_extracti128_si256(wide, 1));
  if (stream)
    _mm_stream_si128((__m128i *)(void *)dst, h);
  else
    store8x16(dst, 0, h);
}

static inline void fence(void)
{
  _mm_sfence();
}

#include "qlk_dequant_body.h"

static void qlk_rows_f32_avx2(const qlk_coded *row, int flags, void *dst)
{
  dequant_row(row, QLK_F32, flags & QLK_STREAM, dst);
}

static void qlk_rows_f16_avx2(const qlk_coded *row, int flags, void *dst)
{
  dequant_row(row, QLK_F16, flags, dst);
}

static void qlk_rows_bf16_avx2(const qlk_coded *row, int flags, void *dst)
{
  dequant_row(row, QLK_BF16, flags, dst);
}

void qlk_fill_exact_avx2(qlk_exact *t)
{
  t->f16_to_f32 = qlk_cvt_f32_f16_avx2;
  t->bf16_to_f32 = qlk_cvt_f32_bf16_avx2;
  t->f32_to_f16 = qlk_cvt_f16_f32_avx2;
  t->f32_to_bf16 = qlk_cvt_bf16_f32_avx2;
  t->dequant = qlk_dequant_f32_u8_avx2;
  t->sum = qlk_sum_u8_avx2;
  t->rows_f32 = qlk_rows_f32_avx2;
  t->rows_f16 = qlk_rows_f16_avx2;
  t->rows_bf16 = qlk_rows_bf16_avx2;
}
