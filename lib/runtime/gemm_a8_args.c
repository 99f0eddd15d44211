/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "act_grid.h"
#include "checked.h"
#include "error.h"
#include "gemm_a8.h"
#include "parts.h"

#include <math.h>
#include <string.h>

static ql_status check_weights(const ql_ctx *ctx, const ql_packed *w, ql_error *error)
{
  const qlk_a8_unit *unit = &ctx->kernels.a8.unit[w->wtype];
  if (unit->gemm8 == NULL)
    return qli_fail(error, QL_STATUS_UNSUPPORTED,
                    "integer products need integer codes as weights; these are %d-bit%s",
                    (int)w->bits, w->dtype != QL_DTYPE_NONE ? " floating point" : "");
  if (w->weights.table != NULL && w->weights.numbers == NULL) {
    qli_fail(error, QL_STATUS_UNSUPPORTED,
             "integer products need codes that are numbers; these stand for levels of a table that "
             "are not whole numbers from -128 to 127 times a power of two, or not one table of 4 "
             "bits");
    qli_error_hint(error, "QL_COMPUTE_F32 serves every table");
    return QL_STATUS_UNSUPPORTED;
  }
  if (unit->layout_id != w->layout)
    return qli_fail(error, QL_STATUS_LAYOUT,
                    "the kernels of this context (%s) for integer products read layout 0x%x, not "
                    "0x%x",
                    ctx->isa_name, (unsigned)unit->layout_id, (unsigned)w->layout);
  return QL_STATUS_OK;
}

static ql_status check_zero_points(const ql_packed *w, bool asymmetric, ql_error *error)
{
  if (!asymmetric || w->weights.sums != NULL)
    return QL_STATUS_OK;
  return qli_fail(error, QL_STATUS_UNSUPPORTED,
                  "activations with a zero point meet weights of 5 to 8 bits with integer zero "
                  "points; these are %d-bit%s",
                  (int)w->bits,
                  w->weights.fzeros != NULL ? " with zero points of floating point" : "");
}

/* |q - z| is at most 127, or 254 with a zero point; |c - z| at most 2^(bits - 1) with the implied
 * zero point, else 2^bits, and |c| is less than that. All sums are modulo 2^32, so only the
 * corrected one has to fit. */
static ql_status check_overflow(const ql_packed *w, bool asymmetric, ql_error *error)
{
  const bool implied = w->weights.zeros == NULL && w->weights.fzeros == NULL;
  const int32_t width = w->wtype == QLK_W8 || w->weights.table != NULL ? 8
                        : w->wtype == QLK_W2                           ? 2
                                                                       : w->bits;
  const uint64_t code = (uint64_t)1 << (implied ? width - 1 : w->bits);
  const uint64_t term = (asymmetric ? 254 : 127) * code;
  uint32_t longest = 0;
  for (size_t g = 0; g < w->weights.groups; g++) {
    const uint32_t length = w->weights.ends[g] - (g > 0 ? w->weights.ends[g - 1] : 0);
    longest = length > longest ? length : longest;
  }
  if (longest <= INT32_MAX / term)
    return QL_STATUS_OK;
  qli_fail(error, QL_STATUS_UNSUPPORTED,
           "integer sums over groups of %u columns might not fit 32 bits: %u columns do",
           (unsigned)longest, (unsigned)(INT32_MAX / term));
  qli_error_hint(error, "quantize the weights in smaller groups");
  return QL_STATUS_UNSUPPORTED;
}

static ql_status check_integer_result(const ql_packed *w, const ql_gemm_options *o,
                                      const ql_act_config *act, ql_error *error)
{
  if (o->bias != NULL || act->threshold > 0)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "y of type I32 takes neither a bias nor a threshold");
  if (w->weights.fzeros != NULL || w->weights.table != NULL)
    return qli_fail(error, QL_STATUS_UNSUPPORTED,
                    "y of type I32 needs weights with integer zero points");
  if (w->parts != NULL && (w->parts->side != NULL || w->parts->lora_b != NULL))
    return qli_fail(error, QL_STATUS_UNSUPPORTED,
                    "y of type I32 cannot hold what side columns or a low-rank term add");
  if (w->weights.groups > 1)
    return qli_fail(error, QL_STATUS_UNSUPPORTED,
                    "y of type I32 needs weights with one scale per row, not %zu groups",
                    w->weights.groups);
  return QL_STATUS_OK;
}

static ql_status check_vector(const ql_tensor *t, const char *name, ql_dtype dtype, size_t rows,
                              ql_error *error)
{
  QLI_TRY(ql_tensor_check(t, error));
  if (t->dtype != dtype)
    return qli_fail(error, QL_STATUS_DTYPE, "%s is of type %s, not %s", name,
                    ql_dtype_name(t->dtype), ql_dtype_name(dtype));
  if (t->rank != 1 || t->shape[0] != rows)
    return qli_fail(error, QL_STATUS_SHAPE, "%s is not a vector of %zu elements", name, rows);
  return QL_STATUS_OK;
}

static ql_status fail_code(const ql_tensor *x, size_t i, const unsigned char *found,
                           ql_error *error)
{
  const unsigned char *row = (const unsigned char *)x->data + (ptrdiff_t)i * x->stride[0];
  qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
           "code -128 at row %zu, column %zu: codes are -127..127", i, (size_t)(found - row));
  qli_error_at(error, (int64_t)i, (int64_t)(found - row));
  return QL_STATUS_INVALID_ARGUMENT;
}

static float element_f32(const ql_tensor *t, size_t i, size_t j)
{
  float v;
  memcpy(&v,
         (const char *)t->data + (ptrdiff_t)i * t->stride[0] +
             (t->rank > 1 ? (ptrdiff_t)j * t->stride[1] : 0),
         sizeof v);
  return v;
}

