/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

/* From ids to text: a list of tokens runs through the decoder's steps and is then joined. */

static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */

typedef struct {
  qle_bytes text;
  size_t *ends; /* tokens end here in text */
  size_t count, room;
} list;

typedef struct {
  const qle_tokenizer *t;
  pcre2_match_data *match;
  ql_error *error;
  bool short_of_memory;
  ql_status status;
} decoder;

static void add(decoder *d, list *to, const char *data, size_t size)
{
  if (!qle_bytes_add(&to->text, data, size))
    d->short_of_memory = true;
}

/* Ends the token that the bytes since the last one make. */
static void close_token(decoder *d, list *to)
{
  if (to->count == to->room) {
    const size_t room = to->room == 0 ? 64 : 2 * to->room;
    size_t *ends = room > SIZE_MAX / sizeof *ends ? NULL : realloc(to->ends, room * sizeof *ends);
    if (ends == NULL) {
      d->short_of_memory = true;
      return;
    }
    to->ends = ends;
    to->room = room;
  }
  to->ends[to->count++] = to->text.size;
}

static qle_span token_at(const list *from, size_t i)
{
  const size_t begin = i == 0 ? 0 : from->ends[i - 1];
  if (from->ends[i] == 0)
    return (qle_span){"", 0};
  return (qle_span){from->text.data + begin, from->ends[i] - begin};
}

/* Bytes of the character at `at`, of which a token is made; a stray byte counts as one. */
static qle_span character(qle_span text, size_t at)
{
  const size_t size = qle_utf8_length(text.data + at, text.size - at, NULL);
  return (qle_span){text.data + at, size == 0 ? 1 : size};
}

/* -------- byte level -------- */

/* The byte that a character stands for, or -1. */
static int byte_of(const qle_tokenizer *t, qle_span c)
{
  int32_t code_point = -1;
  if (qle_utf8_length(c.data, c.size, &code_point) == 0 || code_point >= 0x144)
    return -1;
  for (int b = 0; b < 256; b++) {
    const char *as = t->byte_text[b];
    if (as[0] == c.data[0] && (c.size == 1 || as[1] == c.data[1]))
      return b;
  }
  return -1;
}

/* A token with a character that stands for no byte is text as it is. */
static void token_bytes(decoder *d, qle_span token, list *to)
{
  const size_t before = to->text.size;
  for (size_t at = 0; at < token.size;) {
    const qle_span c = character(token, at);
    const int byte = byte_of(d->t, c);
    if (byte < 0) {
      to->text.size = before;
      add(d, to, token.data, token.size);
      return;
    }
    add(d, to, &(char){(char)byte}, 1);
    at += c.size;
  }
}

/* Length of the longest beginning of a character at data, of those that UTF-8 has: what becomes one
 * U+FFFD (Unicode 15, section 3.9, U+FFFD substitution of maximal subparts). */
static size_t broken(const unsigned char *data, size_t size)
{
  const unsigned char lead = data[0];
  if (lead < 0xc2 || lead > 0xf4 || size < 2)
    return 1;
  const unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  if (data[1] < low || data[1] > high)
    return 1;
  const size_t whole = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  size_t n = 2;
  while (n < whole && n < size && (data[n] & 0xc0) == 0x80)
    n++;
  return n;
}

static void valid_text(decoder *d, qle_span bytes, list *to)
{
  for (size_t at = 0; at < bytes.size;) {
    const size_t size = qle_utf8_length(bytes.data + at, bytes.size - at, NULL);
    if (size > 0) {
      add(d, to, bytes.data + at, size);
      at += size;
    } else {
      add(d, to, replacement, sizeof replacement - 1);
      at += broken((const unsigned char *)bytes.data + at, bytes.size - at);
    }
  }
}

static void byte_level(decoder *d, const list *from, list *to)
{
  list bytes = {{NULL, 0, 0}, NULL, 0, 0};
  for (size_t i = 0; i < from->count; i++)
    token_bytes(d, token_at(from, i), &bytes);
  valid_text(d, (qle_span){bytes.text.data, bytes.text.size}, to);
  close_token(d, to);
  free(bytes.text.data);
}

