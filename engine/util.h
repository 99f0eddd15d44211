/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLE_UTIL_H
#define QLE_UTIL_H

#include <quantlib/status.h>

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What every part of the engine needs: errors, small files, checked sizes. */

/* Fills *error (may be NULL) and returns status. */
ql_status qle_fail(ql_error *error, ql_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Add to an error that was filled. All accept NULL. */
void qle_error_file(ql_error *error, const char *path);
void qle_error_tensor(ql_error *error, const char *name);
void qle_error_hint(ql_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define QLE_TRY(expression) \
  do { \
    const ql_status try_ = (expression); \
    if (try_ != QL_STATUS_OK) \
      return try_; \
  } while (0)

#define QLE_CHECK(expression) \
  do { \
    status = (expression); \
    if (status != QL_STATUS_OK) \
      goto done; \
  } while (0)

/* dir/name, malloc'ed; NULL without memory. dir may be NULL: a copy of name. */
char *qle_path_join(const char *dir, const char *name);

/* Reads a whole regular file of at most `limit` bytes into *bytes (malloc'ed, NUL-terminated after
 * *size bytes). QL_STATUS_NOT_FOUND when there is no such file. */
ql_status qle_file_read(const char *path, size_t limit, char **bytes, size_t *size,
                        ql_error *error);

/* Parses such a file as one JSON value: UTF-8, no duplicate keys, at most `depth` levels deep.
 * Owned by the caller: json_decref. */
ql_status qle_json_read(const char *path, size_t limit, size_t depth, json_t **out,
                        ql_error *error);

/* A JSON string of any bytes, as of a file's name: where they are not UTF-8, "?" stands for each
 * byte that is not ASCII. NULL for NULL. */
json_t *qle_json_text(const char *text);

/* Arithmetic on sizes that come from a file. true: *out holds the exact result. */
static inline bool qle_mul(size_t a, size_t b, size_t *out)
{
  return !__builtin_mul_overflow(a, b, out);
}

static inline bool qle_add(size_t a, size_t b, size_t *out)
{
  return !__builtin_add_overflow(a, b, out);
}

/* malloc of a * b * size bytes; NULL when that overflows or memory is short. */
void *qle_alloc3(size_t a, size_t b, size_t size);

/* Advises huge pages for the aligned inside of a block of 4 MiB or more (NULL is fine): activations
 * and logits of a long prompt are written once, and then page faults are a part of the time. */
void qle_pages_huge(void *block, size_t bytes);

/* Counter-based random numbers: a pure function of its arguments. The mixer is the finalizer of
 * SplitMix64 (Steele, Lea, Flood 2014). */
static inline uint64_t qle_mix64(uint64_t x)
{
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/* Uniform in [0, 1) with 53 bits. */
static inline double qle_random_unit(uint64_t seed, uint64_t a, uint64_t b)
{
  return (double)(qle_mix64(qle_mix64(qle_mix64(seed) ^ a) ^ b) >> 11) * 0x1p-53;
}

#endif
