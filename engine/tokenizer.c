/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tokenizer_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <utf8proc.h>

/* Larger than any tokenizer.json known (the largest have 33 MB), small enough to hold as JSON. */
enum { MAX_FILE = 256 << 20, MAX_DEPTH = 64 };

bool qle_bytes_reserve(qle_bytes *bytes, size_t more)
{
  size_t wanted;
  if (!qle_add(bytes->size, more, &wanted))
    return false;
  if (wanted <= bytes->room)
    return true;
  const size_t room = wanted < 64 ? 64 : wanted > SIZE_MAX / 2 ? wanted : wanted + wanted / 2;
  char *data = realloc(bytes->data, room);
  if (data == NULL)
    return false;
  bytes->data = data;
  bytes->room = room;
  return true;
}

bool qle_bytes_add(qle_bytes *bytes, const void *data, size_t size)
{
  if (!qle_bytes_reserve(bytes, size))
    return false;
  if (size > 0)
    memcpy(bytes->data + bytes->size, data, size);
  bytes->size += size;
  return true;
}

size_t qle_utf8_length(const char *data, size_t size, int32_t *code_point)
{
  utf8proc_int32_t value;
  const utf8proc_ssize_t length = utf8proc_iterate((const utf8proc_uint8_t *)data,
                                                   size > 4 ? 4 : (utf8proc_ssize_t)size, &value);
  if (length <= 0)
    return 0;
  if (code_point != NULL)
    *code_point = value;
  return (size_t)length;
}

ql_status qle_key_fail(ql_error *error, ql_status status, const char *path, const char *key,
                       const char *format, ...)
{
  char text[320];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  qle_fail(error, status, "%s: %s: %s", path, key, text);
  qle_error_file(error, path);
  return status;
}

ql_status qle_no_memory(ql_error *error, const qle_tokenizer *tokenizer)
{
  return qle_fail(error, QL_STATUS_NO_MEMORY, "%s: no memory", tokenizer->path);
}

ql_status qle_scan_fail(ql_error *error, const qle_tokenizer *tokenizer, int code)
{
  char text[120] = "";
  pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof text);
  if (code == PCRE2_ERROR_NOMEMORY)
    return qle_no_memory(error, tokenizer);
  qle_fail(error, QL_STATUS_FORMAT,
           "%s: a pattern cannot be matched in reasonable time or memory: %s", tokenizer->path,
           text);
  qle_error_file(error, tokenizer->path);
  return QL_STATUS_FORMAT;
}

/* Whether a name is one of the words of a list. */
static bool among(const char *name, const char *words)
{
  const size_t size = strlen(name);
  for (const char *at = words; size > 0 && *at != '\0';) {
    const size_t length = strcspn(at, " ");
    if (length == size && memcmp(at, name, size) == 0)
      return true;
    at += length + (at[length] == ' ');
  }
  return false;
}

ql_status qle_key_check(const json_t *object, const char *known, const char *path, const char *key,
                        ql_error *error)
{
  if (!json_is_object(object))
    return qle_key_fail(error, QL_STATUS_FORMAT, path, key, "is missing or not an object");
  const char *name;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)object, name, value)
  {
    if (!among(name, known))
      return qle_key_fail(error, QL_STATUS_UNSUPPORTED, path, key,
                          "the key \"%.80s\" is not supported", name);
  }
  return QL_STATUS_OK;
}

ql_status qle_key_bool(const json_t *object, const char *name, bool fallback, bool *out,
                       const char *path, const char *key, ql_error *error)
{
  const json_t *value = json_object_get(object, name);
  *out = fallback;
  if (value == NULL || json_is_null(value))
    return QL_STATUS_OK;
  if (!json_is_boolean(value))
    return qle_key_fail(error, QL_STATUS_FORMAT, path, key, "\"%s\" is neither true nor false",
                        name);
  *out = json_is_true(value);
  return QL_STATUS_OK;
}

