/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QUANTLIB_THREADS_H
#define QUANTLIB_THREADS_H

/* A ready pool of POSIX threads: libquantlib-threads, beside libquantlib and not needed by it. */

#include <quantlib/context.h>
#include <quantlib/status.h>

QL_BEGIN_DECLS

/** A pool of worker threads. One call of its parallel_for runs at a time; others wait.
 *  @since 0.1 */
typedef struct ql_threads ql_threads;

/** Number of processors that this process may use, at least 1. @since 0.1 */
QL_API size_t ql_threads_available(void);

/** Creates a pool of workers (0: ql_threads_available()), the calling thread being one of them.
 *  If the system refuses some threads the pool works with fewer. Owned by the caller:
 *  ql_threads_destroy. Not to be used in a child after fork. @since 0.1 */
QL_API ql_status ql_threads_create(size_t workers, ql_threads **out);

/** The executor to put into ql_ctx_config. Valid until the pool is destroyed. @since 0.1 */
QL_API ql_executor ql_threads_executor(ql_threads *pool);

/** Stops and joins all threads; NULL is fine. @since 0.1 */
QL_API void ql_threads_destroy(ql_threads *pool);

QL_END_DECLS

#endif
