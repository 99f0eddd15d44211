/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "gemm_case.h"

#include "half.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t case_u64(gemm_case *c)
{
  uint64_t x = c->state += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

size_t case_below(gemm_case *c, size_t n)
{
  return (size_t)(case_u64(c) % n);
}

static float unit(gemm_case *c)
{
  return (float)((double)(case_u64(c) >> 11) * 0x1p-53);
}

static ql_dtype any_float(gemm_case *c)
{
  return (ql_dtype)(1 + case_below(c, 3));
}

static size_t size_of(ql_dtype dtype)
{
  return dtype == QL_DTYPE_F32 ? 4 : 2;
}

/* Stores v rounded to the type; gives the value that is then there. */
static float store(ql_dtype dtype, void *to, float v)
{
  const uint16_t h = dtype == QL_DTYPE_F16 ? qli_f32_to_f16(v) : qli_f32_to_bf16(v);
  if (dtype == QL_DTYPE_F32) {
    memcpy(to, &v, 4);
    return v;
  }
  memcpy(to, &h, 2);
  return dtype == QL_DTYPE_F16 ? qli_f16_to_f32(h) : qli_bf16_to_f32(h);
}

static float load(ql_dtype dtype, const void *from)
{
  uint16_t h;
  float f;
  memcpy(&h, from, 2);
  if (dtype == QL_DTYPE_F32) {
    memcpy(&f, from, 4);
    return f;
  }
  return dtype == QL_DTYPE_F16 ? qli_f16_to_f32(h) : qli_bf16_to_f32(h);
}

static void draw(gemm_case *c, size_t max_m, size_t max_n, size_t max_k)
{
  static const int widths[] = {0, 0, 1, 2, 3, 4, 4, 5, 6, 7, 8};
  static const size_t groups[] = {32, 64, 128, 0, 13, 1, 40, 100};
  c->m = 1 + case_below(c, max_m);
  c->n = 1 + case_below(c, max_n);
  c->k = 1 + case_below(c, max_k);
  if (case_below(c, 3) == 0)
    c->k = (c->k + 127) / 128 * 128;
  c->bits = widths[case_below(c, 11)];
  c->wtype = any_float(c);
  c->xtype = any_float(c);
  c->ytype = any_float(c);
  c->btype = any_float(c);
  c->scale_dtype = any_float(c);
  c->kind = case_below(c, 2) ? QL_GRID_ASYM : QL_GRID_SYM_CENTRED;
  c->block_cols = groups[case_below(c, 8)];
  c->block_cols = c->block_cols ? c->block_cols : c->k;
  c->block_rows = case_below(c, 4) ? 1 : 1 + case_below(c, 5);
  c->bias = case_below(c, 2) != 0;
  c->permuted = case_below(c, 3) == 0;
  c->x_gap = case_below(c, 3) * 2;
  c->y_gap = case_below(c, 3) * 2;
  c->x_shift = case_below(c, 3);
  if (case_below(c, 8) == 0) /* rows that share cache sets are copied, others read in place */
    c->x_gap = (4096 - c->k * size_of(c->xtype) % 4096) % 4096;
}

/* Values that every type holds. */
static float short_value(gemm_case *c)
{
  return ((float)case_below(c, 255) - 127.0f) / 64.0f;
}

static float *short_values(gemm_case *c, size_t n)
{
  float *v = malloc((n + 1) * sizeof *v);
  for (size_t i = 0; i < n; i++)
    v[i] = short_value(c);
  return v;
}

/* Columns to groups at random, where any order of columns is meant to be possible. */
static void make_g_idx(gemm_case *c)
{
  c->g_idx = malloc(c->k * sizeof(int32_t));
  const size_t shuffles = case_below(c, 2) ? c->k : 0;
  for (size_t i = 0; i < c->k; i++)
    c->g_idx[i] = (int32_t)(shuffles ? i / c->block_cols : case_below(c, c->groups));
  for (size_t i = 0; i < shuffles; i++) {
    const size_t j = case_below(c, c->k);
    const int32_t other = c->g_idx[i];
    c->g_idx[i] = c->g_idx[j];
    c->g_idx[j] = other;
  }
}

/* One table, or a codebook for each row. */
static void make_levels(gemm_case *c)
{
  c->kind = QL_GRID_TABLE;
  c->level_sets = case_below(c, 2) ? c->n : 1;
  c->levels = malloc((c->level_sets << c->bits) * sizeof(float));
  for (size_t i = 0; i < c->level_sets << c->bits; i++)
    c->levels[i] = 2.0f * unit(c) - 1.0f;
}

static void make_codes(gemm_case *c)
{
  c->groups = (c->k + c->block_cols - 1) / c->block_cols;
  const size_t blocks = (c->n + c->block_rows - 1) / c->block_rows * c->groups;
  c->codes = malloc(c->n * c->k);
  c->scales = malloc(blocks * sizeof(float));
  c->zeros = malloc(blocks * sizeof(int16_t));
  if (c->permuted)
    make_g_idx(c);
  for (size_t i = 0; i < blocks; i++) {
    unsigned char bytes[4];
    const float s = ldexpf(0.5f + unit(c), -(int)case_below(c, 10));
    c->scales[i] = store(c->scale_dtype, bytes, case_below(c, 5) ? s : -s);
    c->zeros[i] = (int16_t)(c->kind == QL_GRID_ASYM ? case_below(c, (1u << c->bits) + 1)
                                                    : 1u << (c->bits - 1));
  }
  if (c->parts & QL_PART_FLOAT_ZEROS) {
    c->fzeros = short_values(c, blocks);
    c->kind = QL_GRID_FLOAT_ZERO;
  }
  if (c->parts & QL_PART_TABLE)
    make_levels(c);
  for (size_t i = 0; i < c->n * c->k; i++) {
    const size_t row = i / c->k, col = i % c->k;
    const size_t group = c->g_idx ? (size_t)c->g_idx[col] : col / c->block_cols;
    const size_t block = row / c->block_rows * c->groups + group;
    c->codes[i] = (uint8_t)case_below(c, (size_t)1 << c->bits);
    const double zero = c->fzeros ? (double)c->fzeros[block] : (double)c->zeros[block];
    const size_t set = c->level_sets > 1 ? row : 0;
    const double number =
        c->levels ? (double)c->levels[(set << c->bits) + c->codes[i]] : (double)c->codes[i] - zero;
    const double w = (double)c->scales[block] * number;
    c->values[i] = c->fzeros ? w : (double)(float)w;
  }
}

static void make_side(gemm_case *c)
{
  const bool i8 = case_below(c, 2) != 0;
  c->side_dtype = i8 ? QL_DTYPE_I8 : QL_DTYPE_F16;
  c->side_cols = malloc(c->k * sizeof *c->side_cols);
  for (size_t i = 0; i < c->k; i++)
    if (case_below(c, 6) == 0 || (i + 1 == c->k && c->side_count == 0))
      c->side_cols[c->side_count++] = (int32_t)i;
  c->side_values = short_values(c, c->n * c->side_count);
  c->side_scales = i8 ? malloc(c->side_count * sizeof(float)) : NULL;
  for (size_t i = 0; i8 && i < c->n * c->side_count; i++)
    c->side_values[i] *= 64.0f;
  for (size_t j = 0; i8 && j < c->side_count; j++)
    c->side_scales[j] = unit(c) / 64.0f;
}

/* The weights with all parts, in double precision by the formula of ql_qmat_view. */
static void apply_parts(gemm_case *c, size_t row, size_t col)
{
  double *w = &c->values[row * c->k + col], *size = &c->magnitudes[row * c->k + col];
  for (size_t j = 0; j < c->side_count; j++)
    if ((size_t)c->side_cols[j] == col)
      *w = (double)c->side_values[row * c->side_count + j] *
           (c->side_scales ? (double)c->side_scales[j] : 1.0);
  *w *= c->in_scale ? (double)c->in_scale[col] : 1.0;
  *size = fabs(*w);
  for (size_t r = 0; r < c->rank; r++) {
    const double term = (double)c->lora_b[row * c->rank + r] * (double)c->lora_a[r * c->k + col];
    *w += term;
    *size += fabs(term);
  }
}

static void make_parts(gemm_case *c)
{
  if (c->parts & QL_PART_IN_SCALE) {
    c->in_scale = malloc(c->k * sizeof(float));
    for (size_t i = 0; i < c->k; i++)
      c->in_scale[i] = ldexpf(0.5f + unit(c), (int)case_below(c, 5) - 2);
  }
  if (c->parts & QL_PART_SIDE_COLUMNS)
    make_side(c);
  if (c->parts & QL_PART_LOW_RANK) {
    c->rank = 1 + case_below(c, 40);
    c->lora_dtype = any_float(c);
    c->lora_a = short_values(c, c->rank * c->k);
    c->lora_b = short_values(c, c->n * c->rank);
  }
  for (size_t i = 0; i < c->n * c->k; i++)
    apply_parts(c, i / c->k, i % c->k);
}

static void make_activations(gemm_case *c)
{
  const size_t size = size_of(c->xtype), stride = c->k * size + c->x_gap;
  c->x_memory = malloc(c->m * stride + 8);
  c->x_values = malloc(c->m * c->k * sizeof(float));
  ql_tensor_init_2d(&c->x, c->x_memory + c->x_shift, c->xtype, c->m, c->k);
  c->x.stride[0] = (ptrdiff_t)stride;
  for (size_t i = 0; i < c->m * c->k; i++) {
    const float v = case_below(c, 50) ? unit(c) - 0.5f : 100.0f * unit(c);
    c->x_values[i] =
        store(c->xtype, c->x_memory + c->x_shift + i / c->k * stride + i % c->k * size, v);
  }
}

static void make(gemm_case *c, uint64_t seed, uint32_t kinds, size_t max_m, size_t max_n,
                 size_t max_k)
{
  memset(c, 0, sizeof *c);
  c->state = seed;
  draw(c, max_m, max_n, max_k);
  /* Every fourth case has parts, and each combination comes up. */
  c->parts = c->bits != 0 && seed % 4 == 3 ? (uint32_t)(seed / 4 % kinds) : 0;
  if (c->parts & QL_PART_TABLE)
    c->parts &= ~QL_PART_FLOAT_ZEROS;
  c->values = malloc(c->n * c->k * sizeof *c->values);
  c->magnitudes = malloc(c->n * c->k * sizeof *c->magnitudes);
  if (c->bits != 0) {
    make_codes(c);
  } else {
    const size_t size = size_of(c->wtype);
    c->elements = malloc(c->n * c->k * size);
    for (size_t i = 0; i < c->n * c->k; i++)
      c->values[i] =
          (double)store(c->wtype, (unsigned char *)c->elements + i * size, unit(c) - 0.5f);
  }
  make_activations(c);
  c->b_memory = malloc(c->n * 4);
  c->b_values = malloc(c->n * sizeof(float));
  ql_tensor_init(&c->b, c->b_memory, c->btype, 1, &c->n);
  for (size_t i = 0; i < c->n; i++)
    c->b_values[i] = store(c->btype, (unsigned char *)c->b_memory + i * size_of(c->btype), unit(c));
  make_parts(c);
}

void case_make(gemm_case *c, uint64_t seed, size_t max_m, size_t max_n, size_t max_k)
{
  make(c, seed, QL_PART_TABLE, max_m, max_n, max_k);
}

void case_make_any(gemm_case *c, uint64_t seed, size_t max_m, size_t max_n, size_t max_k)
{
  make(c, seed, 2 * QL_PART_TABLE, max_m, max_n, max_k);
}

void case_free(gemm_case *c)
{
  free(c->codes);
  free(c->scales);
  free(c->zeros);
  free(c->g_idx);
  free(c->magnitudes);
  free(c->fzeros);
  free(c->in_scale);
  free(c->side_cols);
  free(c->side_values);
  free(c->side_scales);
  free(c->lora_a);
  free(c->lora_b);
  free(c->levels);
  free(c->elements);
  free(c->values);
  free(c->x_memory);
  free(c->b_memory);
  free(c->x_values);
  free(c->b_values);
}

const char *case_text(const gemm_case *c)
{
  static char text[256];
  snprintf(text, sizeof text,
           "m=%zu n=%zu k=%zu bits=%d parts=%u %s group=%zux%zu scale=%s kind=%d%s x=%s y=%s "
           "bias=%s",
           c->m, c->n, c->k, c->bits, (unsigned)c->parts, c->bits ? "" : ql_dtype_name(c->wtype),
           c->block_rows, c->block_cols, ql_dtype_name(c->scale_dtype), (int)c->kind,
           c->permuted ? " permuted" : "", ql_dtype_name(c->xtype), ql_dtype_name(c->ytype),
           c->bias ? ql_dtype_name(c->btype) : "none");
  return text;
}

ql_qmat_view case_view(const gemm_case *c)
{
  return (ql_qmat_view){.struct_size = sizeof(ql_qmat_view),
                        .rows = c->n,
                        .cols = c->k,
                        .bits = c->bits,
                        .kind = c->kind,
                        .block_rows = c->block_rows,
                        .block_cols = c->block_cols,
                        .groups = c->groups,
                        .scale_dtype = c->scale_dtype,
                        .codes = c->codes,
                        .scales = c->scales,
                        .zeros = c->fzeros || c->levels ? NULL : c->zeros,
                        .g_idx = c->g_idx,
                        .fzeros = c->fzeros,
                        .in_scale = c->in_scale,
                        .side_count = c->side_count,
                        .side_cols = c->side_cols,
                        .side_values = c->side_values,
                        .side_scales = c->side_scales,
                        .side_dtype = c->side_dtype,
                        .rank = c->rank,
                        .lora_dtype = c->lora_dtype,
                        .lora_a = c->lora_a,
                        .lora_b = c->lora_b,
                        .levels = c->levels,
                        .level_sets = c->level_sets};
}

ql_packed *case_pack(const gemm_case *c, const ql_ctx *ctx)
{
  ql_error error = QL_ERROR_INIT;
  ql_packed *packed = NULL;
  ql_qmat *q = NULL;
  ql_tensor w;
  ql_status status;
  if (c->bits == 0) {
    ql_tensor_init_2d(&w, c->elements, c->wtype, c->n, c->k);
    status = ql_pack_float(ctx, &w, &packed, &error);
  } else {
    const ql_qmat_view view = case_view(c);
    status = ql_qmat_create(ctx, &view, &q, &error);
    if (status == QL_STATUS_OK)
      status = ql_pack(ctx, q, &packed, &error);
    ql_qmat_destroy(q);
  }
  if (status != QL_STATUS_OK)
    fprintf(stderr, "packing %s: %s\n", case_text(c), error.text);
  return packed;
}

static size_t y_stride(const gemm_case *c)
{
  return c->n * size_of(c->ytype) + c->y_gap;
}

size_t case_y_bytes(const gemm_case *c)
{
  return c->m * y_stride(c);
}

void case_y(const gemm_case *c, void *memory, ql_tensor *y)
{
  ql_tensor_init_2d(y, memory, c->ytype, c->m, c->n);
  y->stride[0] = (ptrdiff_t)y_stride(c);
}

/* |error| <= 2 k 2^-24 sum |x w|, then the roundings of the bias and of the output type. The terms
 * of parts count among the k, and each part rounds once or twice more. */
static double bound_of(const gemm_case *c, double value, double magnitude)
{
  const double rounding = c->ytype == QL_DTYPE_F16    ? 0x1p-11 * fabs(value) + 0x1p-25
                          : c->ytype == QL_DTYPE_BF16 ? 0x1p-8 * fabs(value)
                                                      : 0;
  const size_t roundings = c->k + 1 + (c->parts != 0 ? c->side_count + c->rank + 4 : 0);
  return 2.0 * (double)roundings * 0x1p-24 * magnitude + rounding * (1 + 0x1p-10) + 0x1p-140;
}

const char *case_check(const gemm_case *c, const ql_tensor *y)
{
  static char text[256];
  for (size_t i = 0; i < c->m; i++)
    for (size_t j = 0; j < c->n; j++) {
      double want = c->bias ? (double)c->b_values[j] : 0, magnitude = fabs(want);
      for (size_t p = 0; p < c->k; p++) {
        const double x = (double)c->x_values[i * c->k + p];
        want += x * c->values[j * c->k + p];
        magnitude += fabs(x) * c->magnitudes[j * c->k + p];
      }
      const double got =
          load(c->ytype, (const unsigned char *)y->data + (ptrdiff_t)i * y->stride[0] +
                             (ptrdiff_t)(j * size_of(c->ytype)));
      if (c->ytype == QL_DTYPE_F16 && fabs(want) > 65000)
        continue;
      if (!(fabs(got - want) <= bound_of(c, want, magnitude))) {
        snprintf(text, sizeof text, "element (%zu, %zu) is %.9g, not %.9g +- %.3g", i, j, got, want,
                 bound_of(c, want, magnitude));
        return text;
      }
    }
  return NULL;
}
