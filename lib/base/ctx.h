/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_BASE_CTX_H
#define QLI_BASE_CTX_H

#include "qlk_table.h"

#include <quantlib/context.h>

#include <stdbool.h>

/* Everything is fixed when the context is made; nothing here is ever written again. */
struct ql_ctx {
  ql_allocator allocator;
  ql_executor executor;
  ql_log_fn log;
  void *log_user;
  ql_progress_fn progress;
  void *progress_user;
  uint32_t flags;
  const char *isa_name;
  qlk_table kernels;
};

static inline bool qli_reproducible(const ql_ctx *ctx)
{
  return (ctx->flags & QL_CTX_REPRODUCIBLE) != 0;
}

/* Memory of the context, 64-byte aligned, NULL when there is none. count * size is checked.
 * An empty request gives a block of one byte. */
void *qli_alloc(const ql_ctx *ctx, size_t count, size_t size);
void *qli_calloc(const ql_ctx *ctx, size_t count, size_t size);
void qli_free(const ql_ctx *ctx, void *block);

void qli_log(const ql_ctx *ctx, ql_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* QL_STATUS_CANCELLED when the callback asks to stop. */
ql_status qli_progress(const ql_ctx *ctx, const char *phase, uint64_t done, uint64_t total,
                       ql_error *error);

/* task(arg, i, worker) for i in 0..count-1, each under the library's floating-point environment. */
void qli_parallel_for(const ql_ctx *ctx, size_t count, ql_task task, void *arg);

/* The same, in the caller's thread alone where all tasks together are less than QLI_SMALL_WORK
 * multiply-adds: waking other threads would cost more than it saves. */
#define QLI_SMALL_WORK 0x1p18
void qli_parallel_for_work(const ql_ctx *ctx, double multiply_adds, size_t count, ql_task task,
                           void *arg);

#endif
