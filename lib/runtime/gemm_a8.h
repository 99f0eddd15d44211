/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_RUNTIME_GEMM_A8_H
#define QLI_RUNTIME_GEMM_A8_H

#include "gemm_job.h"

/* Products in integers: QL_COMPUTE_A8 (activations of one 8-bit digit) and QL_COMPUTE_A16 (two). */

/* The rows of a job as digits in the tiles of qlk_a8.h. Padding has the digit 0. */
struct qli_a8_job {
  const qlk_a8_unit *unit;
  size_t digits;    /* of an activation */
  size_t tile_rows; /* activations of a whole tile */
  int8_t *tiles;    /* tile after tile */
  int32_t *sums;    /* [rows * digits][groups], of the digits */
  float *scales;    /* [rows], or [rows][groups] */
  int by_group;     /* the latter */
  int32_t *zeros;   /* [rows], or NULL: 0 */
  const int32_t *outliers; /* places in packed k that are multiplied in floating point, ascending */
  size_t outlier_count;
};

static inline size_t qli_a8_digits(ql_compute compute)
{
  return compute == QL_COMPUTE_A16 ? 2 : 1;
}

/* What these modes ask of their arguments beyond ql_gemm in general. */
ql_status qli_a8_check(const ql_ctx *ctx, const ql_packed *w, const ql_tensor *x,
                       const ql_tensor *y, const ql_gemm_options *o, ql_error *error);

ql_status qli_a8_workspace(const ql_ctx *ctx, const ql_packed *w, size_t m,
                           const ql_gemm_options *o, size_t *bytes);

const char *qli_a8_name(const ql_ctx *ctx, const ql_packed *w, ql_compute compute);

ql_status qli_a8_multiply(const ql_ctx *ctx, const ql_packed *w, const ql_tensor *x,
                          const ql_tensor *y, const ql_gemm_options *o, ql_error *error);

/* The sums of a tile: f32, or int32_t where y is I32. */
void qli_a8_sums(const qli_gemm_job *job, const qli_gemm_tile *t);

/* A product on its way. */
typedef struct qli_a8_product {
  qli_gemm_job job;
  qli_a8_job rows;
  const ql_tensor *x;
  const ql_gemm_options *options;
  ql_act_config act; /* a common scale that was found makes it QL_ACT_STATIC */
  float *x_scratch;
  uint32_t *ranges; /* [rows][2] */
  uint8_t *flags;   /* [packed k] */
  int32_t *outliers;
  float *saved;  /* [workers][packed k] */
  int8_t *plain; /* [workers][digits][packed k] */
  unsigned char *parts;
} qli_a8_product;

/* Rows first.. of x as f32; false past the last. */
bool qli_a8_take_slab(qli_a8_product *p, size_t first);

/* Before the first slab: which columns are multiplied in floating point, and the scale of all rows
 * where there is but one. */
void qli_a8_look(qli_a8_product *p);

/* The digits of the rows of a slab, their sums and scales. */
void qli_a8_make_digits(qli_a8_product *p);

#endif
