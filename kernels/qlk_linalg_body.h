/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLK_LINALG_BODY_H
#define QLK_LINALG_BODY_H

#include "qlk_linalg.h"

/* Included once per ISA, after it has defined
 *   MR, VEC, LANES_F32, LANES_F64: rows and vectors of a register tile, elements of a vector
 *   vec_f32, vec_f64 and load_*, store_*, set_*, add_*, mul_*, fma_* (a b + c) of them
 *   widen(c, x): c[0..LANES_F32) += x in f64
 * fused is a constant in every call. The elements of a lie a line apart and come from far: row
 * AHEAD is asked for while this one is multiplied. */

enum { AHEAD = 32 };

static inline __attribute__((always_inline)) void
sum_f32(size_t depth, const float *a, const float *b, vec_f32 sum[MR][VEC], int fused)
{
  for (size_t d = 0; d < depth; d++, a += QLK_PANEL, b += QLK_PANEL) {
    vec_f32 y[VEC];
    __builtin_prefetch(a + AHEAD * QLK_PANEL);
#pragma GCC unroll 3
    for (size_t v = 0; v < VEC; v++)
      y[v] = load_f32(b + v * LANES_F32);
#pragma GCC unroll 8
    for (size_t i = 0; i < MR; i++) {
      const vec_f32 x = set_f32(a[i]);
#pragma GCC unroll 3
      for (size_t v = 0; v < VEC; v++)
        sum[i][v] = fused ? fma_f32(x, y[v], sum[i][v]) : add_f32(sum[i][v], mul_f32(x, y[v]));
    }
  }
}

static inline __attribute__((always_inline)) void
tile_f32(size_t depth, const float *a, const float *b, float *c, size_t ldc, int fused)
{
  vec_f32 sum[MR][VEC];
#pragma GCC unroll 8
  for (size_t i = 0; i < MR; i++)
#pragma GCC unroll 3
    for (size_t v = 0; v < VEC; v++)
      sum[i][v] = load_f32(c + i * ldc + v * LANES_F32);
  sum_f32(depth, a, b, sum, fused);
#pragma GCC unroll 8
  for (size_t i = 0; i < MR; i++)
#pragma GCC unroll 3
    for (size_t v = 0; v < VEC; v++)
      store_f32(c + i * ldc + v * LANES_F32, sum[i][v]);
}

static inline __attribute__((always_inline)) void
tile_wide(size_t depth, const float *a, const float *b, double *c, size_t ldc, int fused)
{
  vec_f32 sum[MR][VEC];
#pragma GCC unroll 8
  for (size_t i = 0; i < MR; i++)
#pragma GCC unroll 3
    for (size_t v = 0; v < VEC; v++)
      sum[i][v] = set_f32(0);
  sum_f32(depth, a, b, sum, fused);
#pragma GCC unroll 8
  for (size_t i = 0; i < MR; i++)
#pragma GCC unroll 3
    for (size_t v = 0; v < VEC; v++)
      widen(c + i * ldc + v * LANES_F32, sum[i][v]);
}

static inline __attribute__((always_inline)) void
tile_f64(size_t depth, const double *a, const double *b, double *c, size_t ldc, int fused)
{
  vec_f64 sum[MR][VEC];
#pragma GCC unroll 8
  for (size_t i = 0; i < MR; i++)
#pragma GCC unroll 3
    for (size_t v = 0; v < VEC; v++)
      sum[i][v] = load_f64(c + i * ldc + v * LANES_F64);
  for (size_t d = 0; d < depth; d++, a += QLK_PANEL, b += QLK_PANEL) {
    vec_f64 y[VEC];
    __builtin_prefetch(a + AHEAD * QLK_PANEL);
#pragma GCC unroll 3
    for (size_t v = 0; v < VEC; v++)
      y[v] = load_f64(b + v * LANES_F64);
#pragma GCC unroll 8
    for (size_t i = 0; i < MR; i++) {
      const vec_f64 x = set_f64(a[i]);
#pragma GCC unroll 3
      for (size_t v = 0; v < VEC; v++)
        sum[i][v] = fused ? fma_f64(x, y[v], sum[i][v]) : add_f64(sum[i][v], mul_f64(x, y[v]));
    }
  }
#pragma GCC unroll 8
  for (size_t i = 0; i < MR; i++)
#pragma GCC unroll 3
    for (size_t v = 0; v < VEC; v++)
      store_f64(c + i * ldc + v * LANES_F64, sum[i][v]);
}

static void f32_fast(size_t depth, const float *a, const float *b, float *c, size_t ldc)
{
  tile_f32(depth, a, b, c, ldc, 1);
}

static void f32_ordered(size_t depth, const float *a, const float *b, float *c, size_t ldc)
{
  tile_f32(depth, a, b, c, ldc, 0);
}

static void wide_fast(size_t depth, const float *a, const float *b, double *c, size_t ldc)
{
  tile_wide(depth, a, b, c, ldc, 1);
}

static void wide_ordered(size_t depth, const float *a, const float *b, double *c, size_t ldc)
{
  tile_wide(depth, a, b, c, ldc, 0);
}

static void f64_fast(size_t depth, const double *a, const double *b, double *c, size_t ldc)
{
  tile_f64(depth, a, b, c, ldc, 1);
}

static void f64_ordered(size_t depth, const double *a, const double *b, double *c, size_t ldc)
{
  tile_f64(depth, a, b, c, ldc, 0);
}

static void fill_linalg(qlk_linalg *t)
{
  t->f32 = (qlk_tile_f32){MR, VEC * LANES_F32, f32_fast, wide_fast};
  t->f32_ordered = (qlk_tile_f32){MR, VEC * LANES_F32, f32_ordered, wide_ordered};
  t->f64 = (qlk_tile_f64){MR, VEC * LANES_F64, f64_fast};
  t->f64_ordered = (qlk_tile_f64){MR, VEC * LANES_F64, f64_ordered};
}

#endif
