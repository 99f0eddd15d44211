/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

/* Byte pair encoding: of all pairs of neighbours that are in the list of merges, the one that comes
 * first there, and of these the leftmost, becomes one token, until no pair is in the list
 * (Sennrich, Haddow, Birch 2016). A heap of candidates makes that O(n log n) in the length of a
 * word: files without pre-tokenizer take a whole text as one word. */

int qle_span_compare(qle_span a, qle_span b)
{
  const size_t common = a.size < b.size ? a.size : b.size;
  const int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
  return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

int32_t qle_bpe_find(const qle_bpe *bpe, qle_span text)
{
  size_t low = 0, high = bpe->count;
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    const int order = qle_span_compare(bpe->entries[middle].text, text);
    if (order == 0)
      return bpe->entries[middle].id;
    if (order < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return -1;
}

const qle_merge *qle_bpe_merge(const qle_bpe *bpe, int32_t left, int32_t right)
{
  size_t low = bpe->first[left], high = bpe->first[left + 1];
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    const qle_merge *merge = &bpe->merges[middle];
    if (merge->right == right)
      return merge;
    if (merge->right < right)
      low = middle + 1;
    else
      high = middle;
  }
  return NULL;
}

/* Room for `count` members of `size` bytes; contents are lost. */
static bool scratch(void **data, size_t *room, size_t count, size_t size)
{
  if (count <= *room)
    return true;
  free(*data);
  *data = qle_alloc3(count, 1, size);
  *room = *data == NULL ? 0 : count;
  return *data != NULL;
}

static void heap_push(qle_encoder *e, qle_candidate candidate)
{
  size_t i = e->heap_count++;
  while (i > 0 && e->heap[(i - 1) / 2].key > candidate.key) {
    e->heap[i] = e->heap[(i - 1) / 2];
    i = (i - 1) / 2;
  }
  e->heap[i] = candidate;
}

static qle_candidate heap_pop(qle_encoder *e)
{
  const qle_candidate top = e->heap[0], last = e->heap[--e->heap_count];
  size_t i = 0;
  for (;;) {
    size_t child = 2 * i + 1;
    if (child >= e->heap_count)
      break;
    child += child + 1 < e->heap_count && e->heap[child + 1].key < e->heap[child].key;
    if (e->heap[child].key >= last.key)
      break;
    e->heap[i] = e->heap[child];
    i = child;
  }
  e->heap[i] = last;
  return top;
}

/* Puts the pair that begins at a symbol on the heap if it can merge. */
static void consider(qle_encoder *e, int32_t at)
{
  if (at < 0 || e->symbols[at].next < 0)
    return;
  const qle_merge *merge =
      qle_bpe_merge(&e->tokenizer->bpe, e->symbols[at].id, e->symbols[e->symbols[at].next].id);
  if (merge == NULL)
    return;
  const uint64_t key = (uint64_t)(uint32_t)merge->rank << 32 | (uint32_t)at;
  heap_push(e, (qle_candidate){key, merge->result});
}

static void merge_all(qle_encoder *e)
{
  e->heap_count = 0;
  for (size_t i = 0; i + 1 < e->symbol_count; i++)
    consider(e, (int32_t)i);
  while (e->heap_count > 0) {
    const qle_candidate top = heap_pop(e);
    const int32_t at = (int32_t)(uint32_t)top.key;
    qle_symbol *left = &e->symbols[at];
    if (left->id < 0 || left->next < 0)
      continue;
    qle_symbol *right = &e->symbols[left->next];
    /* The pair may have changed since it was put there. */
    const qle_merge *merge = qle_bpe_merge(&e->tokenizer->bpe, left->id, right->id);
    if (merge == NULL || merge->result != top.result)
      continue;
    left->id = top.result;
    left->next = right->next;
    right->id = -1;
    if (left->next >= 0)
      e->symbols[left->next].prev = at;
    consider(e, left->prev);
    consider(e, at);
  }
}

static void symbol(qle_encoder *e, int32_t id)
{
  const int32_t at = (int32_t)e->symbol_count;
  e->symbols[e->symbol_count++] = (qle_symbol){id, at - 1, -1};
  if (at > 0)
    e->symbols[at - 1].next = at;
}

static int32_t character_id(const qle_bpe *bpe, qle_span character, int32_t code_point)
{
  return code_point < 0x800 ? bpe->direct[code_point] : qle_bpe_find(bpe, character);
}

/* The bytes of a character that is no token, if each of them is one. */
static bool fall_back(qle_encoder *e, qle_span character)
{
  const qle_bpe *bpe = &e->tokenizer->bpe;
  if (!bpe->byte_fallback)
    return false;
  for (size_t i = 0; i < character.size; i++)
    if (bpe->bytes[(unsigned char)character.data[i]] < 0)
      return false;
  for (size_t i = 0; i < character.size; i++)
    symbol(e, bpe->bytes[(unsigned char)character.data[i]]);
  return true;
}

/* The symbols that merging starts from. A character without token, bytes and unknown token leaves
 * nothing: that is what the files mean. An unknown token waits for the next known character, as
 * more of them may become one. */
static ql_status first_symbols(qle_encoder *e, qle_span word)
{
  const qle_bpe *bpe = &e->tokenizer->bpe;
  bool waiting = false;
  for (size_t i = 0, length; i < word.size; i += length) {
    int32_t code_point = 0;
    length = qle_utf8_length(word.data + i, word.size - i, &code_point);
    if (length == 0)
      return qle_fail(e->error, QL_STATUS_INTERNAL, "a word that is not UTF-8 reached BPE");
    const qle_span character = {word.data + i, length};
    const int32_t id = character_id(bpe, character, code_point);
    if (id < 0 && (fall_back(e, character) || !bpe->has_unk))
      continue;
    if (id < 0 && bpe->unk < 0)
      return qle_key_fail(e->error, QL_STATUS_FORMAT, e->tokenizer->path, "model.unk_token",
                          "is needed for U+%04X, but not in the vocabulary", (unsigned)code_point);
    if (waiting && (id >= 0 || !bpe->fuse_unk))
      symbol(e, bpe->unk);
    waiting = id < 0;
    if (id >= 0)
      symbol(e, id);
  }
  if (waiting)
    symbol(e, bpe->unk);
  return QL_STATUS_OK;
}

ql_status qle_encoder_word(qle_encoder *e, qle_span word)
{
  const qle_bpe *bpe = &e->tokenizer->bpe;
  if (word.size == 0)
    return QL_STATUS_OK;
  if (bpe->ignore_merges) {
    const int32_t id = qle_bpe_find(bpe, word);
    if (id >= 0)
      return qle_encoder_id(e, id);
  }
  if (word.size > INT32_MAX / 4)
    return qle_fail(e->error, QL_STATUS_OVERFLOW, "a word of %zu bytes is too long", word.size);
  /* At most one symbol per byte, and one for an unknown token that waits. A merge takes a symbol
   * away and puts at most two candidates on the heap. */
  void *symbols = e->symbols, *heap = e->heap;
  const bool enough = scratch(&symbols, &e->symbol_room, word.size + 1, sizeof *e->symbols) &&
                      scratch(&heap, &e->heap_room, 3 * (word.size + 1), sizeof *e->heap);
  e->symbols = symbols;
  e->heap = heap;
  if (!enough)
    return qle_no_memory(e->error, e->tokenizer);
  e->symbol_count = 0;
  QLE_TRY(first_symbols(e, word));
  merge_all(e);
  for (size_t i = 0; i < e->symbol_count; i++)
    if (e->symbols[i].id >= 0)
      QLE_TRY(qle_encoder_id(e, e->symbols[i].id));
  return QL_STATUS_OK;
}

void qle_bpe_free(qle_bpe *bpe)
{
  free(bpe->blob);
  free(bpe->entries);
  free(bpe->merges);
  free(bpe->first);
}
