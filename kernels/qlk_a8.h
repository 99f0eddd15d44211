/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLK_A8_H
#define QLK_A8_H

#include "qlk_gemm.h"

/* The integer core: activations as signed 8-bit digits, -127..127, times panels of integer codes
 * (W2, W3, W4, W8) as qlk_gemm.h describes them. An activation has one digit (A8), or two (A16): a
 * number of 16 bits is 255 hi + lo.
 *
 * Rows come in tiles of m activations. A tile has R = m * digits rows of digits: hi and lo of an
 * activation are neighbours. Its digits lie as [packed k / kr][R][kr], in each chunk of kr at
 * qlk_a8_place: there the bytes that a kernel cuts out of the words of codes with one shift and
 * one mask meet them four at a time. */
typedef struct qlk_a8_rows {
  const int8_t *digits; /* of the tile, from packed k = 0 on */
  const int32_t *sums;  /* [R][groups], of the digits of a group */
  const float *scales;  /* [m][groups], or NULL: 1 */
  const int32_t *zeros; /* [m], -127..127, or NULL: 0; only with one digit and integer zero points
                           of the weights */
} qlk_a8_rows;

/* Integer sums are modulo 2^32, so no order and no intermediate width can change them; the driver
 * sees to it that what is left after the correction for zero points fits.
 *
 * With the codes c, the zero points z and the scales s of the weights, and the digits x of a row of
 * a tile, its zero point zx and its scale sx in the group, over the k of a group:
 *
 *   I = sum of (x - zx) (c - z)                                     integer zero points, exact
 *   V = (float)I, or (float)(sum of x c) - z (float)(sum of x) with those of floating point
 *   y = y + (s sx) V
 *
 * and for two digits each (float) above stands for 255 (float)(of hi) + (float)(of lo). Every
 * product and sum of floats is rounded, group after group in turn: ordered class. The scales of W
 * are converted to f32 first; without x.scales the factor is s. Where the codes stand for numbers
 * of a table (qlk_weights.numbers), the number takes the place of c - z in I, unit s that of s, and
 * zx is 0. */
typedef void qlk_a8_gemm_fn(const qlk_weights *w, size_t panel, size_t group, size_t end, size_t m,
                            const qlk_a8_rows *x, float *y, size_t ldy);

/* Exact class, one digit: out[i][j] = I of one group, for integer zero points. */
typedef void qlk_a8_integers_fn(const qlk_weights *w, size_t panel, size_t group, size_t m,
                                const qlk_a8_rows *x, int32_t *out, size_t ldo);

/* Exact class. Digits of one row in the order of packed k into its place in a tile of `rows` rows
 * of digits: out is the first byte of the row. k is a multiple of kr. */
typedef void qlk_a8_arrange_fn(const int8_t *digits, size_t k, size_t rows, int8_t *out);

/* Everything that depends on one packed layout, replaced as a unit. Groups [group, end) of one
 * panel, nr columns; gemm8: 1 <= m <= mr; gemm16: 1 <= 2 m <= mr. */
typedef struct qlk_a8_unit {
  uint32_t layout_id; /* that of the unit of qlk_gemm with the same codes in the same table */
  uint32_t mr, nr, kr;
  qlk_a8_gemm_fn *gemm8, *gemm16;
  qlk_a8_integers_fn *integers;
  qlk_a8_arrange_fn *arrange;
  const char *name8, *name16;
} qlk_a8_unit;

typedef struct qlk_a8 {
  qlk_a8_unit unit[QLK_WTYPE_COUNT]; /* of the integer formats */
  /* Exact class. Largest -x and largest x, at least 0, as bits of an f32; a NaN is larger than
   * Inf. */
  void (*range)(const float *x, size_t n, uint32_t *negative, uint32_t *positive);
  /* Exact class. codes[i] = clamp(round(x[i] / scale) + zero, -127, 127), ties to even; scale is
   * positive, zero in -127..127, x finite. */
  void (*quantize)(const float *x, size_t n, float scale, int32_t zero, int8_t *codes);
  /* Exact class. q = clamp(round(x[i] / scale), -32512, 32512), ties to even, as 255 hi + lo with
   * both in -127..127; scale is positive, x finite. */
  void (*split)(const float *x, size_t n, float scale, int8_t *hi, int8_t *lo);
} qlk_a8;

/* Place of code t of a chunk among the kr digits of a row. W4: the low halves of the four bytes of
 * a word, then the high ones; W2: likewise in quarters; W3: as W2, for each of its two halves. */
static inline size_t qlk_a8_place(qlk_wtype wtype, size_t t)
{
  return wtype == QLK_W8   ? t
         : wtype == QLK_W4 ? t % 2 * 4 + t / 2
                           : t / 16 * 16 + t % 4 * 4 + t % 16 / 4;
}

/* Of every level of the table, built or not. */
#define QLK_ISA(name, NAME, parent, by_default, ...) void qlk_fill_a8_##name(qlk_a8 *t);
#include "qlk_isas.def"
#undef QLK_ISA

#endif
