/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "rope.h"

#include "util.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double PI = 3.14159265358979323846;

/* theta^(2i/dim). */
static float period(const qle_rope *rope, size_t i, size_t dim)
{
  const float exponent = (float)(2 * i) / (float)dim;
  return (float)pow((double)(float)rope->theta, (double)exponent);
}

/* Llama 3.1: long wavelengths are stretched by factor, short ones kept, those between blended. */
static float llama3(const qle_rope *rope, float f)
{
  const double old = (double)rope->original_context;
  const float factor = (float)rope->factor;
  const float wavelength = (float)(2 * PI) / f;
  if (wavelength < (float)(old / rope->high_freq_factor))
    return f;
  if (wavelength > (float)(old / rope->low_freq_factor))
    return f / factor;
  const float smooth = ((float)old / wavelength - (float)rope->low_freq_factor) /
                       (float)(rope->high_freq_factor - rope->low_freq_factor);
  return (1 - smooth) * f / factor + smooth * f;
}

/* Index of the frequency that makes `rotations` turns within the original context. */
static double yarn_dim(const qle_rope *rope, double rotations, size_t dim)
{
  const double context = (double)rope->original_context;
  return (double)dim * log(context / (rotations * 2 * PI)) / (2 * log(rope->theta));
}

static void yarn_range(const qle_rope *rope, size_t dim, double *low, double *high)
{
  *low = yarn_dim(rope, rope->beta_fast, dim);
  *high = yarn_dim(rope, rope->beta_slow, dim);
  if (rope->truncate) {
    *low = floor(*low);
    *high = ceil(*high);
  }
  *low = *low < 0 ? 0 : *low;
  *high = *high > (double)(dim - 1) ? (double)(dim - 1) : *high;
  if (*low == *high)
    *high += 0.001;
}

/* YaRN (Peng et al. 2023): below `low` extrapolated, above `high` interpolated, a ramp between. */
static float yarn(const qle_rope *rope, size_t i, size_t dim)
{
  double low, high;
  yarn_range(rope, dim, &low, &high);
  float ramp = ((float)i - (float)low) / (float)(high - low);
  ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
  const float p = period(rope, i, dim);
  const float keep = 1 - ramp;
  return 1 / ((float)rope->factor * p) * (1 - keep) + 1 / p * keep;
}

static double mscale(double factor, double weight)
{
  return factor <= 1 ? 1 : 0.1 * weight * log(factor) + 1;
}

static double yarn_scale(const qle_rope *rope)
{
  if (rope->attention_factor != 0)
    return rope->attention_factor;
  if (rope->mscale != 0 && rope->mscale_all_dim != 0)
    return mscale(rope->factor, rope->mscale) / mscale(rope->factor, rope->mscale_all_dim);
  return mscale(rope->factor, 1);
}

static float frequency(const qle_rope *rope, size_t i, size_t dim)
{
  const float f = 1 / period(rope, i, dim);
  switch (rope->kind) {
  case QLE_ROPE_LINEAR: return f / (float)rope->factor;
  case QLE_ROPE_LLAMA3: return llama3(rope, f);
  case QLE_ROPE_YARN: return yarn(rope, i, dim);
  case QLE_ROPE_DEFAULT: break;
  }
  return f;
}

ql_status qle_rope_init(qle_rope_table *table, const qle_rope *rope, size_t head_dim,
                        ql_error *error)
{
  const size_t half = head_dim / 2;
  float *inv_freq = qle_alloc3(half, sizeof(float), 1);
  if (inv_freq == NULL)
    return qle_fail(error, QL_STATUS_NO_MEMORY, "no memory for %zu frequencies", half);
  for (size_t i = 0; i < half; i++)
    inv_freq[i] = frequency(rope, i, head_dim);
  memset(table, 0, sizeof *table);
  table->half = half;
  table->inv_freq = inv_freq;
  table->scale = rope->kind == QLE_ROPE_YARN ? (float)yarn_scale(rope) : 1.0f;
  return QL_STATUS_OK;
}

void qle_rope_free(qle_rope_table *table)
{
  free(table->inv_freq);
  free(table->cosines);
  free(table->sines);
  memset(table, 0, sizeof *table);
}

static void fill(qle_rope_table *table, size_t position)
{
  const size_t half = table->half;
  for (size_t i = 0; i < half; i++) {
    const float angle = (float)position * table->inv_freq[i];
    table->cosines[position * half + i] = (float)cos((double)angle) * table->scale;
    table->sines[position * half + i] = (float)sin((double)angle) * table->scale;
  }
}

ql_status qle_rope_reserve(qle_rope_table *table, size_t positions, ql_error *error)
{
  if (positions <= table->capacity)
    return QL_STATUS_OK;
  /* Doubling keeps growth token by token cheap. */
  size_t capacity = table->capacity < 256 ? 256 : table->capacity;
  while (capacity < positions && capacity <= SIZE_MAX / 2)
    capacity *= 2;
  float *cosines = qle_alloc3(capacity, table->half, sizeof(float));
  float *sines = qle_alloc3(capacity, table->half, sizeof(float));
  if (cosines == NULL || sines == NULL) {
    free(cosines);
    free(sines);
    return qle_fail(error, QL_STATUS_NO_MEMORY, "no memory for the angles of %zu positions",
                    capacity);
  }
  const size_t known = table->capacity * table->half * sizeof(float);
  if (known != 0) {
    memcpy(cosines, table->cosines, known);
    memcpy(sines, table->sines, known);
  }
  free(table->cosines);
  free(table->sines);
  table->cosines = cosines;
  table->sines = sines;
  for (size_t p = table->capacity; p < capacity; p++)
    fill(table, p);
  table->capacity = capacity;
  return QL_STATUS_OK;
}
