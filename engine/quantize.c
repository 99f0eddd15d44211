/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "quantize_run.h"
#include "util.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

double qle_now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

ql_status qle_progress(const qle_events *events, const char *phase, double fraction,
                       ql_error *error)
{
  if (events->progress == NULL || events->progress(events->user, phase, fraction) == 0)
    return QL_STATUS_OK;
  return qle_fail(error, QL_STATUS_CANCELLED, "cancelled while %s", phase);
}

void qle_warn(const qle_events *events, const char *format, ...)
{
  if (events->warning == NULL)
    return;
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  events->warning(events->user, text);
}

static int all_skipped(const qle_run *r, size_t layer, qle_input input)
{
  for (const qle_linear *l = qle_input_linears(input); *l != QLE_LINEARS; l++)
    if (!r->plan.layers[layer * QLE_LINEARS + *l].skip)
      return 0;
  return 1;
}

static ql_status gather_and_solve(qle_run *r, size_t layer, qle_input input, ql_error *error)
{
  ql_stats *stats = NULL;
  const uint32_t what = qle_run_stats(r);
  ql_status status = QL_STATUS_OK;
  if (what != 0 && !all_skipped(r, layer, input)) {
    if (r->options->imatrix != NULL)
      status = qle_imatrix_stats(r, layer, input, &stats, error);
    else
      status = qle_run_token_weights(r, layer, input, error);
    if (status == QL_STATUS_OK && stats == NULL)
      status = qle_run_gather_sides(r, layer, input, what, &stats, error);
  }
  if (status == QL_STATUS_OK)
    status = qle_run_solve(r, layer, input, stats, error);
  ql_stats_destroy(stats);
  qle_run_sides_free(r);
  return status;
}

static ql_status begin_half(qle_run *r, size_t layer, int attention, ql_error *error)
{
  const qle_stage *stage;
  for (size_t i = 0; (stage = qle_run_next(r, &i)) != NULL;)
    if (stage->half != NULL)
      QLE_TRY(stage->half(r, layer, attention, error));
  return QL_STATUS_OK;
}

/* Progress through a block: rough shares of the work up to the end of each input's step; what is
 * left is the last pass. */
static const double step_ends[QLE_INPUTS] = {0.15, 0.3, 0.55, 0.8};

/* The passes of a block in true sequence: each input is gathered with everything before it
 * quantized. */
static ql_status quantize_block(qle_run *r, size_t layer, ql_error *error)
{
  const qle_pass finish_attention = {1, -1, NULL, NULL, NULL};
  const qle_pass finish_mlp = {0, -1, NULL, NULL, NULL};
  const int calibrated = qle_run_calibrated(r);
  const double blocks = (double)r->blocks;
  r->share_end = (double)layer / blocks;
  for (int input = 0; input < QLE_INPUTS; input++) {
    const double end = ((double)layer + step_ends[input]) / blocks;
    if (input == QLE_INPUT_MLP && calibrated) {
      qle_run_share(r, (r->share_end + end) / 2);
      QLE_TRY(qle_run_pass(r, layer, &finish_attention, error));
    }
    if (input == QLE_INPUT_QKV || input == QLE_INPUT_MLP)
      QLE_TRY(begin_half(r, layer, input == QLE_INPUT_QKV, error));
    qle_run_share(r, end);
    QLE_TRY(qle_progress(&r->options->events, "quantizing", r->share, error));
    QLE_TRY(gather_and_solve(r, layer, (qle_input)input, error));
  }
  QLE_TRY(qle_floats_write(r, layer, error));
  qle_run_share(r, (double)(layer + 1) / blocks);
  return calibrated && layer + 1 < r->blocks ? qle_run_pass(r, layer, &finish_mlp, error)
                                             : QL_STATUS_OK;
}

static void find_last_block(qle_run *r)
{
  r->blocks = r->config->layers;
  while (r->blocks > 0) {
    for (size_t i = 0; i < QLE_LINEARS; i++)
      if (!r->plan.layers[(r->blocks - 1) * QLE_LINEARS + i].skip)
        return;
    r->blocks--;
  }
}

