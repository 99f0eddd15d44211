/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_ALGO_ROWS_H
#define QLI_ALGO_ROWS_H

#include "find.h"
#include "tiles.h"

/* Round to nearest without a search, row by row through kernels, with the bits of qli_grid_find and
 * qli_grid_code. */

/* Whether the grid is one that these kernels serve. */
bool qli_rows_serve(const qli_grid *g);

/* One row of w: codes [cols], scales [groups] (values of the storage type) and zeros [groups].
 * False with *result set where a scale cannot be stored or a weight is not finite. */
bool qli_rows_round(const ql_ctx *ctx, const qli_grid *g, const ql_tensor *w, size_t row,
                    uint8_t *codes, float *scales, int16_t *zeros, qli_tile_result *result);

#endif
