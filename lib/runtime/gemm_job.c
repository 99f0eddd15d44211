/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "gemm_job.h"

#include "checked.h"
#include "gemm_a8.h"
#include "parts.h"
#include "tensor_rows.h"

#include <string.h>

/* A product of more than MANY_ROWS expands its weights far ahead. */
enum { CONVERT_ROWS = 8, CHUNK = 256, MANY_ROWS = 8 };

typedef struct {
  const qli_gemm_job *job;
  const ql_tensor *x;
  float *dst;
} conversion;

static void convert_contiguous(const qlk_exact *kernels, ql_dtype dtype, const void *src, size_t n,
                               float *dst)
{
  if (dtype == QL_DTYPE_F16)
    kernels->f16_to_f32(src, n, dst);
  else if (dtype == QL_DTYPE_BF16)
    kernels->bf16_to_f32(src, n, dst);
  else
    memcpy(dst, src, n * sizeof(float));
}

/* dst[p] = src[gather[p]], or 0; a chunk is gathered in its own type, then converted. */
static void convert_gathered(const qlk_exact *kernels, ql_dtype dtype, const unsigned char *src,
                             const int32_t *gather, size_t n, float *dst)
{
  _Alignas(64) unsigned char chunk[CHUNK * sizeof(float)];
  const size_t size = ql_dtype_bits(dtype) / 8;
  for (size_t p = 0; p < n; p += CHUNK) {
    const size_t part = qli_min_size(CHUNK, n - p);
    memset(chunk, 0, sizeof chunk);
    for (size_t i = 0; i < part; i++)
      if (gather[p + i] >= 0 && size == 2)
        memcpy(chunk + 2 * i, src + 2 * (size_t)gather[p + i], 2);
      else if (gather[p + i] >= 0)
        memcpy(chunk + 4 * i, src + 4 * (size_t)gather[p + i], 4);
    convert_contiguous(kernels, dtype, chunk, part, dst + p);
  }
}

static void convert_rows(void *arg, size_t index, size_t worker)
{
  const conversion *c = arg;
  const qli_gemm_job *job = c->job;
  const size_t end = qli_min_size(job->rows, (index + 1) * CONVERT_ROWS);
  (void)worker;
  for (size_t i = index * CONVERT_ROWS; i < end; i++) {
    const unsigned char *src =
        (const unsigned char *)c->x->data + (ptrdiff_t)(job->first_row + i) * c->x->stride[0];
    float *dst = c->dst + i * job->x_stride;
    if (job->w->gather != NULL)
      convert_gathered(&job->ctx->kernels.exact, c->x->dtype, src, job->w->gather,
                       job->w->weights.k, dst);
    else
      convert_contiguous(&job->ctx->kernels.exact, c->x->dtype, src, job->w->k, dst);
    if (qli_parts_transform(job->w->parts))
      qli_parts_prepare(job->w, dst);
  }
}

/* Float rows that the core can read where they lie. Rows that are a multiple of a page apart would
 * share cache sets, which matters when there are many. */
static bool in_place(const ql_packed *w, const ql_tensor *x)
{
  return x->dtype == QL_DTYPE_F32 && w->gather == NULL && !qli_parts_transform(w->parts) &&
         (uintptr_t)x->data % 4 == 0 && x->stride[0] >= 0 && x->stride[0] % 4 == 0 &&
         (x->shape[0] <= 4 || x->stride[0] % 4096 != 0);
}

/* The odd multiple of a cache line keeps rows of 2^n elements out of the same cache sets. */
size_t qli_gemm_row_elements(const ql_packed *w)
{
  const size_t lines = (w->weights.k + 15) / 16;
  return (lines | 1) * 16;
}

/* Weights of one block of one panel, or of two panels and several blocks for many rows. */
static size_t block_floats(const ql_packed *w, size_t m)
{
  const size_t columns = qli_gemm_widest(w);
  return m <= MANY_ROWS ? QLK_KB * columns : QLI_GEMM_DEPTH * 2 * columns;
}

size_t qli_gemm_worker_bytes(const ql_packed *w, size_t m)
{
  const size_t rows = qli_min_size(m, QLI_GEMM_ROWS);
  return (block_floats(w, m) + rows * QLI_GEMM_COLUMNS) * sizeof(float);
}

void qli_gemm_take(qli_gemm_job *job, const ql_tensor *x, bool copy, float *scratch)
{
  if (!copy && in_place(job->w, x)) {
    job->x = (const float *)(const void *)((const unsigned char *)x->data +
                                           (ptrdiff_t)job->first_row * x->stride[0]);
    job->x_stride = (size_t)x->stride[0] / sizeof(float);
    return;
  }
  job->x = scratch;
  job->x_stride = qli_gemm_row_elements(job->w);
  conversion c = {job, x, scratch};
  qli_parallel_for_work(job->ctx, (double)job->rows * (double)job->w->k,
                        qli_ceil_div(job->rows, CONVERT_ROWS), convert_rows, &c);
}

