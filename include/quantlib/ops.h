/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QUANTLIB_OPS_H
#define QUANTLIB_OPS_H

/* What a decoder needs beside its matrix products. f32, rows at any stride, columns contiguous.
 * All of these give the same bits on every ISA (the ordered class of doc/numerics.md). */

#include <quantlib/context.h>
#include <quantlib/tensor.h>

QL_BEGIN_DECLS

/** y[i] = x[i] / sqrt(mean(x[i]^2) + eps) * weight: x and y [m, n] (y may be x), weight [n].
 *  @since 0.1 */
QL_API ql_status ql_rms_norm(const ql_ctx *ctx, const ql_tensor *x, const ql_tensor *weight,
                             float eps, const ql_tensor *y, ql_error *error);

/** Rotary position embedding in place, halves rotated against each other: x [m, heads, dim],
 *  cosines and sines [m, dim / 2] (already scaled, where the variant scales attention).
 *  x[j], x[j + dim/2] -> x[j] c - x[j + dim/2] s, x[j + dim/2] c + x[j] s. @since 0.1 */
QL_API ql_status ql_rope(const ql_ctx *ctx, const ql_tensor *x, const ql_tensor *cosines,
                         const ql_tensor *sines, ql_error *error);

/** y = gate / (1 + exp(-gate)) * up, all [m, n]; y may be gate or up. @since 0.1 */
QL_API ql_status ql_silu_mul(const ql_ctx *ctx, const ql_tensor *gate, const ql_tensor *up,
                             const ql_tensor *y, ql_error *error);

/** y += x, both [m, n]. @since 0.1 */
QL_API ql_status ql_add(const ql_ctx *ctx, const ql_tensor *x, const ql_tensor *y,
                        ql_error *error);

/** y = softmax(x) over each row of [m, n]; y may be x. @since 0.1 */
QL_API ql_status ql_softmax(const ql_ctx *ctx, const ql_tensor *x, const ql_tensor *y,
                            ql_error *error);

/** y = log(softmax(x)) over each row of [m, n]; y may be x. @since 0.1 */
QL_API ql_status ql_log_softmax(const ql_ctx *ctx, const ql_tensor *x, const ql_tensor *y,
                                ql_error *error);

QL_END_DECLS

#endif
