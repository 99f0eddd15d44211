/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLK_OPS_H
#define QLK_OPS_H

#include <stddef.h>
#include <stdint.h>

/* What a decoder needs beside its products. Every ISA compiles the same C source
 * (qlk_ops_body.h, qlk_attend_body.h) in which the order of all sums is written out, so that the
 * bits are equal by construction; see doc/numerics.md. All rows are contiguous floats. */

enum {
  QLK_LANES = 16,  /* virtual lanes of a sum over a row */
  QLK_KEYS = 64,   /* keys of one storage tile of the cache; part of the numerics */
  QLK_QUERIES = 16 /* most query rows of one attention job; not part of the numerics */
};

/* Attention of some query rows of one key/value head. Keys lie in tiles of QLK_KEYS, transposed:
 * element (key j, dimension d) at (j / KEYS * dim + d) * KEYS + j % KEYS. Values lie row by row, a
 * row being stride elements, a multiple of QLK_LANES, zero beyond dim. Both are f32, or f16
 * bits where widen is given. Row r attends to keys begin[r] <= j < end[r], of which there is at
 * least one. scratch: qlk_attend_scratch floats, 64-aligned. */
typedef struct qlk_attend_job {
  const float *q[QLK_QUERIES];
  float *out[QLK_QUERIES];
  size_t begin[QLK_QUERIES], end[QLK_QUERIES];
  size_t rows, dim, stride;
  const void *keys, *values;
  float *scratch;
  float scale;
  void (*widen)(const void *src, size_t n, float *dst); /* from f16; NULL: stored as f32 */
} qlk_attend_job;

/* Floats of scratch: scores, running sums and sums of a tile, and a tile of keys and values for
 * the conversion from f16. */
static inline size_t qlk_attend_scratch(size_t dim, size_t stride)
{
  return QLK_QUERIES * (QLK_KEYS + 2 * stride) + QLK_KEYS * (dim + stride);
}

typedef struct qlk_ops {
  void (*rms_norm)(const float *x, const float *weight, float eps, size_t n, float *y);
  /* x[j], x[half + j] rotated by the angle with cosine c[j] and sine s[j]. */
  void (*rope)(float *x, const float *c, const float *s, size_t half);
  void (*silu_mul)(const float *gate, const float *up, size_t n, float *y);
  void (*add)(const float *x, size_t n, float *y);
  void (*softmax)(const float *x, size_t n, float *y);
  void (*log_softmax)(const float *x, size_t n, float *y);
  void (*attend)(const qlk_attend_job *job);
} qlk_ops;

void qlk_fill_ops_scalar(qlk_ops *t);
void qlk_fill_ops_avx2(qlk_ops *t);
void qlk_fill_ops_avx512(qlk_ops *t);
void qlk_fill_ops_neon(qlk_ops *t);

#endif
