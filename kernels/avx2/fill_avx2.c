/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__)
#error "this file needs -mavx2 -mfma -mf16c -mbmi2"
#endif

#include "qlk_table.h"

void qlk_fill_avx2(qlk_table *t)
{
  qlk_fill_exact_avx2(&t->exact);
  qlk_fill_round_avx2(&t->exact);
  qlk_fill_linalg_avx2(&t->linalg);
  qlk_fill_solve_avx2(&t->solve);
  qlk_fill_ops_avx2(&t->ops);
  qlk_fill_pack_avx2(&t->gemm); /* before the units, which take it over */
  qlk_fill_wint_avx2(&t->gemm);
  qlk_fill_wfloat_avx2(&t->gemm);
  qlk_fill_a8_avx2(&t->a8);
}
