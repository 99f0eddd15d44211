/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tokenizer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The engine's tokenizer for tests in other languages:
 *   qle_tokenize TOKENIZER < requests
 * Each request is a line with its kind and a count, and what it counts:
 *   E BYTES, then the bytes of a text      answer: its ids on one line
 *   D COUNT SKIP, then a line of ids       answer: their text in hexadecimal (SKIP 1: no specials)
 *   S COUNT SKIP, then a line of ids       the same, gathered token by token as when showing them
 * An answer that begins with ! is an error message. Exit code 2: the tokenizer cannot be opened. */

static int fail(const ql_error *error)
{
  printf("! %s\n", error->text);
  return 0;
}

static int encode(const qle_tokenizer *tokenizer, size_t bytes)
{
  ql_error error = QL_ERROR_INIT;
  char *text = malloc(bytes + 1);
  int32_t *ids = NULL;
  size_t count = 0;
  if (text == NULL || fread(text, 1, bytes, stdin) != bytes) {
    free(text);
    return 1;
  }
  const ql_status status = qle_tokenizer_encode(tokenizer, text, bytes, &ids, &count, &error);
  free(text);
  if (status != QL_STATUS_OK)
    return fail(&error);
  for (size_t i = 0; i < count; i++)
    printf("%s%" PRId32, i == 0 ? "" : " ", ids[i]);
  printf("\n");
  free(ids);
  return 0;
}

static void print_hex(const char *text, size_t bytes)
{
  for (size_t i = 0; i < bytes; i++)
    printf("%02x", (unsigned)(unsigned char)text[i]);
}

static ql_status show(const qle_tokenizer *tokenizer, const int32_t *ids, size_t begin, size_t end,
                      int skip, size_t *shown, ql_error *error)
{
  ql_status status = QL_STATUS_OK;
  for (size_t n = begin; n <= end && status == QL_STATUS_OK; n++) {
    char *text = NULL;
    size_t bytes = 0;
    status = shown != NULL
                 ? qle_tokenizer_decode_next(tokenizer, ids, n, skip, shown, &text, &bytes, error)
                 : qle_tokenizer_decode(tokenizer, ids, n, skip, &text, &bytes, error);
    if (status == QL_STATUS_OK)
      print_hex(text, bytes);
    free(text);
  }
  return status;
}

static int decode(const qle_tokenizer *tokenizer, size_t count, int skip, int stepwise)
{
  ql_error error = QL_ERROR_INIT;
  int32_t *ids = malloc((count + 1) * sizeof *ids);
  size_t shown = 0;
  int code = ids == NULL;
  for (size_t i = 0; i < count && code == 0; i++)
    code = scanf("%" SCNd32, &ids[i]) != 1;
  if (code == 0 && show(tokenizer, ids, stepwise ? 1 : count, count, skip, stepwise ? &shown : NULL,
                        &error) != QL_STATUS_OK)
    fail(&error);
  else if (code == 0)
    printf("\n");
  free(ids);
  return code;
}

static int serve(const qle_tokenizer *tokenizer)
{
  char kind;
  size_t count;
  int skip = 0, code = 0;
  while (code == 0 && scanf(" %c %zu", &kind, &count) == 2) {
    if (kind != 'E' && scanf("%d", &skip) != 1)
      return 1;
    /* Exactly one newline: the text may begin with white space. */
    if (kind == 'E' && getchar() != '\n')
      return 1;
    code = kind == 'E' ? encode(tokenizer, count) : decode(tokenizer, count, skip, kind == 'S');
  }
  return code;
}

int main(int argc, char **argv)
{
  ql_error error = QL_ERROR_INIT;
  qle_tokenizer *tokenizer = NULL;
  if (argc != 2) {
    fprintf(stderr, "usage: qle_tokenize TOKENIZER < requests\n");
    return 1;
  }
  if (qle_tokenizer_open(argv[1], &tokenizer, &error) != QL_STATUS_OK) {
    fprintf(stderr, "%s\n", error.text);
    return 2;
  }
  const int code = serve(tokenizer);
  qle_tokenizer_close(tokenizer);
  return code;
}
