/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "../cm.h"

#include "engine_fixture.h"
#include "model_internal.h"
#include "scratch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Checkpoints with random codes: the engine on them against the oracle on s (c - z) in double. */

typedef struct recipe {
  const char *name;
  ql_format format;
  int32_t bits;
  size_t group; /* 0: whole row */
  int symmetric, act_order;
  uint32_t parts; /* QL_PART_* besides */
  ql_dtype side, lora;
} recipe;

static const oracle_spec base = {.name = "qwen2, quantized",
                                 .class_name = "Qwen2ForCausalLM",
                                 .hidden = 64,
                                 .ffn = 96,
                                 .layers = 2,
                                 .heads = 4,
                                 .kv_heads = 2,
                                 .head_dim = 16,
                                 .vocab = 45,
                                 .context = 128,
                                 .qkv_bias = 1,
                                 .dtype = "F32",
                                 .rope = {.kind = "default", .theta = 10000},
                                 .extra = ""};

static float part_value(uint64_t *state)
{
  return (float)(oracle_random(state) % 255) - 127.0f;
}

/* q with the parts of the recipe; the oracle's values follow. */
static ql_qmat *add_parts(oracle_tensor *t, const recipe *r, ql_qmat *q, uint64_t *state)
{
  enum { SIDE = 3, RANK = 2, MOST = 128 };
  float in_scale[MOST], side_values[MOST * SIDE], side_scales[SIDE] = {0.002f, 0.01f, 0.001f};
  float lora_a[RANK * MOST], lora_b[MOST * RANK];
  const int32_t side_cols[SIDE] = {1, 30, (int32_t)t->cols - 1};
  const int i8 = r->side == QL_DTYPE_I8;
  ql_qmat_view v = {.struct_size = sizeof v};
  assert_true(t->rows <= MOST && t->cols <= MOST);
  for (size_t i = 0; i < MOST; i++)
    in_scale[i] = 0.5f + (float)(i % 7) / 5.0f;
  for (size_t i = 0; i < MOST * SIDE; i++)
    side_values[i] = part_value(state) / (i8 ? 1.0f : 256.0f);
  for (size_t i = 0; i < MOST * RANK; i++) {
    lora_a[i] = part_value(state) / 512.0f;
    lora_b[i] = part_value(state) / 512.0f;
  }
  if (r->parts & QL_PART_IN_SCALE)
    v.in_scale = in_scale;
  if (r->parts & QL_PART_SIDE_COLUMNS) {
    v.side_count = SIDE;
    v.side_cols = side_cols;
    v.side_values = side_values;
    v.side_scales = i8 ? side_scales : NULL;
    v.side_dtype = r->side;
  }
  if (r->parts & QL_PART_LOW_RANK) {
    v.rank = RANK;
    v.lora_a = lora_a;
    v.lora_b = lora_b;
    v.lora_dtype = r->lora;
  }
  for (size_t i = 0; i < t->rows * t->cols; i++) {
    const size_t row = i / t->cols, col = i % t->cols;
    for (size_t j = 0; j < v.side_count; j++)
      if ((size_t)side_cols[j] == col)
        t->values[i] = (double)side_values[row * SIDE + j] * (i8 ? (double)side_scales[j] : 1);
    t->values[i] *= v.in_scale ? (double)in_scale[col] : 1;
    for (size_t k = 0; k < v.rank; k++)
      t->values[i] += (double)lora_b[row * RANK + k] * (double)lora_a[k * t->cols + col];
  }
  ql_qmat *with = NULL;
  ql_error error = QL_ERROR_INIT;
  if (ql_qmat_with(ctx, q, &v, &with, &error) != QL_STATUS_OK)
    fail_msg("%s", error.text);
  ql_qmat_destroy(q);
  return with;
}

