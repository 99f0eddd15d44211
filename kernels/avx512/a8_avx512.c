/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512DQ__) || \
    !defined(__AVX512VL__)
#error "this file needs -mavx512f -mavx512bw -mavx512dq -mavx512vl"
#endif

#define QLK_PAIRS 1
#define QLK_VECTOR 512
enum { MR = 12 };

#include "qlk_a8_x86_body.h"

/* 255 * 127 twice does not fit in 16 bits: bytes of even and of odd places are widened first. */
static inline ints add_dot(ints acc, ints codes, ints digits)
{
  const ints even = SI(and)(codes, MM(set1_epi16)(255)), odd = MM(srli_epi16)(codes, 8);
  const ints x_even = MM(srai_epi16)(MM(slli_epi16)(digits, 8), 8);
  acc = MM(add_epi32)(acc, MM(madd_epi16)(even, x_even));
  return MM(add_epi32)(acc, MM(madd_epi16)(odd, MM(srai_epi16)(digits, 8)));
}

static void qlk_gemm_f32_a8_w2p32_avx512(const qlk_weights *w, size_t panel, size_t group,
                                         size_t end, size_t m, const qlk_a8_rows *x, float *y,
                                         size_t ldy)
{
  gemm(2, 1, w, panel, group, end, m, x, y, ldy);
}

static void qlk_gemm_f32_a16_w2p32_avx512(const qlk_weights *w, size_t panel, size_t group,
                                          size_t end, size_t m, const qlk_a8_rows *x, float *y,
                                          size_t ldy)
{
  gemm(2, 2, w, panel, group, end, m, x, y, ldy);
}

static void qlk_integers_w2p32_avx512(const qlk_weights *w, size_t panel, size_t group, size_t m,
                                      const qlk_a8_rows *x, int32_t *out, size_t ldo)
{
  integers(2, w, panel, group, m, x, out, ldo);
}

static void qlk_gemm_f32_a8_w3p32_avx512(const qlk_weights *w, size_t panel, size_t group,
                                         size_t end, size_t m, const qlk_a8_rows *x, float *y,
                                         size_t ldy)
{
  gemm(3, 1, w, panel, group, end, m, x, y, ldy);
}

static void qlk_gemm_f32_a16_w3p32_avx512(const qlk_weights *w, size_t panel, size_t group,
                                          size_t end, size_t m, const qlk_a8_rows *x, float *y,
                                          size_t ldy)
{
  gemm(3, 2, w, panel, group, end, m, x, y, ldy);
}

static void qlk_integers_w3p32_avx512(const qlk_weights *w, size_t panel, size_t group, size_t m,
                                      const qlk_a8_rows *x, int32_t *out, size_t ldo)
{
  integers(3, w, panel, group, m, x, out, ldo);
}

static void qlk_gemm_f32_a8_w4p32_avx512(const qlk_weights *w, size_t panel, size_t group,
                                         size_t end, size_t m, const qlk_a8_rows *x, float *y,
                                         size_t ldy)
{
  if (w->numbers != NULL)
    gemm(4 | LEVELS, 1, w, panel, group, end, m, x, y, ldy);
  else
    gemm(4, 1, w, panel, group, end, m, x, y, ldy);
}

static void qlk_gemm_f32_a16_w4p32_avx512(const qlk_weights *w, size_t panel, size_t group,
                                          size_t end, size_t m, const qlk_a8_rows *x, float *y,
                                          size_t ldy)
{
  if (w->numbers != NULL)
    gemm(4 | LEVELS, 2, w, panel, group, end, m, x, y, ldy);
  else
    gemm(4, 2, w, panel, group, end, m, x, y, ldy);
}

static void qlk_integers_w4p32_avx512(const qlk_weights *w, size_t panel, size_t group, size_t m,
                                      const qlk_a8_rows *x, int32_t *out, size_t ldo)
{
  integers(4, w, panel, group, m, x, out, ldo);
}

static void qlk_gemm_f32_a8_w8p32_avx512(const qlk_weights *w, size_t panel, size_t group,
                                         size_t end, size_t m, const qlk_a8_rows *x, float *y,
                                         size_t ldy)
{
  gemm(8, 1, w, panel, group, end, m, x, y, ldy);
}

static void qlk_gemm_f32_a16_w8p32_avx512(const qlk_weights *w, size_t panel, size_t group,
                                          size_t end, size_t m, const qlk_a8_rows *x, float *y,
                                          size_t ldy)
{
  gemm(8, 2, w, panel, group, end, m, x, y, ldy);
}

static void qlk_integers_w8p32_avx512(const qlk_weights *w, size_t panel, size_t group, size_t m,
                                      const qlk_a8_rows *x, int32_t *out, size_t ldo)
{
  integers(8, w, panel, group, m, x, out, ldo);
}

void qlk_fill_a8_avx512(qlk_a8 *t)
{
  t->unit[QLK_W2] = (qlk_a8_unit){QLK_LAYOUT(QLK_W2, NR),
                                  MR,
                                  NR,
                                  16,
                                  qlk_gemm_f32_a8_w2p32_avx512,
                                  qlk_gemm_f32_a16_w2p32_avx512,
                                  qlk_integers_w2p32_avx512,
                                  arrange_w2,
                                  "qlk_gemm_f32_a8_w2p32_avx512",
                                  "qlk_gemm_f32_a16_w2p32_avx512"};
  t->unit[QLK_W3] = (qlk_a8_unit){QLK_LAYOUT(QLK_W3, NR),
                                  MR,
                                  NR,
                                  32,
                                  qlk_gemm_f32_a8_w3p32_avx512,
                                  qlk_gemm_f32_a16_w3p32_avx512,
                                  qlk_integers_w3p32_avx512,
                                  arrange_w3,
                                  "qlk_gemm_f32_a8_w3p32_avx512",
                                  "qlk_gemm_f32_a16_w3p32_avx512"};
  t->unit[QLK_W4] = (qlk_a8_unit){QLK_LAYOUT(QLK_W4, NR),
                                  MR,
                                  NR,
                                  8,
                                  qlk_gemm_f32_a8_w4p32_avx512,
                                  qlk_gemm_f32_a16_w4p32_avx512,
                                  qlk_integers_w4p32_avx512,
                                  arrange_w4,
                                  "qlk_gemm_f32_a8_w4p32_avx512",
                                  "qlk_gemm_f32_a16_w4p32_avx512"};
  t->unit[QLK_W8] = (qlk_a8_unit){QLK_LAYOUT(QLK_W8, NR),
                                  MR,
                                  NR,
                                  4,
                                  qlk_gemm_f32_a8_w8p32_avx512,
                                  qlk_gemm_f32_a16_w8p32_avx512,
                                  qlk_integers_w8p32_avx512,
                                  arrange_w8,
                                  "qlk_gemm_f32_a8_w8p32_avx512",
                                  "qlk_gemm_f32_a16_w8p32_avx512"};
  t->range = range;
  t->quantize = quantize;
  t->split = split;
}
