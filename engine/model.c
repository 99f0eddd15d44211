/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char embedding_name[] = "model.embed_tokens.weight";

const qle_config *qle_model_config(const qle_model *model)
{
  return &model->config;
}

const ql_file *qle_model_file(const qle_model *model)
{
  return model->file;
}

const ql_ctx *qle_model_ctx(const qle_model *model)
{
  return model->ctx;
}

/* Names of the vectors of a block. */
static void vector_name(char *name, size_t size, size_t layer, const char *suffix)
{
  snprintf(name, size, "model.layers.%zu.%s.weight", layer, suffix);
}

typedef struct vector_spec {
  const char *suffix;
  size_t count;
  size_t member; /* offset in qle_block */
} vector_spec;

/* The vectors that a block of this configuration has; returns how many. */
static size_t block_vectors(const qle_config *config, vector_spec specs[QLE_VECTORS])
{
  const vector_spec all[QLE_VECTORS] = {
      [QLE_INPUT_NORM] = {"input_layernorm", config->hidden, offsetof(qle_block, input_norm)},
      [QLE_POST_NORM] = {"post_attention_layernorm", config->hidden,
                         offsetof(qle_block, post_norm)},
      [QLE_Q_NORM] = {"self_attn.q_norm", config->head_dim, offsetof(qle_block, q_norm)},
      [QLE_K_NORM] = {"self_attn.k_norm", config->head_dim, offsetof(qle_block, k_norm)}};
  memcpy(specs, all, sizeof all);
  return config->qk_norm ? QLE_VECTORS : QLE_Q_NORM;
}

static ql_status verify_block(const qle_model *model, size_t layer, unsigned char *seen,
                              ql_error *error)
{
  vector_spec specs[QLE_VECTORS];
  const size_t vectors = block_vectors(&model->config, specs);
  for (size_t i = 0; i < vectors; i++) {
    char name[96];
    ql_tensor tensor;
    vector_name(name, sizeof name, layer, specs[i].suffix);
    QLE_TRY(qle_float_find(model, name, specs[i].count, 0, &tensor, seen, error));
  }
  for (qle_linear which = QLE_Q; which < QLE_LINEARS; which++) {
    qle_linear_spec spec;
    qle_linear_source source;
    qle_block_spec(&model->config, layer, which, &spec);
    QLE_TRY(qle_linear_find(model, &spec, &source, seen, error));
  }
  return QL_STATUS_OK;
}

/* Tensors without meaning for the result: buffers that old programs saved, and the copy of the
 * embedding that a model with a tied head may carry. */
static int harmless(const qle_config *config, const char *name)
{
  static const char buffer[] = "rotary_emb.inv_freq";
  const size_t length = strlen(name), tail = sizeof buffer - 1;
  if (length >= tail && strcmp(name + length - tail, buffer) == 0)
    return 1;
  return config->tied && strcmp(name, "lm_head.weight") == 0;
}

/* A tensor that nothing here explains means that this is another model than config.json says. */
static ql_status refuse_unknown(const qle_model *model, const unsigned char *seen, ql_error *error)
{
  for (size_t i = 0; i < ql_file_count(model->file); i++) {
    ql_file_info info = {.struct_size = sizeof info};
    QLE_TRY(ql_file_info_at(model->file, i, &info));
    if (seen[i] || harmless(&model->config, info.name))
      continue;
    qle_fail(error, QL_STATUS_UNSUPPORTED,
             "%s: tensor %s has no place in the model that config.json describes", info.path,
             info.name);
    qle_error_file(error, info.path);
    qle_error_tensor(error, info.name);
    return QL_STATUS_UNSUPPORTED;
  }
  return QL_STATUS_OK;
}

static ql_status verify_seen(qle_model *model, unsigned char *seen, ql_error *error)
{
  const qle_config *config = &model->config;
  ql_tensor norm;
  QLE_TRY(qle_float_find(model, embedding_name, config->vocab, config->hidden, &model->embedding,
                         seen, error));
  QLE_TRY(qle_float_find(model, "model.norm.weight", config->hidden, 0, &norm, seen, error));
  for (size_t i = 0; i < config->layers; i++)
    QLE_TRY(verify_block(model, i, seen, error));
  if (!config->tied) {
    const qle_linear_spec spec = qle_head_spec(config);
    qle_linear_source source;
    QLE_TRY(qle_linear_find(model, &spec, &source, seen, error));
  }
  return refuse_unknown(model, seen, error);
}

