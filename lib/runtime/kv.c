/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "checked.h"
#include "ctx.h"
#include "error.h"
#include "fpenv.h"
#include "ops_args.h"

#include <quantlib/kv.h>

#include <math.h>
#include <string.h>

/* Storage: for each layer and head a piece of keys and a piece of values, as qlk_attend_job wants
 * them, capacity rounded up to whole tiles. Memory is written first when its tile is used. */
struct ql_kv {
  const ql_ctx *ctx;
  size_t layers, heads, dim, capacity;
  size_t stride;                 /* elements of a row of values */
  size_t key_piece, value_piece; /* elements of one head */
  size_t element;                /* bytes */
  unsigned char *keys, *values;
  size_t *length; /* of each layer */
};

static ql_status check_config(const ql_kv_config *c, ql_error *error)
{
  if (c->layers == 0 || c->heads == 0 || c->dim == 0 || c->capacity == 0)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "a cache of %zu layers, %zu heads of %zu and %zu tokens is empty", c->layers,
                    c->heads, c->dim, c->capacity);
  if (c->dtype != QL_DTYPE_F32 && c->dtype != QL_DTYPE_F16)
    return qli_fail(error, QL_STATUS_DTYPE, "a cache stores F32 or F16, not %s",
                    ql_dtype_name(c->dtype));
  if (c->reserved != 0)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "ql_kv_config.reserved is not zero");
  return QL_STATUS_OK;
}

/* Elements of all layers and heads, in tiles * QLK_KEYS rows of width elements. */
static int piece_size(const ql_kv_config *c, size_t width, size_t *piece, size_t *bytes)
{
  const size_t size = c->dtype == QL_DTYPE_F16 ? 2 : 4;
  size_t tokens, total;
  if (!qli_mul_size(qli_ceil_div(c->capacity, QLK_KEYS), QLK_KEYS, &tokens) ||
      !qli_mul_size(tokens, width, piece) || !qli_mul_size(*piece, c->heads, &total) ||
      !qli_mul_size(total, c->layers, &total) || !qli_mul_size(total, size, &total))
    return 0;
  *bytes = total;
  return total <= PTRDIFF_MAX;
}

static ql_status set_sizes(ql_kv *kv, const ql_kv_config *c, size_t *key_bytes, size_t *value_bytes,
                           ql_error *error)
{
  kv->layers = c->layers;
  kv->heads = c->heads;
  kv->dim = c->dim;
  kv->capacity = c->capacity;
  kv->element = c->dtype == QL_DTYPE_F16 ? 2 : 4;
  if (!qli_mul_size(qli_ceil_div(c->dim, QLK_LANES), QLK_LANES, &kv->stride) ||
      !piece_size(c, c->dim, &kv->key_piece, key_bytes) ||
      !piece_size(c, kv->stride, &kv->value_piece, value_bytes))
    return qli_fail(error, QL_STATUS_OVERFLOW,
                    "a cache of %zu layers, %zu heads of %zu and %zu tokens is too large",
                    c->layers, c->heads, c->dim, c->capacity);
  return QL_STATUS_OK;
}

ql_status ql_kv_create(const ql_ctx *ctx, const ql_kv_config *config, ql_kv **out, ql_error *error)
{
  ql_kv_config c = QL_KV_CONFIG_INIT;
  ql_kv sizes = {0};
  size_t key_bytes = 0, value_bytes = 0;
  if (ctx == NULL || config == NULL || out == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "ctx, config or out is NULL");
  if (!qli_config_copy(&c, sizeof c, sizeof c, config))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "ql_kv_config.struct_size is %zu, not that of QL_KV_CONFIG_INIT",
                    config->struct_size);
  QLI_TRY(check_config(&c, error));
  QLI_TRY(set_sizes(&sizes, &c, &key_bytes, &value_bytes, error));
  ql_kv *kv = qli_alloc(ctx, 1, sizeof *kv);
  if (kv != NULL) {
    *kv = sizes;
    kv->ctx = ctx;
    kv->length = qli_calloc(ctx, c.layers, sizeof *kv->length);
    kv->keys = qli_alloc(ctx, key_bytes, 1);
    kv->values = qli_alloc(ctx, value_bytes, 1);
  }
  if (kv == NULL || kv->length == NULL || kv->keys == NULL || kv->values == NULL) {
    ql_kv_destroy(kv);
    return qli_fail(error, QL_STATUS_NO_MEMORY, "no memory for a cache of %zu + %zu bytes",
                    key_bytes, value_bytes);
  }
  *out = kv;
  return QL_STATUS_OK;
}

