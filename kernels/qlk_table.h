/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLK_TABLE_H
#define QLK_TABLE_H

/* Kernels of one ISA, by value in the context. */
typedef struct qlk_table {
  void *reserved;
} qlk_table;

#endif
