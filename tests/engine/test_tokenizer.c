/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../cm.h"

/* The cases here are small enough to work out by hand; tests/interop compares with another
 * implementation. */

/* -------- allocation that fails on demand (the linker wraps these names) -------- */

static long fail_at = -1; /* this allocation fails, counting down */

static int fails(void)
{
  return fail_at >= 0 && fail_at-- == 0;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *data, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *data, size_t size);

void *__wrap_malloc(size_t size)
{
  return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
  return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *data, size_t size)
{
  return fails() ? NULL : __real_realloc(data, size);
}

/* -------- files -------- */

static char folder[] = "/tmp/quantlib-tokenizer-XXXXXX";
static char file[64];

static int make_folder(void **state)
{
  (void)state;
  if (mkdtemp(folder) == NULL)
    return -1;
  snprintf(file, sizeof file, "%s/tokenizer.json", folder);
  return 0;
}

static int remove_folder(void **state)
{
  (void)state;
  remove(file);
  return rmdir(folder);
}

static void write_file(const char *bytes, size_t size)
{
  FILE *stream = fopen(file, "wb");
  assert_non_null(stream);
  assert_int_equal(fwrite(bytes, 1, size, stream), size);
  assert_int_equal(fclose(stream), 0);
}

static qle_tokenizer *open_text(const char *json)
{
  ql_error error = QL_ERROR_INIT;
  qle_tokenizer *tokenizer = NULL;
  write_file(json, strlen(json));
  if (qle_tokenizer_open(folder, &tokenizer, &error) != QL_STATUS_OK)
    fail_msg("%s", error.text);
  return tokenizer;
}

/* Ids as "1 2 3". */
static void check_ids(const qle_tokenizer *tokenizer, const char *text, size_t size,
                      const char *expected)
{
  ql_error error = QL_ERROR_INIT;
  int32_t *ids = NULL;
  size_t count = 0;
  char got[512] = "";
  if (qle_tokenizer_encode(tokenizer, text, size, &ids, &count, &error) != QL_STATUS_OK)
    fail_msg("%s", error.text);
  for (size_t i = 0, n = 0; i < count && n < sizeof got; i++)
    n += (size_t)snprintf(got + n, sizeof got - n, "%s%d", i == 0 ? "" : " ", (int)ids[i]);
  free(ids);
  assert_string_equal(got, expected);
}

#define IDS(tokenizer, text, expected) check_ids(tokenizer, text, sizeof(text) - 1, expected)

static void check_text(const qle_tokenizer *tokenizer, const int32_t *ids, size_t count, int skip,
                       const char *expected)
{
  char *text = NULL;
  size_t bytes = 0;
  assert_int_equal(qle_tokenizer_decode(tokenizer, ids, count, skip, &text, &bytes, NULL),
                   QL_STATUS_OK);
  assert_string_equal(text, expected);
  assert_int_equal(bytes, strlen(expected));
  free(text);
}

#define TEXT(tokenizer, skip, expected, ...) \
  check_text(tokenizer, (const int32_t[]){__VA_ARGS__}, \
             sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t), skip, expected)

/* -------- byte level -------- */

/* Bytes: space is U+0120, newline U+010A, C3 is U+00C3, A9 is U+00A9. */
#define BYTE_VOCAB \
  "{\"a\":0,\"b\":1,\"c\":2,\"\\u0120\":3,\"\\u010a\":4,\"\\u00c3\":5,\"\\u00a9\":6," \
  "\"bc\":7,\"ab\":8,\"abc\":9,\"aa\":10,\"\\u0120a\":11,\"\\u00c3\\u00a9\":12,\"aaaa\":13}"
#define BYTE_MERGES \
  "[\"b c\",\"a b\",[\"ab\",\"c\"],\"a a\",\"\\u0120 a\",\"\\u00c3 \\u00a9\",\"aa aa\"]"
#define BYTE_LEVEL \
  "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true}"
#define ADDED(id, content, flags) "{\"id\":" #id ",\"content\":\"" content "\"," flags "}"
#define PLAIN \
  "\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":true"