void ql_kv_destroy(ql_kv *kv)
{
  if (kv == NULL)
    return;
  qli_free(kv->ctx, kv->values);
  qli_free(kv->ctx, kv->keys);
  qli_free(kv->ctx, kv->length);
  qli_free(kv->ctx, kv);
}

size_t ql_kv_length(const ql_kv *kv, size_t layer)
{
  return kv != NULL && layer < kv->layers ? kv->length[layer] : 0;
}

void ql_kv_truncate(ql_kv *kv, size_t length)
{
  for (size_t i = 0; kv != NULL && i < kv->layers; i++)
    kv->length[i] = qli_min_size(kv->length[i], length);
}

static unsigned char *piece_at(const ql_kv *kv, unsigned char *base, size_t piece, size_t layer,
                               size_t head)
{
  return base + (layer * kv->heads + head) * piece * kv->element;
}

static ql_status check_call(const ql_ctx *ctx, const ql_kv *kv, size_t layer, ql_error *error)
{
  if (ctx == NULL || kv == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "ctx or kv is NULL");
  if (layer >= kv->layers)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "layer %zu of a cache with %zu layers",
                    layer, kv->layers);
  return QL_STATUS_OK;
}

typedef struct {
  const ql_ctx *ctx;
  const ql_kv *kv;
  size_t layer;
  const ql_tensor *k, *v;
} append_work;

/* n floats, converted to the type of the storage. */
static void store_row(const append_work *work, const float *src, size_t n, void *dst)
{
  if (work->kv->element == 4)
    memcpy(dst, src, n * sizeof *src);
  else
    work->ctx->kernels.exact.f32_to_f16(src, n, dst);
}

static void append_values(const append_work *work, size_t head)
{
  const ql_kv *kv = work->kv;
  const size_t first = kv->length[work->layer], row = kv->stride * kv->element;
  unsigned char *piece = piece_at(kv, kv->values, kv->value_piece, work->layer, head);
  for (size_t i = 0; i < work->v->shape[0]; i++) {
    unsigned char *to = piece + (first + i) * row;
    store_row(work, qli_ops_row2(work->v, i, head), kv->dim, to);
    memset(to + kv->dim * kv->element, 0, row - kv->dim * kv->element);
  }
}

/* Keys first + i, i < n, all in one tile: gathered dimension by dimension, from a block that is
 * read row by row, a cache line of each at a time. */
static void append_keys_tile(const append_work *work, size_t head, size_t i, size_t n,
                             unsigned char *tile, size_t slot)
{
  enum { WIDTH = 16 };
  const ql_kv *kv = work->kv;
  float block[QLK_KEYS][WIDTH], column[QLK_KEYS];
  for (size_t first = 0; first < kv->dim; first += WIDTH) {
    const size_t width = qli_min_size(WIDTH, kv->dim - first);
    for (size_t j = 0; j < n; j++)
      memcpy(block[j], qli_ops_row2(work->k, i + j, head) + first, width * sizeof(float));
    for (size_t d = 0; d < width; d++) {
      for (size_t j = 0; j < n; j++)
        column[j] = block[j][d];
      store_row(work, column, n, tile + ((first + d) * QLK_KEYS + slot) * kv->element);
    }
  }
}

