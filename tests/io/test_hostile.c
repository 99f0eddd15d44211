/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "../cm.h"
#include "scratch.h"

#include <quantlib/quantlib.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Files that lie. Each is refused with a message that names the file, the tensor where there is
 * one, and what is wrong; nothing leaks (run under the address sanitizer) and nothing crashes. */

static ql_ctx *ctx;

static void expect(const char *path, ql_status want, const char *file, const char *tensor,
                   const char *text)
{
  ql_file *f = NULL;
  ql_error error = QL_ERROR_INIT;
  const ql_status got = ql_file_open(ctx, path, &f, &error);
  if (got != want)
    fail_msg("%s: %s (%s) where %s was expected", text, ql_status_str(got), error.text,
             ql_status_str(want));
  assert_null(f);
  assert_int_equal(error.status, want);
  if (strstr(error.text, text) == NULL)
    fail_msg("\"%s\" does not say \"%s\"", error.text, text);
  if (strstr(error.file, file) == NULL || strstr(error.text, file) == NULL)
    fail_msg("\"%s\" does not name %s", error.text, file);
  if (tensor != NULL) {
    assert_string_equal(error.tensor, tensor);
    assert_non_null(strstr(error.text, tensor));
  }
  /* The same without anybody to tell. */
  assert_int_equal(ql_file_open(ctx, path, &f, NULL), want);
}

typedef struct {
  const char *header;
  size_t data_bytes;
  ql_status status;
  const char *tensor, *text;
} row;

#define A "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"
#define DTYPE(x) "{\"a\":{\"dtype\":" x ",\"shape\":[2],\"data_offsets\":[0,8]}}"
#define SHAPE(x) "{\"a\":{\"dtype\":\"F32\",\"shape\":" x ",\"data_offsets\":[0,8]}}"
#define RANGE(x) "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":" x "}}"
#define B(x) "{" A ",\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" x "}}"
#define BAD QL_STATUS_FORMAT

