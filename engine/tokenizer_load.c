/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tokenizer_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* From the JSON to steps. What is unknown here is refused by name, never skipped: a tokenizer
 * that is nearly right gives a perplexity that is quite wrong. */

#define GPT2_PATTERN \
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

typedef struct {
  qle_tokenizer *t;
  ql_error *error;
} loader;

/* Its value is the constant status, so that the compiler sees that a failure is not a success. */
#define FAIL(l, status, key, ...)                                    \
  (qle_key_fail((l)->error, status, (l)->t->path, key, __VA_ARGS__), (status))

/* -------- helpers -------- */

static ql_status string_of(const loader *l, const json_t *object, const char *name, const char *key,
                           qle_span *out)
{
  const json_t *value = json_object_get(object, name);
  if (!json_is_string(value))
    return FAIL(l, QL_STATUS_FORMAT, key, "\"%s\" is missing or not a string", name);
  *out = (qle_span){json_string_value(value), json_string_length(value)};
  return QL_STATUS_OK;
}

static ql_status bool_of(const loader *l, const json_t *object, const char *name, bool fallback,
                         bool *out, const char *key)
{
  return qle_key_bool(object, name, fallback, out, l->t->path, key, l->error);
}

static ql_status check(const loader *l, const json_t *object, const char *known, const char *key)
{
  return qle_key_check(object, known, l->t->path, key, l->error);
}

/* Appends a step that the caller fills. */
static ql_status add_step(const loader *l, qle_steps *steps, qle_step_kind kind, const char *key,
                          qle_step **out)
{
  if (steps->count == QLE_MAX_STEPS)
    return FAIL(l, QL_STATUS_UNSUPPORTED, key, "has more than %d steps", QLE_MAX_STEPS);
  *out = &steps->step[steps->count++];
  memset(*out, 0, sizeof **out);
  (*out)->kind = kind;
  return QL_STATUS_OK;
}

static ql_status set_text(const loader *l, qle_step *step, qle_span text, const char *key)
{
  step->text = malloc(text.size + 1);
  if (step->text == NULL)
    return FAIL(l, QL_STATUS_NO_MEMORY, key, "no memory");
  memcpy(step->text, text.data, text.size);
  step->text[text.size] = '\0';
  step->size = text.size;
  return QL_STATUS_OK;
}

static ql_status set_regex(const loader *l, qle_step *step, qle_span pattern, bool literal,
                           const char *key)
{
  char why[200];
  const ql_status status = qle_regex_compile(pattern, literal, &step->regex, why, sizeof why);
  return status == QL_STATUS_OK ? status : FAIL(l, status, key, "%s", why);
}

/* {"String": "..."} or {"Regex": "..."} */
static ql_status set_pattern(const loader *l, qle_step *step, const json_t *object, const char *key)
{
  const json_t *pattern = json_object_get(object, "pattern");
  QLE_TRY(check(l, pattern, "String Regex", key));
  const json_t *literal = json_object_get(pattern, "String");
  const json_t *regex = json_object_get(pattern, "Regex");
  const json_t *text = literal != NULL ? literal : regex;
  if (json_object_size(pattern) != 1 || !json_is_string(text))
    return FAIL(l, QL_STATUS_FORMAT, key, "\"pattern\" holds neither a String nor a Regex");
  const qle_span span = {json_string_value(text), json_string_length(text)};
  return set_regex(l, step, span, literal != NULL, key);
}

/* A part of the file and what its types do. */
typedef ql_status (*part_fn)(const loader *l, qle_steps *steps, const json_t *object,
                             const char *key);
typedef struct {
  const char *type;
  part_fn load;
} part;

static ql_status load_part(const loader *l, qle_steps *steps, const json_t *object, const char *key,
                           const char *list, const part *parts, size_t count);

/* The members of a Sequence. */
static ql_status load_list(const loader *l, qle_steps *steps, const json_t *object, const char *key,
                           const char *list, const part *parts, size_t count)
{
  char known[64];
  snprintf(known, sizeof known, "type %s", list);
  QLE_TRY(check(l, object, known, key));
  const json_t *members = json_object_get(object, list);
  if (!json_is_array(members))
    return FAIL(l, QL_STATUS_FORMAT, key, "\"%s\" is missing or not an array", list);
  for (size_t i = 0; i < json_array_size(members); i++) {
    char name[128];
    snprintf(name, sizeof name, "%.80s.%s[%zu]", key, list, i);
    QLE_TRY(load_part(l, steps, json_array_get(members, i), name, list, parts, count));
  }
  return QL_STATUS_OK;
}