static void append_head(void *arg, size_t head, size_t worker)
{
  const append_work *work = arg;
  const ql_kv *kv = work->kv;
  const size_t t = work->k->shape[0], tile_bytes = QLK_KEYS * kv->dim * kv->element;
  unsigned char *piece = piece_at(kv, kv->keys, kv->key_piece, work->layer, head);
  (void)worker;
  for (size_t i = 0; i < t;) {
    const size_t position = kv->length[work->layer] + i, slot = position % QLK_KEYS;
    const size_t n = qli_min_size(t - i, QLK_KEYS - slot);
    unsigned char *tile = piece + position / QLK_KEYS * tile_bytes;
    if (slot == 0) /* attention computes on whole tiles */
      memset(tile, 0, tile_bytes);
    append_keys_tile(work, head, i, n, tile, slot);
    i += n;
  }
  append_values(work, head);
}

static ql_status check_heads(const ql_kv *kv, const ql_tensor *t, const char *name, bool written,
                             ql_error *error)
{
  QLI_TRY(qli_ops_check(t, name, 3, written, error));
  if (t->shape[2] != kv->dim)
    return qli_fail(error, QL_STATUS_SHAPE, "heads of %s have size %zu, those of the cache %zu",
                    name, t->shape[2], kv->dim);
  return QL_STATUS_OK;
}

ql_status ql_kv_append(const ql_ctx *ctx, ql_kv *kv, size_t layer, const ql_tensor *k,
                       const ql_tensor *v, ql_error *error)
{
  QLI_TRY(check_call(ctx, kv, layer, error));
  QLI_TRY(check_heads(kv, k, "k", false, error));
  QLI_TRY(check_heads(kv, v, "v", false, error));
  QLI_TRY(qli_ops_same_shape(k, "k", v, "v", error));
  if (k->shape[1] != kv->heads)
    return qli_fail(error, QL_STATUS_SHAPE, "k and v have %zu heads, the cache %zu", k->shape[1],
                    kv->heads);
  if (k->shape[0] > kv->capacity - kv->length[layer])
    return qli_fail(error, QL_STATUS_OVERFLOW,
                    "layer %zu holds %zu of %zu tokens: no room for %zu more", layer,
                    kv->length[layer], kv->capacity, k->shape[0]);
  append_work work = {ctx, kv, layer, k, v};
  if (k->shape[0] != 0)
    qli_parallel_for_work(ctx, (double)k->shape[0] * (double)(kv->heads * kv->dim), kv->heads,
                          append_head, &work);
  kv->length[layer] += k->shape[0];
  return QL_STATUS_OK;
}

/* Where there are fewer tasks than this for each worker, the pieces of the context become tasks. */
enum { TASKS_EACH = 4, TOTALS_BYTES = 16 << 20 };

typedef struct {
  const ql_ctx *ctx;
  const ql_kv *kv;
  size_t layer, group, rows, tiles; /* rows: t * group of one key/value head */
  const ql_tensor *q, *out;
  float scale;
  size_t window;
  float *scratch;
  size_t scratch_floats; /* of one worker */
  /* Pieces of the context as tasks of their own: [heads][rows][pieces] totals. */
  float *totals; /* NULL: pieces one after the other */
  size_t first_piece, pieces, total_floats;
} attend_work;

/* Keys that a row sees; row = token * group + head in the group. */
static void row_range(const attend_work *w, size_t row, size_t *begin, size_t *end)
{
  *end = w->kv->length[w->layer] - w->q->shape[0] + row / w->group + 1;
  *begin = w->window != 0 && *end > w->window ? *end - w->window : 0;
}

static float *row_totals(const attend_work *w, size_t head, size_t row)
{
  return w->totals + (head * w->rows + row) * w->pieces * w->total_floats;
}

