/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "gemm_a8.h"

#include "act_grid.h"
#include "checked.h"
#include "error.h"
#include "parts.h"

#include <string.h>

/* Sections of the scratch memory, in bytes from its start. */
typedef struct {
  size_t x, tiles, sums, scales, zeros, ranges, flags, outliers, saved, plain, parts, workers;
  size_t total, worker_bytes;
} plan;

static bool append(plan *p, size_t count, size_t size, size_t *at)
{
  size_t bytes;
  *at = p->total;
  return qli_mul_size(count, size, &bytes) && qli_add_size(bytes, 63, &bytes) &&
         qli_add_size(p->total, bytes / 64 * 64, &p->total) && p->total <= PTRDIFF_MAX;
}

static bool make_plan(const ql_ctx *ctx, const ql_packed *w, size_t m, size_t digits,
                      const ql_act_config *act, plan *p)
{
  const size_t rows = qli_min_size(m, QLI_GEMM_SLAB), k = w->weights.k;
  const size_t hidden = act->threshold > 0 ? k : 0, workers = ctx->executor.max_workers;
  size_t parts;
  memset(p, 0, sizeof *p);
  p->worker_bytes = (qli_gemm_worker_bytes(w, m) + 63) / 64 * 64;
  return qli_parts_scratch(ctx, w, rows, &parts) &&
         append(p, qli_gemm_row_elements(w), rows * sizeof(float), &p->x) &&
         append(p, k, rows * digits, &p->tiles) &&
         append(p, w->weights.groups, rows * digits * sizeof(int32_t), &p->sums) &&
         append(p, w->weights.groups | 1, rows * sizeof(float), &p->scales) &&
         append(p, rows, sizeof(int32_t), &p->zeros) &&
         append(p, rows, 2 * sizeof(uint32_t), &p->ranges) && append(p, hidden, 1, &p->flags) &&
         append(p, hidden, sizeof(int32_t), &p->outliers) &&
         append(p, hidden, workers * sizeof(float), &p->saved) &&
         append(p, k, workers * digits, &p->plain) && append(p, parts, 1, &p->parts) &&
         append(p, p->worker_bytes, workers, &p->workers);
}

ql_status qli_a8_workspace(const ql_ctx *ctx, const ql_packed *w, size_t m,
                           const ql_gemm_options *o, size_t *bytes)
{
  ql_act_config act;
  plan p;
  QLI_TRY(qli_act_check(o->act, &act, NULL));
  if (!make_plan(ctx, w, m, qli_a8_digits(o->compute), &act, &p))
    return QL_STATUS_OVERFLOW;
  *bytes = p.total;
  return QL_STATUS_OK;
}

static ql_status run(qli_a8_product *p, ql_error *error)
{
  qli_a8_look(p);
  for (size_t row = 0; qli_a8_take_slab(p, row); row += QLI_GEMM_SLAB) {
    qli_a8_make_digits(p);
    QLI_TRY(qli_parts_take(&p->job, p->x, p->parts, error));
    qli_gemm_run(&p->job);
  }
  return QL_STATUS_OK;
}

static void set_rows(qli_a8_product *p, const ql_packed *w, unsigned char *scratch, const plan *at)
{
  qli_a8_job *rows = &p->rows;
  rows->unit = &p->job.ctx->kernels.a8.unit[w->wtype];
  rows->digits = qli_a8_digits(p->options->compute);
  rows->tile_rows = rows->unit->mr / rows->digits;
  rows->tiles = (int8_t *)(void *)(scratch + at->tiles);
  rows->sums = (int32_t *)(void *)(scratch + at->sums);
  rows->scales = (float *)(void *)(scratch + at->scales);
  const bool given = p->x->dtype == QL_DTYPE_I8;
  rows->by_group =
      given ? p->options->x_scales->rank == 2 : rows->digits == 2 || p->act.mode == QL_ACT_GROUP;
  if (given ? p->options->x_zeros != NULL : p->act.asymmetric != 0)
    rows->zeros = (int32_t *)(void *)(scratch + at->zeros);
  rows->outliers = (int32_t *)(void *)(scratch + at->outliers);
}

ql_status qli_a8_multiply(const ql_ctx *ctx, const ql_packed *w, const ql_tensor *x,
                          const ql_tensor *y, const ql_gemm_options *o, ql_error *error)
{
  plan at;
  unsigned char *scratch;
  void *owned;
  qli_a8_product p = {.x = x, .options = o};
  QLI_TRY(qli_act_check(o->act, &p.act, error));
  if (!make_plan(ctx, w, x->shape[0], qli_a8_digits(o->compute), &p.act, &at))
    return qli_fail(error, QL_STATUS_OVERFLOW, "no scratch can be as large as %zu rows need",
                    x->shape[0]);
  QLI_TRY(qli_gemm_scratch(ctx, o, at.total, &scratch, &owned, error));
  p.job = (qli_gemm_job){.ctx = ctx,
                         .w = w,
                         .unit = qli_packed_unit(ctx, w),
                         .y = y,
                         .bias = o->bias,
                         .a8 = &p.rows,
                         .worker_scratch = scratch + at.workers,
                         .worker_bytes = at.worker_bytes};
  set_rows(&p, w, scratch, &at);
  p.x_scratch = (float *)(void *)(scratch + at.x);
  p.ranges = (uint32_t *)(void *)(scratch + at.ranges);
  p.flags = scratch + at.flags;
  p.outliers = (int32_t *)(void *)(scratch + at.outliers);
  p.saved = (float *)(void *)(scratch + at.saved);
  p.plain = (int8_t *)(void *)(scratch + at.plain);
  p.parts = scratch + at.parts;
  const ql_status status = run(&p, error);
  qli_free(ctx, owned);
  return status;
}
