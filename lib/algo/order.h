/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_ALGO_ORDER_H
#define QLI_ALGO_ORDER_H

#include "ctx.h"

#include <quantlib/algo/gptq.h>

/* perm[k] = the column that is quantized k-th, from the diagonal of H in the order of the columns.
 * Ties go to the lower column, so that the result is unique. group: resolved, not 0. */
ql_status qli_order(const ql_ctx *ctx, ql_gptq_order order, size_t cols, size_t group,
                    const double *diag, int32_t *perm, ql_error *error);

#endif
