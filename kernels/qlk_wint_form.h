/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLK_WINT_FORM_H
#define QLK_WINT_FORM_H

#include "qlk_gemm.h"

/* How codes become numbers: see qlk_wint_body.h. A form is a width and at most one of these. */
enum { PERMUTED = 16, GATHERED = 32 };

static inline int width_of(const int form)
{
  return form % 16;
}

/* One table of so few levels that registers hold it. */
static inline int has_small_table(const int bits, const qlk_weights *w)
{
  return w->table != NULL && w->table_stride == 0 && bits != 8;
}

#endif
