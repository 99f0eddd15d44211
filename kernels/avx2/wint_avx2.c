/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "vec_avx2.h"

#include "qlk_wint_form.h"

enum { CODE_ROWS = 4, CODE_SUMS = 4, BUFFERED_ROWS = 4 };

static inline __m256i load_words(const unsigned char *p)
{
  return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

/* The codes of one chunk of eight columns. */
typedef struct {
  __m256i word[4];
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
  c->word[2] = _mm256_srli_epi32(t == 16 ? c->word[3] : c->word[2], 4);
}

static inline int form_of(const int bits, const qlk_weights *w)
{
  if (w->table == NULL)
    return bits;
  return bits | (has_small_table(bits, w) ? PERMUTED : GATHERED);
}

/* Sixteen levels. */
typedef struct {
  __m256 table[2];
} decoder;

static inline decoder decoder_of(const int form, const qlk_weights *w)
{
  decoder d = {{_mm256_setzero_ps(), _mm256_setzero_ps()}};
  if ((form & PERMUTED) != 0) {
    d.table[0] = _mm256_loadu_ps(w->table);
    d.table[1] = _mm256_loadu_ps(w->table + 8);
  }
  return d;
}

/* levels: of the first column; place: where those of each column begin. */
typedef struct {
  const float *levels;
  __m256i place;
} level_place;

static inline level_place place_of(const int form, const qlk_weights *w, size_t panel,
                                   size_t column)
{
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const int bits = width_of(form);
  if (w->table_stride == 0)
    return (level_place){w->table, _mm256_setzero_si256()};
  return (level_place){w->table + panel * w->table_stride + (column << bits),
                       _mm256_slli_epi32(lanes, bits)};
}

/* Permutes take what they need of the low bits of an index. */
static inline __m256 permuted(const int bits, __m256i index, decoder d)
{
  if (bits == 2) /* each half of the table repeats four levels */
    return _mm256_permutevar_ps(d.table[0], index);
  const __m256 low = _mm256_permutevar8x32_ps(d.table[0], index);
  if (bits == 3)
    return low;
  const __m256 high = _mm256_permutevar8x32_ps(d.table[1], index);
  return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)));
}

/* The number of the next k: a code or a level. */
static inline __m256 next_level(const int form, chunk_part *c, const level_place *place, decoder d)
{
  const int bits = width_of(form), low = bits == 3 ? 2 : bits;
  __m256i code = _mm256_and_si256(c->word[0], _mm256_set1_epi32((1 << low) - 1));
  c->word[0] = _mm256_srli_epi32(c->word[0], low);
  if (bits == 3) {
    const __m256i third = _mm256_and_si256(c->word[2], _mm256_set1_epi32(1));
    code = _mm256_or_si256(code, _mm256_slli_epi32(third, 2));
    c->word[2] = _mm256_srli_epi32(c->word[2], 1);
  }
  if ((form & GATHERED) != 0)
    return _mm256_i32gather_ps(place->levels, _mm256_add_epi32(code, place->place), 4);
  return (form & PERMUTED) != 0 ? permuted(bits, code, d) : _mm256_cvtepi32_ps(code);
}

#include "qlk_wint_body.h"

void qlk_fill_wint_avx2(qlk_gemm *t)
{
  t->unit[QLK_W2] = (qlk_gemm_unit){
      .layout_id = QLK_LAYOUT(QLK_W2, NR),
      .mr = MR,
      .nr = NR,
      .kr = 16,
      .pack = t->unit[QLK_W2].pack,
      .expand = expand_w2,
      .gemv = gemv_w2,
      .dense = qlk_dense_f32p16_avx2,
      .dense_ordered = qlk_dense_ordered_f32p16_avx2,
      .gemv_name = "qlk_gemv_f32_w2p16_avx2",
      .gemm_name = "qlk_gemm_f32_w2p16_avx2",
      .ordered_name = "qlk_gemm_ordered_f32_w2p16_avx2",
      .few = few_w2,
      .few_name = "qlk_few_f32_w2p16_avx2",
      .few_rows = CODE_ROWS,
      .few_limit = 4,
  };
  t->unit[QLK_W3] = (qlk_gemm_unit){
      .layout_id = QLK_LAYOUT(QLK_W3, NR),
      .mr = MR,
      .nr = NR,
      .kr = 32,
      .pack = t->unit[QLK_W3].pack,
      .expand = expand_w3,
      .gemv = gemv_w3,
      .dense = qlk_dense_f32p16_avx2,
      .dense_ordered = qlk_dense_ordered_f32p16_avx2,
      .gemv_name = "qlk_gemv_f32_w3p16_avx2",
      .gemm_name = "qlk_gemm_f32_w3p16_avx2",
      .ordered_name = "qlk_gemm_ordered_f32_w3p16_avx2",
      .few = few_w3,
      .few_name = "qlk_few_f32_w3p16_avx2",
      .few_rows = CODE_ROWS,
      .few_limit = 4,
  };
  t->unit[QLK_W4] = (qlk_gemm_unit){
      .layout_id = QLK_LAYOUT(QLK_W4, NR),
      .mr = MR,
      .nr = NR,
      .kr = 8,
      .pack = t->unit[QLK_W4].pack,
      .expand = expand_w4,
      .gemv = gemv_w4,
      .dense = qlk_dense_f32p16_avx2,
      .dense_ordered = qlk_dense_ordered_f32p16_avx2,
      .gemv_name = "qlk_gemv_f32_w4p16_avx2",
      .gemm_name = "qlk_gemm_f32_w4p16_avx2",
      .ordered_name = "qlk_gemm_ordered_f32_w4p16_avx2",
      .few = few_w4,
      .few_name = "qlk_few_f32_w4p16_avx2",
      .few_rows = CODE_ROWS,
      .few_limit = 4,
  };
  t->unit[QLK_W8] = (qlk_gemm_unit){
      .layout_id = QLK_LAYOUT(QLK_W8, NR),
      .mr = MR,
      .nr = NR,
      .kr = 4,
      .pack = t->unit[QLK_W8].pack,
      .expand = expand_w8,
      .gemv = gemv_w8,
      .dense = qlk_dense_f32p16_avx2,
      .dense_ordered = qlk_dense_ordered_f32p16_avx2,
      .gemv_name = "qlk_gemv_f32_w8p16_avx2",
      .gemm_name = "qlk_gemm_f32_w8p16_avx2",
      .ordered_name = "qlk_gemm_ordered_f32_w8p16_avx2",
      .few = few_w8,
      .few_name = "qlk_few_f32_w8p16_avx2",
      .few_rows = CODE_ROWS,
      .few_limit = 4,
  };
}
