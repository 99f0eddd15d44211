/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__aarch64__) || !defined(__ARM_NEON)
#error "this file needs aarch64 with Advanced SIMD"
#endif

#include "qlk_table.h"

void qlk_fill_neon(qlk_table *t)
{
  qlk_fill_exact_neon(&t->exact);
  qlk_fill_round_neon(&t->exact);
  qlk_fill_linalg_neon(&t->linalg);
  qlk_fill_solve_neon(&t->solve);
  qlk_fill_ops_neon(&t->ops);
  qlk_fill_pack_neon(&t->gemm); /* before the units, which take it over */
  qlk_fill_wint_neon(&t->gemm);
  qlk_fill_wfloat_neon(&t->gemm);
  qlk_fill_a8_neon(&t->a8);
}
