/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "json_scan.h"

#include <string.h>

enum { MAX_DEPTH = 32 };

static bool fail(qli_json *j, const char *problem)
{
  j->problem = problem;
  return false;
}

static char peek(qli_json *j)
{
  while (j->at < j->size && strchr(" \t\n\r", j->text[j->at]) != NULL && j->text[j->at] != '\0')
    j->at++;
  return j->text[j->at];
}

bool qli_json_enter(qli_json *j, char open)
{
  if (peek(j) != open)
    return fail(j, open == '{' ? "an object is expected" : "an array is expected");
  j->at++;
  return true;
}

int qli_json_more(qli_json *j, char close, bool first)
{
  const char c = peek(j);
  if (c == close) {
    j->at++;
    return 0;
  }
  if (first && j->at < j->size)
    return 1;
  if (c != ',') {
    fail(j, "a comma or a closing bracket is expected");
    return -1;
  }
  j->at++;
  if (peek(j) == close) {
    fail(j, "a comma before a closing bracket");
    return -1;
  }
  return 1;
}

static int hex_digit(char c)
{
  if (c >= '0' && c <= '9')
    return c - '0';
  if (c >= 'a' && c <= 'f')
    return c - 'a' + 10;
  if (c >= 'A' && c <= 'F')
    return c - 'A' + 10;
  return -1;
}

/* Four hex digits. The NUL after the text ends the loop before its end is passed. */
static bool read_unit(qli_json *j, uint32_t *unit)
{
  *unit = 0;
  for (int i = 0; i < 4; i++) {
    const int digit = hex_digit(j->text[j->at]);
    if (digit < 0)
      return fail(j, "a \\u escape needs four hexadecimal digits");
    *unit = *unit << 4 | (uint32_t)digit;
    j->at++;
  }
  return true;
}

