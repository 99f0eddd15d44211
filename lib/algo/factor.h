/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_ALGO_FACTOR_H
#define QLI_ALGO_FACTOR_H

#include "ctx.h"

#include <quantlib/algo/gptq.h>

#include <stdbool.h>

/* Beyond this many columns the factorization multiplies far blocks in f32. */
enum { QLI_FACTOR_NARROW = 512 };

/* All indices are positions in the order of quantization. The two triangles share one square: R on
 * and above the diagonal, H below it, so that the loss can be checked against H itself. */
struct ql_gptq_factor {
  const ql_ctx *ctx;
  size_t cols;
  size_t group; /* resolved, never 0 */
  ql_gptq_order order;
  ql_gptq_outcome outcome;
  int32_t retries;
  double damp;      /* relative */
  double lambda;    /* absolute: what was added to every diagonal element */
  double dead_diag; /* stands for the zero of a dead column, beside lambda */
  uint64_t tokens;
  size_t dead;
  double trace;   /* of the undamped H, summed in the order of the columns */
  double *matrix; /* [cols, cols]; NULL when the outcome is to round to nearest */
  double *diag;   /* of the undamped H */
  int32_t *perm;
};

static inline bool qli_factor_serves(const ql_gptq_factor *f)
{
  return f->outcome == QL_GPTQ_DONE || f->outcome == QL_GPTQ_DAMPED;
}

static inline double qli_factor_pivot(const ql_gptq_factor *f, size_t k)
{
  return f->matrix[k * f->cols + k];
}

/* What the damped matrix has on its diagonal beyond H. */
static inline double qli_factor_excess(const ql_gptq_factor *f, size_t k)
{
  return f->lambda + (f->diag[k] == 0.0 ? f->dead_diag : 0.0);
}

ql_status qli_gptq_config_check(const ql_gptq_config *config, ql_gptq_config *out, ql_error *error);

#endif
