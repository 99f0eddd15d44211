/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_IO_UTIL_H
#define QLI_IO_UTIL_H

#include <quantlib/context.h>

#include <stdbool.h>

/* Limits beyond those of the format, against files made to exhaust memory. */
enum {
  QLI_IO_MAX_TENSORS = 1 << 20,
  QLI_IO_MAX_NAME = 65535, /* bytes */
  QLI_IO_MAX_SHARDS = 1 << 14,
  QLI_IO_MAX_HEADER = 100000000 /* bytes; the limit of the format, used for the index as well */
};

#define QLI_IO_SINGLE_NAME "model.safetensors"
#define QLI_IO_INDEX_NAME "model.safetensors.index.json"

bool qli_utf8_valid(const char *text, size_t size);

/* A name that prints: valid UTF-8 without control characters, 1 to QLI_IO_MAX_NAME bytes. */
bool qli_name_valid(const char *name);

/* A name for a file inside a directory: valid, no '/', not "." or "..", at most 255 bytes. */
bool qli_plain_file_name(const char *name);

/* Fills *error with "path: tensor "name": reason"; tensor may be NULL. Long names are shortened,
 * so that the reason is never cut. Returns status. */
ql_status qli_io_fail(ql_error *error, ql_status status, const char *path, const char *tensor,
                      const char *format, ...) __attribute__((format(printf, 5, 6)));

/* The same with the text of errno; ENOENT gives QL_STATUS_NOT_FOUND, all else QL_STATUS_IO. */
ql_status qli_io_errno(ql_error *error, int code, const char *path, const char *what);

/* Corrects status and cause of an error that was filled. Returns status. */
ql_status qli_io_restate(ql_error *error, ql_status status, int cause);

/* "a/b" in memory of the context, NULL when there is none. */
char *qli_path_join(const ql_ctx *ctx, const char *a, const char *b);
char *qli_string_copy(const ql_ctx *ctx, const char *text);

/* Makes room for one more element: doubles *array when count has reached *capacity. */
bool qli_grow(const ql_ctx *ctx, void **array, size_t *capacity, size_t count, size_t size);

#endif
