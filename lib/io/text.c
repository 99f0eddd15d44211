/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "text.h"

#include "checked.h"
#include "ctx.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static bool make_room(qli_text *t, size_t more)
{
  size_t wanted;
  if (t->failed || !qli_add_size(t->size, more, &wanted) || !qli_add_size(wanted, 1, &wanted))
    return false;
  if (wanted <= t->capacity)
    return true;
  size_t capacity = t->capacity ? t->capacity : 128;
  while (capacity < wanted)
    if (!qli_mul_size(capacity, 2, &capacity))
      return false;
  char *larger = qli_alloc(t->ctx, capacity, 1);
  if (larger == NULL)
    return false;
  if (t->size > 0)
    memcpy(larger, t->data, t->size);
  qli_free(t->ctx, t->data);
  t->data = larger;
  t->capacity = capacity;
  return true;
}

void qli_text_add(qli_text *t, const char *bytes, size_t size)
{
  if (!make_room(t, size)) {
    t->failed = true;
    return;
  }
  memcpy(t->data + t->size, bytes, size);
  t->size += size;
  t->data[t->size] = '\0';
}

void qli_text_format(qli_text *t, const char *format, ...)
{
  char piece[256];
  va_list arguments;
  va_start(arguments, format);
  const int size = vsnprintf(piece, sizeof piece, format, arguments);
  va_end(arguments);
  if (size < 0 || (size_t)size >= sizeof piece)
    t->failed = true;
  else
    qli_text_add(t, piece, (size_t)size);
}

void qli_text_json(qli_text *t, const char *value)
{
  static const char from[] = "\"\\\b\f\n\r\t", into[] = "\"\\bfnrt";
  qli_text_add(t, "\"", 1);
  for (const char *p = value; *p != '\0'; p++) {
    const char *found = strchr(from, *p);
    if (found != NULL)
      qli_text_format(t, "\\%c", into[found - from]);
    else if ((unsigned char)*p < 0x20)
      qli_text_format(t, "\\u%04x", (unsigned)*p);
    else
      qli_text_add(t, p, 1);
  }
  qli_text_add(t, "\"", 1);
}

void qli_text_free(qli_text *t)
{
  qli_free(t->ctx, t->data);
  *t = (qli_text){.ctx = t->ctx};
}
