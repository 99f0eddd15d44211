/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "ctx.h"
#include "gemm_case.h"
#include "isa.h"
#include "packed.h"

#include <quantlib/threads.h>

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

/* ql_pack and ql_gemm through the public interface, on every ISA that runs here. Plain C without a
 * test framework, so that it also runs under an emulator. */

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

static ql_ctx *make_ctx(const char *isa, uint32_t flags, ql_threads *threads)
{
  ql_ctx_config config = QL_CTX_CONFIG_INIT;
  ql_error error = QL_ERROR_INIT;
  ql_ctx *ctx = NULL;
  config.isa = isa;
  config.flags = flags;
  if (threads != NULL)
    config.executor = ql_threads_executor(threads);
  if (ql_ctx_create(&config, &ctx, &error) != QL_STATUS_OK)
    expect(false, "context for %s: %s", isa, error.text);
  return ctx;
}

/* y of the case in new memory, all bytes; NULL when something failed. */
static unsigned char *product(const gemm_case *c, const ql_ctx *ctx, const ql_packed *w)
{
  unsigned char *memory = malloc(case_y_bytes(c) + 1);
  ql_gemm_options options = QL_GEMM_OPTIONS_INIT;
  ql_error error = QL_ERROR_INIT;
  ql_tensor y;
  memset(memory, 0xa5, case_y_bytes(c));
  case_y(c, memory, &y);
  options.bias = c->bias ? &c->b : NULL;
  const ql_status status = ql_gemm(ctx, w, &c->x, &y, &options, &error);
  expect(status == QL_STATUS_OK, "%s on %s: %s", case_text(c), ql_ctx_isa_name(ctx), error.text);
  return memory;
}

static void expect_same(const gemm_case *c, const char *what, const unsigned char *a,
                        const unsigned char *b)
{
  expect(memcmp(a, b, case_y_bytes(c)) == 0, "%s differs: %s", what, case_text(c));
}

/* Each row alone gives the bits that it has among the others. */
static void check_single_rows(const gemm_case *c, const ql_ctx *ctx, const ql_packed *w,
                              const unsigned char *all)
{
  gemm_case one = *c;
  const size_t stride = case_y_bytes(c) / c->m;
  one.m = 1;
  one.x.shape[0] = 1;
  for (size_t i = 0; i < c->m; i += 1 + c->m / 4) {
    one.x.data = (unsigned char *)c->x.data + (ptrdiff_t)i * c->x.stride[0];
    unsigned char *row = product(&one, ctx, w);
    expect(memcmp(row, all + i * stride, stride) == 0, "row %zu alone differs on %s: %s", i,
           ql_ctx_isa_name(ctx), case_text(c));
    free(row);
  }
}

static void check_on_isa(const gemm_case *c, const ql_ctx *ctx, ql_ctx *const *threaded)
{
  ql_packed *w = case_pack(c, ctx);
  ql_tensor y;
  if (w == NULL) {
    failures++;
    return;
  }
  unsigned char *first = product(c, ctx, w);
  case_y(c, first, &y);
  const char *wrong = case_check(c, &y);
  expect(wrong == NULL, "%s on %s: %s", case_text(c), ql_ctx_isa_name(ctx), wrong);
  check_single_rows(c, ctx, w, first);
  for (size_t t = 0; threaded[t] != NULL; t++) {
    ql_packed *other = case_pack(c, threaded[t]);
    unsigned char *again = product(c, threaded[t], other);
    expect_same(c, "another number of threads", first, again);
    free(again);
    ql_packed_destroy(other);
  }
  free(first);
  ql_packed_destroy(w);
}

static void test_products(const char *isa, ql_threads *const *pools, size_t count)
{
  ql_ctx *ctx = make_ctx(isa, 0, NULL), *threaded[8] = {NULL};
  for (size_t t = 0; t < count; t++)
    threaded[t] = make_ctx(isa, 0, pools[t]);
  for (uint64_t seed = 0; seed < 120; seed++) {
    gemm_case c;
    const bool large = seed % 10 == 0; /* beyond one tile of rows and several of columns */
    case_make_any(&c, seed, large ? 300 : 20, large ? 300 : 80, seed % 3 ? 300 : 40);
    check_on_isa(&c, ctx, threaded);
    case_free(&c);
  }
  for (size_t t = 0; t < count; t++)
    ql_ctx_destroy(threaded[t]);
  ql_ctx_destroy(ctx);
}

