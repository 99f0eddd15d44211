/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A position in the rows of a batch: offset in the tokens of a sequence. */
typedef struct cursor {
  size_t sequence, offset;
} cursor;

/* Rows from the cursor on that belong to one sequence, at most `limit`; moves the cursor behind
 * them. *sequence is the one. */
static size_t next_run(const qle_batch *batch, cursor *at, size_t limit, size_t *sequence)
{
  while (at->sequence < batch->sequences && at->offset == batch->lengths[at->sequence]) {
    at->sequence++;
    at->offset = 0;
  }
  if (at->sequence == batch->sequences)
    return 0;
  const size_t left = batch->lengths[at->sequence] - at->offset;
  const size_t count = left < limit ? left : limit;
  *sequence = at->sequence;
  at->offset += count;
  return count;
}

static ql_status total_rows(const qle_batch *batch, size_t *rows, ql_error *error)
{
  *rows = 0;
  for (size_t i = 0; i < batch->sequences; i++)
    if (!qle_add(*rows, batch->lengths[i], rows))
      return qle_fail(error, QL_STATUS_OVERFLOW, "the batch has too many rows");
  return QL_STATUS_OK;
}

static ql_status need_block(const qle_model *model, size_t layer, const qle_block **block,
                            ql_error *error)
{
  if (layer >= model->config.layers || !model->blocks[layer].loaded)
    return qle_fail(error, QL_STATUS_INVALID_ARGUMENT, "block %zu is not loaded", layer);
  *block = &model->blocks[layer];
  return QL_STATUS_OK;
}

static ql_status get_buffer(const qle_model *model, qle_buf which, size_t rows, size_t cols,
                            float **out, ql_error *error)
{
  *out = qle_scratch_get(model->scratch, which, rows, cols, sizeof(float));
  if (*out == NULL)
    return qle_fail(error, QL_STATUS_NO_MEMORY, "no memory for activations [%zu, %zu]", rows, cols);
  return QL_STATUS_OK;
}

/* What a piece of at most QLE_CHUNK rows needs while it goes through half a block. */
typedef struct piece {
  qle_model *model;
  const qle_block *block;
  size_t layer, rows;
  size_t before; /* rows of the batch in front of it */
  float *x;      /* [rows, hidden], in place */
  float *norm;   /* [rows, hidden] */
  int stop_at;
  qle_observer observe;
  void *user;
  ql_error *error;
  double *mass; /* of the batch's rows: sums over the queries so far; NULL: not asked for */
} piece;

/* Shows the input of linears to the observer; *stop is set where the pass ends. */
static ql_status show(const piece *p, qle_input point, const float *x, size_t cols, int *stop)
{
  *stop = p->stop_at == (int)point;
  if (p->observe == NULL)
    return QL_STATUS_OK;
  const ql_tensor view = qle_view(x, p->rows, cols);
  return p->observe(p->user, point, &view, p->error);
}

static ql_status normalize(const piece *p, const float *weight)
{
  const qle_config *config = &p->model->config;
  const ql_tensor in = qle_view(p->x, p->rows, config->hidden);
  const ql_tensor out = qle_view(p->norm, p->rows, config->hidden);
  ql_tensor gain;
  QLE_TRY(ql_tensor_init(&gain, (void *)(uintptr_t)weight, QL_DTYPE_F32, 1, &config->hidden));
  return ql_rms_norm(p->model->ctx, &in, &gain, config->rms_eps, &out, p->error);
}

/* x += w(y). */
static ql_status add_product(const piece *p, qle_linear which, const float *y, size_t k)
{
  const size_t hidden = p->model->config.hidden;
  float *out;
  QLE_TRY(get_buffer(p->model, QLE_BUF_OUT, p->rows, hidden, &out, p->error));
  QLE_TRY(
      qle_linear_apply(p->model, &p->block->linears[which], y, out, p->rows, k, hidden, p->error));
  const ql_tensor from = qle_view(out, p->rows, hidden), to = qle_view(p->x, p->rows, hidden);
  return ql_add(p->model->ctx, &from, &to, p->error);
}

