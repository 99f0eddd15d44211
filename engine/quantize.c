/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "eval_text.h"
#include "quantize_internal.h"
#include "util.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* Tokens that go through a block together: bounds the memory of activations. Fixed, for results
 * must not depend on the machine. */
#define BATCH_TOKENS 2048

/* The linears that read the same input, hence share one Hessian. */
static const struct {
  size_t count;
  qle_linear members[3];
} inputs[QLE_INPUTS] = {
    [QLE_INPUT_QKV] = {3, {QLE_Q, QLE_K, QLE_V}},
    [QLE_INPUT_O] = {1, {QLE_O}},
    [QLE_INPUT_MLP] = {2, {QLE_GATE, QLE_UP}},
    [QLE_INPUT_DOWN] = {1, {QLE_DOWN}},
};

/* Everything a run holds. Hidden states of all calibration tokens and one block's weights are the
 * whole of its memory that grows with the model. */
typedef struct run {
  const ql_ctx *ctx;
  const qle_quantize_options *options;
  qle_quantize_result *result;
  qle_model *model;
  const qle_config *config;
  qle_plan plan;
  ql_writer *writer;
  int32_t *tokens;
  size_t sequences, seq_len;
  float *x;      /* [sequences * seq_len, hidden] */
  size_t blocks; /* up to the last one that has anything to quantize */
  size_t batch;  /* sequences per step */
  size_t *lengths;
  ql_kv **caches;
  double share, share_end; /* progress of the step that runs, as parts of the whole */
} run;

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

/* One pass over all calibration tokens of a half of a block. */
typedef struct pass {
  int attention;
  int stop_at; /* the input to gather; -1: to the end, and x is changed */
  ql_stats *stats;
} pass;

typedef struct gather_state {
  const ql_ctx *ctx;
  const pass *pass;
} gather_state;

static ql_status gather(void *user, qle_input point, const ql_tensor *x, ql_error *error)
{
  const gather_state *g = user;
  if ((int)point != g->pass->stop_at)
    return QL_STATUS_OK;
  return ql_stats_update(g->ctx, g->pass->stats, x, x->shape[0], error);
}

static ql_status run_batch(run *r, size_t layer, const pass *p, size_t first, size_t count,
                           ql_error *error)
{
  gather_state state = {r->ctx, p};
  float *x = r->x + first * r->seq_len * r->config->hidden;
  if (!p->attention)
    return qle_block_mlp(r->model, layer, count * r->seq_len, x, p->stop_at, gather, &state, error);
  for (size_t i = 0; i < count; i++)
    ql_kv_truncate(r->caches[i], 0);
  const qle_batch batch = {count, r->lengths, r->caches};
  return qle_block_attention(r->model, layer, &batch, x, p->stop_at, gather, &state, error);
}

static ql_status run_pass(run *r, size_t layer, const pass *p, ql_error *error)
{
  for (size_t first = 0; first < r->sequences; first += r->batch) {
    const size_t left = r->sequences - first;
    const double done = (double)first / (double)r->sequences;
    QLE_TRY(qle_progress(&r->options->events, "quantizing",
                         r->share + done * (r->share_end - r->share), error));
    QLE_TRY(run_batch(r, layer, p, first, left < r->batch ? left : r->batch, error));
  }
  return QL_STATUS_OK;
}

static double relative(double square, double reference)
{
  return reference > 0 ? __builtin_sqrt(square / reference) : 0;
}

static void report_outcome(const run *r, const qle_plan_layer *layer, const ql_gptq_report *report)
{
  const qle_events *events = &r->options->events;
  if (report->outcome == QL_GPTQ_DAMPED)
    qle_warn(events, "%s: damping raised to %g after %d failed factorizations", layer->name,
             report->damp, report->retries);
  else if (report->outcome == QL_GPTQ_STARVED && (uint64_t)report->dead >= layer->cols)
    qle_warn(events,
             "%s: its inputs are zero on all calibration tokens; rounded to nearest instead",
             layer->name);
  else if (report->outcome == QL_GPTQ_STARVED)
    qle_warn(events, "%s: only %llu calibration tokens; rounded to nearest instead", layer->name,
             (unsigned long long)report->tokens);
  else if (report->outcome == QL_GPTQ_NOT_POSITIVE)
    qle_warn(events, "%s: the Hessian is not positive definite; rounded to nearest instead",
             layer->name);
}

