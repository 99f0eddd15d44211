/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLK_WINT_BODY_H
#define QLK_WINT_BODY_H

#include "qlk_gemm.h"

/* Weights of 2, 3, 4 and 8 bits; included once per ISA behind its vec_<isa>.h. What differs is how
 * codes become numbers, which <isa>/wint_<isa>.c defines in front:
 *   enum { CODE_ROWS, CODE_SUMS,      most rows, and vectors of sums that the registers hold
 *          BUFFERED_ROWS }            so many rows need codes that are decoded into memory; codes
 *                                     of three bits, which take more registers, one row earlier
 *   chunk_part, load_chunk, turn_chunk    codes of one chunk of a vector of columns, the next one
 *                                         always in the lowest bits
 *   decoder, decoder_of                   tables for the whole call
 *   level_place, place_of                 where the levels of a vector of columns lie
 *   form_of, next_level                   below
 *
 * The form of the codes, a constant wherever it is used: their width, and how one becomes a number:
 * less the zero point of its column; with PERMUTED by tables in registers; with GATHERED by a large
 * table or that of its column. */

enum { VECTORS = NR / VL, AHEAD = 1024 };

/* What dequantizes one vector of columns within a group. */
typedef struct {
  vec scale, zero;
  level_place place;
} grid_part;

static inline size_t kr_of(const int form)
{
  const int bits = width_of(form);
  return bits == 4 ? 8 : bits == 2 ? 16 : bits == 3 ? 32 : 4;
}

static inline size_t chunk_bytes_of(const int form)
{
  return (width_of(form) == 3 ? 3 : 1) * NR * 4;
}

static inline vec load_scales(qlk_dtype type, const unsigned char *scales, size_t at)
{
  if (type == QLK_F32)
    return vec_load((const float *)(const void *)scales + at);
  return type == QLK_F16 ? vec_load_f16(scales + 2 * at) : vec_load_bf16(scales + 2 * at);
}

static inline grid_part load_grid(const int form, const qlk_weights *w, size_t panel, size_t group,
                                  size_t column)
{
  const size_t at = panel * w->scale_stride + group * NR + column;
  grid_part g = {.scale = load_scales(w->scale_type, w->scales, at)};
  if ((form & GATHERED) != 0)
    g.place = place_of(form, w, panel, column);
  if ((form & (PERMUTED | GATHERED)) != 0)
    return g;
  if (w->zeros != NULL)
    g.zero = vec_load_i16(w->zeros + at);
  else if (w->fzeros != NULL)
    g.zero = load_scales(w->scale_type, w->fzeros, at);
  else
    g.zero = vec_set1((float)(1 << (width_of(form) - 1)));
  return g;
}

static inline vec next_weight(const int form, chunk_part *c, const grid_part *g, decoder d)
{
  const vec level = next_level(form, c, &g->place, d);
  return vec_mul(g->scale, form == width_of(form) ? vec_sub(level, g->zero) : level);
}

static inline __attribute__((always_inline)) void expand(const int form, const qlk_weights *w,
                                                         size_t panel, size_t k0, size_t k1,
                                                         size_t group, float *out)
{
  const size_t kr = kr_of(form), chunk_bytes = chunk_bytes_of(form);
  const unsigned char *codes = w->codes + panel * w->code_stride + k0 / kr * chunk_bytes;
  const decoder d = decoder_of(form, w);
  for (size_t k = k0; k < k1; group = qlk_next_group(w, group, k)) {
    const size_t end = qlk_run_end(w, group, k1);
    grid_part g[VECTORS];
    for (size_t v = 0; v < VECTORS; v++)
      g[v] = load_grid(form, w, panel, group, v * VL);
    for (; k < end; k += kr, codes += chunk_bytes) {
      chunk_part c[VECTORS];
      for (size_t v = 0; v < VECTORS; v++)
        c[v] = load_chunk(form, codes + v * VL * 4);
      for (size_t t = 0; t < kr; t++, out += NR)
        for (size_t v = 0; v < VECTORS; v++) {
          turn_chunk(form, &c[v], t);
          vec_store(out + v * VL, next_weight(form, &c[v], &g[v], d));
        }
    }
  }
}

