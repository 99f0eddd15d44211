/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_FORMAT_GPTQ_PARTS_H
#define QLI_FORMAT_GPTQ_PARTS_H

#include "formats.h"

/* The parts in their fixed order. */
enum { GPTQ_QWEIGHT, GPTQ_QZEROS, GPTQ_SCALES, GPTQ_G_IDX, GPTQ_PARTS };

extern const char *const qli_gptq_suffixes[GPTQ_PARTS];

/* Rows of the matrix (columns of qweight) that one task turns: a multiple of every unit, so that
 * tasks write different words of qzeros, and small enough that its lines stay in the first cache.
 */
enum { GPTQ_TILE = 64 };

ql_status qli_gptq_decode(const ql_ctx *ctx, const qli_format *f, const ql_format_decode_info *info,
                          const char *const *suffixes, const ql_tensor *tensors, size_t count,
                          ql_qmat **out, ql_error *error);

#endif