/* Matrices with parts: all combinations often, and more rows than are held in f32 at a time. */
static void test_parts(const char *isa, ql_threads *pool)
{
  ql_ctx *ctx = make_ctx(isa, 0, NULL), *threaded[2] = {make_ctx(isa, 0, pool), NULL};
  for (uint64_t seed = 3; seed < 1280; seed += 4) {
    gemm_case c;
    const bool tall = seed % 60 == 3;
    case_make_any(&c, seed << 8 | seed, tall ? 1200 : 5, 40, 60);
    if (c.parts != 0)
      check_on_isa(&c, ctx, threaded);
    case_free(&c);
  }
  ql_ctx_destroy(threaded[0]);
  ql_ctx_destroy(ctx);
}

/* The ordered class: the bits of scalar, on every ISA, for any number of threads. */
static void test_reproducible(const char *isa, ql_threads *pool)
{
  ql_ctx *scalar = make_ctx("scalar", QL_CTX_REPRODUCIBLE, NULL);
  ql_ctx *here = make_ctx(isa, QL_CTX_REPRODUCIBLE, pool);
  for (uint64_t seed = 1000; seed < 1080; seed++) {
    gemm_case c;
    case_make_any(&c, seed, 30, 150, 400);
    ql_packed *a = case_pack(&c, scalar), *b = case_pack(&c, here);
    unsigned char *want = product(&c, scalar, a), *got = product(&c, here, b);
    expect_same(&c, isa, want, got);
    check_single_rows(&c, here, b, got);
    free(want);
    free(got);
    ql_packed_destroy(a);
    ql_packed_destroy(b);
    case_free(&c);
  }
  ql_ctx_destroy(scalar);
  ql_ctx_destroy(here);
}

static uint64_t read_environment(void)
{
#if defined(__x86_64__)
  return _mm_getcsr() & 0xffc0u;
#elif defined(__aarch64__)
  uint64_t value;
  __asm__ __volatile__("mrs %0, fpcr" : "=r"(value));
  return value;
#else
  return 0;
#endif
}

static void write_environment(uint64_t value)
{
#if defined(__x86_64__)
  _mm_setcsr((unsigned)value);
#elif defined(__aarch64__)
  __asm__ __volatile__("msr fpcr, %0" : : "r"(value));
#else
  (void)value;
#endif
}

/* A host that flushes subnormals and rounds up gets the same bits, and keeps its settings. */
static void test_environment(const char *isa)
{
#if defined(__x86_64__)
  const uint64_t hostile = 0x1f80u | 0x8000u | 0x40u | 0x4000u;
#else
  const uint64_t hostile = 1u << 24 | 1u << 22;
#endif
  ql_ctx *ctx = make_ctx(isa, 0, NULL);
  const uint64_t usual = read_environment();
  for (uint64_t seed = 2000; seed < 2020; seed++) {
    gemm_case c;
    case_make(&c, seed, 10, 60, 200);
    ql_packed *a = case_pack(&c, ctx);
    unsigned char *want = product(&c, ctx, a);
    write_environment(hostile);
    ql_packed *b = case_pack(&c, ctx);
    unsigned char *got = product(&c, ctx, b);
    const uint64_t after = read_environment();
    write_environment(usual);
    expect(after == hostile, "the environment of the host became 0x%llx",
           (unsigned long long)after);
    expect_same(&c, "a hostile floating-point environment", want, got);
    free(want);
    free(got);
    ql_packed_destroy(a);
    ql_packed_destroy(b);
    case_free(&c);
  }
  ql_ctx_destroy(ctx);
}

/* The kernel is one of the level, or of one that it stands on. */
static bool is_of_level(const char *kernel, const char *isa)
{
  for (const qli_isa *level = qli_isa_find(isa); kernel != NULL && level != NULL;
       level = qli_isa_find(level->parent))
    if (strcmp(strrchr(kernel, '_') + 1, level->name) == 0)
      return true;
  return false;
}