/* -------- byte fallback -------- */

static int hex(char c)
{
  return c >= '0' && c <= '9'   ? c - '0'
         : c >= 'a' && c <= 'f' ? c - 'a' + 10
         : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                : -1;
}

/* The byte of <0xNN>, or -1. */
static int fallback_byte(qle_span token)
{
  if (token.size != 6 || memcmp(token.data, "<0x", 3) != 0 || token.data[5] != '>')
    return -1;
  const int high = hex(token.data[3]), low = hex(token.data[4]);
  if (token.data[3] == '+' && low >= 0)
    return low; /* as the reference reads numbers: with a sign */
  return high < 0 || low < 0 ? -1 : 16 * high + low;
}

static bool all_valid(qle_span bytes)
{
  for (size_t at = 0; at < bytes.size;) {
    const size_t size = qle_utf8_length(bytes.data + at, bytes.size - at, NULL);
    if (size == 0)
      return false;
    at += size;
  }
  return true;
}

/* A run of bytes is a text, or one U+FFFD for each of them. */
static void flush(decoder *d, qle_bytes *run, list *to)
{
  if (run->size == 0)
    return;
  if (all_valid((qle_span){run->data, run->size})) {
    add(d, to, run->data, run->size);
    close_token(d, to);
  } else {
    for (size_t i = 0; i < run->size; i++) {
      add(d, to, replacement, sizeof replacement - 1);
      close_token(d, to);
    }
  }
  run->size = 0;
}

static void byte_fallback(decoder *d, const list *from, list *to)
{
  qle_bytes run = {NULL, 0, 0};
  for (size_t i = 0; i < from->count; i++) {
    const qle_span token = token_at(from, i);
    const int byte = fallback_byte(token);
    if (byte >= 0) {
      if (!qle_bytes_add(&run, &(char){(char)byte}, 1))
        d->short_of_memory = true;
      continue;
    }
    flush(d, &run, to);
    add(d, to, token.data, token.size);
    close_token(d, to);
  }
  flush(d, &run, to);
  free(run.data);
}

/* -------- the others -------- */

static bool same(qle_span a, const qle_step *step)
{
  return a.size == step->size && memcmp(a.data, step->text, a.size) == 0;
}

static qle_span strip(const qle_step *step, qle_span token)
{
  size_t begin = 0, end = token.size;
  for (size_t n = 0; n < step->start && begin < end && same(character(token, begin), step); n++)
    begin += step->size;
  /* The end is counted on the whole token: both cuts may meet. */
  for (size_t n = 0; n < step->stop && end >= begin + step->size; n++) {
    if (!same((qle_span){token.data + end - step->size, step->size}, step))
      break;
    end -= step->size;
  }
  return (qle_span){token.data + begin, end - begin};
}

static void metaspace(decoder *d, const qle_step *step, qle_span token, bool first, list *to)
{
  for (size_t at = 0; at < token.size;) {
    const qle_span c = character(token, at);
    at += c.size;
    if (!same(c, step))
      add(d, to, c.data, c.size);
    else if (!first || step->scheme == QLE_NEVER)
      add(d, to, " ", 1);
  }
}

static void each_token(decoder *d, const qle_step *step, const list *from, list *to)
{
  for (size_t i = 0; i < from->count && d->status == QL_STATUS_OK; i++) {
    const qle_span token = token_at(from, i);
    if (step->kind == QLE_STEP_REPLACE) {
      d->status = qle_replace(d->t, d->match, step->regex, token,
                              (qle_span){step->text, step->size}, &to->text, d->error);
    } else if (step->kind == QLE_STEP_STRIP) {
      const qle_span left = strip(step, token);
      add(d, to, left.data, left.size);
    } else {
      metaspace(d, step, token, i == 0, to);
    }
    close_token(d, to);
  }
}

