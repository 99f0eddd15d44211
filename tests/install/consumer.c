/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
/* What a stranger's program does with an installed library; C99 and C++98. Packs weights,
 * multiplies on two threads, and checks the product, which is exact. */
#include <quantlib/quantlib.h>
#include <quantlib/threads.h>

#include <stdio.h>
#include <string.h>

enum { ROWS = 3, INPUTS = 40, OUTPUTS = 24 };

static int check_product(const ql_ctx *ctx)
{
  static float w[OUTPUTS * INPUTS], x[ROWS * INPUTS], y[ROWS * OUTPUTS];
  ql_tensor tw, tx, ty;
  ql_packed *packed = NULL;
  ql_error error = QL_ERROR_INIT;
  int r, n, k, wrong = 0;
  for (n = 0; n < OUTPUTS * INPUTS; n++)
    w[n] = (float)(n % 7 - 3);
  for (n = 0; n < ROWS * INPUTS; n++)
    x[n] = (float)(n % 5 - 2);
  ql_tensor_init_2d(&tw, w, QL_DTYPE_F32, OUTPUTS, INPUTS);
  ql_tensor_init_2d(&tx, x, QL_DTYPE_F32, ROWS, INPUTS);
  ql_tensor_init_2d(&ty, y, QL_DTYPE_F32, ROWS, OUTPUTS);
  if (ql_pack_float(ctx, &tw, &packed, &error) != QL_STATUS_OK ||
      ql_gemm(ctx, packed, &tx, &ty, NULL, &error) != QL_STATUS_OK) {
    fprintf(stderr, "%s\n", error.text);
    wrong = 1;
  }
  ql_packed_destroy(packed);
  for (r = 0; r < ROWS; r++)
    for (n = 0; n < OUTPUTS; n++) {
      int want = 0;
      for (k = 0; k < INPUTS; k++)
        want += ((r * INPUTS + k) % 5 - 2) * ((n * INPUTS + k) % 7 - 3);
      wrong += y[r * OUTPUTS + n] != (float)want;
    }
  return wrong;
}

int main(void)
{
  ql_ctx_config config = QL_CTX_CONFIG_INIT;
  ql_threads *pool = NULL;
  ql_ctx *ctx = NULL;
  int wrong;
  if (ql_version() !=
      QL_API_VERSION_MAJOR * 10000 + QL_API_VERSION_MINOR * 100 + QL_API_VERSION_PATCH) {
    fprintf(stderr, "headers and library differ in version: %s\n", ql_version_str());
    return 1;
  }
  if (ql_threads_create(2, &pool) != QL_STATUS_OK)
    return 1;
  config.executor = ql_threads_executor(pool);
  if (ql_ctx_create(&config, &ctx, NULL) != QL_STATUS_OK)
    return 1;
  wrong = check_product(ctx);
  printf("quantlib %s on %s: %d wrong\n", ql_version_str(), ql_ctx_isa_name(ctx), wrong);
  ql_ctx_destroy(ctx);
  ql_threads_destroy(pool);
  return wrong != 0;
}
