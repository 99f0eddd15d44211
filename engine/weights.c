/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const linear_names[QLE_LINEARS] = {
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};

static const char *const part_names[4] = {"qweight", "qzeros", "scales", "g_idx"};

/* What only layers of compressed-tensors have. */
static const char int8_mark[] = "weight_scale";

/* And those of the HQQ program. */
static const char hqq_mark[] = "W_q";

const char *qle_linear_name(qle_linear which)
{
  return linear_names[which];
}

void qle_block_spec(const qle_config *config, size_t layer, qle_linear which, qle_linear_spec *spec)
{
  const size_t q = config->heads * config->head_dim, kv = config->kv_heads * config->head_dim;
  const size_t n[QLE_LINEARS] = {
      q, kv, kv, config->hidden, config->ffn, config->ffn, config->hidden};
  const size_t k[QLE_LINEARS] = {config->hidden, config->hidden, config->hidden, q,
                                 config->hidden, config->hidden, config->ffn};
  snprintf(spec->name, sizeof spec->name, "model.layers.%zu.%s", layer, linear_names[which]);
  spec->n = n[which];
  spec->k = k[which];
  spec->bias = which <= QLE_V   ? config->attention_bias
               : which == QLE_O ? config->output_bias
                                : config->mlp_bias;
}

/* "F32 [4, 8]" of a tensor. */
static void describe(const ql_file_info *info, char *text, size_t size)
{
  size_t used = (size_t)snprintf(text, size, "%s [", ql_dtype_name(info->dtype));
  for (int32_t i = 0; i < info->rank && used < size; i++)
    used += (size_t)snprintf(text + used, size - used, i == 0 ? "%zu" : ", %zu", info->shape[i]);
  if (used < size)
    snprintf(text + used, size - used, "]");
}

static ql_status fail_tensor(const ql_file_info *info, ql_status status, ql_error *error,
                             const char *expected)
{
  char found[128];
  describe(info, found, sizeof found);
  qle_fail(error, status, "%s: tensor %s is %s; %s", info->path, info->name, found, expected);
  qle_error_file(error, info->path);
  qle_error_tensor(error, info->name);
  return status;
}

/* Whether the file has a tensor of that name. */
static int exists(const ql_file *file, const char *name)
{
  size_t index;
  return ql_file_find(file, name, &index, NULL) == QL_STATUS_OK;
}

/* A tensor that must have this shape; cols 0 stands for rank 1. */
static ql_status find_shaped(const qle_model *model, const char *name, size_t rows, size_t cols,
                             ql_file_info *info, ql_tensor *out, unsigned char *seen,
                             ql_error *error)
{
  size_t index;
  QLE_TRY(ql_file_find(model->file, name, &index, error));
  memset(info, 0, sizeof *info);
  info->struct_size = sizeof *info;
  QLE_TRY(ql_file_info_at(model->file, index, info));
  const int32_t rank = cols == 0 ? 1 : 2;
  if (info->rank != rank || info->shape[0] != rows || (rank == 2 && info->shape[1] != cols)) {
    char expected[96];
    if (rank == 1)
      snprintf(expected, sizeof expected, "the configuration implies [%zu]", rows);
    else
      snprintf(expected, sizeof expected, "the configuration implies [%zu, %zu]", rows, cols);
    return fail_tensor(info, QL_STATUS_SHAPE, error, expected);
  }
  if (seen != NULL)
    seen[index] = 1;
  return ql_file_tensor(model->file, index, out, error);
}

static int is_float(ql_dtype dtype)
{
  return dtype == QL_DTYPE_F32 || dtype == QL_DTYPE_F16 || dtype == QL_DTYPE_BF16;
}

ql_status qle_float_find(const qle_model *model, const char *name, size_t rows, size_t cols,
                         ql_tensor *out, unsigned char *seen, ql_error *error)
{
  ql_file_info info;
  QLE_TRY(find_shaped(model, name, rows, cols, &info, out, seen, error));
  if (!is_float(info.dtype))
    return fail_tensor(&info, QL_STATUS_DTYPE, error, "F32, F16 or BF16 is expected");
  return QL_STATUS_OK;
}

static ql_status find_int32(const qle_model *model, const char *name, size_t rows, size_t cols,
                            ql_tensor *out, unsigned char *seen, ql_error *error)
{
  ql_file_info info;
  QLE_TRY(find_shaped(model, name, rows, cols, &info, out, seen, error));
  if (info.dtype != QL_DTYPE_I32)
    return fail_tensor(&info, QL_STATUS_DTYPE, error, "I32 is expected");
  return QL_STATUS_OK;
}

static size_t ceil_div(size_t a, size_t b)
{
  return a / b + (a % b != 0);
}

