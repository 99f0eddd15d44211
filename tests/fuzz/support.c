/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "driver.h"

#include <quantlib/context.h>

#include <stdio.h>
#include <stdlib.h>

ql_ctx *fuzz_ctx(void)
{
  static ql_ctx *ctx;
  if (ctx == NULL)
    FUZZ_REQUIRE(ql_ctx_create(NULL, &ctx, NULL) == QL_STATUS_OK);
  return ctx;
}

void fuzz_require(int holds, const char *text, const char *file, int line)
{
  if (holds)
    return;
  fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, text);
  abort();
}
