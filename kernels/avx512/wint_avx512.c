/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512DQ__) || \
    !defined(__AVX512VL__)
#error "this file needs -mavx512f -mavx512bw -mavx512dq -mavx512vl"
#endif

#include "qlk_gemm.h"

#include <immintrin.h>

/* Weights of 2, 3, 4 and 8 bits: sixteen columns to a vector, two vectors to a panel. */
enum { NR = 32, SUMS = 24, FEW = 6, AHEAD = 1024 };

static inline size_t kr_of(const int bits)
{
  return bits == 4 ? 8 : bits == 2 ? 16 : bits == 3 ? 32 : 4;
}

static inline size_t words_of(const int bits)
{
  return bits == 3 ? 3 : 1;
}

/* How a code becomes a number: less a zero point of its column; by a permute of a table, be it of
 * levels or of codes less the implied zero point; by gathering from a larger table, or from that of
 * its column. */
enum { BY_ZERO, BY_PERMUTE, BY_GATHER };

static inline int manner_of(const int bits, const qlk_weights *w)
{
  if (w->table != NULL)
    return w->table_stride != 0 || bits == 8 ? BY_GATHER : BY_PERMUTE;
  return w->zeros == NULL && w->fzeros == NULL ? BY_PERMUTE : BY_ZERO;
}

/* What dequantizes one vector of columns within a group. levels: of the first column; place: where
 * those of each column begin. */
typedef struct {
  __m512 scale, zero;
  const float *levels;
  __m512i place;
} grid16;

static inline __m512 load_scales(qlk_dtype type, const unsigned char *scales, size_t at)
{
  const unsigned char *p = scales + at * (type == QLK_F32 ? 4 : 2);
  if (type == QLK_F32)
    return _mm512_loadu_ps((const float *)(const void *)p);
  const __m256i h = _mm256_loadu_si256((const __m256i *)(const void *)p);
  if (type == QLK_F16)
    return _mm512_cvtph_ps(h);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

static inline grid16 load_grid(const int bits, const qlk_weights *w, size_t panel, size_t group,
                               size_t column)
{
  const size_t at = panel * w->scale_stride + group * NR + column;
  grid16 g = {load_scales(w->scale_type, w->scales, at), _mm512_setzero_ps(), w->table,
              _mm512_setzero_si512()};
  if (w->table_stride != 0) {
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    g.levels += panel * w->table_stride + (column << bits);
    g.place = _mm512_slli_epi32(lanes, (unsigned)bits);
  }
  if (w->zeros != NULL) {
    const __m256i z = _mm256_loadu_si256((const __m256i *)(const void *)(w->zeros + at));
    g.zero = _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(z));
  } else if (w->fzeros != NULL) {
    g.zero = load_scales(w->scale_type, w->fzeros, at);
  }
  return g;
}

/* A permute takes only the low four bits of each index, so a table that repeats itself needs no
 * mask. Entries are levels, codes, or codes less the implied zero point. */
static inline __m512 code_table(const int bits, int manner, const qlk_weights *w)
{
  float entry[16];
  if (manner == BY_PERMUTE && w->table != NULL)
    return _mm512_loadu_ps(w->table);
  for (int i = 0; i < 16; i++)
    entry[i] =
        (float)(i % (1 << (bits < 4 ? bits : 4)) - (manner == BY_PERMUTE ? 1 << (bits - 1) : 0));
  return _mm512_loadu_ps(entry);
}

/* The codes of one chunk of sixteen columns; the next code is always in the lowest bits. */
typedef struct {
  __m512i word[3];
} chunk16;

static inline chunk16 load_chunk(const int bits, const unsigned char *p)
{
  chunk16 c = {{_mm512_loadu_si512(p)}};
  if (bits == 3) {
    c.word[1] = _mm512_loadu_si512(p + NR * 4);
    /* third bits: bit 0 goes to place 2 */
    c.word[2] = _mm512_rol_epi32(_mm512_loadu_si512(p + 2 * NR * 4), 2);
  }
  return c;
}

/* c, c - 2^(bits - 1) or the level of the next k as floats; the bits of c where they are gathered
 * later. */
static inline __m512 next_code(const int bits, chunk16 *c, __m512 table, int manner)
{
  __m512i index = c->word[0];
  c->word[0] = _mm512_srli_epi32(c->word[0], (unsigned)(bits == 3 ? 2 : bits));
  if (bits == 8) {
    index = _mm512_and_si512(index, _mm512_set1_epi32(255));
    if (manner == BY_GATHER)
      return _mm512_castsi512_ps(index);
    if (manner == BY_PERMUTE)
      index = _mm512_sub_epi32(index, _mm512_set1_epi32(128));
    return _mm512_cvtepi32_ps(index);
  }
  if (bits == 3) { /* bits 0 and 1 of index, the others of word[2] */
    index = _mm512_ternarylogic_epi32(index, c->word[2], _mm512_set1_epi32(3), 0xe4);
    c->word[2] = _mm512_ror_epi32(c->word[2], 1);
  }
  if (manner == BY_GATHER)
    return _mm512_castsi512_ps(_mm512_and_si512(index, _mm512_set1_epi32((1 << bits) - 1)));
  return _mm512_permutexvar_ps(index, table);
}