static const row rows[] = {
    /* sizes of the file */
    {"{" A "}", 7, BAD, "a", "cut short: its tensors take 8 bytes, 7 are there"},
    {"{" A "}", 0, BAD, "a", "cut short"},
    {"{" A "}", 9, BAD, NULL, "1 bytes follow the last tensor"},
    {"{}", 1, BAD, NULL, "1 bytes follow the last tensor"},
    /* holes and overlaps */
    {B("[8,12]"), 13, BAD, NULL, "1 bytes follow"},
    {B("[9,13]"), 13, BAD, "b",
     "begins at byte 9 of the data, the tensor before it ends at 8 (a hole)"},
    {B("[7,11]"), 12, BAD, "b", "they overlap"},
    {B("[0,4]"), 8, BAD, "a", "they overlap"},
    {B("[4,8]"), 8, BAD, "b", "they overlap"},
    {RANGE("[1,9]"), 9, BAD, "a", "a hole"},
    {"{\"e\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[4,4]}," A "}", 8, BAD, "e",
     "they overlap"},
    {"{\"e\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[99,99]}," A "}", 8, BAD, "e",
     "a hole"},
    /* ranges against shapes */
    {RANGE("[8,0]"), 8, BAD, "a", "end before they begin"},
    {RANGE("[0,7]"), 7, BAD, "a", "hold 7 bytes, its shape and dtype need 8"},
    {RANGE("[0,9]"), 9, BAD, "a", "hold 9 bytes"},
    {RANGE("[0,0]"), 0, BAD, "a", "hold 0 bytes"},
    {RANGE("[9007199254740984,9007199254740992]"), 8, BAD, "a", "a hole"},
    {SHAPE("[2,0]"), 8, BAD, "a", "need 0"},
    {SHAPE("[]"), 8, BAD, "a", "need 4"},
    {SHAPE("[2,2]"), 8, BAD, "a", "need 16"},
    {DTYPE("\"F64\""), 8, BAD, "a", "need 16"},
    {DTYPE("\"I8\""), 8, BAD, "a", "need 2"},
    /* overflow */
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
     QL_STATUS_OVERFLOW, "a", "its shape overflows"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
     QL_STATUS_OVERFLOW, "a", "its shape overflows"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[0,4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
     QL_STATUS_OVERFLOW, "a", "its shape overflows"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4294967296,4294967296,0],\"data_offsets\":[0,0]}}", 0,
     QL_STATUS_OVERFLOW, "a", "its shape overflows"},
    {"{\"a\":{\"dtype\":\"F64\",\"shape\":[2097152,2097152,65536,2],\"data_offsets\":[0,0]}}", 0,
     QL_STATUS_OVERFLOW, "a", "its shape overflows"},
    {"{\"a\":{\"dtype\":\"U64\",\"shape\":[9007199254740992],\"data_offsets\":[0,8]}}", 8, BAD, "a",
     "need 72057594037927936"},
    /* numbers */
    {SHAPE("[-2]"), 8, BAD, "a", "not negative"},
    {SHAPE("[-0]"), 8, BAD, "a", "not negative"},
    {SHAPE("[2.0]"), 8, BAD, "a", "a fraction or an exponent"},
    {SHAPE("[2e0]"), 8, BAD, "a", "a fraction or an exponent"},
    {SHAPE("[02]"), 8, BAD, "a", "leading zero"},
    {SHAPE("[+2]"), 8, BAD, "a", "whole number"},
    {SHAPE("[0x2]"), 8, BAD, "a", "closing bracket is expected"},
    {SHAPE("[\"2\"]"), 8, BAD, "a", "whole number"},
    {SHAPE("[true]"), 8, BAD, "a", "whole number"},
    {SHAPE("[null]"), 8, BAD, "a", "whole number"},
    {SHAPE("[9007199254740993]"), 8, BAD, "a", "above 2^53"},
    {SHAPE("[18446744073709551618]"), 8, BAD, "a", "above 2^53"},
    {SHAPE("[99999999999999999999999999999]"), 8, BAD, "a", "above 2^53"},
    {RANGE("[0.0,8]"), 8, BAD, "a", "a fraction"},
    {RANGE("[-0,8]"), 8, BAD, "a", "not negative"},
    /* types and fields */
    {SHAPE("2"), 8, BAD, "a", "an array is expected"},
    {SHAPE("{}"), 8, BAD, "a", "an array is expected"},
    {SHAPE("[[2]]"), 8, BAD, "a", "whole number"},
    {SHAPE("[1,1,1,1,1,1,1,1,2]"), 8, QL_STATUS_UNSUPPORTED, "a", "more than 8 axes"},
    {RANGE("8"), 8, BAD, "a", "an array is expected"},
    {RANGE("[]"), 8, BAD, "a", "holds 0 numbers"},
    {RANGE("[0]"), 8, BAD, "a", "holds 1 numbers"},
    {RANGE("[0,8,8]"), 8, BAD, "a", "more than 2 numbers"},
    {DTYPE("\"F31\""), 8, BAD, "a", "unknown dtype \"F31\""},
    {DTYPE("\"f32\""), 8, BAD, "a", "unknown dtype"},
    {DTYPE("\"\""), 8, BAD, "a", "unknown dtype"},
    {DTYPE("\"I4\""), 8, BAD, "a", "unknown dtype"},
    {DTYPE("32"), 8, BAD, "a", "a string is expected"},
    {"{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]}}", 1, BAD, "a",
     "do not fill whole bytes"},
    {"{\"a\":{\"dtype\":\"F6_E2M3\",\"shape\":[2,3],\"data_offsets\":[0,5]}}", 5, BAD, "a",
     "do not fill whole bytes"},
    {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, BAD, "a", "has no dtype"},
    {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, BAD, "a", "has no shape"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, BAD, "a", "has no data_offsets"},
    {"{\"a\":{}}", 0, BAD, "a", "has no dtype"},
    {"{\"a\":[]}", 0, BAD, "a", "an object is expected"},
    {"{\"a\":null}", 0, BAD, "a", "an object is expected"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"strides\":[1]}}", 8, BAD,
     "a", "unknown field \"strides\""},
    /* twice */
    {"{" A "," A "}", 8, BAD, "a", "appears twice in the header"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
     "\"\\u0061\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]}}",
     16, BAD, "a", "appears twice in the header"},
    {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, BAD,
     "a", "\"dtype\" appears twice"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"shape\":[2],\"data_offsets\":[0,8]}}", 8, BAD, "a",
     "\"shape\" appears twice"},
    {"{\"__metadata__\":{},\"__metadata__\":{}," A "}", 8, BAD, NULL, "__metadata__ appears twice"},
    {"{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}," A "}", 8, BAD, NULL,
     "key \"k\" of __metadata__"},
    /* metadata */
    {"{\"__metadata__\":{\"k\":1}," A "}", 8, BAD, NULL, "a string is expected"},
    {"{\"__metadata__\":{\"k\":{}}," A "}", 8, BAD, NULL, "a string is expected"},
    {"{\"__metadata__\":{\"k\":null}," A "}", 8, BAD, NULL, "a string is expected"},
    {"{\"__metadata__\":\"pt\"," A "}", 8, BAD, NULL, "an object is expected"},
    {"{\"__metadata__\":{\"k\":\"\\u0000\"}," A "}", 8, BAD, NULL, "a NUL character"},
    /* names */
    {"{\"\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, BAD, NULL,
     "a tensor name"},
    {"{\"a\\u0000b\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, BAD, NULL,
     "a NUL character"},
    {"{\"a\\nb\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, BAD, NULL,
     "control characters"},
    {"{\"a\\u001b[31m\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, BAD, NULL,
     "control characters"},
    {"{\"\\ud800\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, BAD, NULL,
     "a lone surrogate"},
    {"{\"\\ud800\\u0041\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, BAD, NULL,
     "a lone surrogate"},
    {"{\"\\udc00\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, BAD, NULL,
     "a lone surrogate"},
    {"{\"\\u12g4\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, BAD, NULL,
     "hexadecimal"},
    {"{\"\\x\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, BAD, NULL,
     "an unknown escape"},
    {"{\"\xff\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, BAD, NULL,
     "not UTF-8"},
    {"{\"\xc0\xaf\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, BAD, NULL,
     "not UTF-8"},
    {"{\"\xed\xa0\x80\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, BAD, NULL,
     "not UTF-8"},
    {"{\"\xf4\x90\x80\x80\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, BAD, NULL,
     "not UTF-8"},
    {"{\"\xe2\x82\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, BAD, NULL,
     "not UTF-8"},
    /* JSON */
    {"", 0, BAD, NULL, "does not begin with {"},
    {" {}", 0, BAD, NULL, "does not begin with {"},
    {"\xef\xbb\xbf{}", 0, BAD, NULL, "does not begin with {"},
    {"[]", 0, BAD, NULL, "does not begin with {"},
    {"{", 0, BAD, NULL, "malformed"},
    {"{\"", 0, BAD, NULL, "a string without an end"},
    {"{\"a", 0, BAD, NULL, "a string without an end"},
    {"{\"a\\", 0, BAD, NULL, "an unknown escape"},
    {"{\"a\\u00", 0, BAD, NULL, "hexadecimal"},
    {"{\"a\"", 0, BAD, NULL, "a colon is expected"},
    {"{\"a\":", 0, BAD, NULL, "an object is expected"},
    {"{" A, 8, BAD, NULL, "a comma or a closing bracket"},
    {"{" A ",}", 8, BAD, NULL, "a comma before a closing bracket"},
    {"{," A "}", 8, BAD, NULL, "a string is expected"},
    {"{" A "}}", 8, BAD, NULL, "text after the end"},
    {"{" A "}{}", 8, BAD, NULL, "text after the end"},
    {"{" A "} x", 8, BAD, NULL, "text after the end"},
    {"{" A " " A "}", 8, BAD, NULL, "a comma or a closing bracket"},
    {"{a:1}", 0, BAD, NULL, "a string is expected"},
    {"{'a':1}", 0, BAD, NULL, "a string is expected"},
    {"{/* */}", 0, BAD, NULL, "a string is expected"},
    {"{\"a\tb\":{}}", 0, BAD, NULL, "a control character"},
    {SHAPE("[2,]"), 8, BAD, "a", "a comma before a closing bracket"},
    {SHAPE("[,2]"), 8, BAD, "a", "whole number"},
    {SHAPE("[2 2]"), 8, BAD, "a", "a comma or a closing bracket"},
    {SHAPE("[2}"), 8, BAD, "a", "a comma or a closing bracket"},
};

