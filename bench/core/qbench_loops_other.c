/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "qbench_internal.h"
#include "qbench_loops.h"

/* 64-bit Arm, and what any other processor has. */
#if !defined(__x86_64__)
#include <string.h>

typedef float f32x4 __attribute__((vector_size(16)));
typedef int32_t i32x4 __attribute__((vector_size(16)));
typedef int64_t i64x2 __attribute__((vector_size(16)));

enum { CHAINS = 16 };

#if defined(__aarch64__)
#include <sys/auxv.h>

/* In assembly: which intrinsics there are depends on the compiler's flags. GNU's assembler is told
 * of the later architecture, clang's goes by the function's target; whether the processor has it is
 * asked before. */
#if defined(__clang__)
#define LATER
#define NEEDS(extension) __attribute__((target(extension)))
#else
#define LATER ".arch armv8.6-a+fp16\n\t"
#define NEEDS(extension)
#endif

#define ARM_LOOP(instruction, operations) \
  i32x4 acc[CHAINS]; \
  const i32x4 a = {0x01010101, 0x01010101, 0x01010101, 0x01010101}; \
  for (int i = 0; i < CHAINS; i++) \
    acc[i] = a; \
  for (int r = 0; r < QBENCH_ROUNDS; r++) \
    for (int i = 0; i < CHAINS; i++) \
      __asm__ volatile(instruction : "+w"(acc[i]) : "w"(a)); \
  return (double)(operations)*CHAINS * QBENCH_ROUNDS

static double fp32_neon(void)
{
  ARM_LOOP("fmla %0.4s, %1.4s, %1.4s", 2 * 4);
}

static double int8_neon(void)
{
  ARM_LOOP("smlal %0.8h, %1.8b, %1.8b", 2 * 8);
}

NEEDS("fullfp16") static double fp16_neon(void)
{
  ARM_LOOP(LATER "fmla %0.8h, %1.8h, %1.8h", 2 * 8);
}

NEEDS("dotprod") static double int8_neondot(void)
{
  ARM_LOOP(LATER "sdot %0.4s, %1.16b, %1.16b", 2 * 16);
}

NEEDS("i8mm") static double int8_neoni8mm(void)
{
  ARM_LOOP(LATER "smmla %0.4s, %1.16b, %1.16b", 2 * 32);
}

NEEDS("bf16") static double bf16_neon(void)
{
  ARM_LOOP(LATER "bfmmla %0.4s, %1.8h, %1.8h", 2 * 16);
}

/* Bits of AT_HWCAP and AT_HWCAP2. */
enum { HAS_FP16 = 1 << 10, HAS_DOT = 1 << 20, HAS_I8MM = 1 << 13, HAS_BF16 = 1 << 14 };

void qbench_loops(const char *isa, qbench_loop *loops)
{
  const unsigned long one = getauxval(AT_HWCAP), two = getauxval(AT_HWCAP2);
  /* a level that is not known here may use all that the processor has */
  const int dot = strcmp(isa, "neon") != 0 && strcmp(isa, "scalar") != 0;
  const int matrix = dot && strcmp(isa, "neondot") != 0;
  size_t n = 0;
  loops[n++] = (qbench_loop){QBENCH_FP32_FMA, fp32_neon};
  loops[n++] = (qbench_loop){QBENCH_INT8_DOT, int8_neon};
  if (one & HAS_FP16)
    loops[n++] = (qbench_loop){QBENCH_FP16_FMA, fp16_neon};
  if (dot && one & HAS_DOT)
    loops[n++] = (qbench_loop){QBENCH_INT8_DOT, int8_neondot};
  if (matrix && two & HAS_I8MM)
    loops[n++] = (qbench_loop){QBENCH_INT8_DOT, int8_neoni8mm};
  if (matrix && two & HAS_BF16)
    loops[n++] = (qbench_loop){QBENCH_BF16_DOT, bf16_neon};
  loops[n].run = NULL;
}
#else
static double fp32_any(void)
{
  const f32x4 c = {0.999f, 0.999f, 0.999f, 0.999f};
  f32x4 acc[CHAINS];
  for (int i = 0; i < CHAINS; i++)
    acc[i] = c * (float)i;
  for (int r = 0; r < QBENCH_ROUNDS; r++)
    for (int i = 0; i < CHAINS; i++)
      acc[i] = acc[i] * c + c;
  for (int i = 0; i < CHAINS; i++)
    QBENCH_OPAQUE(acc[i]);
  return 2.0 * 4 * CHAINS * QBENCH_ROUNDS;
}

void qbench_loops(const char *isa, qbench_loop *loops)
{
  (void)isa;
  loops[0] = (qbench_loop){QBENCH_FP32_FMA, fp32_any};
  loops[1].run = NULL;
}
#endif

static i64x2 load(const char *p)
{
  i64x2 v;
  memcpy(&v, p, sizeof v);
  return v;
}

#define JOIN(a, b) ((a) ^ (b))

static void read_any(const void *block, size_t bytes, size_t streams)
{
  const i64x2 zero = {0, 0};
  QBENCH_READ_BODY(i64x2, 16, zero, load, JOIN);
}

static void copy_any(void *to, const void *from, size_t bytes)
{
  memcpy(to, from, bytes);
}

void qbench_memory_loops(const char *isa, qbench_memory *memory)
{
  (void)isa;
  memory->read = read_any;
  memory->copy = copy_any;
}
#else
typedef int qbench_no_other;
#endif
