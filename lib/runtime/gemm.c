/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "packed.h"

#include "checked.h"
#include "error.h"
#include "fpenv.h"
#include "gemm_a8.h"
#include "parts.h"
#include "tensor_rows.h"

#include <string.h>

typedef struct {
  size_t x_bytes, part_bytes, worker_bytes, total;
} scratch_plan;

static bool plan_scratch(const ql_ctx *ctx, const ql_packed *w, size_t m, scratch_plan *p)
{
  const size_t rows = qli_min_size(m, QLI_GEMM_SLAB);
  size_t all;
  p->worker_bytes = qli_gemm_worker_bytes(w, m);
  return qli_mul_size(qli_gemm_row_elements(w), rows * sizeof(float), &p->x_bytes) &&
         qli_parts_scratch(ctx, w, rows, &p->part_bytes) &&
         qli_mul_size(p->worker_bytes, ctx->executor.max_workers, &all) &&
         qli_add_size(p->x_bytes, p->part_bytes, &p->total) &&
         qli_add_size(p->total, all, &p->total) && p->total <= PTRDIFF_MAX;
}

bool qli_gemm_scratch_bytes(const ql_ctx *ctx, const ql_packed *w, size_t m, size_t *bytes)
{
  scratch_plan plan;
  const bool fits = plan_scratch(ctx, w, m, &plan);
  *bytes = fits ? plan.total : 0;
  return fits;
}

static bool is_activation_type(ql_dtype dtype)
{
  return dtype == QL_DTYPE_F32 || dtype == QL_DTYPE_F16 || dtype == QL_DTYPE_BF16;
}

/* extra: a type that is fine beside the floating-point ones, or QL_DTYPE_NONE. */
static ql_status check_matrix(const ql_tensor *t, const char *name, size_t columns, ql_dtype extra,
                              ql_error *error)
{
  QLI_TRY(ql_tensor_check(t, error));
  if (!is_activation_type(t->dtype) && (extra == QL_DTYPE_NONE || t->dtype != extra))
    return qli_fail(error, QL_STATUS_DTYPE, "%s is of type %s: F32, F16%s%s are known", name,
                    ql_dtype_name(t->dtype), extra != QL_DTYPE_NONE ? ", BF16 and " : " and BF16",
                    extra != QL_DTYPE_NONE ? ql_dtype_name(extra) : "");
  if (t->rank != 2 || t->shape[1] != columns)
    return qli_fail(error, QL_STATUS_SHAPE, "%s has rank %d and %zu columns, [m, %zu] is needed",
                    name, (int)t->rank, t->rank > 0 ? t->shape[t->rank - 1] : 0, columns);
  if (columns > 1 && t->stride[1] != (ptrdiff_t)(ql_dtype_bits(t->dtype) / 8))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "the columns of %s are not contiguous",
                    name);
  return QL_STATUS_OK;
}

static ql_status check_options(const ql_gemm_options *o, size_t n, ql_error *error)
{
  if (o->compute < QL_COMPUTE_F32 || o->compute > QL_COMPUTE_A8)
    return qli_fail(error, QL_STATUS_UNSUPPORTED, "compute %d is not known", (int)o->compute);
  if (o->reserved != 0)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "a reserved option is not zero");
  if (o->compute != QL_COMPUTE_A8 && (o->act != NULL || o->x_scales != NULL || o->x_zeros != NULL))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "act, x_scales and x_zeros belong to QL_COMPUTE_A8");
  if (o->bias == NULL)
    return QL_STATUS_OK;
  QLI_TRY(ql_tensor_check(o->bias, error));
  if (!is_activation_type(o->bias->dtype))
    return qli_fail(error, QL_STATUS_DTYPE, "the bias is of type %s: F32, F16 and BF16 are known",
                    ql_dtype_name(o->bias->dtype));
  if (o->bias->rank != 1 || o->bias->shape[0] != n)
    return qli_fail(error, QL_STATUS_SHAPE, "the bias is not a vector of %zu elements", n);
  return QL_STATUS_OK;
}

static ql_status copy_options(const ql_gemm_options *options, ql_gemm_options *o, ql_error *error)
{
  *o = (ql_gemm_options)QL_GEMM_OPTIONS_INIT;
  if (options != NULL && !qli_config_copy(o, sizeof *o, sizeof *o, options))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "ql_gemm_options.struct_size is %zu, not that of QL_GEMM_OPTIONS_INIT",
                    options->struct_size);
  return QL_STATUS_OK;
}

static ql_status check_layout(const ql_ctx *ctx, const ql_packed *w, ql_error *error)
{
  const qlk_gemm_unit *unit = qli_packed_unit(ctx, w);
  if (unit->layout_id == w->layout)
    return QL_STATUS_OK;
  qli_fail(error, QL_STATUS_LAYOUT,
           "the weights are packed in layout 0x%x, the kernels of this context (%s) need 0x%x",
           (unsigned)w->layout, ctx->isa_name, (unsigned)unit->layout_id);
  qli_error_hint(error, "pack the weights with a context of the same ISA");
  return QL_STATUS_LAYOUT;
}

