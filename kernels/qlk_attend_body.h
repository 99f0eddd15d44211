/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLK_ATTEND_BODY_H
#define QLK_ATTEND_BODY_H

#include "qlk_ops_body.h"

/* Attention over tiles of QLK_KEYS keys at fixed positions with a running maximum and sum. For each
 * row and each tile that meets its range, in this order and nothing else:
 *   s_j   = (sum over d of q_d k_jd, in order of d) * scale
 *   m'    = max(m, s_j over the row's part of the tile), c = exp(m - m'), p_j = exp(s_j - m')
 *   sum   = sum * c + (p_j over 16 lanes, lane j mod 16, and the fixed tree)
 *   acc_d = acc_d * c + (sum over j of p_j v_jd, in order of j)
 * and at the end out_d = acc_d / sum. A row's result depends on its range and its keys alone. */

typedef struct {
  float (*score)[QLK_KEYS];
  float *acc, *part; /* rows of stride floats */
  float *keys, *values;
  float max[QLK_QUERIES], sum[QLK_QUERIES];
  size_t low[QLK_QUERIES], high[QLK_QUERIES]; /* the row's range within the tile */
} qlk_attend_state;

enum { QLK_ROW_BLOCK = 4 };

/* score[r][j] = q_r . k_j for 16 keys and four rows. */
static inline void score_block(const float *const *q, const float *restrict keys, size_t dim,
                               float *score)
{
  float s0[QLK_LANES] = {0}, s1[QLK_LANES] = {0}, s2[QLK_LANES] = {0}, s3[QLK_LANES] = {0};
  const float *q0 = q[0], *q1 = q[1], *q2 = q[2], *q3 = q[3];
  for (size_t d = 0; d < dim; d++) {
    const float *k = keys + d * QLK_KEYS;
    for (int j = 0; j < QLK_LANES; j++) {
      s0[j] += q0[d] * k[j];
      s1[j] += q1[d] * k[j];
      s2[j] += q2[d] * k[j];
      s3[j] += q3[d] * k[j];
    }
  }
  memcpy(score, s0, sizeof s0);
  memcpy(score + QLK_KEYS, s1, sizeof s1);
  memcpy(score + 2 * QLK_KEYS, s2, sizeof s2);
  memcpy(score + 3 * QLK_KEYS, s3, sizeof s3);
}

/* The same for one row and all keys of the tile. */
static inline void score_row(const float *restrict q, const float *restrict keys, size_t dim,
                             float *restrict score)
{
  float s[QLK_KEYS] = {0};
  for (size_t d = 0; d < dim; d++)
    for (size_t j = 0; j < QLK_KEYS; j++)
      s[j] += q[d] * keys[d * QLK_KEYS + j];
  memcpy(score, s, sizeof s);
}

static void score_tile(const qlk_attend_job *job, const float *keys, qlk_attend_state *state)
{
  size_t r = 0;
  for (; r + QLK_ROW_BLOCK <= job->rows; r += QLK_ROW_BLOCK)
    for (size_t j = 0; j < QLK_KEYS; j += QLK_LANES)
      score_block(&job->q[r], keys + j, job->dim, state->score[r] + j);
  for (; r < job->rows; r++)
    score_row(job->q[r], keys, job->dim, state->score[r]);
}

/* Turns the scores of a row into weights; returns the factor for what was summed before. */
static inline float weigh_row(float *score, float scale, size_t low, size_t high, float *max,
                              float *sum)
{
  float lanes[QLK_LANES] = {0};
  for (size_t j = 0; j < QLK_KEYS; j++)
    score[j] *= scale;
  for (size_t j = 0; j < low; j++)
    score[j] = -__builtin_inff();
  for (size_t j = high; j < QLK_KEYS; j++)
    score[j] = -__builtin_inff();
  float m = qlk_row_max(score, QLK_KEYS);
  m = m > *max ? m : *max;
  /* While every score was -infinity the maximum is no reference: weights of 0 follow from 0. */
  const float base = m == -__builtin_inff() ? 0.0f : m;
  for (size_t j = 0; j < QLK_KEYS; j++)
    score[j] = qlk_exp(score[j] - base);
  for (size_t j = 0; j < QLK_KEYS; j += QLK_LANES)
    for (size_t l = 0; l < QLK_LANES; l++)
      lanes[l] += score[j + l];
  const float factor = qlk_exp(*max - base);
  *sum = *sum * factor + qlk_tree_sum(lanes);
  *max = m;
  return factor;
}

/* part_r += p_rj v_j for keys low..high-1 in order; four rows. */
static void add_values_block(float (*weight)[QLK_KEYS], const float *restrict values, size_t stride,
                             size_t low, size_t high, float *restrict part)
{
  for (size_t d = 0; d < stride; d += QLK_LANES) {
    float a0[QLK_LANES], a1[QLK_LANES], a2[QLK_LANES], a3[QLK_LANES];
    float *p = part + d;
    memcpy(a0, p, sizeof a0);
    memcpy(a1, p + stride, sizeof a1);
    memcpy(a2, p + 2 * stride, sizeof a2);
    memcpy(a3, p + 3 * stride, sizeof a3);
    for (size_t j = low; j < high; j++) {
      const float *v = values + j * stride + d;
      for (int l = 0; l < QLK_LANES; l++) {
        a0[l] += weight[0][j] * v[l];
        a1[l] += weight[1][j] * v[l];
        a2[l] += weight[2][j] * v[l];
        a3[l] += weight[3][j] * v[l];
      }
    }
    memcpy(p, a0, sizeof a0);
    memcpy(p + stride, a1, sizeof a1);
    memcpy(p + 2 * stride, a2, sizeof a2);
    memcpy(p + 3 * stride, a3, sizeof a3);
  }
}

