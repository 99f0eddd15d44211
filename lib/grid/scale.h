/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_GRID_SCALE_H
#define QLI_GRID_SCALE_H

#include "half.h"

#include <quantlib/types.h>

#include <float.h>

/* The storage types of scales. */

static inline int qli_is_scale_dtype(ql_dtype dtype)
{
  return dtype == QL_DTYPE_F32 || dtype == QL_DTYPE_F16 || dtype == QL_DTYPE_BF16;
}

/* The value of the storage type nearest to s; infinite when s is beyond its range. */
static inline float qli_round_scale(ql_dtype dtype, float s)
{
  if (dtype == QL_DTYPE_F16)
    return qli_f16_to_f32(qli_f32_to_f16(s));
  return dtype == QL_DTYPE_BF16 ? qli_bf16_to_f32(qli_f32_to_bf16(s)) : s;
}

/* Smallest normal and largest finite value of the storage type. */
static inline float qli_scale_min(ql_dtype dtype)
{
  return dtype == QL_DTYPE_F16 ? 0x1p-14f : FLT_MIN;
}

static inline float qli_scale_max(ql_dtype dtype)
{
  if (dtype == QL_DTYPE_F16)
    return 65504.0f;
  return dtype == QL_DTYPE_BF16 ? 0x1.fep127f : FLT_MAX;
}

#endif