/* A linear of the oracle's model as codes on a grid; its values become those of the grid. */
static ql_qmat *quantize(oracle_tensor *t, const recipe *r, uint64_t *state)
{
  const size_t group = r->group == 0 ? t->cols : r->group;
  const size_t groups = (t->cols + group - 1) / group;
  uint8_t *codes = malloc(t->rows * t->cols);
  float *scales = malloc(t->rows * groups * sizeof *scales);
  int16_t *zeros = malloc(t->rows * groups * sizeof *zeros);
  float *fzeros = malloc(t->rows * groups * sizeof *fzeros);
  const int floats = r->format == QL_FORMAT_HQQ;
  int32_t *g_idx = malloc(t->cols * sizeof *g_idx);
  const uint32_t levels = 1u << r->bits;
  for (size_t i = 0; i < t->rows * groups; i++) {
    /* Exact in f16, and weights of about +-0.3 for any width. */
    scales[i] = (float)(oracle_random(state) % 64 + 64) / (512.0f * (float)levels / 4);
    zeros[i] = (int16_t)(r->symmetric ? levels / 2 : 1 + oracle_random(state) % (levels - 1));
    fzeros[i] = (float)zeros[i] + (floats ? (float)(oracle_random(state) % 8) / 8 - 0.5f : 0);
  }
  for (size_t c = 0; c < t->cols; c++)
    g_idx[c] = (int32_t)(r->act_order ? oracle_random(state) % groups : c / group);
  for (size_t i = 0; i < t->rows * t->cols; i++) {
    const size_t block = i / t->cols * groups + (size_t)g_idx[i % t->cols];
    codes[i] = (uint8_t)(oracle_random(state) % levels);
    t->values[i] =
        (double)scales[block] * (codes[i] - (floats ? (double)fzeros[block] : zeros[block]));
  }
  const ql_qmat_view view = {.struct_size = sizeof view,
                             .rows = t->rows,
                             .cols = t->cols,
                             .bits = r->bits,
                             .kind = floats         ? QL_GRID_FLOAT_ZERO
                                     : r->symmetric ? QL_GRID_SYM_CENTRED
                                                    : QL_GRID_ASYM,
                             .block_rows = 1,
                             .block_cols = group,
                             .groups = groups,
                             .scale_dtype = QL_DTYPE_F16,
                             .codes = codes,
                             .scales = scales,
                             .zeros = floats ? NULL : zeros,
                             .fzeros = floats ? fzeros : NULL,
                             .g_idx = r->act_order ? g_idx : NULL};
  ql_qmat *q = NULL;
  ql_error error = QL_ERROR_INIT;
  if (ql_qmat_create(ctx, &view, &q, &error) != QL_STATUS_OK)
    fail_msg("%s", error.text);
  free(codes);
  free(scales);
  free(zeros);
  free(fzeros);
  free(g_idx);
  return r->parts != 0 ? add_parts(t, r, q, state) : q;
}

/* Stored parts of a matrix, ready to be written. */
typedef struct stored {
  char layer[96];
  ql_format_part parts[QL_FORMAT_MAX_PARTS];
  ql_tensor tensors[QL_FORMAT_MAX_PARTS];
  size_t count;
} stored;

static void encode(const char *layer, const ql_qmat *q, const recipe *r, stored *out)
{
  ql_error error = QL_ERROR_INIT;
  if (ql_format_parts_of(r->format, q, out->parts, &out->count, &error))
    fail_msg("%s", error.text);
  for (size_t i = 0; i < out->count; i++) {
    size_t bytes;
    ql_format_part *p = &out->parts[i];
    assert_int_equal(ql_tensor_bytes(p->dtype, p->rank, p->shape, &bytes), QL_STATUS_OK);
    ql_tensor_init(&out->tensors[i], calloc(1, bytes), p->dtype, p->rank, p->shape);
  }
  if (ql_format_encode(ctx, r->format, q, out->tensors, out->count, &error) != QL_STATUS_OK)
    fail_msg("%s", error.text);
  snprintf(out->layer, sizeof out->layer, "%.*s", (int)(strlen(layer) - strlen(".weight")), layer);
}

/* Changes a stored part before it is written, or the name of a tensor. */
typedef struct spoil {
  const char *part; /* "layer.suffix" */
  void (*change)(ql_tensor *tensor);
  int skip; /* 1: the part is left out */
} spoil;