static ql_status quantize_blocks(qle_run *r, ql_error *error)
{
  const int calibrated = qle_run_calibrated(r);
  const qle_stage *stage;
  find_last_block(r);
  if (calibrated)
    QLE_TRY(qle_calibration_begin(r, error));
  for (size_t i = 0; (stage = qle_run_next(r, &i)) != NULL;)
    if (stage->begin != NULL)
      QLE_TRY(stage->begin(r, error));
  for (size_t layer = 0; layer < r->blocks; layer++) {
    if (calibrated)
      QLE_TRY(qle_run_block_begin(r, layer, error));
    QLE_TRY(quantize_block(r, layer, error));
    if (calibrated)
      qle_run_block_end(r, layer);
    qle_floats_free(r);
  }
  for (size_t layer = r->blocks; layer < r->config->layers; layer++)
    for (int input = 0; input < QLE_INPUTS; input++)
      QLE_TRY(qle_run_solve(r, layer, (qle_input)input, NULL, error));
  for (size_t i = 0; (stage = qle_run_next(r, &i)) != NULL;)
    if (stage->finish != NULL)
      QLE_TRY(stage->finish(r, error));
  return QL_STATUS_OK;
}

/* NaN and Inf anywhere in the checkpoint are told with the tensor's name, before hours of work. */
ql_status qle_run_check_weights(const qle_run *run, ql_error *error)
{
  const ql_file *file = qle_model_file(run->model);
  const size_t count = ql_file_count(file);
  for (size_t i = 0; i < count; i++) {
    ql_file_info info = {.struct_size = sizeof info};
    ql_tensor t;
    QLE_TRY(
        qle_progress(&run->options->events, "checking weights", (double)i / (double)count, error));
    QLE_TRY(ql_file_info_at(file, i, &info));
    if ((info.dtype != QL_DTYPE_F32 && info.dtype != QL_DTYPE_F16 && info.dtype != QL_DTYPE_BF16) ||
        info.rank < 1 || info.rank > 2)
      continue;
    QLE_TRY(ql_file_tensor(file, i, &t, error));
    const ql_status status = ql_tensor_check_finite(run->ctx, &t, error);
    ql_file_release(file, i);
    if (status == QL_STATUS_OK)
      continue;
    qle_error_tensor(error, info.name);
    qle_error_file(error, info.path);
    return status;
  }
  return QL_STATUS_OK;
}

static size_t sequence_length(const qle_run *r)
{
  if (r->options->seq_len != 0)
    return r->options->seq_len;
  const size_t context = r->config->context;
  return context == 0 || context > 2048 ? 2048 : context;
}

static ql_status refuse_quantized(const qle_config *config, const char *dir, ql_error *error)
{
  if (config->quant.format == QL_FORMAT_NONE)
    return QL_STATUS_OK;
  qle_fail(error, QL_STATUS_UNSUPPORTED, "%s is quantized already (%d bits)", dir,
           config->quant.bits);
  qle_error_file(error, dir);
  qle_error_hint(error, "quantize the original floating-point checkpoint");
  return QL_STATUS_UNSUPPORTED;
}

/* Replacing the model by its quantized self would lose the original. */
static ql_status refuse_same(const char *dir, const char *out, ql_error *error)
{
  struct stat a, b;
  if (stat(dir, &a) != 0 || stat(out, &b) != 0 || a.st_dev != b.st_dev || a.st_ino != b.st_ino)
    return QL_STATUS_OK;
  qle_fail(error, QL_STATUS_INVALID_ARGUMENT, "%s is the model itself", out);
  qle_error_hint(error, "choose another directory for the result");
  return QL_STATUS_INVALID_ARGUMENT;
}

static ql_status check_stages(const qle_run *r, ql_error *error)
{
  const qle_stage *stage;
  for (size_t i = 0; (stage = qle_run_next(r, &i)) != NULL;)
    if (stage->check != NULL)
      QLE_TRY(stage->check(r, error));
  return QL_STATUS_OK;
}

ql_status qle_run_open(qle_run *run, ql_error *error)
{
  const qle_model_options lazy = {.lazy = 1};
  QLE_TRY(qle_model_open(run->ctx, run->dir, &lazy, &run->model, error));
  run->config = qle_model_config(run->model);
  run->seq_len = sequence_length(run);
  return refuse_quantized(run->config, run->dir, error);
}

void qle_run_plan_extras(qle_run *run)
{
  const qle_stage *stage;
  for (size_t i = 0; (stage = qle_run_next(run, &i)) != NULL;)
    for (size_t k = 0; stage->plan != NULL && k < run->plan.count; k++)
      stage->plan(run->options, &run->plan.layers[k]);
}

