/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "a8_case.h"
#include "ctx.h"
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

/* ql_quantize_act and products in integers through the public interface, on every ISA that runs
 * here. Plain C without a test framework, so that it also runs under an emulator. */

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

static ql_ctx *make_ctx(const char *isa, ql_threads *threads)
{
  ql_ctx_config config = QL_CTX_CONFIG_INIT;
  ql_error error = QL_ERROR_INIT;
  ql_ctx *ctx = NULL;
  config.isa = isa;
  if (threads != NULL)
    config.executor = ql_threads_executor(threads);
  expect(ql_ctx_create(&config, &ctx, &error) == QL_STATUS_OK, "context for %s: %s", isa,
         error.text);
  return ctx;
}

static unsigned char *product(const a8_case *c, const ql_ctx *ctx, const ql_packed *w)
{
  unsigned char *memory = malloc(a8_y_bytes(c) + 1);
  ql_gemm_options options;
  ql_error error = QL_ERROR_INIT;
  ql_tensor y;
  memset(memory, 0xa5, a8_y_bytes(c));
  a8_y(c, memory, &y);
  a8_options(c, &options);
  const ql_status status = ql_gemm(ctx, w, a8_x(c), &y, &options, &error);
  expect(status == QL_STATUS_OK, "%s on %s: %s", a8_text(c), ql_ctx_isa_name(ctx), error.text);
  return memory;
}

/* The same in the caller's scratch memory, not a byte more. */
static void check_workspace(const a8_case *c, const ql_ctx *ctx, const ql_packed *w,
                            const unsigned char *want)
{
  unsigned char *memory = malloc(a8_y_bytes(c) + 1);
  ql_gemm_options options;
  ql_tensor y;
  size_t bytes = 0;
  memset(memory, 0xa5, a8_y_bytes(c));
  a8_y(c, memory, &y);
  a8_options(c, &options);
  expect(ql_gemm_workspace(ctx, w, c->g.m, &options, &bytes) == QL_STATUS_OK, "no workspace size");
  unsigned char *block = aligned_alloc(64, bytes + 64);
  memset(block + bytes, 0x5a, 64);
  options.workspace = block;
  options.workspace_bytes = bytes;
  expect(ql_gemm(ctx, w, a8_x(c), &y, &options, NULL) == QL_STATUS_OK &&
             memcmp(memory, want, a8_y_bytes(c)) == 0,
         "other bits with a workspace: %s", a8_text(c));
  for (size_t i = 0; i < 64; i++)
    expect(block[bytes + i] == 0x5a, "wrote past the workspace");
  options.workspace_bytes = bytes - 1;
  expect(ql_gemm(ctx, w, a8_x(c), &y, &options, NULL) == QL_STATUS_INVALID_ARGUMENT,
         "a workspace that is too small");
  free(block);
  free(memory);
}

/* Rows with scales of their own have the bits that they have alone. */
static void check_single_rows(const a8_case *c, const ql_ctx *ctx, const ql_packed *w,
                              const unsigned char *all)
{
  if (c->act.mode == QL_ACT_TENSOR || c->act.threshold > 0 || c->given_codes)
    return;
  a8_case one = *c;
  const size_t stride = a8_y_bytes(c) / c->g.m;
  one.g.m = 1;
  one.g.x.shape[0] = 1;
  for (size_t i = 0; i < c->g.m; i += 1 + c->g.m / 4) {
    one.g.x.data = (unsigned char *)c->g.x.data + (ptrdiff_t)i * c->g.x.stride[0];
    unsigned char *row = product(&one, ctx, w);
    expect(memcmp(row, all + i * stride, stride) == 0, "row %zu alone differs: %s", i, a8_text(c));
    free(row);
  }
}

static void check_case(const a8_case *c, const ql_ctx *ctx, ql_ctx *const *threaded)
{
  ql_packed *w = case_pack(&c->g, ctx);
  ql_tensor y;
  unsigned char *first = product(c, ctx, w);
  a8_y(c, first, &y);
  const char *wrong = a8_check(c, &y);
  expect(wrong == NULL, "%s on %s: %s", a8_text(c), ql_ctx_isa_name(ctx), wrong);
  check_single_rows(c, ctx, w, first);
  check_workspace(c, ctx, w, first);
  for (size_t t = 0; threaded[t] != NULL; t++) {
    ql_packed *other = case_pack(&c->g, threaded[t]);
    unsigned char *again = product(c, threaded[t], other);
    expect(memcmp(first, again, a8_y_bytes(c)) == 0, "threads differ: %s", a8_text(c));
    free(again);
    ql_packed_destroy(other);
  }
  free(first);
  ql_packed_destroy(w);
}