/* Before code t of three bits: after sixteen codes the second word takes the place of the first;
 * the third bits of four codes lie side by side, those of the next four in the next byte
 * (qlk_third_bit). */
static inline void turn_chunk(const int bits, chunk16 *c, size_t t)
{
  if (bits != 3 || t == 0 || t % 4 != 0)
    return;
  if (t == 16)
    c->word[0] = c->word[1];
  c->word[2] = t == 16 ? _mm512_ror_epi32(c->word[2], 8) : _mm512_ror_epi32(c->word[2], 4);
}

static inline __m512 weight(__m512 code, grid16 g, int manner)
{
  if (manner == BY_GATHER)
    code = _mm512_i32gather_ps(_mm512_add_epi32(_mm512_castps_si512(code), g.place), g.levels, 4);
  return _mm512_mul_ps(g.scale, manner == BY_ZERO ? _mm512_sub_ps(code, g.zero) : code);
}

static inline __attribute__((always_inline)) void expand(const int bits, const int manner,
                                                         const qlk_weights *w, size_t panel,
                                                         size_t k0, size_t k1, size_t group,
                                                         float *out)
{
  const size_t kr = kr_of(bits), chunk_bytes = words_of(bits) * NR * 4;
  const unsigned char *codes = w->codes + panel * w->code_stride + k0 / kr * chunk_bytes;
  const __m512 table = code_table(bits, manner, w);
  for (size_t k = k0; k < k1; group = qlk_next_group(w, group, k)) {
    const grid16 g0 = load_grid(bits, w, panel, group, 0),
                 g1 = load_grid(bits, w, panel, group, 16);
    const size_t end = qlk_run_end(w, group, k1);
    for (; k < end; k += kr, codes += chunk_bytes) {
      chunk16 c0 = load_chunk(bits, codes), c1 = load_chunk(bits, codes + 64);
      for (size_t t = 0; t < kr; t++, out += NR) {
        turn_chunk(bits, &c0, t);
        turn_chunk(bits, &c1, t);
        _mm512_store_ps(out, weight(next_code(bits, &c0, table, manner), g0, manner));
        _mm512_store_ps(out + 16, weight(next_code(bits, &c1, table, manner), g1, manner));
      }
    }
  }
}

/* rows rows of x against count vectors of columns of one or two panels, all sums in registers. The
 * sums follow the blocks of QLK_KB. */
static inline __attribute__((always_inline)) void few_part(const int bits, const int manner,
                                                           const size_t rows, const size_t count,
                                                           const qlk_few_job *job, size_t panel,
                                                           float *y)
{
  const qlk_weights *w = job->w;
  const size_t kr = kr_of(bits), chunk_bytes = words_of(bits) * NR * 4, ldx = job->ldx;
  const unsigned char *codes = w->codes + panel * w->code_stride + job->k0 / kr * chunk_bytes;
  const float *x = job->x;
  const __m512 table = code_table(bits, manner, w);
  int accumulate = job->accumulate;
  for (size_t k = job->k0, group = job->group; k < job->k1; accumulate = 1) {
    const size_t block_end = k + QLK_KB < job->k1 ? k + QLK_KB : job->k1;
    __m512 acc[FEW][4];
    for (size_t i = 0; i < rows; i++)
      for (size_t v = 0; v < count; v++)
        acc[i][v] = _mm512_setzero_ps();
    for (; k < block_end;) {
      grid16 g[4];
      group = qlk_next_group(w, group, k);
      for (size_t v = 0; v < count; v++)
        g[v] = load_grid(bits, w, panel + v / 2, group, v % 2 * 16);
      const size_t end = qlk_run_end(w, group, block_end);
      for (; k < end; k += kr, codes += chunk_bytes, x += kr) {
        for (size_t at = 0; rows > 2 && at < count / 2; at++)
          for (size_t line = 0; line < chunk_bytes; line += 64)
            __builtin_prefetch(codes + at * w->code_stride + AHEAD + line);
        chunk16 c[4];
        for (size_t v = 0; v < count; v++)
          c[v] = load_chunk(bits, codes + v / 2 * w->code_stride + v % 2 * 16 * 4);
        for (size_t t = 0; t < kr; t++) {
          __m512 b[4];
          for (size_t v = 0; v < count; v++) {
            turn_chunk(bits, &c[v], t);
            b[v] = weight(next_code(bits, &c[v], table, manner), g[v], manner);
          }
          for (size_t i = 0; i < rows; i++) {
            const __m512 a = _mm512_set1_ps(x[i * ldx + t]);
            for (size_t v = 0; v < count; v++)
              acc[i][v] = _mm512_fmadd_ps(a, b[v], acc[i][v]);
          }
        }
      }
    }
    for (size_t i = 0; i < rows; i++)
      for (size_t v = 0; v < count; v++) {
        float *part = y + i * job->ldy + v * 16;
        _mm512_storeu_ps(part,
                         accumulate ? _mm512_add_ps(_mm512_loadu_ps(part), acc[i][v]) : acc[i][v]);
      }
  }
}

