/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_ALGO_RTN_H
#define QLI_ALGO_RTN_H

#include "find.h"
#include "qmat.h"
#include "tiles.h"

/* Round to nearest of weights that are finite, or need not be known to be where qli_rows_serve.
 * importance: [cols] or NULL. */
ql_status qli_rtn(const ql_ctx *ctx, const ql_tensor *w, const qli_grid *grid,
                  const double *importance, ql_qmat **out, ql_error *error);

/* The header of a matrix on this grid, without arrays: for qli_qmat_new. */
void qli_grid_view(const qli_grid *g, ql_qmat_view *view);

/* Scale and zero point of a block into the arrays of q. */
void qli_store_point(ql_qmat *q, size_t block, qli_point p);

/* Words the failure of a tile whose scale cannot be stored. */
ql_status qli_fail_scale(const qli_grid *g, const qli_tile_result *failed, ql_error *error);

#endif