static void test_headers(void **state)
{
  (void)state;
  const char *path = scratch_path("hostile.safetensors");
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    write_st(path, rows[i].header, rows[i].data_bytes);
    expect(path, rows[i].status, "hostile.safetensors", rows[i].tensor, rows[i].text);
  }
}

/* The length before the header lies, or there is no room for one. */
static void test_lengths(void **state)
{
  (void)state;
  const char *path = scratch_path("length.safetensors"), *file = "length.safetensors";
  static const char header[] = "{" A "}";
  const size_t size = sizeof header - 1;
  for (size_t n = 0; n < 8; n++) {
    write_bytes(path, "\0\0\0\0\0\0\0\0", n);
    expect(path, BAD, file, NULL, "at least 8");
  }
  static const uint64_t lengths[] = {UINT64_MAX, INT64_MAX, UINT64_MAX - 7, 100000001,
                                     (uint64_t)1 << 32};
  for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
    write_st_length(path, lengths[i], header, size, 8);
    expect(path, BAD, file, NULL, "the format allows 100000000");
  }
  write_st_length(path, 100000000, header, size, 8);
  expect(path, BAD, file, NULL, "cut short: its header has 100000000 bytes");
  write_st_length(path, size + 9, header, size, 8);
  expect(path, BAD, file, NULL, "cut short: its header");
  write_st_length(path, size + 8, header, size, 8);
  expect(path, BAD, file, NULL, "text after the end"); /* the data is 0, 1, 2, ... */
  write_st_length(path, size - 1, header, size, 8);
  expect(path, BAD, file, NULL, "a comma or a closing bracket");
  write_st_length(path, 0, header, size, 8);
  expect(path, BAD, file, NULL, "does not begin with {");
  write_st_length(path, 3, "{}\0", 3, 0);
  expect(path, BAD, file, NULL, "text after the end");
}

