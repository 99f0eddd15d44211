/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "diff.h"
#include "commands.h"
#include "common.h"
#include "eval_text.h"
#include "util.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct diff_arguments {
  common common;
  const char *text;
  int64_t ctx, max_tokens;
  int own_inputs;
} diff_arguments;

#define O(member) offsetof(diff_arguments, member)

static const option_row rows[] = {
    {"text", 0, OPTION_FILE, O(text), 0, "FILE", 0, 0, NULL, NULL,
     "The text whose activations are compared; '-' is standard input. Required."},
    {"own-inputs", 0, OPTION_FLAG, O(own_inputs), 1, NULL, 0, 0, NULL, NULL,
     "Give each layer of B the input that it has in B, so that errors of earlier layers count. "
     "Otherwise it gets the input that it has in A."},
    {"ctx", 0, OPTION_INT, O(ctx), 0, "N", 1, 1 << 24, NULL, "the model's context, at most 2048",
     "Tokens of a window."},
    {"max-tokens", 0, OPTION_INT, O(max_tokens), 0, "N", 1, 1e12, "16384", NULL,
     "Use only this many tokens from the start of the text."},
    {0},
};

/* What is printed as it comes, and what is said of all layers. */
typedef struct report {
  session *s;
  json_t *layers; /* NULL: a table */
  size_t count;
  double snr_sum, worst;
  char worst_name[96];
} report;

/* A number as JSON has it: what is not finite is null. */
static json_t *real(double value)
{
  return isfinite(value) ? json_real(value) : json_null();
}

static json_t *linear_json(const qle_diff_linear *l)
{
  const qle_diff_weight *w = &l->weight;
  json_t *weight = json_pack("{s:o}", "error", real(w->error));
  if (l->bits != 0)
    json_object_update_new(weight, json_pack("{s:o, s:o, s:o, s:o}", "rounding", real(w->rounding),
                                             "clipping", real(w->clipping), "uniform",
                                             real(w->uniform), "clipped", real(w->clipped)));
  return json_pack("{s:s, s:I, s:i, s:b, s:o, s:o, s:o, s:o}", "name", l->name, "layer",
                   (json_int_t)l->layer, "bits", (int)l->bits, "folded", l->folded, "error",
                   real(l->output.error), "cosine", real(l->output.cosine), "snr_db",
                   real(l->output.snr), "weight", weight);
}

static void print_linear(const qle_diff_linear *l)
{
  const qle_diff_weight *w = &l->weight;
  printf("%-36s %4d %9.4f %9.6f %8.2f %9.4f", l->name, (int)l->bits, 100 * l->output.error,
         l->output.cosine, l->output.snr, 100 * w->error);
  if (l->bits != 0)
    printf(" %9.4f %9.4f %9.4f", 100 * w->rounding, 100 * w->clipping, 100 * w->uniform);
  puts(l->folded ? "  folded" : "");
}

static void print_head(void)
{
  printf("%-36s %4s %29s %39s\n", "", "", "output", "weights");
  printf("%-36s %4s %9s %9s %8s %9s %9s %9s %9s\n", "layer", "bits", "error %", "cosine", "SNR, dB",
         "error %", "rounding", "clipping", "uniform");
}

static void on_linear(void *user, const qle_diff_linear *linear)
{
  report *r = user;
  session_clear(r->s);
  if (r->layers != NULL)
    json_array_append_new(r->layers, linear_json(linear));
  else if (r->count == 0)
    print_head();
  if (r->layers == NULL)
    print_linear(linear);
  r->count++;
  r->snr_sum += linear->output.snr;
  if (r->count == 1 || linear->output.error > r->worst) {
    r->worst = linear->output.error;
    snprintf(r->worst_name, sizeof r->worst_name, "%s", linear->name);
  }
}

/* Models and text of one comparison. */
typedef struct inputs {
  qle_model *a, *b;
  int32_t *tokens;
  size_t count;
  qle_diff_options options;
} inputs;

