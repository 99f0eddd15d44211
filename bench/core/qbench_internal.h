/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QBENCH_INTERNAL_H
#define QBENCH_INTERNAL_H

#include "qbench.h"

#include <quantlib/threads.h>

#include <stdint.h>

double qbench_now(void);
/* Memory on whole pages, huge ones by advice, touched; NULL when there is none. */
void *qbench_pages(size_t bytes);
void qbench_pages_free(void *block, size_t bytes);
/* About normal numbers, the same in every run. */
void qbench_numbers(float *x, size_t count, float factor, uint64_t seed);

/* What the machine says of itself. */
void qbench_processor(char *text, size_t size);
/* Bytes of the largest cache of a level, 0: unknown. Level 0: the last. */
size_t qbench_cache_bytes(int level);
size_t qbench_memory_available(void);
/* Joules of all processor packages so far, negative: not readable. */
double qbench_joules(void);

/* Loops of one instruction kind. Each returns how many operations it did. */
typedef struct {
  qbench_limit limit;
  double (*run)(void);
} qbench_loop;

/* Those that this processor has and that a level of that name may use; ends with run = NULL. */
enum { QBENCH_LOOPS = 12 };
void qbench_loops(const char *isa, qbench_loop *loops);

/* Reads bytes (a multiple of 1024) as `streams` pieces at once; copies past the caches. */
typedef struct {
  void (*read)(const void *block, size_t bytes, size_t streams);
  void (*copy)(void *to, const void *from, size_t bytes);
} qbench_memory;
void qbench_memory_loops(const char *isa, qbench_memory *memory);

/* Measures the limits for the workers of ctx, and keeps what was better before. The block is far
 * larger than every cache. */
void qbench_roofs_measure(const ql_ctx *ctx, qbench_roofs *roofs, void *block, size_t bytes,
                          int tries);

/* Times calls of run(arg): row->calls, seconds, least, quartiles and joules. */
typedef struct {
  int (*run)(void *arg); /* 0, or -1 */
  void *arg;
  double seconds;
  int (*stopped)(void);
} qbench_work;
int qbench_time(const qbench_work *work, qbench_row *row);

/* One run and what it owns. */
typedef struct {
  qbench_config *config;
  qbench_result *result;
  ql_threads *pools[QBENCH_LIST];
  ql_ctx *ctx[QBENCH_LIST];
  ql_ctx *packer; /* the one with the most threads */
  void *block;    /* what the limits of memory are measured on */
  size_t block_bytes;
  ql_error error;
} qbench_state;

/* A new row with the members of *like, or NULL with config->error. */
qbench_row *qbench_add_row(qbench_state *s, const qbench_row *like);
int qbench_fail(qbench_config *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
void qbench_measure_limits(qbench_state *s, int tries);
void qbench_tell(const qbench_state *s, const qbench_row *row);
/* Whether the comma-separated list is empty or holds the word. */
int qbench_selected(const char *list, const char *word);

/* Kinds of weights and what is computed with them. */
typedef struct {
  const char *op;
  const char *format; /* "int4", "ternary", "f16" */
  int bits;           /* 0: floating point */
  ql_grid_kind kind;
  ql_dtype dtype;
  int64_t group; /* -1: the whole row; 0: none */
  ql_compute compute;
  ql_act_mode act; /* of 8-bit activations */
  int quick;
  int peer; /* of another library */
} qbench_op;
extern const qbench_op qbench_ops[];
extern const size_t qbench_op_count;

int qbench_products(qbench_state *s, qbench_shape shape);
int qbench_others(qbench_state *s, qbench_shape shape);
/* Ops that are no products, separated by commas. */
extern const char qbench_other_names[];

/* A matrix of random codes. */
ql_status qbench_codes(const qbench_state *s, const qbench_op *op, qbench_shape shape, size_t group,
                       ql_qmat **out, ql_error *error);

#endif
