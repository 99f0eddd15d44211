/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
/* The host's rounding mode and flush-to-zero change no result and are as they were afterwards. */
#include "common.h"

#include <fenv.h>

#if defined(__x86_64__)
#include <xmmintrin.h>

static uint64_t control_read(void)
{
  return _mm_getcsr() & 0xffc0u;
}

static void control_write(uint64_t value)
{
  _mm_setcsr((unsigned int)value);
}

/* toward zero, up, down; flush to zero and denormals are zero; traps on for inexact */
static const uint64_t settings[] = {0x7f80, 0x5f80, 0x3f80, 0x9fc0, 0xffc0, 0x0f80};
static const uint64_t normal = 0x1f80;

#elif defined(__aarch64__)

static uint64_t control_read(void)
{
  uint64_t value;
  __asm__ __volatile__("mrs %0, fpcr" : "=r"(value));
  return value;
}

static void control_write(uint64_t value)
{
  __asm__ __volatile__("msr fpcr, %0" : : "r"(value));
}

static const uint64_t settings[] = {3u << 22, 1u << 22, 2u << 22, 1u << 24, 7u << 22};
static const uint64_t normal = 0;

#else

static uint64_t control_read(void)
{
  return (uint64_t)fegetround();
}

static void control_write(uint64_t value)
{
  fesetround((int)value);
}

static const uint64_t settings[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
static const uint64_t normal = FE_TONEAREST;

#endif

enum { M = 9, N = 77, HEADS = 7, DIM = 11, OUT = 7 * M * N };

/* All operations on numbers that include subnormals, with the setting in force around each. */
static void run(const ql_ctx *ctx, uint64_t setting, float *x, float *out)
{
  const ql_tensor tx = matrix(x, M, N), w = vector(x + N, N), angles = matrix(x, M, N / 2);
  const ql_tensor heads = cube(x, M, HEADS, DIM);
  ql_tensor y[6], rotated = cube(out + 6 * M * N, M, 1, N - 1), attended;
  ql_kv_config config = QL_KV_CONFIG_INIT;
  ql_status status[8];
  ql_kv *kv = NULL;
  config.layers = 1;
  config.heads = HEADS;
  config.dim = DIM;
  config.capacity = M;
  config.dtype = QL_DTYPE_F16;
  for (size_t i = 0; i < 6; i++)
    y[i] = matrix(out + i * M * N, M, N);
  attended = cube(out + 5 * M * N, M, HEADS, DIM);
  memcpy(y[4].data, x, M * N * sizeof *x);
  memcpy(rotated.data, x, M * (N - 1) * sizeof *x);
  control_write(setting);
  status[0] = ql_rms_norm(ctx, &tx, &w, 0.0f, &y[0], NULL);
  status[1] = ql_silu_mul(ctx, &tx, &tx, &y[1], NULL);
  status[2] = ql_softmax(ctx, &tx, &y[2], NULL);
  status[3] = ql_log_softmax(ctx, &tx, &y[3], NULL);
  status[4] = ql_add(ctx, &tx, &y[4], NULL);
  status[5] = ql_rope(ctx, &rotated, &angles, &angles, NULL);
  status[6] = ql_kv_create(ctx, &config, &kv, NULL);
  status[7] = ql_kv_append(ctx, kv, 0, &heads, &heads, NULL);
  const ql_status last = ql_kv_attend(ctx, kv, 0, &heads, 0.5f, 0, &attended, NULL);
  const uint64_t after = control_read();
  control_write(normal);
  assert_int_equal(after, setting);
  for (size_t i = 0; i < 8; i++)
    assert_int_equal(status[i], QL_STATUS_OK);
  assert_int_equal(last, QL_STATUS_OK);
  ql_kv_destroy(kv);
}

static void check_isa(const char *isa, void *arg)
{
  float *x = random_floats(1, M * N, 1.0f), *want = random_floats(2, OUT, 1.0f), *out;
  ql_threads *pool = arg;
  ql_ctx *ctx = make_ctx(isa, pool);
  for (size_t i = 0; i < M * N; i += 3)
    x[i] *= 1e-39f;
  for (size_t i = 1; i < M * N; i += 7)
    x[i] *= 1e3f;
  run(ctx, normal, x, want);
  for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
    out = copy_floats(want, OUT);
    memset(out, 0x33, OUT * sizeof *out);
    run(ctx, settings[i], x, out);
    for (size_t part = 0; part < 6; part++)
      assert_same_bits(out + part * M * N, want + part * M * N, M * N, isa);
    assert_same_bits(out + 6 * M * N, want + 6 * M * N, M * (N - 1), isa);
    free(out);
  }
  ql_ctx_destroy(ctx);
  free(x);
  free(want);
}

static void test_alone(void **state)
{
  (void)state;
  for_each_isa(check_isa, NULL);
}

static void test_pool(void **state)
{
  ql_threads *pool = NULL;
  (void)state;
  control_write(settings[0]); /* threads inherit it */
  const ql_status status = ql_threads_create(3, &pool);
  control_write(normal);
  assert_int_equal(status, QL_STATUS_OK);
  for_each_isa(check_isa, pool);
  ql_threads_destroy(pool);
}

static void note_control(void *arg, size_t index, size_t worker)
{
  uint64_t *seen = arg;
  assert_true(worker < 3);
  seen[index] += control_read() + 1;
}

/* An engine's own work runs once per index and in the library's environment, too. */
static void test_parallel_for(void **state)
{
  enum { COUNT = 100 };
  uint64_t seen[COUNT] = {0};
  ql_threads *pool = NULL;
  (void)state;
  control_write(settings[0]);
  const ql_status status = ql_threads_create(3, &pool);
  assert_int_equal(status, QL_STATUS_OK);
  ql_ctx *ctx = make_ctx(NULL, pool);
  assert_int_equal(ql_ctx_workers(ctx), 3);
  ql_ctx_parallel_for(ctx, COUNT, note_control, seen);
  const uint64_t after = control_read();
  control_write(normal);
  assert_int_equal(after, settings[0]);
  for (size_t i = 0; i < COUNT; i++)
    assert_int_equal(seen[i], normal + 1);
  ql_ctx_destroy(ctx);
  ql_threads_destroy(pool);
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_alone), cmocka_unit_test(test_pool),
                                     cmocka_unit_test(test_parallel_for)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
