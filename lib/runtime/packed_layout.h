/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_RUNTIME_PACKED_LAYOUT_H
#define QLI_RUNTIME_PACKED_LAYOUT_H

#include "packed.h"

#include <stdbool.h>

enum { QLI_PACKED_NUMBERS = 16 };

/* Where the arrays of packed weights lie: one run of memory, whether it was made by packing or is
 * mapped from a file. */
typedef struct qli_packed_shape {
  qlk_wtype wtype;
  size_t n, k, packed_k, groups;
  ql_dtype scale_type;
  bool zeros, fzeros, gather, sums;
  size_t tables, levels; /* tables of so many levels; 0: none, 1: for all columns */
  float unit;            /* qlk_weights.unit; 0: the levels are no numbers */
} qli_packed_shape;

/* Offsets from the start of the run, all multiples of 64; codes are the first. */
typedef struct qli_packed_sections {
  size_t codes, scales, zeros, fzeros, sums, table, numbers, ends, gather, total;
} qli_packed_sections;

/* False on overflow. Sets panels and strides of *p. */
bool qli_packed_lay_out(const qli_packed_shape *s, const qlk_gemm_unit *unit,
                        qli_packed_sections *at, ql_packed *p);

/* Lets *p, which is laid out, point into its run. */
void qli_packed_bind(const ql_ctx *ctx, const qli_packed_shape *s, const qli_packed_sections *at,
                     const unsigned char *run, ql_packed *p);

#endif