/* The next kr of k, decoded in registers. */
static inline __attribute__((always_inline)) void
add_chunk(const int form, const size_t rows, const size_t count, chunk_part *c, const grid_part *g,
          decoder d, const float *x, size_t ldx, vec (*acc)[2 * VECTORS])
{
  for (size_t t = 0; t < kr_of(form); t++) {
    vec b[2 * VECTORS];
    for (size_t v = 0; v < count; v++) {
      turn_chunk(form, &c[v], t);
      b[v] = next_weight(form, &c[v], &g[v], d);
    }
    for (size_t i = 0; i < rows; i++) {
      const vec a = vec_set1(x[i * ldx + t]);
      for (size_t v = 0; v < count; v++)
        acc[i][v] = vec_fma(a, b[v], acc[i][v]);
    }
  }
}

/* The same by way of memory, so that decoding does not push sums out of few registers. */
static inline __attribute__((always_inline)) void
add_buffered_chunk(const int form, const size_t rows, const size_t count, chunk_part *c,
                   const grid_part *g, decoder d, const float *x, size_t ldx,
                   vec (*acc)[2 * VECTORS])
{
  _Alignas(64) float b[32][2 * VECTORS * VL];
  for (size_t t = 0; t < kr_of(form); t++)
    for (size_t v = 0; v < count; v++) {
      turn_chunk(form, &c[v], t);
      vec_store(&b[t][v * VL], next_weight(form, &c[v], &g[v], d));
    }
  __asm__ volatile("" : : : "memory"); /* or the compiler would merge the loops */
  for (size_t t = 0; t < kr_of(form); t++)
    for (size_t i = 0; i < rows; i++) {
      const vec a = vec_set1(x[i * ldx + t]);
      for (size_t v = 0; v < count; v++)
        acc[i][v] = vec_fma(a, vec_load(&b[t][v * VL]), acc[i][v]);
    }
}

/* rows rows of x against count vectors of columns of one or two panels, all sums in registers. The
 * sums follow the blocks of QLK_KB. The processor's own prefetching falls behind when several rows
 * of x are streams as well. */
static inline __attribute__((always_inline)) void few_part(const int form, const size_t rows,
                                                           const size_t count,
                                                           const qlk_few_job *job, size_t panel,
                                                           float *y)
{
  const qlk_weights *w = job->w;
  const size_t kr = kr_of(form), chunk_bytes = chunk_bytes_of(form), ldx = job->ldx;
  const unsigned char *codes = w->codes + panel * w->code_stride + job->k0 / kr * chunk_bytes;
  const decoder d = decoder_of(form, w);
  const float *x = job->x;
  int accumulate = job->accumulate;
  for (size_t k = job->k0, group = job->group; k < job->k1; accumulate = 1) {
    const size_t block_end = k + QLK_KB < job->k1 ? k + QLK_KB : job->k1;
    vec acc[CODE_ROWS][2 * VECTORS];
    for (size_t i = 0; i < rows; i++)
      for (size_t v = 0; v < count; v++)
        acc[i][v] = vec_set1(0);
    for (; k < block_end;) {
      grid_part g[2 * VECTORS];
      group = qlk_next_group(w, group, k);
      for (size_t v = 0; v < count; v++)
        g[v] = load_grid(form, w, panel + v / VECTORS, group, v % VECTORS * VL);
      const size_t end = qlk_run_end(w, group, block_end);
      for (; k < end; k += kr, codes += chunk_bytes, x += kr) {
        for (size_t at = 0; rows > 2 && at < count / VECTORS; at++)
          for (size_t line = 0; line < chunk_bytes; line += 64)
            __builtin_prefetch(codes + at * w->code_stride + AHEAD + line);
        chunk_part c[2 * VECTORS];
        for (size_t v = 0; v < count; v++)
          c[v] = load_chunk(form, codes + v / VECTORS * w->code_stride + v % VECTORS * VL * 4);
        if (rows < BUFFERED_ROWS - (width_of(form) == 3))
          add_chunk(form, rows, count, c, g, d, x, ldx, acc);
        else
          add_buffered_chunk(form, rows, count, c, g, d, x, ldx, acc);
      }
    }
    for (size_t i = 0; i < rows; i++)
      for (size_t v = 0; v < count; v++) {
        float *part = y + i * job->ldy + v * VL;
        vec_store(part, accumulate ? vec_add(vec_load(part), acc[i][v]) : acc[i][v]);
      }
  }
}

