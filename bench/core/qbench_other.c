/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "qbench_internal.h"

#include <stdlib.h>
#include <string.h>

#if defined(QBENCH_QUANTIZERS)
const char qbench_other_names[] = "dequantize,quantize,hessian,gptq";

/* More than the library stages before it multiplies. */
enum { HESSIAN_TOKENS = 4096 };

/* A run of all ops leaves out what takes longer than this many operations. */
#define OPERATIONS_OF_ALL 3e11

/* Work on one matrix that is no product. */
typedef struct {
  const ql_ctx *ctx;
  ql_qmat *q;
  ql_stats *stats;
  float *w, *x;
  ql_tensor tw, tx, dst;
  void *out;
  ql_grid_config grid;
  ql_status status;
  ql_error error;
} other;

static int keep(other *o, ql_status status)
{
  o->status = status;
  return status == QL_STATUS_OK ? 0 : -1;
}

static int dequantize(void *arg)
{
  other *o = arg;
  return keep(o, ql_dequantize(o->ctx, o->q, &o->dst, &o->error));
}

static int quantize(void *arg)
{
  other *o = arg;
  ql_qmat *q = NULL;
  const ql_status status = ql_rtn_run(o->ctx, &o->tw, &o->grid, NULL, &q, &o->error);
  ql_qmat_destroy(q);
  return keep(o, status);
}

static int hessian(void *arg)
{
  other *o = arg;
  return keep(o, ql_stats_update(o->ctx, o->stats, &o->tx, HESSIAN_TOKENS, &o->error));
}

static int gptq(void *arg)
{
  other *o = arg;
  ql_gptq_config config = QL_GPTQ_CONFIG_INIT;
  ql_qmat *q = NULL;
  config.order = QL_GPTQ_ORDER_NATURAL;
  const ql_status status =
      ql_gptq_run(o->ctx, &o->tw, o->stats, &o->grid, &config, &q, NULL, &o->error);
  ql_qmat_destroy(q);
  return keep(o, status);
}

static ql_status make_stats(other *o, size_t k, size_t tokens)
{
  ql_stats_config config = QL_STATS_CONFIG_INIT;
  config.cols = k;
  ql_status status = ql_stats_create(o->ctx, &config, &o->stats, &o->error);
  for (size_t t = 0; status == QL_STATUS_OK && t < tokens; t += HESSIAN_TOKENS) {
    qbench_numbers(o->x, HESSIAN_TOKENS * k, 1.0f, t + 11);
    status = ql_stats_update(o->ctx, o->stats, &o->tx, HESSIAN_TOKENS, &o->error);
  }
  return status;
}

static qbench_row describe(const qbench_state *s, const char *op, qbench_shape shape,
                           size_t threads)
{
  qbench_row row = {.op = op, .m = 1, .n = shape.n, .k = shape.k, .cold = 1};
  row.act_dtype = "f32";
  row.compute = "f32";
  row.threads = s->result->threads[threads];
  row.roofs = &s->result->roofs[threads];
  row.joules = -1;
  row.core = QBENCH_LIMITS;
  row.core_factor = 1;
  row.memory = QBENCH_DRAM_COPY;
  snprintf(row.isa, sizeof row.isa, "%s", ql_ctx_isa_name(s->ctx[threads]));
  return row;
}

static int too_long(const qbench_config *c, double operations)
{
  return c->ops == NULL && operations > OPERATIONS_OF_ALL;
}

static int time_row(qbench_state *s, const qbench_row *like, other *o, int (*call)(void *))
{
  const qbench_work work = {call, o, s->config->seconds, s->config->stopped};
  qbench_row *row = qbench_add_row(s, like);
  if (row == NULL)
    return -1;
  row->cold = row->bytes > (double)s->result->llc_bytes;
  if (too_long(s->config, like->operations))
    snprintf(row->missing, sizeof row->missing,
             "minutes: left out of a run of all ops; --op %s has it", row->op);
  else if (o->status != QL_STATUS_OK || qbench_time(&work, row) != 0)
    snprintf(row->missing, sizeof row->missing, "%s: %.120s", ql_status_str(o->status),
             o->error.text);
  qbench_tell(s, row);
  o->status = QL_STATUS_OK;
  return s->config->stopped != NULL && s->config->stopped() ? -1 : 0;
}

static size_t group_of(const qbench_config *c, size_t k)
{
  const int64_t group = c->group != 0 ? c->group : 128;
  return group < 0 || (size_t)group >= k ? 0 : (size_t)group;
}

/* Codes, one byte each here, and scales are read; elements of dst are written. */
static int dequantize_rows(qbench_state *s, qbench_shape shape, size_t t, other *o)
{
  static const ql_dtype types[] = {QL_DTYPE_F16, QL_DTYPE_F32};
  static const qbench_op op = {.bits = 4, .kind = QL_GRID_SYM_CENTRED};
  const double count = (double)shape.n * (double)shape.k;
  const size_t group = group_of(s->config, shape.k);
  int code = 0;
  o->status = qbench_codes(s, &op, shape, group, &o->q, &o->error);
  for (size_t i = 0; code == 0 && i < 2; i++) {
    qbench_row row = describe(s, "dequantize", shape, t);
    row.group = group != 0 ? (int64_t)group : -1;
    row.act_dtype = i == 0 ? "f16" : "f32"; /* the type that is written */
    row.weight_bytes = count + 4 * count / (double)(group != 0 ? group : shape.k);
    row.bytes = row.weight_bytes + count * (i == 0 ? 2 : 4);
    snprintf(row.weights, sizeof row.weights, "int4 codes");
    ql_tensor_init_2d(&o->dst, o->out, types[i], shape.n, shape.k);
    code = time_row(s, &row, o, dequantize);
  }
  ql_qmat_destroy(o->q);
  o->q = NULL;
  return code;
}