static void test_layout(const char *isa)
{
  ql_ctx *ctx = make_ctx(isa, 0, NULL);
  ql_ctx other = *ctx;
  gemm_case c;
  ql_tensor y;
  ql_error error = QL_ERROR_INIT;
  size_t bytes = 77;
  case_make(&c, 3000, 4, 40, 100);
  ql_packed *w = case_pack(&c, ctx);
  unsigned char *memory = malloc(case_y_bytes(&c));
  memset(memory, 0xa5, case_y_bytes(&c));
  case_y(&c, memory, &y);
  for (size_t i = 0; i < QLK_WTYPE_COUNT; i++)
    other.kernels.gemm.unit[i].layout_id ^= 0x10;
  expect(ql_gemm(&other, w, &c.x, &y, NULL, &error) == QL_STATUS_LAYOUT, "layout not refused");
  expect(strstr(error.text, "layout") != NULL, "the message says %s", error.text);
  expect(memory[0] == 0xa5, "the output was touched");
  expect(ql_gemm_query(&other, w, 1, NULL) == NULL, "a kernel for a foreign layout");
  expect(ql_gemm_workspace(&other, w, 1, NULL, &bytes) == QL_STATUS_LAYOUT && bytes == 77,
         "a workspace for a foreign layout");
  expect(is_of_level(ql_gemm_query(ctx, w, 1, NULL), isa), "the query names no kernel of %s", isa);
  ql_packed_destroy(w);
  free(memory);
  case_free(&c);
  ql_ctx_destroy(ctx);
}

/* A packed matrix of scalar on another ISA: refused, or (equal layout) right. */
static void test_foreign_weights(const char *isa)
{
  ql_ctx *scalar = make_ctx("scalar", 0, NULL), *ctx = make_ctx(isa, 0, NULL);
  for (uint64_t seed = 4000; seed < 4010; seed++) {
    gemm_case c;
    ql_tensor y;
    ql_packed_info info = {.struct_size = sizeof info};
    case_make(&c, seed, 4, 40, 100);
    ql_packed *w = case_pack(&c, scalar);
    unsigned char *memory = malloc(case_y_bytes(&c));
    case_y(&c, memory, &y);
    c.bias = false;
    ql_packed_get(w, &info);
    const ql_status status = ql_gemm(ctx, w, &c.x, &y, NULL, NULL);
    if (info.layout == qli_packed_unit(ctx, w)->layout_id)
      expect(status == QL_STATUS_OK && case_check(&c, &y) == NULL, "shared layout on %s", isa);
    else
      expect(status == QL_STATUS_LAYOUT, "foreign layout on %s gives %d", isa, (int)status);
    ql_packed_destroy(w);
    free(memory);
    case_free(&c);
  }
  ql_ctx_destroy(scalar);
  ql_ctx_destroy(ctx);
}

/* A small valid product whose parts the tests below spoil one at a time. */
typedef struct {
  float x[2 * 40], y[2 * 8], bias[8], w[8 * 40];
  ql_tensor tx, ty, tb, tw;
  ql_gemm_options options;
  ql_packed *packed;
} small;

static void make_small(const ql_ctx *ctx, small *s)
{
  const size_t n = 8;
  memset(s, 0, sizeof *s);
  for (size_t i = 0; i < 8 * 40; i++)
    s->w[i] = (float)i;
  ql_tensor_init_2d(&s->tx, s->x, QL_DTYPE_F32, 2, 40);
  ql_tensor_init_2d(&s->ty, s->y, QL_DTYPE_F32, 2, 8);
  ql_tensor_init_2d(&s->tw, s->w, QL_DTYPE_F32, 8, 40);
  ql_tensor_init(&s->tb, s->bias, QL_DTYPE_F32, 1, &n);
  s->options = (ql_gemm_options)QL_GEMM_OPTIONS_INIT;
  s->options.bias = &s->tb;
  expect(ql_pack_float(ctx, &s->tw, &s->packed, NULL) == QL_STATUS_OK, "packing a small matrix");
}

static void expect_refused(const ql_ctx *ctx, small *s, ql_status want, const char *what)
{
  ql_error error = QL_ERROR_INIT;
  s->y[0] = 77;
  const ql_status status = ql_gemm(ctx, s->packed, &s->tx, &s->ty, &s->options, &error);
  expect(status == want && error.text[0] != '\0', "%s gives %s, not %s", what,
         ql_status_str(status), ql_status_str(want));
  expect(s->y[0] == 77, "%s touched the output", what);
  ql_packed_destroy(s->packed);
  make_small(ctx, s);
}

