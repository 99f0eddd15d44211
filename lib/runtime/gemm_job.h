/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_RUNTIME_GEMM_JOB_H
#define QLI_RUNTIME_GEMM_JOB_H

#include "packed.h"

/* A tile of the product: QLI_GEMM_ROWS x QLI_GEMM_COLUMNS, the same for any number of workers. The
 * rows are a multiple of every mr, the columns of every nr; the f32 activations of one block of k
 * (144 x 128) and the sums of the tile (144 x 128) stay in the second-level cache beside a panel in
 * the first. */
enum { QLI_GEMM_ROWS = 144, QLI_GEMM_COLUMNS = 128 };

/* So much of k, of two panels, is expanded at a time for many rows: 128 KB for panels of 32, which
 * stay in the second-level cache. */
enum { QLI_GEMM_DEPTH = 4 * QLK_KB };

/* A further product that is added to the sums: rows of x for weights of their own. */
typedef struct qli_gemm_term {
  const ql_packed *w;
  const float *x;
  size_t x_stride;
} qli_gemm_term;

enum { QLI_GEMM_TERMS = 2 };

typedef struct qli_a8_job qli_a8_job;

typedef struct qli_gemm_job {
  const ql_ctx *ctx;
  const ql_packed *w;
  const qlk_gemm_unit *unit;
  const float *x; /* [rows, packed k], of row first_row and on */
  size_t x_stride;
  size_t first_row, rows;
  const ql_tensor *y;
  const ql_tensor *bias;
  const qli_a8_job *a8;          /* the rows as 8-bit digits; NULL: f32 products */
  unsigned char *worker_scratch; /* qli_gemm_worker_bytes for each worker */
  size_t worker_bytes;
  qli_gemm_term terms[QLI_GEMM_TERMS];
  size_t term_count;
} qli_gemm_job;

/* ql_gemm of checked arguments. */
ql_status qli_gemm_multiply(const ql_ctx *ctx, const ql_packed *w, const ql_tensor *x,
                            const ql_tensor *y, const ql_gemm_options *o, ql_error *error);

/* What ql_gemm_workspace tells, for QL_COMPUTE_F32; false when it overflows. */
bool qli_gemm_scratch_bytes(const ql_ctx *ctx, const ql_packed *w, size_t m, size_t *bytes);

/* The widest panel of the weights and their terms. */
size_t qli_gemm_widest(const ql_packed *w);

/* Part of y that one task computes. */
typedef struct qli_gemm_tile {
  size_t row, rows; /* within the job */
  size_t column, panel, panels;
  float *block; /* qli_gemm_block_floats weights, 64-aligned */
  float *sums;  /* rows x QLI_GEMM_COLUMNS; int32_t where y is I32 */
} qli_gemm_tile;

/* A job has at most this many rows: so many are held in f32 at a time. */
enum { QLI_GEMM_SLAB = 4 * QLI_GEMM_ROWS };

/* Elements from row to row of the f32 activations. */
size_t qli_gemm_row_elements(const ql_packed *w);

/* A panel block, as wide as any term's, and a tile of sums, for a product of m rows. */
size_t qli_gemm_worker_bytes(const ql_packed *w, size_t m);

/* Scratch of the caller, or *owned of the context. */
ql_status qli_gemm_scratch(const ql_ctx *ctx, const ql_gemm_options *o, size_t bytes,
                           unsigned char **scratch, void **owned, ql_error *error);

/* Sets job->x to rows first_row.. of the tensor, in f32 and the order of packed k: where they lie
 * when that is possible (and copy is false), else as a copy in scratch of rows times
 * qli_gemm_row_elements. */
void qli_gemm_take(qli_gemm_job *job, const ql_tensor *x, bool copy, float *scratch);

/* The rows of the job: sums, bias, output type. */
void qli_gemm_run(qli_gemm_job *job);

#endif
