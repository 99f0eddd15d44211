/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_internal.h"

/* A build with -Dquantizers=false. */
ql_status qle_head_round(qle_model *model, const ql_tensor *weight, int32_t bits, ql_error *error)
{
  (void)model;
  (void)weight;
  return qle_fail(error, QL_STATUS_UNSUPPORTED,
                  "a head of %d bits: this build has no quantizers to round it", (int)bits);
}