/* JSON is at most 64 deep here, and so are Sequences in Sequences. */
static ql_status load_part(const loader *l, qle_steps *steps, const json_t *object, const char *key,
                           const char *list, const part *parts, size_t count)
{
  if (!json_is_object(object))
    return FAIL(l, QL_STATUS_FORMAT, key, "is not an object");
  const char *type = json_string_value(json_object_get(object, "type"));
  if (type == NULL)
    return FAIL(l, QL_STATUS_FORMAT, key, "\"type\" is missing or not a string");
  if (strcmp(type, "Sequence") == 0)
    return load_list(l, steps, object, key, list, parts, count);
  for (size_t i = 0; i < count; i++)
    if (strcmp(type, parts[i].type) == 0)
      return parts[i].load(l, steps, object, key);
  return FAIL(l, QL_STATUS_UNSUPPORTED, key, "type \"%.80s\" is not supported", type);
}

static ql_status load_steps(const loader *l, qle_steps *steps, const json_t *root, const char *name,
                            const char *list, const part *parts, size_t count)
{
  const json_t *object = json_object_get(root, name);
  if (object == NULL || json_is_null(object))
    return QL_STATUS_OK;
  steps->present = true;
  return load_part(l, steps, object, name, list, parts, count);
}

/* -------- normalizers -------- */

static ql_status load_bytes(const loader *l, qle_steps *steps, const json_t *object,
                            const char *key)
{
  qle_step *step = NULL;
  QLE_TRY(check(l, object, "type", key));
  return add_step(l, steps, QLE_STEP_BYTES, key, &step);
}

static ql_status load_prepend(const loader *l, qle_steps *steps, const json_t *object,
                              const char *key)
{
  qle_step *step = NULL;
  qle_span text;
  QLE_TRY(check(l, object, "type prepend", key));
  QLE_TRY(string_of(l, object, "prepend", key, &text));
  QLE_TRY(add_step(l, steps, QLE_STEP_PREPEND, key, &step));
  return set_text(l, step, text, key);
}

static ql_status load_replace(const loader *l, qle_steps *steps, const json_t *object,
                              const char *key)
{
  qle_step *step = NULL;
  qle_span content;
  QLE_TRY(check(l, object, "type pattern content", key));
  QLE_TRY(string_of(l, object, "content", key, &content));
  QLE_TRY(add_step(l, steps, QLE_STEP_REPLACE, key, &step));
  QLE_TRY(set_text(l, step, content, key));
  return set_pattern(l, step, object, key);
}

