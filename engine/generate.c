/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "generate.h"

#include "model_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double seconds(void)
{
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int is_end(const qle_config *config, int32_t token)
{
  for (size_t i = 0; i < config->eos_count; i++)
    if (config->eos[i] == token)
      return 1;
  return 0;
}

/* One text in the making. */
typedef struct text {
  qle_model *model;
  const qle_sampling *sampling;
  ql_kv *cache;
  float *logits; /* [vocab] */
  size_t position;
  ql_error *error;
} text;

/* Feeds tokens and draws the next one. */
static ql_status advance(text *t, const int32_t *tokens, size_t count, int32_t *next)
{
  const qle_batch batch = {1, &count, &t->cache};
  QLE_TRY(qle_model_forward(t->model, &batch, tokens, 1, t->logits, t->error));
  t->position += count;
  return qle_sample(t->model->ctx, t->sampling, t->logits, t->model->config.vocab, 0, t->position,
                    next, t->error);
}

static ql_status continue_text(text *t, const int32_t *prompt, size_t prompt_count, size_t count,
                               qle_token_fn on_token, void *user, double times[2])
{
  int32_t token;
  const double start = seconds();
  QLE_TRY(advance(t, prompt, prompt_count, &token));
  const double first = seconds();
  size_t done = 0;
  while (!is_end(&t->model->config, token)) {
    done++;
    if ((on_token != NULL && on_token(user, token) != 0) || done == count)
      break;
    QLE_TRY(advance(t, &token, 1, &token));
  }
  times[0] = first - start;
  times[1] = done > 1 ? (double)(done - 1) / (seconds() - first) : 0;
  return QL_STATUS_OK;
}

static ql_status check_prompt(const qle_config *config, size_t count, ql_error *error)
{
  if (count == 0)
    return qle_fail(error, QL_STATUS_INVALID_ARGUMENT, "the prompt has no token");
  if (count > config->context)
    return qle_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "the prompt has %zu tokens; the model's context holds %zu", count,
                    config->context);
  return QL_STATUS_OK;
}

ql_status qle_generate(qle_model *model, const int32_t *prompt, size_t prompt_count, size_t count,
                       const qle_sampling *sampling, qle_token_fn on_token, void *user,
                       double *first_token_seconds, double *tokens_per_second, ql_error *error)
{
  const qle_config *config = &model->config;
  text t = {model, sampling, NULL, NULL, 0, error};
  double times[2] = {0, 0};
  QLE_TRY(check_prompt(config, prompt_count, error));
  /* The last token drawn need not fit: it is never fed. */
  const size_t room = config->context - prompt_count + 1;
  count = count < room ? count : room;
  ql_status status = QL_STATUS_OK;
  if (count > 0) {
    t.logits = qle_alloc3(config->vocab, sizeof *t.logits, 1);
    status = t.logits != NULL ? qle_model_cache(model, prompt_count + count - 1, &t.cache, error)
                              : qle_fail(error, QL_STATUS_NO_MEMORY, "no memory for logits");
  }
  if (status == QL_STATUS_OK && count > 0)
    status = continue_text(&t, prompt, prompt_count, count, on_token, user, times);
  ql_kv_destroy(t.cache);
  free(t.logits);
  if (status == QL_STATUS_OK && first_token_seconds != NULL)
    *first_token_seconds = times[0];
  if (status == QL_STATUS_OK && tokens_per_second != NULL)
    *tokens_per_second = times[1];
  return status;
}

/* Caches of all sequences that advance together take at most this much; what is beyond waits for
 * the next group. Fixed, so that the text does not depend on the machine. */
#define GROUP_BYTES ((size_t)1 << 30)
#define GROUP_MOST QLE_CHUNK
/* Greedy tokens after the first one. */
#define GREEDY 4

/* Texts of calibration that advance together. */
typedef struct group {
  qle_model *model;
  size_t most;         /* caches made */
  size_t first, count; /* sequences first .. first + count - 1 */
  size_t sequences;    /* in all */
  size_t length;
  uint64_t seed;
  ql_kv **caches;
  size_t *ones;
  int32_t *last; /* token of each sequence */
  float *logits; /* [count, vocab] */
  qle_progress_fn progress;
  void *user;
  ql_error *error;
} group;

static size_t group_size(const qle_config *config, size_t sequences, size_t length)
{
  size_t bytes = sizeof(float) * 2;
  const int fits = qle_mul(bytes, config->layers, &bytes) &&
                   qle_mul(bytes, config->kv_heads * config->head_dim, &bytes) &&
                   qle_mul(bytes, length, &bytes);
  size_t most = fits ? GROUP_BYTES / bytes : 1;
  most = most < 1 ? 1 : most > GROUP_MOST ? GROUP_MOST : most;
  return most < sequences ? most : sequences;
}

