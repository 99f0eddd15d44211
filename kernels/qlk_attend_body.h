/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLK_ATTEND_BODY_H
#define QLK_ATTEND_BODY_H

#include "qlk_ops_body.h"

/* Attention over tiles of QLK_KEYS keys at fixed positions with a running maximum and sum, for one
 * piece of QLK_PIECE keys after the other; included once per ISA behind its vec_<isa>.h. For each
 * row, each piece and each tile that meets its range, in this order and nothing else:
 *   s_j   = (sum over d of q_d k_jd, in order of d) * scale
 *   m'    = max(m, s_j over the row's part of the tile), c = exp(m - m'), p_j = exp(s_j - m')
 *   sum   = sum * c + (p_j over 16 lanes, lane j mod 16, and the fixed tree)
 *   acc_d = acc_d * c + (sum over j of p_j v_jd, in order of j)
 * and for each piece, with M, S, A of the pieces before it:
 *   M'  = max(M, m), C = exp(M - M'), E = exp(m - M')
 *   S   = S * C + sum * E,  A_d = A_d * C + acc_d * E
 * and at the end out_d = A_d / S. A row's result depends on its range and its keys alone, and
 * pieces may be computed apart. With one piece C is 0 and E is 1: its own sums, to the bit. */

typedef struct {
  float (*score)[QLK_KEYS];
  float *acc, *part; /* of a piece: rows of stride floats, and the sums of a tile */
  float max[QLK_QUERIES], sum[QLK_QUERIES];
  size_t low[QLK_QUERIES], high[QLK_QUERIES]; /* the row's range within the tile */
} qlk_attend_state;

/* Sums over p of a[r][p] b[p][.] for up to ROW_BLOCK rows and COLUMN_BLOCK vectors of columns. */
enum { COLUMN_BLOCK = VL < 16 ? 16 / VL : 4, ROW_BLOCK = SUMS / COLUMN_BLOCK };

typedef struct {
  const float *a[QLK_QUERIES]; /* rows of depth floats */
  const unsigned char *b;      /* depth rows of ldb elements, f32 or f16 */
  size_t ldb, depth;
  float *out; /* rows of ldo floats: what the sums begin with */
  size_t ldo;
} qlk_sums;

static inline vec load_element(const int half, const unsigned char *p)
{
  return half ? vec_load_f16(p) : vec_load((const float *)(const void *)p);
}

/* Rows row.. and count vectors from column on; half, rows and count are constants at every call. */
static inline __attribute__((always_inline)) void sum_block(const int half, const size_t rows,
                                                            const size_t count, const qlk_sums *s,
                                                            size_t row, size_t column)
{
  const size_t size = half ? 2 : 4, step = s->ldb * size;
  const unsigned char *b = s->b + column * size;
  float *out = s->out + row * s->ldo + column;
  vec acc[ROW_BLOCK][COLUMN_BLOCK];
  const float *a[ROW_BLOCK];
  for (size_t r = 0; r < rows; r++) {
    a[r] = s->a[row + r];
    for (size_t v = 0; v < count; v++)
      acc[r][v] = vec_load(out + r * s->ldo + v * VL);
  }
  for (size_t p = 0; p < s->depth; p++, b += step) {
    vec element[COLUMN_BLOCK];
    for (size_t v = 0; v < count; v++)
      element[v] = load_element(half, b + v * VL * size);
    for (size_t r = 0; r < rows; r++) {
      const vec factor = vec_set1(a[r][p]);
      for (size_t v = 0; v < count; v++)
        acc[r][v] = vec_add(acc[r][v], vec_mul(factor, element[v]));
    }
  }
  for (size_t r = 0; r < rows; r++)
    for (size_t v = 0; v < count; v++)
      vec_store(out + r * s->ldo + v * VL, acc[r][v]);
}

/* cols is a multiple of QLK_LANES. */
static inline __attribute__((always_inline)) void
sum_rows(const int half, const size_t rows, const qlk_sums *s, size_t row, size_t cols)
{
  size_t c = 0;
  for (; c + COLUMN_BLOCK * VL <= cols; c += COLUMN_BLOCK * VL)
    sum_block(half, rows, COLUMN_BLOCK, s, row, c);
  for (; c < cols; c += QLK_LANES)
    sum_block(half, rows, QLK_LANES / VL, s, row, c);
}

static inline __attribute__((always_inline)) size_t block_at_most(size_t rows)
{
  return rows < ROW_BLOCK ? rows : ROW_BLOCK;
}

