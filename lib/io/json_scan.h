/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_IO_JSON_SCAN_H
#define QLI_IO_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A strict pull reader of JSON for headers and indexes. It builds no tree (a tree of a 100 MB
 * header takes gigabytes) and allocates nothing: strings are unescaped where they stand.
 * The text must be valid UTF-8 and have a NUL after its size bytes. After a failure problem says
 * what was wrong and at where; the reader must not be used further. */
typedef struct qli_json {
  char *text;
  size_t size, at;
  const char *problem;
} qli_json;

/* Steps into an object ('{') or array ('['). */
bool qli_json_enter(qli_json *j, char open);

/* Before each element, after qli_json_enter: 1 there is one, 0 the closing bracket was read,
 * -1 malformed. first: no element was read yet. */
int qli_json_more(qli_json *j, char close, bool first);

/* The next value as a string. NUL and lone surrogates are refused, so that the result is a
 * NUL-terminated string of valid UTF-8; it may hold other control characters. */
bool qli_json_string(qli_json *j, const char **out);

/* A string and the colon after it. */
bool qli_json_key(qli_json *j, const char **out);

/* A whole number 0 .. 2^53: digits only, no sign, fraction, exponent or leading zero. */
bool qli_json_u64(qli_json *j, uint64_t *out);

/* Passes over any value; brackets may nest to 32. */
bool qli_json_skip(qli_json *j);

/* Nothing but white space is left. */
bool qli_json_end(qli_json *j);

#endif