/* How the layer is to be quantized, NULL: not at all. */
typedef const recipe *(*choose)(const char *name);

static void declare_and_put(ql_writer *w, const char *name, const ql_tensor *t, int put)
{
  ql_error error = QL_ERROR_INIT;
  if ((put ? ql_writer_put(w, name, t, &error)
           : ql_writer_declare(w, name, t->dtype, t->rank, t->shape, &error)) != QL_STATUS_OK)
    fail_msg("%s", error.text);
}

static void write_stored(ql_writer *w, const stored *s, int put, const spoil *bad)
{
  for (size_t i = 0; i < s->count; i++) {
    char name[128];
    ql_tensor tensor = s->tensors[i];
    snprintf(name, sizeof name, "%s.%s", s->layer, s->parts[i].suffix);
    if (bad != NULL && strcmp(bad->part, name) == 0) {
      if (bad->skip)
        continue;
      bad->change(&tensor);
    }
    declare_and_put(w, name, &tensor, put);
  }
}

static void write_float(ql_writer *w, const oracle_tensor *t, int put)
{
  const size_t n = t->rows * (t->cols == 0 ? 1 : t->cols), shape[2] = {t->rows, t->cols};
  float *values = malloc(n * sizeof *values);
  ql_tensor tensor;
  for (size_t i = 0; i < n; i++)
    values[i] = (float)t->values[i];
  ql_tensor_init(&tensor, values, QL_DTYPE_F32, t->cols == 0 ? 1 : 2, shape);
  declare_and_put(w, t->name, &tensor, put);
  free(values);
}

/* Writes the checkpoint into scratch "model" and leaves the oracle with its weights. */
static void write_checkpoint(oracle_model *oracle, choose chooser, const char *extra,
                             const spoil *bad)
{
  uint64_t state = 5;
  stored *all = calloc(oracle->count, sizeof *all);
  assert_non_null(all);
  for (size_t i = 0; i < oracle->count; i++) {
    const recipe *r = chooser(oracle->tensors[i].name);
    if (r == NULL)
      continue;
    ql_qmat *q = quantize(&oracle->tensors[i], r, &state);
    encode(oracle->tensors[i].name, q, r, &all[i]);
    ql_qmat_destroy(q);
  }
  ql_writer *w = NULL;
  assert_int_equal(ql_writer_create(ctx, scratch_path("model"), NULL, &w, NULL), QL_STATUS_OK);
  for (int put = 0; put < 2; put++) {
    for (size_t i = 0; i < oracle->count; i++)
      if (all[i].count != 0)
        write_stored(w, &all[i], put, bad);
      else
        write_float(w, &oracle->tensors[i], put);
    if (!put)
      assert_int_equal(ql_writer_begin(w, NULL), QL_STATUS_OK);
  }
  assert_int_equal(ql_writer_finish(w, NULL), QL_STATUS_OK);
  ql_writer_destroy(w);
  for (size_t i = 0; i < oracle->count; i++)
    for (size_t j = 0; j < all[i].count; j++)
      free(all[i].tensors[j].data);
  free(all);
  oracle_spec spec = oracle->spec;
  spec.extra = extra;
  oracle_write_config(&spec, scratch_path("model"));
}

static const recipe *current;

static int is_linear(const char *name)
{
  return strstr(name, "_proj.weight") != NULL;
}

static const recipe *all_alike(const char *name)
{
  return is_linear(name) ? current : NULL;
}

static qle_model *open_mode(ql_compute compute, int32_t head_bits)
{
  qle_model *model = NULL;
  ql_error error = QL_ERROR_INIT;
  const qle_model_options options = {.compute = compute, .head_bits = head_bits};
  if (qle_model_open(ctx, scratch_path("model"), &options, &model, &error) != QL_STATUS_OK)
    fail_msg("%s", error.text);
  return model;
}

/* Integer products: activations of 16 bits are 256 times as near to f32 as those of 8 bits, which
 * these random models turn into a tenth of the largest logit. Neither has the bits of f32. */
