/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_RUNTIME_ISA_H
#define QLI_RUNTIME_ISA_H

#include "cpu.h"
#include "qlk_table.h"

#include <quantlib/status.h>

#include <stdbool.h>

/* Fills the kernel table for the ISA with that name (NULL: the best that the processor and the
 * operating system offer). */
ql_status qli_isa_select(const char *name, const char **chosen, qlk_table *table, ql_error *error);

/* One row of qlk_isas.def. */
typedef struct qli_isa {
  const char *name;
  const char *parent;        /* "none" for the root */
  void (*fill)(qlk_table *); /* NULL when the build lacks it */
  bool by_default;
  qli_cpu_need needs[QLI_CPU_NEEDS];
} qli_isa;

/* The i-th row, NULL past the last; known ones that are not built are among them. */
const qli_isa *qli_isa_at(size_t i);
const qli_isa *qli_isa_find(const char *name);

/* Built, its parents too, and this machine offers all that they need. */
bool qli_isa_runnable(const qli_isa *isa);

/* Fills the table in layers from the root down to isa. */
void qli_isa_fill(const qli_isa *isa, qlk_table *table);

#endif
