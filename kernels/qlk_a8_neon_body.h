/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLK_A8_NEON_BODY_H
#define QLK_A8_NEON_BODY_H

#include "qlk_a8_body.h"

#include <arm_neon.h>

/* gcc 12 would load all codes of a chunk before the first product, for which there are no
 * registers. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-schedule-insns")
#endif

/* The integer core of every level of 64-bit Arm. A panel is four vectors of four columns wide. The
 * file that includes this has defined
 *
 *   MR                rows of digits whose sums stay in registers: even, and a divisor of 144
 *   OFFSET8           what it takes from codes of 8 bits: 128 to multiply them as signed bytes, or
 * 0 digit_vectors     digits of one step: of `rows` rows, `parts` words (1, 2 or 4) of four digits
 *
 * and defines after it
 *
 *   load_digits       loads them; rows are stride bytes apart
 *   add_dots          adds their products with the codes, of `wide` bits, of vector v of columns:
 *                     vector p of codes and word p of each row have the same k
 *   untangle          puts the sums of the last step into the order of rows and columns
 *   add_two_chunks8   with QLK_TWO_CHUNKS only: a step of codes of 8 bits, the second chunk of
 *                     which is there if both is true */

enum { NR = 16, LANES = 4, VECTORS = NR / LANES };

typedef int32x4_t sums_of[VECTORS];

#define ALWAYS static inline __attribute__((always_inline))

/* Before loops over rows, vectors and parts: all of them must go, or sums leave the registers. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

ALWAYS void load_digits(const size_t parts, const size_t rows, const int8_t *x, const size_t stride,
                        digit_vectors *digits);
ALWAYS void add_dots(const int wide, const size_t parts, const size_t rows, const uint8x16_t *codes,
                     const digit_vectors *digits, const size_t v, sums_of *acc);
ALWAYS void untangle(const size_t rows, sums_of *acc);

/* Four digits, as one number: they lie at any address. */
typedef int32_t __attribute__((aligned(1), may_alias)) four_digits;

/* Codes of four bits that stand for whole numbers of a table: a byte shuffle makes codes of eight
 * bits of them, the number plus 128, and from there they are like those. */
enum { LEVELS = 16 };

/* Bits of a code in a panel, and of what is multiplied. */
ALWAYS int width_of(const int bits)
{
  return bits % LEVELS;
}

ALWAYS int wide_of(const int bits)
{
  return bits >= LEVELS ? 8 : bits;
}

ALWAYS size_t kr_of(const int bits)
{
  return width_of(bits) == 3 ? 32 : 32 / (size_t)width_of(bits);
}

ALWAYS size_t chunk_bytes_of(const int bits)
{
  return (width_of(bits) == 3 ? 12 : 4) * (size_t)NR;
}

ALWAYS size_t parts_of(const int bits)
{
  return bits == 8 ? 1 : width_of(bits) == 4 ? 2 : 4;
}

/* The bytes of the table, less what codes of eight bits lack. */
ALWAYS uint8x16_t load_table(const int bits, const qlk_weights *w)
{
  return bits >= LEVELS ? veorq_u8(vld1q_u8(w->numbers), vdupq_n_u8(OFFSET8)) : vdupq_n_u8(0);
}

/* Elements at .. at + 3 as f32. */
ALWAYS float32x4_t load_elements(qlk_dtype type, const unsigned char *elements, size_t at)
{
  const unsigned char *p = elements + at * (type == QLK_F32 ? 4 : 2);
  if (type == QLK_F32)
    return vreinterpretq_f32_u8(vld1q_u8(p));
  const uint16x4_t h = vreinterpret_u16_u8(vld1_u8(p));
  return type == QLK_F16 ? vcvt_f32_f16(vreinterpret_f16_u16(h))
                         : vreinterpretq_f32_u32(vshll_n_u16(h, 16));
}

/* Shifts are part of the instruction. */
ALWAYS uint8x16_t shift_right(const uint8x16_t v, const size_t places)
{
  switch (places) {
  case 1: return vshrq_n_u8(v, 1);
  case 2: return vshrq_n_u8(v, 2);
  case 3: return vshrq_n_u8(v, 3);
  case 4: return vshrq_n_u8(v, 4);
  case 5: return vshrq_n_u8(v, 5);
  case 6: return vshrq_n_u8(v, 6);
  case 7: return vshrq_n_u8(v, 7);
  default: return v;
  }
}

/* Codes 4 b + part of a word, for b = 0 .. 3, in the bytes. */
ALWAYS uint8x16_t cut(const int bits, const uint8x16_t words, const size_t part,
                      const uint8x16_t table)
{
  if (bits == 8)
    return OFFSET8 != 0 ? veorq_u8(words, vdupq_n_u8(OFFSET8)) : words;
  const size_t width = (size_t)width_of(bits), places = part * width;
  uint8x16_t low = shift_right(words, places);
  if (places + width != 8)
    low = vandq_u8(low, vdupq_n_u8((uint8_t)((1 << width) - 1)));
  return bits >= LEVELS ? vqtbl1q_u8(table, low) : low;
}

