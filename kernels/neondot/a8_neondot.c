/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__aarch64__) || !defined(__ARM_FEATURE_DOTPROD)
#error "this file needs -march=armv8.2-a+dotprod"
#endif

enum { MR = 6, OFFSET8 = 128 };

#include <arm_neon.h>

typedef struct {
  int8x16_t words[MR];
} digit_vectors;

#include "qlk_a8_neon_body.h"

#include "qlk_a8_neon_lanes.h"

/* Compilers copy the sums around the intrinsic, and then have no registers for all of them. */
#define DOT_LANE(lane) \
  __asm__("sdot %0.4s, %1.16b, %2.4b[" #lane "]" : "+w"(acc) : "w"(codes), "w"(x)); \
  break;

ALWAYS int32x4_t dot_lane(int32x4_t acc, const uint8x16_t codes, const int8x16_t x,
                          const size_t lane)
{
  switch (lane) {
  case 0: DOT_LANE(0)
  case 1: DOT_LANE(1)
  case 2: DOT_LANE(2)
  default: DOT_LANE(3)
  }
  return acc;
}

#undef DOT_LANE

ALWAYS void load_digits(const size_t parts, const size_t rows, const int8_t *x, const size_t stride,
                        digit_vectors *digits)
{
  load_lanes(parts, rows, x, stride, digits->words);
}

ALWAYS void add_dots(const int wide, const size_t parts, const size_t rows, const uint8x16_t *codes,
                     const digit_vectors *digits, const size_t v, sums_of *acc)
{
  (void)wide;
  UNROLL
  for (size_t p = 0; p < parts; p++) {
    UNROLL
    for (size_t r = 0; r < rows; r++) {
      const size_t word = r * parts + p;
      acc[r][v] = dot_lane(acc[r][v], codes[p], digits->words[word / 4], word % 4);
    }
  }
}

ALWAYS void untangle(const size_t rows, sums_of *acc)
{
  (void)rows;
  (void)acc;
}

static void qlk_gemm_f32_a8_w2p16_neondot(const qlk_weights *w, size_t panel, size_t group,
                                          size_t end, size_t m, const qlk_a8_rows *x, float *y,
                                          size_t ldy)
{
  gemm(2, 1, w, panel, group, end, m, x, y, ldy);
}

static void qlk_gemm_f32_a16_w2p16_neondot(const qlk_weights *w, size_t panel, size_t group,
                                           size_t end, size_t m, const qlk_a8_rows *x, float *y,
                                           size_t ldy)
{
  gemm(2, 2, w, panel, group, end, m, x, y, ldy);
}

static void qlk_integers_w2p16_neondot(const qlk_weights *w, size_t panel, size_t group, size_t m,
                                       const qlk_a8_rows *x, int32_t *out, size_t ldo)
{
  integers(2, w, panel, group, m, x, out, ldo);
}

static void qlk_gemm_f32_a8_w3p16_neondot(const qlk_weights *w, size_t panel, size_t group,
                                          size_t end, size_t m, const qlk_a8_rows *x, float *y,
                                          size_t ldy)
{
  gemm(3, 1, w, panel, group, end, m, x, y, ldy);
}

static void qlk_gemm_f32_a16_w3p16_neondot(const qlk_weights *w, size_t panel, size_t group,
                                           size_t end, size_t m, const qlk_a8_rows *x, float *y,
                                           size_t ldy)
{
  gemm(3, 2, w, panel, group, end, m, x, y, ldy);
}

static void qlk_integers_w3p16_neondot(const qlk_weights *w, size_t panel, size_t group, size_t m,
                                       const qlk_a8_rows *x, int32_t *out, size_t ldo)
{
  integers(3, w, panel, group, m, x, out, ldo);
}

static void qlk_gemm_f32_a8_w4p16_neondot(const qlk_weights *w, size_t panel, size_t group,
                                          size_t end, size_t m, const qlk_a8_rows *x, float *y,
                                          size_t ldy)
{
  if (w->numbers != NULL)
    gemm(4 | LEVELS, 1, w, panel, group, end, m, x, y, ldy);
  else
    gemm(4, 1, w, panel, group, end, m, x, y, ldy);
}

static void qlk_gemm_f32_a16_w4p16_neondot(const qlk_weights *w, size_t panel, size_t group,
                                           size_t end, size_t m, const qlk_a8_rows *x, float *y,
                                           size_t ldy)
{
  if (w->numbers != NULL)
    gemm(4 | LEVELS, 2, w, panel, group, end, m, x, y, ldy);
  else
    gemm(4, 2, w, panel, group, end, m, x, y, ldy);
}

static void qlk_integers_w4p16_neondot(const qlk_weights *w, size_t panel, size_t group, size_t m,
                                       const qlk_a8_rows *x, int32_t *out, size_t ldo)
{
  integers(4, w, panel, group, m, x, out, ldo);
}

static void qlk_gemm_f32_a8_w8p16_neondot(const qlk_weights *w, size_t panel, size_t group,
                                          size_t end, size_t m, const qlk_a8_rows *x, float *y,
                                          size_t ldy)
{
  gemm(8, 1, w, panel, group, end, m, x, y, ldy);
}

static void qlk_gemm_f32_a16_w8p16_neondot(const qlk_weights *w, size_t panel, size_t group,
                                           size_t end, size_t m, const qlk_a8_rows *x, float *y,
                                           size_t ldy)
{
  gemm(8, 2, w, panel, group, end, m, x, y, ldy);
}

static void qlk_integers_w8p16_neondot(const qlk_weights *w, size_t panel, size_t group, size_t m,
                                       const qlk_a8_rows *x, int32_t *out, size_t ldo)
{
  integers(8, w, panel, group, m, x, out, ldo);
}

void qlk_fill_a8_neondot(qlk_a8 *t)
{
  t->unit[QLK_W2] = (qlk_a8_unit){QLK_LAYOUT(QLK_W2, NR),
                                  MR,
                                  NR,
                                  16,
                                  qlk_gemm_f32_a8_w2p16_neondot,
                                  qlk_gemm_f32_a16_w2p16_neondot,
                                  qlk_integers_w2p16_neondot,
                                  arrange_w2,
                                  "qlk_gemm_f32_a8_w2p16_neondot",
                                  "qlk_gemm_f32_a16_w2p16_neondot"};
  t->unit[QLK_W3] = (qlk_a8_unit){QLK_LAYOUT(QLK_W3, NR),
                                  MR,
                                  NR,
                                  32,
                                  qlk_gemm_f32_a8_w3p16_neondot,
                                  qlk_gemm_f32_a16_w3p16_neondot,
                                  qlk_integers_w3p16_neondot,
                                  arrange_w3,
                                  "qlk_gemm_f32_a8_w3p16_neondot",
                                  "qlk_gemm_f32_a16_w3p16_neondot"};
  t->unit[QLK_W4] = (qlk_a8_unit){QLK_LAYOUT(QLK_W4, NR),
                                  MR,
                                  NR,
                                  8,
                                  qlk_gemm_f32_a8_w4p16_neondot,
                                  qlk_gemm_f32_a16_w4p16_neondot,
                                  qlk_integers_w4p16_neondot,
                                  arrange_w4,
                                  "qlk_gemm_f32_a8_w4p16_neondot",
                                  "qlk_gemm_f32_a16_w4p16_neondot"};
  t->unit[QLK_W8] = (qlk_a8_unit){QLK_LAYOUT(QLK_W8, NR),
                                  MR,
                                  NR,
                                  4,
                                  qlk_gemm_f32_a8_w8p16_neondot,
                                  qlk_gemm_f32_a16_w8p16_neondot,
                                  qlk_integers_w8p16_neondot,
                                  arrange_w8,
                                  "qlk_gemm_f32_a8_w8p16_neondot",
                                  "qlk_gemm_f32_a16_w8p16_neondot"};
  t->range = range;
  t->quantize = quantize;
  t->split = split;
}
