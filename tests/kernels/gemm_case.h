/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GEMM_CASE_H
#define GEMM_CASE_H

#include <quantlib/quantlib.h>

#include <stdbool.h>

/* Random products for the tests of ql_pack and ql_gemm, and their results in double precision. */

typedef struct {
  uint64_t state;
  size_t m, n, k;
  int bits; /* 1 to 8, or 0: floating point of type wtype */
  ql_dtype wtype, xtype, ytype, btype;
  ql_grid_kind kind;
  size_t block_rows, block_cols, groups;
  ql_dtype scale_dtype;
  bool bias, permuted;
  size_t x_gap, y_gap, x_shift; /* bytes between rows, and of misalignment */
  uint8_t *codes;
  float *scales;
  int16_t *zeros;
  int32_t *g_idx;
  void *elements; /* of floating-point weights */
  double *values;     /* [n, k] */
  double *magnitudes; /* [n, k], sum of |terms| that a value is made of */
  uint32_t parts;     /* QL_PART_* */
  float *fzeros, *in_scale, *side_values, *side_scales, *lora_a, *lora_b, *levels;
  size_t level_sets;
  int32_t *side_cols;
  size_t side_count, rank;
  ql_dtype side_dtype, lora_dtype;
  unsigned char *x_memory;
  ql_tensor x, b;
  void *b_memory;
  float *x_values, *b_values;
} gemm_case;

uint64_t case_u64(gemm_case *c);
size_t case_below(gemm_case *c, size_t n);

/* Draws shapes and types; m, n, k at most the given ones; case_make_any tables of levels too. */
void case_make(gemm_case *c, uint64_t seed, size_t max_m, size_t max_n, size_t max_k);
void case_make_any(gemm_case *c, uint64_t seed, size_t max_m, size_t max_n, size_t max_k);
void case_free(gemm_case *c);
const char *case_text(const gemm_case *c);

/* The quantized matrix of the case; bits is not 0. */
ql_qmat_view case_view(const gemm_case *c);

/* Packs the weights with this context. NULL with a message when that fails. */
ql_packed *case_pack(const gemm_case *c, const ql_ctx *ctx);

/* y in memory of its own, m rows; the bytes of all rows with the gaps between. */
size_t case_y_bytes(const gemm_case *c);
void case_y(const gemm_case *c, void *memory, ql_tensor *y);

/* NULL, or what is wrong with y. */
const char *case_check(const gemm_case *c, const ql_tensor *y);

#endif
