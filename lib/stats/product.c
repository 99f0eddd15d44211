/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "stats.h"

#include "checked.h"

#include <string.h>

static size_t panels_of(const qli_stats_input *input)
{
  return qli_ceil_div(input->cols, QLI_PANEL);
}

size_t qli_product_tiles(const qli_stats_product *p)
{
  if (p->tiles == NULL)
    return 0;
  const size_t cols = panels_of(p->b);
  return p->upper ? cols * (cols + 1) / 2 : panels_of(p->a) * cols;
}

void qli_product_place(const qli_stats_product *p, size_t tile, size_t *row, size_t *col)
{
  const size_t cols = panels_of(p->b);
  if (p->upper) {
    qli_triangle_place(tile, row, col);
    return;
  }
  *row = tile / cols;
  *col = tile % cols;
}

size_t qli_product_index(const qli_stats_product *p, size_t row, size_t col)
{
  return p->upper ? col * (col + 1) / 2 + row : row * panels_of(p->b) + col;
}

/* Register tiles that lie below the diagonal of the matrix are left out. */
static void add_block(const qlk_tile_f32 *t, size_t depth, const float *a, const float *b,
                      size_t rows, size_t cols, int diagonal, double *tile)
{
  for (size_t j = 0; j < cols; j += t->nr) {
    const size_t last = diagonal ? qli_min_size(j + t->nr, rows) : rows;
    for (size_t i = 0; i < last; i += t->mr)
      t->add_wide(depth, a + i, b + j, tile + i * QLI_PANEL + j, QLI_PANEL);
  }
}

void qli_product_add(const ql_ctx *ctx, const ql_stats *s, const qli_stats_product *p, size_t index,
                     size_t rows, double *tile)
{
  const qli_tile_ops ops = qli_tile_ops_f32(ctx);
  size_t row, col;
  qli_product_place(p, index, &row, &col);
  const size_t height = qli_min_size(QLI_PANEL, p->a->cols - row * QLI_PANEL);
  const size_t width = qli_min_size(QLI_PANEL, p->b->cols - col * QLI_PANEL);
  for (size_t first = 0; first < rows; first += QLI_STATS_BLOCK)
    add_block(ops.f32, qli_min_size(QLI_STATS_BLOCK, rows - first),
              qli_stats_staged_row(s, p->a, row, first), qli_stats_staged_row(s, p->b, col, first),
              height, width, p->upper && row == col, tile);
}

void qli_product_value(const ql_ctx *ctx, const ql_stats *s, const qli_stats_product *p,
                       size_t index, size_t rows, double *tile)
{
  memcpy(tile, p->tiles + index * QLI_TILE_VALUES, QLI_TILE_VALUES * sizeof *tile);
  qli_product_add(ctx, s, p, index, rows, tile);
}

typedef struct {
  const ql_ctx *ctx;
  const ql_stats *stats;
} flush_job;

static void flush_tile(void *arg, size_t index, size_t worker)
{
  const flush_job *j = arg;
  const ql_stats *s = j->stats;
  const size_t first = qli_product_tiles(&s->product[QLI_STATS_H]);
  const qli_stats_product *p = &s->product[index < first ? QLI_STATS_H : QLI_STATS_C];
  const size_t tile = index < first ? index : index - first;
  (void)worker;
  qli_product_add(j->ctx, s, p, tile, s->staged, p->tiles + tile * QLI_TILE_VALUES);
}

void qli_product_flush(const ql_ctx *ctx, ql_stats *s)
{
  flush_job j = {ctx, s};
  if (s->staged > 0)
    qli_parallel_for(ctx,
                     qli_product_tiles(&s->product[QLI_STATS_H]) +
                         qli_product_tiles(&s->product[QLI_STATS_C]),
                     flush_tile, &j);
  s->staged = 0;
}
