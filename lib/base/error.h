/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_BASE_ERROR_H
#define QLI_BASE_ERROR_H

#include <quantlib/status.h>

/* Fills *error (may be NULL) and returns status, so that a call can end with
 * `return qli_fail(...)`. Keeps the fields that fit the struct_size of the caller. */
ql_status qli_fail(ql_error *error, ql_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* As qli_fail with QL_STATUS_IO, errno and its text appended. */
ql_status qli_fail_errno(ql_error *error, int code, const char *path, const char *what);

/* Add to an error that was filled. All accept NULL. */
void qli_error_tensor(ql_error *error, const char *name);
void qli_error_file(ql_error *error, const char *path);
void qli_error_at(ql_error *error, int64_t row, int64_t col);
void qli_error_hint(ql_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Copies a caller's sized struct over a full set of defaults. False when its size is below
 * first_size (that of version 0.1) or when it is larger than ours with a tail that is not zero. */
int qli_config_copy(void *dst, size_t dst_size, size_t first_size, const void *src);

#define QLI_TRY(expression)                 \
  do {                                      \
    const ql_status try_ = (expression);    \
    if (try_ != QL_STATUS_OK) return try_;  \
  } while (0)

/* For functions with a single exit labelled done and a local `ql_status status`. */
#define QLI_CHECK(expression)               \
  do {                                      \
    status = (expression);                  \
    if (status != QL_STATUS_OK) goto done;  \
  } while (0)

#endif