static int quantize_row(qbench_state *s, qbench_shape shape, size_t t, other *o)
{
  const double count = (double)shape.n * (double)shape.k;
  qbench_row row = describe(s, "quantize", shape, t);
  row.group = o->grid.block_cols != 0 ? (int64_t)o->grid.block_cols : -1;
  row.weight_bytes = 4 * count;
  row.bytes = 5 * count;
  snprintf(row.weights, sizeof row.weights, "f32");
  return time_row(s, &row, o, quantize);
}

/* The operations of the triangle: m k (k + 1). */
static int hessian_row(qbench_state *s, qbench_shape shape, size_t t, other *o)
{
  const double k = (double)shape.k;
  qbench_row row = describe(s, "hessian", shape, t);
  row.m = HESSIAN_TOKENS;
  row.n = shape.k;
  row.operations = HESSIAN_TOKENS * k * (k + 1);
  row.bytes = HESSIAN_TOKENS * k * 4 + k * k * 8;
  row.core = QBENCH_FP32_FMA;
  if (!too_long(s->config, row.operations))
    o->status = make_stats(o, shape.k, 0);
  const int code = time_row(s, &row, o, hessian);
  ql_stats_destroy(o->stats);
  o->stats = NULL;
  return code;
}

/* From a ready Hessian, factorization included: n k^2 + k^3 / 3 operations. */
static int gptq_row(qbench_state *s, qbench_shape shape, size_t t, other *o)
{
  const double n = (double)shape.n, k = (double)shape.k;
  qbench_row row = describe(s, "gptq", shape, t);
  row.group = o->grid.block_cols != 0 ? (int64_t)o->grid.block_cols : -1;
  row.operations = n * k * k + k * k * k / 3;
  row.weight_bytes = 4 * n * k;
  row.bytes = row.weight_bytes + k * k * 8;
  row.core = QBENCH_FP32_FMA;
  snprintf(row.weights, sizeof row.weights, "f32");
  if (!too_long(s->config, row.operations))
    o->status = make_stats(o, shape.k, shape.k + HESSIAN_TOKENS);
  const int code = time_row(s, &row, o, gptq);
  ql_stats_destroy(o->stats);
  o->stats = NULL;
  return code;
}

static int rows(qbench_state *s, qbench_shape shape, size_t t, other *o)
{
  const char *ops = s->config->ops;
  const ql_grid_config grid = QL_GRID_CONFIG_INIT;
  o->grid = grid;
  o->grid.block_cols = group_of(s->config, shape.k);
  ql_tensor_init_2d(&o->tw, o->w, QL_DTYPE_F32, shape.n, shape.k);
  ql_tensor_init_2d(&o->tx, o->x, QL_DTYPE_F32, HESSIAN_TOKENS, shape.k);
  qbench_numbers(o->w, shape.n * shape.k, 0.02f, 5);
  qbench_numbers(o->x, HESSIAN_TOKENS * shape.k, 1.0f, 6);
  if (qbench_selected(ops, "dequantize") && dequantize_rows(s, shape, t, o) != 0)
    return -1;
  if (qbench_selected(ops, "quantize") && quantize_row(s, shape, t, o) != 0)
    return -1;
  if (qbench_selected(ops, "hessian") && hessian_row(s, shape, t, o) != 0)
    return -1;
  return qbench_selected(ops, "gptq") ? gptq_row(s, shape, t, o) : 0;
}

static int any_selected(const qbench_config *c)
{
  return c->ops == NULL
             ? !c->quick
             : qbench_selected(c->ops, "dequantize") || qbench_selected(c->ops, "quantize") ||
                   qbench_selected(c->ops, "hessian") || qbench_selected(c->ops, "gptq");
}

int qbench_others(qbench_state *s, qbench_shape shape)
{
  int code = 0;
  if (!any_selected(s->config))
    return 0;
  const ql_error no_error = QL_ERROR_INIT;
  other o = {.error = no_error};
  o.w = malloc(shape.n * shape.k * sizeof *o.w);
  o.out = malloc(shape.n * shape.k * sizeof(float));
  o.x = malloc((size_t)HESSIAN_TOKENS * shape.k * sizeof *o.x);
  if (o.w == NULL || o.out == NULL || o.x == NULL)
    code = qbench_fail(s->config, "no memory for %zu x %zu", shape.n, shape.k);
  for (size_t t = 0; code == 0 && t < s->result->thread_count; t++) {
    o.ctx = s->ctx[t];
    code = rows(s, shape, t, &o);
  }
  free(o.w);
  free(o.out);
  free(o.x);
  return code;
}
#else
const char qbench_other_names[] = "";

int qbench_others(qbench_state *s, qbench_shape shape)
{
  (void)s;
  (void)shape;
  return 0;
}
#endif
