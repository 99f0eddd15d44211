/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_GRID_ACT_GRID_H
#define QLI_GRID_ACT_GRID_H

#include "ctx.h"

#include <quantlib/runtime.h>

/* 8-bit codes of activations: the formulas of ql_act_config. */

/* Copies and checks; config NULL means the defaults. */
ql_status qli_act_check(const ql_act_config *config, ql_act_config *out, ql_error *error);

/* The scale with which the largest magnitude of a range, given as bits (qlk_a8.range), becomes the
 * code `highest`. A range that is not finite has the scale NaN. */
float qli_act_scale(uint32_t negative, uint32_t positive, float highest);

/* The largest number of two digits, 255 * 127 + 127. */
#define QLI_A16_HIGHEST 32512.0f

/* Scale and zero point for a range. */
void qli_act_grid(int32_t asymmetric, uint32_t negative, uint32_t positive, float *scale,
                  int32_t *zero);

/* One row to codes: by its own range, or for QL_ACT_STATIC by the scale of the config. A row with
 * NaN or Inf gets the scale NaN and codes of 0. */
void qli_act_row(const qlk_a8 *kernels, const ql_act_config *config, const float *x, size_t n,
                 int8_t *codes, float *scale, int32_t *zero);

/* Makes a static config for the range of x_j * in_scale[j] (NULL: 1), x_j being in low[j]..high[j].
 */
void qli_act_calibrate(const float *low, const float *high, const float *in_scale, size_t cols,
                       ql_act_config *act);

static inline int qli_act_is_finite(uint32_t negative, uint32_t positive)
{
  return negative < 0x7f800000u && positive < 0x7f800000u;
}

#endif
