/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_RUNTIME_ISA_H
#define QLI_RUNTIME_ISA_H

#include "qlk_table.h"

#include <quantlib/status.h>

/* Fills the kernel table for the ISA with that name (NULL: the best that the processor and the
 * operating system offer). */
ql_status qli_isa_select(const char *name, const char **chosen, qlk_table *table, ql_error *error);

#endif
