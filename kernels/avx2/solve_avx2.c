/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__AVX2__)
#error "this file needs -mavx2"
#endif

#include "qlk_solve_body.h"

void qlk_fill_solve_avx2(qlk_solve *t)
{
  *t = (qlk_solve){code, spread, divide, narrow};
}
