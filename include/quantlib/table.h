/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QUANTLIB_TABLE_H
#define QUANTLIB_TABLE_H

/* The tables of levels that are known by name: what a code of a QL_GRID_TABLE grid stands for
 * before it is scaled, w = s * levels[code]. doc/algo/tables.md. Thread-safe. */

#include <quantlib/status.h>
#include <quantlib/types.h>

QL_BEGIN_DECLS

/** Values are pinned: they may be stored. @since 0.1 */
typedef int32_t ql_table;
enum {
  QL_TABLE_NONE = 0,
  QL_TABLE_NF4 = 1,   /**< NormalFloat4, quantiles of a normal distribution: QLoRA, bitsandbytes */
  QL_TABLE_FP4 = 2,   /**< bitsandbytes' own 4-bit floating point, which is not E2M1 */
  QL_TABLE_E2M1 = 3,  /**< 4-bit floating point of OCP MX: MXFP4, NVFP4 */
  QL_TABLE_IQ4_NL = 4 /**< 16 whole numbers on a cubic curve: ggml's IQ4_NL and IQ4_XS */
};

/** @since 0.1 */
typedef struct ql_table_info {
  size_t struct_size;
  ql_table id;
  int32_t bits;        /**< of a code */
  const char *name;    /**< "nf4", "fp4", "e2m1", "iq4_nl"; static, like the others */
  const char *source;  /**< where the levels come from */
  const float *levels; /**< [2^bits], by code */
} ql_table_info;

/** Fills *info, whose struct_size the caller has set. QL_STATUS_NOT_FOUND: there is no such table.
 *  @since 0.1 */
QL_API ql_status ql_table_get(ql_table id, ql_table_info *info);

/** The table of that name. QL_STATUS_NOT_FOUND: there is none, the error lists them. @since 0.1 */
QL_API ql_status ql_table_find(const char *name, ql_table *id, ql_error *error);

QL_END_DECLS

#endif
