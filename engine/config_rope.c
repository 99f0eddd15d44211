/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "config_json.h"

#include <string.h>

/* Positions of any model that is known stay below this. */
#define MAX_CONTEXT ((size_t)1 << 24)
#define MAX_FACTOR 1e6

static ql_status kind_of(const qle_object *rope, qle_rope_kind *kind)
{
  static const struct {
    const char *name;
    qle_rope_kind kind;
  } kinds[] = {{"default", QLE_ROPE_DEFAULT},
               {"linear", QLE_ROPE_LINEAR},
               {"llama3", QLE_ROPE_LLAMA3},
               {"yarn", QLE_ROPE_YARN}};
  const char *key = qle_object_get(rope, "rope_type") != NULL ? "rope_type" : "type";
  const char *name;
  QLE_TRY(qle_object_string(rope, key, &name));
  *kind = QLE_ROPE_DEFAULT;
  if (name == NULL)
    return QL_STATUS_OK;
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    if (strcmp(name, kinds[i].name) == 0) {
      *kind = kinds[i].kind;
      return QL_STATUS_OK;
    }
  }
  return qle_object_fail(rope, QL_STATUS_UNSUPPORTED, key,
                         "implemented are default, linear, llama3 and yarn");
}

static ql_status read_llama3(const qle_object *rope, qle_rope *out)
{
  static const char *const needed[] = {"factor", "low_freq_factor", "high_freq_factor",
                                       "original_max_position_embeddings"};
  for (size_t i = 0; i < 4; i++)
    if (qle_object_get(rope, needed[i]) == NULL && (i < 3 || out->original_context == 0))
      return qle_object_fail(rope, QL_STATUS_FORMAT, needed[i], "llama3 scaling needs it");
  QLE_TRY(qle_object_real(rope, "low_freq_factor", 1e-6, MAX_FACTOR, &out->low_freq_factor));
  QLE_TRY(qle_object_real(rope, "high_freq_factor", 1e-6, MAX_FACTOR, &out->high_freq_factor));
  if (out->high_freq_factor <= out->low_freq_factor)
    return qle_object_fail(rope, QL_STATUS_FORMAT, "high_freq_factor",
                           "must be above \"low_freq_factor\", %g", out->low_freq_factor);
  return QL_STATUS_OK;
}

static ql_status read_yarn(const qle_object *rope, size_t context, qle_rope *out)
{
  if (qle_object_get(rope, "factor") == NULL)
    out->factor = (double)context / (double)out->original_context;
  out->beta_fast = 32;
  out->beta_slow = 1;
  out->truncate = 1;
  QLE_TRY(qle_object_real(rope, "beta_fast", 0, MAX_FACTOR, &out->beta_fast));
  QLE_TRY(qle_object_real(rope, "beta_slow", 0, MAX_FACTOR, &out->beta_slow));
  /* transformers takes 0 for absent. */
  if (out->beta_fast == 0)
    out->beta_fast = 32;
  if (out->beta_slow == 0)
    out->beta_slow = 1;
  if (out->beta_fast < out->beta_slow)
    return qle_object_fail(rope, QL_STATUS_FORMAT, "beta_fast",
                           "must not be below \"beta_slow\", %g", out->beta_slow);
  QLE_TRY(qle_object_real(rope, "attention_factor", 1e-6, MAX_FACTOR, &out->attention_factor));
  QLE_TRY(qle_object_real(rope, "mscale", 0, MAX_FACTOR, &out->mscale));
  QLE_TRY(qle_object_real(rope, "mscale_all_dim", 0, MAX_FACTOR, &out->mscale_all_dim));
  return qle_object_bool(rope, "truncate", &out->truncate);
}

static ql_status refuse_partial(const qle_object *object)
{
  double part = 1;
  QLE_TRY(qle_object_real(object, "partial_rotary_factor", 0, 1, &part));
  if (part != 1)
    return qle_object_fail(object, QL_STATUS_UNSUPPORTED, "partial_rotary_factor",
                           "only whole heads are rotated here");
  return QL_STATUS_OK;
}

/* One set of parameters for each kind of attention: no model of these families has that. */
static ql_status refuse_nested(const qle_object *rope)
{
  static const char *const kinds[] = {"full_attention", "sliding_attention"};
  for (size_t i = 0; i < 2; i++)
    if (qle_object_get(rope, kinds[i]) != NULL)
      return qle_object_fail(rope, QL_STATUS_UNSUPPORTED, kinds[i],
                             "one rotary embedding for all layers is implemented");
  return QL_STATUS_OK;
}

static ql_status read_scaling(const qle_object *rope, const qle_object *root, qle_config *config)
{
  qle_rope *out = &config->rope;
  QLE_TRY(refuse_nested(rope));
  QLE_TRY(refuse_partial(rope));
  QLE_TRY(kind_of(rope, &out->kind));
  QLE_TRY(qle_object_real(rope, "rope_theta", 1.0001, 1e15, &out->theta));
  if (out->kind == QLE_ROPE_DEFAULT)
    return QL_STATUS_OK;
  QLE_TRY(qle_object_size(rope, "original_max_position_embeddings", 1, MAX_CONTEXT,
                          &out->original_context));
  QLE_TRY(qle_object_size(root, "original_max_position_embeddings", 1, MAX_CONTEXT,
                          &out->original_context));
  if (out->kind == QLE_ROPE_LLAMA3)
    QLE_TRY(read_llama3(rope, out));
  if (out->original_context == 0)
    out->original_context = config->context;
  if (out->kind == QLE_ROPE_LINEAR && qle_object_get(rope, "factor") == NULL)
    return qle_object_fail(rope, QL_STATUS_FORMAT, "factor", "linear scaling needs it");
  QLE_TRY(qle_object_real(rope, "factor", 1, MAX_FACTOR, &out->factor));
  if (out->kind == QLE_ROPE_YARN)
    QLE_TRY(read_yarn(rope, config->context, out));
  return QL_STATUS_OK;
}

ql_status qle_config_read_rope(const qle_object *root, qle_config *config)
{
  config->rope.theta = 10000;
  config->rope.factor = 1;
  QLE_TRY(qle_object_real(root, "rope_theta", 1.0001, 1e15, &config->rope.theta));
  QLE_TRY(refuse_partial(root));
  /* The old name, where it holds something, goes before the new one, as in transformers. */
  const json_t *scaling = qle_object_get(root, "rope_scaling");
  const int old = scaling != NULL && !(json_is_object(scaling) && json_object_size(scaling) == 0);
  const char *key = old ? "rope_scaling" : "rope_parameters";
  const json_t *json = qle_object_get(root, key);
  if (json == NULL)
    return QL_STATUS_OK;
  if (!json_is_object(json))
    return qle_object_fail(root, QL_STATUS_FORMAT, key, "must be an object or null");
  const qle_object rope = {json, root->path, old ? "rope_scaling." : "rope_parameters.",
                           root->error};
  return read_scaling(&rope, root, config);
}