/* The parts of a GPTQ layer, in the order of part_names. */
static ql_status find_parts(const qle_model *model, const qle_linear_spec *spec,
                            qle_linear_source *source, unsigned char *seen, ql_error *error)
{
  const qle_quant *quant = &source->quant;
  const size_t bits = (size_t)quant->bits;
  const size_t groups = quant->group == 0 ? 1 : ceil_div(spec->k, quant->group);
  const size_t rows[4] = {ceil_div(spec->k * bits, 32), groups, groups, spec->k};
  const size_t cols[4] = {spec->n, ceil_div(spec->n * bits, 32), spec->n, 0};
  source->part_count = 0;
  for (size_t i = 0; i < 4; i++) {
    char name[128];
    snprintf(name, sizeof name, "%s.%s", spec->name, part_names[i]);
    /* Without it columns belong to groups in their order. */
    if (i == 3 && !quant->act_order && !exists(model->file, name))
      break;
    QLE_TRY(i == 2 ? qle_float_find(model, name, rows[i], cols[i], &source->parts[i], seen, error)
                   : find_int32(model, name, rows[i], cols[i], &source->parts[i], seen, error));
    source->part_names[source->part_count++] = part_names[i];
  }
  return QL_STATUS_OK;
}

/* Tensors of optional parts, doc/formats/parts.md; the decoder checks them. */
static ql_status find_extras(const qle_model *model, const qle_linear_spec *spec,
                             qle_linear_source *source, unsigned char *seen, ql_error *error)
{
  static const char *const extras[] = {"in_scale", "outlieridx",    "oweight",
                                       "oscales",  "lora_A.weight", "lora_B.weight"};
  for (size_t i = 0; i < sizeof extras / sizeof extras[0]; i++) {
    char name[128];
    size_t index;
    snprintf(name, sizeof name, "%s.%s", spec->name, extras[i]);
    if (ql_file_find(model->file, name, &index, NULL) != QL_STATUS_OK)
      continue;
    if (seen != NULL)
      seen[index] = 1;
    QLE_TRY(ql_file_tensor(model->file, index, &source->parts[source->part_count], error));
    source->part_names[source->part_count++] = extras[i];
  }
  return QL_STATUS_OK;
}

/* part: the tensor that tells that the layer is quantized. */
static ql_status find_quantized(const qle_model *model, const qle_linear_spec *spec,
                                const char *part, qle_linear_source *source, unsigned char *seen,
                                ql_error *error)
{
  const int int8 = strcmp(part, int8_mark) == 0, hqq = strcmp(part, hqq_mark) == 0;
  QLE_TRY(qle_config_layer_quant(&model->config, spec->name, &source->quant, error));
  const ql_format format = source->quant.format;
  if (int8 != (format == QL_FORMAT_INT_QUANTIZED) || hqq != (format == QL_FORMAT_HQQ) ||
      format == QL_FORMAT_NONE) {
    qle_fail(error, QL_STATUS_FORMAT,
             "tensor %s.%s is there, but the configuration does not say that %s is quantized like "
             "that",
             spec->name, part, spec->name);
    qle_error_tensor(error, spec->name);
    return QL_STATUS_FORMAT;
  }
  QLE_TRY(int8  ? qle_int8_find(model, spec, source, seen, error)
          : hqq ? qle_hqq_find(model, spec, source, seen, error)
                : find_parts(model, spec, source, seen, error));
  return find_extras(model, spec, source, seen, error);
}

/* The tensor that tells that a layer is quantized, NULL where none is. */
static const char *mark_of(const qle_model *model, const qle_linear_spec *spec)
{
  const char *const marks[3] = {part_names[0], int8_mark, hqq_mark};
  for (size_t i = 0; i < 3; i++) {
    char name[128];
    snprintf(name, sizeof name, "%s.%s", spec->name, marks[i]);
    if (exists(model->file, name))
      return marks[i];
  }
  return NULL;
}

ql_status qle_linear_find(const qle_model *model, const qle_linear_spec *spec,
                          qle_linear_source *source, unsigned char *seen, ql_error *error)
{
  char name[128];
  memset(source, 0, sizeof *source);
  const char *mark = mark_of(model, spec);
  source->quantized = mark != NULL;
  if (source->quantized) {
    QLE_TRY(find_quantized(model, spec, mark, source, seen, error));
  } else {
    snprintf(name, sizeof name, "%s.weight", spec->name);
    QLE_TRY(qle_float_find(model, name, spec->n, spec->k, &source->weight, seen, error));
  }
  /* Some writers give every quantized layer a bias, mostly of zeros. */
  snprintf(name, sizeof name, "%s.bias", spec->name);
  if (spec->bias || (source->quantized && exists(model->file, name)))
    return qle_float_find(model, name, spec->n, 0, &source->bias, seen, error);
  return QL_STATUS_OK;
}

