/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "model.h"

#include <quantlib/quantlib.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What tests in other languages need of the library and the engine and `ql` does not show:
 *   ql_interop list CHECKPOINT OUT            names, types and shapes as JSON; their bytes to OUT
 *   ql_interop copy CHECKPOINT DIR BYTES      read and write again, shards of that many bytes
 *   ql_interop dequantize MODEL TYPE OUT < LAYERS GPTQ layers as F32, F16 or BF16, one after the
 * other ql_interop logits MODEL CHUNK OUT < TOKENS    f32 logits of all tokens, CHUNK of them a
 * call ql_interop refuses CHECKPOINT             exit code 0 when it cannot be opened */

typedef struct {
  ql_ctx *ctx;
  ql_error error;
} session;

#define TRY(expression) \
  do { \
    const ql_status try_ = (expression); \
    if (try_ != QL_STATUS_OK) \
      return try_; \
  } while (0)

static ql_status write_bytes(const char *path, const char *mode, const void *bytes, size_t size)
{
  FILE *stream = fopen(path, mode);
  if (stream == NULL)
    return QL_STATUS_IO;
  const size_t written = size == 0 ? 0 : fwrite(bytes, 1, size, stream);
  return fclose(stream) == 0 && written == size ? QL_STATUS_OK : QL_STATUS_IO;
}

static ql_status info_at(const ql_file *file, size_t i, ql_file_info *info)
{
  memset(info, 0, sizeof *info);
  info->struct_size = sizeof *info;
  return ql_file_info_at(file, i, info);
}

/* -------- list -------- */

static ql_status list_one(session *s, const ql_file *file, size_t i, const char *out)
{
  ql_file_info info;
  ql_tensor tensor;
  TRY(info_at(file, i, &info));
  TRY(ql_file_tensor(file, i, &tensor, &s->error));
  printf("%s{\"name\":\"%s\",\"dtype\":\"%s\",\"shape\":[", i == 0 ? "" : ",\n", info.name,
         ql_dtype_name(info.dtype));
  for (int32_t axis = 0; axis < info.rank; axis++)
    printf("%s%zu", axis == 0 ? "" : ",", info.shape[axis]);
  printf("],\"bytes\":%" PRIu64 "}", info.bytes);
  return write_bytes(out, "ab", tensor.data, (size_t)info.bytes);
}

static ql_status list(session *s, char **arguments)
{
  ql_file *file = NULL;
  TRY(ql_file_open(s->ctx, arguments[0], &file, &s->error));
  ql_status status = write_bytes(arguments[1], "wb", NULL, 0);
  printf("[");
  for (size_t i = 0; i < ql_file_count(file) && status == QL_STATUS_OK; i++)
    status = list_one(s, file, i, arguments[1]);
  printf("]\n");
  ql_file_close(file);
  return status;
}

static ql_status refuses(session *s, char **arguments)
{
  ql_file *file = NULL;
  const ql_status status = ql_file_open(s->ctx, arguments[0], &file, &s->error);
  ql_file_close(file);
  printf("%s\n", s->error.text);
  return status == QL_STATUS_OK ? QL_STATUS_SELF_CHECK : QL_STATUS_OK;
}

/* -------- copy -------- */

static ql_status declare_all(session *s, const ql_file *file, ql_writer *writer)
{
  for (size_t i = 0; i < ql_file_count(file); i++) {
    ql_file_info info;
    TRY(info_at(file, i, &info));
    TRY(ql_writer_declare(writer, info.name, info.dtype, info.rank, info.shape, &s->error));
  }
  return ql_writer_begin(writer, &s->error);
}

static ql_status put_all(session *s, const ql_file *file, ql_writer *writer)
{
  for (size_t i = 0; i < ql_file_count(file); i++) {
    ql_file_info info;
    ql_tensor tensor;
    TRY(info_at(file, i, &info));
    TRY(ql_file_tensor(file, i, &tensor, &s->error));
    TRY(ql_writer_put(writer, info.name, &tensor, &s->error));
  }
  return ql_writer_finish(writer, &s->error);
}

static ql_status copy(session *s, char **arguments)
{
  ql_writer_config config = QL_WRITER_CONFIG_INIT;
  ql_file *file = NULL;
  ql_writer *writer = NULL;
  config.shard_bytes = strtoull(arguments[2], NULL, 10);
  TRY(ql_file_open(s->ctx, arguments[0], &file, &s->error));
  ql_status status = ql_writer_create(s->ctx, arguments[1], &config, &writer, &s->error);
  if (status == QL_STATUS_OK)
    status = declare_all(s, file, writer);
  if (status == QL_STATUS_OK)
    status = put_all(s, file, writer);
  ql_writer_destroy(writer);
  ql_file_close(file);
  return status;
}

/* -------- dequantize -------- */

static const char *const suffixes[] = {"qweight", "qzeros", "scales", "g_idx"};

static ql_status decode_layer(session *s, const ql_file *file, const qle_quant *quant,
                              const char *layer, ql_qmat **q)
{
  ql_tensor parts[4];
  const char *found[4];
  size_t count = 0;
  for (size_t i = 0; i < 4; i++) {
    char name[256];
    size_t index;
    snprintf(name, sizeof name, "%s.%s", layer, suffixes[i]);
    if (ql_file_find(file, name, &index, NULL) != QL_STATUS_OK)
      continue;
    TRY(ql_file_tensor(file, index, &parts[count], &s->error));
    found[count++] = suffixes[i];
  }
  const ql_format_decode_info info = {sizeof info, quant->bits, quant->symmetric, quant->group};
  return ql_format_decode(s->ctx, quant->format, &info, found, parts, count, q, &s->error);
}