static void check_modes(const int32_t *tokens, size_t count, size_t vocab, const float *f32,
                        const char *what)
{
  static const struct {
    ql_compute compute;
    float least, most;
  } modes[] = {{QL_COMPUTE_A16, 1e-6f, 1.5e-3f}, {QL_COMPUTE_A8, 2e-3f, 0.5f}};
  for (size_t i = 0; i < 2; i++) {
    qle_model *model = open_mode(modes[i].compute, 0);
    float *logits = run(model, tokens, count, count), *steps = run(model, tokens, count, 1);
    const float error = difference(logits, f32, count * vocab);
    const float step_error = difference(steps, f32, count * vocab);
    if (!(error >= modes[i].least && error <= modes[i].most) || !(step_error <= modes[i].most))
      fail_msg("%s, mode %d: logits differ by %.3g of the largest, %.3g one by one", what,
               (int)modes[i].compute, (double)error, (double)step_error);
    free(logits);
    free(steps);
    qle_model_close(model);
  }
}

static void check_logits(oracle_model *oracle, const char *what)
{
  enum { TOKENS = 40 };
  int32_t tokens[TOKENS];
  const size_t vocab = oracle->spec.vocab;
  double *expected = calloc(TOKENS * vocab, sizeof *expected);
  random_tokens(tokens, TOKENS, vocab, 2);
  oracle_logits(oracle, tokens, TOKENS, expected);
  qle_model *model = must_open(scratch_path("model"), 0);
  float *logits = run(model, tokens, TOKENS, TOKENS), *steps = run(model, tokens, TOKENS, 1);
  const double error = oracle_difference(logits, expected, TOKENS * vocab);
  if (!(error <= 2e-5) || !(oracle_difference(steps, expected, TOKENS * vocab) <= 2e-5))
    fail_msg("%s: logits differ by %.3g of the largest", what, error);
  check_modes(tokens, TOKENS, vocab, logits, what);
  ql_tensor weight, bias;
  ql_error status = QL_ERROR_INIT;
  assert_int_equal(qle_block_weight(model, 1, QLE_Q, &weight, &bias, &status),
                   QL_STATUS_UNSUPPORTED);
  assert_int_equal(qle_block_weight(model, 1, QLE_Q, NULL, &bias, &status), QL_STATUS_OK);
  assert_non_null(bias.data);
  free(expected);
  free(logits);
  free(steps);
  qle_model_close(model);
  remove_tree(scratch_path("model"));
}

static void config_of(const recipe *r, char *text, size_t size)
{
  char group[24] = "null";
  if (r->group != 0)
    snprintf(group, sizeof group, "%zu", r->group);
  if (r->format == QL_FORMAT_HQQ) {
    snprintf(text, size,
             ",\"quantization_config\":{\"quant_method\":\"hqq\",\"quant_config\":{"
             "\"weight_quant_params\":{\"nbits\":%d,\"group_size\":%s,\"axis\":1}}}",
             (int)r->bits, group);
    return;
  }
  snprintf(text, size,
           ",\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":%d,\"group_size\":%ld,"
           "\"sym\":%s,\"desc_act\":%s,\"checkpoint_format\":\"%s\"}",
           (int)r->bits, r->group == 0 ? -1L : (long)r->group, r->symmetric ? "true" : "false",
           r->act_order ? "true" : "false", r->format == QL_FORMAT_GPTQ ? "gptq" : "gptq_v2");
}

