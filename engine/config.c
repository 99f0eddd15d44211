/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "config_json.h"

#include <stdlib.h>
#include <string.h>

/* Nothing real comes near these; they keep products of two sizes within 64 bits and stop absurd
 * values before the tensors contradict them. Positions are exact in f32 up to 2^24. */
#define MAX_HIDDEN ((size_t)1 << 20)
#define MAX_FFN ((size_t)1 << 22)
#define MAX_HEADS ((size_t)1 << 14)
#define MAX_HEAD_DIM ((size_t)1 << 14)
#define MAX_VOCAB ((size_t)1 << 24)
#define MAX_CONTEXT ((size_t)1 << 24)

/* What the class of a model in transformers assumes for absent keys. */
typedef struct class_defaults {
  qle_arch arch;
  const char *class_name, *model_type;
  size_t kv_heads; /* 0: as many as heads */
  size_t head_dim; /* 0: hidden / heads */
  size_t context;
  size_t window;
} class_defaults;

static const class_defaults classes[] = {
    {QLE_ARCH_LLAMA, "LlamaForCausalLM", "llama", 0, 0, 2048, 0},
    {QLE_ARCH_MISTRAL, "MistralForCausalLM", "mistral", 8, 0, 131072, 4096},
    {QLE_ARCH_QWEN2, "Qwen2ForCausalLM", "qwen2", 32, 0, 32768, 4096},
    {QLE_ARCH_QWEN3, "Qwen3ForCausalLM", "qwen3", 32, 128, 32768, 4096},
};
#define CLASSES (sizeof classes / sizeof classes[0])

static const class_defaults *find_class(const char *name, int by_type)
{
  for (size_t i = 0; i < CLASSES; i++)
    if (strcmp(name, by_type ? classes[i].model_type : classes[i].class_name) == 0)
      return &classes[i];
  return NULL;
}

static ql_status unknown_class(const qle_object *root, const char *key)
{
  const ql_status status =
      qle_object_fail(root, QL_STATUS_UNSUPPORTED, key, "not a model that this engine knows");
  qle_error_hint(root->error, "known are LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM "
                              "and Qwen3ForCausalLM");
  return status;
}

/* The class named by architectures[0], NULL when the key is absent. */
static ql_status class_of_architectures(const qle_object *root, const class_defaults **found)
{
  static const char key[] = "architectures";
  const json_t *list = qle_object_get(root, key);
  *found = NULL;
  if (list == NULL)
    return QL_STATUS_OK;
  const char *name = json_string_value(json_array_get(list, 0));
  if (!json_is_array(list) || name == NULL)
    return qle_object_fail(root, QL_STATUS_FORMAT, key, "must be a list of class names");
  *found = find_class(name, 0);
  return *found == NULL ? unknown_class(root, key) : QL_STATUS_OK;
}

static ql_status read_class(const qle_object *root, const class_defaults **class)
{
  const class_defaults *by_type = NULL;
  const char *type;
  QLE_TRY(class_of_architectures(root, class));
  QLE_TRY(qle_object_string(root, "model_type", &type));
  if (type != NULL) {
    by_type = find_class(type, 1);
    if (by_type == NULL)
      return unknown_class(root, "model_type");
  }
  if (*class == NULL)
    *class = by_type;
  if (*class == NULL)
    return qle_object_fail(root, QL_STATUS_FORMAT, "architectures", "the model's class is needed");
  if (by_type != NULL && by_type != *class)
    return qle_object_fail(root, QL_STATUS_FORMAT, "model_type", "contradicts \"architectures\"");
  return QL_STATUS_OK;
}

/* An absent key and an explicit null differ here: null means "derive it". */
static int is_absent(const qle_object *root, const char *key)
{
  return json_object_get(root->json, key) == NULL;
}

static ql_status read_heads(const qle_object *root, const class_defaults *class, qle_config *config)
{
  QLE_TRY(qle_object_size_required(root, "num_attention_heads", 1, MAX_HEADS, &config->heads));
  config->kv_heads = config->heads;
  if (class->kv_heads != 0 && is_absent(root, "num_key_value_heads"))
    config->kv_heads = class->kv_heads;
  QLE_TRY(qle_object_size(root, "num_key_value_heads", 1, MAX_HEADS, &config->kv_heads));
  if (config->heads % config->kv_heads != 0)
    return qle_object_fail(root, QL_STATUS_FORMAT, "num_key_value_heads",
                           "must divide \"num_attention_heads\", %zu", config->heads);
  const int derive = qle_object_get(root, "head_dim") == NULL &&
                     (class->head_dim == 0 || !is_absent(root, "head_dim"));
  config->head_dim = derive ? config->hidden / config->heads : class->head_dim;
  if (derive && config->hidden % config->heads != 0)
    return qle_object_fail(root, QL_STATUS_FORMAT, "hidden_size",
                           "must be a multiple of \"num_attention_heads\", %zu, without "
                           "\"head_dim\"",
                           config->heads);
  QLE_TRY(qle_object_size(root, "head_dim", 2, MAX_HEAD_DIM, &config->head_dim));
  if (config->head_dim % 2 != 0 || config->head_dim < 2)
    return qle_object_fail(root, QL_STATUS_FORMAT, "head_dim",
                           "the size of a head, %zu, must be even: its halves are rotated against "
                           "each other",
                           config->head_dim);
  return QL_STATUS_OK;
}

