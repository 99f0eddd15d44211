/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLE_TOKENIZER_H
#define QLE_TOKENIZER_H

#include <quantlib/status.h>

#include <stddef.h>
#include <stdint.h>

/* tokenizer.json: byte-level BPE (GPT-2, Llama 3, Qwen) and SentencePiece-like BPE with byte
 * fallback (Llama 2, Mistral). Immutable after opening; may be shared by threads. */
typedef struct qle_tokenizer qle_tokenizer;

/* path: a tokenizer.json or the directory that holds one. Anything in the file that this code does
 * not implement is refused by name. */
ql_status qle_tokenizer_open(const char *path, qle_tokenizer **out, ql_error *error);
void qle_tokenizer_close(qle_tokenizer *tokenizer);

/* Ids of a text, without any token that a post-processor would add; truncation and padding that the
 * file may ask for are left out as well. *ids is malloc'ed. Bytes that are not UTF-8 are an error
 * with their offset for SentencePiece-like models; in byte-level ones each run of them is a word of
 * its own. */
ql_status qle_tokenizer_encode(const qle_tokenizer *tokenizer, const char *text, size_t bytes,
                               int32_t **ids, size_t *count, ql_error *error);

/* Text of ids, always UTF-8: U+FFFD stands for bytes that are none. *text is malloc'ed and
 * NUL-terminated after *bytes bytes. Special tokens are left out when skip_special is set. An id
 * without a token, as models have that pad their vocabulary, has no text; a negative one is an
 * error. */
ql_status qle_tokenizer_decode(const qle_tokenizer *tokenizer, const int32_t *ids, size_t count,
                               int skip_special, char **text, size_t *bytes, ql_error *error);

/* For showing tokens as they come: the text of all ids so far from *shown bytes on, without a
 * character that is not complete yet. *shown, 0 before the first call, grows by *bytes. */
ql_status qle_tokenizer_decode_next(const qle_tokenizer *tokenizer, const int32_t *ids,
                                    size_t count, int skip_special, size_t *shown, char **text,
                                    size_t *bytes, ql_error *error);

/* Largest id plus one. */
int32_t qle_tokenizer_vocab(const qle_tokenizer *tokenizer);

/* Id of the token of that name, -1 when there is none. */
int32_t qle_tokenizer_id(const qle_tokenizer *tokenizer, const char *token);

#endif
