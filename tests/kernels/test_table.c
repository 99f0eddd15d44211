/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "gemm_case.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Products with tables of levels and with ternary weights, beside what test_gemm draws at random.
 */

static int failures;

static void expect(bool good, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void expect(bool good, const char *format, ...)
{
  va_list arguments;
  if (good || failures++ > 20)
    return;
  fprintf(stderr, "FAIL ");
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
}

static ql_ctx *make_ctx(const char *isa)
{
  ql_ctx_config config = QL_CTX_CONFIG_INIT;
  ql_error error = QL_ERROR_INIT;
  ql_ctx *ctx = NULL;
  config.isa = isa;
  if (ql_ctx_create(&config, &ctx, &error) != QL_STATUS_OK)
    expect(false, "context for %s: %s", isa, error.text);
  return ctx;
}

/* Places that no column fills must not bring up 0 * Inf: they get the code of the least level. */
static void test_table_padding(const char *isa)
{
  enum { N = 2, K = 13 };
  ql_ctx *ctx = make_ctx(isa);
  uint8_t codes[N * K];
  const float scales[N] = {1e38f, -1e38f};
  const float levels[N][16] = {{16, 15, 14, 13, 12, 11, 0.5f, 9, 8, 7, 6, 5, 4, 3, 2, 10},
                               {9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 0.25f}};
  float x[K], y[N];
  ql_tensor tx, ty;
  ql_qmat *q = NULL;
  ql_packed *packed = NULL;
  for (size_t i = 0; i < K; i++)
    x[i] = i == 2 ? 0.5f : 0.0f;
  for (size_t i = 0; i < N * K; i++)
    codes[i] = i < K ? 6 : 15;
  const ql_qmat_view view = {.struct_size = sizeof view,
                             .rows = N,
                             .cols = K,
                             .bits = 4,
                             .kind = QL_GRID_TABLE,
                             .block_rows = 1,
                             .block_cols = K,
                             .groups = 1,
                             .scale_dtype = QL_DTYPE_F32,
                             .codes = codes,
                             .scales = scales,
                             .levels = levels[0],
                             .level_sets = N};
  expect(ql_qmat_create(ctx, &view, &q, NULL) == QL_STATUS_OK, "a table with large scales");
  expect(ql_pack(ctx, q, &packed, NULL) == QL_STATUS_OK, "packing large scales and levels");
  ql_tensor_init_2d(&tx, x, QL_DTYPE_F32, 1, K);
  ql_tensor_init_2d(&ty, y, QL_DTYPE_F32, 1, N);
  expect(ql_gemm(ctx, packed, &tx, &ty, NULL, NULL) == QL_STATUS_OK, "a product of large levels");
  expect(y[0] == 0.25e38f && y[1] == -0.125e38f, "padding changed %g %g", (double)y[0],
         (double)y[1]);
  ql_packed_destroy(packed);
  ql_qmat_destroy(q);
  ql_ctx_destroy(ctx);
}

/* Levels that are no small whole numbers have no place in integer products. */
static void test_table_refused(const char *isa)
{
  ql_ctx *ctx = make_ctx(isa);
  uint8_t codes[8] = {0, 1, 2, 3, 4, 5, 6, 7};
  float scale = 1, levels[256] = {1, 0.3f}, x[8] = {1}, y[1] = {77};
  ql_tensor tx, ty;
  ql_gemm_options options = QL_GEMM_OPTIONS_INIT;
  ql_tensor_init_2d(&tx, x, QL_DTYPE_F32, 1, 8);
  ql_tensor_init_2d(&ty, y, QL_DTYPE_F32, 1, 1);
  options.compute = QL_COMPUTE_A8;
  for (int32_t bits = 3; bits <= 8; bits++) {
    ql_qmat *q = NULL;
    ql_packed *packed = NULL;
    const ql_qmat_view view = {.struct_size = sizeof view,
                               .rows = 1,
                               .cols = 8,
                               .bits = bits,
                               .kind = QL_GRID_TABLE,
                               .block_rows = 1,
                               .block_cols = 8,
                               .groups = 1,
                               .scale_dtype = QL_DTYPE_F32,
                               .codes = codes,
                               .scales = &scale,
                               .levels = levels,
                               .level_sets = 1};
    expect(ql_qmat_create(ctx, &view, &q, NULL) == QL_STATUS_OK, "a table of %d bits", bits);
    expect(ql_pack(ctx, q, &packed, NULL) == QL_STATUS_OK, "packing a table of %d bits", bits);
    expect(ql_gemm(ctx, packed, &tx, &ty, &options, NULL) == QL_STATUS_UNSUPPORTED && y[0] == 77,
           "an integer product with a table of %d bits", bits);
    expect(ql_gemm_query(ctx, packed, 1, &options) == NULL, "a kernel for a table of %d bits",
           bits);
    ql_packed_destroy(packed);
    ql_qmat_destroy(q);
  }
  ql_ctx_destroy(ctx);
}

enum { TABLE_M = 5, TABLE_N = 37, TABLE_K = 150, TABLE_GROUPS = 3 };

typedef struct {
  uint8_t codes[TABLE_N * TABLE_K];
  float scales[TABLE_N * TABLE_GROUPS], x[TABLE_M * TABLE_K], y[TABLE_M * TABLE_N];
  float x_scales[TABLE_M];
  int8_t x_codes[TABLE_M * TABLE_K];
} table_case;

static void make_table_case(table_case *t, uint64_t seed)
{
  gemm_case c = {.state = seed};
  for (size_t i = 0; i < TABLE_N * TABLE_K; i++)
    t->codes[i] = (uint8_t)case_below(&c, 16);
  for (size_t i = 0; i < TABLE_N * TABLE_GROUPS; i++)
    t->scales[i] = ((float)case_below(&c, 200) - 99.5f) / 64;
  for (size_t i = 0; i < TABLE_M; i++)
    t->x_scales[i] = (1 + (float)case_below(&c, 100)) / 128;
  for (size_t i = 0; i < TABLE_M * TABLE_K; i++) {
    t->x_codes[i] = (int8_t)(i < TABLE_K ? 127 : (int)case_below(&c, 255) - 127);
    t->x[i] = (float)t->x_codes[i] * t->x_scales[i / TABLE_K];
  }
}

/* |y - want| <= bound, apart from a few roundings in f32. */
static void check_table_product(const table_case *t, const float *levels, double bound,
                                const char *what, const char *isa)
{
  for (size_t i = 0; i < TABLE_M; i++)
    for (size_t j = 0; j < TABLE_N; j++) {
      double want = 0, size = 0, most = 0;
      for (size_t p = 0; p < TABLE_K; p++) {
        const double x = (double)t->x[i * TABLE_K + p];
        const double w = (double)t->scales[j * TABLE_GROUPS + p / 64] *
                         (double)levels[t->codes[j * TABLE_K + p]];
        want += x * w;
        size += fabs(w);
        most = fmax(most, fabs(x));
      }
      const double got = (double)t->y[i * TABLE_N + j];
      if (!(fabs(got - want) <= (bound + 0x1p-21) * most * size)) {
        expect(false, "%s on %s: element (%zu, %zu) is %.9g, not %.9g", what, isa, i, j, got, want);
        return;
      }
    }
}

/* Tables of whole numbers times a power of two: 8-bit activations that are given, and made, and
 * 16-bit ones. */
static void test_number_tables(const char *isa)
{
  static const float odd[16] = {-128, 127, 0, -1, 1, 77, -77, 3, 5, 7, 9, 11, 100, -100, 64, -64};
  ql_ctx *ctx = make_ctx(isa);
  static table_case t;
  for (ql_table table = 0; table <= QL_TABLE_IQ4_NL; table++) {
    ql_table_info info = {.struct_size = sizeof info, .levels = odd};
    expect(table == 0 || ql_table_get(table, &info) == QL_STATUS_OK, "table %d", (int)table);
    make_table_case(&t, 77 + (uint64_t)table);
    ql_qmat *q = NULL;
    ql_packed *packed = NULL;
    const ql_qmat_view view = {.struct_size = sizeof view,
                               .rows = TABLE_N,
                               .cols = TABLE_K,
                               .bits = 4,
                               .kind = QL_GRID_TABLE,
                               .block_rows = 1,
                               .block_cols = 64,
                               .groups = TABLE_GROUPS,
                               .scale_dtype = QL_DTYPE_F32,
                               .codes = t.codes,
                               .scales = t.scales,
                               .levels = info.levels,
                               .level_sets = 1};
    expect(ql_qmat_create(ctx, &view, &q, NULL) == QL_STATUS_OK, "a table of numbers");
    expect(ql_pack(ctx, q, &packed, NULL) == QL_STATUS_OK, "packing a table of numbers");
    ql_tensor x, y, codes, x_scales;
    const size_t m = TABLE_M;
    ql_gemm_options options = QL_GEMM_OPTIONS_INIT;
    ql_tensor_init_2d(&x, t.x, QL_DTYPE_F32, TABLE_M, TABLE_K);
    ql_tensor_init_2d(&y, t.y, QL_DTYPE_F32, TABLE_M, TABLE_N);
    ql_tensor_init_2d(&codes, t.x_codes, QL_DTYPE_I8, TABLE_M, TABLE_K);
    ql_tensor_init(&x_scales, t.x_scales, QL_DTYPE_F32, 1, &m);
    const bool whole = table != QL_TABLE_NF4 && table != QL_TABLE_FP4;
    const ql_status want = whole ? QL_STATUS_OK : QL_STATUS_UNSUPPORTED;
    options.compute = QL_COMPUTE_A8;
    expect((ql_gemm_query(ctx, packed, 1, &options) != NULL) == whole, "the kernel of table %d",
           (int)table);
    expect(ql_gemm_w4a8(ctx, packed, &x, &y, &options, NULL) == want, "8 bits, table %d",
           (int)table);
    if (whole)
      check_table_product(&t, info.levels, 0x1p-7, "8 bits", isa);
    options.x_scales = &x_scales;
    expect(ql_gemm_w4a8(ctx, packed, &codes, &y, &options, NULL) == want, "codes, table %d",
           (int)table);
    if (whole)
      check_table_product(&t, info.levels, 0, "given codes", isa);
    options.x_scales = NULL;
    options.compute = QL_COMPUTE_A16;
    expect(ql_gemm(ctx, packed, &x, &y, &options, NULL) == want, "16 bits, table %d", (int)table);
    if (whole)
      check_table_product(&t, info.levels, 0x1p-15, "16 bits", isa);
    options.compute = QL_COMPUTE_F32;
    expect(ql_gemm(ctx, packed, &x, &y, &options, NULL) == QL_STATUS_OK, "f32, table %d",
           (int)table);
    check_table_product(&t, info.levels, 0, "f32", isa);
    ql_packed_destroy(packed);
    ql_qmat_destroy(q);
  }
  ql_ctx_destroy(ctx);
}

/* Ternary weights lie as 2 bits each, beside a scale for each row, and go through the units of that
 * width in every way to compute. */
static void test_ternary(const char *isa)
{
  enum { N = 64, K = 256 };
  ql_ctx *ctx = make_ctx(isa);
  static uint8_t codes[N * K];
  float scale = 0.5f, x[K], y[N];
  ql_tensor tx, ty;
  ql_qmat *q = NULL;
  ql_packed *packed = NULL;
  ql_packed_info info = {.struct_size = sizeof info};
  double want[N] = {0};
  for (int p = 0; p < K; p++)
    x[p] = (float)(p % 255 - 127); /* the codes of 8 bits are the numbers themselves */
  for (int i = 0; i < N * K; i++) {
    codes[i] = (uint8_t)(i * 7 / 3 % 3);
    want[i / K] += 0.5 * (codes[i] - 1) * (double)x[i % K];
  }
  const ql_qmat_view view = {.struct_size = sizeof view,
                             .rows = N,
                             .cols = K,
                             .bits = 2,
                             .kind = QL_GRID_TERNARY,
                             .block_rows = N,
                             .block_cols = K,
                             .groups = 1,
                             .scale_dtype = QL_DTYPE_F16,
                             .codes = codes,
                             .scales = &scale};
  expect(ql_qmat_create(ctx, &view, &q, NULL) == QL_STATUS_OK, "a ternary matrix");
  expect(ql_pack(ctx, q, &packed, NULL) == QL_STATUS_OK, "packing a ternary matrix");
  expect(ql_packed_get(packed, &info) == QL_STATUS_OK && info.bytes < N * K / 4 + N * 4 + 1024,
         "a packed ternary matrix has %llu bytes", (unsigned long long)info.bytes);
  ql_tensor_init_2d(&tx, x, QL_DTYPE_F32, 1, K);
  ql_tensor_init_2d(&ty, y, QL_DTYPE_F32, 1, N);
  for (ql_compute compute = QL_COMPUTE_F32; compute <= QL_COMPUTE_A8; compute++) {
    ql_gemm_options options = QL_GEMM_OPTIONS_INIT;
    options.compute = compute;
    const char *kernel = ql_gemm_query(ctx, packed, 1, &options);
    expect(kernel != NULL && strstr(kernel, "w2p") != NULL, "ternary weights are served by %s",
           kernel != NULL ? kernel : "nothing");
    expect(ql_gemm(ctx, packed, &tx, &ty, &options, NULL) == QL_STATUS_OK, "a ternary product");
    for (int j = 0; j < N; j++)
      expect(fabs((double)y[j] - want[j]) <= (compute == QL_COMPUTE_A16 ? 0.25 : 0),
             "ternary, compute %d: %g is not %g", (int)compute, (double)y[j], want[j]);
  }
  ql_packed_destroy(packed);
  ql_qmat_destroy(q);
  ql_ctx_destroy(ctx);
}

int main(void)
{
  int32_t runnable;
  const char *isa;
  for (size_t i = 0; (isa = ql_isa_list(i, &runnable)) != NULL; i++) {
    const int before = failures;
    if (!runnable) {
      printf("%-12s built, but not run\n", isa);
      continue;
    }
    test_table_padding(isa);
    test_table_refused(isa);
    test_number_tables(isa);
    test_ternary(isa);
    printf("%-12s %s\n", isa, failures == before ? "ok" : "failed");
  }
  return failures == 0 ? 0 : 1;
}
