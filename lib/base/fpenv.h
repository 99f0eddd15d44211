/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_BASE_FPENV_H
#define QLI_BASE_FPENV_H

#include <stdint.h>

/* The host may have set another rounding mode or flush-to-zero; results must not depend on it.
 * enter switches to round-to-nearest with subnormals, leave restores what the host had. */

typedef uint64_t qli_fpenv;

#if defined(__x86_64__)
#include <xmmintrin.h>

static inline qli_fpenv qli_fpenv_enter(void)
{
  const unsigned int saved = _mm_getcsr();
  const unsigned int wanted = 0x1f80u; /* all exceptions masked, nearest, no FTZ, no DAZ */
  if ((saved & 0xffc0u) != wanted)
    _mm_setcsr(wanted | (saved & 0x3fu));
  return saved;
}

static inline void qli_fpenv_leave(qli_fpenv saved)
{
  const unsigned int now = _mm_getcsr();
  if ((now & 0xffc0u) != ((unsigned int)saved & 0xffc0u))
    _mm_setcsr((unsigned int)saved);
}

#elif defined(__aarch64__)

static inline uint64_t qli_read_fpcr(void)
{
  uint64_t value;
  __asm__ __volatile__("mrs %0, fpcr" : "=r"(value));
  return value;
}

static inline qli_fpenv qli_fpenv_enter(void)
{
  const uint64_t saved = qli_read_fpcr();
  if (saved != 0)
    __asm__ __volatile__("msr fpcr, %0" : : "r"((uint64_t)0));
  return saved;
}

static inline void qli_fpenv_leave(qli_fpenv saved)
{
  if (saved != qli_read_fpcr())
    __asm__ __volatile__("msr fpcr, %0" : : "r"(saved));
}

#else
#include <fenv.h>

static inline qli_fpenv qli_fpenv_enter(void)
{
  const int saved = fegetround();
  fesetround(FE_TONEAREST);
  return (qli_fpenv)(int64_t)saved;
}

static inline void qli_fpenv_leave(qli_fpenv saved)
{
  fesetround((int)(int64_t)saved);
}
#endif

#endif