#define BYTE_FILE(added, extra) \
  "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[" added \
  "],\"normalizer\":null,\"pre_tokenizer\":" BYTE_LEVEL \
  ",\"post_processor\":null,\"decoder\":" BYTE_LEVEL ",\"model\":{\"type\":\"BPE\"," extra \
  "\"vocab\":" BYTE_VOCAB ",\"merges\":" BYTE_MERGES "}}"

static void merges_run_by_rank_then_from_the_left(void **state)
{
  (void)state;
  qle_tokenizer *t = open_text(BYTE_FILE("", ""));
  assert_int_equal(qle_tokenizer_vocab(t), 14);
  assert_int_equal(qle_tokenizer_id(t, "abc"), 9);
  assert_int_equal(qle_tokenizer_id(t, "abd"), -1);
  IDS(t, "abc", "0 7"); /* "b c" is the first merge, and "a bc" is none */
  IDS(t, "ab", "8");
  IDS(t, "aaa", "10 0"); /* the leftmost of equals */
  IDS(t, "aaaaa", "13 0");
  IDS(t, "", "");
  IDS(t, "a a", "0 11");
  IDS(t, "a  a", "0 3 11"); /* the last space goes with the word */
  IDS(t, "a \n", "0 3 4");
  IDS(t, "\xc3\xa9", "12");
  IDS(t, "axc", "0 2"); /* no token, no unknown token: nothing */
  qle_tokenizer_close(t);
}

static void whole_words_go_before_merges(void **state)
{
  (void)state;
  qle_tokenizer *t = open_text(BYTE_FILE("", "\"ignore_merges\":true,"));
  IDS(t, "abc", "9");
  IDS(t, "abca", "0 7 0");
  qle_tokenizer_close(t);
}

static void bytes_that_are_no_text_are_words(void **state)
{
  (void)state;
  qle_tokenizer *t = open_text(BYTE_FILE("", ""));
  IDS(t,
      "a\xc3"
      "a\xa9\xc3",
      "0 5 0 6 5");
  IDS(t, "\xff", "");
  IDS(t, "\xc3\xa9\xc3", "12 5");
  qle_tokenizer_close(t);
}

static void added_tokens_are_cut_out_first(void **state)
{
  (void)state;
#define LEFT \
  "\"single_word\":false,\"lstrip\":true,\"rstrip\":false,\"normalized\":false,\"special\":false"
#define WORD \
  "\"single_word\":true,\"lstrip\":false,\"rstrip\":true,\"normalized\":true,\"special\":false"
  qle_tokenizer *t =
      open_text(BYTE_FILE(ADDED(20, "<x>", PLAIN) "," ADDED(21, "<x>a", PLAIN) "," ADDED(
                              22, "<l>", LEFT) "," ADDED(23, "ca", WORD),
                          ""));
  assert_int_equal(qle_tokenizer_vocab(t), 24);
  IDS(t, "a<x>b", "0 20 1");
  IDS(t, "a<x>ab", "0 21 1"); /* the longest */
  IDS(t, "a \n<l> a", "0 22 11");
  IDS(t, "ca  a", "23 0");
  IDS(t, "a ca", "0 3 23");
  IDS(t, "aca", "0 2 0"); /* inside a word */
  TEXT(t, 0, "a<x>b", 0, 20, 1);
  TEXT(t, 1, "ab", 0, 20, 1);
  TEXT(t, 1, "a<l>b", 0, 22, 1);
  TEXT(t, 1, "ab", 0, 19, 1000000, 1); /* ids without a token */
  qle_tokenizer_close(t);
}

