/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_ALGO_SUMS_H
#define QLI_ALGO_SUMS_H

#include "ctx.h"

#include <quantlib/quantize.h>

/* Sum of (w - q)^2 and of w^2, rows added in their order. */
ql_status qli_square_error(const ql_ctx *ctx, const ql_qmat_view *q, const ql_tensor *w,
                           double *sse, double *ref, ql_error *error);

#endif