static void run_step(decoder *d, const qle_step *step, const list *from, list *to)
{
  switch (step->kind) {
  case QLE_STEP_BYTES: byte_level(d, from, to); break;
  case QLE_STEP_FALLBACK: byte_fallback(d, from, to); break;
  case QLE_STEP_FUSE:
    add(d, to, from->text.data, from->text.size);
    close_token(d, to);
    break;
  default: each_token(d, step, from, to); break;
  }
}

/* The texts of the ids; without a decoder they are words with spaces between them. */
static void collect(decoder *d, const int32_t *ids, size_t count, bool skip_special, list *to)
{
  for (size_t i = 0; i < count; i++) {
    if (ids[i] >= d->t->id_count || d->t->ids[ids[i]].text.data == NULL ||
        (skip_special && d->t->ids[ids[i]].special))
      continue;
    const qle_span text = d->t->ids[ids[i]].text;
    if (!d->t->decoder.present && to->count > 0)
      add(d, to, " ", 1);
    add(d, to, text.data, text.size);
    close_token(d, to);
  }
}

static void decode(decoder *d, const int32_t *ids, size_t count, bool skip_special, list *out)
{
  list lists[2] = {{{NULL, 0, 0}, NULL, 0, 0}, {{NULL, 0, 0}, NULL, 0, 0}};
  const qle_steps *steps = &d->t->decoder;
  collect(d, ids, count, skip_special, &lists[0]);
  size_t i = 0;
  for (; i < steps->count && d->status == QL_STATUS_OK && !d->short_of_memory; i++) {
    list *to = &lists[(i + 1) % 2];
    to->text.size = to->count = 0;
    run_step(d, &steps->step[i], &lists[i % 2], to);
  }
  *out = lists[i % 2];
  free(out->ends);
  free(lists[(i + 1) % 2].text.data);
  free(lists[(i + 1) % 2].ends);
  add(d, out, "", 1);
  if (d->short_of_memory && d->status == QL_STATUS_OK)
    d->status = qle_no_memory(d->error, d->t);
}

ql_status qle_tokenizer_decode(const qle_tokenizer *t, const int32_t *ids, size_t count,
                               int skip_special, char **text, size_t *bytes, ql_error *error)
{
  if (t == NULL || (ids == NULL && count > 0) || text == NULL || bytes == NULL)
    return qle_fail(error, QL_STATUS_INVALID_ARGUMENT, "qle_tokenizer_decode: an argument is NULL");
  for (size_t i = 0; i < count; i++)
    if (ids[i] < 0)
      return qle_fail(error, QL_STATUS_INVALID_ARGUMENT, "token %zu has the id %d", i, (int)ids[i]);
  decoder d = {t, pcre2_match_data_create(1, NULL), error, false, QL_STATUS_OK};
  if (d.match == NULL)
    return qle_no_memory(error, t);
  list out;
  decode(&d, ids, count, skip_special != 0, &out);
  pcre2_match_data_free(d.match);
  if (d.status != QL_STATUS_OK) {
    free(out.text.data);
    return d.status;
  }
  *text = out.text.data;
  *bytes = out.text.size - 1;
  return QL_STATUS_OK;
}

/* Bytes at the end of a text that the next token may change: U+FFFD, which stands for a character
 * that has only begun. */
static size_t unfinished(const char *text, size_t size)
{
  const size_t mark = sizeof replacement - 1;
  size_t n = 0;
  while (size - n >= mark && memcmp(text + size - n - mark, replacement, mark) == 0)
    n += mark;
  return n;
}

ql_status qle_tokenizer_decode_next(const qle_tokenizer *t, const int32_t *ids, size_t count,
                                    int skip_special, size_t *shown, char **text, size_t *bytes,
                                    ql_error *error)
{
  char *whole = NULL;
  size_t size = 0;
  QLE_TRY(qle_tokenizer_decode(t, ids, count, skip_special, &whole, &size, error));
  const size_t ready = size - unfinished(whole, size);
  const size_t begin = *shown < ready ? *shown : ready;
  memmove(whole, whole + begin, ready - begin);
  whole[ready - begin] = '\0';
  *text = whole;
  *bytes = ready - begin;
  *shown = begin + *bytes;
  return QL_STATUS_OK;
}
