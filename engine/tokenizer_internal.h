/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLE_TOKENIZER_INTERNAL_H
#define QLE_TOKENIZER_INTERNAL_H

#include "tokenizer.h"
#include "util.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* What the files of the tokenizer share. A text runs through these stages, each of which hands
 * pieces to the next: added tokens are cut out, the rest is normalized, normalized added tokens are
 * cut out, pre-tokenizers split what is left into words, and BPE merges each word. */

typedef struct qle_span {
  const char *data;
  size_t size;
} qle_span;

/* Growing bytes. */
typedef struct qle_bytes {
  char *data;
  size_t size, room;
} qle_bytes;

/* false without memory; the bytes are as before then. */
bool qle_bytes_reserve(qle_bytes *bytes, size_t more);
bool qle_bytes_add(qle_bytes *bytes, const void *data, size_t size);

/* Bytes of the UTF-8 character at data, 0 when it is none. size > 0. */
size_t qle_utf8_length(const char *data, size_t size, int32_t *code_point);

/* -------- regular expressions -------- */

/* Compiles a pattern of the dialect of tokenizer.json files (Oniguruma's), of which exactly the
 * part is accepted that means the same to PCRE2 or can be translated; a literal one is taken as it
 * is. On failure `why` (of `room` bytes) says what is wrong. */
ql_status qle_regex_compile(qle_span pattern, bool literal, pcre2_code **out, char *why,
                            size_t room);

/* All matches in a text, one after the other. */
typedef struct qle_scan {
  const pcre2_code *regex;
  pcre2_match_context *limits;
  pcre2_match_data *match;
  qle_span text;
  size_t at, last_end; /* SIZE_MAX: no match yet */
} qle_scan;

/* 1: the next match; 0: there is none; negative: an error of PCRE2, such as a limit. */
int qle_scan_next(qle_scan *scan, size_t *begin, size_t *end);

/* -------- steps -------- */

typedef enum {
  QLE_STEP_BYTES,     /* each byte becomes a printable character (byte-level BPE) */
  QLE_STEP_REPLACE,   /* matches of regex become text */
  QLE_STEP_PREPEND,   /* text before a text that is not empty */
  QLE_STEP_UNICODE,   /* normalization form, `form` */
  QLE_STEP_PREFIX,    /* text before one that does not begin with it; see scheme */
  QLE_STEP_SPLIT,     /* pieces by regex */
  QLE_STEP_FALLBACK,  /* decoder: tokens <0xNN> to bytes */
  QLE_STEP_FUSE,      /* decoder: all tokens to one */
  QLE_STEP_STRIP,     /* decoder: up to start (stop) characters `text` off the ends of each token */
  QLE_STEP_METASPACE, /* decoder: `text` to a space, or to nothing in the first token */
} qle_step_kind;

typedef enum { QLE_ALWAYS, QLE_FIRST, QLE_NEVER } qle_scheme;

typedef enum {
  QLE_SPLIT_REMOVED,
  QLE_SPLIT_ISOLATED,
  QLE_SPLIT_CONTIGUOUS,
  QLE_SPLIT_PREVIOUS,
  QLE_SPLIT_NEXT,
} qle_split;

typedef struct qle_step {
  qle_step_kind kind;
  pcre2_code *regex;
  char *text;
  size_t size;
  qle_scheme scheme;
  qle_split split;
  bool invert;
  int form; /* options of utf8proc_map */
  size_t start, stop;
} qle_step;

#define QLE_MAX_STEPS 16

typedef struct qle_steps {
  qle_step step[QLE_MAX_STEPS];
  size_t count;
  bool present; /* the file has this part, be it empty */
} qle_steps;

/* -------- the vocabulary and its merges -------- */

typedef struct qle_entry {
  qle_span text;
  int32_t id;
} qle_entry;

typedef struct qle_merge {
  int32_t left, right, rank, result;
} qle_merge;

typedef struct qle_bpe {
  char *blob;         /* the bytes of all tokens */
  qle_entry *entries; /* sorted by text */
  size_t count;
  int32_t direct[0x800]; /* ids of the tokens of one character below U+0800, -1: none */
  int32_t bytes[256];    /* ids of <0xNN>, -1: none */
  qle_merge *merges;     /* sorted by left, then right */
  size_t merge_count;
  uint32_t *first; /* [ids + 1]: merges[first[left]] is the first with that left */
  bool byte_fallback, fuse_unk, ignore_merges;
  bool has_unk;
  int32_t unk; /* -1: has_unk, but not in the vocabulary */
} qle_bpe;

int32_t qle_bpe_find(const qle_bpe *bpe, qle_span text);
/* NULL: these two do not merge. */
const qle_merge *qle_bpe_merge(const qle_bpe *bpe, int32_t left, int32_t right);
int qle_span_compare(qle_span a, qle_span b);