static void test_products(const char *isa, ql_threads *const *pools, size_t count)
{
  ql_ctx *ctx = make_ctx(isa, NULL), *threaded[8] = {NULL};
  for (size_t t = 0; t < count; t++)
    threaded[t] = make_ctx(isa, pools[t]);
  for (uint64_t seed = 0; seed < 200; seed++) {
    a8_case c;
    const bool large = seed % 30 == 0; /* beyond one slab of rows and several tiles */
    a8_make(&c, seed, large ? 700 : 20, large ? 150 : 80, seed % 3 || large ? 200 : 40);
    check_case(&c, ctx, threaded);
    a8_free(&c);
  }
  for (size_t t = 0; t < count; t++)
    ql_ctx_destroy(threaded[t]);
  ql_ctx_destroy(ctx);
}

/* ql_quantize_act gives the codes of the formulas, at any alignment and stride. */
static void test_codes(const char *isa, ql_threads *pool)
{
  ql_ctx *ctx = make_ctx(isa, pool);
  for (uint64_t seed = 500; seed < 600; seed++) {
    a8_case c;
    ql_error error = QL_ERROR_INIT;
    ql_tensor codes, scales, zeros;
    a8_make(&c, seed, 40, 8, 150);
    if (c.g.parts != 0 || c.a16 || (c.by_group && c.g.g_idx != NULL)) {
      a8_free(&c);
      continue;
    }
    c.act.group = c.by_group ? c.g.block_cols : 0;
    c.act.threshold = 0;
    a8_quantize(&c);
    const size_t m = c.g.m, k = c.g.k, stride = k + seed % 3;
    int8_t *memory = malloc(m * stride + 1);
    const size_t groups = c.by_group ? c.g.groups : 1;
    float *s = malloc(m * groups * sizeof *s);
    int32_t *z = malloc(m * sizeof *z);
    memset(memory, 0x80, m * stride);
    ql_tensor_init_2d(&codes, memory, QL_DTYPE_I8, m, k);
    codes.stride[0] = (ptrdiff_t)stride;
    if (c.by_group)
      ql_tensor_init_2d(&scales, s, QL_DTYPE_F32, m, groups);
    else
      ql_tensor_init(&scales, s, QL_DTYPE_F32, 1, &m);
    ql_tensor_init(&zeros, z, QL_DTYPE_I32, 1, &m);
    const ql_status status = ql_quantize_act(ctx, &c.g.x, &c.act, &codes, &scales,
                                             c.act.asymmetric ? &zeros : NULL, &error);
    expect(status == QL_STATUS_OK, "%s: %s", a8_text(&c), error.text);
    for (size_t i = 0; i < m; i++) {
      expect(memcmp(memory + i * stride, c.codes + i * k, k) == 0, "codes of row %zu: %s", i,
             a8_text(&c));
      expect(memchr(memory + i * stride, 0x80, k) == NULL, "the code -128: %s", a8_text(&c));
      expect(memcmp(&s[i * groups], &c.scales[i * groups], groups * sizeof *s) == 0,
             "scale of row %zu: %s", i, a8_text(&c));
      expect(!c.act.asymmetric || z[i] == c.zeros[i], "zero of row %zu: %s", i, a8_text(&c));
      expect(stride == k || (i + 1 == m || memory[i * stride + k] == -128), "wrote between rows");
    }
    free(memory);
    free(s);
    free(z);
    a8_free(&c);
  }
  ql_ctx_destroy(ctx);
}

/* One row of weights of one code, one row of activations of one code: the largest sums that are
 * admitted come out exact, longer ones are refused. */