/* Fills in the result of a layer and tells the caller. */
static ql_status finish_layer(run *r, const qle_plan_layer *layer, const ql_gptq_report *report,
                              double sse, double reference, double seconds, ql_error *error)
{
  qle_layer_result *out = &r->result->layers[r->result->layer_count];
  *out = (qle_layer_result){.rows = layer->rows, .cols = layer->cols, .skipped = layer->skip};
  memcpy(out->name, layer->name, sizeof out->name);
  out->seconds = seconds;
  out->output_error = -1;
  if (!layer->skip) {
    uint64_t bits;
    QLE_TRY(qle_plan_bits(r->options->format, layer, &bits, error));
    out->bits = layer->grid.bits;
    out->group = layer->grid.block_cols;
    out->bits_per_weight = (double)bits / ((double)layer->rows * (double)layer->cols);
    out->error = relative(sse, reference);
  }
  if (report != NULL) {
    out->gptq = *report;
    out->output_error = relative(report->proxy, report->proxy_ref);
    report_outcome(r, layer, report);
  }
  r->result->layer_count++;
  if (r->options->events.layer != NULL)
    r->options->events.layer(r->options->events.user, out);
  return QL_STATUS_OK;
}

/* The product uses the quantized weights from here on. */
static ql_status replace_weight(run *r, const qle_plan_layer *layer, const ql_qmat *q,
                                ql_error *error)
{
  ql_packed *packed = NULL;
  QLE_TRY(ql_pack(r->ctx, q, &packed, error));
  qle_block_replace(r->model, layer->layer, layer->which, packed);
  return QL_STATUS_OK;
}

/* Names the layer in an error. The hints of the library on numbers that a type cannot hold speak of
 * grids that this output has not: what remains is to leave the layer alone. */
static void blame_layer(const qle_plan_layer *layer, ql_status status, ql_error *error)
{
  if (status == QL_STATUS_OK || error == NULL)
    return;
  if (error->tensor[0] == '\0')
    qle_error_tensor(error, layer->name);
  if (status == QL_STATUS_NUMERIC)
    qle_error_hint(error, "leave this layer in floating point with --skip '%s$'", layer->name);
}

static ql_status solve_gptq(run *r, const qle_plan_layer *layer, const ql_tensor *weight,
                            const ql_gptq_factor *factor, double started, ql_error *error)
{
  ql_qmat *q = NULL;
  ql_gptq_report report = QL_GPTQ_REPORT_INIT;
  ql_status status = ql_gptq_run_factored(r->ctx, weight, factor, &layer->grid, &r->options->gptq,
                                          &q, &report, error);
  if (status == QL_STATUS_OK)
    status = qle_output_layer(r->ctx, r->writer, r->options->format, layer, q, error);
  if (status == QL_STATUS_OK)
    status = replace_weight(r, layer, q, error);
  ql_qmat_destroy(q);
  QLE_TRY(status);
  return finish_layer(r, layer, &report, report.sse, report.sse_ref, qle_now() - started, error);
}

static const qle_plan_layer *planned(const run *r, size_t layer, qle_linear which)
{
  return &r->plan.layers[layer * QLE_LINEARS + which];
}

/* Quantizes the linears of one input with its Hessian; the factor is made anew only where the group
 * size differs, for the order of columns depends on it. */
