/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "commands.h"
#include "common.h"
#include "eval_text.h"
#include "generate.h"
#include "model_options.h"
#include "tokenizer.h"
#include "util.h"

#include <stdlib.h>
#include <string.h>

typedef struct run_arguments {
  common common;
  const char *prompt, *packed;
  int64_t count, seed;
  double temperature, top_p;
  model_choice model;
} run_arguments;

#define O(member) offsetof(run_arguments, member)

static const option_row rows[] = {
    {"prompt", 'p', OPTION_TEXT, O(prompt), 0, "TEXT", 0, 0, NULL, NULL,
     "Text to continue. Required."},
    {"tokens", 'n', OPTION_INT, O(count), 0, "N", 1, 1 << 24, "128", NULL,
     "Tokens to add at most; an end token ends earlier."},
    {"temp", 0, OPTION_REAL, O(temperature), 0, "T", 0, 100, "0", NULL,
     "Temperature of sampling; 0 takes the most likely token."},
    {"top-p", 0, OPTION_REAL, O(top_p), 0, "P", 0, 1, "1", NULL,
     "Sample from the most likely tokens that make up this probability."},
    {"seed", 0, OPTION_INT, O(seed), 0, "S", 0, 9e15, "0", NULL, "Of sampling."},
    MODEL_OPTION_ROWS(O(model), "a16"),
    {"packed", 0, OPTION_FILE, O(packed), 0, "FILE", 0, 0, NULL, NULL,
     "Map the weights that 'ql pack' wrote; where they do not fit, pack again and say so."},
    {0},
};

/* The text so far. It is decoded as a whole, since a token need not be whole characters. */
typedef struct stream {
  const qle_tokenizer *tokenizer;
  int32_t *ids; /* prompt and new ones */
  size_t prompt, count, room;
  size_t printed; /* bytes of the text that are printed */
  int silent;     /* collect only */
  ql_status status;
  ql_error *error;
} stream;

/* Prints what is new; at the end also what was held back, a character that lacks bytes. */
static ql_status print_new(stream *t, int last)
{
  char *text = NULL;
  size_t bytes = 0, begin = 0;
  ql_status status;
  if (last) {
    status = qle_tokenizer_decode(t->tokenizer, t->ids, t->count, 1, &text, &bytes, t->error);
    begin = t->printed < bytes ? t->printed : bytes;
  } else {
    status = qle_tokenizer_decode_next(t->tokenizer, t->ids, t->count, 1, &t->printed, &text,
                                       &bytes, t->error);
  }
  if (status != QL_STATUS_OK)
    return status;
  fwrite(text + begin, 1, bytes - begin, stdout);
  fflush(stdout);
  free(text);
  return QL_STATUS_OK;
}

static int on_token(void *user, int32_t token)
{
  stream *t = user;
  if (t->count == t->room || cancelled())
    return 1;
  t->ids[t->count++] = token;
  if (!t->silent)
    t->status = print_new(t, 0);
  return t->status != QL_STATUS_OK || ferror(stdout);
}

typedef struct timing {
  double first, rate;
} timing;

static ql_status generate(session *s, const run_arguments *a, qle_model *model, stream *t,
                          timing *time)
{
  int32_t *prompt = NULL;
  size_t count = 0;
  ql_status status =
      qle_tokenizer_encode(t->tokenizer, a->prompt, strlen(a->prompt), &prompt, &count, &s->error);
  if (status == QL_STATUS_OK)
    status = qle_tokens_check(prompt, count, qle_model_config(model)->vocab, &s->error);
  if (status != QL_STATUS_OK) {
    free(prompt);
    return status;
  }
  t->prompt = t->count = count;
  t->room = count + (size_t)a->count;
  t->ids = malloc(t->room * sizeof *t->ids);
  if (t->ids == NULL) {
    free(prompt);
    return QL_STATUS_NO_MEMORY;
  }
  memcpy(t->ids, prompt, count * sizeof *prompt);
  free(prompt);
  if (!t->silent)
    status = print_new(t, 0);
  const qle_sampling sampling = {a->temperature, a->top_p, (uint64_t)a->seed};
  if (status == QL_STATUS_OK)
    status = qle_generate(model, t->ids, count, (size_t)a->count, &sampling, on_token, t,
                          &time->first, &time->rate, &s->error);
  return status == QL_STATUS_OK ? t->status : status;
}

