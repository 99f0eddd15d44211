/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLK_TYPES_H
#define QLK_TYPES_H

#include <stddef.h>
#include <stdint.h>

/* What kernels and drivers share. The contract of every kernel is in doc/kernels.md. */

/* Element types of scales and activations; the values are those of ql_dtype. */
typedef int32_t qlk_dtype;
enum { QLK_F32 = 1, QLK_F16 = 2, QLK_BF16 = 3 };

/* Weight formats that have packed layouts. Integer formats hold codes of that many bits or fewer.
 */
typedef int32_t qlk_wtype;
enum { QLK_W_F32, QLK_W_F16, QLK_W_BF16, QLK_W2, QLK_W3, QLK_W4, QLK_W8, QLK_WTYPE_COUNT };

/* Sums over k are cut into blocks of this many terms (counted in packed k): the terms of a block
 * are added in turn from zero, then the blocks in turn. The same on every ISA: see
 * doc/design/0003-order-of-sums.md. A multiple of every format's kr. */
enum { QLK_KB = 128 };

#endif
