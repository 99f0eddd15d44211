/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "eval.h"
#include "commands.h"
#include "common.h"
#include "eval_text.h"
#include "util.h"

#include <stdlib.h>
#include <string.h>

typedef struct eval_arguments {
  common common;
  const char *text, *ref;
  int64_t ctx, stride, max_tokens;
} eval_arguments;

#define O(member) offsetof(eval_arguments, member)

static const option_row rows[] = {
    {"text", 0, OPTION_FILE, O(text), 0, "FILE", 0, 0, NULL, NULL,
     "The text to predict; '-' is standard input. Required."},
    {"ctx", 0, OPTION_INT, O(ctx), 0, "N", 2, 1 << 24, NULL, "the model's context, at most 2048",
     "Tokens of a window."},
    {"stride", 0, OPTION_INT, O(stride), 0, "N", 1, 1 << 24, NULL, "the same as --ctx",
     "Tokens from the start of one window to that of the next. Where windows overlap, a token "
     "counts once for each window that scores it."},
    {"max-tokens", 0, OPTION_INT, O(max_tokens), 0, "N", 1, 1e12, NULL, "the whole text",
     "Use only this many tokens from the start of the text."},
    {"ref", 0, OPTION_FILE, O(ref), 0, "MODEL", 0, 0, NULL, NULL,
     "A model to compare with, usually the original: adds KL divergence and agreement."},
    {0},
};

/* What one evaluation holds. */
typedef struct evaluation {
  qle_model *model, *ref;
  int32_t *tokens;
  size_t count;
  qle_eval_options options;
  qle_eval_result result;
  qle_size size;
} evaluation;

static ql_status load_text(evaluation *e, const eval_arguments *a, ql_error *error)
{
  qle_tokenizer *tokenizer = NULL;
  ql_status status = qle_tokenizer_open(a->common.operand, &tokenizer, error);
  if (status == QL_STATUS_OK)
    status = qle_text_tokens(tokenizer, a->text, &e->tokens, &e->count, error);
  qle_tokenizer_close(tokenizer);
  if (a->max_tokens > 0 && (size_t)a->max_tokens < e->count)
    e->count = (size_t)a->max_tokens;
  return status;
}

static void choose_windows(evaluation *e, const eval_arguments *a)
{
  const size_t context = qle_model_config(e->model)->context;
  e->options.ctx = (size_t)a->ctx;
  if (a->ctx == 0)
    e->options.ctx = context == 0 || context > 2048 ? 2048 : context;
  e->options.stride = a->stride == 0 ? e->options.ctx : (size_t)a->stride;
}

static ql_status evaluate(session *s, const eval_arguments *a, evaluation *e)
{
  const qle_model_options whole = {0};
  ql_status status = qle_model_open(s->ctx, a->common.operand, &whole, &e->model, &s->error);
  if (status == QL_STATUS_OK && a->ref != NULL)
    status = qle_model_open(s->ctx, a->ref, &whole, &e->ref, &s->error);
  if (status == QL_STATUS_OK)
    status = load_text(e, a, &s->error);
  if (status == QL_STATUS_OK)
    status = qle_model_size(e->model, &e->size, &s->error);
  if (status != QL_STATUS_OK)
    return status;
  choose_windows(e, a);
  const size_t context = qle_model_config(e->model)->context;
  if (context != 0 && e->options.ctx > context)
    session_warn(s, "the windows are longer than the context that the model was made for");
  e->options.events = s->events;
  return qle_eval(e->model, e->ref, e->tokens, e->count, &e->options, &e->result, &s->error);
}

static double bits_per_weight(const qle_size *size)
{
  return size->layer_weights == 0 ? 0 : (double)size->layer_bits / (double)size->layer_weights;
}

static double model_bits_per_weight(const qle_size *size)
{
  return size->weights == 0 ? 0 : 8.0 * (double)size->bytes / (double)size->weights;
}

