/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QUANTLIB_OPS_H
#define QUANTLIB_OPS_H

/* What a decoder needs beside its matrix products. f32; columns contiguous; rows at any stride of
 * whole floats, backwards or 0 included, but what is written must not have rows that share memory.
 * Where an output may be an input it has to be the same view; other overlaps give garbage.
 * All of these give the same bits on every ISA, for any number of threads and any way of cutting
 * rows into calls (the ordered class of doc/numerics.md); NaN in a row stays NaN, with any payload.
 * Thread-safe. Errors: QL_STATUS_DTYPE, QL_STATUS_SHAPE, QL_STATUS_INVALID_ARGUMENT (NULL, strides,
 * eps), QL_STATUS_OVERFLOW; nothing is written then. Matrices without elements are fine. */

#include <quantlib/context.h>
#include <quantlib/tensor.h>

QL_BEGIN_DECLS

/** y[i] = x[i] / sqrt(mean(x[i]^2) + eps) * weight: x and y [m, n] (y may be x), weight [n],
 *  eps >= 0. Source: Zhang and Sennrich 2019, "Root Mean Square Layer Normalization". @since 0.1 */
QL_API ql_status ql_rms_norm(const ql_ctx *ctx, const ql_tensor *x, const ql_tensor *weight,
                             float eps, const ql_tensor *y, ql_error *error);

/** Rotary position embedding in place, halves rotated against each other: x [m, heads, dim],
 *  cosines and sines [m, dim / 2] (already scaled, where the variant scales attention).
 *  x[j], x[j + dim/2] -> x[j] c - x[j + dim/2] s, x[j + dim/2] c + x[j] s. Source: Su et al. 2021,
 *  "RoFormer", in the arrangement of the Llama checkpoints in the Hugging Face format.
 *  @since 0.1 */
QL_API ql_status ql_rope(const ql_ctx *ctx, const ql_tensor *x, const ql_tensor *cosines,
                         const ql_tensor *sines, ql_error *error);

/** y = gate / (1 + exp(-gate)) * up, all [m, n]; y may be gate or up. gate below -89 gives a zero;
 *  gate = -Inf gives NaN. Source: Shazeer 2020, "GLU Variants Improve Transformer". @since 0.1 */
QL_API ql_status ql_silu_mul(const ql_ctx *ctx, const ql_tensor *gate, const ql_tensor *up,
                             const ql_tensor *y, ql_error *error);

/** y += x, both [m, n]. @since 0.1 */
QL_API ql_status ql_add(const ql_ctx *ctx, const ql_tensor *x, const ql_tensor *y,
                        ql_error *error);

/** y = softmax(x) over each row of [m, n]; y may be x. Elements of -Inf get 0; a row of nothing
 *  else, or with NaN or +Inf, becomes NaN. @since 0.1 */
QL_API ql_status ql_softmax(const ql_ctx *ctx, const ql_tensor *x, const ql_tensor *y,
                            ql_error *error);

/** y = log(softmax(x)) over each row of [m, n]; y may be x. Special values as with ql_softmax, the
 *  logarithm of 0 being -Inf. @since 0.1 */
QL_API ql_status ql_log_softmax(const ql_ctx *ctx, const ql_tensor *x, const ql_tensor *y,
                                ql_error *error);

QL_END_DECLS

#endif