static ql_status write_matrix(session *s, const ql_qmat *q, const char *type, const char *out)
{
  ql_qmat_view view = {.struct_size = sizeof view};
  const ql_dtype dtype = ql_dtype_from_name(type);
  TRY(ql_qmat_get(q, &view));
  const size_t bytes = view.rows * view.cols * (ql_dtype_bits(dtype) / 8);
  void *data = malloc(bytes);
  if (data == NULL)
    return QL_STATUS_NO_MEMORY;
  ql_tensor tensor;
  ql_status status = ql_tensor_init_2d(&tensor, data, dtype, view.rows, view.cols);
  if (status == QL_STATUS_OK)
    status = ql_dequantize(s->ctx, q, &tensor, &s->error);
  if (status == QL_STATUS_OK)
    status = write_bytes(out, "ab", data, bytes);
  free(data);
  return status;
}

static ql_status dequantize_layer(session *s, const qle_config *config, const ql_file *file,
                                  const char *layer, char **arguments)
{
  qle_quant quant;
  ql_qmat *q = NULL;
  TRY(qle_config_layer_quant(config, layer, &quant, &s->error));
  ql_status status = decode_layer(s, file, &quant, layer, &q);
  if (status == QL_STATUS_OK)
    status = write_matrix(s, q, arguments[1], arguments[2]);
  ql_qmat_destroy(q);
  return status;
}

static ql_status dequantize(session *s, char **arguments)
{
  qle_config config;
  ql_file *file = NULL;
  char layer[200];
  TRY(write_bytes(arguments[2], "wb", NULL, 0));
  TRY(qle_config_read(arguments[0], &config, &s->error));
  ql_status status = ql_file_open(s->ctx, arguments[0], &file, &s->error);
  while (status == QL_STATUS_OK && scanf("%199s", layer) == 1)
    status = dequantize_layer(s, &config, file, layer, arguments);
  ql_file_close(file);
  qle_config_free(&config);
  return status;
}

/* -------- logits -------- */

enum { MAX_TOKENS = 1 << 16 };

static ql_status forward(session *s, qle_model *model, const int32_t *tokens, size_t count,
                         size_t chunk, const char *out)
{
  const size_t vocab = qle_model_config(model)->vocab;
  float *logits = malloc(count * vocab * sizeof *logits);
  ql_kv *cache = NULL;
  ql_status status =
      logits == NULL ? QL_STATUS_NO_MEMORY : qle_model_cache(model, count, &cache, &s->error);
  for (size_t done = 0; done < count && status == QL_STATUS_OK; done += chunk) {
    const size_t length = count - done < chunk ? count - done : chunk;
    const qle_batch batch = {1, &length, &cache};
    status = qle_model_forward(model, &batch, tokens + done, 0, logits + done * vocab, &s->error);
  }
  if (status == QL_STATUS_OK)
    status = write_bytes(out, "wb", logits, count * vocab * sizeof *logits);
  ql_kv_destroy(cache);
  free(logits);
  return status;
}

static ql_status logits(session *s, char **arguments)
{
  qle_model *model = NULL;
  const size_t chunk = strtoul(arguments[1], NULL, 10);
  int32_t *tokens = malloc(MAX_TOKENS * sizeof *tokens);
  size_t count = 0;
  if (tokens == NULL)
    return QL_STATUS_NO_MEMORY;
  while (count < MAX_TOKENS && scanf("%" SCNd32, &tokens[count]) == 1)
    count++;
  const qle_model_options options = {0};
  ql_status status = qle_model_open(s->ctx, arguments[0], &options, &model, &s->error);
  if (status == QL_STATUS_OK)
    status = forward(s, model, tokens, count, chunk == 0 ? count : chunk, arguments[2]);
  qle_model_close(model);
  free(tokens);
  return status;
}

static const struct {
  const char *name;
  int arguments;
  ql_status (*run)(session *s, char **arguments);
} commands[] = {
    {"list", 2, list},     {"copy", 3, copy},       {"dequantize", 3, dequantize},
    {"logits", 3, logits}, {"refuses", 1, refuses},
};

int main(int argc, char **argv)
{
  session s = {NULL, QL_ERROR_INIT};
  for (size_t i = 0; argc >= 2 && i < sizeof commands / sizeof commands[0]; i++) {
    if (strcmp(argv[1], commands[i].name) != 0 || argc - 2 != commands[i].arguments)
      continue;
    ql_status status = ql_ctx_create(NULL, &s.ctx, &s.error);
    if (status == QL_STATUS_OK)
      status = commands[i].run(&s, argv + 2);
    if (status != QL_STATUS_OK)
      fprintf(stderr, "%s: %s\n", ql_status_str(status), s.error.text);
    ql_ctx_destroy(s.ctx);
    return status == QL_STATUS_OK ? 0 : 1;
  }
  fprintf(stderr, "usage: ql_interop list|copy|dequantize|logits|refuses ...\n");
  return 2;
}
