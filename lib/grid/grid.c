/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "grid.h"

#include "checked.h"
#include "error.h"
#include "scale.h"
#include "tables.h"

#include <math.h>
#include <string.h>

/* More candidates than this cannot change the answer: a step is then below the spacing of f16. */
enum { MAX_MSE_STEPS = 100000 };

static ql_status check_kind(const ql_grid_config *g, ql_error *error)
{
  if (g->bits < 1 || g->bits > 8)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "%d bits: 1 to 8 are known", (int)g->bits);
  if (g->kind < QL_GRID_ASYM || g->kind > QL_GRID_TABLE)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "unknown grid kind %d", (int)g->kind);
  if (g->kind == QL_GRID_TERNARY && g->bits != 2)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "a ternary grid has 2 bits, not %d",
                    (int)g->bits);
  if (g->bits == 1 && g->kind >= QL_GRID_SYM_CENTRED && g->kind <= QL_GRID_SYM_FULL) {
    qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "a symmetric grid of 1 bit has no code above zero");
    qli_error_hint(error, "for two values use a float zero point, an asymmetric or a signed grid");
    return QL_STATUS_INVALID_ARGUMENT;
  }
  if (!qli_is_scale_dtype(g->scale_dtype))
    return qli_fail(error, QL_STATUS_DTYPE, "scales of type %s: F16, BF16 and F32 are known",
                    ql_dtype_name(g->scale_dtype));
  if (g->zero_min < 0 || g->zero_min > 1 << (g->bits - 1))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "the smallest zero point %d is not in 0..%d",
                    (int)g->zero_min, 1 << (g->bits - 1));
  return QL_STATUS_OK;
}

static ql_status check_table(const ql_grid_config *g, ql_error *error)
{
  int32_t bits = 0;
  if (g->reserved != 0)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "a reserved member of the grid is not zero");
  if ((g->kind == QL_GRID_TABLE) != (g->table != QL_TABLE_NONE))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "a grid of kind %d with table %d: QL_GRID_TABLE has one, and no other kind",
                    (int)g->kind, (int)g->table);
  if (g->kind != QL_GRID_TABLE)
    return QL_STATUS_OK;
  if (qli_table_levels(g->table, &bits, NULL) == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "there is no table %d", (int)g->table);
  if (bits != g->bits)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "%d bits, but the table %d has %d",
                    (int)g->bits, (int)g->table, (int)bits);
  return QL_STATUS_OK;
}

static ql_status check_flags(const ql_grid_config *g, ql_error *error)
{
  const uint32_t known = QL_GRID_RAW_RANGE | QL_GRID_CLASSICAL | QL_GRID_THREE_LEVELS;
  if ((g->flags & ~known) != 0)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "unknown grid flags 0x%x",
                    (unsigned)g->flags);
  if ((g->flags & QL_GRID_RAW_RANGE) != 0 && g->kind != QL_GRID_ASYM)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "a raw range makes sense for asymmetric grids only");
  if ((g->flags & QL_GRID_THREE_LEVELS) != 0 && (g->kind != QL_GRID_FLOAT_ZERO || g->bits != 2))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "three levels are for 2 bits with a float zero point, not kind %d of %d bits",
                    (int)g->kind, (int)g->bits);
  if ((g->flags & QL_GRID_CLASSICAL) == 0)
    return QL_STATUS_OK;
  if (g->kind != QL_GRID_ASYM && g->kind != QL_GRID_SYM_CENTRED)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "the classical program knows the asymmetric and the centred grid, not kind %d",
                    (int)g->kind);
  if ((g->flags & QL_GRID_RAW_RANGE) != 0 || (g->zero_min != 0 && g->kind == QL_GRID_ASYM))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "the classical grid has neither a raw range nor a smallest zero point");
  return QL_STATUS_OK;
}

static ql_status check_search(const ql_grid_config *g, ql_error *error)
{
  if (!(g->mse_norm >= 0.0 && g->mse_norm <= 16.0))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "the MSE norm %g is not in 0..16",
                    g->mse_norm);
  if (g->mse_norm == 0.0)
    return QL_STATUS_OK;
  if (g->mse_steps < 1 || g->mse_steps > MAX_MSE_STEPS)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "%d MSE steps are not in 1..%d",
                    (int)g->mse_steps, MAX_MSE_STEPS);
  if (!(g->mse_shrink >= 0.0 && g->mse_shrink <= 1.0))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "the MSE shrink %g is not in 0..1",
                    g->mse_shrink);
  return QL_STATUS_OK;
}

static int32_t highest_code(const ql_grid_config *g)
{
  const bool three = g->kind == QL_GRID_TERNARY || (g->flags & QL_GRID_THREE_LEVELS) != 0;
  return three ? 2 : (1 << g->bits) - 1;
}

static size_t resolved(size_t block, size_t all)
{
  const size_t whole = all ? all : 1;
  return block == 0 || block > whole ? whole : block;
}

ql_status qli_grid_resolve_any(const ql_grid_config *config, size_t rows, size_t cols,
                               qli_grid *out, ql_error *error)
{
  ql_grid_config g = QL_GRID_CONFIG_INIT;
  size_t cells;
  if (config == NULL || !qli_config_copy(&g, sizeof g, offsetof(ql_grid_config, table), config))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "the grid is NULL or its struct_size is not that of QL_GRID_CONFIG_INIT");
  QLI_TRY(check_kind(&g, error));
  QLI_TRY(check_table(&g, error));
  QLI_TRY(check_flags(&g, error));
  QLI_TRY(check_search(&g, error));
  if (!qli_mul_size(rows, cols, &cells) || cells > PTRDIFF_MAX / sizeof(double) || cols > INT32_MAX)
    return qli_fail(error, QL_STATUS_OVERFLOW, "a matrix of %zu x %zu is too large", rows, cols);
  *out = (qli_grid){.bits = g.bits,
                    .maxq = highest_code(&g),
                    .kind = g.kind,
                    .scale_dtype = g.scale_dtype,
                    .zero_min = g.zero_min,
                    .flags = g.flags,
                    .mse_steps = g.mse_steps,
                    .mse_norm = g.mse_norm,
                    .mse_shrink = g.mse_shrink,
                    .rows = rows,
                    .cols = cols,
                    .block_rows = resolved(g.block_rows, rows),
                    .block_cols = resolved(g.block_cols, cols),
                    .table_id = g.table};
  out->block_count = qli_ceil_div(rows, out->block_rows);
  out->groups = qli_ceil_div(cols, out->block_cols);
  return QL_STATUS_OK;
}

ql_status qli_grid_resolve(const ql_grid_config *config, size_t rows, size_t cols, qli_grid *out,
                           ql_error *error)
{
  qli_grid g;
  QLI_TRY(qli_grid_resolve_any(config, rows, cols, &g, error));
  if (g.kind == QL_GRID_TABLE) {
    qli_fail(error, QL_STATUS_UNSUPPORTED,
             "a table of levels has no zero point and no even steps, which are needed here");
    qli_error_hint(error, "round to nearest (ql_rtn_run) works on tables");
    return QL_STATUS_UNSUPPORTED;
  }
  *out = g;
  return QL_STATUS_OK;
}

ql_status ql_grid_check(const ql_grid_config *grid, size_t rows, size_t cols, ql_error *error)
{
  qli_grid resolved_grid;
  return qli_grid_resolve_any(grid, rows, cols, &resolved_grid, error);
}
