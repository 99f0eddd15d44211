/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512VNNI__)
#error "this file needs -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni"
#endif

#define QLK_VECTOR 512
enum { MR = 12 };

#include "qlk_a8_x86_body.h"

/* gcc 12 copies the sums around the intrinsic, and then has no registers for all of them: half the
 * speed with twelve rows. */
static inline ints add_dot(ints acc, ints codes, ints digits)
{
#if defined(__clang__)
  return _mm512_dpbusd_epi32(acc, codes, digits);
#else
  __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(codes), "v"(digits));
  return acc;
#endif
}

static void qlk_gemm_f32_a8_w2p32_avx512vnni(const qlk_weights *w, size_t panel, size_t group,
                                             size_t end, size_t m, const qlk_a8_rows *x, float *y,
                                             size_t ldy)
{
  gemm(2, 1, w, panel, group, end, m, x, y, ldy);
}

static void qlk_gemm_f32_a16_w2p32_avx512vnni(const qlk_weights *w, size_t panel, size_t group,
                                              size_t end, size_t m, const qlk_a8_rows *x, float *y,
                                              size_t ldy)
{
  gemm(2, 2, w, panel, group, end, m, x, y, ldy);
}

static void qlk_integers_w2p32_avx512vnni(const qlk_weights *w, size_t panel, size_t group,
                                          size_t m, const qlk_a8_rows *x, int32_t *out, size_t ldo)
{
  integers(2, w, panel, group, m, x, out, ldo);
}

static void qlk_gemm_f32_a8_w3p32_avx512vnni(const qlk_weights *w, size_t panel, size_t group,
                                             size_t end, size_t m, const qlk_a8_rows *x, float *y,
                                             size_t ldy)
{
  gemm(3, 1, w, panel, group, end, m, x, y, ldy);
}

static void qlk_gemm_f32_a16_w3p32_avx512vnni(const qlk_weights *w, size_t panel, size_t group,
                                              size_t end, size_t m, const qlk_a8_rows *x, float *y,
                                              size_t ldy)
{
  gemm(3, 2, w, panel, group, end, m, x, y, ldy);
}

static void qlk_integers_w3p32_avx512vnni(const qlk_weights *w, size_t panel, size_t group,
                                          size_t m, const qlk_a8_rows *x, int32_t *out, size_t ldo)
{
  integers(3, w, panel, group, m, x, out, ldo);
}

static void qlk_gemm_f32_a8_w4p32_avx512vnni(const qlk_weights *w, size_t panel, size_t group,
                                             size_t end, size_t m, const qlk_a8_rows *x, float *y,
                                             size_t ldy)
{
  if (w->numbers != NULL)
    gemm(4 | LEVELS, 1, w, panel, group, end, m, x, y, ldy);
  else
    gemm(4, 1, w, panel, group, end, m, x, y, ldy);
}

static void qlk_gemm_f32_a16_w4p32_avx512vnni(const qlk_weights *w, size_t panel, size_t group,
                                              size_t end, size_t m, const qlk_a8_rows *x, float *y,
                                              size_t ldy)
{
  if (w->numbers != NULL)
    gemm(4 | LEVELS, 2, w, panel, group, end, m, x, y, ldy);
  else
    gemm(4, 2, w, panel, group, end, m, x, y, ldy);
}

static void qlk_integers_w4p32_avx512vnni(const qlk_weights *w, size_t panel, size_t group,
                                          size_t m, const qlk_a8_rows *x, int32_t *out, size_t ldo)
{
  integers(4, w, panel, group, m, x, out, ldo);
}

static void qlk_gemm_f32_a8_w8p32_avx512vnni(const qlk_weights *w, size_t panel, size_t group,
                                             size_t end, size_t m, const qlk_a8_rows *x, float *y,
                                             size_t ldy)
{
  gemm(8, 1, w, panel, group, end, m, x, y, ldy);
}

static void qlk_gemm_f32_a16_w8p32_avx512vnni(const qlk_weights *w, size_t panel, size_t group,
                                              size_t end, size_t m, const qlk_a8_rows *x, float *y,
                                              size_t ldy)
{
  gemm(8, 2, w, panel, group, end, m, x, y, ldy);
}

static void qlk_integers_w8p32_avx512vnni(const qlk_weights *w, size_t panel, size_t group,
                                          size_t m, const qlk_a8_rows *x, int32_t *out, size_t ldo)
{
  integers(8, w, panel, group, m, x, out, ldo);
}

void qlk_fill_a8_avx512vnni(qlk_a8 *t)
{
  t->unit[QLK_W2] = (qlk_a8_unit){QLK_LAYOUT(QLK_W2, NR),
                                  MR,
                                  NR,
                                  16,
                                  qlk_gemm_f32_a8_w2p32_avx512vnni,
                                  qlk_gemm_f32_a16_w2p32_avx512vnni,
                                  qlk_integers_w2p32_avx512vnni,
                                  arrange_w2,
                                  "qlk_gemm_f32_a8_w2p32_avx512vnni",
                                  "qlk_gemm_f32_a16_w2p32_avx512vnni"};
  t->unit[QLK_W3] = (qlk_a8_unit){QLK_LAYOUT(QLK_W3, NR),
                                  MR,
                                  NR,
                                  32,
                                  qlk_gemm_f32_a8_w3p32_avx512vnni,
                                  qlk_gemm_f32_a16_w3p32_avx512vnni,
                                  qlk_integers_w3p32_avx512vnni,
                                  arrange_w3,
                                  "qlk_gemm_f32_a8_w3p32_avx512vnni",
                                  "qlk_gemm_f32_a16_w3p32_avx512vnni"};
  t->unit[QLK_W4] = (qlk_a8_unit){QLK_LAYOUT(QLK_W4, NR),
                                  MR,
                                  NR,
                                  8,
                                  qlk_gemm_f32_a8_w4p32_avx512vnni,
                                  qlk_gemm_f32_a16_w4p32_avx512vnni,
                                  qlk_integers_w4p32_avx512vnni,
                                  arrange_w4,
                                  "qlk_gemm_f32_a8_w4p32_avx512vnni",
                                  "qlk_gemm_f32_a16_w4p32_avx512vnni"};
  t->unit[QLK_W8] = (qlk_a8_unit){QLK_LAYOUT(QLK_W8, NR),
                                  MR,
                                  NR,
                                  4,
                                  qlk_gemm_f32_a8_w8p32_avx512vnni,
                                  qlk_gemm_f32_a16_w8p32_avx512vnni,
                                  qlk_integers_w8p32_avx512vnni,
                                  arrange_w8,
                                  "qlk_gemm_f32_a8_w8p32_avx512vnni",
                                  "qlk_gemm_f32_a16_w8p32_avx512vnni"};
  t->range = range;
  t->quantize = quantize;
  t->split = split;
}