static ql_status check_arguments(const ql_ctx *ctx, const ql_packed *w, const ql_tensor *x,
                                 const ql_tensor *y, const ql_gemm_options *o, ql_error *error)
{
  QLI_TRY(check_layout(ctx, w, error));
  const bool a8 = o->compute == QL_COMPUTE_A8;
  QLI_TRY(check_matrix(x, "x", w->k, a8 ? QL_DTYPE_I8 : QL_DTYPE_NONE, error));
  QLI_TRY(check_matrix(y, "y", w->n, a8 ? QL_DTYPE_I32 : QL_DTYPE_NONE, error));
  if (x->shape[0] != y->shape[0])
    return qli_fail(error, QL_STATUS_SHAPE, "x has %zu rows, y has %zu", x->shape[0], y->shape[0]);
  QLI_TRY(check_options(o, w->n, error));
  return o->compute != QL_COMPUTE_F32 ? qli_a8_check(ctx, w, x, y, o, error) : QL_STATUS_OK;
}

ql_status qli_gemm_scratch(const ql_ctx *ctx, const ql_gemm_options *o, size_t bytes,
                           unsigned char **scratch, void **owned, ql_error *error)
{
  *owned = NULL;
  if (o->workspace != NULL) {
    if (o->workspace_bytes < bytes || (uintptr_t)o->workspace % 64 != 0)
      return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                      "the workspace has %zu bytes, %zu bytes aligned to 64 are needed",
                      o->workspace_bytes, bytes);
    *scratch = o->workspace;
    return QL_STATUS_OK;
  }
  *owned = qli_alloc(ctx, 1, bytes);
  *scratch = *owned;
  if (*owned == NULL)
    return qli_fail(error, QL_STATUS_NO_MEMORY, "no memory for %zu bytes of scratch", bytes);
  return QL_STATUS_OK;
}

ql_status qli_gemm_multiply(const ql_ctx *ctx, const ql_packed *w, const ql_tensor *x,
                            const ql_tensor *y, const ql_gemm_options *o, ql_error *error)
{
  ql_status status = QL_STATUS_OK;
  const size_t m = x->shape[0];
  scratch_plan plan;
  unsigned char *scratch;
  void *owned;
  if (!plan_scratch(ctx, w, m, &plan))
    return qli_fail(error, QL_STATUS_OVERFLOW, "no scratch can be as large as %zu rows need", m);
  QLI_TRY(qli_gemm_scratch(ctx, o, plan.total, &scratch, &owned, error));
  qli_gemm_job job = {.ctx = ctx,
                      .w = w,
                      .unit = qli_packed_unit(ctx, w),
                      .y = y,
                      .bias = o->bias,
                      .worker_scratch = scratch + plan.x_bytes + plan.part_bytes,
                      .worker_bytes = plan.worker_bytes};
  for (size_t row = 0; row < m && status == QL_STATUS_OK; row += QLI_GEMM_SLAB) {
    job.first_row = row;
    job.rows = qli_min_size(QLI_GEMM_SLAB, m - row);
    qli_gemm_take(&job, x, false, (float *)(void *)scratch);
    status = qli_parts_take(&job, x, scratch + plan.x_bytes, error);
    if (status == QL_STATUS_OK)
      qli_gemm_run(&job);
  }
  qli_free(ctx, owned);
  return status;
}

ql_status ql_gemm(const ql_ctx *ctx, const ql_packed *w, const ql_tensor *x, const ql_tensor *y,
                  const ql_gemm_options *options, ql_error *error)
{
  ql_gemm_options o;
  if (ctx == NULL || w == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "ctx or w is NULL");
  QLI_TRY(copy_options(options, &o, error));
  QLI_TRY(check_arguments(ctx, w, x, y, &o, error));
  if (x->shape[0] == 0 || w->n == 0)
    return QL_STATUS_OK;
  const qli_fpenv saved = qli_fpenv_enter();
  const ql_status status = o.compute != QL_COMPUTE_F32 ? qli_a8_multiply(ctx, w, x, y, &o, error)
                                                       : qli_gemm_multiply(ctx, w, x, y, &o, error);
  qli_fpenv_leave(saved);
  return status;
}

static ql_status gemm_of_bits(int32_t bits, const ql_ctx *ctx, const ql_packed *w,
                              const ql_tensor *x, const ql_tensor *y,
                              const ql_gemm_options *options, ql_error *error)
{
  if (w != NULL && (w->dtype != QL_DTYPE_NONE || w->bits != bits))
    return qli_fail(error, QL_STATUS_DTYPE, "the weights have %d bits%s, not %d-bit codes",
                    (int)w->bits, w->dtype != QL_DTYPE_NONE ? " floating point" : "", (int)bits);
  return ql_gemm(ctx, w, x, y, options, error);
}

