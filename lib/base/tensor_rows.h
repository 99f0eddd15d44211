/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_BASE_TENSOR_ROWS_H
#define QLI_BASE_TENSOR_ROWS_H

#include <quantlib/tensor.h>

/* n elements at any byte stride and alignment, to and from f32. dtype: F32, F16, BF16 or F64. */
void qli_row_to_f32(ql_dtype dtype, const void *src, ptrdiff_t stride, size_t n, float *dst);
void qli_row_from_f32(ql_dtype dtype, const float *src, size_t n, void *dst, ptrdiff_t stride);

int qli_dtype_is_float(ql_dtype dtype);

#endif