static ql_status solve_input(run *r, size_t layer, qle_input input, const ql_stats *stats,
                             ql_error *error)
{
  ql_gptq_factor *factor = NULL;
  size_t factor_group = 0;
  ql_status status = QL_STATUS_OK;
  for (size_t i = 0; i < inputs[input].count && status == QL_STATUS_OK; i++) {
    const qle_plan_layer *l = planned(r, layer, inputs[input].members[i]);
    const double started = qle_now();
    ql_tensor weight, bias;
    if (l->skip) {
      status = finish_layer(r, l, NULL, 0, 0, 0, error);
      continue;
    }
    if (factor != NULL && factor_group != l->grid.block_cols) {
      ql_gptq_factor_destroy(factor);
      factor = NULL;
    }
    if (factor == NULL) {
      factor_group = l->grid.block_cols;
      status =
          ql_gptq_factor_create(r->ctx, stats, factor_group, &r->options->gptq, &factor, error);
    }
    if (status == QL_STATUS_OK)
      status = qle_block_weight(r->model, layer, l->which, &weight, &bias, error);
    if (status == QL_STATUS_OK)
      status = solve_gptq(r, l, &weight, factor, started, error);
    blame_layer(l, status, error);
  }
  ql_gptq_factor_destroy(factor);
  return status;
}

static size_t input_cols(const run *r, size_t layer, qle_input input)
{
  return planned(r, layer, inputs[input].members[0])->cols;
}

/* Progress through a block: rough shares of the work up to the end of each input's step; what is
 * left is the last pass. */
static const double step_ends[QLE_INPUTS] = {0.15, 0.3, 0.55, 0.8};

static int all_skipped(const run *r, size_t layer, qle_input input)
{
  for (size_t i = 0; i < inputs[input].count; i++)
    if (!planned(r, layer, inputs[input].members[i])->skip)
      return 0;
  return 1;
}

static ql_status gather_and_solve(run *r, size_t layer, qle_input input, ql_error *error)
{
  if (all_skipped(r, layer, input))
    return solve_input(r, layer, input, NULL, error);
  ql_stats_config config = QL_STATS_CONFIG_INIT;
  config.cols = input_cols(r, layer, input);
  pass p = {input == QLE_INPUT_QKV || input == QLE_INPUT_O, (int)input, NULL};
  QLE_TRY(ql_stats_create(r->ctx, &config, &p.stats, error));
  ql_status status = run_pass(r, layer, &p, error);
  if (status == QL_STATUS_OK)
    status = solve_input(r, layer, input, p.stats, error);
  else if (status == QL_STATUS_NUMERIC && error != NULL && error->tensor[0] == '\0')
    qle_error_tensor(error, planned(r, layer, inputs[input].members[0])->name);
  ql_stats_destroy(p.stats);
  return status;
}

/* The next step takes the progress from where it is to `end`. */
static void next_share(run *r, double end)
{
  r->share = r->share_end;
  r->share_end = end;
}

/* The passes of a block in true sequence: each input is gathered with everything before it
 * quantized. */
static ql_status calibrate_block(run *r, size_t layer, ql_error *error)
{
  const pass finish_attention = {1, -1, NULL}, finish_mlp = {0, -1, NULL};
  const double blocks = (double)r->blocks;
  r->share_end = (double)layer / blocks;
  for (int input = 0; input < QLE_INPUTS; input++) {
    const double end = ((double)layer + step_ends[input]) / blocks;
    if (input == QLE_INPUT_MLP) {
      next_share(r, (r->share_end + end) / 2);
      QLE_TRY(run_pass(r, layer, &finish_attention, error));
    }
    next_share(r, end);
    QLE_TRY(gather_and_solve(r, layer, (qle_input)input, error));
  }
  next_share(r, (double)(layer + 1) / blocks);
  return layer + 1 < r->blocks ? run_pass(r, layer, &finish_mlp, error) : QL_STATUS_OK;
}

static void free_caches(run *r)
{
  for (size_t i = 0; r->caches != NULL && i < r->batch; i++)
    ql_kv_destroy(r->caches[i]);
  free(r->caches);
  r->caches = NULL;
}

/* Made anew for each block: a cache has room for all layers, and takes memory for those that were
 * used. */
static ql_status make_caches(run *r, ql_error *error)
{
  r->caches = calloc(r->batch, sizeof(ql_kv *));
  if (r->caches == NULL)
    return qle_fail(error, QL_STATUS_NO_MEMORY, "no memory for %zu caches", r->batch);
  for (size_t i = 0; i < r->batch; i++)
    QLE_TRY(qle_model_cache(r->model, r->seq_len, &r->caches[i], error));
  return QL_STATUS_OK;
}

