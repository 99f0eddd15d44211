/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_BASE_RNG_H
#define QLI_BASE_RNG_H

#include <stdint.h>

/* Counter-based random numbers: the value at (key, counter) is a pure function, so that results
 * depend on a seed and a position, never on a thread. The mixer is the finalizer of SplitMix64
 * (Steele, Lea, Flood 2014) applied to key and counter in turn. */

static inline uint64_t qli_mix64(uint64_t x)
{
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

static inline uint64_t qli_random_u64(uint64_t key, uint64_t counter)
{
  return qli_mix64(qli_mix64(key) ^ (counter * 0xd1342543de82ef95u));
}

/* Uniform in [0, 1) with 53 bits. */
static inline double qli_random_unit(uint64_t key, uint64_t counter)
{
  return (double)(qli_random_u64(key, counter) >> 11) * 0x1p-53;
}

#endif
