/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "qlk_solve_body.h"

void qlk_fill_solve_scalar(qlk_solve *t)
{
  *t = (qlk_solve){code, spread, divide, narrow};
}
