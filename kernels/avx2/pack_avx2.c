/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__)
#error "this file needs -mavx2 -mfma -mf16c -mbmi2"
#endif

#include "qlk_gemm.h"

#include <immintrin.h>
#include <string.h>

enum { WORDS = 8 };
typedef __m256i words;

static inline __m256i load(const unsigned char *from)
{
  return _mm256_loadu_si256((const __m256i *)(const void *)from);
}

static inline void put(unsigned char *to, __m256i v)
{
  _mm256_storeu_si256((__m256i *)(void *)to, v);
}

static inline __m256i words_1(const unsigned char *codes)
{
  return load(codes);
}

/* Pairs of codes in the low byte of 16 bits each: low + scale * high. */
static inline __m256i pairs(const unsigned char *codes, int mask, int scale)
{
  const __m256i c = _mm256_and_si256(load(codes), _mm256_set1_epi8((char)mask));
  return _mm256_maddubs_epi16(c, _mm256_set1_epi16((short)(scale << 8 | 1)));
}

static inline __m256i words_4(const unsigned char *codes)
{
  const __m256i bytes = _mm256_packus_epi16(pairs(codes, 15, 16), pairs(codes + 32, 15, 16));
  return _mm256_permute4x64_epi64(bytes, 0xd8);
}

/* Four codes in the low byte of 32 bits. */
static inline __m256i quads(const unsigned char *codes)
{
  return _mm256_madd_epi16(pairs(codes, 3, 4), _mm256_set1_epi32(16 << 16 | 1));
}

static inline __m256i words_2(const unsigned char *codes)
{
  const __m256i low = _mm256_packus_epi32(quads(codes), quads(codes + 32));
  const __m256i high = _mm256_packus_epi32(quads(codes + 64), quads(codes + 96));
  /* Each pack works on halves of 128 bits: words 0 2 4 6 and 1 3 5 7 lie in them now. */
  return _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high),
                                     _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* The third bits of four codes in the low byte of 32 bits. */
static inline __m256i third_quads(const unsigned char *codes)
{
  const __m256i bits = _mm256_and_si256(_mm256_srli_epi16(load(codes), 2), _mm256_set1_epi8(1));
  const __m256i two = _mm256_maddubs_epi16(bits, _mm256_set1_epi16(2 << 8 | 1));
  return _mm256_madd_epi16(two, _mm256_set1_epi32(4 << 16 | 1));
}

/* Four chunks: the first sixteen codes of each become the low halves of the bytes. */
static inline __m128i third_words(const unsigned char *codes)
{
  const __m256i low = _mm256_packus_epi32(third_quads(codes), third_quads(codes + 32));
  const __m256i high = _mm256_packus_epi32(third_quads(codes + 64), third_quads(codes + 96));
  const __m256i halves = _mm256_packus_epi16(low, high);
  return _mm_or_si128(_mm256_castsi256_si128(halves),
                      _mm_slli_epi16(_mm256_extracti128_si256(halves, 1), 4));
}

static inline __m256i words_third(const unsigned char *codes)
{
  return _mm256_set_m128i(third_words(codes + 128), third_words(codes));
}

static inline void transpose(__m256i r[8])
{
  __m256i a[8], b[8];
  for (int i = 0; i < 8; i += 2) {
    a[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
    a[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    b[i] = _mm256_unpacklo_epi64(a[i], a[i + 2]);
    b[i + 1] = _mm256_unpackhi_epi64(a[i], a[i + 2]);
    b[i + 2] = _mm256_unpacklo_epi64(a[i + 1], a[i + 3]);
    b[i + 3] = _mm256_unpackhi_epi64(a[i + 1], a[i + 3]);
  }
  for (int i = 0; i < 4; i++) {
    r[i] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x20);
    r[i + 4] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x31);
  }
}

static inline void transpose_halves(const unsigned char *from, size_t stride, unsigned char *to,
                                    size_t to_stride)
{
  __m128i r[8], a[8];
  for (size_t i = 0; i < 8; i++)
    r[i] = _mm_loadu_si128((const __m128i *)(const void *)(from + i * stride));
  for (int i = 0; i < 8; i += 2) {
    a[i] = _mm_unpacklo_epi16(r[i], r[i + 1]);
    a[i + 1] = _mm_unpackhi_epi16(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm_unpacklo_epi32(a[i], a[i + 2]);
    r[i + 1] = _mm_unpackhi_epi32(a[i], a[i + 2]);
    r[i + 2] = _mm_unpacklo_epi32(a[i + 1], a[i + 3]);
    r[i + 3] = _mm_unpackhi_epi32(a[i + 1], a[i + 3]);
  }
  for (size_t i = 0; i < 4; i++) {
    __m128i *pair = (__m128i *)(void *)(to + 2 * i * to_stride);
    _mm_storeu_si128(pair, _mm_unpacklo_epi64(r[i], r[i + 4]));
    pair = (__m128i *)(void *)(to + (2 * i + 1) * to_stride);
    _mm_storeu_si128(pair, _mm_unpackhi_epi64(r[i], r[i + 4]));
  }
}

#include "qlk_pack_body.h"

static void qlk_pack_x16_avx2(const unsigned char *rows, size_t stride, size_t nr, size_t k,
                              unsigned char *panel)
{
  pack_halves(rows, stride, nr, k, panel);
}

static void qlk_pack_x32_avx2(const unsigned char *rows, size_t stride, size_t nr, size_t k,
                              unsigned char *panel)
{
  pack_words(8, rows, stride, nr, 4 * k, panel);
}

static void qlk_pack_w2_avx2(const unsigned char *rows, size_t stride, size_t nr, size_t k,
                             unsigned char *panel)
{
  pack_words(2, rows, stride, nr, k, panel);
}

static void qlk_pack_w3_avx2(const unsigned char *rows, size_t stride, size_t nr, size_t k,
                             unsigned char *panel)
{
  pack_w3(rows, stride, nr, k, panel);
}

static void qlk_pack_w4_avx2(const unsigned char *rows, size_t stride, size_t nr, size_t k,
                             unsigned char *panel)
{
  pack_words(4, rows, stride, nr, k, panel);
}

static void qlk_pack_w8_avx2(const unsigned char *rows, size_t stride, size_t nr, size_t k,
                             unsigned char *panel)
{
  pack_words(8, rows, stride, nr, k, panel);
}

void qlk_fill_pack_avx2(qlk_gemm *t)
{
  t->unit[QLK_W_F32].pack = qlk_pack_x32_avx2;
  t->unit[QLK_W_F16].pack = qlk_pack_x16_avx2;
  t->unit[QLK_W_BF16].pack = qlk_pack_x16_avx2;
  t->unit[QLK_W2].pack = qlk_pack_w2_avx2;
  t->unit[QLK_W3].pack = qlk_pack_w3_avx2;
  t->unit[QLK_W4].pack = qlk_pack_w4_avx2;
  t->unit[QLK_W8].pack = qlk_pack_w8_avx2;
}
