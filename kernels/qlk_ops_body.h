/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLK_OPS_BODY_H
#define QLK_OPS_BODY_H

#include "qlk_math.h"
#include "qlk_ops.h"

#include <string.h>

/* Included once per ISA. Plain C without fused operations; loops over QLK_LANES are the ones that
 * the compiler turns into vectors. */

/* NaN is passed over: it reaches the result through the exponentials. */
static inline float qlk_row_max(const float *x, size_t n)
{
  float lanes[QLK_LANES], m = -__builtin_inff();
  const size_t full = n - n % QLK_LANES;
  for (size_t j = 0; j < QLK_LANES; j++)
    lanes[j] = m;
  for (size_t i = 0; i < full; i += QLK_LANES)
    for (size_t j = 0; j < QLK_LANES; j++)
      lanes[j] = x[i + j] > lanes[j] ? x[i + j] : lanes[j];
  for (size_t j = 0; j < QLK_LANES; j++)
    m = lanes[j] > m ? lanes[j] : m;
  for (size_t j = 0; j < n - full; j++)
    m = x[full + j] > m ? x[full + j] : m;
  return m;
}

static inline float qlk_sum_squares(const float *x, size_t n)
{
  float lanes[QLK_LANES] = {0};
  const size_t full = n - n % QLK_LANES;
  for (size_t i = 0; i < full; i += QLK_LANES)
    for (size_t j = 0; j < QLK_LANES; j++)
      lanes[j] += x[i + j] * x[i + j];
  for (size_t j = 0; j < n - full; j++)
    lanes[j] += x[full + j] * x[full + j];
  return qlk_tree_sum(lanes);
}

static void rms_norm(const float *x, const float *weight, float eps, size_t n, float *y)
{
  const float mean = qlk_sum_squares(x, n) / (float)n;
  const float inverse = 1.0f / __builtin_sqrtf(mean + eps);
  for (size_t i = 0; i < n; i++)
    y[i] = x[i] * inverse * weight[i];
}

static void rope(float *x, const float *c, const float *s, size_t half)
{
  float *restrict low = x, *restrict high = x + half;
  for (size_t j = 0; j < half; j++) {
    const float a = low[j], b = high[j];
    low[j] = a * c[j] - b * s[j];
    high[j] = b * c[j] + a * s[j];
  }
}

static void silu_mul(const float *gate, const float *up, size_t n, float *y)
{
  for (size_t i = 0; i < n; i++)
    y[i] = gate[i] / (1.0f + qlk_exp(-gate[i])) * up[i];
}

static void add(const float *x, size_t n, float *y)
{
  for (size_t i = 0; i < n; i++)
    y[i] += x[i];
}

/* y = e^(x - max) for 16 elements, added to the lanes; y may be x. */
static inline void exp_lanes(const float *x, float max, float *lanes, float *y)
{
  float e[QLK_LANES];
  for (size_t j = 0; j < QLK_LANES; j++)
    e[j] = qlk_exp(x[j] - max);
  for (size_t j = 0; j < QLK_LANES; j++)
    lanes[j] += e[j];
  memcpy(y, e, sizeof e);
}

/* y = e^(x - max), which may be x; returns the sum. */
static float exp_row(const float *x, float max, size_t n, float *y)
{
  float lanes[QLK_LANES] = {0}, rest[QLK_LANES];
  const size_t full = n - n % QLK_LANES;
  for (size_t i = 0; i < full; i += QLK_LANES)
    exp_lanes(x + i, max, lanes, y + i);
  if (full < n) { /* the lanes past the end add e^-inf = 0, which changes no bit */
    for (size_t j = 0; j < QLK_LANES; j++)
      rest[j] = full + j < n ? x[full + j] : -__builtin_inff();
    exp_lanes(rest, max, lanes, rest);
    memcpy(y + full, rest, (n - full) * sizeof *rest);
  }
  return qlk_tree_sum(lanes);
}

static void softmax(const float *x, size_t n, float *y)
{
  const float sum = exp_row(x, qlk_row_max(x, n), n, y);
  for (size_t i = 0; i < n; i++)
    y[i] = y[i] / sum;
}

static void log_softmax(const float *x, size_t n, float *y)
{
  const float max = qlk_row_max(x, n);
  const size_t full = n - n % QLK_LANES;
  float lanes[QLK_LANES] = {0};
  for (size_t i = 0; i < full; i += QLK_LANES)
    for (size_t j = 0; j < QLK_LANES; j++)
      lanes[j] += qlk_exp(x[i + j] - max);
  for (size_t j = 0; j < n - full; j++)
    lanes[j] += qlk_exp(x[full + j] - max);
  const float log_sum = (float)qlk_log((double)qlk_tree_sum(lanes));
  for (size_t i = 0; i < n; i++)
    y[i] = (x[i] - max) - log_sum;
}

#endif
