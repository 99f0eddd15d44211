/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_ALGO_TILES_H
#define QLI_ALGO_TILES_H

#include "ctx.h"

#include <quantlib/tensor.h>

/* What went wrong in a tile: the tiles of a run fail on their own, and the first one that did is
 * reported, whichever thread saw it first. */
typedef struct qli_tile_result {
  ql_status status;
  int64_t row, col;
} qli_tile_result;

/* One fixed piece of work. */
typedef void (*qli_tile_task)(void *arg, size_t tile, qli_tile_result *result);

/* Runs all tiles, some at a time so that progress can be told and a wish to cancel is heard.
 * *failed receives the position of the first failure; the caller words it. */
ql_status qli_tiles_run(const ql_ctx *ctx, const char *phase, size_t count, qli_tile_task task,
                        void *arg, qli_tile_result *failed, ql_error *error);

/* Checks a weight matrix: rank 2, f32, f16 or bf16, all finite. */
ql_status qli_check_weights(const ql_ctx *ctx, const ql_tensor *w, ql_error *error);

/* The same without a look at the values. */
ql_status qli_check_weight_type(const ql_tensor *w, ql_error *error);

/* Row r of a checked weight matrix as f64. */
void qli_weight_row(const ql_tensor *w, size_t r, double *dst);

#endif
