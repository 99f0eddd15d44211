/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "qlk_table.h"

void qlk_fill_scalar(qlk_table *t)
{
  qlk_fill_exact_scalar(&t->exact);
  qlk_fill_round_scalar(&t->exact);
  qlk_fill_linalg_scalar(&t->linalg);
  qlk_fill_solve_scalar(&t->solve);
  qlk_fill_ops_scalar(&t->ops);
  qlk_fill_wint_scalar(&t->gemm);
  qlk_fill_wfloat_scalar(&t->gemm);
  qlk_fill_a8_scalar(&t->a8);
}
