/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "a8_case.h"

#include "half.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Draws until the weights are codes. */
static void make_weights(a8_case *c, uint64_t seed, size_t max_m, size_t max_n, size_t max_k)
{
  for (uint64_t i = 0;; i++) {
    case_make(&c->g, seed + i * 0x1000003, max_m, max_n, max_k);
    if (c->g.bits != 0)
      return;
    case_free(&c->g);
  }
}

static size_t group_of(const gemm_case *g, size_t p)
{
  return g->g_idx ? (size_t)g->g_idx[p] : p / g->block_cols;
}

enum { ALL = -1 };

static float largest(const a8_case *c, size_t first, size_t rows, int group, float sign)
{
  float found = 0;
  for (size_t i = first; i < first + rows; i++)
    for (size_t p = 0; p < c->g.k; p++)
      if (!c->outlier[p] && (group == ALL || (size_t)group == group_of(&c->g, p)))
        found = fmaxf(found, sign * c->seen[i * c->g.k + p]);
  return found;
}

/* The scale and zero point of some rows. */
static void find_grid(const a8_case *c, size_t first, size_t rows, float *scale, int32_t *zero)
{
  const float above = largest(c, first, rows, ALL, 1), below = largest(c, first, rows, ALL, -1);
  *zero = 0;
  if (c->act.mode == QL_ACT_STATIC) {
    *scale = c->act.scale;
    *zero = c->act.zero;
    return;
  }
  if (!c->act.asymmetric) {
    *scale = fmaxf(fmaxf(above, below) / 127.0f, 0x1p-126f);
    return;
  }
  const volatile float down = below / 254.0f, up = above / 254.0f;
  *scale = fmaxf(down + up, 0x1p-126f);
  const volatile float steps = below / *scale;
  *zero = (int32_t)fmin(nearbyint((double)steps), 254.0) - 127;
}

static void look(a8_case *c)
{
  const gemm_case *g = &c->g;
  for (size_t i = 0; i < g->m * g->k; i++) {
    const volatile float scaled = g->x_values[i] * (g->in_scale ? g->in_scale[i % g->k] : 1.0f);
    c->seen[i] = scaled;
    for (size_t j = 0; j < g->side_count; j++)
      if ((size_t)g->side_cols[j] == i % g->k)
        c->seen[i] = 0;
  }
}

/* One number in one digit, or in two. */
static void put_number(a8_case *c, size_t i, size_t p, float scale, int32_t zero)
{
  const size_t at = i * c->g.k + p;
  const double limit = c->a16 ? 32512 : 127;
  const volatile float quotient = c->seen[at] / scale;
  const double number = fmin(fmax(nearbyint((double)quotient) + zero, -limit), limit);
  const int32_t q = c->outlier[p] ? zero : (int32_t)number;
  const int32_t high = c->a16 ? (int32_t)nearbyint(q / 255.0) : q;
  c->codes[at] = (int8_t)high;
  c->low[at] = (int8_t)(c->a16 ? q - 255 * high : 0);
}

static void quantize_groups(a8_case *c)
{
  const gemm_case *g = &c->g;
  for (size_t i = 0; i < g->m; i++) {
    c->zeros[i] = 0;
    for (size_t group = 0; group < g->groups; group++) {
      const float most = fmaxf(largest(c, i, 1, (int)group, 1), largest(c, i, 1, (int)group, -1));
      c->scales[i * g->groups + group] = fmaxf(most / (c->a16 ? 32512.0f : 127.0f), 0x1p-126f);
    }
    for (size_t p = 0; p < g->k; p++)
      put_number(c, i, p, c->scales[i * g->groups + group_of(g, p)], 0);
  }
}

void a8_quantize(a8_case *c)
{
  const gemm_case *g = &c->g;
  look(c);
  for (size_t p = 0; p < g->k; p++) {
    c->outlier[p] = false;
    for (size_t i = 0; c->act.threshold > 0 && i < g->m; i++)
      c->outlier[p] = c->outlier[p] || fabsf(c->seen[i * g->k + p]) >= c->act.threshold;
  }
  if (c->by_group) {
    quantize_groups(c);
    return;
  }
  for (size_t i = 0; i < g->m; i++) {
    const bool common = c->act.mode == QL_ACT_TENSOR;
    find_grid(c, common ? 0 : i, common ? g->m : 1, &c->scales[i], &c->zeros[i]);
    for (size_t p = 0; p < g->k; p++)
      put_number(c, i, p, c->scales[i], c->zeros[i]);
  }
}

