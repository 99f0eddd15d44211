/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_IO_TEXT_H
#define QLI_IO_TEXT_H

#include <quantlib/context.h>

#include <stdbool.h>

/* A growing NUL-terminated text. After a failed allocation it ignores what is added and has
 * failed set, which is looked at once, at the end. */
typedef struct qli_text {
  const ql_ctx *ctx;
  char *data;
  size_t size, capacity;
  bool failed;
} qli_text;

void qli_text_add(qli_text *t, const char *bytes, size_t size);
void qli_text_format(qli_text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A JSON string with its quotes; value is valid UTF-8 and stays as it is but for what must be
 * escaped. */
void qli_text_json(qli_text *t, const char *value);

void qli_text_free(qli_text *t);

#endif
