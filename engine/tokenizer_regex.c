/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tokenizer_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Patterns in tokenizer.json are written for Oniguruma with Ruby's syntax. What means something
 * else to PCRE2 is translated where that is exact and refused where it is not. A pattern is input
 * that nobody vouches for: verbs, callouts, recursion and back references are refused with the
 * rest. */

/* White space as Unicode has it; PCRE2's \s has U+180E besides. */
#define SPACE_SET "\\t-\\r\\x{85}\\p{Z}"

enum { MAX_PATTERN = 16384 };

typedef struct {
  qle_span in;
  size_t at;
  qle_bytes out;
  char *why;
  size_t room;
  bool failed;
  ql_status status; /* of the failure */
} translation;

static void refuse(translation *t, const char *what, size_t begin, size_t end)
{
  if (t->failed)
    return;
  t->failed = true;
  t->status = QL_STATUS_UNSUPPORTED;
  const size_t size = end > t->in.size ? t->in.size - begin : end - begin;
  snprintf(t->why, t->room, "%s at character %zu of the pattern (\"%.*s\") is not supported",
           what, begin, (int)size, t->in.data + begin);
}

static void put(translation *t, const char *text, size_t size)
{
  if (!t->failed && !qle_bytes_add(&t->out, text, size)) {
    t->failed = true;
    t->status = QL_STATUS_NO_MEMORY;
    snprintf(t->why, t->room, "no memory for the pattern");
  }
}

static void put_text(translation *t, const char *text)
{
  put(t, text, strlen(text));
}

static char peek(const translation *t, size_t ahead)
{
  return t->at + ahead < t->in.size ? t->in.data[t->at + ahead] : '\0';
}

/* Copies n characters of the pattern. */
static void copy(translation *t, size_t n)
{
  put(t, t->in.data + t->at, n);
  t->at += n;
}

