/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops_args.h"

#include "error.h"

enum { FLOAT_SIZE = 4 };

static ql_status check_kind(const ql_tensor *t, const char *name, int32_t rank, ql_error *error)
{
  if (t == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "%s is NULL", name);
  const ql_status status = ql_tensor_check(t, error);
  if (status != QL_STATUS_OK) {
    qli_error_tensor(error, name);
    return status;
  }
  if (t->dtype != QL_DTYPE_F32)
    return qli_fail(error, QL_STATUS_DTYPE, "%s is %s, not F32", name, ql_dtype_name(t->dtype));
  if (t->rank != rank)
    return qli_fail(error, QL_STATUS_SHAPE, "%s has rank %d, not %d", name, (int)t->rank,
                    (int)rank);
  return QL_STATUS_OK;
}

static ql_status check_strides(const ql_tensor *t, const char *name, ql_error *error)
{
  const int32_t last = t->rank - 1;
  if (t->shape[last] > 1 && t->stride[last] != FLOAT_SIZE)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "the columns of %s lie %td bytes apart: they must be contiguous", name,
                    t->stride[last]);
  if ((uintptr_t)t->data % FLOAT_SIZE != 0)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "%s does not start at a multiple of %d bytes", name, FLOAT_SIZE);
  for (int32_t axis = 0; axis < last; axis++)
    if (t->shape[axis] > 1 && t->stride[axis] % FLOAT_SIZE != 0)
      return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                      "stride %td of %s along axis %d is no multiple of %d bytes", t->stride[axis],
                      name, (int)axis, FLOAT_SIZE);
  return QL_STATUS_OK;
}

/* Bytes from the first to past the last element along the axes, in *extent; the axis with the
 * smaller step comes first. With disjoint set, each step must reach over all that is inside it. */
static ql_status check_extent(const ql_tensor *t, const char *name, bool disjoint, ql_error *error)
{
  ptrdiff_t extent = (ptrdiff_t)(t->shape[t->rank - 1] * FLOAT_SIZE);
  int32_t order[2] = {t->rank - 2, 0};
  if (t->rank == 3 && t->shape[0] > 1 && t->shape[1] > 1) {
    const ptrdiff_t outer = t->stride[0], inner = t->stride[1];
    if ((outer < 0 ? -outer : outer) < (inner < 0 ? -inner : inner)) {
      order[0] = 0;
      order[1] = 1;
    }
  }
  for (int32_t i = 0; i + 1 < t->rank; i++) {
    const size_t count = t->shape[order[i]];
    const ptrdiff_t stride = t->stride[order[i]];
    ptrdiff_t reach;
    if (count < 2)
      continue;
    if (count > PTRDIFF_MAX || stride == PTRDIFF_MIN ||
        __builtin_mul_overflow((ptrdiff_t)(count - 1), stride < 0 ? -stride : stride, &reach) ||
        __builtin_add_overflow(reach, extent, &reach))
      return qli_fail(error, QL_STATUS_OVERFLOW, "%zu steps of %td bytes in %s overflow", count,
                      stride, name);
    if (disjoint && (stride < 0 ? -stride : stride) < extent)
      return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                      "rows of %s, which is written, share memory: stride %td along axis %d", name,
                      stride, (int)order[i]);
    extent = reach;
  }
  return QL_STATUS_OK;
}

static bool is_empty(const ql_tensor *t)
{
  for (int32_t i = 0; i < t->rank; i++)
    if (t->shape[i] == 0)
      return true;
  return false;
}

ql_status qli_ops_check(const ql_tensor *t, const char *name, int32_t rank, bool written,
                        ql_error *error)
{
  QLI_TRY(check_kind(t, name, rank, error));
  if (is_empty(t) || rank == 0)
    return QL_STATUS_OK;
  QLI_TRY(check_strides(t, name, error));
  return check_extent(t, name, written, error);
}

ql_status qli_ops_same_shape(const ql_tensor *a, const char *a_name, const ql_tensor *b,
                             const char *b_name, ql_error *error)
{
  for (int32_t i = 0; i < a->rank; i++)
    if (a->shape[i] != b->shape[i])
      return qli_fail(error, QL_STATUS_SHAPE, "%s has %zu elements along axis %d, %s has %zu",
                      a_name, a->shape[i], (int)i, b_name, b->shape[i]);
  return QL_STATUS_OK;
}