static void check_extreme(const ql_ctx *ctx, size_t k, uint8_t code, int8_t activation,
                          int32_t x_zero, ql_status want)
{
  uint8_t *codes = malloc(k);
  int8_t *x = malloc(k);
  float scale = 1.0f, x_scale = 0.5f;
  int32_t y[1] = {77};
  size_t one = 1;
  ql_qmat *q = NULL;
  ql_packed *w = NULL;
  ql_tensor tx, ty, ts, tz;
  ql_gemm_options options = QL_GEMM_OPTIONS_INIT;
  memset(codes, code, k);
  memset(x, activation, k);
  const ql_qmat_view view = {.struct_size = sizeof view,
                             .rows = 1,
                             .cols = k,
                             .bits = 8,
                             .kind = QL_GRID_SYM_CENTRED,
                             .block_rows = 1,
                             .block_cols = k,
                             .groups = 1,
                             .scale_dtype = QL_DTYPE_F32,
                             .codes = codes,
                             .scales = &scale};
  expect(ql_qmat_create(ctx, &view, &q, NULL) == QL_STATUS_OK &&
             ql_pack(ctx, q, &w, NULL) == QL_STATUS_OK,
         "packing %zu columns", k);
  ql_tensor_init_2d(&tx, x, QL_DTYPE_I8, 1, k);
  ql_tensor_init_2d(&ty, y, QL_DTYPE_I32, 1, 1);
  ql_tensor_init(&ts, &x_scale, QL_DTYPE_F32, 1, &one);
  ql_tensor_init(&tz, &x_zero, QL_DTYPE_I32, 1, &one);
  options.x_scales = &ts;
  options.x_zeros = x_zero != 0 ? &tz : NULL;
  const ql_status status = ql_gemm_w8a8(ctx, w, &tx, &ty, &options, NULL);
  expect(status == want, "%zu columns give %s", k, ql_status_str(status));
  const int64_t sum = (int64_t)k * (activation - x_zero) * ((int64_t)code - 128);
  if (want == QL_STATUS_OK)
    expect(y[0] == sum, "%zu columns sum to %d, not %lld", k, (int)y[0], (long long)sum);
  else
    expect(y[0] == 77, "a refused product wrote its result");
  ql_packed_destroy(w);
  ql_qmat_destroy(q);
  free(codes);
  free(x);
}

static void test_extremes(const char *isa)
{
  ql_ctx *ctx = make_ctx(isa, NULL);
  check_extreme(ctx, 131072, 0, 127, 0, QL_STATUS_OK);
  check_extreme(ctx, 132104, 0, -127, 0, QL_STATUS_OK);
  check_extreme(ctx, 132105, 0, -127, 0, QL_STATUS_UNSUPPORTED);
  check_extreme(ctx, 66052, 0, 127, -127, QL_STATUS_OK);
  check_extreme(ctx, 66053, 0, 127, -127, QL_STATUS_UNSUPPORTED);
  check_extreme(ctx, 5, 255, -127, 127, QL_STATUS_OK);
  ql_ctx_destroy(ctx);
}

/* Symmetric activations [m, k] of f32 and weights of 8 bits, to spoil. */
typedef struct {
  a8_case c;
  ql_packed *w;
  unsigned char *y_memory;
  ql_tensor x, y;
  ql_gemm_options options;
} sample;

static void make_sample(sample *s, const ql_ctx *ctx, uint64_t seed)
{
  for (;; seed++) {
    a8_make(&s->c, seed, 6, 20, 60);
    if (s->c.g.bits == 8 && s->c.g.xtype == QL_DTYPE_F32 && s->c.g.ytype == QL_DTYPE_F32 &&
        s->c.g.m > 2 && s->c.g.k > 8 && s->c.g.parts == 0 && !s->c.by_group && !s->c.given_codes &&
        !s->c.integers && s->c.g.x_shift == 0 && s->c.g.x_gap % 4 == 0)
      break;
    a8_free(&s->c);
  }
  s->c.act = (ql_act_config)QL_ACT_CONFIG_INIT;
  s->w = case_pack(&s->c.g, ctx);
  s->y_memory = malloc(a8_y_bytes(&s->c));
  memset(s->y_memory, 0xa5, a8_y_bytes(&s->c));
  a8_y(&s->c, s->y_memory, &s->y);
  a8_options(&s->c, &s->options);
  s->x = s->c.g.x;
}

static void free_sample(sample *s)
{
  ql_packed_destroy(s->w);
  free(s->y_memory);
  a8_free(&s->c);
}