static void test_recipes(void **state)
{
  (void)state;
  static const recipe recipes[] = {
      {"4 bits, symmetric, v1", QL_FORMAT_GPTQ, 4, 32, 1, 0, 0, 0, 0},
      {"4 bits, asymmetric, v1", QL_FORMAT_GPTQ, 4, 32, 0, 0, 0, 0, 0},
      {"4 bits, asymmetric, activation order", QL_FORMAT_GPTQ_V2, 4, 16, 0, 1, 0, 0, 0},
      {"3 bits, whole rows", QL_FORMAT_GPTQ, 3, 0, 1, 0, 0, 0, 0},
      {"8 bits", QL_FORMAT_GPTQ_V2, 8, 64, 1, 0, 0, 0, 0},
      {"2 bits, activation order", QL_FORMAT_GPTQ_V2, 2, 32, 0, 1, 0, 0, 0},
      {"a low-rank term", QL_FORMAT_GPTQ, 4, 32, 1, 0, QL_PART_LOW_RANK, 0, QL_DTYPE_F16},
      {"side columns in int8", QL_FORMAT_GPTQ_V2, 3, 32, 0, 0, QL_PART_SIDE_COLUMNS, QL_DTYPE_I8,
       0},
      {"all parts", QL_FORMAT_GPTQ_V2, 4, 16, 0, 1,
       QL_PART_IN_SCALE | QL_PART_SIDE_COLUMNS | QL_PART_LOW_RANK, QL_DTYPE_F16, QL_DTYPE_F32},
  };
  for (size_t i = 0; i < sizeof recipes / sizeof recipes[0]; i++) {
    char config[256];
    oracle_model *oracle = oracle_create(&base, 11);
    current = &recipes[i];
    config_of(current, config, sizeof config);
    write_checkpoint(oracle, all_alike, config, NULL);
    check_logits(oracle, current->name);
    oracle_free(oracle);
  }
}

/* Float zero points, all widths and ways of packing. */
static void test_hqq(void **state)
{
  (void)state;
  for (int32_t bits = 1; bits <= 8; bits++) {
    static const size_t groups[] = {32, 16, 0};
    recipe r = {"hqq", QL_FORMAT_HQQ, bits, groups[bits % 3], 0, 0, 0, 0, 0};
    if (bits == 5) {
      r.parts = QL_PART_IN_SCALE | QL_PART_LOW_RANK;
      r.lora = QL_DTYPE_F32;
    }
    char config[256];
    oracle_model *oracle = oracle_create(&base, 14);
    current = &r;
    config_of(current, config, sizeof config);
    write_checkpoint(oracle, all_alike, config, NULL);
    check_logits(oracle, "hqq");
    oracle_free(oracle);
  }
}

/* Rows so long that integer sums over them might not fit: these alone stay in floating point. */
static void test_long_rows(void **state)
{
  (void)state;
  static const recipe r = {"8 bits, long rows", QL_FORMAT_GPTQ_V2, 8, 0, 0, 0, 0, 0, 0};
  char config[256];
  oracle_spec spec = base;
  spec.hidden = 16;
  spec.heads = 2;
  spec.kv_heads = 1;
  spec.head_dim = 8;
  spec.ffn = 66560;
  oracle_model *oracle = oracle_create(&spec, 16);
  current = &r;
  config_of(current, config, sizeof config);
  write_checkpoint(oracle, all_alike, config, NULL);
  check_logits(oracle, current->name);
  oracle_free(oracle);
}

static const recipe four = {"4 bits", QL_FORMAT_GPTQ, 4, 32, 1, 0, 0, 0, 0};
static const recipe eight = {"8 bits", QL_FORMAT_GPTQ, 8, 16, 0, 0, 0, 0, 0};

/* Block 0 left alone, 8 bits for down, 4 for the rest, and the head too. */
static const recipe *mixed(const char *name)
{
  if (strstr(name, "layers.0.") != NULL || (!is_linear(name) && strcmp(name, "lm_head.weight")))
    return NULL;
  return strstr(name, "down_proj") != NULL ? &eight : &four;
}

static void test_mixed(void **state)
{
  (void)state;
  oracle_spec spec = base;
  spec.vocab = 48;
  oracle_model *oracle = oracle_create(&spec, 12);
  write_checkpoint(oracle, mixed,
                   ",\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4,"
                   "\"group_size\":32,\"sym\":true,\"lm_head\":true,\"dynamic\":{"
                   "\"-:model\\\\.layers\\\\.0\\\\.\":{},\"+:.*down_proj\":{\"bits\":8,"
                   "\"group_size\":16,\"sym\":false}}}",
                   NULL);
  check_logits(oracle, "mixed");
  oracle_free(oracle);
}

