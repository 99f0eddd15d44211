/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "gptq.h"

#include "checked.h"
#include "error.h"
#include "linalg.h"
#include "tensor_rows.h"

#include <string.h>

enum { TILE = QLI_GPTQ_TILE, ROWS = 8 };

/* A chunk, on which tasks work tile by tile of rows. */
typedef struct {
  qli_gptq_chunk *chunk;
  qli_gptq_strip strip;
  qli_gptq_space *space; /* for each worker */
  qli_tile_result *results;
  uint64_t done, total; /* for the progress callback: before this chunk, of the run */
  size_t first, end;    /* columns whose groups get grids before the strip */
  size_t look;
  double *ahead; /* [rows][look - first]: what feedback has made of the weights */
} stretch;

static size_t tiles_of(const qli_gptq_chunk *c)
{
  return qli_ceil_div(c->rows, TILE);
}

static size_t tile_rows(const qli_gptq_chunk *c, size_t tile)
{
  return qli_min_size(TILE, c->rows - tile * TILE);
}

static ql_status run_tiles(stretch *s, ql_task task, qli_tile_result *failed, ql_error *error)
{
  const size_t tiles = tiles_of(s->chunk);
  memset(s->results, 0, tiles * sizeof *s->results);
  qli_parallel_for(s->chunk->plan->ctx, tiles, task, s);
  for (size_t i = 0; i < tiles; i++)
    if (s->results[i].status != QL_STATUS_OK) {
      *failed = s->results[i];
      if (failed->status == QL_STATUS_NO_MEMORY)
        qli_fail(error, QL_STATUS_NO_MEMORY, "no memory for a tile of weights");
      return failed->status;
    }
  return QL_STATUS_OK;
}

/* Weights of a few rows into d, in the order of quantization, and the sums that need the
 * originals. The buffer's rows are apart by more than a power of two: read across, they would meet
 * in one set of the cache. */
static void load_rows(const qli_gptq_chunk *c, size_t row, size_t rows, double *buffer)
{
  const qli_gptq_plan *plan = c->plan;
  const size_t cols = plan->factor->cols, pitch = cols + ROWS;
  double sum[ROWS] = {0.0};
  for (size_t r = 0; r < rows; r++)
    qli_weight_row(plan->w, c->row + row + r, buffer + r * pitch);
  for (size_t k = 0; k < cols; k++)
    for (size_t r = 0; r < rows; r++)
      sum[r] += buffer[r * pitch + k] * buffer[r * pitch + k];
  for (size_t r = 0; r < rows; r++)
    c->sums[row + r] = (qli_gptq_sums){.sse_ref = sum[r]};
  for (size_t k = 0; k < cols; k++)
    for (size_t r = 0; r < rows; r++)
      c->d[k * c->rows + row + r] = buffer[r * pitch + (size_t)plan->factor->perm[k]];
}

static void load_tile(void *arg, size_t tile, size_t worker)
{
  const stretch *s = arg;
  const qli_gptq_chunk *c = s->chunk;
  const size_t rows = tile_rows(c, tile), pitch = c->plan->factor->cols + ROWS;
  double *buffer = qli_alloc(c->plan->ctx, pitch, ROWS * sizeof *buffer);
  (void)worker;
  if (buffer == NULL) {
    s->results[tile].status = QL_STATUS_NO_MEMORY;
    return;
  }
  for (size_t r = 0; r < rows; r += ROWS)
    load_rows(c, tile * TILE + r, qli_min_size(ROWS, rows - r), buffer);
  qli_free(c->plan->ctx, buffer);
}

/* Columns that never saw input become 0: nothing in the calibration data speaks against it. */
static void clear_dead(qli_gptq_chunk *c)
{
  const qli_gptq_plan *plan = c->plan;
  for (size_t k = 0; plan->config.dead_keep == 0 && k < plan->factor->cols; k++)
    for (size_t r = 0; plan->factor->diag[k] == 0.0 && r < c->rows; r++) {
      double *w = &c->d[k * c->rows + r];
      c->sums[r].sse += *w * *w;
      *w = 0.0;
    }
}

static bool is_searched(const qli_gptq_chunk *c)
{
  return c->grid->mse_norm > 0.0 && (c->grid->flags & QL_GRID_CLASSICAL) == 0;
}

const double *qli_gptq_search_weights(const qli_gptq_chunk *c, size_t k)
{
  return is_searched(c) ? c->plan->pivots_sq + k : NULL;
}