/* Heads of the rows of a piece: [rows, count, head_dim], rows `stride` elements apart. */
typedef struct heads {
  float *data;
  size_t count, stride;
} heads;

typedef struct qkv {
  heads q, k, v;
} qkv;

static ql_tensor heads_view(const heads *h, size_t row, size_t rows, size_t dim)
{
  ql_tensor view;
  const size_t shape[3] = {rows, h->count, dim};
  /* Cannot overflow: the memory exists. */
  ql_tensor_init(&view, h->data + row * h->stride, QL_DTYPE_F32, 3, shape);
  view.stride[0] = (ptrdiff_t)(h->stride * sizeof(float));
  return view;
}

/* RMS norm of each head of q or k, where the family has it; then their rows are contiguous. */
static ql_status norm_heads(const piece *p, const heads *h, const float *weight)
{
  if (weight == NULL)
    return QL_STATUS_OK;
  const qle_config *config = &p->model->config;
  const ql_tensor view = qle_view(h->data, p->rows * h->count, config->head_dim);
  ql_tensor gain;
  QLE_TRY(ql_tensor_init(&gain, (void *)(uintptr_t)weight, QL_DTYPE_F32, 1, &config->head_dim));
  return ql_rms_norm(p->model->ctx, &view, &gain, config->rms_eps, &view, p->error);
}

/* Cosines and sines of the positions of a piece's rows. Positions go on from what a cache holds at
 * this layer; a sequence comes up once in a piece. */
static ql_status gather_angles(const piece *p, const qle_batch *batch, cursor at,
                               ql_tensor *cosines, ql_tensor *sines)
{
  qle_rope_table *rope = &p->model->rope;
  const size_t half = rope->half;
  float *c, *s;
  QLE_TRY(get_buffer(p->model, QLE_BUF_COS, p->rows, half, &c, p->error));
  QLE_TRY(get_buffer(p->model, QLE_BUF_SIN, p->rows, half, &s, p->error));
  for (size_t row = 0, sequence = 0; row < p->rows;) {
    const size_t count = next_run(batch, &at, p->rows - row, &sequence);
    const size_t position = ql_kv_length(batch->caches[sequence], p->layer);
    QLE_TRY(qle_rope_reserve(rope, position + count, p->error));
    memcpy(c + row * half, rope->cosines + position * half, count * half * sizeof *c);
    memcpy(s + row * half, rope->sines + position * half, count * half * sizeof *s);
    row += count;
  }
  *cosines = qle_view(c, p->rows, half);
  *sines = qle_view(s, p->rows, half);
  return QL_STATUS_OK;
}

static ql_status rotate(const piece *p, const qle_batch *batch, cursor at, const qkv *in)
{
  const size_t dim = p->model->config.head_dim;
  ql_tensor cosines, sines;
  QLE_TRY(gather_angles(p, batch, at, &cosines, &sines));
  const ql_tensor qs = heads_view(&in->q, 0, p->rows, dim);
  const ql_tensor ks = heads_view(&in->k, 0, p->rows, dim);
  QLE_TRY(ql_rope(p->model->ctx, &qs, &cosines, &sines, p->error));
  return ql_rope(p->model->ctx, &ks, &cosines, &sines, p->error);
}

/* Rows of one sequence in a piece. */
typedef struct run {
  size_t row, count;
  size_t first; /* row of the batch at which the sequence begins */
  ql_kv *cache;
  ql_status status;
} run;

typedef struct attend_work {
  const piece *p;
  const qkv *in;
  heads out;
  run *runs;
} attend_work;

/* Appends the keys and values of a run and attends. */
static ql_status attend_run(const attend_work *w, const ql_ctx *ctx, const run *r, ql_error *error)
{
  const qle_config *config = &w->p->model->config;
  const size_t dim = config->head_dim, layer = w->p->layer;
  const float scale = (float)(1 / sqrt((double)dim));
  const ql_tensor ks = heads_view(&w->in->k, r->row, r->count, dim);
  const ql_tensor vs = heads_view(&w->in->v, r->row, r->count, dim);
  const ql_tensor qs = heads_view(&w->in->q, r->row, r->count, dim);
  const ql_tensor outs = heads_view(&w->out, r->row, r->count, dim);
  QLE_TRY(ql_kv_append(ctx, r->cache, layer, &ks, &vs, error));
  return ql_kv_attend(ctx, r->cache, layer, &qs, scale, qle_config_window(config, layer), &outs,
                      error);
}