static char *put_utf8(char *to, uint32_t c)
{
  if (c < 0x80) {
    *to++ = (char)c;
  } else if (c < 0x800) {
    *to++ = (char)(0xc0 | c >> 6);
    *to++ = (char)(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    *to++ = (char)(0xe0 | c >> 12);
    *to++ = (char)(0x80 | (c >> 6 & 0x3f));
    *to++ = (char)(0x80 | (c & 0x3f));
  } else {
    *to++ = (char)(0xf0 | c >> 18);
    *to++ = (char)(0x80 | (c >> 12 & 0x3f));
    *to++ = (char)(0x80 | (c >> 6 & 0x3f));
    *to++ = (char)(0x80 | (c & 0x3f));
  }
  return to;
}

/* After "\u". The result takes at most as many bytes as the escape did. */
static bool read_unicode(qli_json *j, char **to)
{
  uint32_t c, low;
  if (!read_unit(j, &c))
    return false;
  if (c >= 0xdc00 && c <= 0xdfff)
    return fail(j, "a lone surrogate");
  if (c >= 0xd800 && c <= 0xdbff) {
    if (j->text[j->at] != '\\' || j->text[j->at + 1] != 'u')
      return fail(j, "a lone surrogate");
    j->at += 2;
    if (!read_unit(j, &low))
      return false;
    if (low < 0xdc00 || low > 0xdfff)
      return fail(j, "a lone surrogate");
    c = 0x10000 + ((c - 0xd800) << 10 | (low - 0xdc00));
  }
  if (c == 0)
    return fail(j, "a NUL character in a string");
  *to = put_utf8(*to, c);
  return true;
}

/* After a backslash. */
static bool read_escape(qli_json *j, char **to)
{
  static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
  const char c = j->text[j->at++];
  if (c == 'u')
    return read_unicode(j, to);
  const char *found = c ? strchr(from, c) : NULL;
  if (found == NULL)
    return fail(j, "an unknown escape");
  *(*to)++ = into[found - from];
  return true;
}

bool qli_json_string(qli_json *j, const char **out)
{
  if (peek(j) != '"')
    return fail(j, "a string is expected");
  char *const start = &j->text[++j->at];
  char *to = start;
  for (;;) {
    const char c = j->text[j->at];
    if (j->at >= j->size)
      return fail(j, "a string without an end");
    if ((unsigned char)c < 0x20)
      return fail(j, "a control character in a string");
    j->at++;
    if (c == '"')
      break;
    if (c != '\\')
      *to++ = c;
    else if (!read_escape(j, &to))
      return false;
  }
  *to = '\0';
  *out = start;
  return true;
}

bool qli_json_key(qli_json *j, const char **out)
{
  if (!qli_json_string(j, out))
    return false;
  if (peek(j) != ':')
    return fail(j, "a colon is expected");
  j->at++;
  return true;
}

bool qli_json_u64(qli_json *j, uint64_t *out)
{
  const uint64_t limit = (uint64_t)1 << 53;
  const char first = peek(j);
  if (first < '0' || first > '9')
    return fail(j, "a whole number that is not negative is expected");
  uint64_t value = 0;
  size_t digits = 0;
  while (j->text[j->at] >= '0' && j->text[j->at] <= '9') {
    value = value * 10 + (uint64_t)(j->text[j->at++] - '0');
    digits++;
    if (value > limit)
      return fail(j, "a number above 2^53");
  }
  if (first == '0' && digits > 1)
    return fail(j, "a number with a leading zero");
  const char next = j->text[j->at];
  if (next == '.' || next == 'e' || next == 'E')
    return fail(j, "a fraction or an exponent where a whole number is expected");
  *out = value;
  return true;
}

static bool skip_digits(qli_json *j)
{
  if (j->text[j->at] < '0' || j->text[j->at] > '9')
    return fail(j, "a digit is expected");
  while (j->text[j->at] >= '0' && j->text[j->at] <= '9')
    j->at++;
  return true;
}

static bool skip_number(qli_json *j)
{
  if (j->text[j->at] == '-')
    j->at++;
  if (!skip_digits(j))
    return false;
  if (j->text[j->at] == '.') {
    j->at++;
    if (!skip_digits(j))
      return false;
  }
  if (j->text[j->at] == 'e' || j->text[j->at] == 'E') {
    j->at++;
    if (j->text[j->at] == '+' || j->text[j->at] == '-')
      j->at++;
    return skip_digits(j);
  }
  return true;
}

static bool skip_word(qli_json *j)
{
  static const char *const words[] = {"true", "false", "null"};
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
    const size_t length = strlen(words[i]);
    if (strncmp(j->text + j->at, words[i], length) == 0) {
      j->at += length;
      return true;
    }
  }
  return fail(j, "a value is expected");
}

static bool skip_scalar(qli_json *j)
{
  const char *ignored;
  const char c = peek(j);
  if (c == '"')
    return qli_json_string(j, &ignored);
  if (c == '-' || (c >= '0' && c <= '9'))
    return skip_number(j);
  return skip_word(j);
}

/* One step of a walk that keeps its closing brackets on a stack of its own: no recursion. */
bool qli_json_skip(qli_json *j)
{
  char stack[MAX_DEPTH];
  size_t depth = 0;
  bool first = true;
  do {
    const char *ignored;
    if (depth > 0) {
      const int more = qli_json_more(j, stack[depth - 1], first);
      if (more < 0)
        return false;
      if (more == 0) {
        depth--;
        first = false;
        continue;
      }
      if (stack[depth - 1] == '}' && !qli_json_key(j, &ignored))
        return false;
    }
    const char c = peek(j);
    first = c == '{' || c == '[';
    if (!first) {
      if (!skip_scalar(j))
        return false;
      continue;
    }
    if (depth == MAX_DEPTH)
      return fail(j, "brackets nest too deep");
    stack[depth++] = c == '{' ? '}' : ']';
    j->at++;
  } while (depth > 0);
  return true;
}

bool qli_json_end(qli_json *j)
{
  peek(j);
  return j->at == j->size || fail(j, "text after the end of the object");
}
