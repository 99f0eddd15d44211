/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_internal.h"

#include <string.h>

ql_status qle_model_embed(const qle_model *model, const int32_t *tokens, size_t count, float *x,
                          ql_error *error)
{
  const qle_config *config = &model->config;
  for (size_t i = 0; i < count; i++) {
    if (tokens[i] < 0 || (size_t)tokens[i] >= config->vocab)
      return qle_fail(error, QL_STATUS_INVALID_ARGUMENT,
                      "token %zu is %d; the model's vocabulary has %zu", i, (int)tokens[i],
                      config->vocab);
  }
  for (size_t i = 0; i < count; i++) {
    ql_tensor row = model->embedding;
    row.shape[0] = 1;
    row.data = (char *)row.data + row.stride[0] * (ptrdiff_t)tokens[i];
    const ql_tensor out = qle_view(x + i * config->hidden, 1, config->hidden);
    QLE_TRY(ql_tensor_convert(model->ctx, &row, &out, error));
  }
  return QL_STATUS_OK;
}

/* Final norm of at most QLE_CHUNK chosen rows into the scratch buffer. */
static ql_status norm_rows(const qle_model *model, const float *x, const size_t *chosen,
                           size_t first, size_t count, float *out, ql_error *error)
{
  const size_t hidden = model->config.hidden;
  for (size_t i = 0; i < count; i++) {
    const size_t row = chosen == NULL ? first + i : chosen[first + i];
    memcpy(out + i * hidden, x + row * hidden, hidden * sizeof *out);
  }
  const ql_tensor view = qle_view(out, count, hidden);
  ql_tensor gain;
  QLE_TRY(ql_tensor_init(&gain, model->final_norm, QL_DTYPE_F32, 1, &hidden));
  return ql_rms_norm(model->ctx, &view, &gain, model->config.rms_eps, &view, error);
}

ql_status qle_model_head(const qle_model *model, const float *x, const size_t *chosen, size_t count,
                         float *logits, ql_error *error)
{
  const size_t hidden = model->config.hidden, vocab = model->config.vocab;
  const size_t most = count < QLE_CHUNK ? count : QLE_CHUNK;
  float *norm = qle_scratch_get(model->scratch, QLE_BUF_NORM, most, hidden, sizeof *norm);
  if (norm == NULL)
    return qle_fail(error, QL_STATUS_NO_MEMORY, "no memory for %zu rows", most);
  for (size_t i = 0; i < count; i += QLE_CHUNK) {
    const size_t rows = count - i < QLE_CHUNK ? count - i : QLE_CHUNK;
    QLE_TRY(norm_rows(model, x, chosen, i, rows, norm, error));
    QLE_TRY(qle_linear_apply(model, &model->head, norm, logits + i * vocab, rows, hidden, vocab,
                             error));
  }
  return QL_STATUS_OK;
}

/* A batch of at most QLE_CHUNK rows cut from a larger one, in lists of the scratch memory. */
typedef struct part {
  size_t *lengths; /* of the sequences of this part */
  ql_kv **caches;
  size_t *ends; /* rows that are the last of their sequence */
  size_t sequences, rows, end_count;
} part;

static ql_status part_lists(const qle_model *model, size_t sequences, part *out, ql_error *error)
{
  const size_t most = sequences < QLE_CHUNK ? sequences : QLE_CHUNK;
  char *lists =
      qle_scratch_get(model->scratch, QLE_BUF_BATCH, most, 3,
                      sizeof(size_t) > sizeof(ql_kv *) ? sizeof(size_t) : sizeof(ql_kv *));
  if (lists == NULL)
    return qle_fail(error, QL_STATUS_NO_MEMORY, "no memory for a batch of %zu", sequences);
  out->caches = (ql_kv **)(void *)lists;
  out->lengths = (size_t *)(void *)(out->caches + most);
  out->ends = out->lengths + most;
  return QL_STATUS_OK;
}

/* Fills *out with the rows from (*sequence, *offset) on, and moves these behind them. */
static void cut(const qle_batch *batch, size_t *sequence, size_t *offset, part *out)
{
  out->sequences = out->rows = out->end_count = 0;
  while (*sequence < batch->sequences && out->rows < QLE_CHUNK) {
    const size_t left = batch->lengths[*sequence] - *offset;
    const size_t room = QLE_CHUNK - out->rows;
    const size_t count = left < room ? left : room;
    out->lengths[out->sequences] = count;
    out->caches[out->sequences++] = batch->caches[*sequence];
    out->rows += count;
    *offset += count;
    if (count < left)
      break;
    out->ends[out->end_count++] = out->rows - 1;
    *sequence += 1;
    *offset = 0;
  }
}

/* Hidden states of a part after all blocks, in the scratch memory. */
static ql_status run_blocks(qle_model *model, const part *p, const int32_t *tokens, float **x,
                            ql_error *error)
{
  const qle_batch batch = {p->sequences, p->lengths, p->caches};
  *x = qle_scratch_get(model->scratch, QLE_BUF_X, p->rows, model->config.hidden, sizeof **x);
  if (*x == NULL)
    return qle_fail(error, QL_STATUS_NO_MEMORY, "no memory for %zu rows", p->rows);
  QLE_TRY(qle_model_embed(model, tokens, p->rows, *x, error));
  for (size_t i = 0; i < model->config.layers; i++) {
    QLE_TRY(qle_block_attention(model, i, &batch, *x, -1, NULL, NULL, error));
    QLE_TRY(qle_block_mlp(model, i, p->rows, *x, -1, NULL, NULL, error));
  }
  return QL_STATUS_OK;
}

static ql_status run_parts(qle_model *model, const qle_batch *batch, const int32_t *tokens,
                           int last_only, float *logits, ql_error *error)
{
  part p = {0};
  size_t sequence = 0, offset = 0;
  QLE_TRY(part_lists(model, batch->sequences, &p, error));
  while (sequence < batch->sequences) {
    cut(batch, &sequence, &offset, &p);
    float *x;
    QLE_TRY(run_blocks(model, &p, tokens, &x, error));
    const size_t count = last_only ? p.end_count : p.rows;
    QLE_TRY(qle_model_head(model, x, last_only ? p.ends : NULL, count, logits, error));
    tokens += p.rows;
    logits += count * model->config.vocab;
  }
  return QL_STATUS_OK;
}

static ql_status check_batch(const qle_batch *batch, ql_error *error)
{
  for (size_t i = 0; i < batch->sequences; i++)
    if (batch->lengths[i] == 0)
      return qle_fail(error, QL_STATUS_INVALID_ARGUMENT, "sequence %zu has no token", i);
  return QL_STATUS_OK;
}

ql_status qle_model_forward(qle_model *model, const qle_batch *batch, const int32_t *tokens,
                            int last_only, float *logits, ql_error *error)
{
  QLE_TRY(check_batch(batch, error));
  size_t *before =
      qle_scratch_get(model->scratch, QLE_BUF_BEFORE, batch->sequences, sizeof *before, 1);
  if (before == NULL)
    return qle_fail(error, QL_STATUS_NO_MEMORY, "no memory for a batch of %zu", batch->sequences);
  for (size_t i = 0; i < batch->sequences; i++)
    before[i] = ql_kv_length(batch->caches[i], 0);
  const ql_status status = run_parts(model, batch, tokens, last_only, logits, error);
  for (size_t i = 0; status != QL_STATUS_OK && i < batch->sequences; i++)
    ql_kv_truncate(batch->caches[i], before[i]);
  return status;
}
