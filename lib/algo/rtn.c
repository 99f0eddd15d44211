/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "rtn.h"

#include "checked.h"
#include "error.h"
#include "find.h"
#include "fpenv.h"
#include "importance.h"
#include "qmat.h"
#include "registry.h"
#include "rows.h"
#include "scale.h"
#include "tables.h"
#include "tiles.h"

#include <string.h>

/* Rows of a tile where each row has scales of its own. */
enum { TILE_ROWS = 16 };

typedef struct {
  const ql_ctx *ctx;
  const ql_tensor *w;
  const qli_grid *grid;
  const double *importance;
  ql_qmat *q;
  size_t blocks_per_tile;
} job;

static void store_codes(const job *j, const qli_cells *cells, size_t row, size_t col, qli_point p)
{
  for (size_t r = 0; r < cells->rows; r++) {
    uint8_t *codes = j->q->codes + (row + r) * j->grid->cols + col;
    if (j->grid->kind == QL_GRID_TABLE)
      qli_table_codes(j->grid->table, p.scale, cells->x + r * cells->stride, cells->cols, codes);
    else
      for (size_t c = 0; c < cells->cols; c++)
        codes[c] = (uint8_t)qli_grid_code(j->grid, p, cells->x[r * cells->stride + c]);
  }
}

/* All groups of one block of rows, whose weights are in x. */
static int round_block_row(const job *j, size_t block, const double *x, size_t rows,
                           qli_tile_result *result)
{
  const qli_grid *g = j->grid;
  for (size_t k = 0; k < g->groups; k++) {
    const size_t col = k * g->block_cols;
    const size_t n = qli_min_size(g->block_cols, g->cols - col);
    const qli_cells cells = {x + col, rows, n, g->cols,
                             j->importance != NULL ? j->importance + col : NULL};
    qli_point p;
    if (!qli_grid_find(g, &cells, &p)) {
      *result =
          (qli_tile_result){QL_STATUS_NUMERIC, (int64_t)(block * g->block_rows), (int64_t)col};
      return 0;
    }
    store_codes(j, &cells, block * g->block_rows, col, p);
    qli_store_point(j->q, block * g->groups + k, p);
  }
  return 1;
}

static void round_rows(const job *j, size_t tile, qli_tile_result *result)
{
  const qli_grid *g = j->grid;
  const size_t end = qli_min_size(g->rows, (tile + 1) * TILE_ROWS);
  for (size_t r = tile * TILE_ROWS; r < end; r++)
    if (!qli_rows_round(j->ctx, g, j->w, r, j->q->codes + r * g->cols, j->q->scales + r * g->groups,
                        j->q->zeros + r * g->groups, result))
      return;
}

static void round_tile(void *arg, size_t tile, qli_tile_result *result)
{
  const job *j = arg;
  const qli_grid *g = j->grid;
  if (qli_rows_serve(g)) {
    round_rows(j, tile, result);
    return;
  }
  double *x = qli_alloc(j->ctx, g->block_rows * g->cols, sizeof *x);
  if (x == NULL) {
    result->status = QL_STATUS_NO_MEMORY;
    return;
  }
  const size_t end = qli_min_size(g->block_count, (tile + 1) * j->blocks_per_tile);
  for (size_t block = tile * j->blocks_per_tile; block < end; block++) {
    const size_t row = block * g->block_rows;
    const size_t rows = qli_min_size(g->block_rows, g->rows - row);
    for (size_t r = 0; r < rows; r++)
      qli_weight_row(j->w, row + r, x + r * g->cols);
    if (!round_block_row(j, block, x, rows, result))
      break;
  }
  qli_free(j->ctx, x);
}

ql_status qli_fail_scale(const qli_grid *g, const qli_tile_result *failed, ql_error *error)
{
  qli_fail(error, QL_STATUS_NUMERIC,
           "the scale of row %lld, columns %lld.. (group %lld) does not fit the type %s",
           (long long)failed->row, (long long)failed->col,
           (long long)failed->col / (long long)g->block_cols, ql_dtype_name(g->scale_dtype));
  qli_error_at(error, failed->row, failed->col);
  qli_error_hint(error, "store the scales as BF16 or F32, whose range is that of the weights");
  return QL_STATUS_NUMERIC;
}