static void test_refusals(const char *isa)
{
  ql_ctx *ctx = make_ctx(isa, 0, NULL);
  small s;
  make_small(ctx, &s);
  s.tx.shape[1] = 39;
  expect_refused(ctx, &s, QL_STATUS_SHAPE, "too few columns of x");
  s.ty.shape[1] = 7;
  expect_refused(ctx, &s, QL_STATUS_SHAPE, "too few columns of y");
  s.ty.shape[0] = 1;
  expect_refused(ctx, &s, QL_STATUS_SHAPE, "different numbers of rows");
  s.tx.dtype = QL_DTYPE_I8;
  expect_refused(ctx, &s, QL_STATUS_DTYPE, "integer activations");
  s.ty.dtype = QL_DTYPE_F64;
  expect_refused(ctx, &s, QL_STATUS_DTYPE, "double output");
  s.tx.stride[1] = 8;
  expect_refused(ctx, &s, QL_STATUS_INVALID_ARGUMENT, "columns of x apart");
  s.tb.shape[0] = 9;
  expect_refused(ctx, &s, QL_STATUS_SHAPE, "a bias of another length");
  s.options.compute = 99;
  expect_refused(ctx, &s, QL_STATUS_UNSUPPORTED, "an unknown way to compute");
  s.options.struct_size = 3;
  expect_refused(ctx, &s, QL_STATUS_INVALID_ARGUMENT, "options of a strange size");
  s.options.workspace = s.w;
  s.options.workspace_bytes = 64;
  expect_refused(ctx, &s, QL_STATUS_INVALID_ARGUMENT, "a small workspace");
  expect(ql_gemm_w4a16(ctx, s.packed, &s.tx, &s.ty, NULL, NULL) == QL_STATUS_DTYPE,
         "float weights as 4-bit ones");
  s.tw.dtype = QL_DTYPE_I8;
  ql_packed *none = NULL;
  expect(ql_pack_float(ctx, &s.tw, &none, NULL) == QL_STATUS_DTYPE && none == NULL,
         "integer weights packed as floating point");
  ql_packed_destroy(s.packed);
  ql_ctx_destroy(ctx);
}

static void test_named_widths(const char *isa)
{
  ql_ctx *ctx = make_ctx(isa, 0, NULL);
  for (uint64_t seed = 5000; seed < 5040; seed++) {
    gemm_case c;
    ql_tensor y;
    case_make(&c, seed, 3, 40, 100);
    ql_packed *w = case_pack(&c, ctx);
    unsigned char *memory = malloc(case_y_bytes(&c));
    case_y(&c, memory, &y);
    const int got[6] = {
        ql_gemm_w2a16(ctx, w, &c.x, &y, NULL, NULL), ql_gemm_w3a16(ctx, w, &c.x, &y, NULL, NULL),
        ql_gemm_w4a16(ctx, w, &c.x, &y, NULL, NULL), ql_gemm_w8a16(ctx, w, &c.x, &y, NULL, NULL),
        ql_gemm_w5a16(ctx, w, &c.x, &y, NULL, NULL), ql_gemm_w6a16(ctx, w, &c.x, &y, NULL, NULL)};
    const int bits[6] = {2, 3, 4, 8, 5, 6};
    for (int i = 0; i < 6; i++)
      expect(got[i] == (bits[i] == c.bits ? QL_STATUS_OK : QL_STATUS_DTYPE),
             "%d bits called as %d give %d", c.bits, bits[i], got[i]);
    const int got8[4] = {
        ql_gemm_w2a8(ctx, w, &c.x, &y, NULL, NULL), ql_gemm_w3a8(ctx, w, &c.x, &y, NULL, NULL),
        ql_gemm_w4a8(ctx, w, &c.x, &y, NULL, NULL), ql_gemm_w8a8(ctx, w, &c.x, &y, NULL, NULL)};
    for (int i = 0; i < 4; i++)
      expect(got8[i] == (bits[i] == c.bits ? QL_STATUS_OK : QL_STATUS_DTYPE),
             "%d bits called as %d with 8-bit activations give %d", c.bits, bits[i], got8[i]);
    const char *const kernels[] = {"", "w2p", "w2p", "w3p", "w4p", "w8p", "w8p", "w8p", "w8p"};
    expect(strstr(ql_gemm_query(ctx, w, 1, NULL), kernels[c.bits]) != NULL,
           "%d bits are served by %s", c.bits, ql_gemm_query(ctx, w, 1, NULL));
    ql_packed_destroy(w);
    free(memory);
    case_free(&c);
  }
  ql_ctx_destroy(ctx);
}

