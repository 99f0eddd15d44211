/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QUANTLIB_TENSOR_H
#define QUANTLIB_TENSOR_H

#include <quantlib/context.h>
#include <quantlib/status.h>
#include <quantlib/types.h>

QL_BEGIN_DECLS

/** A strided view of memory. Owns nothing; the memory must outlive the call that it is passed to.
 *  shape counts elements; stride counts bytes. For types below a byte the last axis is contiguous
 *  (its stride is ignored) and each row starts at a byte. Reserved members must be zero.
 *  @since 0.1 */
typedef struct ql_tensor {
  void *data;
  ql_dtype dtype;
  int32_t rank;              /**< 0 (one element) to QL_MAX_RANK */
  int32_t device;            /**< 0, the CPU; anything else is refused */
  int32_t reserved0;
  size_t shape[QL_MAX_RANK];
  ptrdiff_t stride[QL_MAX_RANK];
  uint64_t reserved[2];
} ql_tensor;

/** Fills *t as a contiguous row-major view. Fails with QL_STATUS_OVERFLOW when the byte size does
 *  not fit. Thread-safe. @since 0.1 */
QL_API ql_status ql_tensor_init(ql_tensor *t, void *data, ql_dtype dtype, int32_t rank,
                                const size_t *shape);

/** Contiguous rows x cols view; the common case of ql_tensor_init. @since 0.1 */
QL_API ql_status ql_tensor_init_2d(ql_tensor *t, void *data, ql_dtype dtype, size_t rows,
                                   size_t cols);

/** Bytes that a contiguous tensor of this type and shape takes. @since 0.1 */
QL_API ql_status ql_tensor_bytes(ql_dtype dtype, int32_t rank, const size_t *shape, size_t *bytes);

/** Checks that a tensor is well formed (known type, rank, CPU, reserved zero, sizes that do not
 *  overflow, data not NULL unless empty). @since 0.1 */
QL_API ql_status ql_tensor_check(const ql_tensor *t, ql_error *error);

/** Copies src to dst, converting between f64, f32, f16 and bf16 with one round-to-nearest-even, or
 *  byte for byte when the types are equal. Same shape required; any strides (of whole-byte types).
 *  The memory must not overlap. @since 0.1 */
QL_API ql_status ql_tensor_convert(const ql_ctx *ctx, const ql_tensor *src, const ql_tensor *dst,
                                   ql_error *error);

/** Finds the first NaN or Inf of a floating-point matrix (rank 1 or 2) in row-major order. Fails
 *  with QL_STATUS_NUMERIC and its position in *error, else QL_STATUS_OK. @since 0.1 */
QL_API ql_status ql_tensor_check_finite(const ql_ctx *ctx, const ql_tensor *t, ql_error *error);

QL_END_DECLS

#endif
