/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "qbench_internal.h"

#include <stdlib.h>
#include <string.h>

static const struct {
  size_t n, k;
  const char *name;
} shapes[] = {
#define QBENCH_SHAPE(n, k, name) {n, k, name},
#include "../shapes.def"
#undef QBENCH_SHAPE
};

static const size_t all_m[] = {1, 2, 4, 8, 16, 32, 64, 128, 512};
static const size_t quick_m[] = {1, 16, 512};

static void set_m(qbench_config *c, const size_t *m, size_t count)
{
  memcpy(c->m, m, count * sizeof *m);
  c->m_count = count;
}

static void add_shape(qbench_config *c, size_t n, size_t k)
{
  if (c->shape_count < QBENCH_LIST)
    c->shapes[c->shape_count++] = (qbench_shape){n, k};
}

void qbench_config_init(qbench_config *c)
{
  *c = (qbench_config){.act = QL_DTYPE_F32, .computes = ~0u, .hot = 1, .cold = 1};
  c->original = QL_DTYPE_F16;
  c->seconds = 0.3;
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
    add_shape(c, shapes[i].n, shapes[i].k);
  set_m(c, all_m, sizeof all_m / sizeof all_m[0]);
}

void qbench_config_quick(qbench_config *c)
{
  c->quick = 1;
  c->shape_count = 0;
  add_shape(c, 4096, 4096);
  set_m(c, quick_m, sizeof quick_m / sizeof quick_m[0]);
}

/* The next word of a list; its length, 0 at the end. */
static size_t next_word(const char **at)
{
  *at += strspn(*at, ", ");
  return strcspn(*at, ", ");
}

static int whole(const char *text, size_t length, size_t least, size_t most, size_t *value)
{
  char digits[24], *end;
  if (length == 0 || length >= sizeof digits || text[0] < '0' || text[0] > '9')
    return -1;
  memcpy(digits, text, length);
  digits[length] = '\0';
  *value = strtoull(digits, &end, 10);
  return *end != '\0' || *value < least || *value > most ? -1 : 0;
}

static int set_numbers(qbench_config *c, const char *name, const char *text, size_t most,
                       size_t *list, size_t *count)
{
  size_t length;
  *count = 0;
  for (const char *at = text; (length = next_word(&at)) > 0; at += length) {
    if (*count == QBENCH_LIST || whole(at, length, 1, most, &list[*count]) != 0)
      return qbench_fail(c, "%s: '%.*s' is not a whole number from 1 to %zu", name, (int)length, at,
                         most);
    ++*count;
  }
  return *count > 0 ? 0 : qbench_fail(c, "%s: the list is empty", name);
}

static int set_shape(qbench_config *c, const char *word, size_t length)
{
  const char *by = memchr(word, 'x', length);
  size_t n, k;
  if (by != NULL && whole(word, (size_t)(by - word), 1, 1 << 24, &n) == 0 &&
      whole(by + 1, length - (size_t)(by - word) - 1, 1, 1 << 24, &k) == 0) {
    add_shape(c, n, k);
    return 0;
  }
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
    if (strlen(shapes[i].name) == length && strncmp(shapes[i].name, word, length) == 0) {
      add_shape(c, shapes[i].n, shapes[i].k);
      return 0;
    }
  return qbench_fail(c,
                     "shape '%.*s' is neither NxK nor one of attention, up, down, up-wide, "
                     "key-value, head",
                     (int)length, word);
}

static int set_shapes(qbench_config *c, const char *text)
{
  size_t length;
  c->shape_count = 0;
  for (const char *at = text; (length = next_word(&at)) > 0; at += length)
    if (set_shape(c, at, length) != 0)
      return -1;
  return c->shape_count > 0 ? 0 : qbench_fail(c, "shape: the list is empty");
}

static int known_op(const char *word, size_t length)
{
  for (size_t i = 0; i < qbench_op_count; i++)
    if (strlen(qbench_ops[i].op) == length && strncmp(qbench_ops[i].op, word, length) == 0)
      return 1;
  const char *others = qbench_other_names;
  for (size_t n; (n = next_word(&others)) > 0; others += n)
    if (n == length && strncmp(others, word, n) == 0)
      return 1;
  return 0;
}