ql_status ql_gemm_w2a16(const ql_ctx *ctx, const ql_packed *w, const ql_tensor *x,
                        const ql_tensor *y, const ql_gemm_options *options, ql_error *error)
{
  return gemm_of_bits(2, ctx, w, x, y, options, error);
}

ql_status ql_gemm_w3a16(const ql_ctx *ctx, const ql_packed *w, const ql_tensor *x,
                        const ql_tensor *y, const ql_gemm_options *options, ql_error *error)
{
  return gemm_of_bits(3, ctx, w, x, y, options, error);
}

ql_status ql_gemm_w4a16(const ql_ctx *ctx, const ql_packed *w, const ql_tensor *x,
                        const ql_tensor *y, const ql_gemm_options *options, ql_error *error)
{
  return gemm_of_bits(4, ctx, w, x, y, options, error);
}

ql_status ql_gemm_w5a16(const ql_ctx *ctx, const ql_packed *w, const ql_tensor *x,
                        const ql_tensor *y, const ql_gemm_options *options, ql_error *error)
{
  return gemm_of_bits(5, ctx, w, x, y, options, error);
}

ql_status ql_gemm_w6a16(const ql_ctx *ctx, const ql_packed *w, const ql_tensor *x,
                        const ql_tensor *y, const ql_gemm_options *options, ql_error *error)
{
  return gemm_of_bits(6, ctx, w, x, y, options, error);
}

ql_status ql_gemm_w8a16(const ql_ctx *ctx, const ql_packed *w, const ql_tensor *x,
                        const ql_tensor *y, const ql_gemm_options *options, ql_error *error)
{
  return gemm_of_bits(8, ctx, w, x, y, options, error);
}

static ql_status gemm_a8(int32_t bits, const ql_ctx *ctx, const ql_packed *w, const ql_tensor *x,
                         const ql_tensor *y, const ql_gemm_options *options, ql_error *error)
{
  ql_gemm_options o;
  QLI_TRY(copy_options(options, &o, error));
  o.compute = QL_COMPUTE_A8;
  return gemm_of_bits(bits, ctx, w, x, y, &o, error);
}

ql_status ql_gemm_w2a8(const ql_ctx *ctx, const ql_packed *w, const ql_tensor *x,
                       const ql_tensor *y, const ql_gemm_options *options, ql_error *error)
{
  return gemm_a8(2, ctx, w, x, y, options, error);
}

ql_status ql_gemm_w3a8(const ql_ctx *ctx, const ql_packed *w, const ql_tensor *x,
                       const ql_tensor *y, const ql_gemm_options *options, ql_error *error)
{
  return gemm_a8(3, ctx, w, x, y, options, error);
}

ql_status ql_gemm_w4a8(const ql_ctx *ctx, const ql_packed *w, const ql_tensor *x,
                       const ql_tensor *y, const ql_gemm_options *options, ql_error *error)
{
  return gemm_a8(4, ctx, w, x, y, options, error);
}

ql_status ql_gemm_w8a8(const ql_ctx *ctx, const ql_packed *w, const ql_tensor *x,
                       const ql_tensor *y, const ql_gemm_options *options, ql_error *error)
{
  return gemm_a8(8, ctx, w, x, y, options, error);
}

ql_status ql_gemm_workspace(const ql_ctx *ctx, const ql_packed *w, size_t m,
                            const ql_gemm_options *options, size_t *bytes)
{
  ql_gemm_options o;
  scratch_plan plan;
  if (ctx == NULL || w == NULL || bytes == NULL)
    return QL_STATUS_INVALID_ARGUMENT;
  QLI_TRY(copy_options(options, &o, NULL));
  QLI_TRY(check_layout(ctx, w, NULL));
  if (o.compute != QL_COMPUTE_F32)
    return qli_a8_workspace(ctx, w, m, &o, bytes);
  if (!plan_scratch(ctx, w, m, &plan))
    return QL_STATUS_OVERFLOW;
  *bytes = plan.total;
  return QL_STATUS_OK;
}

const char *ql_gemm_query(const ql_ctx *ctx, const ql_packed *w, size_t m,
                          const ql_gemm_options *options)
{
  ql_gemm_options o;
  if (ctx == NULL || w == NULL || copy_options(options, &o, NULL) != QL_STATUS_OK ||
      check_layout(ctx, w, NULL) != QL_STATUS_OK)
    return NULL;
  if (o.compute != QL_COMPUTE_F32)
    return qli_a8_name(ctx, w, o.compute);
  const qlk_gemm_unit *unit = qli_packed_unit(ctx, w);
  if (qli_reproducible(ctx))
    return unit->ordered_name;
  if (m == 1)
    return unit->gemv_name;
  return unit->few != NULL && m <= unit->few_limit ? unit->few_name : unit->gemm_name;
}