/* Queries i < count behind `before` earlier tokens that see key j. */
static size_t seen_by(size_t j, size_t before, size_t count, size_t window)
{
  const size_t first = j > before ? j - before : 0;
  size_t last = count;
  if (window != 0 && j + window < before + count)
    last = j + window > before ? j + window - before : 0;
  return last > first ? last - first : 0;
}

/* Adds the attention that the run's queries pay, not yet divided by their number. */
static ql_status add_mass(const attend_work *w, const run *r, ql_error *error)
{
  const qle_config *config = &w->p->model->config;
  const size_t layer = w->p->layer, length = ql_kv_length(r->cache, layer);
  const size_t window = qle_config_window(config, layer);
  const float scale = (float)(1 / sqrt((double)config->head_dim));
  const ql_tensor qs = heads_view(&w->in->q, r->row, r->count, config->head_dim);
  double *part = malloc((length + 1) * sizeof *part);
  if (part == NULL)
    return qle_fail(error, QL_STATUS_NO_MEMORY, "no memory for %zu tokens", length);
  const ql_status status =
      ql_kv_mass(w->p->model->ctx, r->cache, layer, &qs, scale, window, part, error);
  for (size_t j = 0; status == QL_STATUS_OK && j < length; j++)
    w->p->mass[r->first + j] += part[j] * (double)seen_by(j, length - r->count, r->count, window);
  free(part);
  return status;
}

static void attend_task(void *arg, size_t index, size_t worker)
{
  const attend_work *w = arg;
  (void)worker;
  run *r = &w->runs[index];
  r->status = attend_run(w, w->p->model->serial, r, NULL);
}

/* Many sequences: one task each, for which a call that is parallel in itself would be too small.
 * The bits are the same either way. */
static ql_status attend_many(const attend_work *w, size_t count)
{
  ql_ctx_parallel_for(w->p->model->ctx, count, attend_task, (void *)(uintptr_t)w);
  for (size_t i = 0; i < count; i++)
    if (w->runs[i].status != QL_STATUS_OK)
      return qle_fail(w->p->error, w->runs[i].status, "attention of sequence %zu at layer %zu: %s",
                      i, w->p->layer, ql_status_str(w->runs[i].status));
  return QL_STATUS_OK;
}

/* The runs of a piece into the scratch memory; moves the cursor behind the piece. */
static ql_status list_runs(const piece *p, const qle_batch *batch, cursor *at, run **runs,
                           size_t *count)
{
  const size_t most = p->rows < batch->sequences ? p->rows : batch->sequences;
  *runs = qle_scratch_get(p->model->scratch, QLE_BUF_RUNS, most, sizeof **runs, 1);
  if (*runs == NULL)
    return qle_fail(p->error, QL_STATUS_NO_MEMORY, "no memory for %zu sequences", most);
  *count = 0;
  for (size_t row = 0, sequence = 0; row < p->rows;) {
    run *r = &(*runs)[(*count)++];
    r->row = row;
    const cursor start = *at;
    r->count = next_run(batch, at, p->rows - row, &sequence);
    r->cache = batch->caches[sequence];
    r->first = p->before + row - (start.sequence == sequence ? start.offset : 0);
    row += r->count;
  }
  return QL_STATUS_OK;
}

static ql_status attend(const piece *p, const qle_batch *batch, cursor *at, const qkv *in,
                        float *out)
{
  const size_t count_q = in->q.count;
  attend_work w = {p, in, {out, count_q, count_q * p->model->config.head_dim}, NULL};
  size_t count = 0;
  QLE_TRY(list_runs(p, batch, at, &w.runs, &count));
  if (p->mass != NULL) {
    for (size_t i = 0; i < count; i++) {
      QLE_TRY(attend_run(&w, p->model->ctx, &w.runs[i], p->error));
      QLE_TRY(add_mass(&w, &w.runs[i], p->error));
    }
    return QL_STATUS_OK;
  }
  if (count > 1 && count >= 2 * ql_ctx_workers(p->model->ctx))
    return attend_many(&w, count);
  for (size_t i = 0; i < count; i++)
    QLE_TRY(attend_run(&w, p->model->ctx, &w.runs[i], p->error));
  return QL_STATUS_OK;
}

