/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KCHECK_H
#define KCHECK_H

#include "qlk_table.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Tests and times every kernel of every ISA that this machine can run. A family checks the slots
 * whose pointers differ from the layer below; a new kernel is covered as soon as it is in a table.
 * What is checked besides values: not one byte read or written outside (guard pages on both sides,
 * canaries in between), any alignment that the contract admits, the floating-point environment. */

enum { KC_BUFFERS = 12 };

typedef struct {
  void *map;
  size_t map_bytes;
  unsigned char *data;
  size_t bytes;
  unsigned char *first, *last; /* canaries lie in [first, data) and [data + bytes, last) */
} kc_buffer;

typedef struct {
  uint64_t seed;
  unsigned repeat;
  const char *isa_glob, *kernel_glob;
  bool bench, list, quiet;
  const char *isa, *kernel; /* under test */
  char shape[160];
  uint64_t state; /* of the random numbers of the case */
  uint64_t case_seed;
  bool at_end; /* buffers end at the guard page; else they begin at one */
  bool case_failed;
  size_t failures, cases, kernels;
  kc_buffer buffer[KC_BUFFERS];
  size_t buffers;
} kc;

/* True when the slot is to be tested: it differs from the one below (NULL: nothing is below) and
 * its name fits the glob. Function pointers come as pointers to the slots. */
bool kc_wants(kc *k, const char *kernel, const void *slot, const void *below, size_t size);

/* Starts a case: seeds the random numbers, sets the shape for messages. end frees the buffers after
 * a look at the canaries. Cases alternate between buffers at the end and at the start of a page. */
void kc_begin(kc *k, uint64_t number, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void kc_end(kc *k);

/* Memory next to a guard page, as misaligned as size and align allow, filled with a pattern. */
void *kc_memory(kc *k, size_t bytes, size_t align);

/* Runs call(arg): signals become failures, the floating-point environment must be kept. False when
 * it did not come to its end. */
bool kc_run(kc *k, void (*call)(void *), void *arg);

void kc_fail(kc *k, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same bits, a NaN being equal to any other. width: columns, stride: elements from row to row;
 * memory between the rows must still hold the pattern of kc_memory. */
void kc_same_f32(kc *k, const float *got, const float *want, size_t rows, size_t width,
                 size_t stride);
void kc_same_bytes(kc *k, const void *got, const void *want, size_t bytes);

/* |got - want| <= bound; NaN and Inf as in want. */
void kc_within(kc *k, const float *got, const double *want, const double *bound, size_t rows,
               size_t width, size_t stride);

/* Random numbers of the case. */
uint64_t kc_u64(kc *k);
size_t kc_below(kc *k, size_t n); /* 0 .. n - 1 */
double kc_unit(kc *k);            /* [0, 1) */

/* Kinds of floating-point input. */
enum {
  KC_UNIFORM,
  KC_NORMAL,
  KC_POWERS,  /* narrow range of powers of two: sums are exact */
  KC_EXTREME, /* zeros of both signs, subnormals, large and small numbers */
  KC_CANCEL,  /* neighbours that nearly cancel */
  KC_OUTLIER, /* one element in sixteen is 2^14 times larger */
  KC_SPECIAL, /* now and then Inf or NaN */
  KC_KINDS
};
const char *kc_kind_name(int kind);
void kc_fill(kc *k, int kind, float *x, size_t n);

/* Median nanoseconds of one call, of a few batches. */
double kc_time(void (*call)(void *), void *arg);
void kc_bench_line(kc *k, double ns, double flops, double bytes);

/* Families: tests/kernels/families.def. scalar is the table of the specification; below is the
 * layer under here, NULL for scalar itself. */
typedef void kc_family(kc *k, const qlk_table *scalar, const qlk_table *below,
                       const qlk_table *here);
#define KC_FAMILY(name) kc_family kc_check_##name;
#include "families.def"
#undef KC_FAMILY

/* Every broken kernel must be caught. Returns how many were not. */
int kc_selftest(uint64_t seed, bool list);

#endif