static void draw_mode(a8_case *c)
{
  gemm_case *g = &c->g;
  const bool float_zeros = (g->parts & QL_PART_FLOAT_ZEROS) != 0;
  c->act = (ql_act_config)QL_ACT_CONFIG_INIT;
  c->a16 = case_below(g, 3) == 0;
  c->act.mode = c->a16 ? QL_ACT_GROUP : (ql_act_mode)case_below(g, 4);
  c->by_group = c->act.mode == QL_ACT_GROUP;
  c->act.asymmetric = !c->by_group && g->bits >= 5 && !float_zeros && case_below(g, 2) != 0;
  if (c->a16)
    return;
  if (c->act.mode == QL_ACT_STATIC) {
    c->act.scale = ldexpf(1.0f + (float)case_below(g, 100) / 100, -(int)case_below(g, 12));
    c->act.zero = c->act.asymmetric ? (int32_t)case_below(g, 255) - 127 : 0;
  }
  c->given_codes = g->parts == 0 && !(c->by_group && g->permuted) && case_below(g, 4) == 0;
  c->integers = g->groups == 1 && (g->parts & ~QL_PART_IN_SCALE) == 0 && case_below(g, 3) == 0;
  if (!c->given_codes && !c->integers && case_below(g, 3) == 0)
    c->act.threshold = case_below(g, 2) ? 6.0f : 0.49f;
  if (c->integers)
    g->bias = false;
}

void a8_make(a8_case *c, uint64_t seed, size_t max_m, size_t max_n, size_t max_k)
{
  memset(c, 0, sizeof *c);
  make_weights(c, seed, max_m, max_n, max_k);
  draw_mode(c);
  gemm_case *g = &c->g;
  c->scales = malloc(g->m * (g->groups + 1) * sizeof(float));
  c->zeros = malloc(g->m * sizeof(int32_t));
  c->codes = malloc(g->m * g->k);
  c->low = malloc(g->m * g->k);
  c->outlier = malloc(g->k * sizeof(bool));
  c->seen = malloc(g->m * g->k * sizeof(float));
  a8_quantize(c);
  ql_tensor_init_2d(&c->x_codes, c->codes, QL_DTYPE_I8, g->m, g->k);
  if (c->by_group)
    ql_tensor_init_2d(&c->x_scales, c->scales, QL_DTYPE_F32, g->m, g->groups);
  else
    ql_tensor_init(&c->x_scales, c->scales, QL_DTYPE_F32, 1, &g->m);
  ql_tensor_init(&c->x_zeros, c->zeros, QL_DTYPE_I32, 1, &g->m);
}

void a8_free(a8_case *c)
{
  case_free(&c->g);
  free(c->scales);
  free(c->zeros);
  free(c->codes);
  free(c->low);
  free(c->outlier);
  free(c->seen);
}

const char *a8_text(const a8_case *c)
{
  static char text[400];
  snprintf(text, sizeof text, "%s %s mode=%d%s threshold=%g%s%s", case_text(&c->g),
           c->a16 ? "A16" : "A8", (int)c->act.mode, c->act.asymmetric ? " asymmetric" : "",
           (double)c->act.threshold, c->integers ? " integers" : "",
           c->given_codes ? " given codes" : "");
  return text;
}

void a8_options(const a8_case *c, ql_gemm_options *options)
{
  *options = (ql_gemm_options)QL_GEMM_OPTIONS_INIT;
  options->compute = c->a16 ? QL_COMPUTE_A16 : QL_COMPUTE_A8;
  options->bias = c->g.bias ? &c->g.b : NULL;
  if (c->a16)
    return;
  if (!c->given_codes) {
    options->act = &c->act;
    return;
  }
  options->x_scales = &c->x_scales;
  options->x_zeros = c->act.asymmetric ? &c->x_zeros : NULL;
}

const ql_tensor *a8_x(const a8_case *c)
{
  return c->given_codes ? &c->x_codes : &c->g.x;
}

size_t a8_y_bytes(const a8_case *c)
{
  return c->integers ? c->g.m * c->g.n * 4 : case_y_bytes(&c->g);
}

