/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_options.h"

/* In the order of the option's words. */
static const ql_compute modes[] = {QL_COMPUTE_F32, QL_COMPUTE_A16, QL_COMPUTE_A8};
static const char *const mode_names[] = {"f32", "a16", "a8"};

qle_model_options model_options_of(const model_choice *choice)
{
  const qle_model_options options = {.compute = modes[choice->compute],
                                     .head_bits = (int32_t)choice->head_bits,
                                     .join = 1};
  return options;
}

void model_options_json(const model_choice *choice, json_t *object)
{
  json_object_set_new(object, "compute", json_string(mode_names[choice->compute]));
  json_object_set_new(object, "head_bits",
                      choice->head_bits != 0 ? json_integer(choice->head_bits) : json_null());
}
