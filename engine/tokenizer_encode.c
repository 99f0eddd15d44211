/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* From a text to words: added tokens, normalization, pre-tokenizers. */

ql_status qle_encoder_open(qle_encoder *e, const qle_tokenizer *tokenizer, ql_error *error)
{
  memset(e, 0, sizeof *e);
  e->tokenizer = tokenizer;
  e->error = error;
  e->match = pcre2_match_data_create(1, NULL);
  return e->match == NULL ? qle_no_memory(error, tokenizer) : QL_STATUS_OK;
}

void qle_encoder_close(qle_encoder *e)
{
  pcre2_match_data_free(e->match);
  for (size_t i = 0; i < 2; i++)
    free(e->normal[i].data);
  for (size_t i = 0; i < QLE_MAX_STEPS; i++) {
    free(e->changed[i].data);
    free(e->pieces[i].data);
  }
  free(e->symbols);
  free(e->heap);
}

ql_status qle_encoder_id(qle_encoder *e, int32_t id)
{
  if (e->count == e->room) {
    const size_t room = e->room == 0 ? 256 : 2 * e->room;
    int32_t *ids = room > SIZE_MAX / sizeof *ids ? NULL : realloc(e->ids, room * sizeof *ids);
    if (ids == NULL)
      return qle_no_memory(e->error, e->tokenizer);
    e->ids = ids;
    e->room = room;
  }
  e->ids[e->count++] = id;
  return QL_STATUS_OK;
}

static qle_span part(qle_span text, size_t begin, size_t end)
{
  return (qle_span){text.data + begin, end - begin};
}

static bool begins_with(qle_span text, const char *with, size_t size)
{
  return text.size >= size && memcmp(text.data, with, size) == 0;
}

static bool bytes_to_text(const qle_tokenizer *t, qle_span text, qle_bytes *out)
{
  out->size = 0;
  if (text.size > SIZE_MAX / 2 || !qle_bytes_reserve(out, 2 * text.size))
    return false;
  for (size_t i = 0; i < text.size; i++) {
    const char *as = t->byte_text[(unsigned char)text.data[i]];
    out->data[out->size++] = as[0];
    if ((unsigned char)as[0] >= 0x80)
      out->data[out->size++] = as[1];
  }
  return true;
}

/* -------- normalization -------- */

