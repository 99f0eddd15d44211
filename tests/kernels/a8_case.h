/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef A8_CASE_H
#define A8_CASE_H

#include "gemm_case.h"

/* Products in integers for the tests, and what they must give: every formula of
 * ql_act_config, ql_compute and ql_gemm_w8a8 written out once more. */

typedef struct {
  gemm_case g;
  ql_act_config act;
  bool integers;    /* y is I32 */
  bool given_codes; /* x is I8 */
  bool a16;         /* QL_COMPUTE_A16: two digits */
  bool by_group;    /* a scale of x for each group of the weights */
  float *scales;    /* [m], or [m, groups] */
  int32_t *zeros;   /* [m] */
  int8_t *codes;    /* [m, k]; of two digits, the higher one */
  int8_t *low;      /* [m, k], the lower one */
  bool *outlier;    /* [k] */
  float *seen;      /* [m, k], what the codes are made of: x with in_scale, 0 for side columns */
  ql_tensor x_codes, x_scales, x_zeros;
} a8_case;

void a8_make(a8_case *c, uint64_t seed, size_t max_m, size_t max_n, size_t max_k);
void a8_free(a8_case *c);
const char *a8_text(const a8_case *c);

/* Codes, scales and zero points of x_values by the formulas. */
void a8_quantize(a8_case *c);

/* Options and activations that ask for this product; y has a8_y_bytes. */
void a8_options(const a8_case *c, ql_gemm_options *options);
const ql_tensor *a8_x(const a8_case *c);
size_t a8_y_bytes(const a8_case *c);
void a8_y(const a8_case *c, void *memory, ql_tensor *y);

/* NULL, or what is wrong with y: every bit is determined, unless side columns or a low-rank term
 * add to it in floating point. */
const char *a8_check(const a8_case *c, const ql_tensor *y);

#endif
