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
  QLK_LANES = 16, /* virtual lanes of a sum over a row */
  QLK_KEYS = 64,  /* keys of one storage tile of the cache; part of the numerics */
  QLK_PIECE =
      512, /* keys whose sums are made apart, a multiple of QLK_KEYS; part of the numerics */
  QLK_QUERIES = 24 /* most query rows of one attention job; not part of the numerics */
};

/* Attention of some query rows of one key/value head. Keys lie in tiles of QLK_KEYS, transposed:
 * element (key j, dimension d) at (j / KEYS * dim + d) * KEYS + j % KEYS. Values lie row by row, a
 * row being stride elements, a multiple of QLK_LANES, zero beyond dim. Both are f32, or f16 bits
 * where half is set. Row r attends to keys begin[r] <= j < end[r], of which there is at least one.
 * scratch: qlk_attend_scratch floats, 64-aligned. With total, a row's result is left undivided at
 * total + r (QLK_LANES + stride) for attend_join: maximum, sum, and from QLK_LANES on the values.
 */
typedef struct qlk_attend_job {
  const float *q[QLK_QUERIES];
  float *out[QLK_QUERIES];
  size_t begin[QLK_QUERIES], end[QLK_QUERIES];
  size_t rows, dim, stride;
  const void *keys, *values;
  float *scratch;
  float *total; /* NULL: results go to out */
  float scale;
  int half;
} qlk_attend_job;

/* Floats of scratch: scores, sums of a piece, of a tile and of all pieces. */
static inline size_t qlk_attend_scratch(size_t stride)
{
  return QLK_QUERIES * (QLK_KEYS + QLK_LANES + 3 * stride);
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
  /* out = what attend gives for a row whose pieces, step floats apart, were computed one by one
   * with total; total: QLK_LANES + stride floats of scratch. */
  void (*attend_join)(const float *totals, size_t pieces, size_t step, size_t dim, size_t stride,
                      float *total, float *out);
} qlk_ops;

/* Of every level of the table, built or not. */
#define QLK_ISA(name, NAME, parent, by_default, ...) void qlk_fill_ops_##name(qlk_ops *t);
#include "qlk_isas.def"
#undef QLK_ISA

#endif
