/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "eval.h"
#include "commands.h"
#include "common.h"
#include "eval_questions.h"
#include "eval_text.h"
#include "model_options.h"
#include "util.h"

#include <stdlib.h>
#include <string.h>

typedef struct eval_arguments {
  common common;
  const char *text, *ref, *packed;
  int64_t ctx, stride, max_tokens;
  int by_position;
  question_arguments questions;
  model_choice model;
} eval_arguments;

#define O(member) offsetof(eval_arguments, member)

static const option_row rows[] = {
    {"text", 0, OPTION_FILE, O(text), 0, "FILE", 0, 0, NULL, NULL,
     "The text to predict; '-' is standard input. Required without --choices or --generate."},
    {"ctx", 0, OPTION_INT, O(ctx), 0, "N", 2, 1 << 24, NULL, "the model's context, at most 2048",
     "Tokens of a window."},
    {"stride", 0, OPTION_INT, O(stride), 0, "N", 1, 1 << 24, NULL, "the same as --ctx",
     "Tokens from the start of one window to that of the next. Where windows overlap, a token "
     "counts once for each window that scores it."},
    {"max-tokens", 0, OPTION_INT, O(max_tokens), 0, "N", 1, 1e12, NULL, "the whole text",
     "Use only this many tokens from the start of the text."},
    {"ref", 0, OPTION_FILE, O(ref), 0, "MODEL", 0, 0, NULL, NULL,
     "A model to compare with, usually the original: adds KL divergence and agreement."},
    {"packed", 0, OPTION_FILE, O(packed), 0, "FILE", 0, 0, NULL, NULL,
     "Map the weights of MODEL that 'ql pack' wrote; where they do not fit, pack again and say "
     "so."},
    {"by-position", 0, OPTION_FLAG, O(by_position), 1, NULL, 0, 0, NULL, NULL,
     "Add the figures by the position of tokens in their window: 1 to 15, 16 to 31, 32 to 63, ..."},
    {"choices", 0, OPTION_FILE, O(questions.choices), 0, "FILE", 0, 0, NULL, NULL,
     "Multiple-choice questions, one JSON object per line: adds the accuracy of choosing the most "
     "likely answer."},
    {"generate", 0, OPTION_FILE, O(questions.generate), 0, "FILE", 0, 0, NULL, NULL,
     "Questions, one JSON object per line, which the model answers with its most likely tokens: "
     "adds the share of right answers."},
    {"limit", 0, OPTION_INT, O(questions.limit), 0, "N", 1, 1e12, NULL, "all",
     "Use only this many questions of each file."},
    {"gen-tokens", 0, OPTION_INT, O(questions.gen_tokens), 0, "N", 1, 1 << 20, "256", NULL,
     "With --generate: tokens of an answer at most."},
    {"stop", 0, OPTION_LIST, O(questions.stops), 0, "TEXT", 0, 0, NULL, "Question:",
     "With --generate: what ends an answer, and is no part of it. May be given again; \"until\" of "
     "a question takes its place."},
    {"extract", 0, OPTION_TEXT, O(questions.extract), 0, "REGEX", 0, 0, NULL, "the last number",
     "With --generate: what of an answer is compared: the last match of this Perl-compatible "
     "regular expression, or its first group."},
    {"details", 0, OPTION_FILE, O(questions.details), 0, "FILE", 0, 0, NULL, NULL,
     "With --choices or --generate: write what the model made of each question, one JSON object "
     "per line."},
    MODEL_OPTION_ROWS(O(model), "f32"),
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
  questions questions;
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

static ql_status evaluate_text(session *s, const eval_arguments *a, evaluation *e)
{
  const ql_status status = load_text(e, a, &s->error);
  if (status != QL_STATUS_OK)
    return status;
  choose_windows(e, a);
  const size_t context = qle_model_config(e->model)->context;
  if (context != 0 && e->options.ctx > context)
    session_warn(s, "the windows are longer than the context that the model was made for");
  e->options.events = s->events;
  return qle_eval(e->model, e->ref, e->tokens, e->count, &e->options, &e->result, &s->error);
}

static ql_status evaluate(session *s, const eval_arguments *a, evaluation *e)
{
  const qle_model_options whole = {0};
  qle_model_options options = model_options_of(&a->model);
  options.packed = a->packed;
  ql_status status = questions_read(s, &a->questions, &e->questions);
  if (status == QL_STATUS_OK)
    status = qle_model_open(s->ctx, a->common.operand, &options, &e->model, &s->error);
  if (status == QL_STATUS_OK && qle_model_packed_note(e->model) != NULL)
    session_warn(s, qle_model_packed_note(e->model));
  if (status == QL_STATUS_OK && a->ref != NULL)
    status = qle_model_open(s->ctx, a->ref, &whole, &e->ref, &s->error);
  if (status == QL_STATUS_OK)
    status = qle_model_size(e->model, &e->size, &s->error);
  if (status == QL_STATUS_OK && a->text != NULL)
    status = evaluate_text(s, a, e);
  if (status == QL_STATUS_OK && (a->questions.choices != NULL || a->questions.generate != NULL))
    status = questions_run(s, &a->questions, e->model, e->ref, a->common.operand, &e->questions);
  return status;
}

static double bits_per_weight(const qle_size *size)
{
  return size->layer_weights == 0 ? 0 : (double)size->layer_bits / (double)size->layer_weights;
}

static double model_bits_per_weight(const qle_size *size)
{
  return size->weights == 0 ? 0 : 8.0 * (double)size->bytes / (double)size->weights;
}

static json_t *positions_json(const evaluation *e)
{
  json_t *list = json_array();
  for (size_t i = 0; i < e->result.bucket_count; i++) {
    const qle_eval_bucket *b = &e->result.buckets[i];
    json_t *object = json_pack("{s:I, s:I, s:I, s:f}", "first", (json_int_t)b->first, "last",
                               (json_int_t)b->last, "tokens", (json_int_t)b->tokens, "perplexity",
                               b->perplexity);
    if (e->ref != NULL)
      json_object_update_new(object, json_pack("{s:f, s:f}", "kl_divergence", b->kl_divergence,
                                               "top1_agreement", b->top1_agreement));
    json_array_append_new(list, object);
  }
  return list;
}

static void add_text_json(const eval_arguments *a, const evaluation *e, json_t *object)
{
  const qle_eval_result *r = &e->result;
  json_object_update_new(
      object, json_pack("{s:o, s:f, s:I, s:I, s:I, s:I, s:f}", "text", qle_json_text(a->text),
                        "perplexity", r->perplexity, "tokens", (json_int_t)r->tokens, "windows",
                        (json_int_t)r->windows, "ctx", (json_int_t)e->options.ctx, "stride",
                        (json_int_t)e->options.stride, "tokens_per_second", r->tokens_per_second));
  if (e->ref != NULL)
    json_object_update_new(object, json_pack("{s:f, s:f}", "kl_divergence", r->kl_divergence,
                                             "top1_agreement", r->top1_agreement));
  if (a->by_position)
    json_object_set_new(object, "positions", positions_json(e));
}

static json_t *result_json(const session *s, const eval_arguments *a, const evaluation *e)
{
  json_t *object = json_pack("{s:o}", "model", qle_json_text(a->common.operand));
  if (e->ref != NULL)
    json_object_set_new(object, "ref", qle_json_text(a->ref));
  if (a->text != NULL)
    add_text_json(a, e, object);
  questions_json(&a->questions, &e->questions, object);
  json_object_update_new(
      object, json_pack("{s:f, s:f, s:I, s:I, s:s}", "bits_per_weight", bits_per_weight(&e->size),
                        "model_bits_per_weight", model_bits_per_weight(&e->size), "model_bytes",
                        (json_int_t)e->size.bytes, "weights", (json_int_t)e->size.weights, "isa",
                        ql_ctx_isa_name(s->ctx)));
  model_options_json(&a->model, object);
  return object;
}

static void print_positions(const evaluation *e)
{
  printf("by position            tokens  perplexity%s\n",
         e->ref != NULL ? "  KL, nats   top-1" : "");
  for (size_t i = 0; i < e->result.bucket_count; i++) {
    const qle_eval_bucket *b = &e->result.buckets[i];
    printf("  %6zu to %-6zu %12llu %11.4f", b->first, b->last, (unsigned long long)b->tokens,
           b->perplexity);
    if (e->ref != NULL)
      printf("  %8.6f  %6.2f %%", b->kl_divergence, 100 * b->top1_agreement);
    putchar('\n');
  }
}

static void print_text(const eval_arguments *a, const evaluation *e)
{
  const qle_eval_result *r = &e->result;
  printf("perplexity             %.4f\n", r->perplexity);
  printf("tokens scored          %llu in %llu windows of %zu\n", (unsigned long long)r->tokens,
         (unsigned long long)r->windows, e->options.ctx);
  if (e->ref != NULL)
    printf("KL divergence          %.6f nats\ntop-1 agreement        %.2f %%\n", r->kl_divergence,
           100 * r->top1_agreement);
  if (a->by_position)
    print_positions(e);
}

static void print_result(const session *s, const eval_arguments *a, const evaluation *e)
{
  char size[32];
  if (a->text != NULL)
    print_text(a, e);
  questions_print(&e->questions);
  printf("bits per weight        %.3f\n", bits_per_weight(&e->size));
  printf("  of the whole model   %.3f\n", model_bits_per_weight(&e->size));
  printf("size of tensors        %s\n", human_bytes((double)e->size.bytes, size, sizeof size));
  if (a->text != NULL)
    printf("prefill                %.0f tokens/s (%s)\n", e->result.tokens_per_second,
           ql_ctx_isa_name(s->ctx));
}

static int run(void *arguments)
{
  const eval_arguments *a = arguments;
  if (a->text == NULL && a->questions.choices == NULL && a->questions.generate == NULL)
    return usage_error("eval", "option '--text FILE' is missing: what to predict; or give "
                               "--choices or --generate");
  if (a->text == NULL && a->by_position)
    return usage_error("eval", "option '--by-position' needs --text");
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
    print_result(&s, a, &e);
    code = finish_stdout();
  }
  qle_model_close(e.model);
  qle_model_close(e.ref);
  free(e.tokens);
  questions_free(&e.questions);
  session_close(&s);
  return code;
}