static ql_status read_sizes(const qle_object *root, const class_defaults *class, qle_config *config)
{
  double eps = 1e-6;
  config->context = class->context;
  QLE_TRY(qle_object_size_required(root, "hidden_size", 1, MAX_HIDDEN, &config->hidden));
  QLE_TRY(qle_object_size_required(root, "intermediate_size", 1, MAX_FFN, &config->ffn));
  QLE_TRY(qle_object_size_required(root, "num_hidden_layers", 1, QLE_MAX_LAYERS, &config->layers));
  QLE_TRY(qle_object_size_required(root, "vocab_size", 1, MAX_VOCAB, &config->vocab));
  QLE_TRY(qle_object_size(root, "max_position_embeddings", 1, MAX_CONTEXT, &config->context));
  QLE_TRY(qle_object_real(root, "rms_norm_eps", 1e-30, 1, &eps));
  config->rms_eps = (float)eps;
  return read_heads(root, class, config);
}

static ql_status read_switches(const qle_object *root, qle_config *config)
{
  int attention_bias = 0;
  const char *act;
  QLE_TRY(qle_object_bool(root, "tie_word_embeddings", &config->tied));
  QLE_TRY(qle_object_bool(root, "attention_bias", &attention_bias));
  QLE_TRY(qle_object_bool(root, "mlp_bias", &config->mlp_bias));
  QLE_TRY(qle_object_string(root, "hidden_act", &act));
  if (act != NULL && strcmp(act, "silu") != 0 && strcmp(act, "swish") != 0)
    return qle_object_fail(root, QL_STATUS_UNSUPPORTED, "hidden_act",
                           "only \"silu\" is implemented");
  /* Which class heeds which key: Mistral has no biases, Qwen2 always those of q, k and v. */
  const int heeds = config->arch == QLE_ARCH_LLAMA || config->arch == QLE_ARCH_QWEN3;
  config->output_bias = heeds && attention_bias;
  config->attention_bias = config->output_bias || config->arch == QLE_ARCH_QWEN2;
  config->mlp_bias = config->mlp_bias && config->arch == QLE_ARCH_LLAMA;
  config->qk_norm = config->arch == QLE_ARCH_QWEN3;
  return QL_STATUS_OK;
}

static void set_windowed(qle_config *config, size_t layer)
{
  config->windowed[layer / 8] |= (uint8_t)(1u << (layer % 8));
}

/* "layer_types": the kind of attention of each layer. */
static ql_status read_layer_types(const qle_object *root, const json_t *types, qle_config *config)
{
  static const char key[] = "layer_types";
  if (!json_is_array(types) || json_array_size(types) != config->layers)
    return qle_object_fail(root, QL_STATUS_FORMAT, key,
                           "must list \"num_hidden_layers\", %zu, kinds", config->layers);
  for (size_t i = 0; i < config->layers; i++) {
    const char *kind = json_string_value(json_array_get(types, i));
    if (kind != NULL && strcmp(kind, "sliding_attention") == 0)
      set_windowed(config, i);
    else if (kind == NULL || strcmp(kind, "full_attention") != 0)
      return qle_object_fail(root, QL_STATUS_UNSUPPORTED, key,
                             "kind %zu is neither \"full_attention\" nor \"sliding_attention\"", i);
  }
  return QL_STATUS_OK;
}

static ql_status read_window(const qle_object *root, const class_defaults *class,
                             qle_config *config)
{
  if (config->arch == QLE_ARCH_LLAMA)
    return QL_STATUS_OK;
  int use = config->arch == QLE_ARCH_MISTRAL;
  size_t window = is_absent(root, "sliding_window") ? class->window : 0;
  size_t first = config->arch == QLE_ARCH_MISTRAL ? 0 : 28;
  QLE_TRY(qle_object_size(root, "sliding_window", 1, MAX_CONTEXT, &window));
  if (config->arch != QLE_ARCH_MISTRAL) {
    QLE_TRY(qle_object_bool(root, "use_sliding_window", &use));
    QLE_TRY(qle_object_size(root, "max_window_layers", 0, MAX_CONTEXT, &first));
  }
  config->window = use ? window : 0;
  const json_t *types = qle_object_get(root, "layer_types");
  if (types != NULL && config->arch != QLE_ARCH_MISTRAL)
    return read_layer_types(root, types, config);
  for (size_t i = first; i < config->layers; i++)
    set_windowed(config, i);
  return QL_STATUS_OK;
}