static void must_refuse_of(const recipe *r, const char *extra, const spoil *bad, ql_status status,
                           const char *word)
{
  oracle_model *oracle = oracle_create(&base, 13);
  current = r;
  write_checkpoint(oracle, all_alike, extra, bad);
  oracle_free(oracle);
  qle_model *model = NULL;
  ql_error error = QL_ERROR_INIT;
  const ql_status got = qle_model_open(ctx, scratch_path("model"), NULL, &model, &error);
  if (got != status || strstr(error.text, word) == NULL)
    fail_msg("%d, not %d, with \"%s\": %s", (int)got, (int)status, word, error.text);
  remove_tree(scratch_path("model"));
}

static void must_refuse(const char *extra, const spoil *bad, ql_status status, const char *word)
{
  must_refuse_of(&four, extra, bad, status, word);
}

static void set_first_i32(ql_tensor *tensor)
{
  *(int32_t *)tensor->data = 77;
}

static void set_nan(ql_tensor *tensor)
{
  ((uint16_t *)tensor->data)[9] = 0x7e01;
}

static void halve(ql_tensor *tensor)
{
  tensor->shape[0] /= 2;
}

static void test_hostile(void **state)
{
  (void)state;
  static const char good[] = ",\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4,"
                             "\"group_size\":32}";
  static const char target[] = "model.layers.1.mlp.up_proj";
  must_refuse("", NULL, QL_STATUS_FORMAT, "self_attn.q_proj.qweight");
  must_refuse(",\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":8,\"group_size\":32}",
              NULL, QL_STATUS_SHAPE, "self_attn.q_proj.qweight");
  must_refuse(",\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":16}",
              NULL, QL_STATUS_SHAPE, "self_attn.q_proj.qzeros");
  must_refuse(good, &(spoil){.part = "model.layers.1.mlp.up_proj.qzeros", .skip = 1},
              QL_STATUS_NOT_FOUND, "up_proj.qzeros");
  must_refuse(good, &(spoil){.part = "model.layers.1.mlp.up_proj.scales", .change = set_nan},
              QL_STATUS_NUMERIC, target);
  must_refuse(good, &(spoil){.part = "model.layers.1.mlp.up_proj.g_idx", .change = set_first_i32},
              QL_STATUS_FORMAT, target);
  must_refuse(good, &(spoil){.part = "model.layers.1.mlp.up_proj.qweight", .change = halve},
              QL_STATUS_SHAPE, target);
}

static void clear_i32(ql_tensor *tensor)
{
  *(int32_t *)tensor->data = 0;
}

static void test_hostile_hqq(void **state)
{
  (void)state;
  static const recipe r = {"hqq", QL_FORMAT_HQQ, 4, 32, 0, 0, 0, 0, 0};
  static const char target[] = "model.layers.1.mlp.up_proj";
  char good[256];
  config_of(&r, good, sizeof good);
  must_refuse_of(&r, "", NULL, QL_STATUS_FORMAT, "self_attn.q_proj.W_q");
  must_refuse_of(&r, ",\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4}", NULL,
                 QL_STATUS_FORMAT, "self_attn.q_proj.W_q");
  must_refuse_of(&r, ",\"quantization_config\":{\"quant_method\":\"hqq\"}", NULL, QL_STATUS_FORMAT,
                 "quant_config");
  must_refuse_of(&r,
                 ",\"quantization_config\":{\"quant_method\":\"hqq\",\"quant_config\":{"
                 "\"weight_quant_params\":{\"nbits\":4,\"axis\":0}}}",
                 NULL, QL_STATUS_UNSUPPORTED, "axis");
  must_refuse_of(&r,
                 ",\"quantization_config\":{\"quant_method\":\"hqq\",\"quant_config\":{"
                 "\"weight_quant_params\":{\"nbits\":9}}}",
                 NULL, QL_STATUS_FORMAT, "nbits");
  must_refuse_of(&r,
                 ",\"quantization_config\":{\"quant_method\":\"hqq\",\"quant_config\":{"
                 "\"weight_quant_params\":{\"nbits\":4},\"zero_quant_params\":{}}}",
                 NULL, QL_STATUS_UNSUPPORTED, "zero_quant_params");
  must_refuse_of(&r, good, &(spoil){.part = "model.layers.1.mlp.up_proj.zero", .skip = 1},
                 QL_STATUS_NOT_FOUND, target);
  must_refuse_of(&r, good, &(spoil){.part = "model.layers.1.mlp.up_proj.scale", .change = set_nan},
                 QL_STATUS_NUMERIC, target);
  must_refuse_of(&r, good, &(spoil){.part = "model.layers.1.mlp.up_proj.axis", .change = clear_i32},
                 QL_STATUS_UNSUPPORTED, target);
  must_refuse_of(&r, good, &(spoil){.part = "model.layers.1.mlp.up_proj.W_q", .change = halve},
                 QL_STATUS_SHAPE, target);
}