/* The same of three bits: `third` has those of part at place `part + 4 half`. */
ALWAYS uint8x16_t cut_third(const uint8x16_t low, const uint8x16_t third, const size_t half,
                            const size_t part)
{
  const uint8x16_t both =
      vsliq_n_u8(shift_right(low, 2 * part), shift_right(third, part + 4 * half), 2);
  return part + 4 * half == 7 ? both : vandq_u8(both, vdupq_n_u8(7));
}

/* Four columns. */
ALWAYS void add_columns(const int bits, const size_t rows, const unsigned char *chunk,
                        const size_t half, const size_t v, const digit_vectors *digits,
                        const uint8x16_t table, sums_of *acc)
{
  const size_t parts = parts_of(bits);
  const unsigned char *words = chunk + v * LANES * 4;
  const uint8x16_t low = vld1q_u8(words + half * 4 * NR);
  const uint8x16_t third = bits == 3 ? vld1q_u8(words + 8 * NR) : low;
  uint8x16_t codes[4];
  UNROLL
  for (size_t p = 0; p < parts; p++)
    codes[p] = bits == 3 ? cut_third(low, third, half, p) : cut(bits, low, p, table);
  add_dots(wide_of(bits), parts, rows, codes, digits, v, acc);
}

/* Written out: compilers do not unroll all of it, and then the sums leave the registers. */
ALWAYS void add_half(const int bits, const size_t rows, const unsigned char *chunk, const int8_t *x,
                     const size_t half, const uint8x16_t table, sums_of *acc)
{
  digit_vectors digits;
  load_digits(parts_of(bits), rows, x + 16 * half, kr_of(bits), &digits);
  add_columns(bits, rows, chunk, half, 0, &digits, table, acc);
  add_columns(bits, rows, chunk, half, 1, &digits, table, acc);
  add_columns(bits, rows, chunk, half, 2, &digits, table, acc);
  add_columns(bits, rows, chunk, half, 3, &digits, table, acc);
}

ALWAYS void add_chunk(const int bits, const size_t rows, const unsigned char *chunk,
                      const int8_t *x, const uint8x16_t table, sums_of *acc)
{
  add_half(bits, rows, chunk, x, 0, table, acc);
  if (bits == 3)
    add_half(bits, rows, chunk, x, 1, table, acc);
}

#if defined(QLK_TWO_CHUNKS)
ALWAYS void add_two_chunks8(const size_t rows, const size_t tile_rows, const unsigned char *chunk,
                            const int8_t *x, const int both, sums_of *acc);
#endif

/* Few rows wait for memory: lines are asked for this many bytes ahead. */
enum { AHEAD = 1024, FEW_ROWS = 2 };

ALWAYS void ask_ahead(const size_t rows, const unsigned char *chunk, const size_t bytes)
{
  if (rows <= FEW_ROWS) {
    UNROLL
    for (size_t line = 0; line < bytes; line += 64)
      __builtin_prefetch(chunk + AHEAD + line);
  }
}

/* Sums of the products of one group. x: the first of `rows` rows of digits of a tile that has
 * tile_rows of them. */
ALWAYS void add_products(const int bits, const size_t rows, const size_t tile_rows,
                         const qlk_weights *w, size_t panel, size_t group, const int8_t *x,
                         sums_of *acc)
{
  const size_t kr = kr_of(bits), bytes = chunk_bytes_of(bits);
  const size_t first = group > 0 ? w->ends[group - 1] : 0;
  const unsigned char *chunk = w->codes + panel * w->code_stride + first / kr * bytes;
  const uint8x16_t table = load_table(bits, w);
  size_t left = (w->ends[group] - first) / kr;
  x += first * tile_rows;
  UNROLL
  for (size_t r = 0; r < rows; r++) {
    UNROLL
    for (size_t v = 0; v < VECTORS; v++)
      acc[r][v] = vdupq_n_s32(0);
  }
#if defined(QLK_TWO_CHUNKS)
  for (; bits == 8 && left > 1; left -= 2, chunk += 2 * bytes, x += 2 * kr * tile_rows) {
    ask_ahead(rows, chunk, 2 * bytes);
    add_two_chunks8(rows, tile_rows, chunk, x, 1, acc);
  }
  if (bits == 8 && left > 0)
    add_two_chunks8(rows, tile_rows, chunk, x, 0, acc);
  left = bits == 8 ? 0 : left;
#endif
  for (; left > 0; left--, chunk += bytes, x += kr * tile_rows) {
    ask_ahead(rows, chunk, bytes);
    add_chunk(bits, rows, chunk, x, table, acc);
  }
  untangle(rows, acc);
}