/* One key/value head and rows first.. of it. */
static qlk_attend_job make_job(const attend_work *w, size_t head, size_t first, size_t worker)
{
  const ql_kv *kv = w->kv;
  qlk_attend_job job = {
      .rows = qli_min_size(QLK_QUERIES, w->rows - first),
      .dim = kv->dim,
      .stride = kv->stride,
      .keys = piece_at(kv, kv->keys, kv->key_piece, w->layer, head),
      .values = piece_at(kv, kv->values, kv->value_piece, w->layer, head),
      .scratch = w->scratch + worker * w->scratch_floats,
      .scale = w->scale,
      .half = kv->element == 2,
  };
  for (size_t r = 0; r < job.rows; r++) {
    const size_t token = (first + r) / w->group;
    const size_t q_head = head * w->group + (first + r) % w->group;
    job.q[r] = qli_ops_row2(w->q, token, q_head);
    job.out[r] = qli_ops_row2(w->out, token, q_head);
    row_range(w, first + r, &job.begin[r], &job.end[r]);
  }
  return job;
}

/* Task = one key/value head x up to QLK_QUERIES rows. */
static void attend_task(void *arg, size_t index, size_t worker)
{
  const attend_work *w = arg;
  const qlk_attend_job job = make_job(w, index / w->tiles, index % w->tiles * QLK_QUERIES, worker);
  w->ctx->kernels.ops.attend(&job);
}

/* The same for one piece of the keys; rows that see none of them get the total of nothing. */
static void attend_piece_task(void *arg, size_t index, size_t worker)
{
  const attend_work *w = arg;
  const size_t piece = index % w->pieces, tile = index / w->pieces;
  const size_t head = tile / w->tiles, first = tile % w->tiles * QLK_QUERIES;
  const size_t begin = (w->first_piece + piece) * QLK_PIECE, end = begin + QLK_PIECE;
  qlk_attend_job job = make_job(w, head, first, worker);
  float *total = job.scratch + qlk_attend_scratch(job.stride);
  bool any = false;
  for (size_t r = 0; r < job.rows; r++) {
    if (job.begin[r] < end && job.end[r] > begin) {
      job.begin[r] = job.begin[r] > begin ? job.begin[r] : begin;
      job.end[r] = qli_min_size(job.end[r], end);
      any = true;
    } else {
      job.begin[r] = job.end[r] = begin;
    }
  }
  if (!any)
    return;
  job.total = total;
  w->ctx->kernels.ops.attend(&job);
  for (size_t r = 0; r < job.rows; r++)
    memcpy(row_totals(w, head, first + r) + piece * w->total_floats, total + r * w->total_floats,
           w->total_floats * sizeof *total);
}

static void join_task(void *arg, size_t index, size_t worker)
{
  const attend_work *w = arg;
  const size_t head = index / w->rows, row = index % w->rows;
  size_t begin, end;
  row_range(w, row, &begin, &end);
  const size_t first = begin / QLK_PIECE, last = (end - 1) / QLK_PIECE;
  w->ctx->kernels.ops.attend_join(
      row_totals(w, head, row) + (first - w->first_piece) * w->total_floats, last - first + 1,
      w->total_floats, w->kv->dim, w->kv->stride, w->scratch + worker * w->scratch_floats,
      qli_ops_row2(w->out, row / w->group, head * w->group + row % w->group));
}

/* Memory for the totals where splitting pays; without it the work is done in one. */
static void split_pieces(attend_work *w)
{
  const size_t tasks = w->kv->heads * w->tiles;
  size_t begin, end, floats;
  row_range(w, 0, &begin, &end);
  w->first_piece = begin / QLK_PIECE;
  w->pieces = qli_ceil_div(w->kv->length[w->layer], QLK_PIECE) - w->first_piece;
  if (w->pieces < 2 || w->ctx->executor.max_workers < 2 ||
      tasks >= TASKS_EACH * w->ctx->executor.max_workers ||
      !qli_mul_size(w->kv->heads * w->rows, w->pieces, &floats) ||
      !qli_mul_size(floats, w->total_floats, &floats) || floats > TOTALS_BYTES / sizeof(float))
    return;
  w->totals = qli_alloc(w->ctx, floats, sizeof(float));
}