static const double *gather_weights(const qli_gptq_chunk *c, double *gathered,
                                    const int32_t *members, size_t n)
{
  if (!is_searched(c))
    return NULL;
  for (size_t i = 0; i < n; i++)
    gathered[i] = c->plan->pivots_sq[members[i]];
  return gathered;
}

bool qli_gptq_find_point(const qli_gptq_chunk *c, size_t group, size_t r, const double *x, size_t n,
                         const double *weight, qli_tile_result *result)
{
  const qli_cells cells = {x, 1, n, n, weight};
  if (qli_grid_find(c->grid, &cells, &c->points[group * c->rows + r]))
    return true;
  *result = (qli_tile_result){QL_STATUS_NUMERIC, (int64_t)(c->row + r), (int64_t)group};
  return false;
}

/* Grids of all groups of a tile from the weights as they are. */
static void find_fixed_tile(void *arg, size_t tile, size_t worker)
{
  const stretch *s = arg;
  const qli_gptq_chunk *c = s->chunk;
  const qli_gptq_plan *plan = c->plan;
  double *x = qli_alloc(plan->ctx, plan->factor->cols, 2 * sizeof *x);
  double *weight = x != NULL ? x + plan->factor->cols : NULL;
  bool good = x != NULL;
  (void)worker;
  s->results[tile].status = good ? QL_STATUS_OK : QL_STATUS_NO_MEMORY;
  for (size_t g = 0; good && g < plan->grid->groups; g++) {
    const int32_t *members = plan->members + plan->first[g];
    const size_t n = plan->first[g + 1] - plan->first[g];
    const double *used = gather_weights(c, weight, members, n);
    for (size_t r = tile * TILE; good && r < tile * TILE + tile_rows(c, tile); r++) {
      for (size_t i = 0; i < n; i++)
        x[i] = c->d[(size_t)members[i] * c->rows + r];
      good = qli_gptq_find_point(c, g, r, x, n, used, &s->results[tile]);
    }
  }
  qli_free(plan->ctx, x);
}

/* Grids of the groups that begin in first..end. */
static void find_ahead_tile(void *arg, size_t tile, size_t worker)
{
  const stretch *s = arg;
  const qli_gptq_chunk *c = s->chunk;
  const qli_gptq_plan *plan = c->plan;
  const size_t pitch = s->look - s->first;
  bool good = true;
  (void)worker;
  for (size_t k = s->first, end; good && k < s->end; k = end) {
    end = qli_gptq_group_end(plan, k);
    if (!qli_gptq_group_begins(plan, k))
      continue;
    const double *weight = qli_gptq_search_weights(c, k);
    for (size_t r = tile * TILE; good && r < tile * TILE + tile_rows(c, tile); r++) {
      double *x = s->ahead + r * pitch + (k - s->first);
      for (size_t i = k; i < end; i++)
        x[i - k] += c->d[i * c->rows + r];
      good = qli_gptq_find_point(c, (size_t)plan->group_of[k], r, x, end - k, weight,
                                 &s->results[tile]);
    }
  }
}

static bool is_exact(const qli_gptq_chunk *c)
{
  return (c->grid->flags & QL_GRID_CLASSICAL) != 0;
}

/* ahead = delta R R^-1 over the columns first..look: what feedback adds to those weights. */
static ql_status look_ahead(const stretch *s, ql_error *error)
{
  const qli_gptq_chunk *c = s->chunk;
  const size_t cols = c->plan->factor->cols, first = s->first, n = s->look - first;
  const double *r = c->plan->factor->matrix + first;
  const qli_view_f64 delta = {c->d, 1, c->rows}, above = {r, cols, 1};
  QLI_TRY((is_exact(c) ? qli_gemm_f64 : qli_gemm_narrow)(c->plan->ctx, QLI_ADD, c->rows, n, first,
                                                         delta, above, s->ahead, n, error));
  return qli_tri_upper_solve(c->plan->ctx, c->rows, n, r + first * cols, cols, s->ahead, n, error);
}

static ql_status find_ahead(stretch *s, size_t k, qli_tile_result *failed, ql_error *error)
{
  const ql_ctx *ctx = s->chunk->plan->ctx;
  s->first = k;
  s->end = qli_gptq_ahead_end(s->chunk->plan, k, &s->look);
  if (s->end == k)
    return QL_STATUS_OK;
  s->ahead = qli_calloc(ctx, s->look - k, s->chunk->rows * sizeof *s->ahead);
  if (s->ahead == NULL)
    return qli_fail(error, QL_STATUS_NO_MEMORY, "no memory for grids of %zu columns", s->look - k);
  ql_status status = k > 0 ? look_ahead(s, error) : QL_STATUS_OK;
  if (status == QL_STATUS_OK)
    status = run_tiles(s, find_ahead_tile, failed, error);
  qli_free(ctx, s->ahead);
  return status;
}

