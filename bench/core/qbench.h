/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QBENCH_H
#define QBENCH_H

/* The benchmark behind `ql bench` and `qbench`, on the public interface of the library alone: times
 * products and the work around them, and measures the limits of the machine in the same run. */

#include <quantlib/quantlib.h>

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Limits that are measured: GB/s of memory, GOP/s of one kind of instruction. */
typedef enum {
  QBENCH_DRAM_READ,
  QBENCH_DRAM_COPY, /* read and written bytes together */
  QBENCH_LLC_READ,
  QBENCH_L2_READ,
  QBENCH_FP32_FMA,
  QBENCH_FP16_FMA,
  QBENCH_BF16_DOT,
  QBENCH_INT8_DOT,
  QBENCH_LIMITS
} qbench_limit;

/* The best seen so far; 0: there is no such instruction at this level. */
typedef struct {
  double value[QBENCH_LIMITS];
} qbench_roofs;

const char *qbench_limit_name(qbench_limit limit);

typedef struct {
  const char *op;
  char weights[32], isa[24], kernel[96];
  const char *act_dtype, *compute;
  int64_t group; /* -1: whole rows, 0: floating point */
  size_t m, n, k, threads;
  int cold, product; /* product: 2 m n k operations */
  char missing[160]; /* why it was not measured; empty: it was */
  size_t calls;      /* timed */
  double seconds;    /* median of a call */
  double least, quarter, three_quarters;
  double weight_bytes; /* read by a call */
  double bytes;        /* all that a call moves */
  double operations;
  double joules;       /* of a call; negative: the machine does not tell */
  double core_factor;  /* operations that the core does for one of the product: 2 with A16 */
  qbench_limit core;   /* limit of its arithmetic; QBENCH_LIMITS: it has none */
  qbench_limit memory; /* limit of its memory traffic */
  const qbench_roofs *roofs;
  double size_ratio, speed_ratio; /* to the original in this run; 0: unknown */
} qbench_row;

/* The larger of the times that the limits allow is the binding one; its share of the seconds goes
 * to *fraction. */
qbench_limit qbench_binding(const qbench_row *row, double *fraction);

#define QBENCH_LIST 64

typedef struct {
  size_t n, k;
} qbench_shape;

typedef struct qbench_config {
  const char *isa;
  const char *ops; /* words separated by commas */
  qbench_shape shapes[QBENCH_LIST];
  size_t shape_count;
  size_t m[QBENCH_LIST], m_count;
  size_t threads[QBENCH_LIST], thread_count;
  ql_dtype act;
  unsigned computes; /* bit 1 << ql_compute */
  int hot, cold;
  int reproducible;     /* the ordered class of sums */
  int quick;            /* ops of the short run, and cold rows for m = 1 only */
  int64_t group;        /* 0: each op's own, -1: whole rows */
  double seconds;       /* for each row */
  size_t cold_bytes;    /* 0: four times the last-level cache */
  ql_dtype original;    /* floating-point weights to compare with; QL_DTYPE_NONE: none */
  int (*stopped)(void); /* NULL or: non-zero ends the run */
  void (*progress)(void *user, const char *text); /* NULL: none */
  void *user;
  const struct qbench_peer *peer; /* a product of somebody else's, NULL: none */
  char error[256];
} qbench_config;

/* f32 products of another library that is linked in: y [m, n] = x [m, k] w[n, k]^T. */
typedef struct qbench_peer {
  const char *op;
  void (*threads)(size_t count);
  const char *(*kernel)(void);
  void (*multiply)(const float *w, const float *x, float *y, size_t m, size_t n, size_t k);
} qbench_peer;

void qbench_config_init(qbench_config *c);
/* The short run: one shape, few rows. */
void qbench_config_quick(qbench_config *c);
/* Sets one of ops, shapes, m, threads, act, compute, state, group, seconds, cold-mib, original and
 * isa from text; 0, or -1 with c->error. */
int qbench_config_set(qbench_config *c, const char *name, const char *value);
/* Names of all ops, separated by commas. */
const char *qbench_op_names(void);

typedef struct {
  qbench_row *rows;
  size_t count, room;
  qbench_roofs *roofs; /* of threads[i] */
  size_t thread_count, threads[QBENCH_LIST];
  char processor[96], isa[24];
  size_t llc_bytes, l2_bytes;
} qbench_result;

/* 0, or -1 with c->error. What was measured before a failure or a stop is in *result. */
int qbench_run(qbench_config *c, qbench_result *result);
void qbench_result_free(qbench_result *result);

/* One JSON array of rows. */
void qbench_print_json(const qbench_result *result, FILE *file);
void qbench_print_table(const qbench_result *result, FILE *file);

#endif