static bool is_hex(char c)
{
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool is_alnum(char c)
{
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* \p{Name}, \P{Name}, \p{^Name} mean the same to both. */
static void property(translation *t)
{
  size_t n = 3;
  if (peek(t, 2) == '{') {
    n += peek(t, n) == '^';
    while (is_alnum(peek(t, n)) || peek(t, n) == '_')
      n++;
  }
  if (peek(t, n) != '}')
    refuse(t, "a property", t->at, t->at + 4);
  else
    copy(t, n + 1);
}

/* \x41, \x{1F600}, \u0041. A two-digit \x above 7F is a byte to Oniguruma. */
static void code_point(translation *t)
{
  const bool braces = peek(t, 1) == 'x' && peek(t, 2) == '{';
  const size_t begin = braces ? 3 : 2, most = braces ? 6 : peek(t, 1) == 'u' ? 4 : 2;
  size_t n = 0;
  while (n < most && is_hex(peek(t, begin + n)))
    n++;
  const bool closed = braces ? peek(t, begin + n) == '}' && n > 0 : n == most;
  if (!closed || (!braces && most == 2 && peek(t, 2) > '7')) {
    refuse(t, "a code point", t->at, t->at + begin + n);
    return;
  }
  put_text(t, "\\x{");
  put(t, t->in.data + t->at + begin, n);
  put_text(t, "}");
  t->at += begin + n + braces;
}

static void escape(translation *t, bool in_class)
{
  const char c = peek(t, 1);
  const char *as = NULL;
  switch (c) {
  case 's': as = in_class ? SPACE_SET : "[" SPACE_SET "]"; break;
  case 'S': as = in_class ? "\\S\\x{180e}" : "[^" SPACE_SET "]"; break;
  case 'd': as = "\\p{Nd}"; break;
  case 'D': as = "\\P{Nd}"; break;
  case 'n': as = "\\n"; break;
  case 'r': as = "\\r"; break;
  case 't': as = "\\t"; break;
  case 'f': as = "\\f"; break;
  case 'A': as = in_class ? NULL : "\\A"; break;
  case 'z': as = in_class ? NULL : "\\z"; break;
  case 'p':
  case 'P': property(t); return;
  case 'x':
  case 'u': code_point(t); return;
  default: break;
  }
  if (as != NULL) {
    put_text(t, as);
    t->at += 2;
  } else if (c > ' ' && c < 0x7f && !is_alnum(c)) {
    copy(t, 2);
  } else {
    refuse(t, "an escape", t->at, t->at + 2);
  }
}

/* [...]: sets in sets, set operations and POSIX names are refused. */
static void class(translation *t)
{
  const size_t begin = t->at;
  copy(t, peek(t, 1) == '^' ? 2 : 1);
  if (peek(t, 0) == ']')
    refuse(t, "an empty set", begin, t->at + 1);
  while (!t->failed && peek(t, 0) != ']') {
    if (t->at >= t->in.size)
      refuse(t, "a set without end", begin, t->at);
    else if (peek(t, 0) == '[')
      refuse(t, "a set in a set", begin, t->at + 1);
    else if (peek(t, 0) == '&' && peek(t, 1) == '&')
      refuse(t, "an intersection of sets", begin, t->at + 2);
    else if (peek(t, 0) == '\\')
      escape(t, true);
    else
      copy(t, 1);
  }
  copy(t, t->failed ? 0 : 1);
}

static void group(translation *t)
{
  static const char *const known[] = {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!", "(?i:"};
  if (peek(t, 1) != '?' && peek(t, 1) != '*') {
    copy(t, 1);
    return;
  }
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    const size_t n = strlen(known[i]);
    if (t->in.size - t->at >= n && memcmp(t->in.data + t->at, known[i], n) == 0) {
      copy(t, n);
      return;
    }
  }
  refuse(t, "a group", t->at, t->at + 4);
}

/* {n}, {n,}, {n,m} and the lazy {n,m}?. Ruby reads {,n}, {n}? and {n,m}+ in another way. */
static void repeat(translation *t)
{
  size_t n = 1, digits = 0;
  while (peek(t, n) >= '0' && peek(t, n) <= '9') {
    n++;
    digits++;
  }
  const bool range = peek(t, n) == ',';
  n += range;
  while (range && peek(t, n) >= '0' && peek(t, n) <= '9')
    n++;
  if (digits == 0 || peek(t, n) != '}' || peek(t, n + 1) == '+' ||
      (peek(t, n + 1) == '?' && !range))
    refuse(t, "a repetition", t->at, t->at + n + 2);
  else
    copy(t, n + 1);
}

static void translate(translation *t)
{
  while (!t->failed && t->at < t->in.size) {
    switch (peek(t, 0)) {
    case '\\': escape(t, false); break;
    case '[': class(t); break;
    case '(': group(t); break;
    case '{': repeat(t); break;
    case '^': /* of a line; not behind the newline that ends the text */
      put_text(t, "(?:\\A|(?<=\\n)(?!\\z))");
      t->at++;
      break;
    case '$':
      put_text(t, "(?=\\n|\\z)");
      t->at++;
      break;
    default: copy(t, 1); break;
    }
  }
}

static ql_status compile(const char *pattern, size_t size, bool literal, pcre2_code **out,
                         char *why, size_t room)
{
  pcre2_compile_context *context = pcre2_compile_context_create(NULL);
  if (context == NULL) {
    snprintf(why, room, "no memory for the pattern");
    return QL_STATUS_NO_MEMORY;
  }
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  int code;
  PCRE2_SIZE offset;
  const uint32_t options = PCRE2_UTF | (literal ? (uint32_t)PCRE2_LITERAL
                                                : (uint32_t)(PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C));
  *out = pcre2_compile((PCRE2_SPTR)pattern, size, options, &code, &offset, context);
  pcre2_compile_context_free(context);
  if (*out != NULL)
    return QL_STATUS_OK;
  char text[120] = "";
  pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof text);
  snprintf(why, room, "the pattern cannot be compiled: %s", text);
  return code == PCRE2_ERROR_HEAP_FAILED ? QL_STATUS_NO_MEMORY : QL_STATUS_FORMAT;
}

ql_status qle_regex_compile(qle_span pattern, bool literal, pcre2_code **out, char *why,
                            size_t room)
{
  if (pattern.size == 0 || pattern.size > MAX_PATTERN) {
    snprintf(why, room, "a pattern of %zu bytes; 1 to %d are accepted", pattern.size, MAX_PATTERN);
    return QL_STATUS_FORMAT;
  }
  if (literal)
    return compile(pattern.data, pattern.size, true, out, why, room);
  translation t = {.in = pattern, .why = why, .room = room};
  translate(&t);
  const ql_status status =
      t.failed ? t.status : compile(t.out.data, t.out.size, false, out, why, room);
  free(t.out.data);
  return status;
}

/* An empty match right behind the one before it does not count: the search goes on one character
 * later. */
int qle_scan_next(qle_scan *scan, size_t *begin, size_t *end)
{
  for (;;) {
    if (scan->at > scan->text.size)
      return 0;
    /* The text was checked once; a check on each call would make long texts quadratic. */
    const int code = pcre2_match(scan->regex, (PCRE2_SPTR)scan->text.data, scan->text.size,
                                 scan->at, PCRE2_NO_UTF_CHECK, scan->match, scan->limits);
    if (code == PCRE2_ERROR_NOMATCH)
      return 0;
    if (code < 0)
      return code;
    const PCRE2_SIZE *place = pcre2_get_ovector_pointer(scan->match);
    if (place[0] != place[1] || place[1] != scan->last_end) {
      *begin = place[0];
      *end = scan->at = scan->last_end = place[1];
      return 1;
    }
    const size_t left = scan->text.size - scan->at;
    const size_t step = left == 0 ? 0 : qle_utf8_length(scan->text.data + scan->at, left, NULL);
    scan->at += step == 0 ? 1 : step;
  }
}