void a8_y(const a8_case *c, void *memory, ql_tensor *y)
{
  if (c->integers)
    ql_tensor_init_2d(y, memory, QL_DTYPE_I32, c->g.m, c->g.n);
  else
    case_y(&c->g, memory, y);
}

/* Sum over a group of digits times codes less zero points; with zero points of floating point, of
 * digits times codes. */
static int64_t integer_of(const a8_case *c, size_t i, size_t j, size_t group, const int8_t *digits)
{
  const gemm_case *g = &c->g;
  const size_t block = j / g->block_rows * g->groups + group;
  const int64_t zero = g->fzeros != NULL ? 0 : g->zeros[block];
  int64_t sum = 0;
  for (size_t p = 0; p < g->k; p++)
    if (group_of(g, p) == group)
      sum +=
          ((int64_t)digits[i * g->k + p] - c->zeros[i]) * ((int64_t)g->codes[j * g->k + p] - zero);
  return sum;
}

static int64_t digits_of(const a8_case *c, size_t i, size_t group, const int8_t *digits)
{
  int64_t sum = 0;
  for (size_t p = 0; p < c->g.k; p++)
    if (group_of(&c->g, p) == group)
      sum += digits[i * c->g.k + p];
  return sum;
}

/* volatile keeps each rounding where it is. */
static float join(const a8_case *c, int64_t high, int64_t low)
{
  const volatile float shifted = 255.0f * (float)high;
  return c->a16 ? shifted + (float)low : (float)high;
}

/* What the scales of a group are multiplied by. */
static float group_value(const a8_case *c, size_t i, size_t j, size_t group)
{
  const gemm_case *g = &c->g;
  volatile float v =
      join(c, integer_of(c, i, j, group, c->codes), integer_of(c, i, j, group, c->low));
  if (g->fzeros == NULL)
    return v;
  const float sum = join(c, digits_of(c, i, group, c->codes), digits_of(c, i, group, c->low));
  const volatile float offset = g->fzeros[j / g->block_rows * g->groups + group] * sum;
  return v - offset;
}

/* The documented order: groups, then the row's scale, then outliers by group and column. */
static float value_of_codes(const a8_case *c, size_t i, size_t j)
{
  const gemm_case *g = &c->g;
  volatile float sum = 0;
  for (size_t group = 0; group < g->groups; group++) {
    volatile float scale = g->scales[j / g->block_rows * g->groups + group];
    if (c->by_group)
      scale = scale * c->scales[i * g->groups + group];
    const volatile float product = scale * group_value(c, i, j, group);
    sum = sum + product;
  }
  if (!c->by_group)
    sum = sum * c->scales[i];
  for (size_t group = 0; group < g->groups; group++)
    for (size_t p = 0; p < g->k; p++) {
      if (!c->outlier[p] || group_of(g, p) != group)
        continue;
      const size_t block = j / g->block_rows * g->groups + group;
      const volatile float centred =
          (float)g->codes[j * g->k + p] -
          (g->fzeros != NULL ? g->fzeros[block] : (float)g->zeros[block]);
      const volatile float w = g->scales[block] * centred;
      const volatile float product = c->seen[i * g->k + p] * w;
      sum = sum + product;
    }
  return sum;
}

/* What side columns and the low-rank term add, of the activations as they are. */
static double value_of_parts(const a8_case *c, size_t i, size_t j, double *magnitude)
{
  const gemm_case *g = &c->g;
  double sum = 0;
  for (size_t s = 0; s < g->side_count; s++) {
    const size_t p = (size_t)g->side_cols[s];
    const double term = (double)g->side_values[j * g->side_count + s] *
                        (g->side_scales ? (double)g->side_scales[s] : 1.0) *
                        (g->in_scale ? (double)g->in_scale[p] : 1.0) *
                        (double)g->x_values[i * g->k + p];
    sum += term;
    *magnitude += fabs(term);
  }
  for (size_t r = 0; r < g->rank; r++)
    for (size_t p = 0; p < g->k; p++) {
      const double term = (double)g->lora_b[j * g->rank + r] * (double)g->lora_a[r * g->k + p] *
                          (double)g->x_values[i * g->k + p];
      sum += term;
      *magnitude += fabs(term);
    }
  return sum;
}

static float value_of(const a8_case *c, size_t i, size_t j)
{
  volatile float sum = value_of_codes(c, i, j);
  if (c->g.bias)
    sum = sum + c->g.b_values[j];
  return sum;
}

