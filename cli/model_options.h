/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QL_CLI_MODEL_OPTIONS_H
#define QL_CLI_MODEL_OPTIONS_H

#include "model.h"
#include "options.h"

#include <jansson.h>

/* --compute and --head-bits: how a command runs a model. */
typedef struct model_choice {
  int compute;
  int64_t head_bits;
} model_choice;

/* Rows of a table of options; at: offset of the model_choice; preset: of --compute. */
#define MODEL_OPTION_ROWS(at, preset) \
  {"compute", 0, OPTION_CHOICE, (at) + offsetof(model_choice, compute), 0, "f32|a16|a8", 0, 0, \
   preset, NULL, MODEL_HELP_COMPUTE}, \
  {"head-bits", 0, OPTION_INT, (at) + offsetof(model_choice, head_bits), 0, "N", 4, 8, NULL, \
   "as stored", MODEL_HELP_HEAD}

#define MODEL_HELP_COMPUTE \
  "How products with quantized weights take their activations: as they are, as 16-bit numbers " \
  "with one scale for each group of the weights (a16: exact to 2^-16 of the largest of the " \
  "group, finer than f16), or as 8-bit ones (a8). a16 and a8 are faster. Weights that are stored " \
  "with a mode of their own keep it; those in floating point, and those whose groups are too " \
  "long for 32-bit sums, meet activations as they are."
#define MODEL_HELP_HEAD \
  "Round a head in floating point to so many bits, to the nearest, one scale for each 128 " \
  "columns. It is read for every token; of a small model it is a large part of the work."

qle_model_options model_options_of(const model_choice *choice);

/* Adds "compute" and "head_bits" (null: as stored) to an object. */
void model_options_json(const model_choice *choice, json_t *object);

#endif
