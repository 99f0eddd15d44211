/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_LINALG_TILE_H
#define QLI_LINALG_TILE_H

#include "ctx.h"

/* A panel is a slice of QLI_PANEL rows of A (or columns of B), stored depth first:
 * element (d, i) at [d * QLI_PANEL + i]. Short ones are filled with zeros. The same layout serves
 * both operands, so that X^T X needs one copy of X. 96 is a multiple of the register tiles of
 * every ISA (4, 6, 8, 12, 16, 24, 48). */
enum {
  QLI_PANEL = 96,
  QLI_DEPTH = 256,   /* of the panels of one pass of gemm */
  QLI_REG_TILE = 768 /* elements of the largest register tile */
};

/* c[mr, nr] += a^T b over depth steps; a and b point into panels. */
typedef void (*qli_tile_f32_fn)(size_t depth, const float *a, const float *b, float *c, size_t ldc);
typedef void (*qli_tile_f64_fn)(size_t depth, const double *a, const double *b, double *c,
                                size_t ldc);

/* The kernels of one element type; exactly one of f32 and f64 is set. */
typedef struct qli_tile_ops {
  size_t size; /* bytes of an element */
  size_t mr, nr;
  qli_tile_f32_fn f32;
  qli_tile_f64_fn f64;
} qli_tile_ops;

qli_tile_ops qli_tile_ops_f32(const ql_ctx *ctx);
qli_tile_ops qli_tile_ops_f64(const ql_ctx *ctx);

/* dst(d, i) = +-src[i * across + d * along] for i < width, d < depth; zeros for the rest of i. */
void qli_pack_f32(const float *src, size_t across, size_t along, size_t width, size_t depth,
                  int negate, float *dst);
void qli_pack_f64(const double *src, size_t across, size_t along, size_t width, size_t depth,
                  int negate, double *dst);

/* c[rows, cols] += a^T b for two panels; rows, cols <= QLI_PANEL. With upper, register tiles that
 * lie wholly below the diagonal are left out; the others are computed in full. */
void qli_tile_add(const qli_tile_ops *ops, size_t depth, const void *a, const void *b, void *c,
                  size_t ldc, size_t rows, size_t cols, int upper);

#endif
