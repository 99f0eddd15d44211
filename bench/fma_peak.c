/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "fma_peak.h"

#include <string.h>
#include <time.h>

/* Sixteen independent chains of multiply-adds hide the latency of every processor of today. */
enum { CHAINS = 16, ROUNDS = 1 << 18 };

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("avx512f"))) static float chains_avx512(void)
{
  __m512 acc[CHAINS];
  const __m512 c = _mm512_set1_ps(0.999f);
  for (int i = 0; i < CHAINS; i++)
    acc[i] = _mm512_set1_ps((float)i);
  for (int r = 0; r < ROUNDS; r++)
    for (int i = 0; i < CHAINS; i++)
      acc[i] = _mm512_fmadd_ps(acc[i], c, c);
  for (int i = 1; i < CHAINS; i++)
    acc[0] = _mm512_add_ps(acc[0], acc[i]);
  return _mm512_cvtss_f32(acc[0]);
}

__attribute__((target("avx2,fma"))) static float chains_avx2(void)
{
  __m256 acc[CHAINS - 4]; /* with the constant they fit sixteen registers */
  const __m256 c = _mm256_set1_ps(0.999f);
  for (int i = 0; i < CHAINS - 4; i++)
    acc[i] = _mm256_set1_ps((float)i);
  for (int r = 0; r < ROUNDS; r++)
    for (int i = 0; i < CHAINS - 4; i++)
      acc[i] = _mm256_fmadd_ps(acc[i], c, c);
  for (int i = 1; i < CHAINS - 4; i++)
    acc[0] = _mm256_add_ps(acc[0], acc[i]);
  return _mm256_cvtss_f32(acc[0]);
}
#endif

typedef float vector4 __attribute__((vector_size(16)));

/* What every processor of the architecture has; multiply and add apart, except on Arm. */
static float chains_baseline(void)
{
  vector4 acc[CHAINS - 4];
  const vector4 c = {0.999f, 0.999f, 0.999f, 0.999f};
  for (int i = 0; i < CHAINS - 4; i++)
    acc[i] = c * (float)i;
  for (int r = 0; r < ROUNDS; r++)
    for (int i = 0; i < CHAINS - 4; i++)
      acc[i] = acc[i] * c + c;
  for (int i = 1; i < CHAINS - 4; i++)
    acc[0] += acc[i];
  return acc[0][0];
}

static double now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

typedef struct {
  float (*chains)(void);
  volatile float sink;
} work;

static void run(void *arg, size_t index, size_t worker)
{
  work *w = arg;
  (void)index;
  (void)worker;
  w->sink = w->chains();
}

double fma_peak(const ql_ctx *ctx)
{
  work w = {chains_baseline, 0};
  double flops = 2.0 * 4 * (CHAINS - 4) * ROUNDS, best = 1e30;
#if defined(__x86_64__)
  if (strncmp(ql_ctx_isa_name(ctx), "avx512", 6) == 0) {
    w.chains = chains_avx512;
    flops = 2.0 * 16 * CHAINS * ROUNDS;
  } else if (strncmp(ql_ctx_isa_name(ctx), "avx", 3) == 0) {
    w.chains = chains_avx2;
    flops = 2.0 * 8 * (CHAINS - 4) * ROUNDS;
  }
#endif
  const size_t pieces = ql_ctx_workers(ctx) * 4;
  for (int i = 0; i < 5; i++) {
    const double start = now();
    ql_ctx_parallel_for(ctx, pieces, run, &w);
    const double seconds = now() - start;
    best = seconds < best ? seconds : best;
  }
  return flops * (double)pieces / best * 1e-9;
}