static ql_status load_form(const loader *l, qle_steps *steps, const json_t *object, const char *key)
{
  static const struct {
    const char *name;
    int options;
  } forms[] = {
      {"NFC", UTF8PROC_STABLE | UTF8PROC_COMPOSE},
      {"NFD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE},
      {"NFKC", UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
      {"NFKD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT},
  };
  const char *type = json_string_value(json_object_get(object, "type"));
  qle_step *step = NULL;
  QLE_TRY(check(l, object, "type", key));
  QLE_TRY(add_step(l, steps, QLE_STEP_UNICODE, key, &step));
  for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
    if (strcmp(type, forms[i].name) == 0)
      step->form = forms[i].options;
  return QL_STATUS_OK;
}

static const part normalizers[] = {
    {"NFC", load_form},        {"NFD", load_form},        {"NFKC", load_form},
    {"NFKD", load_form},       {"Prepend", load_prepend}, {"Replace", load_replace},
    {"ByteLevel", load_bytes},
};

/* -------- pre-tokenizers -------- */

static ql_status add_split(const loader *l, qle_steps *steps, const char *pattern, bool literal,
                           qle_split split, const char *key)
{
  qle_step *step = NULL;
  QLE_TRY(add_step(l, steps, QLE_STEP_SPLIT, key, &step));
  step->split = split;
  return set_regex(l, step, (qle_span){pattern, strlen(pattern)}, literal, key);
}

static ql_status add_prefix(const loader *l, qle_steps *steps, const char *text, qle_scheme scheme,
                            const char *key)
{
  qle_step *step = NULL;
  QLE_TRY(add_step(l, steps, QLE_STEP_PREFIX, key, &step));
  step->scheme = scheme;
  return set_text(l, step, (qle_span){text, strlen(text)}, key);
}

static ql_status load_byte_level(const loader *l, qle_steps *steps, const json_t *object,
                                 const char *key)
{
  bool prefix, regex, trim;
  QLE_TRY(check(l, object, "type add_prefix_space trim_offsets use_regex", key));
  QLE_TRY(bool_of(l, object, "add_prefix_space", true, &prefix, key));
  QLE_TRY(bool_of(l, object, "use_regex", true, &regex, key));
  QLE_TRY(bool_of(l, object, "trim_offsets", true, &trim, key)); /* of no effect on ids */
  if (prefix)
    QLE_TRY(add_prefix(l, steps, " ", QLE_ALWAYS, key));
  if (regex)
    QLE_TRY(add_split(l, steps, GPT2_PATTERN, false, QLE_SPLIT_ISOLATED, key));
  qle_step *step = NULL;
  return add_step(l, steps, QLE_STEP_BYTES, key, &step);
}

static ql_status load_digits(const loader *l, qle_steps *steps, const json_t *object,
                             const char *key)
{
  bool each;
  QLE_TRY(check(l, object, "type individual_digits", key));
  QLE_TRY(bool_of(l, object, "individual_digits", false, &each, key));
  return add_split(l, steps, "\\p{N}", false, each ? QLE_SPLIT_ISOLATED : QLE_SPLIT_CONTIGUOUS,
                   key);
}

static ql_status load_split(const loader *l, qle_steps *steps, const json_t *object,
                            const char *key)
{
  static const char *const names[] = {"Removed", "Isolated", "Contiguous", "MergedWithPrevious",
                                      "MergedWithNext"};
  qle_span behavior;
  qle_step *step = NULL;
  QLE_TRY(check(l, object, "type pattern behavior invert", key));
  QLE_TRY(string_of(l, object, "behavior", key, &behavior));
  QLE_TRY(add_step(l, steps, QLE_STEP_SPLIT, key, &step));
  QLE_TRY(bool_of(l, object, "invert", false, &step->invert, key));
  QLE_TRY(set_pattern(l, step, object, key));
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    if (strcmp(behavior.data, names[i]) == 0) {
      step->split = (qle_split)i;
      return QL_STATUS_OK;
    }
  return FAIL(l, QL_STATUS_UNSUPPORTED, key, "behavior \"%.80s\" is not supported",
              behavior.data);
}

/* What Metaspace puts for a space: one character, and where it is put first. Old files say
 * add_prefix_space instead of prepend_scheme. */
static ql_status metaspace_options(const loader *l, const json_t *object, const char *key,
                                   qle_span *replacement, qle_scheme *scheme, bool *split)
{
  QLE_TRY(check(l, object, "type replacement add_prefix_space prepend_scheme split str_rep", key));
  QLE_TRY(string_of(l, object, "replacement", key, replacement));
  if (replacement->size == 0 ||
      qle_utf8_length(replacement->data, replacement->size, NULL) != replacement->size)
    return FAIL(l, QL_STATUS_FORMAT, key, "\"replacement\" is not one character");
  const json_t *name = json_object_get(object, "prepend_scheme");
  const char *text = name == NULL ? "always" : json_string_value(name);
  static const char *const names[] = {"always", "first", "never"};
  int found = -1;
  for (int i = 0; i < 3 && text != NULL; i++)
    if (strcmp(text, names[i]) == 0)
      found = i;
  if (found < 0)
    return FAIL(l, QL_STATUS_UNSUPPORTED, key, "prepend_scheme \"%.80s\" is not supported",
                text == NULL ? "?" : text);
  *scheme = (qle_scheme)found;
  bool prefix;
  QLE_TRY(bool_of(l, object, "add_prefix_space", true, &prefix, key));
  if (!prefix && name != NULL && *scheme != QLE_NEVER)
    return FAIL(l, QL_STATUS_FORMAT, key, "add_prefix_space contradicts prepend_scheme");
  *scheme = prefix ? *scheme : QLE_NEVER;
  return bool_of(l, object, "split", true, split, key);
}

static ql_status load_metaspace(const loader *l, qle_steps *steps, const json_t *object,
                                const char *key)
{
  qle_span replacement;
  qle_scheme scheme;
  bool split;
  QLE_TRY(metaspace_options(l, object, key, &replacement, &scheme, &split));
  qle_step *step = NULL;
  QLE_TRY(add_step(l, steps, QLE_STEP_REPLACE, key, &step));
  QLE_TRY(set_text(l, step, replacement, key));
  QLE_TRY(set_regex(l, step, (qle_span){" ", 1}, true, key));
  QLE_TRY(add_prefix(l, steps, replacement.data, scheme, key));
  return split ? add_split(l, steps, replacement.data, true, QLE_SPLIT_NEXT, key) : QL_STATUS_OK;
}

static const part pretokenizers[] = {
    {"ByteLevel", load_byte_level},
    {"Digits", load_digits},
    {"Split", load_split},
    {"Metaspace", load_metaspace},
};

/* -------- decoders -------- */

static ql_status decode_byte_level(const loader *l, qle_steps *steps, const json_t *object,
                                   const char *key)
{
  qle_step *step = NULL;
  QLE_TRY(check(l, object, "type add_prefix_space trim_offsets use_regex", key));
  return add_step(l, steps, QLE_STEP_BYTES, key, &step);
}

static ql_status decode_simple(const loader *l, qle_steps *steps, const json_t *object,
                               const char *key)
{
  const bool fuse = strcmp(json_string_value(json_object_get(object, "type")), "Fuse") == 0;
  qle_step *step = NULL;
  QLE_TRY(check(l, object, "type", key));
  return add_step(l, steps, fuse ? QLE_STEP_FUSE : QLE_STEP_FALLBACK, key, &step);
}

static ql_status count_of(const loader *l, const json_t *object, const char *name, const char *key,
                          size_t *out)
{
  const json_t *value = json_object_get(object, name);
  if (!json_is_integer(value) || json_integer_value(value) < 0 ||
      json_integer_value(value) > INT32_MAX)
    return FAIL(l, QL_STATUS_FORMAT, key, "\"%s\" is missing or out of range", name);
  *out = (size_t)json_integer_value(value);
  return QL_STATUS_OK;
}

static ql_status decode_strip(const loader *l, qle_steps *steps, const json_t *object,
                              const char *key)
{
  qle_step *step = NULL;
  qle_span content;
  QLE_TRY(check(l, object, "type content start stop", key));
  QLE_TRY(string_of(l, object, "content", key, &content));
  if (content.size == 0 || qle_utf8_length(content.data, content.size, NULL) != content.size)
    return FAIL(l, QL_STATUS_FORMAT, key, "\"content\" is not one character");
  QLE_TRY(add_step(l, steps, QLE_STEP_STRIP, key, &step));
  QLE_TRY(set_text(l, step, content, key));
  QLE_TRY(count_of(l, object, "start", key, &step->start));
  return count_of(l, object, "stop", key, &step->stop);
}

static ql_status decode_metaspace(const loader *l, qle_steps *steps, const json_t *object,
                                  const char *key)
{
  qle_span replacement;
  qle_scheme scheme;
  bool split;
  QLE_TRY(metaspace_options(l, object, key, &replacement, &scheme, &split));
  qle_step *step = NULL;
  QLE_TRY(add_step(l, steps, QLE_STEP_METASPACE, key, &step));
  step->scheme = scheme;
  return set_text(l, step, replacement, key);
}

static const part decoders[] = {
    {"ByteLevel", decode_byte_level}, {"Replace", load_replace}, {"ByteFallback", decode_simple},
    {"Fuse", decode_simple},          {"Strip", decode_strip},   {"Metaspace", decode_metaspace},
};

/* -------- added tokens -------- */

static ql_status added_flags(const loader *l, const json_t *object, const char *key, qle_added *a)
{
  const struct {
    const char *name;
    bool *flag;
  } flags[] = {{"single_word", &a->single_word},
               {"lstrip", &a->lstrip},
               {"rstrip", &a->rstrip},
               {"normalized", &a->normalized},
               {"special", &a->special}};
  for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
    if (json_object_get(object, flags[i].name) == NULL)
      return FAIL(l, QL_STATUS_FORMAT, key, "\"%s\" is missing", flags[i].name);
    QLE_TRY(bool_of(l, object, flags[i].name, false, flags[i].flag, key));
  }
  return QL_STATUS_OK;
}

static char *copy_of(qle_span text)
{
  char *copy = malloc(text.size + 1);
  if (copy == NULL)
    return NULL;
  memcpy(copy, text.data, text.size);
  copy[text.size] = '\0';
  return copy;
}

static ql_status load_added(const loader *l, const json_t *object, size_t index, qle_added *a)
{
  char key[64];
  qle_span content;
  snprintf(key, sizeof key, "added_tokens[%zu]", index);
  QLE_TRY(check(l, object, "id content single_word lstrip rstrip normalized special", key));
  QLE_TRY(string_of(l, object, "content", key, &content));
  QLE_TRY(added_flags(l, object, key, a));
  if (content.size == 0)
    return FAIL(l, QL_STATUS_FORMAT, key, "\"content\" is empty");
  size_t id;
  QLE_TRY(count_of(l, object, "id", key, &id));
  const int32_t known = qle_bpe_find(&l->t->bpe, content);
  if (known >= 0 && (size_t)known != id)
    return FAIL(l, QL_STATUS_FORMAT, key, "\"%.80s\" has the id %zu here and %d in model.vocab",
                content.data, id, (int)known);
  a->id = (int32_t)id;
  a->size = content.size;
  a->content = copy_of(content);
  return a->content == NULL ? FAIL(l, QL_STATUS_NO_MEMORY, key, "no memory") : QL_STATUS_OK;
}

/* The pattern of a token: its content as the normalizer leaves it. */
static ql_status set_added_pattern(const loader *l, qle_added *a)
{
  qle_span pattern = {a->content, a->size};
  qle_encoder encoder;
  ql_status status = qle_encoder_open(&encoder, l->t, l->error);
  if (status == QL_STATUS_OK && a->normalized)
    status = qle_encoder_normalize(&encoder, pattern, &pattern);
  if (status == QL_STATUS_OK) {
    a->pattern_size = pattern.size;
    a->pattern = copy_of(pattern);
    if (a->pattern == NULL)
      status = qle_no_memory(l->error, l->t);
  }
  qle_encoder_close(&encoder);
  return status;
}

static int by_content(const void *a, const void *b)
{
  const qle_added *x = *(const qle_added *const *)a, *y = *(const qle_added *const *)b;
  return strcmp(x->content, y->content);
}

static ql_status unique_added(const loader *l)
{
  const qle_tokenizer *t = l->t;
  const qle_added **sorted = qle_alloc3(t->added_count, 1, sizeof *sorted);
  if (sorted == NULL)
    return qle_no_memory(l->error, t);
  for (size_t i = 0; i < t->added_count; i++)
    sorted[i] = &t->added[i];
  qsort(sorted, t->added_count, sizeof *sorted, by_content);
  const char *twice = NULL;
  for (size_t i = 1; i < t->added_count; i++)
    if (strcmp(sorted[i - 1]->content, sorted[i]->content) == 0)
      twice = sorted[i]->content;
  free(sorted);
  return twice == NULL
             ? QL_STATUS_OK
             : FAIL(l, QL_STATUS_FORMAT, "added_tokens", "\"%.80s\" is there twice", twice);
}

static ql_status load_all_added(const loader *l, const json_t *root)
{
  qle_tokenizer *t = l->t;
  const json_t *list = json_object_get(root, "added_tokens");
  if (list != NULL && !json_is_array(list))
    return FAIL(l, QL_STATUS_FORMAT, "added_tokens", "is not an array");
  const size_t count = json_array_size(list);
  t->added = calloc(count + 1, sizeof *t->added);
  if (t->added == NULL)
    return qle_no_memory(l->error, t);
  for (; t->added_count < count; t->added_count++) {
    qle_added *a = &t->added[t->added_count];
    ql_status status = load_added(l, json_array_get(list, t->added_count), t->added_count, a);
    if (status == QL_STATUS_OK)
      status = set_added_pattern(l, a);
    if (status != QL_STATUS_OK) {
      free(a->content);
      free(a->pattern);
      return status;
    }
  }
  return qle_added_set_build(&t->raw, t->added, count, false) &&
                 qle_added_set_build(&t->normalized, t->added, count, true)
             ? QL_STATUS_OK
             : qle_no_memory(l->error, t);
}

/* -------- texts by id -------- */

static ql_status count_ids(const loader *l)
{
  qle_tokenizer *t = l->t;
  const size_t most = 17 * (t->bpe.count + t->added_count) + 65536;
  int32_t last = -1;
  for (size_t i = 0; i < t->bpe.count; i++)
    last = t->bpe.entries[i].id > last ? t->bpe.entries[i].id : last;
  for (size_t i = 0; i < t->added_count; i++) {
    if ((size_t)t->added[i].id > most)
      return FAIL(l, QL_STATUS_FORMAT, "added_tokens", "the id %d of \"%.80s\" is out of range",
                  (int)t->added[i].id, t->added[i].content);
    last = t->added[i].id > last ? t->added[i].id : last;
  }
  t->id_count = last + 1;
  t->ids = calloc((size_t)t->id_count, sizeof *t->ids);
  return t->ids == NULL ? qle_no_memory(l->error, t) : QL_STATUS_OK;
}

static ql_status index_ids(const loader *l)
{
  qle_tokenizer *t = l->t;
  QLE_TRY(count_ids(l));
  for (size_t i = 0; i < t->bpe.count; i++)
    t->ids[t->bpe.entries[i].id].text = t->bpe.entries[i].text;
  for (size_t i = 0; i < t->added_count; i++) {
    const qle_added *a = &t->added[i];
    qle_id *id = &t->ids[a->id];
    const qle_span content = {a->content, a->size};
    if (id->text.data != NULL && qle_span_compare(id->text, content) != 0)
      return FAIL(l, QL_STATUS_FORMAT, "added_tokens", "\"%.80s\" has the id %d of \"%.*s\"",
                  a->content, (int)a->id, (int)(id->text.size > 80 ? 80 : id->text.size),
                  id->text.data);
    id->text = (qle_span){a->pattern, a->pattern_size};
    id->special = a->special;
  }
  return QL_STATUS_OK;
}

/* -------- all of it -------- */

static ql_status set_limits(const loader *l)
{
  qle_tokenizer *t = l->t;
  char why[200];
  t->limits = pcre2_match_context_create(NULL);
  if (t->limits == NULL)
    return qle_no_memory(l->error, t);
  /* A backtracking pattern on hostile text must end: 5 million steps take well under a second. A
   * long run of white space takes a step per character. */
  pcre2_set_match_limit(t->limits, 5000000);
  pcre2_set_depth_limit(t->limits, 1000000);
  pcre2_set_heap_limit(t->limits, 262144); /* KiB */
  /* \w and \s of the patterns that bound added tokens. */
  static const char word[] = "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}]";
  const ql_status status =
      qle_regex_compile((qle_span){word, sizeof word - 1}, false, &t->word, why, sizeof why);
  if (status != QL_STATUS_OK)
    return qle_fail(l->error, status, "%s", why);
  return qle_regex_compile((qle_span){"\\s", 2}, false, &t->space, why, sizeof why);
}

/* Each byte of a byte-level text is one character: itself where it prints, U+0100 and on for the
 * others in ascending order. */
static void set_byte_text(qle_tokenizer *t)
{
  int next = 0x100;
  for (int b = 0; b < 256; b++) {
    const bool prints = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
    const int code_point = prints ? b : next++;
    utf8proc_uint8_t utf8[4];
    utf8proc_encode_char(code_point, utf8);
    t->byte_text[b][0] = (char)utf8[0];
    t->byte_text[b][1] = (char)utf8[1];
  }
}

static bool has_bytes(const qle_steps *steps)
{
  for (size_t i = 0; i < steps->count; i++)
    if (steps->step[i].kind == QLE_STEP_BYTES)
      return true;
  return false;
}

static ql_status check_root(const loader *l, const json_t *root)
{
  QLE_TRY(check(l, root,
                "version truncation padding added_tokens normalizer pre_tokenizer post_processor "
                "decoder model",
                "the file"));
  const json_t *version = json_object_get(root, "version");
  const char *text = json_string_value(version);
  if (version != NULL && (text == NULL || strcmp(text, "1.0") != 0))
    return FAIL(l, QL_STATUS_UNSUPPORTED, "version", "\"%.80s\" is not supported; 1.0 is",
                text == NULL ? "?" : text);
  return QL_STATUS_OK;
}

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

ql_status qle_tokenizer_load(qle_tokenizer *t, const json_t *root, ql_error *error)
{
  const loader l = {t, error};
  QLE_TRY(check_root(&l, root));
  QLE_TRY(set_limits(&l));
  set_byte_text(t);
  QLE_TRY(load_steps(&l, &t->normalizer, root, "normalizer", "normalizers", normalizers,
                     COUNT(normalizers)));
  QLE_TRY(load_steps(&l, &t->pre, root, "pre_tokenizer", "pretokenizers", pretokenizers,
                     COUNT(pretokenizers)));
  QLE_TRY(load_steps(&l, &t->decoder, root, "decoder", "decoders", decoders, COUNT(decoders)));
  t->byte_level = has_bytes(&t->pre) || has_bytes(&t->normalizer);
  QLE_TRY(qle_bpe_load(&t->bpe, json_object_get(root, "model"), t->path, error));
  QLE_TRY(load_all_added(&l, root));
  QLE_TRY(unique_added(&l));
  return index_ids(&l);
}
