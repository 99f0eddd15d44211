/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLT_LINALG_FIXTURE_H
#define QLT_LINALG_FIXTURE_H

#include <quantlib/quantlib.h>
#include <quantlib/threads.h>

#include <stddef.h>
#include <stdint.h>

/* A context with a pool of that many threads. */
typedef struct {
  ql_threads *pool;
  ql_ctx *ctx;
} workers;

workers workers_start(size_t threads, const char *isa, uint32_t flags);
void workers_stop(workers w);

/* Allocated arrays of pseudo-random numbers in (-1, 1). */
double *random_f64(size_t count, uint64_t seed);
float *random_f32(size_t count, uint64_t seed);

/* A symmetric matrix of n with eigenvalues in about (small, n), row distance ld. */
double *random_spd(size_t n, size_t ld, double small, uint64_t seed);

#endif