static void characters_cut_in_two_are_replaced_or_awaited(void **state)
{
  (void)state;
  qle_tokenizer *t = open_text(BYTE_FILE("", ""));
  TEXT(t, 0, "a\xc3\xa9", 0, 5, 6);
  TEXT(t, 0, "a\xef\xbf\xbd", 0, 5);
  TEXT(t, 0,
       "\xef\xbf\xbd"
       "a\xef\xbf\xbd",
       6, 0, 5);
  const int32_t ids[] = {0, 5, 6, 11};
  const char *const shown[] = {"a", "", "\xc3\xa9", " a"};
  size_t at = 0;
  for (size_t n = 1; n <= 4; n++) {
    char *text = NULL;
    size_t bytes = 0;
    assert_int_equal(qle_tokenizer_decode_next(t, ids, n, 0, &at, &text, &bytes, NULL),
                     QL_STATUS_OK);
    assert_string_equal(text, shown[n - 1]);
    free(text);
  }
  char *text = NULL;
  size_t bytes = 0;
  assert_int_equal(qle_tokenizer_decode(t, (const int32_t[]){-1}, 1, 0, &text, &bytes, NULL),
                   QL_STATUS_INVALID_ARGUMENT);
  assert_null(text);
  qle_tokenizer_close(t);
}

static void long_words_merge_like_short_ones(void **state)
{
  (void)state;
  enum { N = 200002 };
  qle_tokenizer *t = open_text(BYTE_FILE("", ""));
  char *text = malloc(N);
  int32_t *ids = NULL;
  size_t count = 0;
  memset(text, 'a', N);
  assert_int_equal(qle_tokenizer_encode(t, text, N, &ids, &count, NULL), QL_STATUS_OK);
  assert_int_equal(count, N / 4 + 1);
  for (size_t i = 0; i + 1 < count; i++)
    assert_int_equal(ids[i], 13);
  assert_int_equal(ids[count - 1], 10);
  free(ids);
  free(text);
  qle_tokenizer_close(t);
}

/* -------- SentencePiece-like -------- */

#define SP_FILE(pre, normalizer) \
  "{\"added_tokens\":[" ADDED( \
      0, "<unk>", \
      PLAIN) "],\"normalizer\":" normalizer ",\"pre_tokenizer\":" pre \
             ",\"decoder\":{\"type\":\"Sequence\",\"decoders\":[" \
             "{\"type\":\"Replace\",\"pattern\":{\"String\":\"\\u2581\"},\"content\":\" \"}," \
             "{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}," \
             "{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]}," \
             "\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"byte_fallback\":true,\"fuse_" \
             "unk\":true," \
             "\"vocab\":{\"<unk>\":0,\"\\u2581\":1,\"H\":2,\"i\":3,\"Hi\":4,\"\\u2581Hi\":5," \
             "\"<0xC3>\":6,\"<0xA9>\":7},\"merges\":[\"H i\",\"\\u2581 Hi\"]}}"
#define SP_NORMALIZER \
  "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"\\u2581\"}," \
  "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\\u2581\"}]}"
#define METASPACE(scheme) \
  "{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":\"" scheme \
  "\",\"split\":true}"

static void spaces_become_marks(void **state)
{
  (void)state;
  qle_tokenizer *t = open_text(SP_FILE("null", SP_NORMALIZER));
  IDS(t, "Hi", "5");
  IDS(t, "Hi Hi", "5 5");
  IDS(t, " Hi", "1 5");
  IDS(t, "HiHi", "5 4");
  IDS(t, "\xc3\xa9", "1 6 7"); /* by bytes */
  IDS(t, "xyz Hi", "1 0 5");   /* no such bytes: one unknown token */
  TEXT(t, 0, "Hi Hi", 5, 5);
  TEXT(t, 0, "Hi\xc3\xa9", 5, 6, 7);
  TEXT(t, 0, "Hi\xef\xbf\xbd\xef\xbf\xbd", 5, 7, 6);
  TEXT(t, 1, "Hi", 0, 5, 0);
  ql_error error = QL_ERROR_INIT;
  int32_t *ids = NULL;
  size_t count = 7;
  assert_int_equal(qle_tokenizer_encode(t, "Hi\xff", 3, &ids, &count, &error),
                   QL_STATUS_INVALID_ARGUMENT);
  assert_int_equal(error.row, 2);
  assert_null(ids);
  assert_int_equal(count, 7);
  qle_tokenizer_close(t);
}