const command command_eval = {
    "eval",
    "MODEL",
    "MODEL --text FILE [OPTION]...",
    "measure how well a model predicts a text and answers questions",
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
    "logits of every position included.\n\n"
    "--choices scores each choice by the log likelihood of its tokens after the context and a "
    "space. acc is the share of questions whose most likely choice is right, acc_norm the same "
    "with "
    "log likelihoods per byte of the choice; acc_stderr their standard errors. Fields: context (or "
    "query, ctx, prompt, input; question and goal become 'Question: ...' and 'Answer:'), choices "
    "(or endings, options, sol1 and sol2; a list of texts or text and label lists), answer (or "
    "answerKey, gold, label, target: an index from 0, a label, a letter or a text).\n\n"
    "--generate lets the model answer. Fields: prompt (or context, query, input, question), and "
    "regex, which must be found in the answer, or answer (or target, gold, output), which must "
    "equal what --extract finds; of a text with #### what follows it. Numbers are compared by "
    "value. until (or stop) ends an answer. A context that is too long loses its beginning: "
    "truncated counts these. With --ref: its accuracies, and flips, the share of questions that "
    "the two models answer differently.",
    "  # what quantization cost\n"
    "  ql eval llama-4bit --text some.txt --ref llama\n"
    "  # multiple-choice and arithmetic questions\n"
    "  ql eval llama-4bit --choices arc.jsonl --generate gsm8k.jsonl\n",
    rows,
    sizeof(eval_arguments),
    run};