/* Two panels at a time where the registers hold their sums. */
static inline __attribute__((always_inline)) void
few_rows(const int bits, const int manner, const size_t rows, const qlk_few_job *job)
{
  size_t p = 0;
  for (; manner != BY_GATHER && rows * 2 * 2 <= SUMS && p + 2 <= job->panels; p += 2)
    few_part(bits, manner, rows, 2 * 2, job, job->panel + p, job->y + p * NR);
  for (; p < job->panels; p++)
    few_part(bits, manner, rows, 2, job, job->panel + p, job->y + p * NR);
}

static inline __attribute__((always_inline)) void few_grid(const int bits, const size_t rows,
                                                           const qlk_few_job *job)
{
  if (manner_of(bits, job->w) == BY_PERMUTE)
    few_rows(bits, BY_PERMUTE, rows, job);
  else
    few_rows(bits, BY_ZERO, rows, job);
}

static inline __attribute__((always_inline)) void few_any(const int bits, const qlk_few_job *job)
{
  if (manner_of(bits, job->w) == BY_GATHER) { /* the gathers take the time */
    few_rows(bits, BY_GATHER, job->m, job);
    return;
  }
  switch (job->m) {
  case 1: few_grid(bits, 1, job); break;
  case 2: few_grid(bits, 2, job); break;
  case 3: few_grid(bits, 3, job); break;
  case 4: few_grid(bits, 4, job); break;
  case 5: few_grid(bits, 5, job); break;
  default: few_grid(bits, FEW, job); break;
  }
}

static inline __attribute__((always_inline)) void gemv_any(const int bits, const qlk_weights *w,
                                                           size_t panel, size_t panels,
                                                           const float *x, float *y)
{
  const qlk_few_job job = {.w = w, .panel = panel, .panels = panels, .k1 = w->k, .x = x, .y = y};
  if (manner_of(bits, w) == BY_GATHER)
    few_rows(bits, BY_GATHER, 1, &job);
  else
    few_grid(bits, 1, &job);
}

static inline __attribute__((always_inline)) void expand_any(const int bits, const qlk_weights *w,
                                                             size_t panel, size_t k0, size_t k1,
                                                             size_t group, float *out)
{
  switch (manner_of(bits, w)) {
  case BY_PERMUTE: expand(bits, BY_PERMUTE, w, panel, k0, k1, group, out); break;
  case BY_GATHER: expand(bits, BY_GATHER, w, panel, k0, k1, group, out); break;
  default: expand(bits, BY_ZERO, w, panel, k0, k1, group, out); break;
  }
}

static void qlk_expand_f32_w2p32_avx512(const qlk_weights *w, size_t panel, size_t k0, size_t k1,
                                        size_t group, float *out)
{
  expand_any(2, w, panel, k0, k1, group, out);
}

static void qlk_gemv_f32_w2p32_avx512(const qlk_weights *w, size_t panel, size_t panels,
                                      const float *x, float *y)
{
  gemv_any(2, w, panel, panels, x, y);
}

static void qlk_few_f32_w2p32_avx512(const qlk_few_job *job)
{
  few_any(2, job);
}

static void qlk_expand_f32_w3p32_avx512(const qlk_weights *w, size_t panel, size_t k0, size_t k1,
                                        size_t group, float *out)
{
  expand_any(3, w, panel, k0, k1, group, out);
}

static void qlk_gemv_f32_w3p32_avx512(const qlk_weights *w, size_t panel, size_t panels,
                                      const float *x, float *y)
{
  gemv_any(3, w, panel, panels, x, y);
}

static void qlk_few_f32_w3p32_avx512(const qlk_few_job *job)
{
  few_any(3, job);
}

static void qlk_expand_f32_w4p32_avx512(const qlk_weights *w, size_t panel, size_t k0, size_t k1,
                                        size_t group, float *out)
{
  expand_any(4, w, panel, k0, k1, group, out);
}

