/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QBENCH_LOOPS_H
#define QBENCH_LOOPS_H

/* Rounds of a loop over registers: some milliseconds at most. */
enum { QBENCH_ROUNDS = 1 << 17 };

/* Tells the compiler that a value in a register may have changed, at no cost, so that it does not
 * take work on it out of the loop. */
#if defined(__x86_64__)
#define QBENCH_OPAQUE(x) __asm__ volatile("" : "+v"(x))
#define QBENCH_OPAQUE_LOW(x) __asm__ volatile("" : "+x"(x))
#elif defined(__aarch64__)
#define QBENCH_OPAQUE(x) __asm__ volatile("" : "+w"(x))
#define QBENCH_OPAQUE_LOW(x) QBENCH_OPAQUE(x)
#else
#define QBENCH_OPAQUE(x) __asm__ volatile("" : "+m"(x))
#define QBENCH_OPAQUE_LOW(x) QBENCH_OPAQUE(x)
#endif

/* The body of a reader: `streams` pieces of the block at once, some registers from each in turn.
 * load(p) gives a VECTOR of VECTOR_BYTES, join(a, b) keeps the loads alive. */
#define QBENCH_READ_BODY(VECTOR, VECTOR_BYTES, zero, load, join) \
  const char *at = block; \
  VECTOR sum0 = zero, sum1 = zero, sum2 = zero, sum3 = zero; \
  const size_t piece = bytes / streams; \
  for (size_t i = 0; i + 4 * VECTOR_BYTES <= piece; i += 4 * VECTOR_BYTES) \
    for (size_t s = 0; s < streams; s++) { \
      const char *p = at + s * piece + i; \
      sum0 = join(sum0, load(p)); \
      sum1 = join(sum1, load(p + VECTOR_BYTES)); \
      sum2 = join(sum2, load(p + 2 * VECTOR_BYTES)); \
      sum3 = join(sum3, load(p + 3 * VECTOR_BYTES)); \
    } \
  sum0 = join(join(sum0, sum1), join(sum2, sum3)); \
  QBENCH_OPAQUE(sum0)

#endif