/* The f32 weights of one panel and one block of k. */
static const float *weights_of(const qlk_gemm_unit *unit, const qlk_weights *w, size_t panel,
                               size_t k0, size_t k1, size_t group, float *block)
{
  if (unit->expand == NULL)
    return (const float *)(const void *)(w->codes + panel * w->code_stride) + k0 * unit->nr;
  unit->expand(w, panel, k0, k1, group, block);
  return block;
}

/* A product whose sums begin at zero, or are added to those of the tile. */
typedef struct {
  qli_gemm_term term;
  const qlk_gemm_unit *unit;
  qlk_dense_fn *dense;
  bool add;
} sum;

/* All rows of a tile against one block of one panel, the sums of which begin at `to`. */
static void add_block(const sum *s, const qli_gemm_tile *t, size_t k0, size_t k1,
                      const float *weights, float *to)
{
  const float *x = s->term.x + t->row * s->term.x_stride + k0;
  for (size_t i = 0; i < t->rows; i += s->unit->mr)
    s->dense(qli_min_size(s->unit->mr, t->rows - i), k1 - k0, x + i * s->term.x_stride,
             s->term.x_stride, weights, to + i * QLI_GEMM_COLUMNS, QLI_GEMM_COLUMNS,
             s->add || k0 > 0);
}

static void sum_blocks(const qli_gemm_job *job, const qli_gemm_tile *t, const qli_gemm_term *term,
                       bool add)
{
  const ql_packed *packed = term->w;
  const qlk_weights *w = &packed->weights;
  const qlk_gemm_unit *unit = qli_packed_unit(job->ctx, packed);
  const sum s = {*term, unit, qli_reproducible(job->ctx) ? unit->dense_ordered : unit->dense, add};
  const size_t first = t->column / unit->nr;
  const size_t panels = qli_min_size(QLI_GEMM_COLUMNS / unit->nr, packed->panels - first);
  size_t group = 0;
  for (size_t k0 = 0; k0 < w->k; k0 += QLK_KB) {
    const size_t k1 = qli_min_size(k0 + QLK_KB, w->k);
    group = w->groups > 0 ? qlk_next_group(w, group, k0) : 0;
    for (size_t p = 0; p < panels; p++)
      add_block(&s, t, k0, k1, weights_of(unit, w, first + p, k0, k1, group, t->block),
                t->sums + p * unit->nr);
  }
}

/* A kernel for few rows over a tile: two panels and a depth at a time, whose weights all rows find
 * in the second-level cache. */
typedef struct {
  const qlk_gemm_unit *unit; /* of the packed weights */
  qlk_few_fn *few;           /* of the unit, or that of f32 for expanded weights */
  size_t few_rows;
  bool expand, add;
} wide;

static void few_rows(const wide *s, const qli_gemm_tile *t, const qli_gemm_term *term,
                     qlk_few_job *job, float *to)
{
  const size_t pieces = qli_ceil_div(t->rows, s->few_rows);
  const float *x = term->x + t->row * term->x_stride;
  job->ldx = term->x_stride;
  job->ldy = QLI_GEMM_COLUMNS;
  for (size_t i = 0; i < pieces; i++) {
    const size_t row = i * t->rows / pieces;
    job->m = (i + 1) * t->rows / pieces - row;
    job->x = x + row * job->ldx;
    job->y = to + row * job->ldy;
    s->few(job);
  }
}

/* job->panels panels from job->k0 to job->k1 in f32, which the job is about from then on. */
static void expand_depth(const wide *s, qlk_few_job *job, qlk_weights *dense, float *block)
{
  const size_t depth = job->k1 - job->k0, floats = depth * s->unit->nr;
  for (size_t p = 0; p < job->panels; p++)
    s->unit->expand(job->w, job->panel + p, job->k0, job->k1, job->group, block + p * floats);
  *dense = (qlk_weights){.codes = (const unsigned char *)(const void *)block,
                         .code_stride = floats * sizeof(float),
                         .k = depth};
  job->w = dense;
  job->panel = job->k0 = 0;
  job->k1 = depth;
}

static void sum_wide(const wide *s, const qli_gemm_tile *t, const qli_gemm_term *term)
{
  const qlk_weights *w = &term->w->weights;
  const size_t nr = s->unit->nr, first = t->column / nr;
  const size_t panels = qli_min_size(QLI_GEMM_COLUMNS / nr, term->w->panels - first);
  for (size_t p = 0; p < panels; p += 2)
    for (size_t k0 = 0, group = 0; k0 < w->k; k0 += QLI_GEMM_DEPTH) {
      qlk_weights dense;
      group = w->groups > 0 ? qlk_next_group(w, group, k0) : 0;
      qlk_few_job job = {.w = w, .panel = first + p, .k0 = k0, .group = group};
      job.panels = qli_min_size(2, panels - p);
      job.k1 = qli_min_size(k0 + QLI_GEMM_DEPTH, w->k);
      job.accumulate = s->add || k0 > 0;
      if (s->expand)
        expand_depth(s, &job, &dense, t->block);
      few_rows(s, t, &(qli_gemm_term){term->w, term->x + k0, term->x_stride}, &job,
               t->sums + p * nr);
    }
}

