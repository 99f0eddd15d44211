/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_internal.h"

/* The head in a few bits: it is read whole for every token, and of a small model it is a large part
 * of all weights. */
ql_status qle_head_round(qle_model *model, const ql_tensor *weight, int32_t bits, ql_error *error)
{
  ql_grid_config grid = QL_GRID_CONFIG_INIT;
  ql_qmat *q = NULL;
  grid.bits = bits;
  if (grid.block_cols > model->config.hidden)
    grid.block_cols = 0;
  ql_status status = ql_rtn_run(model->ctx, weight, &grid, NULL, &q, error);
  if (status == QL_STATUS_OK)
    status = ql_pack(model->ctx, q, &model->head.packed, error);
  model->head.codes = 1;
  ql_qmat_destroy(q);
  return status;
}
