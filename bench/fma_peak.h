/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_FMA_PEAK_H
#define BENCH_FMA_PEAK_H

#include <quantlib/quantlib.h>

/* GFLOP/s of multiply-adds over registers, with the vectors of the context's ISA and all its
 * workers: the roof of any f32 product. */
double fma_peak(const ql_ctx *ctx);

#endif