static ql_status check_row_scales(const ql_tensor *scales, size_t i, ql_error *error)
{
  for (size_t j = 0; j < (scales->rank > 1 ? scales->shape[1] : 1); j++) {
    const float scale = element_f32(scales, i, j);
    if (scale > 0 && isfinite(scale))
      continue;
    qli_fail(error, QL_STATUS_NUMERIC, "x_scales[%zu] is %g, not a positive number", i,
             (double)scale);
    qli_error_at(error, (int64_t)i, scales->rank > 1 ? (int64_t)j : -1);
    return QL_STATUS_NUMERIC;
  }
  return QL_STATUS_OK;
}

static ql_status check_row(const ql_tensor *x, size_t i, const ql_gemm_options *o, ql_error *error)
{
  int32_t zero = 0;
  const unsigned char *row = (const unsigned char *)x->data + (ptrdiff_t)i * x->stride[0];
  const unsigned char *found = x->shape[1] > 0 ? memchr(row, 0x80, x->shape[1]) : NULL;
  if (found != NULL)
    return fail_code(x, i, found, error);
  QLI_TRY(check_row_scales(o->x_scales, i, error));
  if (o->x_zeros != NULL)
    memcpy(&zero, (const char *)o->x_zeros->data + (ptrdiff_t)i * o->x_zeros->stride[0],
           sizeof zero);
  if (zero < -127 || zero > 127) {
    qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "x_zeros[%zu] is %d, not in -127..127", i,
             (int)zero);
    qli_error_at(error, (int64_t)i, -1);
    return QL_STATUS_INVALID_ARGUMENT;
  }
  return QL_STATUS_OK;
}

/* One scale for each row, or for each row and group where packing keeps the columns' order. */
static ql_status check_scales(const ql_packed *w, const ql_tensor *scales, size_t m,
                              ql_error *error)
{
  if (scales->rank != 2)
    return check_vector(scales, "x_scales", QL_DTYPE_F32, m, error);
  QLI_TRY(ql_tensor_check(scales, error));
  if (scales->dtype != QL_DTYPE_F32)
    return qli_fail(error, QL_STATUS_DTYPE, "x_scales is of type %s, not F32",
                    ql_dtype_name(scales->dtype));
  if (scales->shape[0] != m || scales->shape[1] != w->weights.groups)
    return qli_fail(error, QL_STATUS_SHAPE, "x_scales is not a matrix of %zu x %zu", m,
                    w->weights.groups);
  if (w->permuted)
    return qli_fail(error, QL_STATUS_UNSUPPORTED,
                    "the groups of these weights are not runs of columns: one scale for each row");
  return QL_STATUS_OK;
}

static ql_status check_codes(const ql_packed *w, const ql_tensor *x, const ql_gemm_options *o,
                             ql_error *error)
{
  const size_t m = x->shape[0];
  if (o->act != NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "act says how to make codes; x has them");
  if (w->parts != NULL)
    return qli_fail(error, QL_STATUS_UNSUPPORTED,
                    "the weights have parts that change the activations: x has to be floating "
                    "point");
  if (o->x_scales == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "x_scales is NULL, but x is I8");
  QLI_TRY(check_scales(w, o->x_scales, m, error));
  if (o->x_zeros != NULL)
    QLI_TRY(check_vector(o->x_zeros, "x_zeros", QL_DTYPE_I32, m, error));
  for (size_t i = 0; i < m; i++)
    QLI_TRY(check_row(x, i, o, error));
  return QL_STATUS_OK;
}

static ql_status check_group(const ql_packed *w, const ql_act_config *act, ql_error *error)
{
  if (act->mode != QL_ACT_GROUP || act->group == 0 || act->group == w->group)
    return QL_STATUS_OK;
  return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                  "the activations have groups of %zu columns, the weights of %zu", act->group,
                  w->group);
}

/* Two digits: nothing to choose. */
static ql_status check_a16(const ql_packed *w, const ql_gemm_options *o, ql_error *error)
{
  if (o->act != NULL || o->x_scales != NULL || o->x_zeros != NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "act, x_scales and x_zeros belong to QL_COMPUTE_A8");
  return check_overflow(w, false, error);
}

ql_status qli_a8_check(const ql_ctx *ctx, const ql_packed *w, const ql_tensor *x,
                       const ql_tensor *y, const ql_gemm_options *o, ql_error *error)
{
  ql_act_config act;
  QLI_TRY(check_weights(ctx, w, error));
  if (o->compute == QL_COMPUTE_A16)
    return check_a16(w, o, error);
  QLI_TRY(qli_act_check(o->act, &act, error));
  if (x->dtype == QL_DTYPE_I8)
    QLI_TRY(check_codes(w, x, o, error));
  else if (o->x_scales != NULL || o->x_zeros != NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "x_scales and x_zeros belong to x of type I8, not %s", ql_dtype_name(x->dtype));
  if (y->dtype == QL_DTYPE_I32)
    QLI_TRY(check_integer_result(w, o, &act, error));
  QLI_TRY(check_group(w, &act, error));
  const bool asymmetric = x->dtype == QL_DTYPE_I8 ? o->x_zeros != NULL : act.asymmetric != 0;
  QLI_TRY(check_zero_points(w, asymmetric, error));
  return check_overflow(w, asymmetric, error);
}

const char *qli_a8_name(const ql_ctx *ctx, const ql_packed *w, ql_compute compute)
{
  const qlk_a8_unit *unit = &ctx->kernels.a8.unit[w->wtype];
  if (check_weights(ctx, w, NULL) != QL_STATUS_OK)
    return NULL;
  return compute == QL_COMPUTE_A16 ? unit->name16 : unit->name8;
}
