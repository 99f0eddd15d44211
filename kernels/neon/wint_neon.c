/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "vec_neon.h"

#include "qlk_wint_form.h"

enum { CODE_ROWS = 4, CODE_SUMS = SUMS, BUFFERED_ROWS = CODE_ROWS + 2 };

static inline uint32x4_t load_words(const unsigned char *p)
{
  return vreinterpretq_u32_u8(vld1q_u8(p));
}

/* The codes of one chunk of four columns. */
typedef struct {
  uint32x4_t word[4];
} chunk_part;

static inline chunk_part load_chunk(const int form, const unsigned char *p)
{
  chunk_part c = {{load_words(p)}};
  if (width_of(form) == 3) {
    c.word[1] = load_words(p + NR * 4);
    c.word[2] = c.word[3] = load_words(p + 2 * NR * 4);
  }
  return c;
}

/* Before code t of three bits: after sixteen codes the second word takes the place of the first;
 * the third bits of four codes lie side by side, those of the next four in the next byte
 * (qlk_third_bit), those of the second sixteen above those of the first. */
static inline void turn_chunk(const int form, chunk_part *c, size_t t)
{
  if (width_of(form) != 3 || t == 0 || t % 4 != 0)
    return;
  if (t == 16)
    c->word[0] = c->word[1];
  c->word[2] = vshrq_n_u32(t == 16 ? c->word[3] : c->word[2], 4);
}

static inline int form_of(const int bits, const qlk_weights *w)
{
  if (w->table == NULL)
    return bits;
  return bits | (has_small_table(bits, w) ? PERMUTED : GATHERED);
}

/* Sixteen levels. */
typedef struct {
  uint8x16x4_t table;
} decoder;

static inline decoder decoder_of(const int form, const qlk_weights *w)
{
  decoder d = {{{vdupq_n_u8(0), vdupq_n_u8(0), vdupq_n_u8(0), vdupq_n_u8(0)}}};
  for (int i = 0; (form & PERMUTED) != 0 && i < 4; i++)
    d.table.val[i] = vreinterpretq_u8_f32(vld1q_f32(w->table + 4 * i));
  return d;
}

/* levels: of the first column; stride: from column to column. */
typedef struct {
  const float *levels;
  size_t stride;
} level_place;

static inline level_place place_of(const int form, const qlk_weights *w, size_t panel,
                                   size_t column)
{
  const size_t stride = w->table_stride != 0 ? (size_t)1 << width_of(form) : 0;
  return (level_place){w->table + panel * w->table_stride + column * stride, stride};
}

static inline float32x4_t gathered(uint32x4_t code, const level_place *place)
{
  const float *levels = place->levels;
  const size_t stride = place->stride;
  const float four[VL] = {levels[vgetq_lane_u32(code, 0)], levels[stride + vgetq_lane_u32(code, 1)],
                          levels[2 * stride + vgetq_lane_u32(code, 2)],
                          levels[3 * stride + vgetq_lane_u32(code, 3)]};
  return vld1q_f32(four);
}

/* Bytes of a level: four in a row of the table. */
static inline float32x4_t permuted(const int bits, uint32x4_t code, decoder d)
{
  const uint32x4_t first = vmlaq_n_u32(vdupq_n_u32(0x03020100), code, 0x04040404);
  const uint8x16_t index = vreinterpretq_u8_u32(first);
  if (bits == 2)
    return vreinterpretq_f32_u8(vqtbl1q_u8(d.table.val[0], index));
  if (bits == 3)
    return vreinterpretq_f32_u8(
        vqtbl2q_u8((uint8x16x2_t){{d.table.val[0], d.table.val[1]}}, index));
  return vreinterpretq_f32_u8(vqtbl4q_u8(d.table, index));
}