/* Every tensor there, of the right shape and type, before any memory is taken for weights. */
static ql_status verify(qle_model *model, ql_error *error)
{
  const size_t count = ql_file_count(model->file);
  unsigned char *seen = calloc(count + 1, 1);
  if (seen == NULL)
    return qle_fail(error, QL_STATUS_NO_MEMORY, "no memory for %zu flags", count);
  const ql_status status = verify_seen(model, seen, error);
  free(seen);
  return status;
}

static ql_status load(qle_model *model, const qle_model_options *options, ql_error *error)
{
  QLE_TRY(verify(model, error));
  const qle_config *config = &model->config;
  model->blocks = calloc(config->layers, sizeof *model->blocks);
  model->scratch = calloc(1, sizeof *model->scratch);
  if (model->blocks == NULL || model->scratch == NULL)
    return qle_fail(error, QL_STATUS_NO_MEMORY, "no memory for %zu blocks", config->layers);
  if (model->packs == NULL) /* which were made from what had passed this */
    QLE_TRY(qle_check_finite(model, embedding_name, &model->embedding, error));
  QLE_TRY(qle_vector_load(model, "model.norm.weight", config->hidden, &model->final_norm, error));
  QLE_TRY(qle_rope_init(&model->rope, &config->rope, config->head_dim, error));
  QLE_TRY(qle_head_load(model, options != NULL ? options->head_bits : 0, error));
  const int lazy = options != NULL && options->lazy;
  for (size_t i = 0; i < config->layers && !lazy; i++)
    QLE_TRY(qle_block_load(model, i, error));
  return QL_STATUS_OK;
}

static ql_status make_serial(qle_model *model, ql_error *error)
{
  ql_ctx_config config = QL_CTX_CONFIG_INIT;
  config.isa = ql_ctx_isa_name(model->ctx);
  return ql_ctx_create(&config, &model->serial, error);
}

ql_status qle_model_open(const ql_ctx *ctx, const char *dir, const qle_model_options *options,
                         qle_model **out, ql_error *error)
{
  qle_model *model = calloc(1, sizeof *model);
  if (model == NULL)
    return qle_fail(error, QL_STATUS_NO_MEMORY, "no memory for a model");
  model->ctx = ctx;
  model->join = options != NULL && options->join;
  model->compute = options != NULL ? options->compute : QL_COMPUTE_F32;
  model->dir = qle_path_join(NULL, dir);
  ql_status status = model->dir != NULL
                         ? make_serial(model, error)
                         : qle_fail(error, QL_STATUS_NO_MEMORY, "no memory for a path");
  if (status == QL_STATUS_OK)
    status = qle_config_read(dir, &model->config, error);
  if (status == QL_STATUS_OK)
    status = ql_file_open(ctx, dir, &model->file, error);
  if (status == QL_STATUS_OK && options != NULL && options->packed != NULL)
    status = qle_packed_open(model, options->packed, error);
  if (status == QL_STATUS_OK)
    status = load(model, options, error);
  if (status == QL_STATUS_OK)
    *out = model;
  else
    qle_model_close(model);
  return status;
}

void qle_model_close(qle_model *model)
{
  if (model == NULL)
    return;
  for (size_t i = 0; model->blocks != NULL && i < model->config.layers; i++)
    qle_block_unload(model, i);
  free(model->blocks);
  ql_packed_destroy(model->head.packed);
  ql_packed_close(model->packs);
  qle_rope_free(&model->rope);
  qle_scratch_free(model->scratch);
  free(model->final_norm);
  free(model->dir);
  ql_file_close(model->file);
  qle_config_free(&model->config);
  ql_ctx_destroy(model->serial);
  free(model);
}

static float **block_vector(qle_block *block, const vector_spec *spec)
{
  return (float **)(void *)((char *)block + spec->member);
}

static int is_joined(const qle_block *block, qle_linear which)
{
  for (qle_join join = 0; join < QLE_JOINS; join++)
    if (block->joined[join].packed != NULL && qle_join_has(join, which))
      return 1;
  return 0;
}

static ql_status load_linears(qle_model *model, size_t layer, qle_block *block, ql_error *error)
{
  for (qle_join join = 0; join < QLE_JOINS && model->join; join++)
    QLE_TRY(qle_join_load(model, layer, join, &block->joined[join], error));
  for (qle_linear which = QLE_Q; which < QLE_LINEARS; which++) {
    qle_linear_spec spec;
    if (is_joined(block, which))
      continue;
    qle_block_spec(&model->config, layer, which, &spec);
    QLE_TRY(qle_linear_load(model, &spec, &block->linears[which], error));
  }
  return QL_STATUS_OK;
}