ql_status qle_check_finite(const qle_model *model, const char *name, const ql_tensor *tensor,
                           ql_error *error)
{
  ql_error where = QL_ERROR_INIT;
  const ql_status status = ql_tensor_check_finite(model->ctx, tensor, &where);
  if (status == QL_STATUS_OK)
    return status;
  size_t index;
  ql_file_info info = {.struct_size = sizeof info, .path = "?"};
  if (ql_file_find(model->file, name, &index, NULL) == QL_STATUS_OK)
    ql_file_info_at(model->file, index, &info);
  qle_fail(error, status, "%s: tensor %s: %s", info.path, name, where.text);
  qle_error_file(error, info.path);
  qle_error_tensor(error, name);
  if (error != NULL) {
    error->row = where.row;
    error->col = where.col;
  }
  return status;
}

ql_status qle_vector_load(const qle_model *model, const char *name, size_t count, float **out,
                          ql_error *error)
{
  ql_tensor stored, copy;
  QLE_TRY(qle_float_find(model, name, count, 0, &stored, NULL, error));
  QLE_TRY(qle_check_finite(model, name, &stored, error));
  float *data = qle_alloc3(count, sizeof(float), 1);
  if (data == NULL)
    return qle_fail(error, QL_STATUS_NO_MEMORY, "no memory for %zu floats of %s", count, name);
  ql_status status = ql_tensor_init(&copy, data, QL_DTYPE_F32, 1, &count);
  if (status == QL_STATUS_OK)
    status = ql_tensor_convert(model->ctx, &stored, &copy, error);
  if (status != QL_STATUS_OK) {
    free(data);
    return status;
  }
  *out = data;
  return QL_STATUS_OK;
}

/* Names file and layer in an error that a library call left; place and hint stay. */
static ql_status name_layer(const qle_model *model, const qle_linear_spec *spec, const char *part,
                            ql_status status, ql_error *error)
{
  if (status == QL_STATUS_OK || error == NULL)
    return status;
  const ql_error was = *error;
  char name[128];
  size_t index;
  ql_file_info info = {.struct_size = sizeof info};
  qle_fail(error, status, "%s: %s", spec->name, was.text);
  qle_error_tensor(error, spec->name);
  error->row = was.row;
  error->col = was.col;
  error->cause = was.cause;
  memcpy(error->hint, was.hint, sizeof error->hint);
  snprintf(name, sizeof name, "%s.%s", spec->name, part);
  if (ql_file_find(model->file, name, &index, NULL) == QL_STATUS_OK &&
      ql_file_info_at(model->file, index, &info) == QL_STATUS_OK)
    qle_error_file(error, info.path);
  return status;
}

static ql_status decode(const qle_model *model, const qle_linear_source *source, ql_qmat **out,
                        ql_error *error)
{
  const ql_format_decode_info info = {sizeof info, source->quant.bits, source->quant.symmetric,
                                      source->quant.group};
  return ql_format_decode(model->ctx, source->quant.format, &info, source->part_names,
                          source->parts, source->part_count, out, error);
}

/* What has been decoded need not stay in memory. */
static void release_parts(const qle_model *model, const qle_linear_spec *spec,
                          const qle_linear_source *source)
{
  for (size_t i = 0; i < source->part_count; i++) {
    char name[128];
    size_t index;
    snprintf(name, sizeof name, "%s.%s", spec->name, source->part_names[i]);
    if (ql_file_find(model->file, name, &index, NULL) == QL_STATUS_OK)
      ql_file_release(model->file, index);
  }
}

static ql_status pack_quantized(const qle_model *model, const qle_linear_spec *spec,
                                const qle_linear_source *source, ql_packed **out, ql_error *error)
{
  ql_qmat *q = NULL;
  ql_status status = decode(model, source, &q, error);
  release_parts(model, spec, source);
  if (status == QL_STATUS_OK)
    status = ql_pack_take(model->ctx, q, out, error);
  return name_layer(model, spec, source->part_names[0], status, error);
}

ql_status qle_linear_decode(const qle_model *model, const qle_linear_spec *spec, ql_qmat **out,
                            ql_error *error)
{
  qle_linear_source source;
  QLE_TRY(qle_linear_find(model, spec, &source, NULL, error));
  *out = NULL;
  if (!source.quantized)
    return QL_STATUS_OK;
  return name_layer(model, spec, source.part_names[0], decode(model, &source, out, error), error);
}