/* The number of the next k: a code or a level. */
static inline float32x4_t next_level(const int form, chunk_part *c, const level_place *place,
                                     decoder d)
{
  const int bits = width_of(form), low = bits == 3 ? 2 : bits;
  uint32x4_t code = vandq_u32(c->word[0], vdupq_n_u32((1u << low) - 1));
  c->word[0] = vshlq_u32(c->word[0], vdupq_n_s32(-low));
  if (bits == 3) {
    const uint32x4_t third = vandq_u32(c->word[2], vdupq_n_u32(1));
    code = vorrq_u32(code, vshlq_n_u32(third, 2));
    c->word[2] = vshrq_n_u32(c->word[2], 1);
  }
  if ((form & GATHERED) != 0)
    return gathered(code, place);
  return (form & PERMUTED) != 0 ? permuted(bits, code, d) : vcvtq_f32_u32(code);
}

#include "qlk_wint_body.h"

void qlk_fill_wint_neon(qlk_gemm *t)
{
  t->unit[QLK_W2] = (qlk_gemm_unit){
      .layout_id = QLK_LAYOUT(QLK_W2, NR),
      .mr = MR,
      .nr = NR,
      .kr = 16,
      .pack = t->unit[QLK_W2].pack,
      .expand = expand_w2,
      .gemv = gemv_w2,
      .dense = qlk_dense_f32p16_neon,
      .dense_ordered = qlk_dense_ordered_f32p16_neon,
      .gemv_name = "qlk_gemv_f32_w2p16_neon",
      .gemm_name = "qlk_gemm_f32_w2p16_neon",
      .ordered_name = "qlk_gemm_ordered_f32_w2p16_neon",
      .few = few_w2,
      .few_name = "qlk_few_f32_w2p16_neon",
      .few_rows = CODE_ROWS,
      .few_limit = 8,
  };
  t->unit[QLK_W3] = (qlk_gemm_unit){
      .layout_id = QLK_LAYOUT(QLK_W3, NR),
      .mr = MR,
      .nr = NR,
      .kr = 32,
      .pack = t->unit[QLK_W3].pack,
      .expand = expand_w3,
      .gemv = gemv_w3,
      .dense = qlk_dense_f32p16_neon,
      .dense_ordered = qlk_dense_ordered_f32p16_neon,
      .gemv_name = "qlk_gemv_f32_w3p16_neon",
      .gemm_name = "qlk_gemm_f32_w3p16_neon",
      .ordered_name = "qlk_gemm_ordered_f32_w3p16_neon",
      .few = few_w3,
      .few_name = "qlk_few_f32_w3p16_neon",
      .few_rows = CODE_ROWS,
      .few_limit = 8,
  };
  t->unit[QLK_W4] = (qlk_gemm_unit){
      .layout_id = QLK_LAYOUT(QLK_W4, NR),
      .mr = MR,
      .nr = NR,
      .kr = 8,
      .pack = t->unit[QLK_W4].pack,
      .expand = expand_w4,
      .gemv = gemv_w4,
      .dense = qlk_dense_f32p16_neon,
      .dense_ordered = qlk_dense_ordered_f32p16_neon,
      .gemv_name = "qlk_gemv_f32_w4p16_neon",
      .gemm_name = "qlk_gemm_f32_w4p16_neon",
      .ordered_name = "qlk_gemm_ordered_f32_w4p16_neon",
      .few = few_w4,
      .few_name = "qlk_few_f32_w4p16_neon",
      .few_rows = CODE_ROWS,
      .few_limit = 8,
  };
  t->unit[QLK_W8] = (qlk_gemm_unit){
      .layout_id = QLK_LAYOUT(QLK_W8, NR),
      .mr = MR,
      .nr = NR,
      .kr = 4,
      .pack = t->unit[QLK_W8].pack,
      .expand = expand_w8,
      .gemv = gemv_w8,
      .dense = qlk_dense_f32p16_neon,
      .dense_ordered = qlk_dense_ordered_f32p16_neon,
      .gemv_name = "qlk_gemv_f32_w8p16_neon",
      .gemm_name = "qlk_gemm_f32_w8p16_neon",
      .ordered_name = "qlk_gemm_ordered_f32_w8p16_neon",
      .few = few_w8,
      .few_name = "qlk_few_f32_w8p16_neon",
      .few_rows = CODE_ROWS,
      .few_limit = 8,
  };
}