/* Every cut of a good file. */
static void test_every_truncation(void **state)
{
  (void)state;
  const char *path = scratch_path("cut.safetensors");
  size_t size;
  write_st(path, B("[8,12]"), 12);
  unsigned char *bytes = read_bytes(path, &size);
  ql_file *f = NULL;
  assert_int_equal(ql_file_open(ctx, path, &f, NULL), QL_STATUS_OK);
  ql_file_close(f);
  for (size_t n = 0; n < size; n++) {
    write_bytes(path, bytes, n);
    expect(path, BAD, "cut.safetensors", NULL, "");
  }
  free(bytes);
}

/* Brackets and names without end. */
static void test_exhaustion(void **state)
{
  (void)state;
  const char *path = scratch_path("deep.safetensors"), *file = "deep.safetensors";
  enum { N = 1 << 20 };
  char *text = malloc(N + 64);
  memset(text, '[', N);
  memcpy(text, "{\"a\":", 5);
  text[N] = '\0';
  write_st(path, text, 0);
  expect(path, BAD, file, "a", "an object is expected");
  memset(text, '{', N);
  write_st(path, text, 0);
  expect(path, BAD, file, NULL, "a string is expected");
  memset(text, 'x', N);
  memcpy(text, "{\"", 2);
  strcpy(text + N - 70000, "\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}");
  write_st(path, text, 1);
  expect(path, BAD, file, NULL, "longer than 65535 bytes");
  free(text);
}

/* A tensor name that fills the error's fields is cut, the reason is not. */
static void test_long_names(void **state)
{
  (void)state;
  const char *path = scratch_path("long.safetensors");
  char text[2000];
  ql_error error = QL_ERROR_INIT;
  ql_file *f = NULL;
  int n = snprintf(text, sizeof text, "{\"");
  for (int i = 0; i < 300; i++)
    n += snprintf(text + n, sizeof text - (size_t)n, "\xe2\x82\xac");
  snprintf(text + n, sizeof text - (size_t)n,
           "\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[1,2]}}");
  write_st(path, text, 2);
  assert_int_equal(ql_file_open(ctx, path, &f, &error), BAD);
  assert_non_null(strstr(error.text, "begins at byte 1 of the data"));
  assert_non_null(strstr(error.text, "\xe2\x82\xac..."));
}