static inline __attribute__((always_inline)) void sum_any(const int half, const qlk_sums *s,
                                                          size_t rows, size_t cols)
{
  for (size_t row = 0; row < rows; row += ROW_BLOCK)
    switch (rows - row < ROW_BLOCK ? rows - row : ROW_BLOCK) {
    case 1: sum_rows(half, block_at_most(1), s, row, cols); break;
    case 2: sum_rows(half, block_at_most(2), s, row, cols); break;
    case 3: sum_rows(half, block_at_most(3), s, row, cols); break;
    case 4: sum_rows(half, block_at_most(4), s, row, cols); break;
    case 5: sum_rows(half, block_at_most(5), s, row, cols); break;
    default: sum_rows(half, ROW_BLOCK, s, row, cols); break;
    }
}

static void sum_f32(const qlk_sums *s, size_t rows, size_t cols)
{
  sum_any(0, s, rows, cols);
}

static void sum_f16(const qlk_sums *s, size_t rows, size_t cols)
{
  sum_any(1, s, rows, cols);
}

static void sum_products(const qlk_attend_job *job, const qlk_sums *s, size_t rows, size_t cols)
{
  if (job->half)
    sum_f16(s, rows, cols);
  else
    sum_f32(s, rows, cols);
}

/* score[r][j] = q_r . k_j for all keys of the tile. */
static void score_tile(const qlk_attend_job *job, const unsigned char *keys,
                       qlk_attend_state *state)
{
  qlk_sums s = {.b = keys, .ldb = QLK_KEYS, .depth = job->dim};
  s.out = state->score[0];
  s.ldo = QLK_KEYS;
  for (size_t r = 0; r < job->rows; r++)
    s.a[r] = job->q[r];
  memset(s.out, 0, job->rows * sizeof state->score[0]);
  sum_products(job, &s, job->rows, QLK_KEYS);
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

/* part_r += p_rj v_j for keys low..high-1 in order, of rows first.. */
static void add_values(const qlk_attend_job *job, const qlk_attend_state *state, size_t first,
                       size_t rows, const unsigned char *values, size_t low, size_t high)
{
  qlk_sums s = {.ldb = job->stride, .ldo = job->stride, .depth = high - low};
  s.b = values + low * job->stride * (job->half ? 2 : 4);
  s.out = state->part + first * job->stride;
  for (size_t r = 0; r < rows; r++)
    s.a[r] = state->score[first + r] + low;
  sum_products(job, &s, rows, job->stride);
}

/* Rows of a block: the keys that all of them have together, those before and after row by row. */
static void add_values_block(const qlk_attend_job *job, const qlk_attend_state *state, size_t first,
                             size_t rows, const unsigned char *values)
{
  size_t low = 0, high = QLK_KEYS;
  for (size_t r = first; r < first + rows; r++) {
    low = state->low[r] > low ? state->low[r] : low;
    high = state->high[r] < high ? state->high[r] : high;
  }
  const int shared = low < high;
  for (size_t r = first; r < first + rows; r++) {
    const size_t end = shared ? low : state->high[r];
    if (state->low[r] < end)
      add_values(job, state, r, 1, values, state->low[r], end);
  }
  if (!shared)
    return;
  add_values(job, state, first, rows, values, low, high);
  for (size_t r = first; r < first + rows; r++)
    if (high < state->high[r])
      add_values(job, state, r, 1, values, high, state->high[r]);
}

static void add_part(const qlk_attend_job *job, qlk_attend_state *state, size_t r, float factor)
{
  float *restrict acc = state->acc + r * job->stride;
  const float *restrict part = state->part + r * job->stride;
  for (size_t d = 0; d < job->stride; d++)
    acc[d] = acc[d] * factor + part[d];
}

/* One tile of keys, the first being number first. */
static void attend_tile(const qlk_attend_job *job, size_t first, const unsigned char *keys,
                        const unsigned char *values, qlk_attend_state *state)
{
  float factor[QLK_QUERIES];
  score_tile(job, keys, state);
  memset(state->part, 0, job->rows * job->stride * sizeof *state->part);
  for (size_t r = 0; r < job->rows; r++) {
    const size_t begin = job->begin[r] > first ? job->begin[r] - first : 0;
    const size_t end = job->end[r] > first ? job->end[r] - first : 0;
    state->low[r] = begin < QLK_KEYS ? begin : QLK_KEYS;
    state->high[r] = end < QLK_KEYS ? end : QLK_KEYS;
    if (state->low[r] < state->high[r])
      factor[r] = weigh_row(state->score[r], job->scale, state->low[r], state->high[r],
                            &state->max[r], &state->sum[r]);
  }
  for (size_t r = 0; r < job->rows; r += ROW_BLOCK) {
    const size_t rows = job->rows - r < ROW_BLOCK ? job->rows - r : ROW_BLOCK;
    add_values_block(job, state, r, rows, values);
  }
  for (size_t r = 0; r < job->rows; r++)
    if (state->low[r] < state->high[r])
      add_part(job, state, r, factor[r]);
}

/* The maximum, the sum and the weighted values of a row: of nothing yet. */
static void attend_clear(float *total, size_t stride)
{
  memset(total, 0, (QLK_LANES + stride) * sizeof *total);
  total[0] = -__builtin_inff();
}

/* Adds a piece with that maximum and sum to a row's total. */
static void attend_add(float *restrict total, float max, float sum, const float *restrict acc,
                       size_t stride)
{
  const float m = max > total[0] ? max : total[0];
  const float base = m == -__builtin_inff() ? 0.0f : m;
  const float before = qlk_exp(total[0] - base), factor = qlk_exp(max - base);
  total[0] = m;
  total[1] = total[1] * before + sum * factor;
  for (size_t d = 0; d < stride; d++)
    total[QLK_LANES + d] = total[QLK_LANES + d] * before + acc[d] * factor;
}

static void attend_divide(const float *restrict total, size_t dim, float *restrict out)
{
  for (size_t d = 0; d < dim; d++)
    out[d] = total[QLK_LANES + d] / total[1];
}

/* Keys from first (of a tile that begins at a multiple of QLK_KEYS) to end, all of one piece. */
static void attend_piece(const qlk_attend_job *job, size_t first, size_t end,
                         qlk_attend_state *state)
{
  const size_t size = job->half ? 2 : 4, stride = job->stride;
  memset(state->acc, 0, job->rows * stride * sizeof *state->acc);
  for (size_t r = 0; r < job->rows; r++) {
    state->max[r] = -__builtin_inff();
    state->sum[r] = 0.0f;
  }
  for (size_t tile = first / QLK_KEYS; tile * QLK_KEYS < end; tile++)
    attend_tile(job, tile * QLK_KEYS,
                (const unsigned char *)job->keys + tile * QLK_KEYS * job->dim * size,
                (const unsigned char *)job->values + tile * QLK_KEYS * stride * size, state);
}

static void attend(const qlk_attend_job *job)
{
  qlk_attend_state state;
  float *total = job->total;
  const size_t total_floats = QLK_LANES + job->stride;
  size_t first = job->begin[0], last = job->end[0];
  state.score = (float(*)[QLK_KEYS])(void *)job->scratch;
  state.acc = job->scratch + QLK_QUERIES * QLK_KEYS;
  state.part = state.acc + QLK_QUERIES * job->stride;
  if (total == NULL)
    total = state.part + QLK_QUERIES * job->stride;
  for (size_t r = 0; r < job->rows; r++) {
    first = job->begin[r] < first ? job->begin[r] : first;
    last = job->end[r] > last ? job->end[r] : last;
    attend_clear(total + r * total_floats, job->stride);
  }
  for (size_t piece = first / QLK_PIECE; piece * QLK_PIECE < last; piece++) {
    const size_t begin = piece * QLK_PIECE, end = begin + QLK_PIECE;
    attend_piece(job, begin > first ? begin : first, end < last ? end : last, &state);
    for (size_t r = 0; r < job->rows; r++)
      if (job->begin[r] < end && job->end[r] > begin)
        attend_add(total + r * total_floats, state.max[r], state.sum[r],
                   state.acc + r * job->stride, job->stride);
  }
  for (size_t r = 0; r < job->rows && job->total == NULL; r++)
    attend_divide(total + r * total_floats, job->dim, job->out[r]);
}

/* Totals of one piece each, in their order. */
static void attend_join(const float *totals, size_t pieces, size_t step, size_t dim, size_t stride,
                        float *total, float *out)
{
  attend_clear(total, stride);
  for (size_t p = 0; p < pieces; p++)
    attend_add(total, totals[p * step], totals[p * step + 1], totals + p * step + QLK_LANES,
               stride);
  attend_divide(total, dim, out);
}

#endif
