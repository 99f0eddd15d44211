/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_internal.h"

qle_linear_spec qle_head_spec(const qle_config *config)
{
  qle_linear_spec spec = {QLE_HEAD_NAME, config->vocab, config->hidden, 0};
  return spec;
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
    return bits != 0 ? qle_head_round(model, &model->embedding, bits, error)
                     : load_tied(model, &spec, error);
  qle_linear_source source;
  QLE_TRY(qle_linear_find(model, &spec, &source, NULL, error));
  if (bits == 0 || source.quantized)
    return qle_linear_load(model, &spec, &model->head, error);
  QLE_TRY(qle_check_finite(model, "lm_head.weight", &source.weight, error));
  return qle_head_round(model, &source.weight, bits, error);
}