/* -------- added tokens -------- */

typedef struct qle_added {
  char *content; /* as in the file */
  size_t size;
  char *pattern; /* what is looked for: content, or its normalized form */
  size_t pattern_size;
  int32_t id;
  bool single_word, lstrip, rstrip, normalized, special;
} qle_added;

/* Those looked for in the raw text or those looked for in the normalized one, sorted by pattern. */
typedef struct qle_added_set {
  const qle_added **tokens;
  size_t count;
  size_t first[257]; /* tokens[first[b]] is the first that begins with byte b or a later one */
} qle_added_set;

/* -------- all of it -------- */

/* Text of an id for decoding. */
typedef struct qle_id {
  qle_span text; /* data NULL: no such id */
  bool special;
} qle_id;

struct qle_tokenizer {
  char *path;
  qle_bpe bpe;
  qle_id *ids;
  int32_t id_count;
  qle_added *added;
  size_t added_count;
  qle_added_set raw, normalized;
  qle_steps normalizer, pre, decoder;
  pcre2_match_context *limits;
  pcre2_code *word; /* one character of a word */
  pcre2_code *space;
  char byte_text[256][2]; /* UTF-8 of the character of a byte, two bytes unless below 0x80 */
  bool byte_level;
};

/* Reads the JSON into an empty tokenizer. Frees nothing: qle_tokenizer_close does. */
ql_status qle_tokenizer_load(qle_tokenizer *tokenizer, const json_t *root, ql_error *error);

/* Builds bpe from the object "model"; errors name file and key. */
ql_status qle_bpe_load(qle_bpe *bpe, const json_t *model, const char *path, ql_error *error);
void qle_bpe_free(qle_bpe *bpe);

/* "PATH: KEY: ..." with the file in its field. */
ql_status qle_key_fail(ql_error *error, ql_status status, const char *path, const char *key,
                       const char *format, ...) __attribute__((format(printf, 5, 6)));

/* An object whose keys are all among the words of `known`. */
ql_status qle_key_check(const json_t *object, const char *known, const char *path, const char *key,
                        ql_error *error);
/* object[name] as a truth value; absent or null: fallback. */
ql_status qle_key_bool(const json_t *object, const char *name, bool fallback, bool *out,
                       const char *path, const char *key, ql_error *error);

/* One encoding under way. */
typedef struct qle_piece {
  size_t begin, end;
  bool match;
} qle_piece;

typedef struct qle_pieces {
  qle_piece *data;
  size_t count, room;
} qle_pieces;

typedef struct qle_symbol {
  int32_t id, prev, next; /* id -1: merged into its left neighbour */
} qle_symbol;

typedef struct qle_candidate {
  uint64_t key; /* rank, then position: the order in which merges happen */
  int32_t result;
} qle_candidate;

typedef struct qle_encoder {
  const qle_tokenizer *tokenizer;
  ql_error *error;
  pcre2_match_data *match;
  int32_t *ids;
  size_t count, room;
  qle_bytes normal[2];              /* of the normalizer */
  qle_bytes changed[QLE_MAX_STEPS]; /* of each pre-tokenizer */
  qle_pieces pieces[QLE_MAX_STEPS]; /* likewise */
  qle_symbol *symbols;
  size_t symbol_count, symbol_room;
  qle_candidate *heap;
  size_t heap_count, heap_room;
} qle_encoder;

ql_status qle_encoder_open(qle_encoder *encoder, const qle_tokenizer *tokenizer, ql_error *error);
/* Frees all but the ids. */
void qle_encoder_close(qle_encoder *encoder);
ql_status qle_encoder_id(qle_encoder *encoder, int32_t id);
/* Ids of a whole text. */
ql_status qle_encoder_text(qle_encoder *encoder, qle_span text);
/* Ids of a word. */
ql_status qle_encoder_word(qle_encoder *encoder, qle_span word);
/* The normalized text, in encoder->normal. */
ql_status qle_encoder_normalize(qle_encoder *encoder, qle_span text, qle_span *out);

ql_status qle_no_memory(ql_error *error, const qle_tokenizer *tokenizer);
ql_status qle_scan_fail(ql_error *error, const qle_tokenizer *tokenizer, int code);

/* Replaces each match of regex in text by `with`, at the end of *out. */
ql_status qle_replace(const qle_tokenizer *tokenizer, pcre2_match_data *match,
                      const pcre2_code *regex, qle_span text, qle_span with, qle_bytes *out,
                      ql_error *error);

/* Builds a set from the tokens with that flag. */
bool qle_added_set_build(qle_added_set *set, const qle_added *tokens, size_t count,
                         bool normalized);

#endif