/* Sizes of 0: of m and n nothing happens, of k the bias alone remains. */
static void test_empty(const char *isa)
{
  ql_ctx *ctx = make_ctx(isa, 0, NULL);
  for (int which = 0; which < 3; which++) {
    const size_t m = which == 0 ? 0 : 2, n = which == 1 ? 0 : 3, k = which == 2 ? 0 : 5;
    float x[16] = {1}, y[16], w[16] = {1}, bias[4] = {1, 2, 3, 4};
    ql_tensor tx, ty, tw, tb;
    ql_packed *packed = NULL;
    ql_gemm_options options = QL_GEMM_OPTIONS_INIT;
    memset(y, 0x7f, sizeof y);
    ql_tensor_init_2d(&tx, x, QL_DTYPE_F32, m, k);
    ql_tensor_init_2d(&ty, y, QL_DTYPE_F32, m, n);
    ql_tensor_init_2d(&tw, w, QL_DTYPE_F32, n, k);
    ql_tensor_init(&tb, bias, QL_DTYPE_F32, 1, &n);
    options.bias = &tb;
    expect(ql_pack_float(ctx, &tw, &packed, NULL) == QL_STATUS_OK, "packing %zux%zu", n, k);
    expect(ql_gemm(ctx, packed, &tx, &ty, &options, NULL) == QL_STATUS_OK, "%zux%zux%zu", m, n, k);
    if (which == 2)
      expect(y[0] == 1 && y[1] == 2 && y[5] == 3, "k = 0 must give the bias");
    ql_packed_destroy(packed);
  }
  ql_ctx_destroy(ctx);
}

/* Places that no column fills must not bring up 0 * Inf when scales are near the largest number. */
static void test_padding(const char *isa)
{
  enum { N = 3, K = 13 };
  ql_ctx *ctx = make_ctx(isa, 0, NULL);
  uint8_t codes[N * K];
  const float scales[N] = {1e38f, -1e38f, 2e38f};
  const int16_t zeros[N] = {4, 0, 16};
  float x[K], y[N];
  ql_tensor tx, ty;
  ql_qmat *q = NULL;
  ql_packed *packed = NULL;
  for (size_t i = 0; i < K; i++)
    x[i] = i == 2 ? 0.5f : 0.0f;
  for (size_t i = 0; i < N * K; i++)
    codes[i] = (uint8_t)(i < K ? 5 : i < 2 * K ? 1 : 15);
  const ql_qmat_view view = {.struct_size = sizeof view,
                             .rows = N,
                             .cols = K,
                             .bits = 4,
                             .kind = QL_GRID_ASYM,
                             .block_rows = 1,
                             .block_cols = K,
                             .groups = 1,
                             .scale_dtype = QL_DTYPE_F32,
                             .codes = codes,
                             .scales = scales,
                             .zeros = zeros};
  expect(ql_qmat_create(ctx, &view, &q, NULL) == QL_STATUS_OK, "a matrix with large scales");
  expect(ql_pack(ctx, q, &packed, NULL) == QL_STATUS_OK, "packing large scales");
  ql_tensor_init_2d(&tx, x, QL_DTYPE_F32, 1, K);
  ql_tensor_init_2d(&ty, y, QL_DTYPE_F32, 1, N);
  expect(ql_gemm(ctx, packed, &tx, &ty, NULL, NULL) == QL_STATUS_OK, "a product of large scales");
  expect(y[0] == 0.5e38f && y[1] == -0.5e38f && y[2] == -1e38f, "padding changed %g %g %g",
         (double)y[0], (double)y[1], (double)y[2]);
  ql_packed_destroy(packed);
  ql_qmat_destroy(q);
  ql_ctx_destroy(ctx);
}

/* The codes of a side column count for nothing, even where they would be infinite; an infinite
 * activation meets the side value alone, and the low-rank term sees it too. */