static float load_element(ql_dtype dtype, const unsigned char *at)
{
  float f = 0;
  uint16_t h;
  memcpy(&h, at, 2);
  if (dtype == QL_DTYPE_F32)
    memcpy(&f, at, 4);
  return dtype == QL_DTYPE_F32 ? f : dtype == QL_DTYPE_F16 ? qli_f16_to_f32(h) : qli_bf16_to_f32(h);
}

static bool near_element(const a8_case *c, size_t i, size_t j, const unsigned char *at)
{
  const double base = (double)value_of_codes(c, i, j);
  const double bias = c->g.bias ? (double)c->g.b_values[j] : 0;
  double magnitude = fabs(base) + fabs(bias);
  const double want = base + value_of_parts(c, i, j, &magnitude) + bias;
  const double rounding = c->g.ytype == QL_DTYPE_F32   ? 0
                          : c->g.ytype == QL_DTYPE_F16 ? 0x1p-11
                                                       : 0x1p-8;
  if (c->g.ytype == QL_DTYPE_F16 && fabs(want) > 65000)
    return true;
  return fabs((double)load_element(c->g.ytype, at) - want) <=
         3e-6 * magnitude + 1.01 * rounding * fabs(want) + 1e-6;
}

static bool same_element(const a8_case *c, size_t i, size_t j, const unsigned char *at)
{
  if (c->g.side_count > 0 || c->g.rank > 0)
    return near_element(c, i, j, at);
  const float want = c->integers ? 0 : value_of(c, i, j);
  const uint16_t h = c->g.ytype == QL_DTYPE_F16 ? qli_f32_to_f16(want) : qli_f32_to_bf16(want);
  const int32_t whole = c->integers ? (int32_t)integer_of(c, i, j, 0, c->codes) : 0;
  if (c->integers)
    return memcmp(at, &whole, 4) == 0;
  return c->g.ytype == QL_DTYPE_F32 ? memcmp(at, &want, 4) == 0 : memcmp(at, &h, 2) == 0;
}

/* What the codes stand for is near the product in floating point: half a step for each element,
 * where no code was cut. */
static double distance_allowed(const a8_case *c, size_t i, size_t j)
{
  double sum = 0, magnitude = 0, scale = (double)c->scales[i];
  for (size_t group = 0; c->by_group && group < c->g.groups; group++)
    scale = fmax(group > 0 ? scale : 0, (double)c->scales[i * c->g.groups + group]);
  for (size_t p = 0; p < c->g.k; p++) {
    const double w = fabs(c->g.values[j * c->g.k + p]);
    sum += w / (c->g.in_scale ? (double)c->g.in_scale[p] : 1.0);
    magnitude += w * fabs((double)c->g.x_values[i * c->g.k + p]);
  }
  /* An asymmetric zero point is rounded, so that an end may be half a step outside. */
  return (c->act.asymmetric ? 1.01 : 0.505) * scale * sum + 1e-4 * magnitude + 1e-5;
}

static bool far_off(const a8_case *c, size_t i, size_t j)
{
  if (c->act.mode == QL_ACT_STATIC || c->integers ||
      (c->g.parts & ~(QL_PART_IN_SCALE | QL_PART_FLOAT_ZEROS)) != 0)
    return false;
  double want = c->g.bias ? (double)c->g.b_values[j] : 0;
  for (size_t p = 0; p < c->g.k; p++)
    want += (double)c->g.x_values[i * c->g.k + p] * c->g.values[j * c->g.k + p];
  return !(fabs((double)value_of(c, i, j) - want) <= distance_allowed(c, i, j));
}

const char *a8_check(const a8_case *c, const ql_tensor *y)
{
  static char text[256];
  const size_t size = ql_dtype_bits(y->dtype) / 8;
  for (size_t i = 0; i < c->g.m; i++)
    for (size_t j = 0; j < c->g.n; j++) {
      const unsigned char *at =
          (const unsigned char *)y->data + (ptrdiff_t)i * y->stride[0] + (ptrdiff_t)(j * size);
      const bool same = same_element(c, i, j, at);
      if (same && !far_off(c, i, j))
        continue;
      snprintf(text, sizeof text, "element (%zu, %zu) %s", i, j,
               same ? "is far from the product in floating point" : "has other bits");
      return text;
    }
  return NULL;
}
