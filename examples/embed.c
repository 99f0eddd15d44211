/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include <quantlib/quantlib.h>
#include <math.h>
#include <stdio.h>

enum { TOKENS = 512, OUT = 256, IN = 512 };
static float x[TOKENS * IN], w[OUT * IN], exact[TOKENS * OUT], y[TOKENS * OUT];

int main(void)
{
  ql_error error = QL_ERROR_INIT;
  ql_stats_config what = QL_STATS_CONFIG_INIT; /* the Hessian of the inputs */
  ql_grid_config grid = QL_GRID_CONFIG_INIT;   /* 4 bits, symmetric, groups of 128 */
  ql_gptq_config gptq = QL_GPTQ_CONFIG_INIT;
  ql_ctx *ctx = NULL;
  ql_stats *stats = NULL;
  ql_qmat *q = NULL;
  ql_packed *original = NULL, *packed = NULL;
  ql_tensor tx, tw, ty, te;
  double err = 0, ref = 0;

  for (int i = 0; i < TOKENS * IN; i++) /* channels move together, as real ones do */
    x[i] = sinf(0.37f * (float)(i % IN) + 0.11f * (float)(i / IN)) + 0.3f * sinf(1.7f * (float)i);
  for (int i = 0; i < OUT * IN; i++)
    w[i] = sinf(0.9f * (float)i) * cosf(0.013f * (float)i * (float)(i % 7));
  what.cols = IN;
  if (ql_tensor_init_2d(&tx, x, QL_DTYPE_F32, TOKENS, IN) ||
      ql_tensor_init_2d(&tw, w, QL_DTYPE_F32, OUT, IN) ||
      ql_tensor_init_2d(&te, exact, QL_DTYPE_F32, TOKENS, OUT) ||
      ql_tensor_init_2d(&ty, y, QL_DTYPE_F32, TOKENS, OUT) || ql_ctx_create(NULL, &ctx, &error) ||
      ql_stats_create(ctx, &what, &stats, &error) ||
      ql_stats_update(ctx, stats, &tx, TOKENS, &error) ||             /* calibrate */
      ql_gptq_run(ctx, &tw, stats, &grid, &gptq, &q, NULL, &error) || /* quantize */
      ql_pack(ctx, q, &packed, &error) || ql_pack_float(ctx, &tw, &original, &error) ||
      ql_gemm_w4a16(ctx, packed, &tx, &ty, NULL, &error) || /* run */
      ql_gemm(ctx, original, &tx, &te, NULL, &error))
    return fprintf(stderr, "%s\n", error.text), 1;
  for (int i = 0; i < TOKENS * OUT; i++)
    err += pow((double)y[i] - exact[i], 2), ref += pow(exact[i], 2);
  printf("%s: relative error %.4f\n", ql_ctx_isa_name(ctx), sqrt(err / ref));
  ql_packed_destroy(packed), ql_packed_destroy(original), ql_qmat_destroy(q);
  ql_stats_destroy(stats), ql_ctx_destroy(ctx);
  return 0;
}
