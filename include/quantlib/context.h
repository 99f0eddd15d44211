/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QUANTLIB_CONTEXT_H
#define QUANTLIB_CONTEXT_H

#include <quantlib/status.h>
#include <quantlib/types.h>

QL_BEGIN_DECLS

/** Memory source of a context. Give both functions or neither. Called from any thread that the
 *  executor uses. @since 0.1 */
typedef struct ql_allocator {
  void *user;
  /** size bytes aligned to align (a power of two), or NULL. size is never 0. */
  void *(*alloc)(void *user, size_t size, size_t align);
  void (*free)(void *user, void *block);
} ql_allocator;

/** One piece of parallel work: index in 0..count-1, worker in 0..max_workers-1. No two calls
 *  that run at the same time carry the same worker number. @since 0.1 */
typedef void (*ql_task)(void *arg, size_t index, size_t worker);

/** Where parallel work runs. Results never depend on max_workers. @since 0.1 */
typedef struct ql_executor {
  void *user;
  size_t max_workers; /**< 0 counts as 1 */
  /** Calls task(arg, i, worker) once for every i in 0..count-1 and returns when all are done. */
  void (*parallel_for)(void *user, size_t count, ql_task task, void *arg);
} ql_executor;

typedef int32_t ql_log_level;
enum { QL_LOG_ERROR = 0, QL_LOG_WARNING = 1, QL_LOG_INFO = 2, QL_LOG_DEBUG = 3 };

/** Receives one line without a newline. Called from the thread that entered the library.
 *  @since 0.1 */
typedef void (*ql_log_fn)(void *user, ql_log_level level, const char *text);

/** Progress of a long call: done of total units of the named phase. A non-zero return cancels:
 *  the call ends with QL_STATUS_CANCELLED. Called from the thread that entered the library.
 *  @since 0.1 */
typedef int32_t (*ql_progress_fn)(void *user, const char *phase, uint64_t done, uint64_t total);

/** The ordered class of doc/numerics.md: floating-point sums in a fixed order and without fused
 *  multiply-add, so that results have the same bits on every ISA. Slower. @since 0.1 */
#define QL_CTX_REPRODUCIBLE 1u

/** @since 0.1 */
typedef struct ql_ctx_config {
  size_t struct_size;
  const char *isa; /**< NULL or "auto": the environment variable QL_ISA, else the best available */
  uint32_t flags;  /**< QL_CTX_* */
  uint32_t reserved;
  ql_allocator allocator;   /**< both functions NULL: malloc and free */
  ql_executor executor;     /**< parallel_for NULL: the caller's thread */
  ql_log_fn log;            /**< NULL: silence */
  void *log_user;
  ql_progress_fn progress;  /**< NULL: none */
  void *progress_user;
} ql_ctx_config;

#define QL_CTX_CONFIG_INIT \
  {sizeof(ql_ctx_config), NULL, 0, 0, {NULL, NULL, NULL}, {NULL, 0, NULL}, NULL, NULL, NULL, NULL}

/** Library context: allocator, executor, callbacks and the kernels chosen for one ISA.
 *  Immutable after creation; may be shared by any number of threads. Contexts with different
 *  ISAs may live side by side. @since 0.1 */
typedef struct ql_ctx ql_ctx;

/** Creates a context. config NULL means all defaults. An unknown ISA name is
 *  QL_STATUS_INVALID_ARGUMENT; a known one that this machine or build cannot run is
 *  QL_STATUS_UNSUPPORTED: never a silent fallback. *out is untouched on failure.
 *  Owned by the caller: ql_ctx_destroy. @since 0.1 */
QL_API ql_status ql_ctx_create(const ql_ctx_config *config, ql_ctx **out, ql_error *error);

/** Frees a context; NULL is fine. Every object made with it must be gone. @since 0.1 */
QL_API void ql_ctx_destroy(ql_ctx *ctx);

/** Name of the ISA in use ("scalar", "avx2", "avx512", "neon", ...). Lives as long as the
 *  library. Thread-safe. @since 0.1 */
QL_API const char *ql_ctx_isa_name(const ql_ctx *ctx);

/** Number of workers of the executor, at least 1. Thread-safe. @since 0.1 */
QL_API size_t ql_ctx_workers(const ql_ctx *ctx);

/** Name of the i-th ISA level of this build, NULL past the last. If runnable is not NULL it is
 *  set to 1 when this machine can run the level, else 0. Thread-safe. @since 0.1 */
QL_API const char *ql_isa_list(size_t i, int32_t *runnable);

/** Runs task for 0..count-1 on the context's executor, each worker with round-to-nearest and
 *  without flush-to-zero. For engines that want to share the pool. @since 0.1 */
QL_API void ql_ctx_parallel_for(const ql_ctx *ctx, size_t count, ql_task task, void *arg);

QL_END_DECLS

#endif
