/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "act_grid.h"

#include "error.h"
#include "half.h"

#include <math.h>
#include <string.h>

/* Below this a scale would lose bits as a subnormal; a row of zeros has it too. */
#define LEAST_SCALE 0x1p-126f

ql_status qli_act_check(const ql_act_config *config, ql_act_config *out, ql_error *error)
{
  *out = (ql_act_config)QL_ACT_CONFIG_INIT;
  if (config != NULL && !qli_config_copy(out, sizeof *out, sizeof *out, config))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "ql_act_config.struct_size is %zu, not that of QL_ACT_CONFIG_INIT",
                    config->struct_size);
  if (out->mode < QL_ACT_TOKEN || out->mode > QL_ACT_GROUP)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "there is no activation mode %d",
                    (int)out->mode);
  if (out->asymmetric < 0 || out->asymmetric > 1 || out->reserved != 0)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "asymmetric is %d, neither 0 nor 1, or a reserved member is not zero",
                    (int)out->asymmetric);
  if (out->asymmetric && out->mode == QL_ACT_GROUP)
    return qli_fail(error, QL_STATUS_UNSUPPORTED, "scales for each group are symmetric");
  if (!(out->threshold >= 0))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "the threshold %g is negative or NaN",
                    (double)out->threshold);
  if (out->mode != QL_ACT_STATIC)
    return QL_STATUS_OK;
  if (!(out->scale >= LEAST_SCALE && isfinite(out->scale)))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "the static scale %g is not a positive number of at least 2^-126",
                    (double)out->scale);
  if (out->zero < -127 || out->zero > 127 || (out->asymmetric == 0 && out->zero != 0))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "the static zero point %d is not in -127..127, or not 0 though symmetric",
                    (int)out->zero);
  return QL_STATUS_OK;
}

float qli_act_scale(uint32_t negative, uint32_t positive, float highest)
{
  const float below = qli_f32_from_bits(negative), above = qli_f32_from_bits(positive);
  if (!qli_act_is_finite(negative, positive))
    return NAN;
  const float range = (below > above ? below : above) / highest;
  return range > LEAST_SCALE ? range : LEAST_SCALE;
}

void qli_act_grid(int32_t asymmetric, uint32_t negative, uint32_t positive, float *scale,
                  int32_t *zero)
{
  const float below = qli_f32_from_bits(negative), above = qli_f32_from_bits(positive);
  *zero = 0;
  if (!asymmetric || !qli_act_is_finite(negative, positive)) {
    *scale = qli_act_scale(negative, positive, 127.0f);
    return;
  }
  /* Each end is divided, so that the sum of two large ones stays finite. */
  const float range = below / 254.0f + above / 254.0f;
  *scale = range > LEAST_SCALE ? range : LEAST_SCALE;
  const float steps = rintf(below / *scale);
  *zero = (int32_t)(steps < 254.0f ? steps : 254.0f) - 127;
}

void qli_act_row(const qlk_a8 *kernels, const ql_act_config *config, const float *x, size_t n,
                 int8_t *codes, float *scale, int32_t *zero)
{
  uint32_t negative, positive;
  kernels->range(x, n, &negative, &positive);
  if (!qli_act_is_finite(negative, positive) || config->mode != QL_ACT_STATIC) {
    qli_act_grid(config->asymmetric, negative, positive, scale, zero);
  } else {
    *scale = config->scale;
    *zero = config->zero;
  }
  if (isnan(*scale))
    memset(codes, 0, n);
  else
    kernels->quantize(x, n, *scale, *zero, codes);
}

void qli_act_calibrate(const float *low, const float *high, const float *in_scale, size_t cols,
                       ql_act_config *act)
{
  float below = 0.0f, above = 0.0f;
  for (size_t c = 0; c < cols; c++) {
    const float s = in_scale != NULL ? in_scale[c] : 1.0f;
    const float a = low[c] * s, b = high[c] * s;
    const float least = a < b ? a : b, most = a < b ? b : a;
    below = -least > below ? -least : below;
    above = most > above ? most : above;
  }
  qli_act_grid(act->asymmetric, qli_bits_from_f32(below), qli_bits_from_f32(above), &act->scale,
               &act->zero);
  act->mode = QL_ACT_STATIC;
}
