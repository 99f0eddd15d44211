/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_RUNTIME_COMMON_H
#define TESTS_RUNTIME_COMMON_H

#include "../cm.h"

#include <quantlib/quantlib.h>
#include <quantlib/threads.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline ql_ctx *make_ctx(const char *isa, ql_threads *pool)
{
  ql_ctx_config config = QL_CTX_CONFIG_INIT;
  ql_ctx *ctx = NULL;
  config.isa = isa;
  if (pool != NULL)
    config.executor = ql_threads_executor(pool);
  assert_int_equal(ql_ctx_create(&config, &ctx, NULL), QL_STATUS_OK);
  return ctx;
}

/* Uniform in [-1, 1), from a counter. */
static inline float random_at(uint32_t seed, size_t i)
{
  uint64_t x = (uint64_t)i * 0x9e3779b97f4a7c15u + ((uint64_t)seed << 32 | 0x1234567u);
  x = (x ^ (x >> 31)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 29)) * 0x94d049bb133111ebu;
  return (float)(int32_t)((x ^ (x >> 32)) & 0xffffffu) * 0x1p-23f - 1.0f;
}

static inline float *random_floats(uint32_t seed, size_t n, float scale)
{
  float *x = malloc((n ? n : 1) * sizeof *x);
  assert_non_null(x);
  for (size_t i = 0; i < n; i++)
    x[i] = scale * random_at(seed, i);
  return x;
}

static inline float *copy_floats(const float *x, size_t n)
{
  float *y = malloc((n ? n : 1) * sizeof *y);
  assert_non_null(y);
  memcpy(y, x, n * sizeof *y);
  return y;
}

static inline ql_tensor matrix(const float *data, size_t rows, size_t cols)
{
  ql_tensor t;
  const size_t shape[2] = {rows, cols};
  union {
    const float *in;
    void *out;
  } p = {data};
  assert_int_equal(ql_tensor_init(&t, p.out, QL_DTYPE_F32, 2, shape), QL_STATUS_OK);
  return t;
}

static inline ql_tensor vector(const float *data, size_t n)
{
  ql_tensor t = matrix(data, 1, n);
  t.rank = 1;
  t.shape[0] = n;
  t.stride[0] = 4;
  t.shape[1] = 0;
  t.stride[1] = 0;
  return t;
}

static inline ql_tensor cube(const float *data, size_t a, size_t b, size_t c)
{
  ql_tensor t = matrix(data, a, b * c);
  t.rank = 3;
  t.shape[1] = b;
  t.shape[2] = c;
  t.stride[1] = (ptrdiff_t)(c * 4);
  t.stride[2] = 4;
  return t;
}

/* Bit for bit, except that any NaN equals any other: their payloads are not part of the promise. */
static inline void assert_same_bits(const float *a, const float *b, size_t n, const char *what)
{
  for (size_t i = 0; i < n; i++)
    if (memcmp(&a[i], &b[i], sizeof *a) != 0 && !(isnan(a[i]) && isnan(b[i])))
      fail_msg("%s: element %zu is %a, not %a", what, i, (double)a[i], (double)b[i]);
}

static inline void assert_close(float got, double want, double bound, const char *what, size_t i)
{
  if (!(fabs((double)got - want) <= bound))
    fail_msg("%s: element %zu is %.9g, not %.9g +- %.3g", what, i, (double)got, want, bound);
}

/* Calls check(isa, argument) for every ISA that runs here; prints the others. */
static inline void for_each_isa(void (*check)(const char *isa, void *arg), void *arg)
{
  int32_t runnable;
  const char *name;
  size_t count = 0;
  for (size_t i = 0; (name = ql_isa_list(i, &runnable)) != NULL; i++) {
    if (runnable)
      check(name, arg);
    else
      print_message("not run here: %s\n", name);
    count += runnable != 0;
  }
  assert_true(count > 0);
}

#endif