static void metaspace_prepends_by_scheme(void **state)
{
  (void)state;
  static const struct {
    const char *file, *ids;
  } cases[] = {
      {SP_FILE(METASPACE("always"), "null"), "5 0 5 5"},
      {SP_FILE(METASPACE("first"), "null"), "5 0 4 5"},
      {SP_FILE(METASPACE("never"), "null"), "4 0 4 5"},
  };
  for (size_t i = 0; i < 3; i++) {
    qle_tokenizer *t = open_text(cases[i].file);
    IDS(t, "Hi<unk>Hi Hi", cases[i].ids);
    qle_tokenizer_close(t);
  }
}

/* -------- files that lie -------- */

#define MODEL(rest) "{\"model\":{\"type\":\"BPE\"," rest "}}"
#define AB "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[]"
#define WITH(part) "{" part ",\"model\":{\"type\":\"BPE\"," AB "}}"
#define PRE(text) \
  WITH("\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\"," \
       "\"invert\":false,\"pattern\":{\"Regex\":\"" text "\"}}")

static const struct {
  const char *json;
  ql_status status;
  const char *says;
} refused[] = {
    {"", QL_STATUS_FORMAT, "line 1"},
    {"[]", QL_STATUS_FORMAT, "the file: is missing or not an object"},
    {"{}", QL_STATUS_FORMAT, "model: is missing"},
    {"{\"version\":\"2.0\"}", QL_STATUS_UNSUPPORTED, "version: \"2.0\""},
    {"{\"surprise\":1}", QL_STATUS_UNSUPPORTED, "\"surprise\""},
    {"{\"model\":{\"type\":\"Unigram\"}}", QL_STATUS_UNSUPPORTED, "model.type: \"Unigram\""},
    {"{\"model\":{\"type\":7}}", QL_STATUS_UNSUPPORTED, "model.type"},
    {MODEL("\"vocab\":{}"), QL_STATUS_FORMAT, "model.vocab: 0 tokens"},
    {MODEL("\"vocab\":[]"), QL_STATUS_FORMAT, "model.vocab"},
    {MODEL("\"vocab\":{\"a\":0,\"a\":1}"), QL_STATUS_FORMAT, "duplicate"},
    {MODEL("\"vocab\":{\"a\":\"0\"}"), QL_STATUS_FORMAT, "the id of \"a\" is not an integer"},
    {MODEL("\"vocab\":{\"a\":0.5}"), QL_STATUS_FORMAT, "the id of \"a\" is not an integer"},
    {MODEL("\"vocab\":{\"a\":-1}"), QL_STATUS_FORMAT, "the id -1 of \"a\" is out of range"},
    {MODEL("\"vocab\":{\"a\":4294967296}"), QL_STATUS_FORMAT, "out of range"},
    {MODEL("\"vocab\":{\"a\":2000000}"), QL_STATUS_FORMAT, "out of range"},
    {MODEL("\"vocab\":{\"a\":3,\"b\":3}"), QL_STATUS_FORMAT, "have the same id 3"},
    {MODEL("\"vocab\":{\"a\":0}"), QL_STATUS_FORMAT, "model.merges: is missing"},
    {MODEL("\"vocab\":{\"a\":0},\"merges\":[\"a\"]"), QL_STATUS_FORMAT, "model.merges[0]"},
    {MODEL("\"vocab\":{\"a\":0},\"merges\":[\"a a a\"]"), QL_STATUS_FORMAT, "model.merges[0]"},
    {MODEL("\"vocab\":{\"a\":0},\"merges\":[7]"), QL_STATUS_FORMAT, "model.merges[0]"},
    {MODEL("\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]"), QL_STATUS_FORMAT, "model.merges[0]"},
    {MODEL("\"vocab\":{\"a\":0},\"merges\":[[\"a\",null]]"), QL_STATUS_FORMAT, "model.merges[0]"},
    {MODEL("\"vocab\":{\"a\":0},\"merges\":[\"a b\"]"), QL_STATUS_FORMAT, "\"b\" is not in the"},
    {MODEL("\"vocab\":{\"a\":0},\"merges\":[\"a a\"]"), QL_STATUS_FORMAT, "\"aa\" is not in the"},
    {MODEL("\"dropout\":0.1," AB), QL_STATUS_UNSUPPORTED, "model.dropout"},
    {MODEL("\"end_of_word_suffix\":\"</w>\"," AB), QL_STATUS_UNSUPPORTED, "end_of_word_suffix"},
    {MODEL("\"fuse_unk\":1," AB), QL_STATUS_FORMAT, "\"fuse_unk\" is neither true nor false"},
    {MODEL("\"unk_token\":1," AB), QL_STATUS_FORMAT, "model.unk_token"},
    {MODEL("\"magic\":1," AB), QL_STATUS_UNSUPPORTED, "\"magic\""},
    {WITH("\"normalizer\":{\"type\":\"Lowercase\"}"), QL_STATUS_UNSUPPORTED, "\"Lowercase\""},
    {WITH("\"normalizer\":{\"type\":\"NFC\",\"x\":1}"), QL_STATUS_UNSUPPORTED,
     "normalizer: the key \"x\""},
    {WITH("\"normalizer\":[]"), QL_STATUS_FORMAT, "normalizer: is not an object"},
    {WITH("\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Nmt\"}]}"),
     QL_STATUS_UNSUPPORTED, "normalizer.normalizers[0]: type \"Nmt\""},
    {WITH("\"normalizer\":{\"type\":\"Replace\",\"content\":\"\",\"pattern\":{\"String\":\"\"}}"),
     QL_STATUS_FORMAT, "a pattern of 0 bytes"},
    {WITH("\"pre_tokenizer\":{\"type\":\"Whitespace\"}"), QL_STATUS_UNSUPPORTED, "\"Whitespace\""},
    {WITH("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"xy\"}"), QL_STATUS_FORMAT,
     "not one character"},
    {WITH("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":1}"),
     QL_STATUS_UNSUPPORTED, "prepend_scheme"},
    {WITH("\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Odd\",\"pattern\":{\"String\":"
          "\"a\"}}"),
     QL_STATUS_UNSUPPORTED, "behavior \"Odd\""},
    {WITH("\"decoder\":{\"type\":\"WordPiece\"}"), QL_STATUS_UNSUPPORTED,
     "decoder: type \"WordPiece\""},
    {WITH("\"decoder\":{\"type\":\"Strip\",\"content\":\"x\",\"start\":-1,\"stop\":0}"),
     QL_STATUS_FORMAT, "\"start\" is missing or out of range"},
    {WITH("\"added_tokens\":{}"), QL_STATUS_FORMAT, "added_tokens: is not an array"},
    {WITH("\"added_tokens\":[{\"id\":1}]"), QL_STATUS_FORMAT, "added_tokens[0]"},
    {WITH("\"added_tokens\":[" ADDED(5, "", PLAIN) "]"), QL_STATUS_FORMAT, "is empty"},
    {WITH("\"added_tokens\":[" ADDED(-5, "x", PLAIN) "]"), QL_STATUS_FORMAT, "out of range"},
    {WITH("\"added_tokens\":[" ADDED(2000000000, "x", PLAIN) "]"), QL_STATUS_FORMAT,
     "out of range"},
    {WITH("\"added_tokens\":[" ADDED(5, "a", PLAIN) "]"), QL_STATUS_FORMAT,
     "has the id 5 here and 0"},
    {WITH("\"added_tokens\":[" ADDED(1, "x", PLAIN) "]"), QL_STATUS_FORMAT,
     "has the id 1 of \"b\""},
    {WITH("\"added_tokens\":[" ADDED(5, "x", PLAIN) "," ADDED(6, "x", PLAIN) "]"), QL_STATUS_FORMAT,
     "is there twice"},
    {PRE("(unclosed"), QL_STATUS_FORMAT, "cannot be compiled"},
    {PRE("a{2000}{2000}"), QL_STATUS_FORMAT, "cannot be compiled"},
    {PRE("(a)\\\\1"), QL_STATUS_UNSUPPORTED, "an escape at character 3"},
    {PRE("(?R)"), QL_STATUS_UNSUPPORTED, "a group at character 0"},
    {PRE("(?C1)a"), QL_STATUS_UNSUPPORTED, "a group"},
    {PRE("(*LIMIT_MATCH=1)a"), QL_STATUS_UNSUPPORTED, "a group"},
    {PRE("\\\\bword"), QL_STATUS_UNSUPPORTED, "an escape"},
    {PRE("[a&&b]"), QL_STATUS_UNSUPPORTED, "an intersection"},
    {PRE("[[:alpha:]]"), QL_STATUS_UNSUPPORTED, "a set in a set"},
    {PRE("[abc"), QL_STATUS_UNSUPPORTED, "a set without end"},
    {PRE("a{,3}"), QL_STATUS_UNSUPPORTED, "a repetition"},
    {PRE("a{2}+"), QL_STATUS_UNSUPPORTED, "a repetition"},
    {PRE("\\\\p{Latin"), QL_STATUS_UNSUPPORTED, "a property"},
    {PRE("\\\\p{Klingon}"), QL_STATUS_FORMAT, "cannot be compiled"},
    {PRE("\\\\"), QL_STATUS_UNSUPPORTED, "an escape"},
    {PRE("\\\\x{110000}"), QL_STATUS_FORMAT, "cannot be compiled"},
    {PRE("\\\\xff"), QL_STATUS_UNSUPPORTED, "a code point"},
};

