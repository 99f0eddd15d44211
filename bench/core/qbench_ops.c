/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "qbench_internal.h"

#include <stdlib.h>
#include <string.h>

#define SYM QL_GRID_SYM_CENTRED
#define F32 QL_COMPUTE_F32
#define A16 QL_COMPUTE_A16
#define A8 QL_COMPUTE_A8
#define TOKEN QL_ACT_TOKEN
#define GROUP QL_ACT_GROUP
#define INTEGER(op, format, bits, group, compute, act, quick) \
  { \
    op, format, bits, SYM, QL_DTYPE_NONE, group, compute, act, quick, 0 \
  }
#define TERNARY(compute, quick) \
  { \
    "ternary", "ternary", 2, QL_GRID_TERNARY, QL_DTYPE_NONE, -1, compute, TOKEN, quick, 0 \
  }
#define FLOAT(op, dtype) \
  { \
    op, op, 0, 0, dtype, 0, F32, TOKEN, 0, 0 \
  }

/* Neighbours with equal weights share the packed copies. */
const qbench_op qbench_ops[] = {
    INTEGER("w4a16", "int4", 4, 128, F32, TOKEN, 1),
    INTEGER("w4a16", "int4", 4, 128, A16, TOKEN, 1),
    INTEGER("w4a8", "int4", 4, 128, A8, TOKEN, 1),
    INTEGER("w4a8", "int4", 4, 128, A8, GROUP, 0),
    INTEGER("w2a16", "int2", 2, 128, F32, TOKEN, 0),
    INTEGER("w2a16", "int2", 2, 128, A16, TOKEN, 0),
    INTEGER("w2a8", "int2", 2, 128, A8, TOKEN, 0),
    INTEGER("w2a8", "int2", 2, 128, A8, GROUP, 0),
    INTEGER("w3a16", "int3", 3, 128, F32, TOKEN, 0),
    INTEGER("w3a16", "int3", 3, 128, A16, TOKEN, 0),
    INTEGER("w3a8", "int3", 3, 128, A8, TOKEN, 0),
    INTEGER("w3a8", "int3", 3, 128, A8, GROUP, 0),
    INTEGER("w5a16", "int5", 5, 128, F32, TOKEN, 0),
    INTEGER("w6a16", "int6", 6, 128, F32, TOKEN, 0),
    INTEGER("w8a16", "int8", 8, 128, F32, TOKEN, 0),
    INTEGER("w8a16", "int8", 8, 128, A16, TOKEN, 0),
    INTEGER("w8a8", "int8", 8, -1, A8, TOKEN, 1),
    TERNARY(A8, 1),
    TERNARY(F32, 0),
    TERNARY(A16, 0),
    FLOAT("f32", QL_DTYPE_F32),
    FLOAT("f16", QL_DTYPE_F16),
    FLOAT("bf16", QL_DTYPE_BF16),
    {"openblas-sgemm", "f32", 0, 0, QL_DTYPE_F32, 0, F32, TOKEN, 0, 1},
};
const size_t qbench_op_count = sizeof qbench_ops / sizeof qbench_ops[0];

int qbench_selected(const char *list, const char *word)
{
  const size_t n = strlen(word);
  if (list == NULL)
    return 1;
  for (const char *at = list; at != NULL; at = strchr(at, ',')) {
    at += *at == ',';
    if (strncmp(at, word, n) == 0 && (at[n] == ',' || at[n] == '\0'))
      return 1;
  }
  return 0;
}

const char *qbench_op_names(void)
{
  return "w4a16, w4a8, w2a16, w2a8, w3a16, w3a8, w5a16, w6a16, w8a16, w8a8, ternary, f32, f16, "
         "bf16, "
         "dequantize, quantize, hessian, gptq";
}

ql_status qbench_codes(const qbench_state *s, const qbench_op *op, qbench_shape shape, size_t group,
                       ql_qmat **out, ql_error *error)
{
  ql_qmat_view view = {.struct_size = sizeof view, .rows = shape.n, .cols = shape.k};
  view.bits = op->bits;
  view.kind = op->kind;
  view.block_rows = 1;
  view.block_cols = group != 0 ? group : shape.k;
  view.groups = (shape.k + view.block_cols - 1) / view.block_cols;
  view.scale_dtype = QL_DTYPE_F16;
  const size_t elements = shape.n * shape.k, scale_count = shape.n * view.groups;
  const uint64_t levels = op->kind == QL_GRID_TERNARY ? 3 : (uint64_t)1 << op->bits;
  uint8_t *codes = malloc(elements);
  float *scales = malloc(scale_count * sizeof *scales);
  ql_status status = QL_STATUS_NO_MEMORY;
  if (codes != NULL && scales != NULL) {
    uint64_t state = 1;
    for (size_t i = 0; i < elements; i++) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      codes[i] = (uint8_t)((state >> 32) * levels >> 32);
    }
    for (size_t i = 0; i < scale_count; i++)
      scales[i] = 0x1p-7f;
    view.codes = codes;
    view.scales = scales;
    status = ql_qmat_create(s->packer, &view, out, error);
  }
  free(codes);
  free(scales);
  return status;
}