static ql_status load_block(qle_model *model, size_t layer, ql_error *error)
{
  qle_block *block = &model->blocks[layer];
  vector_spec specs[QLE_VECTORS];
  const size_t vectors = block_vectors(&model->config, specs);
  for (size_t i = 0; i < vectors; i++) {
    char name[96];
    vector_name(name, sizeof name, layer, specs[i].suffix);
    QLE_TRY(qle_vector_load(model, name, specs[i].count, block_vector(block, &specs[i]), error));
  }
  QLE_TRY(load_linears(model, layer, block, error));
  block->loaded = 1;
  return QL_STATUS_OK;
}

static ql_status check_layer(const qle_model *model, size_t layer, ql_error *error)
{
  if (layer < model->config.layers)
    return QL_STATUS_OK;
  return qle_fail(error, QL_STATUS_INVALID_ARGUMENT, "layer %zu of a model with %zu layers", layer,
                  model->config.layers);
}

ql_status qle_block_load(qle_model *model, size_t layer, ql_error *error)
{
  QLE_TRY(check_layer(model, layer, error));
  if (model->blocks[layer].loaded)
    return QL_STATUS_OK;
  const ql_status status = load_block(model, layer, error);
  if (status != QL_STATUS_OK)
    qle_block_unload(model, layer);
  return status;
}

void qle_block_unload(qle_model *model, size_t layer)
{
  if (layer >= model->config.layers)
    return;
  qle_block *block = &model->blocks[layer];
  for (size_t i = 0; i < QLE_LINEARS; i++)
    ql_packed_destroy(block->linears[i].packed);
  for (size_t i = 0; i < QLE_JOINS; i++)
    ql_packed_destroy(block->joined[i].packed);
  free(block->input_norm);
  free(block->post_norm);
  free(block->q_norm);
  free(block->k_norm);
  memset(block, 0, sizeof *block);
}

void qle_block_replace(qle_model *model, size_t layer, qle_linear which, ql_packed *packed)
{
  qle_weights *weights = &model->blocks[layer].linears[which];
  ql_packed_destroy(weights->packed);
  weights->packed = packed;
}

ql_status qle_block_vector(const qle_model *model, size_t layer, qle_vector which, char *name,
                           size_t size, ql_tensor *view, ql_error *error)
{
  vector_spec specs[QLE_VECTORS];
  QLE_TRY(check_layer(model, layer, error));
  if ((size_t)which >= block_vectors(&model->config, specs))
    return qle_fail(error, QL_STATUS_NOT_FOUND, "this family has no vector %s",
                    specs[which].suffix);
  vector_name(name, size, layer, specs[which].suffix);
  return qle_float_find(model, name, specs[which].count, 0, view, NULL, error);
}

ql_status qle_block_set_vector(qle_model *model, size_t layer, qle_vector which,
                               const ql_tensor *value, ql_error *error)
{
  vector_spec specs[QLE_VECTORS];
  block_vectors(&model->config, specs);
  ql_tensor own;
  QLE_TRY(ql_tensor_init(&own, *block_vector(&model->blocks[layer], &specs[which]), QL_DTYPE_F32, 1,
                         &specs[which].count));
  return ql_tensor_convert(model->ctx, value, &own, error);
}

void qle_block_set_bias(qle_model *model, size_t layer, qle_linear which, const ql_tensor *bias)
{
  model->blocks[layer].linears[which].bias = *bias;
}

void qle_block_set_act(qle_model *model, size_t layer, qle_linear which, const ql_act_config *act)
{
  qle_weights *weights = &model->blocks[layer].linears[which];
  weights->a8 = act != NULL;
  if (act != NULL)
    weights->act = *act;
}

ql_status qle_block_weight(const qle_model *model, size_t layer, qle_linear which,
                           ql_tensor *weight, ql_tensor *bias, ql_error *error)
{
  qle_linear_spec spec;
  qle_linear_source source;
  QLE_TRY(check_layer(model, layer, error));
  qle_block_spec(&model->config, layer, which, &spec);
  QLE_TRY(qle_linear_find(model, &spec, &source, NULL, error));
  if (source.quantized && weight != NULL) {
    qle_fail(error, QL_STATUS_UNSUPPORTED, "%s is quantized already", spec.name);
    qle_error_tensor(error, spec.name);
    return QL_STATUS_UNSUPPORTED;
  }
  if (weight != NULL)
    *weight = source.weight;
  if (bias != NULL)
    *bias = source.bias;
  return QL_STATUS_OK;
}

ql_status qle_model_cache(const qle_model *model, size_t capacity, ql_kv **out, ql_error *error)
{
  ql_kv_config config = QL_KV_CONFIG_INIT;
  config.layers = model->config.layers;
  config.heads = model->config.kv_heads;
  config.dim = model->config.head_dim;
  config.capacity = capacity;
  return ql_kv_create(model->ctx, &config, out, error);
}