static void qlk_gemv_f32_w4p32_avx512(const qlk_weights *w, size_t panel, size_t panels,
                                      const float *x, float *y)
{
  gemv_any(4, w, panel, panels, x, y);
}

static void qlk_few_f32_w4p32_avx512(const qlk_few_job *job)
{
  few_any(4, job);
}

static void qlk_expand_f32_w8p32_avx512(const qlk_weights *w, size_t panel, size_t k0, size_t k1,
                                        size_t group, float *out)
{
  expand_any(8, w, panel, k0, k1, group, out);
}

static void qlk_gemv_f32_w8p32_avx512(const qlk_weights *w, size_t panel, size_t panels,
                                      const float *x, float *y)
{
  gemv_any(8, w, panel, panels, x, y);
}

static void qlk_few_f32_w8p32_avx512(const qlk_few_job *job)
{
  few_any(8, job);
}

void qlk_fill_wint_avx512(qlk_gemm *t)
{
  t->unit[QLK_W2] = (qlk_gemm_unit){
      .layout_id = QLK_LAYOUT(QLK_W2, NR),
      .mr = 12,
      .nr = NR,
      .kr = 16,
      .pack = t->unit[QLK_W2].pack,
      .expand = qlk_expand_f32_w2p32_avx512,
      .gemv = qlk_gemv_f32_w2p32_avx512,
      .dense = qlk_dense_f32p32_avx512,
      .dense_ordered = qlk_dense_ordered_f32p32_avx512,
      .gemv_name = "qlk_gemv_f32_w2p32_avx512",
      .gemm_name = "qlk_gemm_f32_w2p32_avx512",
      .ordered_name = "qlk_gemm_ordered_f32_w2p32_avx512",
      .few = qlk_few_f32_w2p32_avx512,
      .few_name = "qlk_few_f32_w2p32_avx512",
      .few_rows = FEW,
      .few_limit = 8,
  };
  t->unit[QLK_W3] = (qlk_gemm_unit){
      .layout_id = QLK_LAYOUT(QLK_W3, NR),
      .mr = 12,
      .nr = NR,
      .kr = 32,
      .pack = t->unit[QLK_W3].pack,
      .expand = qlk_expand_f32_w3p32_avx512,
      .gemv = qlk_gemv_f32_w3p32_avx512,
      .dense = qlk_dense_f32p32_avx512,
      .dense_ordered = qlk_dense_ordered_f32p32_avx512,
      .gemv_name = "qlk_gemv_f32_w3p32_avx512",
      .gemm_name = "qlk_gemm_f32_w3p32_avx512",
      .ordered_name = "qlk_gemm_ordered_f32_w3p32_avx512",
      .few = qlk_few_f32_w3p32_avx512,
      .few_name = "qlk_few_f32_w3p32_avx512",
      .few_rows = FEW,
      .few_limit = 8,
  };
  t->unit[QLK_W4] = (qlk_gemm_unit){
      .layout_id = QLK_LAYOUT(QLK_W4, NR),
      .mr = 12,
      .nr = NR,
      .kr = 8,
      .pack = t->unit[QLK_W4].pack,
      .expand = qlk_expand_f32_w4p32_avx512,
      .gemv = qlk_gemv_f32_w4p32_avx512,
      .dense = qlk_dense_f32p32_avx512,
      .dense_ordered = qlk_dense_ordered_f32p32_avx512,
      .gemv_name = "qlk_gemv_f32_w4p32_avx512",
      .gemm_name = "qlk_gemm_f32_w4p32_avx512",
      .ordered_name = "qlk_gemm_ordered_f32_w4p32_avx512",
      .few = qlk_few_f32_w4p32_avx512,
      .few_name = "qlk_few_f32_w4p32_avx512",
      .few_rows = FEW,
      .few_limit = 8,
  };
  t->unit[QLK_W8] = (qlk_gemm_unit){
      .layout_id = QLK_LAYOUT(QLK_W8, NR),
      .mr = 12,
      .nr = NR,
      .kr = 4,
      .pack = t->unit[QLK_W8].pack,
      .expand = qlk_expand_f32_w8p32_avx512,
      .gemv = qlk_gemv_f32_w8p32_avx512,
      .dense = qlk_dense_f32p32_avx512,
      .dense_ordered = qlk_dense_ordered_f32p32_avx512,
      .gemv_name = "qlk_gemv_f32_w8p32_avx512",
      .gemm_name = "qlk_gemm_f32_w8p32_avx512",
      .ordered_name = "qlk_gemm_ordered_f32_w8p32_avx512",
      .few = qlk_few_f32_w8p32_avx512,
      .few_name = "qlk_few_f32_w8p32_avx512",
      .few_rows = FEW,
      .few_limit = 8,
  };
}