static ql_status check_queries(const ql_ctx *ctx, const ql_kv *kv, size_t layer, const ql_tensor *q,
                               float scale, ql_error *error)
{
  QLI_TRY(check_call(ctx, kv, layer, error));
  QLI_TRY(check_heads(kv, q, "q", false, error));
  if (q->shape[1] == 0 || q->shape[1] % kv->heads != 0)
    return qli_fail(error, QL_STATUS_SHAPE,
                    "q has %zu heads, which is no multiple of the cache's %zu", q->shape[1],
                    kv->heads);
  if (q->shape[0] > kv->length[layer])
    return qli_fail(error, QL_STATUS_SHAPE, "q has %zu tokens, layer %zu of the cache holds %zu",
                    q->shape[0], layer, kv->length[layer]);
  if (!isfinite(scale))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "scale %g is not finite", (double)scale);
  return QL_STATUS_OK;
}

ql_status ql_kv_attend(const ql_ctx *ctx, const ql_kv *kv, size_t layer, const ql_tensor *q,
                       float scale, size_t window, const ql_tensor *out, ql_error *error)
{
  QLI_TRY(check_queries(ctx, kv, layer, q, scale, error));
  QLI_TRY(check_heads(kv, out, "out", true, error));
  QLI_TRY(qli_ops_same_shape(q, "q", out, "out", error));
  if (q->shape[0] == 0)
    return QL_STATUS_OK;
  attend_work work = {ctx, kv, layer, .q = q, .out = out, .scale = scale, .window = window};
  work.group = q->shape[1] / kv->heads;
  work.rows = q->shape[0] * work.group; /* fits: no more than the elements of q */
  work.tiles = qli_ceil_div(work.rows, QLK_QUERIES);
  work.total_floats = QLK_LANES + kv->stride;
  const size_t floats = qlk_attend_scratch(kv->stride) + QLK_QUERIES * work.total_floats;
  work.scratch_floats = qli_ceil_div(floats, QLK_LANES) * QLK_LANES;
  work.scratch = qli_alloc(ctx, ctx->executor.max_workers, work.scratch_floats * sizeof(float));
  if (work.scratch == NULL)
    return qli_fail(error, QL_STATUS_NO_MEMORY, "no memory for %zu floats of scratch",
                    work.scratch_floats * ctx->executor.max_workers);
  split_pieces(&work);
  const size_t tasks = kv->heads * work.tiles;
  const double cost =
      2.0 * (double)(work.rows * kv->heads) * (double)kv->length[layer] * (double)kv->dim;
  if (work.totals == NULL) {
    qli_parallel_for_work(ctx, cost, tasks, attend_task, &work);
  } else {
    qli_parallel_for_work(ctx, cost, tasks * work.pieces, attend_piece_task, &work);
    qli_parallel_for_work(ctx, (double)(kv->heads * work.rows * work.pieces * kv->stride),
                          kv->heads * work.rows, join_task, &work);
  }
  qli_free(ctx, work.totals);
  qli_free(ctx, work.scratch);
  return QL_STATUS_OK;
}

typedef struct {
  const ql_ctx *ctx;
  const ql_kv *kv;
  size_t layer, group, length;
  const ql_tensor *q;
  float scale;
  size_t window;
  double *mass;   /* [query heads, length] */
  float *scratch; /* of each worker: scores of all keys and a tile of keys in f32 */
  size_t scratch_floats;
} mass_work;

/* Keys that the query of this call sees. */
static void seen_keys(const mass_work *w, size_t token, size_t *begin, size_t *end)
{
  *end = w->length - w->q->shape[0] + token + 1;
  *begin = w->window != 0 && *end > w->window ? *end - w->window : 0;
}

/* Scores of the keys of whole tiles, dimensions in their order. */
static void score_keys(const mass_work *w, size_t head, const float *q, size_t end, float *scores,
                       float *wide)
{
  const ql_kv *kv = w->kv;
  const size_t tile_bytes = QLK_KEYS * kv->dim * kv->element;
  const unsigned char *piece = piece_at(kv, kv->keys, kv->key_piece, w->layer, head);
  for (size_t first = 0; first < end; first += QLK_KEYS) {
    const void *tile = piece + first / QLK_KEYS * tile_bytes;
    const float *keys = tile;
    if (kv->element == 2) {
      w->ctx->kernels.exact.f16_to_f32(tile, QLK_KEYS * kv->dim, wide);
      keys = wide;
    }
    float *to = scores + first;
    memset(to, 0, QLK_KEYS * sizeof *to);
    for (size_t d = 0; d < kv->dim; d++)
      for (size_t j = 0; j < QLK_KEYS; j++)
        to[j] += q[d] * keys[d * QLK_KEYS + j];
    for (size_t j = 0; j < QLK_KEYS; j++)
      to[j] *= w->scale;
  }
}