static void make_shards(const char *index)
{
  mkdir(scratch_path("m"), 0777);
  write_st(scratch_path("m/one.safetensors"), "{" A "}", 8);
  write_st(scratch_path("m/two.safetensors"),
           "{\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4);
  write_bytes(scratch_path("m/model.safetensors.index.json"), index, strlen(index));
}

#define MAP(x) "{\"metadata\":{\"total_size\":12.0},\"weight_map\":{" x "}}"
#define ONE "\"a\":\"one.safetensors\""
#define TWO "\"b\":\"two.safetensors\""
#define INDEX "model.safetensors.index.json"

typedef struct {
  const char *index;
  ql_status status;
  const char *file, *tensor, *text;
} index_row;

static const index_row index_rows[] = {
    {MAP(ONE ","
             "\"b\":\"../two.safetensors\""),
     BAD, INDEX, "b", "is not a plain file name"},
    {MAP(ONE ","
             "\"b\":\"/etc/passwd\""),
     BAD, INDEX, "b", "is not a plain file name"},
    {MAP(ONE ","
             "\"b\":\"sub/two.safetensors\""),
     BAD, INDEX, "b", "is not a plain file name"},
    {MAP(ONE ","
             "\"b\":\"..\""),
     BAD, INDEX, "b", "is not a plain file name"},
    {MAP(ONE ","
             "\"b\":\".\""),
     BAD, INDEX, "b", "is not a plain file name"},
    {MAP(ONE ","
             "\"b\":\"\""),
     BAD, INDEX, "b", "is not a plain file name"},
    {MAP(ONE ","
             "\"b\":\"two\\u0000.safetensors\""),
     BAD, INDEX, NULL, "a NUL character"},
    {MAP(ONE ","
             "\"b\":\"two\\n.safetensors\""),
     BAD, INDEX, "b", "is not a plain file name"},
    {MAP(ONE ","
             "\"b\":2"),
     BAD, INDEX, NULL, "a string is expected"},
    {MAP(ONE ","
             "\"\":\"two.safetensors\""),
     BAD, INDEX, NULL, "a tensor name"},
    {MAP(ONE ","
             "\"b\":\"three.safetensors\""),
     QL_STATUS_NOT_FOUND, "three.safetensors", NULL, "is missing"},
    {MAP(ONE "," TWO ","
             "\"c\":\"two.safetensors\""),
     BAD, INDEX, "c", "is not in \"two.safetensors\""},
    {MAP(ONE ","
             "\"c\":\"two.safetensors\""),
     BAD, "two.safetensors", "b", "is not in " INDEX},
    {MAP(ONE ","
             "\"b\":\"one.safetensors\""),
     BAD, INDEX, "b", "is not in \"one.safetensors\""},
    {MAP("\"a\":\"two.safetensors\",\"b\":\"one.safetensors\""), BAD, INDEX, "a",
     "is not in \"two.safetensors\""},
    {MAP(ONE "," ONE "," TWO), BAD, INDEX, "a", "appears twice"},
    {MAP(ONE "," TWO ","
             "\"c\":\"model.safetensors.index.json\""),
     BAD, INDEX, NULL, "the format allows"},
    {MAP(ONE "," TWO ","
             "\"c\":\"directory\""),
     BAD, "directory", NULL, "not a regular file"},
    {MAP(ONE "," TWO ","
             "\"c\":\"pipe\""),
     BAD, "pipe", NULL, "not a regular file"},
    {MAP(ONE "," TWO ","
             "\"c\":\"copy.safetensors\""),
     BAD, NULL, "a", "is also in"},
    {MAP(""), BAD, INDEX, NULL, "weight_map is empty"},
    {"{}", BAD, INDEX, NULL, "has no weight_map"},
    {"", BAD, INDEX, NULL, "an object is expected"},
    {"[]", BAD, INDEX, NULL, "an object is expected"},
    {"{\"weight_map\":[]}", BAD, INDEX, NULL, "an object is expected"},
    {"{\"weight_map\":{" ONE "},\"weight_map\":{" TWO "}}", BAD, INDEX, NULL, "appears twice"},
    {MAP(ONE "," TWO) "x", BAD, INDEX, NULL, "text after the end"},
    {"{\"metadata\":[1,2,{\"x\":tru}],\"weight_map\":{" ONE "," TWO "}}", BAD, INDEX, NULL,
     "a value is expected"},
    {"{\"metadata\":[1,],\"weight_map\":{" ONE "," TWO "}}", BAD, INDEX, NULL, "a comma before"},
    {"{\"metadata\":-,\"weight_map\":{" ONE "," TWO "}}", BAD, INDEX, NULL, "a digit is expected"},
    {"{\"metadata\":1.,\"weight_map\":{" ONE "," TWO "}}", BAD, INDEX, NULL, "a digit is expected"},
    {"{\"metadata\":1e,\"weight_map\":{" ONE "," TWO "}}", BAD, INDEX, NULL, "a digit is expected"},
    {"{\"metadata\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]],"
     "\"weight_map\":{" ONE "," TWO "}}",
     BAD, INDEX, NULL, "brackets nest too deep"},
    {"{\"x\":\"\xff\",\"weight_map\":{" ONE "," TWO "}}", BAD, INDEX, NULL, "not UTF-8"},
};

static void test_indexes(void **state)
{
  (void)state;
  make_shards(MAP(ONE "," TWO));
  mkdir(scratch_path("m/directory"), 0777);
  assert_int_equal(mkfifo(scratch_path("m/pipe"), 0666), 0);
  write_st(scratch_path("m/copy.safetensors"), "{" A "}", 8);
  ql_file *f = NULL;
  assert_int_equal(ql_file_open(ctx, scratch_path("m"), &f, NULL), QL_STATUS_OK);
  assert_int_equal(ql_file_count(f), 2);
  ql_file_close(f);
  for (size_t i = 0; i < sizeof index_rows / sizeof index_rows[0]; i++) {
    const index_row *r = &index_rows[i];
    make_shards(r->index);
    expect(scratch_path("m"), r->status, r->file ? r->file : "", r->tensor, r->text);
  }
  /* What readers skip may be anything that is JSON. */
  make_shards("{\"metadata\":{\"a\":[null,true,false,-1.5e+3,\"\\u20ac\",{}],\"b\":[]},"
              "\"weight_map\":{" ONE "," TWO "},\"more\":0} ");
  assert_int_equal(ql_file_open(ctx, scratch_path("m"), &f, NULL), QL_STATUS_OK);
  ql_file_close(f);
  remove_tree(scratch_path("m"));
}

static void test_not_files(void **state)
{
  (void)state;
  expect(scratch_path("absent"), QL_STATUS_NOT_FOUND, "absent", NULL, "cannot be opened");
  mkdir(scratch_path("hollow"), 0777);
  expect(scratch_path("hollow"), QL_STATUS_NOT_FOUND, "hollow", NULL, "has neither");
  mkdir(scratch_path("hollow/model.safetensors"), 0777);
  expect(scratch_path("hollow"), BAD, "hollow/model.safetensors", NULL, "not a regular file");
  assert_int_equal(mkfifo(scratch_path("fifo"), 0666), 0);
  expect(scratch_path("fifo"), BAD, "fifo", NULL, "not a regular file");
  expect("/dev/null", BAD, "/dev/null", NULL, "not a regular file");
  assert_int_equal(symlink("loop", scratch_path("loop")), 0);
  expect(scratch_path("loop"), QL_STATUS_IO, "loop", NULL, "cannot be opened");
  ql_file *f = NULL;
  assert_int_equal(ql_file_open(NULL, "x", &f, NULL), QL_STATUS_INVALID_ARGUMENT);
  assert_int_equal(ql_file_open(ctx, NULL, &f, NULL), QL_STATUS_INVALID_ARGUMENT);
  assert_int_equal(ql_file_open(ctx, "x", NULL, NULL), QL_STATUS_INVALID_ARGUMENT);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_headers),          cmocka_unit_test(test_lengths),
      cmocka_unit_test(test_every_truncation), cmocka_unit_test(test_exhaustion),
      cmocka_unit_test(test_long_names),       cmocka_unit_test(test_indexes),
      cmocka_unit_test(test_not_files),
  };
  ql_ctx_create(NULL, &ctx, NULL);
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  ql_ctx_destroy(ctx);
  scratch_remove();
  return failed;
}