static void group_free(group *g)
{
  for (size_t i = 0; g->caches != NULL && i < g->most; i++)
    ql_kv_destroy(g->caches[i]);
  free(g->caches);
  free(g->ones);
  free(g->last);
  free(g->logits);
}

static ql_status group_make(group *g)
{
  g->caches = calloc(g->most, sizeof(ql_kv *));
  g->ones = qle_alloc3(g->most, sizeof *g->ones, 1);
  g->last = qle_alloc3(g->most, sizeof *g->last, 1);
  g->logits = qle_alloc3(g->most, g->model->config.vocab, sizeof *g->logits);
  if (g->caches == NULL || g->ones == NULL || g->last == NULL || g->logits == NULL)
    return qle_fail(g->error, QL_STATUS_NO_MEMORY, "no memory for %zu sequences", g->most);
  for (size_t i = 0; i < g->most; i++) {
    g->ones[i] = 1;
    QLE_TRY(qle_model_cache(g->model, g->length, &g->caches[i], g->error));
  }
  return QL_STATUS_OK;
}

/* A token other than the end tokens, uniformly. */
static int32_t first_token(const group *g, size_t sequence)
{
  const size_t vocab = g->model->config.vocab;
  size_t token = (size_t)(qle_random_unit(g->seed, sequence, 0) * (double)vocab);
  for (size_t i = 0; i < vocab && is_end(&g->model->config, (int32_t)token); i++)
    token = (token + 1) % vocab;
  return (int32_t)token;
}

static ql_status draw_all(const group *g, size_t position)
{
  const qle_config *config = &g->model->config;
  const qle_sampling sampling = {position <= GREEDY ? 0 : 1, 1, g->seed};
  for (size_t i = 0; i < g->count; i++) {
    float *logits = g->logits + i * config->vocab;
    for (size_t j = 0; j < config->eos_count; j++)
      logits[config->eos[j]] = -INFINITY;
    QLE_TRY(qle_sample(g->model->ctx, &sampling, logits, config->vocab, g->first + i, position,
                       &g->last[i], g->error));
  }
  return QL_STATUS_OK;
}

static ql_status tell_progress(const group *g, size_t position)
{
  const double done = (double)g->first * (double)g->length + (double)g->count * (double)position;
  if (g->progress == NULL ||
      g->progress(g->user, done / ((double)g->sequences * (double)g->length)) == 0)
    return QL_STATUS_OK;
  return qle_fail(g->error, QL_STATUS_CANCELLED, "cancelled while generating text");
}

static ql_status group_run(const group *g, int32_t *tokens)
{
  const qle_batch batch = {g->count, g->ones, g->caches};
  for (size_t i = 0; i < g->count; i++) {
    ql_kv_truncate(g->caches[i], 0);
    g->last[i] = first_token(g, g->first + i);
    tokens[i * g->length] = g->last[i];
  }
  for (size_t position = 1; position < g->length; position++) {
    QLE_TRY(tell_progress(g, position));
    QLE_TRY(qle_model_forward(g->model, &batch, g->last, 1, g->logits, g->error));
    QLE_TRY(draw_all(g, position));
    for (size_t i = 0; i < g->count; i++)
      tokens[i * g->length + position] = g->last[i];
  }
  return QL_STATUS_OK;
}

ql_status qle_generate_calibration(qle_model *model, size_t sequences, size_t length, uint64_t seed,
                                   int32_t *tokens, qle_progress_fn progress, void *user,
                                   ql_error *error)
{
  const qle_config *config = &model->config;
  if (length > config->context)
    return qle_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "texts of %zu tokens; the model's context holds %zu", length, config->context);
  if (sequences == 0 || length == 0)
    return QL_STATUS_OK;
  if (config->vocab <= config->eos_count)
    return qle_fail(error, QL_STATUS_INVALID_ARGUMENT, "the vocabulary has only end tokens");
  group g = {.model = model,
             .length = length,
             .sequences = sequences,
             .seed = seed,
             .progress = progress,
             .user = user,
             .error = error};
  g.most = group_size(config, sequences, length);
  ql_status status = group_make(&g);
  for (g.first = 0; g.first < sequences && status == QL_STATUS_OK; g.first += g.count) {
    g.count = sequences - g.first < g.most ? sequences - g.first : g.most;
    status = group_run(&g, tokens + g.first * length);
  }
  group_free(&g);
  return status;
}
