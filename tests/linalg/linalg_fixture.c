/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "linalg_fixture.h"

#include "rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

workers workers_start(size_t threads, const char *isa, uint32_t flags)
{
  workers w = {NULL, NULL};
  ql_ctx_config config = QL_CTX_CONFIG_INIT;
  assert_int_equal(ql_threads_create(threads, &w.pool), QL_STATUS_OK);
  config.executor = ql_threads_executor(w.pool);
  config.isa = isa;
  config.flags = flags;
  assert_int_equal(ql_ctx_create(&config, &w.ctx, NULL), QL_STATUS_OK);
  return w;
}

void workers_stop(workers w)
{
  ql_ctx_destroy(w.ctx);
  ql_threads_destroy(w.pool);
}

double *random_f64(size_t count, uint64_t seed)
{
  double *x = malloc((count + 1) * sizeof *x);
  assert_non_null(x);
  for (size_t i = 0; i < count; i++)
    x[i] = 2 * qli_random_unit(seed, i) - 1;
  return x;
}

float *random_f32(size_t count, uint64_t seed)
{
  float *x = malloc((count + 1) * sizeof *x);
  assert_non_null(x);
  for (size_t i = 0; i < count; i++)
    x[i] = (float)(2 * qli_random_unit(seed, i) - 1);
  return x;
}

double *random_spd(size_t n, size_t ld, double small, uint64_t seed)
{
  double *x = random_f64(n * n, seed), *h = random_f64(n * ld, seed + 1);
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j <= i; j++) {
      double sum = i == j ? small : 0;
      for (size_t t = 0; t < n; t++)
        sum += x[i * n + t] * x[j * n + t];
      h[i * ld + j] = h[j * ld + i] = sum;
    }
  free(x);
  return h;
}
