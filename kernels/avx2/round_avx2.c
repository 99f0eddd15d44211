/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__)
#error "this file needs -mavx2 -mfma -mf16c -mbmi2"
#endif

#include "qlk_exact.h"

#include <immintrin.h>

enum { LANES = 8 };
typedef __m256 vfloat;

static inline __m256 splat(float x)
{
  return _mm256_set1_ps(x);
}

static inline __m256 load_values(const float *x)
{
  return _mm256_loadu_ps(x);
}

static inline __m256 multiply_add(__m256 a, __m256 b, __m256 c)
{
  return _mm256_fmadd_ps(a, b, c);
}

static inline __m256 negated_add(__m256 a, __m256 b, __m256 c)
{
  return _mm256_fnmadd_ps(a, b, c);
}

static inline __m256 sum(__m256 a, __m256 b)
{
  return _mm256_add_ps(a, b);
}

static inline __m256 lesser(__m256 a, __m256 b)
{
  return _mm256_min_ps(a, b);
}

static inline __m256 greater(__m256 a, __m256 b)
{
  return _mm256_max_ps(a, b);
}

static inline __m256 differ(__m256 a, __m256 b, __m256 before)
{
  return _mm256_or_ps(_mm256_xor_ps(a, b), before);
}

static inline int any(__m256 bits)
{
  const __m256i v = _mm256_castps_si256(bits);
  return !_mm256_testz_si256(v, v);
}

/* low or high, which differ by 1, by the sign of rest / s; the even one where rest is 0. */
static inline __m256 choose_exact(__m256 low, __m256 high, __m256 half, __m256 rest, __m256 s)
{
  const __m256 even = _mm256_cmp_ps(rest, _mm256_setzero_ps(), _CMP_EQ_OQ);
  const __m256 tie = _mm256_add_ps(half, _mm256_set1_ps(0x1.8p23f));
  const __m256 v =
      _mm256_blendv_ps(_mm256_max_ps(low, high), _mm256_min_ps(low, high), _mm256_xor_ps(rest, s));
  const __m256 unsure = _mm256_cmp_ps(low, high, _CMP_NEQ_UQ);
  return _mm256_blendv_ps(low, _mm256_blendv_ps(v, tie, even), unsure);
}

static inline void put_codes(__m256 v, int32_t zero, uint8_t *codes)
{
  const __m256i bytes = _mm256_shuffle_epi8(
      _mm256_castps_si256(v),
      _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8, 12, -1,
                       -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1));
  const __m128i c =
      _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
  _mm_storel_epi64((__m128i *)(void *)codes, _mm_add_epi8(c, _mm_set1_epi8((char)zero)));
}

static inline float least(__m256 v)
{
  const __m128 a = _mm_min_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 b = _mm_min_ps(a, _mm_movehl_ps(a, a));
  return _mm_cvtss_f32(_mm_min_ss(b, _mm_shuffle_ps(b, b, 1)));
}

static inline float greatest(__m256 v)
{
  const __m128 a = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 b = _mm_max_ps(a, _mm_movehl_ps(a, a));
  return _mm_cvtss_f32(_mm_max_ss(b, _mm_shuffle_ps(b, b, 1)));
}

#include "qlk_round_body.h"

static int qlk_ranges_f32_avx2(const float *x, size_t n, size_t group, float *lo, float *hi)
{
  return range_row(x, n, group, lo, hi);
}

static void qlk_round_u8_avx2(const qlk_rounded *row, uint8_t *codes)
{
  round_row(row, codes);
}

void qlk_fill_round_avx2(qlk_exact *t)
{
  t->ranges = qlk_ranges_f32_avx2;
  t->round = qlk_round_u8_avx2;
}
