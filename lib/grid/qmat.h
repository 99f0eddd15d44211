/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_GRID_QMAT_H
#define QLI_GRID_QMAT_H

#include "ctx.h"

#include <quantlib/quantize.h>

/* The arrays belong to the matrix; view points at them. Written only while it is being made. */
struct ql_qmat {
  const ql_ctx *ctx;
  ql_qmat_view view;
  uint8_t *codes;
  float *scales;
  int16_t *zeros;
  int32_t *g_idx;
  int32_t *perm;
};

/* A matrix with the header of *shape (its array pointers only say which optional parts are wanted)
 * and arrays of its own, not yet filled. */
ql_status qli_qmat_new(const ql_ctx *ctx, const ql_qmat_view *shape, ql_qmat **out,
                       ql_error *error);

/* Group of column c. */
static inline size_t qli_qmat_group(const ql_qmat_view *v, size_t c)
{
  return v->g_idx != NULL ? (size_t)v->g_idx[c] : c / v->block_cols;
}

/* Row r dequantized to f32: s * (float)(c - z), one rounding. */
void qli_qmat_row_f32(const ql_qmat_view *v, size_t r, float *dst);

#endif
