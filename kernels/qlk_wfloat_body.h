/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLK_WFLOAT_BODY_H
#define QLK_WFLOAT_BODY_H

#include "qlk_gemm.h"

/* Floating-point weights, kept in their type; included once per ISA behind its vec_<isa>.h. A panel
 * of f32 is what the dense core reads. */

/* The processor's own prefetching falls behind when several rows of x are streams as well; AHEAD
 * bytes cover the latency of memory. */
enum { VECTORS = NR / VL, AHEAD = 2048 };

static inline size_t size_of(const qlk_dtype type)
{
  return type == QLK_F32 ? 4 : 2;
}

static inline vec load_weights(const qlk_dtype type, const unsigned char *p)
{
  if (type == QLK_F32)
    return vec_load((const float *)(const void *)p);
  return type == QLK_F16 ? vec_load_f16(p) : vec_load_bf16(p);
}

static inline void expand(const qlk_dtype type, const qlk_weights *w, size_t panel, size_t k0,
                          size_t k1, float *out)
{
  const unsigned char *p = w->codes + panel * w->code_stride + k0 * NR * 2;
  for (size_t i = 0; i < (k1 - k0) * NR; i += VL)
    vec_store(out + i, load_weights(type, p + 2 * i));
}

/* rows rows of x against count vectors of columns of one or two panels, all sums in registers. */
static inline __attribute__((always_inline)) void few_part(const qlk_dtype type, const size_t rows,
                                                           const size_t count,
                                                           const qlk_few_job *job, size_t panel,
                                                           float *y)
{
  const size_t size = size_of(type), stride = job->w->code_stride, ldx = job->ldx;
  const unsigned char *p = job->w->codes + panel * stride + job->k0 * NR * size;
  const float *x = job->x;
  int accumulate = job->accumulate;
  for (size_t left = job->k1 - job->k0, depth; left > 0; left -= depth, accumulate = 1) {
    vec acc[FEW][2 * VECTORS];
    depth = left < QLK_KB ? left : QLK_KB;
    for (size_t i = 0; i < rows; i++)
      for (size_t v = 0; v < count; v++)
        acc[i][v] = vec_set1(0);
    for (const float *end = x + depth; x < end; x++, p += NR * size) {
      vec b[2 * VECTORS];
      for (size_t at = 0; rows > 2 && size == 2 && at < count / VECTORS; at++)
        for (size_t line = 0; line < NR * size; line += 64)
          __builtin_prefetch(p + at * stride + AHEAD + line);
      for (size_t v = 0; v < count; v++)
        b[v] = load_weights(type, p + v / VECTORS * stride + v % VECTORS * VL * size);
      for (size_t i = 0; i < rows; i++) {
        const vec a = vec_set1(x[i * ldx]);
        for (size_t v = 0; v < count; v++)
          acc[i][v] = vec_fma(a, b[v], acc[i][v]);
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
static inline __attribute__((always_inline)) void few_rows(const qlk_dtype type, const size_t rows,
                                                           const qlk_few_job *job)
{
  size_t p = 0;
  for (; rows * 2 * VECTORS <= SUMS && p + 2 <= job->panels; p += 2)
    few_part(type, rows, 2 * VECTORS, job, job->panel + p, job->y + p * NR);
  for (; p < job->panels; p++)
    few_part(type, rows, VECTORS, job, job->panel + p, job->y + p * NR);
}

static inline __attribute__((always_inline)) void few_any(const qlk_dtype type,
                                                          const qlk_few_job *job)
{
  switch (job->m) {
  case 1: few_rows(type, 1, job); break;
  case 2: few_rows(type, 2, job); break;
  case 3: few_rows(type, 3, job); break;
  case 4: few_rows(type, 4, job); break;
  case 5: few_rows(type, 5, job); break;
  default: few_rows(type, FEW, job); break;
  }
}

/* The sums of one row begin in y, which is in the first-level cache. */
static inline __attribute__((always_inline)) void gemv_any(const qlk_dtype type,
                                                           const qlk_weights *w, size_t panel,
                                                           size_t panels, const float *x, float *y)
{
  const qlk_few_job job = {.w = w, .panel = panel, .panels = panels, .k1 = w->k, .x = x, .y = y};
  few_rows(type, 1, &job);
}

static void expand_f16(const qlk_weights *w, size_t panel, size_t k0, size_t k1, size_t group,
                       float *out)
{
  (void)group;
  expand(QLK_F16, w, panel, k0, k1, out);
}

static void expand_bf16(const qlk_weights *w, size_t panel, size_t k0, size_t k1, size_t group,
                        float *out)
{
  (void)group;
  expand(QLK_BF16, w, panel, k0, k1, out);
}

static void gemv_f32(const qlk_weights *w, size_t panel, size_t panels, const float *x, float *y)
{
  gemv_any(QLK_F32, w, panel, panels, x, y);
}

static void gemv_f16(const qlk_weights *w, size_t panel, size_t panels, const float *x, float *y)
{
  gemv_any(QLK_F16, w, panel, panels, x, y);
}

static void gemv_bf16(const qlk_weights *w, size_t panel, size_t panels, const float *x, float *y)
{
  gemv_any(QLK_BF16, w, panel, panels, x, y);
}

static void few_f32(const qlk_few_job *job)
{
  few_any(QLK_F32, job);
}

static void few_f16(const qlk_few_job *job)
{
  few_any(QLK_F16, job);
}

static void few_bf16(const qlk_few_job *job)
{
  few_any(QLK_BF16, job);
}

#endif
