/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "kcheck.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Ordered class: the bits of scalar. What the scalar ones compute is tested against double
 * precision in tests/runtime. */
enum { RMS_NORM, ROPE, SILU_MUL, ADD, SOFTMAX, LOG_SOFTMAX, ROW_OPS };

typedef struct {
  const qlk_ops *t;
  int which;
  const float *x, *w;
  float *y;
  size_t n;
  qlk_attend_job *job;
} call;

static void run_row(void *arg)
{
  const call *c = arg;
  switch (c->which) {
  case RMS_NORM: c->t->rms_norm(c->x, c->w, 1e-5f, c->n, c->y); break;
  case ROPE: c->t->rope(c->y, c->x, c->w, c->n); break;
  case SILU_MUL: c->t->silu_mul(c->x, c->w, c->n, c->y); break;
  case ADD: c->t->add(c->x, c->n, c->y); break;
  case SOFTMAX: c->t->softmax(c->x, c->n, c->y); break;
  default: c->t->log_softmax(c->x, c->n, c->y); break;
  }
}

static void run_attend(void *arg)
{
  const call *c = arg;
  c->t->attend(c->job);
}

/* Functions that read y have something in it; rope turns two halves. */
static void check_row(kc *k, int which, const qlk_table *scalar, const qlk_table *here)
{
  for (size_t i = 0; i < 7 * 100; i++) {
    const size_t n = 1 + i / 7 + (i >= 680 ? 400 : 0), count = which == ROPE ? 2 * n : n;
    const int kind = (int)(i % KC_KINDS);
    kc_begin(k, i, "n=%zu, %s", n, kc_kind_name(kind));
    float *x = kc_memory(k, n * sizeof(float), 4), *w = kc_memory(k, n * sizeof(float), 4);
    float *y = kc_memory(k, count * sizeof(float), 4), *want = malloc(count * sizeof(float));
    kc_fill(k, kind, x, n);
    kc_fill(k, KC_UNIFORM, w, n);
    kc_fill(k, kind, y, count);
    memcpy(want, y, count * sizeof(float));
    call c = {.t = &scalar->ops, .which = which, .x = x, .w = w, .y = want, .n = n};
    run_row(&c);
    c.t = &here->ops;
    c.y = y;
    if (kc_run(k, run_row, &c))
      kc_same_f32(k, y, want, 1, count, count);
    free(want);
    kc_end(k);
  }
}

static void make_attend(kc *k, qlk_attend_job *job, float *want, size_t tokens)
{
  const size_t tiles = (tokens + QLK_KEYS - 1) / QLK_KEYS;
  const size_t keys = tiles * QLK_KEYS * job->dim, values = tiles * QLK_KEYS * job->stride;
  float *kv[2] = {kc_memory(k, keys * sizeof(float), 64), kc_memory(k, values * sizeof(float), 64)};
  float *q = kc_memory(k, job->rows * job->dim * sizeof(float), 4);
  float *out = kc_memory(k, job->rows * job->dim * sizeof(float), 4);
  kc_fill(k, KC_NORMAL, kv[0], keys);
  kc_fill(k, KC_NORMAL, kv[1], values);
  kc_fill(k, KC_NORMAL, q, job->rows * job->dim);
  for (size_t j = 0; j < values; j++)
    if (j % job->stride >= job->dim)
      kv[1][j] = 0;
  for (size_t r = 0; r < job->rows; r++) {
    job->q[r] = q + r * job->dim;
    job->out[r] = out + r * job->dim;
    job->end[r] = 1 + kc_below(k, tokens);
    job->begin[r] = kc_below(k, 2) ? 0 : kc_below(k, job->end[r]);
  }
  job->keys = kv[0];
  job->values = kv[1];
  job->scale = 0.25f;
  job->scratch = kc_memory(k, qlk_attend_scratch(job->stride) * sizeof(float), 64);
  memset(job->scratch, 0, qlk_attend_scratch(job->stride) * sizeof(float));
  memset(want, 0, job->rows * job->dim * sizeof(float));
}

typedef struct {
  const qlk_ops *t;
  const qlk_attend_job *job;
  size_t tokens;
  float *totals; /* [rows][pieces] */
} joined;

/* The job piece by piece, each with a total of its own, then joined. */
static void run_joined(void *arg)
{
  const joined *j = arg;
  const size_t step = QLK_LANES + j->job->stride, pieces = (j->tokens - 1) / QLK_PIECE + 1;
  float total[QLK_QUERIES * (QLK_LANES + 80)];
  for (size_t piece = 0; piece < pieces; piece++) {
    qlk_attend_job part = *j->job;
    const size_t begin = piece * QLK_PIECE, end = begin + QLK_PIECE;
    for (size_t r = 0; r < part.rows; r++) {
      part.begin[r] = part.begin[r] < begin ? begin : part.begin[r];
      part.end[r] = part.end[r] > end ? end : part.end[r];
      if (part.begin[r] >= part.end[r])
        part.begin[r] = part.end[r] = begin;
    }
    part.total = total;
    j->t->attend(&part);
    for (size_t r = 0; r < part.rows; r++)
      memcpy(j->totals + (r * pieces + piece) * step, total + r * step, step * sizeof *total);
  }
  for (size_t r = 0; r < j->job->rows; r++) {
    const size_t first = j->job->begin[r] / QLK_PIECE, last = (j->job->end[r] - 1) / QLK_PIECE;
    j->t->attend_join(j->totals + (r * pieces + first) * step, last - first + 1, step, j->job->dim,
                      j->job->stride, total, j->job->out[r]);
  }
}

