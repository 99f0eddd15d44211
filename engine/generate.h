/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLE_GENERATE_H
#define QLE_GENERATE_H

#include "model.h"

/* Sampling. Randomness is counter-based: (seed, sequence, position), so results do not depend on
 * how sequences are batched. */
typedef struct qle_sampling {
  double temperature; /* 0: the most likely token */
  double top_p;       /* 1: all */
  uint64_t seed;
} qle_sampling;

/* Draws the token of `sequence` at `position` from logits [vocab], which are overwritten with
 * probabilities. Logits may be -Inf (never drawn); NaN is QL_STATUS_NUMERIC. */
ql_status qle_sample(const ql_ctx *ctx, const qle_sampling *sampling, float *logits, size_t vocab,
                     uint64_t sequence, uint64_t position, int32_t *token, ql_error *error);

/* Called with each new token; non-zero stops. */
typedef int (*qle_token_fn)(void *user, int32_t token);

/* Continues a prompt by at most `count` tokens, to an end token (kept out) or to the end of the
 * model's context. The two times may be NULL; tokens_per_second is of the tokens after the first.
 */
ql_status qle_generate(qle_model *model, const int32_t *prompt, size_t prompt_count, size_t count,
                       const qle_sampling *sampling, qle_token_fn on_token, void *user,
                       double *first_token_seconds, double *tokens_per_second, ql_error *error);

/* Called with the part that is done, 0 to 1; non-zero cancels. */
typedef int (*qle_progress_fn)(void *user, double fraction);

/* Calibration text of the model's own: `sequences` texts of `length` tokens each into
 * tokens [sequences, length]. Each starts with a token drawn uniformly; the next few are the most
 * likely ones, the rest is drawn at temperature 1, as in data-free quantization (LLM-QAT, Liu et
 * al. 2023, section 3.1). End tokens are never drawn. All sequences advance together. The same
 * tokens for any number of threads. progress may be NULL. */
ql_status qle_generate_calibration(qle_model *model, size_t sequences, size_t length, uint64_t seed,
                                   int32_t *tokens, qle_progress_fn progress, void *user,
                                   ql_error *error);

#endif