/* Two panels at a time where the registers hold their sums. */
static inline __attribute__((always_inline)) void few_rows(const int form, const size_t rows,
                                                           const qlk_few_job *job)
{
  size_t p = 0;
  for (; (form & GATHERED) == 0 && rows * 2 * VECTORS <= CODE_SUMS && p + 2 <= job->panels; p += 2)
    few_part(form, rows, 2 * VECTORS, job, job->panel + p, job->y + p * NR);
  for (; p < job->panels; p++)
    few_part(form, rows, VECTORS, job, job->panel + p, job->y + p * NR);
}

static inline __attribute__((always_inline)) void few_form(const int form, const qlk_few_job *job)
{
  switch (job->m < CODE_ROWS ? job->m : CODE_ROWS) {
  case 1: few_rows(form, 1, job); break;
  case 2: few_rows(form, 2, job); break;
  case 3: few_rows(form, 3, job); break;
  case 4: few_rows(form, CODE_ROWS < 4 ? CODE_ROWS : 4, job); break;
  case 5: few_rows(form, CODE_ROWS < 5 ? CODE_ROWS : 5, job); break;
  default: few_rows(form, CODE_ROWS, job); break;
  }
}

static inline __attribute__((always_inline)) void few(const int bits, const qlk_few_job *job)
{
  switch (form_of(bits, job->w) - bits) {
  case 0: few_form(bits, job); break;
  case PERMUTED: few_form(bits | PERMUTED, job); break;
  default: few_rows(bits | GATHERED, job->m, job); break; /* the look-ups take the time */
  }
}

static inline __attribute__((always_inline)) void
gemv(const int bits, const qlk_weights *w, size_t panel, size_t panels, const float *x, float *y)
{
  const qlk_few_job job = {.w = w, .panel = panel, .panels = panels, .k1 = w->k, .x = x, .y = y};
  switch (form_of(bits, w) - bits) {
  case 0: few_rows(bits, 1, &job); break;
  case PERMUTED: few_rows(bits | PERMUTED, 1, &job); break;
  default: few_rows(bits | GATHERED, 1, &job); break;
  }
}

static inline __attribute__((always_inline)) void expand_any(const int bits, const qlk_weights *w,
                                                             size_t panel, size_t k0, size_t k1,
                                                             size_t group, float *out)
{
  switch (form_of(bits, w) - bits) {
  case 0: expand(bits, w, panel, k0, k1, group, out); break;
  case PERMUTED: expand(bits | PERMUTED, w, panel, k0, k1, group, out); break;
  default: expand(bits | GATHERED, w, panel, k0, k1, group, out); break;
  }
}

static void expand_w2(const qlk_weights *w, size_t panel, size_t k0, size_t k1, size_t group,
                      float *out)
{
  expand_any(2, w, panel, k0, k1, group, out);
}

static void gemv_w2(const qlk_weights *w, size_t panel, size_t panels, const float *x, float *y)
{
  gemv(2, w, panel, panels, x, y);
}

static void few_w2(const qlk_few_job *job)
{
  few(2, job);
}

static void expand_w3(const qlk_weights *w, size_t panel, size_t k0, size_t k1, size_t group,
                      float *out)
{
  expand_any(3, w, panel, k0, k1, group, out);
}

static void gemv_w3(const qlk_weights *w, size_t panel, size_t panels, const float *x, float *y)
{
  gemv(3, w, panel, panels, x, y);
}

static void few_w3(const qlk_few_job *job)
{
  few(3, job);
}

static void expand_w4(const qlk_weights *w, size_t panel, size_t k0, size_t k1, size_t group,
                      float *out)
{
  expand_any(4, w, panel, k0, k1, group, out);
}

static void gemv_w4(const qlk_weights *w, size_t panel, size_t panels, const float *x, float *y)
{
  gemv(4, w, panel, panels, x, y);
}

static void few_w4(const qlk_few_job *job)
{
  few(4, job);
}

static void expand_w8(const qlk_weights *w, size_t panel, size_t k0, size_t k1, size_t group,
                      float *out)
{
  expand_any(8, w, panel, k0, k1, group, out);
}

static void gemv_w8(const qlk_weights *w, size_t panel, size_t panels, const float *x, float *y)
{
  gemv(8, w, panel, panels, x, y);
}

static void few_w8(const qlk_few_job *job)
{
  few(8, job);
}

#endif
