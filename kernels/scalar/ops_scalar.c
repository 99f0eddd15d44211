/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "vec_scalar.h"

#include "qlk_attend_body.h"
#include "qlk_ops_body.h"

void qlk_fill_ops_scalar(qlk_ops *t)
{
  *t = (qlk_ops){rms_norm, rope, silu_mul, add, softmax, log_softmax, attend, attend_join};
}
