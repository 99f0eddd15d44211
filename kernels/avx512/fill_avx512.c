/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512DQ__) || \
    !defined(__AVX512VL__)
#error "this file needs -mavx512f -mavx512bw -mavx512dq -mavx512vl"
#endif

#include "qlk_table.h"

void qlk_fill_avx512(qlk_table *t)
{
  qlk_fill_exact_avx512(&t->exact);
  qlk_fill_round_avx512(&t->exact);
  qlk_fill_linalg_avx512(&t->linalg);
  qlk_fill_solve_avx512(&t->solve);
  qlk_fill_ops_avx512(&t->ops);
  qlk_fill_wint_avx512(&t->gemm);
  qlk_fill_wfloat_avx512(&t->gemm);
  qlk_fill_a8_avx512(&t->a8);
}
