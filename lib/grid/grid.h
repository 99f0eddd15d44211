/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_GRID_GRID_H
#define QLI_GRID_GRID_H

#include <quantlib/quantize.h>

/* A checked grid for one matrix, sizes resolved: never 0. */
typedef struct qli_grid {
  int32_t bits;
  int32_t maxq; /* highest code, 2^bits - 1 */
  ql_grid_kind kind;
  ql_dtype scale_dtype;
  int32_t zero_min;
  uint32_t flags;
  int32_t mse_steps;
  double mse_norm;
  double mse_shrink;
  size_t rows, cols;
  size_t block_rows, block_cols;
  size_t block_count;                  /* blocks of rows */
  size_t groups;                       /* blocks of columns */
  ql_table table_id;                   /* QL_GRID_TABLE, else QL_TABLE_NONE */
  const struct qli_table_order *table; /* set by those who round to it (tables.h) */
} qli_grid;

/* For callers that know scales and zero points: refuses QL_GRID_TABLE. */
ql_status qli_grid_resolve(const ql_grid_config *config, size_t rows, size_t cols, qli_grid *out,
                           ql_error *error);
ql_status qli_grid_resolve_any(const ql_grid_config *config, size_t rows, size_t cols,
                               qli_grid *out, ql_error *error);

#endif
