/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "config_json.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const json_t *qle_object_get(const qle_object *object, const char *key)
{
  const json_t *value = json_object_get(object->json, key);
  return json_is_null(value) ? NULL : value;
}

/* The beginning of a value as JSON text. */
static void value_text(const json_t *value, char *text, size_t size)
{
  if (value == NULL) {
    snprintf(text, size, "missing");
    return;
  }
  char *dump = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
  snprintf(text, size, "%s", dump == NULL ? "?" : dump);
  if (dump != NULL && strlen(dump) >= size)
    memcpy(text + size - 4, "...", 4);
  free(dump);
}

ql_status qle_object_fail(const qle_object *object, ql_status status, const char *key,
                          const char *format, ...)
{
  char value[80], why[200];
  value_text(json_object_get(object->json, key), value, sizeof value);
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(why, sizeof why, format, arguments);
  va_end(arguments);
  qle_fail(object->error, status, "%s: \"%s%s\" is %s: %s", object->path, object->prefix, key,
           value, why);
  qle_error_file(object->error, object->path);
  return status;
}

ql_status qle_object_size(const qle_object *object, const char *key, size_t min, size_t max,
                          size_t *value)
{
  const json_t *json = qle_object_get(object, key);
  if (json == NULL)
    return QL_STATUS_OK;
  const json_int_t number = json_is_integer(json) ? json_integer_value(json) : -1;
  if (number < 0 || (uintmax_t)number < min || (uintmax_t)number > max)
    return qle_object_fail(object, QL_STATUS_FORMAT, key, "must be an integer from %zu to %zu", min,
                           max);
  *value = (size_t)number;
  return QL_STATUS_OK;
}

ql_status qle_object_size_required(const qle_object *object, const char *key, size_t min,
                                   size_t max, size_t *value)
{
  if (qle_object_get(object, key) == NULL)
    return qle_object_fail(object, QL_STATUS_FORMAT, key, "a model cannot be read without it");
  return qle_object_size(object, key, min, max, value);
}

ql_status qle_object_real(const qle_object *object, const char *key, double min, double max,
                          double *value)
{
  const json_t *json = qle_object_get(object, key);
  if (json == NULL)
    return QL_STATUS_OK;
  const double number = json_is_number(json) ? json_number_value(json) : NAN;
  if (!(number >= min && number <= max))
    return qle_object_fail(object, QL_STATUS_FORMAT, key, "must be a number from %g to %g", min,
                           max);
  *value = number;
  return QL_STATUS_OK;
}

ql_status qle_object_bool(const qle_object *object, const char *key, int *value)
{
  const json_t *json = qle_object_get(object, key);
  if (json == NULL)
    return QL_STATUS_OK;
  if (!json_is_boolean(json))
    return qle_object_fail(object, QL_STATUS_FORMAT, key, "must be true or false");
  *value = json_is_true(json);
  return QL_STATUS_OK;
}

ql_status qle_object_string(const qle_object *object, const char *key, const char **value)
{
  const json_t *json = qle_object_get(object, key);
  *value = NULL;
  if (json == NULL)
    return QL_STATUS_OK;
  if (!json_is_string(json))
    return qle_object_fail(object, QL_STATUS_FORMAT, key, "must be a string");
  *value = json_string_value(json);
  return QL_STATUS_OK;
}