/* Optional parts that are not whole, or not those of the layer. */
static void test_hostile_parts(void **state)
{
  (void)state;
  static const recipe all = {"all parts",
                             QL_FORMAT_GPTQ,
                             4,
                             32,
                             1,
                             0,
                             QL_PART_IN_SCALE | QL_PART_SIDE_COLUMNS | QL_PART_LOW_RANK,
                             QL_DTYPE_I8,
                             QL_DTYPE_F16};
  static const struct {
    const char *part;
    void (*change)(ql_tensor *tensor);
    ql_status status;
  } cases[] = {{"outlieridx", NULL, QL_STATUS_FORMAT},
               {"oweight", NULL, QL_STATUS_FORMAT},
               {"oscales", NULL, QL_STATUS_FORMAT},
               {"lora_A.weight", NULL, QL_STATUS_FORMAT},
               {"lora_B.weight", NULL, QL_STATUS_FORMAT},
               {"in_scale", halve, QL_STATUS_SHAPE},
               {"oweight", halve, QL_STATUS_SHAPE},
               {"lora_B.weight", halve, QL_STATUS_SHAPE},
               {"lora_B.weight", set_nan, QL_STATUS_NUMERIC},
               {"outlieridx", set_first_i32, QL_STATUS_FORMAT}};
  char config[256];
  config_of(&all, config, sizeof config);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char part[96];
    snprintf(part, sizeof part, "model.layers.1.mlp.up_proj.%s", cases[i].part);
    const spoil bad = {part, cases[i].change, cases[i].change == NULL};
    must_refuse_of(&all, config, &bad, cases[i].status, "model.layers.1.mlp.up_proj");
  }
}

/* g_idx may be missing, unless the configuration says that columns were reordered. */
static void test_no_group_index(void **state)
{
  (void)state;
  char config[256];
  recipe ordered = four;
  ordered.act_order = 1;
  const spoil without = {.part = "model.layers.1.mlp.up_proj.g_idx", .skip = 1};
  oracle_model *oracle = oracle_create(&base, 14);
  current = &four;
  config_of(&four, config, sizeof config);
  write_checkpoint(oracle, all_alike, config, &without);
  check_logits(oracle, "no group index");
  oracle_free(oracle);
  config_of(&ordered, config, sizeof config);
  must_refuse(config, &without, QL_STATUS_NOT_FOUND, without.part);
}

/* A head in floating point is rounded to bits: the error is that of the grid, half a step of at
 * most 2 max|w| / 255 for each weight. One that is stored quantized stays as it is. */
static void test_head_bits(void **state)
{
  (void)state;
  enum { TOKENS = 12 };
  int32_t tokens[TOKENS];
  char config[256];
  oracle_model *oracle = oracle_create(&base, 15);
  random_tokens(tokens, TOKENS, base.vocab, 3);
  current = &four;
  config_of(&four, config, sizeof config);
  write_checkpoint(oracle, all_alike, config, NULL);
  oracle_free(oracle);
  const int32_t bits[] = {0, 8, 4};
  float *logits[3];
  for (size_t i = 0; i < 3; i++) {
    qle_model *model = open_mode(QL_COMPUTE_F32, bits[i]);
    logits[i] = run(model, tokens, TOKENS, TOKENS);
    qle_model_close(model);
  }
  const float eight_bits = difference(logits[1], logits[0], TOKENS * base.vocab);
  const float four_bits = difference(logits[2], logits[0], TOKENS * base.vocab);
  if (!(eight_bits > 1e-5f && eight_bits < 1e-2f && four_bits > 4 * eight_bits && four_bits < 0.2f))
    fail_msg("logits differ by %.3g with 8 bits, by %.3g with 4", (double)eight_bits,
             (double)four_bits);
  for (size_t i = 0; i < 3; i++)
    free(logits[i]);
  qle_model *model = NULL;
  const qle_model_options odd = {.head_bits = 9};
  assert_int_equal(qle_model_open(ctx, scratch_path("model"), &odd, &model, NULL),
                   QL_STATUS_INVALID_ARGUMENT);
  remove_tree(scratch_path("model"));
}