/* Pieces apart give the bits of scalar attention in one. */
static void check_joined(kc *k, const qlk_table *scalar, const qlk_table *here)
{
  for (size_t i = 0; i < 40; i++) {
    qlk_attend_job job = {.rows = 1 + i % QLK_QUERIES, .dim = 1 + i * 5 % 70};
    job.stride = (job.dim + QLK_LANES - 1) / QLK_LANES * QLK_LANES;
    const size_t n = job.rows * job.dim, tokens = 1 + i * 97 % 2000;
    const size_t pieces = (tokens - 1) / QLK_PIECE + 1;
    kc_begin(k, i, "rows=%zu, dim=%zu, tokens=%zu", job.rows, job.dim, tokens);
    float *want = malloc(n * sizeof(float));
    make_attend(k, &job, want, tokens);
    qlk_attend_job reference = job;
    for (size_t r = 0; r < job.rows; r++)
      reference.out[r] = want + r * job.dim;
    scalar->ops.attend(&reference);
    joined j = {&here->ops, &job, tokens, NULL};
    j.totals = malloc(job.rows * pieces * (QLK_LANES + job.stride) * sizeof(float));
    if (kc_run(k, run_joined, &j))
      kc_same_f32(k, job.out[0], want, 1, n, n);
    free(j.totals);
    free(want);
    kc_end(k);
  }
}

static void check_attend(kc *k, const qlk_table *scalar, const qlk_table *here)
{
  for (size_t i = 0; i < 60; i++) {
    qlk_attend_job job = {.rows = 1 + i % QLK_QUERIES, .dim = 1 + i * 5 % 70};
    job.stride = (job.dim + QLK_LANES - 1) / QLK_LANES * QLK_LANES;
    const size_t n = job.rows * job.dim, tokens = 1 + i * 7 % (i % 3 ? 200 : 1300);
    kc_begin(k, i, "rows=%zu, dim=%zu, tokens=%zu", job.rows, job.dim, tokens);
    float *want = malloc(n * sizeof(float));
    make_attend(k, &job, want, tokens);
    qlk_attend_job reference = job;
    for (size_t r = 0; r < job.rows; r++)
      reference.out[r] = want + r * job.dim;
    call c = {.t = &scalar->ops, .job = &reference};
    run_attend(&c);
    c = (call){.t = &here->ops, .job = &job};
    if (kc_run(k, run_attend, &c))
      kc_same_f32(k, job.out[0], want, 1, n, n);
    free(want);
    kc_end(k);
  }
}

static void bench_row(kc *k, int which, const qlk_table *here)
{
  const size_t n = 1024;
  kc_begin(k, 0, "n=%zu", n);
  float *x = kc_memory(k, n * sizeof(float), 64), *w = kc_memory(k, n * sizeof(float), 64);
  float *y = kc_memory(k, 2 * n * sizeof(float), 64);
  kc_fill(k, KC_UNIFORM, x, n);
  kc_fill(k, KC_UNIFORM, w, n);
  kc_fill(k, KC_UNIFORM, y, 2 * n);
  call c = {.t = &here->ops, .which = which, .x = x, .w = w, .y = y, .n = n};
  kc_bench_line(k, kc_time(run_row, &c), (double)n, (double)n * 8);
  k->buffers = 0;
}

void kc_check_ops(kc *k, const qlk_table *scalar, const qlk_table *below, const qlk_table *here)
{
  static const char *const names[ROW_OPS] = {"ops.rms_norm", "ops.rope",    "ops.silu_mul",
                                             "ops.add",      "ops.softmax", "ops.log_softmax"};
  const void *slots[ROW_OPS] = {&here->ops.rms_norm, &here->ops.rope,    &here->ops.silu_mul,
                                &here->ops.add,      &here->ops.softmax, &here->ops.log_softmax};
  for (int which = 0; which < ROW_OPS; which++) {
    const ptrdiff_t at = (const char *)slots[which] - (const char *)here;
    if (!kc_wants(k, names[which], slots[which], below ? (const char *)below + at : NULL,
                  sizeof(void (*)(void))))
      continue;
    if (k->bench)
      bench_row(k, which, here);
    else
      check_row(k, which, scalar, here);
  }
  if (kc_wants(k, "ops.attend", &here->ops.attend, below ? &below->ops.attend : NULL,
               sizeof here->ops.attend) &&
      !k->bench)
    check_attend(k, scalar, here);
  if (kc_wants(k, "ops.attend_join", &here->ops.attend_join, below ? &below->ops.attend_join : NULL,
               sizeof here->ops.attend_join) &&
      !k->bench)
    check_joined(k, scalar, here);
}