static void test_side_column(const char *isa)
{
  enum { N = 3, K = 9, SIDE = 4 };
  ql_ctx *ctx = make_ctx(isa, 0, NULL);
  uint8_t codes[N * K];
  float x[K], y[N];
  const float scales[N] = {1e38f, -1e38f, 1e38f}, fzeros[N] = {-2.5f, 0.25f, 17.0f};
  const int32_t side_cols[1] = {SIDE};
  const float side_values[N] = {3, -5, 0.5f}, lora_a[K] = {[SIDE] = 0}, lora_b[N] = {1, 1, 1};
  for (int c = 0; c < K; c++)
    x[c] = c == SIDE ? 2.0f : 0.0f;
  const ql_qmat_view view = {.struct_size = sizeof view,
                             .rows = N,
                             .cols = K,
                             .bits = 4,
                             .kind = QL_GRID_FLOAT_ZERO,
                             .block_rows = 1,
                             .block_cols = K,
                             .groups = 1,
                             .scale_dtype = QL_DTYPE_F32,
                             .codes = codes,
                             .scales = scales,
                             .fzeros = fzeros,
                             .side_count = 1,
                             .side_cols = side_cols,
                             .side_values = side_values,
                             .side_dtype = QL_DTYPE_F16,
                             .rank = 1,
                             .lora_a = lora_a,
                             .lora_b = lora_b,
                             .lora_dtype = QL_DTYPE_F16};
  for (int i = 0; i < 2; i++) {
    ql_qmat_view v = view;
    ql_qmat *q = NULL;
    ql_packed *packed = NULL;
    ql_tensor tx, ty;
    if (i == 1) /* infinite, and nowhere but in the side product */
      v.rank = 0, v.lora_a = v.lora_b = NULL, v.lora_dtype = QL_DTYPE_NONE, x[SIDE] = HUGE_VALF;
    for (int c = 0; c < K; c++)
      for (int r = 0; r < N; r++)
        codes[r * K + c] = (c == SIDE) == (r == 2) ? 0 : 15; /* infinite at SIDE alone */
    expect(ql_qmat_create(ctx, &v, &q, NULL) == QL_STATUS_OK, "a side column");
    expect(ql_pack(ctx, q, &packed, NULL) == QL_STATUS_OK, "packing a side column");
    ql_tensor_init_2d(&tx, x, QL_DTYPE_F32, 1, K);
    ql_tensor_init_2d(&ty, y, QL_DTYPE_F32, 1, N);
    expect(ql_gemm(ctx, packed, &tx, &ty, NULL, NULL) == QL_STATUS_OK, "its product");
    for (int r = 0; r < N; r++)
      expect(y[r] == x[SIDE] * side_values[r], "side column on %s: %g, not %g", isa, (double)y[r],
             (double)(x[SIDE] * side_values[r]));
    ql_packed_destroy(packed);
    ql_qmat_destroy(q);
  }
  ql_ctx_destroy(ctx);
}

static void check_workspace(const ql_ctx *ctx, uint64_t seed)
{
  gemm_case c;
  ql_tensor y;
  size_t bytes = 0;
  case_make(&c, seed, 200, 200, 200);
  ql_packed *w = case_pack(&c, ctx);
  c.bias = false;
  unsigned char *want = product(&c, ctx, w), *got = malloc(case_y_bytes(&c));
  memset(got, 0xa5, case_y_bytes(&c));
  expect(ql_gemm_workspace(ctx, w, c.m, NULL, &bytes) == QL_STATUS_OK && bytes > 0, "workspace");
  const size_t room = (bytes + 63) / 64 * 64;
  unsigned char *memory = aligned_alloc(64, room + 64);
  memset(memory, 0xa5, room + 64);
  ql_gemm_options options = QL_GEMM_OPTIONS_INIT;
  options.workspace = memory;
  options.workspace_bytes = bytes;
  case_y(&c, got, &y);
  expect(ql_gemm(ctx, w, &c.x, &y, &options, NULL) == QL_STATUS_OK, "with a workspace");
  expect_same(&c, "a workspace of the caller", want, got);
  for (size_t i = bytes; i < room + 64; i++)
    expect(memory[i] == 0xa5, "byte %zu past the workspace was written", i - bytes);
  options.workspace_bytes = bytes - 1;
  expect(ql_gemm(ctx, w, &c.x, &y, &options, NULL) == QL_STATUS_INVALID_ARGUMENT,
         "a workspace that is too small");
  free(memory);
  free(want);
  free(got);
  ql_packed_destroy(w);
  case_free(&c);
}