static int set_ops(qbench_config *c, const char *text)
{
  size_t length;
  for (const char *at = text; (length = next_word(&at)) > 0; at += length)
    if (!known_op(at, length))
      return qbench_fail(c, "op '%.*s' is not one of %s", (int)length, at, qbench_op_names());
  c->ops = text;
  return 0;
}

/* Index of the word in a list of words separated by bars; -1: it is not there. */
static int choice(const char *words, const char *value)
{
  const size_t length = strlen(value);
  int index = 0;
  for (const char *at = words; at != NULL; index++) {
    at += *at == '|';
    if (strncmp(at, value, length) == 0 && (at[length] == '|' || at[length] == '\0'))
      return index;
    at = strchr(at, '|');
  }
  return -1;
}

static int set_choice(qbench_config *c, const char *name, const char *words, const char *value,
                      int *index)
{
  *index = choice(words, value);
  return *index >= 0 ? 0 : qbench_fail(c, "%s: '%.60s' is not one of %s", name, value, words);
}

static int set_computes(qbench_config *c, const char *text)
{
  size_t length;
  c->computes = 0;
  for (const char *at = text; (length = next_word(&at)) > 0; at += length) {
    char word[8];
    int index;
    snprintf(word, sizeof word, "%.*s", (int)(length < 7 ? length : 7), at);
    if (set_choice(c, "compute", "f32|a16|a8", word, &index) != 0)
      return -1;
    c->computes |= 1u << index;
  }
  return c->computes != 0 ? 0 : qbench_fail(c, "compute: the list is empty");
}

static int set_group(qbench_config *c, const char *text)
{
  size_t group = 0;
  if (strcmp(text, "-1") == 0)
    c->group = -1;
  else if (whole(text, strlen(text), 1, 1 << 24, &group) == 0)
    c->group = (int64_t)group;
  else
    return qbench_fail(c, "group: '%.60s' is neither -1 nor a whole number from 1", text);
  return 0;
}

static int set_seconds(qbench_config *c, const char *text)
{
  char *end;
  c->seconds = strtod(text, &end);
  return end != text && *end == '\0' && c->seconds >= 0 && c->seconds <= 3600
             ? 0
             : qbench_fail(c, "seconds: '%.60s' is not a number from 0 to 3600", text);
}

static int set_words(qbench_config *c, const char *name, const char *value)
{
  static const ql_dtype types[] = {QL_DTYPE_F32, QL_DTYPE_F16, QL_DTYPE_BF16, QL_DTYPE_NONE};
  int index = 0;
  if (strcmp(name, "act") == 0) {
    if (set_choice(c, name, "f32|f16|bf16", value, &index) != 0)
      return -1;
    c->act = types[index];
  } else if (strcmp(name, "original") == 0) {
    if (set_choice(c, name, "f32|f16|bf16|none", value, &index) != 0)
      return -1;
    c->original = types[index];
  } else {
    if (set_choice(c, name, "both|cold|hot", value, &index) != 0)
      return -1;
    c->cold = index != 2;
    c->hot = index != 1;
  }
  return 0;
}

int qbench_config_set(qbench_config *c, const char *name, const char *value)
{
  size_t mib = 0;
  if (strcmp(name, "isa") == 0) {
    c->isa = value;
    return 0;
  }
  if (strcmp(name, "op") == 0)
    return set_ops(c, value);
  if (strcmp(name, "shape") == 0)
    return set_shapes(c, value);
  if (strcmp(name, "m") == 0)
    return set_numbers(c, name, value, 1 << 20, c->m, &c->m_count);
  if (strcmp(name, "threads") == 0)
    return set_numbers(c, name, value, 4096, c->threads, &c->thread_count);
  if (strcmp(name, "compute") == 0)
    return set_computes(c, value);
  if (strcmp(name, "group") == 0)
    return set_group(c, value);
  if (strcmp(name, "seconds") == 0)
    return set_seconds(c, value);
  if (strcmp(name, "act") == 0 || strcmp(name, "original") == 0 || strcmp(name, "state") == 0)
    return set_words(c, name, value);
  if (strcmp(name, "cold-mib") == 0 && whole(value, strlen(value), 1, 1 << 24, &mib) == 0) {
    c->cold_bytes = mib << 20;
    return 0;
  }
  return qbench_fail(c, "option '%.40s' with value '%.60s' is not known", name, value);
}
