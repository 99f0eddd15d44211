/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QUANTLIB_QUANTLIB_H
#define QUANTLIB_QUANTLIB_H

/* All stable headers of the library. libquantlib-threads has its own, <quantlib/threads.h>. */

#include <quantlib/algo.h>
#include <quantlib/algo/awq.h>
#include <quantlib/algo/drift.h>
#include <quantlib/algo/eora.h>
#include <quantlib/algo/gptq.h>
#include <quantlib/algo/hqq.h>
#include <quantlib/algo/iw.h>
#include <quantlib/algo/refit.h>
#include <quantlib/algo/salient.h>
#include <quantlib/algo/signround.h>
#include <quantlib/algo/smooth.h>
#include <quantlib/algo/solve.h>
#include <quantlib/context.h>
#include <quantlib/format.h>
#include <quantlib/imatrix.h>
#include <quantlib/io.h>
#include <quantlib/kv.h>
#include <quantlib/links.h>
#include <quantlib/ops.h>
#include <quantlib/plan.h>
#include <quantlib/quantize.h>
#include <quantlib/runtime.h>
#include <quantlib/sensitivity.h>
#include <quantlib/stats.h>
#include <quantlib/status.h>
#include <quantlib/table.h>
#include <quantlib/tensor.h>
#include <quantlib/token_weights.h>
#include <quantlib/types.h>
#include <quantlib/version.h>

#endif