/* Linears of one input in one product: the same bits, in every mode, for prompts and single tokens,
 * and only where their grids are alike. */
static void check_join(const recipe *r, int bias, int qkv, int gate_up)
{
  enum { TOKENS = 20 };
  int32_t tokens[TOKENS];
  char config[256];
  oracle_spec spec = base;
  spec.qkv_bias = bias;
  if (!bias)
    spec.class_name = "LlamaForCausalLM";
  oracle_model *oracle = oracle_create(&spec, 17);
  random_tokens(tokens, TOKENS, spec.vocab, 4);
  current = r;
  config_of(r, config, sizeof config);
  write_checkpoint(oracle, all_alike, config, NULL);
  oracle_free(oracle);
  for (ql_compute compute = QL_COMPUTE_F32; compute <= QL_COMPUTE_A8; compute++) {
    qle_model *joined = NULL, *apart = open_mode(compute, 0);
    const qle_model_options options = {.compute = compute, .join = 1};
    assert_int_equal(qle_model_open(ctx, scratch_path("model"), &options, &joined, NULL),
                     QL_STATUS_OK);
    assert_int_equal(joined->blocks[1].joined[QLE_JOIN_QKV].packed != NULL, qkv);
    assert_int_equal(joined->blocks[1].joined[QLE_JOIN_GATE_UP].packed != NULL, gate_up);
    for (size_t step = 1; step <= TOKENS; step += TOKENS - 1) {
      float *a = run(joined, tokens, TOKENS, step), *b = run(apart, tokens, TOKENS, step);
      assert_memory_equal(a, b, TOKENS * spec.vocab * sizeof *a);
      free(a);
      free(b);
    }
    qle_model_close(joined);
    qle_model_close(apart);
  }
  remove_tree(scratch_path("model"));
}

static void test_join(void **state)
{
  (void)state;
  static const recipe asym = {"4 bits, asymmetric", QL_FORMAT_GPTQ_V2, 4, 32, 0, 0, 0, 0, 0};
  static const recipe rows = {"3 bits, whole rows", QL_FORMAT_GPTQ, 3, 0, 1, 0, 0, 0, 0};
  static const recipe floats = {"hqq", QL_FORMAT_HQQ, 4, 32, 0, 0, 0, 0, 0};
  static const recipe order = {"act order", QL_FORMAT_GPTQ_V2, 4, 16, 0, 1, 0, 0, 0};
  static const recipe parts = {"parts", QL_FORMAT_GPTQ,   4, 32,          1,
                               0,       QL_PART_LOW_RANK, 0, QL_DTYPE_F16};
  check_join(&four, 0, 1, 1);
  check_join(&asym, 0, 1, 1);
  check_join(&rows, 0, 1, 1);
  check_join(&floats, 0, 1, 1);
  check_join(&four, 1, 0, 1);
  check_join(&order, 0, 0, 0);
  check_join(&parts, 0, 0, 0);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_recipes),        cmocka_unit_test(test_hqq),
      cmocka_unit_test(test_hostile_hqq),    cmocka_unit_test(test_mixed),
      cmocka_unit_test(test_hostile),        cmocka_unit_test(test_hostile_parts),
      cmocka_unit_test(test_no_group_index), cmocka_unit_test(test_head_bits),
      cmocka_unit_test(test_long_rows),      cmocka_unit_test(test_join),
  };
  return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