/* The same sums by the strategy that is fastest for so many rows. */
static void sum_term(const qli_gemm_job *job, const qli_gemm_tile *t, const qli_gemm_term *term,
                     bool add)
{
  const qlk_gemm_unit *unit = qli_packed_unit(job->ctx, term->w);
  const qlk_gemm_unit *f32 = &job->ctx->kernels.gemm.unit[QLK_W_F32];
  wide s = {unit, unit->few, unit->few_rows, false, add};
  if (unit->few == NULL || t->rows > unit->few_limit) {
    s = (wide){unit, f32->few, f32->few_rows, true, add};
    if (f32->nr != unit->nr || job->rows <= MANY_ROWS)
      s.few = NULL;
  }
  if (s.few == NULL || qli_reproducible(job->ctx))
    sum_blocks(job, t, term, add);
  else
    sum_wide(&s, t, term);
}

static void compute_sums(const qli_gemm_job *job, const qli_gemm_tile *t)
{
  if (job->a8 != NULL)
    qli_a8_sums(job, t);
  else if (job->w->weights.k == 0)
    memset(t->sums, 0, t->rows * QLI_GEMM_COLUMNS * sizeof(float));
  else if (job->rows == 1 && job->unit->gemv != NULL && !qli_reproducible(job->ctx))
    job->unit->gemv(&job->w->weights, t->panel, t->panels, job->x, t->sums);
  else
    sum_term(job, t, &(qli_gemm_term){job->w, job->x, job->x_stride}, false);
  for (size_t i = 0; i < job->term_count; i++)
    sum_term(job, t, &job->terms[i], true);
}

static void store_row(const qlk_exact *kernels, ql_dtype dtype, const float *row, size_t n,
                      void *dst)
{
  if (dtype == QL_DTYPE_F16)
    kernels->f32_to_f16(row, n, dst);
  else if (dtype == QL_DTYPE_BF16)
    kernels->f32_to_bf16(row, n, dst);
  else
    /* A call: of a memcpy of at most a tile's width gcc makes a string instruction, whose start
     * takes longer than the row. */
    memmove(dst, row, n * sizeof(float));
}

static void finish(const qli_gemm_job *job, const qli_gemm_tile *t)
{
  const size_t column = t->column;
  const size_t n = qli_min_size(QLI_GEMM_COLUMNS, job->w->n - column);
  const ql_tensor *y = job->y, *bias = job->bias;
  const size_t size = ql_dtype_bits(y->dtype) / 8;
  float bias_row[QLI_GEMM_COLUMNS];
  if (bias != NULL)
    qli_row_to_f32(bias->dtype,
                   (const unsigned char *)bias->data + (ptrdiff_t)column * bias->stride[0],
                   bias->stride[0], n, bias_row);
  for (size_t i = 0; i < t->rows; i++) {
    float *row = t->sums + i * QLI_GEMM_COLUMNS;
    for (size_t j = 0; bias != NULL && j < n; j++)
      row[j] += bias_row[j];
    store_row(&job->ctx->kernels.exact, y->dtype, row, n,
              (unsigned char *)y->data + (ptrdiff_t)(job->first_row + t->row + i) * y->stride[0] +
                  (ptrdiff_t)(column * size));
  }
}

static size_t column_tiles(const qli_gemm_job *job)
{
  return qli_ceil_div(job->w->n, QLI_GEMM_COLUMNS);
}

/* Row tiles of the same columns go one after the other: their weights are read from memory once. */
static void run_tile(void *arg, size_t index, size_t worker)
{
  const qli_gemm_job *job = arg;
  const size_t row_tiles = qli_ceil_div(job->rows, QLI_GEMM_ROWS);
  const size_t column = index / row_tiles, per_tile = QLI_GEMM_COLUMNS / job->unit->nr;
  float *scratch = (float *)(void *)(job->worker_scratch + worker * job->worker_bytes);
  qli_gemm_tile t;
  t.row = index % row_tiles * QLI_GEMM_ROWS;
  t.rows = qli_min_size(QLI_GEMM_ROWS, job->rows - t.row);
  t.column = column * QLI_GEMM_COLUMNS;
  t.panel = column * per_tile;
  t.panels = qli_min_size(per_tile, job->w->panels - t.panel);
  t.block = scratch;
  t.sums = scratch + block_floats(job->w, job->rows);
  compute_sums(job, &t);
  finish(job, &t);
}

size_t qli_gemm_widest(const ql_packed *w)
{
  const qli_packed_parts *parts = w->parts;
  size_t nr = w->nr;
  if (parts != NULL && parts->side != NULL && parts->side->nr > nr)
    nr = parts->side->nr;
  return parts != NULL && parts->lora_b != NULL && parts->lora_b->nr > nr ? parts->lora_b->nr : nr;
}

void qli_gemm_run(qli_gemm_job *job)
{
  const size_t tiles = column_tiles(job) * qli_ceil_div(job->rows, QLI_GEMM_ROWS);
  const double products = (double)job->rows * (double)job->w->n * (double)job->w->k;
  qli_parallel_for_work(job->ctx, products, tiles, run_tile, job);
}
