/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_RUNTIME_PACKED_H
#define QLI_RUNTIME_PACKED_H

#include "ctx.h"
#include "qlk_table.h"

#include <quantlib/runtime.h>

typedef struct qli_packed_parts qli_packed_parts;

/* One block of memory: this header, then codes, scales, zero points, group ends and the gather
 * list, each 64-aligned; or the header alone, the rest being in the mapping of a file. The parts,
 * where there are any, have memory of their own. */
struct ql_packed {
  const ql_ctx *ctx;
  qlk_wtype wtype;
  uint32_t layout;
  size_t n, k; /* of the matrix */
  size_t nr, panels;
  int32_t bits;
  ql_dtype dtype; /* of floating-point weights, else QL_DTYPE_NONE */
  size_t group;
  size_t bytes, data_bytes; /* of it all, and of the sections, which begin at weights.codes */
  const int32_t
      *gather; /* [weights.k], column of each packed k or -1 for padding; NULL: identity */
  int32_t permuted;
  qli_packed_parts *parts; /* NULL: none */
  qlk_weights weights;
};

/* ql_pack on the arrays themselves. The caller has checked them as ql_qmat_create does. */
ql_status qli_pack_view(const ql_ctx *ctx, const ql_qmat_view *view, ql_packed **out,
                        ql_error *error);

/* Order of the columns in packed k: by group, in each group as they come, each group padded to a
 * multiple of kr. */
typedef struct qli_pack_plan {
  size_t k; /* packed */
  size_t groups;
  uint32_t *ends;
  int32_t *gather;
  int32_t permuted;
  int32_t identity;
} qli_pack_plan;

ql_status qli_pack_plan_make(const ql_ctx *ctx, const ql_qmat_view *view, size_t kr,
                             qli_pack_plan *plan, ql_error *error);
void qli_pack_plan_free(const ql_ctx *ctx, qli_pack_plan *plan);

static inline const qlk_gemm_unit *qli_packed_unit(const ql_ctx *ctx, const ql_packed *w)
{
  return &ctx->kernels.gemm.unit[w->wtype];
}

#endif