void qli_grid_view(const qli_grid *g, ql_qmat_view *view)
{
  static const float wanted = 0.0f;
  *view = (ql_qmat_view){.struct_size = sizeof *view,
                         .rows = g->rows,
                         .cols = g->cols,
                         .bits = g->bits,
                         .kind = g->kind,
                         .block_rows = g->block_rows,
                         .block_cols = g->block_cols,
                         .groups = g->groups,
                         .scale_dtype = g->scale_dtype,
                         .fzeros = g->kind == QL_GRID_FLOAT_ZERO ? &wanted : NULL,
                         .level_sets = g->kind == QL_GRID_TABLE};
}

void qli_store_point(ql_qmat *q, size_t block, qli_point p)
{
  q->scales[block] = qli_round_scale(q->view.scale_dtype, p.scale);
  if (q->fzeros != NULL)
    q->fzeros[block] = p.fzero;
  else if (q->zeros != NULL)
    q->zeros[block] = (int16_t)p.zero;
}

ql_status qli_rtn(const ql_ctx *ctx, const ql_tensor *w, const qli_grid *grid,
                  const double *importance, ql_qmat **out, ql_error *error)
{
  job j = {ctx, w, grid, importance, NULL, grid->block_rows == 1 ? TILE_ROWS : 1};
  ql_qmat_view view;
  qli_tile_result failed;
  qli_grid_view(grid, &view);
  QLI_TRY(qli_qmat_new(ctx, &view, &j.q, error));
  if (j.q->levels != NULL)
    memcpy(j.q->levels, grid->table->levels, sizeof(float) << grid->bits);
  const size_t tiles = grid->cols != 0 ? qli_ceil_div(grid->block_count, j.blocks_per_tile) : 0;
  const ql_status status = qli_tiles_run(ctx, "rtn", tiles, round_tile, &j, &failed, error);
  if (status != QL_STATUS_OK) {
    ql_qmat_destroy(j.q);
    if (status != QL_STATUS_NUMERIC)
      return status;
    if (qli_rows_serve(grid))
      QLI_TRY(ql_tensor_check_finite(ctx, w, error));
    return qli_fail_scale(grid, &failed, error);
  }
  *out = j.q;
  return QL_STATUS_OK;
}

ql_status ql_rtn_run(const ql_ctx *ctx, const ql_tensor *w, const ql_grid_config *grid,
                     const ql_stats *stats, ql_qmat **out, ql_error *error)
{
  qli_grid g;
  qli_table_order table;
  double *importance = NULL;
  if (ctx == NULL || out == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "ctx or out is NULL");
  QLI_TRY(qli_check_weight_type(w, error));
  QLI_TRY(qli_grid_resolve_any(grid, w->shape[0], w->shape[1], &g, error));
  if (!qli_rows_serve(&g)) /* which meets every weight itself */
    QLI_TRY(ql_tensor_check_finite(ctx, w, error));
  qli_ties ties;
  const float *levels = qli_table_levels(g.table_id, NULL, &ties);
  if (levels != NULL)
    qli_table_sort(levels, g.bits, ties, &table);
  g.table = levels != NULL ? &table : NULL;
  if (stats != NULL && ql_stats_cols(stats) != g.cols)
    return qli_fail(error, QL_STATUS_SHAPE, "statistics of %zu columns for weights of %zu",
                    ql_stats_cols(stats), g.cols);
  const qli_fpenv saved = qli_fpenv_enter();
  ql_status status = QL_STATUS_OK;
  if (g.mse_norm > 0.0 && (g.flags & QL_GRID_CLASSICAL) == 0)
    status = qli_importance(ctx, stats, &importance, error);
  if (status == QL_STATUS_OK)
    status = qli_rtn(ctx, w, &g, importance, out, error);
  qli_free(ctx, importance);
  qli_fpenv_leave(saved);
  return status;
}

static ql_status run_by_name(const ql_ctx *ctx, const ql_algo_input *input, const void *config,
                             ql_qmat **out, ql_gptq_report *report, ql_error *error)
{
  (void)config;
  (void)report;
  return ql_rtn_run(ctx, input->w, input->grid, input->stats, out, error);
}

const qli_algo_row qli_algo_rtn = {
    .name = "rtn",
    .summary = "Rounds each weight to the nearest level: fast, no calibration.",
    .source = "the grid itself",
    .run = run_by_name,
};
