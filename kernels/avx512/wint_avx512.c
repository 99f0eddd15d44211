/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "vec_avx512.h"

#include "qlk_wint_form.h"

enum { CODE_ROWS = FEW, CODE_SUMS = SUMS, BUFFERED_ROWS = CODE_ROWS + 2 };

/* The codes of one chunk of sixteen columns. */
typedef struct {
  __m512i word[3];
} chunk_part;

static inline chunk_part load_chunk(const int form, const unsigned char *p)
{
  chunk_part c = {{_mm512_loadu_si512(p)}};
  if (width_of(form) == 3) {
    c.word[1] = _mm512_loadu_si512(p + NR * 4);
    /* third bits: bit 0 goes to place 2 */
    c.word[2] = _mm512_rol_epi32(_mm512_loadu_si512(p + 2 * NR * 4), 2);
  }
  return c;
}

/* Before code t of three bits: after sixteen codes the second word takes the place of the first;
 * the third bits of four codes lie side by side, those of the next four in the next byte
 * (qlk_third_bit). */
static inline void turn_chunk(const int form, chunk_part *c, size_t t)
{
  if (width_of(form) != 3 || t == 0 || t % 4 != 0)
    return;
  if (t == 16)
    c->word[0] = c->word[1];
  c->word[2] = t == 16 ? _mm512_ror_epi32(c->word[2], 8) : _mm512_ror_epi32(c->word[2], 4);
}

/* Implied zero points become part of the table of codes. */
static inline int form_of(const int bits, const qlk_weights *w)
{
  if (w->table != NULL)
    return bits | (has_small_table(bits, w) ? PERMUTED : GATHERED);
  return bits | (w->zeros == NULL && w->fzeros == NULL ? PERMUTED : 0);
}

/* A permute takes only the low four bits of each index, so a table that repeats itself needs no
 * mask. Entries are levels, codes, or codes less the implied zero point. */
typedef struct {
  __m512 table;
} decoder;

static inline decoder decoder_of(const int form, const qlk_weights *w)
{
  const int bits = width_of(form), zero = (form & PERMUTED) != 0 ? 1 << (bits - 1) : 0;
  float entry[16];
  if ((form & PERMUTED) != 0 && w->table != NULL)
    return (decoder){_mm512_loadu_ps(w->table)};
  for (int i = 0; i < 16; i++)
    entry[i] = (float)(i % (1 << (bits < 4 ? bits : 4)) - zero);
  return (decoder){_mm512_loadu_ps(entry)};
}

/* levels: of the first column; place: where those of each column begin. */
typedef struct {
  const float *levels;
  __m512i place;
} level_place;

static inline level_place place_of(const int form, const qlk_weights *w, size_t panel,
                                   size_t column)
{
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const int bits = width_of(form);
  if (w->table_stride == 0)
    return (level_place){w->table, _mm512_setzero_si512()};
  return (level_place){w->table + panel * w->table_stride + (column << bits),
                       _mm512_slli_epi32(lanes, (unsigned)bits)};
}

/* The number of the next k: a code, a code less its implied zero point, or a level. */
static inline __m512 next_level(const int form, chunk_part *c, const level_place *place, decoder d)
{
  const int bits = width_of(form);
  __m512i index = c->word[0];
  c->word[0] = _mm512_srli_epi32(c->word[0], (unsigned)(bits == 3 ? 2 : bits));
  if (bits == 3) { /* bits 0 and 1 of index, the others of word[2] */
    index = _mm512_ternarylogic_epi32(index, c->word[2], _mm512_set1_epi32(3), 0xe4);
    c->word[2] = _mm512_ror_epi32(c->word[2], 1);
  }
  if (bits < 8 && (form & GATHERED) == 0)
    return _mm512_permutexvar_ps(index, d.table);
  index = _mm512_and_si512(index, _mm512_set1_epi32((1 << bits) - 1));
  if ((form & GATHERED) != 0)
    return _mm512_i32gather_ps(_mm512_add_epi32(index, place->place), place->levels, 4);
  if ((form & PERMUTED) != 0)
    index = _mm512_sub_epi32(index, _mm512_set1_epi32(128));
  return _mm512_cvtepi32_ps(index);
}

#include "qlk_wint_body.h"

void qlk_fill_wint_avx512(qlk_gemm *t)
{
  t->unit[QLK_W2] = (qlk_gemm_unit){
      .layout_id = QLK_LAYOUT(QLK_W2, NR),
      .mr = MR,
      .nr = NR,
      .kr = 16,
      .pack = t->unit[QLK_W2].pack,
      .expand = expand_w2,
      .gemv = gemv_w2,
      .dense = qlk_dense_f32p32_avx512,
      .dense_ordered = qlk_dense_ordered_f32p32_avx512,
      .gemv_name = "qlk_gemv_f32_w2p32_avx512",
      .gemm_name = "qlk_gemm_f32_w2p32_avx512",
      .ordered_name = "qlk_gemm_ordered_f32_w2p32_avx512",
      .few = few_w2,
      .few_name = "qlk_few_f32_w2p32_avx512",
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
      .dense = qlk_dense_f32p32_avx512,
      .dense_ordered = qlk_dense_ordered_f32p32_avx512,
      .gemv_name = "qlk_gemv_f32_w3p32_avx512",
      .gemm_name = "qlk_gemm_f32_w3p32_avx512",
      .ordered_name = "qlk_gemm_ordered_f32_w3p32_avx512",
      .few = few_w3,
      .few_name = "qlk_few_f32_w3p32_avx512",
      .few_rows = CODE_ROWS,
      .few_limit = 6,
  };
  t->unit[QLK_W4] = (qlk_gemm_unit){
      .layout_id = QLK_LAYOUT(QLK_W4, NR),
      .mr = MR,
      .nr = NR,
      .kr = 8,
      .pack = t->unit[QLK_W4].pack,
      .expand = expand_w4,
      .gemv = gemv_w4,
      .dense = qlk_dense_f32p32_avx512,
      .dense_ordered = qlk_dense_ordered_f32p32_avx512,
      .gemv_name = "qlk_gemv_f32_w4p32_avx512",
      .gemm_name = "qlk_gemm_f32_w4p32_avx512",
      .ordered_name = "qlk_gemm_ordered_f32_w4p32_avx512",
      .few = few_w4,
      .few_name = "qlk_few_f32_w4p32_avx512",
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
      .dense = qlk_dense_f32p32_avx512,
      .dense_ordered = qlk_dense_ordered_f32p32_avx512,
      .gemv_name = "qlk_gemv_f32_w8p32_avx512",
      .gemm_name = "qlk_gemm_f32_w8p32_avx512",
      .ordered_name = "qlk_gemm_ordered_f32_w8p32_avx512",
      .few = few_w8,
      .few_name = "qlk_few_f32_w8p32_avx512",
      .few_rows = CODE_ROWS,
      .few_limit = 8,
  };
}