static void lies_are_refused_by_name(void **state)
{
  (void)state;
  for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
    ql_error error = QL_ERROR_INIT;
    qle_tokenizer *t = NULL;
    write_file(refused[i].json, strlen(refused[i].json));
    const ql_status status = qle_tokenizer_open(file, &t, &error);
    if (status != refused[i].status || strstr(error.text, refused[i].says) == NULL || t != NULL)
      fail_msg("%s\n gave %s: %s", refused[i].json, ql_status_str(status), error.text);
    assert_string_equal(error.file, file);
    assert_non_null(strstr(error.text, file));
  }
}

static void deep_or_missing_files_are_refused(void **state)
{
  (void)state;
  char json[400];
  memset(json, '[', sizeof json);
  write_file(json, sizeof json);
  ql_error error = QL_ERROR_INIT;
  qle_tokenizer *t = NULL;
  assert_int_equal(qle_tokenizer_open(file, &t, &error), QL_STATUS_FORMAT);
  assert_non_null(strstr(error.text, "nested deeper"));
  assert_int_equal(qle_tokenizer_open("/nonexistent", &t, &error), QL_STATUS_NOT_FOUND);
  assert_int_equal(qle_tokenizer_open(NULL, &t, &error), QL_STATUS_INVALID_ARGUMENT);
  assert_null(t);
}

