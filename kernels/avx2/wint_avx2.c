/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__)
#error "this file needs -mavx2 -mfma -mf16c -mbmi2"
#endif

#include "qlk_gemm.h"

#include <immintrin.h>
#include <stdbool.h>

/* Weights of 2, 3, 4 and 8 bits: LANES columns to a vector, VECTORS vectors to a panel. */
enum { NR = 16, LANES = 8, VECTORS = NR / LANES, SUMS = 4, FEW = 5, AHEAD = 1024 };

/* The form of the codes, a constant wherever it is called bits: their width, and how one becomes a
 * number: less a zero point, or with LEVEL by a table for all columns, or with OWN_LEVEL by a large
 * table or that of its column. */
enum { LEVEL = 16, OWN_LEVEL = 32 };

static inline int width_of(const int form)
{
  return form % 16;
}

static inline size_t kr_of(const int form)
{
  const int bits = width_of(form);
  return bits == 4 ? 8 : bits == 2 ? 16 : bits == 3 ? 32 : 4;
}

static inline size_t words_of(const int form)
{
  return width_of(form) == 3 ? 3 : 1;
}

/* What dequantizes one vector of columns within a group. */
typedef struct {
  __m256 scale, zero;
  __m256 table[2];     /* LEVEL: 16 levels */
  const float *levels; /* OWN_LEVEL: those of the first column */
  __m256i place;       /* where those of each column begin */
} grid_part;

static inline __m256i load_words(const unsigned char *p)
{
  return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

static inline __m256 load_scales(qlk_dtype type, const unsigned char *scales, size_t at)
{
  const unsigned char *p = scales + at * (type == QLK_F32 ? 4 : 2);
  if (type == QLK_F32)
    return _mm256_loadu_ps((const float *)(const void *)p);
  const __m128i h = _mm_loadu_si128((const __m128i *)(const void *)p);
  if (type == QLK_F16)
    return _mm256_cvtph_ps(h);
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

static inline grid_part load_grid(const int form, const qlk_weights *w, size_t panel, size_t group,
                                  size_t column)
{
  const size_t at = panel * w->scale_stride + group * NR + column;
  grid_part g = {.scale = load_scales(w->scale_type, w->scales, at)};
  if ((form & LEVEL) != 0) {
    g.table[0] = _mm256_loadu_ps(w->table);
    g.table[1] = _mm256_loadu_ps(w->table + 8);
    return g;
  }
  if ((form & OWN_LEVEL) != 0) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const int shift = width_of(form);
    const bool own = w->table_stride != 0;
    g.levels = w->table + (own ? panel * w->table_stride + (column << shift) : 0);
    g.place = own ? _mm256_slli_epi32(lanes, shift) : _mm256_setzero_si256();
    return g;
  }
  g.zero = _mm256_set1_ps((float)(1 << (width_of(form) - 1)));
  if (w->zeros != NULL) {
    const __m128i z = _mm_loadu_si128((const __m128i *)(const void *)(w->zeros + at));
    g.zero = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(z));
  } else if (w->fzeros != NULL) {
    g.zero = load_scales(w->scale_type, w->fzeros, at);
  }
  return g;
}

/* The codes of one chunk of a vector of columns; the next code is always in the lowest bits. */
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

/* Permutes take what they need of the low bits of an index. */
static inline __m256 level_of(const int form, __m256i index, grid_part g)
{
  const int bits = width_of(form);
  if ((form & OWN_LEVEL) != 0)
    return _mm256_i32gather_ps(g.levels, _mm256_add_epi32(index, g.place), 4);
  if (bits == 2) /* each half of the table repeats four levels */
    return _mm256_permutevar_ps(g.table[0], index);
  const __m256 low = _mm256_permutevar8x32_ps(g.table[0], index);
  if (bits == 3)
    return low;
  const __m256 high = _mm256_permutevar8x32_ps(g.table[1], index);
  return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)));
}