static ql_status choose_batch(run *r, ql_error *error)
{
  r->batch = BATCH_TOKENS / r->seq_len;
  r->batch = r->batch == 0 ? 1 : r->batch;
  r->batch = r->batch > r->sequences ? r->sequences : r->batch;
  r->lengths = calloc(r->batch, sizeof *r->lengths);
  if (r->lengths == NULL)
    return qle_fail(error, QL_STATUS_NO_MEMORY, "no memory for %zu lengths", r->batch);
  for (size_t i = 0; i < r->batch; i++)
    r->lengths[i] = r->seq_len;
  return QL_STATUS_OK;
}

static ql_status start_calibration(run *r, const char *dir, ql_error *error)
{
  QLE_TRY(qle_calibration_tokens(r->ctx, dir, r->options, r->seq_len, &r->tokens, &r->sequences,
                                 error));
  QLE_TRY(qle_tokens_check(r->tokens, r->sequences * r->seq_len, r->config->vocab, error));
  r->result->sequences = r->sequences;
  r->result->seq_len = r->seq_len;
  r->result->calib_generated = r->options->calib == NULL;
  QLE_TRY(choose_batch(r, error));
  size_t rows;
  if (!qle_mul(r->sequences, r->seq_len, &rows) ||
      (r->x = qle_alloc3(rows, r->config->hidden, sizeof *r->x)) == NULL)
    return qle_fail(error, QL_STATUS_NO_MEMORY,
                    "no memory for the hidden states of %zu sequences of %zu tokens", r->sequences,
                    r->seq_len);
  return qle_model_embed(r->model, r->tokens, rows, r->x, error);
}

static void find_last_block(run *r)
{
  r->blocks = r->config->layers;
  while (r->blocks > 0) {
    for (size_t i = 0; i < QLE_LINEARS; i++)
      if (!planned(r, r->blocks - 1, (qle_linear)i)->skip)
        return;
    r->blocks--;
  }
}

static ql_status quantize_gptq(run *r, const char *dir, ql_error *error)
{
  find_last_block(r);
  QLE_TRY(start_calibration(r, dir, error));
  for (size_t layer = 0; layer < r->blocks; layer++) {
    QLE_TRY(qle_block_load(r->model, layer, error));
    QLE_TRY(make_caches(r, error));
    QLE_TRY(calibrate_block(r, layer, error));
    free_caches(r);
    qle_block_unload(r->model, layer);
  }
  for (size_t i = r->blocks * QLE_LINEARS; i < r->plan.count; i++)
    QLE_TRY(finish_layer(r, &r->plan.layers[i], NULL, 0, 0, 0, error));
  return QL_STATUS_OK;
}

static ql_status round_layer(run *r, const qle_plan_layer *layer, ql_error *error)
{
  ql_tensor weight, bias;
  ql_qmat *q = NULL;
  double sse = 0, reference = 0;
  const double started = qle_now();
  QLE_TRY(qle_block_weight(r->model, layer->layer, layer->which, &weight, &bias, error));
  ql_status status = ql_rtn_run(r->ctx, &weight, &layer->grid, NULL, &q, error);
  if (status == QL_STATUS_OK)
    status = ql_qmat_error(r->ctx, q, &weight, NULL, &sse, &reference, NULL, NULL, error);
  if (status == QL_STATUS_OK)
    status = qle_output_layer(r->ctx, r->writer, r->options->format, layer, q, error);
  ql_qmat_destroy(q);
  QLE_TRY(status);
  return finish_layer(r, layer, NULL, sse, reference, qle_now() - started, error);
}

static ql_status quantize_rtn(run *r, ql_error *error)
{
  for (size_t i = 0; i < r->plan.count; i++) {
    const qle_plan_layer *layer = &r->plan.layers[i];
    QLE_TRY(
        qle_progress(&r->options->events, "quantizing", (double)i / (double)r->plan.count, error));
    const ql_status status =
        layer->skip ? finish_layer(r, layer, NULL, 0, 0, 0, error) : round_layer(r, layer, error);
    blame_layer(layer, status, error);
    QLE_TRY(status);
  }
  return QL_STATUS_OK;
}