/* Zero points, and what codes of 8 bits lack. */
ALWAYS void correct(const int bits, const size_t rows, const qlk_weights *w, size_t at,
                    size_t group, const qlk_a8_rows *x, sums_of *acc)
{
  const int wide = wide_of(bits);
  const int32_t offset = wide == 8 ? OFFSET8 : 0;
  UNROLL
  for (size_t r = 0; r < rows; r++) {
    const int32x4_t sum = vdupq_n_s32(x->sums[r * w->groups + group]);
    UNROLL
    for (size_t v = 0; v < VECTORS; v++) {
      int32x4_t zero = vdupq_n_s32((w->fzeros != NULL ? 0 : 1 << (wide - 1)) - offset);
      if (w->zeros != NULL)
        zero = vsubq_s32(vmovl_s16(vld1_s16(w->zeros + at + v * LANES)), vdupq_n_s32(offset));
      acc[r][v] = vmlsq_s32(acc[r][v], zero, sum);
      if (x->zeros != NULL)
        acc[r][v] =
            vmlsq_s32(acc[r][v], vld1q_s32(w->sums + at + v * LANES), vdupq_n_s32(x->zeros[r]));
    }
  }
}

/* The number of one or two rows of digits. */
ALWAYS float32x4_t join(const size_t digits, sums_of *acc, size_t v)
{
  const float32x4_t high = vcvtq_f32_s32(acc[0][v]);
  if (digits == 1)
    return high;
  return vaddq_f32(vmulq_n_f32(high, 255.0f), vcvtq_f32_s32(acc[1][v]));
}

ALWAYS float join_sums(const size_t digits, const int32_t *sums, size_t groups)
{
  return digits == 1 ? (float)sums[0] : 255.0f * (float)sums[0] + (float)sums[groups];
}

ALWAYS void add_group(const int bits, const size_t digits, const size_t rows, const qlk_weights *w,
                      size_t at, size_t group, const qlk_a8_rows *x, sums_of *acc, float *y,
                      size_t ldy)
{
  UNROLL
  for (size_t v = 0; v < VECTORS; v++) {
    float32x4_t scale = load_elements(w->scale_type, w->scales, at + v * LANES);
    if (bits >= LEVELS)
      scale = vmulq_n_f32(scale, w->unit);
    UNROLL
    for (size_t i = 0; i < rows / digits; i++) {
      float32x4_t value = join(digits, acc + i * digits, v), s = scale;
      float *to = y + i * ldy + v * LANES;
      if (w->fzeros != NULL) {
        const float sum = join_sums(digits, x->sums + i * digits * w->groups + group, w->groups);
        const float32x4_t zero = load_elements(w->scale_type, w->fzeros, at + v * LANES);
        value = vsubq_f32(value, vmulq_n_f32(zero, sum));
      }
      if (x->scales != NULL)
        s = vmulq_n_f32(s, x->scales[i * w->groups + group]);
      vst1q_f32(to, vaddq_f32(vld1q_f32(to), vmulq_f32(s, value)));
    }
  }
}

ALWAYS void gemm_rows(const int bits, const size_t digits, const size_t rows, const qlk_weights *w,
                      size_t panel, size_t group, size_t end, const qlk_a8_rows *x, float *y,
                      size_t ldy)
{
  for (; group < end; group++) {
    const size_t at = panel * w->scale_stride + group * NR;
    sums_of acc[MR];
    add_products(bits, rows, rows, w, panel, group, x->digits, acc);
    correct(bits, rows, w, at, group, x, acc);
    add_group(bits, digits, rows, w, at, group, x, acc, y, ldy);
  }
}

/* rows is a constant in each case, so that the sums stay in registers. */
#define QLK_ROWS(n) \
  case n: \
    if (n <= MR && n % digits == 0) \
      gemm_rows(bits, digits, n <= MR ? n : MR, w, panel, group, end, x, y, ldy); \
    break;

ALWAYS void gemm(const int bits, const size_t digits, const qlk_weights *w, size_t panel,
                 size_t group, size_t end, size_t m, const qlk_a8_rows *x, float *y, size_t ldy)
{
  switch (m * digits) {
    QLK_ROWS(1)
    QLK_ROWS(2)
    QLK_ROWS(3)
    QLK_ROWS(4)
    QLK_ROWS(5)
    QLK_ROWS(6)
  default: break;
  }
}

#undef QLK_ROWS

ALWAYS void gemm_width(const int bits, const size_t digits, const qlk_weights *w, size_t panel,
                       size_t group, size_t end, size_t m, const qlk_a8_rows *x, float *y,
                       size_t ldy)
{
  if (bits == 4 && w->numbers != NULL)
    gemm(4 | LEVELS, digits, w, panel, group, end, m, x, y, ldy);
  else
    gemm(bits, digits, w, panel, group, end, m, x, y, ldy);
}

ALWAYS void integers(const int bits, const qlk_weights *w, size_t panel, size_t group, size_t m,
                     const qlk_a8_rows *x, int32_t *out, size_t ldo)
{
  for (size_t i = 0; i < m; i++) {
    const qlk_a8_rows row = {x->digits + i * kr_of(bits), x->sums + i * w->groups, NULL,
                             x->zeros != NULL ? x->zeros + i : NULL};
    sums_of acc[1];
    add_products(bits, 1, m, w, panel, group, row.digits, acc);
    correct(bits, 1, w, panel * w->scale_stride + group * NR, group, &row, acc);
    for (size_t v = 0; v < VECTORS; v++)
      vst1q_s32(out + i * ldo + v * LANES, acc[0][v]);
  }
}

#endif
