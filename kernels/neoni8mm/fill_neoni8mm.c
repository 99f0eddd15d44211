/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "qlk_table.h"

void qlk_fill_neoni8mm(qlk_table *t)
{
  qlk_fill_a8_neoni8mm(&t->a8);
}