/* The same for one row and width dimensions, a constant where this is called. */
static inline void add_values_part(const float *restrict weight, const float *restrict values,
                                   size_t stride, size_t low, size_t high, size_t width,
                                   float *restrict part)
{
  float a[4 * QLK_LANES];
  memcpy(a, part, width * sizeof *a);
  for (size_t j = low; j < high; j++)
    for (size_t l = 0; l < width; l++)
      a[l] += weight[j] * values[j * stride + l];
  memcpy(part, a, width * sizeof *a);
}

static void add_values_row(const float *restrict weight, const float *restrict values,
                           size_t stride, size_t low, size_t high, float *restrict part)
{
  enum { WIDE = 4 * QLK_LANES };
  size_t d = 0;
  for (; d + WIDE <= stride; d += WIDE)
    add_values_part(weight, values + d, stride, low, high, WIDE, part + d);
  for (; d < stride; d += QLK_LANES)
    add_values_part(weight, values + d, stride, low, high, QLK_LANES, part + d);
}

/* Four rows: the keys that all of them have together, those before and after row by row. */
static void add_values_four(const qlk_attend_state *state, size_t r, const float *values,
                            size_t stride)
{
  size_t low = 0, high = QLK_KEYS;
  for (size_t i = r; i < r + QLK_ROW_BLOCK; i++) {
    low = state->low[i] > low ? state->low[i] : low;
    high = state->high[i] < high ? state->high[i] : high;
  }
  const int shared = low < high;
  for (size_t i = r; i < r + QLK_ROW_BLOCK; i++)
    add_values_row(state->score[i], values, stride, state->low[i], shared ? low : state->high[i],
                   state->part + i * stride);
  if (!shared)
    return;
  add_values_block(&state->score[r], values, stride, low, high, state->part + r * stride);
  for (size_t i = r; i < r + QLK_ROW_BLOCK; i++)
    add_values_row(state->score[i], values, stride, high, state->high[i], state->part + i * stride);
}

/* One tile of keys, the first being number first. */
static void attend_tile(const qlk_attend_job *job, size_t first, const float *keys,
                        const float *values, qlk_attend_state *state)
{
  float factor[QLK_QUERIES];
  const size_t stride = job->stride;
  score_tile(job, keys, state);
  memset(state->part, 0, job->rows * stride * sizeof *state->part);
  for (size_t r = 0; r < job->rows; r++) {
    const size_t begin = job->begin[r] > first ? job->begin[r] - first : 0;
    const size_t end = job->end[r] > first ? job->end[r] - first : 0;
    state->low[r] = begin < QLK_KEYS ? begin : QLK_KEYS;
    state->high[r] = end < QLK_KEYS ? end : QLK_KEYS;
    if (state->low[r] < state->high[r])
      factor[r] = weigh_row(state->score[r], job->scale, state->low[r], state->high[r],
                            &state->max[r], &state->sum[r]);
  }
  size_t r = 0;
  for (; r + QLK_ROW_BLOCK <= job->rows; r += QLK_ROW_BLOCK)
    add_values_four(state, r, values, stride);
  for (; r < job->rows; r++)
    add_values_row(state->score[r], values, stride, state->low[r], state->high[r],
                   state->part + r * stride);
  for (r = 0; r < job->rows; r++)
    if (state->low[r] < state->high[r]) {
      float *restrict acc = state->acc + r * stride;
      const float *restrict part = state->part + r * stride;
      for (size_t d = 0; d < stride; d++)
        acc[d] = acc[d] * factor[r] + part[d];
    }
}

static void attend_begin(const qlk_attend_job *job, qlk_attend_state *state)
{
  state->score = (float(*)[QLK_KEYS])(void *)job->scratch;
  state->acc = job->scratch + QLK_QUERIES * QLK_KEYS;
  state->part = state->acc + QLK_QUERIES * job->stride;
  state->keys = state->part + QLK_QUERIES * job->stride;
  state->values = state->keys + QLK_KEYS * job->dim;
  memset(state->acc, 0, job->rows * job->stride * sizeof *state->acc);
  for (size_t r = 0; r < job->rows; r++) {
    state->max[r] = -__builtin_inff();
    state->sum[r] = 0.0f;
  }
}

static void attend(const qlk_attend_job *job)
{
  qlk_attend_state state;
  size_t first = job->begin[0], end = job->end[0];
  attend_begin(job, &state);
  for (size_t r = 1; r < job->rows; r++) {
    first = job->begin[r] < first ? job->begin[r] : first;
    end = job->end[r] > end ? job->end[r] : end;
  }
  for (size_t tile = first / QLK_KEYS; tile * QLK_KEYS < end; tile++) {
    const size_t k = tile * QLK_KEYS * job->dim, v = tile * QLK_KEYS * job->stride;
    const size_t left = end - tile * QLK_KEYS, used = left < QLK_KEYS ? left : QLK_KEYS;
    const float *keys = (const float *)job->keys + k, *values = (const float *)job->values + v;
    if (job->widen != NULL) {
      job->widen((const uint16_t *)job->keys + k, QLK_KEYS * job->dim, state.keys);
      job->widen((const uint16_t *)job->values + v, used * job->stride, state.values);
      keys = state.keys;
      values = state.values;
    }
    attend_tile(job, tile * QLK_KEYS, keys, values, &state);
  }
  for (size_t r = 0; r < job->rows; r++)
    for (size_t d = 0; d < job->dim; d++)
      job->out[r][d] = state.acc[r * job->stride + d] / state.sum[r];
}

#endif
