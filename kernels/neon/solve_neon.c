/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__ARM_NEON)
#error "this file needs NEON"
#endif

#include "qlk_solve_body.h"

void qlk_fill_solve_neon(qlk_solve *t)
{
  *t = (qlk_solve){code, spread, divide, narrow};
}