/* Text of the new tokens: that of all less that of the prompt. */
static ql_status new_text(const stream *t, json_t **text, ql_error *error)
{
  char *first = NULL, *all = NULL;
  size_t first_bytes = 0, bytes = 0;
  ql_status status =
      qle_tokenizer_decode(t->tokenizer, t->ids, t->prompt, 1, &first, &first_bytes, error);
  if (status == QL_STATUS_OK)
    status = qle_tokenizer_decode(t->tokenizer, t->ids, t->count, 1, &all, &bytes, error);
  if (status == QL_STATUS_OK) {
    /* A prompt that ends amid a character has become shorter; then both are in one. */
    const size_t begin =
        first_bytes <= bytes && memcmp(first, all, first_bytes) == 0 ? first_bytes : 0;
    *text = json_stringn(all + begin, bytes - begin);
  }
  free(first);
  free(all);
  return status;
}

static int print_run(session *s, const run_arguments *a, stream *t, const timing *time)
{
  if (!a->common.json) {
    const ql_status status = print_new(t, 1);
    putchar('\n');
    if (a->common.verbose)
      fprintf(stderr, "ql: %zu tokens, first after %.3f s, then %.1f tokens/s\n",
              t->count - t->prompt, time->first, time->rate);
    return status == QL_STATUS_OK ? finish_stdout() : session_fail(s, status);
  }
  json_t *text = NULL;
  const ql_status status = new_text(t, &text, &s->error);
  if (status != QL_STATUS_OK)
    return session_fail(s, status);
  json_t *object = json_pack(
      "{s:o, s:o, s:o, s:I, s:I, s:f, s:f, s:s}", "model", qle_json_text(a->common.operand),
      "prompt", qle_json_text(a->prompt), "text", text, "prompt_tokens", (json_int_t)t->prompt,
      "tokens", (json_int_t)(t->count - t->prompt), "time_to_first_token", time->first,
      "decode_tokens_per_second", time->rate, "isa", ql_ctx_isa_name(s->ctx));
  model_options_json(&a->model, object);
  return print_json(object);
}

static int run_model(session *s, const run_arguments *a)
{
  qle_tokenizer *tokenizer = NULL;
  qle_model *model = NULL;
  stream t = {.silent = a->common.json, .error = &s->error};
  timing time = {0, 0};
  qle_model_options options = model_options_of(&a->model);
  options.packed = a->packed;
  ql_status status = qle_model_open(s->ctx, a->common.operand, &options, &model, &s->error);
  if (status == QL_STATUS_OK && qle_model_packed_note(model) != NULL)
    session_warn(s, qle_model_packed_note(model));
  if (status == QL_STATUS_OK)
    status = qle_tokenizer_open(a->common.operand, &tokenizer, &s->error);
  t.tokenizer = tokenizer;
  if (status == QL_STATUS_OK)
    status = generate(s, a, model, &t, &time);
  int code;
  if (status != QL_STATUS_OK)
    code = session_fail(s, status);
  else
    code = print_run(s, a, &t, &time);
  free(t.ids);
  qle_model_close(model);
  qle_tokenizer_close(tokenizer);
  return code == EXIT_DONE && cancelled() ? EXIT_CANCELLED : code;
}

static int run(void *arguments)
{
  const run_arguments *a = arguments;
  if (a->prompt == NULL)
    return usage_error("run", "option '-p TEXT' is missing: what to continue");
  if (a->prompt[0] == '\0')
    return usage_error("run", "option '-p': '' is not allowed; give some text");
  session s;
  int code = session_open(&s, &a->common);
  if (code != 0)
    return code;
  code = run_model(&s, a);
  session_close(&s);
  return code;
}

const command command_run = {
    "run",
    "MODEL",
    "MODEL -p TEXT [OPTION]...",
    "let a model continue a text",
    "Continues a text with the model in directory MODEL and prints the text and its continuation "
    "as "
    "it comes. With --json: the continuation, time_to_first_token in seconds, and "
    "decode_tokens_per_second, which counts the tokens after the first.",
    "  # continue a text\n"
    "  ql run llama-4bit -p 'The kernel is' -n 64 --temp 0.8\n",
    rows,
    sizeof(run_arguments),
    run};