static float *element(const sample *s, size_t i, size_t p)
{
  return (float *)(void *)((unsigned char *)s->x.data + (ptrdiff_t)i * s->x.stride[0]) + p;
}

static float result(const sample *s, size_t i, size_t j)
{
  float v;
  memcpy(&v, (unsigned char *)s->y.data + (ptrdiff_t)i * s->y.stride[0] + 4 * (ptrdiff_t)j, 4);
  return v;
}

/* A row with NaN or Inf is NaN, the others do not notice, in any mode. */
static void test_not_finite(const char *isa)
{
  ql_ctx *ctx = make_ctx(isa, NULL);
  for (int mode = QL_ACT_TOKEN; mode <= QL_ACT_STATIC; mode++)
    for (int kind = 0; kind < 3; kind++) {
      sample s;
      make_sample(&s, ctx, 700);
      s.c.act.mode = (ql_act_mode)mode;
      s.c.act.scale = 0.25f;
      const float bad[] = {NAN, INFINITY, -INFINITY};
      *element(&s, 1, 3) = bad[kind];
      /* The range of the other rows only. */
      if (mode == QL_ACT_TENSOR)
        memset(s.c.g.x_values + s.c.g.k, 0, s.c.g.k * sizeof(float));
      a8_quantize(&s.c);
      expect(ql_gemm(ctx, s.w, &s.x, &s.y, &s.options, NULL) == QL_STATUS_OK, "a NaN is refused");
      for (size_t j = 0; j < s.c.g.n; j++)
        expect(isnan(result(&s, 1, j)), "a row with %g is not NaN, mode %d", (double)bad[kind],
               mode);
      a8_case rest = s.c;
      rest.g.m = 1;
      expect(a8_check(&rest, &s.y) == NULL, "a row beside one with %g: mode %d", (double)bad[kind],
             mode);
      free_sample(&s);
    }
  ql_ctx_destroy(ctx);
}