/* Characters below U+0300 are their own NFC, those below U+0080 their own everything. */
static bool needs_form(qle_span text, int form)
{
  const bool composed = form == (UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  const unsigned char limit = composed ? 0xcc : 0x80;
  for (size_t i = 0; i < text.size; i++)
    if ((unsigned char)text.data[i] >= limit)
      return true;
  return false;
}

static ql_status unicode_form(qle_encoder *e, const qle_step *step, qle_span text, qle_bytes *out)
{
  out->size = 0;
  if (!needs_form(text, step->form))
    return qle_bytes_add(out, text.data, text.size) ? QL_STATUS_OK
                                                    : qle_no_memory(e->error, e->tokenizer);
  utf8proc_uint8_t *result = NULL;
  const utf8proc_ssize_t size =
      utf8proc_map((const utf8proc_uint8_t *)text.data, (utf8proc_ssize_t)text.size, &result,
                   (utf8proc_option_t)step->form);
  if (size == UTF8PROC_ERROR_NOMEM)
    return qle_no_memory(e->error, e->tokenizer);
  if (size < 0)
    return qle_key_fail(e->error, QL_STATUS_INVALID_ARGUMENT, e->tokenizer->path, "normalizer",
                        "%s", utf8proc_errmsg(size));
  const bool added = qle_bytes_add(out, result, (size_t)size);
  free(result);
  return added ? QL_STATUS_OK : qle_no_memory(e->error, e->tokenizer);
}

static ql_status normalize_step(qle_encoder *e, const qle_step *step, qle_span text, qle_bytes *out)
{
  out->size = 0;
  bool done = true;
  switch (step->kind) {
  case QLE_STEP_UNICODE: return unicode_form(e, step, text, out);
  case QLE_STEP_REPLACE:
    return qle_replace(e->tokenizer, e->match, step->regex, text,
                       (qle_span){step->text, step->size}, out, e->error);
  case QLE_STEP_BYTES: done = bytes_to_text(e->tokenizer, text, out); break;
  default: /* prepend */
    done = (text.size == 0 || qle_bytes_add(out, step->text, step->size)) &&
           qle_bytes_add(out, text.data, text.size);
    break;
  }
  return done ? QL_STATUS_OK : qle_no_memory(e->error, e->tokenizer);
}

ql_status qle_encoder_normalize(qle_encoder *e, qle_span text, qle_span *out)
{
  const qle_steps *steps = &e->tokenizer->normalizer;
  *out = text;
  for (size_t i = 0; i < steps->count; i++) {
    qle_bytes *target = &e->normal[i % 2];
    QLE_TRY(normalize_step(e, &steps->step[i], *out, target));
    *out = (qle_span){target->data, target->size};
  }
  return QL_STATUS_OK;
}

/* -------- pre-tokenizers -------- */

static ql_status pretokenize(qle_encoder *e, size_t level, qle_span text, bool at_start);

static bool add_piece(qle_pieces *list, size_t begin, size_t end, bool match)
{
  if (list->count == list->room) {
    const size_t room = list->room == 0 ? 256 : 2 * list->room;
    qle_piece *data =
        room > SIZE_MAX / sizeof *data ? NULL : realloc(list->data, room * sizeof *data);
    if (data == NULL)
      return false;
    list->data = data;
    list->room = room;
  }
  list->data[list->count++] = (qle_piece){begin, end, match};
  return true;
}

/* Matches and what lies between them, all of the text in order. */
static ql_status cut(qle_encoder *e, const qle_step *step, qle_span text, qle_pieces *list)
{
  qle_scan scan = {step->regex, e->tokenizer->limits, e->match, text, 0, SIZE_MAX};
  size_t begin, end, before = 0;
  bool done = true;
  int code;
  list->count = 0;
  while (done && (code = qle_scan_next(&scan, &begin, &end)) != 0) {
    if (code < 0)
      return qle_scan_fail(e->error, e->tokenizer, code);
    done = (begin == before || add_piece(list, before, begin, step->invert)) &&
           add_piece(list, begin, end, !step->invert);
    before = end;
  }
  done = done && (before == text.size || add_piece(list, before, text.size, step->invert));
  return done ? QL_STATUS_OK : qle_no_memory(e->error, e->tokenizer);
}

/* Joins neighbours, or takes matches away, as the behaviour says. */
static void join(qle_pieces *list, qle_split split)
{
  size_t kept = 0;
  bool last_match = false; /* of the piece before, joined or not */
  for (size_t i = 0; i < list->count; i++) {
    const qle_piece piece = list->data[i];
    qle_piece *last = kept == 0 ? NULL : &list->data[kept - 1];
    bool with_last = false;
    if (split == QLE_SPLIT_CONTIGUOUS)
      with_last = piece.match == last_match;
    else if (split == QLE_SPLIT_PREVIOUS)
      with_last = piece.match && !last_match;
    else if (split == QLE_SPLIT_NEXT)
      with_last = !piece.match && last_match;
    last_match = piece.match;
    if (with_last && last != NULL)
      last->end = piece.end;
    else if (split != QLE_SPLIT_REMOVED || !piece.match)
      list->data[kept++] = piece;
  }
  list->count = kept;
}

static ql_status split_step(qle_encoder *e, size_t level, qle_span text, bool at_start)
{
  const qle_step *step = &e->tokenizer->pre.step[level];
  qle_pieces *list = &e->pieces[level];
  QLE_TRY(cut(e, step, text, list));
  if (step->split != QLE_SPLIT_ISOLATED)
    join(list, step->split);
  for (size_t i = 0; i < list->count; i++) {
    const qle_piece piece = list->data[i];
    QLE_TRY(pretokenize(e, level + 1, part(text, piece.begin, piece.end),
                        at_start && piece.begin == 0));
  }
  return QL_STATUS_OK;
}

static ql_status prefix_step(qle_encoder *e, size_t level, qle_span text, bool at_start)
{
  const qle_step *step = &e->tokenizer->pre.step[level];
  if (step->scheme == QLE_NEVER || (step->scheme == QLE_FIRST && !at_start) ||
      begins_with(text, step->text, step->size))
    return pretokenize(e, level + 1, text, at_start);
  qle_bytes *out = &e->changed[level];
  out->size = 0;
  if (!qle_bytes_add(out, step->text, step->size) || !qle_bytes_add(out, text.data, text.size))
    return qle_no_memory(e->error, e->tokenizer);
  return pretokenize(e, level + 1, (qle_span){out->data, out->size}, at_start);
}

static ql_status pretokenize(qle_encoder *e, size_t level, qle_span text, bool at_start)
{
  const qle_tokenizer *t = e->tokenizer;
  if (text.size == 0)
    return QL_STATUS_OK;
  if (level == t->pre.count)
    return qle_encoder_word(e, text);
  const qle_step *step = &t->pre.step[level];
  qle_bytes *out = &e->changed[level];
  out->size = 0;
  switch (step->kind) {
  case QLE_STEP_SPLIT: return split_step(e, level, text, at_start);
  case QLE_STEP_PREFIX: return prefix_step(e, level, text, at_start);
  case QLE_STEP_REPLACE:
    QLE_TRY(qle_replace(t, e->match, step->regex, text, (qle_span){step->text, step->size}, out,
                        e->error));
    break;
  default: /* bytes */
    if (!bytes_to_text(t, text, out))
      return qle_no_memory(e->error, t);
    break;
  }
  return pretokenize(e, level + 1, (qle_span){out->data, out->size}, at_start);
}

/* -------- added tokens -------- */

static int by_pattern(const void *a, const void *b)
{
  const qle_added *x = *(const qle_added *const *)a, *y = *(const qle_added *const *)b;
  return qle_span_compare((qle_span){x->pattern, x->pattern_size},
                          (qle_span){y->pattern, y->pattern_size});
}

bool qle_added_set_build(qle_added_set *set, const qle_added *tokens, size_t count, bool normalized)
{
  set->tokens = qle_alloc3(count, 1, sizeof *set->tokens);
  if (set->tokens == NULL)
    return false;
  for (size_t i = 0; i < count; i++)
    if (tokens[i].normalized == normalized && tokens[i].pattern_size > 0)
      set->tokens[set->count++] = &tokens[i];
  qsort(set->tokens, set->count, sizeof *set->tokens, by_pattern);
  size_t next = 0;
  for (size_t b = 0; b <= 256; b++) {
    while (next < set->count && (unsigned char)set->tokens[next]->pattern[0] < b)
      next++;
    set->first[b] = next;
  }
  return true;
}

/* First of tokens[low..high) whose byte at `depth` is not below `byte`; all of them agree before
 * depth and are longer than it. */
static size_t narrow(const qle_added_set *set, size_t low, size_t high, size_t depth, int byte)
{
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    if ((unsigned char)set->tokens[middle]->pattern[depth] < byte)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/* The longest token that the text begins with, or NULL. Sorted as they are, those that share a
 * beginning lie together, the shortest first. */
static const qle_added *longest(const qle_added_set *set, qle_span text)
{
  size_t low = set->first[(unsigned char)text.data[0]];
  size_t high = set->first[(unsigned char)text.data[0] + 1];
  const qle_added *found = NULL;
  for (size_t depth = 1; low < high; depth++) {
    while (low < high && set->tokens[low]->pattern_size == depth)
      found = set->tokens[low++];
    if (depth == text.size)
      break;
    const int byte = (unsigned char)text.data[depth];
    high = narrow(set, low, high, depth, byte + 1);
    low = narrow(set, low, high, depth, byte);
  }
  return found;
}

static bool is_one(const qle_encoder *e, const pcre2_code *regex, qle_span character)
{
  return pcre2_match(regex, (PCRE2_SPTR)character.data, character.size, 0,
                     PCRE2_ANCHORED | PCRE2_NO_UTF_CHECK, e->match, e->tokenizer->limits) > 0;
}

/* The character that ends at (begins at) a place. */
static qle_span character_before(qle_span text, size_t at)
{
  size_t begin = at - 1;
  while (begin > 0 && ((unsigned char)text.data[begin] & 0xc0) == 0x80)
    begin--;
  return part(text, begin, at);
}

static qle_span character_at(qle_span text, size_t at)
{
  const size_t size = qle_utf8_length(text.data + at, text.size - at, NULL);
  return part(text, at, at + (size == 0 ? 1 : size));
}

static bool inside_word(const qle_encoder *e, qle_span text, size_t begin, size_t end)
{
  const pcre2_code *word = e->tokenizer->word;
  return (begin > 0 && is_one(e, word, character_before(text, begin))) ||
         (end < text.size && is_one(e, word, character_at(text, end)));
}

/* Widens a match over white space at its sides. */
static void strip(const qle_encoder *e, const qle_added *token, qle_span text, size_t from,
                  size_t *begin, size_t *end)
{
  const pcre2_code *space = e->tokenizer->space;
  if (token->lstrip) {
    while (*begin > from && is_one(e, space, character_before(text, *begin)))
      *begin -= character_before(text, *begin).size;
    *begin = *begin < from ? from : *begin;
  }
  if (token->rstrip)
    while (*end < text.size && is_one(e, space, character_at(text, *end)))
      *end += character_at(text, *end).size;
}

typedef ql_status (*rest_fn)(qle_encoder *e, qle_span text, bool at_start);

/* Emits the added tokens of a set and hands what lies between them on. */
static ql_status extract(qle_encoder *e, const qle_added_set *set, qle_span text, bool at_start,
                         rest_fn rest)
{
  size_t from = 0; /* all before is done */
  for (size_t at = 0; set->count > 0 && at < text.size;) {
    const qle_added *token = longest(set, part(text, at, text.size));
    if (token == NULL) {
      at++;
      continue;
    }
    size_t begin = at, end = at + token->pattern_size;
    at = end;
    if (token->single_word && inside_word(e, text, begin, end))
      continue;
    strip(e, token, text, from, &begin, &end);
    if (from < begin)
      QLE_TRY(rest(e, part(text, from, begin), at_start && from == 0));
    QLE_TRY(qle_encoder_id(e, token->id));
    from = end;
  }
  return from < text.size ? rest(e, part(text, from, text.size), at_start && from == 0)
                          : QL_STATUS_OK;
}

static ql_status words(qle_encoder *e, qle_span text, bool at_start)
{
  return pretokenize(e, 0, text, at_start);
}

static ql_status normal_text(qle_encoder *e, qle_span text, bool at_start)
{
  qle_span normal;
  QLE_TRY(qle_encoder_normalize(e, text, &normal));
  return extract(e, &e->tokenizer->normalized, normal, at_start, words);
}

/* -------- the whole text -------- */

/* Bytes from `at` on that are UTF-8, or that are not. */
static size_t run(qle_span text, size_t at, bool valid)
{
  const size_t begin = at;
  while (at < text.size) {
    const size_t length = (unsigned char)text.data[at] < 0x80
                              ? 1
                              : qle_utf8_length(text.data + at, text.size - at, NULL);
    if ((length > 0) != valid)
      break;
    at += length == 0 ? 1 : length;
  }
  return at - begin;
}

/* Bytes that are not UTF-8 are words of their own where the tokens are bytes. */
static ql_status stray_bytes(qle_encoder *e, qle_span text, size_t offset)
{
  const qle_tokenizer *t = e->tokenizer;
  if (!t->byte_level) {
    qle_fail(e->error, QL_STATUS_INVALID_ARGUMENT, "the text is not UTF-8 at byte %zu", offset);
    if (e->error != NULL && e->error->struct_size >= sizeof *e->error)
      e->error->row = (int64_t)offset;
    return QL_STATUS_INVALID_ARGUMENT;
  }
  qle_bytes *out = &e->changed[0];
  if (!bytes_to_text(t, text, out))
    return qle_no_memory(e->error, t);
  return qle_encoder_word(e, (qle_span){out->data, out->size});
}

ql_status qle_encoder_text(qle_encoder *e, qle_span text)
{
  for (size_t at = 0; at < text.size;) {
    const size_t good = run(text, at, true);
    if (good > 0)
      QLE_TRY(extract(e, &e->tokenizer->raw, part(text, at, at + good), at == 0, normal_text));
    at += good;
    const size_t bad = run(text, at, false);
    if (bad > 0)
      QLE_TRY(stray_bytes(e, part(text, at, at + bad), at));
    at += bad;
  }
  return QL_STATUS_OK;
}
