/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "ctx.h"
#include "error.h"
#include "isa.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Huge pages are worth asking for from here on: matrices that are touched once, and weights that
 * are read once for each token, would otherwise wait for page tables. */
static const size_t huge_page = (size_t)2 << 20, huge_block = (size_t)8 << 20;

static void *system_alloc(void *user, size_t size, size_t align)
{
  (void)user;
  const bool huge = size >= huge_block;
  void *block = NULL;
  if (posix_memalign(&block, huge && align < huge_page ? huge_page : align, size) != 0)
    return NULL;
  if (huge)
    (void)madvise(block, size, MADV_HUGEPAGE);
  return block;
}

static void system_free(void *user, void *block)
{
  (void)user;
  free(block);
}

static ql_status check_config(const ql_ctx_config *config, ql_error *error)
{
  if ((config->allocator.alloc == NULL) != (config->allocator.free == NULL))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "the allocator needs both functions or neither");
  if ((config->flags & ~QL_CTX_REPRODUCIBLE) != 0 || config->reserved != 0)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "unknown context flags 0x%x",
                    (unsigned)config->flags);
  return QL_STATUS_OK;
}

static const char *wanted_isa(const ql_ctx_config *config)
{
  const char *name = config->isa;
  if (name == NULL || strcmp(name, "auto") == 0)
    name = getenv("QL_ISA");
  return name != NULL && name[0] != '\0' && strcmp(name, "auto") != 0 ? name : NULL;
}

ql_status ql_ctx_create(const ql_ctx_config *config, ql_ctx **out, ql_error *error)
{
  ql_ctx_config c = QL_CTX_CONFIG_INIT;
  if (out == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "out is NULL");
  if (config != NULL && !qli_config_copy(&c, sizeof c, sizeof c, config))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "ql_ctx_config.struct_size is %zu, not that of QL_CTX_CONFIG_INIT",
                    config->struct_size);
  QLI_TRY(check_config(&c, error));
  if (c.allocator.alloc == NULL)
    c.allocator = (ql_allocator){NULL, system_alloc, system_free};
  ql_ctx *ctx = c.allocator.alloc(c.allocator.user, sizeof *ctx, 64);
  if (ctx == NULL)
    return qli_fail(error, QL_STATUS_NO_MEMORY, "no memory for a context");
  memset(ctx, 0, sizeof *ctx);
  ctx->allocator = c.allocator;
  ctx->executor = c.executor;
  if (ctx->executor.max_workers == 0 || ctx->executor.parallel_for == NULL)
    ctx->executor.max_workers = 1;
  ctx->log = c.log;
  ctx->log_user = c.log_user;
  ctx->progress = c.progress;
  ctx->progress_user = c.progress_user;
  ctx->flags = c.flags;
  const ql_status status = qli_isa_select(wanted_isa(&c), &ctx->isa_name, &ctx->kernels, error);
  if (status != QL_STATUS_OK) {
    c.allocator.free(c.allocator.user, ctx);
    return status;
  }
  *out = ctx;
  return QL_STATUS_OK;
}

void ql_ctx_destroy(ql_ctx *ctx)
{
  if (ctx != NULL)
    ctx->allocator.free(ctx->allocator.user, ctx);
}

const char *ql_ctx_isa_name(const ql_ctx *ctx)
{
  return ctx->isa_name;
}

size_t ql_ctx_workers(const ql_ctx *ctx)
{
  return ctx->executor.max_workers;
}

void ql_ctx_parallel_for(const ql_ctx *ctx, size_t count, ql_task task, void *arg)
{
  qli_parallel_for(ctx, count, task, arg);
}