static ql_status pack_float(const qle_model *model, const qle_linear_spec *spec,
                            const ql_tensor *weight, ql_packed **out, ql_error *error)
{
  char name[128];
  snprintf(name, sizeof name, "%s.weight", spec->name);
  QLE_TRY(qle_check_finite(model, name, weight, error));
  QLE_TRY(
      name_layer(model, spec, "weight", ql_pack_float_take(model->ctx, weight, out, error), error));
  return QL_STATUS_OK;
}

ql_status qle_check_packed(const qle_linear_spec *spec, const ql_packed *packed, ql_error *error)
{
  ql_packed_info info = {.struct_size = sizeof info};
  QLE_TRY(ql_packed_get(packed, &info));
  if (info.n == spec->n && info.k == spec->k)
    return QL_STATUS_OK;
  qle_fail(error, QL_STATUS_SHAPE,
           "%s holds a matrix [%zu, %zu]; the configuration implies "
           "[%zu, %zu]",
           spec->name, info.n, info.k, spec->n, spec->k);
  qle_error_tensor(error, spec->name);
  return QL_STATUS_SHAPE;
}

/* Asked with a product of no rows. */
int qle_serves_integers(const ql_ctx *ctx, const ql_packed *packed)
{
  float none = 0;
  ql_packed_info info = {.struct_size = sizeof info};
  ql_gemm_options options = QL_GEMM_OPTIONS_INIT;
  options.compute = QL_COMPUTE_A16;
  if (ql_packed_get(packed, &info) != QL_STATUS_OK)
    return 0;
  const ql_tensor x = qle_view(&none, 0, info.k), y = qle_view(&none, 0, info.n);
  return ql_gemm(ctx, packed, &x, &y, &options, NULL) == QL_STATUS_OK;
}

ql_status qle_linear_load(const qle_model *model, const qle_linear_spec *spec, qle_weights *out,
                          ql_error *error)
{
  qle_linear_source source;
  ql_packed *packed = NULL;
  QLE_TRY(qle_linear_find(model, spec, &source, NULL, error));
  if (source.bias.data != NULL) {
    char name[128];
    snprintf(name, sizeof name, "%s.bias", spec->name);
    QLE_TRY(qle_check_finite(model, name, &source.bias, error));
  }
  QLE_TRY(qle_packed_find(model, spec->name, &packed, error));
  if (packed == NULL)
    QLE_TRY(source.quantized ? pack_quantized(model, spec, &source, &packed, error)
                             : pack_float(model, spec, &source.weight, &packed, error));
  const ql_status status = qle_check_packed(spec, packed, error);
  if (status != QL_STATUS_OK) {
    ql_packed_destroy(packed);
    return status;
  }
  out->packed = packed;
  out->bias = source.bias;
  out->a8 = source.a8;
  out->act = source.act;
  out->codes = source.quantized && qle_serves_integers(model->ctx, packed);
  return QL_STATUS_OK;
}

ql_tensor qle_view(const float *data, size_t rows, size_t cols)
{
  ql_tensor view;
  /* Cannot overflow: the memory exists. */
  ql_tensor_init_2d(&view, (void *)(uintptr_t)data, QL_DTYPE_F32, rows, cols);
  return view;
}

static void choose_compute(const qle_model *model, const qle_weights *w, ql_gemm_options *options)
{
  static const ql_act_config by_group = {.struct_size = sizeof by_group, .mode = QL_ACT_GROUP};
  options->compute = w->a8 ? QL_COMPUTE_A8 : w->codes ? model->compute : QL_COMPUTE_F32;
  if (options->compute == QL_COMPUTE_A8)
    options->act = w->a8 ? &w->act : &by_group;
}

ql_status qle_linear_apply(const qle_model *model, const qle_weights *w, const float *x, float *y,
                           size_t rows, size_t k, size_t n, ql_error *error)
{
  const ql_tensor in = qle_view(x, rows, k), out = qle_view(y, rows, n);
  ql_gemm_options options = QL_GEMM_OPTIONS_INIT;
  if (w->bias.data != NULL)
    options.bias = &w->bias;
  choose_compute(model, w, &options);
  QLE_TRY(ql_gemm_workspace(model->ctx, w->packed, rows, &options, &options.workspace_bytes));
  if (options.workspace_bytes != 0) {
    options.workspace =
        qle_scratch_get(model->scratch, QLE_BUF_WORK, options.workspace_bytes, 1, 1);
    if (options.workspace == NULL)
      return qle_fail(error, QL_STATUS_NO_MEMORY, "no memory for %zu bytes of workspace",
                      options.workspace_bytes);
  }
  return ql_gemm(model->ctx, w->packed, &in, &out, &options, error);
}