/* NaN and Inf anywhere in the checkpoint are told with the tensor's name, before hours of work. */
static ql_status check_weights(const run *r, ql_error *error)
{
  const ql_file *file = qle_model_file(r->model);
  const size_t count = ql_file_count(file);
  for (size_t i = 0; i < count; i++) {
    ql_file_info info = {.struct_size = sizeof info};
    ql_tensor t;
    QLE_TRY(
        qle_progress(&r->options->events, "checking weights", (double)i / (double)count, error));
    QLE_TRY(ql_file_info_at(file, i, &info));
    if ((info.dtype != QL_DTYPE_F32 && info.dtype != QL_DTYPE_F16 && info.dtype != QL_DTYPE_BF16) ||
        info.rank < 1 || info.rank > 2)
      continue;
    QLE_TRY(ql_file_tensor(file, i, &t, error));
    const ql_status status = ql_tensor_check_finite(r->ctx, &t, error);
    ql_file_release(file, i);
    if (status == QL_STATUS_OK)
      continue;
    qle_error_tensor(error, info.name);
    qle_error_file(error, info.path);
    return status;
  }
  return QL_STATUS_OK;
}

static size_t sequence_length(const run *r)
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

static ql_status prepare(run *r, const char *dir, ql_error *error)
{
  const qle_model_options lazy = {1};
  QLE_TRY(qle_model_open(r->ctx, dir, &lazy, &r->model, error));
  r->config = qle_model_config(r->model);
  r->seq_len = sequence_length(r);
  QLE_TRY(refuse_quantized(r->config, dir, error));
  QLE_TRY(qle_plan_create(r->config, r->options, &r->plan, error));
  r->result->layers = calloc(r->plan.count + 1, sizeof *r->result->layers);
  if (r->result->layers == NULL)
    return qle_fail(error, QL_STATUS_NO_MEMORY, "no memory for %zu layers", r->plan.count);
  return QL_STATUS_OK;
}

static ql_status total_sizes(run *r, ql_error *error)
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

static ql_status work(run *r, const char *dir, const char *out, ql_error *error)
{
  ql_writer_config config = QL_WRITER_CONFIG_INIT;
  config.overwrite = r->options->overwrite;
  config.shard_bytes = r->options->shard_bytes;
  QLE_TRY(prepare(r, dir, error));
  QLE_TRY(refuse_same(dir, out, error));
  /* First of all, so that a place that cannot be written is known before the work. */
  QLE_TRY(ql_writer_create(r->ctx, out, &config, &r->writer, error));
  QLE_TRY(
      qle_output_begin(r->writer, qle_model_file(r->model), &r->plan, r->options->format, error));
  QLE_TRY(check_weights(r, error));
  if (r->options->method == QLE_METHOD_GPTQ)
    QLE_TRY(quantize_gptq(r, dir, error));
  else
    QLE_TRY(quantize_rtn(r, error));
  QLE_TRY(qle_progress(&r->options->events, "writing", 0, error));
  QLE_TRY(qle_output_copy(r->writer, qle_model_file(r->model), &r->plan, error));
  QLE_TRY(qle_output_files(r->writer, dir, &r->plan, r->options, r->sequences, r->seq_len, error));
  QLE_TRY(total_sizes(r, error));
  /* The last moment to stop: what is finished is complete. */
  QLE_TRY(qle_progress(&r->options->events, "writing", 1, error));
  return ql_writer_finish(r->writer, error);
}

ql_status qle_quantize(const ql_ctx *ctx, const char *model, const char *out,
                       const qle_quantize_options *options, qle_quantize_result *result,
                       ql_error *error)
{
  *result = (qle_quantize_result){0};
  run r = {.ctx = ctx, .options = options, .result = result};
  const double started = qle_now();
  const ql_status status = work(&r, model, out, error);
  result->seconds = qle_now() - started;
  ql_writer_destroy(r.writer);
  free_caches(&r);
  free(r.lengths);
  free(r.x);
  free(r.tokens);
  qle_plan_free(&r.plan);
  qle_model_close(r.model);
  return status;
}

void qle_quantize_result_free(qle_quantize_result *result)
{
  free(result->layers);
  *result = (qle_quantize_result){0};
}
