/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "isa.h"

#include "error.h"
#include "qlk_built.h"

#include <quantlib/context.h>

#include <stdio.h>
#include <string.h>

/* QLK_BUILT_AVX2 is 1 or 0: the row gets its fill function or NULL. */
#define FILL_1(name) qlk_fill_##name
#define FILL_0(name) NULL
#define FILL_PASTE(built, name) FILL_##built(name)
#define FILL(built, name) FILL_PASTE(built, name)
#define QLK_ISA(name, NAME, parent, by_default, ...) \
  {#name, #parent, FILL(QLK_BUILT_##NAME, name), by_default, {__VA_ARGS__}},

static const qli_isa isas[] = {
#include "qlk_isas.def"
};

enum { ISA_COUNT = sizeof isas / sizeof isas[0] };

const qli_isa *qli_isa_at(size_t i)
{
  return i < ISA_COUNT ? &isas[i] : NULL;
}

const qli_isa *qli_isa_find(const char *name)
{
  for (size_t i = 0; i < ISA_COUNT; i++)
    if (strcmp(isas[i].name, name) == 0)
      return &isas[i];
  return NULL;
}

static bool built(const qli_isa *isa)
{
  for (; isa != NULL; isa = qli_isa_find(isa->parent))
    if (isa->fill == NULL)
      return false;
  return true;
}

static bool meets(const qli_cpu_need *need)
{
  const uint32_t have = qli_cpu_x86(need) | qli_cpu_arm(need);
  return need->source == QLI_ALWAYS || (have & need->bits) == need->bits;
}

/* The parent first: a child's conditions may ask the operating system for something. */
static bool offered(const qli_isa *isa)
{
  if (isa == NULL)
    return true;
  if (!offered(qli_isa_find(isa->parent)))
    return false;
  for (size_t i = 0; i < QLI_CPU_NEEDS; i++)
    if (!meets(&isa->needs[i]))
      return false;
  return true;
}

bool qli_isa_runnable(const qli_isa *isa)
{
  return built(isa) && offered(isa);
}

void qli_isa_fill(const qli_isa *isa, qlk_table *table)
{
  const qli_isa *parent = qli_isa_find(isa->parent);
  if (parent != NULL)
    qli_isa_fill(parent, table);
  else
    memset(table, 0, sizeof *table);
  isa->fill(table);
}

static const qli_isa *best(void)
{
  const qli_isa *chosen = &isas[0];
  for (size_t i = 1; i < ISA_COUNT; i++)
    if (isas[i].by_default && qli_isa_runnable(&isas[i]))
      chosen = &isas[i];
  return chosen;
}

static ql_status fail_unknown(const char *name, ql_error *error)
{
  char known[256] = "";
  size_t used = 0;
  for (size_t i = 0; i < ISA_COUNT && used < sizeof known; i++)
    used += (size_t)snprintf(known + used, sizeof known - used, " %s", isas[i].name);
  qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "unknown ISA \"%s\"; known:%s", name, known);
  qli_error_hint(error, "leave the ISA and QL_ISA unset to use the best one");
  return QL_STATUS_INVALID_ARGUMENT;
}

ql_status qli_isa_select(const char *name, const char **chosen, qlk_table *table, ql_error *error)
{
  const qli_isa *isa = name != NULL ? qli_isa_find(name) : best();
  if (isa == NULL)
    return fail_unknown(name, error);
  if (!built(isa))
    return qli_fail(error, QL_STATUS_UNSUPPORTED, "this build has no kernels for ISA %s",
                    isa->name);
  if (!qli_isa_runnable(isa))
    return qli_fail(error, QL_STATUS_UNSUPPORTED, "this machine cannot run ISA %s", isa->name);
  qli_isa_fill(isa, table);
  *chosen = isa->name;
  return QL_STATUS_OK;
}

const char *ql_isa_list(size_t i, int32_t *runnable)
{
  for (size_t row = 0; row < ISA_COUNT; row++) {
    if (!built(&isas[row]) || i-- != 0)
      continue;
    if (runnable != NULL)
      *runnable = qli_isa_runnable(&isas[row]) ? 1 : 0;
    return isas[row].name;
  }
  return NULL;
}
