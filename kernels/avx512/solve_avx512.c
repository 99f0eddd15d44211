/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__AVX512F__) || !defined(__AVX512DQ__) || !defined(__AVX512VL__)
#error "this file needs -mavx512f -mavx512dq -mavx512vl"
#endif

#include "qlk_solve_body.h"

void qlk_fill_solve_avx512(qlk_solve *t)
{
  *t = (qlk_solve){code, spread, divide, narrow};
}
