/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__AVX512F__) || !defined(__AVX512VL__)
#error "this file needs -mavx512f -mavx512vl"
#endif

#include "qlk_attend_body.h"
#include "qlk_ops_body.h"

void qlk_fill_ops_avx512(qlk_ops *t)
{
  *t = (qlk_ops){rms_norm, rope, silu_mul, add, softmax, log_softmax, attend};
}