static ql_status load(session *s, const diff_arguments *d, inputs *in)
{
  const qle_model_options lazy = {.lazy = 1};
  qle_tokenizer *tokenizer = NULL;
  ql_status status = qle_model_open(s->ctx, d->common.operand, &lazy, &in->a, &s->error);
  if (status == QL_STATUS_OK)
    status = qle_model_open(s->ctx, d->common.operand2, &lazy, &in->b, &s->error);
  if (status == QL_STATUS_OK)
    status = qle_tokenizer_open(d->common.operand, &tokenizer, &s->error);
  if (status == QL_STATUS_OK)
    status = qle_text_tokens(tokenizer, d->text, &in->tokens, &in->count, &s->error);
  qle_tokenizer_close(tokenizer);
  if (status != QL_STATUS_OK)
    return status;
  if (in->count > (size_t)d->max_tokens)
    in->count = (size_t)d->max_tokens;
  const size_t context = qle_model_config(in->a)->context;
  in->options = (qle_diff_options){(size_t)d->ctx, d->own_inputs, s->events};
  if (d->ctx == 0)
    in->options.ctx = context == 0 || context > 2048 ? 2048 : context;
  return QL_STATUS_OK;
}

static int finish(const diff_arguments *d, const inputs *in, const report *r)
{
  const double mean = r->snr_sum / (double)r->count;
  if (r->layers != NULL)
    return print_json(
        json_pack("{s:o, s:o, s:o, s:I, s:s, s:o, s:s, s:O}", "a", qle_json_text(d->common.operand),
                  "b", qle_json_text(d->common.operand2), "text", qle_json_text(d->text), "tokens",
                  (json_int_t)in->count, "inputs", d->own_inputs ? "own" : "a", "mean_snr_db",
                  real(mean), "worst", r->worst_name, "layers", r->layers));
  printf("\n%zu layers on %zu tokens, inputs of %s; mean SNR %.2f dB; largest error %.4f %%: %s\n",
         r->count, in->count, d->own_inputs ? "each model's own" : "A for both", mean,
         100 * r->worst, r->worst_name);
  return finish_stdout();
}

static int run(void *arguments)
{
  const diff_arguments *d = arguments;
  if (d->text == NULL)
    return usage_error("diff", "option '--text FILE' is missing: what to run through the models");
  session s;
  int code = session_open(&s, &d->common);
  if (code != 0)
    return code;
  inputs in = {0};
  report r = {.s = &s, .layers = d->common.json ? json_array() : NULL};
  ql_status status = load(&s, d, &in);
  if (status == QL_STATUS_OK)
    status = qle_diff(in.a, in.b, in.tokens, in.count, &in.options, on_linear, &r, &s.error);
  session_clear(&s);
  code = status == QL_STATUS_OK ? finish(d, &in, &r) : session_fail(&s, status);
  json_decref(r.layers);
  free(in.tokens);
  qle_model_close(in.a);
  qle_model_close(in.b);
  session_close(&s);
  return code;
}

const command command_diff = {
    "diff",
    "A B",
    "A B --text FILE [OPTION]...",
    "report the error of every linear layer",
    "Compares two checkpoints of one model, usually the original A and the quantized B, linear "
    "layer by linear layer. For the outputs on the text, biases included: error is |y' - y| / |y|, "
    "cosine the cosine of y' and y, SNR the same error as 10 log10(|y|^2 / |y' - y|^2) in dB.\n\n"
    "For the weights, as root mean squares over that of A's weights: error; for a quantized layer "
    "its parts, rounding and clipping, whose squares add up to that of the error (a weight is "
    "clipped when it lies more than half a step beyond the range of its grid), and uniform, the "
    "root of the mean of step^2 / 12, which rounding errors that are spread evenly have.\n\n"
    "Scales that B has moved between layers, as AWQ and SmoothQuant do, are found and taken out: "
    "such layers are marked as folded.",
    "  # which layers suffered\n"
    "  ql diff llama llama-4bit --text some.txt\n",
    rows,
    sizeof(diff_arguments),
    run};
