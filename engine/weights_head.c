/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_internal.h"

qle_linear_spec qle_head_spec(const qle_config *config)
{
  qle_linear_spec spec = {QLE_HEAD_NAME, config->vocab, config->hidden, 0};
  return spec;
}

/* The head in a few bits: it is read whole for every token, and of a small model it is a large part
 * of all weights. */
static ql_status round_head(qle_model *model, const ql_tensor *weight, int32_t bits,
                            ql_error *error)
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

static ql_status load_tied(qle_model *model, const qle_linear_spec *spec, ql_error *error)
{
  QLE_TRY(qle_packed_find(model, spec->name, &model->head.packed, error));
  if (model->head.packed == NULL)
    return ql_pack_float(model->ctx, &model->embedding, &model->head.packed, error);
  return qle_check_packed(spec, model->head.packed, error);
}

ql_status qle_head_load(qle_model *model, int32_t bits, ql_error *error)
{
  const qle_linear_spec spec = qle_head_spec(&model->config);
  if (bits != 0 && (bits < 4 || bits > 8))
    return qle_fail(error, QL_STATUS_INVALID_ARGUMENT, "a head of %d bits: 4 to 8 are known",
                    (int)bits);
  if (model->config.tied)
    return bits != 0 ? round_head(model, &model->embedding, bits, error)
                     : load_tied(model, &spec, error);
  qle_linear_source source;
  QLE_TRY(qle_linear_find(model, &spec, &source, NULL, error));
  if (bits == 0 || source.quantized)
    return qle_linear_load(model, &spec, &model->head, error);
  QLE_TRY(qle_check_finite(model, "lm_head.weight", &source.weight, error));
  return round_head(model, &source.weight, bits, error);
}
