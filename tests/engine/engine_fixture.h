/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_ENGINE_FIXTURE_H
#define TESTS_ENGINE_FIXTURE_H

#include "model.h"
#include "oracle.h"

/* What the engine's tests share. Everything that should succeed fails the test when it does not. */

/* A small Llama with grouped queries and a tied head. */
extern const oracle_spec small_llama;

/* One context for all tests of a program, made by fixture_setup. */
extern ql_ctx *ctx;
int fixture_setup(void **state);
int fixture_teardown(void **state);

qle_model *must_open(const char *dir, int lazy);
ql_kv *must_cache(const qle_model *model, size_t capacity);

/* Feeds tokens in pieces of `step` to a fresh cache; logits of all, to be freed. */
float *run(qle_model *model, const int32_t *tokens, size_t count, size_t step);

void random_tokens(int32_t *tokens, size_t count, size_t vocab, uint64_t seed);

/* Largest |a - b| over the largest |b|; Inf when there is a NaN. */
float difference(const float *a, const float *b, size_t count);

#endif
