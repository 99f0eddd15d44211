/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLK_TABLE_H
#define QLK_TABLE_H

#include "qlk_a8.h"
#include "qlk_exact.h"
#include "qlk_linalg.h"
#include "qlk_ops.h"
#include "qlk_gemm.h"
#include "qlk_solve.h"
#include "qlk_types.h"

/* The kernels of one ISA, by value in the context. The table is filled in layers: qlk_fill_scalar
 * sets every slot, then each ISA on the way from the root of qlk_isas.def to the chosen row
 * overwrites what it is good at and inherits the rest.
 *
 * To add a family of kernels (say "ops"):
 * 1. kernels/qlk_ops.h: a struct qlk_ops of function pointers, each with its contract and numeric
 *    class, and prototypes of qlk_fill_ops_<isa>(qlk_ops *), by way of qlk_isas.def
 * 2. Here: include it and add a member.
 * 3. kernels/<isa>/ops_<isa>.c for scalar, which must fill every slot, and for any other ISA. The
 *    functions are static; only qlk_fill_ops_<isa> is visible. A source of an ISA begins with
 *    #ifndef <the macro that the compiler defines for it> / #error.
 * 4. One call in kernels/<isa>/fill_<isa>.c and one line in kernels/<isa>/meson.build.
 * 5. tests/kernels/check_ops.c, which compares every slot with scalar, and one row in
 *    tests/kernels/families.def. Kernels for slots that exist need no change to tests.
 *
 * Functions that only work together form one struct that is replaced as a unit (qlk_gemm.h). */
typedef struct qlk_table {
  qlk_exact exact;
  qlk_linalg linalg;
  qlk_solve solve;
  qlk_ops ops;
  qlk_gemm gemm;
  qlk_a8 a8;
} qlk_table;

/* qlk_fill_<isa> of every row, built or not. */
#define QLK_ISA(name, NAME, parent, by_default, ...) void qlk_fill_##name(qlk_table *t);
#include "qlk_isas.def"
#undef QLK_ISA

#endif
