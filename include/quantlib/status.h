/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QUANTLIB_STATUS_H
#define QUANTLIB_STATUS_H

#include <quantlib/types.h>

QL_BEGIN_DECLS

/** Outcome of a call: 0 is success. Values are pinned; the gaps are for later members.
 *  @since 0.1 */
typedef int32_t ql_status;
enum {
  QL_STATUS_OK = 0,
  QL_STATUS_INVALID_ARGUMENT = 1, /**< the caller's arguments contradict the documentation */
  QL_STATUS_SHAPE = 2,            /**< shapes of two arguments do not fit */
  QL_STATUS_DTYPE = 3,            /**< this element type is not accepted here */
  QL_STATUS_OVERFLOW = 4,         /**< a size does not fit its type */
  QL_STATUS_NO_MEMORY = 10,       /**< the allocator returned NULL */
  QL_STATUS_CANCELLED = 11,       /**< the progress callback asked to stop */
  QL_STATUS_UNSUPPORTED = 20,     /**< valid, but not in this build or on this machine */
  QL_STATUS_LAYOUT = 21,          /**< packed for another kernel: pack again */
  QL_STATUS_IO = 30,              /**< the operating system refused; see ql_error.cause */
  QL_STATUS_NOT_FOUND = 31,       /**< no such file, tensor or name */
  QL_STATUS_EXISTS = 32,          /**< would overwrite something */
  QL_STATUS_FORMAT = 40,          /**< a file breaks the rules of its format */
  QL_STATUS_NUMERIC = 50,         /**< NaN, Inf, or a matrix that cannot be factored */
  QL_STATUS_SELF_CHECK = 51,      /**< an invariant of the algorithm did not hold */
  QL_STATUS_INTERNAL = 90         /**< a defect of the library */
};

/** A short English name of any status, known or not. Static storage. Thread-safe.
 *  @since 0.1 */
QL_API const char *ql_status_str(ql_status status);

/** What went wrong, in full. Owned by the caller; initialize with QL_ERROR_INIT and pass its
 *  address to any call that takes one; NULL is always accepted. Written only on failure.
 *  All strings are NUL-terminated UTF-8; longer ones are cut. @since 0.1 */
typedef struct ql_error {
  size_t struct_size;
  ql_status status;
  int32_t cause;       /**< errno of the operating system, or 0 */
  int64_t row;         /**< position of the offending value, or byte offset; -1 if none */
  int64_t col;         /**< second coordinate, -1 if none */
  char text[384];      /**< one sentence: what is wrong, with names and values */
  char hint[256];      /**< what to try, may be empty */
  char tensor[256];    /**< name of the tensor, may be empty */
  char file[512];      /**< path of the file, may be empty */
} ql_error;

#define QL_ERROR_INIT {sizeof(ql_error), 0, 0, -1, -1, {0}, {0}, {0}, {0}}

QL_END_DECLS

#endif