static inline __m256 next_weight(const int form, chunk_part *c, grid_part g)
{
  const int bits = width_of(form), low = bits == 3 ? 2 : bits;
  __m256i code = _mm256_and_si256(c->word[0], _mm256_set1_epi32((1 << low) - 1));
  c->word[0] = _mm256_srli_epi32(c->word[0], low);
  if (bits == 3) {
    const __m256i third = _mm256_and_si256(c->word[2], _mm256_set1_epi32(1));
    code = _mm256_or_si256(code, _mm256_slli_epi32(third, 2));
    c->word[2] = _mm256_srli_epi32(c->word[2], 1);
  }
  if (form != bits)
    return _mm256_mul_ps(g.scale, level_of(form, code, g));
  return _mm256_mul_ps(g.scale, _mm256_sub_ps(_mm256_cvtepi32_ps(code), g.zero));
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

static inline __attribute__((always_inline)) void expand(const int bits, const qlk_weights *w,
                                                         size_t panel, size_t k0, size_t k1,
                                                         size_t group, float *out)
{
  const size_t kr = kr_of(bits), chunk_bytes = words_of(bits) * NR * 4;
  const unsigned char *codes = w->codes + panel * w->code_stride + k0 / kr * chunk_bytes;
  for (size_t k = k0; k < k1; group = qlk_next_group(w, group, k)) {
    const size_t end = qlk_run_end(w, group, k1);
    grid_part g[VECTORS];
    for (size_t v = 0; v < VECTORS; v++)
      g[v] = load_grid(bits, w, panel, group, v * LANES);
    for (; k < end; k += kr, codes += chunk_bytes) {
      chunk_part c[VECTORS];
      for (size_t v = 0; v < VECTORS; v++)
        c[v] = load_chunk(bits, codes + v * LANES * 4);
      for (size_t t = 0; t < kr; t++, out += NR)
        for (size_t v = 0; v < VECTORS; v++) {
          turn_chunk(bits, &c[v], t);
          _mm256_store_ps(out + v * LANES, next_weight(bits, &c[v], g[v]));
        }
    }
  }
}

/* rows rows of x against count vectors of columns of one or two panels, all sums in registers. The
 * sums follow the blocks of QLK_KB. */
static inline __attribute__((always_inline)) void few_part(const int bits, const size_t rows,
                                                           const size_t count,
                                                           const qlk_few_job *job, size_t panel,
                                                           float *y)
{
  const qlk_weights *w = job->w;
  const size_t kr = kr_of(bits), chunk_bytes = words_of(bits) * NR * 4, ldx = job->ldx;
  const unsigned char *codes = w->codes + panel * w->code_stride + job->k0 / kr * chunk_bytes;
  const float *x = job->x;

  int accumulate = job->accumulate;
  for (size_t k = job->k0, group = job->group; k < job->k1; accumulate = 1) {
    const size_t block_end = k + QLK_KB < job->k1 ? k + QLK_KB : job->k1;
    __m256 acc[FEW][2 * VECTORS];
    for (size_t i = 0; i < rows; i++)
      for (size_t v = 0; v < count; v++)
        acc[i][v] = _mm256_setzero_ps();
    for (; k < block_end;) {
      grid_part g[2 * VECTORS];
      group = qlk_next_group(w, group, k);
      for (size_t v = 0; v < count; v++)
        g[v] = load_grid(bits, w, panel + v / VECTORS, group, v % VECTORS * LANES);
      const size_t end = qlk_run_end(w, group, block_end);
      for (; k < end; k += kr, codes += chunk_bytes, x += kr) {
        for (size_t at = 0; rows > 2 && at < count / VECTORS; at++)
          for (size_t line = 0; line < chunk_bytes; line += 64)
            __builtin_prefetch(codes + at * w->code_stride + AHEAD + line);
        chunk_part c[2 * VECTORS];
        for (size_t v = 0; v < count; v++)
          c[v] = load_chunk(bits, codes + v / VECTORS * w->code_stride + v % VECTORS * LANES * 4);
        for (size_t t = 0; t < kr; t++) {
          __m256 b[2 * VECTORS];
          for (size_t v = 0; v < count; v++) {
            turn_chunk(bits, &c[v], t);
            b[v] = next_weight(bits, &c[v], g[v]);
          }
          for (size_t i = 0; i < rows; i++) {
            const __m256 a = _mm256_set1_ps(x[i * ldx + t]);
            for (size_t v = 0; v < count; v++)
              acc[i][v] = _mm256_fmadd_ps(a, b[v], acc[i][v]);
          }
        }
      }
    }
    for (size_t i = 0; i < rows; i++)
      for (size_t v = 0; v < count; v++) {
        float *part = y + i * job->ldy + v * LANES;
        _mm256_storeu_ps(part,
                         accumulate ? _mm256_add_ps(_mm256_loadu_ps(part), acc[i][v]) : acc[i][v]);
      }
  }
}

/* Two panels at a time where the registers hold their sums. */
static inline __attribute__((always_inline)) void few_rows(const int bits, const size_t rows,
                                                           const qlk_few_job *job)
{
  size_t p = 0;
  for (; (bits & OWN_LEVEL) == 0 && rows * 2 * VECTORS <= SUMS && p + 2 <= job->panels; p += 2)
    few_part(bits, rows, 2 * VECTORS, job, job->panel + p, job->y + p * NR);
  for (; p < job->panels; p++)
    few_part(bits, rows, VECTORS, job, job->panel + p, job->y + p * NR);
}

static inline __attribute__((always_inline)) void few_form(const int bits, const qlk_few_job *job)
{
  switch (job->m) {
  case 1: few_rows(bits, 1, job); break;
  case 2: few_rows(bits, 2, job); break;
  case 3: few_rows(bits, 3, job); break;
  case 4: few_rows(bits, 4, job); break;
  case 5: few_rows(bits, 5, job); break;
  default: few_rows(bits, FEW, job); break;
  }
}

static inline __attribute__((always_inline)) void expand_any(const int bits, const qlk_weights *w,
                                                             size_t panel, size_t k0, size_t k1,
                                                             size_t group, float *out)
{
  if (w->table == NULL)
    expand(bits, w, panel, k0, k1, group, out);
  else if (w->table_stride == 0 && bits != 8)
    expand(bits | LEVEL, w, panel, k0, k1, group, out);
  else
    expand(bits | OWN_LEVEL, w, panel, k0, k1, group, out);
}

static inline __attribute__((always_inline)) void few_any(const int bits, const qlk_few_job *job)
{
  if (job->w->table == NULL)
    few_form(bits, job);
  else if (job->w->table_stride == 0 && bits != 8)
    few_form(bits | LEVEL, job);
  else /* the look-ups take the time */
    few_rows(bits | OWN_LEVEL, job->m, job);
}

static inline __attribute__((always_inline)) void gemv_any(const int bits, const qlk_weights *w,
                                                           size_t panel, size_t panels,
                                                           const float *x, float *y)
{
  const qlk_few_job job = {.w = w, .panel = panel, .panels = panels, .k1 = w->k, .x = x, .y = y};
  if (w->table == NULL)
    few_rows(bits, 1, &job);
  else if (w->table_stride == 0 && bits != 8)
    few_rows(bits | LEVEL, 1, &job);
  else
    few_rows(bits | OWN_LEVEL, 1, &job);
}

static void qlk_expand_f32_w2p16_avx2(const qlk_weights *w, size_t panel, size_t k0, size_t k1,
                                      size_t group, float *out)
{
  expand_any(2, w, panel, k0, k1, group, out);
}

static void qlk_gemv_f32_w2p16_avx2(const qlk_weights *w, size_t panel, size_t panels,
                                    const float *x, float *y)
{
  gemv_any(2, w, panel, panels, x, y);
}

static void qlk_few_f32_w2p16_avx2(const qlk_few_job *job)
{
  few_any(2, job);
}

static void qlk_expand_f32_w3p16_avx2(const qlk_weights *w, size_t panel, size_t k0, size_t k1,
                                      size_t group, float *out)
{
  expand_any(3, w, panel, k0, k1, group, out);
}

static void qlk_gemv_f32_w3p16_avx2(const qlk_weights *w, size_t panel, size_t panels,
                                    const float *x, float *y)
{
  gemv_any(3, w, panel, panels, x, y);
}

static void qlk_few_f32_w3p16_avx2(const qlk_few_job *job)
{
  few_any(3, job);
}

static void qlk_expand_f32_w4p16_avx2(const qlk_weights *w, size_t panel, size_t k0, size_t k1,
                                      size_t group, float *out)
{
  expand_any(4, w, panel, k0, k1, group, out);
}

static void qlk_gemv_f32_w4p16_avx2(const qlk_weights *w, size_t panel, size_t panels,
                                    const float *x, float *y)
{
  gemv_any(4, w, panel, panels, x, y);
}

static void qlk_few_f32_w4p16_avx2(const qlk_few_job *job)
{
  few_any(4, job);
}

static void qlk_expand_f32_w8p16_avx2(const qlk_weights *w, size_t panel, size_t k0, size_t k1,
                                      size_t group, float *out)
{
  expand_any(8, w, panel, k0, k1, group, out);
}

static void qlk_gemv_f32_w8p16_avx2(const qlk_weights *w, size_t panel, size_t panels,
                                    const float *x, float *y)
{
  gemv_any(8, w, panel, panels, x, y);
}

static void qlk_few_f32_w8p16_avx2(const qlk_few_job *job)
{
  few_any(8, job);
}

void qlk_fill_wint_avx2(qlk_gemm *t)
{
  t->unit[QLK_W2] = (qlk_gemm_unit){
      .layout_id = QLK_LAYOUT(QLK_W2, NR),
      .mr = 6,
      .nr = NR,
      .kr = 16,
      .pack = t->unit[QLK_W2].pack,
      .expand = qlk_expand_f32_w2p16_avx2,
      .gemv = qlk_gemv_f32_w2p16_avx2,
      .dense = qlk_dense_f32p16_avx2,
      .dense_ordered = qlk_dense_ordered_f32p16_avx2,
      .gemv_name = "qlk_gemv_f32_w2p16_avx2",
      .gemm_name = "qlk_gemm_f32_w2p16_avx2",
      .ordered_name = "qlk_gemm_ordered_f32_w2p16_avx2",
      .few = qlk_few_f32_w2p16_avx2,
      .few_name = "qlk_few_f32_w2p16_avx2",
      .few_rows = FEW,
      .few_limit = 8,
  };
  t->unit[QLK_W3] = (qlk_gemm_unit){
      .layout_id = QLK_LAYOUT(QLK_W3, NR),
      .mr = 6,
      .nr = NR,
      .kr = 32,
      .pack = t->unit[QLK_W3].pack,
      .expand = qlk_expand_f32_w3p16_avx2,
      .gemv = qlk_gemv_f32_w3p16_avx2,
      .dense = qlk_dense_f32p16_avx2,
      .dense_ordered = qlk_dense_ordered_f32p16_avx2,
      .gemv_name = "qlk_gemv_f32_w3p16_avx2",
      .gemm_name = "qlk_gemm_f32_w3p16_avx2",
      .ordered_name = "qlk_gemm_ordered_f32_w3p16_avx2",
      .few = qlk_few_f32_w3p16_avx2,
      .few_name = "qlk_few_f32_w3p16_avx2",
      .few_rows = FEW,
      .few_limit = 8,
  };
  t->unit[QLK_W4] = (qlk_gemm_unit){
      .layout_id = QLK_LAYOUT(QLK_W4, NR),
      .mr = 6,
      .nr = NR,
      .kr = 8,
      .pack = t->unit[QLK_W4].pack,
      .expand = qlk_expand_f32_w4p16_avx2,
      .gemv = qlk_gemv_f32_w4p16_avx2,
      .dense = qlk_dense_f32p16_avx2,
      .dense_ordered = qlk_dense_ordered_f32p16_avx2,
      .gemv_name = "qlk_gemv_f32_w4p16_avx2",
      .gemm_name = "qlk_gemm_f32_w4p16_avx2",
      .ordered_name = "qlk_gemm_ordered_f32_w4p16_avx2",
      .few = qlk_few_f32_w4p16_avx2,
      .few_name = "qlk_few_f32_w4p16_avx2",
      .few_rows = FEW,
      .few_limit = 8,
  };
  t->unit[QLK_W8] = (qlk_gemm_unit){
      .layout_id = QLK_LAYOUT(QLK_W8, NR),
      .mr = 6,
      .nr = NR,
      .kr = 4,
      .pack = t->unit[QLK_W8].pack,
      .expand = qlk_expand_f32_w8p16_avx2,
      .gemv = qlk_gemv_f32_w8p16_avx2,
      .dense = qlk_dense_f32p16_avx2,
      .dense_ordered = qlk_dense_ordered_f32p16_avx2,
      .gemv_name = "qlk_gemv_f32_w8p16_avx2",
      .gemm_name = "qlk_gemm_f32_w8p16_avx2",
      .ordered_name = "qlk_gemm_ordered_f32_w8p16_avx2",
      .few = qlk_few_f32_w8p16_avx2,
      .few_name = "qlk_few_f32_w8p16_avx2",
      .few_rows = FEW,
      .few_limit = 8,
  };
}