/* Task = one query head, its queries in order. */
static void mass_task(void *arg, size_t q_head, size_t worker)
{
  const mass_work *w = arg;
  double *mass = w->mass + q_head * w->length;
  float *scores = w->scratch + worker * w->scratch_floats;
  float *wide = scores + qli_ceil_div(w->length, QLK_KEYS) * QLK_KEYS;
  for (size_t token = 0; token < w->q->shape[0]; token++) {
    size_t begin, end;
    seen_keys(w, token, &begin, &end);
    score_keys(w, q_head / w->group, qli_ops_row2(w->q, token, q_head), end, scores, wide);
    w->ctx->kernels.ops.softmax(scores + begin, end - begin, scores + begin);
    for (size_t j = begin; j < end; j++)
      mass[j] += (double)scores[j];
  }
}

/* Sums over the heads and divides by the number of queries that saw each key. */
static void mass_sum(const mass_work *w, double *mass)
{
  const size_t t = w->q->shape[0], heads = w->q->shape[1], before = w->length - t;
  for (size_t j = 0; j < w->length; j++) {
    double sum = 0.0;
    for (size_t h = 0; h < heads; h++)
      sum += w->mass[h * w->length + j];
    /* Query i sees key j when before + i >= j, and with a window when before + i < j + window. */
    const size_t first = j > before ? j - before : 0;
    size_t last = t;
    if (w->window != 0 && w->window <= SIZE_MAX - j)
      last = qli_min_size(t, j + w->window > before ? j + w->window - before : 0);
    const size_t seen = last > first ? last - first : 0;
    mass[j] = seen > 0 ? sum / ((double)heads * (double)seen) : 0.0;
  }
}

static ql_status mass_run(mass_work *w, double *mass, ql_error *error)
{
  const size_t heads = w->q->shape[1];
  const size_t keys = qli_ceil_div(w->length, QLK_KEYS) * QLK_KEYS; /* as stored, so it fits */
  size_t cells;
  ql_status status = QL_STATUS_NO_MEMORY;
  w->scratch_floats = keys + QLK_KEYS * w->kv->dim;
  w->scratch = qli_alloc(w->ctx, w->ctx->executor.max_workers, w->scratch_floats * sizeof(float));
  w->mass =
      qli_mul_size(heads, w->length, &cells) ? qli_calloc(w->ctx, cells, sizeof *w->mass) : NULL;
  if (w->scratch != NULL && w->mass != NULL) {
    qli_parallel_for(w->ctx, heads, mass_task, w);
    mass_sum(w, mass);
    status = QL_STATUS_OK;
  } else {
    qli_fail(error, status, "no memory for the attention of %zu heads to %zu tokens", heads,
             w->length);
  }
  qli_free(w->ctx, w->mass);
  qli_free(w->ctx, w->scratch);
  return status;
}

ql_status ql_kv_mass(const ql_ctx *ctx, const ql_kv *kv, size_t layer, const ql_tensor *q,
                     float scale, size_t window, double *mass, ql_error *error)
{
  QLI_TRY(check_queries(ctx, kv, layer, q, scale, error));
  if (mass == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "mass is NULL");
  mass_work work = {ctx, kv, layer, .q = q, .scale = scale, .window = window};
  work.group = q->shape[1] / kv->heads;
  work.length = kv->length[layer];
  const qli_fpenv saved = qli_fpenv_enter();
  const ql_status status = mass_run(&work, mass, error);
  qli_fpenv_leave(saved);
  return status;
}
