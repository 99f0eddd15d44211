/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__)
#error "this file needs -mavx2 -mfma -mf16c -mbmi2"
#endif

#define QLK_PAIRS 1
#define QLK_SIGNED 1
#define QLK_VECTOR 256
enum { MR = 4 };

#include "qlk_a8_x86_body.h"

/* |code - 128| is at most 128 and fits a byte without a sign; the digit takes the sign. 128 * 127
 * twice fits in 16 bits. */
static inline ints add_dot(ints acc, ints codes, ints digits)
{
  const ints pairs = MM(maddubs_epi16)(MM(abs_epi8)(codes), MM(sign_epi8)(digits, codes));
  return MM(add_epi32)(acc, MM(madd_epi16)(pairs, MM(set1_epi16)(1)));
}

static void qlk_gemm_f32_a8_w2p16_avx2(const qlk_weights *w, size_t panel, size_t group, size_t end,
                                       size_t m, const qlk_a8_rows *x, float *y, size_t ldy)
{
  gemm(2, 1, w, panel, group, end, m, x, y, ldy);
}

static void qlk_gemm_f32_a16_w2p16_avx2(const qlk_weights *w, size_t panel, size_t group,
                                        size_t end, size_t m, const qlk_a8_rows *x, float *y,
                                        size_t ldy)
{
  gemm(2, 2, w, panel, group, end, m, x, y, ldy);
}

static void qlk_integers_w2p16_avx2(const qlk_weights *w, size_t panel, size_t group, size_t m,
                                    const qlk_a8_rows *x, int32_t *out, size_t ldo)
{
  integers(2, w, panel, group, m, x, out, ldo);
}

static void qlk_gemm_f32_a8_w3p16_avx2(const qlk_weights *w, size_t panel, size_t group, size_t end,
                                       size_t m, const qlk_a8_rows *x, float *y, size_t ldy)
{
  gemm(3, 1, w, panel, group, end, m, x, y, ldy);
}

static void qlk_gemm_f32_a16_w3p16_avx2(const qlk_weights *w, size_t panel, size_t group,
                                        size_t end, size_t m, const qlk_a8_rows *x, float *y,
                                        size_t ldy)
{
  gemm(3, 2, w, panel, group, end, m, x, y, ldy);
}

static void qlk_integers_w3p16_avx2(const qlk_weights *w, size_t panel, size_t group, size_t m,
                                    const qlk_a8_rows *x, int32_t *out, size_t ldo)
{
  integers(3, w, panel, group, m, x, out, ldo);
}

static void qlk_gemm_f32_a8_w4p16_avx2(const qlk_weights *w, size_t panel, size_t group, size_t end,
                                       size_t m, const qlk_a8_rows *x, float *y, size_t ldy)
{
  if (w->numbers != NULL)
    gemm(4 | LEVELS, 1, w, panel, group, end, m, x, y, ldy);
  else
    gemm(4, 1, w, panel, group, end, m, x, y, ldy);
}

static void qlk_gemm_f32_a16_w4p16_avx2(const qlk_weights *w, size_t panel, size_t group,
                                        size_t end, size_t m, const qlk_a8_rows *x, float *y,
                                        size_t ldy)
{
  if (w->numbers != NULL)
    gemm(4 | LEVELS, 2, w, panel, group, end, m, x, y, ldy);
  else
    gemm(4, 2, w, panel, group, end, m, x, y, ldy);
}

static void qlk_integers_w4p16_avx2(const qlk_weights *w, size_t panel, size_t group, size_t m,
                                    const qlk_a8_rows *x, int32_t *out, size_t ldo)
{
  integers(4, w, panel, group, m, x, out, ldo);
}

static void qlk_gemm_f32_a8_w8p16_avx2(const qlk_weights *w, size_t panel, size_t group, size_t end,
                                       size_t m, const qlk_a8_rows *x, float *y, size_t ldy)
{
  gemm(8, 1, w, panel, group, end, m, x, y, ldy);
}

static void qlk_gemm_f32_a16_w8p16_avx2(const qlk_weights *w, size_t panel, size_t group,
                                        size_t end, size_t m, const qlk_a8_rows *x, float *y,
                                        size_t ldy)
{
  gemm(8, 2, w, panel, group, end, m, x, y, ldy);
}

static void qlk_integers_w8p16_avx2(const qlk_weights *w, size_t panel, size_t group, size_t m,
                                    const qlk_a8_rows *x, int32_t *out, size_t ldo)
{
  integers(8, w, panel, group, m, x, out, ldo);
}

void qlk_fill_a8_avx2(qlk_a8 *t)
{
  t->unit[QLK_W2] = (qlk_a8_unit){QLK_LAYOUT(QLK_W2, NR),
                                  MR,
                                  NR,
                                  16,
                                  qlk_gemm_f32_a8_w2p16_avx2,
                                  qlk_gemm_f32_a16_w2p16_avx2,
                                  qlk_integers_w2p16_avx2,
                                  arrange_w2,
                                  "qlk_gemm_f32_a8_w2p16_avx2",
                                  "qlk_gemm_f32_a16_w2p16_avx2"};
  t->unit[QLK_W3] = (qlk_a8_unit){QLK_LAYOUT(QLK_W3, NR),
                                  MR,
                                  NR,
                                  32,
                                  qlk_gemm_f32_a8_w3p16_avx2,
                                  qlk_gemm_f32_a16_w3p16_avx2,
                                  qlk_integers_w3p16_avx2,
                                  arrange_w3,
                                  "qlk_gemm_f32_a8_w3p16_avx2",
                                  "qlk_gemm_f32_a16_w3p16_avx2"};
  t->unit[QLK_W4] = (qlk_a8_unit){QLK_LAYOUT(QLK_W4, NR),
                                  MR,
                                  NR,
                                  8,
                                  qlk_gemm_f32_a8_w4p16_avx2,
                                  qlk_gemm_f32_a16_w4p16_avx2,
                                  qlk_integers_w4p16_avx2,
                                  arrange_w4,
                                  "qlk_gemm_f32_a8_w4p16_avx2",
                                  "qlk_gemm_f32_a16_w4p16_avx2"};
  t->unit[QLK_W8] = (qlk_a8_unit){QLK_LAYOUT(QLK_W8, NR),
                                  MR,
                                  NR,
                                  4,
                                  qlk_gemm_f32_a8_w8p16_avx2,
                                  qlk_gemm_f32_a16_w8p16_avx2,
                                  qlk_integers_w8p16_avx2,
                                  arrange_w8,
                                  "qlk_gemm_f32_a8_w8p16_avx2",
                                  "qlk_gemm_f32_a16_w8p16_avx2"};
  t->range = range;
  t->quantize = quantize;
  t->split = split;
}