/* One product of the normalized rows into its buffer. */
static ql_status project(const piece *p, qle_linear which, qle_buf buffer, size_t n, float **out)
{
  QLE_TRY(get_buffer(p->model, buffer, p->rows, n, out, p->error));
  return qle_linear_apply(p->model, &p->block->linears[which], p->norm, *out, p->rows,
                          p->model->config.hidden, n, p->error);
}

/* All of the products of an input in one, side by side in the rows of *out. */
static ql_status project_joined(const piece *p, qle_join which, qle_buf buffer, size_t n,
                                float **out)
{
  QLE_TRY(get_buffer(p->model, buffer, p->rows, n, out, p->error));
  return qle_linear_apply(p->model, &p->block->joined[which], p->norm, *out, p->rows,
                          p->model->config.hidden, n, p->error);
}

static ql_status project_qkv(const piece *p, qkv *out)
{
  const qle_config *config = &p->model->config;
  const size_t q = config->heads * config->head_dim, kv = config->kv_heads * config->head_dim;
  if (p->block->joined[QLE_JOIN_QKV].packed != NULL) {
    const size_t n = q + 2 * kv;
    float *all;
    QLE_TRY(project_joined(p, QLE_JOIN_QKV, QLE_BUF_Q, n, &all));
    out->q = (heads){all, config->heads, n};
    out->k = (heads){all + q, config->kv_heads, n};
    out->v = (heads){all + q + kv, config->kv_heads, n};
    return QL_STATUS_OK;
  }
  out->q = (heads){NULL, config->heads, q};
  out->k = out->v = (heads){NULL, config->kv_heads, kv};
  QLE_TRY(project(p, QLE_Q, QLE_BUF_Q, q, &out->q.data));
  QLE_TRY(project(p, QLE_K, QLE_BUF_K, kv, &out->k.data));
  return project(p, QLE_V, QLE_BUF_V, kv, &out->v.data);
}

static ql_status attention_piece(const piece *p, const qle_batch *batch, cursor *at)
{
  const qle_config *config = &p->model->config;
  const size_t q_cols = config->heads * config->head_dim;
  qkv in;
  float *out;
  int stop;
  QLE_TRY(normalize(p, p->block->input_norm));
  QLE_TRY(show(p, QLE_INPUT_QKV, p->norm, config->hidden, &stop));
  if (stop)
    return QL_STATUS_OK;
  QLE_TRY(project_qkv(p, &in));
  QLE_TRY(norm_heads(p, &in.q, p->block->q_norm));
  QLE_TRY(norm_heads(p, &in.k, p->block->k_norm));
  QLE_TRY(rotate(p, batch, *at, &in));
  QLE_TRY(get_buffer(p->model, QLE_BUF_ATT, p->rows, q_cols, &out, p->error));
  QLE_TRY(attend(p, batch, at, &in, out));
  QLE_TRY(show(p, QLE_INPUT_O, out, q_cols, &stop));
  return stop ? QL_STATUS_OK : add_product(p, QLE_O, out, q_cols);
}

/* silu(gate) * up into rows without gaps. */
static ql_status gated(const piece *p, float **out)
{
  const size_t ffn = p->model->config.ffn;
  const int joined = p->block->joined[QLE_JOIN_GATE_UP].packed != NULL;
  float *gate, *up;
  if (joined) {
    QLE_TRY(project_joined(p, QLE_JOIN_GATE_UP, QLE_BUF_GATE, 2 * ffn, &gate));
    QLE_TRY(get_buffer(p->model, QLE_BUF_UP, p->rows, ffn, out, p->error));
    up = gate + ffn;
  } else {
    QLE_TRY(project(p, QLE_GATE, QLE_BUF_GATE, ffn, &gate));
    QLE_TRY(project(p, QLE_UP, QLE_BUF_UP, ffn, &up));
    *out = gate;
  }
  ql_tensor gates = qle_view(gate, p->rows, ffn), ups = qle_view(up, p->rows, ffn);
  const ql_tensor outs = qle_view(*out, p->rows, ffn);
  if (joined)
    gates.stride[0] = ups.stride[0] = (ptrdiff_t)(2 * ffn * sizeof(float));
  return ql_silu_mul(p->model->ctx, &gates, &ups, &outs, p->error);
}

