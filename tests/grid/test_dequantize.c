/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
/* ql_dequantize by kernels, which serve contiguous columns, against the formula, which serves all
 * others: the same bits on every ISA, for every type, grid and size. */
#include "../cm.h"

#include <quantlib/quantlib.h>

#include <stdlib.h>
#include <string.h>

static uint32_t state = 1;

static uint32_t random_bits(void)
{
  state = state * 1664525u + 1013904223u;
  return state >> 8;
}

typedef struct {
  size_t rows, cols, group, block_rows;
  int32_t bits;
  ql_grid_kind kind;
  ql_dtype scale_dtype;
} sample;

/* A value of the type: a few leading bits of a random number. */
static float representable(ql_dtype type, float x)
{
  static const uint32_t masks[] = {0, 0xffffffffu, 0xffffe000u, 0xffff0000u};
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  bits &= masks[type];
  memcpy(&x, &bits, sizeof x);
  return x;
}

static ql_qmat *make(const ql_ctx *ctx, const sample *s)
{
  const size_t groups = (s->cols + s->group - 1) / s->group;
  const size_t blocks = (s->rows + s->block_rows - 1) / s->block_rows * groups;
  uint8_t *codes = malloc(s->rows * s->cols);
  float *scales = malloc(blocks * sizeof *scales), *fzeros = malloc(blocks * sizeof *fzeros);
  int16_t *zeros = malloc(blocks * sizeof *zeros);
  for (size_t i = 0; i < s->rows * s->cols; i++)
    codes[i] = (uint8_t)(random_bits() & ((1u << s->bits) - 1));
  for (size_t i = 0; i < blocks; i++) {
    const float x = 0x1p-12f * (float)(random_bits() & 0xffffu) + 0x1p-9f;
    scales[i] =
        representable(s->scale_dtype, i % 3 == 0 ? -(x + 1) * 0x1.1p-6f : (x + 1) * 0x1.2345p-4f);
    fzeros[i] = representable(s->scale_dtype, i % 4 == 1 ? (x + 1) * 0x1p-8f : x);
    zeros[i] = (int16_t)(random_bits() % ((1u << s->bits) + 1));
  }
  const int floats = s->kind == QL_GRID_FLOAT_ZERO;
  const ql_qmat_view view = {.struct_size = sizeof view,
                             .rows = s->rows,
                             .cols = s->cols,
                             .bits = s->bits,
                             .kind = s->kind,
                             .block_rows = s->block_rows,
                             .block_cols = s->group,
                             .groups = groups,
                             .scale_dtype = s->scale_dtype,
                             .codes = codes,
                             .scales = scales,
                             .zeros = s->kind == QL_GRID_ASYM ? zeros : NULL,
                             .fzeros = floats ? fzeros : NULL};
  ql_qmat *q = NULL;
  ql_error error = QL_ERROR_INIT;
  if (ql_qmat_create(ctx, &view, &q, &error) != QL_STATUS_OK)
    fail_msg("%s", error.text);
  free(codes);
  free(scales);
  free(fzeros);
  free(zeros);
  return q;
}

/* shift: bytes by which the contiguous target is off its alignment. */
static void compare(const ql_ctx *ctx, const ql_qmat *q, const sample *s, ql_dtype type,
                    size_t shift)
{
  const size_t size = ql_dtype_bits(type) / 8, n = s->rows * s->cols;
  unsigned char *room = aligned_alloc(64, (n * size + shift + 64) / 64 * 64);
  unsigned char *wide = calloc(n, 2 * size);
  ql_tensor near, far;
  ql_tensor_init_2d(&near, room + shift, type, s->rows, s->cols);
  ql_tensor_init_2d(&far, wide, type, s->rows, s->cols);
  far.stride[0] = (ptrdiff_t)(2 * size * s->cols);
  far.stride[1] = (ptrdiff_t)(2 * size);
  assert_int_equal(ql_dequantize(ctx, q, &near, NULL), QL_STATUS_OK);
  assert_int_equal(ql_dequantize(ctx, q, &far, NULL), QL_STATUS_OK);
  for (size_t i = 0; i < n; i++)
    if (memcmp(room + shift + i * size, wide + 2 * i * size, size) != 0)
      fail_msg("%s: element %zu of %zu x %zu differs (%s, kind %d, %d bits)", ql_ctx_isa_name(ctx),
               i, s->rows, s->cols, ql_dtype_name(type), (int)s->kind, (int)s->bits);
  free(room);
  free(wide);
}

static void compare_types(const ql_ctx *ctx, const sample *s)
{
  ql_qmat *q = make(ctx, s);
  for (ql_dtype type = QL_DTYPE_F32; type <= QL_DTYPE_BF16; type++)
    for (size_t shift = 0; shift < 2; shift++)
      compare(ctx, q, s, type, shift);
  ql_qmat_destroy(q);
}

static void for_each_isa(void (*check)(const ql_ctx *ctx))
{
  int32_t runnable;
  const char *name;
  for (size_t i = 0; (name = ql_isa_list(i, &runnable)) != NULL; i++) {
    ql_ctx_config config = QL_CTX_CONFIG_INIT;
    ql_ctx *ctx = NULL;
    config.isa = name;
    if (!runnable)
      continue;
    assert_int_equal(ql_ctx_create(&config, &ctx, NULL), QL_STATUS_OK);
    check(ctx);
    ql_ctx_destroy(ctx);
  }
}

static void check_shapes(const ql_ctx *ctx)
{
  static const ql_grid_kind kinds[] = {QL_GRID_ASYM, QL_GRID_SYM_CENTRED, QL_GRID_FLOAT_ZERO};
  static const size_t cols[] = {1, 7, 64, 131, 300}, groups[] = {1, 5, 16, 32, 128, 300};
  for (size_t i = 0; i < 90; i++) {
    const sample s = {.rows = 1 + i % 19,
                      .cols = cols[i % 5],
                      .group = groups[i % 6] < cols[i % 5] ? groups[i % 6] : cols[i % 5],
                      .block_rows = i % 7 == 0 ? 3 : 1,
                      .bits = (int32_t)(2 + i % 7),
                      .kind = kinds[i / 30],
                      .scale_dtype = (ql_dtype)(QL_DTYPE_F32 + (int32_t)(i % 3))};
    compare_types(ctx, &s);
  }
}

static void test_shapes(void **unused)
{
  (void)unused;
  for_each_isa(check_shapes);
}

/* So large that the target goes past the caches. */
static void check_large(const ql_ctx *ctx)
{
  const sample s = {1030, 8256, 64, 1, 4, QL_GRID_ASYM, QL_DTYPE_F32};
  ql_qmat *q = make(ctx, &s);
  compare(ctx, q, &s, QL_DTYPE_F16, 0);
  compare(ctx, q, &s, QL_DTYPE_F32, 0);
  compare(ctx, q, &s, QL_DTYPE_BF16, 4);
  ql_qmat_destroy(q);
}

static void test_large(void **unused)
{
  (void)unused;
  for_each_isa(check_large);
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_shapes), cmocka_unit_test(test_large)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
