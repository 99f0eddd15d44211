/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QL_CLI_OUTLIERS_H
#define QL_CLI_OUTLIERS_H

#include <quantlib/quantlib.h>

/* What makes a matrix hard to quantize: few values that are much larger than the rest. */
typedef struct outliers {
  double absmax, rms, mean;
  double kurtosis;     /* fourth central moment over the squared variance: 3 for a normal one */
  double beyond;       /* share of values farther than 6 standard deviations from the mean */
  uint64_t not_finite; /* NaN and Inf, left out of the rest */
} outliers;

/* Of a floating-point matrix; the same figures for any number of threads. */
ql_status outliers_measure(const ql_ctx *ctx, const ql_tensor *t, outliers *out, ql_error *error);

#endif
