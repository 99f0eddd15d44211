/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "checked.h"
#include "ctx.h"
#include "error.h"
#include "half.h"
#include "tensor_rows.h"

#include <math.h>
#include <string.h>

static ql_status row_bytes(ql_dtype dtype, size_t last, size_t *bytes)
{
  const uint32_t bits = ql_dtype_bits(dtype);
  size_t total;
  if (bits == 0)
    return QL_STATUS_DTYPE;
  if (!qli_mul_size(last, bits, &total) || !qli_add_size(total, 7, &total))
    return QL_STATUS_OVERFLOW;
  *bytes = total / 8;
  return QL_STATUS_OK;
}

ql_status ql_tensor_bytes(ql_dtype dtype, int32_t rank, const size_t *shape, size_t *bytes)
{
  if (rank < 0 || rank > QL_MAX_RANK || (rank > 0 && shape == NULL) || bytes == NULL)
    return QL_STATUS_INVALID_ARGUMENT;
  size_t total;
  QLI_TRY(row_bytes(dtype, rank ? shape[rank - 1] : 1, &total));
  /* From the inside out, so that an outer 0 cannot hide an overflow of the strides. */
  for (int32_t i = rank - 2; i >= 0; i--)
    if (!qli_mul_size(total, shape[i], &total))
      return QL_STATUS_OVERFLOW;
  if (total > PTRDIFF_MAX)
    return QL_STATUS_OVERFLOW;
  *bytes = total;
  return QL_STATUS_OK;
}

ql_status ql_tensor_init(ql_tensor *t, void *data, ql_dtype dtype, int32_t rank,
                         const size_t *shape)
{
  size_t bytes;
  if (t == NULL)
    return QL_STATUS_INVALID_ARGUMENT;
  QLI_TRY(ql_tensor_bytes(dtype, rank, shape, &bytes));
  memset(t, 0, sizeof *t);
  t->data = data;
  t->dtype = dtype;
  t->rank = rank;
  size_t step = ql_dtype_bits(dtype) / 8;
  for (int32_t i = rank - 1; i >= 0; i--) {
    t->shape[i] = shape[i];
    t->stride[i] = (ptrdiff_t)step;
    if (i == rank - 1)
      QLI_TRY(row_bytes(dtype, shape[i], &step));
    else if (!qli_mul_size(step, shape[i], &step) || step > PTRDIFF_MAX)
      return QL_STATUS_OVERFLOW;
  }
  return QL_STATUS_OK;
}

ql_status ql_tensor_init_2d(ql_tensor *t, void *data, ql_dtype dtype, size_t rows, size_t cols)
{
  const size_t shape[2] = {rows, cols};
  return ql_tensor_init(t, data, dtype, 2, shape);
}

ql_status ql_tensor_check(const ql_tensor *t, ql_error *error)
{
  size_t bytes;
  if (t == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "a tensor is NULL");
  if (t->rank < 0 || t->rank > QL_MAX_RANK)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "rank %d is not in 0..%d", (int)t->rank,
                    QL_MAX_RANK);
  if (t->device != 0)
    return qli_fail(error, QL_STATUS_UNSUPPORTED, "device %d: only the CPU (0) is known",
                    (int)t->device);
  if (t->reserved0 != 0 || t->reserved[0] != 0 || t->reserved[1] != 0)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "reserved members of a tensor are not zero");
  const ql_status status = ql_tensor_bytes(t->dtype, t->rank, t->shape, &bytes);
  if (status == QL_STATUS_DTYPE)
    return qli_fail(error, status, "unknown element type %d", (int)t->dtype);
  if (status != QL_STATUS_OK)
    return qli_fail(error, status, "the byte size of a tensor overflows");
  if (bytes != 0 && t->data == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "the data of a tensor is NULL");
  return QL_STATUS_OK;
}

void qli_row_to_f32(ql_dtype dtype, const void *src, ptrdiff_t stride, size_t n, float *dst)
{
  const unsigned char *p = src;
  for (size_t i = 0; i < n; i++, p += stride) {
    uint16_t h;
    double d;
    switch (dtype) {
    case QL_DTYPE_F32: memcpy(&dst[i], p, sizeof dst[i]); break;
    case QL_DTYPE_F16:
      memcpy(&h, p, sizeof h);
      dst[i] = qli_f16_to_f32(h);
      break;
    case QL_DTYPE_BF16:
      memcpy(&h, p, sizeof h);
      dst[i] = qli_bf16_to_f32(h);
      break;
    default:
      memcpy(&d, p, sizeof d);
      dst[i] = (float)d;
      break;
    }
  }
}

void qli_row_from_f32(ql_dtype dtype, const float *src, size_t n, void *dst, ptrdiff_t stride)
{
  unsigned char *p = dst;
  for (size_t i = 0; i < n; i++, p += stride) {
    uint16_t h;
    double d;
    switch (dtype) {
    case QL_DTYPE_F32: memcpy(p, &src[i], sizeof src[i]); break;
    case QL_DTYPE_F16:
      h = qli_f32_to_f16(src[i]);
      memcpy(p, &h, sizeof h);
      break;
    case QL_DTYPE_BF16:
      h = qli_f32_to_bf16(src[i]);
      memcpy(p, &h, sizeof h);
      break;
    default:
      d = src[i];
      memcpy(p, &d, sizeof d);
      break;
    }
  }
}

