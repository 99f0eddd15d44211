/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_BASE_CHECKED_H
#define QLI_BASE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Arithmetic on sizes that come from a caller or a file. true: *out holds the exact result. */

static inline bool qli_mul_size(size_t a, size_t b, size_t *out)
{
  return !__builtin_mul_overflow(a, b, out);
}

static inline bool qli_add_size(size_t a, size_t b, size_t *out)
{
  return !__builtin_add_overflow(a, b, out);
}

static inline bool qli_mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
  return !__builtin_mul_overflow(a, b, out);
}

static inline bool qli_add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
  return !__builtin_add_overflow(a, b, out);
}

/* ceil(a / b) without overflow; b is not 0. */
static inline size_t qli_ceil_div(size_t a, size_t b)
{
  return a / b + (a % b != 0);
}

static inline size_t qli_min_size(size_t a, size_t b)
{
  return a < b ? a : b;
}

#endif