/* An element that equals the threshold counts; one just below does not. */
static void test_threshold(const char *isa)
{
  ql_ctx *ctx = make_ctx(isa, NULL);
  sample s;
  make_sample(&s, ctx, 800);
  const float values[] = {-6.0f, nextafterf(6.0f, 0.0f), 6.0f, 7.0f};
  for (size_t v = 0; v < 4; v++) {
    s.c.g.x_values[2 * s.c.g.k + 5] = values[v];
    *element(&s, 2, 5) = values[v];
    for (size_t i = 0; i < s.c.g.m * s.c.g.k; i++)
      if (i != 2 * s.c.g.k + 5) {
        s.c.g.x_values[i] = fminf(s.c.g.x_values[i], 5.0f);
        *element(&s, i / s.c.g.k, i % s.c.g.k) = s.c.g.x_values[i];
      }
    s.c.act.threshold = 6.0f;
    a8_quantize(&s.c);
    expect(s.c.outlier[5] == (v != 1), "the test's own threshold");
    expect(ql_gemm_w8a8(ctx, s.w, &s.x, &s.y, &s.options, NULL) == QL_STATUS_OK, "threshold");
    expect(a8_check(&s.c, &s.y) == NULL, "threshold 6, element %g: %s", (double)values[v],
           a8_check(&s.c, &s.y));
  }
  free_sample(&s);
  ql_ctx_destroy(ctx);
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

/* A host that rounds up and flushes subnormals gets the same codes and bits. */
static void test_environment(const char *isa)
{
#if defined(__x86_64__)
  const uint64_t hostile = 0x1f80u | 0x8000u | 0x40u | 0x4000u;
#else
  const uint64_t hostile = 1u << 24 | 1u << 22;
#endif
  ql_ctx *ctx = make_ctx(isa, NULL);
  const uint64_t usual = read_environment();
  for (uint64_t seed = 900; seed < 920; seed++) {
    a8_case c;
    ql_tensor y;
    a8_make(&c, seed, 10, 30, 100);
    if (c.g.parts != 0 || c.by_group) {
      a8_free(&c);
      continue;
    }
    ql_packed *w = case_pack(&c.g, ctx);
    int8_t *codes = malloc(c.g.m * c.g.k);
    float *s = malloc(c.g.m * sizeof *s);
    int32_t *z = malloc(c.g.m * sizeof *z);
    ql_tensor tc = c.x_codes, ts = c.x_scales, tz = c.x_zeros;
    tc.data = codes;
    ts.data = s;
    tz.data = z;
    ql_act_config act = c.act;
    act.threshold = 0;
    write_environment(hostile);
    unsigned char *got = product(&c, ctx, w);
    const ql_status status = ql_quantize_act(ctx, &c.g.x, &act, &tc, &ts, &tz, NULL);
    const uint64_t after = read_environment();
    write_environment(usual);
    a8_y(&c, got, &y);
    expect(after == hostile, "the environment of the host changed");
    expect(a8_check(&c, &y) == NULL, "a hostile environment: %s", a8_text(&c));
    c.act.threshold = 0;
    a8_quantize(&c);
    expect(status == QL_STATUS_OK && memcmp(codes, c.codes, c.g.m * c.g.k) == 0,
           "codes in a hostile environment: %s", a8_text(&c));
    free(got);
    free(codes);
    free(s);
    free(z);
    ql_packed_destroy(w);
    a8_free(&c);
  }
  ql_ctx_destroy(ctx);
}

static void expect_refused(const ql_ctx *ctx, sample *s, ql_status want, const char *what)
{
  ql_error error = QL_ERROR_INIT;
  const ql_status status = ql_gemm(ctx, s->w, &s->x, &s->y, &s->options, &error);
  expect(status == want && error.text[0] != '\0', "%s gives %s, not %s: %s", what,
         ql_status_str(status), ql_status_str(want), error.text);
  expect(s->y_memory[0] == 0xa5, "%s touched the output", what);
  free_sample(s);
  make_sample(s, ctx, 1000);
}

static void test_refusals(const char *isa)
{
  ql_ctx *ctx = make_ctx(isa, NULL);
  sample s;
  make_sample(&s, ctx, 1000);
  s.c.act.mode = 4;
  expect_refused(ctx, &s, QL_STATUS_INVALID_ARGUMENT, "an unknown mode");
  s.c.act.asymmetric = 2;
  expect_refused(ctx, &s, QL_STATUS_INVALID_ARGUMENT, "asymmetric 2");
  s.c.act.threshold = -1;
  expect_refused(ctx, &s, QL_STATUS_INVALID_ARGUMENT, "a negative threshold");
  s.c.act.threshold = NAN;
  expect_refused(ctx, &s, QL_STATUS_INVALID_ARGUMENT, "a threshold of NaN");
  s.c.act.struct_size = 5;
  expect_refused(ctx, &s, QL_STATUS_INVALID_ARGUMENT, "a config of a strange size");
  s.c.act.mode = QL_ACT_STATIC;
  expect_refused(ctx, &s, QL_STATUS_INVALID_ARGUMENT, "a static scale of 0");
  s.c.act.mode = QL_ACT_STATIC;
  s.c.act.scale = INFINITY;
  expect_refused(ctx, &s, QL_STATUS_INVALID_ARGUMENT, "an infinite static scale");
  s.c.act.mode = QL_ACT_STATIC;
  s.c.act.scale = 1;
  s.c.act.zero = 5;
  expect_refused(ctx, &s, QL_STATUS_INVALID_ARGUMENT, "a zero point of symmetric codes");
  s.c.act.mode = QL_ACT_STATIC;
  s.c.act.scale = 1;
  s.c.act.asymmetric = 1;
  s.c.act.zero = -128;
  expect_refused(ctx, &s, QL_STATUS_INVALID_ARGUMENT, "a zero point of -128");
  s.options.x_scales = &s.c.x_scales;
  expect_refused(ctx, &s, QL_STATUS_INVALID_ARGUMENT, "scales of floating-point activations");
  s.options.compute = QL_COMPUTE_F32;
  expect_refused(ctx, &s, QL_STATUS_INVALID_ARGUMENT, "act of a product in f32");
  s.y.dtype = QL_DTYPE_I32;
  s.c.act.threshold = 6;
  expect_refused(ctx, &s, QL_STATUS_INVALID_ARGUMENT, "integers with a threshold");
  s.y.dtype = QL_DTYPE_I8;
  expect_refused(ctx, &s, QL_STATUS_DTYPE, "y of 8 bits");
  free_sample(&s);
  ql_ctx_destroy(ctx);
}

/* x of I8: everything about codes, scales and zero points is checked. */
static void test_code_refusals(const char *isa)
{
  ql_ctx *ctx = make_ctx(isa, NULL);
  for (int what = 0; what < 9; what++) {
    static const ql_status want[] = {QL_STATUS_INVALID_ARGUMENT,
                                     QL_STATUS_INVALID_ARGUMENT,
                                     QL_STATUS_NUMERIC,
                                     QL_STATUS_NUMERIC,
                                     QL_STATUS_INVALID_ARGUMENT,
                                     QL_STATUS_INVALID_ARGUMENT,
                                     QL_STATUS_DTYPE,
                                     QL_STATUS_SHAPE,
                                     QL_STATUS_OK};
    sample s;
    ql_error error = QL_ERROR_INIT;
    make_sample(&s, ctx, 1100);
    s.options.act = NULL;
    s.options.x_scales = &s.c.x_scales;
    s.options.x_zeros = &s.c.x_zeros;
    s.x = s.c.x_codes;
    switch (what) {
    case 0: s.c.codes[s.c.g.k + 2] = -128; break;
    case 1: s.options.x_scales = NULL; break;
    case 2: s.c.scales[1] = 0; break;
    case 3: s.c.scales[1] = NAN; break;
    case 4: s.c.zeros[2] = 128; break;
    case 5: s.options.act = &s.c.act; break;
    case 6: s.c.x_scales.dtype = QL_DTYPE_I32; break;
    case 7: s.c.x_zeros.shape[0] = 1; break;
    default: break;
    }
    const ql_status status = ql_gemm_w8a8(ctx, s.w, &s.x, &s.y, &s.options, &error);
    expect(status == want[what], "case %d gives %s: %s", what, ql_status_str(status), error.text);
    if (what == 0)
      expect(error.row == 1 && error.col == 2, "the place of the code -128 is (%lld, %lld)",
             (long long)error.row, (long long)error.col);
    free_sample(&s);
  }
  ql_ctx_destroy(ctx);
}

/* Weights without an integer product, and the names of kernels. */
static void test_weights(const char *isa)
{
  ql_ctx *ctx = make_ctx(isa, NULL);
  ql_gemm_options options = QL_GEMM_OPTIONS_INIT;
  options.compute = QL_COMPUTE_A8;
  for (uint64_t seed = 1200; seed < 1240; seed++) {
    gemm_case c;
    ql_tensor y;
    case_make(&c, seed, 4, 20, 60);
    c.bias = false;
    ql_packed *w = case_pack(&c, ctx);
    unsigned char *memory = malloc(case_y_bytes(&c));
    case_y(&c, memory, &y);
    const bool known = c.bits != 0;
    expect(ql_gemm(ctx, w, &c.x, &y, &options, NULL) ==
               (known ? QL_STATUS_OK : QL_STATUS_UNSUPPORTED),
           "A8 with %s", case_text(&c));
    expect(ql_gemm_w8a8(ctx, w, &c.x, &y, NULL, NULL) == (c.bits != 8 ? QL_STATUS_DTYPE
                                                          : known     ? QL_STATUS_OK
                                                                      : QL_STATUS_UNSUPPORTED),
           "w8a8 with %s", case_text(&c));
    const char *name = ql_gemm_query(ctx, w, 1, &options);
    expect(known ? name != NULL && strstr(name, ql_ctx_isa_name(ctx)) && strstr(name, "_a8_")
                 : name == NULL,
           "the kernel of %s is %s", case_text(&c), name);
    ql_packed_destroy(w);
    free(memory);
    case_free(&c);
  }
  ql_ctx_destroy(ctx);
}

/* Parts: the integers know in_scale; codes of the caller know nothing of it. */
static void test_parts(const char *isa)
{
  ql_ctx *ctx = make_ctx(isa, NULL);
  size_t seen[2] = {0};
  for (uint64_t seed = 1403; seed < 8000; seed += 4) {
    gemm_case c;
    case_make(&c, seed, 3, 12, 30);
    if (c.bits < 5 || c.parts == 0 || (c.parts & QL_PART_FLOAT_ZEROS) != 0 || c.groups != 1) {
      case_free(&c);
      continue;
    }
    ql_gemm_options options = QL_GEMM_OPTIONS_INIT;
    ql_tensor y, codes, scales;
    int32_t *sums = malloc(c.m * c.n * sizeof *sums);
    int8_t *zeros = calloc(c.m * c.k, 1);
    float *ones = malloc(c.m * sizeof *ones);
    for (size_t i = 0; i < c.m; i++)
      ones[i] = 1.0f;
    ql_tensor_init_2d(&y, sums, QL_DTYPE_I32, c.m, c.n);
    ql_tensor_init_2d(&codes, zeros, QL_DTYPE_I8, c.m, c.k);
    ql_tensor_init(&scales, ones, QL_DTYPE_F32, 1, &c.m);
    ql_packed *w = case_pack(&c, ctx);
    options.compute = QL_COMPUTE_A8;
    const bool scale_only = c.parts == QL_PART_IN_SCALE;
    expect(ql_gemm(ctx, w, &c.x, &y, &options, NULL) ==
               (scale_only ? QL_STATUS_OK : QL_STATUS_UNSUPPORTED),
           "integers of %s", case_text(&c));
    options.x_scales = &scales;
    expect(ql_gemm(ctx, w, &codes, &y, &options, NULL) == QL_STATUS_UNSUPPORTED, "codes for %s",
           case_text(&c));
    seen[scale_only]++;
    ql_packed_destroy(w);
    free(sums);
    free(zeros);
    free(ones);
    case_free(&c);
  }
  expect(seen[0] > 0 && seen[1] > 0, "no case had parts");
  ql_ctx_destroy(ctx);
}

static void test_act_refusals(const char *isa)
{
  ql_ctx *ctx = make_ctx(isa, NULL);
  for (int what = 0; what < 9; what++) {
    static const ql_status want[] = {
        QL_STATUS_NUMERIC, QL_STATUS_INVALID_ARGUMENT, QL_STATUS_DTYPE, QL_STATUS_SHAPE,
        QL_STATUS_SHAPE,   QL_STATUS_INVALID_ARGUMENT, QL_STATUS_DTYPE, QL_STATUS_INVALID_ARGUMENT,
        QL_STATUS_OK};
    sample s;
    ql_error error = QL_ERROR_INIT;
    make_sample(&s, ctx, 1300);
    ql_tensor codes = s.c.x_codes, scales = s.c.x_scales, *zeros = &s.c.x_zeros;
    memset(s.c.codes, 0x80, s.c.g.m * s.c.g.k);
    s.c.act.asymmetric = 1;
    switch (what) {
    case 0: *element(&s, 2, 4) = NAN; break;
    case 1: zeros = NULL; break;
    case 2: codes.dtype = QL_DTYPE_U8; break;
    case 3: codes.shape[0]--; break;
    case 4: scales.shape[0]--; break;
    case 5: s.c.act.threshold = 6; break;
    case 6: s.x.dtype = QL_DTYPE_I32; break;
    case 7: codes.stride[1] = 2; break;
    default: break;
    }
    const ql_status status = ql_quantize_act(ctx, &s.x, &s.c.act, &codes, &scales, zeros, &error);
    expect(status == want[what], "case %d gives %s: %s", what, ql_status_str(status), error.text);
    expect(what == 8 || s.c.codes[0] == -128, "case %d touched the codes", what);
    if (what == 0)
      expect(error.row == 2 && error.col == 4, "the place of the NaN");
    free_sample(&s);
  }
  ql_ctx_destroy(ctx);
}

int main(void)
{
  ql_threads *pools[2] = {NULL};
  for (size_t t = 0; t < 2; t++)
    expect(ql_threads_create(2 + t, &pools[t]) == QL_STATUS_OK, "no threads");
  int32_t runnable = 0;
  for (size_t i = 0; ql_isa_list(i, &runnable) != NULL; i++) {
    const char *isa = ql_isa_list(i, NULL);
    if (!runnable)
      continue;
    test_products(isa, pools, i == 0 ? 1 : 2);
    test_codes(isa, pools[1]);
    test_extremes(isa);
    test_not_finite(isa);
    test_threshold(isa);
    test_environment(isa);
    test_refusals(isa);
    test_code_refusals(isa);
    test_weights(isa);
    test_parts(isa);
    test_act_refusals(isa);
    printf("%s done\n", isa);
  }
  for (size_t t = 0; t < 2; t++)
    ql_threads_destroy(pools[t]);
  return failures == 0 ? 0 : 1;
}