int qli_dtype_is_float(ql_dtype dtype)
{
  return dtype == QL_DTYPE_F32 || dtype == QL_DTYPE_F16 || dtype == QL_DTYPE_BF16 ||
         dtype == QL_DTYPE_F64;
}

/* Walks all rows (the last axis) of a tensor; index is the row's number in row-major order. */
static size_t row_offset(const ql_tensor *t, size_t index)
{
  ptrdiff_t offset = 0;
  for (int32_t axis = t->rank - 2; axis >= 0; axis--) {
    offset += (ptrdiff_t)(index % t->shape[axis]) * t->stride[axis];
    index /= t->shape[axis];
  }
  return (size_t)offset;
}

static size_t row_count(const ql_tensor *t)
{
  size_t rows = 1;
  for (int32_t axis = 0; axis + 1 < t->rank; axis++)
    rows *= t->shape[axis];
  return rows;
}

static void convert_row(const ql_tensor *src, const void *from, const ql_tensor *dst, void *to)
{
  enum { CHUNK = 256 };
  float buffer[CHUNK];
  const size_t n = src->rank ? src->shape[src->rank - 1] : 1;
  const ptrdiff_t in = src->rank ? src->stride[src->rank - 1] : 0;
  const ptrdiff_t out = dst->rank ? dst->stride[dst->rank - 1] : 0;
  if (src->dtype == dst->dtype) {
    const size_t size = ql_dtype_bits(src->dtype) / 8;
    if (size == 0 || (in == (ptrdiff_t)size && out == (ptrdiff_t)size)) {
      memcpy(to, from, (n * ql_dtype_bits(src->dtype) + 7) / 8);
      return;
    }
    for (size_t i = 0; i < n; i++)
      memcpy((unsigned char *)to + (ptrdiff_t)i * out,
             (const unsigned char *)from + (ptrdiff_t)i * in, size);
    return;
  }
  for (size_t i = 0; i < n; i += CHUNK) {
    const size_t part = qli_min_size(CHUNK, n - i);
    qli_row_to_f32(src->dtype, (const unsigned char *)from + (ptrdiff_t)i * in, in, part, buffer);
    qli_row_from_f32(dst->dtype, buffer, part, (unsigned char *)to + (ptrdiff_t)i * out, out);
  }
}

static ql_status check_pair(const ql_tensor *src, const ql_tensor *dst, ql_error *error)
{
  QLI_TRY(ql_tensor_check(src, error));
  QLI_TRY(ql_tensor_check(dst, error));
  if (src->rank != dst->rank ||
      memcmp(src->shape, dst->shape, (size_t)src->rank * sizeof src->shape[0]) != 0)
    return qli_fail(error, QL_STATUS_SHAPE, "the shapes of source and destination differ");
  if (src->dtype == dst->dtype)
    return QL_STATUS_OK;
  if (!qli_dtype_is_float(src->dtype) || !qli_dtype_is_float(dst->dtype))
    return qli_fail(error, QL_STATUS_DTYPE, "no conversion from %s to %s",
                    ql_dtype_name(src->dtype), ql_dtype_name(dst->dtype));
  /* f64 goes through f32, which is one rounding only when the target is f32. */
  if (src->dtype == QL_DTYPE_F64 && dst->dtype != QL_DTYPE_F32)
    return qli_fail(error, QL_STATUS_DTYPE, "F64 converts to F32 only");
  return QL_STATUS_OK;
}

ql_status ql_tensor_convert(const ql_ctx *ctx, const ql_tensor *src, const ql_tensor *dst,
                            ql_error *error)
{
  (void)ctx;
  QLI_TRY(check_pair(src, dst, error));
  const size_t rows = row_count(src);
  for (size_t r = 0; r < rows; r++)
    convert_row(src, (const unsigned char *)src->data + row_offset(src, r), dst,
                (unsigned char *)dst->data + row_offset(dst, r));
  return QL_STATUS_OK;
}

ql_status ql_tensor_check_finite(const ql_ctx *ctx, const ql_tensor *t, ql_error *error)
{
  enum { CHUNK = 256 };
  float buffer[CHUNK];
  (void)ctx;
  QLI_TRY(ql_tensor_check(t, error));
  if (!qli_dtype_is_float(t->dtype) || t->rank < 1 || t->rank > 2)
    return qli_fail(error, QL_STATUS_DTYPE, "a floating-point vector or matrix is needed, not %s",
                    ql_dtype_name(t->dtype));
  const size_t rows = row_count(t), cols = t->shape[t->rank - 1];
  for (size_t r = 0; r < rows; r++) {
    const unsigned char *row = (const unsigned char *)t->data + row_offset(t, r);
    for (size_t c = 0; c < cols; c += CHUNK) {
      const size_t n = qli_min_size(CHUNK, cols - c);
      qli_row_to_f32(t->dtype, row + (ptrdiff_t)c * t->stride[t->rank - 1], t->stride[t->rank - 1],
                     n, buffer);
      for (size_t i = 0; i < n; i++)
        if (!isfinite(buffer[i])) {
          qli_fail(error, QL_STATUS_NUMERIC, "%s at row %zu, column %zu",
                   isnan(buffer[i]) ? "NaN" : "Inf", r, c + i);
          qli_error_at(error, (int64_t)r, (int64_t)(c + i));
          return QL_STATUS_NUMERIC;
        }
    }
  }
  return QL_STATUS_OK;
}