ql_status qle_replace(const qle_tokenizer *tokenizer, pcre2_match_data *match,
                      const pcre2_code *regex, qle_span text, qle_span with, qle_bytes *out,
                      ql_error *error)
{
  qle_scan scan = {regex, tokenizer->limits, match, text, 0, SIZE_MAX};
  size_t begin, end, before = 0;
  bool done = true;
  int code = 0;
  while (text.size > 0 && done && (code = qle_scan_next(&scan, &begin, &end)) > 0) {
    done = qle_bytes_add(out, text.data + before, begin - before) &&
           qle_bytes_add(out, with.data, with.size);
    before = end;
  }
  if (code < 0)
    return qle_scan_fail(error, tokenizer, code);
  done =
      done && (before == text.size || qle_bytes_add(out, text.data + before, text.size - before));
  return done ? QL_STATUS_OK : qle_no_memory(error, tokenizer);
}

static void steps_free(qle_steps *steps)
{
  for (size_t i = 0; i < steps->count; i++) {
    pcre2_code_free(steps->step[i].regex);
    free(steps->step[i].text);
  }
}

void qle_tokenizer_close(qle_tokenizer *t)
{
  if (t == NULL)
    return;
  for (size_t i = 0; i < t->added_count; i++) {
    free(t->added[i].content);
    free(t->added[i].pattern);
  }
  free(t->added);
  free(t->raw.tokens);
  free(t->normalized.tokens);
  steps_free(&t->normalizer);
  steps_free(&t->pre);
  steps_free(&t->decoder);
  pcre2_match_context_free(t->limits);
  pcre2_code_free(t->word);
  pcre2_code_free(t->space);
  qle_bpe_free(&t->bpe);
  free(t->ids);
  free(t->path);
  free(t);
}

/* The file itself when path is a directory. */
static char *file_path(const char *path)
{
  struct stat st;
  const bool directory = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
  return directory ? qle_path_join(path, "tokenizer.json") : qle_path_join(NULL, path);
}

ql_status qle_tokenizer_open(const char *path, qle_tokenizer **out, ql_error *error)
{
  if (path == NULL || out == NULL)
    return qle_fail(error, QL_STATUS_INVALID_ARGUMENT, "qle_tokenizer_open: path or out is NULL");
  json_t *root = NULL;
  qle_tokenizer *t = calloc(1, sizeof *t);
  if (t == NULL || (t->path = file_path(path)) == NULL) {
    qle_tokenizer_close(t);
    return qle_fail(error, QL_STATUS_NO_MEMORY, "%s: no memory", path);
  }
  ql_status status = qle_json_read(t->path, MAX_FILE, MAX_DEPTH, &root, error);
  if (status == QL_STATUS_OK)
    status = qle_tokenizer_load(t, root, error);
  json_decref(root);
  if (status == QL_STATUS_OK)
    *out = t;
  else
    qle_tokenizer_close(t);
  return status;
}

ql_status qle_tokenizer_encode(const qle_tokenizer *t, const char *text, size_t bytes,
                               int32_t **ids, size_t *count, ql_error *error)
{
  if (t == NULL || (text == NULL && bytes > 0) || ids == NULL || count == NULL)
    return qle_fail(error, QL_STATUS_INVALID_ARGUMENT, "qle_tokenizer_encode: an argument is NULL");
  qle_encoder encoder;
  ql_status status = qle_encoder_open(&encoder, t, error);
  if (status == QL_STATUS_OK)
    status = qle_encoder_text(&encoder, (qle_span){text, bytes});
  if (status == QL_STATUS_OK && encoder.ids == NULL && (encoder.ids = malloc(1)) == NULL)
    status = qle_no_memory(error, t);
  qle_encoder_close(&encoder);
  if (status != QL_STATUS_OK) {
    free(encoder.ids);
    return status;
  }
  *ids = encoder.ids;
  *count = encoder.count;
  return QL_STATUS_OK;
}

int32_t qle_tokenizer_vocab(const qle_tokenizer *t)
{
  return t->id_count;
}

int32_t qle_tokenizer_id(const qle_tokenizer *t, const char *token)
{
  for (size_t i = 0; i < t->added_count; i++)
    if (strcmp(t->added[i].content, token) == 0)
      return t->added[i].id;
  return qle_bpe_find(&t->bpe, (qle_span){token, strlen(token)});
}
