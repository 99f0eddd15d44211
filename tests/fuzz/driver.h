/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FUZZ_DRIVER_H
#define TESTS_FUZZ_DRIVER_H

#include <stddef.h>
#include <stdint.h>

/* What each fuzz target defines. It runs under libFuzzer, and under driver.c, which mutates the
 * seeds a fixed number of times in a fixed way and so is a test like any other. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct fuzz_seed {
  const char *bytes;
  size_t size;
} fuzz_seed;

extern const fuzz_seed fuzz_seeds[];
extern const size_t fuzz_seed_count;

/* Makes outer lengths true again, so that a mutation reaches deeper; may do nothing. */
void fuzz_repair(uint8_t *data, size_t size);

/* A context for all runs. */
struct ql_ctx *fuzz_ctx(void);

/* A property that every input must leave true. */
#define FUZZ_REQUIRE(x) fuzz_require((x) != 0, #x, __FILE__, __LINE__)

void fuzz_require(int holds, const char *text, const char *file, int line);

#endif