static ql_status token_of(const qle_object *root, const char *key, const json_t *value,
                          size_t vocab, int32_t *token)
{
  const json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
  if (id < 0 || (uintmax_t)id >= vocab)
    return qle_object_fail(root, QL_STATUS_FORMAT, key,
                           "a token must be an integer below the vocabulary's size, %zu", vocab);
  *token = (int32_t)id;
  return QL_STATUS_OK;
}

/* bos_token_id and eos_token_id, an integer or a list of them; absent keys change nothing. */
static ql_status read_tokens(const qle_object *root, qle_config *config)
{
  const json_t *bos = qle_object_get(root, "bos_token_id");
  const json_t *eos = qle_object_get(root, "eos_token_id");
  if (bos != NULL)
    QLE_TRY(token_of(root, "bos_token_id", bos, config->vocab, &config->bos));
  if (eos == NULL)
    return QL_STATUS_OK;
  if (!json_is_array(eos)) {
    config->eos_count = 1;
    return token_of(root, "eos_token_id", eos, config->vocab, &config->eos[0]);
  }
  const size_t count = json_array_size(eos);
  if (count > QLE_MAX_EOS)
    return qle_object_fail(root, QL_STATUS_UNSUPPORTED, "eos_token_id",
                           "at most %d end tokens are supported", QLE_MAX_EOS);
  for (size_t i = 0; i < count; i++)
    QLE_TRY(token_of(root, "eos_token_id", json_array_get(eos, i), config->vocab, &config->eos[i]));
  config->eos_count = count;
  return QL_STATUS_OK;
}

/* generation_config.json, where it is there, knows the end tokens better than config.json. */
static ql_status read_generation(const char *dir, qle_config *config, ql_error *error)
{
  char *path = qle_path_join(dir, "generation_config.json");
  if (path == NULL)
    return qle_fail(error, QL_STATUS_NO_MEMORY, "no memory for a path");
  json_t *json = NULL;
  ql_status status = qle_json_read(path, QLE_CONFIG_BYTES, QLE_CONFIG_DEPTH, &json, error);
  if (status == QL_STATUS_NOT_FOUND) {
    status = QL_STATUS_OK;
  } else if (status == QL_STATUS_OK) {
    const qle_object root = {json, path, "", error};
    status = json_is_object(json)
                 ? read_tokens(&root, config)
                 : qle_fail(error, QL_STATUS_FORMAT, "%s is not a JSON object", path);
  }
  json_decref(json);
  free(path);
  return status;
}

static ql_status read_all(const qle_object *root, const char *dir, qle_config *config)
{
  const class_defaults *class;
  QLE_TRY(read_class(root, &class));
  config->arch = class->arch;
  config->bos = -1;
  QLE_TRY(read_sizes(root, class, config));
  QLE_TRY(read_switches(root, config));
  QLE_TRY(read_window(root, class, config));
  QLE_TRY(qle_config_read_rope(root, config));
  QLE_TRY(read_tokens(root, config));
  QLE_TRY(read_generation(dir, config, root->error));
  return qle_config_read_quant(root, dir, config);
}

ql_status qle_config_read(const char *dir, qle_config *config, ql_error *error)
{
  char *path = qle_path_join(dir, "config.json");
  if (path == NULL)
    return qle_fail(error, QL_STATUS_NO_MEMORY, "no memory for a path");
  json_t *json = NULL;
  qle_config result;
  memset(&result, 0, sizeof result);
  ql_status status = qle_json_read(path, QLE_CONFIG_BYTES, QLE_CONFIG_DEPTH, &json, error);
  if (status == QL_STATUS_OK && !json_is_object(json)) {
    status = qle_fail(error, QL_STATUS_FORMAT, "%s is not a JSON object", path);
    qle_error_file(error, path);
  }
  if (status == QL_STATUS_OK) {
    const qle_object root = {json, path, "", error};
    status = read_all(&root, dir, &result);
  }
  if (status == QL_STATUS_OK)
    *config = result;
  else
    qle_config_free(&result);
  json_decref(json);
  free(path);
  return status;
}

void qle_config_free(qle_config *config)
{
  qle_quant_rules_free(config->rules);
  config->rules = NULL;
}

size_t qle_config_window(const qle_config *config, size_t layer)
{
  const int windowed = config->windowed[layer / 8] >> (layer % 8) & 1;
  return windowed ? config->window : 0;
}