static void backtracking_ends(void **state)
{
  (void)state;
  qle_tokenizer *t = open_text(PRE("(?:a|a)*x|(?:(?:a+)+)+y"));
  char text[200];
  memset(text, 'a', sizeof text);
  ql_error error = QL_ERROR_INIT;
  int32_t *ids = NULL;
  size_t count = 0;
  const clock_t start = clock();
  assert_int_equal(qle_tokenizer_encode(t, text, sizeof text, &ids, &count, &error),
                   QL_STATUS_FORMAT);
  assert_true(clock() - start < 20 * CLOCKS_PER_SEC); /* sanitizers are slow */
  assert_non_null(strstr(error.text, "in reasonable time"));
  assert_null(ids);
  qle_tokenizer_close(t);
}

static const char *const whole[] = {
    BYTE_FILE(ADDED(20, "<x>", PLAIN) "," ADDED(21, "q", WORD), "\"unk_token\":\"a\","),
    SP_FILE(METASPACE("first"), SP_NORMALIZER),
};

/* Uses a tokenizer that opened; what it says is not judged. */
static void use(const qle_tokenizer *t)
{
  static const char text[] = "Hi a<x>bc  caf\xc3\xa9 q aaaa\xff\n";
  int32_t *ids = NULL;
  size_t count = 0;
  if (qle_tokenizer_encode(t, text, sizeof text - 1, &ids, &count, NULL) != QL_STATUS_OK)
    return;
  char *out = NULL;
  size_t bytes = 0;
  for (size_t i = 0; i < count; i++)
    assert_in_range(ids[i], 0, qle_tokenizer_vocab(t) - 1);
  if (qle_tokenizer_decode(t, ids, count, 0, &out, &bytes, NULL) == QL_STATUS_OK)
    free(out);
  free(ids);
}

