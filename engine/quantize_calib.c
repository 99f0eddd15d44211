/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "eval_text.h"
#include "generate.h"
#include "quantize_internal.h"
#include "util.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULT_SEQUENCES 128

typedef struct window {
  uint64_t key;
  size_t index;
} window;

static int by_key(const void *a, const void *b)
{
  const window *x = a, *y = b;
  if (x->key != y->key)
    return x->key < y->key ? -1 : 1;
  return x->index < y->index ? -1 : x->index > y->index;
}

static int by_index(const void *a, const void *b)
{
  const window *x = a, *y = b;
  return x->index < y->index ? -1 : x->index > y->index;
}

/* Keeps `wanted` of the `have` windows of the text in place: those of the smallest keys, which are
 * a function of seed and position alone, in the order of the text. */
static ql_status choose_windows(int32_t *tokens, size_t have, size_t wanted, size_t seq_len,
                                uint64_t seed, ql_error *error)
{
  window *windows = qle_alloc3(have, 1, sizeof *windows);
  if (windows == NULL)
    return qle_fail(error, QL_STATUS_NO_MEMORY, "no memory for %zu windows", have);
  for (size_t i = 0; i < have; i++)
    windows[i] = (window){qle_mix64(qle_mix64(seed) ^ i), i};
  qsort(windows, have, sizeof *windows, by_key);
  qsort(windows, wanted, sizeof *windows, by_index);
  for (size_t i = 0; i < wanted; i++)
    memmove(tokens + i * seq_len, tokens + windows[i].index * seq_len, seq_len * sizeof *tokens);
  free(windows);
  return QL_STATUS_OK;
}

static ql_status from_text(const char *dir, const qle_quantize_options *options, size_t wanted,
                           size_t seq_len, int32_t **tokens, size_t *sequences, ql_error *error)
{
  qle_tokenizer *tokenizer = NULL;
  QLE_TRY(qle_tokenizer_open(dir, &tokenizer, error));
  int32_t *ids = NULL;
  size_t count = 0;
  ql_status status = qle_text_tokens(tokenizer, options->calib, &ids, &count, error);
  qle_tokenizer_close(tokenizer);
  QLE_TRY(status);
  const size_t have = count / seq_len;
  if (have == 0) {
    status =
        qle_fail(error, QL_STATUS_INVALID_ARGUMENT,
                 "%s has %zu tokens, not even one sequence of %zu", options->calib, count, seq_len);
    qle_error_file(error, options->calib);
    qle_error_hint(error, "give more text, a smaller --seq-len, or no --calib: then the model "
                          "writes its own");
  } else if (have > wanted) {
    status = choose_windows(ids, have, wanted, seq_len, options->seed, error);
  } else if (have < wanted) {
    qle_warn(&options->events, "%s has %zu tokens: %zu sequences of %zu instead of %zu",
             options->calib, count, have, seq_len, wanted);
  }
  if (status != QL_STATUS_OK) {
    free(ids);
    return status;
  }
  *tokens = ids;
  *sequences = have < wanted ? have : wanted;
  return QL_STATUS_OK;
}

static const char generating[] = "generating calibration text";

static int generate_progress(void *user, double fraction)
{
  const qle_events *events = user;
  return events->progress != NULL && events->progress(events->user, generating, fraction) != 0;
}

static ql_status generated(const ql_ctx *ctx, const char *dir, const qle_quantize_options *options,
                           size_t wanted, size_t seq_len, int32_t *tokens, ql_error *error)
{
  qle_model *model = NULL;
  const qle_model_options whole = {0};
  qle_events events = options->events;
  QLE_TRY(qle_progress(&events, generating, 0, error));
  QLE_TRY(qle_model_open(ctx, dir, &whole, &model, error));
  const ql_status status = qle_generate_calibration(model, wanted, seq_len, options->seed, tokens,
                                                    generate_progress, &events, error);
  qle_model_close(model);
  QLE_TRY(status);
  return qle_progress(&events, generating, 1, error);
}

ql_status qle_calibration_tokens(const ql_ctx *ctx, const char *dir,
                                 const qle_quantize_options *options, size_t seq_len,
                                 int32_t **tokens, size_t *sequences, ql_error *error)
{
  const size_t wanted =
      options->calib_tokens == 0 ? DEFAULT_SEQUENCES : options->calib_tokens / seq_len;
  if (wanted == 0)
    return qle_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "%zu calibration tokens are less than one sequence of %zu",
                    options->calib_tokens, seq_len);
  if (options->calib != NULL)
    return from_text(dir, options, wanted, seq_len, tokens, sequences, error);
  int32_t *ids = qle_alloc3(wanted, seq_len, sizeof *ids);
  if (ids == NULL)
    return qle_fail(error, QL_STATUS_NO_MEMORY, "no memory for %zu sequences of %zu tokens", wanted,
                    seq_len);
  const ql_status status = generated(ctx, dir, options, wanted, seq_len, ids, error);
  if (status != QL_STATUS_OK) {
    free(ids);
    return status;
  }
  *tokens = ids;
  *sequences = wanted;
  return QL_STATUS_OK;
}