static void strip_tile(void *arg, size_t tile, size_t worker)
{
  const stretch *s = arg;
  qli_gptq_tile_run(s->chunk, &s->strip, tile, &s->space[worker], &s->results[tile]);
}

static ql_status run_strips(stretch *s, qli_tile_result *failed, ql_error *error)
{
  const qli_gptq_plan *plan = s->chunk->plan;
  for (size_t k = 0; k < plan->factor->cols; k = s->strip.end) {
    const uint64_t done = s->done + (uint64_t)k * s->chunk->rows;
    QLI_TRY(qli_progress(plan->ctx, "gptq", done, s->total, error));
    QLI_TRY(find_ahead(s, k, failed, error));
    qli_gptq_strip_load(&s->strip, k);
    QLI_TRY(run_tiles(s, strip_tile, failed, error));
  }
  return QL_STATUS_OK;
}

static ql_status prepare(stretch *s, qli_tile_result *failed, ql_error *error)
{
  const qli_gptq_plan *plan = s->chunk->plan;
  const bool clear_first = (plan->grid->flags & QL_GRID_CLASSICAL) == 0 || plan->grid->groups != 1;
  QLI_TRY(run_tiles(s, load_tile, failed, error));
  if (clear_first)
    clear_dead(s->chunk);
  if (plan->fixed)
    QLI_TRY(run_tiles(s, find_fixed_tile, failed, error));
  if (!clear_first)
    clear_dead(s->chunk);
  if (s->chunk->want_proxy)
    QLI_TRY(qli_gptq_chunk_reference(s->chunk, error));
  return QL_STATUS_OK;
}

/* Rows of a tile that do not exist are computed with all others: their lanes hold finite numbers
 * from the start. */
static bool alloc_space(const ql_ctx *ctx, size_t columns, qli_gptq_space *space)
{
  const size_t far = QLI_DEPTH * TILE, values = columns * TILE;
  double *d = qli_calloc(ctx, 4 * values + far + qli_ceil_div(values, sizeof *d), sizeof *d);
  *space = (qli_gptq_space){.sums = d};
  if (d == NULL)
    return false;
  space->delta = d + values;
  space->fed = space->delta + values;
  space->minus = space->fed + values;
  space->far = space->minus + values;
  space->codes = (uint8_t *)(space->minus + values + far);
  for (size_t r = 0; r < TILE; r++)
    space->points.scale[r] = 1.0;
  return true;
}

static bool alloc_stretch(stretch *s)
{
  const qli_gptq_plan *plan = s->chunk->plan;
  const size_t workers = ql_ctx_workers(plan->ctx);
  const size_t columns = qli_min_size(plan->strip, plan->factor->cols);
  bool good = qli_gptq_strip_alloc(plan, is_exact(s->chunk), &s->strip);
  s->results = qli_alloc(plan->ctx, tiles_of(s->chunk), sizeof *s->results);
  s->space = qli_calloc(plan->ctx, workers, sizeof *s->space);
  for (size_t i = 0; s->space != NULL && good && i < workers; i++)
    good = alloc_space(plan->ctx, columns, &s->space[i]);
  return good && s->results != NULL && s->space != NULL;
}

static void free_stretch(stretch *s)
{
  const ql_ctx *ctx = s->chunk->plan->ctx;
  for (size_t i = 0; s->space != NULL && i < ql_ctx_workers(ctx); i++)
    qli_free(ctx, s->space[i].sums);
  qli_free(ctx, s->space);
  qli_free(ctx, s->results);
  qli_gptq_strip_free(&s->strip);
}

ql_status qli_gptq_chunk_run(qli_gptq_chunk *chunk, uint64_t done, uint64_t total,
                             qli_tile_result *failed, ql_error *error)
{
  stretch s = {.chunk = chunk, .done = done, .total = total};
  ql_status status = QL_STATUS_OK;
  if (!alloc_stretch(&s))
    status = qli_fail(error, QL_STATUS_NO_MEMORY, "no memory for %zu rows", chunk->rows);
  else
    status = prepare(&s, failed, error);
  if (status == QL_STATUS_OK)
    status = run_strips(&s, failed, error);
  free_stretch(&s);
  return status;
}