static ql_status prepare(qle_run *r, ql_error *error)
{
  QLE_TRY(qle_run_open(r, error));
  QLE_TRY(check_stages(r, error));
  QLE_TRY(qle_plan_create(r->config, r->options, &r->plan, error));
  qle_run_plan_extras(r);
  r->written = calloc(ql_file_count(qle_model_file(r->model)) + 1, 1);
  r->result->layers = calloc(r->plan.count + 1, sizeof *r->result->layers);
  if (r->result->layers == NULL || r->written == NULL)
    return qle_fail(error, QL_STATUS_NO_MEMORY, "no memory for %zu layers", r->plan.count);
  return QL_STATUS_OK;
}

static ql_status total_sizes(qle_run *r, ql_error *error)
{
  const ql_file *file = qle_model_file(r->model);
  double weights = 0, quantized = 0, bits = 0;
  for (size_t i = 0; i < ql_file_count(file); i++) {
    ql_file_info info = {.struct_size = sizeof info};
    QLE_TRY(ql_file_info_at(file, i, &info));
    r->result->source_bytes += info.bytes;
    double elements = 1;
    for (int32_t axis = 0; axis < info.rank; axis++)
      elements *= (double)info.shape[axis];
    weights += elements;
  }
  for (size_t i = 0; i < r->plan.count; i++) {
    const qle_plan_layer *layer = &r->plan.layers[i];
    uint64_t stored = 0;
    if (layer->skip)
      continue;
    QLE_TRY(qle_plan_bits(r->options->format, layer, &stored, error));
    bits += (double)stored;
    quantized += (double)layer->rows * (double)layer->cols;
  }
  r->result->model_bytes = ql_writer_bytes(r->writer);
  r->result->model_bits_per_weight =
      weights > 0 ? 8.0 * (double)r->result->model_bytes / weights : 0;
  r->result->bits_per_weight = quantized > 0 ? bits / quantized : 0;
  return QL_STATUS_OK;
}

static ql_status work(qle_run *r, const char *out, ql_error *error)
{
  ql_writer_config config = QL_WRITER_CONFIG_INIT;
  config.overwrite = r->options->overwrite;
  config.shard_bytes = r->options->shard_bytes;
  QLE_TRY(qle_method_create(r->ctx, r->options, &r->method, error));
  QLE_TRY(prepare(r, error));
  QLE_TRY(refuse_same(r->dir, out, error));
  /* First of all, so that a place that cannot be written is known before the work. */
  QLE_TRY(ql_writer_create(r->ctx, out, &config, &r->writer, error));
  QLE_TRY(qle_output_begin(r->writer, qle_model_file(r->model), &r->plan, r->options, error));
  QLE_TRY(qle_run_check_weights(r, error));
  QLE_TRY(quantize_blocks(r, error));
  QLE_TRY(qle_progress(&r->options->events, "writing", 0, error));
  QLE_TRY(qle_output_copy(r->writer, qle_model_file(r->model), &r->plan, r->written, error));
  QLE_TRY(
      qle_output_files(r->writer, r->dir, &r->plan, r->options, r->sequences, r->seq_len, error));
  QLE_TRY(total_sizes(r, error));
  /* The last moment to stop: what is finished is complete. */
  QLE_TRY(qle_progress(&r->options->events, "writing", 1, error));
  return ql_writer_finish(r->writer, error);
}

static void end_run(qle_run *r)
{
  const qle_stage *stage;
  for (size_t i = 0; (stage = qle_run_next(r, &i)) != NULL;)
    if (stage->end != NULL)
      stage->end(r);
  ql_writer_destroy(r->writer);
  qle_calibration_end(r);
  qle_floats_free(r);
  free(r->written);
  qle_plan_free(&r->plan);
  qle_method_free(&r->method);
  qle_model_close(r->model);
}

ql_status qle_quantize(const ql_ctx *ctx, const char *model, const char *out,
                       const qle_quantize_options *options, qle_quantize_result *result,
                       ql_error *error)
{
  *result = (qle_quantize_result){0};
  qle_run r = {.ctx = ctx, .options = options, .dir = model, .result = result};
  const double started = qle_now();
  const ql_status status = work(&r, out, error);
  result->seconds = qle_now() - started;
  end_run(&r);
  return status;
}

void qle_quantize_result_free(qle_quantize_result *result)
{
  free(result->layers);
  *result = (qle_quantize_result){0};
}
