/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_RUNTIME_OPS_ARGS_H
#define QLI_RUNTIME_OPS_ARGS_H

#include <quantlib/tensor.h>

#include <stdbool.h>

/* Checks of the tensors that operations take: f32, of the given rank, columns contiguous, rows at
 * any stride of whole floats whose extent fits the address space. A tensor that is written must
 * not have rows that share memory. name is for the message. */
ql_status qli_ops_check(const ql_tensor *t, const char *name, int32_t rank, bool written,
                        ql_error *error);

/* Both have the same shape. */
ql_status qli_ops_same_shape(const ql_tensor *a, const char *a_name, const ql_tensor *b,
                             const char *b_name, ql_error *error);

/* Row i of a matrix. */
static inline float *qli_ops_row(const ql_tensor *t, size_t i)
{
  return (float *)(void *)((unsigned char *)t->data + (ptrdiff_t)i * t->stride[0]);
}

/* Row (i, j) of a tensor of rank 3. */
static inline float *qli_ops_row2(const ql_tensor *t, size_t i, size_t j)
{
  return (float *)(void *)((unsigned char *)t->data + (ptrdiff_t)i * t->stride[0] +
                           (ptrdiff_t)j * t->stride[1]);
}

#endif
