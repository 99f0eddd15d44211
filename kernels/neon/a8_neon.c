/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__aarch64__) || !defined(__ARM_NEON)
#error "this file needs aarch64 with Advanced SIMD"
#endif

enum { MR = 4, OFFSET8 = 128 };

#include <arm_neon.h>

typedef struct {
  int8x16_t four[MR][4];
} digit_vectors;

#include "qlk_a8_neon_body.h"

ALWAYS void load_digits(const size_t parts, const size_t rows, const int8_t *x, const size_t stride,
                        digit_vectors *digits)
{
  UNROLL
  for (size_t r = 0; r < rows; r++) {
    UNROLL
    for (size_t p = 0; p < parts; p++)
      digits->four[r][p] = vreinterpretq_s8_s32(
          vdupq_n_s32(*(const four_digits *)(const void *)(x + r * stride + 4 * p)));
  }
}

/* In 16 bits fit eight products of a code of up to 4 bits (8 * 15 * 127) or two of a signed byte
 * (2 * 128 * 127), which is what a pairwise sum of all parts has, or of one part. */
ALWAYS void add_dots(const int wide, const size_t parts, const size_t rows, const uint8x16_t *codes,
                     const digit_vectors *digits, const size_t v, sums_of *acc)
{
  UNROLL
  for (size_t r = 0; r < rows; r++) {
    const int8x16_t first = vreinterpretq_s8_u8(codes[0]), x = digits->four[r][0];
    int16x8_t low = vmull_s8(vget_low_s8(first), vget_low_s8(x)), high = vmull_high_s8(first, x);
    UNROLL
    for (size_t p = 1; p < parts; p++) {
      if (wide == 8) {
        acc[r][v] = vpadalq_s16(acc[r][v], vpaddq_s16(low, high));
        low = high = vdupq_n_s16(0);
      }
      const int8x16_t next = vreinterpretq_s8_u8(codes[p]), d = digits->four[r][p];
      low = vmlal_s8(low, vget_low_s8(next), vget_low_s8(d));
      high = vmlal_high_s8(high, next, d);
    }
    acc[r][v] = vpadalq_s16(acc[r][v], vpaddq_s16(low, high));
  }
}

ALWAYS void untangle(const size_t rows, sums_of *acc)
{
  (void)rows;
  (void)acc;
}

static void qlk_gemm_f32_a8_w2p16_neon(const qlk_weights *w, size_t panel, size_t group, size_t end,
                                       size_t m, const qlk_a8_rows *x, float *y, size_t ldy)
{
  gemm(2, 1, w, panel, group, end, m, x, y, ldy);
}

static void qlk_gemm_f32_a16_w2p16_neon(const qlk_weights *w, size_t panel, size_t group,
                                        size_t end, size_t m, const qlk_a8_rows *x, float *y,
                                        size_t ldy)
{
  gemm(2, 2, w, panel, group, end, m, x, y, ldy);
}

static void qlk_integers_w2p16_neon(const qlk_weights *w, size_t panel, size_t group, size_t m,
                                    const qlk_a8_rows *x, int32_t *out, size_t ldo)
{
  integers(2, w, panel, group, m, x, out, ldo);
}

static void qlk_gemm_f32_a8_w3p16_neon(const qlk_weights *w, size_t panel, size_t group, size_t end,
                                       size_t m, const qlk_a8_rows *x, float *y, size_t ldy)
{
  gemm(3, 1, w, panel, group, end, m, x, y, ldy);
}

static void qlk_gemm_f32_a16_w3p16_neon(const qlk_weights *w, size_t panel, size_t group,
                                        size_t end, size_t m, const qlk_a8_rows *x, float *y,
                                        size_t ldy)
{
  gemm(3, 2, w, panel, group, end, m, x, y, ldy);
}

static void qlk_integers_w3p16_neon(const qlk_weights *w, size_t panel, size_t group, size_t m,
                                    const qlk_a8_rows *x, int32_t *out, size_t ldo)
{
  integers(3, w, panel, group, m, x, out, ldo);
}

