/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512DQ__) || \
    !defined(__AVX512VL__)
#error "this file needs -mavx512f -mavx512bw -mavx512dq -mavx512vl"
#endif

#include "qlk_exact.h"

#include <immintrin.h>

enum { LANES = 16 };
typedef __m512 vfloat;

static inline __m512 splat(float x)
{
  return _mm512_set1_ps(x);
}

static inline __m512 load_values(const float *x)
{
  return _mm512_loadu_ps(x);
}

static inline __m512 multiply_add(__m512 a, __m512 b, __m512 c)
{
  return _mm512_fmadd_ps(a, b, c);
}

static inline __m512 negated_add(__m512 a, __m512 b, __m512 c)
{
  return _mm512_fnmadd_ps(a, b, c);
}

static inline __m512 sum(__m512 a, __m512 b)
{
  return _mm512_add_ps(a, b);
}

static inline __m512 lesser(__m512 a, __m512 b)
{
  return _mm512_min_ps(a, b);
}

static inline __m512 greater(__m512 a, __m512 b)
{
  return _mm512_max_ps(a, b);
}

static inline __m512 differ(__m512 a, __m512 b, __m512 before)
{
  const __m512i x = _mm512_castps_si512(a), y = _mm512_castps_si512(b);
  /* (x ^ y) | before */
  return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(x, y, _mm512_castps_si512(before), 0xbe));
}

static inline int any(__m512 bits)
{
  const __m512i v = _mm512_castps_si512(bits);
  return _mm512_test_epi32_mask(v, v) != 0;
}

/* low or high, which differ by 1, by the sign of rest / s; the even one where rest is 0. */
static inline __m512 choose_exact(__m512 low, __m512 high, __m512 half, __m512 rest, __m512 s)
{
  const __m512 magic = _mm512_set1_ps(0x1.8p23f);
  const __mmask16 down = _mm512_movepi32_mask(_mm512_castps_si512(_mm512_xor_ps(rest, s)));
  const __mmask16 even = _mm512_cmp_ps_mask(rest, _mm512_setzero_ps(), _CMP_EQ_OQ);
  const __m512 v = _mm512_mask_min_ps(_mm512_max_ps(low, high), down, low, high);
  const __mmask16 unsure = _mm512_cmp_ps_mask(low, high, _CMP_NEQ_UQ);
  return _mm512_mask_mov_ps(low, unsure, _mm512_mask_add_ps(v, even, half, magic));
}

static inline void put_codes(__m512 v, int32_t zero, uint8_t *codes)
{
  const __m128i c = _mm512_cvtepi32_epi8(_mm512_castps_si512(v));
  _mm_storeu_si128((__m128i *)(void *)codes, _mm_add_epi8(c, _mm_set1_epi8((char)zero)));
}

static inline float least(__m512 v)
{
  return _mm512_reduce_min_ps(v);
}

static inline float greatest(__m512 v)
{
  return _mm512_reduce_max_ps(v);
}

#include "qlk_round_body.h"

static int qlk_ranges_f32_avx512(const float *x, size_t n, size_t group, float *lo, float *hi)
{
  return range_row(x, n, group, lo, hi);
}

static void qlk_round_u8_avx512(const qlk_rounded *row, uint8_t *codes)
{
  round_row(row, codes);
}

void qlk_fill_round_avx512(qlk_exact *t)
{
  t->ranges = qlk_ranges_f32_avx512;
  t->round = qlk_round_u8_avx512;
}