static json_t *result_json(const session *s, const eval_arguments *a, const evaluation *e)
{
  const qle_eval_result *r = &e->result;
  json_t *object =
      json_pack("{s:o, s:o, s:f, s:I, s:I, s:I, s:I}", "model", qle_json_text(a->common.operand),
                "text", qle_json_text(a->text), "perplexity", r->perplexity, "tokens",
                (json_int_t)r->tokens, "windows", (json_int_t)r->windows, "ctx",
                (json_int_t)e->options.ctx, "stride", (json_int_t)e->options.stride);
  if (e->ref != NULL)
    json_object_update_new(object, json_pack("{s:o, s:f, s:f}", "ref", qle_json_text(a->ref),
                                             "kl_divergence", r->kl_divergence, "top1_agreement",
                                             r->top1_agreement));
  json_object_update_new(object, json_pack("{s:f, s:f, s:I, s:I, s:f, s:s}", "bits_per_weight",
                                           bits_per_weight(&e->size), "model_bits_per_weight",
                                           model_bits_per_weight(&e->size), "model_bytes",
                                           (json_int_t)e->size.bytes, "weights",
                                           (json_int_t)e->size.weights, "tokens_per_second",
                                           r->tokens_per_second, "isa", ql_ctx_isa_name(s->ctx)));
  return object;
}

static void print_result(const session *s, const evaluation *e)
{
  const qle_eval_result *r = &e->result;
  char size[32];
  printf("perplexity             %.4f\n", r->perplexity);
  printf("tokens scored          %llu in %llu windows of %zu\n", (unsigned long long)r->tokens,
         (unsigned long long)r->windows, e->options.ctx);
  if (e->ref != NULL)
    printf("KL divergence          %.6f nats\ntop-1 agreement        %.2f %%\n", r->kl_divergence,
           100 * r->top1_agreement);
  printf("bits per weight        %.3f\n", bits_per_weight(&e->size));
  printf("  of the whole model   %.3f\n", model_bits_per_weight(&e->size));
  printf("size of tensors        %s\n", human_bytes((double)e->size.bytes, size, sizeof size));
  printf("prefill                %.0f tokens/s (%s)\n", r->tokens_per_second,
         ql_ctx_isa_name(s->ctx));
}

static int run(void *arguments)
{
  const eval_arguments *a = arguments;
  if (a->text == NULL)
    return usage_error("eval", "option '--text FILE' is missing: what to predict");
  session s;
  int code = session_open(&s, &a->common);
  if (code != 0)
    return code;
  evaluation e = {0};
  const ql_status status = evaluate(&s, a, &e);
  session_clear(&s);
  if (status != QL_STATUS_OK) {
    code = session_fail(&s, status);
  } else if (a->common.json) {
    code = print_json(result_json(&s, a, &e));
  } else {
    print_result(&s, &e);
    code = finish_stdout();
  }
  qle_model_close(e.model);
  qle_model_close(e.ref);
  free(e.tokens);
  session_close(&s);
  return code;
}

const command command_eval = {
    "eval",
    "MODEL",
    "MODEL --text FILE [OPTION]...",
    "measure how well a model predicts a text",
    "Computes the perplexity of the model in directory MODEL on a text: exp of the mean negative "
    "log "
    "likelihood per scored token. The whole text is tokenized once, no special token is added, and "
    "it is cut to --max-tokens. Windows of --ctx tokens begin every --stride tokens; a last "
    "partial "
    "window is dropped; the first token of a window is not scored.\n\n"
    "tokens counts the scored tokens. kl_divergence is the mean over scored positions of KL(ref || "
    "model) in nats; top1_agreement the share of them with the same most likely token. "
    "bits_per_weight counts the stored bits of codes, scales, zero points and other parts of the "
    "quantized tensors over their weights (permutation, embedding, norms and head not included; "
    "for "
    "a model that is not quantized: the linear layers of its blocks). model_bytes are the bytes of "
    "all tensors, model_bits_per_weight eight times these over all weights. tokens_per_second is "
    "prefill at that ctx: all tokens of the windows over the time of the model's forward passes, "
    "logits of every position included.",
    "  # what quantization cost\n"
    "  ql eval llama-4bit --text some.txt --ref llama\n",
    rows,
    sizeof(eval_arguments),
    run};