static void qlk_gemm_f32_a8_w4p16_neon(const qlk_weights *w, size_t panel, size_t group, size_t end,
                                       size_t m, const qlk_a8_rows *x, float *y, size_t ldy)
{
  if (w->numbers != NULL)
    gemm(4 | LEVELS, 1, w, panel, group, end, m, x, y, ldy);
  else
    gemm(4, 1, w, panel, group, end, m, x, y, ldy);
}

static void qlk_gemm_f32_a16_w4p16_neon(const qlk_weights *w, size_t panel, size_t group,
                                        size_t end, size_t m, const qlk_a8_rows *x, float *y,
                                        size_t ldy)
{
  if (w->numbers != NULL)
    gemm(4 | LEVELS, 2, w, panel, group, end, m, x, y, ldy);
  else
    gemm(4, 2, w, panel, group, end, m, x, y, ldy);
}

static void qlk_integers_w4p16_neon(const qlk_weights *w, size_t panel, size_t group, size_t m,
                                    const qlk_a8_rows *x, int32_t *out, size_t ldo)
{
  integers(4, w, panel, group, m, x, out, ldo);
}

static void qlk_gemm_f32_a8_w8p16_neon(const qlk_weights *w, size_t panel, size_t group, size_t end,
                                       size_t m, const qlk_a8_rows *x, float *y, size_t ldy)
{
  gemm(8, 1, w, panel, group, end, m, x, y, ldy);
}

static void qlk_gemm_f32_a16_w8p16_neon(const qlk_weights *w, size_t panel, size_t group,
                                        size_t end, size_t m, const qlk_a8_rows *x, float *y,
                                        size_t ldy)
{
  gemm(8, 2, w, panel, group, end, m, x, y, ldy);
}

static void qlk_integers_w8p16_neon(const qlk_weights *w, size_t panel, size_t group, size_t m,
                                    const qlk_a8_rows *x, int32_t *out, size_t ldo)
{
  integers(8, w, panel, group, m, x, out, ldo);
}

void qlk_fill_a8_neon(qlk_a8 *t)
{
  t->unit[QLK_W2] = (qlk_a8_unit){QLK_LAYOUT(QLK_W2, NR),
                                  MR,
                                  NR,
                                  16,
                                  qlk_gemm_f32_a8_w2p16_neon,
                                  qlk_gemm_f32_a16_w2p16_neon,
                                  qlk_integers_w2p16_neon,
                                  arrange_w2,
                                  "qlk_gemm_f32_a8_w2p16_neon",
                                  "qlk_gemm_f32_a16_w2p16_neon"};
  t->unit[QLK_W3] = (qlk_a8_unit){QLK_LAYOUT(QLK_W3, NR),
                                  MR,
                                  NR,
                                  32,
                                  qlk_gemm_f32_a8_w3p16_neon,
                                  qlk_gemm_f32_a16_w3p16_neon,
                                  qlk_integers_w3p16_neon,
                                  arrange_w3,
                                  "qlk_gemm_f32_a8_w3p16_neon",
                                  "qlk_gemm_f32_a16_w3p16_neon"};
  t->unit[QLK_W4] = (qlk_a8_unit){QLK_LAYOUT(QLK_W4, NR),
                                  MR,
                                  NR,
                                  8,
                                  qlk_gemm_f32_a8_w4p16_neon,
                                  qlk_gemm_f32_a16_w4p16_neon,
                                  qlk_integers_w4p16_neon,
                                  arrange_w4,
                                  "qlk_gemm_f32_a8_w4p16_neon",
                                  "qlk_gemm_f32_a16_w4p16_neon"};
  t->unit[QLK_W8] = (qlk_a8_unit){QLK_LAYOUT(QLK_W8, NR),
                                  MR,
                                  NR,
                                  4,
                                  qlk_gemm_f32_a8_w8p16_neon,
                                  qlk_gemm_f32_a16_w8p16_neon,
                                  qlk_integers_w8p16_neon,
                                  arrange_w8,
                                  "qlk_gemm_f32_a8_w8p16_neon",
                                  "qlk_gemm_f32_a16_w8p16_neon"};
  t->range = range;
  t->quantize = quantize;
  t->split = split;
}
