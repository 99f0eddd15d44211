/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "isa.h"

#include "error.h"

#include <quantlib/context.h>

#include <string.h>

ql_status qli_isa_select(const char *name, const char **chosen, qlk_table *table, ql_error *error)
{
  if (name != NULL && strcmp(name, "scalar") != 0)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "unknown ISA \"%s\"", name);
  memset(table, 0, sizeof *table);
  *chosen = "scalar";
  return QL_STATUS_OK;
}

const char *ql_isa_list(size_t i, int32_t *runnable)
{
  if (i != 0)
    return NULL;
  if (runnable != NULL)
    *runnable = 1;
  return "scalar";
}
