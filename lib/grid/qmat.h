/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_GRID_QMAT_H
#define QLI_GRID_QMAT_H

#include "checked.h"
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
  float *fzeros;
  float *in_scale;
  int32_t *side_cols;
  float *side_values;
  float *side_scales;
  float *lora_a;
  float *lora_b;
  float *levels;
};

/* A matrix with the header of *shape (its array pointers only say which optional parts are wanted)
 * and arrays of its own, not yet filled. */
ql_status qli_qmat_new(const ql_ctx *ctx, const ql_qmat_view *shape, ql_qmat **out,
                       ql_error *error);

/* Everything that ql_qmat_create demands of its view. */
ql_status qli_qmat_check(const ql_ctx *ctx, const ql_qmat_view *v, ql_error *error);

/* The header alone: what qli_qmat_new needs to hold before it allocates. */
ql_status qli_qmat_check_header(const ql_qmat_view *v, ql_error *error);

/* QL_PART_* of the view. */
uint32_t qli_qmat_parts(const ql_qmat_view *v);

/* Refuses a matrix with parts beyond QL_PART_* in known; who: subject of the message. */
ql_status qli_qmat_refuse(const ql_qmat_view *v, uint32_t known, const char *who, ql_error *error);

/* Blocks of scales, no overflow in a checked view. */
static inline size_t qli_qmat_blocks(const ql_qmat_view *v)
{
  return qli_ceil_div(v->rows, v->block_rows) * v->groups;
}

/* Whether weights of this kind are s * (code - zero) with integer zero points. */
static inline int qli_has_zeros(ql_grid_kind kind)
{
  return kind != QL_GRID_FLOAT_ZERO && kind != QL_GRID_TABLE;
}

/* The zero point that a kind without stored ones implies. */
static inline int32_t qli_implied_zero(ql_grid_kind kind, int32_t bits)
{
  return kind == QL_GRID_TERNARY ? 1 : 1 << (bits - 1);
}

/* The levels of row r, [2^bits]. */
static inline const float *qli_qmat_levels(const ql_qmat_view *v, size_t r)
{
  return v->levels + (v->level_sets > 1 ? r << v->bits : 0);
}

/* Group of column c. */
static inline size_t qli_qmat_group(const ql_qmat_view *v, size_t c)
{
  return v->g_idx != NULL ? (size_t)v->g_idx[c] : c / v->block_cols;
}

/* Row r of the weights, all parts counted, in f32: one rounding. */
void qli_qmat_row_f32(const ql_qmat_view *v, size_t r, float *dst);

#endif
