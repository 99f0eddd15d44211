/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "generate.h"
#include "model_internal.h"

#include <math.h>
#include <string.h>

/* Index of the largest value, the first of equals; `count` when one of them is NaN. */
static size_t argmax(const float *values, size_t count)
{
  size_t best = 0;
  for (size_t i = 0; i < count; i++) {
    if (isnan(values[i]))
      return count;
    if (values[i] > values[best])
      best = i;
  }
  return best;
}

static double mass_above(const float *p, size_t count, float threshold)
{
  double sum = 0;
  for (size_t i = 0; i < count; i++)
    if (p[i] >= threshold)
      sum += (double)p[i];
  return sum;
}

/* The largest threshold for which the values at or above it hold at least `mass`: the smallest set
 * of most likely tokens. Non-negative floats are ordered as their bits are, so bisection over these
 * ends after 31 steps; no sorting, no memory. */
static float nucleus(const float *p, size_t count, double mass)
{
  uint32_t low = 0, high = 0x3f800001; /* 0 holds all, above 1 there is nothing */
  while (high - low > 1) {
    const uint32_t middle = low + (high - low) / 2;
    float threshold;
    memcpy(&threshold, &middle, sizeof threshold);
    if (mass_above(p, count, threshold) >= mass)
      low = middle;
    else
      high = middle;
  }
  float threshold;
  memcpy(&threshold, &low, sizeof threshold);
  return threshold;
}

/* The first index at which the running sum over values >= threshold passes unit * total. */
static size_t draw(const float *p, size_t count, float threshold, double unit)
{
  const double target = unit * mass_above(p, count, threshold);
  double sum = 0;
  size_t last = 0;
  for (size_t i = 0; i < count; i++) {
    if (p[i] < threshold || p[i] == 0)
      continue;
    sum += (double)p[i];
    last = i;
    if (sum > target)
      break;
  }
  return last;
}

/* (logits - largest) / temperature: finite or -Inf however small the temperature is. */
static void scale_logits(float *logits, size_t vocab, float largest, double temperature)
{
  for (size_t i = 0; i < vocab; i++)
    logits[i] = (float)fmax(((double)logits[i] - (double)largest) / temperature, -1e30);
}

ql_status qle_sample(const ql_ctx *ctx, const qle_sampling *sampling, float *logits, size_t vocab,
                     uint64_t sequence, uint64_t position, int32_t *token, ql_error *error)
{
  const size_t best = argmax(logits, vocab);
  if (best == vocab || !isfinite(logits[best]))
    return qle_fail(error, QL_STATUS_NUMERIC, "the logits of position %zu are not finite",
                    (size_t)position);
  *token = (int32_t)best;
  if (sampling->temperature <= 0 || sampling->top_p <= 0)
    return QL_STATUS_OK;
  scale_logits(logits, vocab, logits[best], sampling->temperature);
  const ql_tensor view = qle_view(logits, 1, vocab);
  QLE_TRY(ql_softmax(ctx, &view, &view, error));
  const float threshold = sampling->top_p < 1 ? nucleus(logits, vocab, sampling->top_p) : 0;
  const double unit = qle_random_unit(sampling->seed, sequence, position);
  *token = (int32_t)draw(logits, vocab, threshold, unit);
  return QL_STATUS_OK;
}