static void test_workspace(const char *isa, ql_threads *pool)
{
  ql_ctx *ctx = make_ctx(isa, 0, pool);
  for (uint64_t seed = 6000; seed < 6064; seed++)
    check_workspace(ctx, seed);
  ql_ctx_destroy(ctx);
}

/* An allocator that fails on request and counts what is not given back. */
typedef struct {
  long countdown, live;
} faulty;

static void *faulty_alloc(void *user, size_t size, size_t align)
{
  faulty *f = user;
  if (f->countdown-- == 0)
    return NULL;
  f->live++;
  return aligned_alloc(align, (size + align - 1) / align * align);
}

static void faulty_free(void *user, void *block)
{
  ((faulty *)user)->live--;
  free(block);
}

/* The n-th allocation fails, for every n until all goes well. */
static void test_memory(const char *isa)
{
  faulty f = {-1, 0};
  ql_ctx_config config = QL_CTX_CONFIG_INIT;
  ql_ctx *usual = make_ctx(isa, 0, NULL), *ctx = NULL;
  config.isa = isa;
  config.allocator = (ql_allocator){&f, faulty_alloc, faulty_free};
  expect(ql_ctx_create(&config, &ctx, NULL) == QL_STATUS_OK, "a context with an allocator");
  for (uint64_t seed = 7000; seed < 7064; seed++) {
    gemm_case c;
    ql_status status = QL_STATUS_NO_MEMORY;
    case_make(&c, seed, 9, 40, 100);
    const ql_qmat_view view = case_view(&c);
    ql_qmat *q = NULL;
    if (c.bits != 0)
      ql_qmat_create(usual, &view, &q, NULL);
    ql_tensor w, y;
    ql_tensor_init_2d(&w, c.elements, c.wtype, c.n, c.k);
    unsigned char *memory = malloc(case_y_bytes(&c));
    case_y(&c, memory, &y);
    for (long n = 0; status == QL_STATUS_NO_MEMORY && n < 90; n++) {
      ql_packed *packed = NULL;
      const long before = f.live;
      f.countdown = n;
      status = q ? ql_pack(ctx, q, &packed, NULL) : ql_pack_float(ctx, &w, &packed, NULL);
      expect((status == QL_STATUS_OK) == (packed != NULL), "a failed call left a matrix");
      if (status == QL_STATUS_OK)
        status = ql_gemm(ctx, packed, &c.x, &y, NULL, NULL);
      f.countdown = -1;
      ql_packed_destroy(packed);
      expect(f.live == before, "%ld blocks leaked", f.live - before);
    }
    expect(status == QL_STATUS_OK, "never got memory: %s", ql_status_str(status));
    free(memory);
    ql_qmat_destroy(q);
    case_free(&c);
  }
  ql_ctx_destroy(usual);
  ql_ctx_destroy(ctx);
}

int main(void)
{
  static const size_t workers[] = {1, 2, 3, 7};
  ql_threads *pools[4] = {NULL};
  int32_t runnable;
  const char *isa;
  for (size_t i = 0; i < 4; i++)
    expect(ql_threads_create(workers[i], &pools[i]) == QL_STATUS_OK, "a pool of threads");
  for (size_t i = 0; (isa = ql_isa_list(i, &runnable)) != NULL; i++) {
    const int before = failures;
    if (!runnable) {
      printf("%-12s built, but not run\n", isa);
      continue;
    }
    test_products(isa, pools, 4);
    test_parts(isa, pools[3]);
    test_reproducible(isa, pools[2]);
    test_environment(isa);
    test_layout(isa);
    test_foreign_weights(isa);
    test_refusals(isa);
    test_named_widths(isa);
    test_empty(isa);
    test_padding(isa);
    test_side_column(isa);
    test_workspace(isa, pools[1]);
    test_memory(isa);
    printf("%-12s %s\n", isa, failures == before ? "ok" : "failed");
  }
  for (size_t i = 0; i < 4; i++)
    ql_threads_destroy(pools[i]);
  return failures == 0 ? 0 : 1;
}