static void cut_files_are_refused(void **state)
{
  (void)state;
  for (size_t w = 0; w < 2; w++)
    for (size_t size = 0; size < strlen(whole[w]); size++) {
      qle_tokenizer *t = NULL;
      write_file(whole[w], size);
      assert_int_equal(qle_tokenizer_open(file, &t, NULL), QL_STATUS_FORMAT);
    }
}

/* Changes some bytes of a good file to others that JSON gives a meaning. */
static void changed_files_do_no_harm(void **state)
{
  (void)state;
  static const char bytes[] = "\"{}[]:,0129-+.eEtfn \\u\n\x80\xff_abN";
  uint32_t random = 12345;
  size_t opened = 0;
  for (size_t round = 0; round < 4000; round++) {
    char json[4096];
    const size_t size = strlen(whole[round % 2]);
    memcpy(json, whole[round % 2], size);
    for (size_t n = 0; n < 1 + round % 3; n++) {
      random = random * 1664525u + 1013904223u;
      const size_t place = (random >> 8) % size;
      random = random * 1664525u + 1013904223u;
      json[place] = bytes[(random >> 8) % (sizeof bytes - 1)];
    }
    qle_tokenizer *t = NULL;
    write_file(json, size);
    if (qle_tokenizer_open(file, &t, NULL) == QL_STATUS_OK) {
      opened++;
      use(t);
      qle_tokenizer_close(t);
    }
  }
  assert_in_range(opened, 40, 3900); /* else the changes test nothing */
}

static void every_allocation_may_fail(void **state)
{
  (void)state;
  for (size_t w = 0; w < 2; w++) {
    write_file(whole[w], strlen(whole[w]));
    for (long n = 0, done = 0; !done; n++) {
      qle_tokenizer *t = NULL;
      ql_error error = QL_ERROR_INIT;
      fail_at = n;
      const ql_status status = qle_tokenizer_open(file, &t, &error);
      done = fail_at >= 0;
      fail_at = -1;
      if (status != QL_STATUS_OK && status != QL_STATUS_NO_MEMORY)
        fail_msg("allocation %ld: %s", n, error.text);
      qle_tokenizer_close(t);
    }
  }
  qle_tokenizer *t = open_text(whole[0]);
  for (long n = 0, done = 0; !done; n++) {
    int32_t *ids = NULL;
    size_t count = 0;
    char *out = NULL;
    size_t bytes = 0;
    fail_at = n;
    ql_status status = qle_tokenizer_encode(t, "a<x>b q", 7, &ids, &count, NULL);
    if (status == QL_STATUS_OK)
      status = qle_tokenizer_decode(t, ids, count, 0, &out, &bytes, NULL);
    done = fail_at >= 0;
    fail_at = -1;
    assert_true(done ? status == QL_STATUS_OK : status == QL_STATUS_NO_MEMORY);
    free(ids);
    free(out);
  }
  qle_tokenizer_close(t);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(merges_run_by_rank_then_from_the_left),
      cmocka_unit_test(whole_words_go_before_merges),
      cmocka_unit_test(bytes_that_are_no_text_are_words),
      cmocka_unit_test(added_tokens_are_cut_out_first),
      cmocka_unit_test(characters_cut_in_two_are_replaced_or_awaited),
      cmocka_unit_test(long_words_merge_like_short_ones),
      cmocka_unit_test(spaces_become_marks),
      cmocka_unit_test(metaspace_prepends_by_scheme),
      cmocka_unit_test(lies_are_refused_by_name),
      cmocka_unit_test(deep_or_missing_files_are_refused),
      cmocka_unit_test(backtracking_ends),
      cmocka_unit_test(cut_files_are_refused),
      cmocka_unit_test(changed_files_do_no_harm),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