static ql_status mlp_piece(const piece *p)
{
  const qle_config *config = &p->model->config;
  float *y;
  int stop;
  QLE_TRY(normalize(p, p->block->post_norm));
  QLE_TRY(show(p, QLE_INPUT_MLP, p->norm, config->hidden, &stop));
  if (stop)
    return QL_STATUS_OK;
  QLE_TRY(gated(p, &y));
  QLE_TRY(show(p, QLE_INPUT_DOWN, y, config->ffn, &stop));
  return stop ? QL_STATUS_OK : add_product(p, QLE_DOWN, y, config->ffn);
}

static size_t chunk(size_t rows)
{
  return rows < QLE_CHUNK ? rows : QLE_CHUNK;
}

/* x and all that a piece does not change are in p. */
static ql_status attention_pieces(piece p, const qle_batch *batch)
{
  qle_model *model = p.model;
  float *x = p.x;
  size_t rows;
  cursor at = {0, 0};
  QLE_TRY(need_block(model, p.layer, &p.block, p.error));
  QLE_TRY(total_rows(batch, &rows, p.error));
  QLE_TRY(get_buffer(model, QLE_BUF_NORM, chunk(rows), model->config.hidden, &p.norm, p.error));
  for (size_t row = 0; row < rows; row += p.rows) {
    p.rows = chunk(rows - row);
    p.before = row;
    p.x = x + row * model->config.hidden;
    QLE_TRY(attention_piece(&p, batch, &at));
  }
  return QL_STATUS_OK;
}

ql_status qle_block_attention(qle_model *model, size_t layer, const qle_batch *batch, float *x,
                              int stop_at, qle_observer observe, void *user, ql_error *error)
{
  const piece p = {.model = model,
                   .layer = layer,
                   .x = x,
                   .stop_at = stop_at,
                   .observe = observe,
                   .user = user,
                   .error = error};
  return attention_pieces(p, batch);
}

ql_status qle_block_mass(qle_model *model, size_t layer, const qle_batch *batch, float *x,
                         double *mass, ql_error *error)
{
  const piece p = {
      .model = model, .layer = layer, .x = x, .stop_at = QLE_INPUT_O, .error = error, .mass = mass};
  size_t rows, row = 0;
  QLE_TRY(total_rows(batch, &rows, error));
  memset(mass, 0, rows * sizeof *mass);
  QLE_TRY(attention_pieces(p, batch));
  const size_t window = qle_config_window(&model->config, layer);
  for (size_t i = 0; i < batch->sequences; row += batch->lengths[i++])
    for (size_t j = 0; j < batch->lengths[i]; j++)
      mass[row + j] /= (double)seen_by(j, 0, batch->lengths[i], window);
  return QL_STATUS_OK;
}

ql_status qle_block_mlp(qle_model *model, size_t layer, size_t rows, float *x, int stop_at,
                        qle_observer observe, void *user, ql_error *error)
{
  piece p = {.model = model,
             .layer = layer,
             .stop_at = stop_at,
             .observe = observe,
             .user = user,
             .error = error};
  QLE_TRY(need_block(model, layer, &p.block, error));
  QLE_TRY(get_buffer(model, QLE_BUF_NORM, chunk(rows), model->config.hidden, &p.norm, error));
  for (size_t row = 0; row < rows; row += p.rows) {
    p.rows = chunk(rows - row);
    p.x = x + row * model->config.hidden;
    QLE_TRY(mlp_piece(&p));
  }
  return QL_STATUS_OK;
}
