/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "quantize_run.h"
#include "util.h"

#include <stdlib.h>
#include <string.h>

ql_status qle_original_begin(qle_run *run, ql_error *error)
{
  const qle_model_options lazy = {.lazy = 1};
  const size_t values = run->sequences * run->seq_len * run->config->hidden; /* as run->x */
  run->original.x = malloc(values * sizeof *run->original.x + 1);
  if (run->original.x == NULL)
    return qle_fail(error, QL_STATUS_NO_MEMORY,
                    "no memory for the hidden states of the original model");
  memcpy(run->original.x, run->x, values * sizeof *run->x);
  return qle_model_open(run->ctx, run->dir, &lazy, &run->original.model, error);
}

void qle_original_end(qle_run *run)
{
  qle_model_close(run->original.model);
  free(run->original.x);
  for (size_t i = 0; i < QLE_LINEARS; i++)
    free(run->original.biases[i]);
  run->original = (qle_original){NULL, NULL, {NULL}};
}

/* A bias is a view, and the quantized path's may be refitted. */
static ql_status copy_bias(qle_run *run, size_t layer, qle_linear which, ql_error *error)
{
  ql_tensor bias;
  size_t bytes = 0;
  QLE_TRY(qle_floats_linear(run, layer, which, NULL, &bias, error));
  QLE_TRY(ql_tensor_bytes(bias.dtype, bias.rank, bias.shape, &bytes));
  void *copy = malloc(bytes + 1);
  if (copy == NULL)
    return qle_fail(error, QL_STATUS_NO_MEMORY, "no memory for a bias of %zu bytes", bytes);
  memcpy(copy, bias.data, bytes);
  bias.data = copy;
  qle_block_set_bias(run->original.model, layer, which, &bias);
  free(run->original.biases[which]);
  run->original.biases[which] = copy;
  return QL_STATUS_OK;
}

ql_status qle_original_apply(qle_run *run, size_t layer, ql_error *error)
{
  ql_tensor value;
  for (qle_linear i = QLE_Q; i < QLE_LINEARS; i++) {
    if (run->floats.weights[i] != NULL) {
      ql_packed *packed = NULL;
      QLE_TRY(qle_floats_linear(run, layer, i, &value, NULL, error));
      QLE_TRY(ql_pack_float(run->ctx, &value, &packed, error));
      qle_block_replace(run->original.model, layer, i, packed);
    }
    if (run->floats.biases[i] != NULL)
      QLE_TRY(copy_bias(run, layer, i, error));
  }
  for (qle_vector i = QLE_INPUT_NORM; i < QLE_VECTORS; i++)
    if (run->floats.vectors[i] != NULL) {
      QLE_TRY(qle_floats_vector(run, layer, i, &value, error));
      QLE_TRY(qle_block_set_vector(run->original.model, layer, i, &value, error));
    }
  return QL_STATUS_OK;
}
