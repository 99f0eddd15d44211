/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "ctx.h"

#include "checked.h"
#include "error.h"
#include "fpenv.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { ALIGNMENT = 64 };

void *qli_alloc(const ql_ctx *ctx, size_t count, size_t size)
{
  size_t bytes;
  if (!qli_mul_size(count, size, &bytes) || bytes > PTRDIFF_MAX)
    return NULL;
  return ctx->allocator.alloc(ctx->allocator.user, bytes ? bytes : 1, ALIGNMENT);
}

void *qli_calloc(const ql_ctx *ctx, size_t count, size_t size)
{
  void *block = qli_alloc(ctx, count, size);
  if (block != NULL)
    memset(block, 0, count * size);
  return block;
}

void qli_free(const ql_ctx *ctx, void *block)
{
  if (block != NULL)
    ctx->allocator.free(ctx->allocator.user, block);
}

void qli_log(const ql_ctx *ctx, ql_log_level level, const char *format, ...)
{
  if (ctx->log == NULL)
    return;
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  ctx->log(ctx->log_user, level, text);
}

ql_status qli_progress(const ql_ctx *ctx, const char *phase, uint64_t done, uint64_t total,
                       ql_error *error)
{
  if (ctx->progress != NULL && ctx->progress(ctx->progress_user, phase, done, total) != 0)
    return qli_fail(error, QL_STATUS_CANCELLED, "cancelled during %s", phase);
  return QL_STATUS_OK;
}

typedef struct {
  ql_task task;
  void *arg;
} guarded;

static void run_guarded(void *arg, size_t index, size_t worker)
{
  const guarded *g = arg;
  const qli_fpenv saved = qli_fpenv_enter();
  g->task(g->arg, index, worker);
  qli_fpenv_leave(saved);
}

void qli_parallel_for(const ql_ctx *ctx, size_t count, ql_task task, void *arg)
{
  guarded g = {task, arg};
  if (ctx->executor.parallel_for != NULL && count > 1) {
    ctx->executor.parallel_for(ctx->executor.user, count, run_guarded, &g);
    return;
  }
  for (size_t i = 0; i < count; i++)
    run_guarded(&g, i, 0);
}

void qli_parallel_for_work(const ql_ctx *ctx, double multiply_adds, size_t count, ql_task task,
                           void *arg)
{
  if (multiply_adds >= QLI_SMALL_WORK) {
    qli_parallel_for(ctx, count, task, arg);
    return;
  }
  guarded g = {task, arg};
  for (size_t i = 0; i < count; i++)
    run_guarded(&g, i, 0);
}
