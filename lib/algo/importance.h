/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_ALGO_IMPORTANCE_H
#define QLI_ALGO_IMPORTANCE_H

#include "ctx.h"

#include <quantlib/stats.h>

/* sum of x^2 of each column from the statistics that hold it, NULL where none do (or stats is
 * NULL): *out is to be freed. Finite and not negative. */
ql_status qli_importance(const ql_ctx *ctx, const ql_stats *stats, double **out, ql_error *error);

/* The Hessian, f64 [cols, cols], checked: finite, no negative diagonal. *out is to be freed. */
ql_status qli_hessian(const ql_ctx *ctx, const ql_stats *stats, double **out, ql_error *error);
/* The same into memory of the caller. */
ql_status qli_hessian_into(const ql_ctx *ctx, const ql_stats *stats, double *h, ql_error *error);

#endif
